#include "policy/bloom_filter.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/keyed_hash.h"

namespace larder {
namespace {

const KeyedHash kHash(1, 2);

uint64_t HashOf(const std::string& kind, uint64_t number) {
  return kHash(kind + std::to_string(number));
}

TEST(BloomFilterTest, EmptyFilterFindsNothing) {
  const BloomFilter filter(1000, 0.01);
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_FALSE(filter.MayContain(HashOf("user:", i)));
  EXPECT_EQ(filter.keys(), 0u);
  EXPECT_EQ(filter.ErrorNow(), 0);
}

TEST(BloomFilterTest, FindsEveryKeyThatWasAddedAlsoBeyondItsRoom) {
  for (const uint64_t keys : {uint64_t{1}, uint64_t{10}, uint64_t{5000}}) {
    BloomFilter filter(keys, 0.01);
    for (uint64_t i = 0; i < 20'000; ++i) {
      filter.Add(HashOf("user:", i));
      ASSERT_TRUE(filter.MayContain(HashOf("user:", i)));
    }
    for (uint64_t i = 0; i < 20'000; ++i) ASSERT_TRUE(filter.MayContain(HashOf("user:", i)));
  }
}

struct Case {
  uint64_t keys;
  double error;
};

class BloomFilterErrorTest : public testing::TestWithParam<Case> {};

// Keys of the same form as those that were added: numbers behind a prefix.
TEST_P(BloomFilterErrorTest, FullFilterFindsNoMoreOfOtherKeysThanItShould) {
  const auto [keys, error] = GetParam();
  BloomFilter filter(keys, error);
  for (uint64_t i = 0; i < keys; ++i) filter.Add(HashOf("user:", i));
  // 400 keys are expected to be found, so that chance moves the result by some percent only.
  const auto asked = static_cast<uint64_t>(400 / error);
  uint64_t found = 0;
  for (uint64_t i = 0; i < asked; ++i) found += filter.MayContain(HashOf("user:", keys + i));
  const double measured = static_cast<double>(found) / static_cast<double>(asked);
  RecordProperty("error", std::to_string(measured));
  EXPECT_LE(measured, 1.3 * error);
  EXPECT_GE(measured, 0.5 * error) << "more memory than the error asks for";
  EXPECT_NEAR(filter.ErrorNow(), measured, 0.15 * error);
  EXPECT_NEAR(static_cast<double>(filter.keys()), static_cast<double>(keys),
              static_cast<double>(keys) * error + 1);
}

INSTANTIATE_TEST_SUITE_P(Sizes, BloomFilterErrorTest,
                         testing::Values(Case{1000, 0.01}, Case{100'000, 0.0001},
                                         Case{100'000, 0.001}, Case{200'000, 0.01},
                                         Case{100'000, 0.03}, Case{100'000, 0.1},
                                         Case{100'000, 0.3}, Case{100'000, 0.5}),
                         [](const auto& info) {
                           return "Keys" + std::to_string(info.param.keys) + "Per10000_" +
                                  std::to_string(static_cast<int>(info.param.error * 10'000));
                         });

// Hashes that differ little, as a hash that is not keyed may give them.
TEST(BloomFilterTest, HashesThatDifferInFewBitsAreAsGoodAsOthers) {
  for (const int shift : {0, 20, 40}) {
    BloomFilter filter(50'000, 0.01);
    for (uint64_t i = 0; i < 50'000; ++i) filter.Add(i << shift);
    uint64_t found = 0;
    for (uint64_t i = 50'000; i < 150'000; ++i) found += filter.MayContain(i << shift);
    EXPECT_LE(found, 4000u) << shift;
  }
}

TEST(BloomFilterTest, TakesTheMemoryThatItSays) {
  EXPECT_EQ(BloomFilter(10'000, 0.01).bytes(), BloomFilter::BytesFor(10'000, 0.01));
  EXPECT_NEAR(static_cast<double>(BloomFilter::BytesFor(10'000'000, 0.01)), 1.2e7, 1e5);
  EXPECT_NEAR(static_cast<double>(BloomFilter::BytesFor(10'000'000, 0.0001)), 2.4e7, 1e5);
}

TEST(BloomFilterTest, OptionsBeyondTheLimitsAreCut) {
  EXPECT_EQ(BloomFilter(0, 0.01).keys_max(), 1u);
  EXPECT_EQ(BloomFilter::BytesFor(UINT64_MAX, 0.5), BloomFilter::BytesFor(1'000'000'000, 0.5));
  EXPECT_EQ(BloomFilter::BytesFor(1000, 0), BloomFilter::BytesFor(1000, 0.0001));
  EXPECT_EQ(BloomFilter::BytesFor(1000, 1), BloomFilter::BytesFor(1000, 0.5));
  BloomFilter smallest(0, 1);
  smallest.Add(7);
  EXPECT_TRUE(smallest.MayContain(7));
}

TEST(BloomFilterTest, KeyThatIsAddedAgainCountsOnce) {
  BloomFilter filter(1000, 0.01);
  for (int i = 0; i < 5; ++i) filter.Add(HashOf("user:", 1));
  EXPECT_EQ(filter.keys(), 1u);
}

TEST(BloomFilterTest, ThreadsAddAndAskTogether) {
  constexpr int kThreads = 4;
  constexpr uint64_t kEach = 10'000;
  BloomFilter filter(kThreads * kEach, 0.01);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&filter, t] {
      for (uint64_t i = 0; i < kEach; ++i) {
        filter.Add(HashOf("user:", t * kEach + i));
        ASSERT_TRUE(filter.MayContain(HashOf("user:", t * kEach + i)));
        (void)filter.MayContain(HashOf("other:", i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t i = 0; i < kThreads * kEach; ++i)
    ASSERT_TRUE(filter.MayContain(HashOf("user:", i)));
  EXPECT_NEAR(filter.ErrorNow(), 0.01, 0.002) << "no bit was counted twice or not at all";
}

}  // namespace
}  // namespace larder
