// A Cluster: commands find their nodes, and go on finding them while slots move and masters die.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "redis/error_reply.h"
#include "redis/redis.h"
#include "tests/redis/redis_fixture.h"
#include "tests/redis/redis_server.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

TEST(RedisSlotTest, IsWhatRedisSays) {
  // From the specification of Redis Cluster, and CLUSTER KEYSLOT.
  EXPECT_EQ(RedisSlot("123456789"), 0x31c3);
  EXPECT_EQ(RedisSlot(""), 0);
  EXPECT_EQ(RedisSlot("foo"), 12182);
  EXPECT_EQ(RedisSlot("bar"), 5061);
  EXPECT_EQ(RedisSlot("{user1000}.following"), RedisSlot("user1000"));
  EXPECT_EQ(RedisSlot("foo{}{bar}"), 8363);
  EXPECT_EQ(RedisSlot("foo{{bar}}zap"), RedisSlot("{bar"));
  EXPECT_EQ(RedisSlot("foo{bar}{zap}"), RedisSlot("bar"));
  EXPECT_EQ(RedisSlot("foo{bar"), 15278);
}

TEST(RedisErrorReplyTest, ReadsRedirections) {
  const auto moved = ParseRedisRedirect("MOVED 3999 127.0.0.1:6381");
  ASSERT_TRUE(moved.has_value());
  EXPECT_FALSE(moved->ask);
  EXPECT_EQ(moved->slot, 3999);
  EXPECT_EQ(moved->address, "127.0.0.1:6381");
  const auto ask = ParseRedisRedirect("ASK 0 ::1:6381");
  ASSERT_TRUE(ask.has_value());
  EXPECT_TRUE(ask->ask);
  EXPECT_EQ(ask->address, "::1:6381");
  EXPECT_EQ(ParseRedisRedirect("MOVED 1 :7000")->address, ":7000");
  for (const char* bad : {"MOVED", "MOVED ", "MOVED 1", "MOVED 16384 a:1", "MOVED x a:1",
                          "ASK -1 a:1", "MOVE 1 a:1", ""}) {
    EXPECT_FALSE(ParseRedisRedirect(bad).has_value()) << bad;
  }
}

TEST(RedisErrorReplyTest, KnowsTheCodeInsideTheErrorOfAScript) {
  EXPECT_EQ(RedisErrorCode("OOM command not allowed"), "OOM");
  EXPECT_EQ(
      RedisErrorCode("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: "
                     "-OOM command not allowed when used memory > 'maxmemory'."),
      "OOM");
  EXPECT_EQ(RedisErrorCode("ERR Error running script: something - else"), "ERR");
  EXPECT_EQ(RedisErrorCode(""), "");
}

class RedisClusterTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { cluster = new RedisClusterServers({"enable-debug-command yes"}); }
  static void TearDownTestSuite() {
    delete cluster;
    cluster = nullptr;
  }

  // One first address, so that the rest has to be found out.
  static Redis::Options OptionsFor(int first = 0) {
    Redis::Options options;
    options.topology = Redis::Topology::kCluster;
    options.addresses = {cluster->node(first).address()};
    options.reconnect_max = absl::Milliseconds(100);
    options.topology_poll = absl::Minutes(1);
    return options;
  }

  static std::vector<RedisCommand> Sets(int count, const std::string& value) {
    std::vector<RedisCommand> sets;
    for (int i = 0; i < count; ++i) sets.push_back({{"SET", "k" + std::to_string(i), value}});
    return sets;
  }

  static RedisClusterServers* cluster;
};

RedisClusterServers* RedisClusterTest::cluster = nullptr;

TEST_F(RedisClusterTest, SendsCommandsWhereTheyBelongInOneRoundTripANode) {
  Redis::Options options = OptionsFor(4);
  options.connections_per_node = 1;
  RedisUnderTest client(options);
  for (const auto& reply : Await(client.redis->CallMany(Sets(1000, "v"), In(absl::Seconds(20))))) {
    ASSERT_TRUE(reply.ok()) << reply.status();
  }
  EXPECT_EQ(client.redis->Stats().nodes, 3);
  EXPECT_EQ(client.redis->Stats().redirections, 0u);
  std::vector<RedisCommand> gets;
  for (int i = 0; i < 100; ++i) gets.push_back({{"GET", "k" + std::to_string(i)}});
  const std::vector<int> reads = cluster->FewestReads([&] {
    const auto values = Await(client.redis->CallMany(gets, In(absl::Seconds(20))));
    for (const auto& value : values) EXPECT_EQ(value->text, "v");
  });
  EXPECT_EQ(reads, (std::vector<int>{1, 1, 1}));
  WaitUntil("all is up", [&] { return client.redis->Stats().state == "ok"; });
}

TEST_F(RedisClusterTest, RunsScriptsOnAllNodes) {
  RedisUnderTest client(OptionsFor());
  const RedisScript script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])");
  std::vector<Redis::ScriptCall> calls;
  for (int i = 0; i < 50; ++i) {
    const std::string tag = "{t" + std::to_string(i) + "}";
    calls.push_back({{tag + "a", tag + "a"}, {tag}});
  }
  const auto replies = Await(client.redis->RunMany(&script, calls, In(absl::Seconds(20))));
  for (size_t i = 0; i < replies.size(); ++i) {
    ASSERT_TRUE(replies[i].ok()) << replies[i].status();
    EXPECT_EQ(replies[i]->text, calls[i].args[0]);
  }
}

TEST_F(RedisClusterTest, WalksTheKeysOfAllMasters) {
  RedisUnderTest client(OptionsFor());
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  Await(client.redis->CallMany(Sets(2000, "v"), In(absl::Seconds(20))));
  std::multiset<std::string> found;
  std::string cursor;
  do {
    const auto page = Await(client.redis->Scan(cursor, "k*", 200, In(absl::Seconds(20))));
    ASSERT_TRUE(page.ok()) << page.status();
    found.insert(page->keys.begin(), page->keys.end());
    cursor = page->cursor;
  } while (!cursor.empty());
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()).size(), 2000u);
}

TEST_F(RedisClusterTest, AsksEveryMasterOnce) {
  RedisUnderTest client(OptionsFor());
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  Await(client.redis->CallMany(Sets(500, "v"), In(absl::Seconds(20))));
  RedisCommand size{{"DBSIZE"}};
  const auto sizes = Await(client.redis->CallMasters(size, In(absl::Seconds(20))));
  ASSERT_EQ(sizes.size(), 3u);
  int64_t sum = 0;
  for (const auto& each : sizes) {
    ASSERT_TRUE(each.ok()) << each.status();
    EXPECT_GT(each->integer, 0);
    sum += each->integer;
  }
  EXPECT_EQ(sum, 500);
}

TEST_F(RedisClusterTest, WalksANodeOfSeveralRangesOnce) {
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  const std::vector<std::pair<int, int>> moved = {{100, 1}, {200, 2}, {7000, 2}, {16000, 0}};
  std::vector<int> owners;
  for (const auto& [slot, to] : moved) {
    owners.push_back(cluster->OwnerOf(slot));
    cluster->MoveSlot(slot, owners.back(), to);
  }
  cluster->WaitUntilOk();
  RedisUnderTest client(OptionsFor());
  Await(client.redis->CallMany(Sets(3000, "v"), In(absl::Seconds(20))));
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"CONFIG", "RESETSTAT"});
  std::multiset<std::string> found;
  std::string cursor;
  do {
    const auto page = Await(client.redis->Scan(cursor, "k*", 100'000, In(absl::Seconds(20))));
    ASSERT_TRUE(page.ok()) << page.status();
    found.insert(page->keys.begin(), page->keys.end());
    cursor = page->cursor;
  } while (!cursor.empty());
  EXPECT_EQ(found.size(), 3000u);
  EXPECT_EQ(std::set<std::string>(found.begin(), found.end()).size(), 3000u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(cluster->node(i).Info("cmdstat_scan"), HasSubstr("calls=1,")) << i;
  }
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  for (size_t i = 0; i < moved.size(); ++i) {
    cluster->MoveSlot(moved[i].first, moved[i].second, owners[i]);
  }
  cluster->WaitUntilOk();
}

// A slot moves behind the walk, from a node that it has not reached to one that it has left, and
// another one to the node that it is at: no node is left out, whichever comes first now.
TEST_F(RedisClusterTest, WalkFindsWhatMovesMeanwhile) {
  RedisUnderTest client(OptionsFor());
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  const std::string mover = "{mover}k";
  const int slot = RedisSlot(mover);
  const int from = cluster->OwnerOf(slot);
  const int to = (from + 1) % 3;
  const int at = (from + 2) % 3;
  const int empty = RedisSlot("{bare}");
  ASSERT_EQ(cluster->OwnerOf(empty), to);
  std::vector<RedisCommand> sets = Sets(3000, "v");
  std::erase_if(sets, [&](const auto& set) { return RedisSlot(set.args[1]) == empty; });
  sets.push_back({{"SET", mover, "v"}});
  Await(client.redis->CallMany(sets, In(absl::Seconds(20))));

  std::set<std::string> found;
  std::string cursor;
  bool walked_to = false;
  bool moved = false;
  do {
    const auto page = Await(client.redis->Scan(cursor, "*k*", 100, In(absl::Seconds(20))));
    ASSERT_TRUE(page.ok()) << page.status();
    found.insert(page->keys.begin(), page->keys.end());
    cursor = page->cursor;
    const auto is_at = [&](int node) { return cursor.starts_with(cluster->node(node).address()); };
    walked_to |= is_at(to);
    if (moved || !walked_to || !is_at(at)) continue;
    moved = true;
    ASSERT_EQ(found.count(mover), 0u);
    cluster->BeginMigration(slot, from, to);
    cluster->node(from).Run(
        {"MIGRATE", "127.0.0.1", std::to_string(cluster->node(to).port()), mover, "0", "5000"});
    cluster->MoveSlot(slot, from, to);
    cluster->MoveSlot(empty, to, at);
    WaitUntil("the client knows", [&] {
      const uint64_t before = client.redis->Stats().redirections;
      return client.Text({"GET", mover}) == "v" && client.Text({"GET", "{bare}"}).empty() &&
             client.redis->Stats().redirections == before;
    });
  } while (!cursor.empty());
  EXPECT_TRUE(moved);
  EXPECT_EQ(found.size(), sets.size());
  EXPECT_EQ(found.count(mover), 1u);
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"FLUSHALL"});
  cluster->MoveSlot(slot, to, from);
  cluster->MoveSlot(empty, at, to);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, RefusesACursorThatIsNone) {
  RedisUnderTest client(OptionsFor());
  for (const char* bad : {"what", "a:1 0 -", "a:1 0 0-5 x", "a:1 0 16384 -", "a:1 0 1- -",
                          "a:1 0 1,, -", "a:1 0  -", "a:1 0 -5 -"}) {
    EXPECT_EQ(Await(client.redis->Scan(bad, "", 10, In(absl::Seconds(20)))).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST_F(RedisClusterTest, FollowsAMovedSlotAndLearnsItsPlace) {
  RedisUnderTest client(OptionsFor());
  const std::string key = "moving";
  const int slot = RedisSlot(key);
  const int from = cluster->OwnerOf(slot);
  const int to = (from + 1) % 3;
  ASSERT_EQ(client.Text({"GET", key}), "");
  cluster->MoveSlot(slot, from, to);
  EXPECT_EQ(client.Text({"SET", key, "v"}), "OK");
  EXPECT_GE(client.redis->Stats().redirections, 1u);
  EXPECT_EQ(cluster->node(to).Run({"GET", key}), "v");
  WaitUntil("the table is new", [&] {
    const uint64_t before = client.redis->Stats().redirections;
    return client.Text({"GET", key}) == "v" && client.redis->Stats().redirections == before;
  });
  EXPECT_EQ(client.Text({"DEL", key}), "");
  cluster->MoveSlot(slot, to, from);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, AsksForKeysThatAreOnTheirWay) {
  RedisUnderTest client(OptionsFor());
  const std::string tag = "{asked}";
  const int slot = RedisSlot(tag);
  const int from = cluster->OwnerOf(slot);
  const int to = (from + 1) % 3;
  ASSERT_EQ(client.Text({"SET", tag + "stays", "old"}), "OK");
  cluster->BeginMigration(slot, from, to);
  // What is still there is served there; what is not is asked for at the other node.
  EXPECT_EQ(client.Text({"GET", tag + "stays"}), "old");
  EXPECT_EQ(client.Text({"SET", tag + "goes", "new"}), "OK");
  EXPECT_EQ(client.Text({"GET", tag + "goes"}), "new");
  const auto mixed = Await(client.redis->CallMany({{{"GET", tag + "goes"}},
                                                   {{"GET", tag + "stays"}},
                                                   {{"APPEND", tag + "goes", "er"}},
                                                   {{"GET", tag + "goes"}}},
                                                  In(absl::Seconds(20))));
  EXPECT_EQ(mixed[0]->text, "new");
  EXPECT_EQ(mixed[1]->text, "old");
  EXPECT_EQ(mixed[3]->text, "newer");
  EXPECT_GE(client.redis->Stats().redirections, 5u);
  EXPECT_THAT(cluster->node(to).Run({"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), "10"}),
              HasSubstr("goes"));
  // Half here and half there: nobody can answer, and it is not tried again behind the caller's
  // back.
  const auto torn = client.Call({"MGET", tag + "stays", tag + "goes"});
  EXPECT_EQ(torn.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(torn.status().message()), HasSubstr("TRYAGAIN"));
  EXPECT_EQ(client.Call({"DEL", tag + "stays"})->integer, 1);
  EXPECT_EQ(client.Call({"DEL", tag + "goes"})->integer, 1);
  cluster->MoveSlot(slot, from, to);
  cluster->MoveSlot(slot, to, from);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, FollowsNoMoreRedirectionsThanItMay) {
  Redis::Options options = OptionsFor();
  options.redirections_max = 0;
  RedisUnderTest client(options);
  const std::string key = "unfollowed";
  const int slot = RedisSlot(key);
  const int from = cluster->OwnerOf(slot);
  ASSERT_EQ(client.Text({"GET", key}), "");
  cluster->MoveSlot(slot, from, (from + 1) % 3);
  const auto reply = client.Call({"GET", key});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("MOVED"));
  cluster->MoveSlot(slot, (from + 1) % 3, from);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, ManyRedirectionsAskForTheTopologyOnceAPause) {
  Redis::Options options = OptionsFor();
  options.topology_pause = absl::Milliseconds(500);
  RedisUnderTest client(options);
  const std::string key = "{burst}";
  const int slot = RedisSlot(key);
  const int from = cluster->OwnerOf(slot);
  const int to = (from + 1) % 3;
  ASSERT_EQ(client.Text({"GET", key}), "");
  cluster->MoveSlot(slot, from, to);
  for (int i = 0; i < 3; ++i) cluster->node(i).Run({"CONFIG", "RESETSTAT"});
  const MonoNanos begin = Clock::System()->Mono();
  std::vector<RedisCommand> gets(2000, RedisCommand{{"GET", key}});
  Await(client.redis->CallMany(gets, In(absl::Seconds(20))));
  int asked = 0;
  for (int i = 0; i < 3; ++i) {
    const std::string stat = cluster->node(i).Info("cmdstat_cluster|slots");
    if (!stat.empty()) asked += std::stoi(stat.substr(std::string("calls=").size()));
  }
  const int pauses = static_cast<int>((Clock::System()->Mono() - begin) / 500'000'000);
  EXPECT_LE(asked, 2 + pauses);
  cluster->MoveSlot(slot, to, from);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, BlockingCallFindsTheNodeOfItsKeyAfterItMoved) {
  RedisUnderTest client(OptionsFor());
  const std::string key = "{lane}list";
  const int slot = RedisSlot(key);
  const int from = cluster->OwnerOf(slot);
  const int to = (from + 1) % 3;
  const auto pop = [&] {
    cluster->node(cluster->OwnerOf(slot)).Run({"RPUSH", key, "x"});
    const auto popped =
        Await(client.redis->CallBlocking("a", {{"BLPOP", key, "5"}}, In(absl::Seconds(20))));
    return popped.ok() ? popped->items[1].text : popped.status().ToString();
  };
  EXPECT_EQ(pop(), "x");
  cluster->MoveSlot(slot, from, to);
  EXPECT_EQ(pop(), "x");
  cluster->MoveSlot(slot, to, from);
  cluster->WaitUntilOk();
}

TEST_F(RedisClusterTest, SlotThatNobodyServesIsUnavailable) {
  RedisUnderTest client(OptionsFor());
  const std::string key = "nobody";
  const int slot = RedisSlot(key);
  const int from = cluster->OwnerOf(slot);
  for (int i = 0; i < 6; ++i) {
    cluster->node(i).Run({"CLUSTER", "DELSLOTS", std::to_string(slot)});
  }
  const auto reply = client.Call({"GET", key});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable) << reply.status();
  cluster->node(from).Run({"CLUSTER", "ADDSLOTS", std::to_string(slot)});
  for (int i = 0; i < 3; ++i) {
    cluster->node(i).Run({"CLUSTER", "SETSLOT", std::to_string(slot), "NODE", cluster->id(from)});
  }
  cluster->WaitUntilOk();
  WaitUntil("it is served again", [&] { return client.Call({"GET", key}).ok(); });
}

TEST_F(RedisClusterTest, FindsTheMasterThatTookOver) {
  RedisUnderTest client(OptionsFor(1));
  ASSERT_EQ(client.Text({"SET", "foo", "v"}), "OK");
  const int slot = RedisSlot("foo");
  const int master = cluster->OwnerOf(slot, 1);
  WaitUntil("a replica has the value",
            [&] { return cluster->node(master).Run({"WAIT", "1", "1000"}) == "1"; });
  cluster->LetReplicasTakeOver();
  cluster->node(master).Kill();
  WaitUntil("the replica took over", [&] { return client.Text({"GET", "foo"}) == "v"; });
  EXPECT_EQ(client.Text({"SET", "foo", "w"}), "OK");
  cluster->node(master).Start();
  cluster->WaitUntilOk();
  // It comes back as a replica, and nothing is lost by that.
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.Text({"GET", "foo"}), "w");
  WaitUntil("all is up", [&] { return client.redis->Stats().state == "ok"; });
}

TEST_F(RedisClusterTest, FindsTheMasterThatTookOverFromAFrozenOne) {
  Redis::Options options = OptionsFor(1);
  options.silence_max = absl::Milliseconds(300);
  options.connect_timeout = absl::Milliseconds(200);
  RedisUnderTest client(options);
  const int slot = RedisSlot("bar");
  const int master = cluster->OwnerOf(slot, 1);
  // The short times are for what is to come; a busy machine may need longer to connect.
  WaitUntil("it is connected", [&] { return client.Text({"SET", "bar", "v"}) == "OK"; });
  WaitUntil("a replica has the value",
            [&] { return cluster->node(master).Run({"WAIT", "1", "1000"}) == "1"; });
  cluster->LetReplicasTakeOver();
  cluster->node(master).Freeze();
  WaitUntil("the replica took over",
            [&] { return client.Text({"GET", "bar"}, absl::Milliseconds(100)) == "v"; });
  cluster->node(master).Thaw();
  cluster->WaitUntilOk();
  EXPECT_EQ(client.Text({"GET", "bar"}), "v");
}

TEST_F(RedisClusterTest, AsksItsOtherAddressesWhenTheFirstIsDead) {
  Redis::Options options = OptionsFor();
  options.addresses = {"127.0.0.1:" + std::to_string(FreePort()),
                       "127.0.0.1:" + std::to_string(FreePort()), cluster->node(2).address()};
  RedisUnderTest client(options);
  WaitUntil("it is found", [&] { return client.Call({"GET", "k"}).ok(); });
}

TEST(RedisClusterFaultsTest, ServerThatIsNoClusterIsSaidToBeNone) {
  RedisServer server;
  Redis::Options options;
  options.topology = Redis::Topology::kCluster;
  options.addresses = {server.address()};
  RedisUnderTest client(options);
  EXPECT_THAT(client.Text({"GET", "k"}), HasSubstr("cluster support disabled"));
}

TEST(RedisClusterFaultsTest, DestructionWhileNothingIsKnownAnswersTheCalls) {
  RedisServer server;
  server.Freeze();
  Redis::Options options;
  options.topology = Redis::Topology::kCluster;
  options.addresses = {server.address()};
  options.connect_timeout = absl::Minutes(1);
  RedisUnderTest client(options);
  auto early = Begin(client.redis->Call({{"GET", "k"}}, In(absl::Milliseconds(20))));
  auto call = Begin(client.redis->Call({{"GET", "k"}}, In(absl::Minutes(1))));
  EXPECT_EQ(early.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  client.redis.reset();
  EXPECT_EQ(call.get().status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace larder
