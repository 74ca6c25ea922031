#pragma once
// Maps for people: a job, and the counters, as PROTOCOL.md section 6 describes them.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "record.hpp"
#include "wire.hpp"

namespace jobyard::broker {

/// A MessagePack map whose size need not be known beforehand.
class MapWriter {
 public:
    void text(std::string_view key, std::string_view value) { at(key).str(value); }
    void uint(std::string_view key, std::uint64_t value) { at(key).uint(value); }
    void integer(std::string_view key, std::int64_t value) { at(key).integer(value); }
    void real(std::string_view key, double value) { at(key).real(value); }
    void boolean(std::string_view key, bool value) { at(key).boolean(value); }
    void bytes(std::string_view key, std::string_view value) { at(key).bin(value); }
    /// `value` is MessagePack already.
    void raw(std::string_view key, std::string_view value) {
        at(key).flush();
        body_ += value;
    }
    void list(std::string_view key, const std::vector<std::string>& values) {
        wire::Writer& writer = at(key);
        writer.array(static_cast<std::uint32_t>(values.size()));
        writer.flush();
        for (const std::string& value : values) body_ += value;
    }
    void attempts(const std::vector<AttemptRow>& attempts);
    void append_to(std::string& out) {
        writer_.flush();
        wire::Writer(out).map(count_);
        out += body_;
    }

 private:
    wire::Writer& at(std::string_view key) {
        ++count_;
        writer_.str(key);
        return writer_;
    }
    std::string body_;
    wire::Writer writer_{body_};
    std::uint32_t count_ = 0;
};

/// `attempts` may be null (LIST does not read them); `payload`: if it was asked for and there is one.
void append_ended_map(JobId id, const EndRow& row, const std::vector<AttemptRow>* attempts,
                      std::optional<std::string_view> payload, std::string& out);

}  // namespace jobyard::broker
