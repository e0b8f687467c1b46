#include "base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/turn.h"

namespace larder {
namespace {

// A gate that work waits at until the test opens it.
class Gate {
 public:
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    cv_.SignalAll();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (!open_) cv_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar cv_;
  bool open_ ABSL_GUARDED_BY(mu_) = false;
};

TEST(ThreadPoolTest, RunsAllThatWasAcceptedBeforeItShutsDown) {
  std::atomic<int> ran{0};
  const auto pool = ThreadPool::New({2, 10'000});
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(pool->TryPost([&ran] { ++ran; }));
  pool->Shutdown();
  EXPECT_EQ(ran, 5000);
  EXPECT_FALSE(pool->TryPost([&ran] { ++ran; }));
}

TEST(ThreadPoolTest, RefusesNewWorkWhenFullButNotContinuations) {
  Gate gate;
  Gate running;
  std::atomic<int> ran{0};
  const auto pool = ThreadPool::New({1, 3});
  ASSERT_TRUE(pool->TryPost([&] {
    running.Open();
    gate.Wait();
  }));
  running.Wait();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool->TryPost([&ran] { ++ran; }));
  EXPECT_FALSE(pool->TryPost([&ran] { ++ran; }));
  EXPECT_EQ(pool->refused(), 1u);
  EXPECT_EQ(pool->queued(), 3u);
  pool->Post([&ran] { ++ran; });
  gate.Open();
  pool->Shutdown();
  EXPECT_EQ(ran, 4);
}

TEST(ThreadPoolTest, TurnsEndWhenAllThatWasTakenAtOnceIsDone) {
  Gate gate;
  Gate running;
  std::string done;
  const auto pool = ThreadPool::New({1, 3});
  pool->Post([&] {
    running.Open();
    gate.Wait();
  });
  running.Wait();
  for (int i = 0; i < 10; ++i) {
    pool->Post([&] {
      done += 'w';
      AtTurnEnd([&done] { done += 'e'; });
    });
  }
  gate.Open();
  pool->Shutdown();
  EXPECT_EQ(done, "wwwwwwwwwweeeeeeeeee");
  // This is no thread of a pool: it has no turns.
  AtTurnEnd([&done] { done = "at once"; });
  EXPECT_EQ(done, "at once");
}

TEST(ThreadPoolTest, TimersFireInOrderAndCancelledOnesNever) {
  Gate done;
  Mutex mu;
  std::vector<int> order;
  const auto pool = ThreadPool::New({1, 10});
  const auto note = [&](int n) {
    MutexLock lock(&mu);
    order.push_back(n);
  };
  pool->After(absl::Milliseconds(30), [&] {
    note(3);
    done.Open();
  });
  pool->After(absl::Milliseconds(10), [&] { note(1); });
  const TimerId cancelled = pool->After(absl::Milliseconds(20), [&] { note(2); });
  EXPECT_TRUE(pool->Cancel(cancelled));
  EXPECT_FALSE(pool->Cancel(cancelled));
  done.Wait();
  MutexLock lock(&mu);
  EXPECT_EQ(order, (std::vector<int>{1, 3}));
}

TEST(ThreadPoolTest, ShutdownDropsTimersAndFreesTheirWork) {
  const auto held = std::make_shared<int>(1);
  const auto pool = ThreadPool::New({1, 10});
  pool->After(absl::Hours(1), [held] {});
  EXPECT_EQ(held.use_count(), 2);
  pool->Shutdown();
  EXPECT_EQ(held.use_count(), 1);
}

TEST(StayHereTest, TheInnermostCountsAndOnlyOnItsThread) {
  ManualClock clock;
  ManualExecutor other(&clock, 1), outer(&clock, 1), inner(&clock, 1);
  EXPECT_EQ(HereOr(&other), &other);
  {
    const StayHere stay(&outer);
    EXPECT_EQ(HereOr(&other), &outer);
    {
      const StayHere deeper(&inner);
      EXPECT_EQ(HereOr(&other), &inner);
      const StayHere nowhere(nullptr);
      EXPECT_EQ(HereOr(&other), &other);
    }
    EXPECT_EQ(HereOr(&other), &outer);
    std::thread([&] { EXPECT_EQ(HereOr(&other), &other); }).join();
  }
  EXPECT_EQ(HereOr(&other), &other);
}

TEST(ManualExecutorTest, SameSeedGivesTheSameOrder) {
  const auto run = [](uint64_t seed) {
    ManualClock clock;
    ManualExecutor executor(&clock, seed);
    std::string order;
    for (char c = 'a'; c <= 'j'; ++c) executor.Post([&order, c] { order += c; });
    executor.RunReady();
    return order;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
  EXPECT_EQ(run(1).size(), 10u);
}

TEST(ManualExecutorTest, AdvanceRunsEachTimerAtItsOwnTime) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  std::vector<MonoNanos> at;
  const MonoNanos start = clock.Mono();
  executor.After(absl::Seconds(2), [&] { at.push_back(clock.Mono() - start); });
  executor.After(absl::Seconds(1), [&] {
    at.push_back(clock.Mono() - start);
    executor.After(absl::Milliseconds(500), [&] { at.push_back(clock.Mono() - start); });
  });
  const TimerId cancelled = executor.After(absl::Seconds(1), [&] { at.push_back(-1); });
  EXPECT_TRUE(executor.Cancel(cancelled));
  executor.Advance(absl::Seconds(10));
  EXPECT_EQ(at, (std::vector<MonoNanos>{1'000'000'000, 1'500'000'000, 2'000'000'000}));
  EXPECT_EQ(clock.Mono() - start, 10'000'000'000);
}

}  // namespace
}  // namespace larder
