// A store whose rows are anything: opened as a broker does, verified, dumped. Or, of another first byte, a dump that is
// loaded.

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <sstream>

#include "commit_log.hpp"
#include "record.hpp"
#include "recovery.hpp"
#include "rows.hpp"
#include "store.hpp"
#include "store/dump.hpp"
#include "store/verify.hpp"
#include "target.hpp"

namespace jobyard::fuzz {
namespace {

using namespace broker;  // NOLINT: the rows are its

constexpr std::uint64_t kMapBytes = std::uint64_t{16} << 20;
constexpr std::size_t kMostKey = 255;

const store::Progress kNobody = [](std::uint64_t, std::uint64_t) {};

class Place {
 public:
    Place() {
        const std::filesystem::path memory = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        path_ = memory / ("jobyard-fuzz-" + std::to_string(::getpid()));
        std::filesystem::create_directories(path_);
    }
    ~Place() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    std::string operator/(const std::string& name) const { return path_ / name; }

 private:
    std::filesystem::path path_;
};

void look_at(const std::string& data) {
    const auto verified = store::verify(data, kNobody);
    must(verified.has_value() || !verified.error().text.empty(), "an error says what is wrong");
    std::ostringstream lines;
    static_cast<void>(store::dump(data, lines, kNobody));
}

/// Table, key, whether the checksum is to be right, and the rest of the row; again and again.
void open_rows(Input input) {
    const Place place;
    {
        auto store = Store::open({place / "store", kMapBytes});
        must(store.has_value(), "an empty store opens");
        must(CommitLog::open(place / "store").has_value(), "and its log");
        Batch batch;  // with a number it would have to make sense
        while (!input.at_end()) {
            const auto table = static_cast<Table>(input.byte() % kTables);
            const std::string key(input.piece(std::min<std::size_t>(input.byte(), kMostKey)));
            const bool whole = input.byte() % 2 == 0;
            const std::string_view value = input.piece(input.number());
            if (key.empty() || (table == Table::meta && key == kMetaFormat)) continue;
            batch.put(table, key, whole ? with_checksum(value) : std::string(value));
        }
        must((*store)->apply(batch).has_value(), "any rows are taken");
    }
    look_at(place / "");
    {
        auto store = Store::open({place / "store", kMapBytes});
        must(store.has_value(), "a store with its format opens");
        auto log = CommitLog::open(place / "store");
        CoreConfig config;
        auto recovered = recover(**store, **log, config, {0, 1'800'000'000'000, 1});
        if (recovered) {
            Batch open;
            Output out{&open, {}};
            recovered->core->start({1, 1'800'000'000'000, 1});
            recovered->core->expire({2, 1'800'000'000'000, 1}, out);
        } else {
            must(!recovered.error().text.empty(), "an error says what is wrong");
        }
    }
    look_at(place / "");
}

void load(std::string_view text) {
    const Place place;
    std::istringstream lines{std::string(text)};
    const auto loaded = store::load(lines, place / "loaded", kNobody);
    if (!loaded) {
        must(!loaded.error().text.empty(), "an error says what is wrong");
        return;
    }
    const auto verified = store::verify(place / "loaded", kNobody);
    must(verified.has_value(), "what was loaded can be read");
}

std::string row_bytes(const StoredRow& row) {
    const bool has_sum = row.value.size() > kPrefixBytes && with_checksum(row.value.substr(kPrefixBytes)) == row.value;
    const std::string value = has_sum ? row.value.substr(kPrefixBytes) : row.value;
    return std::string{static_cast<char>(row.table), static_cast<char>(row.key.size())} + row.key +
           std::string(1, has_sum ? '\0' : '\1') + number_bytes(value.size()) + value;
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    if (input.byte() % 2 == 0) open_rows(input);
    else load(input.rest());
}

std::vector<std::string> seeds() {
    const Place place;
    std::vector<std::string> made;
    std::string all(1, '\0');
    std::string small(1, '\0');
    Batch batch;
    batch.seq = 1;
    for (const StoredRow& row : rows_of_a_store()) {
        all += row_bytes(row);
        if (row.value.size() < 300) small += row_bytes(row);
        made.push_back(std::string(1, '\0') + row_bytes(row));
        batch.put(row.table, row.key, row.value);
    }
    made.push_back(all);
    made.push_back(small);
    {
        auto store = Store::open({place / "store", kMapBytes});
        must(store.has_value() && (*store)->apply(batch).has_value(), "a store of seeds");
        must(CommitLog::open(place / "store").has_value(), "and its log");
    }
    std::ostringstream lines;
    const auto dumped = store::dump(place / "", lines, kNobody);
    must(dumped.has_value(), dumped.has_value() ? "" : dumped.error().text.c_str());
    made.push_back(std::string(1, '\1') + lines.str());
    return made;
}

}  // namespace jobyard::fuzz
