// UsageCounters counts what happens to each data type and each namespace.
// Thread safety: any method, any thread. Count never blocks.

#ifndef LARDER_ENGINE_USAGE_H_
#define LARDER_ENGINE_USAGE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/counters.h"

namespace larder {

enum class Usage : uint8_t {
  kHits,
  kMisses,
  kNegativeHits,
  kStaleHits,
  kSets,
  kSetsRefused,
  kRemovals,
  kLoads,
  kLoadsFailed,
  kLoadsCoalesced,
  kHitsBelow,       // the part of kHits that the lower tier answered
  kRefreshes,       // flights that began behind a value that was served
  kLoadsUnchanged,  // the part of kLoads that the validator answered
  kStaleOnError,    // the part of kStaleHits that stood in for a load that failed or was not tried
  kFiltered,        // reads that the filter answered
  kFilterFalse,     // loads that the filter let through and that found nothing
  kPast,            // reads of keys that the cache is not used for
};
inline constexpr size_t kUsageCount = 17;

using UsageTotals = std::array<uint64_t, kUsageCount>;

class UsageCounters {
 public:
  UsageCounters(size_t types, size_t namespaces_max);
  ~UsageCounters();

  // A namespace that was never stored to has no counters: its misses count for the type alone.
  void Count(Usage what, uint16_t type, std::optional<uint16_t> name_space, uint64_t by = 1);

  UsageTotals OfType(uint16_t type) const;
  UsageTotals OfNamespace(uint16_t name_space) const;

 private:
  static UsageTotals Totals(const CounterBlock* block);

  // Made on first use: most of the types and namespaces that could be are not.
  CounterBlock& BlockOf(std::vector<std::atomic<CounterBlock*>>& blocks, uint16_t id);

  std::vector<std::atomic<CounterBlock*>> types_;
  std::vector<std::atomic<CounterBlock*>> namespaces_;
};

inline CounterBlock& UsageCounters::BlockOf(std::vector<std::atomic<CounterBlock*>>& blocks,
                                            uint16_t id) {
  CounterBlock* block = blocks[id].load(std::memory_order_acquire);
  if (block != nullptr) return *block;
  auto made = std::make_unique<CounterBlock>(kUsageCount);
  if (blocks[id].compare_exchange_strong(block, made.get(), std::memory_order_acq_rel))
    return *made.release();
  return *block;
}

inline void UsageCounters::Count(Usage what, uint16_t type, std::optional<uint16_t> name_space,
                                 uint64_t by) {
  BlockOf(types_, type).Add(static_cast<size_t>(what), by);
  if (name_space.has_value()) BlockOf(namespaces_, *name_space).Add(static_cast<size_t>(what), by);
}

}  // namespace larder

#endif  // LARDER_ENGINE_USAGE_H_
