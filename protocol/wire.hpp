#pragma once
// MessagePack, positionally: the writer appends values to a string, the reader takes them off a view. Hand-written
// because a header is read and written for every list on the hot path and a general library costs 7 to 20 times as much
// there (DESIGN.md, "Decided against"); only what the protocol and the records use. Format: msgpack.org, spec.md.
//
// The reader is total: on any bytes it either yields what was asked for or sets `failed()` and yields zeroes from then
// on, so that a decoder can read a whole item and test once. It never allocates and never recurses.

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace jobyard::wire {

class Writer {
 public:
    /// Appends to `out`, which must outlive the writer.
    explicit Writer(std::string& out) : out_(out) {}

    void array(std::uint32_t count) {
        if (count < 16) {
            put8(0x90U | count);
        } else if (count < 0x10000) {
            put8(0xdc);
            put_big<std::uint16_t>(count);
        } else {
            put8(0xdd);
            put_big<std::uint32_t>(count);
        }
    }
    void map(std::uint32_t count) {
        if (count < 16) {
            put8(0x80U | count);
        } else {
            put8(0xde);
            put_big<std::uint16_t>(count);
        }
    }
    void nil() { put8(0xc0); }
    void boolean(bool value) { put8(value ? 0xc3 : 0xc2); }
    void uint(std::uint64_t value) {
        if (value < 0x80) {
            put8(value);
        } else if (value < 0x100) {
            put8(0xcc);
            put8(value);
        } else if (value < 0x10000) {
            put8(0xcd);
            put_big<std::uint16_t>(value);
        } else if (value < 0x100000000ULL) {
            put8(0xce);
            put_big<std::uint32_t>(value);
        } else {
            put8(0xcf);
            put_big<std::uint64_t>(value);
        }
    }
    void integer(std::int64_t value) {
        if (value >= 0) {
            uint(static_cast<std::uint64_t>(value));
        } else {
            put8(0xd3);
            put_big<std::uint64_t>(static_cast<std::uint64_t>(value));
        }
    }
    void real(double value) {
        put8(0xcb);
        put_big<std::uint64_t>(std::bit_cast<std::uint64_t>(value));
    }
    void str(std::string_view text) {
        if (text.size() < 32) {
            put8(0xa0U | text.size());
        } else if (text.size() < 0x100) {
            put8(0xd9);
            put8(text.size());
        } else if (text.size() < 0x10000) {
            put8(0xda);
            put_big<std::uint16_t>(text.size());
        } else {
            put8(0xdb);
            put_big<std::uint32_t>(text.size());
        }
        out_.append(text);
    }
    void bin(std::string_view bytes) {
        bin_header(bytes.size());
        out_.append(bytes);
    }
    /// For a binary value whose bytes the caller appends next.
    void bin_header(std::size_t size) {
        if (size < 0x100) {
            put8(0xc4);
            put8(size);
        } else if (size < 0x10000) {
            put8(0xc5);
            put_big<std::uint16_t>(size);
        } else {
            put8(0xc6);
            put_big<std::uint32_t>(size);
        }
    }

 private:
    void put8(std::uint64_t byte) { out_.push_back(static_cast<char>(byte)); }
    template <class Unsigned>
    void put_big(std::uint64_t value) {
        char bytes[sizeof(Unsigned)];
        for (std::size_t i = 0; i < sizeof(Unsigned); ++i)
            bytes[i] = static_cast<char>(value >> (8 * (sizeof(Unsigned) - 1 - i)));
        out_.append(bytes, sizeof bytes);
    }
    std::string& out_;
};

class Reader {
 public:
    /// Reads `bytes`, which must outlive the reader and every view it gave out.
    explicit Reader(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] bool at_end() const { return at_ == end_; }
    /// What has not been read yet.
    [[nodiscard]] std::string_view rest() const { return {at_, static_cast<std::size_t>(end_ - at_)}; }

    std::uint32_t array();
    std::uint32_t map();
    bool boolean();
    std::uint64_t uint();
    std::int64_t integer();
    /// Takes integers too: encoders of other languages write 1 for 1.0.
    double real();
    std::string_view str();
    std::string_view bin();
    /// True, and taken off, if the next value is nil; otherwise nothing happens.
    bool take_nil();
    /// Passes over one value of any kind, nested at most `kMaxDepth` deep.
    void skip();
    void fail() {
        failed_ = true;
        at_ = end_;
    }

    static constexpr int kMaxDepth = 8;

 private:
    std::uint8_t take8() {
        if (at_ == end_) {
            fail();
            return 0xc1;  // never used by MessagePack
        }
        return static_cast<std::uint8_t>(*at_++);
    }
    std::uint64_t take_big(std::size_t size);
    std::string_view take_bytes(std::uint64_t size);

    const char* at_;
    const char* end_;
    bool failed_ = false;
};

}  // namespace jobyard::wire
