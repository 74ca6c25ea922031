#include "outbox.hpp"

#include <algorithm>
#include <functional>

#include "jobyard/assert.hpp"
#include "jobyard/result.hpp"
#include "record.hpp"

namespace jobyard::broker {

void Outbox::post(Output& out) {
    for (Outgoing& message : out.messages) {
        if (message.rests_on <= batches_.durable()) send_or_hold(message);
        else resting_[message.rests_on % resting_.size()].push_back(std::move(message));
    }
    out.messages.clear();
}

void Outbox::on_durable() {
    std::vector<Outgoing>& messages = resting_[batches_.durable() % resting_.size()];
    for (const bool to_worker : {false, true})
        for (Outgoing& message : messages)
            if (message.to_worker == to_worker) send_or_hold(message);
    messages.clear();
}

void Outbox::on_applied() {
    const auto is_due = [this](const auto& early) { return early.second <= batches_.applied(); };
    const auto due = std::partition(early_.begin(), early_.end(), std::not_fn(is_due));
    for (auto at = due; at != early_.end(); ++at)
        if (held_.contains(at->first)) read_for(at->first);
    early_.erase(due, early_.end());
}

void Outbox::send_or_hold(Outgoing& message) {
    const PeerId peer = message.peer;
    const bool is_behind = held_.contains(peer);
    if (!is_behind && send(message)) return;
    keep(message, is_behind);
    held_[peer].messages.push_back(std::move(message));
    if (!is_behind) read_for(peer);
}

/// What is in hand now may be gone when the message's turn comes. One that is behind others can read it then, if it is
/// a job's.
void Outbox::keep(Outgoing& message, bool is_behind) const {
    for (PayloadRef& payload : message.payloads) {
        KeptBytes found;
        if (payload.kind == PayloadRef::Kind::own || (is_behind && payload.kind == PayloadRef::Kind::of_job)) continue;
        if (!batches_.find(payload, found)) continue;
        payload = {PayloadRef::Kind::own, 0, {static_cast<std::uint32_t>(message.bytes.size()), payload.slice.size}};
        message.bytes.append(found.bytes);
    }
}

/// False: a payload is not in hand, and nothing was sent.
bool Outbox::send(Outgoing& message) {
    pieces_.clear();
    for (const PayloadRef& payload : message.payloads) {
        KeptBytes bytes;
        if (payload.kind == PayloadRef::Kind::own)
            bytes = std::string_view(message.bytes).substr(payload.slice.at, payload.slice.size);
        else if (!batches_.find(payload, bytes)) return false;
        if (!bytes.bytes.empty()) pieces_.push_back(std::move(bytes));
    }
    edge_.send(message, pieces_);
    pieces_.clear();  // and what keeps them
    return true;
}

/// Has the payloads read that the first message held for the peer lacks.
void Outbox::read_for(PeerId peer) {
    Held& held = held_.at(peer);
    std::vector<Need> needs;
    for (const PayloadRef& payload : held.messages.front().payloads) {
        if (payload.kind == PayloadRef::Kind::own) continue;
        const bool of_job = payload.kind == PayloadRef::Kind::of_job;
        needs.push_back({of_job ? Need::Kind::payload : Need::Kind::result, of_job ? Table::live : Table::done,
                         job_key({payload.number}), 1});
    }
    held.read = edge_.read(peer, std::move(needs));
}

void Outbox::answered(PeerId peer, std::uint64_t read, const Snapshot& snapshot) {
    const auto held = held_.find(peer);
    // It is gone, or was (drop) and this was for what was held then.
    if (held == held_.end() || held->second.read != read) return;
    Outgoing& first = held->second.messages.front();
    // What is missing is gone, or (a job back from the dead letter queue) not in the store yet.
    auto rows = snapshot.rows.begin();
    for (const PayloadRef& payload : first.payloads) {
        if (payload.kind == PayloadRef::Kind::own) continue;
        const bool is_missing = (rows++)->empty() && payload.kind == PayloadRef::Kind::of_job;
        if (is_missing && snapshot.applied_seq < first.rests_on) {
            if (batches_.applied() >= first.rests_on) return read_for(peer);
            early_.emplace_back(peer, first.rests_on);
            return;
        }
    }
    // The rows come in the order of what was asked.
    rows = snapshot.rows.begin();
    for (PayloadRef& payload : first.payloads) {
        if (payload.kind == PayloadRef::Kind::own) continue;
        const auto at = static_cast<std::uint32_t>(first.bytes.size());
        const bool is_newer = payload.kind == PayloadRef::Kind::result_of &&
                              batches_.append_result({payload.number}, snapshot.applied_seq, first.bytes);
        const RowList& stored = *rows++;
        if (!is_newer)
            for (const RowView row : stored) first.bytes.append(row.value);
        payload = {PayloadRef::Kind::own, 0, {at, static_cast<std::uint32_t>(first.bytes.size()) - at}};
    }
    std::deque<Outgoing> messages = std::move(held->second.messages);
    held_.erase(held);
    do_without_payload(messages.front());
    JOBYARD_ASSERT(send(messages.front()));
    messages.pop_front();
    for (Outgoing& message : messages) send_or_hold(message);
}

/// A job may have ended while its payload was being read: then nobody wants it any more. A result may have been
/// retired, or gone with a redrive: whoever watches the job is told without it.
void Outbox::do_without_payload(Outgoing& message) {
    if (auto* dispatch = std::get_if<Dispatch>(&message.envelope.message)) {
        auto& items = dispatch->items;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (items[i].payload_length != message.payloads[i].slice.size) {
                edge_.payload_is_gone(items[i].job, items[i].token);
                continue;
            }
            items[kept] = items[i];
            message.payloads[kept++] = message.payloads[i];
        }
        items.resize(kept);
        message.payloads.resize(kept);
    } else if (auto* results = std::get_if<Results>(&message.envelope.message)) {
        for (std::size_t i = 0; i < results->items.size(); ++i) {
            ResultItem& item = results->items[i];
            if (item.payload_length == message.payloads[i].slice.size) continue;
            edge_.result_is_gone(message.peer, message.envelope.session, item.payload_length);
            if (item.state == JobState::completed) item.state = JobState::retired;
            item.payload_length = message.payloads[i].slice.size = 0;
        }
    }
}

}  // namespace jobyard::broker
