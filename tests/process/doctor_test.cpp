// `jobyard doctor`: each finding is shown by planting its cause.

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "harness.hpp"

namespace jobyard::test {
namespace {

using nlohmann::json;

/// Of each check its text if it is a problem, "ok" if it is none.
std::map<std::string, std::string> doctor(const std::string& broker, std::vector<std::string> arguments = {},
                                          const std::string& limits = "ulimit -n 20000") {
    std::string command = limits + "; exec " + program("jobyard") + " doctor --json";
    for (const std::string& argument : arguments) command += " " + argument;
    Process process({.argv = {"/bin/sh", "-c", command}, .env = {{"JOBYARD_BROKER", broker}}});
    const int exit = process.wait().value_or(-1);
    std::map<std::string, std::string> told;
    bool problems = false;
    for (const std::string& line : lines_of(process.output())) {
        const json object = json::parse(line, nullptr, false);
        const bool problem = object.value("status", "") == "problem";
        told[object.value("check", "?")] = problem ? object.value("text", "") : "ok";
        EXPECT_EQ(problem, object.contains("do")) << line;
        problems = problems || problem;
    }
    EXPECT_EQ(exit, problems ? 1 : 0) << process.output() << process.errors();
    return told;
}

testing::AssertionResult says(const std::map<std::string, std::string>& told, const std::string& check,
                              const std::string& part) {
    const auto found = told.find(check);
    if (found == told.end()) return testing::AssertionFailure() << "there is no check " << check;
    if (found->second.find(part) == std::string::npos)
        return testing::AssertionFailure() << check << ": " << found->second;
    return testing::AssertionSuccess();
}

TEST(Doctor, FindsNothingWrongWhereNothingIs) {
    BrokerProcess broker;
    const auto told = doctor(broker.endpoint(), {"--data", broker.data()});
    for (const char* check : {"endpoint", "broker", "data directory", "store", "lock", "write barriers",
                              "broker's clock", "descriptors", "address space", "memory", "workers", "dead letters"})
        EXPECT_TRUE(says(told, check, "ok"));
}

TEST(Doctor, NobodyAtTheEndpoint) {
    const TemporaryDirectory files;
    EXPECT_TRUE(says(doctor("ipc://" + files / "broker"), "broker", "no broker answers at ipc://"));
    EXPECT_TRUE(says(doctor("tcp://nowhere"), "endpoint", "tcp://nowhere"));
}

TEST(Doctor, AnEndpointDirectoryThatOthersMayOpen) {
    const TemporaryDirectory files;
    std::filesystem::create_directory(files / "jobyard");
    ASSERT_EQ(::chmod((files / "jobyard").c_str(), 0777), 0);
    const auto told = doctor("", {}, "unset JOBYARD_BROKER; export XDG_RUNTIME_DIR=" + files.path());
    EXPECT_TRUE(says(told, "endpoint", files / "jobyard"));
}

TEST(Doctor, KeysThatAreOpenToOthersOrMissing) {
    const TemporaryDirectory files;
    ASSERT_EQ(jobyard_command("", {"keygen", "web", "--output", files / ""}).exit, 0);
    const std::vector<std::string> keys{"--server-key", files / "web", "--key-file", files / "web_secret"};
    const std::string nobody = "tcp://127.0.0.1:1";
    EXPECT_TRUE(says(doctor(nobody, keys), "keys", "ok"));
    ASSERT_EQ(::chmod((files / "web_secret").c_str(), 0644), 0);
    EXPECT_TRUE(says(doctor(nobody, keys), "keys", "can be used by others"));
    EXPECT_TRUE(says(doctor(nobody), "keys", "ok"));
    EXPECT_TRUE(says(doctor("tcp://192.0.2.1:7466"), "keys", "who is between hears all"));  // a machine that is none
}

TEST(Doctor, ADataDirectoryThatIsOpenOrNotThere) {
    BrokerProcess broker;
    ASSERT_EQ(::chmod(broker.data().c_str(), 0755), 0);
    EXPECT_TRUE(says(doctor(broker.endpoint(), {"--data", broker.data()}), "data directory", "is open to other users"));
    const auto told = doctor(broker.endpoint(), {"--data", broker.data() + "/none"});
    EXPECT_TRUE(says(told, "data directory", "No such file"));
    EXPECT_TRUE(says(told, "store", "there is no store in"));
}

TEST(Doctor, AFileSystemOfMemoryThatIsNearlyFull) {
    TemporaryDirectory disk;
    if (!disk.mount_disk(std::size_t{64} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    const auto told = doctor("ipc://" + disk / "broker", {"--data", disk.path()});
    EXPECT_TRUE(says(told, "file system", "a memory file system"));
    EXPECT_TRUE(says(told, "free space", "new jobs are refused"));
}

// What other_machine.cpp says is appended.
const std::string kOnAnotherMachine = "ulimit -n 20000; export LD_PRELOAD=" JOBYARD_OTHER_MACHINE " ";

TEST(Doctor, AFileSystemThatIsNoLocalDisk) {
    BrokerProcess broker;
    for (const auto& [number, name] : std::map<std::string, std::string>{{"0x6969", "NFS"},
                                                                         {"0xfe534d42", "SMB"},
                                                                         {"0xc36400", "CephFS"},
                                                                         {"0x1021997", "9p"},
                                                                         {"0x65735546", "FUSE"}}) {
        const auto told =
            doctor(broker.endpoint(), {"--data", broker.data()}, kOnAnotherMachine + "FILE_SYSTEM=" + number);
        EXPECT_TRUE(says(told, "file system", name));
        EXPECT_TRUE(says(told, "file system", "what is acknowledged may not survive a power loss"));
    }
}

TEST(Doctor, AFileSystemInLayers) {
    TemporaryDirectory disk;
    if (!disk.mount_disk(std::size_t{64} << 20)) GTEST_SKIP() << "cannot mount a disk: " << std::strerror(errno);
    for (const char* layer : {"lower", "upper", "work", "data"}) std::filesystem::create_directory(disk / layer);
    const std::string layers =
        "lowerdir=" + disk / "lower" + ",upperdir=" + disk / "upper" + ",workdir=" + disk / "work";
    if (::mount("overlay", (disk / "data").c_str(), "overlay", 0, layers.c_str()) != 0)
        GTEST_SKIP() << "cannot mount layers: " << std::strerror(errno);
    const auto told = doctor("ipc://" + disk / "broker", {"--data", disk / "data"});
    ::umount(std::string(disk / "data").c_str());
    EXPECT_TRUE(says(told, "file system", "is on overlayfs: what is acknowledged may not survive a power loss"));
}

TEST(Doctor, ADiskThatIsMountedWithoutBarriers) {
    const TemporaryDirectory files;
    struct stat info {};
    ASSERT_EQ(::stat(files.path().c_str(), &info), 0);
    const std::string device = std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
    std::filesystem::create_directories(files / "proc/self");
    const auto mounted = [&](const std::string& options) {
        write_file(files / "proc/self/mountinfo", "22 1 0:99 / /other rw - ext4 /dev/sdb1 rw,barrier=0\n36 25 " +
                                                      device + " / /data rw,noatime shared:1 - ext4 /dev/sda1 " +
                                                      options + "\n");
        return doctor("ipc://" + files / "broker", {"--data", files.path(), "--root", files.path()});
    };
    EXPECT_TRUE(says(mounted("rw"), "write barriers", "ok"));
    EXPECT_TRUE(says(mounted("rw,nobarrier"), "write barriers", "/data is mounted with nobarrier: "));
    EXPECT_TRUE(says(mounted("rw,barrier=0"), "write barriers", "/data is mounted with barrier=0: "));
}

TEST(Doctor, AClockThatNothingKeepsRightOrThatIsNotTheBrokers) {
    BrokerProcess broker;
    const auto with = [&](const std::string& clock) {
        return doctor(broker.endpoint(), {"--data", broker.data()}, kOnAnotherMachine + clock);
    };
    const auto kept = with("CLOCK_SAID=" + std::to_string(TIME_OK));
    EXPECT_TRUE(says(kept, "clock", "ok"));
    EXPECT_TRUE(says(kept, "broker's clock", "ok"));
    EXPECT_TRUE(says(with("CLOCK_SAID=" + std::to_string(TIME_ERROR)), "clock", "nothing keeps this machine's clock"));
    EXPECT_TRUE(says(with("CLOCK_AHEAD=-3600"), "broker's clock", "ahead of the one here"));
    EXPECT_TRUE(says(with("CLOCK_AHEAD=7200"), "broker's clock", "behind the one here"));
}

/// As the kernel shows it, of a process in a group of either version.
void plant_memory_limit(const TemporaryDirectory& files, const std::string& process, const std::string& group,
                        const std::string& file, const std::string& limit) {
    std::filesystem::create_directories(files / ("proc/" + process));
    write_file(files / ("proc/" + process + "/cgroup"), "7:blkio:/\n" + group + "\n");
    const std::string path = files / file;
    std::filesystem::create_directories(path.substr(0, path.rfind('/')));
    write_file(path, limit + "\n");
}

TEST(Doctor, MoreJobsThanItsMemoryHoldsAndConnectionsThatMustWait) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    const std::string process = std::to_string(broker.process().pid());
    const auto look = [&] { return doctor(broker.endpoint(), {"--data", broker.data(), "--root", files.path()}); };
    EXPECT_TRUE(says(look(), "memory", "ok")) << "there is no limit";
    plant_memory_limit(files, process, "0::/a.slice/b.service", "sys/fs/cgroup/a.slice/b.service/memory.max", "max");
    EXPECT_TRUE(says(look(), "memory", "ok"));
    plant_memory_limit(files, process, "0::/a.slice/b.service", "sys/fs/cgroup/a.slice/memory.max", "200000000");
    EXPECT_TRUE(says(look(), "memory", "may have 0.2 GiB (/sys/fs/cgroup/a.slice/memory.max)"));
    plant_memory_limit(files, process, "4:cpu,memory:/g", "sys/fs/cgroup/memory/g/memory.limit_in_bytes", "268600000");
    EXPECT_TRUE(says(look(), "memory", "ok")) << "there are no jobs";
    Client client(client_options(broker.endpoint()));
    for (const Submission& job : client.submit_all(std::vector<JobSpec>(2000, {.type = "t"})))
        ASSERT_TRUE(job.id(kPatience));
    EXPECT_TRUE(
        says(look(), "memory", "(/sys/fs/cgroup/memory/g/memory.limit_in_bytes), and needs about 0.3 GiB (2000"));
    std::filesystem::create_directories(files / "proc/sys/net/core");
    write_file(files / "proc/sys/net/core/somaxconn", "4096\n");
    EXPECT_TRUE(says(look(), "connections", "ok"));
    write_file(files / "proc/sys/net/core/somaxconn", "128\n");
    EXPECT_TRUE(says(look(), "connections", "only 128 may come at once"));
}

TEST(Doctor, AStoreWithoutItsLog) {
    BrokerProcess broker;
    ASSERT_EQ(broker.terminate(), 0);
    std::filesystem::remove(broker.data() + "/store/log.0");
    std::filesystem::remove(broker.data() + "/store/log.1");
    EXPECT_TRUE(says(doctor(broker.endpoint(), {"--data", broker.data()}), "store", "commit log"));
}

TEST(Doctor, ALockThatIsNotOfTheBrokerThatAnswers) {
    BrokerProcess one;
    BrokerProcess other;
    ASSERT_EQ(other.terminate(), 0);
    EXPECT_TRUE(says(doctor(one.endpoint(), {"--data", other.data()}), "lock", "but it does not use"));
    EXPECT_TRUE(says(doctor(other.endpoint(), {"--data", one.data()}), "lock",
                     "process " + std::to_string(one.process().pid()) + " holds"));
}

TEST(Doctor, LimitsThatABrokerStartedHereWouldMeet) {
    if (kSanitized) GTEST_SKIP() << "a sanitizer cannot live with a limit of addresses";
    const TemporaryDirectory files;
    const auto told = doctor("ipc://" + files / "broker", {}, "ulimit -n 1024; ulimit -v 8000000");
    EXPECT_TRUE(says(told, "descriptors", "may have 1024 descriptors"));
    EXPECT_TRUE(says(told, "address space", "may map 7.6 GiB"));
}

TEST(Doctor, JobsThatNobodyServesAndDeadOnes) {
    const TemporaryDirectory files;
    BrokerProcess broker;
    auto worker = start_command_worker(broker.endpoint());
    Client client(client_options(broker.endpoint()));
    ASSERT_TRUE(client.submit({.type = "nobody", .queue = "forgotten"}).id(kPatience));
    const Result<JobResult> failed =
        client.run({.type = "command", .payload = command_payload({"false"}), .max_attempts = 1}, kPatience);
    ASSERT_TRUE(failed) << failed.error().text;
    const auto told = doctor(broker.endpoint());
    EXPECT_TRUE(says(told, "workers", "no worker serves the oldest job of 1 queue (forgotten)"));
    EXPECT_TRUE(says(told, "dead letters", "1 jobs have failed for good"));
}

}  // namespace
}  // namespace jobyard::test
