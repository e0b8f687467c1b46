// LowerTier is the engine's way to the tier below memory: it turns entries into envelopes, and
// knows for which keys the tier is behind this replica.
//
// A write reaches memory first and the tier a moment later, or not at all when the tier is unwell.
// Until the tier has it, what the tier holds of that key is out of date, and memory may evict the
// newer value at any time. So every write says here what it is about to do, and a read takes
// nothing from the tier that is older than a write of its key that the tier does not have. Writes
// that failed stay known, bounded; when the tier is well again they are made good.
//
// A shared tier may also lose what it took: a Redis that comes back with what it had on disk, or a
// replica of it that was behind and takes over. So the last writes that the tier took stay known
// for a while, and when it answers again after an outage, they are owed once more.
//
// Thread safety: any method, any thread; never blocks for longer than a shard's lock.

#ifndef LARDER_ENGINE_LOWER_TIER_H_
#define LARDER_ENGINE_LOWER_TIER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/task.h"
#include "core/entry.h"
#include "core/version.h"
#include "engine/rules.h"
#include "policy/rule_table.h"
#include "policy/type_table.h"
#include "tier/tier.h"

namespace larder {

struct LowerTierStats {
  uint64_t owed = 0;            // keys for which the tier is behind, now
  uint64_t owed_total = 0;      // writes that it did not take
  uint64_t settled = 0;         // made good since
  uint64_t owed_forgotten = 0;  // too many: all that is older in the tier is distrusted instead
  uint64_t outdated_reads = 0;  // entries that a read did not take from the tier
  uint64_t owed_again = 0;      // of owed_total: writes that it took and may have lost
};

class LowerTier {
 public:
  struct Options {
    // Outlives the object. Null: there is no tier, and nothing but exists() may be called.
    Tier* tier = nullptr;
    Clock* clock = Clock::System();
    // What is invalidated: nothing that is covered is read from the tier. Null: nothing is.
    const RuleTable* table = nullptr;
    Rules* rules = nullptr;  // with `table`
    // Writes that the tier owes, remembered key by key; beyond it, everything in the tier that is
    // older than the newest of them is no longer read.
    size_t owed_max = 100'000;
    // Writes that a shared tier took, remembered so long, and so many of them, before an outage.
    absl::Duration remember = absl::Seconds(10);
    size_t remembered_max = 16'384;
  };

  explicit LowerTier(const Options& options) : options_(options) {}

  bool exists() const { return options_.tier != nullptr; }
  // Whether other replicas have the same tier.
  bool shared() const { return exists() && options_.tier->shared(); }
  // Whether entries of `type` go there.
  bool Has(const TypePolicy& type) const { return exists() && type.second_tier; }

  struct Read {
    // The tier did not answer; it may have been waited for to the end of a time limit.
    bool failed = false;
    bool timed_out = false;
    // What lies there, be it a tombstone, negative, ended or out of date; kNoVersion for nothing.
    Version seen = kNoVersion;
    // What lies there is an entry whose life is over.
    bool ended = false;
    // What lies there is an entry that a rule covers.
    bool covered = false;
    // What may be served of it. type_id and namespace_id are not set.
    std::optional<Entry> entry;
    std::string type;
  };
  // Whether a copy would live longer than the tier's entry of the same version: its times were
  // changed since. A sliding copy is ahead of the tier by a part of its life.
  static bool Outlives(MonoNanos fresh_until, MonoNanos sliding, MonoNanos fresh_below) {
    constexpr MonoNanos kSlack = 2'000'000;  // envelopes have whole milliseconds
    return fresh_until > fresh_below && fresh_until - fresh_below > kSlack + sliding / 4;
  }
  // One answer each, in order.
  Task<std::vector<Read>> Get(std::vector<std::string> full_keys, MonoNanos deadline);

  // A write of `full_key` at `version` is about to begin: from here on, older entries of the tier
  // are not read.
  void Begin(std::string_view full_key, Version version);
  // It has ended. `settled`: the tier has it, or something newer.
  void End(std::string_view full_key, Version version, bool settled);
  // The same for a loaded value that the tier did not take: it is made good by removing what the
  // tier has, never by the value. That the key had not changed since the load began was for the
  // tier to say, in the moment in which it took it.
  void EndUntaken(std::string_view full_key, Version version);
  // It was given up, or changed no version: what the tier owed it owes yet.
  void GiveUp(std::string_view full_key) { EndOwed(full_key, kNoVersion, kNoVersion, false); }

  // For writes between Begin and End. Errors are the tier's.
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts, MonoNanos deadline);
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline);
  // The entry as the tier keeps it. `plain` is its value as callers see it.
  TierPut PutOf(const EntryFields& fields, std::string_view plain, const TypePolicy& type,
                Expect expect) const;

  // Makes up to `limit` owed writes good: with what `current` gives for the key and the version of
  // the write, if this replica still has it, else by removing what the tier has. Says what is done:
  // nothing when there are none, or the tier is still unwell.
  using Current =
      std::function<std::optional<TierPut>(const std::string& full_key, Version version)>;
  struct Settled {
    size_t count = 0;
    // What the tier now has, for whoever is to be told: copies below `newest` may be out of date.
    std::vector<std::string> full_keys;
    Version newest = kNoVersion;
    // Of each of them: the version that the tier was given, or up to which it has nothing any more.
    std::vector<Version> versions;
    std::vector<bool> removed;
    // What memory may still have up to these versions is not what the tier has.
    std::vector<TierErase> outdated;
  };
  Task<Settled> Settle(size_t limit, Current current);
  // The same for one key, at once. REQUIRES: OwedOf(full_key) is a version.
  Task<Settled> SettleKey(std::string full_key, Current current);
  // Whether a write of the key has begun and not ended.
  bool IsUnderWay(std::string_view full_key);
  // The newest write of the key that the tier did not take and that is remembered.
  Version OwedOf(std::string_view full_key);
  // The tier will be given `version`; until then it has `seen`, which is older.
  bool IsBehind(std::string_view full_key, Version version, Version seen);

  // Whether the tier has answered anybody since.
  bool AnsweredSince(MonoNanos then) const {
    return answered_at_.load(std::memory_order_relaxed) > then;
  }

  LowerTierStats Stats() const;
  TierStats OfTier() const { return options_.tier->Stats(); }
  Tier* tier() const { return options_.tier; }

 private:
  struct Ahead {
    Version version = kNoVersion;  // the newest write that began
    Version owed = kNoVersion;     // the newest that the tier did not take
    bool by_value = true;          // whether that one may be made good by its value
    uint32_t under_way = 0;
    // `owed` is an entry that the tier has had, and may still have.
    bool again = false;
    // The write that the tier took in a call in which it may have lost it.
    Version lost = kNoVersion;
    bool lost_removal = false;
  };
  struct Taken {
    std::string full_key;
    Version version = kNoVersion;
    MonoNanos at = 0;
    bool removal = false;
  };
  struct Shard {
    Mutex mu;
    // In order, so that a simulation repeats: few keys are here at a time.
    absl::btree_map<std::string, Ahead> keys ABSL_GUARDED_BY(mu);
    std::deque<Taken> taken ABSL_GUARDED_BY(mu);
  };
  static constexpr size_t kShards = 64;

  // A write that the tier owes, now under way.
  struct Owed {
    std::string full_key;
    Version version = kNoVersion;
    // What is removed when the entry is no longer at hand.
    Version remove_upto = kNoVersion;
    bool by_value = true;
  };
  // Takes what a rule says of the entry into account.
  void Cover(std::string_view full_key, Read* read) const;
  static Owed BeginOwed(const std::string& full_key, Ahead* ahead);
  // Those that nobody else is at.
  std::vector<Owed> TakeOwed(size_t limit);
  Task<Settled> SettleThese(std::vector<Owed> owed, Current current);
  // `given` is what the tier was asked to take for it.
  void EndOwed(std::string_view full_key, Version version, Version given, bool settled);
  // What a call of the tier ended with. False: what it answered may be out of date, because the
  // tier has been away and what it may have lost is not known to all yet.
  bool Note(const absl::Status& status);
  // The same for changes, which may be a part of what it lost: its losses were `losses` when the
  // call began.
  void NoteChanges(const absl::StatusOr<std::vector<TierChange>>& changes, uint64_t losses,
                   std::vector<Taken> taken);
  // Whether the tier may have lost what it took of `version`, once.
  static bool TakeLost(Ahead* ahead, Version version);
  // Notes the time when the tier is found to have lost what it took though no call failed.
  void LookForLoss();
  // Since when it is known that something may be lost; `now` when nothing is.
  MonoNanos TroubleSince(MonoNanos now) const;
  void Remember(const std::vector<TierChange>& changes, std::vector<Taken> taken);
  // The tier may have lost what it took since shortly before `failing_since`.
  void OweAgain(MonoNanos failing_since);
  Shard& ShardOf(std::string_view full_key);
  // The oldest version of the key that may be read from the tier.
  Version FloorOf(std::string_view full_key);
  void Owe(Ahead* ahead, Version version);
  void Pay(Ahead* ahead, Version version);

  const Options options_;
  std::array<Shard, kShards> shards_;
  std::atomic<size_t> next_shard_{0};  // of Settle
  std::atomic<uint64_t> owed_{0};
  std::atomic<uint64_t> owed_total_{0};
  std::atomic<uint64_t> settled_{0};
  std::atomic<uint64_t> owed_forgotten_{0};
  std::atomic<uint64_t> outdated_reads_{0};
  std::atomic<uint64_t> owed_again_{0};
  // When the tier answered last.
  std::atomic<MonoNanos> answered_at_{0};
  // When it became unavailable; 0 while it answers.
  std::atomic<MonoNanos> failing_since_{0};
  // When a loss was seen that no call has met yet; 0: there is none.
  std::atomic<MonoNanos> lost_since_{0};
  std::atomic<bool> owing_again_{false};
  std::atomic<uint64_t> losses_seen_{0};
  std::atomic<uint64_t> outages_{0};
  // Nothing older is read at all.
  std::atomic<Version> floor_{kNoVersion};
};

}  // namespace larder

#endif  // LARDER_ENGINE_LOWER_TIER_H_
