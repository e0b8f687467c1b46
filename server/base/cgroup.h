// Where the cgroups of this process are found, and how the small files of the kernel are read.
// Thread safety: functions without state. They read files of the kernel and do not otherwise block.
// `root` stands in front of every path: empty for this machine, a directory with files of its own
// in tests.

#ifndef LARDER_BASE_CGROUP_H_
#define LARDER_BASE_CGROUP_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

// The text of a file of /proc or /sys, cut after 1 MiB. NotFound: there is no such file; another
// error: it is there and cannot be read.
absl::StatusOr<std::string> ReadKernelFile(const std::string& path);
// The same; empty where it cannot be read.
std::string KernelFileOrEmpty(const std::string& path);

// The directories of this process's cgroup for `controller` (`memory`, `cpu`; empty is cgroup v2)
// and of all above it that can be seen from here, its own first. Some of them may not exist. Empty
// when no such hierarchy is mounted.
std::vector<std::string> CgroupDirectories(const std::string& root, const std::string& controller);

}  // namespace larder

#endif  // LARDER_BASE_CGROUP_H_
