#include "base/clock.h"

#include <time.h>

#include <limits>

namespace larder {
namespace {

// clock_gettime answers from the vDSO, without a system call. It fails only for an unknown clock or
// a bad pointer.
class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::TimeFromTimespec(Read(CLOCK_REALTIME)); }

  MonoNanos Mono() const override {
    const timespec time = Read(CLOCK_MONOTONIC);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }

 private:
  static timespec Read(clockid_t id) {
    timespec time;
    clock_gettime(id, &time);
    return time;
  }
};

}  // namespace

Clock* Clock::System() {
  static Clock* const clock = new SystemClock;
  return clock;
}

MonoNanos MonoAfter(MonoNanos mono, absl::Duration after) {
  using Limits = std::numeric_limits<MonoNanos>;
  const int64_t nanos = absl::ToInt64Nanoseconds(after);  // Saturates.
  if (nanos == Limits::max()) return Limits::max();
  MonoNanos sum;
  if (__builtin_add_overflow(mono, nanos, &sum)) return nanos > 0 ? Limits::max() : Limits::min();
  return sum;
}

}  // namespace larder
