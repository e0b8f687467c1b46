// What a call is told to have waited for, and for how long.

#include "base/steps.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_journal.h"
#include "tests/engine/fake_origin.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

constexpr MonoNanos kMs = 1'000'000;

// A tier of which each call takes 20 ms, an origin of 200 ms, and a journal of 7 ms.
class StepsTest : public EngineFixture {
 protected:
  StepsTest() {
    std::vector<TypePolicy> types;
    for (const auto& [name, mode] :
         std::vector<std::pair<std::string, WriteMode>>{{"read", WriteMode::kCacheOnly},
                                                        {"through", WriteMode::kThrough},
                                                        {"behind", WriteMode::kBehind}}) {
      TypePolicy type = Type(name, name + ":*", absl::Seconds(100));
      type.origin = "shop";
      type.write.mode = mode;
      types.push_back(type);
    }
    tier_ = fleet_tier_.NewHandle(&clock_, &executor_, &random_);
    FakeTierFaults slow;
    slow.delay_min = slow.delay_max = absl::Milliseconds(10);
    tier_->SetFaults(slow);
    origin_.takes = absl::Milliseconds(200);
    journal_.takes = absl::Milliseconds(7);
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    options.journal = &journal_;
    options.tier = tier_.get();
    Make(options, std::move(types));
    origin_.values["read:1"] = {"one"};
    origin_.values["read:2"] = {"two"};
  }
  ~StepsTest() override {
    executor_.Advance(absl::Minutes(1));
    engine_->Stop(absl::ZeroDuration());
  }

  // Runs a task to its end; what it waited for.
  template <typename T>
  StepTimes StepsOf(Task<T> task) {
    StepTimes steps;
    bool done = false;
    Spawn(std::move(task), [&done](const T&) { done = true; }, &steps);
    for (int i = 0; i < 1000 && !done; ++i) executor_.Advance(absl::Milliseconds(1));
    EXPECT_TRUE(done);
    return steps;
  }
  static LoadRequest LoadOf(std::string_view key) {
    LoadRequest request;
    request.key = {"", key, ""};
    request.lease_ttl = absl::Seconds(10);
    return request;
  }
  static WriteRequest SetOf(std::string_view key, std::string_view value) {
    WriteRequest request;
    request.key = {"", key, ""};
    request.value = value;
    return request;
  }

  FakeOrigin origin_{&executor_};
  FakeJournal journal_{&clock_, &executor_};
  FakeTier fleet_tier_;
  std::unique_ptr<FakeTier::Handle> tier_;
};

TEST_F(StepsTest, ALoadTellsTheTierTheOriginAndTheWait) {
  // Whoever comes first also waits for the invalidations that the tier keeps.
  EXPECT_GT(StepsOf(engine_->Get({"", "other", ""})).Of(Step::kTierRead), 20 * kMs);
  const StepTimes steps = StepsOf(engine_->GetOrLoad(LoadOf("read:1")));
  EXPECT_EQ(steps.Of(Step::kTierRead), 20 * kMs);
  EXPECT_GE(steps.Of(Step::kOrigin), 200 * kMs);
  EXPECT_EQ(steps.Of(Step::kTierWrite), 20 * kMs);
  EXPECT_EQ(steps.Of(Step::kLoad), steps.Of(Step::kOrigin) + steps.Of(Step::kTierWrite))
      << "in which the load's own steps lie";
  EXPECT_EQ(steps.Of(Step::kJournal), 0);
}

TEST_F(StepsTest, WhoJoinsALoadIsToldWhatThatWaitedFor) {
  StepTimes first;
  StepTimes second;
  Spawn(engine_->GetOrLoad(LoadOf("read:1")), [](const auto&) {}, &first);
  executor_.Advance(absl::Milliseconds(100));
  Spawn(engine_->GetOrLoad(LoadOf("read:1")), [](const auto&) {}, &second);
  executor_.Advance(absl::Seconds(1));
  EXPECT_GE(first.Of(Step::kOrigin), 200 * kMs);
  EXPECT_EQ(second.Of(Step::kOrigin), first.Of(Step::kOrigin));
  EXPECT_GT(second.Of(Step::kLoad), 0);
  EXPECT_LT(second.Of(Step::kLoad), first.Of(Step::kLoad)) << "it came later";
}

TEST_F(StepsTest, WhatIsInMemoryWaitsForNothing) {
  StepsOf(engine_->GetOrLoad(LoadOf("read:1")));
  const StepTimes steps = StepsOf(engine_->Get({"", "read:1", ""}));
  for (size_t i = 0; i < kStepNames.size(); ++i) EXPECT_EQ(steps.Of(static_cast<Step>(i)), 0) << i;
}

TEST_F(StepsTest, WritesTellTheOriginTheJournalAndTheTurn) {
  const StepTimes through = StepsOf(engine_->Set(SetOf("through:1", "x")));
  EXPECT_GE(through.Of(Step::kOrigin), 200 * kMs);
  EXPECT_EQ(through.Of(Step::kTierWrite), 20 * kMs);
  EXPECT_EQ(through.Of(Step::kTurn), 0);
  const StepTimes behind = StepsOf(engine_->Set(SetOf("behind:1", "x")));
  EXPECT_EQ(behind.Of(Step::kJournal), 7 * kMs);
  EXPECT_EQ(behind.Of(Step::kOrigin), 0);

  StepTimes first;
  StepTimes second;
  Spawn(engine_->Set(SetOf("through:1", "a")), [](const auto&) {}, &first);
  Spawn(engine_->Set(SetOf("through:1", "b")), [](const auto&) {}, &second);
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(first.Of(Step::kTurn), 0);
  EXPECT_GE(second.Of(Step::kTurn), 200 * kMs) << "behind the other one";
}

// Side by side: not the sum, which would be longer than the call.
TEST_F(StepsTest, ABatchTellsTheLongestOfItsKeys) {
  std::vector<WriteRequest> writes;
  for (const char* key : {"through:1", "through:2", "behind:1", "behind:2"})
    writes.push_back(SetOf(key, "x"));
  const StepTimes steps = StepsOf(engine_->BatchSet(std::move(writes)));
  EXPECT_GE(steps.Of(Step::kOrigin), 200 * kMs);
  EXPECT_LT(steps.Of(Step::kOrigin), 300 * kMs);
  EXPECT_EQ(steps.Of(Step::kJournal), 7 * kMs);

  BatchLoadRequest load;
  load.keys = {"read:1", "read:2"};
  load.lease_ttl = absl::Seconds(10);
  const StepTimes loaded = StepsOf(engine_->BatchGetOrLoad(std::move(load)));
  EXPECT_EQ(loaded.Of(Step::kTierRead), 20 * kMs);
  EXPECT_GE(loaded.Of(Step::kOrigin), 200 * kMs);
  EXPECT_LT(loaded.Of(Step::kOrigin), 300 * kMs);
}

}  // namespace
}  // namespace larder
