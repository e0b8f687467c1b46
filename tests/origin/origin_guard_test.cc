// What the guard does with calls: their turn, their time, their attempts, their end.

#include "origin/origin_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/origin/guard_rig.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = OriginLoaded::Kind;

OriginLoaded Failed(absl::Status error) {
  OriginLoaded loaded;
  loaded.error = std::move(error);
  return loaded;
}

OriginLoaded Found(const std::string& value) {
  OriginLoaded loaded;
  loaded.kind = Kind::kFound;
  loaded.value = value;
  return loaded;
}

TEST_F(OriginGuardTest, PassesCallsThrough) {
  const auto load = Load({"a", "b"});
  ASSERT_TRUE(load->status().ok()) << load->status();
  EXPECT_EQ((**load->result)[1].value, "value of b");
  EXPECT_TRUE(Store({"a"})->status().ok());
  EXPECT_TRUE(Scan()->status().ok());
  const OriginStats stats = guard().Stats();
  EXPECT_EQ(stats.name, "truth");
  EXPECT_EQ(stats.state, "ok");
  EXPECT_EQ(stats.breaker, "closed");
  EXPECT_EQ(stats.under_way + stats.queued + stats.timeouts + stats.retries + stats.refused, 0u);
  EXPECT_EQ(executor_.timers(), 0u);
}

TEST_F(OriginGuardTest, CallsBeyondTheConcurrencyTakeTheirTurnInTheOrderTheyCame) {
  options_.concurrency = 2;
  script_->Hold(true);
  for (const char* key : {"1", "2", "3", "4", "5", "6"}) Load({key});
  EXPECT_EQ(script_->calls(), 2);
  EXPECT_EQ(guard().Stats().under_way, 2u);
  EXPECT_EQ(guard().Stats().queued, 4u);
  while (script_->under_way() > 0) {
    script_->ReleaseOne();
    executor_.RunReady();
    EXPECT_LE(script_->under_way(), 2);
  }
  std::vector<std::string> order;
  for (const auto& asked : script_->asked()) order.push_back(asked.keys.front());
  EXPECT_THAT(order, ElementsAre("1", "2", "3", "4", "5", "6"));
}

TEST_F(OriginGuardTest, NobodyOvertakesTheLine) {
  options_.concurrency = 1;
  script_->Hold(true);
  const auto first = Load({"1"});
  const auto second = Load({"2"});
  script_->ReleaseOne();  // the second has the place now, and is not awake yet
  const auto third = Load({"3"});
  EXPECT_EQ(script_->calls(), 1);
  executor_.RunReady();
  ASSERT_EQ(script_->calls(), 2);
  EXPECT_THAT(script_->asked()[1].keys, ElementsAre("2"));
}

TEST_F(OriginGuardTest, LineIsBounded) {
  options_.concurrency = 1;
  options_.queue_max = 2;
  script_->Hold(true);
  Load({"1"});
  const auto waits = Load({"2"});
  Load({"3"});
  const auto refused = Load({"4"});
  EXPECT_TRUE(absl::IsResourceExhausted(refused->status())) << refused->status();
  EXPECT_THAT(std::string(refused->status().message()), HasSubstr("2 calls wait"));
  EXPECT_FALSE(waits->done());
  EXPECT_EQ(guard().Stats().refused, 1u);
  EXPECT_EQ(guard().Stats().breaker, "closed");
}

TEST_F(OriginGuardTest, CallWhoseTimeIsOverInLineLeavesItAndWasNeverMade) {
  options_.concurrency = 1;
  script_->Hold(true);
  Load({"1"});
  const auto late = Load({"2"}, In(absl::Milliseconds(100)));
  const auto patient = Load({"3"});
  executor_.Advance(absl::Milliseconds(99));
  EXPECT_FALSE(late->done());
  executor_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(late->status()));
  EXPECT_TRUE(WasNotAsked(late->status()));
  EXPECT_EQ(guard().Stats().refused, 0u);
  EXPECT_EQ(guard().Stats().queued, 1u);
  EXPECT_EQ(guard().Stats().timeouts, 1u);
  script_->ReleaseOne();
  executor_.RunReady();
  EXPECT_THAT(script_->asked()[1].keys, ElementsAre("3"));
}

// The timer of a call in line and its turn come together, in either order; the place is never lost.
TEST_F(OriginGuardTest, PlaceIsNotLostWhenTurnAndDeadlineMeet) {
  options_.concurrency = 1;
  for (int round = 0; round < 50; ++round) {
    script_->Hold(true);
    const auto first = Load({"1"});
    const auto second = Load({"2"}, In(absl::Milliseconds(10)));
    clock_.Advance(absl::Milliseconds(10));
    script_->ReleaseOne();
    script_->Hold(false);
    executor_.Advance(absl::ZeroDuration());
    script_->ReleaseAll();
    executor_.RunReady();
    EXPECT_TRUE(first->done());
    EXPECT_TRUE(second->done());
    EXPECT_EQ(guard().Stats().under_way, 0u);
    EXPECT_TRUE(Load({"3"})->status().ok());
  }
}

TEST_F(OriginGuardTest, WithoutTimeLeftNothingIsAsked) {
  EXPECT_TRUE(absl::IsDeadlineExceeded(Load({"k"}, clock_.Mono())->status()));
  EXPECT_EQ(script_->calls(), 0);
}

TEST_F(OriginGuardTest, CallHasAnEndEvenWhenItsCallerNamesNone) {
  script_->Hold(true);
  const auto load = Load({"k"});
  executor_.Advance(options_.call_max - absl::Nanoseconds(1));
  EXPECT_FALSE(load->done());
  executor_.Advance(absl::Nanoseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(load->status()));
}

TEST_F(OriginGuardTest, LateAttemptKeepsItsPlaceUntilItReallyEnds) {
  options_.concurrency = 1;
  script_->Hold(true);
  const auto late = Load({"1"}, In(absl::Milliseconds(10)));
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_TRUE(absl::IsDeadlineExceeded(late->status()));
  EXPECT_EQ(guard().Stats().under_way, 1u);
  const auto next = Load({"2"});
  EXPECT_EQ(script_->calls(), 1);
  script_->ReleaseOne();
  executor_.RunReady();
  EXPECT_EQ(script_->calls(), 2);
  script_->ReleaseOne();
  EXPECT_TRUE(next->status().ok());
}

TEST_F(OriginGuardTest, CallThatIsUnavailableIsRepeated) {
  for (int kind = 0; kind < 3; ++kind) {
    script_->FailNext(2, absl::UnavailableError("restarts"));
    absl::Status status = absl::UnknownError("");
    const int calls = script_->calls();
    if (kind == 0) {
      const auto load = Load({"k"});
      EXPECT_FALSE(load->done());
      executor_.Advance(absl::Seconds(1));
      status = load->status();
    } else if (kind == 1) {
      const auto store = Store({"k"});
      executor_.Advance(absl::Seconds(1));
      status = store->status();
    } else {
      const auto scan = Scan();
      executor_.Advance(absl::Seconds(1));
      status = scan->status();
    }
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(script_->calls(), calls + 3);
  }
  EXPECT_EQ(guard().Stats().retries, 6u);
}

TEST_F(OriginGuardTest, OtherErrorsAreNotRepeated) {
  for (const absl::Status& error :
       {absl::InternalError("a bug"), absl::PermissionDeniedError("who are you"),
        absl::ResourceExhaustedError("busy"), absl::DeadlineExceededError("late"),
        absl::DataLossError("garbage"), absl::CancelledError("")}) {
    script_->FailNext(1, error);
    EXPECT_EQ(Load({"k"})->status(), error);
    EXPECT_TRUE(Load({"k"})->status().ok());
  }
  EXPECT_EQ(guard().Stats().retries, 0u);
}

TEST_F(OriginGuardTest, AttemptsOfACallAreBounded) {
  script_->FailNext(1000, absl::UnavailableError("away"));
  const auto load = Load({"k"});
  executor_.Advance(absl::Minutes(1));
  EXPECT_TRUE(absl::IsUnavailable(load->status()));
  EXPECT_EQ(script_->calls(), 3);
}

TEST_F(OriginGuardTest, RetriesStayWithinTheDeadline) {
  script_->FailNext(1000, absl::UnavailableError("away"));
  const auto load = Load({"k"}, In(absl::Milliseconds(15)));
  executor_.Advance(absl::Milliseconds(15));
  EXPECT_TRUE(load->done());
  EXPECT_LE(script_->calls(), 2);
}

TEST_F(OriginGuardTest, RetriesAddAtMostAFifth) {
  options_.retry_budget.burst = 1;
  // Every other call fails at first.
  constexpr int kCalls = 1000;
  for (int i = 0; i < kCalls; ++i) {
    script_->FailNext(i % 2, absl::UnavailableError("flaps"));
    Load({"k"});
    executor_.Advance(absl::Seconds(2));
  }
  EXPECT_LE(script_->calls(), kCalls * 6 / 5 + 1);
  EXPECT_GT(guard().Stats().retries, 50u) << "and what may be repeated is";
}

TEST_F(OriginGuardTest, ItemsThatAreUnavailableAreRepeatedAlone) {
  script_->answer = [](const std::string& key, int call) {
    if (key == "b" && call < 3) return Failed(absl::UnavailableError("shard moves"));
    if (key == "d" && call < 2) return Failed(absl::UnavailableError("shard moves"));
    if (key == "e") return Failed(absl::InternalError("a bug"));
    return Found(key + std::to_string(call));
  };
  const auto load = Load({"a", "b", "c", "d", "e"});
  EXPECT_FALSE(load->done());
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(load->status().ok());
  const std::vector<OriginLoaded>& loaded = **load->result;
  ASSERT_EQ(loaded.size(), 5u);
  EXPECT_EQ(loaded[0].value, "a1");
  EXPECT_EQ(loaded[1].value, "b3");
  EXPECT_EQ(loaded[2].value, "c1");
  EXPECT_EQ(loaded[3].value, "d2");
  EXPECT_TRUE(absl::IsInternal(loaded[4].error));
  ASSERT_EQ(script_->calls(), 3);
  EXPECT_THAT(script_->asked()[1].keys, ElementsAre("b", "d"));
  EXPECT_THAT(script_->asked()[2].keys, ElementsAre("b"));
}

TEST_F(OriginGuardTest, WhatWasAnsweredStaysAnsweredWhenTheRepetitionFails) {
  script_->answer = [](const std::string& key, int /*call*/) {
    return key == "b" ? Failed(absl::UnavailableError("shard moves")) : Found(key);
  };
  const auto load = Load({"a", "b"});
  script_->FailNext(1000, absl::InternalError("crashed"));
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(load->status().ok());
  EXPECT_EQ((**load->result)[0].value, "a");
  EXPECT_TRUE(absl::IsInternal((**load->result)[1].error));
  EXPECT_EQ(script_->calls(), 2);
}

TEST_F(OriginGuardTest, AnswerOfARepetitionThatTakesTooLongIsWhatThereWas) {
  script_->answer = [](const std::string& key, int /*call*/) {
    return key == "b" ? Failed(absl::UnavailableError("shard moves")) : Found(key);
  };
  const auto load = Load({"a", "b"}, In(absl::Milliseconds(200)));
  script_->Hold(true);
  executor_.Advance(absl::Milliseconds(200));
  ASSERT_TRUE(load->status().ok());
  EXPECT_EQ((**load->result)[0].value, "a");
  EXPECT_TRUE(absl::IsDeadlineExceeded((**load->result)[1].error));
}

TEST_F(OriginGuardTest, LargeStoreIsNotRepeated) {
  options_.retry_bytes_max = 1000;
  script_->FailNext(1, absl::UnavailableError("away"));
  EXPECT_TRUE(absl::IsUnavailable(Store({"k"}, 1001)->status()));
  script_->FailNext(1, absl::UnavailableError("away"));
  const auto store = Store({"k"}, 1000);
  EXPECT_FALSE(store->done());
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(store->status().ok());
}

TEST_F(OriginGuardTest, EndRefusesThoseInLineAndOutlivesThoseUnderWay) {
  options_.concurrency = 1;
  script_->Hold(true);
  const auto under_way = Load({"1"}, In(absl::Seconds(1)));
  const auto in_line = Load({"2"});
  guard_.reset();
  executor_.RunReady();
  EXPECT_TRUE(absl::IsUnavailable(in_line->status())) << in_line->status();
  EXPECT_FALSE(under_way->done());
  EXPECT_FALSE(script_->gone());
  script_->ReleaseOne();
  EXPECT_TRUE(under_way->status().ok());
  EXPECT_FALSE(script_->gone()) << "not on the thread of one of its calls";
  executor_.RunReady();
  EXPECT_TRUE(script_->gone());
}

TEST_F(OriginGuardTest, CallThatGotItsTurnAtTheEndIsRefused) {
  options_.concurrency = 1;
  script_->Hold(true);
  Load({"1"});
  const auto second = Load({"2"});
  script_->ReleaseOne();  // its turn, but it does not run yet
  guard_.reset();
  EXPECT_TRUE(script_->gone());
  executor_.RunReady();
  EXPECT_TRUE(absl::IsUnavailable(second->status()));
  EXPECT_EQ(script_->calls(), 1);
}

TEST_F(OriginGuardTest, RepetitionAfterTheEndIsRefused) {
  script_->FailNext(1, absl::UnavailableError("away"));
  const auto load = Load({"k"});
  guard_.reset();
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(absl::IsUnavailable(load->status()));
  EXPECT_EQ(script_->calls(), 1);
}

}  // namespace
}  // namespace larder
