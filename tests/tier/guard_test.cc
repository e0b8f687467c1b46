// What the guard adds to a tier. That it keeps the tier's contract is the suite's business.

#include "tier/guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/tier/guard_rig.h"

namespace larder {
namespace {

using testing::HasSubstr;

TEST_F(GuardTest, PassesCallsThrough) {
  EXPECT_TRUE(Put(7)->status().ok());
  const auto get = Get();
  ASSERT_TRUE(get->status().ok());
  EXPECT_EQ((*get->result)->front().entry.stored(), "vvv");
  EXPECT_TRUE(Erase(8)->status().ok());
  EXPECT_TRUE(Scan()->status().ok());
  EXPECT_TRUE(guard().shared());
  const TierStats stats = guard().Stats();
  EXPECT_EQ(stats.name, "fake");
  EXPECT_EQ(stats.state, "ok");
  EXPECT_EQ(stats.breaker, "closed");
  EXPECT_EQ(stats.puts, 1u);
  EXPECT_EQ(stats.errors + stats.timeouts + stats.retries + stats.rejected, 0u);
  EXPECT_EQ(executor_.timers(), 0u);
}

TEST_F(GuardTest, EachKindOfCallHasItsTimeLimit) {
  options_.scan_timeout = absl::Milliseconds(150);
  inner().SetFaults({.hang = true});
  const auto get = Get();
  const auto put = Put(1);
  const auto erase = Erase(1);
  const auto scan = Scan();
  executor_.Advance(options_.read_timeout - absl::Nanoseconds(1));
  EXPECT_FALSE(get->done());
  executor_.Advance(absl::Nanoseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(get->status())) << get->status();
  EXPECT_FALSE(put->done() || erase->done());
  executor_.Advance(options_.write_timeout - options_.read_timeout);
  EXPECT_TRUE(absl::IsDeadlineExceeded(put->status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(erase->status()));
  EXPECT_FALSE(scan->done());
  executor_.Advance(absl::Milliseconds(50));
  EXPECT_TRUE(absl::IsDeadlineExceeded(scan->status()));
  const TierStats stats = guard().Stats();
  EXPECT_EQ(stats.timeouts, 4u);
  EXPECT_EQ(stats.errors, 4u);
  EXPECT_EQ(stats.retries, 0u) << "who ran out of time is not repeated";
}

TEST_F(GuardTest, CallersDeadlineCountsWhereItIsSooner) {
  inner().SetFaults({.hang = true});
  const auto get = Get(MonoAfter(clock_.Mono(), absl::Milliseconds(3)));
  executor_.Advance(absl::Milliseconds(3));
  EXPECT_TRUE(absl::IsDeadlineExceeded(get->status()));
  const uint64_t calls = inner().calls();
  EXPECT_TRUE(absl::IsDeadlineExceeded(Get(clock_.Mono())->status()));
  EXPECT_EQ(inner().calls(), calls) << "without time left nothing is asked";
}

TEST_F(GuardTest, LateAnswerIsDroppedAndItsChangeStays) {
  inner().SetFaults({.hang = true});
  const auto put = Put(1);
  executor_.Advance(options_.write_timeout);
  EXPECT_TRUE(absl::IsDeadlineExceeded(put->status()));
  inner().Release();
  executor_.RunReady();
  EXPECT_TRUE(absl::IsDeadlineExceeded(put->status()));
  inner().SetFaults({});
  EXPECT_EQ((*Get()->result)->front().entry.version, 1u);
}

TEST_F(GuardTest, WhatFailsQuicklyIsRepeated) {
  options_.breaker.min_calls = 1000;
  inner().SetFaults({.fail_next = 2});
  const auto get = Get();
  EXPECT_FALSE(get->done());
  executor_.Advance(options_.read_timeout / 2);
  EXPECT_TRUE(get->status().ok()) << get->status();
  inner().SetFaults({.fail_next = 1});
  const auto put = Put(1);
  inner().SetFaults({.fail_next = 1});
  const auto erase = Erase(2);
  executor_.Advance(options_.read_timeout / 2);
  EXPECT_TRUE(put->status().ok());
  EXPECT_TRUE(erase->status().ok());
  EXPECT_EQ(guard().Stats().retries, 4u);
  EXPECT_EQ(guard().Stats().errors, 0u);
}

TEST_F(GuardTest, PutWhoseAnswerWasLostIsDoneOnTheSecondTry) {
  inner().SetFaults({.lose_next = 1});
  const auto put = Put(1);
  executor_.Advance(options_.write_timeout / 2);
  ASSERT_TRUE(put->status().ok());
  EXPECT_EQ((*put->result)->front().outcome, TierChange::Outcome::kDone);
}

TEST_F(GuardTest, PutWithAConditionIsNeverRepeated) {
  for (const Expect::Kind kind : {Expect::Kind::kAbsent, Expect::Kind::kPresent,
                                  Expect::Kind::kVersion, Expect::Kind::kUnchanged}) {
    inner().SetFaults({.fail_next = 1});
    const uint64_t calls = inner().calls();
    EXPECT_TRUE(absl::IsUnavailable(Put(1, {kind, 0})->status()));
    executor_.Advance(options_.write_timeout);
    EXPECT_EQ(inner().calls(), calls + 1);
    clock_.Advance(absl::Minutes(1));
  }
  EXPECT_EQ(guard().Stats().retries, 0u);
}

TEST_F(GuardTest, LargePutIsNotRepeated) {
  options_.retry_bytes_max = 1000;
  inner().SetFaults({.fail_next = 1});
  EXPECT_TRUE(absl::IsUnavailable(Put(1, {}, 1000)->status()));
  inner().SetFaults({.fail_next = 1});
  EXPECT_FALSE(Put(2, {}, 500)->done());
  executor_.Advance(options_.write_timeout);
}

TEST_F(GuardTest, OtherErrorsAreNotRepeated) {
  for (const absl::Status& error :
       {absl::InternalError("a bug"), absl::PermissionDeniedError("NOAUTH"),
        absl::ResourceExhaustedError("OOM"), absl::DeadlineExceededError("late")}) {
    inner().SetFaults({.fail_next = 1, .error = error});
    EXPECT_EQ(Get()->status(), error);
    clock_.Advance(absl::Minutes(1));
  }
  EXPECT_EQ(guard().Stats().retries, 0u);
  EXPECT_EQ(guard().Stats().errors, 4u);
}

TEST_F(GuardTest, AttemptsAreBounded) {
  options_.breaker.min_calls = 1000;
  inner().SetFaults({.fail_next = 1000});
  const auto get = Get();
  executor_.Advance(options_.read_timeout);
  EXPECT_TRUE(absl::IsUnavailable(get->status()));
  EXPECT_EQ(inner().calls(), 3u);
}

TEST_F(GuardTest, RetriesEndWithTheirBudget) {
  options_.breaker.min_calls = 1000;
  options_.retry_budget = {.ratio = 0.1, .burst = 4};
  inner().SetFaults({.fail_next = 1000});
  for (int i = 0; i < 50; ++i) {
    Get();
    executor_.Advance(options_.read_timeout);
  }
  EXPECT_EQ(guard().Stats().retries, 4u);
  EXPECT_EQ(inner().calls(), 54u);
}

TEST_F(GuardTest, RetriesStayWithinTheTimeLimit) {
  options_.breaker.min_calls = 1000;
  options_.attempts_max = 10;
  options_.backoff = {.first = absl::Milliseconds(20), .max = absl::Milliseconds(40)};
  inner().SetFaults({.fail_next = 1000});
  const MonoNanos began = clock_.Mono();
  const auto get = Get();
  while (!get->done()) executor_.Advance(absl::Milliseconds(1));
  EXPECT_LE(Ago(began), options_.read_timeout);
  EXPECT_LE(inner().calls(), 4u);
}

TEST_F(GuardTest, CallsUnderWayAreBounded) {
  options_.in_flight_max = 3;
  inner().SetFaults({.hang = true});
  std::vector<std::shared_ptr<Call<Reads>>> hanging;
  for (int i = 0; i < 3; ++i) hanging.push_back(Get());
  const auto refused = Get();
  EXPECT_TRUE(absl::IsResourceExhausted(refused->status()));
  EXPECT_THAT(std::string(refused->status().message()), HasSubstr("at most 3"));
  // Those whose callers have gone still take their place.
  executor_.Advance(options_.read_timeout);
  EXPECT_TRUE(hanging[0]->done());
  EXPECT_TRUE(absl::IsResourceExhausted(Get()->status()));
  EXPECT_EQ(guard().Stats().rejected, 2u);
  inner().Release();
  executor_.RunReady();
  inner().SetFaults({});
  EXPECT_TRUE(Get()->status().ok());
}

TEST_F(GuardTest, OutlivesItselfForLateAttempts) {
  inner().SetFaults({.hang = true});
  const auto early = Get();
  executor_.Advance(options_.read_timeout);
  const auto late = Get();
  guard_.reset();
  executor_.Advance(options_.read_timeout);
  EXPECT_TRUE(absl::IsDeadlineExceeded(early->status()));
  EXPECT_TRUE(absl::IsDeadlineExceeded(late->status()));
  // The inner tier lives on until the last of its calls has ended.
  EXPECT_EQ(inner_->waiting(), 2u);
  inner_->Release();
  executor_.RunReady();
}

TEST_F(GuardTest, RetryAfterTheEndIsRefused) {
  inner().SetFaults({.fail_next = 1});
  const auto get = Get();
  ASSERT_FALSE(get->done());
  guard_.reset();
  executor_.Advance(options_.read_timeout);
  EXPECT_TRUE(absl::IsUnavailable(get->status()));
}

// A tier of which one node is away: its keys read as absent and are counted.
class OneNodeAway : public Tier {
 public:
  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos /*deadline*/) override {
    return Answer(&errors_, full_keys.size());
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> /*puts*/,
                                                    MonoNanos /*deadline*/) override {
    return Refuse<std::vector<TierChange>>(&errors_);
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> /*erases*/,
                                                      MonoNanos /*deadline*/) override {
    return Refuse<std::vector<TierChange>>(&errors_);
  }
  Task<absl::StatusOr<TierPage>> Scan(TierScan /*scan*/, MonoNanos /*deadline*/) override {
    return Refuse<TierPage>(&errors_);
  }
  bool shared() const override { return true; }
  TierStats Stats() const override {
    TierStats stats;
    stats.errors = errors_;
    return stats;
  }

 private:
  static Task<absl::StatusOr<std::vector<TierRead>>> Answer(uint64_t* errors, size_t keys) {
    ++*errors;
    co_return std::vector<TierRead>(keys);
  }
  template <typename T>
  static Task<absl::StatusOr<T>> Refuse(uint64_t* errors) {
    ++*errors;
    co_return absl::InternalError("one node is away");
  }

  uint64_t errors_ = 0;
};

TEST_F(GuardTest, CountsKeysThatFailedInCallsThatDidNot) {
  guard_ = NewGuard(std::make_unique<OneNodeAway>(), options_);
  EXPECT_TRUE(Start(guard_->Get({Key("a"), Key("b"), Key("c")}, kNever))->status().ok());
  EXPECT_EQ(guard_->Stats().errors, 1u);
  EXPECT_FALSE(Start(guard_->Erase({TierErase()}, kNever))->status().ok());
  EXPECT_EQ(guard_->Stats().errors, 2u) << "and each failed call once";
}

}  // namespace
}  // namespace larder
