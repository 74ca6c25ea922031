#include "shallow_json.hpp"

#include "wire.hpp"

namespace jobyard::cli {

using nlohmann::json;

json shallow_json(std::string_view text) {
    bool too_deep = false;
    const auto look = [&too_deep](int depth, json::parse_event_t, const json&) {
        too_deep = too_deep || depth > kMaxJsonDepth;
        return !too_deep;
    };
    json value = json::parse(text, look, false);
    return too_deep ? json(json::value_t::discarded) : value;
}

json shallow_msgpack(std::string_view bytes) {
    wire::Reader in(bytes);
    in.skip();
    if (in.failed() || !in.at_end()) return json(json::value_t::discarded);
    return json::from_msgpack(bytes.begin(), bytes.end(), true, false);
}

}  // namespace jobyard::cli
