// Readings of memory for tests of the governor.

#ifndef LARDER_TESTS_MEMORY_READINGS_H_
#define LARDER_TESTS_MEMORY_READINGS_H_

#include <algorithm>
#include <cstdint>

#include "memory/machine_memory.h"

namespace larder {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;
inline constexpr uint64_t kTiB = uint64_t{1} << 40;

inline MemoryLevel Machine(uint64_t bytes, uint64_t available) {
  return {.source = MemorySource::kMachine, .limit_bytes = bytes, .available_bytes = available};
}

// A cgroup v2 limit on a machine of 64 GiB of which most is free.
inline MemoryReading Container(uint64_t limit, uint64_t used, uint64_t resident) {
  MemoryReading reading;
  reading.levels = {{.source = MemorySource::kCgroupV2,
                     .limit_bytes = limit,
                     .available_bytes = limit - std::min(limit, used)},
                    Machine(64 * kGiB, 60 * kGiB)};
  reading.resident_bytes = resident;
  return reading;
}

}  // namespace larder

#endif  // LARDER_TESTS_MEMORY_READINGS_H_
