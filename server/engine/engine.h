// Engine is the cache: the read path, the write path, leases and accounting over the tiers.
// Thread safety: any method, any thread. Tasks run where they are spawned and go on on the executor
// after a wait; none of them holds a thread while it waits. Errors carry a reason (core/error.h). A
// miss is an answer, never an error. Requests are views: what they point to outlives the task that
// they are given to.

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
#include "base/mutex.h"
#include "base/random.h"
#include "base/task.h"
#include "core/entry.h"
#include "core/key.h"
#include "core/miss.h"
#include "core/version.h"
#include "engine/lease_table.h"
#include "engine/namespaces.h"
#include "engine/usage.h"
#include "memory/l1.h"
#include "policy/compressor.h"
#include "policy/hot_keys.h"
#include "policy/type_table.h"

namespace larder {

// Which key, in which namespace (empty = `default`), of which type (empty = by pattern).
struct KeyRequest {
  std::string_view name_space;
  std::string_view key;
  std::string_view type;
};

// A read: `entry` on a hit, else why not.
struct ReadResult {
  std::optional<Entry> entry;
  MissReason miss = MissReason::kAbsent;
  // For kNegative: how long the cache goes on saying so.
  absl::Duration miss_remaining;
};

struct WriteRequest {
  KeyRequest key;
  std::string_view value;
  bool absent = false;
  std::optional<absl::Duration> ttl;
  std::vector<std::string> tags;
  std::vector<std::string> depends_on;
  Expect condition;
  std::string_view lease_token;
};

enum class NotStored : uint8_t { kCondition, kLeaseLost, kNewerExists };

struct WriteResult {
  bool stored = false;
  NotStored reason = NotStored::kCondition;  // when not stored
  Version version = kNoVersion;              // the entry's, or what is there instead
  absl::Duration ttl;                        // when stored
};

struct RemoveResult {
  bool existed = false;
  Version version = kNoVersion;
};

struct InvalidateResult {
  Version version = kNoVersion;
  uint64_t entries = 0;
};

struct LoadRequest {
  KeyRequest key;
  absl::Duration lease_ttl;
  // When the caller stops waiting for somebody else's load: a miss (kLoading).
  MonoNanos wait_until = INT64_MAX;
  // When the call ends: DEADLINE_EXCEEDED.
  MonoNanos deadline = INT64_MAX;
  Cancellation* cancellation = nullptr;
};

struct GrantedLease {
  std::string token;
  absl::Duration ttl;
};

struct LoadResult {
  ReadResult read;
  // Set: nobody has the value and this caller is to load it.
  std::optional<GrantedLease> lease;
};

enum class TouchMode : uint8_t { kSet, kExtendOnly, kShortenOnly };

struct TouchRequest {
  KeyRequest key;
  std::optional<absl::Duration> ttl;
  TouchMode mode = TouchMode::kSet;
};

struct TouchResult {
  bool found = false;
  MissReason miss = MissReason::kAbsent;  // when not found
  bool changed = false;
  // Of the entry after the call.
  Version version = kNoVersion;
  MonoNanos fresh_until = 0;
};

struct IncrementRequest {
  KeyRequest key;
  int64_t delta = 0;
  int64_t initial = 0;
  std::optional<absl::Duration> ttl;
  bool extend = false;
};

struct IncrementResult {
  int64_t value = 0;
  bool created = false;
  Version version = kNoVersion;
  MonoNanos fresh_until = 0;
};

struct Explanation {
  TypeMatch match;
  std::vector<std::pair<std::string, std::string>> captures;
  std::vector<TtlStep> ttl;
  std::optional<Entry> entry;  // null when it is not in memory; may be negative
  MissReason miss = MissReason::kAbsent;
  bool lease_held = false;
  size_t lease_waiters = 0;
};

struct UsageRow {
  std::string name;
  UsageTotals counts{};
  L1Tally memory;
  CompressionStats compression = {};  // of a type; empty for namespaces and the total
};

struct EngineStats {
  absl::Time since;
  UsageRow total;
  std::vector<UsageRow> types;
  std::vector<UsageRow> namespaces;
  L1Usage memory;
  // Memory beside the budget: dictionaries and their samples, and the books of hot keys.
  uint64_t dictionary_bytes = 0;
  uint64_t hot_keys_bytes = 0;
  LeaseTotals leases;
};

class Engine {
 public:
  static constexpr absl::Duration kLeaseTtlMin = absl::Milliseconds(10);

  struct Options {
    Clock* clock = Clock::System();
    Random* random = Random::System();
    Executor* executor = nullptr;  // outlives the engine's calls; shut down before the engine goes
    std::shared_ptr<const TypeTable> types = nullptr;
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
  };

  explicit Engine(const Options& options);

  // Begins what goes on beside the calls: the sweep of expired entries, the training of
  // dictionaries.
  void Start();

  // Ends every wait with DRAINING and refuses new ones. Reads and writes go on.
  void Drain();

  // Changes the budget, cut to L1::kBudgetBytesMin and memory_bytes_max, step by step on the
  // executor. Returns at once; a later call overrides an earlier one.
  void SetMemoryBudget(uint64_t bytes);

  // Puts the value of `key` into `entry` and counts a hit if memory holds it; else false, and
  // nothing is counted. Never blocks: for lane threads. `now` is what options().clock->Mono() said.
  // Here and in Get: without `want_value` the value may come as it is stored, compressed.
  bool FindHit(const FullKey& key, MonoNanos now, bool want_value, Entry* entry);

  // `again`: FindHit was asked for the key just before.
  Task<absl::StatusOr<ReadResult>> Get(KeyRequest request, bool want_value = true,
                                       bool again = false);
  Task<absl::StatusOr<WriteResult>> Set(WriteRequest request);
  Task<absl::StatusOr<RemoveResult>> Delete(KeyRequest request);
  // Removes the cached copies of `keys`. A dry run only counts.
  Task<absl::StatusOr<InvalidateResult>> InvalidateKeys(std::string_view name_space,
                                                        std::vector<std::string_view> keys,
                                                        bool dry_run);
  Task<absl::StatusOr<LoadResult>> GetOrLoad(LoadRequest request);
  // False when the token is not the holder's.
  bool ReleaseLease(const KeyRequest& request, std::string_view token);
  Task<absl::StatusOr<TouchResult>> Touch(TouchRequest request);
  Task<absl::StatusOr<IncrementResult>> Increment(IncrementRequest request);

  // `value_bytes` 0: of the cached value.
  absl::StatusOr<Explanation> Explain(const KeyRequest& request, uint64_t value_bytes) const;
  EngineStats Stats() const;
  const HotKeys& hot_keys() const { return hot_keys_; }

  const Options& options() const { return options_; }
  VersionClock& versions() { return versions_; }
  // For tests.
  L1& memory() { return *memory_; }

 private:
  struct Resolved {
    const TypePolicy* type;
    std::optional<uint16_t> name_space;
  };

  absl::StatusOr<Resolved> ResolveForRead(const KeyRequest& request) const;
  absl::StatusOr<Resolved> ResolveForWrite(const KeyRequest& request);
  // What a lookup found: a value, a negative entry, or nothing.
  struct Found {
    bool live() const { return present && !entry.negative; }
    bool present = false;
    Entry entry;
    MissReason why = MissReason::kAbsent;
  };
  // `again`: this request has looked for the key before and was counted then.
  Found Find(const FullKey& full_key, MonoNanos now, bool want_value, bool again);
  Found Peek(const FullKey& full_key, MonoNanos now) const;
  // The answer to a read, counted.
  ReadResult Counted(const FullKey& full_key, Found found, const Resolved& resolved, MonoNanos now);
  void CountHit(const FullKey& full_key, const Entry& entry);
  void CountMiss(const FullKey& full_key, const Resolved& resolved);
  // Gives `fields` the stored form of their value. `stored` may come to hold it.
  void Encode(EntryFields* fields, std::string* stored);
  // Makes the value plain. False when that cannot be; the entry is then gone.
  bool Decode(const FullKey& full_key, MonoNanos now, Entry* entry);
  absl::StatusOr<std::optional<LoadResult>> TakeLease(const FullKey& full_key,
                                                      const LoadRequest& request,
                                                      const Resolved& resolved, std::string token);
  Task<LeaseTurn> WaitInLine(std::shared_ptr<LeaseWaiter> waiter, MonoNanos until,
                             Cancellation* cancellation);
  void ExpireLease(const std::string& full_key, const std::string& token, FillTicket ticket,
                   Resolved resolved);

  // Entry fields that a write shares with every attempt to store it.
  EntryFields NewFields(const WriteRequest& request, const FullKey& full_key,
                        const Resolved& resolved) const;
  // Works the TTL out, writes what follows from it into `fields`, and returns it.
  absl::Duration SetExpiry(EntryFields* fields, const TypePolicy& type, TtlInput input,
                           MonoNanos now) const;
  absl::StatusOr<WriteResult> Fulfil(const WriteRequest& request, const FullKey& full_key,
                                     const Resolved& resolved, EntryFields fields, MonoNanos now);
  // Stores `fields` under a new version, which it leaves there; again under a newer one where
  // versions ran past it.
  absl::StatusOr<InsertResult> StoreNewVersion(EntryFields* fields, Expect expect, MonoNanos now);
  absl::Status TooLarge(const EntryFields& fields) const;
  void SweepAndReschedule();
  void TrainAndReschedule();
  void StepMemoryBudget();

  const Options options_;
  VersionClock versions_;
  std::unique_ptr<L1> memory_;
  NamespaceTable namespaces_;
  UsageCounters usage_;
  HotKeys hot_keys_;
  const std::unique_ptr<Compressor> compressor_;
  MonoNanos retire_next_ = 0;  // of the training task alone
  LeaseTable leases_;
  const absl::Time since_;

  Mutex budget_mu_;
  uint64_t budget_bytes_ ABSL_GUARDED_BY(budget_mu_);
  bool budget_moves_ ABSL_GUARDED_BY(budget_mu_) = false;
};

}  // namespace larder

#endif  // LARDER_ENGINE_ENGINE_H_
