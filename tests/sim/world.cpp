#include "world.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace jobyard::sim {

void World::add(std::int64_t delay_us, Process* process, std::function<void()> what) {
    queue_.push_back({now_us_ + std::max<std::int64_t>(delay_us, 0), ++last_number_, process,
                      process == nullptr ? 0 : process->life_, std::move(what)});
    std::push_heap(queue_.begin(), queue_.end(), later);
}

void World::run_until(std::int64_t time_us) {
    while (!queue_.empty() && queue_.front().time_us <= time_us) {
        std::pop_heap(queue_.begin(), queue_.end(), later);
        Event event = std::move(queue_.back());
        queue_.pop_back();
        now_us_ = event.time_us;
        if (event.process != nullptr) {
            if (event.life != event.process->life_) continue;
            if (event.process->paused_until_us_ > now_us_) {
                event.time_us = event.process->paused_until_us_;  // with its old number: they keep their order
                queue_.push_back(std::move(event));
                std::push_heap(queue_.begin(), queue_.end(), later);
                continue;
            }
        }
        ++events_;
        event.what();
    }
    now_us_ = std::max(now_us_, time_us);
}

void World::note(std::string_view bytes) {
    const auto mix = [this](std::uint64_t word) {
        hash_ = (hash_ ^ word) * 0x9E3779B97F4A7C15ULL;
        hash_ ^= hash_ >> 32U;
    };
    mix(static_cast<std::uint64_t>(now_us_));
    mix(bytes.size());
    for (; !bytes.empty(); bytes.remove_prefix(std::min<std::size_t>(8, bytes.size()))) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data(), std::min<std::size_t>(8, bytes.size()));
        mix(word);
    }
}

void World::begin_line(std::string_view who, std::string& line) const {
    char time[32];
    std::snprintf(time, sizeof time, "%10.6f  ", static_cast<double>(now_us_) / kSecond);
    line = time;
    line += who;
    line.append(line.size() < 24 ? 24 - line.size() : 1, ' ');
}

void World::append(std::string& line, LeaseToken token) { line += "token " + to_text(token); }

std::string to_text(LeaseToken token) {
    return std::to_string(token.value >> kTokenCounterBits) + ":" + std::to_string(token.value & kTokenCounterMask);
}

void Process::die() {
    ++life_;
    paused_until_us_ = 0;
}

void Process::pause(std::int64_t time_us) { paused_until_us_ = std::max(paused_until_us_, world_.now() + time_us); }

void Loop::wake_at(std::int64_t time_us) {
    const std::int64_t now = process_.world().now();
    time_us = std::max(time_us, now);
    if (time_us >= due_us_) return;
    due_us_ = time_us;
    process_.after(time_us - now, [this, time_us] {
        if (due_us_ != time_us) return;  // it woke before
        due_us_ = INT64_MAX;
        turn_();
    });
}

}  // namespace jobyard::sim
