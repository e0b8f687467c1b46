// A tier that is away, a list that is damaged, a disk that fails.

#include <gtest/gtest.h>

#include <filesystem>

#include "engine/warm.h"
#include "tests/engine/warm_fixture.h"

namespace larder {
namespace {

using WarmFaultsTest = WarmFixture;

TEST_F(WarmFaultsTest, ATierThatIsAwayHoldsReadinessUpNoLongerThanAllowed) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  Restart();
  handle_->SetFaults({.fail_ratio = 1});
  warmer_->Start();
  executor_->Advance(absl::Seconds(4));
  EXPECT_FALSE(warmer_->ready());
  executor_->Advance(absl::Milliseconds(1001));
  EXPECT_TRUE(warmer_->ready());
  EXPECT_GT(warmer_->Stats().again, 0u);
  // Two lanes of 10 keys, every 100 ms at most.
  EXPECT_LE(warmer_->Stats().again, 2 * 10 * 51u);
  executor_->Advance(absl::Seconds(10));
  handle_->SetFaults({});
  executor_->Advance(absl::Seconds(2));
  EXPECT_EQ(warmer_->Stats().state, "done");
  EXPECT_EQ(warmer_->Stats().loaded, 100u);
}

TEST_F(WarmFaultsTest, ATierThatHangsHoldsReadinessUpNoLongerThanAllowed) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  Restart();
  handle_->SetFaults({.hang = true});
  warmer_->Start();
  executor_->Advance(absl::Seconds(5) + absl::Milliseconds(1));
  EXPECT_TRUE(warmer_->ready());
  handle_->SetFaults({});
  handle_->Release();
  executor_->Advance(absl::Seconds(2));
  EXPECT_EQ(warmer_->Stats().loaded, 100u);
}

TEST_F(WarmFaultsTest, ItGivesUpInTheEndAndLeavesTheRestToTheCalls) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  Restart();
  handle_->SetFaults({.fail_ratio = 1});
  warmer_->Start();
  executor_->Advance(absl::Minutes(11));
  EXPECT_EQ(warmer_->Stats().state, "given up");
  const size_t asked = tier_->keys.size();
  executor_->Advance(absl::Minutes(11));
  EXPECT_EQ(tier_->keys.size(), asked);
}

TEST_F(WarmFaultsTest, AListThatWasNotFetchedIsLeftToTheNextProcess) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(100);
  Restart();
  handle_->SetFaults({.fail_ratio = 1});
  warmer_->Start();
  executor_->Advance(absl::Minutes(3));
  EXPECT_EQ(warmer_->Stats().saves, 0u);
  Restart();
  EXPECT_EQ(gone_.back().warmer->Stats().state, "stopped");
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().loaded, 100u);
}

TEST_F(WarmFaultsTest, WhatTheTierMissedIsNotTakenFromItAndIsMadeGood) {
  warmer_->Start();
  executor_->RunReady();
  Set("a", "old");
  // The tier does not take the next one, and nobody remembers that after the restart.
  handle_->SetFaults({.fail_ratio = 1});
  Set("a", "new");
  Restart();
  engine_->Start();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().outdated, 1u);
  EXPECT_FALSE(Hit("a"));
  executor_->Advance(absl::Seconds(1));
  EXPECT_EQ(engine_->Stats().lower.settled, 1u);
  Spawn(engine_->Get({"", "a", ""}),
        [](absl::StatusOr<ReadResult> read) { EXPECT_FALSE(read->entry.has_value()); });
  executor_->RunReady();
}

TEST_F(WarmFaultsTest, DamageOfOneFileCostsItsKeysAndNoMore) {
  options_.part_bytes = 1 << 10;
  Begin();
  warmer_->Start();
  executor_->RunReady();
  SetMany(200);
  Restart();
  DamageFile("hot_keys.1", 100);
  std::filesystem::remove(folder_.path() + "/data/hot_keys.2");
  warmer_->Start();
  executor_->RunReady();
  const WarmStats stats = warmer_->Stats();
  EXPECT_EQ(stats.state, "done");
  EXPECT_EQ(stats.bad_files, 2u);
  EXPECT_EQ(stats.total, 200u);
  EXPECT_LT(stats.loaded, 150u);
  EXPECT_GT(stats.loaded, 50u);
}

TEST_F(WarmFaultsTest, ADamagedIndexIsNoList) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(20);
  Restart();
  DamageFile("hot_keys", 7);
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().state, "done");
  EXPECT_EQ(warmer_->Stats().bad_files, 1u);
  EXPECT_EQ(warmer_->Stats().loaded, 0u);
  Restart();
  EXPECT_EQ(gone_.back().warmer->Stats().saves, 1u) << "the next list takes its place";
}

TEST_F(WarmFaultsTest, AFailedSaveIsCountedAndTriedAgain) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(5);
  std::filesystem::create_directory(folder_.path() + "/data/hot_keys.0");
  executor_->Advance(absl::Seconds(61));
  EXPECT_EQ(warmer_->Stats().saves_failed, 1u);
  std::filesystem::remove(folder_.path() + "/data/hot_keys.0");
  executor_->Advance(absl::Seconds(61));
  EXPECT_EQ(warmer_->Stats().saves, 1u);
}

TEST_F(WarmFaultsTest, ASaveAtTheEndThatTakesTooLongLeavesTheOldList) {
  warmer_->Start();
  executor_->RunReady();
  SetMany(20);
  executor_->Advance(absl::Seconds(61));
  options_.stop_max = absl::ZeroDuration();
  Crash();
  warmer_->Start();
  executor_->RunReady();
  SetMany(40);
  warmer_->Stop();
  EXPECT_EQ(warmer_->Stats().saves_failed, 1u);
  Crash();
  warmer_->Start();
  executor_->RunReady();
  EXPECT_EQ(warmer_->Stats().loaded, 20u);
}

}  // namespace
}  // namespace larder
