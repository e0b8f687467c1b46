// What `larder verify` makes of the answers of replicas.

#include "client/cli/comparison.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

const KeyName kKey{"", "k"};

absl::Duration Ms(int64_t milliseconds) { return absl::Milliseconds(milliseconds); }

CopyInfo Copy(uint64_t version, absl::Duration age, uint32_t checksum = 7, Tier tier = Tier::kL1) {
  CopyInfo copy;
  copy.tier = tier;
  copy.version = version;
  copy.age = age;
  copy.value_bytes = 5;
  copy.checksum = checksum;
  return copy;
}

CopyInfo OriginCopy(uint32_t checksum) {
  return Copy(0, absl::ZeroDuration(), checksum, Tier::kOrigin);
}

// What `replica` answered at `at`, which took 2 ms.
Answer Said(size_t replica, absl::Duration at, std::vector<CopyInfo> copies) {
  Answer answer;
  answer.replica = replica;
  answer.asked = at;
  answer.answered = at + Ms(2);
  answer.result.copies = std::move(copies);
  return answer;
}

uint64_t StaleCopies(const Comparison& comparison) {
  uint64_t sum = 0;
  for (const uint64_t count : comparison.report().staleness) sum += count;
  return sum;
}

TEST(ComparisonTest, FindsNothingWhereAllAgree) {
  Comparison comparison({});
  comparison.Add(kKey, {Said(0, Ms(0), {Copy(5, Ms(900)), Copy(5, Ms(900), 7, Tier::kL2)}),
                        Said(1, Ms(2), {Copy(5, Ms(10))}), Said(2, Ms(4), {})});
  comparison.Finish();
  EXPECT_EQ(comparison.report().violations_total, 0u);
  EXPECT_EQ(StaleCopies(comparison), 0u);
  EXPECT_EQ(comparison.report().memory_copies, 2u);
  EXPECT_EQ(comparison.report().lower_copies, 1u);
}

TEST(ComparisonTest, AnOlderCopyIsStaleSinceTheNewerOneWasWritten) {
  Comparison comparison({.bound = absl::Seconds(1)});
  // Replica 1 answers at 12 ms at the latest that version 6 is 2 s old; replica 0 was asked at 0.
  comparison.Add(kKey, {Said(0, Ms(0), {Copy(5, absl::Minutes(1))}),
                        Said(1, Ms(10), {Copy(6, absl::Seconds(2))})});
  const Comparison::Report& report = comparison.report();
  ASSERT_EQ(report.violations_total, 1u);
  const Violation& violation = report.violations[0];
  EXPECT_EQ(violation.kind, ViolationKind::kStale);
  EXPECT_EQ(violation.replica, 0u);
  EXPECT_EQ(violation.version, 5u);
  EXPECT_EQ(violation.behind, absl::Seconds(2) - Ms(12));
  EXPECT_EQ(violation.what, "version 6 is there");
  comparison.Finish();
  EXPECT_EQ(report.staleness, (std::array<uint64_t, 7>{0, 0, 0, 0, 1, 0, 0}));
}

// Replica 0 is asked, then the key is changed, then replica 1 is asked.
TEST(ComparisonTest, AChangeBetweenTheAnswersIsNoStaleness) {
  Comparison comparison({.bound = absl::ZeroDuration()});
  comparison.Add(kKey,
                 {Said(0, Ms(0), {Copy(5, absl::Minutes(1))}), Said(1, Ms(10), {Copy(6, Ms(5))})});
  comparison.Finish();
  EXPECT_EQ(comparison.report().violations_total, 0u);
  EXPECT_EQ(StaleCopies(comparison), 0u);
}

TEST(ComparisonTest, AStaleCopyCountsOnceByTheLongestTimeItWasSeen) {
  Comparison comparison({.bound = absl::Seconds(1)});
  for (int round = 0; round < 5; ++round) {
    const absl::Duration at = Ms(50 * round);
    comparison.Add(kKey, {Said(0, at, {Copy(5, absl::Minutes(1))}),
                          Said(1, at + Ms(2), {Copy(6, Ms(50 * round))})});
  }
  // It goes, and comes to an end by that.
  comparison.Add(kKey, {Said(0, Ms(300), {Copy(6, Ms(10))})});
  EXPECT_EQ(comparison.report().violations_total, 0u) << "it was within the bound";
  EXPECT_EQ(comparison.report().staleness, (std::array<uint64_t, 7>{0, 0, 0, 1, 0, 0, 0}));
}

TEST(ComparisonTest, AStaleCopyIsToldOnce) {
  Comparison comparison({.bound = Ms(10)});
  for (int round = 0; round < 3; ++round) {
    const absl::Duration at = absl::Seconds(round);
    comparison.Add(kKey, {Said(0, at, {Copy(5, absl::Minutes(1))}),
                          Said(1, at, {Copy(6, absl::Seconds(round))})});
  }
  comparison.Finish();
  EXPECT_EQ(comparison.report().violations_total, 1u);
  EXPECT_EQ(StaleCopies(comparison), 1u);
}

// A server whose clock is ahead makes its copies look older than they are.
TEST(ComparisonTest, TheYoungestAgeOfAVersionCounts) {
  Comparison comparison({.bound = absl::Seconds(1)});
  comparison.Add(
      kKey, {Said(0, Ms(0), {Copy(5, absl::Hours(1))}), Said(1, Ms(2), {Copy(6, absl::Minutes(5))}),
             Said(2, Ms(4), {Copy(6, Ms(3))})});
  EXPECT_EQ(comparison.report().violations_total, 0u);
}

// And one whose clock is behind makes them look new for ever: what was seen once was there.
TEST(ComparisonTest, AVersionIsNoYoungerThanItsFirstSight) {
  Comparison comparison({.bound = absl::Seconds(1)});
  comparison.Add(kKey, {Said(1, Ms(0), {Copy(6, absl::ZeroDuration())})});
  comparison.Add(kKey, {Said(0, absl::Seconds(3), {Copy(5, absl::Hours(1))}),
                        Said(1, absl::Seconds(3), {Copy(6, absl::ZeroDuration())})});
  ASSERT_EQ(comparison.report().violations_total, 1u);
  EXPECT_EQ(comparison.report().violations[0].behind, absl::Seconds(3) - Ms(2));
}

TEST(ComparisonTest, ACopyStaysStaleWhenTheNewerOneIsGone) {
  Comparison comparison({.bound = absl::Seconds(1)});
  comparison.Add(kKey, {Said(1, Ms(0), {Copy(6, Ms(1))})});
  comparison.Add(
      kKey, {Said(0, absl::Seconds(5), {Copy(5, absl::Hours(1))}), Said(1, absl::Seconds(5), {})});
  EXPECT_EQ(comparison.report().violations_total, 1u);
}

TEST(ComparisonTest, CopiesThatTheirReplicaDoubtsAreNotJudged) {
  Comparison comparison({.bound = Ms(1)});
  CopyInfo doubted = Copy(5, absl::Hours(1));
  doubted.suspect = true;
  comparison.Add(kKey, {Said(0, Ms(0), {doubted}), Said(1, Ms(2), {Copy(6, absl::Minutes(1))})});
  comparison.Finish();
  EXPECT_EQ(comparison.report().suspect, 1u);
  EXPECT_EQ(comparison.report().violations_total, 0u);
  EXPECT_EQ(StaleCopies(comparison), 0u);
}

TEST(ComparisonTest, TwoValuesOfOneVersionAreAConflictOnce) {
  Comparison comparison({});
  for (int round = 0; round < 2; ++round) {
    comparison.Add(kKey, {Said(0, absl::Seconds(round), {Copy(5, Ms(1), 0xAB)}),
                          Said(1, absl::Seconds(round), {Copy(5, Ms(1), 0xCD)})});
  }
  ASSERT_EQ(comparison.report().violations_total, 1u);
  const Violation& violation = comparison.report().violations[0];
  EXPECT_EQ(violation.kind, ViolationKind::kConflict);
  EXPECT_EQ(violation.replica, 1u);
  EXPECT_EQ(violation.what, "another copy of this version is not 5 bytes (cd)");
}

TEST(ComparisonTest, AValueAndAnAbsenceOfOneVersionAreAConflict) {
  Comparison comparison({});
  CopyInfo absent = Copy(5, Ms(1));
  absent.negative = true;
  absent.checksum.reset();
  comparison.Add(kKey, {Said(0, Ms(0), {Copy(5, Ms(1))}),
                        Said(1, Ms(2), {absent, Copy(5, Ms(1), 7, Tier::kL2)})});
  ASSERT_EQ(comparison.report().violations_total, 1u);
  EXPECT_EQ(comparison.report().violations[0].what, "another copy of this version is not absent");
}

TEST(ComparisonTest, KeysAreJudgedByThemselves) {
  Comparison comparison({.bound = Ms(1)});
  comparison.Add({"a", "k"}, {Said(0, Ms(0), {Copy(5, absl::Minutes(1), 1)})});
  comparison.Add({"b", "k"}, {Said(0, Ms(2), {Copy(6, absl::Minutes(1), 2)})});
  comparison.Add({"b", "l"}, {Said(0, Ms(4), {Copy(5, absl::Minutes(1), 3)})});
  EXPECT_EQ(comparison.report().violations_total, 0u);
}

TEST(ComparisonTest, ADifferenceFromTheOriginIsCountedAndToldWhenItLastsTooLong) {
  Comparison comparison({.origin_bound = absl::Seconds(2)});
  for (int round = 0; round < 5; ++round) {
    comparison.Add(kKey,
                   {Said(0, absl::Seconds(round), {Copy(5, absl::Minutes(1), 1), OriginCopy(2)}),
                    Said(1, absl::Seconds(round), {Copy(5, absl::Minutes(1), 1)})});
  }
  EXPECT_EQ(comparison.report().differs, 5u);
  ASSERT_EQ(comparison.report().violations_total, 1u);
  EXPECT_EQ(comparison.report().violations[0].kind, ViolationKind::kOrigin);
  EXPECT_EQ(comparison.report().violations[0].what, "the origin has 5 bytes (2)");
}

TEST(ComparisonTest, ADifferenceFromTheOriginIsOnlyCountedWithoutABound) {
  Comparison comparison({});
  comparison.Add(kKey, {Said(0, Ms(0), {Copy(5, absl::Minutes(1), 1), OriginCopy(2)})});
  comparison.Add(kKey, {Said(0, absl::Hours(1), {Copy(5, absl::Hours(1), 1), OriginCopy(2)})});
  EXPECT_EQ(comparison.report().differs, 2u);
  EXPECT_EQ(comparison.report().violations_total, 0u);
}

TEST(ComparisonTest, TheOriginIsNotComparedWithAWriteThatWaitsOrWithNothing) {
  Comparison comparison({.origin_bound = absl::ZeroDuration()});
  Answer waits = Said(0, Ms(0), {Copy(5, Ms(1), 1), OriginCopy(2)});
  waits.result.pending.emplace();
  comparison.Add(kKey, {waits});
  EXPECT_EQ(comparison.report().waiting, 1u);
  // Nothing is held any more.
  comparison.Add(kKey, {Said(0, Ms(10), {OriginCopy(2)})});
  EXPECT_EQ(comparison.report().violations_total, 0u);
  EXPECT_EQ(comparison.report().differs, 0u);
  comparison.Add(kKey, {Said(0, Ms(20), {Copy(5, Ms(20), 1), OriginCopy(2)})});
  EXPECT_EQ(comparison.report().violations_total, 1u);
}

TEST(ComparisonTest, KeepsAThousandViolationsAndCountsAll) {
  Comparison comparison({.bound = Ms(1)});
  for (size_t i = 0; i <= Comparison::kViolationsMax; ++i) {
    comparison.Add({"", std::to_string(i)}, {Said(0, Ms(0), {Copy(5, absl::Minutes(2))}),
                                             Said(1, Ms(2), {Copy(6, absl::Minutes(1))})});
  }
  EXPECT_EQ(comparison.report().violations.size(), Comparison::kViolationsMax);
  EXPECT_EQ(comparison.report().violations_total, Comparison::kViolationsMax + 1);
}

}  // namespace
}  // namespace larder::cli
