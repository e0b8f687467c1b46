// The CPUs of a process are those that it may be scheduled on, and no more than the quota of its
// cgroup or of any cgroup above it allows. A quota of one and a half CPUs is worth two threads.

#include "config/machine.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/cgroup.h"

namespace larder {
namespace {

std::string FirstLine(const std::string& path) {
  const std::string text = KernelFileOrEmpty(path);
  return std::string(absl::StripAsciiWhitespace(text.substr(0, text.find('\n'))));
}

// The rest of the line that starts with `name` in a file of `name: value` lines.
std::string ValueOf(const std::string& path, const std::string& name) {
  std::istringstream in(KernelFileOrEmpty(path));
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
  machine.memory = ReadMemory(root);
  ReadCpus(root, &machine);
  return machine;
}

}  // namespace larder
