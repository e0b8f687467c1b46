#include "rpc/lane_connections.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

constexpr LaneConnections kMany{.all = 1'000'000, .of_one_address = 10'000};
constexpr LaneConnections kUsual{.all = 50'000, .of_one_address = 10'000};

TEST(LaneConnectionsTest, AQuarterOfTheDescriptorsIsLeftWithBothLanesFull) {
  for (const uint64_t descriptors : {100u, 1'000u, 1'024u, 4'096u, 65'535u, 1'000'000u}) {
    for (const bool has_native : {true, false}) {
      const ConnectionsOfLanes most = DealOutConnections(descriptors, kMany, has_native);
      const uint64_t taken = uint64_t{most.native.all} + 2 * uint64_t{most.reference.all};
      EXPECT_LE(taken, descriptors - descriptors / 4) << descriptors;
      EXPECT_GE(taken + 5, descriptors / 4 * 3) << "and no more, of " << descriptors;
    }
  }
  const ConnectionsOfLanes few = DealOutConnections(1'024, kUsual, true);
  EXPECT_EQ(few.native.all, 512u);
  EXPECT_EQ(few.reference.all, 128u);
}

TEST(LaneConnectionsTest, ALaneAloneHasMore) {
  const ConnectionsOfLanes most = DealOutConnections(1'024, kUsual, false);
  EXPECT_EQ(most.native.all, 0u);
  EXPECT_EQ(most.reference.all, 384u);
}

TEST(LaneConnectionsTest, WhereDescriptorsAreManyTheSettingsCount) {
  for (const uint64_t descriptors : {uint64_t{1'000'000}, UINT64_MAX}) {
    const ConnectionsOfLanes most = DealOutConnections(descriptors, kUsual, true);
    EXPECT_EQ(most.native, kUsual);
    EXPECT_EQ(most.reference, kUsual);
  }
}

TEST(LaneConnectionsTest, WhereDescriptorsAreFewOneAddressLeavesSomeToTheOthers) {
  const ConnectionsOfLanes most = DealOutConnections(16'384, kUsual, true);
  EXPECT_EQ(most.native, (LaneConnections{.all = 8'192, .of_one_address = 6'144}));
  EXPECT_EQ(most.reference, (LaneConnections{.all = 2'048, .of_one_address = 1'536}));
  const LaneConnections modest{.all = 50'000, .of_one_address = 100};
  EXPECT_EQ(DealOutConnections(16'384, modest, true).native.of_one_address, 100u);
}

TEST(LaneConnectionsTest, OneConnectionOfEachLaneIsAlwaysAllowed) {
  const ConnectionsOfLanes most = DealOutConnections(1, kUsual, true);
  EXPECT_EQ(most.native, (LaneConnections{.all = 1, .of_one_address = 1}));
  EXPECT_EQ(most.reference, (LaneConnections{.all = 1, .of_one_address = 1}));
}

}  // namespace
}  // namespace larder
