#include "broker.hpp"

#include <algorithm>
#include <iterator>

#include "arrival.hpp"
#include "jobyard/codec.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::Batch;
using broker::Core;
using broker::Found;
using broker::is_end;
using broker::is_work;
using broker::LiveRow;
using broker::Need;
using broker::Outgoing;
using broker::Output;
using broker::overtakes;
using broker::PayloadRef;
using broker::PeerId;
using broker::Table;
using broker::Turn;

namespace {

constexpr std::int64_t kLongestSleepMs = 1000;
constexpr std::int64_t kStallUs = 500 * kMs;
constexpr std::size_t kRetainedBatches = 4;  // few, so that payloads are read from the disk as well

}  // namespace

Broker::Broker(World& world, Network& network, Disk& disk, Model& model, const Plan& plan, broker::PlantedBug bug)
    : End(world, "broker"),
      world_(world),
      network_(network),
      disk_(disk),
      model_(model),
      plan_(plan),
      bug_(bug),
      random_(world.random().fork()) {}

// --- from start to end -----------------------------------------------------------------------------------------------

void Broker::start() {
    life_ = std::make_unique<Life>(*this);
    life_->looked_us = world_.now();
    recover();
    life_->core->start(reading());
    process.tell("starts, batch ", life_->durable);
    network_.listen(this);
    life_->loop.wake_at(world_.now());
}

/// As recovery.cpp: an epoch of its own on disk, then every row that the core keeps in memory.
void Broker::recover() {
    const auto number = [&](std::string_view name) {
        const std::string* bytes = disk_.get(Table::meta, std::string(name));
        return bytes == nullptr ? 0 : broker::from_big_endian(*bytes);
    };
    Batch batch;
    batch.seq = number(broker::kMetaApplied) + 1;
    broker::CoreConfig config;
    config.limits = plan_.limits;
    config.timing = plan_.timing;
    config.bug = bug_;
    config.epoch = static_cast<std::uint32_t>(number(broker::kMetaEpoch) + 1);
    if (const std::string* store = disk_.get(Table::meta, std::string(broker::kMetaStore))) {
        config.store = uuid_from_bytes(*store);
    } else {
        config.store = random_.uuid();
        batch.put(Table::meta, broker::kMetaStore, config.store.view());
    }
    batch.put(Table::meta, broker::kMetaEpoch, broker::big_endian(config.epoch));
    batch.put(Table::meta, broker::kMetaApplied, broker::big_endian(batch.seq));
    disk_.write_now(batch);

    life_->core = std::make_unique<Core>(std::move(config));
    life_->durable = batch.seq;
    life_->open->seq = batch.seq + 1;
    Core& core = *life_->core;
    const Turn now = reading();
    for (const auto& [key, value] : disk_.rows(Table::live)) {
        LiveRow row;
        broker::StateRow state;
        JOBYARD_ASSERT(read_row(value, row));
        const std::string* changed = disk_.get(Table::state, key);
        JOBYARD_ASSERT(changed == nullptr || read_row(*changed, state));
        core.load_live({broker::from_big_endian(key)}, row, changed == nullptr ? nullptr : &state, now);
    }
    for (const auto& [key, value] : disk_.rows(Table::claims))
        core.load_claim({broker::from_big_endian(key)}, {broker::from_big_endian(value)});
    std::set<Uuid> known_workers;
    for (const auto& [key, value] : disk_.rows(Table::workers)) {
        broker::WorkerRow row;
        JOBYARD_ASSERT(read_row(value, row));
        core.load_worker(broker::from_big_endian(key), row);
        known_workers.insert(row.instance);
    }
    for (const auto& [key, value] : disk_.rows(Table::instances)) {
        broker::InstanceRow row;
        JOBYARD_ASSERT(read_row(value, row));
        core.load_instance(broker::from_big_endian(key), row, now);
    }
    if (const std::string* bytes = disk_.get(Table::meta, std::string(broker::kMetaNumbers))) {
        broker::NumbersRow numbers;
        JOBYARD_ASSERT(read_row(*bytes, numbers));
        core.load(numbers);
    }
    core.load_floor({number(broker::kMetaFloor)});
    core.load_applied(batch.seq);
    model_.broker_started(core, std::move(known_workers));
}

void Broker::crash() {
    process.tell("crashes");
    disk_.crash();
    end_process();
}

void Broker::stop() {
    process.tell("is told to stop");
    life_->leaving = Leaving::asked;
    life_->loop.wake_at(world_.now());
}

void Broker::end_process() {
    process.die();
    network_.close_all();
    network_.listen(nullptr);
    life_.reset();
    process.after(random_.any_size(50 * kMs, calm_ ? 1 * kSecond : 8 * kSecond), [this] { start(); });
}

void Broker::on_frames(ConnectionId connection, Frames frames) {
    if (life_ == nullptr) return;
    life_->inbox.emplace_back(PeerId{connection}, std::move(frames));
    life_->loop.wake_at(world_.now() + random_.between(0, 300));
}

void Broker::on_closed(ConnectionId connection) {
    if (life_ == nullptr) return;
    life_->gone.push_back({connection});
    life_->loop.wake_at(world_.now() + random_.between(0, 300));
}

// --- the loop --------------------------------------------------------------------------------------------------------

/// What passed beyond the sleep that was meant is a stall, and does not count.
void Broker::pass_time() {
    const std::int64_t passed = world_.now() - life_->looked_us;
    const std::int64_t beyond = passed - life_->sleeps_us;
    life_->now_us += beyond > kStallUs ? passed - beyond : passed;
    life_->looked_us = world_.now();
}

Turn Broker::reading() { return {life_->now_us / kMs, wall_offset_ms_ + world_.now_ms(), random_.next()}; }

void Broker::turn() {
    pass_time();
    Life& life = *life_;
    Core& core = *life.core;
    take_durable();
    const Turn now = reading();
    Output out{life.open.get(), {}};
    if (life.leaving == Leaving::said) return leave(now, out);
    for (const PeerId peer : std::exchange(life.gone, {})) {
        core.peer_gone(peer, now);
        life.held.erase(peer);
        life.waiting.erase(peer);
    }
    std::vector<std::pair<PeerId, Pending>> rest;
    for (auto& [peer, frames] : std::exchange(life.inbox, {})) decode(peer, std::move(frames), rest, now, out);
    for (auto& [peer, pending] : rest) take(peer, std::move(pending), now, out);
    for (const Asked& answer : std::exchange(life.answered, {})) {
        if (answer.what == Asked::For::agenda) core.agenda_step(found_from(answer), now, out);
        else if (answer.what == Asked::For::message) answered_message(answer, now, out);
        else answered_payloads(answer);
    }
    core.expire(now, out);
    if (auto needs = core.agenda_needs(now); !needs.empty()) ask(Asked::For::agenda, {}, std::move(needs));
    core.dispatch(now, out);
    check_dispatch(out);
    if (life.leaving == Leaving::asked) {
        core.stop(out);
        life.leaving = Leaving::said;
    }
    post(out);
    hand_over(now, out);
    if (random_.percent(2)) core.check_invariants();
    const std::int64_t sleep_ms =
        std::clamp<std::int64_t>(core.next_deadline() - life.now_us / kMs, 0, kLongestSleepMs);
    life.sleeps_us = std::max<std::int64_t>(sleep_ms * kMs, 100);
    life.loop.wake_at(world_.now() + life.sleeps_us);
}

/// Takes nothing more in; ends when all that was decided is durable and sent.
void Broker::leave(Turn now, Output& out) {
    hand_over(now, out);
    if (life_->in_flight != nullptr) return;  // it wakes the loop
    JOBYARD_ASSERT(life_->outbox[0].empty() && life_->outbox[1].empty());
    process.tell("has ended");
    end_process();
}

/// Workers' messages are taken as they come, the others after them.
void Broker::decode(PeerId peer, Frames frames, std::vector<std::pair<PeerId, Pending>>& rest, Turn now, Output& out) {
    life_->core->heard(peer, now);
    Pending pending;
    pending.frames = std::make_unique<Frames>(std::move(frames));
    auto decoded = decode_header(pending.frames->header, pending.frames->payload.size());
    JOBYARD_ASSERT(std::holds_alternative<Envelope>(decoded));
    pending.envelope = std::move(std::get<Envelope>(decoded));
    if (const auto* hello = std::get_if<Hello>(&pending.envelope.message)) {
        Peer& known = life_->peers[peer];
        known.name = hello->name;
        known.instance = hello->instance;
        known.claims[pending.envelope.request] = hello->claims;
    }
    if (is_work(pending.envelope.message)) take(peer, std::move(pending), now, out);
    else rest.emplace_back(peer, std::move(pending));
}

void Broker::take(PeerId peer, Pending pending, Turn now, Output& out) {
    const auto waiting = life_->waiting.find(peer);
    const bool behind = waiting != life_->waiting.end() && !overtakes(pending.envelope.message);
    pending.needs = life_->core->needs(peer, pending.envelope);
    if (!behind && pending.needs.empty()) return decide(peer, pending, {}, now, out);
    if (is_end(pending.envelope.message))
        life_->core->settle_live(peer, pending.envelope, pending.frames->payload, pending.settled, now, out);
    std::deque<Pending>& queue = life_->waiting[peer];
    if (queue.size() >= kMaxWaitingMessages)
        return life_->core->refuse(peer, pending.envelope.session, pending.envelope.request, Code::busy,
                                   "64 messages of this session wait for the disk already", "", out, 100);
    queue.push_back(std::move(pending));
    if (queue.size() == 1) ask(Asked::For::message, peer, queue.front().needs);
}

void Broker::decide(PeerId peer, Pending& pending, const Found& found, Turn now, Output& out) {
    if (const auto* submit = std::get_if<Submit>(&pending.envelope.message)) check_submit(*submit);
    life_->core->handle(peer, pending.envelope, pending.frames->payload, found, pending.settled, now, out);
}

// --- rows ------------------------------------------------------------------------------------------------------------

void Broker::ask(Asked::For what, PeerId peer, std::vector<Need> needs) {
    life_->asked.push_back({what, peer, std::move(needs), {}});
    if (life_->asked.size() == 1) read_next();
}

/// The reader: sees what is durable at some time after it was asked, and is heard some time after that.
void Broker::read_next() {
    process.after(random_.any_size(20, plan_.read_time), [this] {
        life_->asked.front().snapshot = disk_.read(life_->asked.front().needs);
        process.after(random_.any_size(20, plan_.read_time), [this] {
            life_->answered.push_back(std::move(life_->asked.front()));
            life_->asked.pop_front();
            if (!life_->asked.empty()) read_next();
            life_->loop.wake_at(world_.now());
        });
    });
}

Found Broker::found_from(const Asked& answer) const {
    std::vector<const Batch*> newer;
    const auto consider = [&](const std::unique_ptr<Batch>& batch) {
        if (batch != nullptr && batch->seq > answer.snapshot.applied_seq) newer.push_back(batch.get());
    };
    for (const auto& batch : life_->retained) consider(batch);
    consider(life_->in_flight);
    consider(life_->open);
    JOBYARD_ASSERT(!newer.empty() && newer.front()->seq == answer.snapshot.applied_seq + 1);
    return {answer.needs, answer.snapshot, newer};
}

void Broker::answered_message(const Asked& answer, Turn now, Output& out) {
    const auto waiting = life_->waiting.find(answer.peer);
    if (waiting == life_->waiting.end()) return;  // it is gone
    std::deque<Pending>& queue = waiting->second;
    decide(answer.peer, queue.front(), queue.front().needs.empty() ? Found{} : found_from(answer), now, out);
    queue.pop_front();
    while (!queue.empty()) {
        queue.front().needs = life_->core->needs(answer.peer, queue.front().envelope);
        if (!queue.front().needs.empty()) return ask(Asked::For::message, answer.peer, queue.front().needs);
        decide(answer.peer, queue.front(), {}, now, out);
        queue.pop_front();
    }
    life_->waiting.erase(waiting);
}

// --- batches ---------------------------------------------------------------------------------------------------------

void Broker::hand_over(Turn now, Output& out) {
    if (life_->in_flight != nullptr || !life_->core->has_writes(out)) return;
    life_->core->seal(now, out);
    life_->in_flight = std::move(life_->open);
    life_->open = std::make_unique<Batch>();
    life_->open->seq = life_->in_flight->seq + 1;
    out.batch = life_->open.get();
    disk_.write(*life_->in_flight, random_.any_size(50, plan_.commit_time), process, [this] {
        life_->committed = true;
        life_->loop.wake_at(world_.now() + random_.between(0, 100));
    });
}

void Broker::take_durable() {
    if (!std::exchange(life_->committed, false)) return;
    life_->durable = life_->in_flight->seq;
    life_->retained.push_back(std::move(life_->in_flight));
    release();
    // Kept while a snapshot older than it may still come.
    while (life_->retained.size() > kRetainedBatches && life_->asked.empty() && life_->answered.empty())
        life_->retained.pop_front();
}

// --- sending ---------------------------------------------------------------------------------------------------------

void Broker::post(Output& out) {
    for (Outgoing& message : out.messages) {
        if (message.rests_on <= life_->durable) send_or_hold(message);
        else life_->outbox[message.rests_on % 2].push_back(std::move(message));
    }
    out.messages.clear();
}

void Broker::release() {
    std::vector<Outgoing>& messages = life_->outbox[life_->durable % 2];
    for (Outgoing& message : messages) send_or_hold(message);
    messages.clear();
}

void Broker::send_or_hold(Outgoing& message) {
    const auto held = life_->held.find(message.peer);
    if (held != life_->held.end()) {
        held->second.push_back(std::move(message));
        return;
    }
    if (send(message)) return;
    std::vector<Need> needs;
    for (PayloadRef& payload : message.payloads) {
        std::string_view bytes;
        if (in_hand(payload, bytes)) {
            if (payload.kind == PayloadRef::Kind::own) continue;
            payload = {
                PayloadRef::Kind::own, 0, {static_cast<std::uint32_t>(message.bytes.size()), payload.slice.size}};
            message.bytes.append(bytes);
            continue;
        }
        const std::string key = broker::job_key({payload.number});
        if (payload.kind == PayloadRef::Kind::of_job) {
            needs.push_back({Need::Kind::row, Table::live, key, 1});
            needs.push_back({Need::Kind::prefix, Table::chunks, key, 1024});
        } else {
            needs.push_back({Need::Kind::row, Table::done, key, 1});
            needs.push_back({Need::Kind::row, Table::dead, key, 1});
            needs.push_back({Need::Kind::prefix, Table::results, key, 1024});
        }
    }
    const PeerId peer = message.peer;
    life_->held[peer].push_back(std::move(message));
    ask(Asked::For::payload, peer, std::move(needs));
}

void Broker::answered_payloads(const Asked& answer) {
    const auto held = life_->held.find(answer.peer);
    if (held == life_->held.end()) return;  // it is gone
    std::deque<Outgoing> messages = std::move(held->second);
    life_->held.erase(held);
    Outgoing& first = messages.front();
    const Found found(answer.needs, answer.snapshot, {});
    for (PayloadRef& payload : first.payloads) {
        if (payload.kind == PayloadRef::Kind::own) continue;
        const std::string key = broker::job_key({payload.number});
        const auto at = static_cast<std::uint32_t>(first.bytes.size());
        if (payload.kind == PayloadRef::Kind::of_job) {
            LiveRow row;
            if (const auto bytes = found.get(Table::live, key); bytes && read_row(*bytes, row))
                first.bytes.append(row.payload);
            for (const broker::RowView& chunk : found.with_prefix(Table::chunks, key)) first.bytes.append(chunk.value);
        } else {
            broker::EndRow row;
            for (const Table table : {Table::done, Table::dead})
                if (const auto bytes = found.get(table, key); bytes && read_row(*bytes, row))
                    first.bytes.append(row.result);
            for (const broker::RowView& chunk : found.with_prefix(Table::results, key)) first.bytes.append(chunk.value);
        }
        payload = {PayloadRef::Kind::own, 0, {at, static_cast<std::uint32_t>(first.bytes.size()) - at}};
    }
    do_without_payload(first);
    JOBYARD_ASSERT(send(first));
    messages.pop_front();
    for (Outgoing& message : messages) send_or_hold(message);
}

/// A job may have ended while its payload was being read; a result may have been retired, or gone with a redrive.
void Broker::do_without_payload(Outgoing& message) {
    if (auto* dispatch = std::get_if<Dispatch>(&message.envelope.message)) {
        auto& items = dispatch->items;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (items[i].payload_length != message.payloads[i].slice.size) continue;
            items[kept] = items[i];
            message.payloads[kept++] = message.payloads[i];
        }
        items.resize(kept);
        message.payloads.resize(kept);
    } else if (auto* results = std::get_if<Results>(&message.envelope.message)) {
        for (std::size_t i = 0; i < results->items.size(); ++i) {
            ResultItem& item = results->items[i];
            if (item.payload_length == message.payloads[i].slice.size) continue;
            life_->core->result_is_gone(message.peer, message.envelope.session, item.payload_length);
            if (item.state == JobState::completed) item.state = JobState::retired;
            item.payload_length = message.payloads[i].slice.size = 0;
        }
    }
}

/// The batch being written and the open one are looked at only for the sake of a planted bug: else nothing that is sent
/// rests on them.
bool Broker::in_hand(const PayloadRef& payload, std::string_view& bytes) const {
    bytes = {};
    if (payload.slice.size == 0 || payload.kind == PayloadRef::Kind::own) return true;
    if (payload.kind == PayloadRef::Kind::result_of) return false;
    const auto in = [&](const std::unique_ptr<Batch>& batch) {
        if (batch == nullptr) return false;
        if (payload.kind == PayloadRef::Kind::in_batch) {
            if (batch->seq != payload.number) return false;
            bytes = batch->view(payload.slice);
            return true;
        }
        const auto slice = batch->payload_of({payload.number});
        if (slice) bytes = batch->view(*slice);
        return slice.has_value();
    };
    if (in(life_->open) || in(life_->in_flight)) return true;
    const bool found = std::any_of(life_->retained.begin(), life_->retained.end(), in);
    JOBYARD_ASSERT(found || payload.kind != PayloadRef::Kind::in_batch);
    return found;
}

/// False: a payload is not in memory, and nothing was sent.
bool Broker::send(Outgoing& message) {
    Frames frames;
    for (const PayloadRef& payload : message.payloads) {
        std::string_view bytes;
        if (payload.kind == PayloadRef::Kind::own)
            bytes = std::string_view(message.bytes).substr(payload.slice.at, payload.slice.size);
        else if (!in_hand(payload, bytes)) return false;
        frames.payload += bytes;
    }
    encode_header(message.envelope, frames.header);
    std::string payload = frames.payload;
    if (network_.send(message.peer.value, Side::broker, std::move(frames))) tell_model(message, payload);
    return true;
}

// --- what the model is told ------------------------------------------------------------------------------------------

void Broker::check_submit(const Submit& submit) const {
    if (submit.first_number + submit.items.size() - 1 > submit.confirmed + kSubmitWindow)
        throw Broken{"P8 every queue is bounded", "a client sent a submit beyond its window"};
}

void Broker::check_dispatch(const Output& out) {
    std::vector<JobId> jobs;
    for (const Outgoing& message : out.messages) {
        if (const auto* dispatch = std::get_if<Dispatch>(&message.envelope.message))
            for (const DispatchItem& item : dispatch->items) jobs.push_back(item.job);
        if (!std::holds_alternative<Welcome>(message.envelope.message)) continue;
        model_.worker_is_back(life_->peers.at(message.peer).instance);
    }
    model_.granted(*life_->core, jobs);
    std::uint64_t unended = 0;
    for (const std::uint64_t count : life_->core->counters().by_state) unended += count;
    if (plan_.redrives == 0 && unended > plan_.limits.jobs)  // a redrive is bounded by its queue's limit only
        throw Broken{"P8 every queue is bounded", "there are " + std::to_string(unended) + " unended jobs"};
}

void Broker::tell_model(const Outgoing& message, std::string_view payload) {
    process.tell("sends ", message_name(message.envelope.message), " on connection ", message.peer.value);
    if (const auto* dispatch = std::get_if<Dispatch>(&message.envelope.message)) {
        std::size_t at = 0;
        for (const DispatchItem& item : dispatch->items) {
            const std::string& worker = life_->peers.at(message.peer).name;
            process.tell("dispatches ", item.job, " to ", worker, " under ", item.token, ", attempt ", item.attempt);
            model_.dispatched(worker, item, payload.substr(at, item.payload_length));
            at += item.payload_length;
        }
    }
    if (const auto* welcome = std::get_if<Welcome>(&message.envelope.message)) {
        const std::vector<Claim>& claims = life_->peers.at(message.peer).claims.at(message.envelope.request);
        for (std::size_t i = 0; i < welcome->claims.size(); ++i)
            if (!claims[i].finished) model_.claim_answered(claims[i].job, claims[i].token, welcome->claims[i]);
    }
}

}  // namespace jobyard::sim
