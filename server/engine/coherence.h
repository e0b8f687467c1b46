// Coherence keeps the copies in this replica's memory true to what other replicas do: it follows
// the bus, drops what was changed elsewhere, and knows which copies it cannot vouch for.
//
// While messages may have been missed, what memory holds is suspect: a suspect copy is compared
// with the tier that the fleet shares before it is served. Copies whose version is newer than the
// moment from which the bus has been followed again are not; the others are gone through one after
// the other, and when all were confirmed or dropped nothing is suspect any more. Memory is not
// thrown away.
//
// Thread safety: any method, any thread. Trusts is made for every hit: two loads.

#ifndef LARDER_ENGINE_COHERENCE_H_
#define LARDER_ENGINE_COHERENCE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "base/mutex.h"
#include "bus/bus.h"
#include "core/entry.h"
#include "core/version.h"
#include "engine/change_feed.h"
#include "engine/lease_table.h"
#include "engine/lower_tier.h"
#include "memory/l1.h"
#include "policy/type_table.h"

namespace larder {

struct CoherenceStats {
  bool suspect = false;         // now
  uint64_t changes = 0;         // keys that other replicas changed
  uint64_t dropped = 0;         // copies that were older
  uint64_t confirmed = 0;       // suspect copies that proved true
  uint64_t refuted = 0;         // suspect copies that did not, or could not be told, and went
  uint64_t served_suspect = 0;  // served because nothing could tell, as the configuration allows
};

class Coherence : public BusListener {
 public:
  struct Options {
    Bus* bus = nullptr;  // null: this replica is alone, and everything is trusted
    L1* memory = nullptr;
    LeaseTable* leases = nullptr;
    LowerTier* lower = nullptr;
    VersionClock* versions = nullptr;
    const TypeTable* types = nullptr;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    // Where checks are counted while they ask the tier.
    InFlight* background = nullptr;
    // Hears of keys that were changed, here or elsewhere, and, with kNoVersion, of keys that were
    // loaded elsewhere; may be null. Does not block.
    std::function<void(std::string_view full_key, Version version)> on_changed = nullptr;
    // Hears of rules of other replicas; may be null. Does not block.
    std::function<void(const BusMessage& message)> on_rule = nullptr;
    // Hears that changes may have been missed (false), and that from now on none is (true).
    std::function<void(bool following)> on_bus = nullptr;
    // Hears of the newest version that another replica knew of; may be null. Does not block.
    std::function<void(Version version)> on_saw = nullptr;
    // Is told of every change, here or elsewhere, and of gaps; may be null.
    ChangeFeed* feed = nullptr;
    // Confirmations that are remembered; when there are more, they are forgotten together.
    size_t confirmed_max = 1'000'000;
    // Suspect copies are gone through in steps of so many, with so long a pause between them.
    size_t check_batch = 256;
    absl::Duration check_pause = absl::Milliseconds(10);
    // The pause while the tier does not answer.
    absl::Duration failed_pause = absl::Milliseconds(500);
  };

  explicit Coherence(const Options& options) : options_(options) {}

  // Begins to follow the bus, if there is one.
  void Start();
  bool alone() const { return options_.bus == nullptr; }

  // Whether the copy that memory gave for `full_key` may be served without a look at the tier.
  bool Trusts(std::string_view full_key, const Entry& entry, MonoNanos now) const {
    if (alone()) return true;
    if (ABSL_PREDICT_TRUE(now <= options_.bus->ReliableUntil() &&
                          entry.version >= suspect_before_.load(std::memory_order_acquire))) {
      return true;
    }
    return WasConfirmed(full_key, entry.version, now);
  }
  // The tier has the same version, as of a look that began at `began`.
  void Confirm(std::string_view full_key, Version version, MonoNanos began);
  // Changes when messages may have been missed. What was read from the tier in one round must not
  // go to memory in another: it may lack a change that nobody here heard of.
  uint64_t round() const { return round_.load(std::memory_order_acquire); }
  // Whatever was changed elsewhere since then has been heard of here.
  bool HeardSince(MonoNanos since) const {
    return alone() || (following_since_.load(std::memory_order_acquire) <= since &&
                       options_.clock->Mono() <= options_.bus->ReliableUntil());
  }
  // Half of the time has passed for which the bus is trusted after its last word, or more.
  bool IsSilent(MonoNanos now);
  // The tier has another one, or nobody can tell: the copy goes.
  void Refute(std::string_view full_key, Version version);
  void CountServedSuspect() { served_suspect_.fetch_add(1, std::memory_order_relaxed); }

  // Whether anybody may be told what happens to keys, so that it is worth being written down.
  bool Tells() const { return !alone() || (options_.feed != nullptr && options_.feed->active()); }
  // Tells the other replicas, and those who watch here. `changes`, here and below: one for each
  // key, or none where nothing is known of them.
  void Changed(std::vector<std::string> full_keys, Version version, std::vector<KeyChange> changes);
  // The same for what a load brought: it is no change of what there is.
  void Loaded(std::vector<std::string> full_keys, Version version, std::vector<KeyChange> changes);
  // Tells the other replicas only: those who watch here have been told, or it is nothing new here.
  void ChangedElsewhere(std::vector<std::string> full_keys, Version version,
                        std::vector<KeyChange> changes);
  // Tells those who watch here only: it is nothing to the other replicas.
  void ChangedHere(std::string_view full_key, Version version, const KeyChange& change) {
    if (options_.feed != nullptr) options_.feed->Changed(full_key, version, change);
  }
  void Released(std::string full_key);
  // The entry of `version` has other times: copies of it are out of date.
  void Revised(std::string full_key, Version version, std::vector<KeyChange> change);
  // The same, and waits for them.
  Task<FleetAck> ChangedAndWait(std::vector<std::string> full_keys, Version version,
                                std::vector<KeyChange> changes, MonoNanos deadline);

  // Wakes `waiter` with kStored when another replica changes its key or gives up the key's fleet
  // lease.
  void Watch(const std::shared_ptr<LeaseWaiter>& waiter);
  void Unwatch(const std::shared_ptr<LeaseWaiter>& waiter);
  // Ends all watches with kDraining, those that come later too.
  void Drain();

  CoherenceStats Stats() const;

  // BusListener.
  void OnMessages(const std::vector<BusMessage>& messages) override;
  void OnGap(std::string_view why) override;
  void OnFollowing() override;
  Version NewestVersion() const override { return options_.versions->Last(); }
  void SawVersion(Version version) override {
    options_.versions->Observe(version);
    if (options_.on_saw) options_.on_saw(version);
  }

 private:
  void NoteChanged(const std::vector<std::string>& full_keys, Version version);
  // Tells those who watch here.
  void Tell(const std::vector<std::string>& full_keys, Version version,
            const std::vector<KeyChange>& changes);
  // What a message says of one of its keys, with what the copy here says of it.
  KeyChange Heard(const BusMessage& message, size_t key, MonoNanos now) const;
  void Publish(std::vector<std::string> full_keys, Version version, std::vector<KeyChange> changes,
               bool loaded = false);
  bool WasConfirmed(std::string_view full_key, Version version, MonoNanos now) const;
  void Wake(std::string_view full_key);
  // Copies up to that version go, because of what another replica did.
  void Drop(std::string_view full_key, Version upto, MonoNanos now);
  // How far the copies of one round have been gone through.
  struct Check {
    uint64_t round = 0;
    uint64_t cursor = 0;
    bool last_part = false;
    bool failed = false;  // the tier did not answer the last time
    std::vector<L1::Listed> copies;
  };
  void CheckStep(std::shared_ptr<Check> check);
  Task<bool> CheckSome(std::shared_ptr<Check> check);
  bool IsOver(const Check& check) const {
    return check.round != round_.load(std::memory_order_acquire);
  }

  const Options options_;
  // Copies of older versions are suspect; kNoVersion: none are; the greatest version: all.
  std::atomic<Version> suspect_before_{kNoVersion};
  std::atomic<MonoNanos> trust_most_{0};  // the longest that it was trusted for
  // Grows with every gap: confirmations and checks of earlier rounds mean nothing.
  std::atomic<uint64_t> round_{0};
  std::atomic<MonoNanos> following_since_{INT64_MAX};

  mutable Mutex mu_;
  absl::flat_hash_set<uint64_t> confirmed_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, std::vector<std::shared_ptr<LeaseWaiter>>> watches_
      ABSL_GUARDED_BY(mu_);
  bool draining_ ABSL_GUARDED_BY(mu_) = false;

  std::atomic<uint64_t> changes_{0};
  std::atomic<uint64_t> dropped_{0};
  std::atomic<uint64_t> confirmed_total_{0};
  std::atomic<uint64_t> refuted_{0};
  std::atomic<uint64_t> served_suspect_{0};
};

}  // namespace larder

#endif  // LARDER_ENGINE_COHERENCE_H_
