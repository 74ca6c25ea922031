#include "report.hpp"

#include <lmdb.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <ctime>
#include <fstream>
#include <iostream>
#include <thread>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace jobyard::bench {
namespace {

constexpr double kTerminalSeconds = 0.25;  // between two lines
constexpr double kPlainSeconds = 10;
constexpr double kStillSeconds = 5;  // what no commit, restart or claim window takes

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "unknown";
}

std::string text_of(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_number_float()) return value.dump();
    const double number = value.get<double>();
    if (std::abs(number) >= 1000) return fmt::format("{:.0f}", number);
    return std::abs(number) >= 10 ? fmt::format("{:.1f}", number) : fmt::format("{:.3g}", number);
}

std::string line_of(const Json& object) {
    std::string line;
    for (const auto& [key, value] : object.items())
        line += fmt::format("{}{} {}", line.empty() ? "" : "  ", key, text_of(value));
    return line;
}

void print_rows(const Json& rows) {
    std::vector<std::string> columns;
    for (const Json& row : rows)
        for (const auto& [key, value] : row.items())
            if (std::find(columns.begin(), columns.end(), key) == columns.end()) columns.push_back(key);
    const auto cell = [](const Json& row, const std::string& column) {
        if (!row.contains(column)) return std::string();
        return row[column].is_object() ? line_of(row[column]) : text_of(row[column]);
    };
    std::vector<std::size_t> widths;
    for (const std::string& column : columns) {
        std::size_t width = column.size();
        for (const Json& row : rows) width = std::max(width, cell(row, column).size());
        widths.push_back(width);
    }
    std::cout << "   ";
    for (std::size_t i = 0; i < columns.size(); ++i) std::cout << fmt::format(" {:>{}}", columns[i], widths[i]);
    std::cout << '\n';
    for (const Json& row : rows) {
        std::cout << "   ";
        for (std::size_t i = 0; i < columns.size(); ++i)
            std::cout << fmt::format(" {:>{}}", cell(row, columns[i]), widths[i]);
        std::cout << '\n';
    }
}

std::string libzmq_version() {
    int major = 0;
    int minor = 0;
    int patch = 0;
    zmq_version(&major, &minor, &patch);
    return fmt::format("{}.{}.{}", major, minor, patch);
}

}  // namespace

Json percentiles(std::vector<double> values) {
    Json result = Json::object();
    if (values.empty()) return result;
    std::sort(values.begin(), values.end());
    struct Named {
        const char* name;
        double share;
    };
    for (const auto& [name, share] :
         {Named{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}}) {
        const double last = static_cast<double>(values.size() - 1);
        if (1 / (1 - share) > static_cast<double>(values.size()) * 1.001) continue;
        result[name] = values[static_cast<std::size_t>(share * last)];
    }
    result["max"] = values.back();
    return result;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) ratios.push_back(a[i] / b[i]);
    return median(std::move(ratios));
}

Json heading(const std::string& benchmark) {
    utsname system{};
    ::uname(&system);
    const std::time_t now = std::time(nullptr);
    std::array<char, 32> date{};
    std::strftime(date.data(), date.size(), "%Y-%m-%d %H:%M", std::gmtime(&now));
    return {{"benchmark", benchmark},
            {"date", std::string(date.data()) + " UTC"},
            {"version", JOBYARD_VERSION},
            {"libzmq", libzmq_version()},
            {"lmdb", mdb_version(nullptr, nullptr, nullptr)},
            {"durability", "fsync before every answer and dispatch"},
            {"cores", std::thread::hardware_concurrency()},
            {"processor", processor()},
            {"kernel", std::string(system.sysname) + " " + system.release}};
}

void print(const Json& result, bool as_json) {
    if (as_json) {
        std::cout << result.dump() << std::endl;
        return;
    }
    std::size_t width = 26;
    for (const auto& [key, value] : result.items()) width = std::max(width, key.size());
    for (const auto& [key, value] : result.items()) {
        if (value.is_array() && !value.empty() && value.front().is_object()) {
            std::cout << "  " << key << '\n';
            print_rows(value);
            continue;
        }
        std::cout << fmt::format("  {:<{}} {}\n", key, width, value.is_object() ? line_of(value) : text_of(value));
    }
    std::cout << std::flush;
}

void print_side_by_side(const Json& rows) {
    std::vector<std::string> names;
    std::vector<Json> flat;
    for (const Json& row : rows) {
        Json& members = flat.emplace_back(Json::object());
        for (const auto& [key, value] : row.items()) {
            if (!value.is_object()) members[key] = value;
            else
                for (const auto& [inner, number] : value.items()) members[key + "." + inner] = number;
        }
        std::size_t place = 0;  // a name that only a later row has goes where it stands there
        for (const auto& [key, value] : members.items()) {
            const auto known = std::find(names.begin(), names.end(), key);
            if (known != names.end()) place = static_cast<std::size_t>(known - names.begin()) + 1;
            else names.insert(names.begin() + static_cast<std::ptrdiff_t>(place++), key);
        }
    }
    std::size_t first = 0;
    for (const std::string& name : names) first = std::max(first, name.size());
    const auto cell = [](const Json& row, const std::string& name) {
        return row.contains(name) ? text_of(row[name]) : std::string("-");
    };
    std::vector<std::size_t> widths;
    for (const Json& row : flat) {
        std::size_t width = 0;
        for (const std::string& name : names) width = std::max(width, cell(row, name).size());
        widths.push_back(width);
    }
    for (const std::string& name : names) {
        std::cout << fmt::format("  {:<{}}", name, first);
        for (std::size_t i = 0; i < flat.size(); ++i)
            std::cout << fmt::format("  {:>{}}", cell(flat[i], name), widths[i]);
        std::cout << '\n';
    }
    std::cout << std::flush;
}

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(::isatty(STDERR_FILENO) == 1), began_(seconds_now()) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
    if (width_ > 0) std::cerr << '\r' << std::string(width_, ' ') << '\r' << std::flush;
    width_ = 0;
}

void Progress::show(double done, double of, const char* unit) {
    const double now = seconds_now() - began_;
    if (done != done_ || !std::exchange(looked_, true)) moved_at_ = now;
    done_ = done;
    if (now - moved_at_ > kStillSeconds && !std::exchange(complained_, true)) {
        clear();
        std::cerr << fmt::format(
            "{}: nothing for {:.0f} s. Is the broker there, its disk not full, and a worker that serves the type "
            "\"bench\"?\n",
            what_, now - moved_at_);
    }
    if (now - shown_at_ < (terminal_ ? kTerminalSeconds : kPlainSeconds)) return;
    std::string line = fmt::format("{}: {:.0f} of {:.0f}, {:.0f} {}/s", what_, done, of,
                                   (done - shown_done_) / (now - shown_at_), unit);
    if (terminal_) {
        const std::size_t length = line.size();
        line.resize(std::max(line.size(), width_), ' ');
        std::cerr << '\r' << line << std::flush;
        width_ = length;
    } else {
        std::cerr << line << '\n';
    }
    shown_at_ = now;
    shown_done_ = done;
}

}  // namespace jobyard::bench
