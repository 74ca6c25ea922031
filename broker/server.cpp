#include "server.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>

#include <algorithm>

#include <spdlog/spdlog.h>

#include "job_map.hpp"
#include "jobyard/assert.hpp"
#include "jobyard/codec.hpp"

namespace jobyard::broker {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kItemsPerTurn = 4096;
constexpr std::size_t kBytesPerTurn = std::size_t{4} << 20;
constexpr std::size_t kBatchOps = 4096;
constexpr std::size_t kBatchBytes = std::size_t{16} << 20;
constexpr std::size_t kBacklogBytes = std::size_t{64} << 20;
constexpr std::size_t kUnappliedBytes = std::size_t{144} << 20;  // the store is so far behind that all waits for it
constexpr std::int64_t kStallUs = 500'000;
constexpr std::int64_t kDiskLookMs = 1000;
constexpr std::int64_t kReaderCheckMs = 60'000;
constexpr int kLongestSleepMs = 1000;
constexpr std::int64_t kHearsWhyMs = 500;  // from a session's end to its connection's
constexpr std::int64_t kDenialLogMs = 1000;
/// While few jobs go through, each waits for the broker: for its commit, a tenth of a millisecond, and after its
/// handler, which may take no longer. A processor that sleeps meanwhile adds a tenth to a job's time by waking up.
/// While many do, others need the processor more.
constexpr auto kStayAwake = 200us;
constexpr std::size_t kFewOps = 16;  // in the batch last handed over
constexpr auto kGoodbyeTime = std::chrono::seconds(3);
constexpr auto kGoodbyeIsHeard = std::chrono::milliseconds(200);

std::int64_t wall_now() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

std::uint64_t random_seed() {
    std::uint64_t seed = 0;
    JOBYARD_ASSERT(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
    return seed;
}

/// Never longer than whoever watches over the loop is patient.
int longest_sleep(const service::Notifier& manager) {
    const auto interval = manager.watchdog_interval();
    return interval ? static_cast<int>(std::min<std::int64_t>(interval->count(), kLongestSleepMs)) : kLongestSleepMs;
}

/// As they came from the socket.
class ReceivedFrames : public Inbox::Frames {
 public:
    explicit ReceivedFrames(Incoming frames) : frames_(std::move(frames)) {}
    [[nodiscard]] std::string_view header() const { return frames_.header(); }
    [[nodiscard]] std::string_view payload() const { return frames_.payload(); }
    [[nodiscard]] std::string user() const { return frames_.header_frame.user(); }
    void detach(Inbox::Message& message) override {
        frames_.detach();
        message.envelope = std::move(std::get<Envelope>(decode_header(header(), payload().size())));
        message.payload = payload();
    }

 private:
    Incoming frames_;
};

}  // namespace

BrokerClock::BrokerClock() : last_(std::chrono::steady_clock::now()) {}

void BrokerClock::tick(std::int64_t may_sleep_ms) {
    const auto now = std::chrono::steady_clock::now();
    std::int64_t passed = std::chrono::duration_cast<std::chrono::microseconds>(now - last_).count();
    last_ = now;
    const std::int64_t beyond = passed - may_sleep_ms * 1000;
    if (beyond > kStallUs) {
        stalled_us_ += beyond;
        passed -= beyond;
        spdlog::warn("the broker could not run for {} ms; all deadlines move by as much", beyond / 1000);
    }
    now_us_ += passed;
}

Server::Server(Core& core, std::uint64_t applied_seq, DataDirectory& directory, Store& store, CommitLog& log,
               Socket& socket, service::Notifier& manager)
    : directory_(directory),
      store_(store),
      log_(log),
      socket_(socket),
      manager_(manager),
      core_(core),
      random_(random_seed()),
      batches_(applied_seq, {core.numbers().next_job}, {}),
      inbox_(core, batches_, *this),
      outbox_(batches_, *this),
      applier_(store, log, applied_seq, {}),
      committer_(log),
      reader_(store),
      backlog_(kBacklogBytes) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    signals_ = Fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    JOBYARD_ASSERT(signals_);
}

// --- the loop --------------------------------------------------------------------------------------------------------

Turn Server::turn() {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;  // Knuth's MMIX generator
    return {clock_.now(), wall_now(), random_};
}

Output Server::output() { return {&batches_.open(), {}}; }

Result<void> Server::run() {
    core_.start(turn());
    watch_disk();
    const int longest_sleep_ms = longest_sleep(manager_);
    for (;;) {
        int sleep_ms = longest_sleep_ms;
        if (more_input_ || !gone_.empty() || (!backlog_.empty() && !full())) {
            sleep_ms = 0;
        } else {
            const std::int64_t until = core_.next_deadline() - clock_.now();
            sleep_ms = static_cast<int>(std::clamp<std::int64_t>(until, 0, longest_sleep_ms));
        }
        socket_.wait({signals_.get(), committer_.fd(), applier_.fd(), reader_.fd()}, sleep_ms,
                     last_ops_ <= kFewOps ? kStayAwake : 0us);
        clock_.tick(sleep_ms);
        manager_.alive();
        if (!take_signals()) return say_goodbye();
        const auto began = std::chrono::steady_clock::now();
        if (auto done = one_turn(); !done) return done;
        const auto took =
            std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
        busy_us_max_ = std::max<std::uint64_t>(busy_us_max_, static_cast<std::uint64_t>(took.count()));
    }
}

bool Server::take_signals() {
    signalfd_siginfo signal;
    while (::read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
        if (signal.ssi_signo != SIGHUP) {
            spdlog::info("signal {}: finishing what is in hand", signal.ssi_signo);
            manager_.stopping();
            return false;
        }
        if (!reload_) continue;
        if (const auto settings = reload_()) take_settings(*settings);
    }
    return true;
}

// --- who may do what -------------------------------------------------------------------------------------------------

void Server::take_settings(const Settings& settings) {
    core_.set_limits(settings.limits);
    if (access_ && settings.access) {
        const std::size_t ended = guard(settings.access);
        spdlog::info("access: {} keys; {} sessions were ended by this", settings.access->keys.size(), ended);
    }
    const std::vector<std::string> before = socket_.endpoints();
    if (auto listens = socket_.listen(settings.endpoints, settings.group); !listens)
        spdlog::error("{}; the rest is reloaded", listens.error().text);
    const std::vector<std::string> now = socket_.endpoints();
    const auto has = [](const auto& list, const std::string& endpoint) {
        return std::find(list.begin(), list.end(), endpoint) != list.end();
    };
    for (const std::string& endpoint : now)
        if (!has(before, endpoint)) spdlog::info("listening on {}", endpoint);
    for (const std::string& endpoint : before)
        if (!has(now, endpoint)) spdlog::info("not listening on {} any more", endpoint);
}

void Server::set_access(std::shared_ptr<SharedAccess> shared) {
    access_ = std::move(shared);
    guard(access_->get());
}

std::size_t Server::guard(const std::shared_ptr<const Access>& access) {
    access_->set(access);  // first: who reconnects meets the new one
    Output out = output();
    const Turn now = turn();
    const std::vector<PeerId> revoked = core_.set_access(*access, now, out);
    for (const PeerId peer : revoked) revoked_.emplace_back(now.now + kHearsWhyMs, peer);
    outbox_.post(out);
    return revoked.size();
}

void Server::introduce(PeerId peer, const std::string& user) {
    const auto access = access_->get();
    core_.introduce(peer, user == kLocalUser ? access->local : access->find(user));
}

void Server::close_revoked(Turn now) {
    for (; !revoked_.empty() && revoked_.front().first <= now.now; revoked_.pop_front())
        socket_.kick(revoked_.front().second);
}

/// A line for each, but not more than a few a second: who is refused may be anybody.
void Server::log_denials() {
    const std::vector<Denial> denials = core_.take_denials();
    if (denials.empty() || clock_.now() < next_denial_log_) return;
    next_denial_log_ = clock_.now() + kDenialLogMs;
    for (const Denial& denial : denials)
        spdlog::warn("refused: the key {} may not {} ({} refusals so far)", denial.who, denial.what,
                     core_.counters().denied);
}

Result<void> Server::one_turn() {
    ++turns_;
    if (auto durable = take_durable(); !durable) return durable;
    if (auto applied = take_applied(); !applied) return applied;
    const Turn now = turn();
    if (now.now >= next_disk_look_) watch_disk();
    Output out = output();
    std::vector<PeerId> hinted;
    socket_.take_disconnected(hinted);
    for (const PeerId peer : hinted) {
        Outgoing probe;
        probe.peer = peer;
        probe.envelope.message = Heartbeat{};
        send(probe, {});
    }
    more_input_ = socket_.receive(incoming_, kItemsPerTurn, kBytesPerTurn);
    // Work first, then the rest, peers in turns; each session's own order is kept, because a session is either a
    // worker's or a submitter's.
    for (Incoming& incoming : incoming_) {
        const PeerId peer = incoming.peer;
        core_.heard(peer, now);
        auto frames = std::make_shared<ReceivedFrames>(std::move(incoming));  // small frames move their bytes
        auto decoded = decode_header(frames->header(), frames->payload().size());
        if (auto* error = std::get_if<DecodeError>(&decoded)) {
            core_.refuse(peer, error->session, error->request, error->code, std::move(error->text),
                         std::move(error->field), out);
            continue;
        }
        if (access_ && std::holds_alternative<Hello>(std::get<Envelope>(decoded).message))
            introduce(peer, frames->user());
        const std::string_view payload = frames->payload();
        const std::size_t bytes = frames->header().size() + payload.size();
        Inbox::Message message{std::move(std::get<Envelope>(decoded)), payload, std::move(frames), bytes};
        if (is_work(message.envelope.message)) {
            inbox_.take(peer, std::move(message), now, out);
        } else if (backlog_.has_room(peer, bytes)) {
            backlog_.push(peer, std::move(message));
        } else {
            core_.refuse(peer, message.envelope.session, message.envelope.request, Code::busy,
                         "the disk is slower than what arrives", "", out, 100);
        }
    }
    incoming_.clear();
    while (!backlog_.empty() && !full()) {
        auto [peer, message] = backlog_.pop();
        inbox_.take(peer, std::move(message), now, out);
    }
    held_back_ += backlog_.keep();
    if (auto answered = take_answers(now, out); !answered) return answered;
    // Whoever is gone is known to be before anything is handed out, but after what it said last: that may be goodbye.
    for (const PeerId peer : std::exchange(gone_, {})) {
        core_.peer_gone(peer, now);
        backlog_.drop(peer);
        inbox_.drop(peer);
        outbox_.drop(peer);
    }
    close_revoked(now);
    log_denials();
    core_.expire(now, out);
    if (auto needs = core_.agenda_needs(now); !needs.empty()) ask({Asked::For::agenda, {}, 0}, std::move(needs));
    core_.dispatch(now, out);
    outbox_.post(out);
    hand_over(now, out);
    return {};
}

/// The open batch is as large as clients may make it before the committer has taken it. What workers add is bounded by
/// what they hold, and does not count: else who has many workers would have no room to submit.
bool Server::full() const { return clients_ops_ >= kBatchOps || batches_.open().bytes() >= kBatchBytes; }

void Server::decide(PeerId peer, const Inbox::Message& message, const Found& found, Turn now, Output& out) {
    if (std::holds_alternative<AskStats>(message.envelope.message)) core_.set_edge_map(edge_map());
    const std::size_t before = batches_.open().ops().size();
    core_.handle(peer, message.envelope, {message.payload, message.frames}, found, message.settled, now, out);
    if (!is_work(message.envelope.message)) clients_ops_ += batches_.open().ops().size() - before;
}

// --- rows ------------------------------------------------------------------------------------------------------------

std::uint64_t Server::ask(Asked asked, std::vector<Need> needs) {
    asked.applied_then = batches_.applied();
    asked_[++last_ticket_] = asked;
    reader_.ask(last_ticket_, std::move(needs));
    return last_ticket_;
}

std::uint64_t Server::look_up(PeerId peer, std::vector<Need> needs) {
    return ask({Asked::For::message, peer, 0}, std::move(needs));
}

Result<void> Server::take_answers(Turn now, Output& out) {
    std::vector<ReadAnswer> answers;
    if (auto read = reader_.take(answers); !read) return read;
    for (const ReadAnswer& answer : answers) {
        const Asked asked = asked_.at(answer.ticket);
        if (asked.what == Asked::For::agenda)
            core_.agenda_step({answer.needs, answer.snapshot, batches_.after(answer.snapshot.applied_seq)}, now, out);
        else if (asked.what == Asked::For::message)
            inbox_.answered(asked.peer, answer.ticket, answer.snapshot, now, out);
        else outbox_.answered(asked.peer, answer.ticket, answer.snapshot);
        asked_.erase(answer.ticket);
    }
    if (!answers.empty()) trim();
    return {};
}

// --- batches ---------------------------------------------------------------------------------------------------------

void Server::hand_over(Turn now, Output& out) {
    if (!committer_.idle() || !core_.has_writes(out) || applier_.waiting_bytes() > kUnappliedBytes) return;
    core_.seal(now, out);
    const Batch& sealed = batches_.hand_over({core_.numbers().next_job});
    last_ops_ = sealed.ops().size();
    clients_ops_ = 0;
    out.batch = &batches_.open();
    committer_.start(sealed);
}

Result<void> Server::take_durable() {
    auto done = committer_.take();
    if (!done) return {};
    if (!*done) return done->error();
    const Batch& durable = batches_.land();
    JOBYARD_ASSERT(durable.seq == **done);
    applier_.add(durable);
    outbox_.on_durable();
    return {};
}

Result<void> Server::take_applied() {
    const auto applied = applier_.applied();
    if (!applied) return applied.error();
    if (*applied == batches_.applied()) return {};
    batches_.set_applied(*applied);
    outbox_.on_applied();
    trim();
    return {};
}

void Server::trim() {
    std::uint64_t read = batches_.applied();
    for (const auto& [ticket, asked] : asked_) read = std::min(read, asked.applied_then);
    batches_.trim(read);
}

// --- sending ---------------------------------------------------------------------------------------------------------

void Server::send(const Outgoing& message, const std::vector<KeptBytes>& payload) {
    header_.clear();
    encode_header(message.envelope, header_);
    switch (socket_.send(message.peer, header_, payload)) {
        case Sent::ok: break;
        case Sent::gone: note_gone(message.peer); break;
        case Sent::stuck:
            // It does not read what it asked for. It may come back and ask again; what it holds is safe meanwhile.
            spdlog::warn("a peer does not read its messages; its connection is closed");
            socket_.kick(message.peer);
            note_gone(message.peer);
            break;
    }
}

std::uint64_t Server::read(PeerId peer, std::vector<Need> needs) {
    return ask({Asked::For::payload, peer, 0}, std::move(needs));
}

void Server::payload_is_gone(JobId job, LeaseToken token) {
    if (core_.is_leased(job, token))  // else it has ended meanwhile
        spdlog::error("the payload of job {} is not in the store, which must be damaged; restore a backup", job.value);
}

void Server::result_is_gone(PeerId peer, SessionId session, std::uint64_t bytes) {
    core_.result_is_gone(peer, session, bytes);
}

// --- the rest of the world -------------------------------------------------------------------------------------------

void Server::watch_disk() {
    next_disk_look_ = clock_.now() + kDiskLookMs;
    core_.set_free_disk(directory_.free_bytes());
    directory_.ensure_ballast();
    watch_descriptors();
    if (const std::uint64_t refused = socket_.refused_keys(); refused != keys_refused_) {
        spdlog::warn("{} connections were refused for their keys, the last from {}", refused - keys_refused_,
                     socket_.last_refused_key());
        keys_refused_ = refused;
    }
    if (clock_.now() < next_reader_check_) return;
    next_reader_check_ = clock_.now() + kReaderCheckMs;
    if (auto checked = store_.check_readers(); !checked) spdlog::warn("{}", checked.error().text);
}

/// libzmq says nothing when it has none for a new connection. All that the broker itself needs is open already.
void Server::watch_descriptors() {
    const bool are_left = static_cast<bool>(Fd(::fcntl(signals_.get(), F_DUPFD_CLOEXEC, 0)));
    if (are_left == descriptors_are_left_) return;
    descriptors_are_left_ = are_left;
    if (are_left) spdlog::info("there are file descriptors again: who could not connect can");
    else
        spdlog::error(
            "no file descriptor is left: nobody else can connect until somebody leaves; allow the broker more "
            "(LimitNOFILE= of its unit, ulimit -n), or find out who opens so many connections");
}

std::string Server::edge_map() const {
    const StoreCounters store = store_.counters();
    const CommitLog::Counters log = log_.counters();
    const SocketCounters& socket = socket_.counters();
    MapWriter map;
    map.text("version", JOBYARD_VERSION);
    map.uint("protocol", kProtocolVersion);
    map.uint("protocol_minor", protocol_minor());
    map.integer("now", wall_now());
    map.uint("turns", turns_);
    map.uint("longest_turn_us", busy_us_max_);
    map.uint("stalled_ms", static_cast<std::uint64_t>(clock_.stalled_ms()));
    map.uint("held_back", held_back_);
    map.uint("free_disk_bytes", directory_.free_bytes());
    map.uint("batches", log.commits);
    map.uint("commit_us", log.commit_us);
    map.uint("commit_us_max", log.commit_us_max);
    map.uint("store_behind_bytes", applier_.waiting_bytes());
    map.uint("store_transactions", store.transactions);
    map.uint("store_us", store.apply_us);
    map.uint("store_us_max", store.apply_us_max);
    map.uint("puts", store.puts);
    map.uint("erases", store.erases);
    map.uint("moves", store.moves);
    map.uint("value_bytes", store.value_bytes);
    map.uint("store_bytes", store.used_bytes);
    map.uint("map_bytes", store.map_bytes);
    map.uint("received", socket.received);
    map.uint("sent", socket.sent);
    map.uint("wrong_frames", socket.wrong_frames);
    map.uint("wrong_routing_id", socket.wrong_routing_id);
    map.uint("kicked", socket.kicked);
    map.uint("keys_refused", socket_.refused_keys());
    map.uint("handshakes_failed", socket.handshakes_failed);
    std::string bytes;
    map.append_to(bytes);
    return bytes;
}

/// Takes what has arrived, commits it, answers it, says goodbye.
Result<void> Server::say_goodbye() {
    const auto give_up = std::chrono::steady_clock::now() + kGoodbyeTime;
    if (auto done = one_turn(); !done) return done;
    Output out = output();
    core_.stop(out);
    outbox_.post(out);
    const Turn now = turn();
    hand_over(now, out);
    while (!outbox_.nothing_rests() || !committer_.idle() || core_.has_writes(out)) {
        if (std::chrono::steady_clock::now() > give_up) {
            spdlog::warn("some answers could not be sent in time; those who wait for them will ask again");
            break;
        }
        socket_.wait({committer_.fd()}, 100);
        if (auto durable = take_durable(); !durable) return durable;
        hand_over(now, out);
    }
    // When a connection closes, libzmq at the other end drops what its program has not read yet. There is no event for
    // "read"; this is the moment a peer that is awake needs.
    const auto heard = std::chrono::steady_clock::now() + kGoodbyeIsHeard;
    for (auto left = kGoodbyeIsHeard; left.count() > 0;
         left = std::chrono::duration_cast<std::chrono::milliseconds>(heard - std::chrono::steady_clock::now())) {
        std::vector<PeerId> closed;
        socket_.take_disconnected(closed);
        socket_.receive(incoming_, kItemsPerTurn, kBytesPerTurn);
        incoming_.clear();
        socket_.wait({}, static_cast<int>(left.count()));
    }
    return applier_.finish();  // the next start has nothing to replay, unless time ran out
}

}  // namespace jobyard::broker
