#pragma once
// What the recorder notes and the simulated disk reads: one record for each thing that a process did to a file, or said
// to a peer. All processes append to one file, each record by one write, so their order is the order in which it
// happened.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace jobyard::power_loss {

enum class Kind : std::uint32_t {
    made_file = 1,  ///< `path`
    made_directory,
    wrote,    ///< `bytes` at `offset`, when the call had returned
    resized,  ///< to `offset` bytes
    renamed,  ///< `path`, to `bytes`
    removed,  ///< `path`
    /// A sync covers what was noted before it began, once it has ended. `offset` is the same number in both.
    sync_begins,
    sync_ends,
    sends,     ///< `bytes` to a peer, noted before the call
    received,  ///< `bytes` from a peer, when the call had returned
    hung_up,   ///< the connection's number may be used again
    mapped,    ///< `path`, to be written through memory, which is not seen
    mark,      ///< what a test says, in `bytes`
};

/// As it stands in the file, followed by path and bytes.
struct Header {
    Kind kind = Kind::mark;
    std::uint32_t path_size = 0;
    std::uint64_t id = 0;  ///< of the file: its inode; of the connection: process and descriptor
    std::uint64_t offset = 0;
    std::uint64_t bytes_size = 0;
};

struct Record {
    Kind kind = Kind::mark;
    std::uint64_t id = 0;
    std::uint64_t offset = 0;
    std::string_view path;
    std::string_view bytes;
};

/// The whole records at the beginning of `file`, as views into it.
std::vector<Record> read_trace(std::string_view file);
/// How many bytes those take: what follows was cut off when its process was killed.
std::size_t whole_records(std::string_view file);

/// For whoever notes something without the recorder.
void append_record(const std::string& file, const Record& record);

}  // namespace jobyard::power_loss
