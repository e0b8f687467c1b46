// Barriers and bounds of a PendingIndex.

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/journal/pending_rig.h"

namespace larder {
namespace {

class PendingRoomTest : public PendingIndexTest {};

TEST_F(PendingRoomTest, BarrierWaitsForWhatWasThereBeforeAndHurriesIt) {
  AddType("u", "db");
  Insert("a", 1, 0);
  Insert("b", 2, 0, "u");
  const auto barrier = index().AddBarrier(0, seq_);
  ASSERT_NE(barrier, nullptr);
  EXPECT_EQ(barrier->left, 1u);
  Insert("c", 3, 0);
  auto call = index().Take(0, 1, true);
  ASSERT_EQ(Keys(call), "a c");
  EXPECT_EQ(Keys(index().Take(0, 1, true)), "-");
  index().Done(call->writes[1].key, &erase_);
  EXPECT_TRUE(index().TakeFinished().empty());
  index().Done(call->writes[0].key, &erase_);
  EXPECT_EQ(index().TakeFinished().size(), 1u);
  Insert("d", 4, 0);
  EXPECT_FALSE(index().IsDue(0, 1));
}

TEST_F(PendingRoomTest, BarrierWaitsForTheWriteThatTookThePlaceOfItsOwn) {
  Insert("a", 1, 0);
  const auto barrier = index().AddBarrier(kNoPendingType, seq_);
  Insert("a", 2, 0);
  EXPECT_TRUE(index().TakeFinished().empty());
  auto call = index().Take(0, 1, true);
  Insert("a", 3, 0);
  // Not delivered: the third, which waits, stands for it now.
  index().Return(*call, &erase_);
  EXPECT_TRUE(index().TakeFinished().empty());
  call = index().Take(0, 1, true);
  index().Done(call->writes[0].key, &erase_);
  EXPECT_EQ(index().TakeFinished().size(), 1u);
}

TEST_F(PendingRoomTest, NothingToWaitForIsNoBarrier) {
  EXPECT_EQ(index().AddBarrier(kNoPendingType, seq_), nullptr);
}

TEST_F(PendingRoomTest, RoomEndsAtTheBoundAndNotBefore) {
  options_.entries_max = 2;
  options_.bytes_max = 100;
  EXPECT_TRUE(Reserve("a", 1, 60).ok());
  const absl::Status bytes = Reserve("b", 1, 41);
  EXPECT_EQ(DetailsOf(bytes).reason, "JOURNAL_FULL");
  EXPECT_TRUE(DetailsOf(bytes).retry_after.has_value());
  EXPECT_TRUE(Reserve("b", 1, 40).ok());
  index().Release(reservation_);
  EXPECT_TRUE(Reserve("b", 1, 0).ok());
  EXPECT_EQ(DetailsOf(Reserve("c", 1, 0)).reason, "JOURNAL_FULL");
  index().Release(reservation_);
  index().AddLetters(0, 1, 40);
  EXPECT_EQ(DetailsOf(Reserve("c", 1, 0)).reason, "JOURNAL_FULL");
  index().RemoveLetters(0, 1, 40);
  EXPECT_TRUE(Reserve("c", 1, 1).ok());
}

TEST_F(PendingRoomTest, ATypeHasBoundsOfItsOwn) {
  policy().entries_max = 1;
  policy().bytes_max = 50;
  AddType("u", "db");
  EXPECT_EQ(DetailsOf(Reserve("a", 1, 51)).reason, "JOURNAL_FULL");
  EXPECT_TRUE(Reserve("a", 1, 50).ok());
  EXPECT_EQ(DetailsOf(Reserve("b", 1, 0)).reason, "JOURNAL_FULL");
  EXPECT_TRUE(Reserve("b", 1, 500, 0, "u").ok());
}

TEST_F(PendingRoomTest, AWriteThatTakesAPlaceNeedsTheDifference) {
  options_.entries_max = 1;
  options_.bytes_max = 100;
  Insert("a", 5, 0, "t", "", 80);
  EXPECT_TRUE(Reserve("a", 6, 100).ok());
  index().Release(reservation_);
  EXPECT_EQ(DetailsOf(Reserve("a", 6, 101)).reason, "JOURNAL_FULL");
  EXPECT_TRUE(Reserve("a", 4, 1'000).ok()) << "it is superseded and takes nothing";
  ASSERT_EQ(Keys(index().Take(0, 100 * kMs, true)), "a");
  EXPECT_EQ(DetailsOf(Reserve("a", 6, 1)).reason, "JOURNAL_FULL") << "the one in flight stays";
}

TEST_F(PendingRoomTest, IsFullWhileTheOldestIsTooOld) {
  policy().age_max = absl::Milliseconds(100);
  Insert("a", 1, 0);
  EXPECT_TRUE(Reserve("b", 1, 1, 100 * kMs).ok());
  EXPECT_EQ(DetailsOf(Reserve("b", 1, 1, 100 * kMs + 1)).reason, "JOURNAL_FULL");
  EXPECT_TRUE(Reserve("a", 2, 1, 200 * kMs).ok()) << "it adds nothing to what waits";
}

TEST_F(PendingRoomTest, IsFullForAllWhileTheOldestOfAnyTypeIsTooOld) {
  options_.age_max = absl::Milliseconds(100);
  AddType("u", "db");
  Insert("a", 1, 0, "u");
  EXPECT_TRUE(Reserve("b", 1, 1, 100 * kMs).ok());
  const FullKey full("", "b");
  bool never = false, in_all = false;
  const absl::Status status = index().Reserve({{full.view(), index().TypeOf("t"), 1, 1}},
                                              100 * kMs + 1, &reservation_, &never, &in_all);
  EXPECT_EQ(DetailsOf(status).reason, "JOURNAL_FULL");
  EXPECT_TRUE(in_all);
  EXPECT_FALSE(never);
  EXPECT_TRUE(Reserve("a", 2, 1, 200 * kMs, "u").ok()) << "it adds nothing to what waits";
}

// They wait for ever, until somebody configures the type again.
TEST_F(PendingRoomTest, WritesOfTypesThatAreGoneAreNotTooOldForAll) {
  options_.age_max = absl::Milliseconds(100);
  Insert("a", 1, 0, "gone");
  EXPECT_TRUE(Reserve("b", 1, 1, 1'000 * kMs).ok());
}

TEST_F(PendingRoomTest, DeadLettersCountInTheBoundsOfTheirType) {
  policy().entries_max = 2;
  policy().bytes_max = 100;
  AddType("u", "db").entries_max = 2;
  index().AddLetters(0, 1, 60);
  EXPECT_EQ(DetailsOf(Reserve("a", 1, 41)).reason, "JOURNAL_FULL");
  EXPECT_TRUE(Reserve("a", 1, 40).ok());
  const absl::Status full = Reserve("b", 1, 0);
  EXPECT_EQ(DetailsOf(full).reason, "JOURNAL_FULL");
  EXPECT_NE(full.message().find("2 writes and dead letters wait"), std::string::npos) << full;
  EXPECT_TRUE(Reserve("b", 1, 500, 0, "u").ok());
  index().RemoveLetters(0, 1, 60);
  EXPECT_TRUE(Reserve("b", 1, 60).ok());
}

// As many keys may be in trouble as there are, each with words of its own.
TEST_F(PendingRoomTest, ErrorsThatAreKeptHaveABound) {
  policy().batch = 1'000;
  policy().attempts = 1'000;
  const size_t keys = PendingIndex::kErrorsMax + 500;
  for (size_t i = 0; i < keys; ++i) Insert("k" + std::to_string(i), 1, 0);
  size_t number = 0;
  while (const auto call = index().Take(0, 100 * kMs, true)) {
    for (const PendingIndex::Taken& taken : call->writes) {
      index().NoteError(taken.key, "error " + std::to_string(number++));
      index().Retry(taken.key, false, 100 * kMs, absl::UnixEpoch(), &erase_);
    }
  }
  ASSERT_EQ(number, keys);
  size_t kept = 0;
  for (size_t i = 0; i < keys; ++i) {
    const FullKey full("", "k" + std::to_string(i));
    const auto trying = index().TryingOf(full.view(), 0);
    ASSERT_TRUE(trying.has_value());
    EXPECT_EQ(trying->attempts, 1u);
    kept += trying->error.empty() ? 0 : 1;
  }
  EXPECT_EQ(kept, PendingIndex::kErrorsMax);
  // When they go there is room for others; and the same words are kept once.
  index().Supersede(FullKey("", "k0").view(), 0, 5, &erase_);
  for (int i = 0; i < 2; ++i) {
    const auto call = index().Take(0, absl::ToInt64Nanoseconds(absl::Hours(1)), true);
    for (const PendingIndex::Taken& taken : call->writes) {
      index().NoteError(taken.key, "the same");
      EXPECT_EQ(index().TryingOf(taken.key->full_key(), 0)->error, "the same");
    }
  }
}

// A batch that was planned before the barrier was made gets to the disk after it.
TEST_F(PendingRoomTest, ABarrierCountsWhatComesLateAmongItsOwn) {
  Insert("a", 1, 0);
  const auto barrier = index().AddBarrier(kNoPendingType, seq_ + 1);
  ASSERT_NE(barrier, nullptr);
  EXPECT_EQ(barrier->all, 1u);
  Insert("b", 2, 0);
  Insert("c", 3, 0);
  EXPECT_EQ(barrier->all, 2u);
  EXPECT_EQ(barrier->left, 2u);
}

// Keys of two shards fail in turn, each with the words of its shard.
TEST_F(PendingRoomTest, WordsThatComeInTurnAreKeptOnceEach) {
  policy().batch = 1'000;
  for (int i = 0; i < 10; ++i) Insert("k" + std::to_string(i), 1, 0);
  const auto call = index().Take(0, 100 * kMs, true);
  ASSERT_EQ(call->writes.size(), 10u);
  std::set<const char*> texts;
  for (size_t i = 0; i < call->writes.size(); ++i) {
    index().NoteError(call->writes[i].key, i % 2 == 0 ? "shard 1 is away" : "shard 2 is away");
    texts.insert(index().TryingOf(call->writes[i].key->full_key(), 0)->error.data());
  }
  EXPECT_EQ(texts.size(), 2u);
}

}  // namespace
}  // namespace larder
