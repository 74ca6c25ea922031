#pragma once
// Bytes to messages and back. Pure and total: any two frames give a message or a refusal, never an exception or a
// crash.

#include <string>
#include <string_view>
#include <variant>

#include "jobyard/message.hpp"

namespace jobyard {

/// The first frame. The second is the items' payloads end to end, which the caller has or gathers; it may be empty, but
/// is always sent.
void encode_header(const Envelope& envelope, std::string& out);

/// An item of SUBMIT, written ahead of its message: the job's own thread does it once, however often it is sent.
struct EncodedItem {
    std::string_view bytes;
    std::uint8_t minor = 0;  ///< minor_of() it
    bool watch = false;
    bool has_key = false;
};
/// Appended to `out`, into which `bytes` points.
EncodedItem encode_item(const SubmitItem& item, std::string& out);

/// Why a message could not be decoded, with what the sender needs to be told.
struct DecodeError {
    Code code = Code::bad_message;
    std::string text;
    std::string field;
    RequestId request;  ///< as far as it could be read
    SessionId session;
};

/// `payload_size` is the size of the second frame; it must be the sum of the items' lengths. Views in the message point
/// into `header`. The form is checked here, what the values mean where they are used.
std::variant<Envelope, DecodeError> decode_header(std::string_view header, std::size_t payload_size);

/// The number on the wire of each alternative of Message, by index.
std::uint8_t message_type(const Message& message);
/// The word PROTOCOL.md uses for it ("SUBMIT").
const char* message_name(const Message& message);

/// The minor version that this codec speaks: kProtocolMinor, but in a test's build of an older one.
std::uint8_t protocol_minor();
/// The least minor version whose readers miss nothing that the message says: they know its type, and each field that is
/// not at its default.
std::uint8_t minor_of(const Message& message);
std::uint8_t minor_of(const SubmitItem& item);
/// "1.1".
std::string protocol_text(unsigned version, unsigned minor);

/// UTF-8 without control characters.
bool is_clean_text(std::string_view text);
/// A queue, type, worker name or key: clean text of 1 to 255 bytes.
bool is_name(std::string_view text);

}  // namespace jobyard
