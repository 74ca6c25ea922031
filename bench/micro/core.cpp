// What the broker decides for a job, without bytes, disk or network: submit, grant, complete, push of the result. One
// iteration takes a list through all of them, as one submitter and one worker would send it; with many types or queues
// each job is of the next one.

#include "core.hpp"

#include <benchmark/benchmark.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace jobyard::broker {
namespace {

constexpr std::uint32_t kPayload = 100;
constexpr PeerId kSubmitter{1};
constexpr PeerId kWorker{2};

std::vector<std::string> names(const char* name, std::int64_t count) {
    std::vector<std::string> all;
    for (std::int64_t i = 0; i < count; ++i) all.push_back(name + std::to_string(i));
    return all;
}

class Yard {
 public:
    Yard(std::int64_t types, std::int64_t queues)
        : core_(CoreConfig{}), types_(names("type-", types)), queues_(names("queue-", queues)) {
        batch_.seq = 1;
        core_.start(turn());
        Output out{&batch_, {}};
        core_.expire(turn(), out);
        Hello submitter;
        submitter.instance.bytes.fill(1);
        submitter.grant = std::uint64_t{1} << 60;
        submitter_ = welcomed(kSubmitter, submitter);
        Hello worker;
        worker.role = Role::worker;
        worker.instance.bytes.fill(2);
        worker.name = "w";
        worker.slots = worker.credit = kMaxCredit;
        worker.queues.assign(queues_.begin(), queues_.end());
        worker.types.assign(types_.begin(), types_.end());
        worker_ = welcomed(kWorker, worker);
    }

    /// Takes `count` jobs from their submit to their result; false if one did not get there.
    bool run(std::size_t count) {
        Submit submit{next_ - 1, next_, {}};
        for (std::size_t i = next_; i < next_ + count; ++i)
            submit.items.push_back({.payload_length = kPayload,
                                    .queue = queues_[i % queues_.size()],
                                    .type = types_[i % types_.size()],
                                    .watch = true});
        next_ += count;
        payload_.resize(kPayload * count);
        Complete complete;
        complete.items.reserve(count);
        for (const Outgoing& message : handle(kSubmitter, {submitter_, {next_}, std::move(submit)}, payload_))
            if (const auto* dispatch = std::get_if<Dispatch>(&message.envelope.message))
                for (const DispatchItem& item : dispatch->items) complete.items.push_back({0, item.job, item.token, 0});
        commit();
        std::size_t results = 0;
        if (complete.items.size() == count)
            for (const Outgoing& message : handle(kWorker, {worker_, {next_}, std::move(complete)}, {}))
                if (const auto* ended = std::get_if<Results>(&message.envelope.message)) results += ended->items.size();
        commit();
        return results == count;
    }

 private:
    /// Time stands still: nobody is lost and nothing is due.
    Turn turn() { return {1'000, 1'700'000'000'000, random_ += 0x9E3779B97F4A7C15ULL}; }

    std::vector<Outgoing> handle(PeerId peer, const Envelope& envelope, std::string_view payload) {
        Output out{&batch_, {}};
        const Turn now = turn();
        core_.heard(peer, now);
        core_.handle(peer, envelope, payload, Found{}, Settled{}, now, out);
        core_.dispatch(now, out);
        return std::move(out.messages);
    }
    SessionId welcomed(PeerId peer, const Hello& hello) {
        for (const Outgoing& message : handle(peer, {{}, {1}, hello}, {}))
            if (std::holds_alternative<Welcome>(message.envelope.message)) return message.envelope.session;
        throw std::runtime_error("no WELCOME");
    }
    void commit() {
        Output out{&batch_, {}};
        core_.seal(turn(), out);
        const std::uint64_t next = batch_.seq + 1;
        batch_ = Batch();
        batch_.seq = next;
    }

    Core core_;
    std::vector<std::string> types_;
    std::vector<std::string> queues_;
    Batch batch_;
    SessionId submitter_;
    SessionId worker_;
    std::uint64_t next_ = 1;
    std::uint64_t random_ = 0;
    std::string payload_;
};

void submit_to_result(benchmark::State& state, std::int64_t types, std::int64_t queues) {
    Yard yard(types, queues);
    for (auto _ : state) {
        if (yard.run(static_cast<std::size_t>(state.range(0)))) continue;
        state.SkipWithError("a job got lost on the way");
        break;
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK_CAPTURE(submit_to_result, plain, 1, 1)->Arg(1)->Arg(64)->Arg(256);
BENCHMARK_CAPTURE(submit_to_result, thousand_types, 1'000, 1)->Arg(256);
BENCHMARK_CAPTURE(submit_to_result, many_queues, 1, 256)->Arg(256);

}  // namespace
}  // namespace jobyard::broker
