// What callers ask of the engine and what it answers. Requests are views: what they point to
// outlives the task that they are given to. Thread safety: values.

#ifndef LARDER_ENGINE_REQUESTS_H_
#define LARDER_ENGINE_REQUESTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "bus/bus.h"
#include "core/entry.h"
#include "core/expect.h"
#include "core/miss.h"
#include "core/version.h"
#include "policy/rule_table.h"

namespace larder {

// Which key, in which namespace (empty = `default`), of which type (empty = by pattern).
struct KeyRequest {
  std::string_view name_space;
  std::string_view key;
  std::string_view type;
};

// A read: `entry` on a hit, else why not.
struct ReadResult {
  std::optional<Entry> entry = std::nullopt;
  MissReason miss = MissReason::kAbsent;
  // For kNegative: how long the cache goes on saying so.
  absl::Duration miss_remaining = absl::ZeroDuration();
  // Where the entry came from.
  enum class From : uint8_t { kMemory, kBelow, kOrigin };
  From from = From::kMemory;
  // It is past its TTL, and its type allows it to be served for a while.
  bool stale = false;
};

// What a change knows of the call that it is part of.
struct ChangeContext {
  // When the caller stops waiting.
  MonoNanos deadline = INT64_MAX;
  // By which the caller knows the change; may be empty.
  std::string_view request_id = {};
  // W3C trace context of the caller, for the origin; empty: none.
  std::string_view trace_parent = {};
  std::string_view trace_state = {};
};

struct WriteRequest {
  KeyRequest key;
  std::string_view value;
  bool absent = false;
  std::optional<absl::Duration> ttl = std::nullopt;
  std::vector<std::string> tags;
  std::vector<std::string> depends_on;
  Expect condition = {};
  std::string_view lease_token;
  ChangeContext context = {};
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

struct InvalidateRequest {
  std::string_view name_space;
  std::vector<std::string_view> keys = {};
  bool dry_run = false;
  // Set: wait until the other replicas have done the same, but no longer than this.
  std::optional<MonoNanos> fleet_until = std::nullopt;
  // In place of keys: rules without versions.
  std::vector<Rule> rules = {};
  // Of keys: they stay as stale values where their types allow that; a rule says it itself.
  bool mark_stale = false;
};

struct InvalidateResult {
  Version version = kNoVersion;
  uint64_t entries = 0;
  // Others, and those of them that have said that they did it.
  FleetAck fleet;
};

struct LoadRequest {
  KeyRequest key;
  absl::Duration lease_ttl;
  // When the caller stops waiting for somebody else's load: a miss (kLoading).
  MonoNanos wait_until = INT64_MAX;
  // When the call ends: DEADLINE_EXCEEDED.
  MonoNanos deadline = INT64_MAX;
  Cancellation* cancellation = nullptr;
  // W3C trace context of the caller, for the origin; empty: none.
  std::string_view trace_parent = {};
  std::string_view trace_state = {};
};

struct BatchLoadRequest {
  std::string_view name_space;
  std::vector<std::string_view> keys;
  std::string_view type;
  // As in LoadRequest, for all of them.
  absl::Duration lease_ttl;
  MonoNanos wait_until = INT64_MAX;
  MonoNanos deadline = INT64_MAX;
  Cancellation* cancellation = nullptr;
  std::string_view trace_parent = {};
  std::string_view trace_state = {};
  // Nobody reads: it counts as neither hits nor misses.
  bool ahead = false;
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
  std::optional<absl::Duration> ttl = std::nullopt;
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
  std::optional<absl::Duration> ttl = std::nullopt;
  bool extend = false;
  ChangeContext context = {};
};

struct IncrementResult {
  int64_t value = 0;
  bool created = false;
  Version version = kNoVersion;
  MonoNanos fresh_until = 0;
};

}  // namespace larder

#endif  // LARDER_ENGINE_REQUESTS_H_
