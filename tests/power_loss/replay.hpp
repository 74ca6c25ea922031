#pragma once
// Cuts the power at every point of a trace, and checks what is left.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace jobyard::power_loss {

struct ReplayOptions {
    std::uint64_t first_seed = 1;
    std::uint64_t seeds = 1;   ///< at each point
    std::uint64_t stride = 1;  ///< 1: all points, 2: every other…
    unsigned processes = 1;
    std::string ignored = {};                ///< a planted bug: syncs of files of this name do not happen…
    bool ignored_at_first = true;            ///< …or only those after something was told to a peer
    std::string keep = {};                   ///< a directory where what was wrong is kept; empty: nowhere
    std::optional<std::uint64_t> only = {};  ///< this point alone
    /// Now and then.
    std::function<void(std::uint64_t checked, std::uint64_t all)> progress = [](std::uint64_t, std::uint64_t) {};
};

struct Replayed {
    std::uint64_t records = 0;
    std::uint64_t writes = 0;
    std::uint64_t syncs = 0;
    std::uint64_t points = 0;       ///< at which the disk had changed
    std::uint64_t checked = 0;      ///< power losses
    std::uint64_t facts = 0;        ///< told to peers
    std::uint64_t jobs = 0;         ///< acknowledged
    std::uint64_t retired = 0;      ///< of those, gone at the end
    std::uint64_t growths = 0;      ///< of files whose space was taken ahead: the log's, when the store is behind
    std::uint64_t store_bytes = 0;  ///< of data.mdb at the end
    std::uint64_t wrong = 0;
    std::string first_wrong;  ///< with its point and seed
};

/// `root`: where the run was, and what it has left there. An exception if the trace does not tell all that happened.
Replayed replay(const std::string& root, const std::string& trace, const ReplayOptions& options);

}  // namespace jobyard::power_loss
