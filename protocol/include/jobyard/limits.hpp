#pragma once
// The bounds of the wire and the defaults of a job: the same table as PROTOCOL.md, "Limits". Bounds that an operator
// may change live in the broker's configuration; these are what every peer may rely on.

#include <cstddef>
#include <cstdint>

namespace jobyard {

inline constexpr std::uint8_t kProtocolVersion = 1;
inline constexpr std::uint8_t kProtocolMinor = 1;

// One message.
inline constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxMessageBytes = std::size_t{2} << 20;  ///< header and payload frame together
inline constexpr std::size_t kMaxItems = 1024;                         ///< items in a list
inline constexpr std::size_t kCutListBytes = std::size_t{1} << 20;     ///< where lists are cut
/// Our own libraries and broker send a payload of this size or more in a message of its own, so that its frame can be
/// passed on and never copied. Nobody has to.
inline constexpr std::size_t kLargePayloadBytes = std::size_t{64} << 10;

// One job.
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{256} << 10;
/// More than a payload may have: a command's result is 256 KiB of standard output and 64 KiB of standard error.
inline constexpr std::size_t kMaxResultBytes = std::size_t{384} << 10;
inline constexpr std::size_t kMaxNameBytes = 255;   ///< queue, type, worker name, idempotency key
inline constexpr std::size_t kMaxErrorBytes = 512;  ///< the error text of an attempt
inline constexpr std::size_t kMaxTailBytes = 1024;  ///< the tail of standard error kept with an attempt
inline constexpr std::size_t kMaxProgressTextBytes = 255;
inline constexpr std::size_t kMaxWhyBytes = 255;  ///< why a queue was paused, and by whom

inline constexpr int kPriorityMin = 1;
inline constexpr int kPriorityMax = 10;
inline constexpr std::uint32_t kMaxAttemptsLimit = 1000;
inline constexpr std::uint64_t kMaxDelayMs = std::uint64_t{366} * 24 * 3600 * 1000;
inline constexpr std::uint64_t kMaxKeyTtlMs = kMaxDelayMs;
inline constexpr std::uint32_t kMaxTimeoutMs = 30U * 24 * 3600 * 1000;
inline constexpr std::uint32_t kMaxBackoffMs = 7U * 24 * 3600 * 1000;
inline constexpr std::uint32_t kMaxBackoffFactorPercent = 10000;

// One array.
inline constexpr std::uint64_t kMaxArrayJobs = 100'000'000;
inline constexpr std::uint64_t kMaxArrayIndex = (std::uint64_t{1} << 53) - 1;  ///< every JSON reader keeps it exactly

// One peer.
inline constexpr std::uint32_t kSubmitWindow = 8192;  ///< submits of an instance above its confirmed number
inline constexpr std::uint32_t kMaxCredit = 1024;     ///< jobs a worker can hold; one HELLO lists them all
inline constexpr std::size_t kMaxQueuesPerWorker = 256;
inline constexpr std::size_t kMaxTypesPerWorker = 1024;
inline constexpr std::size_t kMaxWaitingMessages = 64;  ///< of one session, waiting for the disk

// Defaults of a job.
inline constexpr int kDefaultPriority = 5;
inline constexpr std::uint32_t kDefaultMaxAttempts = 4;
inline constexpr std::uint32_t kDefaultTimeoutMs = 5 * 60 * 1000;
inline constexpr std::uint32_t kDefaultBackoffInitialMs = 1000;
inline constexpr std::uint32_t kDefaultBackoffFactorPercent = 200;
inline constexpr std::uint32_t kDefaultBackoffMaxMs = 60 * 1000;
inline constexpr std::uint32_t kDefaultBackoffJitterPercent = 20;
inline constexpr std::uint64_t kDefaultKeyTtlMs = std::uint64_t{24} * 3600 * 1000;
inline constexpr std::uint32_t kCrashBudget = 3;

inline constexpr std::uint16_t kDefaultTcpPort = 7466;

}  // namespace jobyard
