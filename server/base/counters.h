// CounterBlock counts events that happen on every request: calls, hits, bytes. It is a row of
// counters that only grow, numbered 0 to size() - 1. What one request adds to together belongs in
// one block, because the counters of a block lie side by side for each thread.
// Thread safety: any method, any thread. Never blocks. Not for signal handlers.
// Errors: none; a number out of range is a bug and asserts.
//
// Add costs a nanosecond or two. Sum walks all shards: for a scrape, not for a request.

#ifndef LARDER_BASE_COUNTERS_H_
#define LARDER_BASE_COUNTERS_H_

#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/optimization.h"

namespace larder {

// Shards below kOwnedShards have one thread each at any time; the others, up to kThreadShards, are
// shared by the threads that came when every owned one was taken.
inline constexpr uint32_t kOwnedShards = 16;
inline constexpr uint32_t kThreadShards = 24;

namespace counters_internal {
inline constexpr uint32_t kNoShard = ~uint32_t{0};
inline constinit thread_local uint32_t thread_shard = kNoShard;
// Gives the calling thread a shard, which it returns when it ends.
uint32_t AssignThreadShard();
}  // namespace counters_internal

// The shard of the calling thread, less than kThreadShards. Stays the same until the thread's
// destructors run.
inline uint32_t ThreadShard() {
  const uint32_t shard = counters_internal::thread_shard;
  if (ABSL_PREDICT_TRUE(shard != counters_internal::kNoShard)) return shard;
  return counters_internal::AssignThreadShard();
}

// Adds to a cell of the shard that ThreadShard() gave to the calling thread.
inline void AddToShard(uint32_t shard, std::atomic<uint64_t>& cell, uint64_t by) {
  if (ABSL_PREDICT_TRUE(shard < kOwnedShards)) {
    cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  } else {
    cell.fetch_add(by, std::memory_order_relaxed);
  }
}

class CounterBlock {
 public:
  // All counters start at zero. Takes 24 x 8 bytes a counter, rounded up to eight counters.
  explicit CounterBlock(size_t counters);
  CounterBlock(const CounterBlock&) = delete;
  CounterBlock& operator=(const CounterBlock&) = delete;

  void Add(size_t counter, uint64_t by = 1) {
    const uint32_t shard = ThreadShard();
    AddToShard(shard, Cell(shard, counter), by);
  }

  // Exact for every Add that happened before; may lack those that run meanwhile. Never less than
  // what the same thread was told before.
  uint64_t Sum(size_t counter) const;

  size_t size() const { return size_; }

 private:
  static constexpr size_t kLineBytes = 64;
  static constexpr size_t kLineCells = kLineBytes / sizeof(std::atomic<uint64_t>);
  struct alignas(kLineBytes) Line {
    std::array<std::atomic<uint64_t>, kLineCells> cells{};
  };

  std::atomic<uint64_t>& Cell(uint32_t shard, size_t counter) const {
    assert(counter < size_);
    return lines_[shard * shard_lines_ + counter / kLineCells].cells[counter % kLineCells];
  }

  const size_t size_;
  const size_t shard_lines_;
  const std::unique_ptr<Line[]> lines_;
};

}  // namespace larder

#endif  // LARDER_BASE_COUNTERS_H_
