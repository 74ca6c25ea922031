#include "disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <utility>

namespace jobyard::power_loss {
namespace {

std::string_view name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

[[noreturn]] void not_understood(const std::string& what) {
    throw std::runtime_error("the trace is not understood: " + what);
}

/// Long runs of zeros are not written: the log's files are made of them.
void write_sparse(const std::string& path, std::string_view bytes, std::uint64_t length) {
    constexpr std::size_t kBlock = 4096;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && ::ftruncate(fd, static_cast<off_t>(length)) == 0;
    const auto is_zero = [](std::string_view block) { return block.find_first_not_of('\0') == std::string_view::npos; };
    for (std::size_t at = 0; good && at < bytes.size();) {
        std::size_t end = at;
        while (end < bytes.size() && !is_zero(bytes.substr(end, kBlock))) end = std::min(end + kBlock, bytes.size());
        if (end > at)
            good = ::pwrite(fd, bytes.data() + at, end - at, static_cast<off_t>(at)) == static_cast<ssize_t>(end - at);
        at = end == at ? at + kBlock : end;
    }
    if (!good) throw std::runtime_error("cannot write " + path);
    ::close(fd);
}

}  // namespace

std::string without_zeros(std::string bytes) {
    bytes.erase(bytes.find_last_not_of('\0') + 1);
    return bytes;
}

/// Which of what is not durable is there: nothing, all, or some of it, more or less of it, by sectors or by writes.
class Disk::Chance {
 public:
    explicit Chance(std::uint64_t seed) : random_(seed) {
        switch (random_() % 6) {
            case 0: odds_ = 0; break;
            case 1: odds_ = 256; break;
            case 2: odds_ = 16; break;
            case 3: odds_ = 240; break;
            default: odds_ = 128; break;
        }
        by_sectors_ = random_() % 3 != 0;
    }
    bool happened() { return random_() % 256 < odds_; }
    [[nodiscard]] bool by_sectors() const { return by_sectors_; }

 private:
    std::mt19937_64 random_;
    unsigned odds_ = 0;  // of 256
    bool by_sectors_ = false;
};

Disk::Disk(std::string root) : root_(std::move(root)), nodes_(2) { nodes_[1].is_directory = true; }

std::size_t Disk::find(std::string_view path) const {
    if (!path.starts_with(root_)) not_understood("a path outside the root");
    path.remove_prefix(root_.size());
    std::size_t at = 1;
    while (at != 0 && !path.empty()) {
        path.remove_prefix(1);
        const std::size_t slash = std::min(path.find('/'), path.size());
        const auto names = names_of(nodes_[at]);
        const auto found = names.find(std::string(path.substr(0, slash)));
        at = found == names.end() ? 0 : found->second;
        path.remove_prefix(slash);
    }
    return at;
}

std::size_t Disk::parent_of(std::string_view path) const {
    const std::size_t parent = find(path.substr(0, path.rfind('/')));
    if (parent == 0) not_understood("nobody made the directory of " + std::string(path));
    return parent;
}

std::size_t Disk::add_node(const Record& record, bool is_directory) {
    const std::size_t parent = parent_of(record.path);
    const std::size_t number = nodes_.size();
    Node& node = nodes_.emplace_back();
    node.is_directory = is_directory;
    node.inode = record.id;
    node.name = name_of(record.path);
    by_inode_[record.id] = number;
    nodes_[parent].name_changes.push_back({now_, node.name, number, {}});
    return number;
}

bool Disk::take(const Record& record) {
    ++now_;
    const auto node = [&]() -> Node& {
        const auto found = by_inode_.find(record.id);
        if (found == by_inode_.end()) not_understood("a file that nobody made");
        return nodes_[found->second];
    };
    switch (record.kind) {
        case Kind::made_file: add_node(record, false); return true;
        case Kind::made_directory: add_node(record, true); return true;
        case Kind::wrote: node().changes.push_back({now_, true, record.offset, record.bytes}); return true;
        case Kind::resized: node().changes.push_back({now_, false, record.offset, {}}); return true;
        case Kind::renamed: {
            const std::size_t moved = find(record.path);
            const std::size_t parent = parent_of(record.path);
            if (moved == 0 || parent != parent_of(record.bytes)) not_understood("a rename to another directory");
            nodes_[moved].name = name_of(record.bytes);
            nodes_[parent].name_changes.push_back(
                {now_, std::string(name_of(record.bytes)), moved, std::string(name_of(record.path))});
            return true;
        }
        case Kind::removed:
            nodes_[parent_of(record.path)].name_changes.push_back({now_, std::string(name_of(record.path)), 0, {}});
            return true;
        case Kind::sync_begins:
            // A directory that was there before its descriptor was opened is known by its path alone until now.
            syncing_[record.offset] = now_;
            return false;
        case Kind::sync_ends: {
            const auto began = syncing_.find(record.offset);
            if (began == syncing_.end()) not_understood("a sync that did not begin");
            Node& synced = by_inode_.contains(record.id) ? node() : nodes_[1];
            if (ignored_.empty() || synced.name != ignored_) make_durable(synced, began->second);
            syncing_.erase(began);
            return true;
        }
        case Kind::mapped: node().is_mapped = true; return false;
        default: return false;
    }
}

void Disk::apply(const Change& change, Bytes& bytes) {
    if (!change.is_write) {
        bytes.length = change.offset;
        if (bytes.data.size() > bytes.length) bytes.data.resize(bytes.length);
        return;
    }
    const std::uint64_t end = change.offset + change.bytes.size();
    bytes.length = std::max(bytes.length, end);
    if (bytes.data.size() < end) bytes.data.resize(end);
    bytes.data.replace(change.offset, change.bytes.size(), change.bytes);
}

void Disk::apply(const NameChange& change, std::map<std::string, std::size_t>& names) {
    if (!change.was.empty()) names.erase(change.was);
    if (change.node == 0) names.erase(change.name);
    else names[change.name] = change.node;
}

void Disk::make_durable(Node& node, std::uint64_t before) {
    const auto is_after = [before](const auto& change) { return change.when > before; };
    const auto first_left = std::find_if(node.changes.begin(), node.changes.end(), is_after);
    for (auto change = node.changes.begin(); change != first_left; ++change) apply(*change, node.durable);
    node.changes.erase(node.changes.begin(), first_left);
    const auto first_name = std::find_if(node.name_changes.begin(), node.name_changes.end(), is_after);
    for (auto change = node.name_changes.begin(); change != first_name; ++change) apply(*change, node.durable_names);
    node.name_changes.erase(node.name_changes.begin(), first_name);
}

std::map<std::string, std::size_t> Disk::names_of(const Node& node) const {
    auto names = node.durable_names;
    for (const NameChange& change : node.name_changes) apply(change, names);
    return names;
}

Disk::Bytes Disk::bytes_of(const Node& node) {
    Bytes bytes = node.durable;
    for (const Change& change : node.changes) apply(change, bytes);
    return bytes;
}

Disk::Bytes Disk::bytes_after_loss(const Node& node, Chance& chance) {
    Bytes bytes = node.durable;
    // A sector is written as it was at some moment: as soon as one change is missing in it, so are all later ones.
    std::unordered_map<std::uint64_t, bool> stopped;
    for (const Change& change : node.changes) {
        if (!change.is_write) {
            if (chance.happened()) apply(change, bytes);
            continue;
        }
        const bool whole = !chance.by_sectors() && chance.happened();
        const std::uint64_t end = change.offset + change.bytes.size();
        for (std::uint64_t at = change.offset; at < end;) {
            const std::uint64_t next = std::min(end, (at / kSector + 1) * kSector);
            bool& has_stopped = stopped[at / kSector];
            if (!has_stopped && (chance.by_sectors() ? chance.happened() : whole))
                apply({0, true, at, change.bytes.substr(at - change.offset, next - at)}, bytes);
            else has_stopped = true;
            at = next;
        }
        // A length may be known before the bytes that made it.
        if (bytes.length < end && chance.happened()) bytes.length = end;
    }
    return bytes;
}

void Disk::rebuild(const Node& node, const std::string& to, Chance& chance) const {
    auto names = node.durable_names;
    for (const NameChange& change : node.name_changes)
        if (chance.happened()) apply(change, names);
    for (const auto& [name, number] : names) {
        const Node& inside = nodes_[number];
        const std::string path = to + "/" + name;
        if (!inside.is_directory) {
            const Bytes left = bytes_after_loss(inside, chance);
            write_sparse(path, left.data, left.length);
            continue;
        }
        if (::mkdir(path.c_str(), 0700) != 0) throw std::runtime_error("cannot make " + path);
        rebuild(inside, path, chance);
    }
}

void Disk::rebuild(const std::string& to, std::uint64_t seed) const {
    Chance chance(seed);
    rebuild(nodes_[1], to, chance);
}

void Disk::add_contents(const Node& node, const std::string& path, std::map<std::string, std::string>& files) const {
    for (const auto& [name, number] : names_of(node)) {
        const Node& inside = nodes_[number];
        if (inside.is_directory) add_contents(inside, path + name + "/", files);
        else files[path + name] = without_zeros(bytes_of(inside).data);
    }
}

std::map<std::string, std::string> Disk::contents() const {
    std::map<std::string, std::string> files;
    add_contents(nodes_[1], "", files);
    return files;
}

std::uint64_t Disk::inode_of(const std::string& path) const {
    const std::size_t found = find(root_ + "/" + path);
    return found == 0 ? 0 : nodes_[found].inode;
}

bool Disk::is_mapped(const std::string& path) const {
    const std::size_t found = find(root_ + "/" + path);
    return found != 0 && nodes_[found].is_mapped;
}

std::size_t Disk::pending() const {
    std::size_t count = 0;
    for (const Node& node : nodes_) count += node.changes.size() + node.name_changes.size();
    return count;
}

}  // namespace jobyard::power_loss
