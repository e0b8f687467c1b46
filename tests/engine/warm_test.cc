#include "engine/warm.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "base/strings.h"
#include "engine/usage.h"
#include "tests/engine/warm_fixture.h"

namespace larder {
namespace {

using WarmTest = WarmFixture;

TEST_F(WarmTest, TheFirstStartHasNothingToWaitFor) {
  warmer_->Start();
  EXPECT_FALSE(warmer_->ready());
  executor_->RunReady();
  EXPECT_TRUE(warmer_->ready());
  EXPECT_EQ(warmer_->Stats().state, "done");
  EXPECT_EQ(warmer_->Stats().total, 0u);
}

TEST_F(WarmTest, MemoryIsBackAfterARestartBeforeReadiness) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(95);
  Restart();
  EXPECT_EQ(InMemory(), 0u);
  warmer_->Start();
  executor_->RunReady();
  EXPECT_TRUE(warmer_->ready());
  warmer_->WaitUntilReady();
  const WarmStats stats = warmer_->Stats();
  EXPECT_EQ(stats.state, "done");
  EXPECT_EQ(stats.total, 95u);
  EXPECT_EQ(stats.loaded, 95u);
  EXPECT_EQ(stats.missing + stats.outdated + stats.present + stats.again, 0u);
  for (int i = 0; i < 95; ++i) EXPECT_TRUE(Hit(StrCat("key", i))) << i;
  EXPECT_LE(tier_->under_way_most, 2);
}

TEST_F(WarmTest, WarmingIsNoHitAndNoMissInTheStats) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(10);
  Hit("key1");
  Restart();
  warmer_->Start();
  executor_->RunReady();
  const UsageTotals& counts = engine_->Stats().total.counts;
  EXPECT_EQ(counts[static_cast<size_t>(Usage::kHits)], 0u);
  EXPECT_EQ(counts[static_cast<size_t>(Usage::kMisses)], 0u);
}

TEST_F(WarmTest, ACrashLosesWhatCameAfterTheLastSave) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(20);
  executor_->Advance(absl::Minutes(1) + absl::Seconds(1));
  EXPECT_EQ(warmer_->Stats().saves, 1u);
  EXPECT_EQ(warmer_->Stats().saved_keys, 20u);
  Set("late");
  Crash();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().loaded, 20u);
  EXPECT_FALSE(Hit("late"));
}

TEST_F(WarmTest, TheHottestComeFirst) {
  options_.batches_max = 1;
  Begin();
  warmer_->Start();
  executor_->RunReady();
  SetMany(200);
  std::set<std::string> hot;
  for (int i = 0; i < 200; i += 10) {
    hot.insert(StrCat("key", i));
    for (int hit = 0; hit < 100; ++hit) ASSERT_TRUE(Hit(StrCat("key", i)));
  }
  Restart();
  warmer_->Start();
  executor_->RunReady();
  ASSERT_EQ(tier_->keys.size(), 200u);
  EXPECT_EQ(std::set<std::string>(tier_->keys.begin(), tier_->keys.begin() + 20), hot);
}

TEST_F(WarmTest, TheListIsCutAtItsLimit) {
  options_.limit = 30;
  Begin();
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  for (int i = 70; i < 100; ++i) ASSERT_TRUE(Hit(StrCat("key", i)));
  Restart();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().loaded, 30u);
  for (int i = 70; i < 100; ++i) EXPECT_TRUE(Hit(StrCat("key", i))) << i;
  // A later, smaller limit holds for the list that is there.
  options_.limit = 7;
  Crash();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().total, 7u);
  EXPECT_EQ(warmer_->Stats().loaded, 7u);
}

TEST_F(WarmTest, ALimitOfZeroIsOff) {
  options_.limit = 0;
  Begin();
  warmer_->Start();
  EXPECT_TRUE(warmer_->ready());
  SetMany(10);
  executor_->Advance(absl::Minutes(5));
  Restart();
  EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/data/hot_keys"));
  EXPECT_EQ(warmer_->Stats().state, "off");
}

TEST_F(WarmTest, BehindReadinessItKeepsToTheRate) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(1000);
  Restart();
  options_.before_ready = absl::ZeroDuration();
  options_.rate = 100;
  Crash();
  warmer_->Start();
  EXPECT_TRUE(warmer_->ready());
  warmer_->WaitUntilReady();
  for (int second = 1; second <= 9; ++second) {
    executor_->Advance(absl::Seconds(1));
    const auto asked = static_cast<int>(tier_->keys.size());
    EXPECT_NEAR(asked, 100 * second, 10) << second;
  }
  executor_->Advance(absl::Seconds(2));
  EXPECT_EQ(warmer_->Stats().state, "done");
  EXPECT_EQ(warmer_->Stats().loaded, 1000u);
}

TEST_F(WarmTest, WhatIsLeftWhenTimeIsUpComesBehindReadiness) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(1000);
  Restart();
  // 20 keys in 100 ms.
  handle_->SetFaults({.delay_min = absl::Milliseconds(50), .delay_max = absl::Milliseconds(50)});
  warmer_->Start();
  executor_->Advance(absl::Seconds(4));
  EXPECT_FALSE(warmer_->ready());
  const uint64_t before = warmer_->Stats().loaded;
  EXPECT_GT(before, 500u);
  executor_->Advance(absl::Milliseconds(1001));
  EXPECT_TRUE(warmer_->ready());
  handle_->SetFaults({});
  executor_->Advance(absl::Seconds(3));
  EXPECT_EQ(warmer_->Stats().loaded, 1000u);
}

TEST_F(WarmTest, WhatWasRemovedOrHasEndedWhileItWasDownDoesNotComeBack) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  Set("short", "v", absl::Seconds(30));
  Set("changed", "old");
  Restart();
  // Another replica works on.
  const auto other = fake_.NewHandle(&clock_, executor_.get(), &random_);
  Engine::Options options = engine_->options();
  options.node_id = 9;
  options.tier = other.get();
  Engine elsewhere(options);
  Spawn(elsewhere.Delete({"", "key7", ""}), [](auto removed) { ASSERT_TRUE(removed.ok()); });
  WriteRequest write;
  write.key = {"", "changed", ""};
  write.value = "new";
  Spawn(elsewhere.Set(write), [](auto set) { ASSERT_TRUE(set.ok()); });
  executor_->RunReady();
  fake_.Evict(FullKeyOf("key8"));
  clock_.Advance(absl::Seconds(34));  // past the jitter

  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().loaded, 99u);
  EXPECT_EQ(warmer_->Stats().missing, 3u);
  EXPECT_FALSE(Hit("key7"));
  EXPECT_FALSE(Hit("key8"));
  EXPECT_FALSE(Hit("short"));
  std::string value;
  EXPECT_TRUE(Hit("changed", &value));
  EXPECT_EQ(value, "new");
}

TEST_F(WarmTest, ACopyLivesNoLongerThanTheTierSays) {
  warmer_->Start();
  executor_->RunReady();
  Set("a", "v", absl::Minutes(1));
  clock_.Advance(absl::Seconds(40));
  Restart();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_TRUE(Hit("a"));
  // With the jitter.
  clock_.Advance(absl::Seconds(30));
  EXPECT_FALSE(Hit("a"));
}

TEST_F(WarmTest, AChangeDuringTheFetchWins) {
  warmer_->Start();
  executor_->RunReady();
  Set("a", "old");
  Set("b", "old");
  Restart();
  handle_->SetFaults({.delay_min = absl::Milliseconds(50), .delay_max = absl::Milliseconds(50)});
  warmer_->Start();
  executor_->Advance(absl::Milliseconds(90));
  handle_->SetFaults({});
  Set("a", "new");
  Spawn(engine_->Delete({"", "b", ""}), [](auto removed) { ASSERT_TRUE(removed.ok()); });
  executor_->Advance(absl::Seconds(1));
  EXPECT_EQ(warmer_->Stats().state, "done");
  std::string value;
  EXPECT_TRUE(Hit("a", &value));
  EXPECT_EQ(value, "new");
  EXPECT_FALSE(Hit("b"));
}

TEST_F(WarmTest, WhatCallsBroughtBackIsNotFetchedAgain) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(10);
  Restart();
  SetMany(5);
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().present, 5u);
  EXPECT_EQ(warmer_->Stats().loaded, 5u);
  EXPECT_EQ(tier_->keys.size(), 5u);
}

TEST_F(WarmTest, ATypeThatNoLongerGoesToTheTierIsNotFetched) {
  const auto type = [](bool second_tier) {
    TypePolicy policy;
    policy.name = "user";
    policy.match.push_back(*Pattern::Parse("user:*"));
    policy.second_tier = second_tier;
    std::vector<TypePolicy> types;
    types.push_back(std::move(policy));
    return types;
  };
  Begin(type(true));
  warmer_->Start();
  executor_->RunReady();
  Set("user:1");
  Set("other");
  Restart(type(false));
  warmer_->Start();
  executor_->RunReady();
  EXPECT_FALSE(Hit("user:1"));
  EXPECT_TRUE(Hit("other"));
}

TEST_F(WarmTest, StopsWhenMemoryIsNearlyFull) {
  engine_options_.memory_bytes = 16 << 20;
  Begin();
  warmer_->Start();
  executor_->RunReady();
  // No codec makes it smaller.
  std::string value;
  while (value.size() < 4000) value.push_back(static_cast<char>(random_.Next()));
  for (int i = 0; i < 3000; ++i) Set(StrCat("key", i), value);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(Hit(StrCat("key", i)));
  engine_options_.memory_bytes = 4 << 20;
  Restart();
  warmer_->Start();
  executor_->RunReady();
  const WarmStats stats = warmer_->Stats();
  EXPECT_EQ(stats.state, "full");
  EXPECT_TRUE(warmer_->ready());
  EXPECT_EQ(stats.total, 3000u);
  EXPECT_GT(stats.loaded, 700u);
  EXPECT_LT(stats.loaded, 1050u);
  EXPECT_LE(engine_->memory().Usage().total.evicted(), 50u);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Hit(StrCat("key", i))) << i;
}

TEST_F(WarmTest, WaitUntilReadyIsWokenByTheEnd) {
  warmer_->Start();
  std::thread waits([&] { warmer_->WaitUntilReady(); });
  executor_->RunReady();
  waits.join();
  EXPECT_TRUE(warmer_->ready());
}

}  // namespace
}  // namespace larder
