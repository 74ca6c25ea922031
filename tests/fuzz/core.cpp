// Any message that decodes, applied to a core in any state. The input is a list of steps: time that passes, jobs that
// come and end, crashes, and messages as bytes from peers of either kind, in their session or another.

#include "core.hpp"

#include <array>
#include <memory>

#include "../core_fixture.hpp"
#include "examples.hpp"
#include "target.hpp"

namespace jobyard::fuzz {
namespace {

using namespace broker;        // NOLINT: the yard is its
using namespace broker::test;  // NOLINT

enum Step : std::uint8_t { kSay, kSubmit, kEnd, kWait, kCrash, kHold, kHello, kArray, kSteps };
constexpr std::size_t kMostSteps = 200;
constexpr Limits kSmall{.queue_jobs = 60,
                        .jobs = 100,
                        .queues = 10,
                        .classes = 20,
                        .sessions = 20,
                        .instances = 10,
                        .keys = 20,
                        .watches = 30,
                        .kept_jobs = 10,
                        .dead_jobs = 5,
                        .events_bytes = 3000};

class Play {
 public:
    explicit Play(Input input) : input_(input), yard_(kSmall) {
        for (Actor& actor : actors_) {
            actor.peer.role = &actor < &actors_[2] ? Role::submitter : Role::worker;
            hello(actor, 0);
        }
    }

    void run() {
        for (std::size_t step = 0; step < kMostSteps && !input_.at_end(); ++step) {
            take_step();
            hear();
        }
        yard_.resume_commits();
        yard_.commit();
        yard_.crash();  // what it has written can be read
    }

 private:
    struct Actor {
        Peer peer;
        std::vector<Held> held;
    };

    void take_step() {
        const unsigned what = input_.byte();
        Actor& actor = actors_[input_.byte() % actors_.size()];
        switch (what % kSteps) {
            case kSay: say(actor); break;
            case kSubmit: submit(actor); break;
            case kEnd: end(actor); break;
            case kWait: yard_.advance(input_.number()); break;
            case kCrash:
                yard_.crash();
                for (Actor& each : actors_) hello(each, 1);
                break;
            case kHold: input_.byte() % 2 == 0 ? yard_.hold_commits() : yard_.resume_commits(); break;
            case kHello: hello(actor, input_.byte()); break;
            default: array(actor); break;
        }
    }

    /// A connection of its own, and perhaps an instance of its own.
    void hello(Actor& actor, unsigned how) {
        if (how % 2 == 0) actor.peer.instance = Yard::uuid("instance " + std::to_string(++instances_));
        actor.peer.said.resumed = how % 2 != 0;
        actor.peer.said.grant = 1U << 20U;
        actor.peer.id = {1000 + ++connections_};
        actor.peer.session = {};
        WorkerSpec spec{.name = "worker", .slots = 3, .types = {"t", "u"}};
        spec.queues = {"default", "q"};
        for (const Held& held : actor.held) spec.claims.push_back({held.job, held.token, how % 4 == 1});
        if (actor.peer.role == Role::submitter) spec.claims.clear();
        yard_.send(actor.peer, yard_.hello_of(actor.peer, spec));
    }

    /// Flags, the sizes of header and payload, and both.
    void say(Actor& actor) {
        const unsigned flags = input_.byte();
        const std::size_t header_size = input_.number();
        const std::size_t payload_size = input_.number();
        const std::string header(input_.piece(header_size));
        const std::string payload(input_.piece(payload_size));
        const auto decoded = decode_header(header, payload.size());
        const auto* envelope = std::get_if<Envelope>(&decoded);
        if (envelope == nullptr) return;
        Peer peer = actor.peer;
        if ((flags & 1U) != 0) peer.session = envelope->session;
        yard_.send(peer, envelope->message, payload);
    }

    void submit(Actor& actor) {
        const unsigned flags = input_.byte();
        SubmitItem item{.type = (flags & 1U) != 0 ? "t" : "u"};
        const std::string payload((flags & 2U) != 0 ? 2500 : flags / 16, 'p');
        item.payload_length = static_cast<std::uint32_t>(payload.size());
        if ((flags & 4U) != 0) item.queue = "q";
        item.watch = (flags & 8U) != 0;
        if ((flags & 16U) != 0) item.key = "key";
        if ((flags & 32U) != 0) item.delay_ms = flags;
        if ((flags & 64U) != 0) item.max_attempts = 1;
        if ((flags & 128U) != 0) item.deadline_ms = 1000;
        yard_.send(actor.peer, Submit{0, actor.peer.next_number++, {item}}, payload);
    }

    void array(Actor& actor) {
        SubmitArray array{0, actor.peer.next_number++, {{.type = "t", .max_attempts = 1}}, 1 + input_.byte() % 20};
        array.at_once = input_.byte() % 4;
        yard_.send(actor.peer, array);
    }

    void end(Actor& actor) {
        const unsigned how = input_.byte();
        if (actor.held.empty()) return;
        const Held held = actor.held.back();
        actor.held.pop_back();
        if (how % 3 == 0) yard_.send(actor.peer, Complete{{{0, held.job, held.token, how}}});
        else if (how % 3 == 1)
            yard_.send(actor.peer, Fail{{{0, held.job, held.token, how, Outcome::failed, how % 2 == 0, "error"}}});
        else yard_.send(actor.peer, Release{{{held.job, held.token, how}}});
    }

    /// What the peers must know to go on.
    void hear() {
        for (const Received& received : yard_.inbox) {
            for (Actor& actor : actors_) {
                if (actor.peer.id != received.peer) continue;
                if (std::holds_alternative<Welcome>(received.envelope.message))
                    actor.peer.session = received.envelope.session;
                if (const auto* dispatch = std::get_if<Dispatch>(&received.envelope.message))
                    for (const DispatchItem& item : dispatch->items)
                        actor.held.push_back({.job = item.job, .token = item.token});
            }
        }
        yard_.inbox.clear();
    }

    Input input_;
    Yard yard_;
    std::array<Actor, 4> actors_;
    unsigned instances_ = 0;
    std::uint32_t connections_ = 0;
};

std::string said(unsigned actor, const Example& example) {
    return std::string{kSay, static_cast<char>(actor), 0} + number_bytes(example.header.size()) +
           number_bytes(example.payload.size()) + example.header + example.payload;
}

}  // namespace

void run(std::string_view bytes) {
    // What the yard expects of the core must end the process, as an assertion of the core does.
    static const bool kEnds = [] {
        GTEST_FLAG_SET(break_on_failure, true);
        return true;
    }();
    static_cast<void>(kEnds);
    Play(Input(bytes)).run();
}

std::vector<std::string> seeds() {
    std::string busy;
    for (unsigned i = 0; i < 12; ++i) busy += std::string{kSubmit, static_cast<char>(i % 2), static_cast<char>(i * 21)};
    busy += std::string{kArray, 0, 7, 2};
    const std::string ends{kEnd, 2, 0, kEnd, 3, 1, kEnd, 2, 2, kWait, 0, 4, 0, kEnd, 2, 3, kEnd, 3, 6};
    const std::string crash{kHold, 0, 0, kSubmit, 0, 1, kCrash, 0, kWait, 0, 15, 0, kHold, 0, 1};
    std::vector<std::string> made{busy, busy + ends, busy + ends + crash + busy + ends};
    std::string all = busy + ends;
    for (const Example& example : protocol_examples()) {
        for (unsigned actor = 0; actor < 4; actor += 2) {
            made.push_back(busy + said(actor, example) + ends + said(actor, example));
            all += said(actor, example);
        }
    }
    made.push_back(all + crash);
    return made;
}

}  // namespace jobyard::fuzz
