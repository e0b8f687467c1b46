// Many threads count the same things on every request. One atomic for all of them moves its cache
// line between the cores on each addition (tens of nanoseconds); an atomic addition to a line of
// one's own still costs a locked instruction (8 ns measured), and a request adds to several
// counters.
//
// So the first 16 live threads own a shard each: its only writer may add with a plain load and
// store (1 to 2 ns). A thread that ends returns its shard, and the next one
// continues on the same cells. Threads beyond the 16 share 8 more shards and pay for the locked
// instruction. A machine with more lanes than that still counts correctly, only slower.
//
// The plain addition loses nothing when a shard changes hands: the old owner clears its bit with
// release, the new one sets it with acquire, so that its first load sees the last store.

#include "base/counters.h"

#include <bit>

namespace larder {
namespace counters_internal {
namespace {

static_assert(kOwnedShards <= 32, "one bit each in `owned`");

std::atomic<uint32_t> owned{0};
std::atomic<uint32_t> next_shared{0};

uint32_t SharedShard() {
  constexpr uint32_t kShared = kThreadShards - kOwnedShards;
  return kOwnedShards + next_shared.fetch_add(1, std::memory_order_relaxed) % kShared;
}

// Lives as long as the thread that owns `shard`.
struct Ownership {
  explicit Ownership(uint32_t s) : shard(s) {}
  ~Ownership() {
    // Destructors of other thread_locals may still count after this one: on a shared shard, which
    // needs no owner.
    thread_shard = SharedShard();
    owned.fetch_and(~(uint32_t{1} << shard), std::memory_order_release);
  }
  const uint32_t shard;
};

}  // namespace

uint32_t AssignThreadShard() {
  uint32_t taken = owned.load(std::memory_order_relaxed);
  for (;;) {
    const uint32_t shard = std::countr_one(taken);
    if (shard >= kOwnedShards) return thread_shard = SharedShard();
    if (owned.compare_exchange_weak(taken, taken | uint32_t{1} << shard, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      thread_local const Ownership ownership(shard);
      return thread_shard = ownership.shard;
    }
  }
}

}  // namespace counters_internal

CounterBlock::CounterBlock(size_t counters)
    : size_(counters),
      shard_lines_((counters + kLineCells - 1) / kLineCells),
      lines_(new Line[kThreadShards * shard_lines_]) {}

uint64_t CounterBlock::Sum(size_t counter) const {
  uint64_t sum = 0;
  for (uint32_t shard = 0; shard < kThreadShards; ++shard) {
    sum += Cell(shard, counter).load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace larder
