// Engine is the cache: the read path, the write path, leases and accounting over the tiers.
// Thread safety: any method, any thread. Tasks run where they are spawned and go on on the executor
// after a wait; none of them holds a thread while it waits. Errors carry a reason (core/error.h). A
// miss is an answer, never an error. Requests are views: what they point to outlives the task that
// they are given to.
//
// It is one class in a dozen .cc files, and longer than others: every path changes the same tables,
// in an order that the paths have to agree on.

#ifndef LARDER_ENGINE_ENGINE_H_
#define LARDER_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/task.h"
#include "bus/bus.h"
#include "core/entry.h"
#include "core/key.h"
#include "core/miss.h"
#include "core/version.h"
#include "engine/change_feed.h"
#include "engine/coherence.h"
#include "engine/copies_under_way.h"
#include "engine/covered_below.h"
#include "engine/engine_answers.h"
#include "engine/failure_memo.h"
#include "engine/flight_table.h"
#include "engine/hot_list.h"
#include "engine/journal_sink.h"
#include "engine/key_filters.h"
#include "engine/key_turns.h"
#include "engine/lease_table.h"
#include "engine/lower_tier.h"
#include "engine/namespaces.h"
#include "engine/origin_loader.h"
#include "engine/origin_writer.h"
#include "engine/requests.h"
#include "engine/rule_history.h"
#include "engine/rules.h"
#include "engine/usage.h"
#include "journal/journal.h"
#include "memory/l1.h"
#include "policy/change_learner.h"
#include "policy/compressor.h"
#include "policy/hot_keys.h"
#include "policy/rule_table.h"
#include "policy/type_table.h"
#include "tier/fleet_lease.h"
#include "tier/tier.h"

namespace larder {

// The key changes faster than a call can.
absl::Status Contention();

class Engine {
 public:
  static constexpr absl::Duration kLeaseTtlMin = absl::Milliseconds(10);

  struct Options {
    Clock* clock = Clock::System();
    Random* random = Random::System();
    Executor* executor = nullptr;  // outlives the engine's calls; shut down before the engine goes
    std::shared_ptr<TypeTable> types = nullptr;
    uint32_t node_id = 0;
    Version version_floor = kNoVersion;
    // The budget of memory, and the most that SetMemoryBudget may make of it (0 = the same).
    uint64_t memory_bytes = 64 << 20;
    uint64_t memory_bytes_max = 0;
    uint64_t value_bytes_max = 1 << 20;
    size_t namespaces_max = 1000;
    size_t leases_max = 1'000'000;
    size_t waiters_max = 100'000;
    size_t waiters_per_key_max = 20'000;
    absl::Duration lease_ttl = absl::Seconds(10);
    absl::Duration lease_ttl_max = absl::Minutes(5);
    // The tier below memory, the way to the other replicas, and the leases of the fleet; null:
    // there is none. They outlive the engine's calls. A bus and fleet leases need a shared tier.
    Tier* tier = nullptr;
    Bus* bus = nullptr;
    FleetLease* fleet_leases = nullptr;
    // A type that names none of these has its values loaded by callers.
    std::vector<OriginLink> origins = {};
    // Where types that write behind have their writes; null: there are none. Stopped before Stop.
    Journal* journal = nullptr;
    // Writes that the tier did not take and that are remembered key by key.
    size_t owed_max = 100'000;
    // Bounds of the invalidations in force, and how many keys of the tier are looked at in a second
    // to remove what they cover (0: none).
    RuleTable::Options rules = {};
    uint32_t sweep_rate = 20'000;
    // For those who watch. Clock, executor, node id and boot are filled in.
    ChangeFeed::Options watch = {};
    // What a hit in memory does while nobody can tell whether it is still true: be served, or be a
    // miss.
    bool serve_suspect = true;
    // See L1::Options.
    uint64_t hash_seed = 0;
  };

  explicit Engine(const Options& options);

  // Begins what goes on beside the calls: the sweep of expired entries, the training of
  // dictionaries, following the other replicas, making good what the lower tier missed.
  void Start();

  // Takes over the policies of `next`, while calls go on: each sees the old ones or the new ones.
  // What a policy says of origins, writes to them, shares of memory, compression, filters and
  // learning holds as at the start; a new type has none of these. Errors: TypeTable::Replace.
  absl::Status ReplaceTypes(const TypeTable& next);

  // Ends every wait with DRAINING and refuses new ones. Reads and writes go on.
  void Drain();

  // Ends what goes on beside the calls, as far as it uses the tier below. Blocks until it has
  // ended; false when that takes longer than `most`. To be called before the executor shuts down.
  bool Stop(absl::Duration most);

  // Changes the budget, cut to L1::kBudgetBytesMin and memory_bytes_max, step by step on the
  // executor. Returns at once; a later call overrides an earlier one.
  void SetMemoryBudget(uint64_t bytes);

  // Puts the value of `key` into `entry` and counts a hit if memory holds it; else false, and
  // nothing is counted. Never blocks: for lane threads. `now` is what options().clock->Mono() said.
  // Here and in Get: without `want_value` the value may come as it is stored, compressed.
  bool FindHit(const FullKey& key, MonoNanos now, bool want_value, Entry* entry);

  // Whether a change of this one key waits for nothing, because it reaches nothing but memory: its
  // task then ends where it is spawned. Never blocks: for lane threads.
  bool ChangesAtOnce(const KeyRequest& request) const;
  // Whether a Set of this one key, without a condition, is handed to the journal, reaches memory
  // when that has it, and nothing else. Never blocks for long.
  bool HandsOverAtOnce(const KeyRequest& request) const;

  // `again`: FindHit was asked for the key just before.
  Task<absl::StatusOr<ReadResult>> Get(KeyRequest request, bool want_value = true,
                                       bool again = false);
  Task<absl::StatusOr<WriteResult>> Set(WriteRequest request);
  Task<absl::StatusOr<RemoveResult>> Delete(KeyRequest request, ChangeContext context = {});
  // One answer each, in order; the lower tier is asked once.
  Task<absl::StatusOr<std::vector<ReadResult>>> BatchGet(std::string_view name_space,
                                                         std::vector<std::string_view> keys,
                                                         std::string_view type, bool want_value);
  Task<std::vector<absl::StatusOr<WriteResult>>> BatchSet(std::vector<WriteRequest> requests);
  // What Set refuses of the request itself, whatever is stored: its type, or more tags than there
  // may be together with those of the type. For batches, before the first of them is stored.
  absl::Status CheckWrite(const WriteRequest& request) const;
  // One answer each, in order: where the changes go to an origin, each key ends for itself.
  using Removed = std::vector<absl::StatusOr<RemoveResult>>;
  Task<absl::StatusOr<Removed>> BatchDelete(std::string_view name_space,
                                            std::vector<std::string_view> keys,
                                            std::string_view type, ChangeContext context = {});
  // Removes the cached copies of what the request selects, or marks them stale. A dry run only
  // counts. Errors: RULES_FULL.
  Task<absl::StatusOr<InvalidateResult>> Invalidate(InvalidateRequest request);
  // The same for keys that are to be removed.
  Task<absl::StatusOr<InvalidateResult>> InvalidateKeys(InvalidateRequest request);
  // A hit; or what the type's origin has; or, for a type without one, the lease to load the key.
  // `again`: FindHit was asked for the key just before.
  Task<absl::StatusOr<LoadResult>> GetOrLoad(LoadRequest request, bool again = false);
  // Whether GetOrLoad of a key that memory does not have would only join a load that is under way:
  // its task then waits for that, and for nothing before. Never blocks: for lane threads.
  bool JoinsAtOnce(const KeyRequest& request) const;
  // One answer each, in order; the lower tier is asked once for what memory has not, and origins by
  // full calls. Who is given a lease for one of the keys does not wait for others to load the rest.
  Task<std::vector<absl::StatusOr<LoadResult>>> BatchGetOrLoad(BatchLoadRequest request);
  // False when the token is not the holder's.
  bool ReleaseLease(const KeyRequest& request, std::string_view token);
  Task<absl::StatusOr<TouchResult>> Touch(TouchRequest request);
  Task<absl::StatusOr<IncrementResult>> Increment(IncrementRequest request);

  // The origin that the type's loads come from; null: it has none.
  Origin* OriginOf(const TypePolicy& type) const {
    return LoaderOf(type) == nullptr ? nullptr : LoaderOf(type)->origin();
  }
  // Null: it is not configured.
  Origin* OriginNamed(std::string_view name) const;
  // Loads the keys that are not in memory or below; of types without an origin, those below.
  // `keys` outlives the task.
  Task<EngineWarmed> WarmKeys(std::string_view name_space, const std::vector<std::string>* keys,
                              std::string_view type);

  // Whether entries of the type are loaded from its origin at the start.
  bool WarmsFromOrigin(const TypePolicy& type) const {
    return type.warm.on_start && OriginOf(type) != nullptr;
  }

  // Whether the lower tier, if there is one, can be relied on now.
  bool CanRefill() const;
  // Fetches the keys from the lower tier into memory, those that are not there. `keys` outlives the
  // task.
  Task<RefillResult> Refill(const std::vector<HotKey>* keys);

  // `value_bytes` 0: of the cached value. Without `want_values` the copies may come as they are
  // stored, compressed.
  Task<absl::StatusOr<Explanation>> Explain(KeyRequest request, uint64_t value_bytes,
                                            bool want_values = false);
  EngineStats Stats() const;
  const HotKeys& hot_keys() const { return hot_keys_; }

  const Options& options() const { return options_; }
  VersionClock& versions() { return versions_; }
  // For tests.
  L1& memory() { return *memory_; }
  const LowerTier& lower() const { return lower_; }
  const Coherence& coherence() const { return coherence_; }
  const Rules& rules() const { return rules_; }
  ChangeFeed& changes() { return changes_; }
  // ChangeFeed::Watch, with expirations if the selector asks for them.
  absl::StatusOr<std::unique_ptr<ChangeFeed::Watcher>> Watch(WatchSelector selector,
                                                             std::string_view resume_token);
  // The value of the key if memory has exactly this version, and not for an absent one. Counts
  // nothing.
  bool PeekValue(std::string_view full_key, Version version, std::string* value);

 private:
  struct Resolved {
    const TypePolicy* type;
    std::optional<uint16_t> name_space;
    // No caller reads: it counts as neither hit nor miss.
    bool ahead = false;
    // The key is one that the cache is not read for.
    bool past = false;
  };
  // What a lookup found: a value, a negative entry, or nothing.
  struct Found {
    bool live() const { return present && !entry.negative; }
    bool present = false;
    bool below = false;  // it came from the lower tier
    bool waits = false;  // it came from the journal
    Entry entry;
    MissReason why = MissReason::kAbsent;
    Version seen_below = kNoVersion;  // see LowerTier::Read
    // When the question began to which `seen_below` is the answer, and coherence_'s round then.
    std::optional<MonoNanos> looked_at;
    uint64_t round = 0;
    // When the question began that the lower tier did not answer in time.
    std::optional<MonoNanos> waited_since;
  };
  // What became of a store in all tiers.
  struct Stored {
    bool stored = false;
    // Of the entry; or of what is there instead, as far as that is known.
    Version version = kNoVersion;
    bool existed = false;  // of a removal: a copy was there
  };
  // One entry on its way to the tiers. What it points to outlives the store.
  struct Storing {
    EntryFields fields;
    // The value as callers see it.
    std::string_view plain;
    const TypePolicy* type;
    Expect expect;
    // What memory had of the key before, where it matters to those who watch; see NoteFormer.
    std::vector<std::string> former_tags = {};
    bool former_known = false;
  };

  absl::StatusOr<Resolved> ResolveForRead(const KeyRequest& request) const;
  absl::StatusOr<Resolved> ResolveForWrite(const KeyRequest& request);

  // What a live entry is worth to a reader.
  enum class Worth : uint8_t {
    kFresh,
    kStale,         // may be served while it is loaded again
    kStaleOnError,  // may be served when it cannot be loaded
  };

  // read.cc: lookups.
  // `again`: this request has looked for the key before and was counted then.
  Found Find(const FullKey& full_key, MonoNanos now, bool want_value, bool again);
  Found Peek(std::string_view full_key) const;
  bool Trusts(const FullKey& full_key, const Found& found, MonoNanos now) const {
    return !found.present || coherence_.Trusts(full_key.view(), found.entry, now);
  }
  // Memory's copy, checked if it is suspect, else the lower tier's.
  Task<Found> FindAnywhere(const FullKey* full_key, Resolved resolved, bool want_value, bool again);
  // What the lower tier has, one answer each; it goes to memory too. `why`: what memory said.
  Task<std::vector<Found>> FindBelow(std::vector<std::string> full_keys,
                                     std::vector<const TypePolicy*> types, bool want_value);
  Task<Found> FindOneBelow(const FullKey* full_key, const TypePolicy* type, bool want_value);
  Found Promote(const std::string& full_key, const TypePolicy& type, LowerTier::Read read,
                FillTicket ticket, bool want_value);
  // What the tier's answer to a question that began at `began` makes of a suspect copy; null:
  // nobody can tell. False: it is refuted, and `below` is true. Else `found` is the answer.
  bool Judge(std::string_view full_key, const Found* below, MonoNanos began, Found* found);
  // The suspect `found` if the lower tier confirms it, else what is true instead.
  Task<Found> Checked(const FullKey* full_key, const TypePolicy* type, Found found,
                      bool want_value);
  // The same for a change that goes by the times of the entry: where memory keeps copies for a
  // shorter time than they have, what is below says which those are.
  Task<Found> FindForChange(const FullKey* full_key, Resolved resolved, bool want_value);
  Worth WorthOf(const Entry& entry, MonoNanos now) const;
  // `found`, or nothing when it is only good for those who could not load it.
  Found ForReader(Found found, MonoNanos now) const;
  // One lookup each, in order, the lower tier asked once; not counted.
  Task<std::vector<Found>> FindMany(std::string_view name_space, std::vector<std::string_view> keys,
                                    std::vector<Resolved> resolved, bool want_value);
  // The answer to a read, counted. Starts the load behind a value that is stale or near its end.
  ReadResult Counted(const FullKey& full_key, Found found, const Resolved& resolved, MonoNanos now);
  void CountHit(const FullKey& full_key, const Entry& entry);
  void CountMiss(const FullKey& full_key, const Resolved& resolved);
  // Gives `fields` the stored form of their value. `stored` may come to hold it.
  void Encode(EntryFields* fields, std::string* stored);
  // Makes the value plain. False when that cannot be; the entry is then gone.
  bool Decode(std::string_view full_key, Entry* entry);
  // A hit has made a sliding entry live longer: from time to time the lower tier learns of it.
  void SlideBelow(const FullKey& full_key, const Entry& entry, MonoNanos now);
  Task<bool> ExtendBelow(std::string full_key);
  // Memory's entry of exactly this version as the lower tier would keep it.
  std::optional<TierPut> CurrentPut(const std::string& full_key, Version version);

  // rollout.cc: keys that the cache is not used for.
  // A write of it that waits in the journal, or nothing. REQUIRES, here and below: resolved.past.
  Task<Found> FindPast(const FullKey* full_key, Resolved resolved);
  ReadResult CountedPast(const FullKey& full_key, Found found, const Resolved& resolved);
  Task<absl::StatusOr<LoadResult>> LoadPast(const FullKey* full_key, LoadRequest request,
                                            Resolved resolved, Found found);
  Task<absl::StatusOr<WriteResult>> SetPast(KeyRequest key, ChangeContext context);

  // refill.cc: what one read of a Refill brought.
  void RefillOne(const HotKey& key, const TypePolicy& type, LowerTier::Read read, FillTicket ticket,
                 RefillResult* result);
  void Missing(const HotKey& key, const TypePolicy& type, RefillResult* result) const;

  // load.cc: leases.
  // How long a caller with a stale value waits for a better one, out of the time until `until`.
  MonoNanos SoonEnough(MonoNanos until, MonoNanos now, const TypePolicy& type) const;
  Task<absl::StatusOr<LoadResult>> LoadByLease(const FullKey* full_key, LoadRequest request,
                                               Resolved resolved, Found found);
  // A loaded value on its way to the tiers, where what was known when the load began decides
  // whether it may still be stored.
  struct Filled {
    enum class Kind : uint8_t {
      kKept,
      kLate,      // the key was changed since; `current` is what is known of it
      kTooLarge,  // right, but nothing can keep it
      kTierAway,  // the type requires the tier, which did not confirm
    };
    Kind kind = Kind::kLate;
    bool below = false;  // the tier has taken it
    Version current = kNoVersion;
    absl::Status error;
  };
  // `changes_key`: it was not loaded, but is a change that the key's origin has taken.
  Task<Filled> FillTiers(Storing storing, ArmedLease lease, bool changes_key = false);
  // What the holder of a lease knows of the lower tier and of the fleet.
  struct Below {
    Version seen_below = kNoVersion;
    bool look_below = false;  // what was seen may be out of date
    std::shared_ptr<void> fleet = nullptr;
  };
  Task<absl::StatusOr<std::optional<LoadResult>>> TakeLease(const FullKey* full_key,
                                                            LoadRequest request, Resolved resolved,
                                                            std::string token, Below below);
  // The fleet's turn: the lease, if there is one to be had, and whether to go on; else why not.
  struct FleetTurn {
    LeaseTurn::Kind kind = LeaseTurn::Kind::kGranted;
    std::shared_ptr<void> lease;
    // When the question began that was not answered in time, where the fleet's leases are.
    std::optional<MonoNanos> waited_since;
  };
  Task<FleetTurn> WaitForFleet(const FullKey* full_key, MonoNanos until,
                               Cancellation* cancellation);
  std::shared_ptr<void> OwnFleetLease(std::shared_ptr<HeldFleetLease> lease);
  Task<LeaseTurn> WaitInLine(std::shared_ptr<LeaseWaiter> waiter, MonoNanos until,
                             Cancellation* cancellation);
  void ExpireLease(const std::string& full_key, const std::string& token, FillTicket ticket,
                   Resolved resolved);
  Task<absl::StatusOr<WriteResult>> Fulfil(const WriteRequest* request, const FullKey* full_key,
                                           Resolved resolved, Storing storing);

  // flight.cc: loads from origins.
  OriginLoader* LoaderOf(const TypePolicy& type) const { return loader_of_[type.id]; }
  // FindAnywhere. For a key that memory does not have, and that others are after, memory's word
  // alone: the caller then joins them. If there are none, `opened` becomes a flight that others can
  // join meanwhile; it exists at the end if nothing was found.
  Task<Found> FindBeforeFlight(const FullKey* full_key, Resolved resolved, bool again,
                               OpenedFlight* opened);
  // `opened`, which may be null: of the key, and not started; it outlives the task.
  Task<absl::StatusOr<LoadResult>> LoadThrough(const FullKey* full_key, LoadRequest request,
                                               Resolved resolved, Found found,
                                               OpenedFlight* opened = nullptr);
  // One of a batch.
  Task<absl::StatusOr<LoadResult>> LoadOne(LoadRequest request, Resolved resolved, Found found);
  // A stale value in place of one that could not be loaded, if `found` may still be that.
  std::optional<LoadResult> StaleInstead(const FullKey& full_key, Found* found,
                                         const Resolved& resolved);
  Task<Landing> WaitForLanding(std::shared_ptr<FlightWaiter> waiter, MonoNanos until,
                               Cancellation* cancellation);
  // Starts the load behind a value that was served stale or is near its end, unless it is under
  // way.
  void RefreshBehind(std::string_view full_key, const Entry& entry, MonoNanos now);
  bool RefreshIsDue(std::string_view full_key, const Entry& entry, bool below, MonoNanos now) const;
  // What the opener of a flight has seen below just before; see flight.cc.
  struct SeenBelow {
    bool known = false;
    Version version = kNoVersion;
    MonoNanos since = 0;
    uint64_t round = 0;
    // Whoever waits for the flight has just waited for the tier in vain, since then.
    std::optional<MonoNanos> waited_since;
  };
  // REQUIRES: the flight is open. It lands in any case.
  void StartFlight(std::string full_key, const TypePolicy* type, OriginCall call, SeenBelow seen);
  Task<bool> Fly(std::string full_key, const TypePolicy* type, OriginCall call, SeenBelow seen);
  // kLookAgain: something came in between.
  Task<Landing> FlyOnce(const std::string* full_key, const TypePolicy* type, const OriginCall* call,
                        MonoNanos deadline, SeenBelow before);
  // Whether it is what a flight is to bring, without asking the origin.
  bool IsCurrent(std::string_view full_key, const Found& found, MonoNanos now) const;
  static Landing LandFound(Found found);
  // The answer to a read that waited for it. REQUIRES: kLanded.
  ReadResult CountedLanding(const FullKey& full_key, const Landing& landing,
                            const Resolved& resolved);
  // `waited_since`: since when those who wait have waited for a tier that did not answer in time.
  Task<Landing> LandLoaded(const std::string* full_key, const TypePolicy* type, OriginLoaded loaded,
                           ArmedLease lease, std::optional<MonoNanos> waited_since);
  // Whether those who wait for a flight are answered before the tier is.
  bool AnswersFirst(const EntryFields& fields, const TypePolicy& type, const ArmedLease& lease,
                    MonoNanos waited_since) const;
  // What the load that replaced `held` says of how often the key changes.
  void Learn(std::string_view full_key, const TypePolicy& type, const Found& held,
             const OriginLoaded& loaded);
  // A change of the key has ended the fill `cancelled`.
  void TellLoaders(std::string_view full_key, FillTicket cancelled, LeaseTable::Change change);

  // write.cc and store.cc: changes.
  // Entry fields that a write shares with every attempt to store it.
  EntryFields NewFields(const WriteRequest& request, const FullKey& full_key,
                        const Resolved& resolved) const;
  // Works the TTL out, writes what follows from it into `fields`, and returns it.
  absl::Duration SetExpiry(EntryFields* fields, const TypePolicy& type, TtlInput input,
                           MonoNanos now) const;
  // Stores in every tier that the type has, in the order that keeps "read your writes".
  Task<absl::StatusOr<Stored>> Store(Storing storing);
  Task<absl::StatusOr<Stored>> StoreThrough(Storing storing);
  Task<absl::StatusOr<Stored>> StoreIfShared(Storing storing);
  Task<absl::StatusOr<Stored>> StoreIfAlone(Storing storing);
  // Gives the entry that has the version of `storing` its times, in every tier. Not stored: it has
  // changed since.
  Task<absl::StatusOr<Stored>> Revise(Storing storing);
  // Stores under the version that the fields have. Not stored: something newer is there.
  Task<absl::StatusOr<Stored>> StoreAt(Storing storing);
  // Makes a write of the key that the shared tier does not have good, so that it can decide.
  Task<bool> SettleFirst(std::string full_key);
  // The tier's condition failed: what memory has of the key is not what the fleet has.
  void DropRefuted(std::string_view full_key, const TierChange& change, Version most);
  Task<absl::StatusOr<Stored>> StoreWithoutTier(Storing storing, absl::Status why);
  // Stores in memory under a new version, which it leaves in `fields`; again under a newer one
  // where versions ran past it. The lower tier, where the type has it, then knows that the write of
  // that version is under way, and is to be told of its end.
  absl::StatusOr<InsertResult> StoreNewVersion(Storing* storing);
  // Calls `insert` while `fields` has the times that memory may keep an entry of `type` for.
  template <typename Insert>
  InsertResult InsertCapped(EntryFields* fields, const TypePolicy& type, Insert&& insert) {
    const MonoNanos fresh = fields->fresh_until, usable = fields->usable_until;
    const MonoNanos most =
        lower_.Has(type) ? MonoAfter(options_.clock->Mono(), type.l1_ttl_max) : INT64_MAX;
    fields->fresh_until = std::min(fresh, most);
    fields->usable_until = std::min(usable, most);
    const InsertResult result = insert();
    fields->fresh_until = fresh;
    fields->usable_until = usable;
    return result;
  }
  // Memory's copy of what the lower tier has accepted. `round`: of before it was asked.
  void FollowBelow(Storing* storing, uint64_t round);
  void DropOlder(std::string_view full_key, Version version, LeaseTable::Change change);
  // The same entry again; its lists move over.
  static EntryFields FieldsOf(std::string_view full_key, Entry& entry);
  struct Removing {
    std::vector<std::string> full_keys;
    std::vector<const TypePolicy*> types;
    std::vector<KeyChange> changes = {};  // see Describe
  };
  // Removes the keys everywhere and says which were there. Does not tell the bus.
  // `settled`: the tier has taken it, or need not.
  Task<absl::StatusOr<std::vector<bool>>> Remove(Removing removing, Version* version,
                                                 bool* settled);
  // write_modes.cc: changes of types whose writes reach an origin.
  struct OriginChange {
    const FullKey* full_key = nullptr;
    Resolved resolved;
    bool remove = false;
    const Storing* storing = nullptr;  // null for a removal
    Expect expect;
    ChangeContext context;
  };
  static bool WritesOrigin(const TypePolicy& type) {
    return type.write.mode != WriteMode::kCacheOnly;
  }
  // What `change` points to outlives these tasks. Not stored: the condition does not hold.
  Task<absl::StatusOr<Stored>> ChangeAtOrigin(OriginChange change);
  // REQUIRES, for these: it is the change's turn, and its condition holds.
  Task<absl::StatusOr<Stored>> ChangeInTurn(const OriginChange* change);
  Task<absl::StatusOr<Stored>> ChangeThrough(const OriginChange* change);
  Task<absl::StatusOr<Stored>> ChangeInvalidate(const OriginChange* change);
  Task<absl::StatusOr<Stored>> ChangeAround(const OriginChange* change);
  Task<absl::StatusOr<Stored>> ChangeBehind(const OriginChange* change);
  // What the key is, by its copies or its origin, a pending write included.
  Task<absl::StatusOr<Found>> FindTruth(const OriginChange* change);
  Task<Found> FindNewest(const OriginChange* change, Resolved resolved);
  // Takes note of the version that the fleet has of the key.
  Task<bool> ObserveBelow(const OriginChange* change);
  Task<std::shared_ptr<void>> TakeFleetTurn(const OriginChange* change);
  Task<OriginWritten> WriteToOrigin(const OriginChange* change, Version version);
  // Removes the key from every tier; with `fleet_until`, waits so long for the other replicas.
  Task<absl::StatusOr<Stored>> RemoveCopies(const OriginChange* change,
                                            std::optional<MonoNanos> fleet_until);
  // After a write whose end nobody knows.
  Task<bool> RemoveDoubtful(const OriginChange* change);
  Task<bool> RemoveAgain(std::string full_key, Resolved resolved);
  Task<Removed> DeleteAtOrigin(std::string_view name_space, std::vector<std::string_view> keys,
                               std::vector<Resolved> resolved, ChangeContext context);

  // watching.cc: what those who watch are told of, here and on the other replicas.
  // Before `storing` is stored: keeps the tags of the entry that it replaces, if anybody watches
  // tags.
  void NoteFormer(Storing* storing) const;
  // That it was stored, or (`gone`) that it left nothing; nothing where nobody would be told.
  std::vector<KeyChange> ToldOf(const Storing& storing, bool gone = false) const;
  // That it has other times.
  std::vector<KeyChange> ToldOfTimes(const Storing& storing) const;
  // Tells those who watch here alone that it was stored, or that the key is gone from here.
  void TellHere(const Storing& storing);
  void TellRemoved(const Storing& storing);
  // Before the keys are removed: notes what they are.
  void Describe(Removing* removing) const;
  void TellSettled(LowerTier::Settled settled);
  // Some of what expired, after the sweep; true: there is more.
  bool TellExpired();

  // invalidate.cc.
  struct ChangedKey {
    std::string full_key;
    const TypePolicy* type;
  };
  // Keys that stay, as stale, one of each in their order.
  struct Marked {
    std::vector<std::string> full_keys;
    std::vector<const TypePolicy*> types;
    std::vector<Version> versions;
    std::vector<KeyChange> told;
    uint64_t fresh = 0;  // that were
  };
  Task<absl::StatusOr<InvalidateResult>> MarkKeysStale(InvalidateRequest request);
  // Adds the key to `marked`. False: there is nothing to mark, and it is to be removed.
  Task<absl::StatusOr<bool>> MarkStale(const FullKey* full_key, Resolved resolved, Marked* marked);
  // Removes what loads that began before the marks, up to `upto`, have left in the shared tier.
  Task<FleetAck> RemoveLoadedSince(Marked marked, Version upto,
                                   std::optional<MonoNanos> fleet_until);
  // Tells that they were changed.
  Task<FleetAck> TellMarked(Marked marked, Version version, std::optional<MonoNanos> fleet_until);
  Task<absl::StatusOr<InvalidateResult>> InvalidateByRules(InvalidateRequest request);
  // What the types of the keys say is out of date when they are changed. With `fleet_until`, waits
  // so long for the other replicas; not known: not all was done. REQUIRES: one namespace.
  Task<FleetAck> InvalidateDerived(std::vector<ChangedKey> changed,
                                   std::optional<MonoNanos> fleet_until = std::nullopt);
  static NameTemplate::Captures CapturesOf(const TypePolicy& type, std::string_view key);
  // Adds the tags that all entries of the type carry.
  static void AddTypeTags(const TypePolicy& type, std::string_view full_key,
                          std::vector<std::string>* tags);
  // Whether an entry with these fields is covered by a rule by now.
  bool IsCovered(const EntryFields& fields) const;
  // Removes what the shared tier has of the key if a rule covers it: the tier knows no rules, and
  // would decide a condition by it. True: it could be read.
  Task<bool> RemoveCoveredBelow(std::string full_key);

  // counter.cc.
  // What the counter would become.
  static absl::StatusOr<IncrementResult> CountUp(const Found& found,
                                                 const IncrementRequest& request, MonoNanos now);
  // The counter with `text` as its value, in the place of `found`.
  Storing CounterOf(const FullKey* full_key, const Resolved& resolved,
                    const IncrementRequest& request, std::string_view text, Found found,
                    bool keep_times, IncrementResult* counted) const;
  // Where there is no origin to tell. `key` outlives the task.
  Task<absl::StatusOr<IncrementResult>> IncrementCopies(const FullKey* key,
                                                        IncrementRequest request,
                                                        Resolved resolved);
  Task<absl::StatusOr<IncrementResult>> IncrementAtOrigin(IncrementRequest request,
                                                          Resolved resolved);

  // pending.cc: writes that wait in the journal.
  friend class JournalSinkOfEngine;
  bool MayWait(const TypePolicy& type) const {
    return type.write.mode == WriteMode::kBehind && options_.journal != nullptr;
  }
  // Whether what the lower tier has of the key is older than a write that waits.
  bool IsBeforeWaiting(const std::string& full_key, const LowerTier::Read& read) const {
    const Version waiting = options_.journal->VersionOf(full_key);
    return waiting > read.seen ||
           (waiting != kNoVersion && read.entry.has_value() && read.entry->loaded);
  }
  // The key's newest write that waits, as a reader sees it.
  Task<absl::StatusOr<std::optional<Found>>> FindWaiting(const FullKey* full_key,
                                                         const TypePolicy* type);
  // `found`, or what waits if that is newer.
  Task<Found> WithWaiting(const FullKey* full_key, const TypePolicy* type, Found found);
  // Before the journal forgets them: the origin has these, so no filter may say otherwise.
  void NoteDelivered(const TypePolicy& type, const std::vector<JournalRecord>& writes);
  // After the origin has the write: whether copies may be out of date, and what sees to it.
  bool MustCompare(const JournalRecord& write);
  Task<bool> CompareCopies(std::string full_key, const TypePolicy* type, Version version);
  // The write will never be at the origin.
  // `long_ago`: others may have written the key since; only what is seen to be dead goes.
  void RemoveDead(const JournalRecord& write, bool long_ago);
  Task<bool> RemoveCopiesOf(std::string full_key, const TypePolicy* type, Version version,
                            bool long_ago);

  absl::Status TooLarge(const EntryFields& fields) const;
  absl::Status TierAway(const absl::Status& why) const;

  // Messages may have been missed (false); from now on none is (true).
  void OnBus(bool following);
  void SweepAndReschedule();
  void TrainAndReschedule();
  void SettleAndReschedule();
  void NoteTierState();
  void StepMemoryBudget();
  // The last invalidations that are about a key of which so much is known.
  std::vector<Rule> RulesAbout(const FullKey& full_key, const Explanation& explanation) const;

  const Options options_;
  VersionClock versions_;
  const std::shared_ptr<RuleTable> rule_table_;
  const std::shared_ptr<CoveredBelow> covered_below_;
  RuleHistory rule_history_;
  std::unique_ptr<L1> memory_;
  NamespaceTable namespaces_;
  UsageCounters usage_;
  HotKeys hot_keys_;
  const std::unique_ptr<Compressor> compressor_;
  MonoNanos retire_next_ = 0;  // of the training task alone
  LeaseTable leases_;
  FlightTable flights_;
  FailureMemo failures_;
  InFlight background_;
  std::vector<std::unique_ptr<OriginLoader>> loaders_;
  // By type id; null: the type has no origin, or does not learn.
  std::vector<OriginLoader*> loader_of_;
  std::vector<std::unique_ptr<ChangeLearner>> learner_of_;
  std::vector<std::unique_ptr<OriginWriter>> writers_;
  std::vector<OriginWriter*> writer_of_;
  std::atomic<uint64_t> writes_doubtful_{0};
  const KeyedHash key_hash_;  // for what need not be the same on all replicas
  KeyTurns turns_;
  CopiesUnderWay copies_under_way_;
  JournalSinkOfEngine journal_sink_;
  std::unique_ptr<KeyFilters> filters_;
  // The tier is known not to answer: nobody waits to find out what a suspect copy is worth.
  std::atomic<bool> tier_away_{false};
  std::atomic<bool> probing_{false};
  std::atomic<uint64_t> fleet_waits_short_{0};
  std::atomic<uint64_t> flights_refused_{0};
  std::atomic<uint64_t> flights_again_{0};
  std::atomic<uint64_t> loads_without_lease_{0};
  // The longest that an entry of any type can have been given, in nanoseconds; INT64_MAX: for ever.
  std::atomic<int64_t> longest_life_;
  // The same of loads, and of the time for which stale values are served.
  std::atomic<int64_t> longest_load_;
  std::atomic<int64_t> longest_stale_;
  Rules rules_;
  LowerTier lower_;
  ChangeFeed changes_;
  Coherence coherence_;
  const absl::Time since_;

  Mutex budget_mu_;
  uint64_t budget_bytes_ ABSL_GUARDED_BY(budget_mu_);
  bool budget_moves_ ABSL_GUARDED_BY(budget_mu_) = false;
};

}  // namespace larder

#endif  // LARDER_ENGINE_ENGINE_H_
