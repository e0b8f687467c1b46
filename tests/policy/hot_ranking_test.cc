#include "policy/hot_ranking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace larder {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

void Hit(HotRanking* ranking, const std::string& key, uint64_t value_bytes = 0,
         uint32_t weight = 1) {
  ranking->Add({key, absl::Hash<std::string_view>()(key), weight, 0, weight * value_bytes,
                value_bytes, weight});
}

std::map<std::string, HotRanking::Tracked> ByKey(const HotRanking& ranking) {
  std::map<std::string, HotRanking::Tracked> rows;
  for (const HotRanking::Tracked* const row : ranking.Certain()) rows[row->full_key] = *row;
  return rows;
}

TEST(HotRankingTest, IsExactWhileThereIsRoom) {
  HotRanking ranking(HotOrder::kHits, 16, 10'000);
  for (int key = 0; key < 16; ++key) {
    for (int i = 0; i <= key; ++i) Hit(&ranking, absl::StrCat("k", key), 10);
  }
  const auto rows = ByKey(ranking);
  ASSERT_THAT(rows, SizeIs(16));
  for (int key = 0; key < 16; ++key) {
    const HotRanking::Tracked& row = rows.at(absl::StrCat("k", key));
    EXPECT_EQ(row.hits, key + 1u);
    EXPECT_EQ(row.bytes, 10 * (key + 1u));
    EXPECT_EQ(row.error, 0u);
  }
}

TEST(HotRankingTest, TruthLiesBetweenWhatItCountedAndItsRank) {
  const uint64_t seed = 57'721;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (const HotOrder order : {HotOrder::kHits, HotOrder::kBytes}) {
    HotRanking ranking(order, 32, 100'000);
    std::map<std::string, uint64_t> truth;
    size_t checked = 0;
    for (int i = 0; i < 200'000; ++i) {
      // Small ranks more often; everything drifts, so that keys come and go.
      const uint64_t draw = random() % 4096;
      const std::string key = absl::StrCat("k", draw * draw * draw / 16'777'216 + i / 20'000);
      const uint64_t value_bytes = 1 + random() % 9;
      truth[key] += order == HotOrder::kHits ? 1 : value_bytes;
      Hit(&ranking, key, value_bytes);
      if (i % 5000 != 0) continue;
      for (const auto& [name, row] : ByKey(ranking)) {
        const uint64_t counted = order == HotOrder::kHits ? row.hits : row.bytes;
        ASSERT_EQ(counted, row.rank - row.error) << name;
        ASSERT_LE(counted, truth[name]) << name;
        ASSERT_GE(row.rank, truth[name]) << name;
        ++checked;
      }
    }
    EXPECT_GT(checked, 200u);
  }
}

TEST(HotRankingTest, LeavesOutWhatFewSamplesSay) {
  HotRanking ranking(HotOrder::kHits, 16, 10'000);
  Hit(&ranking, "one event", 0, 1);
  for (int i = 0; i < 3; ++i) Hit(&ranking, "three samples", 0, 500);
  for (int i = 0; i < 4; ++i) Hit(&ranking, "four samples", 0, 500);
  const auto rows = ByKey(ranking);
  EXPECT_THAT(rows, SizeIs(2));
  EXPECT_TRUE(rows.contains("one event"));
  EXPECT_EQ(rows.at("four samples").hits, 2000u);
}

TEST(HotRankingTest, LargestValuesCountBySizeHoweverSeldom) {
  HotRanking ranking(HotOrder::kValueBytes, 16, 10'000);
  for (int i = 0; i < 10'000; ++i) Hit(&ranking, absl::StrCat("small", i), 1 + i % 100, 500);
  for (int i = 0; i < 16; ++i) Hit(&ranking, absl::StrCat("large", i), 1000 + i, 500);
  for (int i = 0; i < 10'000; ++i) Hit(&ranking, absl::StrCat("small", i), 1 + i % 100, 500);
  const auto rows = ByKey(ranking);
  ASSERT_THAT(rows, SizeIs(16));
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(rows.at(absl::StrCat("large", i)).value_bytes_max, 1000u + i);
  }
}

TEST(HotRankingTest, ALongKeyDoesNotPushOutBusierOnes) {
  HotRanking ranking(HotOrder::kHits, 16, 1000);
  for (int i = 0; i < 10; ++i) {
    for (int key = 0; key < 9; ++key) Hit(&ranking, absl::StrCat(std::string(70, 'x'), key));
  }
  const std::string longer(800, 'y');
  for (int i = 0; i < 9; ++i) Hit(&ranking, longer);
  EXPECT_FALSE(ByKey(ranking).contains(longer));
  EXPECT_THAT(ByKey(ranking), SizeIs(9));
  // Busier than each of them, it takes the place of as many as it needs.
  for (int i = 0; i < 30; ++i) Hit(&ranking, longer);
  EXPECT_TRUE(ByKey(ranking).contains(longer));
  EXPECT_GE(ByKey(ranking).size(), 1u);
  EXPECT_LE(ByKey(ranking).size(), 3u);
}

TEST(HotRankingTest, AKeyThatNeverFitsIsNeverTracked) {
  HotRanking ranking(HotOrder::kHits, 16, 100);
  for (int i = 0; i < 100; ++i) Hit(&ranking, std::string(101, 'x'));
  EXPECT_THAT(ByKey(ranking), IsEmpty());
}

TEST(HotRankingTest, MemoryIsWhatItSays) {
  HotRanking ranking(HotOrder::kBytes, 64, 5000);
  EXPECT_EQ(ranking.bytes(), 0u) << "nothing before the first sample";
  for (int i = 0; i < 100'000; ++i) {
    Hit(&ranking, std::string(1 + i * 7919 % 1000, 'x') + absl::StrCat(i), i);
    ASSERT_LE(ranking.bytes() + sizeof(ranking), HotRanking::FixedBytes(64, true) + 5000);
  }
  ranking.Close();
  EXPECT_LE(ranking.bytes() + sizeof(ranking), HotRanking::FixedBytes(64, false) + 5000);
}

}  // namespace
}  // namespace larder
