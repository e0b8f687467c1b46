#include "admin/process.h"

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/cgroup.h"

namespace larder {
namespace {

uint64_t CountEntries(const char* directory) {
  std::error_code error;
  std::filesystem::directory_iterator at(directory, error);
  uint64_t count = 0;
  while (!error && at != std::filesystem::directory_iterator()) {
    ++count;
    at.increment(error);
  }
  return count;
}

}  // namespace

ProcessUse ReadProcessUse() {
  ProcessUse use;
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0)
    use.cpu = absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  // The second number is the pages that are in memory.
  const std::string statm = KernelFileOrEmpty("/proc/self/statm");
  const std::vector<std::string> numbers = absl::StrSplit(statm, ' ');
  uint64_t pages = 0;
  if (numbers.size() > 1 && absl::SimpleAtoi(numbers[1], &pages))
    use.resident_bytes = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  use.open_descriptors = CountEntries("/proc/self/fd");
  // The one by which they are counted is among them.
  if (use.open_descriptors > 0) --use.open_descriptors;
  use.threads = CountEntries("/proc/self/task");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) use.descriptors_max = limit.rlim_cur;
  return use;
}

}  // namespace larder
