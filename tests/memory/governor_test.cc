#include "memory/governor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/memory/readings.h"

namespace larder {
namespace {

using testing::HasSubstr;

// A process of 40 MiB and an L1 in a container, both as large as the test says.
class GovernorTest : public testing::Test {
 protected:
  void Make(const GovernorOptions& options, uint64_t limit) {
    limit_ = limit;
    governor_ = std::make_unique<Governor>(options, Reading(), now_);
    options_ = options;
    l1_ = 0;
  }

  MemoryReading Reading() const {
    MemoryReading reading = Container(limit_, rest_ + l1_ + neighbour_, rest_ + l1_);
    reading.pressure = pressure_;
    reading.limits_certain = certain_;
    return reading;
  }
  // A second passes.
  BudgetDecision Tick() {
    now_ += 1'000'000'000;
    const uint64_t before = budget();
    const BudgetDecision decision = governor_->Decide(Reading(), l1_, now_);
    EXPECT_EQ(decision.cause == BudgetCause::kNone, decision.budget_bytes == before);
    EXPECT_EQ(decision.why.empty(), decision.cause == BudgetCause::kNone);
    EXPECT_EQ(budget(), decision.budget_bytes);
    return decision;
  }
  // Ticks until the budget changes; kNone when it did not for `seconds`.
  BudgetDecision NextChange(int seconds, int* waited = nullptr) {
    for (int i = 1; i <= seconds; ++i) {
      if (waited != nullptr) *waited = i;
      const BudgetDecision decision = Tick();
      if (decision.cause != BudgetCause::kNone) return decision;
    }
    return {};
  }
  uint64_t budget() const { return governor_->Status().budget_bytes; }
  void Stall(double some, double full) {
    pressure_.known = pressure_.own = true;
    pressure_.some = some;
    pressure_.full = full;
  }

  MonoNanos now_ = 1;
  uint64_t limit_ = 0;
  uint64_t rest_ = 40 * kMiB;
  uint64_t l1_ = 0;
  uint64_t neighbour_ = 0;
  bool certain_ = true;
  MemoryPressure pressure_;
  GovernorOptions options_;
  std::unique_ptr<Governor> governor_;
};

TEST_F(GovernorTest, StartsWithThePlanAndKeepsItWhileNothingHappens) {
  Make({}, 4 * kGiB);
  EXPECT_EQ(budget(), 3584 * kMiB);
  const GovernorStatus status = governor_->Status();
  EXPECT_TRUE(status.automatic);
  EXPECT_EQ(status.cause, BudgetCause::kStart);
  EXPECT_EQ(status.limit_bytes, 4 * kGiB);
  EXPECT_EQ(status.source, MemorySource::kCgroupV2);
  EXPECT_EQ(status.why,
            "cgroup v2 limit 4GiB, 512MiB kept for the rest of the process (an eighth of it)");
  for (int i = 0; i < 600; ++i) {
    l1_ = std::min(budget(), l1_ + 10 * kMiB);
    EXPECT_EQ(Tick().trouble, MemoryTrouble::kNone);
  }
  EXPECT_EQ(budget(), 3584 * kMiB);
  EXPECT_EQ(governor_->Status().shrinks + governor_->Status().growths, 0u);
}

TEST_F(GovernorTest, StartsSmallerWhereOthersHaveTakenTheMemory) {
  neighbour_ = 3 * kGiB;
  Make({}, 4 * kGiB);
  EXPECT_EQ(budget(), 728 * kMiB) << "1024 - 40 available, 256 of them a cushion";
  EXPECT_THAT(governor_->Status().why, HasSubstr("; only 984MiB left of the cgroup v2 limit 4GiB"));
}

TEST_F(GovernorTest, LoweredLimitShrinksAtOnceAndWhole) {
  Make({}, 4 * kGiB);
  l1_ = 3 * kGiB;
  limit_ = 2 * kGiB;
  const BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kLimit);
  EXPECT_EQ(decision.budget_bytes, 1792 * kMiB);
  EXPECT_THAT(decision.why, HasSubstr("lowered to cgroup v2 limit 2GiB"));
  limit_ = kGiB;
  EXPECT_EQ(Tick().budget_bytes, 896 * kMiB) << "also while L1 is still on its way";
}

TEST_F(GovernorTest, RaisedLimitGrowsSlowlyAndAfterCalm) {
  Make({}, kGiB);
  l1_ = budget();
  limit_ = 2 * kGiB;
  BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kGrowth);
  EXPECT_EQ(decision.budget_bytes, 1008 * kMiB) << "an eighth more";
  l1_ = budget();
  int waited = 0;
  decision = NextChange(60, &waited);
  EXPECT_EQ(waited, 10);
  for (int i = 0; i < 120; ++i) {
    l1_ = budget();
    Tick();
  }
  EXPECT_EQ(budget(), 1792 * kMiB);
}

TEST_F(GovernorTest, GivesWayWhenTheProcessNeedsMoreAndComesBackAfterCalm) {
  Make({}, kGiB);
  EXPECT_EQ(budget(), 896 * kMiB);
  l1_ = 200 * kMiB;  // not full: nothing is short yet
  rest_ = 400 * kMiB;
  BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kRest);
  EXPECT_EQ(decision.budget_bytes, 524 * kMiB);
  EXPECT_THAT(decision.why, HasSubstr("a quarter more than the 400MiB that it uses"));
  rest_ = 40 * kMiB;
  int waited = 0;
  decision = NextChange(120, &waited);
  EXPECT_EQ(decision.cause, BudgetCause::kGrowth);
  EXPECT_EQ(waited, 60);
}

TEST_F(GovernorTest, GivesWayToANeighbourInTheSameCgroup) {
  Make({}, 4 * kGiB);
  l1_ = budget();
  neighbour_ = 440 * kMiB;
  const BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kShortage);
  EXPECT_EQ(decision.budget_bytes, 4 * kGiB - 480 * kMiB - 256 * kMiB);
  EXPECT_EQ(decision.why, "only 32MiB left of the cgroup v2 limit 4GiB");
}

TEST_F(GovernorTest, GivesWayToOthersOnAMachineWithoutACgroup) {
  MemoryReading reading;
  reading.levels = {Machine(16 * kGiB, 15 * kGiB)};
  Governor governor({}, reading, 1);
  EXPECT_EQ(governor.Status().budget_bytes, 8 * kGiB);
  EXPECT_EQ(governor.budget_bytes_max(), 16 * kGiB);
  reading.levels = {Machine(16 * kGiB, 500 * kMiB)};
  const BudgetDecision decision = governor.Decide(reading, 6 * kGiB, 1'000'000'000);
  EXPECT_EQ(decision.budget_bytes, 6 * kGiB + 500 * kMiB - kGiB);
  EXPECT_EQ(decision.why, "only 500MiB left of the machine's memory 16GiB");
}

// What L1 gave up stays in the resident set until the allocator lets go of it. Seen as memory of
// the rest of the process it would cause the next shrink, and so on down to the minimum.
TEST_F(GovernorTest, MemoryOnItsWayBackCausesNoSecondShrink) {
  Make({}, 4 * kGiB);
  l1_ = 2700 * kMiB;
  rest_ = 1200 * kMiB;
  const BudgetDecision first = Tick();
  EXPECT_EQ(first.cause, BudgetCause::kRest);
  EXPECT_EQ(first.budget_bytes, 2596 * kMiB);
  const uint64_t freed = l1_ - first.budget_bytes;
  l1_ = first.budget_bytes;
  rest_ += freed;
  for (int i = 0; i < 9; ++i) {
    if (i == 5) rest_ -= freed;
    EXPECT_EQ(Tick().cause, BudgetCause::kNone) << i;
  }
  EXPECT_EQ(NextChange(300).cause, BudgetCause::kNone);
}

TEST_F(GovernorTest, WaitsForL1ToComeDownBeforeItShrinksAgain) {
  Make({}, 4 * kGiB);
  l1_ = budget();
  neighbour_ = 480 * kMiB;
  EXPECT_EQ(Tick().cause, BudgetCause::kShortage);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Tick().cause, BudgetCause::kNone) << i;
}

TEST_F(GovernorTest, ShrinksEveryTwoSecondsWhenNextToNothingIsLeft) {
  Make({}, 4 * kGiB);
  l1_ = budget();
  neighbour_ = 472 * kMiB;
  ASSERT_EQ(Tick().cause, BudgetCause::kShortage);
  l1_ = budget();
  neighbour_ = limit_ - rest_ - l1_;
  EXPECT_EQ(Tick().cause, BudgetCause::kNone);
  EXPECT_EQ(Tick().cause, BudgetCause::kShortage);
}

TEST_F(GovernorTest, SmallDifferencesAreNoise) {
  Make({}, kGiB);
  std::minstd_rand random(7);
  for (int i = 0; i < 3600; ++i) {
    l1_ = 300 * kMiB + random() % (50 * kMiB);
    rest_ = 40 * kMiB + random() % (12 * kMiB);
    EXPECT_EQ(Tick().cause, BudgetCause::kNone);
  }
}

TEST_F(GovernorTest, PressureShrinksByATenthUntilItIsCalm) {
  Make({}, 4 * kGiB);
  l1_ = budget();
  Stall(15, 1);
  const uint64_t start = budget();
  BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kPressure);
  EXPECT_EQ(decision.budget_bytes, start / 10 * 9);
  EXPECT_EQ(decision.why,
            "memory pressure in the cgroup: 15% some and 1% full over 10 s, 0 times out of memory");
  EXPECT_TRUE(governor_->Status().pressed);
  l1_ = budget();
  int waited = 0;
  EXPECT_EQ(NextChange(60, &waited).cause, BudgetCause::kPressure);
  EXPECT_EQ(waited, 10) << "the average over ten seconds has to forget what caused the first step";
  Stall(9.9, 4.9);
  l1_ = budget();
  decision = NextChange(120, &waited);
  EXPECT_EQ(decision.cause, BudgetCause::kGrowth);
  EXPECT_EQ(waited, 60);
  EXPECT_FALSE(governor_->Status().pressed);
}

TEST_F(GovernorTest, FullPressureAloneCounts) {
  Make({}, 4 * kGiB);
  l1_ = budget();
  Stall(5, 5);
  EXPECT_EQ(Tick().cause, BudgetCause::kPressure);
}

TEST_F(GovernorTest, LastingPressureEndsAtTheMinimumAndTellsOnce) {
  Make({.min_bytes = 100 * kMiB}, 4 * kGiB);
  Stall(50, 20);
  int told = 0;
  for (int i = 0; i < 3600; ++i) {
    l1_ = std::min(l1_ + 100 * kMiB, budget());
    const BudgetDecision decision = Tick();
    EXPECT_GE(decision.budget_bytes, 100 * kMiB);
    if (decision.trouble == MemoryTrouble::kNone) continue;
    ++told;
    EXPECT_EQ(decision.trouble, MemoryTrouble::kPressure);
    EXPECT_THAT(decision.trouble_why, HasSubstr("the least budget is 100MiB; memory pressure"));
  }
  EXPECT_EQ(told, 1);
  EXPECT_EQ(budget(), 100 * kMiB);
}

TEST_F(GovernorTest, PressureBarelyTouchesANearlyEmptyL1) {
  Make({}, 4 * kGiB);
  l1_ = 10 * kMiB;
  Stall(50, 20);
  const uint64_t start = budget();
  EXPECT_EQ(Tick().budget_bytes, start / 2 / 10 * 9);
}

TEST_F(GovernorTest, TheMachinesPressureCountsOnlyWhereTheMachineIsShort) {
  Make({}, 4 * kGiB);
  l1_ = kGiB;
  Stall(50, 20);
  pressure_.own = false;
  EXPECT_EQ(Tick().cause, BudgetCause::kNone) << "somebody else's";
  MemoryReading reading = Reading();
  reading.levels.back().available_bytes = 6 * kGiB;
  EXPECT_EQ(governor_->Decide(reading, l1_, now_ + 1).cause, BudgetCause::kPressure);
}

TEST_F(GovernorTest, RunningOutOfMemoryIsPressure) {
  pressure_.ooms = 5;  // before we came
  Make({}, 4 * kGiB);
  l1_ = kGiB;
  EXPECT_EQ(Tick().cause, BudgetCause::kNone);
  pressure_.ooms = 6;
  EXPECT_EQ(Tick().cause, BudgetCause::kPressure);
  EXPECT_EQ(NextChange(50).cause, BudgetCause::kNone) << "it was one";
}

TEST_F(GovernorTest, RunningIntoTheLimitIsPressureOnlyWhereLittleCanBeFreed) {
  Make({}, 4 * kGiB);
  l1_ = kGiB;
  pressure_.limit_hits = 1000;  // the page cache fills the cgroup
  EXPECT_EQ(Tick().cause, BudgetCause::kNone);
  l1_ = budget();
  neighbour_ = 230 * kMiB;
  pressure_.limit_hits = 1001;
  EXPECT_EQ(Tick().cause, BudgetCause::kPressure);
}

TEST_F(GovernorTest, DoesNotGrowWhileALimitCannotBeRead) {
  Make({}, kGiB);
  certain_ = false;
  limit_ = 32 * kGiB;
  EXPECT_EQ(NextChange(300).cause, BudgetCause::kNone);
  certain_ = true;
  EXPECT_EQ(Tick().cause, BudgetCause::kGrowth);
}

TEST_F(GovernorTest, KeepsItsBudgetWhenMemoryBecomesUnknown) {
  Make({}, 4 * kGiB);
  for (int i = 0; i < 100; ++i) {
    now_ += 1'000'000'000;
    EXPECT_EQ(governor_->Decide(MemoryReading{}, kGiB, now_).cause, BudgetCause::kNone);
  }
  EXPECT_EQ(budget(), 3584 * kMiB);
}

TEST_F(GovernorTest, FixedBudgetNeverChangesAndTellsWhenItDoesNotFit) {
  Make({.fixed_bytes = kGiB}, kGiB);
  EXPECT_EQ(budget(), kGiB);
  EXPECT_EQ(governor_->budget_bytes_max(), kGiB);
  EXPECT_FALSE(governor_->Status().automatic);
  BudgetDecision decision = Tick();
  EXPECT_EQ(decision.cause, BudgetCause::kNone);
  EXPECT_EQ(decision.trouble, MemoryTrouble::kDoesNotFit);
  EXPECT_EQ(decision.trouble_why,
            "memory.l1 is 1GiB; with 64MiB for the rest of the process (the least) it does not fit "
            "into the cgroup v2 limit 1GiB");
  for (int i = 0; i < 600; ++i) EXPECT_EQ(Tick().trouble, MemoryTrouble::kNone);
  l1_ = kGiB - 45 * kMiB;
  decision = Tick();
  EXPECT_EQ(decision.trouble, MemoryTrouble::kShortage);
  EXPECT_THAT(decision.trouble_why, HasSubstr("memory.l1 is 1GiB; only 5MiB left"));
}

TEST_F(GovernorTest, FixedBudgetThatFitsIsNoTrouble) {
  Make({.fixed_bytes = 900 * kMiB}, kGiB);
  l1_ = 900 * kMiB;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Tick().trouble, MemoryTrouble::kNone);
}

TEST_F(GovernorTest, TroubleThatWasGoneForAMinuteIsToldAgain) {
  Make({.fixed_bytes = 900 * kMiB}, kGiB);
  Stall(50, 0);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kPressure);
  Stall(0, 0);
  for (int i = 0; i < 59; ++i) Tick();
  Stall(50, 0);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kPressure);
  Stall(0, 0);
  for (int i = 0; i < 58; ++i) Tick();
  Stall(50, 0);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kNone) << "still the same";
}

TEST_F(GovernorTest, TroublesThatComeTogetherAreEachTold) {
  Make({.fixed_bytes = kGiB}, kGiB);
  l1_ = kGiB - 45 * kMiB;
  Stall(50, 0);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kShortage);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kPressure);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kDoesNotFit);
  EXPECT_EQ(Tick().trouble, MemoryTrouble::kNone);
}

TEST_F(GovernorTest, MostAndLeastHoldForWhateverComes) {
  Make({}, 4 * kGiB);
  EXPECT_EQ(governor_->budget_bytes_max(), 64 * kGiB) << "a limit can be raised up to the machine";
  EXPECT_EQ(governor_->budget_bytes_min(), 448 * kMiB);
  Make({.max_bytes = 2 * kGiB}, 4 * kGiB);
  EXPECT_EQ(governor_->budget_bytes_max(), 2 * kGiB);
  Make({.min_bytes = 64 * kMiB, .max_bytes = kTiB}, 4 * kGiB);
  EXPECT_EQ(governor_->budget_bytes_max(), 64 * kGiB);
  EXPECT_EQ(governor_->budget_bytes_min(), 64 * kMiB);
}

// Whatever is read, in whatever order: never outside [min, max], growth is bounded and slow.
TEST_F(GovernorTest, StaysWithinItsBoundsUnderRandomReadings) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    now_ = 1;
    Make({.min_bytes = 16 * kMiB, .max_bytes = 8 * kGiB}, kGiB << (random() % 5));
    MonoNanos last_growth = -60'000'000'000;
    for (int i = 0; i < 5000; ++i) {
      if (random() % 500 == 0) limit_ = 32 * kMiB << (random() % 10);
      if (random() % 50 == 0) neighbour_ = random() % (2 * limit_);
      if (random() % 50 == 0) rest_ = random() % limit_;
      if (random() % 100 == 0) Stall(static_cast<double>(random() % 101), 0);
      if (random() % 50 == 0) certain_ = random() % 2 == 0;
      l1_ = random() % 3 == 0 ? random() % (16 * kGiB) : budget();
      const uint64_t before = budget();
      const BudgetDecision decision = Tick();
      ASSERT_GE(decision.budget_bytes, 16 * kMiB) << "seed " << seed;
      ASSERT_LE(decision.budget_bytes, 8 * kGiB) << "seed " << seed;
      if (decision.budget_bytes <= before) continue;
      ASSERT_LE(decision.budget_bytes, before + std::max(before / 8, kMiB)) << "seed " << seed;
      ASSERT_GE(now_ - last_growth, 10'000'000'000) << "seed " << seed;
      last_growth = now_;
    }
  }
}

TEST_F(GovernorTest, StatusCanBeReadWhileItDecides) {
  Make({}, 4 * kGiB);
  std::thread reader([this] {
    for (int i = 0; i < 1000; ++i) EXPECT_GT(governor_->Status().budget_bytes, 0u);
  });
  for (int i = 0; i < 1000; ++i) {
    limit_ = (i % 2 + 2) * kGiB;
    now_ += 1'000'000'000;
    governor_->Decide(Reading(), l1_, now_);
  }
  reader.join();
}

}  // namespace
}  // namespace larder
