// What Stats, Explain and ServerInfo answer: plain values that mirror the API. Counts run since the
// server's start.

#ifndef LARDER_STATS_H_
#define LARDER_STATS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "larder/result.h"

namespace larder {

struct UsageStats {
  uint64_t hits = 0;
  uint64_t misses = 0;
  double hit_ratio = 0;  // hits / (hits + misses); 0 before the first read
  uint64_t negative_hits = 0;
  uint64_t stale_hits = 0;
  uint64_t sets = 0;
  uint64_t sets_refused = 0;
  uint64_t removals = 0;
  uint64_t loads = 0;
  uint64_t loads_failed = 0;
  uint64_t loads_coalesced = 0;
  uint64_t evictions = 0;
  uint64_t expirations = 0;
  uint64_t entries = 0;  // now
  uint64_t bytes = 0;    // now, bookkeeping included
  double compression_ratio = 0;
};

struct NamedUsage {
  std::string name = {};
  UsageStats usage = {};
};

struct TierStats {
  Tier tier = Tier::kUnspecified;
  std::string kind = {};
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t errors = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t bytes_max = 0;  // 0 = not limited by larder
};

struct LatencyStats {
  std::string rpc = {};
  uint64_t count = 0;
  uint64_t errors = 0;
  absl::Duration p50 = {};
  absl::Duration p90 = {};
  absl::Duration p99 = {};
  absl::Duration p999 = {};
  absl::Duration max = {};
};

struct LeaseStats {
  uint64_t held = 0;     // now
  uint64_t waiting = 0;  // now
  uint64_t granted = 0;
  uint64_t fulfilled = 0;
  uint64_t released = 0;
  uint64_t expired = 0;
  uint64_t revoked = 0;
};

struct JournalStats {
  uint64_t depth = 0;
  uint64_t bytes = 0;
  absl::Duration oldest_age = {};
  uint64_t dead_letters = 0;
};

enum class BreakerState { kUnspecified, kClosed, kOpen, kHalfOpen };
std::string_view Name(BreakerState state);

struct BreakerStats {
  std::string name = {};
  BreakerState state = BreakerState::kUnspecified;
  uint64_t opened = 0;
  std::string reason = {};
};

struct HotKey {
  std::string ns = {};
  std::string key = {};
  std::string type = {};
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t bytes = 0;
};

struct StatsResult {
  std::string node = {};
  absl::Time since = absl::UnixEpoch();
  UsageStats total = {};
  std::vector<NamedUsage> namespaces = {};
  std::vector<NamedUsage> types = {};
  std::vector<TierStats> tiers = {};
  std::vector<LatencyStats> latencies = {};
  LeaseStats leases = {};
  // Unset when no type writes behind.
  std::optional<JournalStats> journal = {};
  std::vector<BreakerStats> breakers = {};
  std::vector<HotKey> hot_keys = {};
};

// How a key got its data type.
enum class TypeMatch { kUnspecified, kRequest, kPattern, kDefault };
std::string_view Name(TypeMatch match);

// One step of the TTL arithmetic.
struct TtlFactor {
  std::string name = {};
  double factor = 0;
  absl::Duration ttl = {};
  std::string why = {};
};

// One copy of a key.
struct CopyInfo {
  Tier tier = Tier::kUnspecified;
  uint64_t version = 0;
  absl::Duration age = {};
  absl::Duration remaining_ttl = {};
  uint64_t value_bytes = 0;
  bool negative = false;
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  uint64_t hits = 0;
};

struct ExplainResult {
  std::string type = {};
  TypeMatch match = TypeMatch::kUnspecified;
  std::string pattern = {};
  std::map<std::string, std::string> captures = {};
  // The TTL that a Set without an explicit TTL would get now, jitter left out, and how it comes
  // about.
  absl::Duration ttl = {};
  std::vector<TtlFactor> factors = {};
  std::vector<CopyInfo> copies = {};
  bool lease_held = false;
  uint32_t lease_waiters = 0;
  // Why the key is not in memory; kUnspecified when it is.
  MissReason miss_reason = MissReason::kUnspecified;
};

struct ServerLimits {
  uint32_t key_bytes = 0;
  uint64_t value_bytes = 0;
  uint32_t batch_keys = 0;
  uint64_t message_bytes = 0;
  uint32_t namespaces = 0;
  uint32_t tags = 0;
};

struct TypeInfo {
  std::string name = {};
  std::vector<std::string> match = {};
  absl::Duration base_ttl = {};
  std::string origin = {};  // empty = none, so GetOrLease gives leases
};

struct ServerInfoResult {
  std::string version = {};
  std::string node = {};
  uint32_t node_id = 0;
  absl::Time started = absl::UnixEpoch();
  ServerLimits limits = {};
  std::vector<TypeInfo> types = {};
  std::vector<std::string> features = {};
};

}  // namespace larder

#endif  // LARDER_STATS_H_
