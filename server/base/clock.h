// Clock tells the time. Everything that waits, expires or measures takes one, so that tests own the
// time. Thread safety: any method, any thread. Never blocks.
//
// Now() is the wall clock and may jump either way. Mono() only grows: use it for ages, time limits
// and measurements.

#ifndef LARDER_BASE_CLOCK_H_
#define LARDER_BASE_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace larder {

// Nanoseconds on a clock that starts somewhere and only grows. Plain integers: they are compared on
// every read.
using MonoNanos = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;

  virtual absl::Time Now() const = 0;
  virtual MonoNanos Mono() const = 0;

  // The clock of the machine. Lives for ever.
  static Clock* System();
};

// A clock that moves only when it is told to.
class ManualClock : public Clock {
 public:
  explicit ManualClock(absl::Time start = absl::FromUnixSeconds(1'700'000'000))
      : wall_(absl::ToUnixNanos(start)) {}

  absl::Time Now() const override { return absl::FromUnixNanos(wall_.load()); }
  MonoNanos Mono() const override { return mono_.load(); }

  // Moves both clocks on. REQUIRES: by >= 0.
  void Advance(absl::Duration by) {
    wall_ += absl::ToInt64Nanoseconds(by);
    mono_ += absl::ToInt64Nanoseconds(by);
  }
  // Moves the wall clock alone, as an operator or NTP does. `by` may be negative.
  void JumpWall(absl::Duration by) { wall_ += absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> wall_;
  std::atomic<int64_t> mono_{1};
};

// `mono` + `after`, without overflow: an infinite `after` gives the greatest time.
MonoNanos MonoAfter(MonoNanos mono, absl::Duration after);

}  // namespace larder

#endif  // LARDER_BASE_CLOCK_H_
