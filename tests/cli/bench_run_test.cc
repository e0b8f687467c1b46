#include "client/cli/bench_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "client/cli/draw.h"
#include "client/cli/tally.h"
#include "client/src/forwarding_client.h"
#include "larder/fake.h"

namespace larder::cli {
namespace {

// Lets Gets wait while it is shut, and answers them from a thread of its own.
class GatedClient : public internal::ForwardingClient<Client> {
 public:
  // The Get of this number waits for `shut`, and so do those that come meanwhile.
  GatedClient(size_t shut_at, absl::Duration shut)
      : ForwardingClient(NewFakeClient()), shut_at_(shut_at), shut_(shut) {}
  ~GatedClient() override {
    if (opener_.joinable()) opener_.join();
    End();
  }

  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    std::unique_lock lock(mu_);
    if (++gets_ == shut_at_) {
      is_shut_ = true;
      opener_ = std::thread([this] { Open(); });
    }
    if (is_shut_) {
      waiting_.push_back(std::move(done));
      return;
    }
    lock.unlock();
    ForwardingClient::GetAsync(key, options, std::move(done));
  }

 private:
  void Open() {
    // The stall that is measured: real time, because the generator keeps real time.
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(shut_));
    std::vector<Callback<GetResult>> waiting;
    {
      const std::lock_guard lock(mu_);
      is_shut_ = false;
      waiting.swap(waiting_);
    }
    for (auto& done : waiting) done(GetResult());
  }

  const size_t shut_at_;
  const absl::Duration shut_;
  std::mutex mu_;
  size_t gets_ = 0;
  bool is_shut_ = false;
  std::vector<Callback<GetResult>> waiting_;
  std::thread opener_;
};

BenchPlan PlanOf(double rate, absl::Duration duration) {
  BenchPlan plan;
  plan.rate = rate;
  plan.duration = duration;
  plan.warmup = absl::ZeroDuration();
  plan.poisson = false;
  plan.read_share = 1;
  plan.keys = {"a", "b", "c"};
  return plan;
}

BenchOutcome RunOn(const BenchPlan& plan, std::unique_ptr<Client> client) {
  std::vector<std::unique_ptr<Client>> clients;
  clients.push_back(std::move(client));
  return RunBench(plan, clients, [](uint64_t, uint64_t, uint64_t) {});
}

// A server that stalls while one call is under way: a closed loop would measure one slow call. Here
// everybody who was to call meanwhile has waited, too.
TEST(RunBench, MeasuresFromTheTimeAtWhichACallWasToBeSent) {
  BenchPlan plan = PlanOf(1'000, absl::Milliseconds(600));
  plan.in_flight_max = 1;
  const BenchOutcome outcome =
      RunOn(plan, std::make_unique<GatedClient>(50, absl::Milliseconds(300)));
  EXPECT_EQ(outcome.ok, outcome.planned);
  EXPECT_GE(outcome.late_starts, 100u);
  EXPECT_GE(outcome.all.p90, absl::Milliseconds(100));
  EXPECT_GE(outcome.late_max, absl::Milliseconds(250));
  // What the sending alone would have told.
  EXPECT_LT(outcome.from_start.p90, outcome.all.p90);
}

TEST(RunBench, GoesOnSendingWhileTheServerStalls) {
  const BenchPlan plan = PlanOf(1'000, absl::Milliseconds(600));
  const BenchOutcome outcome =
      RunOn(plan, std::make_unique<GatedClient>(50, absl::Milliseconds(300)));
  EXPECT_EQ(outcome.ok, outcome.planned);
  EXPECT_EQ(outcome.unsent, 0u);
  EXPECT_GE(outcome.all.p90, absl::Milliseconds(100));
  EXPECT_GE(outcome.from_start.p90, absl::Milliseconds(100));
}

TEST(RunBench, CountsReadsWritesHitsAndMisses) {
  BenchPlan plan = PlanOf(2'000, absl::Milliseconds(300));
  plan.read_share = 0.5;
  plan.poisson = true;
  plan.value_bytes_min = 0;
  plan.value_bytes_max = 100;
  const BenchOutcome outcome = RunOn(plan, NewFakeClient());
  EXPECT_GT(outcome.reads.count, 0u);
  EXPECT_GT(outcome.writes.count, 0u);
  EXPECT_EQ(outcome.reads.count + outcome.writes.count, outcome.planned);
  EXPECT_EQ(outcome.hits + outcome.misses, outcome.reads.count);
  EXPECT_GT(outcome.hits, 0u);
  EXPECT_EQ(outcome.ok, outcome.planned);
}

// In a rollout: every other read is of a key that the cache is not used for.
class RolledOutClient : public internal::ForwardingClient<Client> {
 public:
  RolledOutClient() : ForwardingClient(NewFakeClient()) {}

  void GetAsync(std::string_view, const GetOptions&, Callback<GetResult> done) override {
    GetResult result;
    result.miss.reason = Next() ? MissReason::kRolledPast : MissReason::kAbsent;
    done(std::move(result));
  }

  void GetOrLeaseAsync(std::string_view, const LoadOptions&, Callback<LeaseResult> done) override {
    LeaseResult result;
    result.entry.emplace();
    result.entry->tier = Tier::kOrigin;
    if (!Next()) result.entry->remaining_ttl = absl::Seconds(1);
    done(std::move(result));
  }

 private:
  bool Next() { return calls_++ % 2 == 0; }

  std::atomic<int> calls_{0};
};

TEST(RunBench, ReadsPastTheCacheAreNoMisses) {
  for (const BenchRead read : {BenchRead::kGet, BenchRead::kLoad}) {
    BenchPlan plan = PlanOf(1'000, absl::Milliseconds(200));
    plan.read = read;
    const BenchOutcome outcome = RunOn(plan, std::make_unique<RolledOutClient>());
    EXPECT_EQ(outcome.hits, 0u);
    EXPECT_EQ(outcome.past, outcome.planned / 2);
    EXPECT_EQ(outcome.misses, outcome.planned / 2);
  }
}

TEST(RunBench, ErrorsAreCountedAndMakeNoLatencyLookGood) {
  auto fake = NewFakeClient();
  fake->FailCalls(absl::ResourceExhaustedError("full"));
  const BenchOutcome outcome = RunOn(PlanOf(1'000, absl::Milliseconds(200)), std::move(fake));
  EXPECT_EQ(outcome.ok, 0u);
  EXPECT_EQ(outcome.failed(), outcome.planned);
  EXPECT_EQ(outcome.errors.at("RESOURCE_EXHAUSTED"), outcome.planned);
  EXPECT_EQ(outcome.all.count, 0u);
  EXPECT_EQ(outcome.achieved_rate, 0);
}

TEST(RunBench, TheWarmUpIsNotMeasured) {
  BenchPlan plan = PlanOf(1'000, absl::Milliseconds(200));
  plan.warmup = absl::Milliseconds(200);
  auto fake = NewFakeClient();
  FakeClient* const calls = fake.get();
  uint64_t planned = 0;
  std::vector<std::unique_ptr<Client>> clients;
  clients.push_back(std::move(fake));
  const BenchOutcome outcome =
      RunBench(plan, clients, [&](uint64_t, uint64_t, uint64_t all) { planned = all; });
  EXPECT_EQ(planned, 400u);
  EXPECT_EQ(outcome.planned, 200u);
  EXPECT_EQ(calls->Calls(), 400u);
}

TEST(Ranks, AreAsUnevenAsTheySay) {
  Draw draw(7);
  const Ranks uneven(1'000, 1.0);
  std::map<uint64_t, int> counts;
  for (int i = 0; i < 100'000; ++i) ++counts[uneven.Next(&draw)];
  EXPECT_LT(counts.rbegin()->first, 1'000u);
  // 1 / H(1000) = 13.4% of them are the first, half as many the second.
  EXPECT_NEAR(counts[0], 13'360, 700);
  EXPECT_NEAR(counts[1], 6'680, 500);
  const Ranks even(10, 0);
  counts.clear();
  for (int i = 0; i < 100'000; ++i) ++counts[even.Next(&draw)];
  EXPECT_EQ(counts.size(), 10u);
  for (const auto& [rank, count] : counts) EXPECT_NEAR(count, 10'000, 600);
}

TEST(Tally, PercentilesAreRightToLessThanTwoPercent) {
  Tally tally;
  for (int64_t i = 1; i <= 100'000; ++i) tally.Add(absl::Microseconds(i));
  for (const double part : {0.5, 0.9, 0.99, 0.999}) {
    const double told = absl::ToDoubleMicroseconds(tally.Quantile(part));
    EXPECT_GE(told, part * 100'000 * 0.999);
    EXPECT_LE(told, part * 100'000 * 1.02);
  }
  EXPECT_EQ(tally.max(), absl::Milliseconds(100));
  EXPECT_EQ(tally.Quantile(1), absl::Milliseconds(100));
  EXPECT_EQ(tally.count(), 100'000u);
}

TEST(Tally, TakesWhateverComes) {
  Tally tally;
  EXPECT_EQ(tally.Quantile(0.5), absl::ZeroDuration());
  tally.Add(absl::Seconds(-1));
  tally.Add(absl::ZeroDuration());
  tally.Add(absl::Hours(100));
  EXPECT_EQ(tally.max(), absl::Hours(100));
  EXPECT_LE(tally.Quantile(0.3), absl::Microseconds(1));
}

TEST(BenchValue, HasItsSizeAndIsTheSameForASeed) {
  EXPECT_EQ(BenchValue(1, 12'345).size(), 12'345u);
  EXPECT_EQ(BenchValue(1, 100), BenchValue(1, 100));
  EXPECT_NE(BenchValue(1, 100), BenchValue(2, 100));
}

}  // namespace
}  // namespace larder::cli
