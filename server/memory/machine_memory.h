// How much memory this process may use and how it stands: the limits of its cgroups (v2 and v1) and
// of the machine, what is left below each of them, memory pressure, and its own resident set.
// Thread safety: values, and functions from any thread. They read about ten small files of the
// kernel and do not otherwise block.
// Errors: none. What cannot be read or understood is listed in `problems` and taken for unknown;
// that a kernel or a container lacks a file is normal and no problem, except where it says so.

#ifndef LARDER_MEMORY_MACHINE_MEMORY_H_
#define LARDER_MEMORY_MACHINE_MEMORY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace larder {

enum class MemorySource : uint8_t { kUnknown, kMachine, kCgroupV1, kCgroupV2 };

// One limit that the process is under.
struct MemoryLevel {
  MemorySource source = MemorySource::kUnknown;
  uint64_t limit_bytes = 0;
  // What is left below the limit, counting as free what the kernel holds only as a cache of files.
  uint64_t available_bytes = 0;
  // The limit is memory.high, above which the kernel slows the process down, not memory.max.
  bool high = false;

  // `cgroup v2 limit 4GiB`, `machine's memory 16GiB`.
  std::string Name() const;
};

struct MemoryPressure {
  // Percent of the last ten seconds in which some, or all, of the tasks waited for memory.
  double some = 0;
  double full = 0;
  bool known = false;
  // Of the process's own cgroup; else of the whole machine.
  bool own = false;
  // How often, so far, the cgroup ran into a limit, and how often it ran out of memory.
  uint64_t limit_hits = 0;
  uint64_t ooms = 0;
};

struct MemoryReading {
  // From the process's own cgroup up; the machine is the last one. A cgroup without a limit, or
  // with one beyond the machine, is not among them. Empty = nothing is known.
  std::vector<MemoryLevel> levels = {};
  // A file that may hold a limit could not be read: there may be less memory than `levels` say.
  bool limits_certain = true;
  MemoryPressure pressure = {};
  // Of this process; 0 = unknown.
  uint64_t resident_bytes = 0;
  std::vector<std::string> problems = {};

  // The level with the least limit; null when nothing is known.
  const MemoryLevel* Tightest() const;
  // The level of the machine; null when it is unknown.
  const MemoryLevel* Machine() const;
};

// The memory of this process, from the files under `root` in place of `/`.
MemoryReading ReadMemory(const std::string& root = "");

// `bytes` as people say it, with at most four digits: 512MiB, 23.54GiB.
std::string AboutBytes(uint64_t bytes);

}  // namespace larder

#endif  // LARDER_MEMORY_MACHINE_MEMORY_H_
