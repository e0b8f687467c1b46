// The native lane, the one to expose, has half of them. A connection of the reference lane takes
// two (reference_acceptor.cc), so its quarter is good for half as many connections.

#include "rpc/lane_connections.h"

#include <sys/resource.h>

#include <algorithm>

namespace larder {
namespace {

constexpr uint64_t kDescriptorsOfReference = 2;

LaneConnections AtMost(LaneConnections wanted, uint64_t connections) {
  connections = std::max<uint64_t>(connections, 1);
  if (wanted.all <= connections) return wanted;
  const auto part = static_cast<uint32_t>(std::max<uint64_t>(connections / 4 * 3, 1));
  return {static_cast<uint32_t>(connections), std::min(wanted.of_one_address, part)};
}

}  // namespace

ConnectionsOfLanes DealOutConnections(uint64_t descriptors, LaneConnections wanted,
                                      bool has_native) {
  const uint64_t native = has_native ? descriptors / 2 : 0;
  const uint64_t reference = descriptors / 4 * 3 - std::min(native, descriptors / 4 * 3);
  return {.native = has_native ? AtMost(wanted, native) : LaneConnections(),
          .reference = AtMost(wanted, reference / kDescriptorsOfReference)};
}

uint64_t DescriptorsMax() {
  rlimit limit;
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : UINT64_MAX;
}

}  // namespace larder
