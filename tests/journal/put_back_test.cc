// Writes that come back: dead letters that are put back, and records that damage has brought back.
// They are delivered, and readers do not see them, since the origin may have something newer.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/log.h"
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

// Letters take room, and whoever drops them gives some back.
TEST_F(PutBackTest, LettersAreDroppedWhileTheDiskIsShortOfRoom) {
  Answer({"a", "b"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 6)).ok());
  Advance(absl::Seconds(1));
  ASSERT_EQ(disk_.dead(), 2u);
  disk_.is_short = true;
  disk_.Break(MemoryDisk::Fault::kRefused);
  EXPECT_EQ(ReasonOf(Append(WriteOf("c", 7))), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(ReasonOf(Await(journal_->RetryLetters({})).status()), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(*Await(journal_->DropLetters({.key_prefix = "a"})), 1u);
  EXPECT_EQ(disk_.dead(), 1u);
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  EXPECT_FALSE(journal_->Health().ok());

  // One that takes nothing at all says so at once.
  disk_.is_short = false;
  EXPECT_EQ(ReasonOf(Await(journal_->DropLetters({})).status()), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_EQ(*Await(journal_->DropLetters({})), 1u);
  EXPECT_EQ(disk_.dead(), 0u);
}

// A delivery that cannot read may find out that the disk is ill before a write does.
TEST(JournalLog, WritesThatWereAcknowledgedFromMemoryAreNotLostInSilence) {
  constexpr uint64_t kSeeds = 100;
  uint64_t lost = 0;
  const int log = memfd_create("log", MFD_CLOEXEC);
  ConfigureLog({.format = LogOptions::Format::kJson, .fd = log, .event_lines_per_second = 1'000});
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    JournalRig rig(seed);
    rig.policy().sync = JournalSync::kNone;
    rig.policy().delay = absl::ZeroDuration();
    rig.Open(/*start=*/false);
    ASSERT_TRUE(rig.Append(WriteOf("a", 1)).ok());
    rig.executor_.RunReady();
    rig.disk_.unreadable = {1};
    rig.disk_.ill = true;
    rig.journal_->Start(&rig.sink_);
    for (uint64_t i = 0; i < seed % 10; ++i) rig.executor_.RunOne();
    lost += rig.Append(WriteOf("b", 2)).ok() ? 1 : 0;
    rig.Advance(absl::Milliseconds(100));
    EXPECT_FALSE(rig.journal_->Health().ok());
    EXPECT_FALSE(rig.journal_->Has(Full("b")));
  }
  ConfigureLog(LogOptions());
  std::string text(1 << 20, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(pread(log, text.data(), text.size(), 0), 0)));
  close(log);
  uint64_t said = 0;
  for (size_t at = 0; (at = text.find("journal_writes_lost", at)) != std::string::npos; ++at)
    ++said;
  EXPECT_EQ(said, lost);
  EXPECT_GE(lost, 10u);
}

// 1: Retry reads a letter.  2: Drop takes it away.  3: Retry would bring it back.
TEST_F(PutBackTest, ALetterThatIsDroppedWhileItIsPutBackStaysDropped) {
  Answer({"a", "b"}, Kind::kReject, absl::InvalidArgumentError("no"));
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 6)).ok());
  Advance(absl::Seconds(1));
  sink_.of_write = nullptr;
  ASSERT_EQ(disk_.dead(), 2u);
  Pending<absl::StatusOr<uint64_t>> drop(journal_->DropLetters({.key_prefix = "a"}));
  Pending<absl::StatusOr<uint64_t>> retry(journal_->RetryLetters({}));
  Pending<absl::StatusOr<uint64_t>> again(journal_->RetryLetters({}));
  Advance(absl::Seconds(1));
  ASSERT_TRUE(drop.done() && retry.done() && again.done());
  EXPECT_EQ(**drop + **retry + **again, 2u) << "each letter is counted once";
  EXPECT_EQ(StatsOf().delivered, 2 - **drop);
  EXPECT_EQ(sink_.row(Full("a")).version, **drop == 1 ? kNoVersion : 5u);
  EXPECT_EQ(sink_.row(Full("b")).version, 6u);
  EXPECT_EQ(disk_.dead(), 0u);
}

// A process may end between a burial and what follows it.
TEST_F(PutBackTest, ANewStartTellsOfTheNewestLettersThatItFindsAFewAtATime) {
  sink_.of_write = [](const JournalRecord&) { return JournalDelivered{Kind::kReject, {}}; };
  Open();
  std::vector<JournalRecord> writes;
  for (Version version = 1; version <= 1'000; ++version)
    writes.push_back(WriteOf(std::to_string(version), version));
  ASSERT_TRUE(Append(std::move(writes)).ok());
  Advance(absl::Minutes(1));
  ASSERT_TRUE(Append(WriteOf("last", 1'001)).ok());
  Advance(absl::Seconds(1));
  ASSERT_EQ(disk_.dead(), 1'001u);
  Close();
  sink_.dead.clear();
  Open();
  executor_.RunReady();
  EXPECT_TRUE(sink_.dead.empty()) << "the start waits for nothing";
  Advance(absl::Milliseconds(100));
  ASSERT_EQ(sink_.dead.size(), 20u);
  EXPECT_EQ(sink_.dead[0].record.full_key, Full("last"));
  EXPECT_EQ(sink_.dead[0].record.version, 1'001u);
  EXPECT_EQ(*Await(journal_->DropLetters({.ids = {sink_.dead.back().id - 1}})), 1u);
  Advance(absl::Minutes(1));
  EXPECT_EQ(sink_.dead.size(), 999u) << "neither the oldest nor the one that was dropped";
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
