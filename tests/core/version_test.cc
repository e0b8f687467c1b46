#include "core/version.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace larder {
namespace {

TEST(VersionTest, GrowsWhileTheClockStandsStill) {
  ManualClock clock;
  VersionClock versions(&clock, 7);
  Version last = versions.Next();
  for (int i = 0; i < 10'000; ++i) {
    const Version next = versions.Next();
    ASSERT_GT(next, last);
    ASSERT_EQ(VersionNode(next), 7u);
    last = next;
  }
}

TEST(VersionTest, GrowsWhenTheWallClockGoesBack) {
  ManualClock clock;
  VersionClock versions(&clock, 1);
  const Version before = versions.Next();
  clock.JumpWall(-absl::Hours(5));
  EXPECT_GT(versions.Next(), before);
}

TEST(VersionTest, FollowsTheWallClock) {
  ManualClock clock;
  VersionClock versions(&clock, 1);
  const absl::Time start = clock.Now();
  EXPECT_EQ(VersionTime(versions.Next()), start);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(VersionTime(versions.Next()), start + absl::Seconds(3));
}

TEST(VersionTest, GoesPastWhatItObservedAndItsFloor) {
  ManualClock clock;
  VersionClock ahead(&clock, 1);
  clock.Advance(absl::Minutes(5));
  const Version seen = ahead.Next();
  clock.JumpWall(-absl::Minutes(5));
  VersionClock behind(&clock, 2);
  behind.Observe(seen);
  EXPECT_GT(behind.Next(), seen);
  EXPECT_GT(VersionClock(&clock, 3, seen).Next(), seen);
}

TEST(VersionTest, NodesNeverMakeTheSameVersion) {
  ManualClock clock;
  VersionClock a(&clock, 0);
  VersionClock b(&clock, kNodeIdMax);
  EXPECT_NE(a.Next(), b.Next());
}

TEST(VersionTest, ThreadsNeverGetTheSameVersion) {
  VersionClock versions(Clock::System(), 5);
  std::vector<std::vector<Version>> taken(4);
  std::vector<std::thread> threads;
  for (auto& mine : taken) {
    threads.emplace_back([&versions, &mine] {
      for (int i = 0; i < 20'000; ++i) mine.push_back(versions.Next());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<Version> all;
  for (const auto& mine : taken) {
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
}

TEST(VersionTest, ALoadIsOlderThanTheChangesOfItsMillisecondOnAnyNode) {
  ManualClock clock;
  VersionClock loads(&clock, 9), changes(&clock, 0);
  clock.Advance(absl::Milliseconds(7));
  const Version before = changes.Next();
  clock.Advance(absl::Milliseconds(1));
  const Version load = loads.OfLoad(kNoVersion);
  EXPECT_LT(load, changes.Next());
  EXPECT_GT(load, before);
  EXPECT_LE(absl::FromUnixMillis(0) + absl::Milliseconds(VersionMs(load)), clock.Now());
}

TEST(VersionTest, ALoadIsNewerThanWhatIsKnownOfItsKey) {
  ManualClock clock;
  VersionClock loads(&clock, 9);
  const Version ahead = VersionAt(clock.Now() + absl::Seconds(3)) | 5;
  loads.Observe(ahead);
  const Version load = loads.OfLoad(ahead);
  EXPECT_GT(load, ahead);
  EXPECT_GT(loads.Next(), load) << "no change has the version of a load";
}

}  // namespace
}  // namespace larder
