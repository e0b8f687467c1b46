// BatchGetOrLoad of types with an origin, with a tier below: how often the tier and the origin are
// asked, what must not be stored, and who leaves when.

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_origin.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

using Results = std::vector<absl::StatusOr<LoadResult>>;

class BatchLoadTest : public EngineFixture {
 protected:
  BatchLoadTest() { Begin(absl::InfiniteDuration()); }
  ~BatchLoadTest() override {
    executor_.Advance(absl::Minutes(1));
    EXPECT_EQ(engine_->Stats().flights, 0u);
    EXPECT_EQ(engine_->Stats().flights_waiting, 0u);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
    handle_->Close();
    executor_.RunReady();
  }

  void Begin(absl::Duration l1_ttl_max) {
    handle_ = fake_.NewHandle(&clock_, &executor_, &random_);
    other_ = fake_.NewHandle(&clock_, &executor_, &random_);
    TypePolicy user = Type("user", "user:{id}", absl::Seconds(100));
    user.origin = "shop";
    user.l1_ttl_max = l1_ttl_max;
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    link.batch_max = 100;
    options.origins = {link};
    options.tier = handle_.get();
    std::vector<TypePolicy> types;
    types.push_back(std::move(user));
    Make(options, std::move(types));
    keys_.clear();
    for (int i = 0; i < 100; ++i) {
      keys_.push_back("user:" + std::to_string(i));
      origin_.values[keys_.back()] = {"v"};
    }
  }

  std::shared_ptr<std::optional<Results>> LoadAll(Cancellation* cancellation = nullptr) {
    BatchLoadRequest request;
    request.keys.assign(keys_.begin(), keys_.end());
    request.lease_ttl = absl::Seconds(10);
    request.deadline = MonoAfter(clock_.Mono(), absl::Seconds(30));
    request.cancellation = cancellation;
    auto results = std::make_shared<std::optional<Results>>();
    Spawn(engine_->BatchGetOrLoad(request),
          [results](Results answers) { results->emplace(std::move(answers)); });
    executor_.RunReady();
    return results;
  }
  static std::string ValueOf(const absl::StatusOr<LoadResult>& result) {
    if (!result.ok()) return DetailsOf(result.status()).reason;
    return result->read.entry ? std::string(result->read.entry->stored()) : "(miss)";
  }
  // What another replica does, of which nobody tells.
  void DeleteElsewhere(const std::string& key) {
    Engine::Options options = engine_->options();
    options.node_id = 9;
    options.tier = other_.get();
    Engine elsewhere(options);
    Spawn(elsewhere.Delete({"", key, ""}), [](auto removed) { ASSERT_TRUE(removed.ok()); });
    executor_.RunReady();
  }

  // The first look at the tier also brings what is invalidated.
  void LearnRules() {
    EXPECT_EQ(Get("nobody"), "(miss)");
    calls_ = handle_->calls();
  }

  FakeOrigin origin_{&executor_};
  FakeTier fake_;
  uint64_t calls_ = 0;
  std::unique_ptr<FakeTier::Handle> handle_;
  std::unique_ptr<FakeTier::Handle> other_;
  std::vector<std::string> keys_;
};

TEST_F(BatchLoadTest, AHundredMissingKeysAreOneQuestionBelowAndOneCall) {
  LearnRules();
  handle_->SetFaults({.delay_min = absl::Milliseconds(1), .delay_max = absl::Milliseconds(9)});
  origin_.takes = absl::Milliseconds(50);
  const auto results = LoadAll();
  executor_.Advance(absl::Milliseconds(25));
  EXPECT_EQ(handle_->calls(), calls_ + 1);
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(origin_.keys, 100);
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(results->has_value());
  for (const auto& result : **results) EXPECT_EQ(ValueOf(result), "v");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(BatchLoadTest, OneMissingKeyAsksBelowOnce) {
  LearnRules();
  const auto loading = Load("user:1");
  executor_.RunReady();
  EXPECT_EQ(loading->Value(), "v");
  EXPECT_EQ(handle_->calls(), calls_ + 2) << "the question, and the put";
}

// 1: the batch looks below.  2: it loads the old value.  3: elsewhere, the key is deleted.  4: the
// old value must not be stored.
TEST_F(BatchLoadTest, AChangeElsewhereDuringTheLoadIsNotOverwritten) {
  origin_.takes = absl::Milliseconds(50);
  const auto results = LoadAll();
  ASSERT_EQ(origin_.loads, 1);
  origin_.values["user:7"] = {"changed"};
  DeleteElsewhere("user:7");
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(results->has_value());
  EXPECT_EQ(ValueOf((**results)[7]), "changed");
  EXPECT_EQ(Get("user:7"), "changed");
  EXPECT_EQ(origin_.loads_of["user:7"], 2);
  EXPECT_EQ(origin_.loads_of["user:8"], 1);
}

// The same while the answer to the look is on its way.
TEST_F(BatchLoadTest, AChangeElsewhereAfterTheLookIsNotOverwritten) {
  for (const absl::Duration when : {absl::Milliseconds(5), absl::Milliseconds(15)}) {
    Begin(absl::InfiniteDuration());
    handle_->SetFaults({.delay_min = absl::Milliseconds(10), .delay_max = absl::Milliseconds(10)});
    const auto results = LoadAll();
    executor_.Advance(when);
    DeleteElsewhere("user:7");
    origin_.values["user:7"] = {"changed"};
    executor_.Advance(absl::Seconds(1));
    ASSERT_TRUE(results->has_value());
    handle_->SetFaults({});
    const std::string value = Get("user:7");
    EXPECT_TRUE(value == "changed" || value == "v") << value;
    fake_.Clear();
  }
}

TEST_F(BatchLoadTest, ATypeThatMemoryDoesNotKeepIsLookedForInTheFlight) {
  Begin(absl::ZeroDuration());
  const auto results = LoadAll();
  executor_.Advance(absl::Milliseconds(10));
  ASSERT_TRUE(results->has_value());
  EXPECT_GT(handle_->calls(), 100u);
  EXPECT_EQ(origin_.keys, 100);
}

TEST_F(BatchLoadTest, ACallThatIsCancelledLeavesAndTheLoadsServeTheOthers) {
  origin_.takes = absl::Milliseconds(50);
  Cancellation leaves;
  const auto cancelled = LoadAll(&leaves);
  const auto stays = LoadAll();
  const auto single = Load("user:5");
  executor_.Advance(absl::Milliseconds(10));
  leaves.Cancel();
  executor_.RunReady();
  ASSERT_TRUE(cancelled->has_value());
  for (const auto& result : **cancelled) EXPECT_EQ(ValueOf(result), "CALL_CANCELLED");
  EXPECT_FALSE(stays->has_value());
  EXPECT_EQ(engine_->Stats().flights, 100u);
  EXPECT_EQ(engine_->Stats().flights_waiting, 101u);
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(stays->has_value());
  for (const auto& result : **stays) EXPECT_EQ(ValueOf(result), "v");
  EXPECT_EQ(single->Value(), "v");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(BatchLoadTest, WhatIsLoadedForACallThatWasCancelledIsKept) {
  origin_.takes = absl::Milliseconds(50);
  Cancellation leaves;
  const auto cancelled = LoadAll(&leaves);
  leaves.Cancel();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf((**cancelled)[3]), "CALL_CANCELLED");
  EXPECT_EQ(Get("user:3"), "v");
  EXPECT_EQ(origin_.loads, 1);
}

}  // namespace
}  // namespace larder
