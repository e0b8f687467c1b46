#include "base/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancellation.h"
#include "base/status.h"

namespace larder {
namespace {

Task<int> Just(int value) { co_return value; }

Task<int> Sum(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await Sum(depth - 1);
}

Task<absl::StatusOr<int>> FailsHalfway() {
  CO_ASSIGN_OR_RETURN(const int one, absl::StatusOr<int>(1));
  CO_RETURN_IF_ERROR(absl::DataLossError("half"));
  co_return one;
}

Task<std::string> AwaitSignal(std::shared_ptr<Signal<std::string>> signal) {
  const std::string value = co_await *signal;
  co_return value + "!";
}

TEST(TaskTest, RunsInlineUntilItWaits) {
  int result = 0;
  Spawn(Just(7), [&result](int value) { result = value; });
  EXPECT_EQ(result, 7);
}

TEST(TaskTest, DeepChainsDoNotUseTheStack) {
  // Symmetric transfer only happens in optimized builds of gcc, so the depth is what a debug build
  // can bear.
  int result = 0;
  Spawn(Sum(2000), [&result](int value) { result = value; });
  EXPECT_EQ(result, 2000);
}

TEST(TaskTest, EarlyReturnsCarryTheError) {
  absl::Status status;
  Spawn(FailsHalfway(), [&status](absl::StatusOr<int> result) { status = result.status(); });
  EXPECT_TRUE(absl::IsDataLoss(status));
}

TEST(TaskTest, TaskThatIsNeverStartedIsFreed) {
  const auto held = std::make_shared<Signal<std::string>>(nullptr);
  {
    const Task<std::string> dropped = AwaitSignal(held);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(SignalTest, FirstValueWinsAndWakesOnTheExecutor) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  const auto signal = std::make_shared<Signal<std::string>>(&executor);
  std::string result;
  Spawn(AwaitSignal(signal), [&result](std::string value) { result = std::move(value); });
  EXPECT_TRUE(signal->TrySet("first"));
  EXPECT_FALSE(signal->TrySet("second"));
  EXPECT_EQ(result, "");
  executor.RunReady();
  EXPECT_EQ(result, "first!");
}

TEST(SignalTest, ValueSetBeforeTheWaitIsTakenAtOnce) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  const auto signal = std::make_shared<Signal<std::string>>(&executor);
  signal->TrySet("early");
  std::string result;
  Spawn(AwaitSignal(signal), [&result](std::string value) { result = std::move(value); });
  EXPECT_EQ(result, "early!");
}

TEST(SignalTest, ManyThreadsRaceAndExactlyOneWins) {
  for (int round = 0; round < 200; ++round) {
    const auto pool = ThreadPool::New({2, 100});
    const auto signal = std::make_shared<Signal<std::string>>(pool.get());
    std::atomic<int> results{0};
    std::atomic<int> wins{0};
    Spawn(AwaitSignal(signal), [&results](const std::string&) { ++results; });
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] { wins += signal->TrySet("x") ? 1 : 0; });
    }
    for (std::thread& thread : threads) thread.join();
    pool->Shutdown();
    ASSERT_EQ(wins, 1);
    ASSERT_EQ(results, 1);
  }
}

TEST(CancellationTest, RunsItsCallbackOnceNowOrLater) {
  int runs = 0;
  Cancellation later;
  later.OnCancel([&runs] { ++runs; });
  EXPECT_EQ(runs, 0);
  later.Cancel();
  later.Cancel();
  EXPECT_EQ(runs, 1);
  EXPECT_TRUE(later.IsCancelled());
  later.OnCancel([&runs] { runs += 10; });
  EXPECT_EQ(runs, 11);

  Cancellation removed;
  removed.OnCancel([&runs] { runs += 100; });
  removed.OnCancel(nullptr);
  removed.Cancel();
  EXPECT_EQ(runs, 11);
}

}  // namespace
}  // namespace larder
