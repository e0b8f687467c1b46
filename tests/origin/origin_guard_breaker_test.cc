// When the guard stops asking its origin, and when it begins again.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "origin/origin_guard.h"
#include "tests/origin/guard_rig.h"

namespace larder {
namespace {

using testing::HasSubstr;

TEST_F(OriginGuardTest, OpenBreakerRefusesAtOnce) {
  Trip();
  const int calls = script_->calls();
  EXPECT_TRUE(absl::IsUnavailable(Load({"k"})->status()));
  EXPECT_TRUE(WasNotAsked(Load({"k"})->status()));
  EXPECT_TRUE(absl::IsUnavailable(Store({"k"})->status()));
  EXPECT_EQ(script_->calls(), calls);
  const OriginStats stats = guard().Stats();
  EXPECT_EQ(stats.refused, 3u);
  EXPECT_EQ(stats.retries, 0u) << "a refusal is not repeated";
  EXPECT_EQ(stats.breaker_opened, 1u);
  EXPECT_EQ(stats.breaker_reason, "the last 4 calls failed");
  EXPECT_THAT(stats.state, HasSubstr("circuit breaker open: the last 4 calls failed; INTERNAL"));
}

TEST_F(OriginGuardTest, StoreThatMayHaveHappenedStaysOneWhenItsRepeatIsRefused) {
  script_->FailNext(1, absl::UnavailableError("cut off after the commit"));
  const auto store = Store({"k"});
  EXPECT_FALSE(store->done()) << "it will be repeated";
  Trip();
  const int calls = script_->calls();
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_TRUE(store->done());
  EXPECT_EQ(script_->calls(), calls);
  EXPECT_TRUE(absl::IsUnavailable(store->status()));
  EXPECT_FALSE(WasNotAsked(store->status()));
  EXPECT_THAT(std::string(store->status().message()), HasSubstr("cut off after the commit"));
}

// The repeat once answered for the attempt before it, too: a write that the origin had was said not
// to be stored.
TEST_F(OriginGuardTest, WritesThatMayHaveHappenedAreDoneOrUnknownWhateverTheirRepeatSays) {
  using Kind = OriginStored::Kind;
  script_->store = [](const std::string& key) {
    OriginStored stored{Kind::kDone};
    if (key == "locked") stored = {Kind::kRetry, absl::AbortedError("deadlock")};
    if (key == "refused") stored = {Kind::kReject, absl::InvalidArgumentError("too long")};
    return stored;
  };
  script_->FailNext(1, absl::UnavailableError("cut off after the commit"));
  const auto store = Store({"done", "locked", "refused"});
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_TRUE(store->status().ok()) << store->status();
  const std::vector<OriginStored>& stored = **store->result;
  EXPECT_EQ(stored[0].kind, Kind::kDone);
  EXPECT_EQ(stored[1].kind, Kind::kUnknown);
  EXPECT_EQ(stored[2].kind, Kind::kUnknown);
  EXPECT_THAT(stored[1].error.ToString(), HasSubstr("cut off after the commit"));
  EXPECT_THAT(stored[1].error.ToString(), HasSubstr("deadlock"));
  // Without such an attempt each is what it says.
  const auto alone = Store({"locked", "refused"});
  ASSERT_TRUE(alone->status().ok());
  EXPECT_EQ((**alone->result)[0].kind, Kind::kRetry);
  EXPECT_EQ((**alone->result)[1].kind, Kind::kReject);
}

TEST_F(OriginGuardTest, StoreThatMayHaveHappenedStaysOneWhenItsRepeatFailsForGood) {
  script_->FailNext(1, absl::UnavailableError("cut off after the commit"));
  const auto store = Store({"k"});
  script_->FailNext(1, absl::FailedPreconditionError("no such statement"));
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_TRUE(absl::IsUnavailable(store->status())) << store->status();
  EXPECT_THAT(std::string(store->status().message()), HasSubstr("cut off after the commit"));
  EXPECT_THAT(std::string(store->status().message()), HasSubstr("no such statement"));
}

TEST_F(OriginGuardTest, StoreThatReachedNobodyIsRepeatedAndLeavesNoDoubt) {
  script_->store = [](const std::string& /*key*/) {
    return OriginStored{OriginStored::Kind::kRetry, absl::NotFoundError("later")};
  };
  const absl::Status no_connection = NotAsked(absl::UnavailableError("no connection"));
  script_->FailNext(2, no_connection);
  const auto store = Store({"k"});
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(store->status().ok()) << store->status();
  EXPECT_EQ((**store->result)[0].kind, OriginStored::Kind::kRetry);
  EXPECT_EQ(script_->calls(), 3);
  script_->FailNext(3, no_connection);
  const auto none = Store({"k"});
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(WasNotAsked(none->status())) << none->status();
  EXPECT_EQ(script_->calls(), 6);
}

TEST_F(OriginGuardTest, StoreThatMayHaveHappenedStaysOneWhenItsRepeatsReachNobody) {
  script_->FailNext(1, absl::UnavailableError("cut off after the commit"));
  const auto store = Store({"k"});
  script_->FailNext(2, NotAsked(absl::UnavailableError("no connection")));
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(script_->calls(), 3);
  EXPECT_FALSE(WasNotAsked(store->status()));
  EXPECT_THAT(std::string(store->status().message()), HasSubstr("cut off after the commit"));
}

TEST_F(OriginGuardTest, OneGoodProbeClosesTheBreaker) {
  Trip();
  executor_.Advance(options_.breaker.open_max);
  script_->Hold(true);
  const auto probe = Load({"k"});
  EXPECT_EQ(guard().Stats().breaker, "half-open");
  EXPECT_EQ(script_->under_way(), 1);
  EXPECT_TRUE(absl::IsUnavailable(Load({"k"})->status())) << "one probe at a time";
  EXPECT_EQ(script_->under_way(), 1);
  script_->ReleaseOne();
  EXPECT_TRUE(probe->status().ok());
  EXPECT_EQ(guard().Stats().breaker, "closed");
  EXPECT_EQ(guard().Stats().state, "ok");
}

TEST_F(OriginGuardTest, ProbeIsNeverRepeated) {
  Trip();
  executor_.Advance(options_.breaker.open_max);
  script_->FailNext(1, absl::UnavailableError("still away"));
  const int calls = script_->calls();
  const auto probe = Load({"k"});
  executor_.Advance(absl::Milliseconds(900));
  EXPECT_TRUE(absl::IsUnavailable(probe->status()));
  EXPECT_FALSE(WasNotAsked(probe->status()));
  EXPECT_EQ(script_->calls(), calls + 1);
  EXPECT_EQ(guard().Stats().breaker, "open");
  EXPECT_EQ(guard().Stats().breaker_opened, 1u);
}

TEST_F(OriginGuardTest, ProbeWhoseItemsFailInPartIsNotRepeatedEither) {
  Trip();
  executor_.Advance(options_.breaker.open_max);
  const auto well = script_->answer;
  script_->answer = [well](const std::string& key, int call) {
    if (key == "a") return well(key, call);
    OriginLoaded failed;
    failed.error = absl::UnavailableError("this shard is away");
    return failed;
  };
  const int calls = script_->calls();
  EXPECT_TRUE(Load({"a", "b"})->status().ok());
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(script_->calls(), calls + 1);
}

// The origin is well at 500 calls a second, refuses everything for 20 s, and is well again.
TEST_F(OriginGuardTest, OutageCostsFewAttemptsAndEndsSoon) {
  script_->Delay(absl::Milliseconds(2));
  const auto run = [&](absl::Duration time) {
    const MonoNanos end = In(time);
    std::vector<std::shared_ptr<Call<Loads>>> calls;
    while (clock_.Mono() < end) {
      calls.push_back(Load({"k"}, In(absl::Seconds(2))));
      executor_.Advance(absl::Milliseconds(2));
    }
    return calls;
  };
  run(absl::Seconds(20));
  script_->FailNext(1'000'000, absl::UnavailableError("connection refused"));
  const int before = script_->calls();
  const auto calls = run(absl::Seconds(20));
  const int attempts = script_->calls() - before;
  EXPECT_LE(attempts, 24) << "1.2 a second";
  EXPECT_GE(attempts, 16) << "it is asked now and then";
  for (const auto& call : calls) EXPECT_TRUE(absl::IsUnavailable(call->status()));
  script_->FailNext(0, absl::OkStatus());
  run(absl::Milliseconds(1'260));
  EXPECT_EQ(guard().Stats().breaker, "closed");
  EXPECT_EQ(guard().Stats().breaker_opened, 1u);
}

// The same where many calls come at once: those in line wait for the first to find out.
TEST_F(OriginGuardTest, OutageUnderABurstCostsFewAttempts) {
  options_.concurrency = 16;
  script_->Delay(absl::Milliseconds(50));
  for (int i = 0; i < 200; ++i) Load({"k"});
  executor_.Advance(absl::Milliseconds(50));
  // The sixteen that are under way now still succeed.
  script_->Delay(absl::ZeroDuration());
  script_->FailNext(1'000'000, absl::UnavailableError("connection refused"));
  const int before = script_->calls();
  for (int ms = 0; ms < 20'000; ms += 10) {
    for (int i = 0; i < 10; ++i) Load({"k"}, In(absl::Seconds(2)));
    executor_.Advance(absl::Milliseconds(10));
  }
  EXPECT_LE(script_->calls() - before, 24);
  EXPECT_EQ(guard().Stats().queued, 0u) << "nobody waits for an origin that is away";
}

TEST_F(OriginGuardTest, ThoseInLineAreSentAwayWhenTheBreakerOpens) {
  options_.concurrency = 5;
  script_->Hold(true);
  for (int i = 0; i < 5; ++i) Load({"k"}, In(absl::Seconds(5)));
  std::vector<std::shared_ptr<Call<Loads>>> in_line;
  for (int i = 0; i < 100; ++i) in_line.push_back(Load({"k"}, In(absl::Seconds(50))));
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(guard().Stats().breaker, "open") << "all have timed out: it is frozen";
  EXPECT_EQ(guard().Stats().under_way, 5u);
  for (const auto& call : in_line) {
    EXPECT_TRUE(absl::IsUnavailable(call->status())) << call->status();
  }
}

// A connection breaks and takes all calls on it along; the next one works.
TEST_F(OriginGuardTest, CallsThatFailTogetherAreOneFailureInTheRow) {
  for (int i = 0; i < 20; ++i) Load({"k"});
  script_->Hold(true);
  script_->FailNext(16, absl::UnavailableError("connection reset"));
  std::vector<std::shared_ptr<Call<Loads>>> calls;
  for (int i = 0; i < 16; ++i) calls.push_back(Load({"k"}));
  executor_.Advance(absl::Milliseconds(5));
  script_->Hold(false);
  script_->ReleaseAll();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(guard().Stats().breaker, "closed");
  int ok = 0;
  for (const auto& call : calls) ok += call->status().ok();
  EXPECT_GE(ok, 10) << "as many as the budget allows are repeated";
}

TEST_F(OriginGuardTest, AfterAFailureCallsGoOneByOneUntilOneSucceeds) {
  script_->FailNext(1, absl::InternalError("hm"));
  Load({"k"});
  script_->Hold(true);
  for (int i = 0; i < 5; ++i) Load({"k"});
  EXPECT_EQ(script_->under_way(), 1);
  EXPECT_EQ(guard().Stats().queued, 4u);
  script_->ReleaseOne();
  executor_.RunReady();
  EXPECT_EQ(script_->under_way(), 4) << "all that waited";
}

TEST_F(OriginGuardTest, TrialThatTakesLongDoesNotHoldUpTheLine) {
  script_->FailNext(1, absl::InternalError("hm"));
  Load({"k"});
  script_->Hold(true);
  for (const char* key : {"1", "2", "3"}) Load({key}, In(absl::Seconds(5)));
  EXPECT_EQ(script_->under_way(), 1);
  executor_.Advance(options_.trial_max - absl::Nanoseconds(1));
  EXPECT_EQ(script_->under_way(), 1);
  executor_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(script_->under_way(), 2) << "the next one follows";
  executor_.Advance(options_.trial_max);
  EXPECT_EQ(script_->under_way(), 3);
}

// The origin stops in its tracks: nobody gets an answer, nobody a refusal.
TEST_F(OriginGuardTest, FrozenOriginGetsFewAttemptsToo) {
  script_->Delay(absl::Milliseconds(10));
  for (int i = 0; i < 100; ++i) {
    Load({"k"}, In(absl::Seconds(2)));
    executor_.Advance(absl::Milliseconds(10));
  }
  script_->Freeze(true);
  const int before = script_->calls();
  for (int ms = 0; ms < 20'000; ms += 10) {
    Load({"k"}, In(absl::Seconds(2)));
    executor_.Advance(absl::Milliseconds(10));
  }
  EXPECT_LE(script_->calls() - before, 24) << "one for each place, and then the probes";
  EXPECT_NE(guard().Stats().breaker, "closed");
}

TEST_F(OriginGuardTest, LoadWhoseItemsAllFailedUnwellIsAFailure) {
  script_->answer = [](const std::string& /*key*/, int /*call*/) {
    OriginLoaded failed;
    failed.error = absl::InternalError("null pointer");
    return failed;
  };
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Load({"a", "b"})->status().ok());
  EXPECT_EQ(guard().Stats().breaker, "open");
}

TEST_F(OriginGuardTest, LoadOfWhichOneItemWorkedIsASuccess) {
  const auto well = script_->answer;
  script_->answer = [well](const std::string& key, int call) {
    if (key == "a") return well(key, call);
    OriginLoaded failed;
    failed.error = absl::InternalError("null pointer");
    return failed;
  };
  for (int i = 0; i < 50; ++i) Load({"a", "b"});
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(OriginGuardTest, RefusalsOfAnOriginThatAnswersDoNotOpenTheBreaker) {
  for (const absl::Status& error :
       {absl::InvalidArgumentError("no such key"), absl::PermissionDeniedError("who are you"),
        absl::FailedPreconditionError("no statement"), absl::NotFoundError("no table")}) {
    script_->FailNext(50, error);
    for (int i = 0; i < 50; ++i) Load({"k"});
  }
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(OriginGuardTest, CallsThatHadLittleTimeLeftSayNothing) {
  options_.concurrency = 1;
  script_->Delay(absl::Milliseconds(70));
  for (int i = 0; i < 50; ++i) {
    const auto first = Load({"k"}, In(absl::Milliseconds(100)));
    const auto second = Load({"k"}, In(absl::Milliseconds(100)));
    executor_.Advance(absl::Milliseconds(200));
    EXPECT_TRUE(first->status().ok());
    EXPECT_TRUE(absl::IsDeadlineExceeded(second->status()));
  }
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(OriginGuardTest, HalfOfTheCallsFailingOpensTheBreaker) {
  for (int i = 0; i < 20 && guard().Stats().breaker == "closed"; ++i) {
    script_->FailNext(i % 2, absl::InternalError("flaps"));
    Load({"k"});
  }
  EXPECT_EQ(guard().Stats().breaker, "open");
  EXPECT_THAT(guard().Stats().breaker_reason, HasSubstr("of the last 10 calls failed"));
}

TEST_F(OriginGuardTest, SlowCallsOpenTheBreakerWhereThatIsConfigured) {
  script_->Delay(absl::Milliseconds(100));
  const auto run = [&] {
    for (int i = 0; i < 20; ++i) {
      Load({"k"});
      executor_.Advance(absl::Milliseconds(100));
    }
  };
  run();
  EXPECT_EQ(guard().Stats().breaker, "closed");
  guard_.reset();
  made_ = false;
  options_.breaker.slow = 0.8;
  options_.breaker.slow_after = absl::Milliseconds(80);
  run();
  EXPECT_EQ(guard().Stats().breaker, "open");
}

}  // namespace
}  // namespace larder
