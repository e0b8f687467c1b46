#include "policy/breaker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace larder {
namespace {

using testing::HasSubstr;
using Change = Breaker::Change;
using Outcome = Breaker::Outcome;
using State = Breaker::State;

class BreakerTest : public testing::Test {
 protected:
  BreakerTest() {
    options_.clock = &clock_;
    options_.random = &random_;
  }

  Breaker& breaker() {
    if (!breaker_) breaker_.emplace(options_);
    return *breaker_;
  }

  // A call that takes `took` on the clock. kNone when it was refused, which fails the test.
  Change Call(Outcome outcome, absl::Duration took = absl::ZeroDuration()) {
    const std::optional<Breaker::Pass> pass = breaker().TryEnter();
    EXPECT_TRUE(pass.has_value());
    if (!pass) return Change::kNone;
    clock_.Advance(took);
    return breaker().Leave(*pass, outcome, took);
  }

  void Calls(int count, Outcome outcome, absl::Duration took = absl::ZeroDuration()) {
    for (int i = 0; i < count; ++i) Call(outcome, took);
  }

  bool Refuses() {
    const std::optional<Breaker::Pass> pass = breaker().TryEnter();
    if (pass) breaker().Leave(*pass, Outcome::kUnknown, absl::ZeroDuration());
    return !pass;
  }

  State state() { return breaker().GetStatus().state; }

  // Fails until it is open; returns for how long it is.
  absl::Duration TripAndTime() {
    Calls(static_cast<int>(options_.min_calls), Outcome::kFailure);
    EXPECT_EQ(state(), State::kOpen);
    return breaker().GetStatus().remaining;
  }

  ManualClock clock_;
  SeededRandom random_{7};
  Breaker::Options options_;
  std::optional<Breaker> breaker_;
};

TEST_F(BreakerTest, TripsForWhatOthersSaw) {
  const std::optional<Breaker::Pass> pass = breaker().TryEnter();
  ASSERT_TRUE(pass);
  EXPECT_FALSE(pass->probe);
  breaker().Leave(*pass, Outcome::kFailure, absl::ZeroDuration());
  EXPECT_EQ(breaker().Trip(*pass, "it smokes"), Change::kOpened);
  EXPECT_EQ(breaker().Trip(*pass, "twice"), Change::kNone);
  EXPECT_EQ(breaker().GetStatus().reason, "it smokes");
  EXPECT_EQ(breaker().GetStatus().opened, 1u);
  EXPECT_TRUE(Refuses());
  clock_.Advance(options_.open_max);
  const std::optional<Breaker::Pass> probe = breaker().TryEnter();
  ASSERT_TRUE(probe);
  EXPECT_TRUE(probe->probe);
  breaker().Leave(*probe, Outcome::kSuccess, absl::ZeroDuration());
  EXPECT_EQ(breaker().Trip(*pass, "of another turn"), Change::kNone);
}

TEST_F(BreakerTest, PassesCallsWhileAllIsWell) {
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(Call(Outcome::kSuccess), Change::kNone);
  EXPECT_EQ(state(), State::kClosed);
  EXPECT_EQ(breaker().GetStatus().opened, 0u);
  EXPECT_EQ(breaker().GetStatus().reason, "");
}

TEST_F(BreakerTest, OpensWhenHalfOfTheCallsFail) {
  Calls(10, Outcome::kSuccess);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Call(Outcome::kFailure), Change::kNone);
  EXPECT_EQ(Call(Outcome::kFailure), Change::kOpened);
  EXPECT_EQ(state(), State::kOpen);
  EXPECT_TRUE(Refuses());
  EXPECT_EQ(breaker().GetStatus().opened, 1u);
  EXPECT_EQ(breaker().GetStatus().reason, "10 of the last 20 calls failed");
}

TEST_F(BreakerTest, FewCallsTellNothing) {
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Call(Outcome::kFailure), Change::kNone);
  EXPECT_EQ(state(), State::kClosed);
  EXPECT_EQ(Call(Outcome::kFailure), Change::kOpened);
}

TEST_F(BreakerTest, CallsOlderThanTheWindowAreForgotten) {
  Calls(9, Outcome::kFailure);
  Call(Outcome::kSuccess);
  clock_.Advance(options_.window);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Call(Outcome::kFailure), Change::kNone);
  EXPECT_EQ(state(), State::kClosed);
}

TEST_F(BreakerTest, WindowSlidesInTenths) {
  Calls(9, Outcome::kFailure);
  Call(Outcome::kSuccess);
  clock_.Advance(options_.window * 8 / 10);
  EXPECT_EQ(Call(Outcome::kFailure), Change::kOpened);
}

TEST_F(BreakerTest, OpensWhenMostCallsAreSlow) {
  Calls(2, Outcome::kSuccess);
  Calls(7, Outcome::kSuccess, options_.slow_after);
  EXPECT_EQ(Call(Outcome::kSuccess, options_.slow_after), Change::kOpened);
  EXPECT_EQ(breaker().GetStatus().reason, "8 of the last 10 calls took 40ms or longer");
}

TEST_F(BreakerTest, CallsThatAreNearlySlowAreNot) {
  options_.window = absl::Seconds(10);
  Calls(100, Outcome::kSuccess, options_.slow_after - absl::Nanoseconds(1));
  EXPECT_EQ(state(), State::kClosed);
}

TEST_F(BreakerTest, FailuresThatTookLongAreSlowToo) {
  options_.failures = 1;
  options_.window = absl::Seconds(10);
  Call(Outcome::kSuccess);
  Call(Outcome::kSuccess, options_.slow_after);
  Calls(7, Outcome::kFailure, options_.slow_after);
  EXPECT_EQ(Call(Outcome::kFailure, options_.slow_after), Change::kOpened);
  EXPECT_THAT(breaker().GetStatus().reason, HasSubstr("took 40ms"));
}

TEST_F(BreakerTest, CallsOfWhichNobodyKnowsDoNotCount) {
  Calls(100, Outcome::kUnknown, options_.slow_after);
  EXPECT_EQ(state(), State::kClosed);
  Calls(9, Outcome::kFailure);
  Calls(100, Outcome::kUnknown);
  EXPECT_EQ(Call(Outcome::kFailure), Change::kOpened);
}

// Ten thousand calls went well, then nothing does: most of a window would go by until those that
// gave up were as many.
TEST_F(BreakerTest, StandstillAfterManyGoodCallsOpensWithinHalfAWindow) {
  options_.window = absl::Seconds(10);
  Calls(10'000, Outcome::kSuccess);
  const MonoNanos froze = clock_.Mono();
  while (state() == State::kClosed) Call(Outcome::kFailure, absl::Milliseconds(50));
  EXPECT_LE(clock_.Mono() - froze,
            absl::ToInt64Nanoseconds(options_.window / 2 + absl::Milliseconds(50)));
  EXPECT_THAT(breaker().GetStatus().reason, HasSubstr("calls failed, over"));
}

TEST_F(BreakerTest, DefaultsOpenWithinASecondOfAStandstillForOneCaller) {
  Calls(10'000, Outcome::kSuccess);
  const MonoNanos froze = clock_.Mono();
  while (state() == State::kClosed) Call(Outcome::kFailure, absl::Milliseconds(50));
  EXPECT_LE(clock_.Mono() - froze, absl::ToInt64Nanoseconds(absl::Seconds(1)));
}

// A connection that breaks fails whatever was sent on it, all at once.
TEST_F(BreakerTest, BurstOfFailuresAmongManyGoodCallsDoesNotOpen) {
  Calls(1000, Outcome::kSuccess);
  clock_.Advance(absl::Milliseconds(20));
  Calls(200, Outcome::kFailure);
  EXPECT_EQ(state(), State::kClosed);
  clock_.Advance(absl::Milliseconds(20));
  Calls(1000, Outcome::kSuccess);
  EXPECT_EQ(state(), State::kClosed);
}

TEST_F(BreakerTest, ProbesPassOnlyAfterTheOpenTime) {
  const absl::Duration open = TripAndTime();
  EXPECT_GE(open, options_.open_min);
  EXPECT_LE(open, options_.open_min * 1.25);
  clock_.Advance(open - absl::Nanoseconds(1));
  EXPECT_TRUE(Refuses());
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(Call(Outcome::kSuccess), Change::kNone);
  EXPECT_EQ(state(), State::kHalfOpen);
}

TEST_F(BreakerTest, HalfOpenLetsOnlyAFewThroughAtATime) {
  clock_.Advance(TripAndTime());
  std::vector<Breaker::Pass> passes;
  for (uint32_t i = 0; i < options_.probes; ++i) {
    const std::optional<Breaker::Pass> pass = breaker().TryEnter();
    ASSERT_TRUE(pass.has_value());
    passes.push_back(*pass);
  }
  EXPECT_TRUE(Refuses());
  breaker().Leave(passes[0], Outcome::kUnknown, absl::ZeroDuration());
  EXPECT_FALSE(Refuses()) << "a probe that tells nothing gives its place back";
}

TEST_F(BreakerTest, EnoughGoodProbesInARowCloseIt) {
  clock_.Advance(TripAndTime());
  EXPECT_EQ(Call(Outcome::kSuccess), Change::kNone);
  EXPECT_EQ(Call(Outcome::kSuccess), Change::kNone);
  EXPECT_EQ(Call(Outcome::kSuccess), Change::kClosed);
  EXPECT_EQ(state(), State::kClosed);
  // What was wrong before is forgotten.
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Call(Outcome::kFailure), Change::kNone);
}

TEST_F(BreakerTest, ABadOrASlowProbeOpensItAgain) {
  clock_.Advance(TripAndTime());
  Call(Outcome::kSuccess);
  EXPECT_EQ(Call(Outcome::kFailure), Change::kReopened);
  EXPECT_TRUE(Refuses());
  clock_.Advance(breaker().GetStatus().remaining);
  EXPECT_EQ(Call(Outcome::kSuccess, options_.slow_after), Change::kReopened);
  EXPECT_TRUE(Refuses());
  EXPECT_EQ(breaker().GetStatus().opened, 1u) << "it was never closed between";
}

TEST_F(BreakerTest, OpenTimeDoublesWithinItsBounds) {
  absl::Duration least = options_.open_min;
  absl::Duration open = TripAndTime();
  for (int i = 0; i < 10; ++i) {
    EXPECT_GE(open, least);
    EXPECT_LE(open, std::min(least * 1.25, options_.open_max));
    clock_.Advance(open);
    Call(Outcome::kFailure);
    open = breaker().GetStatus().remaining;
    least = std::min(least * 2, options_.open_max);
  }
  EXPECT_EQ(open, options_.open_max);
}

TEST_F(BreakerTest, OpenTimeStartsAgainAfterItClosed) {
  clock_.Advance(TripAndTime());
  Call(Outcome::kFailure);
  clock_.Advance(breaker().GetStatus().remaining);
  Calls(3, Outcome::kSuccess);
  ASSERT_EQ(state(), State::kClosed);
  EXPECT_LE(TripAndTime(), options_.open_min * 1.25);
  EXPECT_EQ(breaker().GetStatus().opened, 2u);
}

TEST_F(BreakerTest, OpenTimesOfReplicasDiffer) {
  SeededRandom other(8);
  Breaker::Options options = options_;
  options.random = &other;
  Breaker second(options);
  for (uint32_t i = 0; i < options.min_calls; ++i) {
    second.Leave(*second.TryEnter(), Outcome::kFailure, absl::ZeroDuration());
  }
  EXPECT_NE(TripAndTime(), second.GetStatus().remaining);
}

// A thousand calls are under way when it opens, and fail one by one.
TEST_F(BreakerTest, CallsOfAnEarlierTurnTellNothing) {
  std::vector<Breaker::Pass> passes;
  for (int i = 0; i < 1000; ++i) passes.push_back(*breaker().TryEnter());
  absl::Duration open = TripAndTime();
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(breaker().Leave(passes[i], Outcome::kFailure, absl::Seconds(1)), Change::kNone);
  }
  EXPECT_EQ(breaker().GetStatus().remaining, open);
  clock_.Advance(open);
  Calls(2, Outcome::kSuccess);
  for (int i = 500; i < 900; ++i) {
    breaker().Leave(passes[i], Outcome::kFailure, absl::Seconds(1));
  }
  EXPECT_EQ(Call(Outcome::kSuccess), Change::kClosed);
  for (int i = 900; i < 1000; ++i) {
    EXPECT_EQ(breaker().Leave(passes[i], Outcome::kFailure, absl::Seconds(1)), Change::kNone);
  }
  EXPECT_EQ(state(), State::kClosed);
}

TEST(BreakerThreadsTest, ProbesStayWithinTheirBoundAmongThreads) {
  ManualClock clock;
  SeededRandom random(3);
  Breaker breaker({.min_calls = 1, .probes = 3, .clock = &clock, .random = &random});
  for (int round = 0; round < 200; ++round) {
    if (const auto pass = breaker.TryEnter()) {
      breaker.Leave(*pass, Outcome::kFailure, absl::ZeroDuration());
    }
    ASSERT_EQ(breaker.GetStatus().state, State::kOpen);
    clock.Advance(breaker.GetStatus().remaining);
    std::atomic<int> passed{0};
    std::atomic<int> waiting{4};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        --waiting;
        while (waiting > 0) std::this_thread::yield();
        for (int i = 0; i < 3; ++i) passed += breaker.TryEnter().has_value();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(passed, 3);
    // The turn is over with the first bad probe.
    breaker.Leave({.turn = static_cast<uint64_t>(2 * round + 2)}, Outcome::kFailure,
                  absl::ZeroDuration());
  }
}

// Whatever the interleaving: a breaker in front of something that fails opens, and in front of
// something that is well again closes.
TEST(BreakerThreadsTest, FollowsWhatItGuardsAmongThreads) {
  ManualClock clock;
  Breaker::Options options;
  options.open_min = absl::Milliseconds(1);
  options.open_max = absl::Milliseconds(4);
  options.clock = &clock;
  Breaker breaker(options);
  std::atomic<bool> well{true};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      while (!done) {
        const std::optional<Breaker::Pass> pass = breaker.TryEnter();
        std::this_thread::yield();
        if (pass) {
          breaker.Leave(*pass, well ? Outcome::kSuccess : Outcome::kFailure, absl::ZeroDuration());
        }
      }
    });
  }
  const MonoNanos give_up = Clock::System()->Mono() + 60'000'000'000;
  const auto until = [&](State state) {
    while (breaker.GetStatus().state != state && Clock::System()->Mono() < give_up) {
      clock.Advance(absl::Microseconds(100));
      std::this_thread::yield();
    }
    return breaker.GetStatus().state == state;
  };
  for (int round = 0; round < 20; ++round) {
    well = false;
    EXPECT_TRUE(until(State::kOpen));
    well = true;
    EXPECT_TRUE(until(State::kClosed));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(breaker.GetStatus().opened, 20u);
}

}  // namespace
}  // namespace larder
