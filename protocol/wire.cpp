#include "wire.hpp"

namespace jobyard::wire {

std::uint64_t Reader::take_big(std::size_t size) {
    if (static_cast<std::size_t>(end_ - at_) < size) {
        fail();
        return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value = value << 8U | static_cast<std::uint8_t>(at_[i]);
    at_ += size;
    return value;
}

std::string_view Reader::take_bytes(std::uint64_t size) {
    if (static_cast<std::uint64_t>(end_ - at_) < size) {
        fail();
        return {};
    }
    const std::string_view bytes(at_, size);
    at_ += size;
    return bytes;
}

std::uint32_t Reader::array() {
    const std::uint8_t tag = take8();
    if ((tag & 0xf0U) == 0x90) return tag & 0x0fU;
    if (tag == 0xdc) return static_cast<std::uint32_t>(take_big(2));
    if (tag == 0xdd) return static_cast<std::uint32_t>(take_big(4));
    fail();
    return 0;
}

std::uint32_t Reader::map() {
    const std::uint8_t tag = take8();
    if ((tag & 0xf0U) == 0x80) return tag & 0x0fU;
    if (tag == 0xde) return static_cast<std::uint32_t>(take_big(2));
    if (tag == 0xdf) return static_cast<std::uint32_t>(take_big(4));
    fail();
    return 0;
}

bool Reader::boolean() {
    const std::uint8_t tag = take8();
    if (tag != 0xc2 && tag != 0xc3) fail();
    return tag == 0xc3;
}

std::uint64_t Reader::uint() {
    const std::int64_t start_tag = at_ == end_ ? 0xc1 : static_cast<std::uint8_t>(*at_);
    if (start_tag == 0xcf) {  // the only form that does not fit a signed number
        ++at_;
        return take_big(8);
    }
    const std::int64_t value = integer();
    if (value < 0) {
        fail();
        return 0;
    }
    return static_cast<std::uint64_t>(value);
}

std::int64_t Reader::integer() {
    const std::uint8_t tag = take8();
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return static_cast<std::int8_t>(tag);
    switch (tag) {
        case 0xcc: return static_cast<std::int64_t>(take_big(1));
        case 0xcd: return static_cast<std::int64_t>(take_big(2));
        case 0xce: return static_cast<std::int64_t>(take_big(4));
        case 0xcf: {
            const std::uint64_t value = take_big(8);
            if (value > static_cast<std::uint64_t>(INT64_MAX)) fail();
            return failed_ ? 0 : static_cast<std::int64_t>(value);
        }
        case 0xd0: return static_cast<std::int8_t>(take_big(1));
        case 0xd1: return static_cast<std::int16_t>(take_big(2));
        case 0xd2: return static_cast<std::int32_t>(take_big(4));
        case 0xd3: return static_cast<std::int64_t>(take_big(8));
        default: fail(); return 0;
    }
}

double Reader::real() {
    if (at_ != end_ && static_cast<std::uint8_t>(*at_) == 0xcb) {
        ++at_;
        return std::bit_cast<double>(take_big(8));
    }
    if (at_ != end_ && static_cast<std::uint8_t>(*at_) == 0xca) {
        ++at_;
        return std::bit_cast<float>(static_cast<std::uint32_t>(take_big(4)));
    }
    return static_cast<double>(integer());
}

std::string_view Reader::str() {
    const std::uint8_t tag = take8();
    if ((tag & 0xe0U) == 0xa0) return take_bytes(tag & 0x1fU);
    if (tag == 0xd9) return take_bytes(take_big(1));
    if (tag == 0xda) return take_bytes(take_big(2));
    if (tag == 0xdb) return take_bytes(take_big(4));
    fail();
    return {};
}

std::string_view Reader::bin() {
    const std::uint8_t tag = take8();
    if (tag == 0xc4) return take_bytes(take_big(1));
    if (tag == 0xc5) return take_bytes(take_big(2));
    if (tag == 0xc6) return take_bytes(take_big(4));
    fail();
    return {};
}

bool Reader::take_nil() {
    if (at_ == end_ || static_cast<std::uint8_t>(*at_) != 0xc0) return false;
    ++at_;
    return true;
}

void Reader::skip() {
    // One counter per open container in place of recursion: a hostile peer cannot choose how deep our stack goes.
    std::uint64_t left[kMaxDepth] = {1};
    int depth = 0;
    while (!failed_) {
        while (left[depth] == 0) {
            if (depth == 0) return;
            --depth;
        }
        --left[depth];
        const std::uint8_t tag = take8();
        std::uint64_t children = 0;
        if (tag < 0x80 || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3) {
        } else if ((tag & 0xf0U) == 0x80) {
            children = 2ULL * (tag & 0x0fU);
        } else if ((tag & 0xf0U) == 0x90) {
            children = tag & 0x0fU;
        } else if ((tag & 0xe0U) == 0xa0) {
            take_bytes(tag & 0x1fU);
        } else {
            switch (tag) {
                case 0xc4:
                case 0xd9: take_bytes(take_big(1)); break;
                case 0xc5:
                case 0xda: take_bytes(take_big(2)); break;
                case 0xc6:
                case 0xdb: take_bytes(take_big(4)); break;
                case 0xcc:
                case 0xd0: take_bytes(1); break;
                case 0xcd:
                case 0xd1: take_bytes(2); break;
                case 0xca:
                case 0xce:
                case 0xd2: take_bytes(4); break;
                case 0xcb:
                case 0xcf:
                case 0xd3: take_bytes(8); break;
                case 0xdc: children = take_big(2); break;
                case 0xdd: children = take_big(4); break;
                case 0xde: children = 2 * take_big(2); break;
                case 0xdf: children = 2 * take_big(4); break;
                default: fail(); return;  // 0xc1 and extension types: not part of this protocol
            }
        }
        if (children != 0) {
            if (depth + 1 == kMaxDepth) {
                fail();
                return;
            }
            left[++depth] = children;
        }
    }
}

}  // namespace jobyard::wire
