// The guard on real threads: the suite that every tier passes, and its end.

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/key.h"
#include "tests/conformance/tier_suite.h"
#include "tests/tier/fake_tier.h"
#include "tests/tier/guarded_rig.h"
#include "tests/tier/rocks_rig.h"
#include "tier/guard.h"

namespace larder {
namespace {

constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

// A guard round a tier whose calls take real time on real threads.
class GuardRig : public TierRig {
 public:
  GuardRig() {
    handle_ = fake_.NewHandle(&clock_, executor_.get()).release();
    handle_->SetFaults({.delay_max = absl::Microseconds(100)});
    GuardOptions options;
    options.read_timeout = options.write_timeout = options.scan_timeout = absl::Minutes(1);
    options.clock = &clock_;
    options.executor = executor_.get();
    guard_ = NewGuard(std::unique_ptr<Tier>(handle_), options);
  }
  ~GuardRig() override { guard_.reset(); }

  Tier& tier() override { return *guard_; }
  ManualClock& clock() override { return clock_; }
  void SetRaw(std::string_view full_key, std::string_view bytes) override {
    fake_.SetRaw(full_key, std::string(bytes));
  }

 private:
  ManualClock clock_;
  std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  FakeTier fake_{FakeTier::Options{.content = {.envelope_bytes_max = 2 << 20}}};
  FakeTier::Handle* handle_;
  std::unique_ptr<Tier> guard_;
};

std::unique_ptr<TierRig> NewGuardRig() { return std::make_unique<GuardRig>(); }

std::unique_ptr<TierRig> NewGuardedRocksRig() {
  return std::make_unique<GuardedRig>(std::make_unique<RocksRig>());
}

INSTANTIATE_TEST_SUITE_P(Guard, TierSuite,
                         testing::Values(TierMaker{"Guard", &NewGuardRig, 2 << 20},
                                         TierMaker{"GuardedRocks", &NewGuardedRocksRig, 4 << 20}),
                         TierSuite::Name);

// The destructor waits for what is under way, and the inner tier is gone when it returns.
TEST(GuardThreadsTest, EndWaitsForCallsUnderWay) {
  const auto executor = ThreadPool::New({.threads = 2});
  FakeTier fake;
  auto handle = fake.NewHandle(Clock::System(), executor.get());
  handle->SetFaults({.delay_min = absl::Milliseconds(20), .delay_max = absl::Milliseconds(20)});
  GuardOptions options;
  options.read_timeout = absl::Milliseconds(1);
  options.executor = executor.get();
  auto guard = NewGuard(std::move(handle), options);
  const auto status = std::make_shared<Signal<absl::StatusCode>>(executor.get());
  Spawn(guard->Get({std::string(FullKey("", "k").view())}, kNever),
        [status](absl::StatusOr<std::vector<TierRead>> reads) {
          status->TrySet(reads.status().code());
        });
  guard.reset();
  EXPECT_TRUE(status->IsSet());
}

// Answers and time limits meet at every distance: each call ends exactly once, whoever comes first.
TEST(GuardThreadsTest, EveryCallEndsOnceWhoeverComesFirst) {
  constexpr int kThreads = 4, kCalls = 500;
  const auto executor = ThreadPool::New({.threads = 4});
  FakeTier fake;
  auto handle = fake.NewHandle(Clock::System(), executor.get());
  handle->SetFaults({.fail_ratio = 0.05, .delay_max = absl::Microseconds(1200)});
  GuardOptions options;
  options.read_timeout = absl::Milliseconds(1);
  options.breaker.failures = 1;
  options.breaker.slow = 1;
  options.breaker.min_calls = 1'000'000;
  options.executor = executor.get();
  auto guard = NewGuard(std::move(handle), options);
  std::atomic<int> ended{0};
  std::atomic<int> in_time{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kCalls; ++i) {
        const int before = ended;
        Spawn(guard->Get({std::string(FullKey("", "k").view())}, kNever),
              [&](absl::StatusOr<std::vector<TierRead>> reads) {
                if (reads.ok()) ++in_time;
                ++ended;
              });
        while (ended == before) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const MonoNanos give_up = Clock::System()->Mono() + 30'000'000'000;
  while (ended < kThreads * kCalls && Clock::System()->Mono() < give_up) {
    std::this_thread::yield();
  }
  EXPECT_EQ(ended, kThreads * kCalls);
  EXPECT_GT(in_time, 0);
  EXPECT_GT(guard->Stats().timeouts, 0u);
  guard.reset();
}

// Executors drop their timers when they shut down; nobody may wait for one of them for ever.
TEST(GuardThreadsTest, ShutdownOfTheExecutorEndsEveryCall) {
  const auto executor = ThreadPool::New({.threads = 2});
  FakeTier fake;
  auto handle = fake.NewHandle(Clock::System(), executor.get());
  FakeTier::Handle* const inner = handle.get();
  GuardOptions options;
  options.read_timeout = absl::Minutes(1);
  options.backoff = {.first = absl::Seconds(20), .max = absl::Seconds(20)};
  options.close_wait = absl::ZeroDuration();
  options.executor = executor.get();
  auto guard = NewGuard(std::move(handle), options);
  std::atomic<int> ended{0};
  const auto get = [&] {
    Spawn(guard->Get({std::string(FullKey("", "k").view())}, kNever),
          [&](absl::StatusOr<std::vector<TierRead>>) { ++ended; });
  };
  inner->SetFaults({.hang = true});
  get();
  inner->SetFaults({.fail_next = 1});
  get();
  EXPECT_EQ(ended, 0);
  executor->Shutdown();
  EXPECT_EQ(ended, 2);
  inner->Release();
  guard.reset();
}

}  // namespace
}  // namespace larder
