// The event stream: what happened is noted as it happens, written with the batch that made it true, read back in pages,
// and told at once to those who follow.

#include <algorithm>
#include <unordered_map>

#include "core.hpp"
#include "job_map.hpp"
#include "jobyard/assert.hpp"
#include "simulated.hpp"

namespace jobyard::broker {
namespace {

// Looked at for a page, of which a row may have some two thousand events in a row.
constexpr std::uint32_t kEventRows = 64;
constexpr std::size_t kEventRowsBytes = std::size_t{32} << 10;
constexpr std::size_t kEventBytes = std::size_t{1} << 20;
constexpr std::uint32_t kMostEvents = 65'536;
constexpr std::size_t kTextBytes = 200;
constexpr std::int64_t kLongestWaitMs = 30'000;
constexpr std::size_t kFollowersPerSession = 16;
constexpr std::size_t kFollowers = 1024;

std::string_view beginning(std::string_view text, std::size_t most) {
    if (text.size() <= most) return text;
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0U) == 0x80) --most;  // not inside a character
    return text.substr(0, most);
}

}  // namespace

// --- noting ----------------------------------------------------------------------------------------------------------

void Core::record(EventKind kind, JobId job, ClassId class_id, std::string_view worker, std::string_view text) {
    if (planted(PlantedBug::dropped_event) && kind == EventKind::cancelled) return;
    std::uint32_t note = 0;
    if (!text.empty()) note = note_of({{}, {}, {}, beginning(text, kTextBytes)});
    touched_ = true;
    ++numbers_.next_event;
    if (!events_.empty()) {
        Event& last = events_.back();
        if (last.kind == kind && last.job.value + last.count == job.value && last.note == note &&
            last.worker == worker && take_on(last, class_id)) {
            ++last.count;
            return;
        }
    }
    events_.push_back({kind, class_id, note, job, 1, worker});
}

/// Takes the class of the next job into the same event, if that may be of one job more. One class many times needs no
/// list.
bool Core::take_on(Event& last, ClassId class_id) {
    if (!last.mixed && last.class_id == class_id) return true;
    if (last.class_id == kNoClass || (!last.mixed && last.count > 1)) return false;
    if (!last.mixed) {
        last.mixed = true;
        last.classes = event_classes_.size();
        event_classes_.push_back(last.class_id);
    } else if (event_classes_.back() == class_id) {
        return false;
    }
    event_classes_.push_back(class_id);
    return true;
}

void Core::record_about(EventKind kind, const EventsRow::Subject& subject, JobId job) {
    touched_ = true;
    ++numbers_.next_event;
    events_.push_back({kind, kNoClass, note_of(subject), job, 1, {}});
}

/// Keeps the words of what has no class, or is told with a text, until they are written.
std::uint32_t Core::note_of(const EventsRow::Subject& s) {
    const auto same = [&](const Note& note) {
        return note.queue == s.queue && note.type == s.type && note.worker == s.worker && note.text == s.text;
    };
    // Failures of one cause come together.
    if (notes_.empty() || !same(notes_.back()))
        notes_.push_back({std::string(s.queue), std::string(s.type), std::string(s.worker), std::string(s.text)});
    return static_cast<std::uint32_t>(notes_.size());
}

/// Jobs of the event from the one at `from` on, as many as the row has room for. Returns how many.
std::uint64_t Core::pack(const Event& event, std::uint64_t from, Output& out) {
    EventsRow::Subject subject;
    if (event.note != 0) {
        const Note& note = notes_[event.note - 1];
        subject = {note.queue, note.type, note.worker, note.text};
    }
    if (!event.worker.empty()) subject.worker = event.worker;
    const JobId job{event.job.value + from};
    if (!event.mixed) {
        const std::uint32_t number = event.class_id == kNoClass ? 0 : class_number(event.class_id, out);
        return event_packer_.add(event.kind, job, event.count, number, subject) ? event.count : 0;
    }
    const ClassId* class_id = &event_classes_[event.classes + from];
    if (!event_packer_.add(event.kind, job, 1, class_number(*class_id, out), subject)) return 0;
    std::uint64_t packed = 1;
    while (from + packed < event.count && event_packer_.add_next(class_number(class_id[packed], out))) ++packed;
    return packed;
}

/// By which rows of events name it in this epoch. Its row is written with the first of them.
std::uint32_t Core::class_number(ClassId id, Output& out) {
    if (id >= class_numbers_.size()) class_numbers_.resize(ready_.classes());
    std::uint32_t& number = class_numbers_[id];
    if (number != 0) return number;
    told_classes_.push_back(id);
    number = static_cast<std::uint32_t>(told_classes_.size());
    const auto& info = ready_.info(id);
    const Slice key = out.batch->append(class_key(config_.epoch, number));
    const Slice value = append_row(*out.batch, ClassRow{info.queue_name, info.type_name});
    out.batch->put(Table::classes, key, value);
    numbers_.event_bytes += value.size;
    return number;
}

/// Many runs to a row, under the number of the first event.
void Core::write_events(Turn turn, Output& out) {
    std::uint64_t number = newest_event_ + 1;
    std::uint64_t from = 0;  // how many jobs of the event at `at` are written
    for (std::size_t at = 0; at < events_.size();) {
        const std::string key = big_endian(number);
        event_packer_.begin(turn.wall, config_.epoch);
        while (at < events_.size()) {
            const std::uint64_t packed = pack(events_[at], from, out);
            number += packed;
            from += packed;
            if (from < events_[at].count) break;
            from = 0;
            ++at;
        }
        const Slice row_key = out.batch->append(key);
        const Slice value = append_row(*out.batch, event_packer_.row());
        numbers_.event_bytes += value.size;
        out.batch->put(Table::events, row_key, value);
        if (!followers_.empty()) fresh_events_.emplace_back(key, out.batch->view(value));
    }
    newest_event_ = number - 1;
    JOBYARD_ASSERT(newest_event_ + 1 == numbers_.next_event);
    events_.clear();
    event_classes_.clear();
    notes_.clear();
    left_sessions_.clear();
}

// --- reading ---------------------------------------------------------------------------------------------------------

/// What the numbers of classes in rows of events mean: those of this epoch are in memory, others in `found`.
class Core::ClassNames {
 public:
    ClassNames(const Core& core, const Found* found) : core_(core), found_(found) {}

    /// Whether those that the row names were asked for.
    [[nodiscard]] bool cover(const EventsRow& row) const {
        const auto [least, most] = class_range(row);
        return most == 0 || row.epoch == core_.config_.epoch ||
               (found_ != nullptr && found_->is_in_page(Table::classes, class_key(row.epoch, least)) &&
                found_->is_in_page(Table::classes, class_key(row.epoch, most)));
    }
    /// Without queue and type, although it has a class: what says them is damaged.
    [[nodiscard]] EventsRow::Subject subject_of(const EventsRow& row, const EventsRow::Entry& entry) {
        EventsRow::Subject subject = row.subject_of(entry);
        if (entry.class_number == 0) return subject;
        const ClassRow names = row.epoch == core_.config_.epoch ? of_this_epoch(entry.class_number)
                                                                : of_earlier(row.epoch, entry.class_number);
        subject.queue = names.queue;
        subject.type = names.type;
        return subject;
    }
    /// The least and the greatest number; 0 and 0: it has none.
    [[nodiscard]] static std::pair<std::uint32_t, std::uint32_t> class_range(const EventsRow& row) {
        std::pair<std::uint32_t, std::uint32_t> range{UINT32_MAX, 0};
        for (const EventsRow::Entry& entry : row.events) {
            if (entry.class_number == 0) continue;
            range = {std::min(range.first, entry.class_number), std::max(range.second, entry.class_number)};
        }
        return range.second == 0 ? std::pair(0U, 0U) : range;
    }

 private:
    [[nodiscard]] ClassRow of_this_epoch(std::uint32_t number) const {
        if (number > core_.told_classes_.size()) return {};
        const auto& info = core_.ready_.info(core_.told_classes_[number - 1]);
        return {info.queue_name, info.type_name};
    }
    [[nodiscard]] ClassRow of_earlier(std::uint32_t epoch, std::uint32_t number) {
        const auto [at, is_new] = earlier_.try_emplace(std::uint64_t{epoch} << 32U | number);
        if (is_new) {
            const auto bytes = found_->get(Table::classes, class_key(epoch, number));
            if (!bytes || !read_row(*bytes, at->second)) at->second = {};
        }
        return at->second;
    }
    const Core& core_;
    const Found* found_;
    std::unordered_map<std::uint64_t, ClassRow> earlier_;  // that were looked up, by epoch and number
};

bool Core::EventFilter::lets_through(const EventsRow::Entry& entry, const EventsRow::Subject& about) const {
    const bool is_unknown = entry.class_number != 0 && about.queue.empty();  // better told too much than not at all
    return (is_unknown || ((queue.empty() || queue == about.queue) && (type.empty() || type == about.type))) &&
           (!job || (entry.job <= job && job.value - entry.job.value < entry.count)) &&
           (kinds.empty() || std::find(kinds.begin(), kinds.end(), static_cast<EventKind>(entry.kind)) != kinds.end());
}

/// Takes what is wanted of a row. False: the page is full, or what comes before the row is not there, or its names.
bool Core::EventPage::take(RowView bytes, const EventFilter& filter, ClassNames& names) {
    EventsRow row;
    if (!read_row(bytes.value, row)) return true;  // damaged: a gap, which the next row finds
    if (!names.cover(row)) return false;
    std::uint64_t number = from_big_endian(bytes.key);
    if (number > events.last + 1) {
        if (events.last != asked_after || !events.items.empty()) return false;  // the next page begins with that
        events.gone = events.last = number - 1;
    }
    for (const EventsRow::Entry& entry : row.events) {
        const std::uint64_t first = number;
        number += entry.count;
        if (number <= events.last + 1) continue;  // seen
        std::uint64_t skip = events.last + 1 - first;
        const EventsRow::Subject about = names.subject_of(row, entry);
        if (!filter.lets_through(entry, about)) {
            events.last = number - 1;
            continue;
        }
        if (left == 0 || events.items.size() == kMaxItems || message.bytes.size() > kEventBytes) return false;
        std::uint64_t count = entry.count - skip;
        if (filter.job) {
            const std::uint64_t place = filter.job.value - entry.job.value;
            if (place < skip) {
                events.last = number - 1;
                continue;
            }
            skip = place;
            count = 1;
        }
        const bool cut = count > left;
        count = std::min<std::uint64_t>(count, left);
        left -= static_cast<std::uint32_t>(count);
        append(row.wall, entry, about, first + skip, skip, count);
        events.last = cut ? first + skip + count - 1 : number - 1;
        if (cut) return false;
    }
    return true;
}

void Core::EventPage::append(std::int64_t wall, const EventsRow::Entry& entry, const EventsRow::Subject& about,
                             std::uint64_t number, std::uint64_t skip, std::uint64_t count) {
    const std::size_t at = message.bytes.size();
    MapWriter map;
    map.uint("event", number);
    map.integer("at", wall);
    map.text("kind", to_string(static_cast<EventKind>(entry.kind)));
    if (entry.job) map.uint("job", entry.job.value + skip);
    if (count > 1) map.uint("count", count);
    const auto word = [&](const char* key, std::string_view value) {
        if (!value.empty()) map.text(key, value);
    };
    word("queue", about.queue);
    word("type", about.type);
    word("worker", about.worker);
    word("text", about.text);
    map.append_to(message.bytes);
    const Slice slice{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(message.bytes.size() - at)};
    events.items.push_back({slice.size});
    message.payloads.push_back({PayloadRef::Kind::own, 0, slice});
}

void Core::needs_of(const ReadEvents& read, std::vector<Need>& needs) const {
    if (read.after < newest_event_)
        needs.push_back({Need::Kind::from, Table::events, big_endian(read.after + 1), kEventRows});
}

/// The names of classes of earlier epochs.
void Core::needs_besides(const ReadEvents& read, const Found& found, std::vector<Need>& needs) const {
    if (read.after >= newest_event_) return;
    bool more = false;
    std::map<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>> ranges;  // by epoch
    std::size_t looked_at = 0;
    for (const RowView& bytes : found.after(Table::events, big_endian(read.after + 1), more)) {
        if (looked_at >= kEventRowsBytes) break;
        looked_at += bytes.value.size();
        EventsRow row;
        if (!read_row(bytes.value, row)) continue;
        if (row.epoch == config_.epoch) break;
        const auto [least, most] = ClassNames::class_range(row);
        if (most == 0) continue;
        auto& range = ranges.try_emplace(row.epoch, least, most).first->second;
        range = {std::min(range.first, least), std::max(range.second, most)};
    }
    for (const auto& [epoch, range] : ranges)
        needs.push_back(
            {Need::Kind::after, Table::classes, class_key(epoch, range.first - 1), range.second - range.first + 1});
}

void Core::on_read_events(Session& session, RequestId request, const ReadEvents& read, const Found& found, Turn turn,
                          Output& out) {
    if (read.after != kFromNow && read.after > newest_event_)
        return refuse(session.peer, session.id, request, Code::bad_field,
                      "the newest event is " + std::to_string(newest_event_) +
                          ": this broker's data is older than what was read before, or another broker's; read again "
                          "from what it has",
                      "after", out);
    EventPage page;
    page.left = std::clamp<std::uint32_t>(read.limit, 1, kMostEvents);
    page.asked_after = page.events.last = read.after == kFromNow ? newest_event_ : read.after;
    const EventFilter filter{std::string(read.queue), std::string(read.type), read.job, read.kinds};
    ClassNames names(*this, &found);
    if (read.after < newest_event_) {
        bool more = false;
        const std::vector<RowView> rows = found.after(Table::events, big_endian(read.after + 1), more);
        bool whole = true;
        std::size_t looked_at = 0;
        std::string_view last;
        for (const RowView& row : rows) {
            if (looked_at >= kEventRowsBytes) {
                more = true;
                break;
            }
            if (!(whole = page.take(row, filter, names))) break;
            looked_at += row.value.size();
            last = row.key;
        }
        // Nothing of it is there, or can be read. But where all rows of the page are being removed, and there are more
        // behind them, it is not known yet where to go on: it is asked again.
        const bool is_unknown = more && rows.empty();
        if (whole && page.events.last == page.asked_after && !is_unknown)
            page.events.gone = page.events.last = more ? from_big_endian(last) : newest_event_;
    }
    const bool at_end = page.events.last == newest_event_;
    const bool waits =
        read.wait_ms > 0 && read.after != kFromNow && at_end && page.events.items.empty() && page.events.gone == 0;
    if (!waits) return answer_events(session, request, page, out);
    if (session.followers == kFollowersPerSession || followers_.size() == kFollowers)
        return refuse(session.peer, session.id, request, Code::busy,
                      "as many questions for events wait already as may: 16 of a session, 1024 in all", "wait_ms", out,
                      1000);
    ++session.followers;
    followers_.emplace(turn.now + std::min<std::int64_t>(read.wait_ms, kLongestWaitMs),
                       Follower{session.index, request, page.events.last, page.left, filter});
}

void Core::answer_events(const Session& session, RequestId request, EventPage& page, Output& out) {
    page.events.more = page.events.last < newest_event_;
    page.message.rests_on = rests_on(out);
    page.message.envelope = {{}, request, std::move(page.events)};
    address(page.message, session);
    out.messages.push_back(std::move(page.message));
}

// --- following -------------------------------------------------------------------------------------------------------

/// Who waits has seen everything before the batch that was sealed last; its events are in hand.
void Core::tell_followers(Output& out) {
    if (fresh_events_.empty()) return;
    ClassNames names(*this, nullptr);
    for (auto at = followers_.begin(); at != followers_.end();) {
        Follower& follower = at->second;
        EventPage page;
        page.left = follower.limit;
        page.asked_after = page.events.last = follower.after;
        for (const auto& [key, value] : fresh_events_)
            if (!page.take({key, value}, follower.filter, names)) break;
        follower.after = page.events.last;
        if (page.events.items.empty()) {
            ++at;
            continue;
        }
        Session& session = *sessions_.at(follower.session);
        --session.followers;
        answer_events(session, follower.request, page, out);
        at = followers_.erase(at);
    }
    fresh_events_.clear();
}

/// Those that have waited as long as they wanted to.
void Core::expire_followers(Turn turn, Output& out) {
    while (!followers_.empty() && followers_.begin()->first <= turn.now) {
        const Follower follower = std::move(followers_.begin()->second);
        followers_.erase(followers_.begin());
        Session& session = *sessions_.at(follower.session);
        --session.followers;
        EventPage page;
        page.events.last = follower.after;
        answer_events(session, follower.request, page, out);
    }
}

void Core::forget_followers(const Session& session) {
    if (session.followers > 0)
        std::erase_if(followers_, [&](const auto& entry) { return entry.second.session == session.index; });
}

}  // namespace jobyard::broker
