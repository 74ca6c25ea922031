#pragma once
// Where a torture run happens: a directory, and as far as this user may make them a small file system of its own and a
// network of its own with a second machine in it. What cannot be had is said, and its faults are left out.

#include <memory>
#include <string>
#include <vector>

#include "../process/harness.hpp"

namespace jobyard::torture {

/// Runs this program again in namespaces of its own for network and mounts, if that is allowed and has not happened
/// yet; else returns. To be called first in main().
void enter_own_namespaces(char** argv);

class Place {
 public:
    /// `bytes`: of the small file system.
    Place(const std::string& parent, std::uint64_t bytes);
    ~Place();
    /// Leaves the directory there, without the small file system.
    void keep() { keep_ = true; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    [[nodiscard]] std::string directory() const { return directory_; }
    /// On the small file system, if there is one.
    [[nodiscard]] std::string data() const { return data_; }
    [[nodiscard]] bool has_small_disk() const { return has_disk_; }
    [[nodiscard]] bool has_far_machine() const { return far_ != nullptr; }
    [[nodiscard]] bool has_packet_filter() const { return has_filter_; }
    /// What is missing here, and why; a sentence each.
    [[nodiscard]] const std::vector<std::string>& missing() const { return missing_; }

    static constexpr const char* kNearAddress = "10.77.0.1";
    /// Goes before the words of a command that is to run on the far machine.
    [[nodiscard]] std::vector<std::string> on_far_machine() const;

    void set_link(bool up) const;
    enum class Lose { nothing, to_broker, from_broker, some };
    void set_filter(Lose lose) const;

    void fill_disk(std::uint64_t but_bytes) const;
    void empty_disk() const;

 private:
    std::string directory_;
    std::string data_;
    bool keep_ = false;
    bool has_disk_ = false;
    bool has_filter_ = false;
    std::unique_ptr<test::Process> far_;
    std::vector<std::string> missing_;
};

}  // namespace jobyard::torture
