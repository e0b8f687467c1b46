// With other replicas, that go on while one of them is away.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/strings.h"
#include "engine/warm.h"
#include "tests/engine/replica.h"
#include "tests/tier/rocks_rig.h"

namespace larder {
namespace {

class WarmFleetTest : public testing::Test {
 protected:
  WarmFleetTest() : executor_(&clock_, 5), random_(5), fleet_(&clock_, &executor_, 5) {}

  std::unique_ptr<Replica> NewReplica(int number, uint32_t node_id) {
    Replica::Options options;
    options.number = number;
    options.node_id = node_id;
    auto replica = std::make_unique<Replica>(&fleet_, &executor_, &random_, options);
    replica->engine->Start();
    return replica;
  }
  Warmer::Options OptionsFor(Replica* replica) {
    Warmer::Options options;
    options.engine = replica->engine.get();
    options.data_dir = dir_.get();
    options.executor = &executor_;
    options.clock = &clock_;
    return options;
  }
  void Set(Replica* replica, const std::string& key, const std::string& value) {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = value;
    Spawn(replica->engine->Set(write),
          [](absl::StatusOr<WriteResult> set) { ASSERT_TRUE(set.ok()) << set.status(); });
    executor_.Advance(absl::Milliseconds(100));
  }
  std::string Hit(Replica* replica, const std::string& key) {
    Entry entry;
    if (!replica->engine->FindHit(FullKey("", key), clock_.Mono(), true, &entry)) return "(miss)";
    return std::string(entry.stored());
  }

  TemporaryFolder folder_;
  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom random_;
  Fleet fleet_;
  std::unique_ptr<DataDir> dir_ = *DataDir::Open(folder_.path() + "/data");
};

TEST_F(WarmFleetTest, NothingIsFetchedBeforeTheBusIsFollowed) {
  const auto first = NewReplica(1, 1);
  executor_.Advance(absl::Seconds(2));
  Warmer before(OptionsFor(first.get()));
  before.Start();
  executor_.Advance(absl::Milliseconds(10));
  for (int i = 0; i < 50; ++i) Set(first.get(), StrCat("key", i), "old");
  before.Stop();
  first->Kill();

  fleet_.log.Disconnect(2);
  const auto second = NewReplica(2, 2);
  Warmer warmer(OptionsFor(second.get()));
  warmer.Start();
  executor_.Advance(absl::Seconds(6));
  EXPECT_TRUE(warmer.ready());
  EXPECT_EQ(warmer.Stats().loaded, 0u);
  EXPECT_EQ(warmer.Stats().state, "waiting");
  // A change that this replica cannot hear of.
  const auto third = NewReplica(3, 3);
  executor_.Advance(absl::Seconds(2));
  Set(third.get(), "key1", "new");

  fleet_.log.Connect(2);
  executor_.Advance(absl::Seconds(10));
  EXPECT_EQ(warmer.Stats().state, "done");
  EXPECT_EQ(warmer.Stats().loaded, 50u);
  EXPECT_EQ(Hit(second.get(), "key1"), "new");
  EXPECT_EQ(Hit(second.get(), "key2"), "old") << "and it is trusted";
  EXPECT_EQ(second->engine->Stats().coherence.confirmed, 0u);
  second->Kill();
  third->Kill();
  executor_.RunReady();
}

TEST_F(WarmFleetTest, WhatWasReadAcrossAGapIsReadAgain) {
  const auto first = NewReplica(1, 1);
  executor_.Advance(absl::Seconds(2));
  Warmer before(OptionsFor(first.get()));
  before.Start();
  executor_.Advance(absl::Milliseconds(10));
  Set(first.get(), "a", "old");
  before.Stop();

  const auto second = NewReplica(2, 2);
  executor_.Advance(absl::Seconds(2));
  ASSERT_TRUE(second->engine->CanRefill());
  second->tier->SetFaults({.hang = true});
  Warmer warmer(OptionsFor(second.get()));
  warmer.Start();
  executor_.Advance(absl::Milliseconds(10));
  ASSERT_EQ(second->tier->waiting(), 1u);
  fleet_.log.Disconnect(2);
  executor_.Advance(absl::Seconds(15));
  EXPECT_FALSE(second->engine->CanRefill());
  second->tier->SetFaults({});
  second->tier->Release();
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(warmer.Stats().again, 1u);
  EXPECT_EQ(second->engine->memory().Usage().total.entries, 0u);
  fleet_.log.Connect(2);
  executor_.Advance(absl::Seconds(10));
  EXPECT_EQ(warmer.Stats().loaded, 1u);
  EXPECT_EQ(Hit(second.get(), "a"), "old");
  first->Kill();
  second->Kill();
  executor_.RunReady();
}

}  // namespace
}  // namespace larder
