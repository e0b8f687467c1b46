// Loads from a gRPC origin through real servers: one call for all who want a key, and what the
// origin is told with it.

#include <gmock/gmock.h>

#include <map>

#include "tests/e2e/origin_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using Answers = std::map<std::string, int>;

constexpr int kCallers = 2'000;

class OriginLoadTest : public testing::Test {
 protected:
  OriginLoadTest() {
    service_.on_load = [this](v1::LoadResponse*) { gate_.Pass(); };
  }
  // The service cannot end while a call waits.
  void TearDown() override { gate_.Open(); }

  // Sections of a configuration. The types are those that `types:` goes on with.
  std::string Types() const {
    return "  item: { match: [\"item:{id}\"], origin: items, freshness: { hard_timeout: 20s } }\n"
           "  hasty: { match: [\"hasty:{id}\"], origin: items, freshness: { hard_timeout: 700ms } "
           "}\n"
           "  tagged:\n"
           "    match: [\"tagged:{id}\"]\n"
           "    origin: items\n"
           "    ttl: { base: 100ms, jitter: 0% }\n"
           "    freshness: { stale_while_revalidate: 1h }\n"
           "origins:\n"
           "  items:\n"
           "    grpc:\n"
           "      target: \"" +
           service_.target() +
           "\"\n"
           "      timeout: 20s\n"
           "      metadata: { x-caller: { value: larder } }\n";
  }
  std::string Alone() const { return "types:\n" + Types(); }

  Gate gate_;
  OriginService service_;
};

TEST_F(OriginLoadTest, CallersOfOneColdKeyAreOneCall) {
  Replica replica(Alone());
  service_.Put("item:1", {.value = "one"});
  gate_.Shut();
  Crowd crowd(&replica, "item:1", kCallers);
  EXPECT_TRUE(Eventually([&] { return replica.Stats().flights().waiting() == kCallers; }));
  gate_.Open();
  EXPECT_EQ(crowd.Answers(), (Answers{{"one", kCallers}}));
  EXPECT_EQ(service_.calls(), 1);
  const v1::StatsResponse stats = replica.Stats();
  EXPECT_EQ(stats.total().loads(), 1u);
  EXPECT_EQ(stats.total().loads_coalesced(), uint64_t{kCallers} - 1);
  EXPECT_EQ(stats.origins(0).load_calls(), 1u);
  EXPECT_EQ(stats.flights().waiting(), 0u);
  EXPECT_EQ(stats.flights().under_way(), 0u);
}

TEST_F(OriginLoadTest, CallersOfOneColdKeyAreOneCallOfAllReplicas) {
  const RedisServer redis;
  const std::string url = "redis://" + redis.address() + "/0";
  std::vector<std::unique_ptr<Replica>> replicas;
  for (int i = 0; i < 3; ++i)
    replicas.push_back(std::make_unique<Replica>(FleetConfig(i, url, Types())));
  for (const auto& replica : replicas) {
    ASSERT_TRUE(Eventually([&] { return replica->Well() && replica->Fleet().replicas() == 2; }));
  }
  constexpr int kEach = kCallers / 3;
  const auto calls_for = [&](const std::string& key) {
    service_.Put(key, {.value = "one"});
    const int before = service_.calls();
    gate_.Shut();
    std::vector<std::unique_ptr<Crowd>> crowds;
    for (const auto& replica : replicas)
      crowds.push_back(std::make_unique<Crowd>(replica.get(), key, kEach));
    for (const auto& replica : replicas) {
      EXPECT_TRUE(Eventually([&] { return replica->Stats().flights().waiting() == kEach; }));
    }
    gate_.Open();
    for (const auto& crowd : crowds) EXPECT_EQ(crowd->Answers(), (Answers{{"one", kEach}}));
    return service_.calls() - before;
  };
  const auto without_lease = [&replicas] {
    uint64_t sum = 0;
    for (const auto& replica : replicas) sum += replica->Fleet().leases_without();
    return sum;
  };
  // Whom Redis does not tell within 100 ms whose turn it is loads by himself. Where a busy machine
  // has made it so slow, nothing is said of the key, and another one is tried.
  int number = 0;
  EXPECT_TRUE(Eventually([&] {
    const uint64_t before = without_lease();
    const int calls = calls_for("item:" + std::to_string(++number));
    if (without_lease() > before) return false;
    EXPECT_EQ(calls, 1);
    return true;
  }));
}

TEST_F(OriginLoadTest, UnchangedValueIsServedOnWithoutBeingSentAgain) {
  Replica replica(Alone());
  service_.Put("tagged:1", {.value = "one", .validator = "v1"});
  EXPECT_EQ(Loaded(&replica, "tagged:1"), "one");
  EXPECT_TRUE(Eventually([&] {
    EXPECT_EQ(Loaded(&replica, "tagged:1"), "one");
    return replica.Stats().total().loads_unchanged() >= 3;
  }));
  EXPECT_EQ(service_.last().load.items(0).validator(), "v1");
  // Once the last of them is over, which nobody waits for.
  EXPECT_TRUE(Eventually([&] {
    const v1::StatsResponse stats = replica.Stats();
    return stats.total().loads() == stats.total().loads_unchanged() + 1;
  }));
  service_.Put("tagged:1", {.value = "two", .validator = "v2"});
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, "tagged:1") == "two"; }));
  EXPECT_TRUE(Eventually([&] {
    EXPECT_EQ(Loaded(&replica, "tagged:1"), "two");
    return service_.last().load.items(0).validator() == "v2";
  }));
}

TEST_F(OriginLoadTest, OriginIsToldTheTraceAndTheTimeLeft) {
  Replica replica(Alone());
  constexpr char kParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  for (const bool batch : {false, true}) {
    const auto context = Replica::Within();
    context->AddMetadata("traceparent", kParent);
    context->AddMetadata("tracestate", "vendor=1");
    if (batch) {
      v1::BatchGetOrLoadRequest request;
      request.add_keys("hasty:2");
      v1::BatchGetOrLoadResponse response;
      EXPECT_TRUE(replica.stub().BatchGetOrLoad(context.get(), request, &response).ok());
    } else {
      v1::GetOrLoadRequest request;
      request.set_key("hasty:1");
      v1::GetOrLoadResponse response;
      EXPECT_TRUE(replica.stub().GetOrLoad(context.get(), request, &response).ok());
    }
    const OriginService::Seen seen = service_.last();
    const auto value = [&seen](const char* key) {
      const auto it = seen.metadata.find(key);
      return it == seen.metadata.end() ? "" : it->second;
    };
    EXPECT_EQ(value("traceparent"), kParent);
    EXPECT_EQ(value("tracestate"), "vendor=1");
    EXPECT_EQ(value("x-caller"), "larder");
    EXPECT_GT(seen.time_left, absl::ZeroDuration());
    // gRPC rounds up what it sends.
    EXPECT_LE(seen.time_left, absl::Milliseconds(720));
    EXPECT_EQ(seen.load.type(), "hasty");
    EXPECT_EQ(seen.load.namespace_(), "default");
  }
}

TEST_F(OriginLoadTest, CallerWhoLeavesStopsNeitherTheLoadNorTheOthers) {
  Replica replica(Alone());
  service_.Put("item:1", {.value = "one"});
  gate_.Shut();
  Crowd gone(&replica, "item:1", 10, /*seconds=*/2);
  EXPECT_TRUE(Eventually([&] { return gate_.waiting() == 1; }));
  Crowd patient(&replica, "item:1", 10);
  const Answers left = gone.Answers();
  // The server and the client look at the same clock: either may be the first to say so.
  for (const auto& [answer, count] : left) {
    EXPECT_THAT(answer, testing::AnyOf("DEADLINE_EXCEEDED", "code 4: Deadline Exceeded"));
  }
  EXPECT_TRUE(Eventually([&] { return replica.Stats().flights().waiting() == 10; }));
  gate_.Open();
  EXPECT_EQ(patient.Answers(), (Answers{{"one", 10}}));
  EXPECT_EQ(service_.calls(), 1);
}

TEST_F(OriginLoadTest, LateAnswerIsKept) {
  Replica replica(Alone());
  service_.Put("item:1", {.value = "one"});
  gate_.Shut();
  Crowd gone(&replica, "item:1", 1, /*seconds=*/2);
  EXPECT_TRUE(Eventually([&] { return gate_.waiting() == 1; }));
  EXPECT_NE(gone.Answers().begin()->first, "one");
  gate_.Open();
  EXPECT_TRUE(Eventually([&] { return replica.Value("item:1") == "one"; }));
  EXPECT_EQ(service_.calls(), 1);
}

}  // namespace
}  // namespace larder
