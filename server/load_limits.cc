#include "load_limits.h"

#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace

Admission::Limits AdmissionLimitsOf(const Config& config) {
  const config::v1::Limits& limits = config.proto->limits();
  return {.in_flight = limits.in_flight(),
          .in_flight_per_peer = limits.in_flight_per_peer(),
          .adaptive = limits.adaptive(),
          .queue_time = FromProto(limits.queue_time())};
}

std::vector<NamespaceQuota> QuotasOf(const Config& config) {
  std::vector<NamespaceQuota> quotas;
  for (const config::v1::Quota& quota : config.proto->quotas()) {
    quotas.push_back({.name_space = quota.namespace_(),
                      .keys_per_second = quota.keys_per_second(),
                      .bytes_per_second = quota.bytes_per_second(),
                      .burst = FromProto(quota.burst())});
  }
  return quotas;
}

absl::Duration SlowCallOf(const Config& config) {
  const absl::Duration slow = FromProto(config.proto->log().slow_call());
  return slow == absl::ZeroDuration() ? absl::InfiniteDuration() : slow;
}

}  // namespace larder
