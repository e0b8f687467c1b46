// When the guard stops calling its tier, and when it begins again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tier/guard_rig.h"
#include "tier/guard.h"

namespace larder {
namespace {

using testing::HasSubstr;

TEST_F(GuardTest, ImpatientCallersDoNotOpenTheBreaker) {
  inner().SetFaults({.hang = true});
  for (int i = 0; i < 200; ++i) {
    const auto get = Get(MonoAfter(clock_.Mono(), absl::Milliseconds(3)));
    executor_.Advance(absl::Milliseconds(3));
    ASSERT_TRUE(get->done());
  }
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(GuardTest, CallersThatWaitedLongEnoughToKnowDoOpenIt) {
  inner().SetFaults({.hang = true});
  for (int i = 0; i < 10; ++i) {
    Get(MonoAfter(clock_.Mono(), options_.breaker.slow_after));
    executor_.Advance(options_.breaker.slow_after);
  }
  EXPECT_EQ(guard().Stats().breaker, "open");
}

TEST_F(GuardTest, LateAnswersDoNotCountAsSuccesses) {
  inner().SetFaults({.hang = true});
  for (int i = 0; i < 4; ++i) Get();
  executor_.Advance(options_.read_timeout);
  inner().Release();
  executor_.RunReady();
  Get();
  executor_.Advance(options_.read_timeout);
  EXPECT_EQ(guard().Stats().breaker, "open");
  EXPECT_THAT(guard().Stats().state, HasSubstr("5 of the last 5 calls failed"));
}

TEST_F(GuardTest, OpenBreakerRefusesAtOnce) {
  Trip();
  const uint64_t calls = inner().calls();
  const uint64_t errors = guard().Stats().errors;
  const auto get = Start(guard().Get({Key("a"), Key("b")}, kNever));
  EXPECT_TRUE(absl::IsUnavailable(get->status()));
  EXPECT_TRUE(absl::IsUnavailable(Put(1)->status()));
  EXPECT_EQ(inner().calls(), calls);
  const TierStats stats = guard().Stats();
  EXPECT_EQ(stats.rejected, 3u) << "keys";
  EXPECT_EQ(stats.errors, errors + 3);
  EXPECT_EQ(stats.breaker_opened, 1u);
  EXPECT_THAT(stats.state, HasSubstr("circuit breaker open: 5 of the last 5 calls failed"));
  EXPECT_THAT(stats.state, HasSubstr("INTERNAL: broken"));
}

TEST_F(GuardTest, ClosesWhenTheTierIsWellAgain) {
  Trip();
  clock_.Advance(options_.breaker.open_min * 1.25);
  EXPECT_TRUE(Get()->status().ok());
  EXPECT_EQ(guard().Stats().breaker, "half-open");
  EXPECT_TRUE(Get()->status().ok());
  EXPECT_TRUE(Get()->status().ok());
  EXPECT_EQ(guard().Stats().breaker, "closed");
  EXPECT_EQ(guard().Stats().state, "ok");
}

// Redis is frozen: callers pay the time limit for a second at most, then nothing.
TEST_F(GuardTest, FrozenTierCostsTheTimeLimitUntilTheBreakerOpens) {
  options_.breaker.min_calls = 10;
  for (int i = 0; i < 1000; ++i) Get();
  inner().SetFaults({.hang = true});
  const MonoNanos froze = clock_.Mono();
  while (guard().Stats().breaker == "closed") {
    const MonoNanos began = clock_.Mono();
    const auto get = Get();
    while (!get->done()) executor_.Advance(absl::Milliseconds(1));
    ASSERT_LE(Ago(began), options_.read_timeout);
    ASSERT_LE(Ago(froze), absl::Seconds(1));
  }
  EXPECT_TRUE(Get()->done());
}

TEST_F(GuardTest, SlowTierOpensTheBreakerToo) {
  inner().SetFaults(
      {.delay_min = options_.breaker.slow_after / 2, .delay_max = options_.breaker.slow_after / 2});
  for (int i = 0; i < 10; ++i) {
    Get();
    executor_.Advance(options_.breaker.slow_after);
  }
  EXPECT_EQ(guard().Stats().breaker, "open");
  EXPECT_THAT(guard().Stats().state, HasSubstr("took 40ms or longer"));
}

TEST_F(GuardTest, LongScansAreNotSlow) {
  inner().SetFaults({.delay_min = absl::Milliseconds(500), .delay_max = absl::Milliseconds(500)});
  for (int i = 0; i < 20; ++i) {
    const auto scan = Scan();
    executor_.Advance(absl::Seconds(1));
    EXPECT_TRUE(scan->status().ok());
  }
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(GuardTest, RefusalsOfATierThatAnswersDoNotOpenTheBreaker) {
  inner().SetFaults({.fail_next = 100, .error = absl::ResourceExhaustedError("OOM")});
  for (int i = 0; i < 100; ++i) Put(1);
  EXPECT_EQ(guard().Stats().breaker, "closed");
  EXPECT_EQ(guard().Stats().errors, 100u);
}

}  // namespace
}  // namespace larder
