// Messages to bytes and back: every message, every bound, any bytes.

#include "jobyard/codec.hpp"

#include <gtest/gtest.h>
#include <algorithm>

#include <functional>
#include <map>
#include <random>
#include <set>

#include <nlohmann/json.hpp>

#include "wire.hpp"

namespace jobyard {
namespace {

using namespace std::string_literals;

std::string hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        text += kDigits[static_cast<unsigned char>(c) >> 4U];
        text += kDigits[static_cast<unsigned char>(c) & 15U];
    }
    return text;
}

Uuid an_instance() { return uuid_from_bytes("0123456789abcdef"); }
Uuid a_store() { return uuid_from_bytes("the store's name"); }

std::string encode(const Message& message, std::uint64_t session = 7, std::uint64_t request = 9) {
    std::string header;
    encode_header({{session}, {request}, message}, header);
    return header;
}

struct Decoded {
    std::variant<Envelope, DecodeError> result;
    [[nodiscard]] const DecodeError* error() const { return std::get_if<DecodeError>(&result); }
    /// Code ok: there was none.
    [[nodiscard]] DecodeError problem() const {
        const DecodeError* found = error();
        return found != nullptr ? *found : DecodeError{Code::ok, "it was read", {}, {}, {}};
    }
    [[nodiscard]] const Envelope& envelope() const { return std::get<Envelope>(result); }
};
Decoded decode(std::string_view header, std::size_t payload = 0) { return {decode_header(header, payload)}; }

/// A header built by hand: version, type, session, request and what `fields` writes.
std::string by_hand(std::uint64_t type, std::uint32_t count, const std::function<void(wire::Writer&)>& fields,
                    std::uint64_t version = 1) {
    std::string header;
    wire::Writer out(header);
    out.array(4 + count);
    out.uint(version);
    out.uint(type);
    out.uint(7);
    out.uint(9);
    fields(out);
    out.flush();
    return header;
}

struct Example {
    Message message;
    std::size_t payload = 0;
    const char* golden = "";  ///< what follows version, type, session and request
};

/// One of each, with every field other than its default.
std::vector<Example> examples() {
    Hello hello;
    hello.min_version = 1;
    hello.max_version = 2;
    hello.minor = 3;
    hello.role = Role::worker;
    hello.instance = an_instance();
    hello.name = "w";
    hello.software = "s/1";
    hello.store = a_store();
    hello.resumed = true;
    hello.confirmed = 300;
    hello.grant = 70'000;
    hello.slots = 4;
    hello.credit = 8;
    hello.queues = {"a", "b"};
    hello.types = {"t"};
    hello.claims = {{{5}, {6}, true}, {{7}, {8}, false}};
    hello.host = "h";
    hello.pid = 77;
    Welcome welcome;
    welcome.minor = 2;
    welcome.store = a_store();
    welcome.epoch = 3;
    welcome.software = "b/1";
    welcome.instance = InstanceState::resumed;
    welcome.heartbeat_ms = 5000;
    welcome.lost_after_ms = 20'000;
    welcome.lease_ms = 30'000;
    welcome.renew_ms = 10'000;
    welcome.window = 8192;
    welcome.max_payload = 262'144;
    welcome.max_result = 393'216;
    welcome.features = {"f"};
    welcome.claims = {Code::ok, Code::stale_lease};
    SubmitItem item;
    item.payload_length = 3;
    item.queue = "q";
    item.type = "t";
    item.priority = 9;
    item.watch = true;
    item.delay_ms = 1000;
    item.timeout_ms = 2000;
    item.max_attempts = 5;
    item.key = "k";
    item.backoff = {10, 300, 40, 50};
    item.run_at = 60;
    item.deadline_ms = 70;
    item.queue_timeout_ms = 80;
    item.held = true;
    item.key_ttl_ms = 90;
    return {
        {hello, 0,
         "01020302c41030313233343536373839616263646566a177a3732f31c4107468652073746f72652773206e616d65"
         "c3cd012cce00011170040892a161a16291a17492930506c3920708a1684d"},
        {welcome, 0,
         "0102c4107468652073746f72652773206e616d6503a3622f3101cd1388cd4e20cd7530cd2710cd2000ce00040000ce0006000091a1669"
         "20003"},
        {Heartbeat{}, 0, ""},
        {Goodbye{GoodbyeReason::restarting, 5}, 0, "0105"},
        {Refusal{Code::busy, "text", "field", 100, 1, 3}, 0, "09a474657874a56669656c64640103"},
        {Submit{4, 5, {item}}, 3, "040591dc00130003a171a17409c3cd03e8cd07d005a16b0acd012c28323c4650c35a"},
        {Answers{{{Code::bad_field, {7}, JobState::queued, "text", "field", 300}}, 512}, 0,
         "91960d0703a474657874a56669656c64cd012ccd0200"},
        {Watch{{{1}, {300}}}, 0, "9201cd012c"},
        {Results{{{4, {7}, JobState::dead, Reason::failed, 3, "e"}}}, 4,
         "919700040708"
         "0103a165"},
        {Grant{1'000'000}, 0, "ce000f4240"},
        {Cancel{{{1}}}, 0, "9101"},
        {Redrive{{{1}}}, 0, "9101"},
        {Show{{{1}}, true}, 0, "9101c3"},
        {List{JobState::dead, "q", "t", 17, 50, {7}}, 0, "08a171a174113207"},
        {Jobs{9, {{2, Code::ok, {7}}}}, 2,
         "099194000200"
         "07"},
        {AskStats{}, 0, ""},
        {Stats{6}, 6, "0006"},
        {ReadEvents{500, 50, 2000, "q", "t", {7}, {EventKind::failed, EventKind::dead}}, 0,
         "cd01f432cd07d0a171a17407920304"},
        {Events{900, 500, true, {{2}, {3}}}, 5, "cd0384cd01f4c392920002920003"},
        {ListWorkers{"c", 50, "w"}, 0, "a16332a177"},
        {Maps{"n", {{2}}}, 2, "a16e91920002"},
        {Dispatch{{{2, {7}, {8}, 1, "q", "t", 5, 6, 7, {9}, 10}}}, 2, "919c0002070801a171a174050607090a"},
        {Credit{12}, 0, "0c"},
        {Started{{{{7}, {8}}}}, 0, "91920708"},
        {Renew{{{{7}, {8}, 0.1, "some"}}}, 0, "91940708cb3fb999999999999aa4736f6d65"},
        {Complete{{{3, {7}, {8}, 9}}}, 3, "91950003070809"},
        {Fail{{{1, {7}, {8}, 9, Outcome::timeout, false, "e", "t"}}}, 1, "9199000107080903c2a165a174"},
        {Release{{{{7}, {8}, 9}}}, 0, "9193070809"},
        {Stop{{{{7}, {8}, StopReason::lease_lost}}}, 0, "9193070802"},
        {SteerWorker{"w", WorkerAction::resume}, 0, "a17702"},
        {Change{{{7}, {8}}, 9, "q", true}, 0, "92070809a171c3"},
        {Edit{{{7}, {8}}, 3, true, "t", "q", 9, {6, 7, {8, 300, 10, 11}}}, 3, "9207080003c3a174a17109060708cd012c0a0b"},
        {SetQueue{"q", "t", true, "b", "w", 5, {6, 7, {8, 300, 10, 11}}}, 0,
         "a171a174c3a162a177050607"
         "08cd012c0a0b"},
        {ListQueues{"c", 5, "n"}, 0, "a16305a16e"},
        {StartTask{TaskAction::redrive, JobState::queued, "q", "t", Reason::failed, "e", 7, 8, true, "b", {{9}}, 10}, 0,
         "0203a171a17401a1650708c3a16291090a"},
        {ListTasks{7}, 0, "07"},
        {StopTask{7}, 0, "07"},
        {SubmitArray{4, 5, {item}, 100, 1, 2, 3, "n"}, 3,
         "040591dc00130003a171a17409c3cd03e8cd07d005a16b0acd012c28323c4650c35a64010203a16e"},
        {ListArrays{{7}, 5, {9}}, 0, "070509"},
        {SteerArray{{7}, ArrayAction::resubmit, true}, 0, "0702c3"},
    };
}

TEST(Codec, ThereIsAnExampleOfEveryMessage) {
    std::set<std::size_t> kinds;
    for (const Example& example : examples()) kinds.insert(example.message.index());
    EXPECT_EQ(kinds.size(), std::variant_size_v<Message>);
}

TEST(Codec, EveryMessageSurvivesTheWire) {
    for (const Example& example : examples()) {
        const std::string header = encode(example.message);
        const Decoded decoded = decode(header, example.payload);
        ASSERT_EQ(decoded.error(), nullptr) << message_name(example.message) << ": " << decoded.problem().text;
        EXPECT_EQ(decoded.envelope().session, SessionId{7});
        EXPECT_EQ(decoded.envelope().request, RequestId{9});
        EXPECT_EQ(decoded.envelope().message.index(), example.message.index());
        EXPECT_EQ(hex(encode(decoded.envelope().message)), hex(header)) << message_name(example.message);
    }
}

TEST(Codec, GoldenBytesOfEveryMessageNeverChange) {
    for (const Example& example : examples()) {
        const std::string header = hex(encode(example.message));
        EXPECT_EQ(header.substr(header.find("0709") + 4), example.golden) << message_name(example.message);
    }
}

TEST(Codec, NumbersOnTheWireNeverChange) {
    const std::map<std::string, int> numbers{
        {"HELLO", 1},        {"WELCOME", 2},       {"HEARTBEAT", 3},     {"GOODBYE", 4},      {"ERROR", 5},
        {"SUBMIT", 10},      {"ANSWERS", 11},      {"WATCH", 12},        {"RESULTS", 13},     {"GRANT", 14},
        {"CANCEL", 15},      {"REDRIVE", 16},      {"SHOW", 20},         {"LIST", 21},        {"JOBS", 22},
        {"ASK_STATS", 23},   {"STATS", 24},        {"DISPATCH", 30},     {"CREDIT", 31},      {"STARTED", 32},
        {"RENEW", 33},       {"COMPLETE", 34},     {"FAIL", 35},         {"RELEASE", 36},     {"STOP", 37},
        {"READ_EVENTS", 25}, {"EVENTS", 26},       {"LIST_WORKERS", 28}, {"MAPS", 29},        {"STEER_WORKER", 41},
        {"CHANGE", 17},      {"SET_QUEUE", 18},    {"LIST_QUEUES", 27},  {"START_TASK", 42},  {"LIST_TASKS", 43},
        {"STOP_TASK", 44},   {"SUBMIT_ARRAY", 19}, {"LIST_ARRAYS", 45},  {"STEER_ARRAY", 46}, {"EDIT", 47}};
    for (const Example& example : examples())
        EXPECT_EQ(message_type(example.message), numbers.at(message_name(example.message)));
}

TEST(Codec, DecodedFieldsAreTheOnesThatWereEncoded) {
    const auto all = examples();
    const std::string hello_bytes = encode(all[0].message);
    const Decoded hello_decoded = decode(hello_bytes);
    const auto& hello = std::get<Hello>(hello_decoded.envelope().message);
    EXPECT_EQ(hello.max_version, 2);
    EXPECT_EQ(hello.role, Role::worker);
    EXPECT_EQ(hello.instance, an_instance());
    EXPECT_EQ(hello.store, a_store());
    EXPECT_TRUE(hello.resumed);
    EXPECT_EQ(hello.grant, 70'000U);
    EXPECT_EQ(hello.queues, (std::vector<std::string_view>{"a", "b"}));
    EXPECT_EQ(hello.claims.at(0).token, LeaseToken{6});
    EXPECT_TRUE(hello.claims.at(0).finished);
    EXPECT_FALSE(hello.claims.at(1).finished);
    const std::string submit_bytes = encode(all[5].message);
    const Decoded submit_decoded = decode(submit_bytes, 3);
    const auto& submit = std::get<Submit>(submit_decoded.envelope().message);
    EXPECT_EQ(submit.first_number, 5U);
    EXPECT_EQ(submit.items.at(0).priority, 9);
    EXPECT_EQ(submit.items.at(0).backoff, (BackoffPolicy{10, 300, 40, 50}));
    const std::string fail_bytes = encode(all[26].message);
    const Decoded fail_decoded = decode(fail_bytes, 1);
    const auto& fail = std::get<Fail>(fail_decoded.envelope().message);
    EXPECT_EQ(fail.items.at(0).outcome, Outcome::timeout);
    EXPECT_FALSE(fail.items.at(0).retryable);
    EXPECT_EQ(fail.items.at(0).tail, "t");
}

TEST(Codec, OurBytesAreMessagePackToAnotherReader) {
    for (const Example& example : examples()) {
        const std::string header = encode(example.message);
        const auto json = nlohmann::json::from_msgpack(header);
        ASSERT_TRUE(json.is_array()) << message_name(example.message);
        EXPECT_EQ(json[0], 1);
        EXPECT_EQ(json[1], message_type(example.message));
        EXPECT_EQ(json[2], 7);
        EXPECT_EQ(json[3], 9);
        const std::vector<std::uint8_t> theirs = nlohmann::json::to_msgpack(json);
        const std::string again(theirs.begin(), theirs.end());
        EXPECT_EQ(hex(again), hex(header)) << "both write the shortest forms";
        EXPECT_EQ(decode(again, example.payload).error(), nullptr);
    }
}

TEST(Codec, TrailingFieldsThatAreNotKnownAreIgnored) {
    for (const Example& example : examples()) {
        auto json = nlohmann::json::from_msgpack(encode(example.message));
        const auto widen = [](auto& list) {
            list.push_back("a field of the next minor version");
            list.push_back({{"with", {1, 2, nullptr}}});
        };
        // Fields of a message can only follow the ones known now; so all of them must be there.
        const bool complete = !std::holds_alternative<Heartbeat>(example.message);
        if (complete) widen(json);
        for (auto& field : json)
            if (field.is_array())
                for (auto& item : field)
                    if (item.is_array() && !std::holds_alternative<Hello>(example.message)) widen(item);
        const auto bytes = nlohmann::json::to_msgpack(json);
        const std::string header(bytes.begin(), bytes.end());
        const Decoded decoded = decode(header, example.payload);
        ASSERT_EQ(decoded.error(), nullptr)
            << message_name(example.message) << ": " << decoded.problem().text << " " << decoded.problem().field;
        EXPECT_EQ(hex(encode(decoded.envelope().message)), hex(encode(example.message)))
            << message_name(example.message);
    }
}

TEST(Codec, FieldsAtTheirDefaultAreLeftOutAtTheEnd) {
    EXPECT_EQ(hex(encode(List{})), "9401150709");
    EXPECT_EQ(hex(encode(Show{{{1}}})), "95011407099101");
    EXPECT_EQ(hex(encode(Goodbye{})), "9401040709");
    EXPECT_EQ(hex(encode(Submit{0, 1, {{.queue = "q", .type = "t"}}})),
              "97010a07090001"
              "91940000a171a174");
    EXPECT_EQ(hex(encode(Refusal{Code::busy})), "950105070909");
    EXPECT_EQ(hex(encode(Answers{{{Code::ok, {7}, JobState::none, {}, {}, 0}}})), "95010b070991920007");
    Hello hello;
    hello.instance = an_instance();
    EXPECT_EQ(encode(hello).size(), 5U + 4U + 18U);
}

TEST(Codec, MissingTailGetsItsDefaults) {
    const std::string bytes = by_hand(10, 3, [](wire::Writer& out) {
        out.uint(0);
        out.uint(1);
        out.array(1);
        out.array(4);
        out.uint(0);
        out.uint(0);
        out.str("q");
        out.str("t");
    });
    const Decoded decoded = decode(bytes);
    ASSERT_EQ(decoded.error(), nullptr);
    const SubmitItem& item = std::get<Submit>(decoded.envelope().message).items.at(0);
    EXPECT_EQ(item.priority, kDefaultPriority);
    EXPECT_FALSE(item.watch);
    EXPECT_EQ(item.delay_ms, 0U);
    EXPECT_EQ(item.timeout_ms, std::nullopt) << "the queue may say it";
    EXPECT_EQ(item.max_attempts, std::nullopt);
    EXPECT_EQ(item.key, "");
    EXPECT_EQ(item.backoff, BackoffPolicy{});
}

TEST(Codec, NilStandsForTheDefault) {
    const std::string bytes = by_hand(10, 3, [](wire::Writer& out) {
        out.uint(0);
        out.uint(1);
        out.array(1);
        out.array(6);
        out.uint(0);
        out.uint(0);
        out.str("q");
        out.str("t");
        out.nil();
        out.boolean(true);
    });
    const Decoded decoded = decode(bytes);
    ASSERT_EQ(decoded.error(), nullptr);
    EXPECT_EQ(std::get<Submit>(decoded.envelope().message).items.at(0).priority, kDefaultPriority);
    EXPECT_TRUE(std::get<Submit>(decoded.envelope().message).items.at(0).watch);
    const std::string list = by_hand(12, 1, [](wire::Writer& out) { out.nil(); });
    EXPECT_EQ(decode(list).error(), nullptr);
}

TEST(Codec, NamesAndIntegersMayComeInLongerForms) {
    const std::string bytes =
        "\xdc\x00\x05\xcc\x01\xcd\x00\x0f\xcf\0\0\0\0\0\0\0\x07\xd3\0\0\0\0\0\0\0\x09\xdd\0\0\0\x01\xd2\0\0\0\x05"s;
    const Decoded decoded = decode(bytes);
    ASSERT_EQ(decoded.error(), nullptr);
    EXPECT_EQ(std::get<Cancel>(decoded.envelope().message).jobs.at(0), JobId{5});
}

// --- refusals --------------------------------------------------------------------------------------------------------

/// Every required field of every message, taken away from the end, is missed by its name.
TEST(Codec, EveryMissingRequiredFieldIsNamed) {
    const std::map<std::string, std::vector<std::string>> required{
        {"HELLO", {"min_version", "max_version", "minor", "role", "instance"}},
        {"WELCOME",
         {"version", "minor", "store", "epoch", "software", "instance", "heartbeat_ms", "lost_after_ms", "lease_ms",
          "renew_ms", "window", "max_payload", "max_result"}},
        {"ERROR", {"code"}},
        {"SUBMIT", {"confirmed", "first_number"}},
        {"GRANT", {"total_bytes"}},
        {"JOBS", {"next_cursor"}},
        {"STATS", {"payload_kind", "payload_length"}},
        {"EVENTS", {"last"}},
        {"STEER_WORKER", {"name", "action"}},
        {"CREDIT", {"credit"}},
    };
    for (const Example& example : examples()) {
        const auto row = required.find(message_name(example.message));
        if (row == required.end()) continue;
        for (std::size_t kept = 0; kept < row->second.size(); ++kept) {
            auto json = nlohmann::json::from_msgpack(encode(example.message));
            json.erase(json.begin() + static_cast<std::ptrdiff_t>(4 + kept), json.end());
            const auto bytes = nlohmann::json::to_msgpack(json);
            const Decoded decoded = decode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
            ASSERT_NE(decoded.error(), nullptr) << row->first << " without " << row->second[kept];
            EXPECT_EQ(decoded.problem().code, Code::bad_field);
            EXPECT_EQ(decoded.problem().field, row->second[kept]);
            EXPECT_EQ(decoded.problem().request, RequestId{9}) << "the sender must know which message it was";
        }
    }
}

TEST(Codec, EveryMissingRequiredFieldOfAnItemIsNamedWithItsPlace) {
    const std::map<std::string, std::vector<std::string>> required{
        {"SUBMIT", {"payload_kind", "payload_length", "queue", "type"}},
        {"ANSWERS", {"code", "job"}},
        {"RESULTS", {"payload_kind", "payload_length", "job", "state"}},
        {"JOBS", {"payload_kind", "payload_length", "code", "job"}},
        {"EVENTS", {"payload_kind", "payload_length"}},
        {"MAPS", {"payload_kind", "payload_length"}},
        {"DISPATCH", {"payload_kind", "payload_length", "job", "token", "attempt", "queue", "type"}},
        {"STARTED", {"job", "token"}},
        {"RENEW", {"job", "token"}},
        {"COMPLETE", {"payload_kind", "payload_length", "job", "token"}},
        {"FAIL", {"payload_kind", "payload_length", "job", "token"}},
        {"RELEASE", {"job", "token"}},
        {"STOP", {"job", "token"}},
    };
    for (const Example& example : examples()) {
        const auto row = required.find(message_name(example.message));
        if (row == required.end()) continue;
        for (std::size_t kept = 0; kept < row->second.size(); ++kept) {
            auto json = nlohmann::json::from_msgpack(encode(example.message));
            auto& items = *std::find_if(json.rbegin(), json.rend(), [](const auto& field) { return field.is_array(); });
            items.push_back(items[0]);
            items.push_back(items[0]);
            items[2].erase(items[2].begin() + static_cast<std::ptrdiff_t>(kept), items[2].end());
            const auto bytes = nlohmann::json::to_msgpack(json);
            const Decoded decoded = decode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
            ASSERT_NE(decoded.error(), nullptr) << row->first;
            EXPECT_EQ(decoded.problem().code, Code::bad_field);
            EXPECT_EQ(decoded.problem().field.substr(decoded.problem().field.find('[')), "[2]." + row->second[kept])
                << row->first;
        }
    }
}

TEST(Codec, WrongTypeOrRangeOfAnItemsFieldIsNamed) {
    const auto field_of = [](std::size_t item, std::size_t field, const nlohmann::json& value) {
        auto json = nlohmann::json::from_msgpack(encode(examples()[5].message));
        for (int i = 0; i < 3; ++i) json[6].push_back(json[6][0]);
        json[6][item][field] = value;
        const auto bytes = nlohmann::json::to_msgpack(json);
        const Decoded decoded = decode({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 12);
        if (decoded.error() == nullptr) return "nothing was wrong"s;
        EXPECT_EQ(decoded.problem().code, Code::bad_field);
        EXPECT_FALSE(decoded.problem().text.empty());
        return decoded.problem().field;
    };
    EXPECT_EQ(field_of(0, 4, 9), "nothing was wrong");
    EXPECT_EQ(field_of(3, 4, "five"), "items[3].priority");
    EXPECT_EQ(field_of(3, 4, 256), "items[3].priority");
    EXPECT_EQ(field_of(3, 4, -1), "items[3].priority");
    EXPECT_EQ(field_of(3, 4, 1.5), "items[3].priority");
    EXPECT_EQ(field_of(1, 5, 1), "items[1].watch");
    EXPECT_EQ(field_of(0, 6, "soon"), "items[0].delay_ms");
    EXPECT_EQ(field_of(0, 7, std::uint64_t{1} << 32), "items[0].timeout_ms");
    EXPECT_EQ(field_of(2, 2, 7), "items[2].queue");
    EXPECT_EQ(field_of(2, 3, nullptr), "items[2].type") << "a required field cannot be nil";
    EXPECT_EQ(field_of(0, 9, nlohmann::json::binary({1})), "items[0].key");
    EXPECT_EQ(field_of(0, 0, 1), "items[0].payload_kind");
    EXPECT_EQ(field_of(0, 13, nlohmann::json::array()), "items[0].backoff_jitter_percent") << "beyond what is there";
}

TEST(Codec, IdentitiesMustHaveSixteenBytes) {
    for (const std::size_t size : {0U, 15U, 17U}) {
        const std::string bytes = by_hand(1, 5, [&](wire::Writer& out) {
            for (const std::uint64_t value : {1U, 1U, 0U, 1U}) out.uint(value);
            out.bin(std::string(size, 'x'));
        });
        const Decoded decoded = decode(bytes);
        ASSERT_NE(decoded.error(), nullptr);
        EXPECT_EQ(decoded.problem().field, "instance");
    }
    const std::string text = by_hand(1, 5, [&](wire::Writer& out) {
        for (const std::uint64_t value : {1U, 1U, 0U, 1U}) out.uint(value);
        out.str(std::string(16, 'x'));
    });
    EXPECT_EQ(decode(text).problem().field, "instance");
}

TEST(Codec, AListHasAtMostItsNumberOfItems) {
    EXPECT_EQ(decode(encode(Watch{std::vector<JobId>(1024, JobId{1})})).error(), nullptr);
    const std::string over = encode(Watch{std::vector<JobId>(1025, JobId{1})});
    const Decoded decoded = decode(over);
    ASSERT_NE(decoded.error(), nullptr);
    EXPECT_EQ(decoded.problem().code, Code::too_large);
    EXPECT_EQ(decoded.problem().field, "jobs");
}

TEST(Codec, WhatShouldBeAListMustBeOne) {
    const std::string bytes = by_hand(12, 1, [](wire::Writer& out) { out.uint(5); });
    EXPECT_EQ(decode(bytes).problem().code, Code::bad_field);
    EXPECT_EQ(decode(bytes).problem().field, "jobs");
    const std::string item = by_hand(32, 1, [](wire::Writer& out) {
        out.array(1);
        out.uint(5);
    });
    EXPECT_EQ(decode(item).problem().code, Code::bad_field);
    EXPECT_EQ(decode(item).problem().field, "items");
}

TEST(Codec, HeaderAndMessageHaveTheirLimits) {
    const auto padded = [](std::size_t size) {
        // A HEARTBEAT with an unknown field that fills it up.
        const std::size_t rest =
            size - by_hand(3, 1, [](wire::Writer& out) { out.bin(std::string(70'000, 'x')); }).size() + 70'000;
        return by_hand(3, 1, [&](wire::Writer& out) {
            rest > 65535 ? out.bin(std::string(rest, 'x')) : out.bin(std::string(rest + 2, 'x'));
        });
    };
    const std::string full = padded(kMaxHeaderBytes);
    ASSERT_EQ(full.size(), kMaxHeaderBytes);
    EXPECT_EQ(decode(full).error(), nullptr);
    const std::string over = full + "x";
    EXPECT_EQ(decode(over).problem().code, Code::too_large);
    const std::string submit = encode(Submit{0, 1, {{.payload_length = 2'000'000, .queue = "q", .type = "t"}}});
    EXPECT_EQ(decode(submit, 2'000'000).error(), nullptr);
    EXPECT_EQ(decode(submit, kMaxMessageBytes - submit.size()).problem().code, Code::bad_message);
    EXPECT_EQ(decode(submit, kMaxMessageBytes - submit.size() + 1).problem().code, Code::too_large);
}

TEST(Codec, PayloadLengthsMustSumToTheSecondFrame) {
    const std::string bytes =
        encode(Submit{0, 1, {{.payload_length = 2, .type = "t"}, {.payload_length = 3, .type = "t"}}});
    EXPECT_EQ(decode(bytes, 5).error(), nullptr);
    for (const std::size_t wrong : {0U, 4U, 6U}) {
        EXPECT_EQ(decode(bytes, wrong).problem().code, Code::bad_message);
        EXPECT_NE(decode(bytes, wrong).problem().text.find("5"), std::string::npos);
    }
    EXPECT_EQ(decode(encode(Watch{}), 1).problem().code, Code::bad_message) << "a message without payloads";
    const std::string wrapping =
        encode(Complete{{{UINT32_MAX, {1}, {1}, 0}, {UINT32_MAX, {1}, {1}, 0}, {2, {1}, {1}, 0}}});
    EXPECT_EQ(decode(wrapping, 0).problem().code, Code::bad_message) << "the sum must not wrap round";
}

TEST(Codec, ItemsWrittenAheadMakeTheSameMessage) {
    const SubmitItem plain{.queue = "q", .type = "t"};
    const SubmitItem full{
        .payload_length = 3, .queue = std::string_view("queue"), .type = "u", .watch = true, .key = "k", .held = true};
    std::string bytes;
    std::string other_bytes;
    const EncodedItem first = encode_item(plain, bytes);
    const EncodedItem second = encode_item(full, other_bytes);
    EXPECT_EQ(first.minor, 0);
    EXPECT_FALSE(first.watch || first.has_key);
    EXPECT_EQ(second.minor, 1);
    EXPECT_TRUE(second.watch && second.has_key);
    EXPECT_EQ(encode(Submit{4, 5, {}, {first.bytes, second.bytes}}), encode(Submit{4, 5, {plain, full}, {}}));
    SubmitArray array{4, 5, {full}, 10};
    const std::string whole = encode(array);
    array.items.clear();
    array.encoded = {second.bytes};
    EXPECT_EQ(encode(array), whole);
}

TEST(Codec, SaysWhichMinorVersionKnowsAllOfAMessage) {
    SubmitItem item;
    item.queue = "q";
    item.key = "k";
    EXPECT_EQ(minor_of(item), 0);
    EXPECT_EQ(minor_of(Message{Submit{0, 1, {item}}}), 0);
    SubmitItem held = item;
    held.held = true;
    EXPECT_EQ(minor_of(held), 1);
    EXPECT_EQ(minor_of(Message{Submit{0, 1, {item, held}}}), 1) << "of all its items the newest";
    EXPECT_EQ(minor_of(Message{Release{{{{1}, {2}}}}}), 0);
    EXPECT_EQ(minor_of(Message{Release{{{{1}, {2}, 5}}}}), 1);
    EXPECT_EQ(minor_of(Message{Change{}}), 1);
    EXPECT_EQ(minor_of(Message{Edit{}}), 1);
    EXPECT_EQ(minor_of(Message{Show{}}), 0);
    EXPECT_EQ(minor_of(Message{Show{{}, true}}), 1);
    EXPECT_EQ(protocol_minor(), kProtocolMinor);
    EXPECT_EQ(protocol_text(1, 10), "1.10");
}

TEST(Codec, MessagesOfUnknownTypesAndVersionsAreToldApart) {
    const auto nothing = [](wire::Writer&) {};
    for (const std::uint64_t type : {std::uint64_t{0}, std::uint64_t{6}, std::uint64_t{255}, std::uint64_t{256},
                                     std::uint64_t{256 + 3}, UINT64_MAX}) {
        const Decoded decoded = decode(by_hand(type, 0, nothing));
        ASSERT_NE(decoded.error(), nullptr);
        EXPECT_EQ(decoded.problem().code, Code::unknown_message);
        EXPECT_EQ(decoded.problem().request, RequestId{9});
        EXPECT_EQ(decoded.problem().session, SessionId{7});
    }
    for (const std::uint64_t version : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{257}, UINT64_MAX}) {
        const std::string bytes = by_hand(3, 0, nothing, version);
        EXPECT_EQ(decode(bytes).problem().code, Code::version_not_spoken);
    }
    const std::string both = by_hand(200, 0, nothing, 2);
    EXPECT_EQ(decode(both).problem().code, Code::version_not_spoken) << "of another version nothing is known";
}

TEST(Codec, WhatIsNoMessageIsRefused) {
    for (const std::string& bytes : {""s, "\xc0"s, "\x80"s, "\x90"s, "\x93\x01\x03\x07"s, "\x94\x01\x03\x07"s,
                                     "\x94\xa1x\x03\x07\x09"s, "\x94\x01\xff\x07\x09"s, "hello"s,
                                     "\xdd\xff\xff\xff\xff"s, std::string(1000, '\0'), std::string(60'000, '\x91')}) {
        const Decoded decoded = decode(bytes);
        ASSERT_NE(decoded.error(), nullptr) << hex(bytes.substr(0, 20));
        EXPECT_EQ(decoded.problem().code, Code::bad_message) << hex(bytes.substr(0, 20));
        EXPECT_FALSE(decoded.problem().text.empty());
    }
}

TEST(Codec, NothingMayFollowTheHeadersList) {
    const std::string bytes = encode(Heartbeat{}) + "\x01";
    EXPECT_EQ(decode(bytes).problem().code, Code::bad_message);
}

TEST(Codec, UnknownFieldsMayBeNestedEightDeepAtMost) {
    const auto nested = [](std::size_t depth) {
        return by_hand(3, 1, [&](wire::Writer& out) {
            for (std::size_t i = 0; i < depth; ++i) out.array(1);
            out.nil();
        });
    };
    EXPECT_EQ(decode(nested(7)).error(), nullptr) << "with the header's own list eight";
    EXPECT_EQ(decode(nested(8)).problem().code, Code::bad_message);
    EXPECT_EQ(decode(nested(5000)).problem().code, Code::bad_message);
}

TEST(Codec, ItemThatPromisesMoreFieldsThanThereAreIsRefused) {
    const std::string bytes = by_hand(32, 1, [](wire::Writer& out) {
        out.array(1);
        out.array(0xffffffff);
        out.uint(1);
        out.uint(2);
    });
    EXPECT_EQ(decode(bytes).problem().code, Code::bad_message);
}

TEST(Codec, EveryTruncationOfEveryMessageIsRefused) {
    for (const Example& example : examples()) {
        const std::string header = encode(example.message);
        for (std::size_t size = 0; size < header.size(); ++size)
            EXPECT_NE(decode(std::string_view(header).substr(0, size), example.payload).error(), nullptr)
                << message_name(example.message) << " cut at " << size;
    }
}

TEST(Codec, MutatedMessagesAreReadOrRefusedAndWhatIsReadCanBeWritten) {
    std::mt19937 rng(1);
    const auto all = examples();
    std::vector<std::string> headers;
    for (const Example& example : all) headers.push_back(encode(example.message));
    int read = 0;
    for (int i = 0; i < 300'000; ++i) {
        const std::size_t which = rng() % headers.size();
        std::string bytes = headers[which];
        for (std::uint32_t n = 1 + rng() % 4; n > 0; --n) {
            const std::size_t at = rng() % bytes.size();
            switch (rng() % 5) {
                case 0: bytes[at] = static_cast<char>(rng()); break;
                case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1U << (rng() % 8))); break;
                case 2: bytes.insert(at, 1, static_cast<char>(0xc0 + rng() % 0x20)); break;
                case 3: bytes.erase(at, 1); break;
                default: bytes += headers[rng() % headers.size()].substr(rng() % 5); break;
            }
            if (bytes.empty()) bytes = "x";
        }
        const auto decoded = decode_header(bytes, all[which].payload);
        const auto* envelope = std::get_if<Envelope>(&decoded);
        if (envelope == nullptr) {
            ASSERT_NE(std::get<DecodeError>(decoded).code, Code::ok);
            continue;
        }
        ++read;
        std::string again;
        encode_header(*envelope, again);
        const auto second = decode_header(again, all[which].payload);
        ASSERT_TRUE(std::holds_alternative<Envelope>(second)) << hex(bytes) << " → " << hex(again);
        std::string third;
        encode_header(std::get<Envelope>(second), third);
        ASSERT_EQ(hex(again), hex(third));
    }
    EXPECT_GT(read, 10'000) << "the rest is refused";
}

TEST(Codec, RandomBytesAreRefusedOrRead) {
    std::mt19937 rng(2);
    for (int i = 0; i < 100'000; ++i) {
        std::string bytes(rng() % 64, '\0');
        for (char& byte : bytes) byte = static_cast<char>(rng());
        if (rng() % 2 == 0) bytes = "\x9f\x01"s + static_cast<char>(rng() % 40) + "\x07\x09"s + bytes;
        static_cast<void>(decode_header(bytes, rng() % 3));
    }
}

// --- text ------------------------------------------------------------------------------------------------------------

TEST(Text, CleanTextIsUtf8WithoutControlCharacters) {
    for (const std::string& clean :
         {""s, "plain"s, "\xc3\xa4"s, "\xe2\x82\xac"s, "\xf0\x9f\x98\x80"s, "\xc2\xa0"s, "\xdf\xbf"s, "\xe0\xa0\x80"s,
          "\xed\x9f\xbf"s, "\xee\x80\x80"s, "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s, " "s, "~"s})
        EXPECT_TRUE(is_clean_text(clean)) << hex(clean);
    for (const std::string& dirty : {"\0"s,
                                     "\n"s,
                                     "\t"s,
                                     "\x1f"s,
                                     "\x7f"s,
                                     "\xc2\x80"s,
                                     "\xc2\x9f"s,  // control characters
                                     "\x80"s,
                                     "\xbf"s,
                                     "\xc3"s,
                                     "\xc3("s,
                                     "\xe2\x82"s,
                                     "\xe2(\xa1"s,
                                     "\xf0\x9f\x98"s,
                                     "a\xff"s,  // not UTF-8
                                     "\xc0\x80"s,
                                     "\xc1\xbf"s,
                                     "\xe0\x80\x80"s,
                                     "\xe0\x9f\xbf"s,
                                     "\xf0\x80\x80\x80"s,
                                     "\xf0\x8f\xbf\xbf"s,  // longer than need be
                                     "\xed\xa0\x80"s,
                                     "\xed\xbf\xbf"s,  // surrogates
                                     "\xf4\x90\x80\x80"s,
                                     "\xf5\x80\x80\x80"s,
                                     "\xf8\x88\x80\x80\x80"s,
                                     "\xfe"s})  // beyond Unicode
        EXPECT_FALSE(is_clean_text(dirty)) << hex(dirty);
}

TEST(Text, EveryCodePointIsJudgedAsUnicodeSays) {
    for (std::uint32_t point = 0; point < 0x112000; ++point) {
        std::string text;
        if (point < 0x80) {
            text += static_cast<char>(point);
        } else if (point < 0x800) {
            text += static_cast<char>(0xc0 | point >> 6);
            text += static_cast<char>(0x80 | (point & 0x3f));
        } else if (point < 0x10000) {
            text += static_cast<char>(0xe0 | point >> 12);
            text += static_cast<char>(0x80 | (point >> 6 & 0x3f));
            text += static_cast<char>(0x80 | (point & 0x3f));
        } else {
            text += static_cast<char>(0xf0 | point >> 18);
            text += static_cast<char>(0x80 | (point >> 12 & 0x3f));
            text += static_cast<char>(0x80 | (point >> 6 & 0x3f));
            text += static_cast<char>(0x80 | (point & 0x3f));
        }
        const bool control = point < 0x20 || (point >= 0x7f && point < 0xa0);
        const bool surrogate = point >= 0xd800 && point <= 0xdfff;
        ASSERT_EQ(is_clean_text(text), !control && !surrogate && point <= 0x10ffff) << point;
    }
}

TEST(Text, NamesAreOneTo255BytesOfCleanText) {
    EXPECT_FALSE(is_name(""));
    EXPECT_TRUE(is_name("x"));
    EXPECT_TRUE(is_name(std::string(255, 'x')));
    EXPECT_FALSE(is_name(std::string(256, 'x')));
    EXPECT_FALSE(is_name("a\0b"s));
    std::string umlauts;
    while (umlauts.size() < 256) umlauts += "ä";
    EXPECT_FALSE(is_name(umlauts)) << "bytes are counted, not characters";
}

}  // namespace
}  // namespace jobyard
