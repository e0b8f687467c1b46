// How the descriptors that the process may have are dealt out to the connections of its lanes: a
// quarter stays for everything else, RocksDB's files, the journal's, Redis and the origins, also
// when the lanes have all that they may have. Thread safety: pure functions.

#ifndef LARDER_RPC_LANE_CONNECTIONS_H_
#define LARDER_RPC_LANE_CONNECTIONS_H_

#include <cstdint>

namespace larder {

// Most connections of each lane.
struct LaneConnections {
  uint32_t native = 0;
  uint32_t reference = 0;

  bool operator==(const LaneConnections&) const = default;
};

// Of `descriptors`, with no more than `wanted` on either lane. Without a native lane (`has_native`)
// the reference lane has its part, too.
LaneConnections DealOutConnections(uint64_t descriptors, uint32_t wanted, bool has_native);

// Descriptors that the process may have. Those that are in use count.
uint64_t DescriptorsMax();

}  // namespace larder

#endif  // LARDER_RPC_LANE_CONNECTIONS_H_
