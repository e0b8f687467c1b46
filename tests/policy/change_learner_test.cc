#include "policy/change_learner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "base/keyed_hash.h"

namespace larder {
namespace {

uint64_t HashOf(uint64_t key) {
  static const KeyedHash hash(3, 4);
  return hash(std::string_view(reinterpret_cast<const char*>(&key), sizeof(key)));
}

void NoteTimes(ChangeLearner* learner, uint64_t key, int times, bool changed) {
  for (int i = 0; i < times; ++i) learner->Note(HashOf(key), changed);
}

constexpr double kLittle = 0.01;

TEST(ChangeLearnerTest, KnowsNothingAtFirst) {
  const ChangeLearner learner({});
  EXPECT_EQ(learner.Factor(HashOf(1)), 1);
  EXPECT_FALSE(learner.OwnFactor(HashOf(1)).has_value());
  EXPECT_EQ(learner.MeanFactor(), 1);
  EXPECT_EQ(learner.keys(), 0u);
  EXPECT_EQ(learner.bytes(), 64u << 10);
}

TEST(ChangeLearnerTest, ChangeHalvesAndThreeUnchangedLoadsDouble) {
  ChangeLearner learner({});
  NoteTimes(&learner, 1, 1, true);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 0.5, kLittle);
  NoteTimes(&learner, 1, 3, false);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 1, kLittle);
  NoteTimes(&learner, 1, 3, false);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 2, kLittle);
  EXPECT_EQ(learner.noted(), 7u);
  EXPECT_EQ(learner.changed(), 1u);
  EXPECT_EQ(learner.keys(), 1u);
}

TEST(ChangeLearnerTest, TargetSaysHowManyUnchangedLoadsMakeUpForAChange) {
  for (const auto& [target, loads] : {std::pair(0.5, 1), std::pair(0.1, 9), std::pair(0.01, 99)}) {
    ChangeLearner learner({.target = target});
    NoteTimes(&learner, 1, 2, true);
    NoteTimes(&learner, 1, loads, false);
    EXPECT_NEAR(learner.Factor(HashOf(1)), 0.5, 0.02) << target;
  }
}

TEST(ChangeLearnerTest, FactorStaysWithinItsLimitsAndComesBackAtOnce) {
  ChangeLearner learner({});
  NoteTimes(&learner, 1, 100, false);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 16, kLittle);
  NoteTimes(&learner, 1, 4, true);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 1, kLittle);
  NoteTimes(&learner, 1, 100, true);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 1.0 / 16, kLittle / 16);
}

TEST(ChangeLearnerTest, NewKeyBeginsWithTheMeanOfTheOthers) {
  ChangeLearner learner({});
  NoteTimes(&learner, 1, 6, false);
  EXPECT_NEAR(learner.Factor(HashOf(2)), 4, kLittle * 4);
  EXPECT_FALSE(learner.OwnFactor(HashOf(2)).has_value());
  NoteTimes(&learner, 2, 1, true);
  EXPECT_NEAR(*learner.OwnFactor(HashOf(2)), 2, kLittle * 2);
  EXPECT_NEAR(learner.MeanFactor(), std::sqrt(8), kLittle * 3);
  EXPECT_NEAR(learner.Factor(HashOf(1)), 4, kLittle * 4) << "keys do not learn from each other";
}

// The whole point: with values that change at random, TTLs come to rest where loads find a change
// as often as they should, whatever the rate of the changes.
TEST(ChangeLearnerTest, LoadsFindChangesAsOftenAsTheTargetSays) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> real(0, 1);
  for (const double target : {0.1, 0.25, 0.5}) {
    for (const double changes_per_ttl : {0.2, 0.4, 0.8}) {
      ChangeLearner learner({.target = target});
      int changed = 0;
      constexpr int kWarmUp = 500, kLoads = 20'000;
      for (int load = 0; load < kWarmUp + kLoads; ++load) {
        const double ttl = learner.Factor(HashOf(1));
        const bool now = real(random) < 1 - std::exp(-changes_per_ttl * ttl);
        learner.Note(HashOf(1), now);
        if (load >= kWarmUp) changed += now;
      }
      EXPECT_NEAR(static_cast<double>(changed) / kLoads, target, 0.03)
          << changes_per_ttl << " changes per TTL";
    }
  }
}

TEST(ChangeLearnerTest, KeysThatAreLoadedOftenStayWhenOthersComeOnce) {
  ChangeLearner learner({.keys = 1024});
  uint64_t next = 1'000'000;
  int kept = 0;
  for (int round = 0; round < 50; ++round) {
    for (uint64_t key = 0; key < 256; ++key) learner.Note(HashOf(key), false);
    for (int i = 0; i < 1024; ++i) learner.Note(HashOf(next++), true);
  }
  for (uint64_t key = 0; key < 256; ++key) kept += learner.OwnFactor(HashOf(key)).value_or(0) > 4;
  EXPECT_GE(kept, 240);
  EXPECT_LE(learner.keys(), 1024u);
}

TEST(ChangeLearnerTest, KeysThatAreNotLoadedAnyMoreMakeRoom) {
  ChangeLearner learner({.keys = 64});
  for (uint64_t key = 0; key < 64; ++key) NoteTimes(&learner, key, 20, false);
  for (int round = 0; round < 1000; ++round) {
    for (uint64_t key = 1000; key < 1032; ++key) learner.Note(HashOf(key), true);
  }
  int known = 0;
  for (uint64_t key = 1000; key < 1032; ++key) known += learner.OwnFactor(HashOf(key)).has_value();
  EXPECT_GE(known, 28);
}

TEST(ChangeLearnerTest, OptionsBeyondTheLimitsAreCut) {
  EXPECT_EQ(ChangeLearner({.keys = 0}).bytes(), 32u);
  EXPECT_EQ(ChangeLearner({.keys = 9}).bytes(), 64u);
  EXPECT_EQ(ChangeLearner({.keys = SIZE_MAX}).bytes(), 4'000'000u);
  ChangeLearner lowest({.target = 0}), highest({.target = 1});
  NoteTimes(&lowest, 1, 99, false);
  EXPECT_NEAR(lowest.Factor(HashOf(1)), 2, 0.03);
  NoteTimes(&highest, 1, 1, false);
  EXPECT_NEAR(highest.Factor(HashOf(1)), 2, kLittle);
}

// The mean is kept by differences, which must not get lost in any interleaving.
TEST(ChangeLearnerTest, ThreadsLearnTogether) {
  ChangeLearner learner({.keys = 256});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&learner, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 20'000; ++i) {
        const uint64_t key = random() % 400;
        learner.Note(HashOf(key), random() % 4 == 0);
        const double factor = learner.Factor(HashOf(random() % 400));
        ASSERT_GE(factor, 0.06);
        ASSERT_LE(factor, 16.01);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(learner.noted(), 80'000u);
  double levels = 0;
  int known = 0;
  for (uint64_t key = 0; key < 400; ++key) {
    const std::optional<double> own = learner.OwnFactor(HashOf(key));
    if (own) levels += std::log2(*own), ++known;
  }
  // A key that two threads entered at once is there twice, and found once.
  EXPECT_NEAR(static_cast<double>(learner.keys()), known, 3);
  EXPECT_LE(learner.keys(), 256u);
  EXPECT_NEAR(std::log2(learner.MeanFactor()), levels / known, 0.05);
}

}  // namespace
}  // namespace larder
