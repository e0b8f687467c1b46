// How the descriptors that the process may have are dealt out to the connections of its lanes: a
// quarter stays for everything else, RocksDB's files, the journal's, Redis and the origins, also
// when the lanes have all that they may have. Thread safety: pure functions.

#ifndef LARDER_RPC_LANE_CONNECTIONS_H_
#define LARDER_RPC_LANE_CONNECTIONS_H_

#include <cstdint>

namespace larder {

// Most connections of a lane.
struct LaneConnections {
  uint32_t all = 0;
  uint32_t of_one_address = 0;

  bool operator==(const LaneConnections&) const = default;
};
struct ConnectionsOfLanes {
  LaneConnections native;
  LaneConnections reference;
};

// Of `descriptors`, with no more than `wanted` on either lane. Where they do not suffice for that,
// an address has no more than three quarters of what there is, so that it leaves something to the
// others. Without a native lane (`has_native`) the reference lane has its part, too.
ConnectionsOfLanes DealOutConnections(uint64_t descriptors, LaneConnections wanted,
                                      bool has_native);

// Descriptors that the process may have. Those that are in use count.
uint64_t DescriptorsMax();

}  // namespace larder

#endif  // LARDER_RPC_LANE_CONNECTIONS_H_
