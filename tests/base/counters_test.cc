#include "base/counters.h"

#include <gtest/gtest.h>

#include <array>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "tests/base/threads.h"

namespace larder {
namespace {

TEST(CounterBlockTest, BeginsAtZero) {
  const CounterBlock block(9);
  ASSERT_EQ(block.size(), 9u);
  for (size_t i = 0; i < block.size(); ++i) EXPECT_EQ(block.Sum(i), 0u);
}

TEST(CounterBlockTest, CountsEachCounterByItself) {
  // One, one line, one more than a line, and several lines of counters.
  for (const size_t size : {1, 8, 9, 40}) {
    CounterBlock block(size);
    for (size_t i = 0; i < size; ++i) {
      block.Add(i);
      block.Add(i, i * 1'000);
    }
    for (size_t i = 0; i < size; ++i) EXPECT_EQ(block.Sum(i), 1 + i * 1'000);
  }
}

TEST(CounterBlockTest, HoldsTheGreatestNumber) {
  CounterBlock block(1);
  block.Add(0, ~uint64_t{0});
  EXPECT_EQ(block.Sum(0), ~uint64_t{0});
}

// More threads than there are owned shards, so that both ways of adding take part.
TEST(CounterBlockTest, SumIsWhatManyThreadsAdded) {
  constexpr size_t kCounters = 11;
  constexpr int kThreads = 2 * kOwnedShards;
  constexpr int kAdds = 5'000;
  using Totals = std::array<uint64_t, kCounters>;
  CounterBlock block(kCounters);
  std::vector<Totals> added(kThreads, Totals{});
  std::latch all_here(kThreads);
  Threads threads(kThreads, [&block, &added, &all_here](int i) {
    std::mt19937_64 random(i);
    all_here.arrive_and_wait();
    for (int n = 0; n < kAdds; ++n) {
      const size_t counter = random() % kCounters;
      const uint64_t by = random() % 1'000;
      block.Add(counter, by);
      added[i][counter] += by;
    }
  });
  threads.Join();
  for (size_t counter = 0; counter < kCounters; ++counter) {
    uint64_t want = 0;
    for (const Totals& totals : added) want += totals[counter];
    EXPECT_EQ(block.Sum(counter), want) << counter;
  }
}

TEST(CounterBlockTest, SumNeverGoesBackWhileThreadsAdd) {
  constexpr uint64_t kAdds = 200'000;
  CounterBlock block(1);
  Threads threads(2, [&block](int) {
    for (uint64_t n = 0; n < kAdds; ++n) block.Add(0);
  });
  uint64_t last = 0;
  while (last < 2 * kAdds) {
    const uint64_t sum = block.Sum(0);
    ASSERT_GE(sum, last);
    ASSERT_LE(sum, 2 * kAdds);
    last = sum;
  }
  threads.Join();
}

// A shard that changes hands with a plain store in flight would lose additions.
TEST(CounterBlockTest, LosesNothingWhenThreadsComeAndGo) {
  constexpr int kChains = 4;
  constexpr int kLives = 300;
  CounterBlock block(1);
  Threads chains(kChains, [&block](int) {
    for (int life = 0; life < kLives; ++life) {
      std::thread([&block] {
        for (int n = 0; n < 10; ++n) block.Add(0);
      }).join();
    }
  });
  chains.Join();
  EXPECT_EQ(block.Sum(0), uint64_t{kChains} * kLives * 10);
}

// Counts when its thread ends. Constructed before the thread has a shard, so destroyed after the
// shard was returned.
struct LastWords {
  ~LastWords() {
    if (block != nullptr) block->Add(0);
  }
  CounterBlock* block = nullptr;
};

TEST(CounterBlockTest, CountsInDestructorsAtTheEndOfAThread) {
  CounterBlock block(1);
  std::thread([&block] {
    thread_local LastWords last_words;
    last_words.block = &block;
    block.Add(0);
  }).join();
  EXPECT_EQ(block.Sum(0), 2u);
}

TEST(ThreadShardTest, StaysTheSameInAThread) { EXPECT_EQ(ThreadShard(), ThreadShard()); }

TEST(ThreadShardTest, GivesNoOwnedShardToTwoLiveThreads) {
  constexpr int kThreads = kOwnedShards + 20;
  std::vector<uint32_t> shards(kThreads);
  std::latch all_have_one(kThreads);
  Threads threads(kThreads, [&shards, &all_have_one](int i) {
    shards[i] = ThreadShard();
    all_have_one.arrive_and_wait();
  });
  threads.Join();
  std::array<int, kThreadShards> threads_of{};
  for (const uint32_t shard : shards) {
    ASSERT_LT(shard, kThreadShards);
    ++threads_of[shard];
  }
  int owners = 0;
  for (uint32_t shard = 0; shard < kOwnedShards; ++shard) {
    EXPECT_LE(threads_of[shard], 1) << shard;
    owners += threads_of[shard];
  }
  // The thread of the test may own one itself.
  EXPECT_GE(owners, static_cast<int>(kOwnedShards) - 1);
  for (uint32_t shard = kOwnedShards; shard < kThreadShards; ++shard) {
    EXPECT_GE(threads_of[shard], 20 / static_cast<int>(kThreadShards - kOwnedShards)) << shard;
  }
}

TEST(ThreadShardTest, IsGivenAgainWhenItsThreadHasEnded) {
  // More lives than shards: without returns, all would be taken.
  for (uint32_t life = 0; life < 3 * kThreadShards; ++life) {
    uint32_t shard = kThreadShards;
    std::thread([&shard] { shard = ThreadShard(); }).join();
    EXPECT_LT(shard, kOwnedShards);
  }
}

}  // namespace
}  // namespace larder
