#pragma once
// In which order messages are taken when they arrive. The server's loop and the simulator's both keep to it.

#include <variant>

#include "jobyard/message.hpp"

namespace jobyard::broker {

/// Lists that workers send while they work. They are applied before the clients' messages: finishing frees room.
inline bool is_work(const Message& message) {
    const auto* hello = std::get_if<Hello>(&message);
    return (hello != nullptr && hello->role == Role::worker) || std::holds_alternative<Credit>(message) ||
           std::holds_alternative<Started>(message) || std::holds_alternative<Renew>(message) ||
           std::holds_alternative<Complete>(message) || std::holds_alternative<Fail>(message) ||
           std::holds_alternative<Release>(message);
}

/// Those of them whose live jobs are settled at once, even if the rest of the list has to wait for the disk.
inline bool is_end(const Message& message) {
    return std::holds_alternative<Complete>(message) || std::holds_alternative<Fail>(message) ||
           std::holds_alternative<Release>(message);
}

/// What never waits behind a message of its session that is being looked up: it changes nothing that one could see.
inline bool overtakes(const Message& message) {
    return std::holds_alternative<Heartbeat>(message) || std::holds_alternative<Renew>(message) ||
           std::holds_alternative<Started>(message) || std::holds_alternative<Credit>(message) ||
           std::holds_alternative<Grant>(message);
}

}  // namespace jobyard::broker
