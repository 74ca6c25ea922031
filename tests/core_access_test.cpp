// Who may do what (PROTOCOL.md, section 12): every role with every message, in queues that its key covers and in
// others; and what becomes of sessions when keys go. What is expected is read from the page.

#include <fstream>
#include <sstream>

#include "core_fixture.hpp"

namespace jobyard::broker::test {
namespace {

// --- the page --------------------------------------------------------------------------------------------------------

struct Row {
    std::map<std::string, bool> roles;
    std::string queues;
};

/// The table of section 12, by message.
std::map<std::string, Row> page() {
    std::ifstream file(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md");
    std::ostringstream all;
    all << file.rdbuf();
    std::istringstream text(all.str().substr(all.str().find("\n## 12. Keys and roles")));
    std::map<std::string, Row> rows;
    for (std::string line; std::getline(text, line);) {
        if (!line.starts_with("| ") || line.starts_with("| message")) continue;
        std::vector<std::string> cells;
        std::istringstream parts(line.substr(1));
        for (std::string cell; std::getline(parts, cell, '|');) {
            const std::size_t first = cell.find_first_not_of(' ');
            cells.push_back(first == std::string::npos ? ""
                                                       : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
        }
        if (cells.size() != 6) {
            ADD_FAILURE() << line;
            continue;
        }
        rows[cells[0]] = {{{"submit", cells[1] == "yes"},
                           {"work", cells[2] == "yes"},
                           {"observe", cells[3] == "yes"},
                           {"operate", cells[4] == "yes"},
                           {"admin", true}},
                          cells[5]};
    }
    return rows;
}

Who key(std::string name, KeyRoles roles, std::vector<std::string> queues) {
    return std::make_shared<const Principal>(
        Principal{.name = name, .public_key = "key of " + name, .roles = roles, .queues = std::move(queues)});
}
KeyRoles bits(KeyRole role) { return static_cast<KeyRoles>(role); }
constexpr KeyRole kRoles[] = {KeyRole::submit, KeyRole::work, KeyRole::observe, KeyRole::operate, KeyRole::admin};

template <std::size_t... i>
std::vector<Message> all_messages(std::index_sequence<i...>) {
    return {Message(std::in_place_index<i>)...};
}

TEST(Access, AMessageIsByThePageForTheRolesOfTheTable) {
    const std::map<std::string, Row> rows = page();
    std::size_t from_peers = 0;
    for (const Message& message : all_messages(std::make_index_sequence<std::variant_size_v<Message>>())) {
        const std::string name = message_name(message);
        const Rule rule = rule_of(message);
        const auto row = rows.find(name);
        if (rule.roles == 0) {
            EXPECT_EQ(row, rows.end()) << name << " is the broker's and needs no right";
            continue;
        }
        ++from_peers;
        ASSERT_NE(row, rows.end()) << name << " is not in PROTOCOL.md, section 12";
        for (const KeyRole role : kRoles)
            EXPECT_EQ((rule.roles & bits(role)) != 0, row->second.roles.at(to_string(role)))
                << name << " by " << to_string(role);
        const std::string scope = rule.scope == Scope::act ? "act" : rule.scope == Scope::see ? "see" : "";
        EXPECT_TRUE(row->second.queues.starts_with(scope) && row->second.queues.empty() == scope.empty()) << name;
    }
    EXPECT_EQ(from_peers, rows.size()) << "the page has messages that are none";
}

TEST(Access, APatternIsAGlob) {
    EXPECT_TRUE(matches("*", ""));
    EXPECT_TRUE(matches("*", "mail"));
    EXPECT_TRUE(matches("mail", "mail"));
    EXPECT_FALSE(matches("mail", "mails"));
    EXPECT_FALSE(matches("mails", "mail"));
    EXPECT_TRUE(matches("web.*", "web."));
    EXPECT_FALSE(matches("web.*", "web"));
    EXPECT_TRUE(matches("*.eu.*", "web.eu.low"));
    EXPECT_TRUE(matches("a*b*c", "aXbYbZc"));
    EXPECT_FALSE(matches("a*b*c", "aXbYbZ"));
    EXPECT_TRUE(matches("m??l", "mail"));
    EXPECT_FALSE(matches("m??l", "mal"));
    EXPECT_FALSE(matches("", "x"));
    EXPECT_TRUE(matches(std::string(40, '*') + "b", std::string(255, 'a') + "b"));
    EXPECT_FALSE(matches(std::string(40, '*') + "b", std::string(255, 'a')));
}

// --- the core --------------------------------------------------------------------------------------------------------

/// A broker with one job of each kind in the queues "mine" and "theirs", made by an admin.
struct CoreAccess : YardTest {
    struct There {
        JobId waiting;
        JobId dead;
        JobId array;
        std::uint64_t task = 0;
        std::uint64_t purge = 0;
        std::string worker;
    };
    Access access;
    std::map<std::string, There> there;
    Peer root;

    CoreAccess() {
        add(key("root", bits(KeyRole::admin), {}));
        for (const KeyRole role : kRoles) add(key(to_string(role), bits(role), {"mine", "mine.*"}));
        guard(access);
        who = access.find("key of root");
        root = submitter("root");
        for (const std::string queue : {"mine", "theirs"}) {
            There& made = there[queue];
            const Peer w = worker({.name = queue, .slots = 1, .queues = {queue}});
            made.worker = queue;
            made.dead = submit(root, {.queue = queue, .type = "t"}, "secret");
            EXPECT_EQ(fail(w, take(w), {.retryable = false, .tail = "secret"}), Code::ok);
            made.waiting = submit(root, {.queue = queue, .type = "other"}, "secret");
            SubmitArray array;
            array.first_number = root.next_number++;
            array.items.push_back({.queue = queue, .type = "other"});
            array.count = 3;
            made.array = ask(root, array).job;
            StartTask task;
            task.queue = queue;
            made.task = ask(root, task).job.value;
            task.action = TaskAction::purge;
            task.type = "none";
            made.purge = ask(root, task).job.value;
        }
    }

    void add(Who somebody) { access.keys[somebody->public_key] = std::move(somebody); }
    Who of(const std::string& name) { return access.find("key of " + name); }

    /// One of each message, about `queue`.
    template <class M>
    Message sample(Peer& peer, const std::string& queue) {
        const There& here = there.at(queue);
        M message;
        if constexpr (std::is_same_v<M, Hello>) {
            static const WorkerSpec kAgain = {.name = "again"};  // the message views it
            message = hello_of(peer, kAgain);
        } else if constexpr (std::is_same_v<M, Submit> || std::is_same_v<M, SubmitArray>) {
            message.first_number = peer.next_number++;
            SubmitItem item;
            item.queue = queue;
            item.type = "t";
            message.items.push_back(item);
            if constexpr (std::is_same_v<M, SubmitArray>) message.count = 1;
        } else if constexpr (requires {
                                 message.action;
                                 message.array;
                             }) {
            message.array = here.array;
        } else if constexpr (std::is_same_v<M, ListArrays>) {
            message.array = here.array;
        } else if constexpr (std::is_same_v<M, ListQueues>) {
            message.name = queue;
        } else if constexpr (std::is_same_v<M, List> || std::is_same_v<M, StartTask>) {
            message.queue = queue;
            if constexpr (std::is_same_v<M, StartTask>) message.count_only = true;
        } else if constexpr (std::is_same_v<M, StopTask>) {
            message.task = here.task;
        } else if constexpr (std::is_same_v<M, SteerWorker>) {
            message.name = here.worker;
        } else if constexpr (std::is_same_v<M, SetQueue>) {
            message.queue = queue;
            message.max_running = 7;
        } else if constexpr (std::is_same_v<M, Edit>) {
            message.jobs = {here.dead};
            message.priority = 3;
        } else if constexpr (std::is_same_v<M, Redrive>) {
            message.jobs = {here.dead};
        } else if constexpr (std::is_same_v<M, Change>) {
            message.jobs = {here.waiting};
            message.priority = 3;
        } else if constexpr (requires { message.jobs; }) {
            message.jobs = {here.waiting};
        } else if constexpr (std::is_same_v<M, Credit>) {
            message.credit = 1;
        } else if constexpr (std::is_same_v<M, Renew> || std::is_same_v<M, Started> || std::is_same_v<M, Complete> ||
                             std::is_same_v<M, Fail> || std::is_same_v<M, Release>) {
            message.items.push_back({});
            message.items.back().job = here.waiting;
        }
        return message;
    }

    /// Whether the broker did it, or said not_allowed, to this job or to all of it.
    bool is_allowed(const Peer& peer, const Message& message) {
        send(peer, message);
        bool allowed = true;
        while (has_message(peer)) {
            const auto at =
                std::find_if(inbox.begin(), inbox.end(), [&](const Received& r) { return r.peer == peer.id; });
            const Message& answer = at->envelope.message;
            if (const auto* refusal = std::get_if<Refusal>(&answer)) allowed = refusal->code != Code::not_allowed;
            if (const auto* answers = std::get_if<Answers>(&answer))
                for (const Answer& item : answers->items) allowed = allowed && item.code != Code::not_allowed;
            if (const auto* jobs = std::get_if<Jobs>(&answer))
                for (const JobItem& item : jobs->items) allowed = allowed && item.code != Code::not_allowed;
            inbox.erase(at);
        }
        return allowed;
    }
    void forget_messages() { inbox.clear(); }
};

/// A yard that is no test of its own.
struct AccessYard : CoreAccess {
    void TestBody() override {}
};
using Sample = Message (*)(AccessYard& yard, Peer& peer, const std::string& queue);
struct Kind {
    std::string name;
    Sample sample;
};
template <class M>
Message sample_of(AccessYard& yard, Peer& peer, const std::string& queue) {
    return yard.sample<M>(peer, queue);
}
template <std::size_t... i>
std::vector<Kind> make_kinds(std::index_sequence<i...>) {
    return {Kind{message_name(Message(std::in_place_index<i>)), &sample_of<std::variant_alternative_t<i, Message>>}...};
}
/// Every message that there is.
std::vector<Kind> all_kinds() { return make_kinds(std::make_index_sequence<std::variant_size_v<Message>>()); }

/// A yard of its own for each, because some change it.
void try_one(const Kind& kind, const Row& row, KeyRole role, const std::string& queue) {
    SCOPED_TRACE(kind.name + " by " + to_string(role) + " about " + queue);
    AccessYard yard;
    yard.forget_messages();
    yard.who = yard.of(to_string(role));
    // It comes as whatever sends such messages: that a submitter cannot say COMPLETE is another rule.
    const bool for_submitters = row.roles.at("submit") || row.roles.at("observe") || row.roles.at("operate");
    const bool works = row.roles.at("work") && (!for_submitters || role == KeyRole::work);
    const bool may_come = works ? role == KeyRole::work || role == KeyRole::admin : role != KeyRole::work;
    WorkerSpec as_worker;
    as_worker.name = "probe";
    as_worker.queues = {"mine"};
    if (!may_come) {
        Peer peer = yard.stranger(yard.who, works ? Role::worker : Role::submitter, "probe");
        yard.send(peer, yard.hello_of(peer, as_worker));
        EXPECT_EQ(yard.expect<Refusal>(peer)->code, Code::not_allowed) << "it was let in";
        EXPECT_FALSE(row.roles.at(to_string(role))) << "and may send this";
        return;
    }
    Peer peer = works ? yard.worker(as_worker) : yard.submitter("probe");
    yard.forget_messages();
    const Message message = kind.sample(yard, peer, queue);
    const bool sees = role == KeyRole::observe || role == KeyRole::operate;
    bool expected = row.roles.at(to_string(role));
    if (queue == "theirs" && role != KeyRole::admin && !row.queues.empty())
        expected = expected && row.queues.starts_with("see") && sees;
    if (std::holds_alternative<Hello>(message) && role == KeyRole::work) expected = false;  // it serves "default"
    EXPECT_EQ(yard.is_allowed(peer, message), expected);
    yard.forget_messages();
}

TEST(CoreAccessMatrix, EveryRoleMayDoWithEveryMessageWhatThePageSays) {
    const std::map<std::string, Row> rows = page();
    int tried = 0;
    for (const Kind& kind : all_kinds()) {
        const auto row = rows.find(kind.name);
        if (row == rows.end()) continue;  // the broker's: see above
        for (const KeyRole role : kRoles)
            for (const std::string queue : {"mine", "theirs"}) {
                try_one(kind, row->second, role, queue);
                ++tried;
            }
    }
    EXPECT_EQ(tried, 300) << "30 messages, 5 roles, 2 queues; raise it with a new message";
}

TEST_F(CoreAccess, WhoWasNotIntroducedIsNobody) {
    Peer peer = stranger(nullptr);
    send(peer, hello_of(peer, {}));
    EXPECT_EQ(expect<Refusal>(peer)->code, Code::not_allowed);
    EXPECT_EQ(core->counters().denied, 1U);
}

TEST_F(CoreAccess, AWorkerServesQueuesThatItsKeyCovers) {
    who = of("work");
    worker({.name = "good", .queues = {"mine", "mine.eu"}});
    Peer bad = stranger(who, Role::worker, "bad");
    send(bad, hello_of(bad, {.name = "bad", .queues = {"mine", "theirs"}}));
    EXPECT_NE(std::string(expect<Refusal>(bad)->text).find("theirs"), std::string::npos);
}

TEST_F(CoreAccess, AnInstanceIsNotTakenOverByAnotherKey) {
    who = of("submit");
    Peer mine = submitter("web");
    Peer thief = stranger(of("operate"), Role::submitter, "web");
    send(thief, hello_of(thief, {}));
    EXPECT_EQ(expect<Refusal>(thief)->code, Code::not_allowed);
    EXPECT_EQ(ask_submit(mine, {.queue = "mine", .type = "other"}).code, Code::ok) << "it was ended";
}

TEST_F(CoreAccess, OneJobOfAListThatMayNotBeTouchedDoesNotHoldUpTheOthers) {
    who = of("submit");
    Peer peer = submitter("probe");
    send(peer, Cancel{{there["theirs"].waiting, there["mine"].waiting}});
    const auto cancelled = answers(peer);
    ASSERT_EQ(cancelled.size(), 2U);
    EXPECT_EQ(cancelled[0].code, Code::not_allowed);
    EXPECT_EQ(cancelled[1].code, Code::ok);
    Submit submit;
    submit.first_number = 1;
    submit.items = {{.queue = "theirs", .type = "other"},
                    {.queue = "mine", .type = "other"},
                    {.queue = "mine.eu", .type = "other"}};
    send(peer, submit);
    const auto made = answers(peer);
    ASSERT_EQ(made.size(), 3U);
    EXPECT_EQ(made[0].code, Code::not_allowed);
    EXPECT_EQ(made[1].code, Code::ok);
    EXPECT_EQ(made[2].code, Code::ok);
}

TEST_F(CoreAccess, WhoCoversAQueueSeesPayloadsAndAttemptsThereAndNowhereElse) {
    for (const std::string role : {"observe", "operate"}) {
        who = of(role);
        Peer peer = submitter(role);
        EXPECT_TRUE(show(peer, there["mine"].dead).contains("attempts")) << role;
        EXPECT_FALSE(show(peer, there["theirs"].dead).contains("attempts")) << role;
        EXPECT_EQ(show(peer, there["theirs"].dead)["state"], "dead");
        send(peer, Show{{there["mine"].dead}, true});
        EXPECT_EQ(expect<Jobs>(peer)->items[0].code, Code::ok);
        send(peer, Show{{there["theirs"].dead}, true});
        EXPECT_EQ(expect<Jobs>(peer)->items[0].code, Code::not_allowed);
    }
}

TEST_F(CoreAccess, ChangeAndEditDoNotMoveJobsIntoQueuesThatAreNotCovered) {
    who = of("operate");
    Peer peer = submitter("probe");
    Change change{{there["mine"].waiting}, 0, "theirs", {}};
    EXPECT_EQ(refused(peer, change)->code, Code::not_allowed);
    Edit edit;
    edit.jobs = {there["mine"].dead};
    edit.queue = "theirs";
    EXPECT_EQ(refused(peer, edit)->code, Code::not_allowed);
}

TEST_F(CoreAccess, AllQueuesAreNotAQueueThatAPatternFits) {
    access.keys["key of operate"] = key("operate", bits(KeyRole::operate), {"?"});
    guard(access);
    who = of("operate");
    Peer peer = submitter("probe");
    SetQueue all;
    all.queue = "*";
    all.type = "t";
    all.retry.max_attempts = 1;
    EXPECT_EQ(refused(peer, all)->code, Code::not_allowed);
}

TEST_F(CoreAccess, ASubmitSaidAgainWatchesNoJobOfAQueueThatItsKeyHasLost) {
    access.keys["key of submit"] = key("submit", bits(KeyRole::submit), {"mine"});
    guard(access);
    who = of("submit");
    Peer peer = submitter("p");
    SubmitItem item{.queue = "mine", .type = "other", .watch = true};
    const Answer made = ask_submit(peer, item);
    ASSERT_EQ(made.code, Code::ok);
    access.keys["key of submit"] = key("submit", bits(KeyRole::submit), {"theirs"});
    guard(access);
    EXPECT_EQ(expect<Refusal>(peer)->code, Code::no_session);
    who = nullptr;
    hello_here(peer);
    --peer.next_number;
    const Answer again = ask_submit(peer, item);
    EXPECT_EQ(again.job, made.job) << "it made its job";
    EXPECT_EQ(again.state, JobState::none) << "so its client asks for the result, and hears that it may not";
    who = of("admin");
    Peer admin = submitter("admin");
    EXPECT_EQ(ask(admin, Cancel{{made.job}}).code, Code::ok);
    for (const Received& got : inbox)
        EXPECT_FALSE(got.peer == peer.id && std::holds_alternative<Results>(got.envelope.message));
    forget_messages();
}

TEST_F(CoreAccess, APurgeIsForAdminsAlsoToStop) {
    who = of("operate");
    Peer peer = submitter("probe");
    StartTask purge;
    purge.action = TaskAction::purge;
    purge.queue = "mine";
    EXPECT_EQ(refused(peer, purge)->code, Code::not_allowed);
    EXPECT_EQ(refused(peer, StopTask{there["mine"].purge})->code, Code::not_allowed);
    EXPECT_EQ(refused(peer, SetQueue{.queue = "*", .type = "t"})->code, Code::not_allowed) << "that is every queue";
}

// --- keys that go ----------------------------------------------------------------------------------------------------

TEST_F(CoreAccess, ARevokedWorkerIsToldAndWhatItHoldsGoesToOthersUncharged) {
    who = of("work");
    const Peer w = worker({.name = "w", .queues = {"mine"}, .types = {"u"}});
    const JobId job = submit(root, {.queue = "mine", .type = "u"});
    const Held held = take(w);
    access.keys.erase("key of work");
    guard(access);
    EXPECT_EQ(expect<Refusal>(w)->code, Code::not_allowed);
    ASSERT_EQ(revoked.size(), 1U);
    EXPECT_EQ(revoked[0], w.id);
    forget_messages();
    EXPECT_EQ(refused(w, Complete{{{0, held.job, held.token}}})->code, Code::no_session);
    Peer again = stranger(of("work"), Role::worker, "w2");
    send(again, hello_of(again, {.name = "w2", .queues = {"mine"}}));
    EXPECT_EQ(expect<Refusal>(again)->code, Code::not_allowed);
    who = of("admin");
    const Peer other = worker({.name = "other", .queues = {"mine"}, .types = {"u"}});
    const Held second = take(other);
    EXPECT_EQ(second.job, job);
    EXPECT_EQ(second.attempt, held.attempt) << "it was charged";
    EXPECT_GT(second.token.value, held.token.value);
}

TEST_F(CoreAccess, AWorkerThatGuessesALeaseInAnotherQueueDoesNotGetIt) {
    who = of("admin");
    Peer holder = worker({.name = "holder", .queues = {"theirs"}, .types = {"u"}});
    submit(root, {.queue = "theirs", .type = "u"});
    const Held held = take(holder);
    crash_after_commit();
    guard(access);
    who = of("work");
    WorkerSpec thief;
    thief.name = "thief";
    thief.queues = {"mine"};
    thief.claims = {{held.job, held.token}};
    EXPECT_EQ(worker(thief).claims.at(0), Code::stale_lease);
    who = of("admin");
    come_back(holder, {.name = "holder", .queues = {"theirs"}, .types = {"u"}, .claims = {{held.job, held.token}}});
    EXPECT_EQ(holder.claims.at(0), Code::ok) << "it was its own";
}

TEST_F(CoreAccess, WhoseRightsChangeSaysHelloAgainAndWhoseDoNotNoticesNothing) {
    who = of("submit");
    Peer changed = submitter("changed");
    who = of("observe");
    Peer same = submitter("same");
    access.keys["key of submit"] = key("submit", bits(KeyRole::submit), {"theirs"});
    guard(access);
    EXPECT_EQ(expect<Refusal>(changed)->code, Code::no_session);
    EXPECT_TRUE(revoked.empty());
    who = nullptr;  // the connection is the same, and known
    hello_here(changed);
    EXPECT_EQ(ask_submit(changed, {.queue = "mine", .type = "other"}).code, Code::not_allowed);
    EXPECT_EQ(ask_submit(changed, {.queue = "theirs", .type = "other"}).code, Code::ok);
    send(same, AskStats{});
    expect<Stats>(same);
}

TEST_F(CoreAccess, DenialsNameTheKeyAndNeverMoreThanAFew) {
    who = of("work");
    Peer w = worker({.name = "w", .queues = {"mine"}});
    const std::uint64_t before = core->counters().denied;
    static_cast<void>(core->take_denials());
    who = of("observe");
    Peer peer = submitter("probe");
    for (int i = 0; i < 100; ++i) EXPECT_EQ(refused(peer, SetQueue{.queue = "mine"})->code, Code::not_allowed);
    EXPECT_EQ(core->counters().denied, before + 100);
    const std::vector<Denial> denials = core->take_denials();
    EXPECT_LE(denials.size(), 16U);
    ASSERT_FALSE(denials.empty());
    EXPECT_EQ(denials[0].who, "observe");
    EXPECT_EQ(denials[0].what, "SET_QUEUE");
}

}  // namespace
}  // namespace jobyard::broker::test
