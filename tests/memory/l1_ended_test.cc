// What L1 keeps of entries that expire, for those who want to be told.

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/key.h"
#include "memory/l1.h"

namespace larder {
namespace {

std::string Full(const std::string& key) { return std::string(FullKey("", key).view()); }

class L1EndedTest : public testing::Test {
 protected:
  L1EndedTest() { Make(1 << 20); }
  ~L1EndedTest() override { EXPECT_TRUE(l1_->CheckInvariants()); }

  void Make(uint64_t budget) {
    L1::Options options;
    options.budget_bytes = budget;
    options.entry_bytes_max = 16 << 10;
    options.types = {{.name = "told"}, {.name = "untold", .keeps_ended = false}};
    options.clock = &clock_;
    l1_ = L1::New(options);
  }
  InsertOutcome Insert(const std::string& key, absl::Duration ttl,
                       std::vector<std::string> tags = {}, uint16_t type = 0,
                       bool negative = false) {
    const std::string full_key = Full(key);
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = negative ? "" : "value";
    fields.negative = negative;
    fields.version = ++version_;
    fields.fresh_until = fields.usable_until = MonoAfter(clock_.Mono(), ttl);
    fields.tags = std::move(tags);
    fields.type_id = type;
    return l1_->Insert(fields, {}, clock_.Mono()).outcome;
  }
  bool Find(const std::string& key) {
    Entry entry;
    MissReason why;
    return l1_->Find(Full(key), clock_.Mono(), &entry, &why);
  }
  void SweepAll() {
    while (l1_->Sweep(clock_.Mono())) {
      if (Take(0).second) return;
    }
  }
  // What there is, and whether there is more.
  std::pair<std::vector<L1::Ended>, bool> Take(size_t most = 1'000'000) {
    std::vector<L1::Ended> ended;
    const bool more = l1_->TakeEnded(most, &ended, &lost_);
    return {std::move(ended), more};
  }
  std::set<std::string> Keys() {
    std::set<std::string> keys;
    for (const L1::Ended& ended : Take().first)
      EXPECT_TRUE(keys.emplace(FullKey::KeyOf(ended.full_key)).second) << "told twice";
    return keys;
  }

  ManualClock clock_;
  std::unique_ptr<L1> l1_;
  Version version_ = 1;
  uint64_t lost_ = 0;
};

using Names = std::set<std::string>;

TEST_F(L1EndedTest, KeepsNothingUnlessItIsAskedTo) {
  Insert("a", absl::Seconds(1));
  clock_.Advance(absl::Seconds(2));
  SweepAll();
  EXPECT_EQ(l1_->Usage().total.expirations, 1u);
  EXPECT_TRUE(Take().first.empty());
  l1_->KeepEnded(true);
  Insert("b", absl::Seconds(1));
  clock_.Advance(absl::Seconds(2));
  SweepAll();
  l1_->KeepEnded(false);
  EXPECT_EQ(Keys(), Names());
}

TEST_F(L1EndedTest, KeepsWhatTheSweepAndTheReadersFind) {
  l1_->KeepEnded(true);
  Insert("swept", absl::Seconds(1), {"red", "blue"});
  const Version swept = version_;
  Insert("lives", absl::Hours(1));
  clock_.Advance(absl::Seconds(2));
  SweepAll();
  std::vector<L1::Ended> ended = Take().first;
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].full_key, Full("swept"));
  EXPECT_EQ(ended[0].version, swept);
  EXPECT_EQ(ended[0].tags, (std::vector<std::string>{"red", "blue"}));
  Insert("read", absl::Seconds(1));
  Insert("set again", absl::Seconds(1));
  const Version first = version_;
  clock_.Advance(absl::Seconds(2));
  EXPECT_FALSE(Find("read"));
  Insert("set again", absl::Hours(1));
  ended = Take().first;
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[1].version, first);
  SweepAll();
  EXPECT_EQ(Keys(), Names());
}

TEST_F(L1EndedTest, WhatLeavesInAnotherWayDoesNotEnd) {
  l1_->KeepEnded(true);
  Insert("replaced", absl::Seconds(1));
  Insert("replaced", absl::Hours(1));
  Insert("erased", absl::Seconds(1));
  l1_->Erase(Full("erased"), version_, clock_.Mono());
  Insert("absent", absl::Seconds(1), {}, 0, /*negative=*/true);
  Insert("untold", absl::Seconds(1), {}, 1);
  for (int i = 0; i < 100'000; ++i) Insert("evicted" + std::to_string(i), absl::Hours(1));
  clock_.Advance(absl::Seconds(2));
  SweepAll();
  EXPECT_EQ(Keys(), Names());
  EXPECT_EQ(lost_, 0u);
  // As with a new configuration.
  l1_->SetType(1, {.name = "untold", .keeps_ended = true});
  Insert("told now", absl::Seconds(1), {}, 1);
  clock_.Advance(absl::Seconds(2));
  SweepAll();
  EXPECT_EQ(Keys(), Names({"told now"}));
}

// The sweep goes on when there is room to keep what it finds.
TEST_F(L1EndedTest, TheSweepWaitsForThoseWhoTake) {
  l1_->KeepEnded(true);
  constexpr size_t kCount = 3'000;
  for (size_t i = 0; i < kCount; ++i) Insert("k" + std::to_string(i), absl::Seconds(1));
  ASSERT_EQ(l1_->Usage().total.entries, kCount);
  clock_.Advance(absl::Seconds(2));
  Names keys;
  for (int i = 0; i < 10'000 && keys.size() < kCount; ++i) {
    l1_->Sweep(clock_.Mono());
    const auto [ended, more] = Take(7);
    EXPECT_LE(ended.size(), 7u);
    for (const L1::Ended& one : ended)
      EXPECT_TRUE(keys.emplace(FullKey::KeyOf(one.full_key)).second);
  }
  EXPECT_EQ(keys.size(), kCount);
  EXPECT_EQ(lost_, 0u);
  EXPECT_EQ(l1_->Usage().total.entries, 0u);
}

// While nobody takes anything, room is made all the same, and what could not be kept is counted.
TEST_F(L1EndedTest, WhoNeedsRoomDoesNotWaitForThoseWhoTake) {
  l1_->KeepEnded(true);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 3'000; ++i)
      ASSERT_EQ(Insert("k" + std::to_string(round) + ":" + std::to_string(i), absl::Seconds(1)),
                InsertOutcome::kStored);
    clock_.Advance(absl::Seconds(2));
    EXPECT_TRUE(l1_->CheckInvariants());
  }
  const auto [ended, more] = Take();
  EXPECT_FALSE(more);
  EXPECT_GT(ended.size(), 0u);
  EXPECT_LT(ended.size(), 1'000u);
  EXPECT_GT(lost_, 10'000u);
  EXPECT_EQ(ended.size() + lost_, l1_->Usage().total.expirations);
}

// Without anybody to tell, a quarter of what lies together has to be over first.
TEST_F(L1EndedTest, EndsAreFoundSoonerWhileSomebodyWantsToBeTold) {
  for (const bool keep : {false, true}) {
    Make(1 << 20);
    l1_->KeepEnded(keep);
    for (int i = 0; i < 100; ++i) {
      Insert("k" + std::to_string(i), absl::Seconds(100));
      clock_.Advance(absl::Seconds(1) - absl::Milliseconds(10));
    }
    // The first ends a second from now, and one more every second.
    clock_.Advance(absl::Seconds(4));
    SweepAll();
    EXPECT_EQ(l1_->Usage().total.expirations > 0, keep);
  }
}

}  // namespace
}  // namespace larder
