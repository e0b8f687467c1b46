// Rules puts invalidations into force: here, in the tier below, and on the other replicas; learns
// of theirs; and takes out of memory and out of the tier what is covered, behind everybody's back
// and at a bounded rate.
//
// A rule takes effect for readers of this replica in the step in which it is added to the table.
// Then the tier keeps it, and only then the others are told, as with changes of keys: whoever hears
// of a rule, or comes later and reads the tier, finds it there.
//
// Versions of replicas whose clocks differ: a replica that hears of a rule may have made newer
// versions before it heard. It answers by a rule of its own that covers what itself has made until
// then. So a write elsewhere, within the time that the bus takes, may count as being before the
// rule; what was there before the rule is never missed.
//
// Thread safety: any method, any thread; nothing blocks. Errors: RULES_FULL; what the table says.

#ifndef LARDER_ENGINE_RULES_H_
#define LARDER_ENGINE_RULES_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "base/mutex.h"
#include "base/task.h"
#include "bus/bus.h"
#include "core/version.h"
#include "engine/rule_store.h"
#include "memory/l1.h"
#include "policy/rule_table.h"
#include "tier/tier.h"

namespace larder {

struct RulesStats {
  RuleTable::Stats table;
  bool known = false;           // all rules that the tier has are known here
  bool behind = false;          // the tier lacks some
  uint64_t applied = 0;         // by callers of this replica
  uint64_t received = 0;        // from others
  uint64_t extended = 0;        // answered by one of our own
  uint64_t swept = 0;           // times that memory was gone through
  uint64_t swept_below = 0;     // times that the tier was
  uint64_t removed_below = 0;   // entries that were removed from it
  uint64_t store_failures = 0;  // writes and reads of rules that the tier did not do
};

class Rules {
 public:
  struct Options {
    RuleTable* table = nullptr;
    L1* memory = nullptr;
    Tier* tier = nullptr;  // null: there is none
    Bus* bus = nullptr;    // null: this replica is alone
    VersionClock* versions = nullptr;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    InFlight* background = nullptr;
    uint32_t node_id = 0;
    // Longer than anything lives in any tier; infinite: rules are never forgotten.
    std::function<absl::Duration()> life;
    // Without a tier: how long after a rule a load of before may bring what it covers, or,
    // `marked`, what it has marked may be served. Null: rules are kept for ever.
    std::function<absl::Duration(bool marked)> lasts = nullptr;
    // Keys of the tier that the sweep looks at in a second; 0: it leaves the tier alone.
    uint32_t sweep_rate = 20'000;
    // Hears of every rule that takes effect here; may be null. Does not block.
    std::function<void(const Rule&)> on_rule = nullptr;
  };

  explicit Rules(const Options& options);

  // Begins to read the tier's rules and to sweep.
  void Start();

  struct Applied {
    Version version = kNoVersion;
    // The tier has them.
    bool kept = false;
    FleetAck fleet;
  };
  // Puts the rules in force, all under one version, which is given here. They have taken effect
  // here before the first wait, and then `in_force`, if given, is called with them. `fleet_until`:
  // waits so long for the others.
  Task<absl::StatusOr<Applied>> Apply(
      std::vector<Rule> rules, std::optional<MonoNanos> fleet_until,
      std::function<void(const std::vector<Rule>& rules)> in_force = nullptr);

  // Whether all rules are known of which the tier could hold something.
  bool Known() const { return known_.load(std::memory_order_acquire); }
  // Makes it so for one look at the tier that begins afterwards: reads the tier's rules, if need
  // be. False: that failed, and nothing is to be read from the tier.
  Task<bool> BeKnown();

  // Whether all changes of other keys since an entry of that version was made are in the table:
  // else whoever finds it in the tier cannot tell whether what it depends on has changed.
  bool KnowsChangesSince(Version version);

  // Of the bus's listener.
  void OnMessage(const BusMessage& message);
  void OnGap();
  void OnFollowing();
  // The newest version that another replica has made or heard of.
  void OnSaw(Version version);

  RulesStats Stats() const;

 private:
  struct Waiter {
    explicit Waiter(Executor* executor) : known(executor) {}
    Signal<bool> known;
  };

  Task<absl::StatusOr<Applied>> ApplyAgain(std::vector<Rule> rules, MonoNanos fleet_until);
  // Adds rules of others, or of the tier, to the table.
  void Learn(const std::vector<Rule>& rules);
  // Adds what was read from the tier.
  void LearnFound(const std::vector<Rule>& rules);
  // What this node has made above the version of the rules before they were in force here.
  std::vector<Rule> Extensions(const std::vector<Rule>& rules) const;
  void KeepBehind(std::vector<Rule> rules);
  Task<bool> KeepAndTell(std::vector<Rule> rules);
  // Reads the tier's rules, once more if that is being done already; `waiter` may be null.
  void StudyBehind(std::shared_ptr<Waiter> waiter);
  Task<bool> Study();
  void MaintainAndReschedule();
  Task<bool> Mend();
  // rules_sweep.cc
  void StartSweeps();
  void SweepAndReschedule();
  // Without a tier: says when rules may be dropped that are in force now.
  void PlanDrop(MonoNanos now);
  void SweepTierAndReschedule();
  Task<absl::Duration> SweepTier();
  // Out of the tier; false when it is unwell.
  Task<bool> RemoveCovered(std::vector<std::string> keys);

  const Options options_;
  std::unique_ptr<RuleStore> store_;  // null: there is no tier
  std::atomic<bool> known_{false};
  // Grows with every gap: what was read in an earlier round may lack something.
  std::atomic<uint64_t> round_{0};
  std::atomic<bool> following_{false};  // the bus; false without one
  // All replicas that are alive have been heard since the bus is followed; INT64_MAX: it is not.
  std::atomic<MonoNanos> heard_all_at_;
  std::atomic<Version> heard_newest_{kNoVersion};  // of others, over the bus
  std::atomic<MonoNanos> studied_{0};
  // The newest version of here when rules were last found of which nobody here had heard.
  std::atomic<Version> found_upto_{kNoVersion};
  std::atomic<Version> newest_{kNoVersion};         // of all rules in the table
  std::atomic<Version> newest_marked_{kNoVersion};  // of those that make stale

  Mutex mu_;
  bool studying_ ABSL_GUARDED_BY(mu_) = false;
  bool study_again_ ABSL_GUARDED_BY(mu_) = false;
  // For the reading that begins next.
  std::vector<std::shared_ptr<Waiter>> waiting_ ABSL_GUARDED_BY(mu_);

  // The sweepers' own.
  Version swept_upto_ = kNoVersion;
  Version sweeping_ = kNoVersion;
  uint64_t memory_cursor_ = 0;
  // Rules up to `drop_upto_` go at the end of the first sweep that begins at `drop_at_` or later.
  Version drop_upto_ = kNoVersion;
  MonoNanos drop_at_ = 0;
  bool sweep_drops_ = false;
  Version dropped_upto_ = kNoVersion;
  std::atomic<Version> own_newest_{kNoVersion};  // of the rules of this replica's callers
  Version swept_below_upto_ = kNoVersion;
  Version sweeping_below_ = kNoVersion;
  std::string below_cursor_;

  std::atomic<uint64_t> applied_{0};
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> extended_{0};
  std::atomic<uint64_t> swept_{0};
  std::atomic<uint64_t> swept_below_{0};
  std::atomic<uint64_t> removed_below_{0};
  std::atomic<uint64_t> store_failures_{0};
};

}  // namespace larder

#endif  // LARDER_ENGINE_RULES_H_
