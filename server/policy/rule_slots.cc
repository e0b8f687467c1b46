// An open-addressing table that is at most half full, so that the search for what is not there,
// which most searches are, ends in the line where it began. Slots are never removed one by one: the
// table is replaced by one without them, and the old one is freed when its last reader has left.
//
// Rules for one node. The slot of the match says whether there are any, and up to which version.
// Only for entries that are not newer is there a second look: for a load at what all of them
// cover together, for anything else at the slot of the node that made it.
//
// Stale. A match can be marked again and again, and an entry is stale since the first mark that
// came after it, however many follow: else it could be served for ever as "stale since a moment
// ago". So a slot has a list of marks. It is bounded by making one of two that lie close together,
// as seen from now: what is remembered is wrong by a part of an entry's time, and never too late.

#include "policy/rule_slots.h"

#include <algorithm>
#include <utility>

#include "base/epoch.h"

namespace larder {
namespace {

constexpr size_t kSlotsMin = 64;
// Asking which readers have left costs some microseconds.
constexpr size_t kRetiredMost = 64;
constexpr uint64_t kRetiredBytesMost = 64 << 10;

uint64_t BytesOf(const StaleList& list) {
  return sizeof(list) + list.capacity() * sizeof(list.front());
}

// Spreads a hash and a number to another hash.
uint64_t Mix(uint64_t hash, uint64_t number) {
  uint64_t mixed = hash ^ ((number + 1) * 0x9e3779b97f4a7c15);
  mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93;
  return mixed ^ (mixed >> 29);
}

// By what part of its time an entry would be stale for longer than it is, at most, if the items at
// `at` - 1 and `at` were one.
double Error(const StaleList& list, size_t at) {
  const StaleSince& newer = list[at - 1];
  const auto longer = static_cast<double>(newer.marked - list[at].since);
  const auto stale_for = static_cast<double>(list.front().marked - newer.marked);
  return longer / std::max(stale_for, 1.0);
}

}  // namespace

StaleList WithStale(StaleList list, StaleSince added) {
  const auto newer = [&](const StaleSince& item) { return item.version >= added.version; };
  list.insert(std::find_if_not(list.begin(), list.end(), newer), added);
  StaleList kept;
  for (const StaleSince& item : list) {
    // What is no earlier than a newer item says nothing that it does not say.
    if (!kept.empty() && item.since >= kept.back().since) continue;
    kept.push_back(item);
  }
  while (kept.size() > kStaleMax) {
    size_t closest = 1;
    for (size_t i = 2; i < kept.size(); ++i) {
      if (Error(kept, i) < Error(kept, closest)) closest = i;
    }
    kept[closest - 1].since = kept[closest].since;
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(closest));
  }
  kept.shrink_to_fit();
  return kept;
}

void RuleCover::Judge(Version version, RuleTable::Verdict* verdict) const {
  if (version <= gone.load(std::memory_order_acquire)) {
    verdict->gone = true;
    return;
  }
  const StaleList* const list = stale.load(std::memory_order_acquire);
  if (list == nullptr) return;
  for (const StaleSince& item : *list) {
    if (version > item.version) break;
    verdict->fresh_until = std::min(verdict->fresh_until, item.since);
  }
}

Version RuleCover::newest() const {
  const StaleList* const list = stale.load(std::memory_order_relaxed);
  return std::max(gone.load(std::memory_order_relaxed),
                  list == nullptr ? kNoVersion : list->front().version);
}

void RuleSlots::View::Judge(Id id, Version version, RuleTable::Verdict* verdict) const {
  const Slot* const slot = Find(*table_, id);
  if (slot == nullptr) return;
  slot->cover.Judge(version, verdict);
  if (verdict->gone || version > slot->newest_scoped.load(std::memory_order_acquire)) return;
  const uint32_t node = VersionNode(version);
  const Id of_node =
      VersionMayBeOfLoad(version) ? PartOf(id, Part::kLoads, 0) : PartOf(id, Part::kNode, node);
  const Slot* const scoped = Find(*table_, of_node);
  if (scoped != nullptr) scoped->cover.Judge(version, verdict);
}

RuleSlots::RuleSlots() : table_(new Table(kSlotsMin)) {}

RuleSlots::~RuleSlots() {
  const std::unique_ptr<Table> last(table());
  for (size_t i = 0; i <= last->mask; ++i)
    delete last->slots[i].cover.stale.load(std::memory_order_relaxed);
}

RuleSlots::Id RuleSlots::PartOf(Id main, Part part, uint32_t node) {
  const uint64_t number = static_cast<uint64_t>(node) << 2 | static_cast<uint64_t>(part);
  return (Mix(main, number) & ~kLowMask) | static_cast<uint64_t>(part) << kPartShift |
         (main & kKindMask);
}

// Whether the slot is a rule's own. What is there for others to be found is not.
bool RuleSlots::Counts(const Slot& slot) {
  const Id id = slot.id.load(std::memory_order_relaxed);
  if (id == 0 || slot.cover.newest() == kNoVersion) return false;
  return (id & kLowMask) >> kPartShift != static_cast<uint64_t>(Part::kLoads);
}

Version RuleSlots::NewestOf(const Slot& slot) {
  return std::max(slot.cover.newest(), slot.newest_scoped.load(std::memory_order_relaxed));
}

const RuleSlots::Slot* RuleSlots::Find(const Table& table, Id id) {
  for (size_t at = HomeOf(table, id);; at = (at + 1) & table.mask) {
    const Slot& slot = table.slots[at];
    const Id there = slot.id.load(std::memory_order_acquire);
    if (there == id) return &slot;
    if (there == 0) return nullptr;
  }
}

void RuleSlots::Place(Table* table, const Slot& slot) {
  const Id id = slot.id.load(std::memory_order_relaxed);
  size_t at = HomeOf(*table, id);
  while (table->slots[at].id.load(std::memory_order_relaxed) != 0) at = (at + 1) & table->mask;
  Slot& to = table->slots[at];
  const auto copy = [](auto& to_field, const auto& from_field) {
    to_field.store(from_field.load(std::memory_order_relaxed), std::memory_order_relaxed);
  };
  copy(to.cover.gone, slot.cover.gone);
  copy(to.cover.stale, slot.cover.stale);
  copy(to.newest_scoped, slot.newest_scoped);
  copy(to.id, slot.id);
}

RuleSlots::Slot* RuleSlots::FindOrMake(Id id) {
  if ((used_ + 1) * 2 > table()->mask + 1) {
    auto larger = std::make_unique<Table>((table()->mask + 1) * 2);
    for (size_t i = 0; i <= table()->mask; ++i) {
      if (table()->slots[i].id.load(std::memory_order_relaxed) != 0)
        Place(larger.get(), table()->slots[i]);
    }
    SwitchTo(std::move(larger));
  }
  size_t at = HomeOf(*table(), id);
  while (true) {
    Slot& slot = table()->slots[at];
    const Id there = slot.id.load(std::memory_order_relaxed);
    if (there == id) return &slot;
    if (there == 0) {
      ++used_;
      slot.id.store(id, std::memory_order_release);
      return &slot;
    }
    at = (at + 1) & table()->mask;
  }
}

bool RuleSlots::Add(Id id, const Rule& rule, MonoNanos now) {
  if (rule.node == Rule::kEveryNode) return RaiseSlot(FindOrMake(id), rule, now);
  const Slot* const known = Find(*table(), id);
  if (known != nullptr && rule.version <= known->cover.gone.load(std::memory_order_relaxed))
    return false;
  // A reader that finds the way to the parts finds them.
  if (!RaiseSlot(FindOrMake(PartOf(id, Part::kNode, rule.node)), rule, now)) return false;
  RaiseSlot(FindOrMake(PartOf(id, Part::kLoads, 0)), rule, now);
  Slot* const main = FindOrMake(id);
  if (rule.version > main->newest_scoped.load(std::memory_order_relaxed))
    main->newest_scoped.store(rule.version, std::memory_order_release);
  return true;
}

bool RuleSlots::Covers(Id id, const Rule& rule) const {
  const Slot* const slot = Find(*table(), id);
  if (slot == nullptr) return false;
  if (rule.version <= slot->cover.gone.load(std::memory_order_relaxed)) return true;
  const StaleList* const stale = slot->cover.stale.load(std::memory_order_relaxed);
  return rule.stale && stale != nullptr && rule.version <= stale->front().version;
}

bool RuleSlots::RaiseSlot(Slot* slot, const Rule& rule, MonoNanos now) {
  const bool counted = Counts(*slot);
  const bool changed = Raise(&slot->cover, rule.version, rule.stale, now);
  if (!counted && Counts(*slot)) ++counts_[static_cast<size_t>(rule.kind)];
  return changed;
}

bool RuleSlots::Raise(RuleCover* cover, Version version, bool stale, MonoNanos now) {
  if (version <= cover->gone.load(std::memory_order_relaxed)) return false;
  if (!stale) {
    cover->gone.store(version, std::memory_order_release);
    return true;
  }
  const StaleList* const before = cover->stale.load(std::memory_order_relaxed);
  if (before == nullptr) {
    Replace(cover, {{version, now, now}});
    return true;
  }
  // As a mark that comes later, it makes nothing stale that was not.
  if (version <= before->front().version) return false;
  Replace(cover, WithStale(*before, {version, now, now}));
  return true;
}

void RuleSlots::Replace(RuleCover* cover, StaleList list) {
  auto next = std::make_unique<const StaleList>(std::move(list));
  stale_bytes_ += BytesOf(*next);
  std::unique_ptr<const StaleList> old(cover->stale.load(std::memory_order_relaxed));
  cover->stale.store(next.release(), std::memory_order_release);
  if (old != nullptr) Retire(std::move(old), Epoch::Stamp());
}

size_t RuleSlots::Count(const Kinds& kinds) const {
  size_t count = 0;
  for (size_t kind = 0; kind < counts_.size(); ++kind) {
    if (kinds(static_cast<Rule::Kind>(kind))) count += counts_[kind];
  }
  return count;
}

Version RuleSlots::OlderHalf(const Kinds& kinds) const {
  std::vector<Version> versions;
  for (size_t i = 0; i <= table()->mask; ++i) {
    const Slot& slot = table()->slots[i];
    if (Counts(slot) && kinds(KindOf(slot.id.load(std::memory_order_relaxed))))
      versions.push_back(NewestOf(slot));
  }
  const auto middle = versions.begin() + static_cast<std::ptrdiff_t>((versions.size() - 1) / 2);
  std::nth_element(versions.begin(), middle, versions.end());
  return *middle;
}

void RuleSlots::DropUpTo(Version version, const Kinds& kinds, RuleCover* into) {
  size_t count = kSlotsMin;
  std::vector<const Slot*> kept;
  std::vector<const Slot*> dropped;
  for (size_t i = 0; i <= table()->mask; ++i) {
    const Slot& slot = table()->slots[i];
    const Id id = slot.id.load(std::memory_order_relaxed);
    if (id == 0) continue;
    (kinds(KindOf(id)) && NewestOf(slot) <= version ? dropped : kept).push_back(&slot);
  }
  if (dropped.empty()) return;
  if (into != nullptr) Gather(dropped, into);
  while ((kept.size() + 1) * 2 > count) count *= 2;
  auto next = std::make_unique<Table>(count);
  counts_ = {};
  for (const Slot* const slot : kept) {
    Place(next.get(), *slot);
    const Id id = slot->id.load(std::memory_order_relaxed);
    if (Counts(*slot)) ++counts_[static_cast<size_t>(KindOf(id))];
  }
  used_ = kept.size();
  std::vector<std::unique_ptr<const StaleList>> lists;
  for (const Slot* const slot : dropped)
    lists.emplace_back(slot->cover.stale.load(std::memory_order_relaxed));
  SwitchTo(std::move(next));
  for (std::unique_ptr<const StaleList>& list : lists) {
    if (list != nullptr) Retire(std::move(list), Epoch::Stamp());
  }
}

void RuleSlots::Gather(const std::vector<const Slot*>& slots, RuleCover* into) {
  const StaleList* const before = into->stale.load(std::memory_order_relaxed);
  StaleList together = before == nullptr ? StaleList() : *before;
  for (const Slot* const slot : slots) {
    Raise(into, slot->cover.gone.load(std::memory_order_relaxed), /*stale=*/false, 0);
    const StaleList* const list = slot->cover.stale.load(std::memory_order_relaxed);
    if (list == nullptr) continue;
    for (const StaleSince& item : *list) together = WithStale(std::move(together), item);
  }
  if (!together.empty()) Replace(into, std::move(together));
}

void RuleSlots::Retire(std::unique_ptr<const StaleList> list, uint64_t stamp) {
  const uint64_t bytes = BytesOf(*list);
  stale_bytes_ -= bytes;
  retired_bytes_ += bytes;
  retired_.push_back({nullptr, std::move(list), bytes, stamp});
}

void RuleSlots::SwitchTo(std::unique_ptr<Table> table) {
  std::unique_ptr<const Table> old(table_.exchange(table.release(), std::memory_order_acq_rel));
  const uint64_t bytes = (old->mask + 1) * sizeof(Slot);
  retired_bytes_ += bytes;
  retired_.push_back({std::move(old), nullptr, bytes, Epoch::Stamp()});
}

void RuleSlots::Reclaim() {
  if (retired_.size() < kRetiredMost && retired_bytes_ < kRetiredBytesMost) return;
  const uint64_t passed = Epoch::Passed();
  std::erase_if(retired_, [&](const Retired& retired) {
    if (retired.stamp > passed) return false;
    retired_bytes_ -= retired.bytes;
    return true;
  });
}

uint64_t RuleSlots::bytes() const {
  return (table()->mask + 1) * sizeof(Slot) + stale_bytes_ + retired_bytes_;
}

}  // namespace larder
