#include "admin/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace larder {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

HistorySample SampleOf(uint64_t calls) {
  return {.at = absl::UnixEpoch() + static_cast<int64_t>(calls) * History::kStep, .calls = calls};
}

std::vector<uint64_t> CallsOf(const std::vector<HistorySample>& samples) {
  std::vector<uint64_t> calls;
  for (const HistorySample& sample : samples) calls.push_back(sample.calls);
  return calls;
}

TEST(HistoryTest, BothBeginWithTheFirstSample) {
  History history;
  EXPECT_THAT(history.Fine(), SizeIs(0));
  EXPECT_THAT(history.Coarse(), SizeIs(0));
  history.Add(SampleOf(0));
  EXPECT_THAT(CallsOf(history.Fine()), ElementsAre(0));
  EXPECT_THAT(CallsOf(history.Coarse()), ElementsAre(0));
  history.Add(SampleOf(1));
  EXPECT_THAT(CallsOf(history.Fine()), ElementsAre(0, 1));
  EXPECT_THAT(CallsOf(history.Coarse()), ElementsAre(0));
}

TEST(HistoryTest, KeepsTenMinutesAndADayAndNoMore) {
  History history;
  constexpr uint64_t kDay = History::kCoarseEvery * History::kCoarseMax;
  for (uint64_t i = 0; i < kDay; ++i) history.Add(SampleOf(i));
  EXPECT_THAT(history.Fine(), SizeIs(History::kFineMax));
  EXPECT_EQ(history.Fine().back().at - history.Fine().front().at, absl::Minutes(10));
  EXPECT_EQ(history.Fine().back().calls, kDay - 1);
  EXPECT_THAT(history.Coarse(), SizeIs(History::kCoarseMax));
  EXPECT_EQ(history.Coarse().front().calls, 0u);
  // One past it: the oldest goes.
  history.Add(SampleOf(kDay));
  EXPECT_THAT(history.Fine(), SizeIs(History::kFineMax));
  EXPECT_THAT(history.Coarse(), SizeIs(History::kCoarseMax));
  EXPECT_EQ(history.Coarse().front().calls, History::kCoarseEvery);
  EXPECT_EQ(history.Coarse().back().calls, kDay);
}

}  // namespace
}  // namespace larder
