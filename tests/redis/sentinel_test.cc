// A master behind Sentinels: it is found, and so is the one that takes over.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "redis/redis.h"
#include "tests/redis/redis_fixture.h"
#include "tests/redis/redis_server.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

Redis::Options OptionsFor(const RedisSentinelServers& servers) {
  Redis::Options options;
  options.topology = Redis::Topology::kSentinel;
  options.addresses = servers.addresses();
  options.master_name = RedisSentinelServers::kMasterName;
  options.reconnect_max = absl::Milliseconds(100);
  return options;
}

void WaitForReplica(RedisSentinelServers& servers) {
  WaitUntil("the replica has it",
            [&] { return servers.server(0).Run({"WAIT", "1", "1000"}) == "1"; });
}

TEST(RedisSentinelTest, FindsTheMasterAndTheOneThatTakesOverFromADeadOne) {
  RedisSentinelServers servers;
  Redis::Options options = OptionsFor(servers);
  options.database = 2;
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  EXPECT_EQ(client.redis->Stats().nodes, 1);
  WaitForReplica(servers);
  servers.LetReplicaTakeOver();
  servers.server(0).Kill();
  WaitUntil("the replica took over", [&] { return client.Text({"SET", "k", "w"}) == "OK"; });
  EXPECT_EQ(servers.server(1).Info("role"), "master");
  EXPECT_GE(client.redis->Stats().topology_changes, 2u);
  // The old one comes back, and is no master.
  servers.server(0).Start();
  WaitUntil("it is a replica", [&] { return servers.server(0).Info("role") == "slave"; });
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.Text({"GET", "k"}), "w");
}

TEST(RedisSentinelTest, FollowsAFailoverThatSomebodyAskedFor) {
  RedisSentinelServers servers;
  RedisUnderTest client(OptionsFor(servers));
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  WaitForReplica(servers);
  WaitUntil("the client is with the other", [&] {
    if (servers.server(1).Info("role") != "master") {
      // Said again: on a slow machine the Sentinel gives its failover up.
      servers.sentinel(0).Run({"SENTINEL", "FAILOVER", RedisSentinelServers::kMasterName});
      return false;
    }
    return client.Text({"SET", "k", "w"}) == "OK" && servers.server(1).Run({"GET", "k"}) == "w";
  });
}

// Its connections stay up: only its answers tell.
TEST(RedisSentinelTest, LeavesALiveMasterThatBecameAReplica) {
  RedisSentinelServers servers;
  Redis::Options options = OptionsFor(servers);
  options.topology_poll = absl::Minutes(1);
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  WaitForReplica(servers);
  servers.LetReplicaTakeOver();
  ASSERT_EQ(servers.server(1).Run({"REPLICAOF", "NO", "ONE"}), "OK");
  ASSERT_EQ(
      servers.server(0).Run({"REPLICAOF", "127.0.0.1", std::to_string(servers.server(1).port())}),
      "OK");
  const auto refused = client.Call({"SET", "k", "w"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("READONLY"));
  WaitUntil("the client is with the new master",
            [&] { return client.Text({"SET", "k", "w"}) == "OK"; });
  EXPECT_EQ(servers.server(1).Run({"GET", "k"}), "w");
  EXPECT_EQ(servers.server(0).Info("role"), "slave");
  EXPECT_GE(client.redis->Stats().topology_changes, 2u);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.Text({"GET", "k"}), "w");
}

TEST(RedisSentinelTest, FollowsAFailoverFromAFrozenMaster) {
  RedisSentinelServers servers;
  Redis::Options options = OptionsFor(servers);
  options.silence_max = absl::Milliseconds(300);
  options.connect_timeout = absl::Milliseconds(200);
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  WaitForReplica(servers);
  servers.LetReplicaTakeOver();
  servers.server(0).Freeze();
  WaitUntil("the replica took over",
            [&] { return client.Text({"SET", "k", "w"}, absl::Milliseconds(100)) == "OK"; });
  servers.server(0).Thaw();
  WaitUntil("it is a replica", [&] { return servers.server(0).Info("role") == "slave"; });
  EXPECT_EQ(client.Text({"GET", "k"}), "w");
}

TEST(RedisSentinelTest, OneSentinelThatAnswersIsEnough) {
  RedisSentinelServers servers;
  servers.sentinel(0).Kill();
  servers.sentinel(1).Freeze();
  RedisUnderTest client(OptionsFor(servers));
  EXPECT_EQ(client.Text({"SET", "k", "v"}), "OK");
}

TEST(RedisSentinelTest, GoesOnWithoutSentinels) {
  RedisSentinelServers servers;
  Redis::Options options = OptionsFor(servers);
  options.topology_poll = absl::Milliseconds(100);
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  for (int i = 0; i < 3; ++i) servers.sentinel(i).Kill();
  const MonoNanos end = In(absl::Milliseconds(500));
  while (Clock::System()->Mono() < end) ASSERT_EQ(client.Text({"GET", "k"}), "v");
}

TEST(RedisSentinelTest, LogsInToSentinelsAndServers) {
  RedisSentinelServers servers(
      {"requirepass data-secret", "masterauth data-secret"},
      {"sentinel auth-pass larder-test data-secret", "requirepass sentinel-secret",
       "sentinel sentinel-pass sentinel-secret"});
  Redis::Options options = OptionsFor(servers);
  const std::string directory = servers.server(0).directory();
  options.password_file = directory + "/data";
  options.sentinel_password_file = directory + "/sentinel";
  std::ofstream(options.password_file) << "data-secret\n";
  std::ofstream(options.sentinel_password_file) << "sentinel-secret\n";
  {
    RedisUnderTest client(options);
    EXPECT_EQ(client.Text({"SET", "k", "v"}), "OK");
  }
  std::ofstream(options.sentinel_password_file, std::ios::trunc) << "wrong\n";
  RedisUnderTest client(options);
  const auto refused = client.Call({"GET", "k"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied) << refused.status();
}

TEST(RedisSentinelTest, UnknownMasterIsSaidToBeUnknown) {
  RedisServer sentinel({}, RedisServer::Kind::kSentinel);
  Redis::Options options;
  options.topology = Redis::Topology::kSentinel;
  options.addresses = {sentinel.address()};
  options.master_name = "nobody";
  RedisUnderTest client(options);
  EXPECT_THAT(client.Text({"GET", "k"}), HasSubstr("No such master"));
}

TEST(RedisSentinelTest, ReplicaThatIsNamedMasterGetsNoCommand) {
  RedisServer master;
  RedisServer replica({"replicaof 127.0.0.1 " + std::to_string(master.port())});
  // A Sentinel that is alone and has not looked yet.
  RedisServer sentinel({"sentinel monitor m 127.0.0.1 " + std::to_string(replica.port()) + " 1",
                        "sentinel down-after-milliseconds m 60000"},
                       RedisServer::Kind::kSentinel);
  Redis::Options options;
  options.topology = Redis::Topology::kSentinel;
  options.addresses = {sentinel.address()};
  options.master_name = "m";
  RedisUnderTest client(options);
  const auto refused = client.Call({"GET", "k"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("no master"));
}

}  // namespace
}  // namespace larder
