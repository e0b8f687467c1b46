// What calls answer: plain values, nothing to release, no thread safety needed. A miss and a
// refused Set are answers, not errors: look at hit() and stored.

#ifndef LARDER_RESULT_H_
#define LARDER_RESULT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// Where a value came from. kUnspecified also stands for one that this client does not know yet; so
// it does in every enum below.
enum class Tier { kUnspecified, kL1, kL2, kOrigin };

// Why a read found nothing to serve.
enum class MissReason {
  kUnspecified,
  kAbsent,       // the cache does not hold the key and does not remember why
  kExpired,      // the entry outlived its TTL
  kInvalidated,  // the entry was deleted or invalidated
  kNegative,     // the cache knows that the key does not exist at the origin
  kLoading,      // another caller holds the lease and the allowed wait is over
  kTierFailed,   // a tier that may hold the key did not answer in time
  kRolledPast,   // the cache is not used for the key, by the rollout of its type
};

enum class NotStoredReason {
  kUnspecified,
  kCondition,    // the condition did not hold
  kLeaseLost,    // the lease ran out, was released or passed on, or the key changed after it was
                 // given
  kNewerExists,  // a newer version is known
  // Of BatchSet and BatchDelete alone; what a single Set or Delete answers as an error.
  kMemoryFull,       // too large for the memory budget
  kNamespaceLimit,   // the server holds as many namespaces as it may
  kContention,       // the key changes faster than the call can
  kTierUnavailable,  // the second tier did not confirm the change, which may have happened
  // Of types that write to their origin (docs/policies.md).
  kWriteRefused,          // the origin refused it for good
  kWriteFailed,           // the origin could not take it
  kWriteUnknown,          // nobody knows whether the origin, or the journal, has it
  kWriteModeUnsupported,  // the type's write mode cannot do that
  kJournalFull,           // the journal has no room
  kJournalUnavailable,    // the journal takes nothing: its disk is full, or has failed
  kDeadlineExceeded,      // the time was over before anything was written
  kTooManyWaiters,        // too many changes of the key wait for their turn
  kDraining,              // the server shuts down
  // The condition could not be decided, so nothing was written:
  kOriginUnavailable,  // the origin could not say what the key is now
  kOriginTimeout,      // it did not say it in time
  kOverloaded,         // the server does too much already to ask it
};

// As in the API: "L1", "ABSENT", "LEASE_LOST". The text lives for ever.
std::string_view Name(Tier tier);
std::string_view Name(MissReason reason);
std::string_view Name(NotStoredReason reason);

struct Entry {
  // Empty when metadata only was asked for.
  std::string value = {};
  // Grows with every change of the key.
  uint64_t version = 0;
  // How long ago this version was written.
  absl::Duration age = absl::ZeroDuration();
  // How long it stays fresh; zero for a stale value.
  absl::Duration remaining_ttl = absl::ZeroDuration();
  Tier tier = Tier::kUnspecified;
  // True when it is past its TTL and its type allows it to be served for a while.
  bool stale = false;
  std::vector<std::string> tags = {};
  // Size of the value, also when metadata only was asked for.
  uint64_t value_bytes = 0;
  // True when changes of other keys invalidate it (SetOptions::depends_on).
  bool dependent = false;
};

struct Miss {
  MissReason reason = MissReason::kUnspecified;
  // For kNegative: how long the cache goes on saying so. Else zero.
  absl::Duration remaining_ttl = absl::ZeroDuration();
};

struct GetResult {
  bool hit() const { return entry.has_value(); }

  // Set on a hit.
  std::optional<Entry> entry = {};
  // Says something on a miss only.
  Miss miss = {};
};

struct SetResult {
  bool stored = false;
  // When stored: the entry's version and the TTL that the policy gave.
  uint64_t version = 0;
  absl::Duration ttl = absl::ZeroDuration();
  // When not stored: why, and the version that the cache holds now (0 = none).
  NotStoredReason reason = NotStoredReason::kUnspecified;
  uint64_t current_version = 0;
};

struct DeleteResult {
  // True when the replica that answered held a live entry.
  bool existed = false;
  // Every older version of the key is gone.
  uint64_t version = 0;
  // Of BatchDelete: why this key was not deleted; or, of kWriteUnknown and kTierUnavailable, why
  // nobody knows whether it was. Unset: it is gone.
  std::optional<NotStoredReason> not_deleted = {};
};

struct InvalidateResult {
  // Every matching entry of an older version is gone. 0 for a dry run.
  uint64_t version = 0;
  uint32_t replicas_acknowledged = 0;
  uint32_t replicas_total = 0;
  // About how many entries it covers on the replica that answered.
  uint64_t estimated_entries = 0;
};

// The right to fill one missing key.
struct Lease {
  // Goes into SetOptions::lease_token or ReleaseLease. Bytes, not text.
  std::string token = {};
  // How long it lasts. After it the next waiter gets a lease and a Set with this one is not stored.
  absl::Duration ttl = absl::ZeroDuration();
};

// A type with an origin is loaded by the server: there is a hit then, of tier kOrigin when it was
// loaded for this call, or a miss when the origin has no such key, and never a lease.
struct LeaseResult {
  bool hit() const { return entry.has_value(); }

  // At most one of these is set; neither on a miss.
  std::optional<Entry> entry = {};
  std::optional<Lease> lease = {};
  // Says something on a miss only: kNegative or kLoading.
  Miss miss = {};
};

// How far a Warm has come.
struct WarmProgress {
  // Keys that are in the cache now, those included that were before.
  uint64_t loaded = 0;
  uint64_t failed = 0;
  // Keys in all; 0 = not known, because the origin does not say how many it will list.
  uint64_t total = 0;
  // The server's time for it so far.
  absl::Duration elapsed = absl::ZeroDuration();
  // False until the end; false there, too, when the callback has ended it.
  bool done = false;
  // True when it ended before its time because memory is full.
  bool full = false;
};

struct ReleaseLeaseResult {
  // False is harmless: the lease had run out or the key had changed.
  bool released = false;
};

struct TouchResult {
  bool found() const { return version != 0; }

  // When found: the entry's version, which a changed TTL leaves as it is, and its TTL after the
  // call.
  uint64_t version = 0;
  absl::Duration remaining_ttl = absl::ZeroDuration();
  // False when the mode kept the present TTL.
  bool changed = false;
  // Says something when not found only.
  Miss miss = {};
};

struct IncrementResult {
  // The counter after the addition.
  int64_t value = 0;
  uint64_t version = 0;
  absl::Duration remaining_ttl = absl::ZeroDuration();
  // True when this call created it.
  bool created = false;
};

struct PingResult {
  // False when the server answered that it does not serve (it drains, for example).
  bool serving = false;
  absl::Duration round_trip = absl::ZeroDuration();
};

}  // namespace larder

#endif  // LARDER_RESULT_H_
