// Tally counts durations in buckets that are less than 1.6% wide, from a microsecond to an hour, so
// that percentiles are right to that much whatever their size. Thread safety: any method, any
// thread; Add never waits. 17 KiB.

#ifndef LARDER_CLIENT_CLI_TALLY_H_
#define LARDER_CLIENT_CLI_TALLY_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace larder::cli {

class Tally {
 public:
  void Add(absl::Duration duration) {
    const auto nanos =
        static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Nanoseconds(duration), 0));
    counts_[BucketOf(nanos)].fetch_add(1, std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(nanos, std::memory_order_relaxed);
    uint64_t max = max_.load(std::memory_order_relaxed);
    while (nanos > max && !max_.compare_exchange_weak(max, nanos, std::memory_order_relaxed)) {
    }
  }

  uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  absl::Duration max() const { return absl::Nanoseconds(max_.load(std::memory_order_relaxed)); }
  absl::Duration mean() const {
    const uint64_t all = count();
    return all == 0 ? absl::ZeroDuration()
                    : absl::Nanoseconds(sum_.load(std::memory_order_relaxed) / all);
  }
  // No smaller than what `part` of all durations were, and no larger than the largest.
  absl::Duration Quantile(double part) const {
    const auto rank = static_cast<uint64_t>(part * static_cast<double>(count()));
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i].load(std::memory_order_relaxed);
      if (seen > rank) return std::min(absl::Nanoseconds(EndOf(i)), max());
    }
    return max();
  }

 private:
  // 64 buckets for each doubling; below 64 units one for each. A unit is 64 ns.
  static constexpr int kShift = 6;
  static constexpr uint64_t kSteps = 64;
  static constexpr int kDoublings = 32;
  static constexpr size_t kBuckets = kSteps * (kDoublings + 1);

  static size_t BucketOf(uint64_t nanos) {
    const uint64_t units = nanos >> kShift;
    if (units < kSteps) return units;
    const int doubling = std::bit_width(units) - 7;  // units >> doubling is 64 to 127
    const size_t bucket =
        kSteps * static_cast<size_t>(doubling + 1) + ((units >> doubling) - kSteps);
    return std::min(bucket, kBuckets - 1);
  }
  static uint64_t EndOf(size_t bucket) {
    if (bucket < kSteps) return (bucket + 1) << kShift;
    const size_t doubling = bucket / kSteps - 1;
    return ((bucket % kSteps + kSteps + 1) << doubling) << kShift;
  }

  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
  std::atomic<uint64_t> count_{0};
  std::atomic<uint64_t> sum_{0};
  std::atomic<uint64_t> max_{0};
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_TALLY_H_
