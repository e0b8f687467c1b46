// Replays a trace through the real L1 and tells the hit ratio. Thread safety: functions without
// state. They take seconds to minutes.

#ifndef LARDER_BENCH_HITRATIO_REPLAY_H_
#define LARDER_BENCH_HITRATIO_REPLAY_H_

#include <cstdint>

#include "bench/hitratio/trace.h"

namespace larder::bench {

struct ReplayOptions {
  // The value's size is at least this, and large enough for the least budget.
  uint64_t value_bytes_min = 256;
  uint64_t budget_bytes_min = 4 << 20;
  uint64_t hash_seed = 1;
};

// All entries of one size, capacity counted in entries: by_entries.cc.
struct ByEntries {
  uint64_t entries = 0;  // capacity
  uint64_t value_bytes = 0;
  uint64_t budget_bytes = 0;
  double hit_ratio = 0;
};
ByEntries ReplayByEntries(const Trace& trace, double fraction, const ReplayOptions& options);

// Sizes, TTLs and sets of the trace itself, beside an LRU with twice the memory: by_bytes.cc.
struct ByBytes {
  uint64_t copies = 0;  // of the trace
  uint64_t lru_bytes = 0;
  uint64_t budget_bytes = 0;
  double lru_hit_ratio = 0;
  double half_lru_hit_ratio = 0;  // of an LRU with no more than L1 has
  double hit_ratio = 0;
  // Parts of the budget: entries past their time that were still held, counted from outside, and
  // everything dead that L1 itself knows of.
  double expired_mean = 0;
  double expired_most = 0;
  double dead_mean = 0;
  double dead_most = 0;
};
// REQUIRES: trace.timed. False when L1's half would be too small to replay.
bool ReplayByBytes(const Trace& trace, double fraction, const ReplayOptions& options, ByBytes* out);

}  // namespace larder::bench

#endif  // LARDER_BENCH_HITRATIO_REPLAY_H_
