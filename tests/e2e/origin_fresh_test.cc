// Values that are loaded again before they end, and what is learned of how often they change.

#include <chrono>
#include <thread>

#include "tests/e2e/origin_fixture.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class OriginFreshTest : public testing::Test {
 protected:
  std::string Config(const std::string& type) const {
    return "types:\n  item: { match: [\"item:{id}\"], origin: items, " + type +
           " }\norigins: { items: { grpc: { target: \"" + service_.target() + "\" } } }\n";
  }

  OriginService service_;
};

TEST_F(OriginFreshTest, AHotKeyOfAShortTtlIsNeverWaitedFor) {
  constexpr milliseconds kLoad{50}, kSpan{12'000};
  // As the origin of a real value takes its time.
  service_.on_load = [&](v1::LoadResponse*) { std::this_thread::sleep_for(kLoad); };
  service_.Put("item:hot", {.value = "hot"});
  // It has three seconds for a refresh, which is longer than a busy machine stops a process for.
  Replica replica(Config("ttl: { base: 6s, jitter: 0% }, freshness: { refresh_ahead: 50% }"));
  EXPECT_EQ(Loaded(&replica, "item:hot"), "hot");
  const int first = service_.calls();
  int reads = 0;
  for (const auto end = steady_clock::now() + kSpan; steady_clock::now() < end; ++reads) {
    v1::GetOrLoadResponse response;
    const grpc::Status status = replica.GetOrLoad("item:hot", &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.hit().tier(), v1::TIER_L1) << "after " << reads << " reads";
    ASSERT_FALSE(response.hit().stale());
  }
  const int loads = service_.calls() - first;
  EXPECT_GE(loads, 2);
  EXPECT_LE(loads, 4) << "each 3 s at the least";
  EXPECT_GT(reads, 500);
  const v1::UsageStats usage = replica.Stats().total();
  EXPECT_EQ(usage.misses(), 1u);
  EXPECT_EQ(usage.refreshes(), static_cast<uint64_t>(loads));
}

TEST_F(OriginFreshTest, ExplainTellsWhatWasLearnedOfAKeysChanges) {
  service_.Put("item:calm", {.value = "calm"});
  Replica replica(
      Config("ttl: { base: 50ms, jitter: 0%, adapt: { change: true } }, "
             "freshness: { stale_while_revalidate: 1h }"));
  const auto learned = [&] {
    v1::ExplainRequest request;
    request.set_key("item:calm");
    v1::ExplainResponse response;
    const grpc::Status status =
        replica.admin().Explain(Replica::Within().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::TtlFactor& factor : response.factors()) {
      if (factor.name() == "change") return factor;
    }
    return v1::TtlFactor();
  };
  EXPECT_EQ(learned().factor(), 1);
  EXPECT_TRUE(Eventually([&] {
    Loaded(&replica, "item:calm");
    return learned().factor() >= 2;
  }));
  EXPECT_EQ(learned().why().rfind("learned of this key", 0), 0u) << learned().why();
  const double calm = learned().factor();
  EXPECT_TRUE(Eventually([&] {
    service_.Put("item:calm", {.value = std::to_string(service_.calls()),
                               .version = static_cast<Version>(service_.calls()) + 2});
    Loaded(&replica, "item:calm");
    return learned().factor() < calm / 2;
  }));
}

}  // namespace
}  // namespace larder
