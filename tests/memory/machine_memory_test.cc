#include "memory/machine_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/memory/fake_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class MachineMemoryTest : public testing::Test {
 protected:
  MemoryReading Read() const { return ReadMemory(machine_.root()); }

  FakeMachine machine_;
};

TEST_F(MachineMemoryTest, WithoutCgroupsGivesTheMachineAndItsPressure) {
  machine_.Put("proc/pressure/memory",
               "some avg10=12.34 avg60=1.00 avg300=0.10 total=444588\n"
               "full avg10=3.20 avg60=0.00 avg300=0.00 total=234885\n");
  const MemoryReading reading = Read();
  ASSERT_EQ(reading.levels.size(), 1u);
  EXPECT_EQ(reading.levels[0].source, MemorySource::kMachine);
  EXPECT_EQ(reading.levels[0].limit_bytes, 16 * kGiB);
  EXPECT_EQ(reading.levels[0].available_bytes, 8 * kGiB);
  EXPECT_EQ(reading.Tightest()->Name(), "machine's memory 16GiB");
  EXPECT_EQ(reading.Machine(), &reading.levels[0]);
  EXPECT_TRUE(reading.limits_certain);
  EXPECT_TRUE(reading.pressure.known);
  EXPECT_FALSE(reading.pressure.own);
  EXPECT_DOUBLE_EQ(reading.pressure.some, 12.34);
  EXPECT_DOUBLE_EQ(reading.pressure.full, 3.2);
  EXPECT_EQ(reading.resident_bytes, 5000u * sysconf(_SC_PAGESIZE));
  EXPECT_THAT(reading.problems, IsEmpty());
}

TEST_F(MachineMemoryTest, ContainerWithItsCgroupMountedAtTheRoot) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max", "4294967296\n");
  machine_.Put("sys/fs/cgroup/memory.high", "max\n");
  machine_.Put("sys/fs/cgroup/memory.current", "3221225472\n");
  machine_.Put("sys/fs/cgroup/memory.stat",
               "anon 1073741824\nfile 2147483648\ninactive_file 1073741824\n"
               "active_file 536870912\n");
  machine_.Put("sys/fs/cgroup/memory.events", "low 0\nhigh 3\nmax 40\noom 2\noom_kill 1\n");
  machine_.Put("sys/fs/cgroup/memory.pressure",
               "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n"
               "full avg10=0.50 avg60=0.00 avg300=0.00 total=1\n");
  const MemoryReading reading = Read();
  ASSERT_EQ(reading.levels.size(), 2u);
  EXPECT_EQ(reading.Tightest()->Name(), "cgroup v2 limit 4GiB");
  EXPECT_EQ(reading.levels[0].available_bytes, 4 * kGiB - (3 * kGiB - 1536 * kMiB))
      << "the cache of files is as good as free";
  EXPECT_EQ(reading.pressure.limit_hits, 43u);
  EXPECT_EQ(reading.pressure.ooms, 2u);
  EXPECT_TRUE(reading.pressure.own);
  EXPECT_DOUBLE_EQ(reading.pressure.some, 1.5);
  EXPECT_THAT(reading.problems, IsEmpty());
}

TEST_F(MachineMemoryTest, TakesTheLeastLimitOfTheWholeHierarchy) {
  machine_.CgroupV2("/", "/kubepods/pod1/larder");
  machine_.Put("sys/fs/cgroup/kubepods/pod1/larder/memory.max", "max\n");
  machine_.Put("sys/fs/cgroup/kubepods/pod1/larder/memory.high", "max\n");
  machine_.Put("sys/fs/cgroup/kubepods/pod1/memory.max", "1073741824\n");
  machine_.Put("sys/fs/cgroup/kubepods/pod1/memory.current", "209715200\n");
  machine_.Put("sys/fs/cgroup/kubepods/memory.max", "2147483648\n");
  machine_.Put("sys/fs/cgroup/kubepods/memory.current", "2147483648\n");
  const MemoryReading reading = Read();
  ASSERT_EQ(reading.levels.size(), 3u);
  EXPECT_EQ(reading.Tightest(), &reading.levels[0]);
  EXPECT_EQ(reading.levels[0].limit_bytes, kGiB);
  EXPECT_EQ(reading.levels[0].available_bytes, kGiB - 200 * kMiB);
  EXPECT_EQ(reading.levels[1].available_bytes, 0u);
  EXPECT_EQ(reading.Machine(), &reading.levels[2]);
}

TEST_F(MachineMemoryTest, MemoryHighIsALimitWhereItIsLess) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max", "1073741824\n");
  machine_.Put("sys/fs/cgroup/memory.high", "536870912\n");
  machine_.Put("sys/fs/cgroup/memory.current", "1048576\n");
  EXPECT_EQ(Read().Tightest()->Name(), "cgroup v2 memory.high 512MiB");
  machine_.Put("sys/fs/cgroup/memory.high", "2147483648\n");
  EXPECT_EQ(Read().Tightest()->Name(), "cgroup v2 limit 1GiB");
}

TEST_F(MachineMemoryTest, ReadsCgroupV1WithItsHugeNumberForNoLimit) {
  machine_.CgroupV1("/docker/abc", "/docker/abc");
  machine_.Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
  machine_.Put("sys/fs/cgroup/memory/memory.usage_in_bytes", "134217728\n");
  machine_.Put("sys/fs/cgroup/memory/memory.stat",
               "inactive_file 1\nhierarchical_memory_limit 268435456\n"
               "total_inactive_file 33554432\ntotal_active_file 33554432\n");
  machine_.Put("sys/fs/cgroup/memory/memory.failcnt", "7\n");
  machine_.Put("sys/fs/cgroup/memory/memory.oom_control",
               "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
  MemoryReading reading = Read();
  EXPECT_EQ(reading.Tightest()->Name(), "cgroup v1 limit 256MiB");
  EXPECT_EQ(reading.levels[0].available_bytes, 192 * kMiB);
  EXPECT_EQ(reading.pressure.limit_hits, 7u);
  EXPECT_EQ(reading.pressure.ooms, 1u);
  EXPECT_FALSE(reading.pressure.own) << "v1 has no pressure of its own";
  EXPECT_THAT(reading.problems, IsEmpty());

  machine_.Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  machine_.Put("sys/fs/cgroup/memory/memory.stat",
               "hierarchical_memory_limit 9223372036854771712\n");
  reading = Read();
  EXPECT_EQ(reading.Tightest()->source, MemorySource::kMachine);
  EXPECT_EQ(reading.levels.size(), 1u);
}

// From inside a container the limit of the pod cannot be seen; v1 names it all the same.
TEST_F(MachineMemoryTest, TakesTheLimitOfAnInvisibleAncestorFromCgroupV1) {
  machine_.CgroupV1("/", "/");
  machine_.Put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  machine_.Put("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
  machine_.Put("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 536870912\n");
  EXPECT_EQ(Read().Tightest()->Name(), "cgroup v1 limit 512MiB");
}

TEST_F(MachineMemoryTest, HybridMachineHasItsLimitInV1AndItsPressureInV2) {
  machine_.Put("proc/self/mountinfo",
               "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
               "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  machine_.Put("proc/self/cgroup", "4:memory:/web\n0::/web.slice\n");
  machine_.Put("sys/fs/cgroup/memory/web/memory.limit_in_bytes", "536870912\n");
  machine_.Put("sys/fs/cgroup/memory/web/memory.usage_in_bytes", "1048576\n");
  machine_.Put("sys/fs/cgroup/unified/web.slice/memory.pressure",
               "some avg10=2.00 avg60=0.00 avg300=0.00 total=1\n");
  const MemoryReading reading = Read();
  EXPECT_EQ(reading.Tightest()->Name(), "cgroup v1 limit 512MiB");
  EXPECT_EQ(reading.levels[0].available_bytes, 511 * kMiB);
  EXPECT_TRUE(reading.pressure.own);
  EXPECT_DOUBLE_EQ(reading.pressure.some, 2);
  EXPECT_DOUBLE_EQ(reading.pressure.full, 0) << "the machine's root has no `full` line";
}

TEST_F(MachineMemoryTest, LimitsBeyondTheMachineAreNone) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max", "17179869184\n");
  machine_.Put("sys/fs/cgroup/memory.current", "1\n");
  EXPECT_EQ(Read().Tightest()->source, MemorySource::kMachine);
}

TEST_F(MachineMemoryTest, GarbageInALimitIsAProblemAndMakesLimitsUncertain) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.current", "1\n");
  for (const char* const garbage : {"lots", "\xFF\xFE", "-1", "0", "4GiB", "1 2"}) {
    machine_.Put("sys/fs/cgroup/memory.max", garbage);
    const MemoryReading reading = Read();
    EXPECT_FALSE(reading.limits_certain) << garbage;
    EXPECT_EQ(reading.Tightest()->source, MemorySource::kMachine) << garbage;
    EXPECT_THAT(reading.problems, ElementsAre(HasSubstr("memory.max: holds no limit"))) << garbage;
  }
}

TEST_F(MachineMemoryTest, LimitThatCannotBeReadIsAProblemAndMakesLimitsUncertain) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max/a-directory", "");
  const MemoryReading reading = Read();
  EXPECT_FALSE(reading.limits_certain);
  EXPECT_THAT(reading.problems, ElementsAre(HasSubstr("memory.max: Is a directory")));
}

TEST_F(MachineMemoryTest, WithoutTheUsageAWholeLimitCountsAsAvailable) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max", "1073741824\n");
  const MemoryReading reading = Read();
  EXPECT_EQ(reading.levels[0].available_bytes, kGiB);
  EXPECT_TRUE(reading.limits_certain);
  EXPECT_THAT(reading.problems,
              ElementsAre(HasSubstr("memory.current: holds no number of bytes in use")));
}

TEST_F(MachineMemoryTest, MoreInUseThanTheLimitLeavesNothing) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.max", "1048576\n");
  machine_.Put("sys/fs/cgroup/memory.current", "18446744073709551615\n");
  EXPECT_EQ(Read().levels[0].available_bytes, 0u);
  machine_.Put("sys/fs/cgroup/memory.current", "5\n");
  machine_.Put("sys/fs/cgroup/memory.stat", "inactive_file 6\n");
  EXPECT_EQ(Read().levels[0].available_bytes, kMiB);
}

TEST_F(MachineMemoryTest, PressureFallsBackToTheMachineAndThenToUnknown) {
  machine_.CgroupV2("/", "/");
  machine_.Put("sys/fs/cgroup/memory.pressure", "no pressure here\n");
  machine_.Put("proc/pressure/memory", "some avg10=7.00 avg60=0.00 avg300=0.00 total=1\n");
  MemoryReading reading = Read();
  EXPECT_TRUE(reading.pressure.known);
  EXPECT_FALSE(reading.pressure.own);
  EXPECT_DOUBLE_EQ(reading.pressure.some, 7);
  EXPECT_THAT(reading.problems,
              ElementsAre(HasSubstr("cgroup/memory.pressure: holds no memory pressure")));

  machine_.Put("sys/fs/cgroup/memory.pressure", "some avg10=101 avg60=0\n");
  machine_.Put("proc/pressure/memory", "some avg10=nan avg60=0\n");
  reading = Read();
  EXPECT_FALSE(reading.pressure.known);
  EXPECT_DOUBLE_EQ(reading.pressure.some, 0);

  machine_.Remove("sys/fs/cgroup/memory.pressure");
  machine_.Remove("proc/pressure/memory");
  reading = Read();
  EXPECT_FALSE(reading.pressure.known);
  EXPECT_THAT(reading.problems, ElementsAre("the kernel tells no memory pressure (PSI)"));
}

TEST_F(MachineMemoryTest, NothingReadableIsUnknownAndSaysWhat) {
  const MemoryReading reading = ReadMemory(machine_.root() + "/nowhere");
  EXPECT_THAT(reading.levels, IsEmpty());
  EXPECT_EQ(reading.Tightest(), nullptr);
  EXPECT_EQ(reading.Machine(), nullptr);
  EXPECT_EQ(reading.resident_bytes, 0u);
  EXPECT_THAT(reading.problems, ElementsAre(HasSubstr("/proc/meminfo: holds no MemTotal"),
                                            "the kernel tells no memory pressure (PSI)",
                                            HasSubstr("/proc/self/statm: holds no resident set")));
}

TEST_F(MachineMemoryTest, GarbageInTheMachinesFilesIsUnknown) {
  machine_.Put("proc/meminfo", "MemTotal: lots kB\nMemAvailable: 1 kB\n");
  machine_.Put("proc/self/statm", "1\n");
  MemoryReading reading = Read();
  EXPECT_THAT(reading.levels, IsEmpty());
  EXPECT_EQ(reading.resident_bytes, 0u);

  machine_.Put("proc/meminfo", "MemTotal: 1024 kB\nMemAvailable: 2048 kB\n");
  reading = Read();
  EXPECT_EQ(reading.levels[0].available_bytes, kMiB) << "no more than there is";
  machine_.Put("proc/meminfo", "MemTotal: 1024 kB\n");  // as before Linux 3.14
  reading = Read();
  EXPECT_EQ(reading.levels[0].available_bytes, kMiB);
  EXPECT_THAT(reading.problems, testing::Contains(HasSubstr("holds no MemAvailable")));
}

TEST(ThisMachineMemoryTest, KnowsThisProcess) {
  const MemoryReading reading = ReadMemory();
  ASSERT_NE(reading.Machine(), nullptr);
  EXPECT_GT(reading.Machine()->limit_bytes, 16 * kMiB);
  EXPECT_GT(reading.resident_bytes, kMiB);
  EXPECT_LT(reading.resident_bytes, reading.Machine()->limit_bytes);
}

TEST(AboutBytesTest, SaysSizesAsPeopleDo) {
  EXPECT_EQ(AboutBytes(0), "0B");
  EXPECT_EQ(AboutBytes(1023), "1023B");
  EXPECT_EQ(AboutBytes(1536), "1.5KiB");
  EXPECT_EQ(AboutBytes(512 * kMiB), "512MiB");
  EXPECT_EQ(AboutBytes(25274793984), "23.54GiB");
  EXPECT_EQ(AboutBytes(uint64_t{3} << 40), "3TiB");
  EXPECT_EQ(AboutBytes(UINT64_MAX), "1.678e+07TiB");
}

}  // namespace
}  // namespace larder
