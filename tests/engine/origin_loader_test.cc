#include "engine/origin_loader.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

class OriginLoaderTest : public testing::Test {
 protected:
  void Make(OriginLoader::Options options) {
    options.origin = &origin_;
    options.clock = &clock_;
    options.executor = &executor_;
    loader_ = std::make_unique<OriginLoader>(options);
  }
  // `answer` is set when the key is answered.
  std::shared_ptr<std::optional<OriginLoaded>> Load(const std::string& key,
                                                    const std::string& type = "user",
                                                    absl::Duration most = absl::Seconds(5)) {
    origin_.values[key] = {"v"};
    OriginCall call{"default", type};
    OriginLoad::Item item{key};
    auto answer = std::make_shared<std::optional<OriginLoaded>>();
    Spawn(loader_->Load(std::move(call), std::move(item), MonoAfter(clock_.Mono(), most)),
          [answer](OriginLoaded loaded) { answer->emplace(std::move(loaded)); });
    return answer;
  }
  void LoadMany(int count, const std::string& type = "user") {
    for (int i = 0; i < count; ++i) Load(type + ":" + std::to_string(next_++), type);
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  FakeOrigin origin_{&executor_};
  std::unique_ptr<OriginLoader> loader_;
  int next_ = 0;
};

TEST_F(OriginLoaderTest, SendsWhatIsWantedAtTheSameMomentInOneCall) {
  Make({});
  LoadMany(30);
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(origin_.keys, 30);
}

TEST_F(OriginLoaderTest, SendsFullCallsWhenThereIsMuch) {
  Make({});
  LoadMany(1000);
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 10);
  EXPECT_EQ(origin_.keys, 1000);
}

TEST_F(OriginLoaderTest, WhatComesWhileACallIsUnderWayGathersForTheDelay) {
  Make({});
  origin_.takes = absl::Milliseconds(50);
  Load("user:first");
  executor_.RunReady();
  EXPECT_EQ(origin_.loads, 1);
  for (int i = 0; i < 4; ++i) {
    LoadMany(10);
    executor_.Advance(absl::Milliseconds(1));
  }
  EXPECT_EQ(origin_.loads, 1);
  executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(origin_.loads, 2);
  EXPECT_EQ(origin_.keys, 41);
}

TEST_F(OriginLoaderTest, TheNextCallGoesOutWhenTheOneBeforeReturns) {
  OriginLoader::Options options;
  options.delay = absl::Seconds(1);
  Make(options);
  origin_.takes = absl::Milliseconds(50);
  Load("user:first");
  executor_.RunReady();
  const auto second = Load("user:second");
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_TRUE(second->has_value());
  EXPECT_EQ((*second)->value, "v");
}

TEST_F(OriginLoaderTest, CallsUnderWayAreBoundedAndNoGroupStarves) {
  OriginLoader::Options options;
  options.calls_max = 2;
  options.batch_max = 10;
  Make(options);
  origin_.takes = absl::Milliseconds(50);
  LoadMany(100, "user");
  executor_.Advance(absl::Milliseconds(10));
  const auto other = Load("order:1", "order");
  executor_.Advance(absl::Milliseconds(120));
  EXPECT_EQ(origin_.under_way_most, 2);
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(other->has_value());
  EXPECT_EQ(origin_.keys, 101);
  EXPECT_EQ(origin_.under_way_most, 2);
  EXPECT_EQ(loader_->queued(), 0u);
}

TEST_F(OriginLoaderTest, RefusesKeysBeyondItsQueue) {
  OriginLoader::Options options;
  options.calls_max = 1;
  options.queue_max = 10;
  Make(options);
  origin_.takes = absl::Milliseconds(50);
  Load("user:first");
  executor_.RunReady();
  LoadMany(10);
  const auto refused = Load("user:refused");
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->error.code(), absl::StatusCode::kResourceExhausted);
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(origin_.keys, 11);
}

TEST_F(OriginLoaderTest, WhoseTimeIsOverIsNotAskedForAnyMore) {
  OriginLoader::Options options;
  options.calls_max = 1;
  Make(options);
  origin_.takes = absl::Seconds(1);
  Load("user:first");
  executor_.RunReady();
  const auto late = Load("user:late", "user", absl::Milliseconds(100));
  executor_.Advance(absl::Milliseconds(200));
  ASSERT_TRUE(late->has_value());
  EXPECT_EQ((*late)->error.code(), absl::StatusCode::kDeadlineExceeded);
  executor_.Advance(absl::Seconds(3));
  EXPECT_EQ(origin_.loads_of.count("user:late"), 0u);
}

TEST_F(OriginLoaderTest, AFailedCallFailsItsKeys) {
  Make({});
  origin_.failure = absl::UnavailableError("away");
  const auto a = Load("user:a"), b = Load("user:b");
  executor_.RunReady();
  EXPECT_EQ((*a)->error.message(), "away");
  EXPECT_EQ((*b)->kind, OriginLoaded::Kind::kFailed);
}

}  // namespace
}  // namespace larder
