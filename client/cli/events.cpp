// `jobyard events`.

#include "job_json.hpp"
#include "values.hpp"
#include "verbs.hpp"

namespace jobyard::cli {
namespace {

/// One long poll. A broker that is away is asked again, for as long as it takes.
constexpr std::chrono::seconds kWait{25};

struct EventOptions {
    EventFilter filter;
    std::uint64_t job = 0;
    std::vector<std::string> kinds;
    std::optional<std::uint64_t> after;
    std::uint64_t most = 0;
    bool follow = false;
};

Colour colour_of_event(const std::string& kind) {
    switch (event_kind_from(kind)) {
        case EventKind::completed: return Colour::green;
        case EventKind::dead: return Colour::red;
        case EventKind::failed:
        case EventKind::worker_lost: return Colour::yellow;
        case EventKind::worker_joined:
        case EventKind::worker_left:
        case EventKind::worker_drained:
        case EventKind::worker_resumed: return Colour::cyan;
        default: return Colour::none;
    }
}

std::string line_of(const EventInfo& event, const Terminal& terminal) {
    std::string line = std::to_string(event.event) + "  " + iso_time(event.at) + "  " +
                       painted(terminal, colour_of_event(event.kind), printable(event.kind));
    const auto word = [&](const std::string& text) {
        if (!text.empty()) line += "  " + printable(text);
    };
    if (event.job) word("job " + std::to_string(event.job.value));
    word(event.type.empty() ? event.queue : event.queue + "/" + event.type);
    word(event.worker);
    word(event.text);
    return line;
}

void print_event(const Globals& globals, const EventInfo& event) {
    print_line(globals.json ? event_json(event) : line_of(event, Terminal::of(stdout)));
}

void say_gone(const Globals& globals, std::uint64_t first, std::uint64_t last) {
    if (globals.json) return print_line(events_gone_json(first, last));
    const std::string text = first == last
                                 ? "event " + std::to_string(first) + " is gone"
                                 : "events " + std::to_string(first) + "–" + std::to_string(last) + " are gone";
    complain(text + ": the broker keeps only the newest (its limit events_bytes)");
}

int events(const Globals& globals, EventOptions options) {
    options.filter.job = {options.job};
    for (const std::string& kind : options.kinds) options.filter.kinds.push_back(event_kind_from(kind));
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const auto ends = std::chrono::steady_clock::now() +
                      std::min(globals.wait_limit(), std::chrono::milliseconds(std::chrono::years(10)));
    std::uint64_t after = options.after.value_or(options.follow ? kFromNow : 0);
    std::uint64_t printed = 0;
    for (;;) {
        std::chrono::milliseconds wait(0);
        if (options.follow) {
            wait = std::min<std::chrono::milliseconds>(
                kWait, std::chrono::ceil<std::chrono::milliseconds>(ends - std::chrono::steady_clock::now()));
            if (wait.count() <= 0) return complain(Error{Code::timeout, "the time limit has passed", 0});
        }
        std::uint32_t size = 1000;
        if (options.most != 0) size = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, options.most - printed));
        const Result<EventPage> page = client->events(options.filter, after, wait, size, globals.call_limit());
        if (!page && options.follow && page.error().code == Code::timeout) continue;
        if (!page) return complain(globals, page.error());
        if (page->gone != 0 && options.after) say_gone(globals, after + 1, page->gone);
        for (const EventInfo& event : page->events) print_event(globals, event);
        if (std::fflush(stdout) != 0) return kExitUnreachable;  // main says why
        printed += page->events.size();
        after = page->last;
        if ((options.most != 0 && printed >= options.most) || (!options.follow && !page->more)) return kExitOk;
    }
}

}  // namespace

void add_events(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("events", "Show what has happened, and follow what happens");
    auto options = std::make_shared<EventOptions>();
    verb->add_flag("--follow,-f", options->follow, "Go on with what happens; without --after from now on");
    verb->add_option("--after", options->after, "Only events behind this number [all that are kept]");
    verb->add_option("--queue", options->filter.queue, "Only of jobs of this queue");
    verb->add_option("--type", options->filter.type, "Only of jobs of this type");
    verb->add_option("--job", options->job, "Only of this job");
    verb->add_option("--kind", options->kinds,
                     "Only of this kind; may be given several times, or as a list with commas")
        ->delimiter(',')
        ->check(CLI::Validator(
            [](const std::string& given) -> std::string {
                if (event_kind_from(given) != EventKind::none) return {};
                std::string known;
                for (int number = 1; number < UINT8_MAX; ++number)
                    if (const std::string word = to_string(static_cast<EventKind>(number));
                        event_kind_from(word) != EventKind::none)
                        known += (known.empty() ? "" : ", ") + word;
                return "\"" + given + "\" is no kind of event; expected one of: " + known;
            },
            "KIND"));
    verb->add_option("--limit", options->most, "End after so many; 0: do not")->capture_default_str();
    verb->footer(
        "\nEvery event has a number, in the order in which things happened, and is shown only when it is on disk. To "
        "go\n"
        "on where another run ended, give the last number that it printed to --after: nothing is missed or shown "
        "twice,\n"
        "also when the broker restarts meanwhile. If the broker has dropped some by then, that is said.\n"
        "--time-limit ends --follow.\n\n"
        "Examples:\n"
        "  jobyard events --follow --queue images\n"
        "  jobyard events --job 17\n"
        "  jobyard events --follow --kind dead --json | jq -r .job\n"
        "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused.");
    add_common(*verb, globals);
    verb->callback([&globals, options] { globals.action = [&globals, options] { return events(globals, *options); }; });
}

}  // namespace jobyard::cli
