// One server that refuses, is full, is slow, freezes, or goes away and comes back.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <future>
#include <memory>
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
  options.reconnect_max = absl::Milliseconds(100);
  return options;
}

void Write(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::trunc) << text;
}

absl::StatusCode CodeOf(RedisUnderTest& client, std::vector<std::string> args,
                        absl::Duration within = absl::Seconds(20)) {
  return client.Call(std::move(args), within).status().code();
}

void WaitForAnswer(RedisUnderTest& client) {
  WaitUntil("the client is connected", [&] { return client.redis->Stats().state == "ok"; });
}

// ---- who may

TEST(RedisFaultsTest, LogsInWithUserAndPassword) {
  RedisServer server({"user app on >secret ~* +@all", "user default off"});
  Redis::Options options = OptionsFor(server);
  options.user = "app";
  options.password_file = server.directory() + "/password";
  Write(options.password_file, "secret\n");
  RedisUnderTest client(options);
  EXPECT_EQ(client.Text({"ACL", "WHOAMI"}), "app");
}

TEST(RedisFaultsTest, WrongPasswordIsPermissionDeniedUntilTheFileIsRotated) {
  RedisServer server({"requirepass new"});
  Redis::Options options = OptionsFor(server);
  options.password_file = server.directory() + "/password";
  Write(options.password_file, "old");
  RedisUnderTest client(options);
  const auto refused = client.Call({"GET", "k"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("WRONGPASS"));
  EXPECT_THAT(client.redis->Stats().state, HasSubstr("WRONGPASS"));
  Write(options.password_file, "new");
  WaitForAnswer(client);
  WaitUntil("all is ok", [&] { return client.redis->Stats().state == "ok"; });
}

TEST(RedisFaultsTest, RotatedPasswordIsUsedByTheNextConnection) {
  RedisServer server({"requirepass one"});
  server.password_for_run = "one";
  Redis::Options options = OptionsFor(server);
  options.password_file = server.directory() + "/password";
  Write(options.password_file, "one");
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"PING"}), "PONG");
  Write(options.password_file, "two");
  server.Run({"CONFIG", "SET", "requirepass", "two"});
  server.password_for_run = "two";
  server.Run({"CLIENT", "KILL", "TYPE", "normal"});
  WaitForAnswer(client);
}

TEST(RedisFaultsTest, MissingPasswordIsPermissionDenied) {
  RedisServer server({"requirepass secret"});
  RedisUnderTest client(OptionsFor(server));
  const auto refused = client.Call({"GET", "k"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("NOAUTH"));
}

TEST(RedisFaultsTest, MissingPasswordFileIsNamed) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.password_file = server.directory() + "/absent";
  RedisUnderTest client(options);
  EXPECT_THAT(client.Text({"GET", "k"}), HasSubstr("/absent"));
}

TEST(RedisFaultsTest, WhatTheUserMayNotIsPermissionDenied) {
  RedisServer server({"user app on nopass ~allowed:* +get +set", "user default off"});
  Redis::Options options = OptionsFor(server);
  options.user = "app";
  RedisUnderTest client(options);
  EXPECT_EQ(client.Text({"SET", "allowed:k", "v"}), "OK");
  EXPECT_EQ(CodeOf(client, {"GET", "other"}), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(CodeOf(client, {"DEL", "allowed:k"}), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(client.Text({"GET", "allowed:k"}), "v");
}

// ---- full, loading

TEST(RedisFaultsTest, FullServerIsResourceExhaustedAlsoInScripts) {
  RedisServer server({"maxmemory 100kb", "maxmemory-policy noeviction"});
  RedisUnderTest client(OptionsFor(server));
  EXPECT_EQ(CodeOf(client, {"SET", "k", "v"}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(client, {"EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "k"}),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(client, {"GET", "k"}), absl::StatusCode::kOk);
}

TEST(RedisFaultsTest, LoadingServerIsUnavailableUntilItHasLoaded) {
  RedisServer server({"enable-debug-command yes"});
  server.Run({"DEBUG", "POPULATE", "5000", "key", "100"});
  server.Run({"SAVE"});
  // Half a minute to load, if it were not told to go faster.
  server.Run({"CONFIG", "SET", "loading-process-events-interval-bytes", "1024"});
  RedisServer slow({"key-load-delay 5000", "loading-process-events-interval-bytes 1024",
                    "dbfilename dump.rdb", "dir " + server.directory()});
  RedisUnderTest client(OptionsFor(slow));
  const auto refused = client.Call({"GET", "key:1"});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("LOADING"));
  slow.Run({"CONFIG", "SET", "key-load-delay", "0"});
  WaitForAnswer(client);
  const auto value = client.Call({"GET", "key:1"});
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->text.size(), 100u);
}

// ---- away and back

TEST(RedisFaultsTest, NobodyThereIsUnavailableAtOnce) {
  Redis::Options options;
  options.addresses = {"127.0.0.1:" + std::to_string(FreePort())};
  RedisUnderTest client(options);
  const MonoNanos begin = Clock::System()->Mono();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(CodeOf(client, {"GET", "k"}), absl::StatusCode::kUnavailable);
  }
  EXPECT_LT(Clock::System()->Mono() - begin, 10'000'000'000);
  EXPECT_THAT(client.redis->Stats().state, HasSubstr("refused"));
  EXPECT_EQ(client.redis->Stats().connected, 0);
}

TEST(RedisFaultsTest, KilledServerFailsWhatWasSentAndIsFoundAgain) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  auto waiting = Begin(client.redis->Call({{"BLPOP", "list", "0"}}, In(absl::Seconds(20))));
  WaitUntil("the server sees the call", [&] { return server.Info("blocked_clients") == "1"; });
  server.Kill();
  EXPECT_EQ(waiting.get().status().code(), absl::StatusCode::kUnavailable);
  WaitUntil("the client knows",
            [&] { return CodeOf(client, {"GET", "k"}) == absl::StatusCode::kUnavailable; });
  server.Start();
  WaitForAnswer(client);
  const RedisStats stats = client.redis->Stats();
  EXPECT_GE(stats.disconnects, 1u);
  EXPECT_GE(stats.connects, 2u);
  EXPECT_GT(stats.errors, 0u);
  EXPECT_EQ(stats.pending, 0u);
}

TEST(RedisFaultsTest, IdleConnectionThatTheServerClosedCostsNoCall) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.reconnect_min = absl::Milliseconds(1);
  RedisUnderTest client(options);
  for (int i = 0; i < 20; ++i) {
    WaitUntil("it is connected", [&] { return client.redis->Stats().connected == 2; });
    // One that hangs up before it has answered anything is not asked again without a pause.
    for (int k = 0; k < 20; ++k) ASSERT_EQ(client.Text({"GET", std::to_string(k)}), "");
    const uint64_t before = client.redis->Stats().disconnects;
    server.Run({"CLIENT", "KILL", "TYPE", "normal"});
    WaitUntil("the client knows", [&] { return client.redis->Stats().disconnects == before + 2; });
    ASSERT_EQ(client.Text({"PING"}), "PONG");
  }
}

// ---- slow and frozen

TEST(RedisFaultsTest, LateAnswerIsDroppedAndTheNextOnesFit) {
  RedisServer server({"enable-debug-command yes"});
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 1;
  RedisUnderTest client(options);
  server.Run({"SET", "late", "wrong"});
  server.Run({"SET", "k", "right"});
  for (int i = 0; i < 5; ++i) {
    server.Freeze();
    EXPECT_EQ(CodeOf(client, {"GET", "late"}, absl::Milliseconds(20)),
              absl::StatusCode::kDeadlineExceeded);
    auto next = Begin(client.redis->Call({{"GET", "k"}}, In(absl::Seconds(20))));
    server.Thaw();
    const auto value = next.get();
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_EQ(value->text, "right");
  }
  EXPECT_EQ(client.redis->Stats().timeouts, 5u);
  EXPECT_EQ(client.redis->Stats().connects, 1u);
}

TEST(RedisFaultsTest, AnswersThatCameInTimeAreKeptWhenTheRestIsLate) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 1;
  // Longer than the server says nothing.
  options.silence_max = absl::Seconds(30);
  RedisUnderTest client(options);
  const auto replies = Await(client.redis->CallMany(
      {{{"ECHO", "a"}}, {{"BLPOP", "list", "5"}}, {{"ECHO", "b"}}}, In(absl::Seconds(2))));
  ASSERT_TRUE(replies[0].ok());
  EXPECT_EQ(replies[0]->text, "a");
  EXPECT_EQ(replies[1].status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(replies[2].status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client.Text({"PING"}), "PONG");
}

TEST(RedisFaultsTest, DeadlineThatHasPassedIsSaidWithoutSending) {
  RedisServer server;
  RedisUnderTest client(OptionsFor(server));
  EXPECT_EQ(CodeOf(client, {"SET", "k", "v"}, absl::Seconds(-1)),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client.Text({"EXISTS", "k"}), "");
  EXPECT_EQ(client.Call({"EXISTS", "k"})->integer, 0);
}

TEST(RedisFaultsTest, FrozenServerCostsEachCallItsDeadlineAndNoMore) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.pending_per_connection_max = 100;
  options.silence_max = absl::Seconds(5);
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  server.Freeze();
  std::vector<std::future<absl::StatusOr<RedisReply>>> calls;
  const MonoNanos begin = Clock::System()->Mono();
  for (int i = 0; i < 1000; ++i) {
    calls.push_back(
        Begin(client.redis->Call({{"GET", "k" + std::to_string(i)}}, In(absl::Milliseconds(200)))));
  }
  int late = 0;
  int refused = 0;
  for (auto& call : calls) {
    const absl::Status status = call.get().status();
    late += absl::IsDeadlineExceeded(status) ? 1 : 0;
    refused += absl::IsUnavailable(status) ? 1 : 0;
  }
  EXPECT_LT(Clock::System()->Mono() - begin, 10'000'000'000);
  EXPECT_EQ(late, 200);
  EXPECT_EQ(refused, 800);
  EXPECT_EQ(client.redis->Stats().refused, 800u);
  EXPECT_EQ(client.redis->Stats().pending, 200u);
  server.Thaw();
  WaitUntil("the late answers are in", [&] { return client.redis->Stats().pending == 0; });
  EXPECT_EQ(client.Text({"GET", "k"}), "v");
}

TEST(RedisFaultsTest, SilentConnectionIsGivenUpAndMadeAgain) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.silence_max = absl::Milliseconds(200);
  options.connect_timeout = absl::Milliseconds(200);
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"SET", "k", "v"}), "OK");
  server.Freeze();
  const auto lost = client.Call({"GET", "k"});
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(lost.status().message()), HasSubstr("no answer for 200ms"));
  WaitUntil("nothing is connected", [&] { return client.redis->Stats().connected == 0; });
  EXPECT_EQ(client.redis->Stats().pending, 0u);
  server.Thaw();
  WaitUntil("it is connected", [&] { return client.redis->Stats().connected == 2; });
  EXPECT_EQ(client.Text({"GET", "k"}), "v");
}

// The silence that counts begins with the command: that nothing moved while nobody asked says
// nothing about the server.
TEST(RedisFaultsTest, FirstCommandAfterALongPauseKeepsItsConnection) {
  RedisServer server;
  ManualClock clock;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 1;
  options.clock = &clock;
  RedisUnderTest client(options);
  for (int i = 0; i < 50; ++i) {
    RedisCommand get{{"GET", "k"}};
    const auto value = Await(client.redis->Call(get, MonoAfter(clock.Mono(), absl::Seconds(20))));
    ASSERT_TRUE(value.ok()) << value.status();
    // The loop learns of both in the same turn, unless it looked at the clock in between.
    clock.Advance(options.silence_max);
  }
  EXPECT_EQ(client.redis->Stats().connects, 1u);
  EXPECT_EQ(client.redis->Stats().disconnects, 0u);
}

TEST(RedisFaultsTest, IdleConnectionNoticesThatItsServerFroze) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.silence_max = absl::Milliseconds(100);
  options.connect_timeout = absl::Milliseconds(100);
  RedisUnderTest client(options);
  WaitUntil("it is connected", [&] { return client.redis->Stats().connected == 2; });
  server.Freeze();
  WaitUntil("it knows", [&] { return client.redis->Stats().connected == 0; });
  server.Thaw();
  WaitUntil("it is connected", [&] { return client.redis->Stats().connected == 2; });
}

// ---- limits

TEST(RedisFaultsTest, QueueTakesWhatItMayAndNotOneMore) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.connections_per_node = 1;
  options.pending_per_connection_max = 50;
  RedisUnderTest client(options);
  ASSERT_EQ(client.Text({"PING"}), "PONG");
  const std::vector<RedisCommand> most(50, RedisCommand{{"GET", "k"}});
  for (const auto& reply : Await(client.redis->CallMany(most, In(absl::Seconds(20))))) {
    EXPECT_TRUE(reply.ok()) << reply.status();
  }
  const std::vector<RedisCommand> more(51, RedisCommand{{"GET", "k"}});
  for (const auto& reply : Await(client.redis->CallMany(more, In(absl::Seconds(20))))) {
    EXPECT_EQ(reply.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(reply.status().message()), HasSubstr("queue is full"));
  }
  EXPECT_EQ(client.redis->Stats().refused, 51u);
  EXPECT_EQ(client.Text({"PING"}), "PONG");
}

TEST(RedisFaultsTest, RequestsTakeNoMoreBytesThanTheyMay) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.pending_bytes_max = 1 << 20;
  RedisUnderTest client(options);
  // *3 $3 SET $1 k $1048544 ...: 32 bytes beside the value.
  const size_t most = (1 << 20) - 32;
  EXPECT_EQ(client.Text({"SET", "k", std::string(most, 'x')}), "OK");
  EXPECT_EQ(CodeOf(client, {"SET", "k", std::string(most + 1, 'x')}),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(client.redis->Stats().pending, 0u);
  EXPECT_EQ(client.Text({"GET", "k"}).size(), most);
}

TEST(RedisFaultsTest, AnswerLongerThanAllowedEndsTheConnection) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.reply_bytes_max = 1 << 20;
  RedisUnderTest client(options);
  EXPECT_EQ(client.Text({"SET", "fits", std::string((1 << 20) - 100, 'x')}), "OK");
  EXPECT_EQ(client.Text({"SET", "long", std::string(2 << 20, 'x')}), "OK");
  EXPECT_EQ(client.Text({"GET", "fits"}).size(), size_t{(1 << 20) - 100});
  EXPECT_EQ(CodeOf(client, {"GET", "long"}), absl::StatusCode::kUnavailable);
  WaitForAnswer(client);
}

TEST(RedisFaultsTest, AnswerOfManySmallItemsIsBoundedLikeOneString) {
  RedisServer server;
  Redis::Options options = OptionsFor(server);
  options.reply_bytes_max = 1 << 20;
  RedisUnderTest client(options);
  const std::string items = "local t = {} for i = 1, tonumber(ARGV[1]) do t[i] = i end return t";
  const auto fits = client.Call({"EVAL", items, "0", "10000"});
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(fits->items.size(), 10'000u);
  EXPECT_EQ(CodeOf(client, {"EVAL", items, "0", "20000"}), absl::StatusCode::kUnavailable);
  WaitForAnswer(client);
}

// ---- the end

TEST(RedisFaultsTest, DestructionAnswersWhatIsUnderWay) {
  RedisServer server;
  const auto executor = ThreadPool::New({2, 100'000});
  for (int round = 0; round < 20; ++round) {
    Redis::Options options = OptionsFor(server);
    options.executor = executor.get();
    auto redis = *Redis::New(options);
    std::vector<std::future<absl::StatusOr<RedisReply>>> calls;
    for (int i = 0; i < 500; ++i) {
      calls.push_back(
          Begin(redis->Call({{"APPEND", "k" + std::to_string(i), "x"}}, In(absl::Seconds(20)))));
    }
    calls.push_back(Begin(redis->CallBlocking("a", {{"BLPOP", "list", "0"}}, In(absl::Hours(1)))));
    redis.reset();
    for (auto& call : calls) {
      const absl::Status status = call.get().status();
      EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
    }
  }
}

}  // namespace
}  // namespace larder
