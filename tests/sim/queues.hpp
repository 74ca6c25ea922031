#pragma once
// The model's part about what is set for queues and types: what was asked for, and what became durable. A batch tells
// it in the order in which it was decided, so how a job is to be tried is known exactly when its row comes by.

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobyard/message.hpp"
#include "record.hpp"

namespace jobyard::sim {

/// Names live as long as the program: messages are views.
inline constexpr std::array<std::string_view, 3> kQueues = {"queue-0", "queue-1", "queue-2"};
inline constexpr std::array<std::string_view, 2> kTypes = {"steady", "other"};

class Queues {
 public:
    /// Somebody asks for it, and may ask again until `settled`: from when on it can have no effect.
    std::uint64_t asks(const SetQueue& set);
    void settled(std::uint64_t ask, std::int64_t at_us) { asked_.at(ask - 1).until_us = at_us; }
    void answered(std::uint64_t ask) const;

    /// A row of table queues; null: it was erased.
    void written(std::string_view key, const broker::QueueRow* row);

    /// How a job is to be tried that asks for this.
    [[nodiscard]] RetryPolicy policy_of(const SubmitItem& item) const;
    /// Certainly so, whatever is under way at that time.
    [[nodiscard]] bool is_paused(std::string_view queue, std::int64_t now_us) const;
    [[nodiscard]] std::uint32_t max_running(std::string_view queue, std::int64_t now_us) const;  ///< 0: no limit
    [[nodiscard]] bool has_paused(std::string_view queue) const;

 private:
    struct Set {
        bool paused = false;
        std::uint32_t max_running = 0;
        RetryPolicy retry;
    };
    struct Asked {
        SetQueue set;
        std::int64_t until_us = INT64_MAX;
        std::size_t history = 0;  ///< of its key then
    };
    template <class Says>
    [[nodiscard]] bool is_under_way(std::string_view queue, std::int64_t now_us, Says&& says) const;
    [[nodiscard]] const Set* find(std::string_view key) const;

    std::vector<Asked> asked_;
    std::map<std::string, std::vector<Set>, std::less<>> history_;  // by key
};

}  // namespace jobyard::sim
