// The second question of whoever runs a cache is "which data eats my cache?". So types come as a
// table of their own, largest first, and tables that would be empty are left out.

#include "client/cli/stats_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/journal_tables.h"
#include "client/cli/origin_tables.h"

namespace larder::cli {
namespace {

std::string Percent(double part) { return fmt::format("{:.1f}%", 100 * part); }

double Quotient(uint64_t a, uint64_t b) {
  return b == 0 ? 0 : static_cast<double>(a) / static_cast<double>(b);
}

void PrintMemory(const MemoryStats& memory, Output* out) {
  if (memory.budget_bytes == 0) return;
  out->Line(
      fmt::format("memory: {} of {} used ({}): segments {}, large values {}, index {}, ghosts {}",
                  ShownBytes(memory.used_bytes), ShownBytes(memory.budget_bytes),
                  Percent(Quotient(memory.used_bytes, memory.budget_bytes)),
                  ShownBytes(memory.segment_bytes), ShownBytes(memory.large_bytes),
                  ShownBytes(memory.index_bytes), ShownBytes(memory.ghost_bytes)));
  out->Line(
      fmt::format("        {} of entries past their time; new entries get {}; beside the budget: "
                  "dictionaries {}, hot keys {}",
                  ShownBytes(memory.dead_bytes), Percent(memory.newcomer_share),
                  ShownBytes(memory.dictionary_bytes), ShownBytes(memory.hot_keys_bytes)));
}

void PrintTypes(const StatsResult& stats, Output* out) {
  std::vector<const TypeStats*> types;
  for (const TypeStats& type : stats.types) {
    const UsageStats& usage = type.usage;
    if (usage.entries + usage.hits + usage.misses + usage.sets > 0) types.push_back(&type);
  }
  std::stable_sort(types.begin(), types.end(), [](const TypeStats* a, const TypeStats* b) {
    return a->usage.bytes > b->usage.bytes;
  });
  const uint64_t all_bytes = std::max<uint64_t>(stats.total.bytes, 1);
  std::vector<Row> rows;
  for (const TypeStats* type : types) {
    const UsageStats& usage = type->usage;
    const uint64_t reads = usage.hits + usage.misses;
    rows.push_back({type->name, absl::StrCat(usage.entries), ShownBytes(usage.bytes),
                    Percent(Quotient(usage.bytes, all_bytes)),
                    usage.entries == 0 ? "-" : ShownBytes(usage.plain_bytes / usage.entries),
                    usage.entries == 0 ? "-" : fmt::format("{:.2f}", usage.compression_ratio),
                    reads == 0 ? "-" : Percent(usage.hit_ratio), absl::StrCat(usage.hits),
                    absl::StrCat(usage.misses), absl::StrCat(usage.evictions),
                    absl::StrCat(usage.expirations),
                    usage.entries == 0 ? "-" : Shown(usage.mean_age)});
  }
  out->Line("");
  out->Table({"TYPE", ">ENTRIES", ">BYTES", ">SHARE", ">MEAN VALUE", ">COMPRESSED", ">HIT RATIO",
              ">HITS", ">MISSES", ">EVICTED", ">EXPIRED", ">MEAN AGE"},
             rows);
  if (const size_t idle = stats.types.size() - types.size(); idle > 0) {
    out->Line(fmt::format("({} more types have neither data nor traffic)", idle));
  }
}

void PrintEvictions(const StatsResult& stats, Output* out) {
  std::vector<Row> rows;
  for (const TypeStats& type : stats.types) {
    const EvictionStats& eviction = type.usage.eviction;
    if (type.usage.evictions == 0) continue;
    rows.push_back({type.name, absl::StrCat(type.usage.evictions), ShownBytes(eviction.bytes),
                    absl::StrCat(eviction.unread), absl::StrCat(eviction.cold),
                    absl::StrCat(eviction.type_full), absl::StrCat(eviction.shrink),
                    Shown(eviction.mean_age)});
  }
  if (rows.empty()) return;
  out->Line("");
  out->Table({"EVICTED TYPE", ">ENTRIES", ">BYTES", ">UNREAD", ">COLD", ">TYPE FULL", ">SHRINK",
              ">MEAN AGE"},
             rows);
}

std::string DictionaryOf(const CompressionStats& stats) {
  if (stats.dictionary_version == 0) return "-";
  return fmt::format("v{}, {}, {} ago", stats.dictionary_version,
                     ShownBytes(stats.dictionary_bytes),
                     Shown(absl::Trunc(absl::Now() - stats.dictionary_trained, absl::Seconds(1))));
}

void PrintCompression(const StatsResult& stats, Output* out) {
  std::vector<Row> rows;
  for (const TypeStats& type : stats.types) {
    const CompressionStats& compression = type.compression;
    const uint64_t compressed =
        compression.lz4_values + compression.zstd_values + compression.dictionary_values;
    if (compressed == 0) continue;
    rows.push_back({type.name, absl::StrCat(compression.lz4_values),
                    absl::StrCat(compression.zstd_values),
                    absl::StrCat(compression.dictionary_values),
                    absl::StrCat(compression.small_values + compression.resting_values +
                                 compression.gainless_values),
                    fmt::format("{:.2f}", compression.ratio), ShownBytes(compression.saved_bytes),
                    Shown(compression.encode_time), Shown(compression.decode_time),
                    absl::StrCat(compression.decodes_failed), DictionaryOf(compression)});
  }
  if (rows.empty()) return;
  out->Line("");
  out->Table({"COMPRESSED TYPE", ">LZ4", ">ZSTD", ">DICTIONARY", ">PLAIN", ">RATIO", ">SAVED",
              ">ENCODING", ">DECODING", ">FAILED", "DICTIONARY IN USE"},
             rows);
}

Row UsageRow(const std::string& what, const std::string& name, const UsageStats& usage) {
  return {what,
          Shown(name),
          absl::StrCat(usage.hits),
          absl::StrCat(usage.misses),
          Percent(usage.hit_ratio),
          absl::StrCat(usage.sets),
          absl::StrCat(usage.loads),
          absl::StrCat(usage.evictions),
          absl::StrCat(usage.entries),
          ShownBytes(usage.bytes)};
}

void PrintUsage(const StatsResult& stats, Output* out) {
  std::vector<Row> usage = {UsageRow("total", "", stats.total)};
  for (const NamedUsage& named : stats.namespaces)
    usage.push_back(UsageRow("namespace", named.name, named.usage));
  out->Line("");
  out->Table({"OF", "NAME", ">HITS", ">MISSES", ">RATIO", ">SETS", ">LOADS", ">EVICTED", ">ENTRIES",
              ">BYTES"},
             usage);
}

// Nothing for a tier that is well and up to date.
void PrintTrouble(const TierStats& tier, Output* out) {
  const std::string name(Name(tier.tier));
  // A server that knows no states says nothing.
  if (!tier.state.empty() && tier.state != "ok") {
    out->Line(fmt::format("{}: {}", name, Shown(tier.state)));
  }
  if (tier.errors + tier.damaged > 0) {
    out->Line(
        fmt::format("{}: of {} errors {} ran out of time, {} were refused at once; "
                    "{} calls repeated, {} damaged entries",
                    name, tier.errors, tier.timeouts, tier.rejected, tier.retries, tier.damaged));
  }
  if (tier.owed_total > 0) {
    out->Line(
        fmt::format("{}: behind on {} keys; of {} writes that it did not take, {} were made "
                    "good",
                    name, tier.owed, tier.owed_total, tier.settled));
  }
  if (tier.owed_again + tier.owed_forgotten > 0) {
    out->Line(
        fmt::format("{}: {} of them it had taken, and may have lost in an outage; {} were too many "
                    "to be remembered; {} older entries were not read",
                    name, tier.owed_again, tier.owed_forgotten, tier.outdated_reads));
  }
  if (tier.full > 0) {
    out->Line(fmt::format("{}: {} changes were refused because it was full", name, tier.full));
  }
  if (tier.dropped_damaged + tier.dropped_power_loss > 0) {
    out->Line(
        fmt::format("{}: its data was dropped {} times because of damage, {} times because "
                    "the machine had gone down",
                    name, tier.dropped_damaged, tier.dropped_power_loss));
  }
}

void PrintTiers(const StatsResult& stats, Output* out) {
  std::vector<Row> tiers;
  for (const TierStats& tier : stats.tiers) {
    tiers.push_back({std::string(Name(tier.tier)), tier.kind, absl::StrCat(tier.hits),
                     absl::StrCat(tier.misses), absl::StrCat(tier.errors),
                     absl::StrCat(tier.entries), ShownBytes(tier.bytes),
                     tier.bytes_max == 0 ? "-" : ShownBytes(tier.bytes_max)});
  }
  out->Line("");
  out->Table({"TIER", "KIND", ">HITS", ">MISSES", ">ERRORS", ">ENTRIES", ">BYTES", ">OF"}, tiers);
  for (const TierStats& tier : stats.tiers) PrintTrouble(tier, out);
}

void PrintBreaker(const BreakerStats& breaker, Output* out) {
  std::string line = fmt::format("breaker {}: {}, opened {} times", breaker.name,
                                 Name(breaker.state), breaker.opened);
  if (!breaker.reason.empty()) absl::StrAppend(&line, ", last because ", Shown(breaker.reason));
  out->Line(line);
}

void PrintFleet(const FleetStats& fleet, Output* out) {
  out->Line(fmt::format(
      "fleet: {}, {} other replicas; behind by {}, 99% of messages by {} or less; {} gaps{}",
      Shown(fleet.state), fleet.replicas, Shown(fleet.lag), Shown(fleet.lag_p99), fleet.gaps,
      fleet.suspect ? "; checks what is in memory against the shared tier" : ""));
  out->Line(fmt::format(
      "       {} messages sent, {} given up, {} wait; {} received, {} copies dropped; "
      "leases: {} got, {} held by others, {} lost, {} loads without",
      fleet.published, fleet.publish_failed, fleet.queued, fleet.received, fleet.dropped,
      fleet.leases_granted, fleet.leases_refused, fleet.leases_lost, fleet.leases_without));
  if (fleet.append_errors + fleet.read_errors + fleet.bad_messages + fleet.received_again > 0) {
    out->Line(fmt::format(
        "       {} attempts to send failed, {} to read; {} messages were unreadable, {} came again",
        fleet.append_errors, fleet.read_errors, fleet.bad_messages, fleet.received_again));
  }
  if (fleet.node_id_shared > 0) {
    out->Line(fmt::format("       {} replicas use the node id of another one: change it",
                          fleet.node_id_shared));
  }
  if (fleet.waits_short > 0) {
    out->Line(fmt::format("       {} waits for all replicas ended without some of them",
                          fleet.waits_short));
  }
  if (fleet.confirmed + fleet.refuted + fleet.served_suspect == 0) return;
  out->Line(fmt::format("       of suspect copies {} were true, {} went, {} were served unchecked",
                        fleet.confirmed, fleet.refuted, fleet.served_suspect));
}

void PrintWarm(const WarmStats& warm, Output* out) {
  out->Line(
      fmt::format("warm: {} after {}; {} of {} keys came back, {} were there, {} gone, {} out of "
                  "date, {} asked "
                  "for again",
                  Shown(warm.state), Shown(warm.took), warm.loaded, warm.total, warm.present,
                  warm.missing, warm.outdated, warm.again));
  if (warm.bad_files + warm.saves + warm.saves_failed == 0) return;
  out->Line(fmt::format(
      "      the list of hot keys: {} files could not be read; written {} times, {} keys now, {} "
      "times in vain",
      warm.bad_files, warm.saves, warm.saved_keys, warm.saves_failed));
}

void PrintLatencies(const StatsResult& stats, Output* out) {
  if (stats.latencies.empty()) return;
  std::vector<Row> latencies;
  for (const LatencyStats& latency : stats.latencies) {
    latencies.push_back({latency.rpc, absl::StrCat(latency.count), absl::StrCat(latency.errors),
                         Shown(latency.p50), Shown(latency.p99), Shown(latency.max)});
  }
  out->Line("");
  out->Table({"CALL", ">COUNT", ">ERRORS", ">P50", ">P99", ">MAX"}, latencies);
}

void PrintKeys(const std::vector<HotKey>& keys, Output* out) {
  std::vector<Row> rows;
  for (const HotKey& hot : keys) {
    const bool read = hot.hits + hot.misses > 0;
    rows.push_back({Shown(hot.ns), Shown(hot.key), hot.type, absl::StrCat(hot.hits),
                    absl::StrCat(hot.misses), read ? Percent(hot.hit_ratio) : "-",
                    ShownBytes(hot.bytes), ShownBytes(hot.value_bytes_max)});
  }
  out->Table(
      {"NAMESPACE", "HOT KEY", "TYPE", ">HITS", ">MISSES", ">HIT RATIO", ">SENT", ">LARGEST"},
      rows);
}

}  // namespace

void PrintStats(const StatsResult& stats, Output* out) {
  out->Line(fmt::format("node {}, counting for {}", stats.node, Shown(absl::Now() - stats.since)));
  PrintMemory(stats.memory, out);
  PrintTypes(stats, out);
  PrintEvictions(stats, out);
  PrintCompression(stats, out);
  PrintUsage(stats, out);
  PrintLoads(stats, out);
  PrintTiers(stats, out);
  PrintOrigins(stats, out);
  PrintLatencies(stats, out);
  const LeaseStats& leases = stats.leases;
  out->Line("");
  out->Line(fmt::format(
      "leases: {} held, {} waiting; {} granted, {} fulfilled, {} released, {} expired, {} revoked",
      leases.held, leases.waiting, leases.granted, leases.fulfilled, leases.released,
      leases.expired, leases.revoked));
  if (stats.journal.has_value()) PrintJournalLine(*stats.journal, out);
  for (const BreakerStats& breaker : stats.breakers) PrintBreaker(breaker, out);
  if (stats.fleet.has_value()) PrintFleet(*stats.fleet, out);
  if (stats.warm.has_value()) PrintWarm(*stats.warm, out);
  PrintOriginWarm(stats, out);
  if (stats.hot_keys.empty()) return;
  out->Line("");
  PrintKeys(stats.hot_keys, out);
}

void PrintHotKeys(const HotKeysResult& result, Output* out) {
  out->Line(fmt::format(
      "this window: {} of {}; {}", Shown(result.window_age), Shown(result.window),
      result.sampled_every <= 1
          ? "every read and write counts"
          : fmt::format("estimates: one read or write in {} is looked at", result.sampled_every)));
  PrintKeys(result.keys, out);
  if (result.previous.empty()) return;
  out->Line("");
  out->Line("the window before");
  PrintKeys(result.previous, out);
}

}  // namespace larder::cli
