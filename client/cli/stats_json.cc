#include "client/cli/stats_json.h"

#include "client/cli/journal_tables.h"

namespace larder::cli {
namespace {

void AddNamed(const NamedUsage& named, Json* object) {
  object->Field("name", named.name);
  AddUsage(named.usage, object);
}

Json CompressionJson(const CompressionStats& stats) {
  Json object;
  object.Field("lz4_values", stats.lz4_values);
  object.Field("zstd_values", stats.zstd_values);
  object.Field("dictionary_values", stats.dictionary_values);
  object.Field("small_values", stats.small_values);
  object.Field("resting_values", stats.resting_values);
  object.Field("gainless_values", stats.gainless_values);
  object.Field("plain_bytes", stats.plain_bytes);
  object.Field("stored_bytes", stats.stored_bytes);
  object.Field("saved_bytes", stats.saved_bytes);
  object.Field("ratio", stats.ratio);
  object.Field("encode_seconds", stats.encode_time);
  object.Field("decode_seconds", stats.decode_time);
  object.Field("decodes", stats.decodes);
  object.Field("decodes_failed", stats.decodes_failed);
  object.Field("trainings", stats.trainings);
  object.Field("trainings_refused", stats.trainings_refused);
  object.Field("dictionaries", stats.dictionaries);
  object.Field("dictionary_memory_bytes", stats.dictionary_memory_bytes);
  object.Field("dictionary_version", stats.dictionary_version);
  if (stats.dictionary_version == 0) return object;
  object.Field("dictionary_bytes", stats.dictionary_bytes);
  object.Field("dictionary_trained", stats.dictionary_trained);
  object.Field("dictionary_ratio", stats.dictionary_ratio);
  return object;
}

void AddHotKey(const HotKey& hot, Json* object) {
  object->Field("namespace", hot.ns);
  object->Field("key", hot.key);
  object->Field("type", hot.type);
  object->Field("hits", hot.hits);
  object->Field("misses", hot.misses);
  object->Field("bytes", hot.bytes);
  object->Field("value_bytes_max", hot.value_bytes_max);
  object->Field("hit_ratio", hot.hit_ratio);
}

void AddType(const TypeStats& stats, Json* object) {
  AddNamed(stats, object);
  object->Field("share_min", stats.share_min);
  object->Field("share_max", stats.share_max);
  object->Object("compression", CompressionJson(stats.compression));
  object->Array("hot_keys", stats.hot_keys, AddHotKey);
  if (!stats.filter.has_value()) return;
  Json filter;
  filter.Field("ready", stats.filter->ready);
  filter.Field("keys", stats.filter->keys);
  filter.Field("bytes", stats.filter->bytes);
  filter.Field("builds", stats.filter->builds);
  filter.Field("builds_failed", stats.filter->builds_failed);
  if (stats.filter->built != absl::InfinitePast()) filter.Field("built", stats.filter->built);
  object->Object("filter", filter);
}

Json MemoryJson(const MemoryStats& memory) {
  Json object;
  object.Field("budget_bytes", memory.budget_bytes);
  object.Field("used_bytes", memory.used_bytes);
  object.Field("segment_bytes", memory.segment_bytes);
  object.Field("large_bytes", memory.large_bytes);
  object.Field("index_bytes", memory.index_bytes);
  object.Field("ghost_bytes", memory.ghost_bytes);
  object.Field("dead_bytes", memory.dead_bytes);
  object.Field("newcomer_share", memory.newcomer_share);
  object.Field("dictionary_bytes", memory.dictionary_bytes);
  object.Field("hot_keys_bytes", memory.hot_keys_bytes);
  return object;
}

Json LeasesJson(const LeaseStats& leases) {
  Json object;
  object.Field("held", leases.held);
  object.Field("waiting", leases.waiting);
  object.Field("granted", leases.granted);
  object.Field("fulfilled", leases.fulfilled);
  object.Field("released", leases.released);
  object.Field("expired", leases.expired);
  object.Field("revoked", leases.revoked);
  return object;
}

void AddTier(const TierStats& tier, Json* object) {
  object->Field("tier", Name(tier.tier));
  object->Field("kind", tier.kind);
  object->Field("state", tier.state);
  object->Field("hits", tier.hits);
  object->Field("misses", tier.misses);
  object->Field("errors", tier.errors);
  object->Field("timeouts", tier.timeouts);
  object->Field("rejected", tier.rejected);
  object->Field("retries", tier.retries);
  object->Field("damaged", tier.damaged);
  object->Field("outdated", tier.outdated);
  object->Field("skipped", tier.skipped);
  object->Field("evictions", tier.evictions);
  object->Field("entries", tier.entries);
  object->Field("bytes", tier.bytes);
  object->Field("bytes_max", tier.bytes_max);
  object->Field("memory_bytes", tier.memory_bytes);
  object->Field("owed", tier.owed);
  object->Field("owed_total", tier.owed_total);
  object->Field("settled", tier.settled);
  object->Field("full", tier.full);
  object->Field("owed_forgotten", tier.owed_forgotten);
  object->Field("owed_again", tier.owed_again);
  object->Field("outdated_reads", tier.outdated_reads);
  object->Field("dropped_damaged", tier.dropped_damaged);
  object->Field("dropped_power_loss", tier.dropped_power_loss);
}

void AddOrigin(const OriginStats& origin, Json* object) {
  object->Field("name", origin.name);
  object->Field("kind", origin.kind);
  object->Field("state", origin.state);
  object->Field("load_calls", origin.load_calls);
  object->Field("load_items", origin.load_items);
  object->Field("store_calls", origin.store_calls);
  object->Field("store_items", origin.store_items);
  object->Field("scan_calls", origin.scan_calls);
  object->Field("errors", origin.errors);
  object->Field("item_errors", origin.item_errors);
  object->Field("bad_answers", origin.bad_answers);
  object->Field("connections", origin.connections);
  object->Field("under_way", origin.under_way);
  object->Field("queued", origin.queued);
  object->Field("timeouts", origin.timeouts);
  object->Field("retries", origin.retries);
  object->Field("refused", origin.refused);
}

void AddOriginWarm(const OriginWarmStats& warm, Json* object) {
  object->Field("type", warm.type);
  object->Field("state", warm.state);
  object->Field("loaded", warm.loaded);
  object->Field("failed", warm.failed);
  object->Field("took_seconds", warm.took);
}

Json FleetJson(const FleetStats& fleet) {
  Json object;
  object.Field("state", fleet.state);
  object.Field("replicas", fleet.replicas);
  object.Field("published", fleet.published);
  object.Field("publish_failed", fleet.publish_failed);
  object.Field("received", fleet.received);
  object.Field("queued", fleet.queued);
  object.Field("gaps", fleet.gaps);
  object.Field("lag_seconds", fleet.lag);
  object.Field("lag_p99_seconds", fleet.lag_p99);
  object.Field("suspect", fleet.suspect);
  object.Field("changes", fleet.changes);
  object.Field("dropped", fleet.dropped);
  object.Field("confirmed", fleet.confirmed);
  object.Field("refuted", fleet.refuted);
  object.Field("served_suspect", fleet.served_suspect);
  object.Field("leases_granted", fleet.leases_granted);
  object.Field("leases_refused", fleet.leases_refused);
  object.Field("leases_lost", fleet.leases_lost);
  object.Field("leases_without", fleet.leases_without);
  object.Field("received_again", fleet.received_again);
  object.Field("bad_messages", fleet.bad_messages);
  object.Field("append_errors", fleet.append_errors);
  object.Field("read_errors", fleet.read_errors);
  object.Field("node_id_shared", fleet.node_id_shared);
  object.Field("waits_short", fleet.waits_short);
  return object;
}

Json WarmJson(const WarmStats& warm) {
  Json object;
  object.Field("state", warm.state);
  object.Field("total", warm.total);
  object.Field("loaded", warm.loaded);
  object.Field("present", warm.present);
  object.Field("missing", warm.missing);
  object.Field("outdated", warm.outdated);
  object.Field("again", warm.again);
  object.Field("bad_files", warm.bad_files);
  object.Field("took_seconds", warm.took);
  object.Field("saves", warm.saves);
  object.Field("saves_failed", warm.saves_failed);
  object.Field("saved_keys", warm.saved_keys);
  return object;
}

}  // namespace

void AddUsage(const UsageStats& usage, Json* object) {
  object->Field("hits", usage.hits);
  object->Field("misses", usage.misses);
  object->Field("hit_ratio", usage.hit_ratio);
  object->Field("negative_hits", usage.negative_hits);
  object->Field("stale_hits", usage.stale_hits);
  object->Field("sets", usage.sets);
  object->Field("sets_refused", usage.sets_refused);
  object->Field("removals", usage.removals);
  object->Field("loads", usage.loads);
  object->Field("loads_failed", usage.loads_failed);
  object->Field("loads_coalesced", usage.loads_coalesced);
  object->Field("evictions", usage.evictions);
  object->Field("expirations", usage.expirations);
  object->Field("entries", usage.entries);
  object->Field("bytes", usage.bytes);
  object->Field("compression_ratio", usage.compression_ratio);
  object->Field("key_bytes", usage.key_bytes);
  object->Field("value_bytes", usage.value_bytes);
  object->Field("overhead_bytes", usage.overhead_bytes);
  object->Field("compressed_bytes", usage.compressed_bytes);
  object->Field("plain_bytes", usage.plain_bytes);
  Json eviction;
  eviction.Field("unread", usage.eviction.unread);
  eviction.Field("cold", usage.eviction.cold);
  eviction.Field("type_full", usage.eviction.type_full);
  eviction.Field("shrink", usage.eviction.shrink);
  eviction.Field("bytes", usage.eviction.bytes);
  eviction.Field("mean_age_seconds", usage.eviction.mean_age);
  object->Object("eviction", eviction);
  object->Field("refreshes", usage.refreshes);
  object->Field("loads_unchanged", usage.loads_unchanged);
  object->Field("stale_on_error", usage.stale_on_error);
  object->Field("filtered", usage.filtered);
  object->Field("filter_false", usage.filter_false);
  object->Field("past", usage.past);
  object->Field("mean_age_seconds", usage.mean_age);
}

Json StatsJson(const StatsResult& stats) {
  Json answer;
  answer.Field("node", stats.node);
  answer.Field("since", stats.since);
  Json total;
  AddUsage(stats.total, &total);
  answer.Object("total", total);
  answer.Array("namespaces", stats.namespaces, AddNamed);
  answer.Array("types", stats.types, AddType);
  answer.Object("memory", MemoryJson(stats.memory));
  answer.Array("tiers", stats.tiers, AddTier);
  answer.Array("latencies", stats.latencies, [](const LatencyStats& latency, Json* object) {
    object->Field("rpc", latency.rpc);
    object->Field("count", latency.count);
    object->Field("errors", latency.errors);
    object->Field("p50_seconds", latency.p50);
    object->Field("p90_seconds", latency.p90);
    object->Field("p99_seconds", latency.p99);
    object->Field("p999_seconds", latency.p999);
    object->Field("max_seconds", latency.max);
  });
  answer.Object("leases", LeasesJson(stats.leases));
  if (stats.journal.has_value()) answer.Object("journal", JournalJson(*stats.journal));
  answer.Array("breakers", stats.breakers, [](const BreakerStats& breaker, Json* object) {
    object->Field("name", breaker.name);
    object->Field("state", Name(breaker.state));
    object->Field("opened", breaker.opened);
    object->Field("reason", breaker.reason);
  });
  if (stats.fleet.has_value()) answer.Object("fleet", FleetJson(*stats.fleet));
  if (stats.warm.has_value()) answer.Object("warm", WarmJson(*stats.warm));
  answer.Array("hot_keys", stats.hot_keys, AddHotKey);
  answer.Array("origins", stats.origins, AddOrigin);
  Json flights;
  flights.Field("under_way", stats.flights.under_way);
  flights.Field("waiting", stats.flights.waiting);
  answer.Object("flights", flights);
  answer.Array("origin_warm", stats.origin_warm, AddOriginWarm);
  return answer;
}

Json HotKeysJson(const HotKeysResult& result) {
  Json answer;
  answer.Array("keys", result.keys, AddHotKey);
  answer.Array("previous", result.previous, AddHotKey);
  answer.Field("window_seconds", result.window);
  answer.Field("window_age_seconds", result.window_age);
  answer.Field("sampled_every", result.sampled_every);
  return answer;
}

}  // namespace larder::cli
