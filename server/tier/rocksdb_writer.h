// RocksWriter makes the changes of the RocksDB tier, one after the other on one thread, in groups.
// Thread safety: TryAdd, any thread; it never blocks. Shutdown blocks until what waits is done.

#ifndef LARDER_TIER_ROCKSDB_WRITER_H_
#define LARDER_TIER_ROCKSDB_WRITER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/counters.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "tier/envelope.h"
#include "tier/rocksdb_store.h"
#include "tier/rocksdb_sweep.h"
#include "tier/tier.h"

namespace larder {

// The tier's counters, in one block.
enum RocksCounter : size_t {
  kRocksGets,
  kRocksHits,
  kRocksPuts,
  kRocksErases,
  kRocksOutdated,
  kRocksSkipped,
  kRocksBad,
  kRocksErrors,
  kRocksDiskReads,
  kRocksCounters,
};

// One call: all puts, or all erases.
struct RocksCall {
  explicit RocksCall(Executor* executor) : done(executor) {}

  size_t size() const { return puts.size() + erases.size(); }

  std::vector<TierPut> puts;
  std::vector<TierErase> erases;
  MonoNanos deadline = 0;
  uint64_t bytes = 0;
  // Set before `done`.
  absl::Status status;
  std::vector<TierChange> changes;
  Signal<bool> done;
};

// What a change of one key does.
struct RocksDecision {
  TierChange change;
  // A tombstone takes the place of what was there, instead of the entry.
  bool tombstone = false;
};

// `held`: what is there, dead or alive; nothing when nothing is. `worth`: the entry is worth its
// room.
RocksDecision DecidePut(const TierPut& put, const std::optional<EnvelopeHead>& held, int64_t now_ms,
                        bool worth);
RocksDecision DecideErase(const TierErase& erase, const std::optional<EnvelopeHead>& held,
                          int64_t now_ms);

class RocksWriter {
 public:
  // All outlive it.
  RocksWriter(RocksStore* store, RocksSweep* sweep, CounterBlock* counters);

  // False, and nothing happens, when too much waits.
  bool TryAdd(std::shared_ptr<RocksCall> call);
  void Shutdown();
  uint64_t queued_bytes() const;

 private:
  class Group;

  void Drain();
  // Answers what waits with an error.
  void Abandon();
  std::vector<std::shared_ptr<RocksCall>> Take();
  void NoteGone(const std::vector<std::shared_ptr<RocksCall>>& calls);
  bool WorthIt(const TierPut& put) const;
  void Apply(const std::vector<std::shared_ptr<RocksCall>>& calls);

  RocksStore* const store_;
  RocksSweep* const sweep_;
  CounterBlock* const counters_;

  mutable Mutex mu_;
  std::deque<std::shared_ptr<RocksCall>> queue_ ABSL_GUARDED_BY(mu_);
  uint64_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;

  const std::unique_ptr<ThreadPool> thread_;
};

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_WRITER_H_
