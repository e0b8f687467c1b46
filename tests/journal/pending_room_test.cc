// Barriers and bounds of a PendingIndex.

#include <gtest/gtest.h>

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
  index().AddLetters(1, 40);
  EXPECT_EQ(DetailsOf(Reserve("c", 1, 0)).reason, "JOURNAL_FULL");
  index().RemoveLetters(1, 40);
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

}  // namespace
}  // namespace larder
