#pragma once
// A core with a clock, a disk and peers that a test holds in its hand.
//
// Whatever goes in and comes out passes through the codec, so a test sees what a peer would see. Every turn checks the
// core's invariants, every commit what must hold between the tables, and a message that no test asked for fails the
// test.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "core.hpp"
#include "fake_store.hpp"

namespace jobyard::broker::test {

/// A message as its peer decodes it.
struct Received {
    PeerId peer;
    std::uint64_t rests_on = 0;
    std::unique_ptr<std::string> header;  // the envelope's views point into it
    Envelope envelope;
    std::vector<std::string> payloads;
};

template <class M>
struct Got {
    M message;
    RequestId request;
    SessionId session;
    std::uint64_t rests_on = 0;
    std::vector<std::string> payloads;
    std::unique_ptr<std::string> header;
    const M* operator->() const { return &message; }
};

struct Peer {
    PeerId id;
    SessionId session;
    Role role = Role::submitter;
    Uuid instance;
    std::uint64_t next_number = 1;
    std::uint64_t confirmed = 0;
    Hello said;  // without its lists' contents
    InstanceState instance_state = InstanceState::fresh;
    std::uint32_t epoch = 0;
    std::vector<Code> claims;
};

struct WorkerSpec {
    std::string name = "w";
    std::uint32_t slots = 1;
    std::optional<std::uint32_t> credit = {};  // as many as slots
    std::vector<std::string> queues = {"default"};
    std::vector<std::string> types = {"t"};
    std::vector<Claim> claims = {};
    std::optional<Uuid> store = {};
    std::string_view host = {};
    std::uint32_t pid = 0;
};

/// A dispatched job, as its worker sees it.
struct Held {
    JobId job;
    LeaseToken token;
    std::uint32_t attempt = 0;
    std::string queue = {};
    std::string type = {};
    std::string payload = {};
    DispatchItem item = {};  // its texts are gone
};

struct Failure {
    bool retryable = true;
    Outcome outcome = Outcome::failed;
    std::string_view error = {};
    std::string_view tail = {};
    std::string_view result = {};
    std::uint32_t duration_ms = 0;
};

struct Listing {
    std::vector<JobId> ids;
    std::vector<nlohmann::json> jobs;
    std::uint64_t next_cursor = 0;
};

class Yard {
 public:
    explicit Yard(Limits limits = {}, Timing timing = {}, std::uint64_t seed = 1) : seed_(seed) {
        config.limits = limits;
        config.timing = timing;
        config.store = uuid("the store");
        recover();
        tick();
    }

    // --- time and the disk ---

    [[nodiscard]] Turn now() const { return {now_ms, wall_ms, random_}; }
    /// One turn in which nothing arrives.
    void tick() {
        run([](Output&) {});
    }
    /// Time passes in one step; every peer that is not silent is heard meanwhile.
    void advance(std::int64_t ms) {
        now_ms += ms;
        wall_ms += ms;
        tick();
    }
    /// Time passes, and these leases are renewed in it.
    void advance_renewing(std::int64_t ms, const Peer& worker, const std::vector<Held>& leases) {
        for (std::int64_t passed = 0; passed < ms;) {
            const std::int64_t step = std::min<std::int64_t>(ms - passed, config.timing.renew_ms);
            advance(step);
            passed += step;
            for (const Held& lease : leases) renew(worker, lease);
        }
    }

    /// From now on batches become durable only by commit().
    void hold_commits() { autocommit_ = false; }
    void resume_commits() { autocommit_ = true; }
    /// Closes the open batch without applying it, as the server does while one is in flight.
    void seal() {
        Output out{open.get(), {}};
        if (!core->has_writes(out)) return;
        core->seal(now(), out);
        trace_batch(*open);
        const std::uint64_t next = open->seq + 1;
        in_flight.push_back(std::move(open));
        open = std::make_unique<Batch>();
        open->seq = next;
    }
    /// Everything decided so far becomes durable.
    void commit() {
        seal();
        for (auto& batch : in_flight) {
            disk.apply(*batch);
            if (checks_this_commit()) {
                FakeStore again = disk;
                again.apply(*batch);
                EXPECT_TRUE(again == disk) << "batch " << batch->seq << " applied again gives another result";
            }
            durable.push_back(std::move(batch));
        }
        in_flight.clear();
        if (checks_this_commit()) check_disk();
    }
    /// The broker dies and starts again; what was not durable is lost, and so is every message that was not read.
    void crash() {
        in_flight.clear();
        inbox.clear();
        connected_.clear();
        now_ms = 0;
        recover();
        tick();
    }
    /// The broker dies after its last commit, but before any message that rested on it has left.
    void crash_after_commit() {
        commit();
        crash();
    }
    [[nodiscard]] std::uint64_t open_seq() const { return open->seq; }

    // --- peers ---

    Peer submitter(std::string_view name = "s", std::uint64_t grant = std::uint64_t{1} << 40, bool resumed = false) {
        Peer peer;
        peer.instance = uuid(name);
        peer.said.grant = grant;
        peer.said.resumed = resumed;
        hello(peer);
        return peer;
    }
    Peer worker(const WorkerSpec& spec = {}) {
        Peer peer;
        peer.role = Role::worker;
        peer.instance = uuid(spec.name);
        hello(peer, spec);
        return peer;
    }
    /// HELLO on a new connection, and its WELCOME.
    void hello(Peer& peer, const WorkerSpec& spec = {}) {
        peer.id = {++last_peer_};
        connected_.insert(peer.id);
        if (who) core->introduce(peer.id, who);
        hello_here(peer, spec);
    }
    /// From now on connections are known: those that say HELLO next are `who`.
    void guard(const Access& access) {
        run([&](Output& out) { revoked = core->set_access(access, now(), out); });
    }
    /// A connection of `who` that has not said HELLO.
    Peer stranger(Who somebody, Role role = Role::submitter, std::string_view name = "s") {
        Peer peer;
        peer.id = {++last_peer_};
        peer.role = role;
        peer.instance = uuid(name);
        connected_.insert(peer.id);
        core->introduce(peer.id, std::move(somebody));
        return peer;
    }
    /// HELLO on the connection the peer has.
    void hello_here(Peer& peer, const WorkerSpec& spec = {}) {
        peer.session = {};
        send(peer, hello_of(peer, spec));
        const auto welcome = expect<Welcome>(peer);
        peer.session = welcome.session;
        peer.instance_state = welcome->instance;
        peer.claims = welcome->claims;
        peer.epoch = welcome->epoch;
    }
    /// The same instance again after its connection broke.
    void come_back(Peer& peer, const WorkerSpec& spec = {}) {
        peer.said.resumed = true;
        peer.said.confirmed = peer.confirmed;
        hello(peer, spec);
    }
    [[nodiscard]] Hello hello_of(const Peer& peer, const WorkerSpec& spec) const {
        Hello message = peer.said;
        message.role = peer.role;
        message.instance = peer.instance;
        if (peer.role == Role::submitter) return message;
        message.name = spec.name;
        message.store = spec.store.value_or(config.store);
        message.slots = spec.slots;
        message.credit = spec.credit.value_or(spec.slots);
        message.queues.assign(spec.queues.begin(), spec.queues.end());
        message.types.assign(spec.types.begin(), spec.types.end());
        message.claims = spec.claims;
        message.host = spec.host;
        message.pid = spec.pid;
        return message;
    }
    void gone(const Peer& peer) {
        connected_.erase(peer.id);
        run([&](Output&) { core->peer_gone(peer.id, now()); });
    }
    /// Its connection stands, but nothing comes from it any more.
    void silence(const Peer& peer) { connected_.erase(peer.id); }
    void goodbye(const Peer& peer, std::uint64_t confirmed = 0) {
        send(peer, Goodbye{GoodbyeReason::leaving, confirmed});
    }

    // --- messages ---

    /// One turn in which this message arrives.
    RequestId send(const Peer& peer, const Message& message, std::string_view payload = {}) {
        const RequestId request{++last_request_};
        run([&](Output& out) { deliver(peer, request, message, payload, out); });
        return request;
    }

    /// A message that waits for its rows: what was read, and when.
    struct Waiting {
        Peer peer;
        RequestId request;
        std::unique_ptr<std::string> header;
        std::string payload;
        Envelope envelope;
        Settled settled;
        std::vector<Need> needs;
        Snapshot snapshot;
    };
    /// The message arrives and its rows are read, but it is decided only by decide().
    Waiting arrive(const Peer& peer, const Message& message, std::string_view payload = {}) {
        Waiting waiting;
        waiting.peer = peer;
        waiting.request = {++last_request_};
        waiting.payload = payload;
        waiting.header = std::make_unique<std::string>();
        encode_header({peer.session, waiting.request, message}, *waiting.header);
        waiting.envelope = std::get<Envelope>(decode_header(*waiting.header, payload.size()));
        run([&](Output& out) {
            waiting.needs = core->needs(peer.id, waiting.envelope);
            if (is_end(message))
                core->settle_live(peer.id, waiting.envelope, waiting.payload, waiting.settled, now(), out);
            waiting.snapshot = disk.read(waiting.needs);
        });
        return waiting;
    }
    void decide(const Waiting& waiting) {
        run([&](Output& out) {
            const Found found(waiting.needs, waiting.snapshot, newer_than(waiting.snapshot.applied_seq));
            core->handle(waiting.peer.id, waiting.envelope, waiting.payload, found, waiting.settled, now(), out);
        });
    }

    /// The next message for the peer, which must be an M.
    template <class M>
    Got<M> expect(const Peer& peer) {
        const auto at = std::find_if(inbox.begin(), inbox.end(), [&](const Received& r) { return r.peer == peer.id; });
        if (at == inbox.end()) {
            ADD_FAILURE() << "no message for this peer; expected " << message_name(Message{M{}});
            return {};
        }
        M* message = std::get_if<M>(&at->envelope.message);
        if (message == nullptr) {
            ADD_FAILURE() << "expected " << message_name(Message{M{}}) << ", got " << describe(*at);
            inbox.erase(at);
            return {};
        }
        Got<M> got{std::move(*message), at->envelope.request,    at->envelope.session,
                   at->rests_on,        std::move(at->payloads), std::move(at->header)};
        inbox.erase(at);
        return got;
    }
    [[nodiscard]] bool has_message(const Peer& peer) const {
        return std::any_of(inbox.begin(), inbox.end(), [&](const Received& r) { return r.peer == peer.id; });
    }
    void expect_silence() const {
        for (const Received& message : inbox) ADD_FAILURE() << "nobody asked for " << describe(message);
    }
    /// The ERROR that a message is answered with.
    Got<Refusal> refused(const Peer& peer, const Message& message, std::string_view payload = {}) {
        const RequestId request = send(peer, message, payload);
        auto refusal = expect<Refusal>(peer);
        EXPECT_EQ(refusal.request, request);
        EXPECT_EQ(refusal.rests_on, 0U) << "a refusal carries no state and waits for nothing";
        return refusal;
    }

    // --- a submitter's side ---

    /// The answer to a single item. Its texts are kept.
    Answer ask_submit(Peer& peer, const SubmitItem& item, std::string_view payload = {}) {
        SubmitItem sized = item;
        sized.payload_length = static_cast<std::uint32_t>(payload.size());
        send(peer, Submit{peer.confirmed, peer.next_number++, {sized}}, payload);
        return only_answer(peer);
    }
    JobId submit(Peer& peer, const SubmitItem& item = {.type = "t"}, std::string_view payload = {}) {
        const Answer answer = ask_submit(peer, item, payload);
        EXPECT_EQ(answer.code, Code::ok) << answer.text;
        return answer.job;
    }
    Answer cancel(const Peer& peer, JobId job) { return ask(peer, Cancel{{job}}); }
    Answer redrive(const Peer& peer, JobId job) { return ask(peer, Redrive{{job}}); }
    Answer watch(const Peer& peer, JobId job) { return ask(peer, Watch{{job}}); }
    /// Sends a list of one and takes its answer.
    Answer ask(const Peer& peer, const Message& message, std::string_view payload = {}) {
        const RequestId request = send(peer, message, payload);
        return only_answer(peer, request);
    }
    Answer only_answer(const Peer& peer, RequestId request = {}) {
        auto answers = expect<Answers>(peer);
        if (request) {
            EXPECT_EQ(answers.request, request);
        }
        if (answers->items.size() != 1) {
            ADD_FAILURE() << answers->items.size() << " answers to a list of one";
            return {};
        }
        Answer answer = answers->items.front();
        kept_.push_back(std::move(answers.header));
        return answer;
    }
    std::vector<Answer> answers(const Peer& peer) {
        auto got = expect<Answers>(peer);
        kept_.push_back(std::move(got.header));
        return got.message.items;
    }
    /// What SHOW says of the job; `code` alone if it is not there.
    nlohmann::json show(const Peer& peer, JobId job) {
        send(peer, Show{{job}});
        const auto jobs = expect<Jobs>(peer);
        if (jobs->items.size() != 1) return {};
        if (jobs->items[0].code != Code::ok) return {{"code", to_string(jobs->items[0].code)}};
        return nlohmann::json::from_msgpack(jobs.payloads[0]);
    }
    Listing list(const Peer& peer, const List& question) {
        send(peer, question);
        const auto jobs = expect<Jobs>(peer);
        Listing listing;
        listing.next_cursor = jobs->next_cursor;
        for (const JobItem& item : jobs->items) listing.ids.push_back(item.job);
        for (const std::string& map : jobs.payloads) listing.jobs.push_back(nlohmann::json::from_msgpack(map));
        return listing;
    }
    /// Every page.
    std::vector<JobId> list_all(const Peer& peer, List question) {
        std::vector<JobId> ids;
        for (int pages = 0; pages < 1000; ++pages) {
            const Listing page = list(peer, question);
            ids.insert(ids.end(), page.ids.begin(), page.ids.end());
            if (page.next_cursor == 0) return ids;
            question.cursor = page.next_cursor;
        }
        ADD_FAILURE() << "the list never ends";
        return ids;
    }
    /// The maps of the answer.
    std::vector<nlohmann::json> maps(const Peer& peer, const Message& question) {
        send(peer, question);
        const Got<Maps> answer = expect<Maps>(peer);
        std::vector<nlohmann::json> maps;
        for (const std::string& map : answer.payloads) maps.push_back(nlohmann::json::from_msgpack(map));
        return maps;
    }
    nlohmann::json stats(const Peer& peer) {
        send(peer, AskStats{});
        return nlohmann::json::from_msgpack(expect<Stats>(peer).payloads.at(0));
    }

    // --- a worker's side ---

    std::vector<Held> take_all(const Peer& worker) {
        std::vector<Held> held;
        while (has_message(worker)) {
            const auto dispatch = expect<Dispatch>(worker);
            for (std::size_t i = 0; i < dispatch->items.size(); ++i) {
                const DispatchItem& item = dispatch->items[i];
                Held one{item.job,
                         item.token,
                         item.attempt,
                         std::string(item.queue),
                         std::string(item.type),
                         dispatch.payloads[i],
                         item};
                one.item.queue = one.item.type = {};
                held.push_back(std::move(one));
            }
        }
        return held;
    }
    Held take(const Peer& worker) {
        std::vector<Held> held = take_all(worker);
        if (held.size() == 1) return std::move(held.front());
        ADD_FAILURE() << held.size() << " jobs were dispatched, not one";
        return {};
    }
    void started(const Peer& worker, const Held& held) { send(worker, Started{{{held.job, held.token}}}); }
    Code renew(const Peer& worker, const Held& held, double progress = 0, std::string_view text = {}) {
        return ask(worker, Renew{{{held.job, held.token, progress, text}}}).code;
    }
    Code complete(const Peer& worker, const Held& held, std::string_view result = {}, std::uint32_t duration_ms = 0) {
        return ask(worker, Complete{{{static_cast<std::uint32_t>(result.size()), held.job, held.token, duration_ms}}},
                   result)
            .code;
    }
    Code fail(const Peer& worker, const Held& held, const Failure& how = {}) {
        return ask(worker,
                   Fail{{{static_cast<std::uint32_t>(how.result.size()), held.job, held.token, how.duration_ms,
                          how.outcome, how.retryable, how.error, how.tail}}},
                   how.result)
            .code;
    }
    Code release(const Peer& worker, const Held& held) { return ask(worker, Release{{{held.job, held.token}}}).code; }

    // --- looking inside ---

    [[nodiscard]] JobState state(JobId id) const {
        if (const Job* job = core->job(id)) return job->state;
        EndRow row;
        return find_ended(id, row) ? row.state : JobState::none;
    }
    /// The durable record of an ended job; its texts point into the disk.
    [[nodiscard]] EndRow ended(JobId id) const {
        EndRow row;
        EXPECT_TRUE(find_ended(id, row)) << "job " << id.value << " has no final record";
        return row;
    }
    [[nodiscard]] std::vector<AttemptRow> attempts(JobId id) const {
        std::vector<AttemptRow> rows;
        for (const auto& [key, value] : disk[Table::attempts])
            if (key.starts_with(job_key(id))) {
                EXPECT_TRUE(read_row(value, rows.emplace_back()));
            }
        return rows;
    }
    /// Runs the background until it has nothing to do; how many steps that took.
    int background(int most = 100) { return background(disk, most); }
    /// The same with a store that may have less.
    int background(const FakeStore& store, int most = 100) {
        int steps = 0;
        for (; steps < most; ++steps) {
            std::vector<Need> needs = core->agenda_needs(now());
            if (needs.empty()) {
                advance(1);  // a step a millisecond
                needs = core->agenda_needs(now());
            }
            if (needs.empty()) break;
            run_step(needs, store.read(needs));
        }
        EXPECT_LT(steps, most) << "the background never rests";
        return steps;
    }
    /// One step of the background, with the rows that it asked for.
    void run_step(const std::vector<Need>& needs, const Snapshot& snapshot) {
        run([&](Output& out) {
            core->agenda_step(Found(needs, snapshot, newer_than(snapshot.applied_seq)), now(), out);
        });
    }
    static Uuid uuid(std::string_view name) {
        Uuid id;
        for (std::size_t i = 0; i < id.bytes.size(); ++i)
            id.bytes[i] = static_cast<unsigned char>(i < name.size() ? name[i] : '.');
        return id;
    }

    /// What must hold between the tables after every commit.
    void check_disk() const {
        NumbersRow numbers;
        ASSERT_TRUE(read_row(disk[Table::meta].at(std::string(kMetaNumbers)), numbers));
        const FakeStore::Rows& live = disk[Table::live];
        const FakeStore::Rows& done = disk[Table::done];
        const FakeStore::Rows& dead = disk[Table::dead];
        EXPECT_EQ(numbers.done_rows, done.size());
        EXPECT_EQ(numbers.dead_rows, dead.size());
        EXPECT_EQ(numbers.key_rows, disk[Table::keys].size()) << "the number of keys has drifted";
        std::uint64_t event_bytes = 0;
        for (const auto& [key, value] : disk[Table::events]) {
            event_bytes += value.size();
            EventsRow row;
            if (!read_row(value, row)) continue;
            for (const EventsRow::Entry& entry : row.events)
                EXPECT_TRUE(entry.class_number == 0 ||
                            disk[Table::classes].contains(class_key(row.epoch, entry.class_number)))
                    << "an event of a class that is not there";
        }
        for (const auto& [key, value] : disk[Table::classes]) event_bytes += value.size();
        EXPECT_EQ(numbers.event_bytes, event_bytes);
        std::uint64_t done_bytes = 0;
        for (const auto& [key, value] : done) {
            EndRow row;
            ASSERT_TRUE(read_row(value, row));
            done_bytes += value.size() + (row.result_chunks == 0 ? 0 : row.result_size);
        }
        EXPECT_EQ(numbers.done_bytes, done_bytes);
        const auto has = [](const FakeStore::Rows& rows, const std::string& key) {
            return rows.contains(key.substr(0, 8));
        };
        for (const auto& [key, value] : live) {
            EXPECT_TRUE(core->job({from_big_endian(key)}) != nullptr)
                << "job " << from_big_endian(key) << " is forgotten in memory";
            EXPECT_LT(from_big_endian(key), numbers.next_job);
            EXPECT_FALSE(done.contains(key) || dead.contains(key))
                << "job " << from_big_endian(key) << " lives and has ended";
        }
        EXPECT_EQ(live.size(), unended()) << "a job is in memory and not on disk";
        for (const auto& [key, value] : disk[Table::state])
            EXPECT_TRUE(has(live, key)) << "state without job " << from_big_endian(key);
        for (const auto& [key, value] : disk[Table::buried])
            EXPECT_TRUE(has(dead, key)) << "buried but not dead: " << from_big_endian(key);
        for (const auto& [key, value] : dead)
            EXPECT_TRUE(has(disk[Table::buried], key)) << "dead but not buried: " << from_big_endian(key);
        for (const auto& [key, value] : disk[Table::chunks])
            EXPECT_TRUE(has(live, key) || has(disk[Table::buried], key) || has(disk[Table::arrays], key))
                << "payload without job " << from_big_endian(key);
        for (const auto& [key, value] : disk[Table::attempts])
            EXPECT_TRUE(has(live, key) || has(done, key) || has(dead, key))
                << "attempt without job " << from_big_endian(key);
        for (const auto& [key, value] : disk[Table::results])
            EXPECT_TRUE(has(done, key) || has(dead, key)) << "result without job " << from_big_endian(key);
        for (const auto& [key, value] : disk[Table::key_ends])
            EXPECT_TRUE(disk[Table::keys].contains(value)) << "the end of a key that is not there";
        for (const auto& [key, value] : disk[Table::claims])
            EXPECT_TRUE(has(live, key) || core->in_claim_window()) << "claim without job " << from_big_endian(key);
        std::map<std::string, std::uint64_t> left;  // by array
        std::uint64_t in_letter_queue = 0;
        for (const auto& [key, value] : disk[Table::leftovers]) {
            LeftoverRow row;
            ASSERT_TRUE(read_row(value, row));
            ++left[key.substr(0, 8)];
            EXPECT_EQ(row.state == JobState::dead, dead.contains(job_key(row.job)))
                << "a leftover of array " << from_big_endian(key);
            if (row.state != JobState::dead) continue;
            ++in_letter_queue;
            const std::string& value_of_dead = dead.at(job_key(row.job));
            EndRow ended;
            ASSERT_TRUE(read_row(value_of_dead, ended));
            EXPECT_EQ(row.bytes, value_of_dead.size() + (ended.result_chunks == 0 ? 0 : ended.result_size));
        }
        std::uint64_t buried = 0;
        for (const auto& [key, value] : disk[Table::counts]) {
            ArrayRow row;
            ASSERT_TRUE(read_row(value, row));
            EXPECT_TRUE(disk[Table::arrays].contains(key) && core->has_array({from_big_endian(key)}));
            EXPECT_EQ(row.left_dead + row.left_cancelled, left[key]) << "leftovers of array " << from_big_endian(key);
            buried += row.buried;
        }
        EXPECT_EQ(buried, in_letter_queue);
        EXPECT_EQ(disk[Table::arrays].size(), disk[Table::counts].size());
        EXPECT_LE(left.size(), disk[Table::arrays].size()) << "leftovers of no array";
        std::set<std::string> ending;
        for (const auto& [key, value] : disk[Table::key_ends]) ending.insert(value);
        for (const auto& [key, value] : disk[Table::keys]) {
            KeyRow row;
            ASSERT_TRUE(read_row(value, row));
            EXPECT_TRUE(has(live, job_key(row.job)) || ending.contains(key)) << "a key that will never be forgotten";
        }
    }

    CoreConfig config;
    std::unique_ptr<Core> core;
    FakeStore disk;
    std::unique_ptr<Batch> open;
    std::vector<std::unique_ptr<Batch>> in_flight;
    std::vector<std::unique_ptr<Batch>> durable;
    std::deque<Received> inbox;
    std::int64_t now_ms = 0;
    std::int64_t wall_ms = 1'700'000'000'000;
    Who who;                       ///< who says HELLO; null: nobody asks
    std::vector<PeerId> revoked;   ///< by guard()
    std::string* trace = nullptr;  ///< every batch and message is appended, byte for byte

 private:
    static bool is_end(const Message& message) {
        return std::holds_alternative<Complete>(message) || std::holds_alternative<Fail>(message) ||
               std::holds_alternative<Release>(message);
    }

    template <class Decide>
    void run(Decide&& decide) {
        random_ = random_ * 6364136223846793005ULL + seed_;
        Output out{open.get(), {}};
        decide(out);
        for (const PeerId peer : connected_) core->heard(peer, now());
        core->expire(now(), out);
        core->dispatch(now(), out);
        core->check_invariants();
        for (Outgoing& message : out.messages) collect(message);
        if (autocommit_) commit();
    }

    void deliver(const Peer& peer, RequestId request, const Message& message, std::string_view payload, Output& out) {
        std::string header;
        encode_header({peer.session, request, message}, header);
        const auto decoded = decode_header(header, payload.size());
        if (const auto* error = std::get_if<DecodeError>(&decoded))
            return core->refuse(peer.id, error->session, error->request, error->code, error->text, error->field, out);
        const Envelope& envelope = std::get<Envelope>(decoded);
        core->heard(peer.id, now());
        std::vector<Need> needs = core->needs(peer.id, envelope);
        Settled settled;
        if (!needs.empty() && is_end(message)) core->settle_live(peer.id, envelope, payload, settled, now(), out);
        if (!needs.empty()) {
            const Snapshot first = disk.read(needs);
            const auto besides = core->needs_besides(envelope, Found(needs, first, newer_than(first.applied_seq)));
            needs.insert(needs.end(), besides.begin(), besides.end());
        }
        const Snapshot snapshot = disk.read(needs);
        const Found found = needs.empty() ? Found{} : Found(needs, snapshot, newer_than(snapshot.applied_seq));
        core->handle(peer.id, envelope, payload, found, settled, now(), out);
    }

    [[nodiscard]] std::vector<const Batch*> newer_than(std::uint64_t seq) const {
        std::vector<const Batch*> newer;
        for (const auto* batches : {&durable, &in_flight})
            for (const auto& batch : *batches)
                if (batch->seq > seq) newer.push_back(batch.get());
        newer.push_back(open.get());
        return newer;
    }

    void collect(Outgoing& message) {
        const std::uint64_t sealed = in_flight.empty() ? disk.applied : in_flight.back()->seq;
        if (std::holds_alternative<Heartbeat>(message.envelope.message) ||
            std::holds_alternative<Refusal>(message.envelope.message)) {
            EXPECT_EQ(message.rests_on, 0U) << message_name(message.envelope.message) << " carries no state";
        } else if (std::holds_alternative<Dispatch>(message.envelope.message)) {
            EXPECT_LE(message.rests_on, open->seq);
            EXPECT_TRUE(message.to_worker);
        } else {
            EXPECT_TRUE(message.rests_on == open->seq || message.rests_on == sealed)
                << message_name(message.envelope.message) << " rests on " << message.rests_on
                << ", but the newest batch is " << sealed << " or the open one, " << open->seq;
        }
        if (message.rests_on != 0) {  // else there is nothing to be ordered by
            const bool known = to_workers_.try_emplace(message.envelope.session, message.to_worker).first->second;
            EXPECT_EQ(message.to_worker, known) << "a session's messages keep their order only if all are of one kind: "
                                                << message_name(message.envelope.message);
        }
        Received received;
        received.peer = message.peer;
        received.rests_on = message.rests_on;
        std::size_t size = 0;
        for (const PayloadRef& payload : message.payloads) {
            received.payloads.push_back(fetch(message, payload));
            EXPECT_EQ(received.payloads.back().size(), payload.slice.size);
            size += received.payloads.back().size();
        }
        received.header = std::make_unique<std::string>();
        encode_header(message.envelope, *received.header);
        auto decoded = decode_header(*received.header, size);
        if (const auto* error = std::get_if<DecodeError>(&decoded)) {
            ADD_FAILURE() << "a peer could not read " << message_name(message.envelope.message) << ": " << error->text;
            return;
        }
        received.envelope = std::move(std::get<Envelope>(decoded));
        if (trace != nullptr) {
            *trace += "to " + std::to_string(message.peer.value) + " after " + std::to_string(message.rests_on) + ": " +
                      *received.header;
            for (const std::string& payload : received.payloads) *trace += payload;
        }
        inbox.push_back(std::move(received));
    }

    /// A payload, from wherever the edge would find it.
    [[nodiscard]] std::string fetch(const Outgoing& message, const PayloadRef& payload) const {
        if (payload.slice.size == 0) return {};
        const std::string key = job_key({payload.number});
        if (payload.kind == PayloadRef::Kind::own) return message.bytes.substr(payload.slice.at, payload.slice.size);
        if (payload.kind == PayloadRef::Kind::in_batch) {
            for (const Batch* batch : newer_than(0))
                if (batch->seq == payload.number) return std::string(batch->view(payload.slice));
        } else if (payload.kind == PayloadRef::Kind::of_job) {
            std::optional<std::string> edited;
            for (const Batch* batch : newer_than(disk.applied))
                for (const auto& [job, slice] : batch->edits())
                    if (job.value == payload.number) edited = batch->view(slice);
            if (edited) return *edited;
            for (const Batch* batch : newer_than(disk.applied))
                if (const auto slice = batch->payload_of({payload.number})) return std::string(batch->view(*slice));
            return read_live_payload(key);
        } else {
            const std::vector<Need> needs{{Need::Kind::row, Table::done, key, 1},
                                          {Need::Kind::row, Table::dead, key, 1},
                                          {Need::Kind::prefix, Table::results, key, 1024}};
            const Snapshot snapshot = disk.read(needs);
            const Found found(needs, snapshot, newer_than(disk.applied));
            std::string bytes;
            EndRow row;
            for (const Table table : {Table::done, Table::dead})
                if (const auto stored = found.get(table, key); stored && read_row(*stored, row)) bytes += row.result;
            for (const RowView& chunk : found.with_prefix(Table::results, key)) bytes += chunk.value;
            return bytes;
        }
        ADD_FAILURE() << "a payload is nowhere to be found";
        return {};
    }
    [[nodiscard]] std::string read_live_payload(const std::string& key) const {
        const std::vector<Need> needs{{Need::Kind::row, Table::live, key, 1},
                                      {Need::Kind::row, Table::buried, key, 1},
                                      {Need::Kind::row, Table::arrays, key, 1},
                                      {Need::Kind::prefix, Table::chunks, key, 1024}};
        const Snapshot snapshot = disk.read(needs);
        const Found found(needs, snapshot, newer_than(disk.applied));
        LiveRow row;
        auto stored = found.get(Table::live, key);
        if (!stored) stored = found.get(Table::arrays, key);
        if (!stored || !read_row(*stored, row)) {
            ADD_FAILURE() << "a dispatched job is not on disk";
            return {};
        }
        std::string bytes(row.payload);
        for (const RowView& chunk : found.with_prefix(Table::chunks, key)) bytes += chunk.value;
        return bytes;
    }

    [[nodiscard]] bool find_ended(JobId id, EndRow& row) const {
        for (const Table table : {Table::done, Table::dead}) {
            const auto stored = disk[table].find(job_key(id));
            if (stored != disk[table].end()) return read_row(stored->second, row);
        }
        return false;
    }
    [[nodiscard]] std::uint64_t unended() const {
        std::uint64_t count = 0;
        for (const std::uint64_t in_state : core->counters().by_state) count += in_state;
        return count;
    }

    /// Every commit of a small store; looking through a large one each time would take longer than the test.
    [[nodiscard]] bool checks_this_commit() const { return disk.rows() < 1000 || disk.applied % 64 == 0; }

    static std::string describe(const Received& message) {
        std::string text =
            std::string(message_name(message.envelope.message)) + " to peer " + std::to_string(message.peer.value);
        if (const auto* refusal = std::get_if<Refusal>(&message.envelope.message))
            text += std::string(" (") + to_string(refusal->code) + ": " + std::string(refusal->text) + ")";
        return text;
    }

    void trace_batch(const Batch& batch) {
        if (trace == nullptr) return;
        for (const Op& op : batch.ops()) {
            *trace += std::to_string(batch.seq) + " " + std::to_string(static_cast<int>(op.kind)) + " " +
                      to_string(op.table) + " " + to_string(op.to);
            trace->append(batch.key(op)).append(batch.value(op));
        }
    }

    /// As the broker does at its start.
    void recover() {
        config.epoch = epochs_++;
        Batch batch;
        batch.seq = disk.applied + 1;
        batch.put(Table::meta, kMetaEpoch, big_endian(config.epoch));
        batch.put(Table::meta, kMetaApplied, big_endian(batch.seq));
        disk.apply(batch);
        core = std::make_unique<Core>(config);
        for (const auto& [key, value] : disk[Table::arrays]) {
            LiveRow submitted;
            ArrayRow row;
            ASSERT_TRUE(read_row(value, submitted));
            ASSERT_TRUE(read_row(disk[Table::counts].at(key), row));
            core->load_array({from_big_endian(key)}, submitted, row);
        }
        std::map<std::uint64_t, StateRow> states;
        for (const auto& [key, value] : disk[Table::state]) ASSERT_TRUE(read_row(value, states[from_big_endian(key)]));
        for (const auto& [key, value] : disk[Table::live]) {
            LiveRow row;
            ASSERT_TRUE(read_row(value, row));
            const auto changed = states.find(from_big_endian(key));
            core->load_live({from_big_endian(key)}, row, changed == states.end() ? nullptr : &changed->second, now());
        }
        for (const auto& [key, value] : disk[Table::queues]) {
            QueueRow row;
            ASSERT_TRUE(read_row(value, row));
            core->load_queue(key, row);
        }
        for (const auto& [key, value] : disk[Table::tasks]) {
            TaskRow row;
            ASSERT_TRUE(read_row(value, row));
            core->load_task(from_big_endian(key), row);
        }
        for (const auto& [key, value] : disk[Table::claims])
            core->load_claim({from_big_endian(key)}, {from_big_endian(value)});
        for (const auto& [key, value] : disk[Table::workers]) {
            WorkerRow row;
            ASSERT_TRUE(read_row(value, row));
            core->load_worker(from_big_endian(key), row);
        }
        for (const auto& [key, value] : disk[Table::instances]) {
            InstanceRow row;
            ASSERT_TRUE(read_row(value, row));
            core->load_instance(from_big_endian(key), row, now());
        }
        for (const auto& [key, value] : disk[Table::meta]) {
            NumbersRow numbers;
            if (key == kMetaNumbers && read_row(value, numbers)) core->load(numbers);
            if (key == kMetaFloor) core->load_floor({from_big_endian(value)});
        }
        core->load_applied(disk.applied);
        core->start(now());
        open = std::make_unique<Batch>();
        open->seq = disk.applied + 1;
    }

    bool autocommit_ = true;
    std::uint64_t seed_;
    std::uint32_t epochs_ = 1;
    std::uint64_t random_ = 0;
    std::set<PeerId> connected_;
    std::map<SessionId, bool> to_workers_;
    std::uint32_t last_peer_ = 0;
    std::uint64_t last_request_ = 0;
    std::vector<std::unique_ptr<std::string>> kept_;
};

/// A Yard that fails the test on a message nobody asked for.
struct YardTest : testing::Test, Yard {
    void TearDown() override { expect_silence(); }
    /// Starts over with other limits or intervals.
    void with(const Limits& limits, const Timing& timing = {}) { static_cast<Yard&>(*this) = Yard(limits, timing); }
};

}  // namespace jobyard::broker::test
