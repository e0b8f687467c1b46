// A small file system for tests of full disks. Thread safety: none.

#ifndef LARDER_TESTS_E2E_SMALL_DISK_H_
#define LARDER_TESTS_E2E_SMALL_DISK_H_

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/e2e/server_process.h"

namespace larder {

// A small file system of this process and its children alone.
class SmallDisk {
 public:
  explicit SmallDisk(int mebibytes) {
    const bool root = geteuid() == 0;
    if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return;
    const std::string options = "size=" + std::to_string(mebibytes) + "m";
    mounted_ = mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
               mount("tmpfs", path().c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path().c_str(), MNT_DETACH);
  }
  const std::string& path() const { return directory_.path(); }
  bool mounted() const { return mounted_; }

  // Takes all that is left, or all but so much; the file goes with Free.
  void FillUp(uint64_t but_mebibytes = 0) const {
    std::ofstream file(Filler(), std::ios::app | std::ios::binary);
    const std::string block(4096, 'x');
    while (std::filesystem::space(path()).available > but_mebibytes << 20 || but_mebibytes == 0) {
      if (!file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) return;
    }
  }
  void Free() const { std::filesystem::remove(Filler()); }

 private:
  std::string Filler() const { return path() + "/filler"; }

  const TempDir directory_;
  bool mounted_ = false;
};

}  // namespace larder

#endif  // LARDER_TESTS_E2E_SMALL_DISK_H_
