#include "config/types.h"

#include <utility>

#include "base/status.h"

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
  policy.adapt_size = ttl.adapt().size().enabled();
  policy.size_bands.clear();
  for (const config::v1::SizeBand& band : ttl.adapt().size().bands()) {
    policy.size_bands.push_back({band.below(), band.factor()});
  }
  policy.min = D(ttl.min());
  policy.max = D(ttl.max());
  policy.absent = D(ttl.absent());
  policy.forever = ttl.forever();
  return policy;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TypeTable>> MakeTypeTable(
    const config::v1::Config& config, const std::vector<std::string>& names) {
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
    types.push_back(std::move(type));
  }
  return TypeTable::Make(std::move(types));
}

}  // namespace larder
