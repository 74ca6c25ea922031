#include "check.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "commit_log.hpp"
#include "data_directory.hpp"
#include "record.hpp"
#include "recovery.hpp"
#include "store.hpp"
#include "store/image.hpp"
#include "store/verify.hpp"

namespace jobyard::power_loss {
namespace {

using broker::Table;
using store::Image;

constexpr std::uint64_t kMapBytes = std::uint64_t{1} << 20;  // grows here too, as in the run
constexpr std::uint64_t kNoBallast = 4096;

std::string job_text(JobId job) { return "job " + std::to_string(job.value); }

/// As main() does, up to the first turn. The epoch that this start is.
Result<std::uint32_t> start(const std::string& data) {
    auto directory = broker::DataDirectory::open(data, kNoBallast);
    if (!directory) return directory.error();
    auto store = broker::Store::open({(*directory)->store_path(), kMapBytes});
    if (!store) return store.error();
    auto log = broker::CommitLog::open((*directory)->store_path());
    if (!log) return log.error();
    auto recovered = broker::recover(**store, **log, {}, {0, 1, 0});
    if (!recovered) return recovered.error();
    return recovered->epoch;
}

/// The rows that are held against what was told.
struct Rows {
    std::set<JobId> live;
    std::map<JobId, broker::EndRow> ended;  // of done and dead
    std::uint64_t done = 0;
    std::map<JobId, std::string> results;  // of those whose result is in pieces
    std::set<std::uint64_t> tried;         // tokens
    std::map<std::string, broker::InstanceRow> instances;
    std::set<std::string> paused;
};

Result<Rows> read(const Image& image) {
    Rows rows;
    const auto each = [&](Table table, auto&& take) {
        return image.for_each(table, [&](std::string_view key, std::string_view value) -> Result<void> {
            if (take(key, value)) return {};
            return Error{Code::internal, std::string("a row of ") + to_string(table) + " cannot be read"};
        });
    };
    using broker::from_big_endian;
    const auto ended = [&](std::string_view key, std::string_view value) {
        return read_row(value, rows.ended[{from_big_endian(key)}]);
    };
    auto done = each(Table::live, [&](std::string_view key, std::string_view) {
        rows.live.insert({from_big_endian(key)});
        return true;
    });
    if (done) done = each(Table::done, ended);
    rows.done = rows.ended.size();
    if (done) done = each(Table::dead, ended);
    if (done)
        done = each(Table::results, [&](std::string_view key, std::string_view value) {
            rows.results[{from_big_endian(key)}].append(value);
            return true;
        });
    if (done)
        done = each(Table::attempts, [&](std::string_view, std::string_view value) {
            broker::AttemptRow row;
            const bool good = read_row(value, row);
            rows.tried.insert(row.token.value);
            return good;
        });
    if (done)
        done = each(Table::instances, [&](std::string_view, std::string_view value) {
            broker::InstanceRow row;
            const bool good = read_row(value, row);
            rows.instances[std::string(row.instance.view())] = row;
            return good;
        });
    if (done)
        done = each(Table::queues, [&](std::string_view key, std::string_view value) {
            broker::QueueRow row;
            const bool good = read_row(value, row);
            if (row.paused) rows.paused.emplace(key);
            return good;
        });
    if (!done) return done.error();
    return rows;
}

std::optional<std::string> wrong_with_jobs(const Rows& rows, const Expected& expected) {
    for (const auto& [id, told] : expected.told.jobs) {
        const auto ended = rows.ended.find(id);
        if (ended == rows.ended.end()) {
            if (rows.live.contains(id)) {
                if (told.ended) return job_text(id) + " was told to have ended, and is to be run again";
                continue;
            }
            if (!expected.may_be_retired->contains(id)) return job_text(id) + " was acknowledged, and is gone";
            if (rows.done < expected.kept_jobs)
                return job_text(id) + " was acknowledged, and is gone, with only " + std::to_string(rows.done) +
                       " ended jobs left";
            continue;
        }
        const broker::EndRow& row = ended->second;
        if (told.ended && row.state != *told.ended) return job_text(id) + " was told to have ended otherwise";
        if (told.result) {
            const auto pieces = rows.results.find(id);
            if ((row.result_chunks == 0 ? std::string(row.result) : pieces->second) != *told.result)
                return job_text(id) + " has another result than the one that was told";
        }
    }
    for (const auto& [id, told] : expected.told.jobs) {
        const auto ended = rows.ended.find(id);
        if (ended == rows.ended.end() && !rows.live.contains(id)) continue;  // and its attempts with it
        for (const std::uint64_t token : told.tried)
            if (!rows.tried.contains(token) && (ended == rows.ended.end() || ended->second.last.token.value != token))
                return "an attempt of " + job_text(id) + " was told to have failed, and is not recorded";
    }
    return std::nullopt;
}

std::optional<std::string> wrong_with_windows(const Rows& rows, const Told& told) {
    for (const auto& [submit, job] : told.windows) {
        const auto& [instance, number] = submit;
        if (told.left.contains(instance)) continue;
        const auto found = rows.instances.find(instance);
        if (found == rows.instances.end()) return "the window of " + job_text(job) + "'s client is gone";
        if (number <= found->second.confirmed) continue;
        const auto& runs = found->second.runs;
        const auto made = std::find_if(runs.begin(), runs.end(), [number = number](const broker::Run& run) {
            return run.first <= number && number < run.first + run.count;
        });
        if (made == runs.end() || made->first_job + (number - made->first) != job.value)
            return "a submit that made " + job_text(job) + " would make another job if it were sent again";
    }
    return std::nullopt;
}

std::optional<std::string> wrong_with_verify(const std::string& path) {
    const auto verified = store::verify(path, [](std::uint64_t, std::uint64_t) {});
    if (!verified) return verified.error().text;
    if (verified->found == 0) return std::nullopt;
    return "verify found " + std::to_string(verified->found) + ": " + verified->findings.front().text;
}

std::optional<std::string> wrong_with_backup(const std::string& path, const Expected& expected,
                                             const std::set<JobId>& jobs) {
    if (auto wrong = wrong_with_verify(path)) return wrong;
    const auto image = Image::open(path);
    if (!image) return image.error().text;
    const auto rows = read(**image);
    if (!rows) return rows.error().text;
    for (const JobId job : jobs) {
        if (rows->live.contains(job) || rows->ended.contains(job)) continue;
        if (!expected.may_be_retired->contains(job)) return job_text(job) + " is not in it";
        if (rows->done < expected.kept_jobs)
            return job_text(job) + " is not in it, with only " + std::to_string(rows->done) + " ended jobs left";
    }
    return std::nullopt;
}

bool is_there(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

}  // namespace

std::optional<std::string> check(const std::string& directory, const Expected& expected) {
    const std::string data = directory + "/data";
    const auto epoch = start(data);
    if (!epoch) return "it does not start: " + epoch.error().text;
    if (*epoch <= expected.told.epoch) return "it starts in an epoch that has been, and would give its tokens again";
    if (auto wrong = wrong_with_verify(data)) return wrong;
    {
        const auto image = Image::open(data);
        if (!image) return image.error().text;
        const auto rows = read(**image);
        if (!rows) return rows.error().text;
        if (auto wrong = wrong_with_jobs(*rows, expected)) return wrong;
        if (auto wrong = wrong_with_windows(*rows, expected.told)) return wrong;
        for (const std::string& queue : expected.told.paused)
            if (!rows->paused.contains(queue)) return "the queue " + queue + " was paused, and is not";
    }
    for (const auto& [name, jobs] : expected.backups)
        if (auto wrong = wrong_with_backup(directory + "/" + name, expected, jobs)) return name + ": " + *wrong;
    // One that nobody was told of is whole, or has not got its name.
    if (is_there(directory + "/backup/store"))
        if (auto wrong = wrong_with_backup(directory + "/backup", expected, {}))
            return "a backup in the making: " + *wrong;
    return std::nullopt;
}

std::uint64_t count_gone(const std::string& path, const Told& told) {
    auto image = Image::open(path);
    auto read_rows = read(*image.value());
    const Rows& rows = read_rows.value();
    return static_cast<std::uint64_t>(std::count_if(told.jobs.begin(), told.jobs.end(), [&rows](const auto& job) {
        return !rows.live.contains(job.first) && !rows.ended.contains(job.first);
    }));
}

}  // namespace jobyard::power_loss
