// The bus over real redis-servers, and what happens to them in real life. Whatever is lost, the
// rule is that of the simulation: a replica has every message, or was told since that it may have
// missed some.

#include <gmock/gmock.h>

#include "tests/bus/redis_fleet.h"

namespace larder {
namespace {

using testing::HasSubstr;

using RedisBusTest = RedisFleet;

TEST_F(RedisBusTest, CarriesMessagesAndWaitsForTheFleet) {
  RedisServer server;
  StartReplicas(server, kPatientBus);
  ExpectWorking();
  for (int i = 0; i < 200; ++i) {
    BusMessage message = NewMessage(i % 3);
    const uint64_t moment = message.version;
    const FleetAck ack =
        Await(replicas_[i % 3]->bus->PublishAndWait(std::move(message), In(absl::Seconds(20))));
    ASSERT_TRUE(ack.all());
    ASSERT_EQ(ack.replicas, 2u);
    for (int other = 0; other < 3; ++other) {
      ASSERT_EQ(replicas_[other]->follower.count(moment), other == i % 3 ? 0 : 1);
    }
  }
}

TEST_F(RedisBusTest, FollowsAgainAfterRedisWasKilledAndCameBackWithItsData) {
  RedisServer server({"appendonly yes", "appendfsync always"});
  StartReplicas(server);
  ExpectWorking();
  server.Kill();
  for (int i = 0; i < 3; ++i) Publish(i);
  WaitUntilLost();
  server.Start();
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
}

TEST_F(RedisBusTest, FollowsAgainAfterRedisWasKilledAndCameBackEmpty) {
  RedisServer server({"save ''", "appendonly no"});
  StartReplicas(server);
  ExpectWorking();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 30; ++i) Publish(i % 3);
    server.Kill();
    for (int i = 0; i < 3; ++i) Publish(i);
    server.Start();
    WaitUntilWell();
    ExpectWorking();
    ExpectAccounted();
  }
}

TEST_F(RedisBusTest, AFrozenRedisIsNoticedInTimeAndForgottenWhenItGoesOn) {
  RedisServer server;
  StartReplicas(server);
  ExpectWorking();
  server.Freeze();
  const MonoNanos frozen = Clock::System()->Mono();
  const uint64_t doubtful = Publish(0);
  EXPECT_LE(replicas_[0]->bus->ReliableUntil(), MonoAfter(frozen, absl::Milliseconds(900)));
  WaitUntilLost();
  EXPECT_THAT(replicas_[0]->bus->Stats().state, HasSubstr("lost: "));
  server.Thaw();
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
  EXPECT_LE(replicas_[1]->follower.count(doubtful), 1);
}

TEST_F(RedisBusTest, OutlivesFlushAndTrim) {
  RedisServer server;
  StartReplicas(server);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 50; ++i) Publish(i % 3);
    if (round % 2 == 0)
      server.Run({"FLUSHALL"});
    else
      server.Run({"XTRIM", "test:bus", "MAXLEN", "0"});
  }
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
}

TEST_F(RedisBusTest, ARedisOutOfMemoryIsLostUntilItHasSome) {
  RedisServer server({"maxmemory-policy noeviction"});
  StartReplicas(server);
  server.Run({"CONFIG", "SET", "maxmemory", "1"});
  WaitUntilLost();
  EXPECT_GT(replicas_[0]->bus->Stats().append_errors, 0u);
  server.Run({"CONFIG", "SET", "maxmemory", "0"});
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
}

TEST_F(RedisBusTest, AKeyOfAnotherKindInTheWayIsLostUntilItIsGone) {
  RedisServer server;
  StartReplicas(server);
  server.Run({"SET", "test:bus", "not a stream"});
  WaitUntilLost();
  server.Run({"DEL", "test:bus"});
  WaitUntilWell();
  ExpectWorking();
}

TEST_F(RedisBusTest, EntriesOfOthersInTheStreamAreGapsAndNothingElse) {
  RedisServer server;
  StartReplicas(server);
  server.Run({"XADD", "test:bus", "*", "f", "not a frame"});
  server.Run({"XADD", "test:bus", "*", "other", "field", "and", "another"});
  WaitUntil("counted", [this] { return replicas_[2]->bus->Stats().bad_messages == 2; });
  WaitUntilWell();
  EXPECT_GE(replicas_[2]->follower.gaps(), 1u);
  ExpectWorking();
}

TEST_F(RedisBusTest, TheStreamStaysWithinItsBounds) {
  RedisServer server;
  Redis::Options options;
  options.addresses = {server.address()};
  StartReplicas(options, 1, {.prefix = "test", .items_max = 1000, .bytes_max = 1 << 20},
                kPatientBus);
  for (int i = 0; i < 5000; ++i) {
    BusMessage message = NewMessage(0);
    ASSERT_TRUE(
        Await(replicas_[0]->bus->PublishAndWait(std::move(message), In(absl::Seconds(20)))).known);
  }
  // Trimmed by whole nodes of a hundred.
  EXPECT_LE(std::stoi(server.Run({"XLEN", "test:bus"})), 1200);
}

TEST_F(RedisBusTest, TheStreamOfLargeMessagesStaysWithinItsBytes) {
  RedisServer server;
  Redis::Options options;
  options.addresses = {server.address()};
  constexpr size_t kBytesMax = 1 << 20;
  constexpr size_t kMessageBytes = 700;
  StartReplicas(options, 1, {.prefix = "test", .items_max = 100'000, .bytes_max = kBytesMax},
                kPatientBus);
  for (int i = 0; i < 6000; ++i) {
    BusMessage message = NewMessage(0);
    message.rule.resize(kMessageBytes, ' ');
    ASSERT_TRUE(
        Await(replicas_[0]->bus->PublishAndWait(std::move(message), In(absl::Seconds(20)))).known);
  }
  // The average of the sizes is behind by a little, and so is the trimming.
  const size_t items = std::stoul(server.Run({"XLEN", "test:bus"}));
  EXPECT_LE(items * kMessageBytes, kBytesMax * 11 / 10);
  // What bounded it is neither items_max nor the least that is kept.
  EXPECT_GT(items, 1200u);
  EXPECT_LE(std::stoul(server.Run({"MEMORY", "USAGE", "test:bus", "SAMPLES", "0"})),
            kBytesMax * 3 / 2);
}

TEST_F(RedisBusTest, WorksOnAClusterAndFollowsItsFailover) {
  RedisClusterServers cluster;
  Redis::Options options;
  options.topology = Redis::Topology::kCluster;
  options.addresses = cluster.addresses();
  StartReplicas(options);
  ExpectWorking();
  const int owner = cluster.OwnerOf(RedisSlot("test:bus"));
  ASSERT_GE(owner, 0);
  for (int i = 0; i < 30; ++i) Publish(i % 3);
  cluster.LetReplicasTakeOver();
  cluster.node(owner).Kill();
  for (int i = 0; i < 3; ++i) Publish(i);
  WaitUntilLost();
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
}

TEST_F(RedisBusTest, WorksBehindSentinelsAndFollowsTheirFailover) {
  RedisSentinelServers servers;
  Redis::Options options;
  options.topology = Redis::Topology::kSentinel;
  options.addresses = servers.addresses();
  options.master_name = RedisSentinelServers::kMasterName;
  StartReplicas(options);
  ExpectWorking();
  for (int i = 0; i < 30; ++i) Publish(i % 3);
  servers.LetReplicaTakeOver();
  servers.server(0).Kill();
  for (int i = 0; i < 3; ++i) Publish(i);
  WaitUntilLost();
  WaitUntilWell();
  ExpectWorking();
  ExpectAccounted();
}

}  // namespace
}  // namespace larder
