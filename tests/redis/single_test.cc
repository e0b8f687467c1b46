// One server: what calls answer, and how commands travel.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "redis/redis.h"
#include "tests/redis/redis_fixture.h"
#include "tests/redis/redis_server.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

Redis::Options OptionsFor(const RedisServer& server) {
  Redis::Options options;
  options.addresses = {server.address()};
  return options;
}

TEST(SingleRedisTest, AnswersEveryKindOfReply) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  EXPECT_EQ(client.Text({"SET", "k", "v"}), "OK");
  EXPECT_EQ(client.Text({"GET", "k"}), "v");
  const auto nil = client.Call({"GET", "absent"});
  ASSERT_TRUE(nil.ok());
  EXPECT_EQ(nil->kind, RedisReply::Kind::kNil);
  const auto number = client.Call({"INCRBY", "n", "-7"});
  ASSERT_TRUE(number.ok());
  EXPECT_EQ(number->kind, RedisReply::Kind::kInteger);
  EXPECT_EQ(number->integer, -7);
  const auto array = client.Call({"MGET", "k", "absent", "n"});
  ASSERT_TRUE(array.ok());
  ASSERT_EQ(array->kind, RedisReply::Kind::kArray);
  ASSERT_EQ(array->items.size(), 3u);
  EXPECT_EQ(array->items[0].text, "v");
  EXPECT_EQ(array->items[1].kind, RedisReply::Kind::kNil);
  EXPECT_EQ(array->items[2].text, "-7");
  const auto nested = client.Call({"EVAL", "return {1, {2, {}, {'x'}}}", "0"});
  ASSERT_TRUE(nested.ok());
  ASSERT_EQ(nested->items.size(), 2u);
  ASSERT_EQ(nested->items[1].items.size(), 3u);
  EXPECT_TRUE(nested->items[1].items[1].items.empty());
  EXPECT_EQ(nested->items[1].items[2].items[0].text, "x");
  EXPECT_EQ(client.redis->Stats().state, "ok");
}

TEST(SingleRedisTest, KeepsEveryByteOfArgumentsAndValues) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::string tricky = "\r\n*1\r\n$8\r\nFLUSHALL\r\n%s%n" + all;
  EXPECT_EQ(client.Text({"SET", tricky, all + tricky}), "OK");
  EXPECT_EQ(client.Text({"GET", tricky}), all + tricky);
  EXPECT_EQ(client.Text({"SET", "empty", ""}), "OK");
  const auto empty = client.Call({"GET", "empty"});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->kind, RedisReply::Kind::kString);
  EXPECT_EQ(empty->text, "");
}

TEST(SingleRedisTest, CarriesValuesOfAMebibyteAmongSmallOnes) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  std::string big(1 << 20, 'x');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 + i / 251);
  std::vector<RedisCommand> sets;
  std::vector<RedisCommand> gets;
  for (int i = 0; i < 20; ++i) {
    const std::string key = "k" + std::to_string(i);
    sets.push_back({{"SET", key, i % 2 == 0 ? big + key : key}});
    gets.push_back({{"GET", key}});
  }
  for (const auto& reply : Await(client.redis->CallMany(sets, In(absl::Seconds(20))))) {
    EXPECT_TRUE(reply.ok()) << reply.status();
  }
  const auto values = Await(client.redis->CallMany(gets, In(absl::Seconds(20))));
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_TRUE(values[i].ok());
    EXPECT_TRUE(values[i]->text == sets[i].args[2]) << i;
  }
}

TEST(SingleRedisTest, AnswersEachOfManyCommandsInItsPlace) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  std::vector<RedisCommand> commands;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (i % 10 == 3) {
      commands.push_back({{"INCR", "text"}});
    } else {
      commands.push_back({{"ECHO", key}});
    }
  }
  commands.insert(commands.begin(), {{"SET", "text", "x"}});
  commands.push_back({{}});
  const auto replies = Await(client.redis->CallMany(commands, In(absl::Seconds(20))));
  ASSERT_EQ(replies.size(), 1002u);
  for (size_t i = 1; i <= 1000; ++i) {
    if ((i - 1) % 10 == 3) {
      EXPECT_EQ(replies[i].status().code(), absl::StatusCode::kInternal);
    } else {
      ASSERT_TRUE(replies[i].ok());
      EXPECT_EQ(replies[i]->text, "k" + std::to_string(i - 1));
    }
  }
  EXPECT_EQ(replies[1001].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Await(client.redis->CallMany({}, In(absl::Seconds(20)))).empty());
}

TEST(SingleRedisTest, KeepsTheOrderOfAKeyAmongTenThousandConcurrentCalls) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 4;
  RedisUnderTest client(options);
  std::vector<std::future<absl::StatusOr<RedisReply>>> calls;
  for (int i = 0; i < 10'000; ++i) {
    calls.push_back(Begin(
        client.redis->Call({{"APPEND", "log" + std::to_string(i % 7), "," + std::to_string(i)}},
                           In(absl::Seconds(20)))));
  }
  for (auto& call : calls) ASSERT_TRUE(call.get().ok());
  for (int k = 0; k < 7; ++k) {
    std::string expected;
    for (int i = k; i < 10'000; i += 7) expected += "," + std::to_string(i);
    EXPECT_EQ(client.Text({"GET", "log" + std::to_string(k)}), expected);
  }
  EXPECT_EQ(client.redis->Stats().pending, 0u);
  EXPECT_EQ(client.redis->Stats().commands, 10'007u);
}

TEST(SingleRedisTest, SendsABatchInOneWriteAConnection) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 1;
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"PING"}), "PONG");
  std::vector<RedisCommand> commands;
  for (int i = 0; i < 100; ++i) commands.push_back({{"GET", "k" + std::to_string(i)}});
  const auto reads = [&] { return std::stoi(server.Info("total_reads_processed")); };
  const int first = reads();
  const int of_a_question = reads() - first;
  const int before = reads();
  Await(client.redis->CallMany(commands, In(absl::Seconds(20))));
  EXPECT_EQ(reads() - before - of_a_question, 1);
}

TEST(SingleRedisTest, SelectsTheDatabase) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.database = 3;
  RedisUnderTest client(options);
  EXPECT_EQ(client.Text({"SET", "k", "v"}), "OK");
  EXPECT_EQ(server.Run({"GET", "k"}), "(nil)");
  EXPECT_THAT(server.Run({"INFO", "keyspace"}), HasSubstr("db3:keys=1"));
}

TEST(SingleRedisTest, RefusesADatabaseThatTheServerDoesNotHave) {
  RedisServer server({"databases 2"});
  Redis::Options options = OptionsFor(server);
  options.database = 2;
  RedisUnderTest client(options);
  EXPECT_THAT(client.Text({"GET", "k"}), HasSubstr("out of range"));
}

TEST(SingleRedisTest, FindsTheServerByItsName) {
  RedisServer server({"bind 127.0.0.1 -::1"});
  Redis::Options options = OptionsFor(server);
  options.addresses = {"localhost:" + std::to_string(server.port())};
  RedisUnderTest client(options);
  EXPECT_EQ(client.Text({"PING"}), "PONG");
}

TEST(SingleRedisTest, SaysThatANameIsUnknown) {
  Redis::Options options;
  options.addresses = {"nobody.invalid:6379"};
  options.connect_timeout = absl::Seconds(20);
  RedisUnderTest client(options);
  const auto reply = client.Call({"PING"});
  EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("nobody.invalid"));
}

// ---- scripts

TEST(RedisScriptTest, KnowsItsName) {
  EXPECT_EQ(RedisScript("").sha1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(RedisScript("abc").sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(RedisScript("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").sha1,
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(RedisScript(std::string(1'000'000, 'a')).sha1,
            "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

constexpr const char* kAppend = "return redis.call('APPEND', KEYS[1], ARGV[1])";

TEST(SingleRedisTest, RunsAScriptThatTheServerDoesNotKnow) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  const RedisScript script(kAppend);
  for (int round = 0; round < 3; ++round) {
    std::vector<Redis::ScriptCall> calls;
    for (int i = 0; i < 50; ++i) {
      calls.push_back({{"k" + std::to_string(i % 5)}, {std::to_string(i)}});
    }
    const auto replies = Await(client.redis->RunMany(&script, calls, In(absl::Seconds(20))));
    for (const auto& reply : replies) ASSERT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(client.Text({"GET", "k3"}),
              "38131823283338"
              "43"
              "48");
    EXPECT_EQ(server.Run({"FLUSHALL"}), "OK");
    EXPECT_EQ(server.Run({"SCRIPT", "FLUSH"}), "OK");
  }
}

TEST(SingleRedisTest, RunsAScriptWithoutKeysAndTellsItsErrors) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  const RedisScript echo("return ARGV[1]");
  const auto echoed = Await(client.redis->RunMany(&echo, {{{}, {"x"}}}, In(absl::Seconds(20))));
  ASSERT_TRUE(echoed[0].ok()) << echoed[0].status();
  EXPECT_EQ(echoed[0]->text, "x");
  const RedisScript wrong("return redis.call('INCR', KEYS[1])");
  server.Run({"SET", "k", "text"});
  const auto failed = Await(client.redis->RunMany(&wrong, {{{"k"}, {}}}, In(absl::Seconds(20))));
  EXPECT_EQ(failed[0].status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(failed[0].status().message()), HasSubstr("not an integer"));
}

TEST(SingleRedisTest, DoesNotRunAgainWhatAPlainCallFoundMissing) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  EXPECT_THAT(client.Text({"EVALSHA", std::string(40, 'a'), "0"}), HasSubstr("NOSCRIPT"));
}

// ---- round trips

TEST(SingleRedisTest, BatchOfReadsIsOneReadOfTheServer) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 4;
  options.silence_max = absl::Hours(1);
  RedisUnderTest client(options);
  WaitUntil("it is connected", [&] { return client.redis->Stats().connected == 4; });
  std::vector<RedisCommand> sets;
  std::vector<RedisCommand> gets;
  for (int i = 0; i < 100; ++i) {
    sets.push_back({{"SET", "k" + std::to_string(i), "v" + std::to_string(i)}});
    gets.push_back({{"GET", "k" + std::to_string(i)}});
  }
  Await(client.redis->CallMany(sets, In(absl::Seconds(20))));
  const auto reads = [&] { return std::stoi(server.Info("total_reads_processed")); };
  const int first = reads();
  const int of_a_question = reads() - first;
  for (int round = 0; round < 10; ++round) {
    const int before = reads();
    const auto values = Await(client.redis->ReadMany(gets, In(absl::Seconds(20))));
    EXPECT_EQ(reads() - before - of_a_question, 1);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_TRUE(values[i].ok()) << values[i].status();
      EXPECT_EQ(values[i]->text, "v" + std::to_string(i));
    }
  }
}

// ---- scan

TEST(SingleRedisTest, WalksAllKeysThatMatch) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  std::vector<RedisCommand> sets;
  for (int i = 0; i < 5000; ++i) {
    sets.push_back({{"SET", (i % 5 == 0 ? "a:" : "b:") + std::to_string(i), "v"}});
  }
  Await(client.redis->CallMany(sets, In(absl::Seconds(20))));
  std::set<std::string> found;
  std::string cursor;
  int pages = 0;
  do {
    const auto page = Await(client.redis->Scan(cursor, "a:*", 100, In(absl::Seconds(20))));
    ASSERT_TRUE(page.ok()) << page.status();
    found.insert(page->keys.begin(), page->keys.end());
    cursor = page->cursor;
    ++pages;
  } while (!cursor.empty());
  EXPECT_EQ(found.size(), 1000u);
  EXPECT_GT(pages, 10);
  EXPECT_EQ(Await(client.redis->Scan("what", "", 10, In(absl::Seconds(20)))).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// ---- blocking calls

TEST(SingleRedisTest, BlockingCallHoldsUpNobodyElse) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  auto waiting =
      Begin(client.redis->CallBlocking("a", {{"BLPOP", "list", "20"}}, In(absl::Seconds(20))));
  WaitUntil("the server sees the call", [&] { return server.Info("blocked_clients") == "1"; });
  EXPECT_EQ(client.Text({"PING"}), "PONG");
  const auto second = Await(client.redis->CallBlocking("a", {{"PING"}}, In(absl::Seconds(20))));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  const auto other = Await(client.redis->CallBlocking("b", {{"PING"}}, In(absl::Seconds(20))));
  EXPECT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(client.Text({"RPUSH", "list", "x"}, absl::Seconds(20)), "");
  const auto popped = waiting.get();
  ASSERT_TRUE(popped.ok()) << popped.status();
  EXPECT_EQ(popped->items[1].text, "x");
}

TEST(SingleRedisTest, LaneIsFreeAgainAfterItsCallRanOutOfTime) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  for (int i = 0; i < 3; ++i) {
    const auto late = Await(
        client.redis->CallBlocking("a", {{"BLPOP", "list", "0"}}, In(absl::Milliseconds(50))));
    EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  }
  const auto next = Await(client.redis->CallBlocking("a", {{"PING"}}, In(absl::Seconds(20))));
  EXPECT_TRUE(next.ok()) << next.status();
  WaitUntil("nobody waits on the server", [&] { return server.Info("blocked_clients") == "0"; });
}

TEST(SingleRedisTest, HasNoMoreLanesThanItIsAllowed) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.lanes_max = 2;
  RedisUnderTest client(options);
  const auto call = [&](const std::string& lane) {
    return Await(client.redis->CallBlocking(lane, {{"PING"}}, In(absl::Seconds(20))));
  };
  EXPECT_TRUE(call("a").ok());
  EXPECT_TRUE(call("b").ok());
  EXPECT_EQ(call("c").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(call("a").ok());
}

TEST(SingleRedisTest, BlockingCallOutlivesSilence) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.silence_max = absl::Milliseconds(100);
  RedisUnderTest client(options);
  const auto popped =
      Await(client.redis->CallBlocking("a", {{"BLPOP", "list", "1"}}, In(absl::Seconds(20))));
  ASSERT_TRUE(popped.ok()) << popped.status();
  EXPECT_EQ(popped->kind, RedisReply::Kind::kNil);
}

}  // namespace
}  // namespace larder
