// Durations span twelve powers of ten, and what matters about them is relative: 3% of a
// microsecond, 3% of a minute. So the buckets are log-linear: nanosecond by nanosecond up to 32,
// then 16 buckets of equal width for each power of two, up to 2^42 ns. The bucket's number comes
// from the position of the highest bit and the four bits below it, without a search. That is 624
// buckets of 8 bytes.
//
// A quantile is known to lie in a bucket [low, high]. Its answer is their harmonic mean, which is
// at most (high - low) / (high + low) < 1/32 off wherever in the bucket the value was.
//
// The shards are those of CounterBlock, because two locked instructions a record cost 18 ns and
// plain ones 3. They are allocated by the first thread that records on them: most histograms of a
// server (types x operations x tiers) stay empty, and an idle server must be small.

#include "base/histogram.h"

#include <cmath>
#include <memory>

namespace larder {

Histogram::~Histogram() {
  for (std::atomic<Shard*>& slot : shards_) delete slot.load(std::memory_order_relaxed);
}

Histogram::Shard* Histogram::NewShard(std::atomic<Shard*>& slot) {
  auto fresh = std::make_unique<Shard>();
  Shard* winner = nullptr;
  if (slot.compare_exchange_strong(winner, fresh.get(), std::memory_order_acq_rel,
                                   std::memory_order_acquire)) {
    return fresh.release();
  }
  return winner;
}

Histogram::Snapshot Histogram::Snap() const {
  Snapshot snap;
  for (const std::atomic<Shard*>& slot : shards_) {
    const Shard* shard = slot.load(std::memory_order_acquire);
    if (shard == nullptr) continue;
    snap.buckets.resize(kBuckets);
    for (size_t i = 0; i < kBuckets; ++i) {
      const uint64_t records = shard->buckets[i].load(std::memory_order_relaxed);
      snap.buckets[i] += records;
      snap.count += records;
    }
    snap.sum_nanos += shard->sum.load(std::memory_order_relaxed);
    snap.max_nanos = std::max(snap.max_nanos, shard->max.load(std::memory_order_relaxed));
  }
  return snap;
}

absl::Duration Histogram::Snapshot::Quantile(double q) const {
  if (count == 0) return absl::ZeroDuration();
  const double share = q >= 0 ? std::min(q, 1.0) : 0;  // Not std::clamp: NaN counts as 0 too.
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count)));
  const uint64_t rank = std::clamp<uint64_t>(wanted, 1, count);
  uint64_t seen = 0;
  size_t bucket = 0;
  while (bucket < buckets.size() && seen + buckets[bucket] < rank) seen += buckets[bucket++];

  uint64_t nanos = bucket;
  if (bucket >= 2 * kSteps) {
    const int shift = static_cast<int>(bucket / kSteps) - 1;
    const double low = static_cast<double>((kSteps + bucket % kSteps) << shift);
    const double high = low + static_cast<double>((uint64_t{1} << shift) - 1);
    nanos = static_cast<uint64_t>(std::llround(2 * low * high / (low + high)));
  }
  if (rank == count) nanos = max_nanos;
  return absl::Nanoseconds(static_cast<int64_t>(std::min(nanos, max_nanos)));
}

absl::Duration Histogram::Snapshot::Mean() const {
  if (count == 0) return absl::ZeroDuration();
  return absl::Nanoseconds(static_cast<double>(sum_nanos) / static_cast<double>(count));
}

void Histogram::Snapshot::Merge(const Snapshot& other) {
  count += other.count;
  sum_nanos += other.sum_nanos;
  max_nanos = std::max(max_nanos, other.max_nanos);
  if (buckets.size() < other.buckets.size()) buckets.resize(other.buckets.size());
  for (size_t i = 0; i < other.buckets.size(); ++i) buckets[i] += other.buckets[i];
}

}  // namespace larder
