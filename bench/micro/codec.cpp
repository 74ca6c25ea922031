// Bytes to messages and back, by items a message. `items_per_second` is what compares.

#include <benchmark/benchmark.h>

#include <string>

#include "jobyard/codec.hpp"

namespace jobyard {
namespace {

constexpr std::uint32_t kPayload = 100;
constexpr std::uint64_t kFirst = 1'000'000;  // numbers of a broker that has run for a while

Message submit_of(std::size_t count) {
    Submit message{kFirst, kFirst, {}};
    for (std::size_t i = 0; i < count; ++i)
        message.items.push_back({.payload_length = kPayload, .type = "bench", .watch = true});
    return message;
}
Message dispatch_of(std::size_t count) {
    Dispatch message;
    for (std::size_t i = 0; i < count; ++i)
        message.items.push_back({.payload_length = kPayload,
                                 .job = {kFirst + i},
                                 .token = {(std::uint64_t{1} << kTokenCounterBits) + i},
                                 .attempt = 1,
                                 .queue = "default",
                                 .type = "bench",
                                 .priority = kDefaultPriority,
                                 .timeout_ms = kDefaultTimeoutMs,
                                 .max_attempts = kDefaultMaxAttempts});
    return message;
}
Message complete_of(std::size_t count) {
    Complete message;
    for (std::size_t i = 0; i < count; ++i)
        message.items.push_back({0, {kFirst + i}, {(std::uint64_t{1} << kTokenCounterBits) + i}, 0});
    return message;
}
Message results_of(std::size_t count) {
    Results message;
    for (std::size_t i = 0; i < count; ++i)
        message.items.push_back({.job = {kFirst + i}, .state = JobState::completed, .attempt = 1});
    return message;
}

using Make = Message (*)(std::size_t);
std::size_t payload_bytes(Make make, std::size_t count) {
    return make == submit_of || make == dispatch_of ? kPayload * count : 0;
}

void encode(benchmark::State& state, Make make) {
    const auto count = static_cast<std::size_t>(state.range(0));
    const Envelope envelope{{7}, {9}, make(count)};
    std::string header;
    for (auto _ : state) {
        header.clear();
        encode_header(envelope, header);
        benchmark::DoNotOptimize(header.data());
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
    state.counters["bytes_per_item"] = static_cast<double>(header.size()) / static_cast<double>(count);
}

void decode(benchmark::State& state, Make make) {
    const auto count = static_cast<std::size_t>(state.range(0));
    std::string header;
    encode_header({{7}, {9}, make(count)}, header);
    const std::size_t payload = payload_bytes(make, count);
    if (std::holds_alternative<DecodeError>(decode_header(header, payload))) {
        state.SkipWithError("does not decode");
        return;
    }
    for (auto _ : state) benchmark::DoNotOptimize(decode_header(header, payload));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK_CAPTURE(encode, SUBMIT, submit_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(decode, SUBMIT, submit_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(encode, DISPATCH, dispatch_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(decode, DISPATCH, dispatch_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(encode, COMPLETE, complete_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(decode, COMPLETE, complete_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(encode, RESULTS, results_of)->Arg(1)->Arg(256);
BENCHMARK_CAPTURE(decode, RESULTS, results_of)->Arg(1)->Arg(256);

}  // namespace
}  // namespace jobyard
