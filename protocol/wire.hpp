#pragma once
// MessagePack, positionally: the writer appends values to a string, the reader takes them off a view. Hand-written
// because a header is read and written for every list on the hot path and a general library costs 7 to 20 times as much
// there (DESIGN.md, "Decided against"); only what the protocol and the records use. Format: msgpack.org, spec.md.
//
// The reader is total: on any bytes it either yields what was asked for or sets `failed()` and yields zeroes from then
// on, so that a decoder can read a whole item and test once. It never allocates and never recurses.

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace jobyard::wire {

/// Gathers what it writes in a small buffer of its own, because appending to a string costs more than the bytes do: the
/// string has them after flush(), which the destructor calls.
class Writer {
 public:
    /// Appends to `out`, which must outlive the writer.
    explicit Writer(std::string& out) : out_(out) {}
    ~Writer() { flush(); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    void flush() {
        out_.append(buffer_, size_);
        size_ = 0;
    }

    void array(std::uint32_t count) { count < 16 ? put<0>(0x90U | count, 0) : sized<0xdc, 0xdd>(count); }
    void map(std::uint32_t count) { count < 16 ? put<0>(0x80U | count, 0) : sized<0xde, 0xdf>(count); }
    void nil() { put<0>(0xc0, 0); }
    void boolean(bool value) { put<0>(value ? 0xc3 : 0xc2, 0); }
    void uint(std::uint64_t value) {
        if (value < 0x80) put<0>(value, 0);
        else if (value < 0x100) put<1>(0xcc, value);
        else if (value < 0x10000) put<2>(0xcd, value);
        else if (value < 0x100000000ULL) put<4>(0xce, value);
        else put<8>(0xcf, value);
    }
    void integer(std::int64_t value) {
        value >= 0 ? uint(static_cast<std::uint64_t>(value)) : put<8>(0xd3, static_cast<std::uint64_t>(value));
    }
    void real(double value) { put<8>(0xcb, std::bit_cast<std::uint64_t>(value)); }
    void str(std::string_view text) {
        if (text.size() < 32) put<0>(0xa0U | text.size(), 0);
        else if (text.size() < 0x100) put<1>(0xd9, text.size());
        else sized<0xda, 0xdb>(text.size());
        append(text);
    }
    void bin(std::string_view bytes) {
        if (bytes.size() < 0x100) put<1>(0xc4, bytes.size());
        else sized<0xc5, 0xc6>(bytes.size());
        append(bytes);
    }
    /// A value that was written before.
    void raw(std::string_view value) { append(value); }

 private:
    /// A tag and the lowest `Bytes` bytes of a number, big-endian.
    template <std::size_t Bytes>
    void put(std::uint64_t tag, std::uint64_t number) {
        if (sizeof buffer_ - size_ < 9) flush();
        buffer_[size_] = static_cast<char>(tag);
        if constexpr (Bytes > 0) {
            const std::uint64_t big = __builtin_bswap64(number << (64 - 8 * Bytes));
            std::memcpy(buffer_ + size_ + 1, &big, sizeof big);  // those beyond `Bytes` are written over
        }
        size_ += 1 + Bytes;
    }
    template <std::uint8_t Tag16, std::uint8_t Tag32>
    void sized(std::uint64_t size) {
        size < 0x10000 ? put<2>(Tag16, size) : put<4>(Tag32, size);
    }
    void append(std::string_view bytes) {
        if (sizeof buffer_ - size_ < bytes.size()) flush();
        if (sizeof buffer_ < bytes.size()) {
            out_.append(bytes);
        } else {
            size_ += bytes.copy(buffer_ + size_, bytes.size());  // not memcpy(): an empty view may point nowhere
        }
    }

    std::string& out_;
    std::size_t size_ = 0;
    char buffer_[256];
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
