#pragma once
// A peer that says whatever a test wants, byte for byte: one DEALER socket and no library of ours behind it but the
// codec.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness.hpp"
#include "jobyard/codec.hpp"

namespace jobyard::test {

class RawPeer {
 public:
    /// With a `receive_mark` it takes only so many messages off its connection that it was not asked for.
    explicit RawPeer(const std::string& endpoint, int receive_mark = 0);
    ~RawPeer();
    RawPeer(const RawPeer&) = delete;
    RawPeer& operator=(const RawPeer&) = delete;

    /// False if the connection is not there.
    bool send_frames(const std::vector<std::string>& frames);
    void send(const Message& message, std::string_view payload = {}, RequestId request = {});

    struct Received {
        Envelope envelope;  ///< views into the peer; good until the next receive
        std::string_view payload;
    };
    /// The next message that is no HEARTBEAT. Nothing if none comes; a message that cannot be read fails the test.
    std::optional<Received> receive(std::chrono::milliseconds patience = kPatience);
    /// Sends, and waits for the message that answers it. Others that come meanwhile are passed over.
    Received call(const Message& message, std::string_view payload = {});
    /// The same for bytes: the next message is the answer.
    Received call_frames(const std::vector<std::string>& frames);
    /// The first message of this kind, others passed over.
    template <class Kind>
    std::optional<Received> receive_a(std::chrono::milliseconds patience = kPatience) {
        for (;;) {
            auto received = receive(patience);
            if (!received || std::holds_alternative<Kind>(received->envelope.message)) return received;
        }
    }

    /// HELLO and WELCOME. An ERROR instead fails the test.
    Welcome hello(const Hello& hello);
    [[nodiscard]] SessionId session() const { return session_; }
    void set_session(SessionId session) { session_ = session; }

 private:
    bool wait(std::chrono::milliseconds patience);
    void* context_;
    void* socket_;
    SessionId session_;
    std::uint64_t last_request_ = 0;
    std::string header_;  // of what was received last
    std::string payload_;
};

/// An instance nobody has used.
Uuid new_instance();
Hello submitter_hello(const Uuid& instance = new_instance());
Hello worker_hello(std::string_view name, std::vector<std::string_view> types, std::uint32_t slots = 1,
                   std::uint32_t credit = 1);
/// The header alone, as it goes over the wire.
std::string header_of(const Envelope& envelope);
/// The refusal in an ERROR; code `ok` and a failed test if it is another message.
Refusal refusal_in(const RawPeer::Received& received);
/// The one answer in an ANSWERS; likewise.
Answer answer_in(const RawPeer::Received& received);

}  // namespace jobyard::test
