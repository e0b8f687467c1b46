// How full a Redis is, as far as it says so.

#include "tier/redis_room.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/strings.h"
#include "tests/tier/redis_rig.h"

namespace larder {
namespace {

TEST(RedisRoomTest, KnowsWhatTheServerHoldsAndMayHold) {
  RedisServer server({"maxmemory 50mb"});
  Replica replica({server.address()});
  for (int i = 0; i < 30; ++i) replica.Do({"SET", StrCat("k", i), std::string(10'000, 'x')});
  const RedisRoom room(&replica.redis(), replica.clock());
  WaitUntil("it has answered", [&] { return room.Get().entries == 30; });
  EXPECT_GT(room.Get().bytes, 300'000u);
  EXPECT_EQ(room.Get().bytes_max, uint64_t{50} << 20);
}

TEST(RedisRoomTest, AsksOnceInAWhileHoweverOftenItIsCalled) {
  RedisServer server;
  ManualClock clock;
  Replica replica({server.address()}, Redis::Topology::kSingle, &clock);
  replica.Do({"SET", "a", "v"});
  const RedisRoom room(&replica.redis(), &clock);
  WaitUntil("it has answered", [&] { return room.Get().entries == 1; });
  EXPECT_EQ(room.Get().bytes_max, 0u);
  replica.Do({"SET", "b", "v"});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(room.Get().entries, 1u);
  clock.Advance(RedisRoom::kPause - absl::Nanoseconds(1));
  EXPECT_EQ(room.Get().entries, 1u);
  EXPECT_EQ(server.Info("cmdstat_dbsize").substr(0, 8), "calls=1,");
  clock.Advance(absl::Nanoseconds(1));
  WaitUntil("it has answered again", [&] { return room.Get().entries == 2; });
  EXPECT_EQ(server.Info("cmdstat_dbsize").substr(0, 8), "calls=2,");
}

TEST(RedisRoomTest, AddsUpTheMastersOfACluster) {
  RedisClusterServers cluster({"maxmemory 20mb"});
  Replica replica(cluster.addresses(), Redis::Topology::kCluster);
  for (int i = 0; i < 60; ++i) replica.Do({"SET", StrCat("k", i), "v"});
  const RedisRoom room(&replica.redis(), replica.clock());
  WaitUntil("all have answered", [&] { return room.Get().entries == 60; });
  EXPECT_EQ(room.Get().bytes_max, uint64_t{60} << 20);
  // One master without a limit is a fleet without one.
  cluster.node(1).Run({"CONFIG", "SET", "maxmemory", "0"});
  const RedisRoom later(&replica.redis(), replica.clock());
  WaitUntil("all have answered", [&] { return later.Get().entries == 60; });
  EXPECT_EQ(later.Get().bytes_max, 0u);
}

TEST(RedisRoomTest, KeepsWhatItKnewWhileNobodyAnswers) {
  RedisServer server;
  ManualClock clock;
  Replica replica({server.address()}, Redis::Topology::kSingle, &clock);
  replica.Do({"SET", "a", "v"});
  const RedisRoom room(&replica.redis(), &clock);
  WaitUntil("it has answered", [&] { return room.Get().entries == 1; });
  server.Kill();
  const uint64_t errors = replica.redis().Stats().errors;
  clock.Advance(RedisRoom::kPause);
  EXPECT_EQ(room.Get().entries, 1u);
  WaitUntil("it was asked in vain", [&] { return replica.redis().Stats().errors >= errors + 2; });
  EXPECT_EQ(room.Get().entries, 1u);
}

TEST(RedisRoomTest, UserWhoMayNotAskIsToldNothing) {
  RedisServer server({"user default on nopass ~* +get +set +ping"});
  Replica replica({server.address()});
  replica.Do({"SET", "a", "v"});
  const RedisRoom room(&replica.redis(), replica.clock());
  EXPECT_EQ(room.Get().entries, 0u);
  WaitUntil("it was refused", [&] { return replica.redis().Stats().errors >= 2; });
  EXPECT_EQ(room.Get().entries, 0u);
  EXPECT_EQ(room.Get().bytes, 0u);
}

// The Redis and the room may go while a question is under way.
TEST(RedisRoomTest, MayEndWhileItIsAsking) {
  RedisServer server;
  for (int i = 0; i < 50; ++i) {
    Replica replica({server.address()});
    if (i % 2 == 0) replica.Do({"PING"});
    const RedisRoom room(&replica.redis(), replica.clock());
    room.Get();
  }
}

}  // namespace
}  // namespace larder
