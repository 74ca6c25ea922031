#include "info.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "words.hpp"

namespace jobyard::store {
namespace {

using Json = nlohmann::ordered_json;

std::uint64_t bytes_of(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

Result<Json> gather(const std::string& path) {
    const auto opened = Image::open(path);
    if (!opened) return opened.error();
    const Image& image = **opened;
    const auto id = image.store_id();
    if (!id) return id.error();
    const auto epoch = image.number(broker::kMetaEpoch);
    if (!epoch) return epoch.error();
    const auto numbers = image.numbers();
    if (!numbers) return numbers.error();
    const auto backup_at = image.backup_at();
    if (!backup_at) return backup_at.error();

    Json info;
    info["path"] = path;
    info["kind"] = *backup_at ? "backup" : "data directory";
    if (*backup_at) info["backup_at"] = iso_time(**backup_at);
    else info["held_by_process"] = holder_of(path);
    info["format"] = broker::kFormatVersion;
    info["store"] = to_hex(*id);
    info["epoch"] = *epoch;
    info["next_job"] = std::to_string(numbers->next_job);
    info["applied_batch"] = image.applied();
    info["last_batch"] = image.last_batch();
    info["log_batch_bytes"] = image.log_batch_bytes();
    info["log_bytes"] = bytes_of(path + "/store/log.0") + bytes_of(path + "/store/log.1");
    const broker::StoreView::Pages pages = image.view().pages();
    info["file_bytes"] = pages.file_bytes;
    info["used_bytes"] = pages.used_bytes;
    info["free_bytes"] = pages.free_bytes;
    info["map_bytes"] = pages.map_bytes;
    for (std::size_t i = 0; i < kTables; ++i) {
        const auto table = static_cast<Table>(i);
        std::uint64_t rows = 0;
        auto counted = image.for_each(table, [&rows](std::string_view, std::string_view) -> Result<void> {
            ++rows;
            return {};
        });
        if (!counted) return counted.error();
        info["tables"][to_string(table)] = {{"rows", rows}, {"bytes", image.view().size(table).bytes}};
    }
    return info;
}

}  // namespace

int holder_of(const std::string& data) {
    struct stat lock {};
    if (::stat((data + "/lock").c_str(), &lock) != 0) return 0;
    // "1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF"
    std::array<char, 64> file{};
    std::snprintf(file.data(), file.size(), "%02x:%02x:%lu", major(lock.st_dev), minor(lock.st_dev), lock.st_ino);
    std::ifstream locks("/proc/locks");
    for (std::string line; std::getline(locks, line);) {
        std::istringstream words(line);
        std::string number, kind, mode, access, pid, where;
        words >> number >> kind >> mode >> access >> pid >> where;
        if (kind == "FLOCK" && where == file.data()) return std::atoi(pid.c_str());
    }
    return 0;
}

Result<std::string> info_json(const std::string& path) {
    const auto info = gather(path);
    if (!info) return info.error();
    return info->dump() + "\n";
}

Result<std::string> info_text(const std::string& path) {
    const auto gathered = gather(path);
    if (!gathered) return gathered.error();
    const Json& info = *gathered;
    std::string text;
    const auto line = [&text](const std::string& name, const std::string& value) {
        text += name + std::string(14 - name.size(), ' ') + value + "\n";
    };
    const auto digits = [&info](const char* name) { return std::to_string(info[name].get<std::uint64_t>()); };
    const auto bytes = [&info](const char* name) { return bytes_text(info[name].get<std::uint64_t>()); };
    line("path", path);
    if (info.contains("backup_at")) line("backup of", info["backup_at"].get<std::string>());
    else if (info["held_by_process"] != 0) line("in use", "by process " + digits("held_by_process"));
    else line("in use", "no");
    line("format", digits("format"));
    line("store", info["store"].get<std::string>());
    line("epoch", digits("epoch"));
    line("next job", info["next_job"].get<std::string>());
    const std::uint64_t ahead = info["last_batch"].get<std::uint64_t>() - info["applied_batch"].get<std::uint64_t>();
    line("applied", "batch " + digits("applied_batch"));
    if (!info.contains("backup_at"))
        line("log", std::to_string(ahead) + " batches more, of " + bytes("log_batch_bytes") + ", in files of " +
                        bytes("log_bytes"));
    line("size", bytes("file_bytes") + ", of which " + bytes("free_bytes") + " are free; address space for " +
                     bytes("map_bytes"));
    text += "\nTABLE              ROWS       BYTES\n";
    for (const auto& [name, table] : info["tables"].items()) {
        std::array<char, 80> row{};
        std::snprintf(row.data(), row.size(), "%-10s %12llu %11s\n", name.c_str(),
                      static_cast<unsigned long long>(table["rows"].get<std::uint64_t>()),
                      bytes_text(table["bytes"].get<std::uint64_t>()).c_str());
        text += row.data();
    }
    return text;
}

}  // namespace jobyard::store
