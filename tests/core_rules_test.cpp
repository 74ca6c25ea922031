// What holds always: nothing leaves before its batch, the same inputs give the same bytes, and no message from anybody
// breaks the core.

#include "core_fixture.hpp"

#include <fstream>
#include <random>
#include <sstream>

namespace jobyard::broker::test {
namespace {

constexpr std::uint64_t kDay = std::uint64_t{24} * 3600 * 1000;

struct CoreRules : YardTest {
    Peer client = submitter();
    Peer w = worker({.slots = 4});
};

TEST_F(CoreRules, EveryAnswerRestsOnTheBatchOfWhatItSpeaksOf) {
    hold_commits();
    const auto rests_on_open = [&](auto got) { EXPECT_EQ(got.rests_on, open_seq()); };
    send(client, Submit{0, 1, std::vector<SubmitItem>(4, {.type = "t"})});
    rests_on_open(expect<Answers>(client));
    const std::vector<Held> held = take_all(w);
    commit();
    send(w, Complete{{{0, held[0].job, held[0].token, 0}}});
    rests_on_open(expect<Answers>(w));
    commit();
    send(w, Fail{{{0, held[1].job, held[1].token, 0}}});
    rests_on_open(expect<Answers>(w));
    commit();
    send(w, Release{{{held[2].job, held[2].token}}});
    rests_on_open(expect<Answers>(w));
    rests_on_open(expect<Dispatch>(w));
    commit();
    send(client, Cancel{{held[3].job}});
    rests_on_open(expect<Answers>(client));
    rests_on_open(expect<Stop>(w));
    commit();
    send(w, Fail{{{0, held[3].job, held[3].token, 0, Outcome::failed, false}}});
    rests_on_open(expect<Answers>(w));
    commit();
}

TEST_F(CoreRules, RepeatedAnswerRestsOnTheNewestBatchToo) {
    hold_commits();
    send(client, Submit{0, 1, {{.type = "u"}}});
    only_answer(client);
    seal();
    const std::uint64_t sealed = in_flight.back()->seq;
    send(client, Submit{0, 1, {{.type = "u"}}});
    EXPECT_EQ(expect<Answers>(client).rests_on, sealed) << "the first answer may not have been durable yet";
    send(client, Show{{{1}}});
    EXPECT_EQ(expect<Jobs>(client).rests_on, sealed);
    send(client, List{});
    EXPECT_EQ(expect<Jobs>(client).rests_on, sealed);
    send(client, AskStats{});
    EXPECT_EQ(expect<Stats>(client).rests_on, sealed);
    commit();
}

TEST_F(CoreRules, AnswerAfterOthersWritesRestsOnThemEvenIfItMadeNone) {
    hold_commits();
    Peer other = submitter("other");
    submit(other, {.type = "u"});
    send(client, Show{{{1}}});
    EXPECT_EQ(expect<Jobs>(client).rests_on, open_seq());
    commit();
}

TEST_F(CoreRules, QuietTurnsWriteNothing) {
    submit(client, {.type = "u"});
    const std::uint64_t applied = disk.applied;
    advance(1000);
    send(client, Heartbeat{});
    expect<Heartbeat>(client);
    show(client, {1});
    send(w, Credit{4});
    EXPECT_EQ(disk.applied, applied);
}

TEST_F(CoreRules, AssignedAndRunningAreNotWritten) {
    hold_commits();
    submit(client);
    commit();
    const Held held = take(w);
    started(w, held);
    renew(w, held, 0.5, "half");
    Output out{open.get(), {}};
    EXPECT_FALSE(core->has_writes(out));
}

TEST_F(CoreRules, AJobsLifeCostsFourOperationsOnItsTables) {
    with({.kept_jobs = 0});
    client = submitter();
    w = worker({.slots = 256});
    hold_commits();
    send(client, Submit{0, 1, std::vector<SubmitItem>(256, {.type = "t"})});
    answers(client);
    commit();
    Complete ends;
    for (const Held& held : take_all(w)) ends.items.push_back({0, held.job, held.token, 0});
    send(w, ends);
    answers(w);
    commit();
    background();
    commit();
    EXPECT_TRUE(disk[Table::done].empty());
    std::size_t own = 0;
    std::size_t shared = 0;
    for (const auto& batch : durable)
        for (const Op& op : batch->ops())
            (op.table == Table::events || op.table == Table::classes || op.table == Table::instances ||
                     op.table == Table::meta || op.table == Table::workers
                 ? shared
                 : own) += 1;
    EXPECT_LE(own, 4 * 256U);
    EXPECT_LE(shared, 256 * 3 / 10U);
}

TEST_F(CoreRules, EveryLimitStandsInTheProtocolWithItsDefault) {
    std::ifstream file(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md");
    std::stringstream text;
    text << file.rdbuf();
    std::map<std::string, std::string> defaults;  // by name, from the rows marked †
    for (std::string line; std::getline(text, line);) {
        if (!line.starts_with("| ") || line.find("†") == std::string::npos) continue;
        const std::size_t limit = line.find(" | ", 2);
        ASSERT_NE(limit, std::string::npos) << line;
        std::istringstream values(line.substr(limit + 3, line.find(" | ", limit + 3) - limit - 3));
        for (std::size_t at = line.find('`'); at < limit; at = line.find('`', line.find('`', at + 1) + 1)) {
            std::string value;
            std::getline(values, value, ';');
            defaults[line.substr(at + 1, line.find('`', at + 1) - at - 1)] = value.substr(value.find_first_not_of(' '));
        }
    }
    const auto in_words = [](std::string_view name, std::uint64_t value) {
        if (name.ends_with("_ms")) return std::to_string(value / kDay) + " days";
        if (name.ends_with("_bytes")) {
            for (const auto& [unit, size] : {std::pair{"GiB", 30U}, std::pair{"MiB", 20U}, std::pair{"KiB", 10U}})
                if (value >> size != 0) return std::to_string(value >> size) + " " + unit;
        }
        std::string digits = std::to_string(value);
        for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
        return digits;
    };
    const Limits limits;
    for (const LimitName& limit : kLimitNames) {
        ASSERT_TRUE(defaults.contains(std::string(limit.name))) << limit.name;
        EXPECT_EQ(defaults.at(std::string(limit.name)), in_words(limit.name, limits.*limit.value)) << limit.name;
    }
    EXPECT_EQ(defaults.size(), std::size(kLimitNames)) << "the page names a limit that is not there";
}

// --- a whole yard at random ------------------------------------------------------------------------------------------

/// Drives a Yard through a seeded mixture of everything, crashes included, and follows what it was told.
class Chaos {
 public:
    Chaos(Yard& yard, std::uint64_t seed) : yard_(yard), rng_(seed) {}

    void run(int steps) {
        for (int i = 0; i < 2; ++i) clients_.push_back(yard_.submitter("client" + std::to_string(i)));
        for (std::size_t i = 0; i < 3; ++i) {
            workers_.push_back(yard_.worker(spec(i)));
            held_.emplace_back();
        }
        yard_.hold_commits();
        for (int i = 0; i < steps; ++i) {
            step();
            if (dice(4) == 0) yard_.seal();
            if (dice(2) == 0) yard_.commit();
            read();
        }
        yard_.commit();
        read();
    }

    /// Ends every job that is left: cancelled where it waits, completed where it runs.
    void finish() {
        for (int rounds = 0; rounds < 50 && unended() != 0; ++rounds) {
            yard_.advance(61'000);
            yard_.commit();
            read();
            for (std::size_t i = 0; i < workers_.size(); ++i) {
                back(i);
                while (!held_[i].empty()) end(i, 0);
            }
            yard_.commit();
            read();
        }
    }

    [[nodiscard]] std::uint64_t unended() const {
        std::uint64_t count = 0;
        for (const std::uint64_t in_state : yard_.core->counters().by_state) count += in_state;
        return count;
    }
    [[nodiscard]] const std::set<std::uint64_t>& acknowledged() const { return acknowledged_; }

 private:
    std::uint64_t dice(std::uint64_t sides) { return rng_() % sides; }
    static WorkerSpec spec(std::size_t i) {
        return {.name = "worker" + std::to_string(i),
                .slots = static_cast<std::uint32_t>(i + 1),
                .queues = {"a", "b"},
                .types = {"t"}};
    }

    void step() {
        const std::size_t c = dice(clients_.size());
        const std::size_t i = dice(workers_.size());
        Peer& client = clients_[c];
        const JobId some{1 + dice(yard_.core->numbers().next_job)};
        switch (dice(20)) {
            case 0:
            case 1:
            case 2:
            case 3: submit(client); break;
            case 4: yard_.send(client, Cancel{{some}}); break;
            case 5:
                if (dice(2) == 0) edit(client, some);
                yard_.send(client, Redrive{{some}});
                break;
            case 6: yard_.send(client, Watch{{some}}); break;
            case 7: yard_.send(client, Show{{some}}); break;
            case 8: yard_.send(client, List{.state = static_cast<JobState>(dice(11)), .limit = 5}); break;
            case 9:
            case 10:
            case 11:
            case 12:
            case 13:
                if (!held_[i].empty()) end(i, dice(held_[i].size()));
                break;
            case 14:
                for (const Held& one : held_[i]) yard_.send(workers_[i], Renew{{{one.job, one.token}}});
                break;
            case 15:
                if (!held_[i].empty()) yard_.send(workers_[i], Started{{{held_[i][0].job, held_[i][0].token}}});
                break;
            case 16: yard_.advance(static_cast<std::int64_t>(dice(2000))); break;
            case 17:
                yard_.gone(workers_[i]);
                if (dice(3) == 0) yard_.advance(3000);
                back(i);
                break;
            case 18:
                if (dice(4) != 0) break;
                yard_.crash();  // with everything that was not durable
                for (Peer& peer : clients_) yard_.come_back(peer);
                yard_.commit();
                if (dice(3) == 0) yard_.advance(3000);
                for (std::size_t k = 0; k < workers_.size(); ++k) back(k);
                break;
            default: yard_.background(1000); break;
        }
    }

    void submit(Peer& client) {
        const std::string key = "key" + std::to_string(dice(50));
        SubmitItem item{.queue = dice(2) == 0 ? "a" : "b",
                        .type = "t",
                        .priority = static_cast<std::uint8_t>(1 + dice(10)),
                        .watch = dice(2) == 0};
        if (dice(4) == 0) item.key = key;
        if (dice(4) == 0) item.delay_ms = dice(3000);
        item.max_attempts = static_cast<std::uint32_t>(1 + dice(3));
        item.backoff.initial_ms = static_cast<std::uint32_t>(dice(1000));
        const std::string payload(dice(8) == 0 ? 5000 : dice(50), 'p');
        item.payload_length = static_cast<std::uint32_t>(payload.size());
        yard_.send(client, Submit{client.confirmed, client.next_number, {item}}, payload);
        if (dice(3) == 0)
            yard_.send(client, Submit{client.confirmed, client.next_number, {item}}, payload);  // sent twice
        ++client.next_number;
        if (dice(5) == 0) client.confirmed = client.next_number - 1;
    }

    void edit(Peer& client, JobId job) {
        const std::string payload(dice(4) == 0 ? 5000 : dice(50), 'e');
        Edit edit{{job}, static_cast<std::uint32_t>(payload.size()), true};
        if (dice(2) == 0) edit.queue = dice(2) == 0 ? "a" : "b";
        yard_.send(client, edit, payload);
    }

    void end(std::size_t worker, std::size_t which) {
        const Held one = held_[worker][which];
        held_[worker].erase(held_[worker].begin() + static_cast<std::ptrdiff_t>(which));
        const std::string result(dice(8) == 0 ? 4000 : dice(50), 'r');
        const auto size = static_cast<std::uint32_t>(result.size());
        for (std::uint64_t times = dice(4) == 0 ? 2 : 1, kind = dice(6); times > 0; --times) {
            if (kind < 3) yard_.send(workers_[worker], Complete{{{size, one.job, one.token, 0}}}, result);
            else if (kind < 5)
                yard_.send(workers_[worker], Fail{{{size, one.job, one.token, 0, Outcome::failed, kind == 3}}}, result);
            else yard_.send(workers_[worker], Release{{{one.job, one.token}}});
        }
    }

    void back(std::size_t i) {
        read();
        WorkerSpec with = spec(i);
        if (dice(5) == 0) held_[i].clear();  // the worker itself crashed
        for (const Held& one : held_[i]) with.claims.push_back({one.job, one.token, false});
        yard_.come_back(workers_[i], with);
        yard_.commit();
        std::vector<Held> kept;
        for (std::size_t k = 0; k < held_[i].size(); ++k)
            if (workers_[i].claims.at(k) != Code::stale_lease) kept.push_back(held_[i][k]);
        held_[i] = std::move(kept);
    }

    /// Only what has left the broker: messages whose batch is durable.
    void read() {
        std::deque<Received> waiting;
        for (auto at = yard_.inbox.begin(); at != yard_.inbox.end();) {
            if (at->rests_on <= yard_.disk.applied) {
                ++at;
                continue;
            }
            waiting.push_back(std::move(*at));
            at = yard_.inbox.erase(at);
        }
        for (std::size_t i = 0; i < workers_.size(); ++i) {
            for (auto at = yard_.inbox.begin(); at != yard_.inbox.end(); ++at) {
                if (at->peer != workers_[i].id) continue;
                if (const auto* dispatch = std::get_if<Dispatch>(&at->envelope.message))
                    for (const DispatchItem& item : dispatch->items)
                        held_[i].push_back({.job = item.job, .token = item.token});
                if (const auto* stop = std::get_if<Stop>(&at->envelope.message))
                    for (const StopItem& item : stop->items)
                        if (item.reason == StopReason::lease_lost)
                            std::erase_if(held_[i], [&](const Held& one) { return one.token == item.token; });
            }
        }
        for (const Received& message : yard_.inbox) {
            if (const auto* answers = std::get_if<Answers>(&message.envelope.message))
                for (const Answer& answer : answers->items)
                    if (answer.code == Code::ok && answer.job) acknowledged_.insert(answer.job.value);
            if (const auto* results = std::get_if<Results>(&message.envelope.message)) {
                for (const ResultItem& item : results->items) EXPECT_TRUE(has_ended(item.state));
            }
        }
        yard_.inbox = std::move(waiting);
    }

    Yard& yard_;
    std::mt19937_64 rng_;
    std::vector<Peer> clients_;
    std::vector<Peer> workers_;
    std::vector<std::vector<Held>> held_;
    std::set<std::uint64_t> acknowledged_;
};

constexpr Limits kSmall{.kept_jobs = 30, .dead_jobs = 10, .events_bytes = 5000};

TEST(CoreChaos, NoAcknowledgedJobIsLostAndAllOfThemEndWhateverCrashes) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        Yard yard(seed % 2 == 0 ? kSmall : Limits{}, {}, seed);
        Chaos chaos(yard, seed);
        chaos.run(400);
        chaos.finish();
        EXPECT_EQ(chaos.unended(), 0U);
        const NumbersRow& numbers = yard.core->numbers();
        for (const std::uint64_t id : chaos.acknowledged()) EXPECT_LT(id, numbers.next_job);
        EXPECT_EQ(numbers.submitted_total, numbers.next_job - 1);
        if (seed % 2 != 0) {  // nothing was retired: every job made is there, ended once
            for (const std::uint64_t id : chaos.acknowledged())
                EXPECT_EQ(yard.disk[Table::done].count(job_key({id})) + yard.disk[Table::dead].count(job_key({id})), 1U)
                    << "job " << id;
            EXPECT_EQ(numbers.done_rows + numbers.dead_rows, numbers.submitted_total);
        }
        if (testing::Test::HasFailure()) break;
    }
}

TEST(CoreChaos, SameInputsAndSeedGiveTheSameBatchesAndMessagesByteForByte) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        std::string traces[2];
        for (std::string& trace : traces) {
            Yard yard(kSmall, {}, seed);
            yard.trace = &trace;
            Chaos(yard, seed).run(300);
        }
        EXPECT_GT(traces[0].size(), 10'000U);
        EXPECT_TRUE(traces[0] == traces[1]) << "seed " << seed;
    }
}

TEST(CoreChaos, AnotherSeedOfTheBrokerChangesOnlyJitterAndSessionNumbers) {
    std::string traces[2];
    for (std::uint64_t i = 0; i < 2; ++i) {
        Yard yard({}, {}, i + 1);
        Peer client = yard.submitter();
        yard.trace = &traces[i];
        Peer w = yard.worker();
        yard.submit(client, {.type = "t", .backoff = {.initial_ms = 1'000'000}});
        yard.fail(w, yard.take(w));
    }
    EXPECT_FALSE(traces[0] == traces[1]);
}

/// Any decodable message from anybody leaves the core whole.
TEST(CoreChaos, NonsenseThatDecodesHarmsNobody) {
    std::mt19937_64 rng(7);
    Yard yard;
    Peer client = yard.submitter();
    Peer w = yard.worker({.slots = 8});
    const Peer honest_worker = yard.worker({.name = "honest", .types = {"honest"}});
    const auto number = [&]() -> std::uint64_t {
        switch (rng() % 6) {
            case 0: return 0;
            case 1: return UINT64_MAX - rng() % 3;
            case 2: return std::uint64_t{1} << (rng() % 64);
            default: return rng() % 40;
        }
    };
    const auto small = [&] { return static_cast<std::uint32_t>(number()); };
    const auto byte = [&] { return static_cast<std::uint8_t>(number()); };
    const auto token = [&] { return LeaseToken{std::uint64_t{1} << kTokenCounterBits | rng() % 40}; };
    const auto text = [&]() -> std::string_view {
        static constexpr std::string_view kTexts[] = {"", "t", "default", "\xff", "a\nb", "ä"};
        return kTexts[rng() % std::size(kTexts)];
    };
    for (int i = 0; i < 6000; ++i) {
        const auto jobs = [&] {
            std::vector<JobId> list;
            for (std::uint64_t n = rng() % 4; n > 0; --n) list.push_back({number()});
            return list;
        };
        std::string payload;
        const auto length = [&] {
            const auto size = static_cast<std::uint32_t>(rng() % 3 == 0 ? 3000 : rng() % 4);
            payload.append(size, 'x');
            return size;
        };
        Message message;
        switch (rng() % 17) {
            case 0:
            case 1: {
                Submit submit{number() % 30, 1 + number(), {}};
                for (std::uint64_t n = rng() % 4; n > 0; --n)
                    submit.items.push_back({length(),
                                            text(),
                                            text(),
                                            byte(),
                                            rng() % 2 == 0,
                                            number(),
                                            small(),
                                            small(),
                                            text(),
                                            {small(), small(), small(), small()}});
                if (rng() % 2 == 0)
                    for (SubmitItem& item : submit.items) {
                        item.queue = "default";
                        item.type = "t";
                        item.priority = 5;
                        item.delay_ms = 0;
                        item.max_attempts = 2;
                        item.timeout_ms = 100;
                        item.backoff = {0, 100, 0, 0};
                    }
                message = submit;
                break;
            }
            case 2: message = Watch{jobs()}; break;
            case 3: message = Cancel{jobs()}; break;
            case 4:
                if (rng() % 2 == 0) message = Redrive{jobs()};
                else
                    message = Edit{jobs(),
                                   length(),
                                   rng() % 2 == 0,
                                   text(),
                                   text(),
                                   byte(),
                                   {small(), small(), {small(), small(), small(), small()}}};
                break;
            case 5: message = Show{jobs()}; break;
            case 6: message = List{static_cast<JobState>(byte()), text(), text(), number(), small()}; break;
            case 7: message = Grant{number()}; break;
            case 8: message = Credit{small()}; break;
            case 9: message = Started{{{{number()}, token()}}}; break;
            case 10: message = Renew{{{{number()}, token(), std::bit_cast<double>(rng()), text()}}}; break;
            case 11:
                message =
                    Complete{{{length(), {number()}, token(), small()}, {length(), {number()}, token(), small()}}};
                break;
            case 12:
                message = Fail{{{length(),
                                 {number()},
                                 token(),
                                 small(),
                                 static_cast<Outcome>(byte()),
                                 rng() % 2 == 0,
                                 text(),
                                 text()}}};
                break;
            case 13: message = Release{{{{number()}, token()}}}; break;
            case 14: message = Goodbye{static_cast<GoodbyeReason>(byte()), number()}; break;
            case 15: message = AskStats{}; break;
            default: {
                Hello hello;
                hello.role = static_cast<Role>(rng() % 4);
                hello.instance = rng() % 2 == 0 ? client.instance : w.instance;
                hello.name = text();
                hello.resumed = rng() % 2 == 0;
                hello.confirmed = number() % 30;
                hello.slots = small() % 2000;
                hello.credit = small() % 2000;
                hello.queues = {text(), "default"};
                hello.types = {"t", text()};
                for (std::uint64_t n = rng() % 4; n > 0; --n)
                    hello.claims.push_back({{number()}, token(), rng() % 2 == 0});
                message = hello;
                break;
            }
        }
        yard.send(rng() % 2 == 0 ? client : w, message, payload);
        for (const Received& received : yard.inbox)
            if (std::holds_alternative<Welcome>(received.envelope.message))
                (received.peer == client.id ? client : w).session = received.envelope.session;
        yard.inbox.clear();
        for (Peer* peer : {&client, &w})
            if (rng() % 20 == 0) {
                peer->instance = Yard::uuid("again " + std::to_string(i) + (peer == &w ? "w" : "c"));
                yard.hello(*peer, {.slots = 8});
            }
        if (rng() % 50 == 0) yard.advance(static_cast<std::int64_t>(rng() % 5000));
        yard.inbox.clear();
        if (testing::Test::HasFailure()) FAIL() << "at message " << i << ", a " << message_name(message);
    }
    Peer honest = yard.submitter("honest client");
    const JobId job = yard.submit(honest, {.type = "honest", .watch = true}, "input");
    EXPECT_EQ(yard.complete(honest_worker, yard.take(honest_worker), "output"), Code::ok);
    EXPECT_EQ(yard.expect<Results>(honest).payloads.at(0), "output");
    EXPECT_EQ(yard.state(job), JobState::completed);
}

}  // namespace
}  // namespace jobyard::broker::test
