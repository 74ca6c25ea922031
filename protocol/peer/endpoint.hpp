#pragma once
// Where the broker is, and whether that place can be trusted.

#include <string>

#include "jobyard/result.hpp"

namespace jobyard {

/// `given` if not empty, else $JOBYARD_BROKER, else the default endpoint: ipc://$XDG_RUNTIME_DIR/jobyard/broker,
/// without that variable ipc:///tmp/jobyard-UID/broker.
std::string broker_endpoint(std::string given);

/// Where the broker of a whole machine listens, in a directory that its group may enter.
inline constexpr const char* kMachineDirectory = "/run/jobyard";

/// The same for those who submit and ask. When nobody has named an endpoint, and no broker of this user's own is there,
/// it is the machine's broker, if there is one and this user may enter its directory. Not for workers: one that was not
/// told to would run the jobs of others as this user.
std::string client_endpoint(std::string given, const std::string& machine_directory = kMachineDirectory);

/// Whether it is an ipc endpoint whose socket, or the directory that it is in, is closed to this user.
bool is_closed_to_us(const std::string& endpoint);

/// Of an endpoint where nobody answers: why this user may not use it, and what to do. Empty if no permission is in the
/// way, as far as files say. When it is this user's own by default, the machine's broker may be what was meant.
std::string why_not_allowed(const std::string& endpoint, const std::string& machine_directory = kMachineDirectory);

/// Whether it is one that can be connected to: ipc://PATH, or tcp://HOST:PORT with a port from 1 to 65535. Error
/// `bad_field`, saying what was expected.
Result<void> check_address(const std::string& endpoint);

/// Whether only this machine can reach the endpoint.
bool is_loopback(const std::string& endpoint);

/// How much a TCP connection to the endpoint may have sent that the other end has not taken, as ZMQ_SNDBUF has it: -1
/// leaves it to the system, which goes up to megabytes. A connection inside this machine gains nothing by so much: what
/// is sent has left the processor's cache when it is received. (256 KiB payloads cost an eighth less processor time
/// with this.)
int send_buffer_bytes(const std::string& endpoint);

/// For an ipc endpoint in the default directory: the directory must belong to this user and be closed to others (mode
/// 0700); otherwise somebody else could be listening there. One that is missing is made, so that broker and peers may
/// start in any order. Says what is wrong and what to do.
Result<void> check_endpoint(const std::string& endpoint);

}  // namespace jobyard
