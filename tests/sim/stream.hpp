#pragma once
// The model's part about the event stream: numbers without a gap, and in each batch exactly the events of what that
// batch says has happened to jobs. Who follows is told the same, and of which queue and type it was.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coverage.hpp"
#include "jobyard/event.hpp"
#include "jobyard/ids.hpp"

namespace jobyard::sim {

class Stream {
 public:
    explicit Stream(Coverage& coverage) : coverage_(coverage) {}

    /// In the batch that is being read something has happened to a job.
    void happened(EventKind kind, JobId job) { expected_.emplace_back(kind, job); }
    /// A row of table classes.
    void named(std::string_view key, std::string_view row);
    /// A row of table events.
    void written(std::string_view key, std::string_view row);
    /// The batch is over.
    void end();

    /// Somebody who has read up to `after` is told of the next ones, and that those up to `gone` are lost.
    struct Told {
        std::uint64_t number = 0;
        std::string_view kind;
        JobId job;
        std::uint64_t count = 1;
        std::string_view queue;
        std::string_view type;
    };
    void told(std::uint64_t after, std::uint64_t gone, std::uint64_t last, const std::vector<Told>& events) const;
    [[nodiscard]] std::uint64_t newest() const { return events_.size(); }

 private:
    using Happened = std::pair<EventKind, JobId>;
    Coverage& coverage_;
    using Names = std::pair<std::string, std::string>;   // of a queue and a type
    std::map<std::string, Names, std::less<>> classes_;  // by the keys of their rows, of all that ever were
    std::vector<Happened> events_;                       // by number, from 1
    std::vector<const Names*> names_;                    // likewise; null: it has no class
    std::vector<Happened> expected_;
    std::vector<Happened> told_;  // of the batch, those that can be expected
};

}  // namespace jobyard::sim
