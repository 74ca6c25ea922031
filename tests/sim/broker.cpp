#include "broker.hpp"

#include <algorithm>
#include <iterator>

#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"
#include "record.hpp"

namespace jobyard::sim {

using broker::Batch;
using broker::Core;
using broker::Found;
using broker::Inbox;
using broker::is_work;
using broker::LiveRow;
using broker::Need;
using broker::Outgoing;
using broker::Output;
using broker::PeerId;
using broker::planted;
using broker::PlantedBug;
using broker::Table;
using broker::Turn;

namespace {

constexpr std::int64_t kLongestSleepMs = 1000;
constexpr std::int64_t kStallUs = 500 * kMs;
constexpr std::int64_t kDiskLookMs = 1000;
constexpr std::size_t kBatchOps = 4096;
constexpr std::size_t kFewBatchOps = 64;     // where the store is waited for
constexpr std::size_t kRetainedBatches = 4;  // few, so that payloads are read from the disk as well

struct HeldFrames : Inbox::Frames {
    explicit HeldFrames(sim::Frames given) : frames(std::move(given)) {}
    void detach(Inbox::Message&) override {}  // nobody else has a part in them
    sim::Frames frames;
};

}  // namespace

Broker::Broker(World& world, Network& network, Disk& disk, Model& model, Coverage& coverage, Quotas& quotas,
               const Plan& plan)
    : End(world, "broker"),
      world_(world),
      network_(network),
      disk_(disk),
      model_(model),
      coverage_(coverage),
      quotas_(quotas),
      plan_(plan),
      random_(world.random().fork()) {
    broker::watcher = this;
}

// --- from start to end -----------------------------------------------------------------------------------------------

void Broker::start() {
    life_ = std::make_unique<Life>(*this);
    life_->looked_us = world_.now();
    disk_.apply(UINT64_MAX);  // the log's batches that the store lacks
    if (!recover()) {
        process.tell("cannot start: its disk cannot be written");
        return end_process();
    }
    watch_disk();
    const Turn now = reading();
    life_->core->start(now);
    use_settings(now);
    settle("start");
    life_->core->check_invariants();
    process.tell("starts, batch ", life_->batches->durable());
    network_.listen(this);
    life_->loop.wake_at(world_.now());
}

/// As recovery.cpp: an epoch of its own on disk, then every row that the core keeps in memory.
bool Broker::recover() {
    const auto number = [&](std::string_view name) {
        const std::string* bytes = disk_.get(Table::meta, std::string(name));
        return bytes == nullptr ? 0 : broker::from_big_endian(*bytes);
    };
    Batch batch;
    batch.seq = number(broker::kMetaApplied) + 1;
    broker::CoreConfig config;
    quotas_.starts();
    config.limits = quotas_.limits();
    config.timing = plan_.timing();
    config.epoch = static_cast<std::uint32_t>(number(broker::kMetaEpoch) + 1);
    if (const std::string* store = disk_.get(Table::meta, std::string(broker::kMetaStore))) {
        config.store = uuid_from_bytes(*store);
    } else {
        config.store = random_.uuid();
        batch.put(Table::meta, broker::kMetaStore, config.store.view());
    }
    batch.put(Table::meta, broker::kMetaEpoch, broker::big_endian(config.epoch));
    batch.put(Table::meta, broker::kMetaApplied, broker::big_endian(batch.seq));
    if (!disk_.write_now(batch)) return false;

    life_->core = std::make_unique<Core>(std::move(config));
    Core& core = *life_->core;
    const Turn now = reading();
    for (const auto& [key, value] : disk_.rows(Table::arrays)) {
        LiveRow submitted;
        broker::ArrayRow row;
        JOBYARD_ASSERT(read_row(value, submitted));
        JOBYARD_ASSERT(read_row(*disk_.get(Table::counts, key), row));
        core.load_array({broker::from_big_endian(key)}, submitted, row);
    }
    for (const auto& [key, value] : disk_.rows(Table::live)) {
        LiveRow row;
        broker::StateRow state;
        JOBYARD_ASSERT(read_row(value, row));
        const std::string* changed = disk_.get(Table::state, key);
        JOBYARD_ASSERT(changed == nullptr || read_row(*changed, state));
        const JobId id{broker::from_big_endian(key)};
        core.load_live(id, row, changed == nullptr ? nullptr : &state, now);
        quotas_.loaded(*core.job(id), changed == nullptr || state.queue.empty() ? row.queue : state.queue);
    }
    for (const auto& [key, value] : disk_.rows(Table::queues)) {
        broker::QueueRow row;
        JOBYARD_ASSERT(read_row(value, row));
        core.load_queue(key, row);
    }
    for (const auto& [key, value] : disk_.rows(Table::tasks)) {
        broker::TaskRow row;
        JOBYARD_ASSERT(read_row(value, row));
        core.load_task(broker::from_big_endian(key), row);
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
    quotas_.started(core);
    core.load_floor({number(broker::kMetaFloor)});
    core.load_applied(batch.seq);
    life_->batches.emplace(batch.seq, JobId{core.numbers().next_job},
                           broker::Batches::Keep{SIZE_MAX, kRetainedBatches});
    life_->inbox.emplace(*life_->core, *life_->batches, static_cast<Inbox::Edge&>(*this));
    life_->outbox.emplace(*life_->batches, static_cast<broker::Outbox::Edge&>(*this));
    model_.broker_started(core, std::move(known_workers), wall_offset_ms_);
    return true;
}

/// As Server::set_access and Core::set_limits are called at a start and at SIGHUP.
void Broker::use_settings(Turn now) {
    life_->core->set_limits(quotas_.limits());
    if (!quotas_.are_used()) return;
    Output out{&life_->batches->open(), {}};
    const std::vector<PeerId> revoked = life_->core->set_access(quotas_.access(), now, out);
    JOBYARD_ASSERT(revoked.empty());  // keys stay, and their rights
    life_->outbox->post(out);
}

void Broker::reload() {
    process.tell("is told to reload");
    life_->reloads = true;
    life_->loop.wake_at(world_.now());
}

void Broker::crash() {
    process.tell("crashes");
    end_process();
}

void Broker::stop() {
    process.tell("is told to stop");
    life_->leaving = Leaving::asked;
    life_->loop.wake_at(world_.now());
}

void Broker::end_process() {
    disk_.crash();
    process.die();
    network_.close_all();
    network_.listen(nullptr);
    life_.reset();
    process.after(random_.any_size(50 * kMs, calm_ ? 1 * kSecond : 8 * kSecond), [this] { start(); });
}

void Broker::on_opened(ConnectionId connection) {
    if (life_ == nullptr) return;
    const std::string& peer = life_->peers[{connection}].process = network_.peer_name(connection);
    if (quotas_.are_used()) life_->core->introduce({connection}, quotas_.who(peer));
}

void Broker::on_frames(ConnectionId connection, Frames frames) {
    if (life_ == nullptr) return;
    life_->arrived.emplace_back(PeerId{connection}, std::move(frames));
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
    std::int64_t beyond = passed - life_->sleeps_us;
    if (planted(PlantedBug::expiry_before_inbox)) beyond = 0;
    life_->now_us += beyond > kStallUs ? passed - beyond : passed;
    life_->looked_us = world_.now();
}

Turn Broker::reading() { return {life_->now_us / kMs, wall_offset_ms_ + world_.now_ms(), random_.next()}; }

void Broker::turn() {
    pass_time();
    Life& life = *life_;
    Core& core = *life.core;
    if (!take_durable()) return;
    take_applied();
    const Turn now = reading();
    if (now.now >= life.next_disk_look_ms) watch_disk();
    if (std::exchange(life.reloads, false)) {
        quotas_.change();
        use_settings(now);
    }
    Output out{&life.batches->open(), {}};
    ops_before_ = out.batch->ops().size();
    if (life.leaving == Leaving::said) return leave(now, out);
    if (planted(PlantedBug::expiry_before_inbox)) expire(now, out);
    read_messages(now, out);
    take_answers(now, out);
    for (const PeerId peer : std::exchange(life.gone, {})) {
        core.peer_gone(peer, now);
        life.inbox->drop(peer);
        life.outbox->drop(peer);
    }
    settle("gone");
    expire(now, out);
    if (auto needs = core.agenda_needs(now); !needs.empty()) ask(Asked::For::agenda, {}, std::move(needs));
    settle("agenda");
    core.dispatch(now, out);
    settle("dispatch");
    check_dispatch(out);
    if (life.leaving == Leaving::asked) {
        core.stop(out);
        life.leaving = Leaving::said;
    }
    life.outbox->post(out);
    hand_over(now, out);
    check_state(out);
    const std::int64_t sleep_ms =
        std::clamp<std::int64_t>(core.next_deadline() - life.now_us / kMs, 0, kLongestSleepMs);
    life.sleeps_us = std::max<std::int64_t>(sleep_ms * kMs, 100);
    life.loop.wake_at(world_.now() + life.sleeps_us);
}

/// Work first, then what waited for room, then the rest.
void Broker::read_messages(Turn now, Output& out) {
    Life& life = *life_;
    std::vector<std::pair<PeerId, Inbox::Message>> rest;
    for (auto& [peer, frames] : std::exchange(life.arrived, {})) decode(peer, std::move(frames), rest, now, out);
    while (!life.backlog.empty() && !full()) {
        auto [peer, message] = std::move(life.backlog.front());
        life.backlog.pop_front();
        take(peer, std::move(message), now, out);
    }
    for (auto& [peer, message] : rest) {
        if (life.backlog.empty() && !full()) take(peer, std::move(message), now, out);
        else life.backlog.emplace_back(peer, std::move(message));
    }
}

void Broker::take_answers(Turn now, Output& out) {
    Life& life = *life_;
    for (const Asked& answer : std::exchange(life.answered, {})) {
        if (answer.what == Asked::For::agenda) {
            const JobId next{life.core->numbers().next_job};
            life.core->agenda_step({answer.needs, answer.snapshot, life.batches->after(answer.snapshot.applied_seq)},
                                   now, out);
            std::vector<JobId> redriven;
            for (const auto& [job, change] : changed_)
                if (change.first == JobState::none && job < next) redriven.push_back(job);
            settle("agenda");
            if (quotas_.are_used()) quotas_.stepped(*life.core, next, redriven);
        } else if (answer.what == Asked::For::message) {
            life.inbox->answered(answer.peer, answer.ticket, answer.snapshot, now, out);
        } else {
            life.outbox->answered(answer.peer, answer.ticket, answer.snapshot);
        }
    }
    trim();
}

void Broker::expire(Turn now, Output& out) {
    life_->core->expire(now, out);
    std::set<std::string> unheard;  // whose messages are here and have not been read
    for (const auto& [peer, frames] : life_->arrived) unheard.insert(life_->peers[peer].name);
    if (!unheard.empty())
        for (const auto& [job, change] : changed_)
            if (change.second == JobState::queued || change.second == JobState::none) model_.lost_by_time(job, unheard);
    settle("time");
}

void Broker::watch_disk() {
    life_->next_disk_look_ms = life_->now_us / kMs + kDiskLookMs;
    life_->free_disk = disk_.free();
    life_->core->set_free_disk(life_->free_disk);
}

/// The open batch is as large as it may become before the committer has taken it.
bool Broker::full() const {
    const std::size_t most = plan_.unapplied_batches == 0 ? kBatchOps : kFewBatchOps;
    return life_->batches->open().ops().size() >= most;
}

/// Takes nothing more in; ends when all that was decided is durable. What waits for a payload is asked for again.
void Broker::leave(Turn now, Output& out) {
    hand_over(now, out);
    const bool waits = life_->core->has_writes(out);              // for the store
    if (life_->batches->in_flight() != nullptr || waits) return;  // it wakes the loop
    JOBYARD_ASSERT(life_->outbox->nothing_rests());
    process.tell("has ended");
    end_process();
}

/// Workers' messages are taken as they come, the others after them.
void Broker::decode(PeerId peer, Frames frames, std::vector<std::pair<PeerId, Inbox::Message>>& rest, Turn now,
                    Output& out) {
    life_->core->heard(peer, now);
    auto held = std::make_shared<HeldFrames>(std::move(frames));
    auto decoded = decode_header(held->frames.header, held->frames.payload.size());
    JOBYARD_ASSERT(std::holds_alternative<Envelope>(decoded));
    const std::string_view payload = held->frames.payload;
    Inbox::Message message{std::move(std::get<Envelope>(decoded)), payload, std::move(held)};
    if (const auto* hello = std::get_if<Hello>(&message.envelope.message)) {
        Peer& known = life_->peers[peer];
        known.name = hello->name;
        known.instance = hello->instance;
        known.claims[message.envelope.request] = hello->claims;
    }
    life_->peers[peer].asked[message.envelope.request] = message_name(message.envelope.message);
    if (is_work(message.envelope.message)) take(peer, std::move(message), now, out);
    else rest.emplace_back(peer, std::move(message));
}

void Broker::take(PeerId peer, Inbox::Message message, Turn now, Output& out) {
    const char* const name = message_name(message.envelope.message);
    life_->inbox->take(peer, std::move(message), now, out);
    settle(name);  // ends may be settled before the message is decided
}

void Broker::decide(PeerId peer, const Inbox::Message& message, const Found& found, Turn now, Output& out) {
    const auto* submit = std::get_if<Submit>(&message.envelope.message);
    if (submit != nullptr) check_submit(*submit);
    const std::uint64_t jobs = life_->core->numbers().next_job;
    const std::vector<Quotas::Wanted> wanted = quotas_.wanted(*life_->core, message.envelope.message, found);
    life_->core->handle(peer, message.envelope, {message.payload, message.frames}, found, message.settled, now, out);
    settle(message_name(message.envelope.message));
    check_quotas(peer, message.envelope, {jobs}, wanted, out);
    if (submit != nullptr && life_->free_disk < plan_.limits().submit_free_bytes &&
        life_->core->numbers().next_job != jobs)
        throw Broken{"P8 a full disk takes nothing new", "a submit made a job below submit_free_bytes"};
}

// --- rows ------------------------------------------------------------------------------------------------------------

std::uint64_t Broker::ask(Asked::For what, PeerId peer, std::vector<Need> needs) {
    life_->asked.push_back({what, peer, std::move(needs), {}, life_->batches->applied(), ++life_->last_ticket});
    if (life_->asked.size() == 1) read_next();
    return life_->last_ticket;
}

std::uint64_t Broker::look_up(PeerId peer, std::vector<Need> needs) {
    return ask(Asked::For::message, peer, std::move(needs));
}

/// The reader: sees what the store has at some time after it was asked, and is heard some time after that.
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

// --- batches ---------------------------------------------------------------------------------------------------------

void Broker::hand_over(Turn now, Output& out) {
    if (life_->batches->in_flight() != nullptr || !life_->core->has_writes(out)) return;
    if (plan_.unapplied_batches != 0 && disk_.unapplied() > static_cast<std::size_t>(plan_.unapplied_batches))
        return model_.broker_disturbed(world_.now());  // a lease may be over before its DISPATCH leaves
    life_->core->seal(now, out);
    const Batch& sealed = life_->batches->hand_over({life_->core->numbers().next_job});
    out.batch = &life_->batches->open();
    ops_before_ = 0;
    disk_.write(sealed, random_.any_size(50, plan_.commit_time), process, [this](bool written) {
        (written ? life_->committed : life_->commit_failed) = true;
        life_->loop.wake_at(world_.now() + random_.between(0, 100));
    });
}

/// False: it could not be written, and nobody may be told anything any more.
bool Broker::take_durable() {
    if (life_->commit_failed) {
        process.tell("could not write batch ", life_->batches->in_flight()->seq, ", and ends");
        end_process();
        return false;
    }
    if (!std::exchange(life_->committed, false)) return true;
    life_->batches->land();
    life_->outbox->on_durable();
    bring_up();
    return true;
}

void Broker::bring_up() {
    const std::uint64_t up_to = life_->batches->durable();
    if (up_to == disk_.applied() || std::exchange(life_->applying, true)) return;
    const std::int64_t rests = life_->store_rests_until_us - world_.now();
    process.after(std::max(rests, random_.any_size(50, plan_.apply_time)), [this, up_to] {
        disk_.apply(up_to);
        life_->applying = false;
        bring_up();  // what has become durable meanwhile
        life_->loop.wake_at(world_.now() + random_.between(0, 100));
    });
}

void Broker::take_applied() {
    if (disk_.applied() == life_->batches->applied()) return;
    life_->batches->set_applied(disk_.applied());
    life_->outbox->on_applied();
    trim();
}

void Broker::trim() {
    std::uint64_t read = life_->batches->applied();
    for (const auto* list : {&life_->asked, &life_->answered})
        for (const Asked& asked : *list) read = std::min(read, asked.applied_then);
    life_->batches->trim(read);
}

// --- sending ---------------------------------------------------------------------------------------------------------

void Broker::send(const Outgoing& message, const std::vector<KeptBytes>& payload) {
    Frames frames;
    for (const KeptBytes& piece : payload) frames.payload += piece.bytes;
    encode_header(message.envelope, frames.header);
    const std::string bytes = frames.payload;
    if (network_.send(message.peer.value, Side::broker, std::move(frames))) tell_model(message, bytes);
}

std::uint64_t Broker::read(PeerId peer, std::vector<Need> needs) {
    return ask(Asked::For::payload, peer, std::move(needs));
}

void Broker::payload_is_gone(JobId job, LeaseToken token) {
    if (life_->core->is_leased(job, token))  // else it has ended meanwhile
        throw Broken{"P1 a payload stays until its job has ended",
                     "that of job " + std::to_string(job.value) + " is gone"};
}

void Broker::result_is_gone(PeerId peer, SessionId session, std::uint64_t bytes) {
    life_->core->result_is_gone(peer, session, bytes);
}

// --- what the model is told ------------------------------------------------------------------------------------------

void Broker::check_submit(const Submit& submit) const {
    if (submit.first_number + submit.items.size() - 1 > submit.confirmed + kSubmitWindow)
        throw Broken{"P8 every queue is bounded", "a client sent a submit beyond its window"};
}

/// Its answer is in `out`, if it was not refused as a whole.
void Broker::check_quotas(PeerId peer, const Envelope& asked, JobId first, const std::vector<Quotas::Wanted>& wanted,
                          const Output& out) {
    const auto* submit = std::get_if<Submit>(&asked.message);
    const auto* array = std::get_if<SubmitArray>(&asked.message);
    if (submit == nullptr && array == nullptr && wanted.empty()) return;
    const auto answer = std::find_if(out.messages.rbegin(), out.messages.rend(), [&](const Outgoing& sent) {
        return sent.peer == peer && sent.envelope.request == asked.request &&
               std::holds_alternative<Answers>(sent.envelope.message);
    });
    if (answer == out.messages.rend()) return;
    const std::vector<Answer>& answers = std::get<Answers>(answer->envelope.message).items;
    if (!wanted.empty()) {
        const auto* redrive = std::get_if<Redrive>(&asked.message);
        const std::vector<JobId>& jobs = redrive != nullptr ? redrive->jobs : std::get<Change>(asked.message).jobs;
        if (answers.size() == jobs.size()) quotas_.steered(*life_->core, jobs, wanted, answers);
        return;
    }
    const std::vector<SubmitItem>& items = submit != nullptr ? submit->items : array->items;
    if (answers.size() == items.size())
        quotas_.answered(*life_->core, life_->peers.at(peer).process, items, array != nullptr, answers, first,
                         life_->now_us / kMs);
}

void Broker::check_dispatch(const Output& out) {
    std::vector<Model::Granted> granted;
    for (const Outgoing& message : out.messages) {
        if (const auto* dispatch = std::get_if<Dispatch>(&message.envelope.message)) {
            for (const DispatchItem& item : dispatch->items)
                granted.push_back({item.job, item.token, life_->peers.at(message.peer).instance});
        }
        const auto* welcome = std::get_if<Welcome>(&message.envelope.message);
        if (welcome == nullptr) continue;
        const Peer& peer = life_->peers.at(message.peer);
        model_.worker_is_back(peer.instance);
        const std::vector<Claim>& claims = peer.claims.at(message.envelope.request);
        for (std::size_t i = 0; i < welcome->claims.size(); ++i)
            model_.claim_decided(*life_->core, claims[i].job, claims[i].token);
    }
    if (!granted.empty() && life_->free_disk < plan_.limits().dispatch_free_bytes)
        throw Broken{"P8 nothing is begun on a full disk", "a job was handed out below dispatch_free_bytes"};
    model_.granted(*life_->core, granted);
}

/// When all that was decided is on disk, the core must be what the model says.
bool Broker::has_nothing_to_write() const {
    return life_->batches->in_flight() == nullptr && !life_->core->has_writes({&life_->batches->open(), {}});
}

void Broker::check_state(const Output& out) {
    if (random_.percent(2)) life_->core->check_invariants();
    if (life_->batches->in_flight() == nullptr && !life_->core->has_writes(out))
        model_.check(*life_->core, wall_offset_ms_);
}

// --- what is counted -------------------------------------------------------------------------------------------------

void Broker::saw(JobId job, JobState from, JobState to) {
    const auto [at, is_first] = changed_.try_emplace(job, from, to);
    if (!is_first) at->second.second = to;
}

/// A step of the core is over. How a job ended, and that one was dead before, stands in what was written.
void Broker::settle(std::string_view why) {
    if (life_->batches) {
        const std::vector<broker::Op>& ops = life_->batches->open().ops();
        const Batch& batch = life_->batches->open();
        for (; ops_before_ < ops.size(); ++ops_before_) {
            const broker::Op& op = ops[ops_before_];
            const bool put = op.kind == broker::Op::Kind::put;
            if (op.table != Table::done && op.table != Table::dead) continue;
            const JobId job{broker::from_big_endian(batch.key(op))};
            const auto changed = changed_.find(job);
            broker::EndRow row;
            if (put && changed != changed_.end() && read_row(batch.value(op), row)) {
                if (changed->second.second == JobState::none) changed->second.second = row.state;
            } else if (op.kind == broker::Op::Kind::erase) {
                // The end of one that is not durable yet is not known to the model.
                const JobState ended = model_.end_of(job);
                if (changed != changed_.end()) {
                    if (changed->second.first == JobState::none) changed->second.first = JobState::dead;
                } else if (ended != JobState::none) {
                    coverage_.transition(ended, why, JobState::retired);
                }
            }
        }
    }
    for (const auto& [job, change] : changed_)
        if (change.first != change.second) coverage_.transition(change.first, why, change.second);
    changed_.clear();
}

/// `message` is an answer to something.
void Broker::count_answers(const Outgoing& message) {
    std::map<RequestId, const char*>& asked = life_->peers[message.peer].asked;
    const auto known = asked.find(message.envelope.request);
    const char* const name = known == asked.end() || !message.envelope.request.value ? "-" : known->second;
    if (const auto* answers = std::get_if<Answers>(&message.envelope.message))
        for (const Answer& answer : answers->items) coverage_.answer(name, answer.code);
    if (const auto* refusal = std::get_if<Refusal>(&message.envelope.message)) coverage_.answer(name, refusal->code);
    if (const auto* jobs = std::get_if<Jobs>(&message.envelope.message))
        for (const JobItem& item : jobs->items) coverage_.answer(name, item.code);
    if (const auto* welcome = std::get_if<Welcome>(&message.envelope.message)) {
        for (const Code code : welcome->claims) coverage_.answer("HELLO claim", code);
        coverage_.instance(welcome->instance == InstanceState::fresh     ? "fresh"
                           : welcome->instance == InstanceState::resumed ? "resumed"
                                                                         : "retired");
    }
}

void Broker::tell_model(const Outgoing& message, std::string_view payload) {
    process.tell("sends ", message_name(message.envelope.message), " on connection ", message.peer.value);
    count_answers(message);
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
