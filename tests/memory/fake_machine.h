// A machine of files in a temporary directory: 16 GiB of memory, half of it available, no cgroups
// and no pressure until a test puts some there.

#ifndef LARDER_TESTS_MEMORY_FAKE_MACHINE_H_
#define LARDER_TESTS_MEMORY_FAKE_MACHINE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace larder {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;

class FakeMachine {
 public:
  FakeMachine() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-memory-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    Meminfo(16 * kGiB, 8 * kGiB);
    Put("proc/self/statm", "90000 5000 2000 300 0 40000 0\n");
    Put("proc/self/cgroup", "0::/\n");
    Put("proc/self/mountinfo", "31 23 0:28 / / rw - ext4 /dev/sda rw\n");
    Stalls("proc/pressure/memory", 0, 0);
  }
  ~FakeMachine() { std::filesystem::remove_all(root_); }
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  std::string root() const { return root_.string(); }

  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void Remove(const std::string& path) { std::filesystem::remove_all(root_ / path); }

  void Meminfo(uint64_t total, uint64_t available) {
    Put("proc/meminfo", "MemTotal: " + std::to_string(total / 1024) + " kB\nMemFree: 1000 kB\n" +
                            "MemAvailable: " + std::to_string(available / 1024) + " kB\n");
  }
  // Whole percents.
  void Stalls(const std::string& path, int some, int full) {
    const std::string rest = ".00 avg60=0.00 avg300=0.00 total=1\n";
    Put(path,
        "some avg10=" + std::to_string(some) + rest + "full avg10=" + std::to_string(full) + rest);
  }
  // cgroup v2 at its usual place, of which `part` is mounted, with the process at `path`.
  void CgroupV2(const std::string& part, const std::string& path) {
    Put("proc/self/mountinfo", "31 23 0:28 " + part + " /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    Put("proc/self/cgroup", "0::" + path + "\n");
  }
  void CgroupV1(const std::string& part, const std::string& path) {
    Put("proc/self/mountinfo",
        "35 31 0:32 " + part + " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    Put("proc/self/cgroup", "4:memory:" + path + "\n");
  }
  // The limit and use of the cgroup that CgroupV2("/", "/") mounted.
  void Limit(uint64_t limit, uint64_t used) {
    Put("sys/fs/cgroup/memory.max", std::to_string(limit) + "\n");
    Put("sys/fs/cgroup/memory.current", std::to_string(used) + "\n");
  }

 private:
  std::filesystem::path root_;
};

}  // namespace larder

#endif  // LARDER_TESTS_MEMORY_FAKE_MACHINE_H_
