#include "load_limits.h"

#include <algorithm>

#include "larder/config/v1/config.pb.h"

namespace larder {
namespace {

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// The largest message gets through whatever else there is: what gRPC reads into is partly empty,
// and it ends calls when it has no more.
constexpr uint64_t kLargestMessages = 4;
// One address may send one message, read one and have one more under way, however small its part.
constexpr uint64_t kLargestMessagesOfPeer = 3;

// What one address may have where nothing else is said: a lone large client hardly feels it, and
// there is room for the others when it asks for too much.
uint64_t PeersPart(uint64_t all) { return std::max<uint64_t>(all / 4 * 3 + all % 4 * 3 / 4, 1); }

}  // namespace

uint64_t BufferBytesOf(const Config& config) {
  const config::v1::Limits& limits = config.proto->limits();
  return std::max(limits.buffer_bytes(), kLargestMessages * limits.message_bytes());
}

uint64_t PeerBufferBytesOf(const Config& config) {
  const config::v1::Limits& limits = config.proto->limits();
  const uint64_t bytes = limits.buffer_bytes_per_peer() != 0 ? limits.buffer_bytes_per_peer()
                                                             : PeersPart(limits.buffer_bytes());
  return std::max(bytes, kLargestMessagesOfPeer * limits.message_bytes());
}

Admission::Limits AdmissionLimitsOf(const Config& config) {
  const config::v1::Limits& limits = config.proto->limits();
  return {.in_flight = limits.in_flight(),
          .in_flight_per_peer = limits.in_flight_per_peer() != 0 ? limits.in_flight_per_peer()
                                                                 : PeersPart(limits.in_flight()),
          .buffer_bytes = BufferBytesOf(config),
          .buffer_bytes_per_peer = PeerBufferBytesOf(config),
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
