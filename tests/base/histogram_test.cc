#include "base/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "tests/base/threads.h"

namespace larder {
namespace {

constexpr double kErrorMax = 0.031;
constexpr double kQuantiles[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};

// The quantile by its definition.
int64_t Exact(const std::vector<int64_t>& sorted, double q) {
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

void ExpectQuantilesNear(std::vector<int64_t> values, const Histogram::Snapshot& snap) {
  std::sort(values.begin(), values.end());
  for (const double q : kQuantiles) {
    const auto exact = static_cast<double>(Exact(values, q));
    const auto got = static_cast<double>(absl::ToInt64Nanoseconds(snap.Quantile(q)));
    EXPECT_LE(std::abs(got - exact), kErrorMax * exact) << "q=" << q << " exact=" << exact;
  }
}

TEST(HistogramTest, IsZeroWhenNothingWasRecorded) {
  const Histogram histogram;
  const Histogram::Snapshot snap = histogram.Snap();
  EXPECT_EQ(snap.count, 0u);
  EXPECT_EQ(snap.sum_nanos, 0u);
  EXPECT_EQ(snap.max_nanos, 0u);
  EXPECT_TRUE(snap.buckets.empty());
  EXPECT_EQ(snap.Quantile(0.5), absl::ZeroDuration());
  EXPECT_EQ(snap.Mean(), absl::ZeroDuration());
}

TEST(HistogramTest, CountSumMaxAndMeanAreExact) {
  Histogram histogram;
  histogram.Record(absl::Microseconds(3));
  histogram.Record(absl::Milliseconds(5));
  histogram.RecordNanos(7);
  const Histogram::Snapshot snap = histogram.Snap();
  EXPECT_EQ(snap.count, 3u);
  EXPECT_EQ(snap.sum_nanos, 5'003'007u);
  EXPECT_EQ(snap.max_nanos, 5'000'000u);
  EXPECT_EQ(snap.Mean(), absl::Nanoseconds(1'667'669));
}

TEST(HistogramTest, IsExactToTheNanosecondForTheSmallest) {
  for (int64_t nanos = 0; nanos < 32; ++nanos) {
    Histogram histogram;
    histogram.RecordNanos(nanos);
    histogram.Record(absl::Hours(1));  // So that the greatest does not tell.
    EXPECT_EQ(histogram.Snap().Quantile(0.5), absl::Nanoseconds(nanos));
  }
}

// Every edge of a bucket lies at a small multiple of a power of two, so this visits all of them
// from both sides.
TEST(HistogramTest, IsNearAtEveryEdgeOfABucket) {
  for (int bit = 4; bit < 42; ++bit) {
    for (int64_t step = 16; step < 32; ++step) {
      for (const int64_t off : {-1, 0, 1}) {
        const int64_t nanos = (step << bit >> 4) + off;
        if (nanos > static_cast<int64_t>(Histogram::kNanosMax)) continue;
        Histogram histogram;
        histogram.RecordNanos(nanos);
        histogram.RecordNanos(Histogram::kNanosMax);
        ExpectQuantilesNear({nanos, Histogram::kNanosMax}, histogram.Snap());
      }
    }
  }
}

TEST(HistogramTest, QuantilesAreNearTheExactOnesOfManyDistributions) {
  constexpr int kSeed = 20'260'131;
  constexpr int kRecords = 50'000;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  std::lognormal_distribution<double> latency(11, 2);  // Around 60 us with a long tail.
  std::uniform_int_distribution<int64_t> uniform(1, 1'000'000'000);
  std::exponential_distribution<double> exponential(1e-7);
  std::uniform_real_distribution<double> magnitude(0, 41.5);
  const std::function<int64_t()> kDistributions[] = {
      [&] { return std::llround(latency(random)); },
      [&] { return uniform(random); },
      [&] { return std::llround(exponential(random)); },
      [&] { return std::llround(std::exp2(magnitude(random))); },
      // Hits and misses: two peaks with nothing between them.
      [&] { return uniform(random) % 10 == 0 ? 80'000'000 : 300; },
  };
  for (const auto& next : kDistributions) {
    Histogram histogram;
    std::vector<int64_t> values;
    for (int i = 0; i < kRecords; ++i) {
      const int64_t nanos = std::clamp<int64_t>(next(), 1, Histogram::kNanosMax);
      values.push_back(nanos);
      histogram.RecordNanos(nanos);
    }
    ExpectQuantilesNear(values, histogram.Snap());
  }
}

TEST(HistogramTest, TheLastQuantileIsTheExactMaximum) {
  Histogram histogram;
  histogram.RecordNanos(1'000'003);
  histogram.RecordNanos(5);
  EXPECT_EQ(histogram.Snap().Quantile(1), absl::Nanoseconds(1'000'003));
}

TEST(HistogramTest, TakesSharesOutsideZeroToOneAsTheNearestOne) {
  Histogram histogram;
  histogram.RecordNanos(10);
  histogram.RecordNanos(20);
  const Histogram::Snapshot snap = histogram.Snap();
  EXPECT_EQ(snap.Quantile(-1), absl::Nanoseconds(10));
  EXPECT_EQ(snap.Quantile(2), absl::Nanoseconds(20));
  EXPECT_EQ(snap.Quantile(std::numeric_limits<double>::quiet_NaN()), absl::Nanoseconds(10));
}

TEST(HistogramTest, CountsWhatIsOutOfRangeAsTheNearestLimit) {
  Histogram low;
  low.Record(-absl::Seconds(1));
  low.Record(-absl::InfiniteDuration());
  EXPECT_EQ(low.Snap().count, 2u);
  EXPECT_EQ(low.Snap().sum_nanos, 0u);

  Histogram high;
  high.RecordNanos(Histogram::kNanosMax);
  high.RecordNanos(Histogram::kNanosMax + 1);
  high.Record(absl::InfiniteDuration());
  EXPECT_EQ(high.Snap().count, 3u);
  EXPECT_EQ(high.Snap().sum_nanos, 3 * Histogram::kNanosMax);
  EXPECT_EQ(high.Snap().Quantile(1), absl::Nanoseconds(Histogram::kNanosMax));
}

TEST(HistogramTest, MergedSnapshotsEqualOneHistogramOfBoth) {
  Histogram left, right, both;
  const Histogram empty;
  std::mt19937_64 random(7);
  for (int i = 0; i < 1'000; ++i) {
    const auto nanos = static_cast<int64_t>(random() % 1'000'000'000);
    (i % 3 == 0 ? left : right).RecordNanos(nanos);
    both.RecordNanos(nanos);
  }
  Histogram::Snapshot merged = empty.Snap();
  merged.Merge(left.Snap());
  merged.Merge(right.Snap());
  merged.Merge(empty.Snap());
  const Histogram::Snapshot want = both.Snap();
  EXPECT_EQ(merged.count, want.count);
  EXPECT_EQ(merged.sum_nanos, want.sum_nanos);
  EXPECT_EQ(merged.max_nanos, want.max_nanos);
  EXPECT_EQ(merged.buckets, want.buckets);
}

TEST(HistogramTest, HoldsWhatManyThreadsRecorded) {
  constexpr int kThreads = 12;
  constexpr int kRecords = 5'000;
  Histogram histogram;
  std::vector<std::vector<int64_t>> recorded(kThreads);
  Threads threads(kThreads, [&histogram, &recorded](int i) {
    std::mt19937_64 random(i);
    for (int n = 0; n < kRecords; ++n) {
      const auto nanos = static_cast<int64_t>(1 + random() % 10'000'000);
      recorded[i].push_back(nanos);
      histogram.RecordNanos(nanos);
      if (n % 1'000 == 0) histogram.Snap();
    }
  });
  threads.Join();
  std::vector<int64_t> all;
  for (const auto& values : recorded) all.insert(all.end(), values.begin(), values.end());
  const Histogram::Snapshot snap = histogram.Snap();
  EXPECT_EQ(snap.count, all.size());
  uint64_t sum = 0;
  for (const int64_t nanos : all) sum += static_cast<uint64_t>(nanos);
  EXPECT_EQ(snap.sum_nanos, sum);
  EXPECT_EQ(snap.max_nanos, static_cast<uint64_t>(*std::max_element(all.begin(), all.end())));
  ExpectQuantilesNear(all, snap);
}

TEST(HistogramTest, IsSmallUntilItIsUsed) { EXPECT_LE(sizeof(Histogram), 200u); }

}  // namespace
}  // namespace larder
