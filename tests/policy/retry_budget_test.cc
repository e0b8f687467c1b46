#include "policy/retry_budget.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace larder {
namespace {

TEST(RetryBudgetTest, StartsFullAndEndsAfterTheBurst) {
  RetryBudget budget({.ratio = 0.1, .burst = 3});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(budget.TryRetry());
  EXPECT_FALSE(budget.TryRetry());
  EXPECT_EQ(budget.left(), 0);
}

TEST(RetryBudgetTest, SuccessesEarnRetriesAtTheRatio) {
  RetryBudget budget({.ratio = 0.1, .burst = 3});
  while (budget.TryRetry()) {
  }
  int retries = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.OnSuccess();
    retries += budget.TryRetry();
  }
  EXPECT_EQ(retries, 100);
}

TEST(RetryBudgetTest, NeverHoldsMoreThanTheBurst) {
  RetryBudget budget({.ratio = 0.4, .burst = 2});
  EXPECT_TRUE(budget.TryRetry());
  for (int i = 0; i < 100; ++i) budget.OnSuccess();
  EXPECT_EQ(budget.left(), 2);
}

TEST(RetryBudgetTest, RatioOfZeroSwitchesRetriesOff) {
  RetryBudget budget({.ratio = 0, .burst = 10});
  budget.OnSuccess();
  EXPECT_FALSE(budget.TryRetry());
}

TEST(RetryBudgetTest, ThreadsNeverTakeMoreThanThereIs) {
  RetryBudget budget({.ratio = 0.5, .burst = 1});
  std::atomic<int> successes{0};
  std::atomic<int> retries{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        ++successes;
        budget.OnSuccess();
        if (budget.TryRetry()) ++retries;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(retries.load(), 1 + successes.load() / 2);
  EXPECT_GT(retries.load(), 0);
}

TEST(BackoffTest, PausesDoubleUpToTheMostAndAreDrawn) {
  SeededRandom random(1);
  const Backoff backoff{.first = absl::Milliseconds(2), .max = absl::Milliseconds(10)};
  const std::vector<int> most_ms = {2, 4, 8, 10, 10};
  for (size_t i = 0; i < most_ms.size(); ++i) {
    const absl::Duration most = absl::Milliseconds(most_ms[i]);
    bool differ = false;
    const absl::Duration first = backoff.Pause(static_cast<int>(i) + 1, &random);
    for (int draw = 0; draw < 100; ++draw) {
      const absl::Duration pause = backoff.Pause(static_cast<int>(i) + 1, &random);
      EXPECT_GE(pause, most / 2);
      EXPECT_LE(pause, most);
      differ |= pause != first;
    }
    EXPECT_TRUE(differ);
  }
  EXPECT_LE(backoff.Pause(1'000'000, &random), absl::Milliseconds(10));
}

}  // namespace
}  // namespace larder
