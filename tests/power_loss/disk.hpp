#pragma once
// A disk that has seen a part of a trace, and what it would hold if the power failed now.
//
// The model is harsher than a common file system. What was synced is there. Of what was not, each sector of 512 bytes
// holds what it held before, or what any one of the later writes left in it; each file has its old length or a newer
// one; and each name that was made, moved or removed in a directory since that directory was synced is there or not,
// whether or not the file was synced. Only a rename is one thing.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trace.hpp"

namespace jobyard::power_loss {

inline constexpr std::uint64_t kSector = 512;

/// At the end: a file that was made longer holds them.
std::string without_zeros(std::string bytes);

class Disk {
 public:
    /// `root` is there already, empty and durable.
    explicit Disk(std::string root);

    /// A planted bug: from now on syncs of the file or directory of that name are believed by whoever asks for them,
    /// and do not happen.
    void ignore_syncs_of(std::string name) { ignored_ = std::move(name); }

    /// True if it changed what a power loss leaves.
    bool take(const Record& record);

    /// Makes the directory `to`, empty so far, what `root` would be after a power loss; which of all the possible ways,
    /// the seed says.
    void rebuild(const std::string& to, std::uint64_t seed) const;

    /// What the files hold as long as the power stays, zeros at the end left out: by path below root.
    [[nodiscard]] std::map<std::string, std::string> contents() const;
    /// By path below root; 0: there is none.
    [[nodiscard]] std::uint64_t inode_of(const std::string& path) const;
    /// Paths that are written through memory, which nobody sees.
    [[nodiscard]] bool is_mapped(const std::string& path) const;

    /// Changes that are not durable yet: writes, and names.
    [[nodiscard]] std::size_t pending() const;

 private:
    /// What a file holds: behind `data` there are zeros up to `length`.
    struct Bytes {
        std::string data;
        std::uint64_t length = 0;
    };
    struct Change {
        std::uint64_t when = 0;
        bool is_write = false;
        std::uint64_t offset = 0;  // of a write; else the new length
        std::string_view bytes;
    };
    struct NameChange {
        std::uint64_t when = 0;
        std::string name;
        std::size_t node = 0;  // 0: removed
        std::string was;       // renamed from it
    };
    struct Node {
        bool is_directory = false;
        bool is_mapped = false;
        std::uint64_t inode = 0;
        std::string name;  // its last
        // A file:
        Bytes durable;
        std::vector<Change> changes;
        // A directory:
        std::map<std::string, std::size_t> durable_names;
        std::vector<NameChange> name_changes;
    };
    class Chance;

    std::size_t add_node(const Record& record, bool is_directory);
    [[nodiscard]] std::size_t find(std::string_view path) const;
    [[nodiscard]] std::size_t parent_of(std::string_view path) const;
    static void apply(const Change& change, Bytes& bytes);
    static void apply(const NameChange& change, std::map<std::string, std::size_t>& names);
    void make_durable(Node& node, std::uint64_t before);
    [[nodiscard]] std::map<std::string, std::size_t> names_of(const Node& node) const;
    [[nodiscard]] static Bytes bytes_of(const Node& node);
    [[nodiscard]] static Bytes bytes_after_loss(const Node& node, Chance& chance);
    void rebuild(const Node& node, const std::string& to, Chance& chance) const;
    void add_contents(const Node& node, const std::string& path, std::map<std::string, std::string>& files) const;

    std::string root_;
    std::string ignored_;
    std::uint64_t now_ = 0;
    std::vector<Node> nodes_;  // 1 is the root
    std::unordered_map<std::uint64_t, std::size_t> by_inode_;
    std::unordered_map<std::uint64_t, std::uint64_t> syncing_;  // by the sync's number: when it began
};

}  // namespace jobyard::power_loss
