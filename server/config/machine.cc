// A process learns its limits from its cgroup and from every cgroup above it: the smallest one
// holds. /proc/self/cgroup names the cgroup, by a path that counts from the root of the hierarchy.
// In a container without a cgroup namespace that path is the host's and does not exist under the
// container's /sys/fs/cgroup; walking up from it ends at the mount point, which then is the
// container's own cgroup. So the same walk is right in all cases.
//
// cgroup v2 writes `max` for no limit; v1 writes a number near 2^63, which is larger than the
// machine and so falls away by itself.

#include "config/machine.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace larder {
namespace {

std::string ReadSmallFile(const std::string& path) {
  constexpr size_t kBytesMax = 64 * 1024;
  std::ifstream in(path, std::ios::binary);
  std::string text(kBytesMax, '\0');
  in.read(text.data(), kBytesMax);
  text.resize(in.gcount());
  return text;
}

std::string FirstLine(const std::string& path) {
  const std::string text = ReadSmallFile(path);
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

// The rest of the line that starts with `name` in a file of `name: value` lines.
std::string ValueOf(const std::string& path, const std::string& name) {
  std::istringstream in(ReadSmallFile(path));
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name))
      return std::string(absl::StripAsciiWhitespace(line.substr(name.size())));
  }
  return "";
}

std::optional<uint64_t> Number(const std::string& text) {
  uint64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

// The directories of this process's cgroup for `controller` and of all above it; of cgroup v2 when
// it is empty.
std::vector<std::string> CgroupDirectories(const std::string& root, const std::string& controller) {
  std::string path;
  std::istringstream in(ReadSmallFile(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(in, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), controller) != controllers.end())
      path = parts[2];
  }
  const std::string mount =
      absl::StrCat(root, "/sys/fs/cgroup", controller.empty() ? "" : "/", controller);
  std::vector<std::string> directories;
  // A path may climb out of the namespace (`/../other`); what lies there cannot be seen from here.
  while (path.size() > 1 && path.find("..") == std::string::npos) {
    directories.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  directories.push_back(mount);
  return directories;
}

std::optional<uint64_t> SmallestLimit(const std::vector<std::string>& directories,
                                      const std::string& file) {
  std::optional<uint64_t> smallest;
  for (const std::string& directory : directories) {
    const std::optional<uint64_t> limit = Number(FirstLine(absl::StrCat(directory, "/", file)));
    if (limit && (!smallest || *limit < *smallest)) smallest = limit;
  }
  return smallest;
}

// `bytes` as people say it: 512MiB, 23.54GiB.
std::string About(uint64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib < 1024 ? absl::StrFormat("%.4gMiB", mib) : absl::StrFormat("%.4gGiB", mib / 1024);
}

void ReadMemory(const std::string& root, Machine* machine) {
  const std::string total =
      ValueOf(root + "/proc/meminfo", "MemTotal:");  // `16384 kB`, where kB means KiB
  machine->memory_bytes = Number(total.substr(0, total.find(' '))).value_or(0) * 1024;
  machine->memory_why = machine->memory_bytes == 0
                            ? "unknown memory"
                            : absl::StrCat("machine's memory ", About(machine->memory_bytes));
  std::optional<uint64_t> limit = SmallestLimit(CgroupDirectories(root, ""), "memory.max");
  if (!limit) limit = SmallestLimit(CgroupDirectories(root, "memory"), "memory.limit_in_bytes");
  constexpr uint64_t kNoLimit = uint64_t{1} << 60;
  const uint64_t ceiling = machine->memory_bytes == 0 ? kNoLimit : machine->memory_bytes;
  if (!limit || *limit == 0 || *limit >= ceiling) return;
  machine->memory_bytes = *limit;
  machine->memory_limited = true;
  machine->memory_why = absl::StrCat("cgroup limit ", About(*limit));
}

// The number of CPUs in a list like `0-3,8`.
int CountCpus(const std::string& list) {
  int count = 0;
  for (const std::string& range : std::vector<std::string>(absl::StrSplit(list, ','))) {
    const std::vector<std::string> ends = absl::StrSplit(range, '-');
    const std::optional<uint64_t> first = Number(ends.front());
    const std::optional<uint64_t> last = Number(ends.back());
    if (first && last && *last >= *first && *last < 1'000'000)
      count += static_cast<int>(*last - *first + 1);
  }
  return count;
}

// CPUs that a quota of `quota` microseconds in every `period` is worth, rounded up.
std::optional<int> CpusOfQuota(const std::string& quota, const std::string& period) {
  const std::optional<uint64_t> used = Number(quota);
  const std::optional<uint64_t> of = Number(period);
  if (!used || !of || *used == 0 || *of == 0) return std::nullopt;
  return static_cast<int>(std::min<uint64_t>((*used - 1) / *of + 1, 1'000'000));
}

void ReadCpus(const std::string& root, Machine* machine) {
  int cpus = CountCpus(ValueOf(root + "/proc/self/status", "Cpus_allowed_list:"));
  if (cpus == 0) cpus = 1;
  for (const std::string& directory : CgroupDirectories(root, "")) {
    const std::vector<std::string> parts = absl::StrSplit(FirstLine(directory + "/cpu.max"), ' ');
    if (parts.size() == 2) cpus = std::min(cpus, CpusOfQuota(parts[0], parts[1]).value_or(cpus));
  }
  for (const std::string& directory : CgroupDirectories(root, "cpu")) {
    const std::optional<int> quota = CpusOfQuota(FirstLine(directory + "/cpu.cfs_quota_us"),
                                                 FirstLine(directory + "/cpu.cfs_period_us"));
    cpus = std::min(cpus, quota.value_or(cpus));
  }
  machine->cpus = std::max(cpus, 1);
}

}  // namespace

Machine ThisMachine() { return ReadMachine(""); }

Machine ReadMachine(const std::string& root) {
  Machine machine;
  machine.hostname = FirstLine(root + "/proc/sys/kernel/hostname");
  ReadMemory(root, &machine);
  ReadCpus(root, &machine);
  return machine;
}

}  // namespace larder
