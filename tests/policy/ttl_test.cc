#include "policy/ttl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace larder {
namespace {

constexpr absl::Duration kDay = absl::Hours(24);

struct Row {
  std::string name;
  TtlPolicy policy;
  TtlInput input;
  absl::Duration want;
};

TtlPolicy Base(absl::Duration base) { return {.base = base}; }

TtlPolicy WithAccess() {
  TtlPolicy policy = Base(absl::Seconds(100));
  policy.adapt_access = true;
  return policy;
}

TtlPolicy WithSize() {
  TtlPolicy policy = Base(absl::Seconds(100));
  policy.adapt_size = true;
  return policy;
}

TtlPolicy WithSteps() {
  TtlPolicy policy = WithAccess();
  policy.access_steps = {{10, absl::Minutes(10)}, {100, absl::Hours(1)}};
  return policy;
}

TtlPolicy Limited(absl::Duration base, absl::Duration min, absl::Duration max) {
  TtlPolicy policy = Base(base);
  policy.min = min;
  policy.max = max;
  return policy;
}

TtlPolicy Forever() {
  TtlPolicy policy;
  policy.forever = true;
  return policy;
}

std::vector<Row> Table() {
  TtlPolicy multiplied = Base(absl::Seconds(100));
  multiplied.multiplier = 1.5;
  TtlPolicy all = WithAccess();
  all.adapt_size = true;
  all.multiplier = 1.5;
  TtlPolicy steps_and_multiplier = WithSteps();
  steps_and_multiplier.multiplier = 0.5;
  TtlPolicy custom = Base(absl::Seconds(100));
  custom.adapt_access = custom.adapt_size = true;
  custom.access_per_hits = 10;
  custom.access_gain = 1;
  custom.access_max = 5;
  custom.size_bands = {{10, 3.0}, {UINT64_MAX, 0.25}};
  TtlPolicy no_jitter = Base(absl::Seconds(100));
  no_jitter.jitter = 0;
  const TtlPolicy limited = Limited(absl::Minutes(5), absl::Minutes(1), absl::Minutes(10));
  const auto s = [](double seconds) { return absl::Seconds(seconds); };
  return {
      {"base alone", Base(s(100)), {}, s(100)},
      {"hits and size do nothing unless the type adapts",
       Base(s(100)),
       {.hits = 1000, .value_bytes = 1 << 20},
       s(100)},
      {"multiplier", multiplied, {}, s(150)},

      {"access 0 hits", WithAccess(), {.hits = 0}, s(100)},
      {"access 1 hit", WithAccess(), {.hits = 1}, s(100.5)},
      {"access 100 hits", WithAccess(), {.hits = 100}, s(150)},
      {"access 199 hits", WithAccess(), {.hits = 199}, s(199.5)},
      {"access 200 hits reach the cap", WithAccess(), {.hits = 200}, s(200)},
      {"access 201 hits", WithAccess(), {.hits = 201}, s(200)},
      {"access beyond counting", WithAccess(), {.hits = UINT64_MAX}, s(200)},
      {"custom curve", custom, {.hits = 15, .value_bytes = 10}, s(100 * 2.5 * 0.25)},
      {"custom cap", custom, {.hits = 400, .value_bytes = 9}, s(100 * 5 * 3.0)},

      {"step not reached", WithSteps(), {.hits = 10}, s(100)},
      {"first step", WithSteps(), {.hits = 11}, absl::Minutes(10)},
      {"first step's end", WithSteps(), {.hits = 100}, absl::Minutes(10)},
      {"second step", WithSteps(), {.hits = 101}, absl::Hours(1)},
      {"a step is a base: multiplied", steps_and_multiplier, {.hits = 11}, absl::Minutes(5)},

      {"size 0", WithSize(), {.value_bytes = 0}, s(120)},
      {"size 1 KiB - 1", WithSize(), {.value_bytes = 1023}, s(120)},
      {"size 1 KiB", WithSize(), {.value_bytes = 1024}, s(100)},
      {"size 10 KiB - 1", WithSize(), {.value_bytes = 10 * 1024 - 1}, s(100)},
      {"size 10 KiB", WithSize(), {.value_bytes = 10 * 1024}, s(80)},
      {"size 100 KiB - 1", WithSize(), {.value_bytes = 100 * 1024 - 1}, s(80)},
      {"size 100 KiB", WithSize(), {.value_bytes = 100 * 1024}, s(60)},
      {"size beyond counting", WithSize(), {.value_bytes = UINT64_MAX}, s(60)},

      {"jitter at -1", Base(s(100)), {.jitter_draw = -1}, s(90)},
      {"jitter at 0", Base(s(100)), {.jitter_draw = 0}, s(100)},
      {"jitter at 1", Base(s(100)), {.jitter_draw = 1}, s(110)},
      {"jitter halfway", Base(s(100)), {.jitter_draw = 0.5}, s(105)},
      {"no jitter", no_jitter, {.jitter_draw = 1}, s(100)},
      {"every factor",
       all,
       {.hits = 100, .value_bytes = 1, .jitter_draw = -1},
       s(100 * 1.5 * 1.5 * 1.2 * 0.9)},

      {"cut to max", Limited(absl::Hours(2), s(1), absl::Hours(1)), {}, absl::Hours(1)},
      {"raised to min", Limited(s(1), s(30), absl::Hours(1)), {}, s(30)},
      {"jitter is inside the limits: max",
       Limited(s(100), s(1), s(105)),
       {.jitter_draw = 1},
       s(105)},
      {"jitter is inside the limits: min",
       Limited(s(100), s(95), s(200)),
       {.jitter_draw = -1},
       s(95)},
      {"exactly max", Limited(s(100), s(1), s(100)), {}, s(100)},
      {"exactly min", Limited(s(100), s(100), s(200)), {}, s(100)},
      {"default max is 30 days", Base(31 * kDay), {}, 30 * kDay},

      {"explicit", limited, {.requested = s(120)}, s(120)},
      {"explicit is jittered", limited, {.requested = s(120), .jitter_draw = 1}, s(132)},
      {"explicit is not raised to min", limited, {.requested = s(2)}, s(2)},
      {"explicit is cut to max", limited, {.requested = absl::Hours(5)}, absl::Minutes(10)},
      {"explicit is cut to max after jitter",
       limited,
       {.requested = s(590), .jitter_draw = 1},
       absl::Minutes(10)},
      {"explicit and infinite is cut to max",
       limited,
       {.requested = absl::InfiniteDuration()},
       absl::Minutes(10)},
      {"explicit takes no factor", all, {.hits = 500, .value_bytes = 1, .requested = s(7)}, s(7)},
      {"explicit is at least 1 ms after jitter",
       limited,
       {.requested = absl::Milliseconds(1), .jitter_draw = -1},
       absl::Milliseconds(1)},
      {"explicit on a forever type", Forever(), {.requested = s(60)}, s(60)},
      {"explicit and too long on a forever type", Forever(), {.requested = 60 * kDay}, 30 * kDay},

      {"absent", Base(s(100)), {.absent = true}, s(10)},
      {"absent is jittered", Base(s(100)), {.absent = true, .jitter_draw = -1}, s(9)},
      {"absent is not raised to min", Limited(s(100), s(60), s(200)), {.absent = true}, s(10)},
      {"absent is cut to max", Limited(s(1), s(1), s(5)), {.absent = true}, s(5)},
      {"absent takes no factor", all, {.hits = 500, .absent = true}, s(10)},
      {"absent with an explicit TTL", limited, {.absent = true, .requested = s(3)}, s(3)},
      {"absent on a forever type", Forever(), {.absent = true}, s(10)},

      {"forever",
       Forever(),
       {.hits = 7, .value_bytes = 7, .jitter_draw = 1},
       absl::InfiniteDuration()},
      {"never below 1 ms",
       Limited(absl::Microseconds(3), absl::ZeroDuration(), s(1)),
       {},
       absl::Milliseconds(1)},
  };
}

TEST(TtlTest, GivesExactlyWhatTheArithmeticSays) {
  for (const Row& row : Table()) {
    EXPECT_EQ(ComputeTtl(row.policy, row.input), row.want) << row.name;
  }
}

TEST(TtlTest, ExplainsTheWholeFormulaStepByStep) {
  TtlPolicy policy = WithAccess();
  policy.adapt_size = true;
  policy.multiplier = 1.5;
  policy.max = absl::Seconds(250);
  const auto steps = ExplainTtl(policy, {.hits = 100, .value_bytes = 500});
  std::vector<std::string> names;
  for (const TtlStep& step : steps) names.push_back(step.name);
  EXPECT_THAT(names, testing::ElementsAre("base", "multiplier", "access", "size", "jitter", "max"));
  EXPECT_EQ(steps[2].factor, 1.5);
  EXPECT_EQ(steps[2].ttl, absl::Seconds(225));
  EXPECT_EQ(steps[2].why, "100 hits (halved every 10m): 1 + 100 / 100 x 0.5, at most 2");
  EXPECT_EQ(steps[3].why, "500 bytes: below 1024");
  EXPECT_EQ(steps[4].why, "spread by up to 10% either way; left out here");
  EXPECT_EQ(steps[5].ttl, absl::Seconds(250));
}

TEST(TtlTest, ExplainsAStepAsAnotherBase) {
  const auto steps = ExplainTtl(WithSteps(), {.hits = 50});
  ASSERT_EQ(steps.size(), 5u);
  EXPECT_EQ(steps[1].name, "access");
  EXPECT_EQ(steps[1].ttl, absl::Minutes(10));
  EXPECT_EQ(steps[1].why, "50 hits (halved every 10m) are more than 10: another base");
}

TEST(TtlTest, ExplainsHitsThatReachNoStep) {
  TtlPolicy policy = WithSteps();
  policy.access_half_life = absl::Seconds(90);
  const auto steps = ExplainTtl(policy, {.hits = 10});
  ASSERT_EQ(steps.size(), 5u);
  EXPECT_EQ(steps[2].name, "access");
  EXPECT_EQ(steps[2].factor, 1);
  EXPECT_EQ(steps[2].why, "10 hits (halved every 1m30s) reach no step");
}

TEST(TtlTest, ExplainsEverySourceOfATtl) {
  const auto names = [](const TtlPolicy& policy, const TtlInput& input) {
    std::vector<std::string> found;
    for (const TtlStep& step : ExplainTtl(policy, input)) found.push_back(step.name);
    return found;
  };
  EXPECT_THAT(names(Base(absl::Seconds(1)), {.requested = absl::Seconds(5)}),
              testing::ElementsAre("requested", "jitter"));
  EXPECT_THAT(names(Base(absl::Seconds(1)), {.absent = true}),
              testing::ElementsAre("absent", "jitter"));
  EXPECT_THAT(names(Forever(), {}), testing::ElementsAre("base"));
  TtlPolicy exact = Base(absl::Seconds(1));
  exact.jitter = 0;
  for (const TtlStep& step : ExplainTtl(exact, {.hits = 9, .value_bytes = 9, .jitter_draw = 1})) {
    if (step.name == "base" || step.name == "multiplier") continue;
    EXPECT_EQ(step.why, "off") << step.name;
  }
  EXPECT_THAT(names(Limited(absl::Seconds(1), absl::Seconds(30), absl::Hours(1)), {}),
              testing::ElementsAre("base", "multiplier", "access", "size", "jitter", "min"));
}

struct SlidingRow {
  std::string name;
  bool sliding;
  bool forever;
  TtlInput input;
  absl::Duration want;
};

// What a hit of a sliding type does. Every row's TTL is jittered where it has a draw.
TEST(TtlTest, HitsStartTheTtlAgainInSlidingTypes) {
  const auto s = [](double seconds) { return absl::Seconds(seconds); };
  const std::vector<SlidingRow> rows = {
      {"hits change nothing unless the type slides", false, false, {}, s(0)},
      {"nor with a TTL of the request", false, false, {.requested = s(7)}, s(0)},
      {"the formula's TTL", true, false, {}, s(100)},
      {"with the jitter that it got", true, false, {.jitter_draw = -1}, s(90)},
      {"with its factors", true, false, {.hits = 100}, s(150)},
      {"a TTL of the request slides too", true, false, {.requested = s(7)}, s(7)},
      {"cut to max", true, false, {.requested = absl::Hours(5)}, s(200)},
      {"a negative entry never slides", true, false, {.absent = true}, s(0)},
      {"not even with a TTL", true, false, {.absent = true, .requested = s(7)}, s(0)},
      {"what has no end needs no new start", true, true, {}, s(0)},
      {"but a TTL on a forever type slides", true, true, {.requested = s(7)}, s(7)},
  };
  for (const SlidingRow& row : rows) {
    TtlPolicy policy = WithAccess();
    policy.max = s(200);
    policy.sliding = row.sliding;
    policy.forever = row.forever;
    const absl::Duration ttl = ComputeTtl(policy, row.input);
    EXPECT_EQ(SlidingTtl(policy, row.input, ttl), row.want) << row.name;
    const TtlStep last = ExplainTtl(policy, row.input).back();
    EXPECT_EQ(last.name == "sliding", row.want != s(0)) << row.name;
    EXPECT_EQ(last.ttl, ttl) << row.name;
  }
}

TEST(TtlTest, WhatWasLearnedOfChangesMultipliesWithinTheLimits) {
  TtlPolicy policy = Limited(absl::Seconds(100), absl::Seconds(20), absl::Seconds(500));
  EXPECT_EQ(ComputeTtl(policy, {.learned = 4}), absl::Seconds(100)) << "off by default";
  policy.adapt_change = true;
  EXPECT_EQ(ComputeTtl(policy, {}), absl::Seconds(100)) << "nothing is known yet";
  EXPECT_EQ(ComputeTtl(policy, {.learned = 4}), absl::Seconds(400));
  EXPECT_EQ(ComputeTtl(policy, {.learned = 16}), absl::Seconds(500));
  EXPECT_EQ(ComputeTtl(policy, {.learned = 0.5}), absl::Seconds(50));
  EXPECT_EQ(ComputeTtl(policy, {.learned = 0.0625}), absl::Seconds(20));
  // What a caller says, what is absent and what never ends do not learn.
  EXPECT_EQ(ComputeTtl(policy, {.learned = 4, .requested = absl::Seconds(50)}), absl::Seconds(50));
  EXPECT_EQ(ComputeTtl(policy, {.learned = 4, .absent = true}), policy.absent);
  policy.forever = true;
  EXPECT_EQ(ComputeTtl(policy, {.learned = 0.5}), absl::InfiniteDuration());
}

TEST(TtlTest, ExplainsWhatWasLearned) {
  TtlPolicy policy = WithSize();
  policy.adapt_change = true;
  policy.change_target = 0.1;
  const std::vector<TtlStep> own =
      ExplainTtl(policy, {.value_bytes = 1 << 20, .learned = 4, .learned_of_key = true});
  ASSERT_GE(own.size(), 5u);
  EXPECT_EQ(own[4].name, "change");
  EXPECT_EQ(own[4].factor, 4);
  EXPECT_EQ(own[4].ttl, absl::Seconds(240));
  EXPECT_EQ(own[4].why,
            "learned of this key; comes to rest where 10% of the loads find another value");
  EXPECT_EQ(ExplainTtl(policy, {.learned = 2})[4].why,
            "the mean of the type's keys, as this one is not known; comes to rest where 10% of the "
            "loads find another value");
  policy.adapt_change = false;
  for (const TtlStep& step : ExplainTtl(policy, {.learned = 4})) EXPECT_NE(step.name, "change");
}

TEST(TtlTest, ExplanationEndsWithWhatIsComputed) {
  for (const Row& row : Table()) {
    EXPECT_EQ(ExplainTtl(row.policy, row.input).back().ttl, row.want) << row.name;
  }
}

TEST(TtlTest, ExplanationEndsWithWhatIsComputedForRandomPolicies) {
  const uint64_t seed = 4711;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto real = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  const auto coin = [&] { return random() % 2 == 0; };
  for (int round = 0; round < 50'000; ++round) {
    TtlPolicy policy;
    policy.base = absl::Milliseconds(1) * real(1, 1e9);
    policy.multiplier = coin() ? 1 : real(0.001, 1000);
    policy.jitter = coin() ? 0 : real(0, 0.5);
    policy.adapt_access = coin();
    policy.access_gain = real(0, 10);
    policy.access_max = real(1, 100);
    if (coin())
      policy.access_steps = {{5, absl::Seconds(real(1, 1e6))}, {50, absl::Seconds(real(1, 1e6))}};
    policy.adapt_size = coin();
    policy.min = absl::Milliseconds(real(1, 1e5));
    policy.max = policy.min + absl::Milliseconds(real(0, 1e9));
    policy.forever = random() % 10 == 0;
    policy.sliding = coin();
    TtlInput input;
    input.hits = coin() ? random() % 1000 : random();
    input.value_bytes = coin() ? random() % 200'000 : random();
    input.absent = random() % 5 == 0;
    if (coin()) input.requested = absl::Milliseconds(real(0, 1e10));
    input.jitter_draw = real(-1, 1);
    policy.adapt_change = coin();
    input.learned = real(0.0625, 16);

    const absl::Duration ttl = ComputeTtl(policy, input);
    ASSERT_EQ(ExplainTtl(policy, input).back().ttl, ttl) << "round " << round;
    ASSERT_GE(ttl, absl::Milliseconds(1));
    if (ttl != absl::InfiniteDuration()) {
      ASSERT_LE(ttl, policy.max);
    } else {
      ASSERT_TRUE(policy.forever && !input.requested && !input.absent);
    }
  }
}

}  // namespace
}  // namespace larder
