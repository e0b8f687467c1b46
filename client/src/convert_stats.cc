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
  return usage;
}

TierStats From(const v1::TierStats& proto) {
  return {From(proto.tier()), proto.kind(),    proto.hits(),  proto.misses(),
          proto.errors(),     proto.entries(), proto.bytes(), proto.bytes_max()};
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
  for (const auto& proto : response->types())
    stats.types.push_back({proto.type(), From(proto.usage())});
  for (const auto& proto : response->tiers()) stats.tiers.push_back(From(proto));
  for (const auto& proto : response->latencies()) stats.latencies.push_back(From(proto));
  stats.leases = From(response->leases());
  if (response->has_journal()) {
    const auto& journal = response->journal();
    stats.journal = JournalStats{journal.depth(), journal.bytes(), FromProto(journal.oldest_age()),
                                 journal.dead_letters()};
  }
  for (const auto& proto : response->breakers()) {
    stats.breakers.push_back({proto.name(), From(proto.state()), proto.opened(), proto.reason()});
  }
  for (const auto& proto : response->hot_keys()) {
    stats.hot_keys.push_back({proto.namespace_(), proto.key(), proto.type(), proto.hits(),
                              proto.misses(), proto.bytes()});
  }
  return stats;
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
                          type.origin()});
  }
  info.features.assign(response->features().begin(), response->features().end());
  return info;
}

}  // namespace larder::internal
