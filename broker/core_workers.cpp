// Who works here, as people see it, and drain: a worker that is handed nothing more and stays.

#include <algorithm>
#include <charconv>

#include "core.hpp"
#include "job_map.hpp"

namespace jobyard::broker {
namespace {

constexpr std::size_t kListBytes = std::size_t{1} << 20;
constexpr std::size_t kNamesShown = 100;

void put_names(MapWriter& map, const char* key, const char* total_key, const std::vector<std::string>& names) {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < std::min(names.size(), kNamesShown); ++i)
        wire::Writer(values.emplace_back()).str(names[i]);
    map.list(key, values);
    map.uint(total_key, names.size());
}

}  // namespace

void Core::append_map(const Session& worker, bool with_jobs, Turn turn, std::string& bytes) const {
    const char* state = worker.gone_at >= 0      ? "away"
                        : worker.draining        ? "draining"
                        : worker.outstanding > 0 ? "busy"
                                                 : "idle";
    MapWriter map;
    map.text("name", worker.name);
    map.text("state", state);
    map.boolean("draining", worker.draining);
    map.uint("slots", worker.slots);
    map.uint("credit", worker.credit);
    map.uint("running", worker.outstanding);
    put_names(map, "queues", "queues_total", ready_.queues_of(worker.service));
    put_names(map, "types", "types_total", ready_.types_of(worker.service));
    map.text("software", worker.software);
    if (!worker.host.empty()) map.text("host", worker.host);
    if (worker.pid != 0) map.uint("pid", worker.pid);
    map.integer("connected_at", worker.connected_at);
    map.integer("heard_at", turn.wall - (turn.now - worker.heard_at));
    if (with_jobs) {
        std::vector<JobId> held;
        for (JobHandle handle = worker.leases; handle != kNoJob; handle = jobs_[handle].next)
            held.push_back(jobs_[handle].id);
        std::sort(held.begin(), held.end());
        std::vector<std::string> jobs;
        for (const JobId job : held) wire::Writer(jobs.emplace_back()).uint(job.value);
        map.list("jobs", jobs);
    }
    map.append_to(bytes);
}

void Core::on_list_workers(Session& session, RequestId request, const ListWorkers& list, Turn turn, Output& out) {
    // By the number of its row, which is greater the later a worker joined.
    std::uint64_t after = 0;
    const char* const end = list.cursor.data() + list.cursor.size();
    if (const auto [last, error] = std::from_chars(list.cursor.data(), end, after);
        !list.cursor.empty() && (error != std::errc() || last != end))
        return refuse(session.peer, session.id, request, Code::bad_field,
                      "a cursor is empty, or what the page before gave as next", "cursor", out);
    struct Known {
        std::uint64_t row = 0;
        const Session* session = nullptr;
        const Awaited* awaited = nullptr;
    };
    std::vector<Known> known;
    const auto wanted = [&](std::uint64_t row, std::string_view name) {
        return row > after && (list.name.empty() || list.name == name);
    };
    for (const auto& [index, worker] : sessions_)
        if (worker->role == Role::worker && wanted(worker->row, worker->name))
            known.push_back({worker->row, worker.get(), nullptr});
    for (const auto& [instance, worker] : awaited_)
        if (wanted(worker.row, worker.name)) known.push_back({worker.row, nullptr, &worker});
    std::sort(known.begin(), known.end(), [](const Known& a, const Known& b) { return a.row < b.row; });

    Maps maps;
    Outgoing message;
    const std::size_t limit = std::clamp<std::size_t>(list.limit, 1, kMaxItems);
    for (const Known& worker : known) {
        if (maps.items.size() == limit || message.bytes.size() > kListBytes) {
            maps.next = message.keep(std::to_string(after));
            break;
        }
        after = worker.row;
        const std::size_t at = message.bytes.size();
        if (worker.session != nullptr) {
            append_map(*worker.session, !list.name.empty(), turn, message.bytes);
        } else {
            MapWriter map;
            map.text("name", worker.awaited->name);
            map.text("state", "away");
            map.boolean("draining", worker.awaited->draining);
            map.append_to(message.bytes);
        }
        const Slice slice{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(message.bytes.size() - at)};
        maps.items.push_back({slice.size});
        message.payloads.push_back({PayloadRef::Kind::own, 0, slice});
    }
    message.rests_on = rests_on(out);
    message.envelope = {{}, request, std::move(maps)};
    address(message, session);
    out.messages.push_back(std::move(message));
}

void Core::on_steer_worker(Session& session, RequestId request, const SteerWorker& steer, Output& out) {
    if (steer.action != WorkerAction::drain && steer.action != WorkerAction::resume)
        return refuse(session.peer, session.id, request, Code::bad_field, "an action is 1 (drain) or 2 (resume)",
                      "action", out);
    const bool drain = steer.action == WorkerAction::drain;
    Answers answers;
    const auto apply = [&](bool& draining, std::uint64_t row, const Uuid& instance) {
        if (answers.items.size() < kMaxItems) answers.items.push_back({Code::ok, {}});
        set_draining(draining, row, {instance, steer.name, drain}, {}, out);
    };
    for (const auto& [index, worker] : sessions_) {
        if (worker->role != Role::worker || worker->name != steer.name) continue;
        apply(worker->draining, worker->row, worker->instance);
        reposition(*worker);
    }
    for (auto& [instance, worker] : awaited_)
        if (worker.name == steer.name) apply(worker.draining, worker.row, instance);
    if (answers.items.empty())
        answers.items.push_back(
            {Code::unknown_worker, {}, {}, "no worker of this name is connected; ask for the list of workers"});
    answer(session, request, std::move(answers), out);
}

void Core::set_draining(bool& draining, std::uint64_t row, const WorkerRow& worker, std::string_view why, Output& out) {
    if (draining == worker.draining) return;
    draining = worker.draining;
    const Slice key = out.batch->append(big_endian(row));
    out.batch->put(Table::workers, key, append_row(*out.batch, worker));
    record_about(draining ? EventKind::worker_drained : EventKind::worker_resumed,
                 {.worker = worker.name, .text = why});
}

}  // namespace jobyard::broker
