// MessagePack by hand: every form, both ways, and no bytes that could hurt.

#include "wire.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include <nlohmann/json.hpp>

namespace jobyard::wire {
namespace {

using namespace std::string_literals;

std::string hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        text += kDigits[static_cast<unsigned char>(c) >> 4U];
        text += kDigits[static_cast<unsigned char>(c) & 15U];
    }
    return text;
}

template <class Write>
std::string written(Write&& write) {
    std::string out;
    Writer writer(out);
    write(writer);
    writer.flush();
    return out;
}

std::string uint_bytes(std::uint64_t value) {
    return written([&](Writer& w) { w.uint(value); });
}

TEST(Wire, UnsignedIntegersTakeTheShortestForm) {
    EXPECT_EQ(hex(uint_bytes(0)), "00");
    EXPECT_EQ(hex(uint_bytes(0x7f)), "7f");
    EXPECT_EQ(hex(uint_bytes(0x80)), "cc80");
    EXPECT_EQ(hex(uint_bytes(0xff)), "ccff");
    EXPECT_EQ(hex(uint_bytes(0x100)), "cd0100");
    EXPECT_EQ(hex(uint_bytes(0xffff)), "cdffff");
    EXPECT_EQ(hex(uint_bytes(0x10000)), "ce00010000");
    EXPECT_EQ(hex(uint_bytes(0xffffffff)), "ceffffffff");
    EXPECT_EQ(hex(uint_bytes(0x100000000)), "cf0000000100000000");
    EXPECT_EQ(hex(uint_bytes(UINT64_MAX)), "cfffffffffffffffff");
}

TEST(Wire, IntegersRoundTripAtEveryBoundary) {
    for (int bits = 0; bits < 64; ++bits)
        for (const std::int64_t delta : {-1, 0, 1}) {
            const std::uint64_t value = (std::uint64_t{1} << bits) + static_cast<std::uint64_t>(delta);
            const std::string bytes = uint_bytes(value);
            Reader in(bytes);
            EXPECT_EQ(in.uint(), value);
            EXPECT_TRUE(in.at_end() && !in.failed());
            const auto as_signed = static_cast<std::int64_t>(value);
            for (const std::int64_t number : {as_signed, -(as_signed == INT64_MIN ? 0 : as_signed)}) {
                const std::string signed_bytes = written([&](Writer& w) { w.integer(number); });
                Reader signed_in(signed_bytes);
                EXPECT_EQ(signed_in.integer(), number);
                EXPECT_TRUE(signed_in.at_end() && !signed_in.failed());
            }
        }
}

TEST(Wire, IntegersAreReadFromAnyFormThatHoldsThem) {
    for (const std::string& form : {"\x07"s, "\xcc\x07"s, "\xcd\0\x07"s, "\xce\0\0\0\x07"s, "\xcf\0\0\0\0\0\0\0\x07"s,
                                    "\xd0\x07"s, "\xd1\0\x07"s, "\xd2\0\0\0\x07"s, "\xd3\0\0\0\0\0\0\0\x07"s}) {
        Reader as_uint(form);
        EXPECT_EQ(as_uint.uint(), 7U) << hex(form);
        EXPECT_TRUE(as_uint.at_end() && !as_uint.failed());
        Reader as_integer(form);
        EXPECT_EQ(as_integer.integer(), 7) << hex(form);
        Reader as_real(form);
        EXPECT_EQ(as_real.real(), 7.0) << hex(form);
    }
    for (const std::string& form :
         {"\xff"s, "\xd0\xff"s, "\xd1\xff\xff"s, "\xd2\xff\xff\xff\xff"s, "\xd3\xff\xff\xff\xff\xff\xff\xff\xff"s}) {
        Reader in(form);
        EXPECT_EQ(in.integer(), -1) << hex(form);
        Reader unsigned_in(form);
        EXPECT_EQ(unsigned_in.uint(), 0U);
        EXPECT_TRUE(unsigned_in.failed()) << "a negative number is no unsigned one";
    }
}

TEST(Wire, GreatUnsignedNumberIsNoSignedOne) {
    const std::string bytes = uint_bytes(std::uint64_t{1} << 63);
    Reader in(bytes);
    EXPECT_EQ(in.integer(), 0);
    EXPECT_TRUE(in.failed());
}

TEST(Wire, RealsKeepEveryBit) {
    for (const double value :
         {0.0, -0.0, 1.5, -1e308, std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::infinity()}) {
        const std::string bytes = written([&](Writer& w) { w.real(value); });
        EXPECT_EQ(bytes.size(), 9U);
        Reader in(bytes);
        EXPECT_EQ(std::bit_cast<std::uint64_t>(in.real()), std::bit_cast<std::uint64_t>(value));
    }
    const std::string half = "\xca\x3f\xc0\0\0"s;
    Reader single(half);
    EXPECT_EQ(single.real(), 1.5);
    const std::string nan = written([](Writer& w) { w.real(std::nan("")); });
    Reader in(nan);
    EXPECT_TRUE(std::isnan(in.real()));
}

TEST(Wire, TextAndBytesRoundTripAtEveryBoundary) {
    for (const std::size_t size : {0U, 1U, 31U, 32U, 255U, 256U, 65535U, 65536U}) {
        const std::string text(size, 'x');
        const std::string as_text = written([&](Writer& w) { w.str(text); });
        Reader in(as_text);
        EXPECT_EQ(in.str(), text);
        EXPECT_TRUE(in.at_end() && !in.failed());
        const std::string as_bytes = written([&](Writer& w) { w.bin(text); });
        Reader bytes_in(as_bytes);
        EXPECT_EQ(bytes_in.bin(), text);
        EXPECT_TRUE(bytes_in.at_end() && !bytes_in.failed());
    }
    EXPECT_EQ(hex(written([](Writer& w) { w.str("abc"); })), "a3616263");
    EXPECT_EQ(hex(written([](Writer& w) { w.bin("abc"); })), "c403616263");
    EXPECT_EQ(hex(written([](Writer& w) { w.str(std::string(31, 'a')); })).substr(0, 2), "bf");
    EXPECT_EQ(hex(written([](Writer& w) { w.str(std::string(32, 'a')); })).substr(0, 4), "d920");
    EXPECT_EQ(hex(written([](Writer& w) { w.str(std::string(256, 'a')); })).substr(0, 6), "da0100");
    EXPECT_EQ(hex(written([](Writer& w) { w.str(std::string(65536, 'a')); })).substr(0, 10), "db00010000");
    EXPECT_EQ(hex(written([](Writer& w) { w.bin(std::string(256, 'a')); })).substr(0, 6), "c50100");
    EXPECT_EQ(hex(written([](Writer& w) { w.bin(std::string(65536, 'a')); })).substr(0, 10), "c600010000");
}

TEST(Wire, ArraysAndMapsRoundTripAtEveryBoundary) {
    for (const std::uint32_t count : {0U, 15U, 16U, 65535U, 65536U, 0xffffffffU}) {
        const std::string bytes = written([&](Writer& w) { w.array(count); });
        Reader in(bytes);
        EXPECT_EQ(in.array(), count);
        EXPECT_TRUE(in.at_end() && !in.failed());
        if (count > 65535) continue;
        const std::string map = written([&](Writer& w) { w.map(count); });
        Reader map_in(map);
        EXPECT_EQ(map_in.map(), count);
        EXPECT_TRUE(map_in.at_end() && !map_in.failed());
    }
    const std::string long_form = "\xdf\0\0\0\x02"s;
    Reader map32(long_form);
    EXPECT_EQ(map32.map(), 2U);
}

TEST(Wire, NilAndBooleans) {
    EXPECT_EQ(hex(written([](Writer& w) {
                  w.nil();
                  w.boolean(true);
                  w.boolean(false);
              })),
              "c0c3c2");
    const std::string bytes = "\xc0\xc3\xc2"s;
    Reader in(bytes);
    EXPECT_TRUE(in.take_nil());
    EXPECT_FALSE(in.take_nil()) << "only if it is one";
    EXPECT_TRUE(in.boolean());
    EXPECT_FALSE(in.boolean());
    EXPECT_TRUE(in.at_end() && !in.failed());
    EXPECT_FALSE(in.take_nil());
    EXPECT_FALSE(in.failed());
}

TEST(Wire, OtherKindsAreNotTakenForWhatWasAskedFor) {
    const std::string kinds[] = {"\x01"s,         "\xc3"s,     "\xc0"s,         "\xa1x"s,
                                 "\xc4\x01x"s,    "\x91\x01"s, "\x81\x01\x01"s, "\xcb\0\0\0\0\0\0\0\0"s,
                                 "\xd4\x01\x01"s, "\xc1"s};
    const auto fails = [](const std::string& bytes, auto&& read) {
        Reader in(bytes);
        read(in);
        return in.failed();
    };
    for (std::size_t i = 0; i < std::size(kinds); ++i) {
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.uint(); }), i != 0) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.integer(); }), i != 0) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.boolean(); }), i != 1) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.str(); }), i != 3) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.bin(); }), i != 4) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.array(); }), i != 5) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.map(); }), i != 6) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.real(); }), i != 0 && i != 7) << hex(kinds[i]);
        EXPECT_EQ(fails(kinds[i], [](Reader& in) { in.skip(); }), i > 7) << hex(kinds[i]);
    }
}

TEST(Wire, AfterAFailureEverythingIsZeroAndAtTheEnd) {
    const std::string bytes = "\xc1\x01\x02"s;
    Reader in(bytes);
    EXPECT_EQ(in.uint(), 0U);
    EXPECT_TRUE(in.failed());
    EXPECT_TRUE(in.at_end());
    EXPECT_EQ(in.uint(), 0U);
    EXPECT_EQ(in.integer(), 0);
    EXPECT_EQ(in.real(), 0.0);
    EXPECT_FALSE(in.boolean());
    EXPECT_EQ(in.str(), "");
    EXPECT_EQ(in.bin(), "");
    EXPECT_EQ(in.array(), 0U);
    EXPECT_EQ(in.map(), 0U);
    EXPECT_TRUE(in.rest().empty());
    in.skip();
    EXPECT_TRUE(in.failed());
}

TEST(Wire, EveryTruncationFails) {
    const std::string values[] = {uint_bytes(UINT64_MAX),
                                  uint_bytes(300),
                                  uint_bytes(70'000),
                                  "\xd0\x01"s,
                                  "\xd1\x01\x01"s,
                                  "\xd2\1\1\1\1"s,
                                  "\xca\1\1\1\1"s,
                                  written([](Writer& w) { w.real(1.5); }),
                                  written([](Writer& w) { w.str(std::string(300, 'x')); }),
                                  written([](Writer& w) { w.bin(std::string(70'000, 'x')); }),
                                  written([](Writer& w) { w.str("short"); }),
                                  "\xdc\0\x01\x01"s,
                                  "\xde\0\x01\x01\x01"s,
                                  "\xdd\0\0\0\x01\x01"s,
                                  "\xdf\0\0\0\x01\x01\x01"s,
                                  "\x92\x01\x01"s};
    for (const std::string& value : values) {
        Reader whole(value);
        whole.skip();
        EXPECT_TRUE(!whole.failed() && whole.at_end()) << hex(value.substr(0, 10));
        for (std::size_t size = 0; size < value.size(); size += size < 20 ? 1 : 1000) {
            Reader in(std::string_view(value).substr(0, size));
            in.skip();
            EXPECT_TRUE(in.failed()) << hex(value.substr(0, 10)) << " cut at " << size;
        }
    }
}

TEST(Wire, SkipPassesOverOneValueOfAnyKind) {
    const std::string value = written([](Writer& w) {
        w.array(3);
        w.map(2);
        w.str("a");
        w.array(0);
        w.uint(1);
        w.nil();
        w.bin("bytes");
        w.array(20);
        for (int i = 0; i < 20; ++i) w.integer(-i);
    });
    const std::string bytes = value + "\x2a";
    Reader in(bytes);
    in.skip();
    EXPECT_EQ(in.uint(), 42U);
    EXPECT_TRUE(in.at_end() && !in.failed());
}

TEST(Wire, DepthIsBounded) {
    const auto nested = [](std::size_t depth) { return std::string(depth, '\x91') + "\x01"; };
    const std::string seven = nested(7);
    Reader in(seven);
    in.skip();
    EXPECT_FALSE(in.failed());
    EXPECT_TRUE(in.at_end());
    for (const std::size_t depth : {8U, 9U, 1000U, 65536U}) {
        const std::string bomb = nested(depth);
        Reader deep(bomb);
        deep.skip();
        EXPECT_TRUE(deep.failed()) << depth;
    }
}

TEST(Wire, ContainersThatPromiseFourBillionItemsFailAtOnce) {
    for (const std::string& bomb : {"\xdd\xff\xff\xff\xff"s, "\xdf\xff\xff\xff\xff"s, "\xdd\xff\xff\xff\xff\x01\x02"s,
                                    "\xc6\xff\xff\xff\xff"s, "\xdb\xff\xff\xff\xffx"s}) {
        Reader in(bomb);
        in.skip();
        EXPECT_TRUE(in.failed());
    }
}

TEST(Wire, AnyBytesAreReadOrRefused) {
    std::mt19937 rng(1);
    for (int i = 0; i < 200'000; ++i) {
        std::string bytes;
        for (std::uint32_t n = rng() % 24; n > 0; --n)
            bytes.push_back(static_cast<char>(rng() % 2 == 0 ? 0xc0 + rng() % 0x20 : rng()));
        Reader in(bytes);
        std::size_t before = bytes.size() + 1;
        while (!in.failed() && !in.at_end()) {
            ASSERT_LT(in.rest().size(), before) << "no progress";
            before = in.rest().size();
            switch (rng() % 10) {
                case 0: in.uint(); break;
                case 1: in.integer(); break;
                case 2: in.real(); break;
                case 3: in.boolean(); break;
                case 4: in.str(); break;
                case 5: in.bin(); break;
                case 6: in.array(); break;
                case 7: in.map(); break;
                default: in.skip(); break;
            }
        }
    }
}

TEST(Wire, SkipAgreesWithAnotherReaderOfMessagePack) {
    std::mt19937 rng(2);
    int good = 0;
    for (int i = 0; i < 30'000; ++i) {
        std::string bytes;
        static constexpr unsigned char kTags[] = {0x00, 0x7f, 0x81, 0x92, 0xa1, 0xc0, 0xc2, 0xc3, 0xc4, 0xcc,
                                                  0xcd, 0xd0, 0xd9, 0xdc, 0xde, 0xff, 0x90, 0x01, 0x00, 0x02};
        for (std::uint32_t n = 1 + rng() % 10; n > 0; --n)
            bytes.push_back(static_cast<char>(kTags[rng() % std::size(kTags)]));
        Reader in(bytes);
        in.skip();
        const bool ours = !in.failed() && in.at_end();
        // The other reader allows only text as keys of a map, and checks that text is UTF-8.
        if (bytes.find_first_of("\x81\xde\xa1\xd9") != std::string::npos) continue;
        const bool theirs = !nlohmann::json::from_msgpack(bytes, true, false).is_discarded();
        ASSERT_EQ(ours, theirs) << hex(bytes);
        good += ours;
    }
    EXPECT_GT(good, 1000);
}

}  // namespace
}  // namespace jobyard::wire
