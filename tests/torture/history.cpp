#include "history.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace jobyard::torture {
namespace {

constexpr std::array kNames{"wants", "has",   "refused", "unknown", "result", "begins",
                            "ends",  "final", "event",   "fault",   "starts", "restart"};

}  // namespace

const char* to_string(Seen seen) { return kNames.at(static_cast<std::size_t>(seen)); }

std::int64_t now_us() {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::string format(const Entry& entry) {
    std::string line = std::to_string(entry.us) + ' ' + entry.who + ' ' + to_string(entry.seen);
    for (const std::uint64_t number :
         {entry.wish, entry.job, entry.attempt, entry.token, static_cast<std::uint64_t>(entry.priority)})
        line += ' ' + std::to_string(number);
    return line + ' ' + entry.text + '\n';
}

bool parse(std::string_view line, Entry& entry) {
    const auto word = [&] {
        const std::size_t end = std::min(line.find(' '), line.size());
        const std::string_view first = line.substr(0, end);
        line.remove_prefix(std::min(end + 1, line.size()));
        return first;
    };
    const auto number = [&](auto& value) {
        const std::string_view text = word();
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        return error == std::errc{} && end == text.data() + text.size();
    };
    if (!number(entry.us)) return false;
    entry.who = word();
    const std::string_view name = word();
    const auto found = std::find(kNames.begin(), kNames.end(), name);
    if (found == kNames.end()) return false;
    entry.seen = static_cast<Seen>(found - kNames.begin());
    const bool numbers = number(entry.wish) && number(entry.job) && number(entry.attempt) && number(entry.token) &&
                         number(entry.priority);
    entry.text = line;
    return numbers;
}

Recorder::Recorder(const std::string& path, std::string who)
    : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)), who_(std::move(who)) {
    if (fd_ < 0) throw std::runtime_error("cannot write the record " + path);
}

Recorder::~Recorder() { ::close(fd_); }

void Recorder::note(Entry entry) const {
    entry.us = now_us();
    entry.who = who_;
    const std::string line = format(entry);
    if (::write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
}

std::vector<Entry> read_history(const std::vector<std::string>& paths) {
    std::vector<Entry> entries;
    for (const std::string& path : paths) {
        std::ifstream file(path);
        for (std::string line; std::getline(file, line);) {
            Entry entry;
            if (parse(line, entry)) entries.push_back(std::move(entry));
            else if (!file.eof()) throw std::runtime_error("a line of " + path + " cannot be read: " + line);
        }
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.us < b.us; });
    return entries;
}

}  // namespace jobyard::torture
