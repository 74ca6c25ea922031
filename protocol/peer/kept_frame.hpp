#pragma once
// A frame that refers to bytes in place of having a copy of them. For those who send through libzmq.

#include <zmq.h>

#include <memory>

#include "jobyard/kept_bytes.hpp"

namespace jobyard {

/// Makes `frame`, which must be empty or not made yet, refer to the bytes. libzmq lets go of their owner when they are
/// sent, or never will be, in any thread. False, and an empty frame, for want of memory.
inline bool refer_to(zmq_msg_t& frame, const KeptBytes& kept) {
    auto owner = std::make_unique<std::shared_ptr<const void>>(kept.owner);
    const auto let_go = [](void*, void* hint) { delete static_cast<std::shared_ptr<const void>*>(hint); };
    if (zmq_msg_init_data(&frame, const_cast<char*>(kept.bytes.data()), kept.bytes.size(), let_go, owner.get()) != 0) {
        zmq_msg_init(&frame);
        return false;
    }
    static_cast<void>(owner.release());
    return true;
}

}  // namespace jobyard
