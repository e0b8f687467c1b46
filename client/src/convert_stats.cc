#include <utility>

#include "client/src/convert.h"
#include "client/src/time.h"

namespace larder::internal {
namespace {

using internal::From;  // the overloads below would hide the others

UsageStats From(const v1::UsageStats& proto) {
  UsageStats usage;
  usage.hits = proto.hits();
  usage.misses = proto.misses();
  usage.hit_ratio = proto.hit_ratio();
  usage.negative_hits = proto.negative_hits();
  usage.stale_hits = proto.stale_hits();
  usage.sets = proto.sets();
  usage.sets_refused = proto.sets_refused();
  usage.removals = proto.removals();
  usage.loads = proto.loads();
  usage.loads_failed = proto.loads_failed();
  usage.loads_coalesced = proto.loads_coalesced();
  usage.evictions = proto.evictions();
  usage.expirations = proto.expirations();
  usage.entries = proto.entries();
  usage.bytes = proto.bytes();
  usage.compression_ratio = proto.compression_ratio();
  usage.key_bytes = proto.key_bytes();
  usage.value_bytes = proto.value_bytes();
  usage.overhead_bytes = proto.overhead_bytes();
  usage.compressed_bytes = proto.compressed_bytes();
  usage.plain_bytes = proto.plain_bytes();
  const v1::EvictionStats& eviction = proto.eviction();
  usage.eviction = {eviction.unread(), eviction.cold(),  eviction.type_full(),
                    eviction.shrink(), eviction.bytes(), FromProto(eviction.mean_age())};
  usage.refreshes = proto.refreshes();
  usage.loads_unchanged = proto.loads_unchanged();
  usage.stale_on_error = proto.stale_on_error();
  usage.filtered = proto.filtered();
  usage.filter_false = proto.filter_false();
  usage.past = proto.past();
  usage.mean_age = FromProto(proto.mean_age());
  return usage;
}

CompressionStats From(const v1::CompressionStats& proto) {
  CompressionStats stats;
  stats.lz4_values = proto.lz4_values();
  stats.zstd_values = proto.zstd_values();
  stats.dictionary_values = proto.dictionary_values();
  stats.small_values = proto.small_values();
  stats.resting_values = proto.resting_values();
  stats.gainless_values = proto.gainless_values();
  stats.plain_bytes = proto.plain_bytes();
  stats.stored_bytes = proto.stored_bytes();
  stats.saved_bytes = proto.saved_bytes();
  stats.ratio = proto.ratio();
  stats.encode_time = FromProto(proto.encode_time());
  stats.decode_time = FromProto(proto.decode_time());
  stats.decodes = proto.decodes();
  stats.decodes_failed = proto.decodes_failed();
  stats.trainings = proto.trainings();
  stats.trainings_refused = proto.trainings_refused();
  stats.dictionaries = proto.dictionaries();
  stats.dictionary_memory_bytes = proto.dictionary_memory_bytes();
  stats.dictionary_version = proto.dictionary_version();
  stats.dictionary_bytes = proto.dictionary_bytes();
  if (proto.has_dictionary_trained())
    stats.dictionary_trained = FromProto(proto.dictionary_trained());
  stats.dictionary_ratio = proto.dictionary_ratio();
  return stats;
}

FilterStats From(const v1::FilterStats& proto) {
  return {
      proto.ready(),         proto.keys(),
      proto.bytes(),         proto.builds(),
      proto.builds_failed(), proto.has_built() ? FromProto(proto.built()) : absl::InfinitePast()};
}

HotKey From(const v1::HotKey& proto) {
  return {proto.namespace_(),
          proto.key(),
          proto.type(),
          proto.hits(),
          proto.misses(),
          proto.bytes(),
          proto.value_bytes_max(),
          proto.hit_ratio()};
}

TypeStats From(const v1::TypeStats& proto) {
  TypeStats stats;
  stats.name = proto.type();
  stats.usage = From(proto.usage());
  stats.share_min = proto.share_min();
  stats.share_max = proto.share_max();
  stats.compression = From(proto.compression());
  if (proto.has_filter()) stats.filter = From(proto.filter());
  for (const v1::HotKey& hot : proto.hot_keys()) stats.hot_keys.push_back(From(hot));
  return stats;
}

MemoryStats From(const v1::MemoryStats& proto) {
  MemoryStats stats;
  stats.budget_bytes = proto.budget_bytes();
  stats.used_bytes = proto.used_bytes();
  stats.segment_bytes = proto.segment_bytes();
  stats.large_bytes = proto.large_bytes();
  stats.index_bytes = proto.index_bytes();
  stats.ghost_bytes = proto.ghost_bytes();
  stats.dead_bytes = proto.dead_bytes();
  stats.newcomer_share = proto.newcomer_share();
  stats.dictionary_bytes = proto.dictionary_bytes();
  stats.hot_keys_bytes = proto.hot_keys_bytes();
  return stats;
}

TierStats From(const v1::TierStats& proto) {
  TierStats stats;
  stats.tier = From(proto.tier());
  stats.kind = proto.kind();
  stats.hits = proto.hits();
  stats.misses = proto.misses();
  stats.errors = proto.errors();
  stats.entries = proto.entries();
  stats.bytes = proto.bytes();
  stats.bytes_max = proto.bytes_max();
  stats.state = proto.state();
  stats.timeouts = proto.timeouts();
  stats.rejected = proto.rejected();
  stats.retries = proto.retries();
  stats.damaged = proto.damaged();
  stats.outdated = proto.outdated();
  stats.skipped = proto.skipped();
  stats.evictions = proto.evictions();
  stats.memory_bytes = proto.memory_bytes();
  stats.owed = proto.owed();
  stats.owed_total = proto.owed_total();
  stats.settled = proto.settled();
  stats.full = proto.full();
  stats.owed_forgotten = proto.owed_forgotten();
  stats.owed_again = proto.owed_again();
  stats.outdated_reads = proto.outdated_reads();
  stats.dropped_damaged = proto.dropped_damaged();
  stats.dropped_power_loss = proto.dropped_power_loss();
  return stats;
}

FleetStats From(const v1::FleetStats& proto) {
  FleetStats stats;
  stats.state = proto.state();
  stats.replicas = proto.replicas();
  stats.published = proto.published();
  stats.publish_failed = proto.publish_failed();
  stats.received = proto.received();
  stats.queued = proto.queued();
  stats.gaps = proto.gaps();
  stats.lag = FromProto(proto.lag());
  stats.lag_p99 = FromProto(proto.lag_p99());
  stats.suspect = proto.suspect();
  stats.changes = proto.changes();
  stats.dropped = proto.dropped();
  stats.confirmed = proto.confirmed();
  stats.refuted = proto.refuted();
  stats.served_suspect = proto.served_suspect();
  stats.leases_granted = proto.leases_granted();
  stats.leases_refused = proto.leases_refused();
  stats.leases_lost = proto.leases_lost();
  stats.leases_without = proto.leases_without();
  stats.received_again = proto.received_again();
  stats.bad_messages = proto.bad_messages();
  stats.append_errors = proto.append_errors();
  stats.read_errors = proto.read_errors();
  stats.node_id_shared = proto.node_id_shared();
  stats.waits_short = proto.waits_short();
  return stats;
}

WarmStats From(const v1::WarmStats& proto) {
  return {proto.state(),           proto.total(),    proto.loaded(),       proto.present(),
          proto.missing(),         proto.outdated(), proto.again(),        proto.bad_files(),
          FromProto(proto.took()), proto.saves(),    proto.saves_failed(), proto.saved_keys()};
}

OriginStats From(const v1::OriginStats& proto) {
  OriginStats stats;
  stats.name = proto.name();
  stats.kind = proto.kind();
  stats.state = proto.state();
  stats.load_calls = proto.load_calls();
  stats.load_items = proto.load_items();
  stats.store_calls = proto.store_calls();
  stats.store_items = proto.store_items();
  stats.scan_calls = proto.scan_calls();
  stats.errors = proto.errors();
  stats.item_errors = proto.item_errors();
  stats.bad_answers = proto.bad_answers();
  stats.connections = proto.connections();
  stats.under_way = proto.under_way();
  stats.queued = proto.queued();
  stats.timeouts = proto.timeouts();
  stats.retries = proto.retries();
  stats.refused = proto.refused();
  return stats;
}

OriginWarmStats From(const v1::OriginWarmStats& proto) {
  return {proto.type(), proto.state(), proto.loaded(), proto.failed(), FromProto(proto.took())};
}

LatencyStats From(const v1::LatencyStats& proto) {
  return {proto.rpc(),
          proto.count(),
          proto.errors(),
          FromProto(proto.p50()),
          FromProto(proto.p90()),
          FromProto(proto.p99()),
          FromProto(proto.p999()),
          FromProto(proto.max())};
}

LeaseStats From(const v1::LeaseStats& proto) {
  return {proto.held(),     proto.waiting(), proto.granted(), proto.fulfilled(),
          proto.released(), proto.expired(), proto.revoked()};
}

BreakerState From(v1::BreakerState state) {
  switch (state) {
    case v1::BREAKER_STATE_CLOSED:
      return BreakerState::kClosed;
    case v1::BREAKER_STATE_OPEN:
      return BreakerState::kOpen;
    case v1::BREAKER_STATE_HALF_OPEN:
      return BreakerState::kHalfOpen;
    default:
      return BreakerState::kUnspecified;
  }
}

TypeMatch From(v1::TypeMatch match) {
  switch (match) {
    case v1::TYPE_MATCH_REQUEST:
      return TypeMatch::kRequest;
    case v1::TYPE_MATCH_PATTERN:
      return TypeMatch::kPattern;
    case v1::TYPE_MATCH_DEFAULT:
      return TypeMatch::kDefault;
    default:
      return TypeMatch::kUnspecified;
  }
}

CopyInfo From(const v1::Copy& proto) {
  CopyInfo copy;
  copy.tier = From(proto.tier());
  copy.version = proto.version();
  copy.age = FromProto(proto.age());
  copy.remaining_ttl = FromProto(proto.remaining_ttl());
  copy.value_bytes = proto.value_bytes();
  copy.negative = proto.negative();
  copy.tags.assign(proto.tags().begin(), proto.tags().end());
  copy.depends_on.assign(proto.depends_on().begin(), proto.depends_on().end());
  copy.hits = proto.hits();
  if (proto.has_checksum()) copy.checksum = proto.checksum();
  copy.suspect = proto.suspect();
  return copy;
}

}  // namespace

absl::StatusOr<StatsResult> From(v1::StatsResponse* response) {
  StatsResult stats;
  stats.node = response->node();
  stats.since = FromProto(response->since());
  stats.total = From(response->total());
  for (const auto& proto : response->namespaces())
    stats.namespaces.push_back({proto.namespace_(), From(proto.usage())});
  for (const auto& proto : response->types()) stats.types.push_back(From(proto));
  stats.memory = From(response->memory());
  for (const auto& proto : response->tiers()) stats.tiers.push_back(From(proto));
  for (const auto& proto : response->latencies()) stats.latencies.push_back(From(proto));
  stats.leases = From(response->leases());
  if (response->has_journal()) stats.journal = From(response->journal());
  for (const auto& proto : response->breakers()) {
    stats.breakers.push_back({proto.name(), From(proto.state()), proto.opened(), proto.reason()});
  }
  if (response->has_fleet()) stats.fleet = From(response->fleet());
  if (response->has_warm()) stats.warm = From(response->warm());
  for (const auto& proto : response->hot_keys()) stats.hot_keys.push_back(From(proto));
  for (const auto& proto : response->origins()) stats.origins.push_back(From(proto));
  stats.flights = {response->flights().under_way(), response->flights().waiting()};
  for (const auto& proto : response->origin_warm()) stats.origin_warm.push_back(From(proto));
  return stats;
}

absl::StatusOr<HotKeysResult> From(v1::HotKeysResponse* response) {
  HotKeysResult result;
  for (const auto& proto : response->keys()) result.keys.push_back(From(proto));
  for (const auto& proto : response->previous()) result.previous.push_back(From(proto));
  result.window = FromProto(response->window());
  result.window_age = FromProto(response->window_age());
  result.sampled_every = response->sampled_every();
  return result;
}

v1::HotKeyOrder To(HotKeyOrder order) {
  switch (order) {
    case HotKeyOrder::kHits:
      return v1::HOT_KEY_ORDER_HITS;
    case HotKeyOrder::kMisses:
      return v1::HOT_KEY_ORDER_MISSES;
    case HotKeyOrder::kBytes:
      return v1::HOT_KEY_ORDER_BYTES;
    case HotKeyOrder::kValueBytes:
      return v1::HOT_KEY_ORDER_VALUE_BYTES;
  }
  return v1::HOT_KEY_ORDER_UNSPECIFIED;
}

absl::StatusOr<ExplainResult> From(v1::ExplainResponse* response) {
  ExplainResult result;
  result.type = response->type();
  result.match = From(response->match());
  result.pattern = response->pattern();
  result.captures.insert(response->captures().begin(), response->captures().end());
  result.ttl = FromProto(response->ttl());
  for (const auto& factor : response->factors()) {
    result.factors.push_back(
        {factor.name(), factor.factor(), FromProto(factor.ttl()), factor.why()});
  }
  for (const auto& copy : response->copies()) result.copies.push_back(From(copy));
  result.lease_held = response->lease_held();
  result.lease_waiters = response->lease_waiters();
  result.miss_reason = From(response->miss_reason());
  if (response->has_pending()) {
    const v1::PendingWrite& pending = response->pending();
    result.pending = PendingWrite{
        pending.version(),  FromProto(pending.age()), pending.value_bytes(), pending.deletion(),
        pending.attempts(), pending.last_error(),     std::nullopt};
    if (pending.has_next_attempt())
      result.pending->next_attempt = FromProto(pending.next_attempt());
  }
  result.origin_error = response->origin_error();
  for (const auto& rule : response->rules()) {
    result.rules.push_back(
        {rule.kind(), rule.match(), rule.version(), FromProto(rule.age()), rule.stale()});
  }
  return result;
}

absl::StatusOr<ServerInfoResult> From(v1::ServerInfoResponse* response) {
  ServerInfoResult info;
  info.version = response->version();
  info.node = response->node();
  info.node_id = response->node_id();
  info.started = FromProto(response->started());
  const auto& limits = response->limits();
  info.limits = {limits.key_bytes(),     limits.value_bytes(), limits.batch_keys(),
                 limits.message_bytes(), limits.namespaces(),  limits.tags()};
  for (const auto& type : response->types()) {
    info.types.push_back({type.name(),
                          {type.match().begin(), type.match().end()},
                          FromProto(type.base_ttl()),
                          type.origin(),
                          type.write_mode()});
  }
  info.features.assign(response->features().begin(), response->features().end());
  if (response->has_now()) info.now = FromProto(response->now());
  return info;
}

absl::StatusOr<ReloadConfigResult> From(v1::ReloadConfigResponse* response) {
  ReloadConfigResult result;
  for (const auto& change : response->changes()) {
    result.changes.push_back(
        {change.path(), change.before(), change.after(), change.needs_restart()});
  }
  return result;
}

}  // namespace larder::internal
