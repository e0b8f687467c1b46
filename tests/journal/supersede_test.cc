// A write has reached the origin another way: what waits before it is neither delivered nor seen.

#include <gtest/gtest.h>

#include "tests/journal/journal_rig.h"

namespace larder {
namespace {

TEST_F(JournalTest, SupersedesNothingOfAnotherType) {
  AddType("u", "other");
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "one")).ok());
  journal_->Supersede(Full("a"), "u", 2);
  EXPECT_EQ(journal_->VersionOf(Full("a")), 1u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).version, 1u) << "its origin has not had it another way";
}

TEST_F(JournalTest, ReadersDoNotSeeASupersededWriteThatIsUnderWay) {
  sink_.of_call = [](const JournalDelivery&) {
    return FakeSink::Fate{absl::Seconds(1), absl::AbortedError("try again"), false};
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "one")).ok());
  Advance(absl::Milliseconds(100));
  ASSERT_EQ(sink_.call_count(), 1u);
  EXPECT_EQ(journal_->VersionOf(Full("a")), 1u);
  journal_->Supersede(Full("a"), "t", 2);
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_FALSE(Find("a").has_value());
  Advance(absl::Minutes(1));
  EXPECT_EQ(sink_.call_count(), 1u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, SupersedesWhatIsNotOnDiskYet) {
  policy().sync = JournalSync::kNone;
  Open();
  auto one = Begin(WriteOf("a", 1, "one"));
  auto other = Begin(WriteOf("b", 3, "three"));
  ASSERT_TRUE(one.done() && other.done());
  journal_->Supersede(Full("a"), "t", 2);
  journal_->Supersede(Full("b"), "t", 2);
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_FALSE(Find("a").has_value());
  EXPECT_EQ(journal_->VersionOf(Full("b")), 3u);
  executor_.RunReady();
  EXPECT_FALSE(journal_->Has(Full("a"))) << "nor when it is";
  EXPECT_EQ(journal_->VersionOf(Full("b")), 3u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).version, kNoVersion);
  EXPECT_EQ(sink_.row(Full("b")).version, 3u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, ANewerWriteOfTheKeyIsSeenAlthoughAnOlderOneWasSupersededBeforeItWasOnDisk) {
  policy().sync = JournalSync::kNone;
  Open();
  auto one = Begin(WriteOf("a", 1, "one"));
  journal_->Supersede(Full("a"), "t", 2);
  auto three = Begin(WriteOf("a", 3, "three"));
  ASSERT_TRUE(one.done() && three.done());
  EXPECT_EQ(Find("a")->value, "three");
  executor_.RunReady();
  EXPECT_EQ(Find("a")->value, "three");
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.effects[Full("a")], std::vector<Version>{3});
}

}  // namespace
}  // namespace larder
