// An origin that stops under load, and one that is killed. With stale_if_error no call fails, the
// origin is tried now and then and no more, and values are fresh again after its return. Without,
// callers are told why within the hard time-out.

#include <atomic>
#include <chrono>
#include <mutex>

#include "tests/base/threads.h"
#include "tests/e2e/origin_fixture.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kKeys = 20;
constexpr milliseconds kHard{500};
// From an origin's return until its values are fresh again.
constexpr milliseconds kBack{2'000};
// For a busy machine.
constexpr milliseconds kRoom{5'000};

std::string Lenient(int i) { return "lenient:" + std::to_string(i); }

// Reads all keys of type `lenient` again and again, on two threads. None of its calls may fail.
class StaleTraffic {
 public:
  explicit StaleTraffic(Replica* replica)
      : replica_(replica), threads_(2, [this](int) {
          for (int i = 0; !stop_; ++i) Call(Lenient(i % kKeys));
        }) {}
  ~StaleTraffic() { Stop(); }

  void Stop() {
    stop_ = true;
    threads_.Join();
  }
  int64_t calls() const { return calls_; }
  int64_t stale() const { return stale_; }
  // Since it was asked last.
  int64_t TakeSlowestMs() { return slowest_ms_.exchange(0); }
  std::string failures() const {
    const std::lock_guard lock(mu_);
    return failures_;
  }

 private:
  void Call(const std::string& key) {
    const auto began = steady_clock::now();
    v1::GetOrLoadResponse response;
    const grpc::Status status = replica_->GetOrLoad(key, &response, /*seconds=*/20);
    const auto took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - began);
    const std::string shown = Shown(status, response);
    ++calls_;
    stale_ += response.hit().stale();
    if (took.count() > slowest_ms_) slowest_ms_ = took.count();
    if (shown == key) return;
    const std::lock_guard lock(mu_);
    if (failures_.size() < 1'000) failures_ += shown + "\n";
  }

  Replica* const replica_;
  std::atomic<bool> stop_{false};
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> stale_{0};
  std::atomic<int64_t> slowest_ms_{0};
  mutable std::mutex mu_;
  std::string failures_;
  Threads threads_;
};

class OriginOutageTest : public testing::TestWithParam<bool> {
 protected:
  static bool killed() { return GetParam(); }
  void End() { killed() ? origin_.Kill() : origin_.Freeze(); }
  void Return() { killed() ? origin_.Start() : origin_.Thaw(); }

  v1::OriginStats Origin() { return replica_.Stats().origins(0); }
  v1::BreakerStats Breaker() {
    const v1::StatsResponse stats = replica_.Stats();
    for (const v1::BreakerStats& breaker : stats.breakers()) {
      if (breaker.name() == "shop") return breaker;
    }
    ADD_FAILURE() << "the origin has no breaker";
    return {};
  }
  bool IsOpen() { return Breaker().state() != v1::BREAKER_STATE_CLOSED; }
  // Whether all values are fresh now.
  bool AllFresh() {
    std::vector<std::string> keys;
    for (int i = 0; i < kKeys; ++i) keys.push_back(Lenient(i));
    const v1::BatchGetOrLoadResponse response = replica_.BatchGetOrLoad(keys);
    for (const v1::GetOrLoadResult& result : response.results()) {
      if (!result.has_hit() || result.hit().stale()) return false;
    }
    return true;
  }

  OriginProcess origin_{EchoOrigin()};
  Replica replica_{
      "types:\n"
      "  lenient:\n"
      "    match: [\"lenient:{id}\"]\n"
      "    origin: shop\n"
      "    ttl: { base: 200ms, jitter: 0% }\n"
      "    freshness: { stale_if_error: 1h, soft_timeout: 50ms, hard_timeout: 500ms }\n"
      "  strict:\n"
      "    match: [\"strict:{id}\"]\n"
      "    origin: shop\n"
      "    freshness: { hard_timeout: 500ms }\n"
      "origins:\n"
      "  shop: { grpc: { target: \"" +
      origin_.target() + "\" } }\n"};
};

TEST_P(OriginOutageTest, StaleValuesBridgeItAndTheOriginIsTriedNowAndThen) {
  EXPECT_TRUE(Eventually([&] { return AllFresh(); }));
  StaleTraffic traffic(&replica_);
  EXPECT_TRUE(Eventually([&] { return traffic.calls() > 200; }));
  EXPECT_EQ(Breaker().opened(), 0u);

  const uint64_t before = Origin().load_calls();
  traffic.TakeSlowestMs();
  End();
  EXPECT_TRUE(Eventually([&] { return IsOpen(); }));
  const auto opened = steady_clock::now();
  const uint64_t until_open = Origin().load_calls();
  // What it costs to find out. Frozen, it does not answer: as many calls as there may be at a time
  // can be under way before the first of them is over.
  EXPECT_LE(until_open - before, killed() ? 8u : 24u);
  EXPECT_NE(Breaker().reason(), "");
  EXPECT_GE(Breaker().opened(), 1u);
  EXPECT_TRUE(Eventually([&] { return Origin().load_calls() >= until_open + 3; }));
  const std::chrono::duration<double> away = steady_clock::now() - opened;
  EXPECT_LE(static_cast<double>(Origin().load_calls() - until_open), 1.2 * away.count() + 1.5);
  // Nothing piles up.
  const v1::StatsResponse stats = replica_.Stats();
  EXPECT_LE(stats.origins(0).under_way(), 16u);
  EXPECT_LE(stats.flights().under_way(), uint64_t{kKeys});
  EXPECT_GT(traffic.stale(), 0);
  EXPECT_GT(stats.total().stale_on_error(), 0u);
  EXPECT_EQ(traffic.failures(), "");
  EXPECT_LT(traffic.TakeSlowestMs(), (kHard + kRoom).count());

  Return();
  const auto returned = steady_clock::now();
  EXPECT_TRUE(Eventually([&] { return AllFresh(); }));
  EXPECT_LT(steady_clock::now() - returned, kBack + kRoom);
  EXPECT_TRUE(Eventually([&] { return !IsOpen(); }));
  traffic.Stop();
  EXPECT_EQ(traffic.failures(), "");
}

TEST_P(OriginOutageTest, WithoutStaleValuesCallersAreToldWithinTheHardTimeout) {
  EXPECT_EQ(Loaded(&replica_, "strict:1"), "strict:1");
  End();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::string> keys;
    for (int i = 0; i < 100; ++i)
      keys.push_back("strict:" + std::to_string(round) + "-" + std::to_string(i));
    const auto began = steady_clock::now();
    Crowd crowd(&replica_, keys);
    const std::map<std::string, int> answers = crowd.Answers();
    EXPECT_LT(steady_clock::now() - began, kHard + kRoom) << round;
    for (const auto& [shown, count] : answers) {
      EXPECT_TRUE(shown == "ORIGIN_TIMEOUT" || shown == "ORIGIN_UNAVAILABLE") << shown;
    }
    EXPECT_LE(Origin().under_way(), 16u);
  }
  EXPECT_TRUE(Eventually([&] {
    const v1::StatsResponse stats = replica_.Stats();
    return stats.flights().under_way() == 0 && stats.flights().waiting() == 0 &&
           stats.origins(0).queued() == 0;
  }));
  EXPECT_TRUE(IsOpen());
  EXPECT_EQ(Loaded(&replica_, "strict:1"), "strict:1");  // in memory, and fresh
  Return();
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica_, "strict:new") == "strict:new"; }));
}

INSTANTIATE_TEST_SUITE_P(Origin, OriginOutageTest, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Killed" : "Frozen");
});

}  // namespace
}  // namespace larder
