#include "told.hpp"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>
#include <variant>

#include "jobyard/codec.hpp"

namespace jobyard::power_loss {
namespace {

/// One direction of a connection.
struct Stream {
    std::string bytes;
    std::vector<std::pair<std::size_t, std::size_t>> ends;  // where the bytes of a record end, and which one it was

    void add(const Record& record, std::size_t at) {
        if (record.kind == Kind::sends && record.bytes.empty()) {
            bytes.resize(bytes.size() - record.offset);  // did not fit, and is sent again
            return;
        }
        bytes.append(record.bytes);
        ends.emplace_back(bytes.size(), at);
    }
};

struct Heard {
    std::size_t at = 0;
    std::vector<std::string_view> frames;
};

/// ZMTP 3: a greeting of 64 bytes, then frames of flags, length and body (rfc.zeromq.org/spec/23).
std::vector<Heard> messages_of(const Stream& stream) {
    constexpr std::size_t kGreeting = 64;
    constexpr unsigned kMore = 1;
    constexpr unsigned kLong = 2;
    constexpr unsigned kCommand = 4;
    std::vector<Heard> messages;
    std::vector<std::string_view> frames;
    const std::string_view all = stream.bytes;
    for (std::size_t at = kGreeting; at + 2 <= all.size();) {
        const auto flags = static_cast<unsigned char>(all[at++]);
        const std::size_t width = (flags & kLong) != 0 ? 8 : 1;
        if (all.size() - at < width) break;
        std::uint64_t size = 0;
        for (std::size_t i = 0; i < width; ++i) size = size << 8U | static_cast<unsigned char>(all[at++]);
        if (all.size() - at < size) break;
        if ((flags & kCommand) == 0) frames.push_back(all.substr(at, size));
        at += size;
        if ((flags & (kCommand | kMore)) != 0) continue;
        const auto end = std::find_if(stream.ends.begin(), stream.ends.end(), [at](auto& e) { return e.first >= at; });
        if (end == stream.ends.end()) throw std::logic_error("bytes of no record");
        messages.push_back({end->second, std::move(frames)});
        frames.clear();
    }
    return messages;
}

struct Connection {
    Stream from_peer;
    Stream to_peer;
};

template <class Item>
std::string_view take(std::string_view& payloads, const Item& item) {
    const std::string_view bytes = payloads.substr(0, item.payload_length);
    payloads.remove_prefix(item.payload_length);
    return bytes;
}

class Reader {
 public:
    explicit Reader(std::vector<Fact>& facts) : facts_(facts) {}

    void read(const Connection& connection) {
        requests_.clear();
        for (const Heard& heard : messages_of(connection.from_peer)) hear(heard);
        for (const Heard& said : messages_of(connection.to_peer)) say(said);
    }

 private:
    static std::optional<Envelope> decode(const Heard& message) {
        if (message.frames.size() != 2) return std::nullopt;
        auto decoded = decode_header(message.frames[0], message.frames[1].size());
        if (auto* envelope = std::get_if<Envelope>(&decoded)) return std::move(*envelope);
        return std::nullopt;
    }

    void hear(const Heard& heard) {
        const auto envelope = decode(heard);
        if (!envelope) return;
        if (const auto* hello = std::get_if<Hello>(&envelope->message)) instance_ = hello->instance;
        if (std::holds_alternative<Goodbye>(envelope->message))
            facts_.push_back({.at = heard.at, .kind = Fact::Kind::left, .instance = instance_});
        requests_[envelope->request.value] = {*envelope, heard.frames[1]};
    }

    void say(const Heard& said) {
        const auto envelope = decode(said);
        if (!envelope) throw std::runtime_error("the broker sent what is no message");
        const auto add = [&](Fact fact) {
            fact.at = said.at;
            facts_.push_back(std::move(fact));
        };
        if (const auto* welcome = std::get_if<Welcome>(&envelope->message)) {
            add({.kind = Fact::Kind::started, .number = welcome->epoch});
        } else if (const auto* dispatch = std::get_if<Dispatch>(&envelope->message)) {
            for (const DispatchItem& item : dispatch->items) add({.job = item.job});
        } else if (const auto* results = std::get_if<Results>(&envelope->message)) {
            std::string_view payloads = said.frames[1];
            for (const ResultItem& item : results->items)
                add({.kind = Fact::Kind::ended,
                     .job = item.job,
                     .state = item.state,
                     .text = std::string(take(payloads, item))});
        } else if (const auto* answers = std::get_if<Answers>(&envelope->message)) {
            if (const auto asked = requests_.find(envelope->request.value); asked != requests_.end())
                answer(asked->second.first.message, asked->second.second, answers->items, add);
        }
    }

    template <class Add>
    void answer(const Message& asked, std::string_view payloads, const std::vector<Answer>& answers, const Add& add) {
        const auto is_ok = [](Code code) { return code == Code::ok || code == Code::existing; };
        for (std::size_t i = 0; i < answers.size(); ++i) {
            const Answer& answer = answers[i];
            if (const auto* submit = std::get_if<Submit>(&asked); submit != nullptr && is_ok(answer.code)) {
                add({.job = answer.job});
                if (answer.code == Code::ok)
                    add({.kind = Fact::Kind::window,
                         .job = answer.job,
                         .number = submit->first_number + i,
                         .instance = instance_});
            } else if (const auto* complete = std::get_if<Complete>(&asked)) {
                const std::string result(take(payloads, complete->items.at(i)));
                if (is_ok(answer.code))
                    add({.kind = Fact::Kind::ended,
                         .job = complete->items[i].job,
                         .state = JobState::completed,
                         .text = result});
            } else if (const auto* fail = std::get_if<Fail>(&asked); fail != nullptr && is_ok(answer.code)) {
                add({.kind = Fact::Kind::tried, .job = fail->items.at(i).job, .number = fail->items[i].token.value});
            } else if (const auto* cancel = std::get_if<Cancel>(&asked); cancel != nullptr && is_ok(answer.code)) {
                if (answer.state == JobState::cancelled)
                    add({.kind = Fact::Kind::ended, .job = cancel->jobs.at(i), .state = answer.state});
            } else if (const auto* set = std::get_if<SetQueue>(&asked); set != nullptr && is_ok(answer.code)) {
                if (set->paused.value_or(false)) add({.kind = Fact::Kind::paused, .text = std::string(set->queue)});
            }
        }
    }

    std::vector<Fact>& facts_;
    std::map<std::uint64_t, std::pair<Envelope, std::string_view>> requests_;
    Uuid instance_;
};

}  // namespace

std::vector<Fact> read_told(const std::vector<Record>& trace) {
    std::vector<Fact> facts;
    Reader reader(facts);
    std::unordered_map<std::uint64_t, Connection> open;
    const auto end = [&](std::uint64_t id) {
        if (const auto found = open.find(id); found != open.end()) reader.read(found->second);
        open.erase(id);
    };
    for (std::size_t at = 0; at < trace.size(); ++at) {
        const Record& record = trace[at];
        if (record.kind == Kind::sends) open[record.id].to_peer.add(record, at);
        else if (record.kind == Kind::received) open[record.id].from_peer.add(record, at);
        else if (record.kind == Kind::hung_up) end(record.id);
    }
    while (!open.empty()) end(open.begin()->first);
    std::stable_sort(facts.begin(), facts.end(), [](const Fact& a, const Fact& b) { return a.at < b.at; });
    return facts;
}

void Told::add(const Fact& fact) {
    switch (fact.kind) {
        case Fact::Kind::exists: jobs[fact.job]; break;
        case Fact::Kind::ended: {
            Job& job = jobs[fact.job];
            job.ended = fact.state;
            if (fact.text) job.result = fact.text;
            break;
        }
        case Fact::Kind::tried: jobs[fact.job].tried.insert(fact.number); break;
        case Fact::Kind::window:
            jobs[fact.job];
            windows[{std::string(fact.instance.view()), fact.number}] = fact.job;
            break;
        case Fact::Kind::left: left.emplace(fact.instance.view()); break;
        case Fact::Kind::paused: paused.insert(*fact.text); break;
        case Fact::Kind::started: epoch = std::max(epoch, fact.number); break;
    }
}

}  // namespace jobyard::power_loss
