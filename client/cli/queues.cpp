// `jobyard queue`: how queues stand, and what is set for them.

#include "job_json.hpp"
#include "values.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such queue.";

/// "max attempts 3, timeout 10m, …"; empty if nothing is set.
std::string policy_text(const RetryPolicy& retry) {
    std::string text;
    const auto add = [&](const char* name, const std::optional<std::uint32_t>& value, auto&& show) {
        if (value) text += (text.empty() ? "" : ", ") + std::string(name) + " " + show(*value);
    };
    const auto plain = [](std::uint32_t value) { return std::to_string(value); };
    const auto duration = [](std::uint32_t ms) { return short_duration(std::chrono::milliseconds(ms)); };
    const auto percent = [](std::uint32_t value) { return std::to_string(value) + "%"; };
    add("max-attempts", retry.max_attempts, plain);
    add("timeout", retry.timeout_ms, duration);
    add("backoff-initial", retry.backoff.initial_ms, duration);
    add("backoff-factor", retry.backoff.factor_percent, percent);
    add("backoff-max", retry.backoff.max_ms, duration);
    add("backoff-jitter", retry.backoff.jitter_percent, percent);
    return text;
}

std::string paused_text(const QueueInfo& queue) {
    if (!queue.paused) return "";
    std::string text = "paused";
    if (queue.paused_at) text += " " + iso_time(*queue.paused_at);
    if (!queue.paused_by.empty()) text += " by " + queue.paused_by;
    if (!queue.paused_why.empty()) text += ": " + queue.paused_why;
    return text;
}

int list_queues(const Globals& globals) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<std::vector<QueueInfo>> queues = client->queues(globals.call_limit());
    if (!queues) return complain(globals, queues.error());
    if (globals.json) {
        for (const QueueInfo& queue : *queues) print_line(queue_json(queue));
        return kExitOk;
    }
    Table table({{"QUEUE", Table::Kind::flexible},
                 {"QUEUED", Table::Kind::right},
                 {"RUNNING", Table::Kind::right},
                 {"WAITING", Table::Kind::right},
                 {"LIMIT", Table::Kind::right},
                 {"NOTE", Table::Kind::flexible}});
    for (const QueueInfo& queue : *queues)
        table.add({queue.name,
                   std::to_string(queue.queued),
                   std::to_string(queue.running),
                   std::to_string(queue.waiting),
                   queue.max_running == 0 ? "" : std::to_string(queue.max_running),
                   {queue.paused ? paused_text(queue) : policy_text(queue.retry),
                    queue.paused ? Colour::yellow : Colour::none}});
    if (!queues->empty()) print(table.format(Terminal::of(stdout)));
    return kExitOk;
}

int show_queue(const Globals& globals, const std::string& name) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<QueueInfo> queue = client->queue(name, globals.call_limit());
    if (!queue && queue.error().code == Code::unknown_queue)
        return complain(globals,
                        Error{Code::unknown_queue,
                              "queue \"" + name +
                                  "\": it has had no jobs since the broker started, and nothing is set for it; "
                                  "`jobyard queue list` shows those that are there",
                              0});
    if (!queue) return complain(globals, queue.error());
    if (globals.json) {
        print_line(queue_json(*queue));
        return kExitOk;
    }
    const auto row = [](const char* title, const std::string& text) {
        if (!text.empty())
            print_line(std::string(title) + std::string(14 - std::string_view(title).size(), ' ') + printable(text));
    };
    row("queue", queue->name);
    row("state", queue->paused ? paused_text(*queue) : "open");
    row("queued", std::to_string(queue->queued));
    row("running", std::to_string(queue->running) +
                       (queue->max_running == 0 ? "" : " of at most " + std::to_string(queue->max_running)));
    row("waiting", std::to_string(queue->waiting));
    row("jobs", policy_text(queue->retry));
    for (const TypePolicy& type : queue->types) row("type", type.type + ": " + policy_text(type.retry));
    return kExitOk;
}

int set_queue(const Globals& globals, const std::string& queue, const std::string& type, const QueueChange& change) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<void> done = client->set_queue(queue, change, type, globals.call_limit());
    if (!done) return complain(globals, done.error());
    const Result<QueueInfo> now = client->queue(queue, globals.call_limit());
    if (!now) return complain(globals, now.error());
    if (globals.json) {
        print_line(queue_json(*now));
    } else if (change.paused) {
        // A name that is a slip is a queue, too; that it has no jobs may tell.
        const bool empty = now->queued + now->running + now->waiting == 0;
        print_line(queue + (!*change.paused ? " is resumed"
                            : empty         ? " is paused; it has no jobs"
                                            : " is paused; " + std::to_string(now->running) + " of its jobs run on"));
    } else {
        print_line(queue + " is set");
    }
    return kExitOk;
}

/// As given: a number, a duration, a percentage, or the word that takes the setting back.
struct SetOptions {
    std::string queue;
    std::string type;
    std::string max_running;
    std::string max_attempts;
    std::string timeout;
    std::string backoff_initial;
    std::string backoff_factor;
    std::string backoff_max;
    std::string backoff_jitter;
};

std::optional<std::uint32_t> number_or(const std::string& given, const char* word, std::uint32_t otherwise) {
    if (given.empty()) return std::nullopt;
    return given == word ? otherwise : static_cast<std::uint32_t>(std::stoul(given));
}

std::optional<std::uint32_t> duration_or_default(const std::string& given) {
    if (given.empty()) return std::nullopt;
    return given == "default" ? kUnset : static_cast<std::uint32_t>(duration_of(given).count());
}

int set_verb(const Globals& globals, const SetOptions& options) {
    QueueChange change;
    change.max_running = number_or(options.max_running, "none", 0);
    change.retry.max_attempts = number_or(options.max_attempts, "default", kUnset);
    change.retry.timeout_ms = duration_or_default(options.timeout);
    change.retry.backoff.initial_ms = duration_or_default(options.backoff_initial);
    change.retry.backoff.factor_percent = number_or(options.backoff_factor, "default", kUnset);
    change.retry.backoff.max_ms = duration_or_default(options.backoff_max);
    change.retry.backoff.jitter_percent = number_or(options.backoff_jitter, "default", kUnset);
    if (!change.max_running && change.retry == RetryPolicy{}) {
        return wrong_usage(globals, "say what to set; jobyard queue set --help names what there is");
    }
    if (!options.type.empty() && change.max_running)
        return wrong_usage(globals, "--max-running is for a whole queue, not for a type in it");
    return set_queue(globals, options.queue, options.type, change);
}

}  // namespace

void add_queue(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("queue", "Queues: list, show, pause, resume, set");
    add_group_help(*verb,
                   "  jobyard queue list\n  jobyard queue pause mail --why 'the relay is down'\n"
                   "  jobyard queue set mail --max-running 10 --max-attempts 8\n");

    CLI::App* list = verb->add_subcommand("list", "List queues: what waits, what runs, what is paused");
    list->footer(std::string("\nThose that have had jobs since the broker started, or for which something is set.\n\n"
                             "Example:\n  jobyard queue list\n") +
                 kExitCodes);
    add_common(*list, globals);
    list->callback([&globals] { globals.action = [&globals] { return list_queues(globals); }; });

    const auto with_name = [&](const char* word, const char* what, const std::string& text) {
        CLI::App* one = verb->add_subcommand(word, what);
        auto name = std::make_shared<std::string>();
        one->add_option("QUEUE", *name, "Its name")->required();
        one->footer("\n" + text + "\n" + kExitCodes);
        add_common(*one, globals);
        return std::pair(one, name);
    };
    const auto [show, shown] =
        with_name("show", "Show a queue and what is set for it", "Example:\n  jobyard queue show default");
    show->callback(
        [&globals, name = shown] { globals.action = [&globals, name] { return show_queue(globals, *name); }; });

    const auto [pause, paused] = with_name("pause", "Hand out no more jobs of a queue",
                                           "Jobs can still be submitted; those that run go on. It lasts until resume, "
                                           "also when the\nbroker restarts.\n\n"
                                           "Example:\n  jobyard queue pause mail --why 'the relay is down'");
    auto why = std::make_shared<std::string>();
    pause->add_option("--why", *why, "For whoever finds it paused");
    pause->callback([&globals, name = paused, why] {
        globals.action = [&globals, name, why] {
            QueueChange change;
            change.paused = true;
            change.by = who();
            change.why = *why;
            return set_queue(globals, *name, {}, change);
        };
    });

    const auto [resume, resumed] =
        with_name("resume", "Hand out jobs of a paused queue again", "Example:\n  jobyard queue resume mail");
    resume->callback([&globals, name = resumed] {
        globals.action = [&globals, name] {
            QueueChange change;
            change.paused = false;
            return set_queue(globals, *name, {}, change);
        };
    });

    CLI::App* set = verb->add_subcommand("set", "Limit a queue, or say how its jobs are tried");
    auto options = std::make_shared<SetOptions>();
    set->add_option("QUEUE", options->queue, "Its name; it need not have jobs yet. With --type, * for all queues")
        ->required();
    set->add_option("--type", options->type, "Only jobs of this type in it");
    const auto number = [](std::uint32_t least, std::uint32_t most, const char* word) {
        return or_word(is_number(least, most), word);
    };
    const auto duration = [](std::uint32_t most) {
        return or_word(is_duration(std::chrono::milliseconds(most)), "default");
    };
    set->add_option("--max-running", options->max_running, "Jobs of it that may be out to workers; none for no limit")
        ->check(number(1, UINT32_MAX - 1, "none"));
    set->add_option("--max-attempts", options->max_attempts, "Of a job that does not say itself")
        ->check(number(1, kMaxAttemptsLimit, "default"));
    set->add_option("--timeout", options->timeout, "Of one attempt; 0 for none")->check(duration(kMaxTimeoutMs));
    set->add_option("--backoff-initial", options->backoff_initial, "Pause after the first error")
        ->check(duration(kMaxBackoffMs));
    set->add_option("--backoff-factor", options->backoff_factor,
                    "Percent of the pause before that each pause has (200: twice)")
        ->check(number(100, kMaxBackoffFactorPercent, "default"));
    set->add_option("--backoff-max", options->backoff_max, "Longest pause")->check(duration(kMaxBackoffMs));
    set->add_option("--backoff-jitter", options->backoff_jitter, "Percent that chance adds to a pause")
        ->check(number(0, 100, "default"));
    set->footer(
        std::string("\nA job's own word goes first, then its type's in its queue, then its type's in all queues, then "
                    "its\nqueue's, then the usual. Jobs that are there already stay as they are. `default` takes a "
                    "setting\nback.\n\n"
                    "Examples:\n  jobyard queue set mail --max-running 10 --max-attempts 8\n"
                    "  jobyard queue set mail --type digest --timeout 30m\n"
                    "  jobyard queue set '*' --type digest --max-attempts 2\n"
                    "  jobyard queue set mail --max-running none\n") +
        kExitCodes);
    add_common(*set, globals);
    set->callback(
        [&globals, options] { globals.action = [&globals, options] { return set_verb(globals, *options); }; });
}

}  // namespace jobyard::cli
