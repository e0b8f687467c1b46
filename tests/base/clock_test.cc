#include "base/clock.h"

#include <gtest/gtest.h>

#include <ctime>
#include <limits>

namespace larder {
namespace {

constexpr MonoNanos kEver = std::numeric_limits<MonoNanos>::max();
constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::min();

TEST(SystemClockTest, MonoNeverGoesBack) {
  MonoNanos last = Clock::System()->Mono();
  for (int i = 0; i < 10'000; ++i) {
    const MonoNanos now = Clock::System()->Mono();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(SystemClockTest, NowIsTheTimeOfTheMachine) {
  const std::time_t before = std::time(nullptr);
  const absl::Time now = Clock::System()->Now();
  const std::time_t after = std::time(nullptr);
  // time() may be one tick of the kernel behind clock_gettime().
  EXPECT_GE(now, absl::FromTimeT(before));
  EXPECT_LE(now, absl::FromTimeT(after) + absl::Milliseconds(1020));
}

TEST(SystemClockTest, IsOneClock) { EXPECT_EQ(Clock::System(), Clock::System()); }

TEST(ManualClockTest, AdvanceMovesBothClocks) {
  ManualClock clock(absl::FromUnixSeconds(1'000));
  const MonoNanos mono = clock.Mono();
  clock.Advance(absl::Milliseconds(1500));
  EXPECT_EQ(clock.Now(), absl::FromUnixMillis(1'001'500));
  EXPECT_EQ(clock.Mono() - mono, 1'500'000'000);
}

TEST(ManualClockTest, JumpOfTheWallLeavesMonoAlone) {
  ManualClock clock(absl::FromUnixSeconds(1'000));
  const MonoNanos mono = clock.Mono();
  clock.JumpWall(-absl::Seconds(100));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(900));
  EXPECT_EQ(clock.Mono(), mono);
}

TEST(MonoAfterTest, AddsWithoutOverflow) {
  const struct {
    MonoNanos mono;
    absl::Duration after;
    MonoNanos want;
  } kCases[] = {
      {100, absl::ZeroDuration(), 100},
      {100, absl::Nanoseconds(5), 105},
      {100, -absl::Nanoseconds(5), 95},
      {0, absl::Hours(1), 3'600'000'000'000},
      {100, absl::InfiniteDuration(), kEver},
      {-100, absl::InfiniteDuration(), kEver},
      {kEver - 4, absl::Nanoseconds(4), kEver},
      {kEver - 4, absl::Nanoseconds(5), kEver},
      {kEver, absl::Hours(24 * 365 * 100), kEver},
      {kEver, -absl::Nanoseconds(1), kEver - 1},
      {-100, -absl::InfiniteDuration(), kNever},
      {kNever + 4, -absl::Nanoseconds(5), kNever},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(MonoAfter(c.mono, c.after), c.want) << c.mono << " + " << c.after;
  }
}

}  // namespace
}  // namespace larder
