// CoveredBelow is what the rules say to a tier that goes through its entries: which of them nobody
// will be served again. It goes with the last pointer to it, which is the tier's.
// Thread safety: any method, any thread; never blocks.

#ifndef LARDER_ENGINE_COVERED_BELOW_H_
#define LARDER_ENGINE_COVERED_BELOW_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "core/key.h"
#include "policy/rule_table.h"
#include "tier/tier.h"

namespace larder {

class CoveredBelow : public TierCover {
 public:
  explicit CoveredBelow(std::shared_ptr<const RuleTable> table) : table_(std::move(table)) {}

  Version newest(bool listed) const override {
    return listed ? table_->newest_listed() : table_->newest();
  }
  bool Covers(std::string_view full_key, const TierRead& read) const override {
    const RuleTable::Verdict verdict =
        table_->Judge({FullKey::NamespaceOf(full_key), FullKey::KeyOf(full_key), read.type,
                       read.entry.tags, read.entry.depends_on, read.entry.version});
    if (verdict.gone) dropped_.fetch_add(1, std::memory_order_relaxed);
    return verdict.gone;
  }

  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  const std::shared_ptr<const RuleTable> table_;
  mutable std::atomic<uint64_t> dropped_{0};
};

}  // namespace larder

#endif  // LARDER_ENGINE_COVERED_BELOW_H_
