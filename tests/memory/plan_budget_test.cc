#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "memory/governor.h"
#include "tests/memory/readings.h"

namespace larder {
namespace {

using testing::HasSubstr;

TEST(PlanBudgetTest, LeavesRoomForTheRestOfTheProcess) {
  struct Row {
    uint64_t limit, rest, budget;
    const char* why;
  };
  for (const Row& row : std::vector<Row>{
           {64 * kMiB, 21 * kMiB, 32 * kMiB,
            "64MiB, 32MiB kept for the rest of the process (the "
            "least)"},
           {64 * kMiB, 40 * kMiB, 14 * kMiB,
            "50MiB kept for the rest of the process (a quarter "
            "more than the 40MiB that it uses)"},
           {256 * kMiB, 30 * kMiB, 192 * kMiB, "64MiB kept"},
           {512 * kMiB, 30 * kMiB, 448 * kMiB, "64MiB kept"},
           {kGiB, 30 * kMiB, 896 * kMiB,
            "128MiB kept for the rest of the process (an eighth of "
            "it)"},
           {4 * kGiB, 60 * kMiB, 3584 * kMiB, "512MiB kept"},
           {4 * kGiB, kGiB, 2816 * kMiB, "1.25GiB kept"},
           {8 * kGiB, 0, 7 * kGiB, "1GiB kept"},
           {48 * kGiB, 0, 45 * kGiB,
            "3GiB kept for the rest of the process (an eighth of 8GiB and "
            "a twentieth of the rest)"},
       }) {
    const BudgetPlan plan = PlanBudget({}, Container(row.limit, 0, 0), row.rest);
    EXPECT_EQ(plan.bytes, row.budget) << plan.why;
    EXPECT_THAT(plan.why, HasSubstr(row.why));
    EXPECT_THAT(plan.why, HasSubstr("cgroup v2 limit " + AboutBytes(row.limit)));
  }
}

TEST(PlanBudgetTest, TakesHalfOfAMachineThatIsNotOursAlone) {
  MemoryReading reading;
  reading.levels = {Machine(16 * kGiB, 15 * kGiB)};
  BudgetPlan plan = PlanBudget({}, reading, 30 * kMiB);
  EXPECT_EQ(plan.bytes, 8 * kGiB);
  EXPECT_EQ(plan.why, "half of the machine's memory 16GiB");
  plan = PlanBudget({}, reading, 10 * kGiB);
  EXPECT_EQ(plan.bytes, 3584 * kMiB) << plan.why;
}

TEST(PlanBudgetTest, TheTightestLevelDecides) {
  MemoryReading reading = Container(4 * kGiB, 0, 0);
  reading.levels.insert(reading.levels.begin(),
                        {.source = MemorySource::kCgroupV1, .limit_bytes = 8 * kGiB});
  EXPECT_EQ(PlanBudget({}, reading, 0).bytes, 3584 * kMiB);
  reading.levels.back() = Machine(3 * kGiB, kGiB);
  EXPECT_EQ(PlanBudget({}, reading, 0).bytes, 2688 * kMiB)
      << "beside a cgroup the machine is a limit like any other";
}

TEST(PlanBudgetTest, StaysWithinMinAndMaxAndSaysSo) {
  const MemoryReading reading = Container(kGiB, 0, 0);
  BudgetPlan plan = PlanBudget({.max_bytes = 512 * kMiB}, reading, 0);
  EXPECT_EQ(plan.bytes, 512 * kMiB);
  EXPECT_THAT(plan.why, HasSubstr("at most 512MiB (memory.max)"));
  plan = PlanBudget({.min_bytes = 960 * kMiB}, reading, 0);
  EXPECT_EQ(plan.bytes, 960 * kMiB);
  EXPECT_THAT(plan.why, HasSubstr("at least 960MiB (memory.min)"));
  plan = PlanBudget({}, Container(16 * kMiB, 0, 0), 21 * kMiB);
  EXPECT_EQ(plan.bytes, 8 * kMiB);
  EXPECT_THAT(plan.why, HasSubstr("at least 8MiB (eight of the largest values)"));
  EXPECT_EQ(PlanBudget({.fixed_bytes = 5 * kGiB}, reading, 0).bytes, 5 * kGiB);
}

TEST(PlanBudgetTest, UnknownMemoryIsAModestSize) {
  const BudgetPlan plan = PlanBudget({}, MemoryReading{}, 0);
  EXPECT_EQ(plan.bytes, 256 * kMiB);
  EXPECT_EQ(plan.why, "the machine's memory is unknown");
  EXPECT_EQ(PlanBudget({.max_bytes = 64 * kMiB}, MemoryReading{}, 0).bytes, 64 * kMiB);
}

// A gibibyte for the tier below, of which 300 MiB are in use already.
TEST(PlanBudgetTest, WhatIsPromisedToTheTierBelowIsKeptOnce) {
  const MemoryReading reading = Container(4 * kGiB, 0, 0);
  const BudgetPlan alone = PlanBudget({}, reading, 100 * kMiB);
  const BudgetPlan unused = PlanBudget({.beside_bytes = kGiB}, reading, 100 * kMiB);
  EXPECT_EQ(unused.bytes, alone.bytes - kGiB);
  EXPECT_THAT(unused.why, testing::HasSubstr(", 1GiB kept for the second tier"));
  EXPECT_EQ(PlanBudget({.beside_bytes = kGiB}, reading, 400 * kMiB).bytes, unused.bytes);
  EXPECT_EQ(PlanBudget({.beside_bytes = kGiB}, reading, kGiB + 100 * kMiB).bytes, unused.bytes);
}

}  // namespace
}  // namespace larder
