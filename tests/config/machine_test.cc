#include "config/machine.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace larder {
namespace {

class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-machine-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    Put("proc/sys/kernel/hostname", "web-3\n");
    Put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n");
    Put("proc/self/status",
        "Name:\tlarderd\nCpus_allowed:\tff\nCpus_allowed_list:\t0-3,6\nMems_allowed:\t1\n");
  }
  ~MachineTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  Machine Read() const { return ReadMachine(root_.string()); }

  std::filesystem::path root_;
};

TEST_F(MachineTest, WithoutCgroupsGivesTheMachine) {
  const Machine machine = Read();
  EXPECT_EQ(machine.hostname, "web-3");
  EXPECT_EQ(machine.memory.Tightest()->Name(), "machine's memory 16GiB");
  EXPECT_EQ(machine.cpus, 5);
}

TEST_F(MachineTest, FindsALimitOfCgroupV2InAContainer) {
  Put("proc/self/cgroup", "0::/\n");
  Put("sys/fs/cgroup/memory.max", "536870912\n");
  Put("sys/fs/cgroup/cpu.max", "150000 100000\n");
  const Machine machine = Read();
  EXPECT_EQ(machine.memory.Tightest()->Name(), "cgroup v2 limit 512MiB");
  EXPECT_EQ(machine.cpus, 2) << "a quota of one and a half CPUs keeps two busy";
}

TEST_F(MachineTest, TakesTheSmallestLimitOnTheWayUpInCgroupV2) {
  Put("proc/self/cgroup", "0::/system.slice/larder.service\n");
  Put("sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
  Put("sys/fs/cgroup/system.slice/larder.service/memory.max", "max\n");
  Put("sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n");
  Put("sys/fs/cgroup/system.slice/larder.service/cpu.max", "max 100000\n");
  const Machine machine = Read();
  EXPECT_EQ(machine.memory.Tightest()->Name(), "cgroup v2 limit 1GiB");
  EXPECT_EQ(machine.cpus, 3);
}

TEST_F(MachineTest, FindsALimitOfCgroupV1) {
  Put("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/system.slice\n");
  Put("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "268435456\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Put("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "100000\n");
  Put("sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n");
  const Machine machine = Read();
  EXPECT_EQ(machine.memory.Tightest()->Name(), "cgroup v1 limit 256MiB");
  EXPECT_EQ(machine.cpus, 1);
}

// Without a cgroup namespace the path is the host's; inside the container only the mount point
// exists.
TEST_F(MachineTest, FindsALimitOfCgroupV1ThatIsMountedAtTheRoot) {
  Put("proc/self/cgroup", "3:memory:/docker/abc\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
  EXPECT_EQ(Read().memory.Tightest()->Name(), "cgroup v1 limit 128MiB");
}

TEST_F(MachineTest, IgnoresLimitsBeyondTheMachine) {
  Put("proc/self/cgroup", "3:memory:/\n4:cpu:/\n");
  Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  const Machine machine = Read();
  EXPECT_EQ(machine.memory.Tightest()->Name(), "machine's memory 16GiB");
  EXPECT_EQ(machine.cpus, 5);
}

TEST_F(MachineTest, TakesNonsenseAndNothingForUnknown) {
  Put("proc/self/cgroup", "nonsense\n0::/../../other\n:\n");
  Put("proc/meminfo", "MemTotal: lots\n");
  Put("proc/self/status", "Cpus_allowed_list:\tx-y,3-1,-\n");
  Put("sys/fs/cgroup/memory.max", "\xFF\xFE");
  Put("sys/fs/cgroup/cpu.max", "0 0\n");
  Machine machine = Read();
  EXPECT_EQ(machine.memory.Tightest(), nullptr);
  EXPECT_EQ(machine.cpus, 1);

  machine = ReadMachine((root_ / "nowhere").string());
  EXPECT_EQ(machine.hostname, "");
  EXPECT_EQ(machine.memory.Tightest(), nullptr);
  EXPECT_EQ(machine.cpus, 1);
}

TEST(ThisMachineTest, KnowsThisMachine) {
  const Machine machine = ThisMachine();
  EXPECT_FALSE(machine.hostname.empty());
  ASSERT_NE(machine.memory.Tightest(), nullptr);
  EXPECT_GE(machine.cpus, 1);
}

}  // namespace
}  // namespace larder
