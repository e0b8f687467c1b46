// What the engine says of itself and of single keys, and what it is told of origins. Thread safety:
// values.

#ifndef LARDER_ENGINE_ENGINE_ANSWERS_H_
#define LARDER_ENGINE_ENGINE_ANSWERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "bus/bus.h"
#include "core/entry.h"
#include "core/miss.h"
#include "engine/change_feed.h"
#include "engine/coherence.h"
#include "engine/key_filters.h"
#include "engine/lease_table.h"
#include "engine/lower_tier.h"
#include "engine/rules.h"
#include "engine/usage.h"
#include "journal/journal.h"
#include "memory/l1.h"
#include "origin/origin.h"
#include "policy/compressor.h"
#include "policy/ttl.h"
#include "policy/type_table.h"
#include "tier/fleet_lease.h"
#include "tier/tier.h"

namespace larder {

// What became of keys that were to come back from the lower tier.
struct RefillResult {
  size_t loaded = 0;
  size_t present = 0;   // in memory already, or being loaded
  size_t missing = 0;   // no longer in the tier
  size_t outdated = 0;  // the tier has an older version than memory had
  // The tier did not answer, or changes may have been missed: ask again.
  bool again = false;
  // Of the missing, the full keys that an origin may have: of types that are warmed at the start.
  std::vector<std::string> from_origin;
};

// What became of keys that were to be loaded ahead.
struct EngineWarmed {
  size_t loaded = 0;
  size_t failed = 0;
  absl::Status error;  // of one that failed
};

struct Explanation {
  TypeMatch match;
  std::vector<std::pair<std::string, std::string>> captures;
  std::vector<TtlStep> ttl;
  std::optional<Entry> entry;  // null when it is not in memory; may be negative
  std::optional<Entry> below;  // the lower tier's
  bool suspect = false;        // `entry` is compared with the lower tier before it is served
  MissReason miss = MissReason::kAbsent;
  bool lease_held = false;
  size_t lease_waiters = 0;
  // The newest write of the key that the origin does not have yet.
  std::optional<JournalRecord> waiting;
  // The last invalidations that are about the key, newest first; see RuleHistory.
  std::vector<Rule> rules;
};

struct UsageRow {
  std::string name;
  UsageTotals counts{};
  L1Tally memory;
  // Of a type; empty for namespaces and the total.
  CompressionStats compression = {};
  KeyFilterStats filter = {};
};

// An origin that types may name.
struct OriginLink {
  std::string name;
  Origin* origin = nullptr;  // outlives the engine's calls
  // See OriginLoader::Options.
  size_t batch_max = 100;
  absl::Duration delay = absl::Milliseconds(5);
  size_t calls_max = 16;
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
  // Unset where there is none.
  std::optional<TierStats> tier;
  LowerTierStats lower;
  std::optional<BusStats> bus;
  CoherenceStats coherence;
  RulesStats rules;
  ChangeFeed::Stats watch;
  std::optional<FleetLeaseStats> fleet_leases;
  // Waits for the fleet that ended before all replicas had answered.
  uint64_t fleet_waits_short = 0;
  std::vector<OriginStats> origins;
  // Unset where no type writes behind.
  std::optional<JournalStats> journal;
  // Writes of which nobody knows whether the origin has them.
  uint64_t writes_doubtful = 0;
  // Keys that are being loaded from origins, and callers who wait for them, now.
  size_t flights = 0;
  size_t flights_waiting = 0;
  // Keys that wait to be asked for, now.
  size_t flights_queued = 0;
  // Since the start: callers and keys for which there was no room, and flights that had to begin
  // again because the key was changed.
  uint64_t flights_refused = 0;
  uint64_t flights_again = 0;
};

}  // namespace larder

#endif  // LARDER_ENGINE_ENGINE_ANSWERS_H_
