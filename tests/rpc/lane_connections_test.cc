#include "rpc/lane_connections.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

TEST(LaneConnectionsTest, AQuarterOfTheDescriptorsIsLeftWithBothLanesFull) {
  for (const uint64_t descriptors : {100u, 1'000u, 1'024u, 4'096u, 65'535u, 1'000'000u}) {
    for (const bool has_native : {true, false}) {
      const LaneConnections most = DealOutConnections(descriptors, 1'000'000, has_native);
      const uint64_t taken = uint64_t{most.native} + 2 * uint64_t{most.reference};
      EXPECT_LE(taken, descriptors - descriptors / 4) << descriptors;
      EXPECT_GE(taken + 5, descriptors / 4 * 3) << "and no more, of " << descriptors;
    }
  }
  EXPECT_EQ(DealOutConnections(1'024, 50'000, true),
            (LaneConnections{.native = 512, .reference = 128}));
}

TEST(LaneConnectionsTest, ALaneAloneHasMore) {
  EXPECT_EQ(DealOutConnections(1'024, 50'000, false),
            (LaneConnections{.native = 0, .reference = 384}));
}

TEST(LaneConnectionsTest, WhereDescriptorsAreManyTheSettingCounts) {
  const LaneConnections all{.native = 50'000, .reference = 50'000};
  EXPECT_EQ(DealOutConnections(1'000'000, 50'000, true), all);
  EXPECT_EQ(DealOutConnections(UINT64_MAX, 50'000, true), all);
}

TEST(LaneConnectionsTest, OneConnectionOfEachLaneIsAlwaysAllowed) {
  EXPECT_EQ(DealOutConnections(1, 50'000, true), (LaneConnections{.native = 1, .reference = 1}));
}

}  // namespace
}  // namespace larder
