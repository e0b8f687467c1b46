#include "client/cli/bench_report.h"

#include <gtest/gtest.h>

#include <cmath>

namespace larder::cli {
namespace {

BenchReport Report(double rate, absl::Duration p99, uint64_t failed = 0) {
  BenchReport report;
  report.server = "cache:50051";
  report.server_version = "0.1.0";
  report.client_version = "0.1.0";
  report.time = absl::UnixEpoch();
  report.settings = {{"rate", "1000"}, {"zipf", "0.99"}};
  BenchPart part;
  part.name = "cache";
  BenchOutcome& outcome = part.outcome;
  outcome.intended_rate = 1'000;
  outcome.achieved_rate = rate;
  outcome.span = absl::Seconds(10);
  outcome.planned = 10'000;
  outcome.ok = 10'000 - failed;
  outcome.hits = 9'000;
  outcome.misses = 1'000;
  if (failed > 0) outcome.errors["UNAVAILABLE"] = failed;
  outcome.all.count = outcome.ok;
  outcome.all.mean = outcome.all.p50 = outcome.all.p90 = p99 / 10;
  outcome.all.p99 = p99;
  outcome.all.p999 = p99;
  outcome.all.max = p99;
  outcome.from_start = outcome.all;
  report.parts = {part};
  return report;
}

const Figure* Find(const BenchComparison& comparison, const std::string& name) {
  for (const Figure& figure : comparison.figures) {
    if (figure.name == name) return &figure;
  }
  return nullptr;
}

TEST(CompareBenches, TellsHowManyTimesBIsA) {
  const auto comparison = CompareBenches(BenchJson(Report(1'000, absl::Milliseconds(2))).Text(),
                                         BenchJson(Report(500, absl::Milliseconds(3), 100)).Text());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  const Figure* const p99 = Find(*comparison, "cache p99_seconds");
  ASSERT_NE(p99, nullptr);
  EXPECT_NEAR(p99->ratio(), 1.5, 1e-9);
  EXPECT_NEAR(p99->worse(), 1.5, 1e-9);
  const Figure* const rate = Find(*comparison, "cache achieved_rate");
  ASSERT_NE(rate, nullptr);
  EXPECT_NEAR(rate->ratio(), 0.5, 1e-9);
  EXPECT_NEAR(rate->worse(), 2, 1e-9);
  const Figure* const failed = Find(*comparison, "cache failed");
  ASSERT_NE(failed, nullptr);
  EXPECT_DOUBLE_EQ(failed->b, 0.01);
  EXPECT_TRUE(std::isinf(failed->worse()));
  EXPECT_DOUBLE_EQ(Find(*comparison, "cache hit_ratio")->ratio(), 1);
  EXPECT_TRUE(comparison->unlike.empty());
}

TEST(CompareBenches, SaysWhatWasMeasuredDifferently) {
  BenchReport other = Report(1'000, absl::Milliseconds(2));
  other.settings["rate"] = "2000";
  const auto comparison = CompareBenches(BenchJson(Report(1'000, absl::Milliseconds(2))).Text(),
                                         BenchJson(other).Text());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  ASSERT_EQ(comparison->unlike.size(), 1u);
  EXPECT_EQ(comparison->unlike[0], "rate: 1000 / 2000");
}

// Phase 1 reads a tenth of the keys from the cache and keeps no write, phase 2 keeps a tenth of
// them: what is hit then is no fault, and a rollout would never come further.
TEST(CompareBenches, DoesNotJudgeTheHitRatioOfAnotherPhaseOfARollout) {
  const std::string before = BenchJson(Report(1'000, absl::Milliseconds(2))).Text();
  BenchReport first = Report(1'000, absl::Milliseconds(2));
  first.parts[0].outcome.hits = 0;
  first.parts[0].outcome.past = 9'000;
  first.parts[0].outcome.misses = 1'000;
  first.parts[0].kept_ratio = 0;
  BenchReport second = Report(1'000, absl::Milliseconds(2));
  second.parts[0].outcome.hits = 1'000;
  second.parts[0].outcome.misses = 9'000;
  second.parts[0].kept_ratio = 0.1;
  for (const BenchReport& phase : {first, second}) {
    const auto comparison = CompareBenches(before, BenchJson(phase).Text());
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    EXPECT_NE(Find(*comparison, "cache hit_ratio")->unjudged, "");
    EXPECT_FALSE(comparison->Worse(1.5));
    const auto same = CompareBenches(BenchJson(phase).Text(), BenchJson(phase).Text());
    ASSERT_TRUE(same.ok()) << same.status();
    EXPECT_EQ(Find(*same, "cache hit_ratio")->unjudged, "");
  }
  // Without a rollout a hit ratio that falls is what it was.
  second.parts[0].kept_ratio = 1;
  const auto fallen = CompareBenches(before, BenchJson(second).Text());
  ASSERT_TRUE(fallen.ok()) << fallen.status();
  EXPECT_TRUE(fallen->Worse(8));
  EXPECT_FALSE(fallen->Worse(10));
}

TEST(CompareBenches, DoesNotJudgePercentilesOfAFewCalls) {
  BenchReport few = Report(1'000, absl::Milliseconds(2));
  few.parts[0].outcome.all.count = 1'000;
  BenchReport slow = few;
  slow.parts[0].outcome.all.p999 = slow.parts[0].outcome.all.max = absl::Seconds(1);
  auto comparison = CompareBenches(BenchJson(few).Text(), BenchJson(slow).Text());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_FALSE(comparison->Worse(1.5));
  slow.parts[0].outcome.all.p99 = absl::Seconds(1);
  comparison = CompareBenches(BenchJson(few).Text(), BenchJson(slow).Text());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_TRUE(comparison->Worse(1.5));
}

TEST(CompareBenches, RefusesWhatIsNoBench) {
  const std::string bench = BenchJson(Report(1, absl::Milliseconds(1))).Text();
  EXPECT_EQ(CompareBenches("{}", bench).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CompareBenches(bench, "what?").status().code(), absl::StatusCode::kInvalidArgument);
  BenchReport other = Report(1, absl::Milliseconds(1));
  other.parts[0].name = "origin";
  EXPECT_EQ(CompareBenches(bench, BenchJson(other).Text()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(PrintBench, ShowsBothRatesFailuresAndLateStarts) {
  BenchReport report = Report(990, absl::Milliseconds(2), 100);
  report.parts[0].outcome.late_starts = 500;
  report.parts[0].outcome.unsent = 3;
  Output out;
  ::testing::internal::CaptureStdout();
  PrintBench(report, &out);
  ASSERT_TRUE(out.Flush().ok());
  const std::string text = ::testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("cache: 1000 calls/s asked for, 990/s answered"), std::string::npos) << text;
  EXPECT_NE(text.find("103 of 10000 calls failed: 100 UNAVAILABLE, 3 could not be sent\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("500 calls began more than 1.00ms late"), std::string::npos) << text;
  EXPECT_NE(text.find("more than 1% began late"), std::string::npos) << text;
}

TEST(PrintBench, TellsWhatARolloutLeavesOut) {
  BenchReport report = Report(990, absl::Milliseconds(2));
  report.parts[0].outcome.past = 90'000;
  report.parts[0].kept_ratio = 0.05;
  Output out;
  ::testing::internal::CaptureStdout();
  PrintBench(report, &out);
  ASSERT_TRUE(out.Flush().ok());
  const std::string text = ::testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("; hit ratio 90.0%\n  90.0% of the reads were of keys that the cache is not "
                      "used for (rollout): the hit ratio is of the others\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("the cache kept 5.0% of its own keys"), std::string::npos) << text;
}

TEST(PrintBench, ShowsWhatTheCacheSaves) {
  BenchReport report = Report(1'000, absl::Milliseconds(2));
  report.parts[0].origin_loads = 10;
  report.parts.push_back(Report(1'000, absl::Milliseconds(40)).parts[0]);
  report.parts[1].name = "origin";
  report.parts[1].origin_loads = 10'000;
  Output out;
  ::testing::internal::CaptureStdout();
  PrintBench(report, &out);
  ASSERT_TRUE(out.Flush().ok());
  const std::string text = ::testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("WHAT THE CACHE SAVES"), std::string::npos) << text;
  EXPECT_NE(text.find("1000.0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("20.0\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace larder::cli
