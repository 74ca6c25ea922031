#include "jobyard/worker.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "jobyard/codec.hpp"
#include "peer/endpoint.hpp"
#include "peer/peer_socket.hpp"
#include "peer/turns.hpp"
#include "session.hpp"
#include "slots.hpp"

namespace jobyard {
namespace {

using worker::Notice;
using worker::Report;
using worker::Session;
using worker::Slots;
using worker::Task;

/// With 1,024 claims beside them the names must leave HELLO below the limit of a header.
constexpr std::size_t kMaxNamesBytes = std::size_t{32} << 10;
constexpr std::chrono::milliseconds kStopNowGrace{1'000};
/// A slot that begins a job wakes nobody: most have ended when this has passed, and for the others it is soon enough.
constexpr std::int64_t kLookAtBeganMs = 10;

enum class StopLevel : std::uint8_t { none, drain, now };

/// Empty if the system does not say.
std::string host_name() {
    char host[256] = "";
    return gethostname(host, sizeof host - 1) == 0 ? host : "";
}

std::string default_name() {
    const std::string host = host_name();
    return (host.empty() ? "unknown" : host) + "-" + std::to_string(getpid());
}

Result<Uuid> new_instance() {
    Uuid id;
    if (getrandom(id.bytes.data(), id.bytes.size(), 0) != static_cast<ssize_t>(id.bytes.size()))
        return Error{Code::internal, std::string("the system gives no random bytes: ") + std::strerror(errno)};
    return id;
}

Error bad_option(std::string field, const std::string& expected) {
    return {Code::bad_field, std::move(field) + ": " + expected};
}

/// Everything HELLO would be refused for.
Result<void> check(const WorkerOptions& options, const worker::Handlers& handlers) {
    if (options.slots < 1 || options.slots > kMaxCredit) return bad_option("slots", "expected 1 to 1024");
    if (options.credit > kMaxCredit) return bad_option("credit", "expected 0 (as many as slots) to 1024");
    if (options.queues.empty() || options.queues.size() > kMaxQueuesPerWorker)
        return bad_option("queues", "expected 1 to 256 names");
    if (options.pulse && options.pulse_interval.count() < 1)
        return bad_option("pulse_interval", "expected 1 ms or more");
    if (handlers.empty()) return bad_option("types", "no handler was registered with on()");
    if (handlers.size() > kMaxTypesPerWorker) return bad_option("types", "at most 1024 handlers");
    std::size_t bytes = 0;
    const auto check_name = [&bytes](const char* what, const std::string& name) -> Result<void> {
        bytes += name.size();
        if (is_name(name)) return {};
        return bad_option(what, "\"" + name + "\" is not a name: 1 to 255 bytes of UTF-8 without control characters");
    };
    if (Result<void> ok = check_name("name", options.name); !ok) return ok;
    for (const std::string& queue : options.queues)
        if (Result<void> ok = check_name("queues", queue); !ok) return ok;
    for (const auto& [type, handler] : handlers)
        if (Result<void> ok = check_name("types", type); !ok) return ok;
    if (bytes > kMaxNamesBytes) return bad_option("queues and types", "at most 32 KiB of names in all");
    return {};
}

/// One run(): the turns of session.hpp, with a real socket, clock and slots.
class Run {
 public:
    Run(const WorkerOptions& options, PeerSocket& socket, worker::Handlers handlers, Session session,
        const std::atomic<StopLevel>& stop_level)
        : options_(options),
          socket_(socket),
          turns_(socket, [this] { return turn(); }),
          slots_(std::make_shared<Slots>(std::move(handlers), turns_)),
          session_(std::move(session)),
          stop_level_(stop_level),
          next_pulse_ms_(options.pulse ? steady_ms() : INT64_MAX) {}

    WorkerEnd until_the_end() {
        if (Result<void> started = slots_->start(options_.slots); !started) {
            slots_->close(std::chrono::steady_clock::now());
            return {WorkerEnd::Cause::refused, started.error()};
        }
        turns_.run();
        WorkerEnd end;
        auto patience = std::chrono::milliseconds(0);  // whoever left has waited for its handlers already
        if (session_.refused()) {
            end.cause = WorkerEnd::Cause::refused;
            end.error = *session_.refused();
            patience = options_.stop_grace;
        } else if (stop_seen_ == StopLevel::none) {
            end.cause = WorkerEnd::Cause::all_slots_stuck;
        }
        end.handlers_left = slots_->close(std::chrono::steady_clock::now() + patience);
        socket_.close();
        return end;
    }

 private:
    Turns::After turn() {
        if (look_at_began_ms_ <= steady_ms()) look_at_began_ms_ = INT64_MAX;
        take_connection_events();
        const bool offered = take_messages();
        take_reports();
        take_stop_level();
        session_.on_tick(steady_ms());
        carry_out();
        pulse();
        if (session_.all_slots_stuck() && !session_.is_draining()) session_.drain({steady_ms(), steady_ms()});
        return {.ended = session_.refused() || session_.has_left(),
                .lend = offered && slots_->are_occupied(),
                .next_ms = std::min({session_.next_deadline_ms(), look_at_began_ms_, next_pulse_ms_})};
    }

    void take_connection_events() {
        Connection event{};
        while (socket_.next_event(event)) {
            if (event == Connection::connected) {
                session_.on_connected(steady_ms());
            } else if (event == Connection::refused) {
                session_.refuse(socket_.trouble());
            } else if (event == Connection::troubled) {
                log(LogLevel::warning, socket_.trouble().text);
            } else {
                if (session_.is_welcomed())
                    log(LogLevel::warning, "the connection to the broker closed; connecting again");
                session_.on_disconnected();
            }
        }
    }

    /// All that is here: the credit bounds how much that can be. True if there were jobs among it.
    bool take_messages() {
        bool offered = false;
        PeerSocket::Frames frames;
        while (socket_.receive(frames)) {
            const auto decoded = decode_header(frames.header, frames.payload.size());
            if (const auto* error = std::get_if<DecodeError>(&decoded)) {
                log(LogLevel::error, "passed over a message of the broker: " + error->text);
                continue;
            }
            session_.on_message(std::get<Envelope>(decoded), frames.payload, steady_ms());
            offered = offer_starts() || offered;
        }
        return offered;
    }

    bool offer_starts() {
        std::vector<worker::Start>& starts = session_.outbox().starts;
        if (starts.empty()) return false;
        offered_.clear();
        std::int64_t look_in_ms = kLookAtBeganMs;
        std::shared_ptr<const void> frame;  // in which the payloads are
        for (const worker::Start& start : starts) {
            const DispatchItem& item = start.item;
            Task& task = slots_->make_task(item.token);
            task.queue = item.queue;
            task.type = item.type;
            if (start.payload.size() < kLargePayloadBytes) task.payload = start.payload;
            else task.large_payload = frame = frame ? frame : socket_.keep_payload();
            task.timeout_ms = item.timeout_ms;
            task.lease_until_ms = start.lease_until_ms;
            task.handler = slots_->handler_of(item.type);
            task.job = {item.job,      item.token,      item.attempt, item.max_attempts,
                        item.priority, task.queue,      task.type,    task.large_payload ? start.payload : task.payload,
                        item.array,    item.array_index};
            offered_.push_back(&task);
            look_in_ms = item.timeout_ms > 0 ? std::min<std::int64_t>(look_in_ms, item.timeout_ms) : look_in_ms;
        }
        starts.clear();
        offer(offered_, look_in_ms);
        return true;
    }

    /// Slots that begin them now tell nobody: there is a look at it then.
    void offer(const std::vector<Task*>& tasks, std::int64_t look_in_ms) {
        slots_->offer(tasks);
        look_at_began_ms_ = std::min(look_at_began_ms_, steady_ms() + look_in_ms);
    }

    void take_reports() {
        slots_->take_reports(reports_);
        for (const Report& report : reports_) {
            Task& task = *report.task;
            switch (report.kind) {
                case Report::Kind::began: session_.on_began(task.token, task.began_ms); break;
                case Report::Kind::finished:
                    session_.on_finished(task.token, std::move(task.ending), task.ended_ms);
                    slots_->free_task(task);
                    break;
                case Report::Kind::unstarted: take_back(task); break;
                case Report::Kind::progress: {
                    const std::lock_guard lock(task.mutex);
                    task.progress_reported = false;
                    session_.on_progress(task.token, task.progress, task.progress_text);
                }
            }
        }
    }

    void take_back(Task& task) {
        const auto until = session_.on_unstarted(task.token, steady_ms());
        if (!until) return slots_->free_task(task);
        task.lease_until_ms = *until;
        offer({&task}, kLookAtBeganMs);
    }

    void take_stop_level() {
        const StopLevel level = stop_level_.load();
        if (level == StopLevel::none) return;
        const std::int64_t now = steady_ms();
        if (level > stop_seen_)
            log(LogLevel::info, "leaving: running=" + std::to_string(session_.running()) +
                                    (level == StopLevel::now ? ", at once" : ", when they have ended"));
        if (level == StopLevel::now && stop_seen_ != StopLevel::now) {
            session_.drain({now, now + kStopNowGrace.count()});
        } else if (stop_seen_ == StopLevel::none) {
            const std::int64_t stop_at = now + options_.drain.count();
            session_.drain({stop_at, stop_at + options_.stop_grace.count()});
        }
        stop_seen_ = level;
    }

    void carry_out() {
        worker::Outbox& out = session_.outbox();
        for (const Notice& notice : out.notices) log(static_cast<LogLevel>(notice.level), notice.text);
        for (const worker::OutgoingMessage& message : out.messages) {
            header_.clear();
            encode_header(message.envelope, header_);
            if (socket_.send(header_, message.payload)) continue;
            session_.on_disconnected();
            break;
        }
        if (out.reopen) socket_.reopen();
        stopped_.clear();
        for (const worker::StopOrder& order : out.stops) stopped_.push_back(order.token);
        out.clear();
        if (stopped_.empty()) return;
        for (Task* task : slots_->stop(slots_->find(stopped_))) take_back(*task);
    }

    void pulse() {
        if (!options_.pulse || steady_ms() < next_pulse_ms_) return;
        options_.pulse();
        next_pulse_ms_ = steady_ms() + options_.pulse_interval.count();
    }

    void log(LogLevel level, const std::string& text) const {
        if (options_.log) options_.log(level, text);
    }

    const WorkerOptions& options_;
    PeerSocket& socket_;
    Turns turns_;  // their lock guards the socket and all below
    std::shared_ptr<Slots> slots_;
    Session session_;
    const std::atomic<StopLevel>& stop_level_;
    StopLevel stop_seen_ = StopLevel::none;
    std::int64_t look_at_began_ms_ = INT64_MAX;
    std::int64_t next_pulse_ms_;

    // Kept for their memory.
    std::string header_;
    std::vector<Task*> offered_;
    std::vector<Report> reports_;
    std::vector<LeaseToken> stopped_;
};

}  // namespace

struct Worker::Impl {
    WorkerOptions options;
    worker::Handlers handlers;
    std::atomic<StopLevel> stop_level{StopLevel::none};
    std::unique_ptr<PeerSocket> socket;  // lives as long as the Worker: stop() may be waking it at any time
    std::atomic<PeerSocket*> to_wake{nullptr};

    Result<WorkerEnd> run();
    void stop(StopLevel level) {
        StopLevel before = stop_level.load();
        while (before < level && !stop_level.compare_exchange_weak(before, level)) {
        }
        if (PeerSocket* sleeping = to_wake.load()) sleeping->wake();
    }
};

Result<WorkerEnd> Worker::Impl::run() {
    if (socket != nullptr) return Error{Code::internal, "run() was called before"};
    if (Result<void> ok = check(options, handlers); !ok) return ok.error();
    options.broker = broker_endpoint(options.broker);
    if (Result<void> ok = check_endpoint(options.broker); !ok) return ok.error();
    const Result<Uuid> instance = new_instance();
    if (!instance) return instance.error();
    auto keys = keys_for(options.broker, options.server_key, options.key_file);
    if (!keys) return keys.error();
    auto opened = PeerSocket::open({.endpoint = options.broker, .keys = *std::move(keys)});
    if (!opened) return opened.error();
    socket = std::move(*opened);
    to_wake = socket.get();

    Session::Options conversation;
    conversation.instance = *instance;
    conversation.name = options.name;
    conversation.software = "jobyard-cpp/" JOBYARD_VERSION;
    // A broker would refuse what is no name.
    if (const std::string host = host_name(); is_name(host)) conversation.host = host;
    conversation.pid = static_cast<std::uint32_t>(getpid());
    conversation.slots = options.slots;
    conversation.credit = options.credit;
    conversation.queues = options.queues;
    for (const auto& [type, handler] : handlers) conversation.types.push_back(type);
    std::sort(conversation.types.begin(), conversation.types.end());
    conversation.stuck_grace_ms = options.stop_grace.count();
    return Run(options, *socket, std::move(handlers), Session(std::move(conversation), steady_ms()), stop_level)
        .until_the_end();
}

Worker::Worker(WorkerOptions options) : impl_(std::make_unique<Impl>()) {
    impl_->options = std::move(options);
    if (impl_->options.name.empty()) impl_->options.name = default_name();
    if (impl_->options.slots == 0) impl_->options.slots = std::max(1U, std::thread::hardware_concurrency() / 2);
}
Worker::~Worker() = default;

void Worker::on(std::string type, Handler handler) { impl_->handlers[std::move(type)] = std::move(handler); }

WorkerEnd Worker::run() {
    Result<WorkerEnd> end = impl_->run();
    if (end) return *end;
    return {WorkerEnd::Cause::refused, end.error()};
}

void Worker::stop() { impl_->stop(StopLevel::drain); }
void Worker::stop_now() { impl_->stop(StopLevel::now); }

}  // namespace jobyard
