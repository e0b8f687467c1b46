// What the operating system says of this process. Thread safety: a function without state; it reads
// small files of the kernel. What cannot be read is zero.

#ifndef LARDER_ADMIN_PROCESS_H_
#define LARDER_ADMIN_PROCESS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace larder {

struct ProcessUse {
  absl::Duration cpu;  // user and system
  uint64_t resident_bytes = 0;
  uint64_t open_descriptors = 0;
  uint64_t descriptors_max = 0;
  uint64_t threads = 0;
};

ProcessUse ReadProcessUse();

}  // namespace larder

#endif  // LARDER_ADMIN_PROCESS_H_
