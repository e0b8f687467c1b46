#include "policy/freshness.h"

#include <gtest/gtest.h>

#include <random>

namespace larder {
namespace {

constexpr MonoNanos kSecond = 1'000'000'000;

FreshnessPolicy Ahead(double share) {
  FreshnessPolicy policy;
  policy.refresh_ahead = share;
  return policy;
}

TEST(FreshnessTest, NothingIsStaleAndNothingIsRefreshedUnlessThePolicySaysSo) {
  const FreshnessPolicy policy;
  EXPECT_FALSE(policy.any_stale());
  EXPECT_EQ(policy.stale_most(), absl::ZeroDuration());
  for (const MonoNanos now : {MonoNanos{0}, 99 * kSecond, 100 * kSecond, 1000 * kSecond})
    EXPECT_FALSE(RefreshDue(policy, 0, 100 * kSecond, now, 0));
}

TEST(FreshnessTest, LongerOfTheStaleWindowsSaysHowLongAValueMayBeServed) {
  FreshnessPolicy policy;
  policy.stale_while_revalidate = absl::Seconds(30);
  EXPECT_EQ(policy.stale_most(), absl::Seconds(30));
  policy.stale_if_error = absl::Hours(1);
  EXPECT_EQ(policy.stale_most(), absl::Hours(1));
  EXPECT_TRUE(policy.any_stale());
}

TEST(FreshnessTest, RefreshIsDueFromItsShareOfTheTtl) {
  const FreshnessPolicy policy = Ahead(0.8);
  const MonoNanos written = 1000 * kSecond, end = 1100 * kSecond;
  EXPECT_FALSE(RefreshDue(policy, written, end, written, 0));
  EXPECT_FALSE(RefreshDue(policy, written, end, 1080 * kSecond - 1, 0));
  EXPECT_TRUE(RefreshDue(policy, written, end, 1080 * kSecond, 0));
  EXPECT_TRUE(RefreshDue(policy, written, end, end - 1, 0));
  // Whoever asks late is not told that it is too late: what is past its end is another's decision.
  EXPECT_TRUE(RefreshDue(policy, written, end, end + kSecond, 0));
}

TEST(FreshnessTest, DrawMovesTheRefreshForwardByATenthAtMost) {
  const FreshnessPolicy policy = Ahead(0.8);
  EXPECT_FALSE(RefreshDue(policy, 0, 100 * kSecond, 76 * kSecond - 1, 0.5));
  EXPECT_TRUE(RefreshDue(policy, 0, 100 * kSecond, 76 * kSecond, 0.5));
  EXPECT_FALSE(RefreshDue(policy, 0, 100 * kSecond, 72 * kSecond, 0.99));
  EXPECT_TRUE(RefreshDue(policy, 0, 100 * kSecond, 72 * kSecond + kSecond / 10, 0.99));
}

TEST(FreshnessTest, EntryWithoutAnEndIsNeverRefreshedAhead) {
  for (const MonoNanos now : {MonoNanos{0}, MonoNanos{INT64_MAX / 2}, MonoNanos{INT64_MAX}})
    EXPECT_FALSE(RefreshDue(Ahead(0.01), 0, INT64_MAX, now, 0.99));
}

TEST(FreshnessTest, ClockThatStartedLateOrAnEntryWrittenAheadOfItIsNotDue) {
  EXPECT_FALSE(RefreshDue(Ahead(0.5), 10 * kSecond, 20 * kSecond, 5 * kSecond, 0));
  EXPECT_TRUE(RefreshDue(Ahead(0.5), -10 * kSecond, 20 * kSecond, 5 * kSecond, 0));
}

TEST(FreshnessTest, RefreshOnceDueStaysDue) {
  std::mt19937_64 random(20);
  for (int round = 0; round < 10'000; ++round) {
    const FreshnessPolicy policy = Ahead(0.01 + static_cast<double>(random() % 99) / 100);
    const MonoNanos written = static_cast<MonoNanos>(random() % (1'000 * kSecond));
    const MonoNanos life = 1 + static_cast<MonoNanos>(random() % (86'400 * kSecond));
    const double draw = static_cast<double>(random() % 1000) / 1000;
    bool due = false;
    for (int step = 0; step <= 20; ++step) {
      const MonoNanos now = written + life / 20 * step;
      const bool now_due = RefreshDue(policy, written, written + life, now, draw);
      ASSERT_TRUE(now_due || !due) << "round " << round << ", step " << step;
      due = now_due;
    }
    ASSERT_TRUE(RefreshDue(policy, written, written + life, written + life, draw));
  }
}

TEST(ErrorSetTest, HoldsWhatWasAdded) {
  ErrorSet set;
  for (int code = 0; code <= 16; ++code)
    EXPECT_FALSE(set.Has(static_cast<absl::StatusCode>(code))) << code;
  set.Add(absl::StatusCode::kNotFound);
  set.Add(absl::StatusCode::kUnauthenticated);
  for (int code = 0; code <= 16; ++code)
    EXPECT_EQ(set.Has(static_cast<absl::StatusCode>(code)), code == 5 || code == 16) << code;
  EXPECT_FALSE(set == ErrorSet());
}

TEST(ErrorSetTest, UnwellIsWhatTheOriginCannotHelpAndNotWhatTheCallerDidWrong) {
  const ErrorSet unwell = ErrorSet::OfUnwell();
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
        absl::StatusCode::kResourceExhausted, absl::StatusCode::kAborted,
        absl::StatusCode::kInternal, absl::StatusCode::kUnknown, absl::StatusCode::kDataLoss}) {
    EXPECT_TRUE(unwell.Has(code)) << absl::StatusCodeToString(code);
  }
  for (const absl::StatusCode code :
       {absl::StatusCode::kOk, absl::StatusCode::kCancelled, absl::StatusCode::kInvalidArgument,
        absl::StatusCode::kNotFound, absl::StatusCode::kAlreadyExists,
        absl::StatusCode::kPermissionDenied, absl::StatusCode::kFailedPrecondition,
        absl::StatusCode::kOutOfRange, absl::StatusCode::kUnimplemented,
        absl::StatusCode::kUnauthenticated}) {
    EXPECT_FALSE(unwell.Has(code)) << absl::StatusCodeToString(code);
  }
}

}  // namespace
}  // namespace larder
