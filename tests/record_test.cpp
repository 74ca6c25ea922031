// The bytes of the rows: what was written is read, what is damaged is noticed, what is older or newer is understood.

#include "record.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "wire.hpp"

namespace jobyard::broker {
namespace {

template <class R>
std::string bytes_of(const R& row) {
    Batch batch;
    const Slice slice = append_row(batch, row);
    return std::string(batch.view(slice));
}

/// The row's fields, as MessagePack, under a fresh checksum.
std::string row_of(std::string_view body) {
    std::string bytes(1, static_cast<char>(kFormatVersion));
    const auto sum = static_cast<std::uint32_t>(XXH3_64bits(body.data(), body.size()));
    bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    bytes.append(body);
    return bytes;
}

Uuid an_instance() { return uuid_from_bytes("0123456789abcdef"); }

LiveRow a_live_row() {
    LiveRow row;
    row.queue = "mail";
    row.type = "send";
    row.priority = 7;
    row.created_at = 1'700'000'000'123;
    row.delay_ms = 5'000'000'000;
    row.timeout_ms = 60'000;
    row.max_attempts = 9;
    row.payload_size = 7;
    row.chunks = 0;
    row.backoff = {1, 200, 3, 4};
    row.key = "order-17";
    row.content = {1, 2, 3};
    row.deadline_ms = 10;
    row.queue_timeout_ms = 11;
    row.held = true;
    row.key_ttl_ms = 12;
    row.array = {13};
    row.array_index = 14;
    row.owner = "web";
    row.payload = std::string_view("pay\0oad", 7);
    return row;
}

AttemptRow an_attempt_row() {
    AttemptRow row;
    row.attempt = 3;
    row.worker = "w1";
    row.token = {std::uint64_t{5} << kTokenCounterBits | 9U};
    row.started_at = 1000;
    row.ended_at = 2000;
    row.outcome = Outcome::timeout;
    row.error = "too slow";
    row.tail = "stderr";
    return row;
}

EndRow an_end_row() {
    EndRow row;
    row.state = JobState::dead;
    row.reason = Reason::crash_loop;
    row.queue = "q";
    row.type = "t";
    row.priority = 1;
    row.created_at = 1;
    row.ended_at = 2;
    row.max_attempts = 3;
    row.timeout_ms = 4;
    row.errors = 5;
    row.crashes = 6;
    row.attempts = 7;
    row.payload_size = 8;
    row.payload_chunks = 9;
    row.result_size = 6;
    row.result_chunks = 11;
    row.last = an_attempt_row();
    row.key = "k";
    row.content = {9};
    row.array = {10};
    row.array_index = 11;
    row.edited_at = 12;
    row.result = "result";
    return row;
}

TEST(Record, LiveRowRoundTrips) {
    const std::string bytes = bytes_of(a_live_row());
    LiveRow row;
    ASSERT_TRUE(read_row(bytes, row));
    const LiveRow made = a_live_row();
    EXPECT_EQ(row.queue, made.queue);
    EXPECT_EQ(row.type, made.type);
    EXPECT_EQ(row.priority, made.priority);
    EXPECT_EQ(row.created_at, made.created_at);
    EXPECT_EQ(row.delay_ms, made.delay_ms);
    EXPECT_EQ(row.timeout_ms, made.timeout_ms);
    EXPECT_EQ(row.max_attempts, made.max_attempts);
    EXPECT_EQ(row.payload_size, made.payload_size);
    EXPECT_EQ(row.chunks, made.chunks);
    EXPECT_EQ(row.backoff, made.backoff);
    EXPECT_EQ(row.key, made.key);
    EXPECT_EQ(row.content, made.content);
    EXPECT_EQ(row.array, made.array);
    EXPECT_EQ(row.owner, made.owner);
    EXPECT_EQ(row.array_index, made.array_index);
    EXPECT_EQ(row.payload, made.payload);
}

TEST(Record, RowOfAJobWithoutAKeyIsShorterAndReadsAsWithoutOne) {
    LiveRow with_key = a_live_row();
    with_key.deadline_ms = with_key.queue_timeout_ms = 0;
    with_key.held = false;
    with_key.key_ttl_ms = kDefaultKeyTtlMs;
    with_key.array = {};
    with_key.array_index = 0;
    with_key.owner = {};
    LiveRow without = with_key;
    without.key = {};
    without.content = {};
    const std::string bytes = bytes_of(without);
    EXPECT_LT(bytes.size() + 16, bytes_of(with_key).size());
    LiveRow row;
    ASSERT_TRUE(read_row(bytes, row));
    EXPECT_TRUE(row.key.empty());
    EXPECT_EQ(row.payload, without.payload);
}

TEST(Record, StateRowRoundTrips) {
    const StateRow made{1, 2, 3, 4, UINT64_MAX, 1'700'000'000'000, 7, true};
    StateRow row;
    ASSERT_TRUE(read_row(bytes_of(made), row));
    EXPECT_EQ(row.order, 1U);
    EXPECT_EQ(row.errors, 2U);
    EXPECT_EQ(row.crashes, 3U);
    EXPECT_EQ(row.attempts, 4U);
    EXPECT_EQ(row.token_floor, UINT64_MAX);
    EXPECT_EQ(row.due_at, 1'700'000'000'000);
    EXPECT_EQ(row.pause_ms, 7U);
    EXPECT_TRUE(row.cancel_requested);
}

void expect_same(const AttemptRow& row, const AttemptRow& made) {
    EXPECT_EQ(row.attempt, made.attempt);
    EXPECT_EQ(row.worker, made.worker);
    EXPECT_EQ(row.token, made.token);
    EXPECT_EQ(row.started_at, made.started_at);
    EXPECT_EQ(row.ended_at, made.ended_at);
    EXPECT_EQ(row.outcome, made.outcome);
    EXPECT_EQ(row.error, made.error);
    EXPECT_EQ(row.tail, made.tail);
}

TEST(Record, AttemptRowRoundTrips) {
    const std::string bytes = bytes_of(an_attempt_row());
    AttemptRow row;
    ASSERT_TRUE(read_row(bytes, row));
    expect_same(row, an_attempt_row());
}

TEST(Record, EndRowRoundTrips) {
    const std::string bytes = bytes_of(an_end_row());
    EndRow row;
    ASSERT_TRUE(read_row(bytes, row));
    const EndRow made = an_end_row();
    EXPECT_EQ(row.edited_at, made.edited_at);
    EXPECT_EQ(row.state, made.state);
    EXPECT_EQ(row.reason, made.reason);
    EXPECT_EQ(row.queue, made.queue);
    EXPECT_EQ(row.type, made.type);
    EXPECT_EQ(row.priority, made.priority);
    EXPECT_EQ(row.created_at, made.created_at);
    EXPECT_EQ(row.ended_at, made.ended_at);
    EXPECT_EQ(row.max_attempts, made.max_attempts);
    EXPECT_EQ(row.timeout_ms, made.timeout_ms);
    EXPECT_EQ(row.errors, made.errors);
    EXPECT_EQ(row.crashes, made.crashes);
    EXPECT_EQ(row.attempts, made.attempts);
    EXPECT_EQ(row.payload_size, made.payload_size);
    EXPECT_EQ(row.payload_chunks, made.payload_chunks);
    EXPECT_EQ(row.result_size, made.result_size);
    EXPECT_EQ(row.result_chunks, made.result_chunks);
    expect_same(row.last, made.last);
    EXPECT_EQ(row.key, made.key);
    EXPECT_EQ(row.content, made.content);
    EXPECT_EQ(row.array, made.array);
    EXPECT_EQ(row.array_index, made.array_index);
    EXPECT_EQ(row.result, made.result);
}

ArrayRow an_array_row() {
    ArrayRow row;
    row.name = "seeds";
    row.count = 1;
    row.first = 2;
    row.step = 3;
    row.at_once = 4;
    row.of = {5};
    row.cancelled = true;
    row.makes = false;
    row.cancels = true;
    row.made = 6;
    row.cursor = 7;
    row.completed = 8;
    row.dead = 9;
    row.cancelled_jobs = 10;
    row.buried = 11;
    row.left_dead = 12;
    row.left_cancelled = 13;
    row.resubmitted_as = {14};
    row.ended_at = 15;
    return row;
}

TEST(Record, RowsOfArraysRoundTrip) {
    const std::string bytes = bytes_of(an_array_row());
    ArrayRow row;
    ASSERT_TRUE(read_row(bytes, row));
    EXPECT_EQ(row.name, "seeds");
    EXPECT_EQ(row.of, JobId{5});
    EXPECT_TRUE(row.cancelled && !row.makes && row.cancels);
    EXPECT_EQ((std::vector<std::uint64_t>{row.count, row.first, row.step, row.at_once, row.made, row.cursor,
                                          row.completed, row.dead, row.cancelled_jobs, row.buried, row.left_dead,
                                          row.left_cancelled, row.resubmitted_as.value}),
              (std::vector<std::uint64_t>{1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14}));
    EXPECT_EQ(row.ended_at, 15);
    LeftoverRow left;
    ASSERT_TRUE(read_row(bytes_of(LeftoverRow{{7}, JobState::dead, 300}), left));
    EXPECT_EQ(left.job, JobId{7});
    EXPECT_EQ(left.state, JobState::dead);
    EXPECT_EQ(left.bytes, 300U);
    EXPECT_LT(array_index_key({1}, UINT64_MAX), array_index_key({2}, 0));
}

TEST(Record, KeyWorkerAndNumbersRowsRoundTrip) {
    KeyRow key;
    ASSERT_TRUE(read_row(bytes_of(KeyRow{{17}, {1, 2}, JobState::retired}), key));
    EXPECT_EQ(key.job, JobId{17});
    EXPECT_EQ(key.content, (ContentHash{1, 2}));
    EXPECT_EQ(key.state, JobState::retired);

    const std::string worker_bytes = bytes_of(WorkerRow{an_instance(), "host/1"});
    WorkerRow worker;
    ASSERT_TRUE(read_row(worker_bytes, worker));
    EXPECT_EQ(worker.instance, an_instance());
    EXPECT_EQ(worker.name, "host/1");

    const NumbersRow made{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, UINT64_MAX, 15, 16};
    NumbersRow numbers;
    ASSERT_TRUE(read_row(bytes_of(made), numbers));
    EXPECT_EQ(numbers.next_job, 1U);
    EXPECT_EQ(numbers.dead_total, 8U);
    EXPECT_EQ(numbers.event_bytes, 13U);
    EXPECT_EQ(numbers.key_rows, UINT64_MAX);
    EXPECT_EQ(numbers.keys_freed_to, 16U);
}

TEST(Record, InstanceRowRoundTripsWithManyRuns) {
    InstanceRow made{an_instance(), 77, {}};
    for (std::uint64_t i = 0; i < 8192; ++i) made.runs.push_back({2 * i + 78, 1, UINT64_MAX - i});
    InstanceRow row;
    ASSERT_TRUE(read_row(bytes_of(made), row));
    EXPECT_EQ(row.instance, made.instance);
    EXPECT_EQ(row.confirmed, 77U);
    ASSERT_EQ(row.runs.size(), 8192U);
    EXPECT_EQ(row.runs[8191].first, made.runs[8191].first);
    EXPECT_EQ(row.runs[8191].first_job, made.runs[8191].first_job);
    EXPECT_EQ(row.key, "");
    made.key = "the public key";
    const std::string with_key = bytes_of(made);
    ASSERT_TRUE(read_row(with_key, row));
    EXPECT_EQ(row.key, "the public key");
    EXPECT_EQ(row.runs.size(), 8192U);
}

TEST(Record, EventsRowRoundTripsInAnyOrderOfJobs) {
    const EventsRow made{-5,
                         9,
                         {{1, {1}, 100},
                          {2, {101}, 1},
                          {2, {102}, 1, 3},
                          {2, {103}, 1, 2},
                          {2, {104}, 2, 2},
                          {3, {7}, 2, 65'535},
                          {4, {UINT64_MAX - 5}, 1},
                          {5, {0}, 1},
                          {6, {1}, 1}}};
    EventsRow row;
    ASSERT_TRUE(read_row(bytes_of(made), row));
    EXPECT_EQ(row.wall, -5);
    EXPECT_EQ(row.epoch, 9U);
    ASSERT_EQ(row.events.size(), made.events.size());
    for (std::size_t i = 0; i < row.events.size(); ++i) {
        EXPECT_EQ(row.events[i].kind, made.events[i].kind);
        EXPECT_EQ(row.events[i].job, made.events[i].job);
        EXPECT_EQ(row.events[i].count, made.events[i].count);
        EXPECT_EQ(row.events[i].class_number, made.events[i].class_number);
    }
}

template <class R>
void expect_damage_is_noticed(const R& made) {
    const std::string bytes = bytes_of(made);
    R row;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        for (const unsigned bit : {0U, 7U}) {
            std::string damaged = bytes;
            damaged[i] = static_cast<char>(damaged[i] ^ (1U << bit));
            EXPECT_FALSE(read_row(damaged, row)) << "byte " << i;
        }
        EXPECT_FALSE(read_row(std::string_view(bytes).substr(0, i), row)) << "cut at " << i;
    }
    EXPECT_FALSE(read_row(bytes + "x", row)) << "something was appended";
}

TEST(Record, EveryDamagedByteIsNoticed) {
    expect_damage_is_noticed(a_live_row());
    expect_damage_is_noticed(StateRow{1, 2, 3, 4, 5, 6, 7, true});
    expect_damage_is_noticed(an_attempt_row());
    expect_damage_is_noticed(an_end_row());
    expect_damage_is_noticed(KeyRow{{17}, {1}, JobState::dead});
    expect_damage_is_noticed(InstanceRow{an_instance(), 1, {{1, 2, 3}}});
    expect_damage_is_noticed(InstanceRow{an_instance(), 1, {{1, 2, 3}}, "key"});
    expect_damage_is_noticed(WorkerRow{an_instance(), "w"});
    expect_damage_is_noticed(an_array_row());
    expect_damage_is_noticed(LeftoverRow{{7}, JobState::dead, 300});
    expect_damage_is_noticed(NumbersRow{});
    expect_damage_is_noticed(ClassRow{"q", "t"});
    expect_damage_is_noticed(EventsRow{1, 2, {{1, {2}, 3, 4, 1}}, {{0, 0, 1, 0}}, {"w"}});
    expect_damage_is_noticed(EventsRow{1, 2, {{1, {2}, 1, 4, 1}, {1, {3}, 1, 5, 1}}, {{0, 0, 1, 0}}, {"w"}});
}

/// It is where a job is put: one beyond the last place would be put beyond the memory of them all.
TEST(Record, APriorityThatThereIsNotIsDamage) {
    for (const int priority : {0, kPriorityMin - 1, kPriorityMax + 1, 255}) {
        const auto value = static_cast<std::uint8_t>(priority);
        LiveRow live = a_live_row();
        live.priority = value;
        EXPECT_FALSE(read_row(bytes_of(live), live)) << priority;
        EndRow ended = an_end_row();
        ended.priority = value;
        EXPECT_FALSE(read_row(bytes_of(ended), ended)) << priority;
        StateRow state;
        state.priority = value;
        EXPECT_EQ(read_row(bytes_of(state), state), priority == 0) << "0: that of the live row";
    }
}

TEST(Record, RowOfAnotherFormatIsRefused) {
    std::string bytes = bytes_of(StateRow{});
    bytes[0] = static_cast<char>(kFormatVersion + 1);
    StateRow row;
    EXPECT_FALSE(read_row(bytes, row));
    EXPECT_FALSE(read_row("", row));
}

/// Every shorter array that an older broker could have written.
template <class R>
void expect_older_rows_are_read(const R& made, std::uint32_t fields) {
    const std::string bytes = bytes_of(made);
    std::string_view body = std::string_view(bytes).substr(5);
    wire::Reader in(body);
    ASSERT_EQ(in.array(), fields);
    const std::size_t head = body.size() - in.rest().size();
    std::string taken;
    for (std::uint32_t kept = 0; kept < fields; ++kept) {
        std::string older;
        wire::Writer(older).array(kept);
        older += taken;
        R row;
        EXPECT_TRUE(read_row(row_of(older), row)) << kept << " fields";
        in.skip();
        taken = body.substr(head, body.size() - head - in.rest().size());
    }
}

TEST(Record, OlderRowWithoutTheLastFieldsIsRead) {
    expect_older_rows_are_read(StateRow{1, 2, 3, 4, 5, 6, 7, true}, 8);
    expect_older_rows_are_read(StateRow{1, 2, 3, 4, 5, 6, 7, true, true, true, 9, "q", 10, 11}, 14);
    expect_older_rows_are_read(an_attempt_row(), 8);
    expect_older_rows_are_read(WorkerRow{an_instance(), "w"}, 2);
    expect_older_rows_are_read(NumbersRow{}, 16);
    expect_older_rows_are_read(TaskRow{}, 20);
    expect_older_rows_are_read(TaskRow{.nonce = 7}, 21);
    expect_older_rows_are_read(an_array_row(), 19);
    ArrayRow leaving = an_array_row();
    leaving.is_leaving = true;
    expect_older_rows_are_read(leaving, 20);
    expect_older_rows_are_read(LeftoverRow{{7}, JobState::dead, 300}, 3);
    expect_older_rows_are_read(QueueRow{true, 1, "b", "w", 2, {3, 4, {5, 6, 7, 8}}}, 11);
    expect_older_rows_are_read(KeyRow{{1}, {2}, JobState::dead}, 3);
    StateRow row;
    std::string body;
    wire::Writer out(body);
    out.array(2);
    out.uint(41);
    out.uint(2);
    out.flush();
    ASSERT_TRUE(read_row(row_of(body), row));
    EXPECT_EQ(row.order, 41U);
    EXPECT_EQ(row.errors, 2U);
    EXPECT_EQ(row.crashes, 0U);
    EXPECT_FALSE(row.cancel_requested);
}

TEST(Record, NewerRowWithMoreFieldsIsReadWithItsTail) {
    std::string body;
    wire::Writer out(body);
    out.array(16);
    for (std::uint64_t i = 1; i <= 7; ++i) out.uint(i);
    out.boolean(true);
    out.uint(9);
    out.boolean(true);
    out.boolean(true);
    out.str("queue");
    out.integer(10);
    out.integer(11);
    out.map(1);
    out.str("something");
    out.array(2);
    out.nil();
    out.real(1.5);
    out.str("new");
    out.flush();
    StateRow row;
    ASSERT_TRUE(read_row(row_of(body), row));
    EXPECT_EQ(row.pause_ms, 7U);

    const std::string bytes = bytes_of(a_live_row());
    wire::Reader in(std::string_view(bytes).substr(5));
    const std::uint32_t fields = in.array();
    std::string newer;
    wire::Writer(newer).array(fields + 1);
    const std::string_view rest = in.rest();
    newer += rest.substr(0, rest.size() - 7);
    wire::Writer(newer).str("of the next version");
    newer += rest.substr(rest.size() - 7);
    const std::string newer_row = row_of(newer);
    LiveRow live;
    ASSERT_TRUE(read_row(newer_row, live));
    EXPECT_EQ(live.payload, a_live_row().payload);
    EXPECT_EQ(live.key, "order-17");
}

TEST(Record, RandomBytesUnderAGoodChecksumAreReadOrRefusedButNeverCrash) {
    std::mt19937 rng(3);
    for (int i = 0; i < 20'000; ++i) {
        std::string body;
        for (std::uint32_t n = rng() % 60; n > 0; --n)
            body.push_back(static_cast<char>(rng() % 3 == 0 ? 0x90 + rng() % 16 : rng()));
        const std::string bytes = row_of(body);
        LiveRow live;
        StateRow state;
        AttemptRow attempt;
        EndRow end;
        KeyRow key;
        InstanceRow instance;
        WorkerRow worker;
        NumbersRow numbers;
        EventsRow events;
        static_cast<void>(read_row(bytes, live) || read_row(bytes, state) || read_row(bytes, attempt) ||
                          read_row(bytes, end));
        static_cast<void>(read_row(bytes, key) || read_row(bytes, instance) || read_row(bytes, worker) ||
                          read_row(bytes, numbers));
        ClassRow named;
        static_cast<void>(read_row(bytes, events) || read_row(bytes, named));
    }
}

TEST(Record, InstanceRowThatPromisesMoreRunsThanItHasIsRefused) {
    std::string body;
    wire::Writer out(body);
    out.array(3);
    out.bin(an_instance().view());
    out.uint(0);
    out.array(0xffffffff);
    out.flush();
    InstanceRow row;
    EXPECT_FALSE(read_row(row_of(body), row));
    EXPECT_LT(row.runs.capacity(), 1000U) << "and makes no room for them";
}

TEST(Record, EventsRowThatPromisesMoreJobsThanItHasIsRefused) {
    for (const auto& [fields, jobs] : {std::pair(5U, UINT64_MAX),
                                       {0xffffffffU, UINT64_MAX},
                                       {6U, 7U},
                                       {4U, 3U},
                                       {3U, 2U},
                                       {0xffffffffU, 0xfffffff1U}}) {
        std::string body;
        wire::Writer out(body);
        out.array(5);
        out.integer(0);
        out.uint(0);
        out.array(fields);
        for (const std::uint64_t field : {std::uint64_t{1}, std::uint64_t{1}, std::uint64_t{0}, jobs}) out.uint(field);
        out.uint(1);
        out.flush();
        EventsRow row;
        EXPECT_FALSE(read_row(row_of(body), row)) << fields << " fields, " << jobs;
        EXPECT_LT(row.events.capacity(), 1000U) << "and makes no room for them";
    }
}

TEST(Record, KeysOrderLikeTheirNumbers) {
    EXPECT_LT(job_key({1}), job_key({2}));
    EXPECT_LT(job_key({255}), job_key({256}));
    EXPECT_LT(job_key({0xffffffff}), job_key({0x100000000}));
    EXPECT_LT(job_part_key({1}, 255), job_part_key({1}, 256));
    EXPECT_LT(job_part_key({1}, 0xffffffff), job_part_key({2}, 0));
    EXPECT_TRUE(job_part_key({7}, 3).starts_with(job_key({7})));
    EXPECT_EQ(from_big_endian(job_part_key({7}, 3)), 7U);
    EXPECT_EQ(from_big_endian(big_endian(UINT64_MAX - 1)), UINT64_MAX - 1);
}

TEST(Record, KeyRowsOfQueueAndNameCannotBeConfused) {
    EXPECT_NE(name_pair_key("ab", "c"), name_pair_key("a", "bc"));
    EXPECT_LE(name_pair_key(std::string(255, 'q'), std::string(255, 'k')).size(), 511U)
        << "the longest key the store takes";
}

TEST(Record, ContentHashCoversEverythingThatWasAskedFor) {
    const SubmitItem item{.type = "t"};
    const ContentHash hash = content_hash(item, "payload");
    EXPECT_EQ(content_hash(item, "payload"), hash);
    EXPECT_NE(content_hash(item, "payloae"), hash);
    SubmitItem watched = item;
    watched.watch = true;
    watched.key = "k";
    EXPECT_EQ(content_hash(watched, "payload"), hash) << "who asks is not content";
    const std::function<void(SubmitItem&)> changes[] = {
        [](SubmitItem& i) { i.type = "u"; },
        [](SubmitItem& i) { i.priority = 6; },
        [](SubmitItem& i) { i.delay_ms = 1; },
        [](SubmitItem& i) { i.timeout_ms = 1; },
        [](SubmitItem& i) { i.max_attempts = 1; },
        [](SubmitItem& i) { i.backoff.initial_ms = 1; },
        [](SubmitItem& i) { i.backoff.factor_percent = 100; },
        [](SubmitItem& i) { i.backoff.max_ms = 1; },
        [](SubmitItem& i) { i.backoff.jitter_percent = 1; },
    };
    for (const auto& change : changes) {
        SubmitItem changed = item;
        change(changed);
        EXPECT_NE(content_hash(changed, "payload"), hash);
    }
}

TEST(Record, GoldenBytesOfALiveRowAreWhatAStoreHoldsToday) {
    LiveRow row;
    row.queue = "default";
    row.type = "t";
    row.priority = 5;
    row.created_at = 1'700'000'000'000;
    row.timeout_ms = 300'000;
    row.max_attempts = 4;
    row.payload_size = 1;
    row.payload = "p";
    std::string hex;
    for (const char c : bytes_of(row).substr(5)) {
        static constexpr char kDigits[] = "0123456789abcdef";
        hex += kDigits[static_cast<unsigned char>(c) >> 4U];
        hex += kDigits[static_cast<unsigned char>(c) & 15U];
    }
    EXPECT_EQ(hex,
              "94a764656661756c74a174cf0000018bcfe5680001"
              "70");
}

}  // namespace
}  // namespace jobyard::broker
