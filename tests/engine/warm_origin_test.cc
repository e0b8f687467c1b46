// What memory had and the tier does not have any more comes back from the origin.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/strings.h"
#include "engine/origin_warmer.h"
#include "tests/engine/fake_origin.h"
#include "tests/engine/warm_fixture.h"

namespace larder {
namespace {

class WarmOriginTest : public WarmFixture {
 protected:
  WarmOriginTest() {
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    engine_options_.origins = {link};
    options_.on_missing = [this](std::vector<std::string> full_keys) {
      origin_warmers_.back()->Want(std::move(full_keys));
    };
    warm_.on_start = true;
    Again();
  }

  // A process of these types begins, and its warming; the one before has ended in order.
  void Again() {
    TypePolicy user;
    user.name = "user";
    user.match.push_back(*Pattern::Parse("user:*"));
    user.origin = "shop";
    user.ttl.jitter = 0;
    user.warm = warm_;
    std::vector<TypePolicy> types;
    types.push_back(std::move(user));
    if (!origin_warmers_.empty()) origin_warmers_.back()->Stop();
    origin_warmers_.empty() ? Begin(std::move(types)) : Restart(std::move(types));
    OriginWarmer::Options options;
    options.engine = engine_.get();
    options.wanted_all = [warmer = warmer_.get()] { return warmer->ready(); };
    origin_warmers_.push_back(std::make_unique<OriginWarmer>(options));
    origin_.loads = origin_.keys = origin_.scans = 0;
    origin_.asked.clear();
  }
  void StartWarming() {
    warmer_->Start();
    origin_warmers_.back()->Start();
  }
  // In memory, in the tier, and in the origin.
  void SetUsers(int count) {
    for (int i = 0; i < count; ++i) {
      origin_.values[User(i)] = {"loaded"};
      Set(User(i), "set");
    }
  }
  static std::string User(int i) { return StrCat("user:", i); }
  void EvictBelow(int from, int to) {
    for (int i = from; i < to; ++i) ASSERT_TRUE(fake_.Evict(FullKeyOf(User(i))));
  }
  OriginWarmer::TypeStats Stats() const { return origin_warmers_.back()->Stats()[0]; }

  WarmPolicy warm_;
  FakeOrigin origin_{executor_.get()};
  std::vector<std::unique_ptr<OriginWarmer>> origin_warmers_;
};

TEST_F(WarmOriginTest, WhatTheTierHasNoMoreIsLoaded) {
  StartWarming();
  executor_->RunReady();
  SetUsers(50);
  Set("plain");
  Again();
  EvictBelow(30, 50);
  ASSERT_TRUE(fake_.Evict(FullKeyOf("plain")));
  StartWarming();
  executor_->Advance(absl::Seconds(1));
  for (int i = 0; i < 50; ++i) {
    std::string value;
    ASSERT_TRUE(Hit(User(i), &value)) << i;
    EXPECT_EQ(value, i < 30 ? "set" : "loaded") << i;
  }
  EXPECT_FALSE(Hit("plain"));
  EXPECT_EQ(origin_.keys, 20);
  EXPECT_EQ(warmer_->Stats().loaded, 30u);
  EXPECT_EQ(warmer_->Stats().missing, 21u);
  EXPECT_EQ(Stats().state, "done");
  EXPECT_TRUE(origin_warmers_.back()->ready());
}

TEST_F(WarmOriginTest, WithoutATierTheHottestOfTheTypeAreLoadedUpToItsLimit) {
  with_tier_ = false;
  Again();
  StartWarming();
  executor_->RunReady();
  SetUsers(100);
  for (int i = 90; i < 100; ++i) {
    for (int hit = 0; hit < 100; ++hit) ASSERT_TRUE(Hit(User(i)));
  }
  warm_.limit = 10;
  Again();
  StartWarming();
  executor_->Advance(absl::Seconds(1));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Hit(User(i)), i >= 90) << i;
  EXPECT_EQ(origin_.keys, 10);
  EXPECT_EQ(origin_.scans, 0) << "the limit is reached";
  EXPECT_EQ(warmer_->Stats().state, "done");
  // What is left below the limit is what the origin lists.
  warm_.limit = 30;
  Again();
  StartWarming();
  executor_->Advance(absl::Seconds(1));
  for (int i = 90; i < 100; ++i) EXPECT_TRUE(Hit(User(i))) << i;
  EXPECT_EQ(InMemory(), 30u);
  EXPECT_EQ(Stats().count.loaded, 30u);
}

TEST_F(WarmOriginTest, LoadsKeepToTheRateOfTheType) {
  StartWarming();
  executor_->RunReady();
  SetUsers(1000);
  warm_.rate = 100;
  Again();
  fake_.Clear();
  StartWarming();
  for (int second = 1; second <= 5; ++second) {
    executor_->Advance(absl::Seconds(1));
    EXPECT_NEAR(origin_.keys, 100 * second, 20) << second;
  }
  EXPECT_EQ(warmer_->Stats().state, "done") << "the tier is not held up by it";
}

TEST_F(WarmOriginTest, ATypeThatIsNotWarmedIsNotLoaded) {
  StartWarming();
  executor_->RunReady();
  SetUsers(20);
  warm_.on_start = false;
  Again();
  fake_.Clear();
  StartWarming();
  executor_->Advance(absl::Seconds(10));
  EXPECT_EQ(origin_.loads, 0);
  EXPECT_EQ(InMemory(), 0u);
}

TEST_F(WarmOriginTest, KeysOfOtherNamespacesComeBackToThem) {
  with_tier_ = false;
  Again();
  StartWarming();
  executor_->RunReady();
  for (const char* const name_space : {"shop", "", "shop"}) {
    WriteRequest write;
    const std::string key = User(static_cast<int>(InMemory()));
    origin_.values[key] = {"loaded"};
    write.key = {name_space, key, ""};
    write.value = "set";
    Spawn(engine_->Set(write), [](absl::StatusOr<WriteResult> set) { ASSERT_TRUE(set.ok()); });
    executor_->RunReady();
  }
  warm_.limit = 3;
  Again();
  StartWarming();
  executor_->Advance(absl::Seconds(1));
  EXPECT_TRUE(Hit(User(1)));
  Entry entry;
  for (const int i : {0, 2})
    EXPECT_TRUE(engine_->FindHit(FullKey("shop", User(i)), clock_.Mono(), true, &entry)) << i;
}

TEST_F(WarmOriginTest, ATierThatStaysAwayHoldsTheOriginUpNoLongerThanReadiness) {
  StartWarming();
  executor_->RunReady();
  SetUsers(50);
  Again();
  handle_->SetFaults({.fail_ratio = 1});
  StartWarming();
  executor_->Advance(absl::Seconds(4));
  EXPECT_EQ(origin_.keys, 0);
  executor_->Advance(absl::Seconds(2));
  EXPECT_EQ(origin_.scans, 1);
  EXPECT_EQ(InMemory(), 50u) << "what the origin lists";
}

TEST_F(WarmOriginTest, AnOriginThatIsAwayEndsItsJobAndLeavesTheTierAlone) {
  StartWarming();
  executor_->RunReady();
  SetUsers(50);
  Again();
  EvictBelow(0, 10);
  origin_.failure = absl::UnavailableError("away");
  StartWarming();
  executor_->Advance(absl::Minutes(1));
  EXPECT_EQ(warmer_->Stats().loaded, 40u);
  EXPECT_NE(Stats().state.find("away"), std::string::npos) << Stats().state;
  EXPECT_TRUE(origin_warmers_.back()->ready());
}

}  // namespace
}  // namespace larder
