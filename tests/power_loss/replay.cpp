#include "replay.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "disk.hpp"
#include "run.hpp"
#include "told.hpp"

namespace jobyard::power_loss {
namespace {

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
}

/// In memory, where there is such a place: what is rebuilt is synced in vain.
class Scratch {
 public:
    Scratch() {
        const fs::path memory = "/dev/shm";
        std::string name = (fs::exists(memory) ? memory : fs::temp_directory_path()) / "jobyard-loss-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    [[nodiscard]] const fs::path& path() const { return path_; }

 private:
    fs::path path_;
};

bool changes_the_disk(const Record& record) {
    switch (record.kind) {
        case Kind::sends:
        case Kind::received:
        case Kind::hung_up:
        case Kind::mapped:
        case Kind::mark:
        case Kind::sync_begins: return false;
        default: return true;
    }
}

/// If the recorder had missed a write, what it noted would not be what there is.
void must_tell_all(const std::string& root, const std::vector<Record>& records) {
    Disk disk(root);
    for (const Record& record : records) disk.take(record);
    const auto noted = disk.contents();
    for (const auto& [path, bytes] : noted)
        if (!disk.is_mapped(path) && without_zeros(read_file(root + "/" + path)) != bytes)
            throw std::runtime_error("the recorder has not seen all that was written to " + path);
    for (const auto& [path, bytes] : noted)
        if (disk.is_mapped(path) && !path.ends_with("/lock.mdb"))
            throw std::runtime_error(path + " is written through memory, which the recorder does not see");
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        const std::string path = entry.path().string().substr(root.size() + 1);
        if (entry.is_regular_file() && !noted.contains(path))
            throw std::runtime_error("the recorder has not seen that " + path + " was made");
    }
}

class Replay {
 public:
    Replay(const std::string& root, const std::string& trace, const ReplayOptions& options)
        : root_(root), options_(options), bytes_(read_file(trace)), records_(read_trace(bytes_)) {
        must_tell_all(root_, records_);
        facts_ = read_told(records_);
        std::set<JobId> jobs;
        for (const Fact& fact : facts_) {
            if (fact.kind == Fact::Kind::ended) ended_.insert(fact.job);
            if (fact.kind == Fact::Kind::exists) jobs.insert(fact.job);
        }
        for (const Record& record : records_) {
            if (changes_the_disk(record)) ++replayed_.points;
            if (record.kind == Kind::wrote) ++replayed_.writes;
            if (record.kind == Kind::sync_ends) ++replayed_.syncs;
            if (record.kind == Kind::resized) ++replayed_.growths;
        }
        replayed_.records = records_.size();
        replayed_.facts = facts_.size();
        replayed_.jobs = jobs.size();
        Told told;
        for (const Fact& fact : facts_) told.add(fact);
        replayed_.retired = count_gone(root_ + "/data", told);
        replayed_.store_bytes = fs::file_size(root_ + "/data/store/data.mdb");
    }

    /// In processes of their own: what is damaged may end the one that opens it.
    Replayed run() {
        std::vector<Helper> helpers;
        for (unsigned i = 0; i < options_.processes; ++i) {
            int lines[2];
            if (::pipe2(lines, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
            const pid_t process = ::fork();
            if (process < 0) throw std::runtime_error("fork");
            if (process == 0) {
                to_ = lines[1];
                ::_exit(share_is_done(i) ? 0 : 1);
            }
            ::close(lines[1]);
            helpers.push_back({process, lines[0], "", ""});
        }
        while (!helpers.empty()) {
            std::vector<pollfd> waits;
            for (const Helper& helper : helpers) waits.push_back({helper.from, POLLIN, 0});
            ::poll(waits.data(), waits.size(), -1);
            for (std::size_t i = helpers.size(); i-- > 0;)
                if (waits[i].revents != 0 && !hear(helpers[i]))
                    helpers.erase(helpers.begin() + static_cast<std::ptrdiff_t>(i));
            if (replayed_.wrong > 0 && !options_.ignored.empty())  // it was to be found, and is
                for (const Helper& helper : helpers) ::kill(helper.process, SIGKILL);
        }
        return replayed_;
    }

 private:
    struct Helper {
        pid_t process;
        int from;
        std::string line;
        std::string at;  // what it is about to open
    };

    /// What it says; false when it has ended.
    bool hear(Helper& helper) {
        char bytes[4096];
        const ssize_t got = ::read(helper.from, bytes, sizeof bytes);
        for (ssize_t i = 0; i < got; ++i) {
            if (bytes[i] != '\n') {
                helper.line += bytes[i];
                continue;
            }
            const std::string text = helper.line.substr(1);
            if (helper.line[0] == kOpens) {
                helper.at = text;
                if (++replayed_.checked % 64 == 0) options_.progress(replayed_.checked, all());
            } else {
                note_wrong(helper.at + ": " + text);
            }
            helper.line.clear();
        }
        if (got > 0) return true;
        ::close(helper.from);
        int status = 0;
        ::waitpid(helper.process, &status, 0);
        const bool was_stopped = replayed_.wrong > 0 && !options_.ignored.empty();
        if (status != 0 && !was_stopped)
            note_wrong(helper.at + ": it ended the process that opened it" +
                       (WIFSIGNALED(status) ? ", by signal " + std::to_string(WTERMSIG(status)) : ""));
        return false;
    }

    void note_wrong(const std::string& text) {
        ++replayed_.wrong;
        if (replayed_.first_wrong.empty()) replayed_.first_wrong = text;
    }

    [[nodiscard]] std::uint64_t all() const { return replayed_.points / options_.stride * options_.seeds; }

    // --- in the helper ---

    static constexpr char kOpens = 'o';
    static constexpr char kIsWrong = 'w';

    void say(char what, std::string text) const {
        std::replace(text.begin(), text.end(), '\n', ' ');
        text = what + text + "\n";
        if (::write(to_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) ::_exit(1);
    }

    bool share_is_done(unsigned which) {
        try {
            one_share(which);
            return true;
        } catch (const std::exception& error) {
            say(kIsWrong, error.what());
            return false;
        }
    }

    void one_share(unsigned which) {
        Disk disk(root_);
        if (options_.ignored_at_first) disk.ignore_syncs_of(options_.ignored);
        Expected expected;
        expected.may_be_retired = &ended_;
        expected.kept_jobs = kKeptJobs;
        std::map<std::string, std::set<JobId>> begun;
        auto fact = facts_.begin();
        std::uint64_t point = 0;
        const fs::path place = scratch_.path() / std::to_string(which);
        for (std::size_t at = 0; at < records_.size();) {
            // The record that changes the disk, and all that is said before it changes again.
            const bool is_point = disk.take(records_[at]);
            do {
                const Record& record = records_[at];
                for (; fact != facts_.end() && fact->at <= at; ++fact) expected.told.add(*fact);
                if (record.kind == Kind::sends) disk.ignore_syncs_of(options_.ignored);
                if (record.kind == Kind::mark) note_mark(std::string(record.bytes), expected, begun);
                ++at;
            } while (at < records_.size() && !disk_changes_with(at, disk));
            if (!is_point) continue;
            ++point;
            const bool mine =
                options_.only ? point == *options_.only && which == 0
                              : point % options_.stride == 0 && point / options_.stride % options_.processes == which;
            if (mine) cut(disk, expected, point, place);
        }
    }

    /// Records that do not change it are taken on the way.
    bool disk_changes_with(std::size_t at, Disk& disk) const {
        if (changes_the_disk(records_[at])) return true;
        disk.take(records_[at]);
        return false;
    }

    static void note_mark(const std::string& text, Expected& expected, std::map<std::string, std::set<JobId>>& begun) {
        if (text.starts_with(kBackupBegins)) {
            std::set<JobId>& jobs = begun[text.substr(std::string(kBackupBegins).size())];
            for (const auto& [id, job] : expected.told.jobs) jobs.insert(id);
        } else if (text.starts_with(kBackupDone)) {
            const std::string name = text.substr(std::string(kBackupDone).size());
            expected.backups[name] = begun.at(name);
        }
    }

    void cut(const Disk& disk, const Expected& expected, std::uint64_t point, const fs::path& place) const {
        // With nothing in doubt there is one way only.
        const std::uint64_t ways = disk.pending() == 0 ? 1 : options_.seeds;
        for (std::uint64_t seed = options_.first_seed; seed < options_.first_seed + ways; ++seed) {
            say(kOpens, "point " + std::to_string(point) + ", seed " + std::to_string(seed));
            const auto rebuild = [&](const fs::path& directory) {
                fs::create_directories(directory);
                disk.rebuild(directory, seed * 1'000'003 + point);
            };
            const fs::path directory = place / "disk";
            rebuild(directory);
            if (const auto wrong = check(directory, expected)) {
                if (!options_.keep.empty())
                    rebuild(fs::path(options_.keep) / (std::to_string(point) + "-" + std::to_string(seed)));
                say(kIsWrong, *wrong);
            }
            fs::remove_all(directory);
        }
    }

    const std::string root_;
    const ReplayOptions& options_;
    const std::string bytes_;
    const std::vector<Record> records_;
    std::vector<Fact> facts_;
    std::set<JobId> ended_;
    Replayed replayed_;
    Scratch scratch_;
    int to_ = -1;
};

}  // namespace

Replayed replay(const std::string& root, const std::string& trace, const ReplayOptions& options) {
    return Replay(root, trace, options).run();
}

}  // namespace jobyard::power_loss
