// The wire decoder: the payload's size, and a header.

#include "examples.hpp"
#include "jobyard/codec.hpp"
#include "target.hpp"

namespace jobyard::fuzz {

void run(std::string_view bytes) {
    Input input(bytes);
    const std::size_t payload = input.number();
    const auto decoded = decode_header(input.rest(), payload);
    const auto* envelope = std::get_if<Envelope>(&decoded);
    if (envelope == nullptr) {
        must(std::get<DecodeError>(decoded).code != Code::ok, "a refusal has a code");
        return;
    }
    must(message_name(envelope->message) != nullptr && minor_of(envelope->message) <= protocol_minor(),
         "what is read is of this minor version");
    // Written as none; it is the core that refuses it.
    if (const auto* hello = std::get_if<Hello>(&envelope->message); hello != nullptr && hello->instance.is_nil())
        return;
    std::string again;
    encode_header(*envelope, again);
    const auto second = decode_header(again, payload);
    must(std::holds_alternative<Envelope>(second), "what was read can be written and read");
    std::string third;
    encode_header(std::get<Envelope>(second), third);
    must(again == third, "and is the same");
}

std::vector<std::string> seeds() {
    std::vector<std::string> made;
    for (const Example& example : protocol_examples())
        made.push_back(number_bytes(example.payload.size()) + example.header);
    // Too deep, too long, and as many as there can be.
    made.push_back(number_bytes(0) + std::string(4000, '\x91'));
    made.push_back(number_bytes(0) + std::string("\xdd\xff\xff\xff\xff"));
    made.push_back(number_bytes(0) + std::string("\x95\x01\x0c\x07\x05\xdd\xff\xff\xff\xff"));
    return made;
}

}  // namespace jobyard::fuzz
