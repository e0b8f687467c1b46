// RuleSlots remembers up to which version a match is covered, a slot of 32 bytes for each: the
// table in the middle of a RuleTable.
// Thread safety: readers take no lock and look through a View, inside an Epoch::Reader; everything
// else from one thread at a time.

#ifndef LARDER_POLICY_RULE_SLOTS_H_
#define LARDER_POLICY_RULE_SLOTS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "core/version.h"
#include "policy/rule_table.h"

namespace larder {

// A mark, or several that were made one: whatever has at most this version is stale since then.
struct StaleSince {
  Version version;
  MonoNanos since;
  // When the version was marked; later than `since` where an older mark is part of this one.
  MonoNanos marked;
};
// The newest first; `since` falls with the version. At most kStaleMax.
using StaleList = std::vector<StaleSince>;
inline constexpr size_t kStaleMax = 16;
// `list` with one more. Beyond kStaleMax two neighbours become one, with the version of the newer
// and the time of the older: those for which that is the least part of an entry's time.
StaleList WithStale(StaleList list, StaleSince added);

// What is gone, and what is stale and since when. Whoever has the cover has its list.
struct RuleCover {
  std::atomic<Version> gone{kNoVersion};
  std::atomic<const StaleList*> stale{nullptr};

  void Judge(Version version, RuleTable::Verdict* verdict) const;
  // For the writer. The newest version that it says anything about; kNoVersion: it says nothing.
  Version newest() const;
};

class RuleSlots {
 public:
  // What a match is known by: | keyed hash: 59 bits | part: 2 bits | kind: 3 bits |
  using Id = uint64_t;
  static Id IdOf(Rule::Kind kind, uint64_t hash) {
    return (hash & ~kLowMask) | static_cast<uint64_t>(kind);
  }
  static Rule::Kind KindOf(Id id) { return static_cast<Rule::Kind>(id & kKindMask); }

 private:
  struct Slot {
    std::atomic<Id> id{0};
    RuleCover cover;
    // The newest of the rules for one node alone, which have slots of their own.
    std::atomic<Version> newest_scoped{kNoVersion};
  };
  struct Table {
    explicit Table(size_t count) : mask(count - 1), slots(std::make_unique<Slot[]>(count)) {}
    const size_t mask;
    const std::unique_ptr<Slot[]> slots;
  };

 public:
  // The slots as they are now. A reader takes one look for all that it asks: what is merged
  // meanwhile is either still in it, or covered by what it looks at afterwards.
  class View {
   public:
    void Prefetch(Id id) const { __builtin_prefetch(&table_->slots[HomeOf(*table_, id)]); }
    void Judge(Id id, Version version, RuleTable::Verdict* verdict) const;

   private:
    friend class RuleSlots;
    explicit View(const Table* table) : table_(table) {}
    const Table* const table_;
  };

  RuleSlots();
  ~RuleSlots();
  RuleSlots(const RuleSlots&) = delete;
  RuleSlots& operator=(const RuleSlots&) = delete;

  View Look() const { return View(table_.load(std::memory_order_acquire)); }

  // False when nothing has changed, because it was covered before. Of the rule it looks at what is
  // covered, not at the match.
  bool Add(Id id, const Rule& rule, MonoNanos now);
  // Whether Add would change nothing.
  bool Covers(Id id, const Rule& rule) const;
  // The same as Add for a cover that is not in a slot.
  bool Raise(RuleCover* cover, Version version, bool stale, MonoNanos now);

  using Kinds = std::function<bool(Rule::Kind)>;
  // Rules of these kinds that are remembered; those of single nodes are counted beside the others.
  size_t Count(const Kinds& kinds) const;
  // Up to which version the older half of them is. REQUIRES: there are some.
  Version OlderHalf(const Kinds& kinds) const;
  // Drops what says nothing about versions above `version`. `into`, if it is given, covers before
  // that what is dropped.
  void DropUpTo(Version version, const Kinds& kinds, RuleCover* into);

  // Frees what no reader can see any more, if there is enough of it to be worth asking.
  void Reclaim();
  uint64_t bytes() const;

 private:
  enum class Part : uint64_t {
    kMain = 0,   // of every node; says whether there are others
    kLoads = 1,  // of loads: what any rule for one node covers
    kNode = 2,   // of one node
  };
  static constexpr uint64_t kKindMask = 7;
  static constexpr int kPartShift = 3;
  static constexpr uint64_t kLowMask = 31;
  struct Retired {
    std::unique_ptr<const Table> table;
    std::unique_ptr<const StaleList> stale;
    uint64_t bytes;
    uint64_t stamp;
  };

  static Id PartOf(Id main, Part part, uint32_t node);
  static bool Counts(const Slot& slot);
  static Version NewestOf(const Slot& slot);
  static size_t HomeOf(const Table& table, Id id) { return (id >> 5) & table.mask; }
  static const Slot* Find(const Table& table, Id id);
  static void Place(Table* table, const Slot& slot);
  Slot* FindOrMake(Id id);
  bool RaiseSlot(Slot* slot, const Rule& rule, MonoNanos now);
  void Replace(RuleCover* cover, StaleList list);
  void Gather(const std::vector<const Slot*>& slots, RuleCover* into);
  void Retire(std::unique_ptr<const StaleList> list, uint64_t stamp);
  void SwitchTo(std::unique_ptr<Table> table);
  Table* table() const { return table_.load(std::memory_order_relaxed); }

  std::atomic<Table*> table_;
  size_t used_ = 0;
  std::array<size_t, kKindMask + 1> counts_ = {};  // by kind
  uint64_t stale_bytes_ = 0;
  std::vector<Retired> retired_;
  uint64_t retired_bytes_ = 0;
};

}  // namespace larder

#endif  // LARDER_POLICY_RULE_SLOTS_H_
