#pragma once
// The record of a torture run: what each process saw, a line each, in a file of each process's own. A line is written
// by one call before its writer does anything else, so a process that is killed leaves all it knew. Times are of
// CLOCK_MONOTONIC, which all processes of a machine share.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace jobyard::torture {

enum class Seen : std::uint8_t {
    wants,    ///< a client is about to submit; text: the job's type
    has,      ///< it was told the job's number; text: "existing" if its key named one
    refused,  ///< it was told that no job was made; text: the code
    unknown,  ///< it was told that nobody can know; text: the code
    result,   ///< it was told how the job ended; text: the state, then the result's bytes
    begins,   ///< a worker's handler is called
    ends,     ///< and is about to return; text: what
    final,    ///< the broker's last word on a job; text: state, then reason
    event,    ///< of the broker's event stream; attempt: the jobs from `job` on, token: the event's number; text: kind
    fault,    ///< text: kind, then "begins" or "ends"
    starts,   ///< a client's next life; text: "after" and the name of the one before
    restart,  ///< the broker is ready
};
const char* to_string(Seen seen);

struct Entry {
    std::int64_t us = 0;
    std::string who = {};
    Seen seen = Seen::wants;
    std::uint64_t wish = 0;  ///< the client's own number of a job, different in the whole run; 0: none
    std::uint64_t job = 0;
    std::uint64_t attempt = 0;
    std::uint64_t token = 0;
    int priority = 0;
    std::string text = {};
};

std::int64_t now_us();

class Recorder {
 public:
    /// Appends to the file. Throws if it cannot.
    Recorder(const std::string& path, std::string who);
    ~Recorder();
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;
    /// From any thread. `us` and `who` are set here. Ends the process if it cannot be written: a record with holes
    /// decides nothing.
    void note(Entry entry) const;

 private:
    int fd_;
    std::string who_;
};

/// Of all files, in order of time. A last line that was cut off is passed over.
std::vector<Entry> read_history(const std::vector<std::string>& paths);
/// One line; false if it is none.
bool parse(std::string_view line, Entry& entry);
std::string format(const Entry& entry);

}  // namespace jobyard::torture
