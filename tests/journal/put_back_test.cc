// Writes that come back: dead letters that are put back, and records that damage has brought back.
// They are delivered, and readers do not see them, since the origin may have something newer.

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "tests/journal/delivery_rig.h"

namespace larder {
namespace {

using Kind = JournalDelivered::Kind;

class PutBackTest : public DeliveryTest {
 protected:
  bool IsSeen(std::string_view key) {
    const bool found = Find(key).has_value();
    EXPECT_EQ(journal_->Has(Full(key)), found);
    EXPECT_EQ(journal_->VersionOf(Full(key)) != kNoVersion, found);
    return found;
  }
};

TEST_F(PutBackTest, ReadersDoNotSeeALetterThatWasPutBack) {
  Answer({"a"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  Advance(absl::Seconds(1));
  sink_.of_write = nullptr;
  ASSERT_TRUE(Append(WriteOf("a", 7, "seven")).ok());
  Advance(absl::Seconds(1));
  ASSERT_EQ(sink_.row(Full("a")).version, 7u);

  ASSERT_TRUE(journal_->Pause("").ok());
  EXPECT_EQ(*Await(journal_->RetryLetters({})), 1u);
  EXPECT_EQ(StatsOf().depth, 1u);
  EXPECT_FALSE(IsSeen("a")) << "seven was acknowledged, and the origin has it";
  Close();
  Open(/*start=*/false);
  EXPECT_FALSE(IsSeen("a")) << "a restart does not make it new";
  sink_.Clear();
  journal_->Start(&sink_);
  Advance(absl::Seconds(1));
  ASSERT_EQ(sink_.calls.size(), 1u);
  EXPECT_TRUE(sink_.calls[0].writes[0].put_back) << "so that copies are compared";
  EXPECT_EQ(sink_.row(Full("a")).version, 7u);
  EXPECT_EQ(StatsOf().depth, 0u);
}

TEST_F(PutBackTest, WhatTakesThePlaceOfALetterIsSeen) {
  Answer({"a"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  Advance(absl::Seconds(1));
  ASSERT_TRUE(journal_->Pause("").ok());
  EXPECT_EQ(*Await(journal_->RetryLetters({})), 1u);
  ASSERT_TRUE(Append(WriteOf("a", 6, "six")).ok());
  EXPECT_EQ(StatsOf().depth, 1u);
  EXPECT_EQ(Find("a")->value, "six");
  EXPECT_TRUE(IsSeen("a"));
}

TEST_F(PutBackTest, ReadersDoNotSeeWhatHadBeenErasedAndCameBackWithDamage) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  const std::map<uint64_t, JournalRecord> before = disk_.content;
  Advance(absl::Seconds(1));
  ASSERT_EQ(disk_.records(), 0u);
  ASSERT_TRUE(journal_->Pause("").ok());
  disk_.Break(MemoryDisk::Fault::kKept);
  EXPECT_FALSE(Append(WriteOf("b", 6, "six")).ok());
  disk_.content.insert(before.begin(), before.end());
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_EQ(StatsOf().depth, 2u);
  EXPECT_FALSE(IsSeen("a"));
  EXPECT_TRUE(IsSeen("b")) << "it may be newer than all that was seen";
  sink_.Clear();
  ASSERT_TRUE(journal_->Resume("").ok());
  Advance(absl::Seconds(1));
  for (const JournalDelivery& call : sink_.calls) {
    for (const JournalRecord& write : call.writes) {
      EXPECT_EQ(write.put_back, write.full_key == Full("a"));
    }
  }
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(PutBackTest, TheNewestVersionCountsWhatWaitsAndWhatDied) {
  Answer({"a"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  EXPECT_EQ(journal_->newest(), kNoVersion);
  ASSERT_TRUE(Append(WriteOf("a", 9)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 8)).ok());
  EXPECT_EQ(journal_->newest(), 9u);
  Advance(absl::Seconds(1));
  EXPECT_EQ(journal_->newest(), 9u) << "it never goes back";
  ASSERT_TRUE(journal_->Pause("").ok());
  ASSERT_TRUE(Append(WriteOf("c", 4)).ok());
  Close();
  Open(/*start=*/false);
  EXPECT_EQ(journal_->newest(), 9u) << "the letter may be put back";
  EXPECT_EQ(*Await(journal_->DropLetters({})), 1u);
  Close();
  Open(/*start=*/false);
  EXPECT_EQ(journal_->newest(), 4u);
}

}  // namespace
}  // namespace larder
