#pragma once
// Start-up: from the store to a core that knows all it held, in an epoch of its own.

#include <cstdint>
#include <memory>

#include "commit_log.hpp"
#include "core.hpp"
#include "store.hpp"

namespace jobyard::broker {

struct Recovered {
    std::unique_ptr<Core> core;
    std::uint64_t applied_seq = 0;
    std::uint32_t epoch = 0;
};

/// Brings the store up to the commit log, raises the epoch (on disk before the first token of it is granted), then
/// reads every unended job, window, worker and claim into a core of `config`; store id and epoch in it are filled in.
/// Errors name the table and the row.
Result<Recovered> recover(Store& store, CommitLog& log, CoreConfig config, Turn now);

}  // namespace jobyard::broker
