// Loading ahead of the readers: at the start, when readiness waits for it, and by Admin.Warm; and
// the filter that knows what the origin does not have.

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "larder/v1/admin.grpc.pb.h"
#include "tests/e2e/origin_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

constexpr int kKeys = 300;

std::string Item(int i) { return "item:" + std::to_string(i); }

class OriginWarmTest : public testing::Test {
 protected:
  OriginWarmTest() {
    service_.on_load = [this](v1::LoadResponse*) { gate_.Pass(); };
    for (int i = 0; i < kKeys; ++i) service_.Put(Item(i), {.value = "warm"});
  }
  void TearDown() override { gate_.Open(); }

  // Of a type with these further sections.
  std::string Config(const std::string& sections) const {
    return "types:\n  item: { match: [\"item:{id}\"], origin: items" + sections +
           " }\norigins: { items: { grpc: { target: \"" + service_.target() + "\" } } }\n";
  }
  static std::string WarmAtStart(const std::string& more) {
    return ", warm: { on_start: true, limit: " + std::to_string(kKeys) + ", " + more + " }";
  }
  static int Probe(const std::string& address) {
    return RunLarderd({"healthcheck", "--address", address}).exit_code;
  }

  Gate gate_;
  OriginService service_;
};

TEST_F(OriginWarmTest, ReadinessWaitsForItsShare) {
  gate_.Shut();
  const TempDir directory;
  const std::string path = directory.path() + "/larder.yaml";
  std::ofstream(path) << Config(WarmAtStart("ready_share: 50%, ready_timeout: 1m"));
  const std::string address = "127.0.0.1:" + std::to_string(FreePort());
  Ended unready;
  std::thread observer([&] {
    EXPECT_TRUE(Eventually([&] { return gate_.waiting() >= 1; }));
    unready = RunLarderd({"healthcheck", "--address", address});
    gate_.Open();
  });
  const ServerProcess server({"--config", path, "--set", "listen.grpc=" + address, "--set",
                              "listen.native=127.0.0.1:0", "--set", "listen.admin=127.0.0.1:0"});
  observer.join();
  EXPECT_EQ(unready.exit_code, 1);
  EXPECT_NE(unready.err.find("not ready"), std::string::npos) << unready.err;
  ASSERT_TRUE(server.running());
  EXPECT_EQ(RunLarderd({"healthcheck", "--address", address}).exit_code, 0);
}

TEST_F(OriginWarmTest, ReadinessWaitsNoLongerThanItMay) {
  gate_.Shut();
  Replica replica(Config(WarmAtStart("ready_share: 100%, ready_timeout: 300ms")));
  v1::OriginWarmStats warm = replica.Stats().origin_warm(0);
  EXPECT_EQ(warm.state(), "warming");
  EXPECT_EQ(warm.loaded(), 0u);
  gate_.Open();
  EXPECT_TRUE(Eventually([&] {
    warm = replica.Stats().origin_warm(0);
    return warm.state() == "done";
  }));
  EXPECT_EQ(warm.loaded(), uint64_t{kKeys});
  EXPECT_EQ(warm.failed(), 0u);
}

TEST_F(OriginWarmTest, OriginThatIsAwayDelaysReadinessNoLongerThanItMay) {
  service_.Stop();
  Replica replica(Config(WarmAtStart("ready_share: 100%, ready_timeout: 300ms")));
  EXPECT_EQ(replica.Stats().origin_warm(0).loaded(), 0u);
  service_.Start();
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, Item(0)) == "warm"; }));
}

TEST_F(OriginWarmTest, WarmTellsItsProgressAndLeavesTheValuesInMemory) {
  Replica replica(Config(""));
  v1::WarmRequest request;
  request.set_type("item");
  request.set_limit(60);
  request.set_rate(100);
  const auto context = Replica::Within(20);
  const auto reader = replica.admin().Warm(context.get(), request);
  std::vector<uint64_t> progress;
  v1::WarmResponse last;
  while (reader->Read(&last)) {
    progress.push_back(last.loaded());
    EXPECT_EQ(last.failed(), 0u);
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(last.done());
  EXPECT_FALSE(last.full());
  EXPECT_EQ(last.loaded(), 60u);
  // As the rate wants it.
  EXPECT_GE(last.elapsed().seconds() * 1'000'000'000 + last.elapsed().nanos(), 500'000'000);
  EXPECT_GE(progress.size(), 3u);
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
  EXPECT_EQ(replica.Stats().total().entries(), 60u);

  v1::WarmRequest keys;
  keys.add_keys("item:none");
  for (int i = 0; i < kKeys; ++i) keys.add_keys(Item(i));
  const auto second = Replica::Within(20);
  const auto again = replica.admin().Warm(second.get(), keys);
  while (again->Read(&last)) EXPECT_EQ(last.total(), uint64_t{kKeys} + 1);
  EXPECT_TRUE(again->Finish().ok());
  EXPECT_TRUE(last.done());
  EXPECT_EQ(last.loaded(), uint64_t{kKeys} + 1);
  const int calls = service_.calls();
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(replica.Get(Item(i)).hit().tier(), v1::TIER_L1);
  EXPECT_EQ(service_.calls(), calls);
}

TEST_F(OriginWarmTest, WarmOfATypeWithoutAnOriginIsATypedError) {
  Replica replica(Config(""));
  v1::WarmRequest request;
  request.set_type("default");
  const auto context = Replica::Within();
  const auto reader = replica.admin().Warm(context.get(), request);
  v1::WarmResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(ReasonOf(reader->Finish()), "TYPE_WITHOUT_ORIGIN");
}

TEST_F(OriginWarmTest, WhatWasHotBeforeARestartComesBackFromTheOrigin) {
  const TempDir data;
  // The origin lists others first.
  Replica replica("l2: none\ndata: { path: \"" + data.path() + "\" }\n" +
                  Config(", warm: { on_start: true, limit: 20, ready_share: 100% }"));
  constexpr int kFirst = kKeys - 10;
  for (int i = kFirst; i < kKeys; ++i) EXPECT_EQ(Loaded(&replica, Item(i)), "warm");
  for (int i = kFirst; i < kKeys; ++i) {
    for (int hit = 0; hit < 10; ++hit) replica.Get(Item(i));
  }
  EXPECT_EQ(replica.Stop().exit_code, 0);
  service_.Put(Item(kFirst), {.value = "newer", .version = 2});
  const int calls = service_.calls();
  ASSERT_TRUE(replica.Start());
  EXPECT_GT(service_.calls(), calls);
  EXPECT_EQ(replica.Get(Item(kFirst)).hit().value(), "newer");
  for (int i = kFirst; i < kKeys; ++i) EXPECT_EQ(replica.Get(Item(i)).hit().tier(), v1::TIER_L1);
  const v1::OriginWarmStats warm = replica.Stats().origin_warm(0);
  EXPECT_EQ(warm.state(), "done");
  EXPECT_EQ(warm.loaded(), 20u);
}

TEST_F(OriginWarmTest, EndsAtOnceWhileItWarms) {
  Replica replica(Config(WarmAtStart("rate: 5")));
  EXPECT_TRUE(Eventually([&] { return replica.Stats().origin_warm(0).loaded() > 0; }));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(replica.Stop().exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(3));
}

// A load that has begun may take as long as work under way may.
TEST_F(OriginWarmTest, EndsInTimeWhileTheOriginHangs) {
  gate_.Shut();
  Replica replica(Config(WarmAtStart("rate: 100")));
  EXPECT_TRUE(Eventually([&] { return gate_.waiting() > 0; }));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(replica.Stop().exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(12));
}

TEST_F(OriginWarmTest, FilterAnswersForKeysThatTheOriginDoesNotHave) {
  Replica replica(Config(", filter: { bloom: true }"));
  const auto filter = [&] {
    const v1::StatsResponse stats = replica.Stats();
    for (const v1::TypeStats& type : stats.types()) {
      if (type.type() == "item") return type.filter();
    }
    return v1::FilterStats();
  };
  EXPECT_TRUE(Eventually([&] { return filter().ready(); }));
  EXPECT_EQ(filter().keys(), uint64_t{kKeys});
  EXPECT_EQ(filter().builds(), 1u);
  const int calls = service_.calls();
  constexpr int kAbsent = 200;
  for (int i = 0; i < kAbsent; ++i)
    EXPECT_EQ(Loaded(&replica, "item:none" + std::to_string(i)), "NEGATIVE");
  const int asked = service_.calls() - calls;
  EXPECT_LE(asked, 15);  // 2 are expected: it lets 1% through
  const v1::UsageStats usage = replica.Stats().total();
  EXPECT_EQ(usage.filtered(), static_cast<uint64_t>(kAbsent - asked));
  EXPECT_EQ(usage.filter_false(), static_cast<uint64_t>(asked));
  // It never stands between a reader and what is there.
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(Loaded(&replica, Item(i)), "warm");
  ASSERT_TRUE(replica.Set("item:none1", "new").ok());
  EXPECT_EQ(Loaded(&replica, "item:none1"), "new");
}

}  // namespace
}  // namespace larder
