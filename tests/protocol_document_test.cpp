// PROTOCOL.md is the contract: its worked examples and tables are read from the document itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "jobyard/codec.hpp"
#include "jobyard/limits.hpp"

namespace jobyard {
namespace {

std::string document() {
    std::ifstream file(JOBYARD_SOURCE_DIR "/protocol/PROTOCOL.md");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string section(const std::string& text, const std::string& heading) {
    const std::size_t at = text.find("\n## " + heading);
    EXPECT_NE(at, std::string::npos) << heading;
    return text.substr(at, text.find("\n## ", at + 1) - at);
}

struct Example {
    std::string header;
    std::string payload;
    std::string means;
};

std::string from_hex(const std::string& text) {
    std::istringstream words(text);
    std::string bytes;
    for (std::string word; words >> word;) bytes.push_back(static_cast<char>(std::stoi(word, nullptr, 16)));
    return bytes;
}

std::vector<Example> examples() {
    std::vector<Example> found;
    std::istringstream lines(section(document(), "11. Worked examples"));
    std::map<std::string, std::string> fields;
    std::string field;
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
        if (line == "```") {
            if (inside) found.push_back({from_hex(fields["header"]), from_hex(fields["payload"]), fields["means"]});
            inside = !inside;
            fields.clear();
            continue;
        }
        if (!inside) continue;
        const std::size_t colon = line.find(':');
        if (line[0] != ' ') {
            field = line.substr(0, colon);
            line = line.substr(line.find_first_not_of(' ', colon + 1));
        }
        fields[field] += line;
    }
    return found;
}

/// A value in the words of the document, as another implementation of MessagePack reads it.
std::string words(const nlohmann::ordered_json& value) {
    if (value.is_null()) return "nil";
    if (value.is_binary()) {
        std::string hex = "bin(";
        for (const std::uint8_t byte : value.get_binary()) {
            constexpr char kDigits[] = "0123456789abcdef";
            hex += {kDigits[byte >> 4U], kDigits[byte & 15U]};
        }
        return hex + ")";
    }
    std::string text;
    if (value.is_array()) {
        for (const auto& item : value) text += (text.empty() ? "" : ", ") + words(item);
        return "[" + text + "]";
    }
    if (value.is_object()) {
        for (const auto& [key, item] : value.items())
            text += (text.empty() ? "" : ", ") + ('"' + key + "\": ") + words(item);
        return "{" + text + "}";
    }
    return value.dump();
}

TEST(ProtocolDocument, EveryExampleMeansWhatItSays) {
    const std::vector<Example> all = examples();
    ASSERT_GE(all.size(), 34U) << "examples were lost from PROTOCOL.md";
    for (const Example& example : all) {
        const std::string& bytes = example.header.empty() ? example.payload : example.header;
        EXPECT_EQ(words(nlohmann::ordered_json::from_msgpack(bytes)), example.means);
    }
}

TEST(ProtocolDocument, EveryExampleIsDecodedAndEncodedToTheSameBytes) {
    std::size_t messages = 0;
    for (const Example& example : examples()) {
        if (example.header.empty()) continue;
        ++messages;
        auto decoded = decode_header(example.header, example.payload.size());
        ASSERT_TRUE(std::holds_alternative<Envelope>(decoded))
            << example.means << ": " << std::get<DecodeError>(decoded).text;
        std::string again;
        encode_header(std::get<Envelope>(decoded), again);
        EXPECT_EQ(again, example.header) << example.means;
    }
    EXPECT_GE(messages, 33U);
}

TEST(ProtocolDocument, ListsEveryCodeOfTheWireWithItsWord) {
    const std::string text = section(document(), "8. Codes");
    const auto lists = [&](int code) {
        EXPECT_NE(text.find("| " + std::to_string(code) + " | " + to_string(static_cast<Code>(code)) + " |"),
                  std::string::npos)
            << code;
    };
    for (int code = 0; code <= static_cast<int>(Code::not_allowed); ++code) lists(code);
    for (const Code code : {Code::unknown_worker, Code::not_waiting, Code::unknown_queue, Code::unknown_task})
        lists(static_cast<int>(code));
}

TEST(ProtocolDocument, ListsEveryKindOfEventWithItsNumber) {
    std::string text = document();
    std::replace(text.begin(), text.end(), '\n', ' ');  // a line may end between the two
    for (int number = 1; number < UINT8_MAX; ++number) {
        const std::string word = to_string(static_cast<EventKind>(number));
        if (event_kind_from(word) == EventKind::none) continue;
        EXPECT_EQ(static_cast<int>(event_kind_from(word)), number);
        EXPECT_NE(text.find(" " + std::to_string(number) + " " + word), std::string::npos) << number << " " << word;
    }
    EXPECT_EQ(event_kind_from("unknown_event"), EventKind::none);
}

TEST(ProtocolDocument, ListsEveryMessageWithItsNumber) {
    const std::string text = document();
    const auto listed = [&]<std::size_t... I>(std::index_sequence<I...>) {
        const Message all[] = {Message(std::in_place_index<I>)...};
        for (const Message& message : all)
            EXPECT_NE(text.find("| " + std::to_string(message_type(message)) + " | " + message_name(message) + " |"),
                      std::string::npos)
                << message_name(message);
    };
    listed(std::make_index_sequence<std::variant_size_v<Message>>{});
}

TEST(ProtocolDocument, GivesTheLimitsOfTheCode) {
    const std::string text = section(document(), "9. Limits");
    const auto row = [&](const std::string& what, const std::string& limit) {
        EXPECT_NE(text.find("| " + what + " | " + limit + " |"), std::string::npos) << what;
    };
    static_assert(kMaxHeaderBytes == 64 << 10 && kMaxMessageBytes == 2 << 20 && kMaxItems == 1024);
    row("header frame", "64 KiB");
    row("message (both frames)", "2 MiB");
    row("items in a list", "1,024");
    static_assert(kMaxPayloadBytes == 256 << 10 && kMaxResultBytes == 384 << 10);
    row("payload † `payload_bytes`", "256 KiB");
    row("result † `result_bytes`", "384 KiB");
    static_assert(kMaxNameBytes == 255 && kMaxErrorBytes == 512 && kMaxTailBytes == 1024 &&
                  kMaxProgressTextBytes == 255);
    row("error text, tail of an attempt", "512 bytes, 1 KiB");
    static_assert(kPriorityMin == 1 && kPriorityMax == 10 && kMaxAttemptsLimit == 1000);
    row("priority", "1 to 10");
    row("max_attempts", "1 to 1,000");
    static_assert(kMaxDelayMs == 366ULL * 24 * 3600 * 1000 && kMaxTimeoutMs == 30U * 24 * 3600 * 1000);
    row("delay_ms", "366 days");
    row("timeout_ms", "30 days");
    static_assert(kSubmitWindow == 8192 && kMaxCredit == 1024 && kMaxWaitingMessages == 64);
    row("unconfirmed submits of an instance", "8,192 above `confirmed`");
    row("jobs a worker holds", "1,024");
    static_assert(kMaxArrayJobs == 100'000'000 && kMaxArrayIndex == (1ULL << 53) - 1);
    row("jobs of an array", "1 to 100,000,000");
    row("an index", "2^53 − 1");
    row("messages of a session that wait for the disk", "64");
}

}  // namespace
}  // namespace jobyard
