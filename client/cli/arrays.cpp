// `jobyard array`, and arrays as other verbs use them.

#include "arrays.hpp"

#include <charconv>

#include "job_json.hpp"
#include "values.hpp"

namespace jobyard::cli {
namespace {

constexpr const char* kExitCodes =
    "\nExit codes: 0 ok; 2 wrong usage; 3 no broker, or the time limit passed; 4 refused, or no such array.";
constexpr std::chrono::milliseconds kLookEvery{200};

/// Reads a number off the front; false if there is none.
bool take_number(std::string_view& text, std::uint64_t& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool take(std::string_view& text, char mark) {
    if (text.empty() || text.front() != mark) return false;
    text.remove_prefix(1);
    return true;
}

std::string indices_text(const ArrayInfo& array) {
    if (!array.first || !array.step || array.count == 0) return "of array " + std::to_string(array.resubmits.value);
    const std::uint64_t last = *array.first + (array.count - 1) * *array.step;
    return std::to_string(*array.first) + "-" + std::to_string(last) +
           (*array.step == 1 ? "" : ":" + std::to_string(*array.step)) +
           (array.at_once == 0 ? "" : "%" + std::to_string(array.at_once));
}

std::string state_text(const ArrayInfo& array) {
    return array.state == JobState::running && !array.making && array.made < array.count ? "stopped"
                                                                                         : to_string(array.state);
}

int list_arrays(const Globals& globals) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<std::vector<ArrayInfo>> arrays = client->arrays(globals.call_limit());
    if (!arrays) return complain(globals, arrays.error());
    if (globals.json) {
        for (const ArrayInfo& array : *arrays) print_line(array_json(array));
        return kExitOk;
    }
    Table table({{"ARRAY", Table::Kind::right},
                 {"NAME", Table::Kind::flexible},
                 {"STATE"},
                 {"JOBS", Table::Kind::right},
                 {"MADE", Table::Kind::right},
                 {"WAITING", Table::Kind::right},
                 {"RUNNING", Table::Kind::right},
                 {"COMPLETED", Table::Kind::right},
                 {"DEAD", Table::Kind::right},
                 {"CANCELLED", Table::Kind::right},
                 {"QUEUE", Table::Kind::flexible},
                 {"TYPE", Table::Kind::flexible}});
    for (const ArrayInfo& array : *arrays)
        table.add({std::to_string(array.array.value),
                   array.name,
                   {state_text(array), colour_of(array.state)},
                   std::to_string(array.count),
                   std::to_string(array.made),
                   std::to_string(array.waiting),
                   std::to_string(array.running),
                   std::to_string(array.completed),
                   std::to_string(array.dead),
                   std::to_string(array.cancelled),
                   array.queue,
                   array.type});
    if (!arrays->empty()) print(table.format(Terminal::of(stdout)));
    return kExitOk;
}

int show_array(const Globals& globals, JobId id) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<ArrayInfo> array = client->array(id, globals.call_limit());
    if (!array && (array.error().code == Code::unknown_job || array.error().code == Code::retired))
        return complain_about(
            globals, id,
            Error{array.error().code,
                  "no array of this number is remembered; `jobyard array list` shows those that are", 0});
    if (!array) return complain(globals, array.error());
    print_array(globals, *array);
    return kExitOk;
}

int stop_array(const Globals& globals, JobId id) {
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<void> stopped = client->stop_array(id, globals.call_limit());
    if (!stopped && stopped.error().code == Code::ended) {
        complain("array " + std::to_string(id.value) + ": all that was to be made is made already");
        return kExitRefused;
    }
    if (!stopped) return complain_about(globals, id, stopped.error());
    const Result<ArrayInfo> array = client->array(id, globals.call_limit());
    if (!array) return complain(globals, array.error());
    print_line(globals.json ? array_json(*array) : "stopped; " + counts_text(*array));
    return kExitOk;
}

struct Resubmit {
    std::uint64_t number = 0;
    bool failed = false;
    bool cancelled = false;
    bool wait = false;
};

int resubmit(const Globals& globals, const Resubmit& options) {
    const JobId id{options.number};
    const std::unique_ptr<Client> client = connected_client(globals);
    if (!client) return kExitUnreachable;
    const Result<JobId> made = client->resubmit(id, options.cancelled, globals.call_limit());
    if (!made) return complain_about(globals, id, made.error());
    if (!options.wait) {
        print_line(globals.json ? submitted_json(*made, false) : std::to_string(made->value));
        return kExitOk;
    }
    Progress progress("array " + std::to_string(made->value));
    const Submission job = client->watch(*made, globals.wait_limit());
    const Result<JobResult> result = wait_with_progress(globals, *client, *made, job, progress);
    progress.clear();
    return report_end(globals, *made, result);
}

}  // namespace

Result<ArrayRange> parse_array(std::string_view text) {
    const Error wrong{Code::bad_field,
                      "\"" + std::string(text) +
                          "\": expected FIRST-LAST[:STEP][%N], such as 0-9999, 0-100:10 or 1-1000%50 (no more than N "
                          "at once)",
                      0};
    ArrayRange range;
    std::uint64_t last = 0;
    std::uint64_t at_once = 0;
    if (!take_number(text, range.first) || !take(text, '-') || !take_number(text, last) || last < range.first)
        return wrong;
    if (take(text, ':') && (!take_number(text, range.step) || range.step == 0)) return wrong;
    if (take(text, '%') && (!take_number(text, at_once) || at_once == 0 || at_once > UINT32_MAX)) return wrong;
    if (!text.empty()) return wrong;
    if (last > kMaxArrayIndex)
        return Error{Code::bad_field, "an index is at most " + std::to_string(kMaxArrayIndex), 0};
    range.count = (last - range.first) / range.step + 1;
    range.at_once = static_cast<std::uint32_t>(at_once);
    if (range.count > kMaxArrayJobs)
        return Error{Code::bad_field,
                     std::to_string(range.count) + " jobs: an array has at most " + std::to_string(kMaxArrayJobs), 0};
    return range;
}

std::string counts_text(const ArrayInfo& array) {
    std::string text = std::to_string(array.completed) + " of " + std::to_string(array.count) + " completed";
    const auto add = [&](std::uint64_t count, const char* what) {
        if (count != 0) text += ", " + std::to_string(count) + " " + what;
    };
    add(array.running, "running");
    add(array.waiting, "waiting");
    add(array.dead, "dead");
    add(array.cancelled, "cancelled");
    add(array.count - array.made, array.making ? "to make" : "not made");
    return text;
}

Result<JobResult> wait_with_progress(const Globals& globals, Client& client, JobId id, const Submission& job,
                                     Progress& progress) {
    const auto began = std::chrono::steady_clock::now();
    while (!job.has_result() && Terminal::of(stderr).width != 0) {
        const Result<ArrayInfo> array = client.array(id, globals.call_limit());
        if (!array) break;  // it is no array, or the broker is away
        const std::uint64_t ended = array->completed + array->dead + array->cancelled;
        progress.show(static_cast<double>(ended) / static_cast<double>(std::max<std::uint64_t>(array->count, 1)),
                      counts_text(*array));
        const auto waited =
            std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
        if (waited >= globals.wait_limit()) break;
        static_cast<void>(job.result(std::min(kLookEvery, globals.wait_limit() - waited)));
    }
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began);
    const std::chrono::milliseconds limit = globals.wait_limit();
    return job.result(limit == kNoTimeLimit ? limit : std::max(limit - waited, std::chrono::milliseconds(0)));
}

void print_array(const Globals& globals, const ArrayInfo& array) {
    if (globals.json) return print_line(array_json(array));
    const Terminal terminal = Terminal::of(stdout);
    const auto field = [&](const char* name, const std::string& text) {
        if (text.empty()) return;
        const std::string label = std::string(name) + std::string(14 - std::string_view(name).size(), ' ');
        print_line(painted(terminal, Colour::dim, label) + printable(text));
    };
    const std::string number = std::to_string(array.array.value);
    field("array", number);
    field("name", array.name);
    field("state", state_text(array));
    field("type", array.type);
    field("queue", array.queue);
    field("key", array.key);
    field("indices", indices_text(array));
    field("jobs", counts_text(array));
    if (array.created_at) field("created", iso_time(*array.created_at));
    if (array.ended_at) field("ended", iso_time(*array.ended_at));
    if (array.resubmitted_as) field("resubmitted", "as array " + std::to_string(array.resubmitted_as.value));
    if (array.left_dead > 0) {
        field("dead", "jobyard list --array " + number + " --state dead");
        field("again", "jobyard array resubmit " + number + " --failed");
    }
}

void add_array(CLI::App& app, Globals& globals) {
    CLI::App* verb = app.add_subcommand("array", "Arrays of jobs: list, show, stop, resubmit what failed");
    add_group_help(*verb,
                   "  jobyard array list\n  jobyard array show 17\n  jobyard array resubmit 17 --failed --wait\n");

    CLI::App* list = verb->add_subcommand("list", "List arrays, the newest first");
    list->footer(std::string("\nExample:\n  jobyard array list\n") + kExitCodes);
    add_common(*list, globals);
    list->callback([&globals] { globals.action = [&globals] { return list_arrays(globals); }; });

    const auto add_number = [](CLI::App* to) {
        auto number = std::make_shared<std::uint64_t>();
        to->add_option("ARRAY", *number, "Its number")->required();
        return number;
    };
    CLI::App* show = verb->add_subcommand("show", "Show how an array stands");
    const auto shown = add_number(show);
    show->footer(std::string("\nIts jobs: jobyard list --array ARRAY.\n\nExample:\n  jobyard array show 17\n") +
                 kExitCodes);
    add_common(*show, globals);
    show->callback([&globals, shown] { globals.action = [&globals, shown] { return show_array(globals, {*shown}); }; });

    CLI::App* stop = verb->add_subcommand("stop", "Make no more of its jobs; those that are made go on");
    const auto stopped = add_number(stop);
    stop->footer(std::string("\nTo cancel those too: jobyard cancel ARRAY.\n\nExample:\n  jobyard array stop 17\n") +
                 kExitCodes);
    add_common(*stop, globals);
    stop->callback(
        [&globals, stopped] { globals.action = [&globals, stopped] { return stop_array(globals, {*stopped}); }; });

    CLI::App* again = verb->add_subcommand("resubmit", "Make another array of the indices that failed");
    auto options = std::make_shared<Resubmit>();
    again->add_option("ARRAY", options->number, "Its number")->required();
    again->add_flag("--failed", options->failed, "Those whose jobs are dead; so it is without it too");
    again->add_flag("--cancelled", options->cancelled, "Those whose jobs were cancelled too");
    again->add_flag("--wait", options->wait, "Wait for the end of the new array");
    again->footer(
        std::string(
            "\nPrints the number of the new array. Its jobs are as those of the old one; the dead jobs leave the "
            "dead\nletter queue. Said twice it makes one array, until more have failed.\n\n"
            "Examples:\n  jobyard array resubmit 17 --failed\n  jobyard array resubmit 17 --cancelled --wait\n\n"
            "With --wait: 0 all completed; 1 one did not.") +
        kExitCodes);
    add_common(*again, globals);
    again->callback(
        [&globals, options] { globals.action = [&globals, options] { return resubmit(globals, *options); }; });
}

}  // namespace jobyard::cli
