// Wave counts down tasks that run side by side, and wakes the one who waits for all of them.
// Thread safety: End from any thread, `count` times; one co_await of done. Held by a shared_ptr:
// the last End may be the last to know of it. REQUIRES: count > 0 where done is awaited.

#ifndef LARDER_BASE_WAVE_H_
#define LARDER_BASE_WAVE_H_

#include <atomic>
#include <cstddef>

#include "base/executor.h"
#include "base/task.h"

namespace larder {

struct Wave {
  Wave(Executor* executor, size_t count) : done(executor), open(count) {}
  void End() {
    if (open.fetch_sub(1, std::memory_order_acq_rel) == 1) done.TrySet(true);
  }

  Signal<bool> done;
  std::atomic<size_t> open;
};

}  // namespace larder

#endif  // LARDER_BASE_WAVE_H_
