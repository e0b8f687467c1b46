#include "config/types.h"

#include <utility>

#include "base/status.h"
#include "config/journal.h"
#include "config/units.h"

namespace larder {
namespace {

absl::Duration D(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

TtlPolicy TtlPolicyOf(const config::v1::Ttl& ttl) {
  TtlPolicy policy;
  policy.base = D(ttl.base());
  policy.multiplier = ttl.multiplier();
  policy.jitter = ttl.jitter();
  const config::v1::AdaptAccess& access = ttl.adapt().access();
  policy.adapt_access = access.enabled();
  policy.access_per_hits = access.per_hits();
  policy.access_gain = access.gain();
  policy.access_max = access.max();
  for (const config::v1::AccessStep& step : access.steps())
    policy.access_steps.push_back({step.hits(), D(step.ttl())});
  policy.access_half_life = D(access.half_life());
  policy.adapt_size = ttl.adapt().size().enabled();
  policy.size_bands.clear();
  for (const config::v1::SizeBand& band : ttl.adapt().size().bands()) {
    policy.size_bands.push_back({band.below(), band.factor()});
  }
  policy.adapt_change = ttl.adapt().change().enabled();
  policy.change_target = ttl.adapt().change().target();
  policy.min = D(ttl.min());
  policy.max = D(ttl.max());
  policy.absent = D(ttl.absent());
  policy.forever = ttl.forever();
  policy.sliding = ttl.sliding();
  return policy;
}

CodecChoice CodecOf(config::v1::Codec codec) {
  switch (codec) {
    case config::v1::CODEC_NONE:
      return CodecChoice::kNone;
    case config::v1::CODEC_LZ4:
      return CodecChoice::kLz4;
    case config::v1::CODEC_ZSTD:
      return CodecChoice::kZstd;
    default:
      return CodecChoice::kAuto;
  }
}

CompressPolicy CompressPolicyOf(const config::v1::Compress& compress) {
  CompressPolicy policy;
  policy.codec = CodecOf(compress.codec());
  policy.min_bytes = compress.min();
  policy.dictionary = compress.dictionary();
  policy.level = static_cast<int>(compress.level());
  return policy;
}

FilterPolicy FilterPolicyOf(const config::v1::Filter& filter) {
  return {.bloom = filter.bloom(),
          .error = filter.error(),
          .keys_max = filter.keys_max(),
          .rebuild = D(filter.rebuild())};
}

WarmPolicy WarmPolicyOf(const config::v1::WarmType& warm) {
  return {.on_start = warm.on_start(),
          .limit = warm.limit(),
          .rate = warm.rate(),
          .ready_share = warm.ready_share(),
          .ready_timeout = D(warm.ready_timeout())};
}

}  // namespace

FreshnessPolicy FreshnessPolicyOf(const config::v1::Freshness& freshness) {
  FreshnessPolicy policy;
  policy.refresh_ahead = freshness.refresh_ahead();
  policy.stale_while_revalidate = D(freshness.stale_while_revalidate());
  policy.stale_if_error = D(freshness.stale_if_error());
  policy.error_pause = D(freshness.error_pause());
  policy.errors = ErrorSet();
  for (const std::string& name : freshness.errors()) {
    const absl::StatusOr<absl::StatusCode> code = ParseErrorCode(name);
    if (code.ok()) policy.errors.Add(*code);
  }
  const absl::Duration soft_timeout = D(freshness.soft_timeout());
  if (soft_timeout > absl::ZeroDuration()) policy.soft_timeout = soft_timeout;
  policy.hard_timeout = D(freshness.hard_timeout());
  return policy;
}

absl::StatusOr<std::shared_ptr<TypeTable>> MakeTypeTable(const config::v1::Config& config,
                                                         const std::vector<std::string>& names) {
  std::vector<TypePolicy> types;
  for (const std::string& name : names) {
    const config::v1::Type& configured = config.types().at(name);
    TypePolicy type;
    type.name = name;
    for (const std::string& text : configured.match()) {
      ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(text));
      type.match.push_back(std::move(pattern));
    }
    type.ttl = TtlPolicyOf(configured.ttl());
    type.compress = CompressPolicyOf(configured.compress());
    type.share_min = configured.share().min();
    type.share_max = configured.share().max();
    type.second_tier = configured.tiers().l2();
    const absl::Duration l1_ttl_max = D(configured.tiers().l1_ttl_max());
    if (l1_ttl_max > absl::ZeroDuration()) type.l1_ttl_max = l1_ttl_max;
    if (!configured.tiers().l1()) type.l1_ttl_max = absl::ZeroDuration();
    type.require_l2 = configured.tiers().require_l2();
    type.origin = configured.origin();
    type.freshness = FreshnessPolicyOf(configured.freshness());
    type.filter = FilterPolicyOf(configured.filter());
    type.warm = WarmPolicyOf(configured.warm());
    type.write = WritePolicyOf(configured.write());
    for (const std::string& text : configured.on_change().invalidate()) {
      ASSIGN_OR_RETURN(NameTemplate made, NameTemplate::Parse(text));
      type.on_change.push_back(std::move(made));
    }
    for (const std::string& text : configured.tags()) {
      ASSIGN_OR_RETURN(NameTemplate made, NameTemplate::Parse(text));
      type.tags.push_back(std::move(made));
    }
    type.rollout.reads = configured.rollout().reads();
    type.rollout.writes = configured.rollout().writes();
    types.push_back(std::move(type));
  }
  return TypeTable::Make(std::move(types));
}

}  // namespace larder
