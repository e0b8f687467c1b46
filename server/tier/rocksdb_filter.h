// What RocksDB is told about entries: which are dead, so that compaction drops them, and which
// sample of its entries each file carries, so that the sweep knows how much of it is dead.
// Thread safety: any function, any thread. Never blocks.

#ifndef LARDER_TIER_ROCKSDB_FILTER_H_
#define LARDER_TIER_ROCKSDB_FILTER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "core/version.h"
#include "tier/envelope.h"

namespace rocksdb {
class CompactionFilter;
class TablePropertiesCollectorFactory;
}  // namespace rocksdb

namespace larder {

// The line between what stays and what goes, and what went.
struct RocksCutoff {
  explicit RocksCutoff(Clock* its_clock) : clock(its_clock) {}

  // Entries below this version are dropped; only ever rises.
  void Raise(Version to);
  Version version() const { return version_.load(std::memory_order_relaxed); }
  // What else is dropped. Every cover stays until the end, because compactions may be asking it.
  void SetCover(std::shared_ptr<const TierCover> cover);
  const TierCover* cover() const { return cover_.load(std::memory_order_acquire); }
  int64_t NowMs() const;

  Clock* const clock;
  std::atomic<uint64_t> evicted{0};  // entries below the line
  std::atomic<uint64_t> expired{0};  // entries and tombstones past their time

 private:
  std::atomic<Version> version_{kNoVersion};
  std::atomic<const TierCover*> cover_{nullptr};
  Mutex mu_;
  std::vector<std::shared_ptr<const TierCover>> covers_ ABSL_GUARDED_BY(mu_);
};

// True when nobody needs what this is the head of any more.
bool IsDead(const EnvelopeHead& head, int64_t now_ms, Version cutoff);

// Drops what is dead or covered, and what is no envelope. `cutoff` outlives it.
std::unique_ptr<const rocksdb::CompactionFilter> NewRocksFilter(RocksCutoff* cutoff);

// The property of a file under which its sample is found.
inline constexpr char kSampleProperty[] = "larder.sample";
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewSampleCollectorFactory();
// The heads in a sample; each stands for as many bytes of the file as any other. Empty when it
// cannot be read.
std::vector<EnvelopeHead> ReadSample(const std::string& property);

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_FILTER_H_
