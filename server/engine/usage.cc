#include "engine/usage.h"

namespace larder {

UsageCounters::UsageCounters(size_t types, size_t namespaces_max)
    : types_(types), namespaces_(namespaces_max) {}

UsageCounters::~UsageCounters() {
  for (const auto& block : types_) delete block.load();
  for (const auto& block : namespaces_) delete block.load();
}

UsageTotals UsageCounters::OfType(uint16_t type) const {
  return Totals(types_[type].load(std::memory_order_acquire));
}

UsageTotals UsageCounters::OfNamespace(uint16_t name_space) const {
  return Totals(namespaces_[name_space].load(std::memory_order_acquire));
}

UsageTotals UsageCounters::Totals(const CounterBlock* block) {
  UsageTotals totals{};
  if (block == nullptr) return totals;
  for (size_t i = 0; i < kUsageCount; ++i) totals[i] = block->Sum(i);
  return totals;
}

}  // namespace larder
