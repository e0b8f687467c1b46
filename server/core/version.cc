// Milliseconds and counter are one number, so that Next is "the later of now and last + 1" in one
// compare-and-swap. A counter that overflows runs into the milliseconds: 4,096 versions within one
// millisecond borrow from the next one, and the clock goes ahead of the wall by that much until it
// catches up.

#include "core/version.h"

#include <algorithm>

#include "absl/time/time.h"

namespace larder {
namespace {

constexpr int kCounterBits = 12;

uint64_t TicksAt(absl::Time time) {
  return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToUnixMillis(time))) << kCounterBits;
}

}  // namespace

absl::Time VersionTime(Version version) {
  return absl::FromUnixMillis(static_cast<int64_t>(version >> (kCounterBits + kNodeIdBits)));
}

uint32_t VersionNode(Version version) { return version & kNodeIdMax; }

bool VersionMayBeOfLoad(Version version) {
  // The last of its millisecond.
  constexpr uint64_t kCounterMax = (uint64_t{1} << kCounterBits) - 1;
  return (version >> kNodeIdBits & kCounterMax) == kCounterMax;
}

Version VersionAt(absl::Time time) { return TicksAt(time) << kNodeIdBits; }

VersionClock::VersionClock(Clock* clock, uint32_t node_id, Version floor)
    : clock_(clock), node_id_(node_id), last_(floor >> kNodeIdBits) {}

Version VersionClock::Next() {
  const uint64_t now = TicksAt(clock_->Now());
  uint64_t last = last_.load(std::memory_order_relaxed);
  uint64_t next;
  do {
    next = std::max(now, last + 1);
  } while (!last_.compare_exchange_weak(last, next, std::memory_order_relaxed));
  return next << kNodeIdBits | node_id_;
}

Version VersionClock::OfLoad(Version seen) {
  const uint64_t now = TicksAt(clock_->Now());
  // Nothing that is one more than `seen`: Next may make the same for a change.
  if (now == 0 || now - 1 <= seen >> kNodeIdBits) return Next();
  const Version load = (now - 1) << kNodeIdBits | node_id_;
  // Whatever comes next is above, also when the wall clock goes back.
  Observe(load);
  return load;
}

void VersionClock::Observe(Version version) {
  const uint64_t seen = version >> kNodeIdBits;
  uint64_t last = last_.load(std::memory_order_relaxed);
  while (last < seen && !last_.compare_exchange_weak(last, seen, std::memory_order_relaxed)) {
  }
}

Version VersionClock::Last() const {
  return last_.load(std::memory_order_relaxed) << kNodeIdBits | node_id_;
}

}  // namespace larder
