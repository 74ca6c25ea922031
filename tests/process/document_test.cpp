// PROTOCOL.md's own worked examples, byte for byte, sent to a real broker. Only what a broker chooses by chance or by
// its history is put in their place: session numbers and, where an end is to count, the lease's token.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "harness.hpp"
#include "raw_peer.hpp"
#include "wire.hpp"

namespace jobyard::test {
namespace {

struct Example {
    std::string title;
    std::string header;
    std::string payload;
};

std::string from_hex(const std::string& text) {
    std::string bytes;
    std::istringstream pairs(text);
    for (std::string pair; pairs >> pair;) bytes.push_back(static_cast<char>(std::stoi(pair, nullptr, 16)));
    return bytes;
}

/// The fenced blocks of the last section: the line before each is its title.
std::vector<Example> examples() {
    std::vector<Example> found;
    const std::vector<std::string> lines = lines_of(read_file(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md"));
    std::string title;
    std::string* part = nullptr;
    bool inside = false;
    std::string header;
    std::string payload;
    for (const std::string& line : lines) {
        if (line.starts_with("```")) {
            if (inside && (!header.empty() || !payload.empty()))
                found.push_back({title, from_hex(header), from_hex(payload)});
            inside = !inside;
            header.clear();
            payload.clear();
            part = nullptr;
        } else if (!inside) {
            if (!line.empty()) title = line;
        } else if (line.starts_with("header:")) {
            (*(part = &header)) = line.substr(7);
        } else if (line.starts_with("payload:")) {
            (*(part = &payload)) = line.substr(8);
        } else if (line.starts_with("means:")) {
            part = nullptr;
        } else if (part != nullptr) {
            *part += " " + line;
        }
    }
    return found;
}

Example example(const std::string& title) {
    for (const Example& candidate : examples())
        if (candidate.title.starts_with(title)) return candidate;
    ADD_FAILURE() << "PROTOCOL.md has no example titled " << title;
    return {};
}

std::string encoded(std::uint64_t number) {
    std::string bytes;
    wire::Writer(bytes).uint(number);
    return bytes;
}

std::size_t size_of_uint(char first) {
    switch (static_cast<unsigned char>(first)) {
        case 0xcc: return 2;
        case 0xcd: return 3;
        case 0xce: return 5;
        case 0xcf: return 9;
        default: return 1;
    }
}

/// The third field of a header is the session.
std::string in_session(std::string header, SessionId session) {
    const std::size_t at = (static_cast<unsigned char>(header.at(0)) == 0xdc ? 3U : 1U) + 2;
    return header.replace(at, size_of_uint(header.at(at)), encoded(session.value));
}

std::string with_token(std::string header, std::uint64_t documented, LeaseToken token) {
    const std::size_t at = header.find(encoded(documented));
    if (at == std::string::npos) ADD_FAILURE() << "the example has no such token";
    return at == std::string::npos ? header : header.replace(at, encoded(documented).size(), encoded(token.value));
}

constexpr std::uint64_t kDocumentedToken = 52776558133255;  // of epoch 3, the 7th

TEST(ProtocolDocument, ItsExamplesAreAConversationThatARealBrokerHolds) {
    BrokerProcess broker;
    Client client(client_options(broker.endpoint()));
    for (int i = 1; i <= 40; ++i)
        ASSERT_EQ(client.submit({.type = "nobody"}).id().value().value, static_cast<std::uint64_t>(i));

    // The submitter.
    RawPeer submitter(broker.endpoint());
    const auto say = [&](const std::string& title) {
        const Example it = example(title);
        EXPECT_TRUE(submitter.send_frames({in_session(it.header, submitter.session()), it.payload}));
    };
    const auto ask = [&](const std::string& title) {
        say(title);
        const auto received = submitter.receive();
        EXPECT_TRUE(received) << title;
        return *received;
    };
    const auto welcomed = ask("HELLO of a new submitter");
    ASSERT_TRUE(std::holds_alternative<Welcome>(welcomed.envelope.message));
    EXPECT_EQ(std::get<Welcome>(welcomed.envelope.message).instance, InstanceState::fresh);
    EXPECT_EQ(welcomed.envelope.request.value, 1U);
    submitter.set_session(welcomed.envelope.session);
    {
        const auto received = ask("SUBMIT of two jobs");
        EXPECT_EQ(received.envelope.request.value, 2U);
        const auto& answers = std::get<Answers>(received.envelope.message);
        ASSERT_EQ(answers.items.size(), 2U);
        EXPECT_EQ(answers.items[0].code, Code::ok);
        EXPECT_EQ(answers.items[0].job.value, 41U);
        EXPECT_EQ(answers.items[0].state, JobState::queued);
        EXPECT_EQ(answers.items[1].job.value, 42U);
    }
    const JobInfo mail = client.show({42}).value();
    EXPECT_EQ(mail.queue, "mail");
    EXPECT_EQ(mail.type, "send");
    EXPECT_EQ(mail.priority, 8U);
    EXPECT_EQ(mail.key, "invoice-17");
    const Answer watched = answer_in(ask("WATCH:"));
    EXPECT_EQ(watched.code, Code::ok);
    EXPECT_EQ(watched.job.value, 41U);
    say("GRANT: two MiB");
    say("HEARTBEAT:");

    // The worker. It comes back to another store, so what it claims is not its own.
    RawPeer worker(broker.endpoint());
    const auto work = [&](const std::string& title) {
        const Example it = example(title);
        EXPECT_TRUE(worker.send_frames({in_session(it.header, worker.session()), it.payload}));
    };
    work("HELLO of a worker that comes back");
    {
        const auto received = worker.receive();
        ASSERT_TRUE(received);
        ASSERT_TRUE(std::holds_alternative<Welcome>(received->envelope.message));
        EXPECT_EQ(std::get<Welcome>(received->envelope.message).claims, std::vector<Code>{Code::stale_lease});
        worker.set_session(received->envelope.session);
    }
    LeaseToken token;
    {
        const auto received = worker.receive_a<Dispatch>();
        ASSERT_TRUE(received);
        const auto& item = std::get<Dispatch>(received->envelope.message).items.at(0);
        EXPECT_EQ(item.job.value, 41U);
        EXPECT_EQ(item.attempt, 1U);
        EXPECT_EQ(item.type, "echo");
        EXPECT_EQ(received->payload, "hello");
        token = item.token;
    }
    work("STARTED:");
    for (const std::string title : {"RENEW:", "COMPLETE with a result", "FAIL, worth another attempt", "RELEASE:"}) {
        work(title);
        const auto received = worker.receive_a<Answers>();
        ASSERT_TRUE(received) << title;
        EXPECT_EQ(answer_in(*received).code, Code::stale_lease) << title;
        EXPECT_EQ(answer_in(*received).job.value, 41U) << title;
    }
    const Example complete = example("COMPLETE with a result");
    ASSERT_TRUE(worker.send_frames(
        {with_token(in_session(complete.header, worker.session()), kDocumentedToken, token), complete.payload}));
    {
        const auto received = worker.receive_a<Answers>();
        ASSERT_TRUE(received);
        EXPECT_EQ(answer_in(*received).code, Code::ok);
    }

    // The submitter again: the result comes unasked.
    {
        const auto received = submitter.receive_a<Results>();
        ASSERT_TRUE(received);
        const auto& item = std::get<Results>(received->envelope.message).items.at(0);
        EXPECT_EQ(item.job.value, 41U);
        EXPECT_EQ(item.state, JobState::completed);
        EXPECT_EQ(item.attempt, 1U);
        EXPECT_EQ(received->payload, "hi");
    }
    const Answer cancelled = answer_in(ask("CANCEL:"));
    EXPECT_EQ(cancelled.code, Code::ended);
    EXPECT_EQ(cancelled.state, JobState::completed);
    {
        const auto received = ask("LIST of the dead jobs");
        const auto& jobs = std::get<Jobs>(received.envelope.message);
        EXPECT_TRUE(jobs.items.empty());
        EXPECT_EQ(jobs.next_cursor, 0U);
    }
    EXPECT_TRUE(std::holds_alternative<Stats>(ask("ASK_STATS:").envelope.message));
    say("GOODBYE of the submitter");
    EXPECT_EQ(refusal_in(ask("ASK_STATS:")).code, Code::no_session);
}

TEST(ProtocolDocument, ItsCommandRuns) {
    BrokerProcess broker;
    auto worker = start_command_worker(broker.endpoint());
    Client client(client_options(broker.endpoint()));
    const Result<JobResult> result =
        client.run({.type = "command", .payload = example("The payload of a command").payload}, kPatience);
    ASSERT_TRUE(result) << result.error().text;
    EXPECT_EQ(result->state, JobState::completed);
    const auto output = nlohmann::json::from_msgpack(result->bytes)["stdout"].get_binary();
    EXPECT_EQ(std::string(output.begin(), output.end()), "1\n");
}

}  // namespace
}  // namespace jobyard::test
