// /proc/self/cgroup names the cgroup by a path that counts from the root of the hierarchy;
// /proc/self/mountinfo says where in the file system a part of that hierarchy is mounted, and which
// part. Put together they give the directory, in all the ways in which machines and containers are
// set up:
//
// - the machine itself, v2: `0::/system.slice/larder.service`, all of it at /sys/fs/cgroup;
// - v1, and hybrid machines, where the memory controller has a mount of its own and v2 lies at
//   /sys/fs/cgroup/unified with no controllers or with those that v1 does not have;
// - a container with a cgroup namespace: `0::/`, its own cgroup mounted at /sys/fs/cgroup;
// - a container without one: the path is the host's (`/docker/abc`) and the mount shows only that
//   part, so the part's name has to be taken off the path. Where it cannot be, the walk up from a
//   directory that does not exist ends at the mount point, which then is the container's own.
//
// A path may climb out of a namespace (`/../other`). What lies there cannot be seen from here; the
// mount point is all there is.

#include "base/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace larder {
namespace {

constexpr char kCgroups[] = "/sys/fs/cgroup";

struct Mount {
  std::string part;   // of the hierarchy
  std::string point;  // where it is mounted
};

// mountinfo writes blanks and backslashes of paths as three octal digits.
std::string Unescaped(const std::string& text) {
  std::string path;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size() &&
                        text.find_first_not_of("01234567", i + 1) >= i + 4;
    if (!escape) {
      path += text[i];
      continue;
    }
    path +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
    i += 3;
  }
  return path;
}

bool Lists(const std::string& comma_separated, const std::string& word) {
  const std::vector<std::string> words = absl::StrSplit(comma_separated, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A line is `36 35 0:31 PART POINT OPTIONS... - TYPE SOURCE SUPER_OPTIONS`; of v1, the controllers
// are among the last.
std::optional<Mount> MountOf(const std::string& mountinfo, const std::string& controller) {
  std::istringstream in(mountinfo);
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<std::string> where = absl::StrSplit(halves[0], ' ');
    const std::vector<std::string> what = absl::StrSplit(halves[1], ' ');
    if (where.size() < 5 || what.size() < 3) continue;
    const bool found = controller.empty() ? what[0] == "cgroup2"
                                          : what[0] == "cgroup" && Lists(what[2], controller);
    if (found) return Mount{Unescaped(where[3]), Unescaped(where[4])};
  }
  return std::nullopt;
}

// The line for v2 is `0::PATH`, for v1 `3:memory,cpu:PATH`.
std::string PathInHierarchy(const std::string& cgroups, const std::string& controller) {
  std::istringstream in(cgroups);
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() == 3 && Lists(parts[1], controller)) return parts[2];
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> ReadKernelFile(const std::string& path) {
  constexpr size_t kBytesMax = 1 << 20;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  int error = fd < 0 ? errno : 0;
  std::string text;
  char buffer[16 * 1024];
  while (error == 0 && text.size() < kBytesMax) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count == 0) break;
    if (count > 0) {
      text.append(buffer, count);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  if (fd >= 0) close(fd);
  if (error == 0) return text;
  const std::string message = absl::StrCat(path, ": ", std::strerror(error));
  return error == ENOENT || error == ENOTDIR ? absl::NotFoundError(message)
                                             : absl::UnavailableError(message);
}

std::string KernelFileOrEmpty(const std::string& path) {
  absl::StatusOr<std::string> text = ReadKernelFile(path);
  return text.ok() ? *std::move(text) : "";
}

std::vector<std::string> CgroupDirectories(const std::string& root, const std::string& controller) {
  const std::string mounts = KernelFileOrEmpty(root + "/proc/self/mountinfo");
  std::optional<Mount> mount = MountOf(mounts, controller);
  if (!mount) {
    // Without any cgroup in sight, the usual place is as good a guess as any.
    if (MountOf(mounts, "") || mounts.find(" - cgroup ") != std::string::npos) return {};
    mount = Mount{"/", controller.empty() ? kCgroups : absl::StrCat(kCgroups, "/", controller)};
  }
  const std::string point = root + mount->point;
  std::string path = PathInHierarchy(KernelFileOrEmpty(root + "/proc/self/cgroup"), controller);
  if (mount->part != "/" && (path == mount->part || path.starts_with(mount->part + "/"))) {
    path.erase(0, mount->part.size());
  }
  std::vector<std::string> directories;
  while (path.size() > 1 && path.find("/..") == std::string::npos) {
    directories.push_back(point + path);
    path.resize(path.rfind('/'));
  }
  directories.push_back(point);
  return directories;
}

}  // namespace larder
