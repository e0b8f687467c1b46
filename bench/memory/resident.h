// What the process really uses. Thread safety: any thread. Reads a small file of the kernel.

#ifndef LARDER_BENCH_MEMORY_RESIDENT_H_
#define LARDER_BENCH_MEMORY_RESIDENT_H_

#include <cstdint>
#include <cstdio>

#include "bench/report.h"

namespace larder::bench {

// The resident set of this process in bytes: anonymous memory, the program itself and its
// libraries.
inline uint64_t ResidentBytes() {
  constexpr uint64_t kPage = 4096;
  unsigned long long size = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) Broken("/proc/self/statm cannot be read");
  const int got = std::fscanf(file, "%llu %llu", &size, &resident);
  std::fclose(file);
  if (got != 2) Broken("/proc/self/statm has another form");
  return resident * kPage;
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_MEMORY_RESIDENT_H_
