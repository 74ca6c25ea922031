// `jobyard watch`: what goes on, on one screen, drawn anew once a second.

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <map>

#include "peer/endpoint.hpp"
#include "screen.hpp"
#include "values.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kEvery{1'000};
/// At most 4 KiB in any second, entering and leaving the screen included. Any second meets at most two of ours.
constexpr std::size_t kBytesPerTick = 2048 - 64;
/// So that a key is never waited for long.
constexpr std::chrono::milliseconds kAnswerWithin{300};
constexpr std::size_t kFailuresKept = 50;
constexpr std::uint64_t kLookBack = 10'000;  // events

// --- what is shown ---------------------------------------------------------------------------------------------------

/// The broker's state as of one moment.
struct Sample {
    Clock::time_point at;
    BrokerStats stats;
    std::vector<WorkerInfo> workers;
};

class View {
 public:
    explicit View(std::string endpoint) : endpoint_(std::move(endpoint)) {}

    /// Asks the broker. What it does not answer in time stays as it was, and the heading says so.
    void refresh(Client& client, std::chrono::milliseconds limit) {
        Result<BrokerStats> stats = client.stats(limit);
        Result<std::vector<WorkerInfo>> workers =
            stats ? client.workers({}, limit) : Result<std::vector<WorkerInfo>>(stats.error());
        if (workers) read_failures(client, limit);
        if (!workers) {
            problem_ = workers.error().text;
            return;
        }
        problem_.clear();
        before_ = std::exchange(now_, Sample{Clock::now(), *std::move(stats), *std::move(workers)});
    }

    [[nodiscard]] bool has_answer() const { return now_.has_value(); }
    [[nodiscard]] const std::string& problem() const { return problem_; }

    /// As many rows as there are, failures at the end of them.
    [[nodiscard]] std::vector<ScreenLine> lines(Screen::Size size) const {
        std::vector<ScreenLine> lines;
        const auto wall = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
        lines.push_back(
            {"jobyard  " + endpoint_ + "  " + iso_time(wall).substr(11, 8) + " UTC  q quits", Colour::bold});
        if (!problem_.empty()) lines.push_back({"no answer: " + printable(problem_), Colour::red});
        if (!now_) return lines;
        const BrokerStats& stats = now_->stats;
        lines.push_back({"queued " + number(stats.queued) + "  running " + number(stats.running + stats.assigned) +
                         "  scheduled " + number(stats.scheduled) + "  retrying " + number(stats.retrying) + "  dead " +
                         number(stats.dead)});
        lines.push_back({"submitted " + rate(&BrokerStats::submitted_total) + "/s  completed " +
                         rate(&BrokerStats::completed_total) + "/s  retried " + rate(&BrokerStats::retried_total) +
                         "/s  dead " + rate(&BrokerStats::dead_total) + "/s"});
        const std::size_t used = lines.size();
        const std::size_t left = size.rows > used ? size.rows - used : 0;
        const std::size_t third = left / 3;
        append(lines, queue_table(size.columns, wall), std::max<std::size_t>(third, 3));
        append(lines, worker_table(size.columns, wall), std::max<std::size_t>(third, 3));
        if (failures_.empty() || lines.size() + 2 >= size.rows) return lines;
        lines.push_back({});
        lines.push_back({"RECENT FAILURES", Colour::bold});
        for (auto event = failures_.rbegin(); event != failures_.rend() && lines.size() < size.rows; ++event)
            lines.push_back(
                {iso_time(event->at).substr(11, 8) + "  " + event->kind + "  job " + std::to_string(event->job.value) +
                     "  " + printable(event->queue + "/" + event->type + "  " + event->worker + "  " + event->text),
                 event->kind == to_string(EventKind::dead) ? Colour::red : Colour::yellow});
        return lines;
    }

 private:
    static std::string number(std::uint64_t value) { return std::to_string(value); }

    void read_failures(Client& client, std::chrono::milliseconds limit) {
        const EventFilter filter{
            .queue = {}, .type = {}, .job = {}, .kinds = {EventKind::failed, EventKind::dead, EventKind::worker_lost}};
        const Result<EventPage> page = client.events(filter, seen_, std::chrono::milliseconds(0), 1000, limit);
        if (!page) {
            // The broker has other data than before: begin again with what it has.
            if (page.error().code == Code::bad_field) seen_ = kFromNow;
            return;
        }
        // At first, a little of what was before.
        seen_ = seen_ == kFromNow ? page->last - std::min<std::uint64_t>(page->last, kLookBack) : page->last;
        for (const EventInfo& event : page->events) failures_.push_back(event);
        while (failures_.size() > kFailuresKept) failures_.pop_front();
    }

    [[nodiscard]] std::string per_second(std::uint64_t now, std::uint64_t before) const {
        if (!before_ || now < before) return "-";  // the first look, or the broker began anew
        const double seconds = std::chrono::duration<double>(now_->at - before_->at).count();
        const double value = static_cast<double>(now - before) / std::max(seconds, 0.001);
        if (value >= 10 || value == 0) return number(static_cast<std::uint64_t>(value + 0.5));
        const auto tenths = static_cast<std::uint64_t>(value * 10 + 0.5);
        return number(tenths / 10) + "." + number(tenths % 10);
    }
    [[nodiscard]] std::string rate(std::uint64_t BrokerStats::*total) const {
        return before_ ? per_second(now_->stats.*total, before_->stats.*total) : "-";
    }

    /// Those with the most jobs, by name.
    [[nodiscard]] std::vector<std::string> queue_table(std::size_t width, WallTime wall) const {
        std::map<std::string, const QueueInfo*> earlier;
        if (before_)
            for (const QueueInfo& queue : before_->stats.queues) earlier[queue.name] = &queue;
        Table table({{"QUEUE", Table::Kind::flexible},
                     {"QUEUED", Table::Kind::right},
                     {"RUNNING", Table::Kind::right},
                     {"DONE/S", Table::Kind::right},
                     {"FAILED/S", Table::Kind::right},
                     {"DEAD", Table::Kind::right},
                     {"OLDEST", Table::Kind::right}});
        constexpr std::size_t kMost = 100;
        std::vector<const QueueInfo*> queues;
        for (const QueueInfo& queue : now_->stats.queues) queues.push_back(&queue);
        const auto busier = [](const QueueInfo* a, const QueueInfo* b) { return a->unended > b->unended; };
        std::stable_sort(queues.begin(), queues.end(), busier);
        if (queues.size() > kMost) queues.resize(kMost);
        for (const QueueInfo* queue : queues) {
            const auto known = earlier.find(queue->name);
            const QueueInfo none;
            const QueueInfo& before = known == earlier.end() ? none : *known->second;
            table.add({queue->name, number(queue->queued), number(queue->running),
                       per_second(queue->completed, before.completed), per_second(queue->failed, before.failed),
                       number(queue->dead),
                       queue->oldest_at
                           ? short_duration(std::max(wall - *queue->oldest_at, std::chrono::milliseconds(0)))
                           : ""});
        }
        return split(table.format({width, false}));
    }

    [[nodiscard]] std::vector<std::string> worker_table(std::size_t width, WallTime wall) const {
        Table table({{"WORKER", Table::Kind::flexible},
                     {"STATE"},
                     {"RUNNING", Table::Kind::right},
                     {"SLOTS", Table::Kind::right},
                     {"SINCE", Table::Kind::right}});
        std::vector<const WorkerInfo*> workers;
        for (const WorkerInfo& worker : now_->workers) workers.push_back(&worker);
        std::stable_sort(workers.begin(), workers.end(),
                         [](const WorkerInfo* a, const WorkerInfo* b) { return a->name < b->name; });
        for (const WorkerInfo* worker : workers)
            table.add({worker->name, worker->state, number(worker->running), number(worker->slots),
                       worker->connected_at
                           ? short_duration(std::max(wall - *worker->connected_at, std::chrono::milliseconds(0)))
                           : ""});
        return split(table.format({width, false}));
    }

    static std::vector<std::string> split(const std::string& text) {
        std::vector<std::string> rows;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = text.find('\n', at);
            rows.push_back(text.substr(at, end - at));
            at = end + 1;
        }
        return rows;
    }

    /// A table with its heading in `rows` rows at most; the last says what did not fit.
    static void append(std::vector<ScreenLine>& lines, const std::vector<std::string>& table, std::size_t rows) {
        lines.push_back({});
        const std::size_t shown = table.size() < rows ? table.size() : rows - 2;
        for (std::size_t i = 0; i < shown; ++i) lines.push_back({table[i], i == 0 ? Colour::bold : Colour::none});
        if (shown < table.size()) lines.push_back({"… and " + number(table.size() - shown) + " more", Colour::dim});
    }

    const std::string endpoint_;
    std::optional<Sample> now_;
    std::optional<Sample> before_;
    std::string problem_;
    std::deque<EventInfo> failures_;
    std::uint64_t seen_ = kFromNow;
};

// --- the terminal ----------------------------------------------------------------------------------------------------

/// Standard input without lines and echo, standard output on its other screen; both as before when it goes.
class FullScreen {
 public:
    FullScreen() : has_keys_(tcgetattr(STDIN_FILENO, &before_) == 0) {
        if (has_keys_) {
            termios keys = before_;
            keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
            keys.c_cc[VSUSP] = _POSIX_VDISABLE;  // stopped, it would leave its screen behind
            tcsetattr(STDIN_FILENO, TCSANOW, &keys);
        }
        print("\033[?1049h\033[?25l");
        std::fflush(stdout);
    }
    ~FullScreen() {
        print("\033[?25h\033[?1049l");
        std::fflush(stdout);
        if (has_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }
    FullScreen(const FullScreen&) = delete;
    FullScreen& operator=(const FullScreen&) = delete;

    [[nodiscard]] bool has_keys() const { return has_keys_; }
    static Screen::Size size() {
        winsize size{};
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
        return {size.ws_row, size.ws_col};
    }

 private:
    termios before_{};
    const bool has_keys_;
};

/// Signals come in order with keys and time; in no thread, because it is made before there are any.
class Signals {
 public:
    Signals() {
        sigset_t wanted;
        sigemptyset(&wanted);
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH}) sigaddset(&wanted, signal);
        sigprocmask(SIG_BLOCK, &wanted, nullptr);
        fd_ = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    }
    ~Signals() { ::close(fd_); }
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    [[nodiscard]] int fd() const { return fd_; }
    /// 0: there is none.
    [[nodiscard]] int take() const {
        signalfd_siginfo info{};
        return ::read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
    }

 private:
    int fd_ = -1;
};

int watch_screen(Client& client, View& view, const Signals& signals) {
    const FullScreen terminal;
    Screen screen(Terminal::of(stdout).colour);
    screen.resize(FullScreen::size());
    auto next = Clock::now();
    std::size_t allowance = 0;
    pollfd waits[] = {{signals.fd(), POLLIN, 0}, {terminal.has_keys() ? STDIN_FILENO : -1, POLLIN, 0}};
    for (;;) {
        if (Clock::now() >= next) {
            view.refresh(client, kAnswerWithin);
            next = Clock::now() + kEvery;
            allowance = kBytesPerTick;
        }
        const std::string bytes = screen.draw(view.lines(screen.size()), allowance);
        allowance -= bytes.size();
        print(bytes);
        if (std::fflush(stdout) != 0) return kExitUnreachable;  // main says why
        const auto sleep = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
        if (::poll(waits, std::size(waits), static_cast<int>(std::max<std::int64_t>(sleep.count(), 0))) <= 0) continue;
        while (const int signal = signals.take()) {
            if (signal != SIGWINCH) return kExitOk;
            if (!(screen.size() == FullScreen::size())) screen.resize(FullScreen::size());
        }
        if ((waits[1].revents & (POLLIN | POLLHUP)) == 0) continue;
        char keys[64];
        const ssize_t count = ::read(STDIN_FILENO, keys, sizeof keys);
        if (count <= 0) waits[1].fd = -1;
        else if (std::any_of(keys, keys + count, [](char key) { return key == 'q' || key == 'Q'; })) return kExitOk;
    }
}

/// Without a terminal: what is seen in one second.
int print_snapshot(const Globals& globals, Client& client, View& view) {
    view.refresh(client, globals.call_limit());
    ::poll(nullptr, 0, static_cast<int>(kEvery.count()));
    view.refresh(client, globals.call_limit());
    if (!view.has_answer()) return complain(Error{Code::timeout, view.problem(), 0});
    for (const ScreenLine& line : view.lines({1'000, 0})) print_line(line.text);
    return kExitOk;
}

int watch(const Globals& globals) {
    View view(client_endpoint(globals.broker));
    if (::isatty(STDOUT_FILENO) == 0) {
        const std::unique_ptr<Client> client = connected_client(globals);
        return client ? print_snapshot(globals, *client, view) : kExitUnreachable;
    }
    const Signals signals;
    Client::Options client_options = globals.client_options();
    client_options.linger = std::chrono::milliseconds(0);
    Client client(client_options);
    return watch_screen(client, view, signals);
}

}  // namespace

void add_watch(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("watch", "Watch queues, workers and failures on one screen");
    verb->add_option("--broker", globals.broker,
                     "Endpoint of the broker [$JOBYARD_BROKER, else this user's own, else the machine's]");
    verb->add_option("--time-limit", globals.time_limit,
                     "Without a terminal: give up after this long if there is no broker [30s]")
        ->check(is_duration(std::chrono::days(3650)));
    verb->footer(
        "\nDrawn anew once a second, with at most 4 KiB to the terminal; q or Ctrl-C quits. Rates are of the last "
        "second,\n"
        "DEAD is counted since the broker started, OLDEST is how long ago the oldest of the queued was submitted.\n"
        "A broker that is away is waited for.\n"
        "Where standard output is no terminal it prints what it sees in one second, and ends.\n"
        "\nExit codes: 0 ok; 2 wrong usage; 3 no broker.");
    verb->callback([&globals] { globals.action = [&globals] { return watch(globals); }; });
}

}  // namespace jobyard::cli
