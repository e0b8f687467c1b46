// Routing by key, breakers, second tries of slow reads, trace context and metrics.

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "client/src/checks.h"
#include "client/src/hedge.h"
#include "client/src/routes.h"
#include "larder/metrics.h"
#include "tests/client/conformance.h"
#include "tests/client/watch_server.h"

namespace larder::testing {
namespace {

using internal::RecentLatencies;
using internal::RouteHash;
using internal::Routes;

constexpr int64_t kSecond = 1'000'000'000;
constexpr char kTrace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

class Records : public ClientMetrics {
 public:
  struct Call {
    std::string method;
    absl::StatusCode code;
    int attempts;
    std::string target;
    bool hedge;
  };
  void OnCall(const CallRecord& record) override {
    EXPECT_GE(record.took, absl::ZeroDuration());
    std::lock_guard lock(mu_);
    calls_.push_back({std::string(record.method), record.code, record.attempts,
                      std::string(record.target), record.hedge});
  }
  void OnBreaker(std::string_view target, bool open) override {
    std::lock_guard lock(mu_);
    breakers_.push_back(std::string(target) + (open ? " open" : " closed"));
  }
  std::vector<Call> calls() const {
    std::lock_guard lock(mu_);
    return calls_;
  }
  std::vector<std::string> breakers() const {
    std::lock_guard lock(mu_);
    return breakers_;
  }

 private:
  mutable std::mutex mu_;
  std::vector<Call> calls_;
  std::vector<std::string> breakers_;
};

BreakerPolicy After(int failures) {
  BreakerPolicy breaker;
  breaker.failures = failures;
  return breaker;
}

TEST(Routes, KeysAreSpreadAndKeepTheirTargetsInWhateverOrderTheseAreNamed) {
  Routes forward({"a:1", "b:1", "c:1"}, Routing::kByKey, After(0), nullptr);
  Routes backward({"c:1", "b:1", "a:1"}, Routing::kByKey, After(0), nullptr);
  std::map<std::string, int> counts;
  for (int i = 0; i < 3'000; ++i) {
    const uint64_t key = RouteHash("user:" + std::to_string(i));
    const std::string_view target = forward.name(*forward.Pick(key, std::nullopt, 0));
    EXPECT_EQ(target, backward.name(*backward.Pick(key, std::nullopt, 0)));
    ++counts[std::string(target)];
  }
  for (const auto& [target, count] : counts) EXPECT_GT(count, 850) << target;
  EXPECT_EQ(counts.size(), 3u);
}

TEST(Routes, OnlyTheKeysOfATargetThatIsAwayMoveAndComeBack) {
  BreakerPolicy breaker;
  breaker.open_for = absl::Seconds(1);
  Routes routes({"a:1", "b:1", "c:1"}, Routing::kByKey, breaker, nullptr);
  std::vector<size_t> home;
  for (int i = 0; i < 300; ++i)
    home.push_back(*routes.Pick(RouteHash(std::to_string(i)), std::nullopt, 0));
  routes.Failed(1, kSecond);
  std::set<size_t> took_over;
  for (int i = 0; i < 300; ++i) {
    const size_t now = *routes.Pick(RouteHash(std::to_string(i)), std::nullopt, kSecond + 1);
    EXPECT_NE(now, 1u);
    if (home[static_cast<size_t>(i)] == 1) {
      took_over.insert(now);
    } else {
      EXPECT_EQ(now, home[static_cast<size_t>(i)]);
    }
  }
  EXPECT_EQ(took_over.size(), 2u);
  // After its time one attempt is made, and its answer brings the others back.
  uint64_t of_one = 0;
  for (int i = 0; i < 300; ++i) {
    if (home[static_cast<size_t>(i)] == 1) of_one = RouteHash(std::to_string(i));
  }
  EXPECT_EQ(routes.Pick(of_one, std::nullopt, 2 * kSecond), 1u);
  EXPECT_NE(routes.Pick(of_one, std::nullopt, 2 * kSecond), 1u);
  routes.Answered(1);
  EXPECT_EQ(routes.Pick(of_one, std::nullopt, 2 * kSecond), 1u);
}

TEST(Routes, ProbeThatNobodyHeardOfIsFollowedByAnother) {
  Routes routes({"a:1"}, Routing::kOneAtATime, After(1), nullptr);
  routes.Failed(0, 0);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, kSecond - 1), std::nullopt);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, kSecond), 0u);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, kSecond + 1), std::nullopt);
  routes.Unknown(0);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, kSecond + 2), 0u);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, 2 * kSecond + 2), 0u);
}

TEST(Routes, BreakerOpensAfterSoManyFailuresInARow) {
  const auto records = std::make_shared<Records>();
  Routes routes({"a:1"}, Routing::kOneAtATime, After(3), records);
  routes.Failed(0, 0);
  routes.Failed(0, 0);
  routes.Answered(0);
  routes.Failed(0, 0);
  routes.Failed(0, 0);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, 1), 0u);
  routes.Failed(0, 0);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, 1), std::nullopt);
  routes.Answered(0);
  EXPECT_EQ(routes.Pick(std::nullopt, std::nullopt, 1), 0u);
  EXPECT_EQ(records->breakers(), (std::vector<std::string>{"a:1 open", "a:1 closed"}));
}

TEST(Routes, AvoidsATargetAsLongAsThereIsAnother) {
  Routes two({"a:1", "b:1"}, Routing::kOneAtATime, After(1), nullptr);
  EXPECT_EQ(two.Pick(std::nullopt, 0, 0), 1u);
  two.Failed(1, 0);
  EXPECT_EQ(two.Pick(std::nullopt, 0, 1), 0u);
}

TEST(RecentLatencies, TellPercentilesOfTheLastCalls) {
  RecentLatencies latencies;
  for (int i = 0; i < 99; ++i) latencies.Add(absl::Milliseconds(1));
  EXPECT_EQ(latencies.Percentile(0.5), absl::ZeroDuration());  // too few
  latencies.Add(absl::Milliseconds(100));
  EXPECT_GE(latencies.Percentile(0.9), absl::Milliseconds(1));
  EXPECT_LE(latencies.Percentile(0.9), absl::Microseconds(1'130));
  EXPECT_GE(latencies.Percentile(0.999), absl::Milliseconds(100));
  EXPECT_LE(latencies.Percentile(0.999), absl::Milliseconds(113));
  for (int i = 0; i < 50'000; ++i) latencies.Add(absl::Microseconds(20));
  EXPECT_LE(latencies.Percentile(0.999), absl::Microseconds(23));
  latencies.Add(absl::Hours(24 * 365 * 1000));  // is no harm
  latencies.Add(absl::ZeroDuration());
}

TEST(Trace, TakesWhatTheStandardTakes) {
  EXPECT_TRUE(internal::CheckTrace("", "").ok());
  EXPECT_TRUE(internal::CheckTrace(kTrace, "vendor=1").ok());
  const std::string good = kTrace;
  const std::vector<std::string> refused = {
      good.substr(1),
      good + "0",
      "ff" + good.substr(2),
      "0g" + good.substr(2),
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
      "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
      "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  };
  for (const std::string& bad : refused) {
    EXPECT_FALSE(internal::CheckTrace(bad, "").ok()) << bad;
  }
  EXPECT_TRUE(internal::CheckTrace(good, std::string(512, 'x')).ok());
  EXPECT_FALSE(internal::CheckTrace(good, std::string(513, 'x')).ok());
  EXPECT_FALSE(internal::CheckTrace(good, "a\nb").ok());
}

class ResilienceTest : public ::testing::Test {
 protected:
  static ClientOptions OptionsFor(const std::string& targets) {
    ClientOptions options(targets, absl::Seconds(20));
    options.retry.backoff_first = absl::Milliseconds(1);
    options.retry.backoff_max = absl::Milliseconds(2);
    return options;
  }
  std::unique_ptr<Client> MustConnect(ClientOptions options) {
    options.metrics = records_;
    auto client = Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }

  std::shared_ptr<Records> records_ = std::make_shared<Records>();
};

TEST_F(ResilienceTest, KeysGoToTheirOwnTargetsAndElsewhereWhileTheseAreAway) {
  WatchServer one;
  auto two = std::make_unique<WatchServer>();
  for (WatchServer* server : {&one, two.get()}) {
    for (int i = 0; i < 40; ++i) server->Put("k" + std::to_string(i), "v");
  }
  ClientOptions options = OptionsFor(one.address() + "," + two->address());
  options.routing = Routing::kByKey;
  options.breaker.open_for = absl::Milliseconds(10);
  const auto client = MustConnect(options);
  const auto get_all = [&] {
    for (int i = 0; i < 40; ++i) EXPECT_EQ(ValueOf(client->Get("k" + std::to_string(i))), "v");
  };
  get_all();
  const size_t of_one = one.reads();
  const size_t of_two = two->reads();
  EXPECT_EQ(of_one + of_two, 40u);
  EXPECT_GT(of_one, 5u);
  EXPECT_GT(of_two, 5u);
  get_all();
  EXPECT_EQ(one.reads(), 2 * of_one);
  const int port = two->port();
  two = nullptr;
  get_all();
  EXPECT_EQ(one.reads(), 2 * of_one + 40);
  two = std::make_unique<WatchServer>(port);
  for (int i = 0; i < 40; ++i) two->Put("k" + std::to_string(i), "v");
  while (two->reads() < of_two) get_all();  // until its keys have come back
}

TEST_F(ResilienceTest, OpenBreakerFailsAtOnceAndLoadersRunWithoutTheCache) {
  std::string address;
  int port;
  {
    WatchServer server;
    address = server.address();
    port = server.port();
  }
  ClientOptions options = OptionsFor(address);
  options.retry.attempts_max = 1;
  options.breaker.failures = 2;
  options.breaker.open_for = absl::Milliseconds(200);
  const auto client = MustConnect(options);
  EXPECT_FALSE(client->Get("k").ok());
  EXPECT_FALSE(client->Get("k").ok());
  const absl::Status refused = client->Get("k").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(records_->calls().back().attempts, 0);
  EXPECT_EQ(records_->breakers(), std::vector<std::string>{address + " open"});
  const auto loaded =
      client->GetOrLoad("k", [](const LoadCall&) -> absl::StatusOr<Loaded> { return Loaded{"v"}; });
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->entry->value, "v");
  EXPECT_EQ(loaded->cache_status.code(), absl::StatusCode::kUnavailable);
  WatchServer back(port);
  back.Put("k", "v");
  while (!client->Get("k").ok()) std::this_thread::yield();
  EXPECT_EQ(records_->breakers().back(), address + " closed");
}

TEST_F(ResilienceTest, GetsWithoutAnAnswerInTimeOpenTheBreaker) {
  WatchServer server;
  ClientOptions options = OptionsFor(server.address());
  options.breaker.failures = 2;
  options.breaker.open_for = absl::Seconds(60);
  const auto client = MustConnect(options);
  // The time of those in a hurry is not for the connection.
  EXPECT_TRUE(client->Get("k").ok());
  const size_t before = server.reads();
  server.HoldGets();
  GetOptions hurried;
  hurried.call.deadline = absl::Milliseconds(300);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(client->Get("k", hurried).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(client->Get("k", hurried).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(server.reads() - before, 2u);
}

TEST_F(ResilienceTest, SlowGetIsTriedOnTheOtherTargetAndTheFirstAnswerCounts) {
  WatchServer slow, quick;
  slow.Put("k", "slow");
  quick.Put("k", "quick");
  ClientOptions options = OptionsFor(slow.address() + "," + quick.address());
  options.hedge.percentile = 0.9;
  options.hedge.budget_ratio = 1;
  const auto client = MustConnect(options);
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(client->Get("k").ok());
  slow.HoldGets();
  EXPECT_EQ(ValueOf(client->Get("k")), "quick");
  slow.AnswerHeld();
  size_t hedges = 0;
  while (true) {
    // The call that came too late ends a little later.
    const auto calls = records_->calls();
    const auto late = [](const Records::Call& call) {
      return call.code == absl::StatusCode::kCancelled;
    };
    hedges = static_cast<size_t>(
        std::count_if(calls.begin(), calls.end(), [](const auto& call) { return call.hedge; }));
    if (std::any_of(calls.begin(), calls.end(), late)) break;
    std::this_thread::yield();
  }
  EXPECT_GE(hedges, 1u);
}

TEST_F(ResilienceTest, HedgesAreBoundedByTheirBudget) {
  WatchServer server;
  server.Put("k", "v");
  ClientOptions options = OptionsFor(server.address());
  options.hedge.percentile = 0.5;
  options.hedge.budget_ratio = 0;
  const auto client = MustConnect(options);
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(client->Get("k").ok());
  const size_t before = server.reads();
  server.HoldGets();
  std::vector<Answer<GetResult>> answers(50);
  for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
  server.WaitForReads(before + 50);
  server.AnswerHeld();
  for (auto& answer : answers) EXPECT_EQ(ValueOf(answer.Wait()), "v");
  size_t hedges = 0;
  for (const auto& call : records_->calls()) hedges += call.hedge ? 1 : 0;
  EXPECT_LE(hedges, 10u);  // what a new client has saved
}

TEST_F(ResilienceTest, DestructionWhileHedgesBegin) {
  WatchServer server;
  server.Put("k", "v");
  ClientOptions options = OptionsFor(server.address());
  options.hedge.percentile = 0.5;
  options.hedge.budget_ratio = 1;
  options.hedge.delay_min = absl::Microseconds(100);
  for (int round = 0; round < 20; ++round) {
    auto client = MustConnect(options);
    for (int i = 0; i < 150; ++i) EXPECT_TRUE(client->Get("k").ok());
    std::vector<Answer<GetResult>> answers(50);
    for (auto& answer : answers) client->GetAsync("k", {}, answer.Done());
    client = nullptr;
    for (auto& answer : answers) EXPECT_TRUE(answer.Here());
  }
}

TEST_F(ResilienceTest, TraceContextGoesAlong) {
  WatchServer server;
  const auto client = MustConnect(OptionsFor(server.address()));
  GetOptions options;
  options.call.traceparent = kTrace;
  options.call.tracestate = "vendor=1";
  ASSERT_TRUE(client->Get("k", options).ok());
  EXPECT_EQ(server.metadata("traceparent"), kTrace);
  EXPECT_EQ(server.metadata("tracestate"), "vendor=1");
  ASSERT_TRUE(client->Get("k").ok());
  EXPECT_EQ(server.metadata("traceparent"), "");
  options.call.traceparent = "00-nonsense";
  const absl::Status status = client->Get("k", options).status();
  EXPECT_EQ(FieldViolations(status).at(0).field, "traceparent");
}

TEST_F(ResilienceTest, MetricsHearOfEveryCall) {
  WatchServer server;
  const auto client = MustConnect(OptionsFor(server.address()));
  ASSERT_TRUE(client->Get("k").ok());
  EXPECT_FALSE(client->Delete("k").ok());
  const auto calls = records_->calls();
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].method + " " + calls[0].target, "Get " + server.address());
  EXPECT_EQ(calls[0].code, absl::StatusCode::kOk);
  EXPECT_EQ(calls[0].attempts, 1);
  EXPECT_EQ(calls[1].method, "Delete");
  EXPECT_EQ(calls[1].code, absl::StatusCode::kUnimplemented);
}

TEST(ResilienceOptions, LimitsAreCheckedAtTheirEdges) {
  const auto field = [](const std::function<void(ClientOptions*)>& change) -> std::string {
    ClientOptions options("a:1", absl::Seconds(1));
    change(&options);
    const absl::Status status = ValidateClientOptions(options);
    return status.ok() ? "" : FieldViolations(status).at(0).field;
  };
  EXPECT_EQ(field([](auto* o) { o->batch.window = absl::Microseconds(1); }), "");
  EXPECT_EQ(field([](auto* o) { o->batch.window = absl::Nanoseconds(999); }), "batch.window");
  EXPECT_EQ(field([](auto* o) { o->batch.window = absl::Milliseconds(11); }), "batch.window");
  EXPECT_EQ(field([](auto* o) {
              o->batch.window = absl::Microseconds(100);
              o->routing = Routing::kByKey;
            }),
            "batch.window");
  EXPECT_EQ(field([](auto* o) { o->batch.keys_max = 1; }), "batch.keys_max");
  EXPECT_EQ(field([](auto* o) { o->batch.keys_max = 1000; }), "");
  EXPECT_EQ(field([](auto* o) { o->batch.keys_max = 1001; }), "batch.keys_max");
  EXPECT_EQ(field([](auto* o) { o->breaker.failures = -1; }), "breaker.failures");
  EXPECT_EQ(field([](auto* o) { o->breaker.failures = 1001; }), "breaker.failures");
  EXPECT_EQ(field([](auto* o) { o->breaker.open_for = absl::Milliseconds(9); }),
            "breaker.open_for");
  EXPECT_EQ(field([](auto* o) { o->breaker.open_for = absl::Seconds(61); }), "breaker.open_for");
  EXPECT_EQ(field([](auto* o) { o->hedge.percentile = 0.999; }), "");
  EXPECT_EQ(field([](auto* o) { o->hedge.percentile = 0.49; }), "hedge.percentile");
  EXPECT_EQ(field([](auto* o) { o->hedge.percentile = 1; }), "hedge.percentile");
  EXPECT_EQ(field([](auto* o) { o->hedge.budget_ratio = 1.1; }), "hedge.budget_ratio");
  EXPECT_EQ(field([](auto* o) { o->hedge.delay_min = absl::Microseconds(99); }), "hedge.delay_min");
}

}  // namespace
}  // namespace larder::testing
