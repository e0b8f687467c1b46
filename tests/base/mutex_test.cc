#include "base/mutex.h"

#include <gtest/gtest.h>

#include <deque>
#include <thread>

#include "tests/base/threads.h"

namespace larder {
namespace {

struct Guarded {
  Mutex mu;
  CondVar changed;
  int64_t count ABSL_GUARDED_BY(mu) = 0;
};

TEST(MutexTest, LosesNoIncrementUnderContention) {
  constexpr int kThreads = 8;
  constexpr int kIncrements = 20'000;
  Guarded guarded;
  Threads threads(kThreads, [&guarded](int) {
    for (int n = 0; n < kIncrements; ++n) {
      MutexLock lock(&guarded.mu);
      ++guarded.count;
    }
  });
  threads.Join();
  MutexLock lock(&guarded.mu);
  EXPECT_EQ(guarded.count, kThreads * kIncrements);
}

TEST(MutexTest, TryLockFailsWhileAnotherThreadHoldsIt) {
  Mutex mu;
  const auto try_elsewhere = [&mu] {
    bool locked = false;
    std::thread([&mu, &locked] {
      if (mu.TryLock()) {
        locked = true;
        mu.Unlock();
      }
    }).join();
    return locked;
  };
  mu.Lock();
  EXPECT_FALSE(try_elsewhere());
  mu.Unlock();
  EXPECT_TRUE(try_elsewhere());
}

TEST(CondVarTest, HandsEachItemToOneOfTheWaiters) {
  constexpr int kConsumers = 4;
  constexpr int kItems = 4'000;
  struct Queue {
    Mutex mu;
    CondVar filled;
    std::deque<int> items ABSL_GUARDED_BY(mu);
    int64_t sum ABSL_GUARDED_BY(mu) = 0;
  } queue;
  Threads consumers(kConsumers, [&queue](int) {
    for (;;) {
      MutexLock lock(&queue.mu);
      while (queue.items.empty()) queue.filled.Wait(&queue.mu);
      const int item = queue.items.front();
      if (item < 0) return;  // Stays, for the other consumers.
      queue.items.pop_front();
      queue.sum += item;
    }
  });
  for (int item = 1; item <= kItems; ++item) {
    MutexLock lock(&queue.mu);
    queue.items.push_back(item);
    queue.filled.Signal();
  }
  {
    MutexLock lock(&queue.mu);
    queue.items.push_back(-1);
  }
  queue.filled.SignalAll();
  consumers.Join();
  MutexLock lock(&queue.mu);
  EXPECT_EQ(queue.sum, int64_t{kItems} * (kItems + 1) / 2);
}

TEST(CondVarTest, WaitForReturnsFalseWhenNobodySignals) {
  Guarded guarded;
  MutexLock lock(&guarded.mu);
  bool notified = true;
  while (notified) notified = guarded.changed.WaitFor(&guarded.mu, absl::Milliseconds(1));
  EXPECT_FALSE(notified);
}

TEST(CondVarTest, WaitForReturnsAtOnceWhenTheTimeIsOverAlready) {
  Guarded guarded;
  MutexLock lock(&guarded.mu);
  EXPECT_FALSE(guarded.changed.WaitFor(&guarded.mu, absl::ZeroDuration()));
  EXPECT_FALSE(guarded.changed.WaitFor(&guarded.mu, -absl::Seconds(1)));
  EXPECT_FALSE(guarded.changed.WaitFor(&guarded.mu, -absl::InfiniteDuration()));
}

// Durations that no clock can hold mean for ever; added to the time of day they would overflow into
// the past.
TEST(CondVarTest, WaitForWaitsAsLongAsItTakesWhenTheTimeoutIsHuge) {
  for (const absl::Duration timeout : {absl::InfiniteDuration(), absl::Hours(24 * 365 * 292)}) {
    Guarded guarded;
    std::thread signaller;
    {
      MutexLock lock(&guarded.mu);
      // Cannot pass the lock before the wait below has begun.
      signaller = std::thread([&guarded] {
        MutexLock inner(&guarded.mu);
        guarded.count = 1;
        guarded.changed.Signal();
      });
      while (guarded.count == 0) {
        if (!guarded.changed.WaitFor(&guarded.mu, timeout)) break;
      }
      EXPECT_EQ(guarded.count, 1) << timeout;
    }
    signaller.join();
  }
}

}  // namespace
}  // namespace larder
