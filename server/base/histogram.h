// Histogram records how long things take and answers with quantiles that are at most 3.1% off.
// Thread safety: any method, any thread. Never blocks; the first Record of a thread may allocate.
// Errors: none. A negative duration counts as zero, one above kNanosMax (73 minutes) as kNanosMax.
//
// Record costs a few nanoseconds. Memory: 200 bytes until the first Record, then 5 KiB for each
// thread that records, at most kThreadShards times.

#ifndef LARDER_BASE_HISTOGRAM_H_
#define LARDER_BASE_HISTOGRAM_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/time/time.h"
#include "base/counters.h"

namespace larder {

class Histogram {
 public:
  static constexpr int kNanosBits = 42;
  static constexpr uint64_t kNanosMax = (uint64_t{1} << kNanosBits) - 1;

  struct Snapshot {
    uint64_t count = 0;
    uint64_t sum_nanos = 0;
    uint64_t max_nanos = 0;
    std::vector<uint64_t> buckets;  // Records in each bucket; empty when there are none.

    // The least recorded value that at least the share `q` of all records does not exceed, at
    // most 3.1% off; exact for q = 1. Zero when nothing was recorded. q below 0 counts as 0, above
    // 1 as 1.
    absl::Duration Quantile(double q) const;
    // From the exact sum. Zero when nothing was recorded.
    absl::Duration Mean() const;
    // Adds the records of `other`, as if one histogram had taken both.
    void Merge(const Snapshot& other);
  };

  Histogram() = default;
  ~Histogram();
  Histogram(const Histogram&) = delete;
  Histogram& operator=(const Histogram&) = delete;

  void Record(absl::Duration value) { RecordNanos(absl::ToInt64Nanoseconds(value)); }

  void RecordNanos(int64_t nanos) {
    const uint64_t value = std::clamp<int64_t>(nanos, 0, kNanosMax);
    const uint32_t index = ThreadShard();
    Shard* shard = shards_[index].load(std::memory_order_acquire);
    if (ABSL_PREDICT_FALSE(shard == nullptr)) shard = NewShard(shards_[index]);
    AddToShard(index, shard->buckets[BucketOf(value)], 1);
    AddToShard(index, shard->sum, value);
    uint64_t max = shard->max.load(std::memory_order_relaxed);
    while (ABSL_PREDICT_FALSE(value > max) &&
           !shard->max.compare_exchange_weak(max, value, std::memory_order_relaxed)) {
    }
  }

  // Holds every Record that happened before. One that runs meanwhile may show in some of the
  // figures and not in others.
  Snapshot Snap() const;

 private:
  // Each power of two is divided into this many buckets of equal width.
  static constexpr int kStepBits = 4;
  static constexpr uint64_t kSteps = uint64_t{1} << kStepBits;

  static size_t BucketOf(uint64_t value) {
    const int shift = static_cast<int>(std::bit_width(value | kSteps)) - (kStepBits + 1);
    return shift * kSteps + (value >> shift);
  }
  static constexpr size_t kBuckets = (kNanosBits - kStepBits + 1) * kSteps;

  struct alignas(64) Shard {
    std::atomic<uint64_t> sum{0};
    std::atomic<uint64_t> max{0};
    std::array<std::atomic<uint64_t>, kBuckets> buckets{};
  };

  static Shard* NewShard(std::atomic<Shard*>& slot);

  std::array<std::atomic<Shard*>, kThreadShards> shards_{};
};

}  // namespace larder

#endif  // LARDER_BASE_HISTOGRAM_H_
