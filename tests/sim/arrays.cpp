#include "arrays.hpp"

#include "jobyard/assert.hpp"
#include "model.hpp"
#include "world.hpp"

namespace jobyard::sim {

using broker::ArrayRow;
using broker::Op;
using broker::Table;

namespace {

std::string text(JobId id) { return "array " + std::to_string(id.value); }
std::string text(JobId id, std::uint64_t index) { return "index " + std::to_string(index) + " of " + text(id); }

[[noreturn]] void broken(const char* rule, std::string how) { throw Broken{rule, std::move(how)}; }

constexpr const char* kEachOnce = "P11 each index of an array is made exactly once";
constexpr const char* kCounts = "P11 the counts of an array are those of its jobs";

}  // namespace

Array* Arrays::find(JobId id) {
    const auto found = arrays_.find(id);
    return found == arrays_.end() ? nullptr : &found->second;
}

const Array* Arrays::find(JobId id) const {
    const auto found = arrays_.find(id);
    return found == arrays_.end() ? nullptr : &found->second;
}

Array& Arrays::touched(JobId id) {
    touched_.insert(id);
    return arrays_.at(id);
}

// --- a batch ---------------------------------------------------------------------------------------------------------

void Arrays::begin(const broker::Batch& batch) {
    counts_.clear();
    touched_.clear();
    resubmitted_.clear();
    for (const Op& op : batch.ops()) {
        if (op.table != Table::counts || op.kind != Op::Kind::put) continue;
        const JobId id{broker::from_big_endian(batch.key(op))};
        ArrayRow& row = counts_[id];
        JOBYARD_ASSERT(read_row(batch.value(op), row));
        row.name = {};
        touched_.insert(id);
    }
}

bool Arrays::is_successor(JobId id) const {
    const auto counts = counts_.find(id);
    return counts != counts_.end() && counts->second.of;
}

void Arrays::made(JobId id, Wish& wish) {
    if (arrays_.contains(id) || !counts_.contains(id)) broken(kCounts, text(id) + " was made twice, or without counts");
    Array& array = arrays_[id];
    array.wish = &wish;
    array.counts = counts_.at(id);
    if (!array.counts.of) return;
    const Array* source = find(array.counts.of);
    if (source == nullptr || source->is_forgotten) broken(kEachOnce, text(id) + " resubmits what is forgotten");
    for (const auto& [index, state] : source->left)
        if (state != JobState::cancelled || array.counts.cancelled) array.due.insert(index);
}

void Arrays::made_job(JobId id, std::uint64_t index, JobId job) {
    if (find(id) == nullptr || find(id)->is_forgotten)
        broken(kEachOnce, text(id, index) + " was made, and not the array");
    Array& array = touched(id);
    if (array.makes_no_more) broken("P11 what was stopped makes no more", text(id, index));
    if (array.counts.at_once != 0 && array.unended >= array.counts.at_once)
        broken("P11 no more than so many at once", text(id, index));
    if (const JobId source = array.counts.of) {
        Array& from = touched(source);
        const auto was_left = from.left.find(index);
        if (was_left == from.left.end() || (was_left->second == JobState::cancelled && !array.counts.cancelled))
            broken(kEachOnce, text(id, index) + " was made, which " + text(source) + " did not leave");
        from.left.erase(was_left);
        array.due.erase(index);
        resubmitted_.insert({source, index});
    } else if (index != array.counts.first + array.jobs.size() * array.counts.step ||
               array.jobs.size() >= array.counts.count) {
        broken(kEachOnce, text(id, index) + " was made out of turn");
    }
    if (!array.jobs.emplace(index, job).second) broken(kEachOnce, text(id, index) + " was made twice");
    ++array.unended;
}

void Arrays::job_ended(JobId id, JobState state) {
    Array& array = touched(id);
    --array.unended;
    if (state == JobState::completed) ++array.completed;
    else if (state == JobState::cancelled) ++array.cancelled;
    else ++array.dead, ++array.buried;
}

void Arrays::job_redriven(JobId id) {
    Array& array = touched(id);
    --array.dead, --array.buried;
    ++array.unended;
}

void Arrays::left(std::string_view key, std::string_view bytes) {
    broker::LeftoverRow row;
    JOBYARD_ASSERT(read_row(bytes, row));
    const JobId id{broker::from_big_endian(key)};
    const std::uint64_t index = broker::from_big_endian(key.substr(8));
    Array& array = touched(id);
    const auto job = array.jobs.find(index);
    if (job == array.jobs.end() || job->second != row.job)
        broken(kCounts, text(id, index) + " is left, of another job");
    array.left[index] = row.state;
}

/// `lives`: its job was redriven.
void Arrays::left_no_more(std::string_view key, bool lives) {
    const JobId id{broker::from_big_endian(key)};
    const std::uint64_t index = broker::from_big_endian(key.substr(8));
    Array& array = touched(id);
    if (resubmitted_.erase({id, index}) == 1) return;
    const auto counts = counts_.find(id);
    const bool is_leaving = array.counts.is_leaving || (counts != counts_.end() && counts->second.is_leaving);
    if (array.left.erase(index) == 0) broken(kEachOnce, text(id, index) + " is no longer left, and was not");
    if (lives) {
        for (auto& [successor, other] : arrays_)
            if (other.counts.of == id) other.due.erase(index);
    } else if (!is_leaving && !array.is_forgotten && counts != counts_.end()) {
        broken(kEachOnce, text(id, index) + " is no longer left, for no reason");
    }
}

void Arrays::chunk(JobId id, bool put) {
    if (Array* array = find(id)) put ? ++array->chunks : --array->chunks;
}

void Arrays::end() {
    if (!resubmitted_.empty())
        broken(kEachOnce, text(resubmitted_.begin()->first, resubmitted_.begin()->second) +
                              " was made anew, and can be once more");
    for (const auto& [id, row] : counts_) {
        if (find(id) == nullptr) broken(kCounts, text(id) + " is not there and has counts");
        arrays_.at(id).counts = row;
    }
    for (const JobId id : touched_) check(id, arrays_.at(id));
}

void Arrays::check(JobId id, const Array& array) const {
    const ArrayRow& row = array.counts;
    if (array.is_forgotten) {
        if (array.unended != 0 || array.buried != 0 || !array.left.empty() || array.chunks != 0)
            broken("P11 what is forgotten is not needed, and leaves nothing behind", text(id));
        return;
    }
    std::uint64_t left_cancelled = 0;
    for (const auto& [index, state] : array.left) left_cancelled += state == JobState::cancelled ? 1 : 0;
    const auto same = [&](const char* what, std::uint64_t counted, std::uint64_t there) {
        if (counted != there)
            broken(kCounts,
                   text(id) + " counts " + what + "=" + std::to_string(counted) + " of " + std::to_string(there));
    };
    same("made", row.made, array.jobs.size());
    same("unended", row.made - row.completed - row.dead - row.cancelled_jobs, array.unended);
    same("completed", row.completed, array.completed);
    same("dead", row.dead, array.dead);
    same("cancelled", row.cancelled_jobs, array.cancelled);
    same("buried", row.buried, array.buried);
    same("left_dead", row.left_dead, array.left.size() - left_cancelled);
    same("left_cancelled", row.left_cancelled, left_cancelled);
    if ((row.ended_at != 0) != (!row.makes && array.unended == 0))
        broken(kCounts, text(id) + (row.ended_at != 0 ? " has ended too early" : " has not ended"));
    if (row.makes || array.steered) return;
    if (row.of ? !array.due.empty() : row.made != row.count)
        broken(kEachOnce, text(id) + " makes no more, and has not made all");
}

// --- what somebody was told ------------------------------------------------------------------------------------------

void Arrays::said_to_make_no_more(JobId id) {
    Array& array = arrays_.at(id);
    if (array.counts.makes) broken("P1 acknowledged means durable", text(id) + " was said to be stopped");
    array.makes_no_more = true;
}

void Arrays::resubmit_answered(JobId id, const Answer& answer, bool cancelled) const {
    const Array& array = arrays_.at(id);
    if (answer.code == Code::retired && !array.is_forgotten && !array.counts.is_leaving)
        broken("P2 every job is somewhere a person can see it", text(id) + " was asked for and is retired");
    if (answer.code == Code::unknown_job) broken("P1 acknowledged means durable", text(id) + " is unknown");
    if (answer.code != Code::ok && answer.code != Code::existing) return;
    const Array* again = find(answer.job);
    if (again == nullptr || again->counts.of != id)
        broken("P1 acknowledged means durable",
               text(id) + " was said to be resubmitted as " + text(answer.job) + ", and is not");
    if (answer.code == Code::ok && again->counts.cancelled != cancelled)
        broken("P11 a resubmit makes what it was asked to", text(answer.job));
}

void Arrays::said_to_have_ended(JobId id, JobState state) const {
    const Array& array = arrays_.at(id);
    if (array.counts.makes) broken("P1 acknowledged means durable", text(id) + " was said to have ended");
    const bool all = array.completed == array.jobs.size() && array.jobs.size() == array.counts.count;
    if (state == JobState::completed && !all) broken("P11 an array ends as its jobs do", text(id) + ": completed");
}

// --- the end ---------------------------------------------------------------------------------------------------------

bool Arrays::all_ended() const {
    for (const auto& [id, array] : arrays_)
        if (array.counts.ended_at == 0) return false;
    return true;
}

std::string Arrays::unended() const {
    std::string list;
    for (const auto& [id, array] : arrays_)
        if (array.counts.ended_at == 0) list += (list.empty() ? "" : ", ") + text(id);
    return list;
}

}  // namespace jobyard::sim
