#pragma once
// What a turn decided: changes for the open batch, and messages that wait for it.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batch.hpp"
#include "jobyard/message.hpp"

namespace jobyard::broker {

/// One connection at the socket; never used again for another. Each gets the next number, which wraps.
struct PeerId {
    std::uint32_t value = 0;
    friend auto operator<=>(PeerId, PeerId) = default;
};
inline bool is_older(PeerId peer, PeerId than) { return static_cast<std::int32_t>(peer.value - than.value) < 0; }

/// Where a payload is, so that it need not pass through the core. The edge fetches it when it sends.
struct PayloadRef {
    enum class Kind : std::uint8_t {
        in_batch,  ///< at `slice` of batch `number`, which is still in hand (the message rests on it)
        of_job,  ///< the payload of job (or array) `number`, from a batch in hand or, once it is there, from the store
        result_of,  ///< the result of ended job `number`, likewise
        own,        ///< at `slice` of the message's own `bytes`
    };
    Kind kind = Kind::own;
    std::uint64_t number = 0;
    Slice slice;  ///< `size` is known for all kinds
};

struct Outgoing {
    PeerId peer;
    std::uint64_t rests_on = 0;  ///< leaves when this batch is durable; 0: at once
    bool to_worker = false;      ///< of a worker's session; the same for all of one session, so they keep their order
    Envelope envelope;
    std::vector<PayloadRef> payloads;
    std::string bytes;
    std::vector<std::unique_ptr<std::string>> texts;  ///< owns text that the envelope views and nobody else keeps

    std::string_view keep(std::string text) {
        texts.push_back(std::make_unique<std::string>(std::move(text)));
        return *texts.back();
    }
};

struct Output {
    Batch* batch = nullptr;  ///< the open batch; its number is set
    std::vector<Outgoing> messages;
};

}  // namespace jobyard::broker

template <>
struct std::hash<jobyard::broker::PeerId> {
    std::size_t operator()(jobyard::broker::PeerId peer) const noexcept { return peer.value * 0x9E3779B97F4A7C15ULL; }
};
