// What Stats, HotKeys, Explain and ServerInfo answer: plain values that mirror the API. Counts run
// since the server's start.

#ifndef LARDER_STATS_H_
#define LARDER_STATS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "larder/journal.h"
#include "larder/result.h"

namespace larder {

// Entries that left memory to make room, by cause.
struct EvictionStats {
  uint64_t unread = 0;           // never read after they came
  uint64_t cold = 0;             // read, but not of late
  uint64_t type_full = 0;        // their type had reached its maximum share
  uint64_t shrink = 0;           // the memory budget was made smaller
  uint64_t bytes = 0;            // of all of them
  absl::Duration mean_age = {};  // since they were written
};

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
  // Parts of `bytes`.
  uint64_t key_bytes = 0;
  uint64_t value_bytes = 0;  // as stored
  uint64_t overhead_bytes = 0;
  uint64_t compressed_bytes = 0;  // the part of value_bytes that is compressed
  uint64_t plain_bytes = 0;       // values as callers see them
  EvictionStats eviction = {};
  // Parts of `loads`: those behind a value that was still served; those that the origin answered
  // with `unchanged`.
  uint64_t refreshes = 0;
  uint64_t loads_unchanged = 0;
  // The part of stale_hits that stood in for a value that could not be loaded, or not in time.
  uint64_t stale_on_error = 0;
  // Misses that the type's filter answered, and loads that it let through in vain.
  uint64_t filtered = 0;
  uint64_t filter_false = 0;
  // Reads of keys that the cache is not used for, by the type's rollout; neither hits nor misses.
  uint64_t past = 0;
  absl::Duration mean_age = {};  // of the entries since they were written
};

// Compression of one data type's values.
struct CompressionStats {
  uint64_t lz4_values = 0;
  uint64_t zstd_values = 0;
  uint64_t dictionary_values = 0;
  // Values that stayed plain: too small; not tried, because the type's do not compress; in vain.
  uint64_t small_values = 0;
  uint64_t resting_values = 0;
  uint64_t gainless_values = 0;
  // Of the compressed values, before and after.
  uint64_t plain_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t saved_bytes = 0;
  double ratio = 1;
  absl::Duration encode_time = {};
  absl::Duration decode_time = {};  // estimated
  uint64_t decodes = 0;
  uint64_t decodes_failed = 0;
  uint64_t trainings = 0;
  uint64_t trainings_refused = 0;
  uint64_t dictionaries = 0;  // now
  uint64_t dictionary_memory_bytes = 0;
  // The dictionary in use; version 0 = none.
  uint32_t dictionary_version = 0;
  uint64_t dictionary_bytes = 0;
  absl::Time dictionary_trained = absl::InfinitePast();
  double dictionary_ratio = 0;
};

// The filter by which reads of keys that an origin does not have are answered without it.
struct FilterStats {
  bool ready = false;  // it answers: it is built, and not too old
  uint64_t keys = 0;
  uint64_t bytes = 0;
  uint64_t builds = 0;
  uint64_t builds_failed = 0;
  absl::Time built = absl::InfinitePast();  // last
};

struct NamedUsage {
  std::string name = {};
  UsageStats usage = {};
};

struct HotKey {
  std::string ns = {};
  std::string key = {};
  std::string type = {};
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t bytes = 0;            // sent
  uint64_t value_bytes_max = 0;  // of the largest of its values
  double hit_ratio = 0;
};

struct TypeStats : NamedUsage {
  // Parts of the memory budget, 0 to 1: what others cannot take from it, what it cannot exceed.
  double share_min = 0;
  double share_max = 1;
  CompressionStats compression = {};
  // Unset for a type without a filter.
  std::optional<FilterStats> filter = {};
  // Those with the most hits, at most 5, as StatsResult has them of all types.
  std::vector<HotKey> hot_keys = {};
};

// All in bytes, except newcomer_share (0 to 1).
struct MemoryStats {
  uint64_t budget_bytes = 0;
  uint64_t used_bytes = 0;
  // Parts of used_bytes.
  uint64_t segment_bytes = 0;
  uint64_t large_bytes = 0;
  uint64_t index_bytes = 0;
  uint64_t ghost_bytes = 0;
  uint64_t dead_bytes = 0;  // of entries whose time is over
  double newcomer_share = 0;
  // Beside the budget.
  uint64_t dictionary_bytes = 0;
  uint64_t hot_keys_bytes = 0;
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
  std::string state = {};  // `ok`, or what is wrong with it, in a few words
  // Parts of `errors`.
  uint64_t timeouts = 0;
  uint64_t rejected = 0;  // refused at once: the breaker was open, or too many were under way
  uint64_t retries = 0;
  uint64_t damaged = 0;   // entries that could not be read, and counted as misses
  uint64_t outdated = 0;  // changes that came late: something newer was there
  uint64_t skipped = 0;   // entries that were not worth their room
  uint64_t evictions = 0;
  uint64_t memory_bytes = 0;  // of the process
  // Keys that it holds an older entry of, now; such entries are not served.
  uint64_t owed = 0;
  // Writes that it did not take, and those of them that were made good.
  uint64_t owed_total = 0;
  uint64_t settled = 0;
  uint64_t full = 0;  // changes that it refused because it was full
  // Parts of owed_total: too many to be remembered key by key, so that nothing that old is read
  // from it any more; taken before an outage, and perhaps lost in it.
  uint64_t owed_forgotten = 0;
  uint64_t owed_again = 0;
  uint64_t outdated_reads = 0;  // entries not read, because a newer write had not reached it
  // Times that its data was dropped: because it was damaged, because the machine had gone down.
  uint64_t dropped_damaged = 0;
  uint64_t dropped_power_loss = 0;
};

// The other replicas, and how well this one keeps up with them.
struct FleetStats {
  std::string state = {};  // `following`, or what is wrong with the bus
  uint32_t replicas = 0;   // others that are alive now
  uint64_t published = 0;  // messages sent
  uint64_t publish_failed = 0;
  uint64_t received = 0;    // messages of others that took effect here
  uint64_t queued = 0;      // messages that wait to be sent, now
  uint64_t gaps = 0;        // how often it may have missed messages
  absl::Duration lag = {};  // from the sending of the last message to its effect here
  absl::Duration lag_p99 = {};
  bool suspect = false;  // copies in memory are compared with the shared tier, now
  uint64_t changes = 0;  // keys that others changed
  uint64_t dropped = 0;  // copies that went because of it
  // Suspect copies that proved true, that went, and that were served because nothing could tell.
  uint64_t confirmed = 0;
  uint64_t refuted = 0;
  uint64_t served_suspect = 0;
  // Leases of the fleet.
  uint64_t leases_granted = 0;
  uint64_t leases_refused = 0;  // another replica held it
  uint64_t leases_lost = 0;     // before they were given back
  uint64_t leases_without = 0;  // loads that began without one
  uint64_t received_again = 0;  // messages that came once more, and were left out
  uint64_t bad_messages = 0;    // that could not be read
  // Attempts that failed, to send messages and to read what others sent.
  uint64_t append_errors = 0;
  uint64_t read_errors = 0;
  uint64_t node_id_shared = 0;  // replicas that use the node id of another one
  uint64_t waits_short = 0;     // waits for the fleet that ended before all replicas had answered
};

// How memory was filled again after the start, from the list of hot keys that the process before
// had left, and how that list is written for the next one.
struct WarmStats {
  // `waiting`, `warming`; then `done`, `full`, `given up` or `stopped`.
  std::string state = {};
  uint64_t total = 0;        // keys of the list
  uint64_t loaded = 0;       // entries that came back
  uint64_t present = 0;      // were in memory already
  uint64_t missing = 0;      // were no longer in the tier
  uint64_t outdated = 0;     // were older in the tier than they had been in memory
  uint64_t again = 0;        // keys that had to be asked for once more
  uint64_t bad_files = 0;    // of the list, that could not be read
  absl::Duration took = {};  // until now while it goes on
  uint64_t saves = 0;
  uint64_t saves_failed = 0;
  uint64_t saved_keys = 0;  // in the list that was written last
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

enum class BreakerState { kUnspecified, kClosed, kOpen, kHalfOpen };
std::string_view Name(BreakerState state);

struct BreakerStats {
  std::string name = {};
  BreakerState state = BreakerState::kUnspecified;
  uint64_t opened = 0;
  std::string reason = {};
};

struct OriginStats {
  std::string name = {};
  std::string kind = {};   // `grpc`, `postgres`, `sqlite`
  std::string state = {};  // `ok`, or what is wrong with it, in a few words
  // Calls, and keys or writes in them. Calls that were repeated count each time.
  uint64_t load_calls = 0;
  uint64_t load_items = 0;
  uint64_t store_calls = 0;
  uint64_t store_items = 0;
  uint64_t scan_calls = 0;
  uint64_t errors = 0;       // calls that failed as a whole
  uint64_t item_errors = 0;  // keys and writes that failed in calls that did not
  uint64_t bad_answers = 0;  // that made no sense
  // Now.
  uint64_t connections = 0;
  uint64_t under_way = 0;
  uint64_t queued = 0;
  uint64_t timeouts = 0;
  uint64_t retries = 0;
  uint64_t refused = 0;  // at once: the breaker was open, or too many were waiting
};

// Loads from origins, now.
struct FlightStats {
  uint64_t under_way = 0;  // keys
  uint64_t waiting = 0;    // callers who wait for them
};

// How one type is, or was, loaded from its origin at the start.
struct OriginWarmStats {
  std::string type = {};
  std::string state = {};  // `waiting`, `warming`, `done`, `full`, or why it failed
  uint64_t loaded = 0;
  uint64_t failed = 0;
  absl::Duration took = {};
};

struct HotKeysResult {
  // Busiest first, in the window that runs and in the one before it. Counts are estimates, too low
  // rather than too high; exact while sampled_every is 1.
  std::vector<HotKey> keys = {};
  std::vector<HotKey> previous = {};
  absl::Duration window = {};
  absl::Duration window_age = {};
  // One event in so many is looked at.
  uint32_t sampled_every = 1;
};

struct StatsResult {
  std::string node = {};
  absl::Time since = absl::UnixEpoch();
  UsageStats total = {};
  std::vector<NamedUsage> namespaces = {};
  std::vector<TypeStats> types = {};
  MemoryStats memory = {};
  std::vector<TierStats> tiers = {};
  std::vector<LatencyStats> latencies = {};
  LeaseStats leases = {};
  // Unset when no type writes behind.
  std::optional<JournalStats> journal = {};
  std::vector<BreakerStats> breakers = {};
  // Unset where there is no bus.
  std::optional<FleetStats> fleet = {};
  // Unset where nothing comes back after a restart.
  std::optional<WarmStats> warm = {};
  std::vector<HotKey> hot_keys = {};
  std::vector<OriginStats> origins = {};
  FlightStats flights = {};
  // Types that are loaded from their origins at the start.
  std::vector<OriginWarmStats> origin_warm = {};
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
  // CRC-32C of the value; unset unless asked for, and for a negative entry.
  std::optional<uint32_t> checksum = {};
  // The replica may have missed a change, and compares the copy before it serves it.
  bool suspect = false;
};

// An invalidation that took effect on the replica.
struct RecentRule {
  std::string kind = {};   // `tag`, `prefix`, `glob`, `type` or `all`
  std::string match = {};  // the tag, prefix, glob or type
  // It covers entries of this version and older ones.
  uint64_t version = 0;
  absl::Duration age = {};
  bool stale = false;  // values of types that allow it stayed, as stale ones
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
  // Unset when no write of the key waits.
  std::optional<PendingWrite> pending = {};
  // Why the origin, when it was asked, told nothing; else empty.
  std::string origin_error = {};
  // The last invalidations that are about the key, newest first, as far as the replica remembers.
  std::vector<RecentRule> rules = {};
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
  std::string origin = {};      // empty = none, so GetOrLease gives leases
  std::string write_mode = {};  // `cache_only`, `through`, `invalidate`, `around`, `behind`
};

struct ServerInfoResult {
  std::string version = {};
  std::string node = {};
  uint32_t node_id = 0;
  absl::Time started = absl::UnixEpoch();
  ServerLimits limits = {};
  std::vector<TypeInfo> types = {};
  std::vector<std::string> features = {};
  // What its clock said when it answered; InfinitePast where it does not say.
  absl::Time now = absl::InfinitePast();
};

// One difference between the configuration in effect and the file.
struct ConfigChange {
  std::string path = {};  // such as `types.user.ttl.base`
  std::string before = {};
  std::string after = {};
  bool needs_restart = false;  // takes effect only then
};

struct ReloadConfigResult {
  std::vector<ConfigChange> changes = {};
};

}  // namespace larder

#endif  // LARDER_STATS_H_
