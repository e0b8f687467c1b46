#include "base/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class CgroupTest : public testing::Test {
 protected:
  CgroupTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-cgroup-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~CgroupTest() override { std::filesystem::remove_all(root_); }

  void Put(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  // Without the root in front.
  std::vector<std::string> Directories(const std::string& controller) const {
    std::vector<std::string> directories = CgroupDirectories(root_.string(), controller);
    for (std::string& directory : directories) directory.erase(0, root_.string().size());
    return directories;
  }

  std::filesystem::path root_;
};

TEST_F(CgroupTest, ClimbsFromTheOwnGroupToTheMountPoint) {
  Put("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n");
  Put("proc/self/cgroup", "0::/system.slice/larder.service\n");
  EXPECT_THAT(Directories(""), ElementsAre("/sys/fs/cgroup/system.slice/larder.service",
                                           "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"));
  EXPECT_THAT(Directories("memory"), IsEmpty());
}

TEST_F(CgroupTest, FindsEachHierarchyOfAHybridMachine) {
  Put("proc/self/mountinfo",
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
  Put("proc/self/cgroup", "4:memory:/web\n3:cpu,cpuacct:/\n0::/user.slice\n");
  EXPECT_THAT(Directories("memory"),
              ElementsAre("/sys/fs/cgroup/memory/web", "/sys/fs/cgroup/memory"));
  EXPECT_THAT(Directories("cpu"), ElementsAre("/sys/fs/cgroup/cpu,cpuacct"));
  EXPECT_THAT(Directories(""),
              ElementsAre("/sys/fs/cgroup/unified/user.slice", "/sys/fs/cgroup/unified"));
}

// A container without a cgroup namespace sees its part of the hierarchy under the host's path.
TEST_F(CgroupTest, TakesTheMountedPartOffThePath) {
  Put("proc/self/mountinfo",
      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  Put("proc/self/cgroup", "4:memory:/docker/abc/inner\n");
  EXPECT_THAT(Directories("memory"),
              ElementsAre("/sys/fs/cgroup/memory/inner", "/sys/fs/cgroup/memory"));
  Put("proc/self/cgroup", "4:memory:/docker/abc\n");
  EXPECT_THAT(Directories("memory"), ElementsAre("/sys/fs/cgroup/memory"));
}

TEST_F(CgroupTest, DoesNotClimbOutOfANamespace) {
  Put("proc/self/mountinfo", "31 23 0:28 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  Put("proc/self/cgroup", "0::/../other\n");
  EXPECT_THAT(Directories(""), ElementsAre("/sys/fs/cgroup"));
}

TEST_F(CgroupTest, ReadsMountPointsWithBlanks) {
  Put("proc/self/mountinfo", "31 23 0:28 / /my\\040groups\\134x rw - cgroup2 cgroup2 rw\n");
  EXPECT_THAT(Directories(""), ElementsAre("/my groups\\x"));
}

TEST_F(CgroupTest, WithoutMountsTriesTheUsualPlaces) {
  EXPECT_THAT(Directories(""), ElementsAre("/sys/fs/cgroup"));
  Put("proc/self/mountinfo", "nonsense\n - \n1 2 - cgroup2\n");
  Put("proc/self/cgroup", "nonsense\n4:memory:/a\n");
  EXPECT_THAT(Directories("memory"),
              ElementsAre("/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory"));
}

TEST_F(CgroupTest, TellsAMissingFileFromOneThatCannotBeRead) {
  Put("file", "text\n");
  EXPECT_EQ(*ReadKernelFile((root_ / "file").string()), "text\n");
  EXPECT_TRUE(absl::IsNotFound(ReadKernelFile((root_ / "none").string()).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadKernelFile((root_ / "file/none").string()).status()));
  // A directory can be opened, and not read.
  EXPECT_TRUE(absl::IsUnavailable(ReadKernelFile(root_.string()).status()));
}

}  // namespace
}  // namespace larder
