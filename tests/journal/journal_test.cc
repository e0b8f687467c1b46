#include "journal/journal.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/journal/journal_rig.h"

namespace larder {
namespace {

TEST_F(JournalTest, AcknowledgesWhenTheDiskHasIt) {
  Open();
  auto appended = Begin(WriteOf("a", 1, "one"));
  EXPECT_FALSE(appended.done());
  executor_.RunReady();
  ASSERT_TRUE(appended.done());
  EXPECT_TRUE(appended->ok());
  EXPECT_EQ(disk_.records(), 1u);
  EXPECT_EQ(disk_.synced, 1u);
}

TEST_F(JournalTest, OneWriteToTheDiskForAllWhoWait) {
  policy().coalesce = false;
  Open();
  std::vector<Pending<absl::Status>> appends;
  for (int i = 0; i < 50; ++i) appends.push_back(Begin(WriteOf("k" + std::to_string(i), 1 + i)));
  executor_.RunReady();
  for (const auto& append : appends) EXPECT_TRUE(append.done());
  EXPECT_EQ(disk_.applied, 1u);
  EXPECT_EQ(disk_.synced, 1u);
}

TEST_F(JournalTest, DoesNotSyncForTypesThatDoWithout) {
  policy().sync = JournalSync::kOs;
  Open();
  EXPECT_TRUE(Append(WriteOf("a", 1)).ok());
  EXPECT_EQ(disk_.synced, 0u);
  EXPECT_EQ(disk_.records(), 1u);
}

TEST_F(JournalTest, AnswersFromMemoryWhereThatIsAskedFor) {
  policy().sync = JournalSync::kNone;
  Open();
  auto appended = Begin(WriteOf("a", 3, "three"));
  ASSERT_TRUE(appended.done());
  EXPECT_TRUE(appended->ok());
  EXPECT_EQ(disk_.records(), 0u);
  EXPECT_EQ(journal_->VersionOf(Full("a")), 3u);
  EXPECT_EQ(Find("a")->value, "three");
  executor_.RunReady();
  EXPECT_EQ(disk_.records(), 1u);
  EXPECT_EQ(journal_->VersionOf(Full("a")), 3u);
  EXPECT_EQ(Find("a")->value, "three");
}

TEST_F(JournalTest, FindsTheNewestThatWaits) {
  Open();
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_FALSE(Find("a").has_value());
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  ASSERT_TRUE(Append(WriteOf("a", 6, "six")).ok());
  ASSERT_TRUE(Append(WriteOf("a", 4, "four")).ok());
  EXPECT_TRUE(journal_->Has(Full("a")));
  EXPECT_EQ(journal_->VersionOf(Full("a")), 6u);
  EXPECT_EQ(Find("a")->value, "six");
  EXPECT_EQ(disk_.records(), 1u) << "replaced ones are erased in the step that replaces them";
  Advance(absl::Seconds(1));
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_FALSE(Find("a").has_value());
  EXPECT_EQ(StatsOf().coalesced, 2u);
}

TEST_F(JournalTest, FindsWhatIsBeingReplacedAtThatMoment) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  std::optional<Pending<absl::StatusOr<std::optional<JournalRecord>>>> found;
  int moments = 0;
  disk_.meanwhile = [&] {
    // After the write took effect and before the index knows.
    if (++moments != 2) return;
    found.emplace(journal_->Find(Full("a")));
    for (int i = 0; i < 10; ++i) executor_.RunOne();
  };
  ASSERT_TRUE(Append(WriteOf("a", 6, "six")).ok());
  disk_.meanwhile = nullptr;
  executor_.Advance(absl::Milliseconds(20));
  ASSERT_TRUE(found.has_value() && found->done());
  ASSERT_TRUE((*found)->ok());
  ASSERT_TRUE((**found)->has_value());
  EXPECT_EQ((**found)->value().value, "six");
}

TEST_F(JournalTest, DeliversWhatWasWaitingBeforeTheRestart) {
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 5, "five")).ok());
  ASSERT_TRUE(Append(WriteOf("b", 6, "six")).ok());
  EXPECT_FALSE(Close());
  Open();
  EXPECT_EQ(journal_->VersionOf(Full("a")), 5u);
  EXPECT_EQ(Find("b")->value, "six");
  ASSERT_TRUE(Append(WriteOf("c", 7)).ok()) << "numbers go on after those on disk";
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).value, "five");
  EXPECT_EQ(sink_.row(Full("b")).value, "six");
  EXPECT_EQ(sink_.row(Full("c")).version, 7u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, WritesOfATypeThatIsGoneWaitUntilItIsBack) {
  AddType("u", "db");
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 5, "five", "u")).ok());
  Close();
  const Journal::Type type = options_.types.back();
  options_.types.pop_back();
  Open();
  Advance(absl::Seconds(10));
  EXPECT_EQ(sink_.call_count(), 0u);
  EXPECT_EQ(Find("a")->value, "five");
  EXPECT_EQ(Append(WriteOf("b", 5, "five", "u")).code(), absl::StatusCode::kInternal);
  Close();
  options_.types.push_back(type);
  Open();
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).value, "five");
}

TEST_F(JournalTest, FullIsRefusedAtOnceWithAHintWhenToComeBack) {
  policy().entries_max = 2;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2)).ok());
  const absl::Status full = Append(WriteOf("c", 3));
  EXPECT_EQ(ReasonOf(full), "JOURNAL_FULL");
  EXPECT_TRUE(DetailsOf(full).retry_after.has_value());
  EXPECT_TRUE(Append(WriteOf("a", 4)).ok()) << "it takes the place of another";
  EXPECT_EQ(StatsOf().refused, 1u);
  EXPECT_EQ(disk_.records(), 2u);
}

TEST_F(JournalTest, AllWritesOfAnAppendOrNone) {
  policy().entries_max = 2;
  Open(/*start=*/false);
  EXPECT_EQ(ReasonOf(Append({WriteOf("a", 1), WriteOf("b", 2), WriteOf("c", 3)})), "JOURNAL_FULL");
  EXPECT_EQ(disk_.records(), 0u);
  EXPECT_TRUE(Append({WriteOf("a", 1), WriteOf("b", 2)}).ok());
}

TEST_F(JournalTest, WaitsForRoomInTheOrderOfComing) {
  policy().entries_max = 1;
  policy().on_full = OnFull::kBlock;
  policy().delay = absl::Hours(1);
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  auto second = Begin(WriteOf("b", 2));
  auto third = Begin(WriteOf("c", 3));
  executor_.RunReady();
  EXPECT_FALSE(second.done());
  EXPECT_EQ(disk_.records(), 1u);
  std::vector<std::string> order;
  sink_.of_call = [&](const JournalDelivery& delivery) {
    order.push_back(delivery.writes[0].full_key);
    return FakeSink::Fate();
  };
  journal_->Start(&sink_);
  executor_.RunReady();
  ASSERT_TRUE(second.done() && third.done());
  EXPECT_TRUE(second->ok() && third->ok());
  // The last may wait for its delay again, since nobody waits for its room.
  ASSERT_GE(order.size(), 2u);
  EXPECT_EQ(order[0], Full("a"));
  EXPECT_EQ(order[1], Full("b"));
}

TEST_F(JournalTest, WaitsForRoomNoLongerThanTheDeadline) {
  policy().entries_max = 1;
  policy().on_full = OnFull::kBlock;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  auto second = Begin(WriteOf("b", 2), In(absl::Seconds(2)));
  Advance(absl::Milliseconds(1'999));
  EXPECT_FALSE(second.done());
  Advance(absl::Milliseconds(1));
  ASSERT_TRUE(second.done());
  EXPECT_EQ(ReasonOf(*second), "DEADLINE_EXCEEDED");
  EXPECT_EQ(disk_.records(), 1u);
  EXPECT_EQ(StatsOf().refused, 1u);
}

TEST_F(JournalTest, WhatCanNeverFitDoesNotWait) {
  policy().bytes_max = 10;
  policy().on_full = OnFull::kBlock;
  Open();
  EXPECT_EQ(ReasonOf(Append(WriteOf("a", 1, std::string(100, 'x')))), "JOURNAL_FULL");
}

TEST_F(JournalTest, NoMoreAppendsWaitForTheDiskThanMay) {
  options_.appends_max = 2;
  Open();
  auto first = Begin(WriteOf("a", 1));
  auto second = Begin(WriteOf("b", 2));
  auto third = Begin(WriteOf("c", 3));
  ASSERT_TRUE(third.done());
  EXPECT_EQ(ReasonOf(*third), "JOURNAL_FULL");
  executor_.RunReady();
  EXPECT_TRUE(first->ok() && second->ok());
}

TEST_F(JournalTest, IsFullWhileTheOldestWriteIsTooOld) {
  policy().age_max = absl::Minutes(1);
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Minutes(1) + absl::Milliseconds(1));
  EXPECT_EQ(ReasonOf(Append(WriteOf("b", 2))), "JOURNAL_FULL");
  EXPECT_EQ(StatsOf().oldest_age, absl::Minutes(1) + absl::Milliseconds(1));
  journal_->Start(&sink_);
  executor_.RunReady();
  EXPECT_TRUE(Append(WriteOf("b", 2)).ok());
}

TEST_F(JournalTest, DeadLettersTakeRoomInAll) {
  options_.entries_max = 1;
  sink_.of_write = [](const JournalRecord&) {
    return JournalDelivered{JournalDelivered::Kind::kReject, absl::InvalidArgumentError("no")};
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Advance(absl::Seconds(1));
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  EXPECT_EQ(ReasonOf(Append(WriteOf("b", 2))), "JOURNAL_FULL");
  EXPECT_EQ(*Await(journal_->DropLetters({})), 1u);
  EXPECT_TRUE(Append(WriteOf("b", 2)).ok());
}

TEST_F(JournalTest, WhatReachedTheOriginAnotherWayIsNotDelivered) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 5)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 6)).ok());
  journal_->Supersede(Full("a"), "t", 7);
  journal_->Supersede(Full("b"), "t", 5);
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_TRUE(journal_->Has(Full("b")));
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).version, kNoVersion);
  EXPECT_EQ(sink_.row(Full("b")).version, 6u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, StopDeliversWhatItCan) {
  policy().delay = absl::Hours(1);
  options_.clock = Clock::System();
  const auto pool = ThreadPool::New({});
  options_.executor = pool.get();
  FakeSink sink(pool.get());
  auto journal = Journal::New(options_, std::make_unique<MemoryStore>(&disk_));
  ASSERT_TRUE(journal.ok());
  (*journal)->Start(&sink);
  std::vector<JournalRecord> writes;
  writes.push_back(WriteOf("a", 1));
  ASSERT_TRUE(AwaitTask((*journal)->Append(std::move(writes), kNoDeadline)).ok());
  EXPECT_TRUE((*journal)->Stop(MonoAfter(Clock::System()->Mono(), absl::Seconds(20))));
  EXPECT_EQ(sink.row(Full("a")).version, 1u);
  EXPECT_EQ(disk_.records(), 0u);
  writes.push_back(WriteOf("b", 1));
  EXPECT_EQ(ReasonOf(AwaitTask((*journal)->Append(std::move(writes), kNoDeadline))), "DRAINING");
  journal->reset();
  pool->Shutdown();
}

// The disk.

TEST_F(JournalTest, AFailedDiskLeavesItOpenWhetherTheWriteIsThereAndTakesNothingMore) {
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1, "old")).ok());
  disk_.Break(MemoryDisk::Fault::kLost);
  const absl::Status failed = Append(WriteOf("b", 2));
  EXPECT_EQ(ReasonOf(failed), "WRITE_UNKNOWN");
  EXPECT_TRUE(DetailsOf(failed).retry_after.has_value());
  EXPECT_EQ(ReasonOf(Append(WriteOf("c", 3))), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(ReasonOf(journal_->Health()), "JOURNAL_UNAVAILABLE");
  EXPECT_EQ(Find("a")->value, "old") << "reads go on";
  EXPECT_EQ(journal_->Stats().failures, 1u);
  EXPECT_NE(journal_->Stats().state, "ok");
  Advance(absl::Seconds(5));
  EXPECT_FALSE(journal_->Health().ok());
  disk_.Repair();
  Advance(absl::Seconds(1));
  EXPECT_TRUE(journal_->Health().ok());
  EXPECT_FALSE(journal_->Has(Full("b")));
  EXPECT_TRUE(Append(WriteOf("c", 3)).ok());
}

TEST_F(JournalTest, AWriteThatIsOnDiskAfterAllIsDeliveredAfterHealing) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1, "old")).ok());
  disk_.Break(MemoryDisk::Fault::kKept);
  EXPECT_EQ(ReasonOf(Append(WriteOf("a", 2, "new"))), "WRITE_UNKNOWN");
  EXPECT_EQ(ReasonOf(Append(WriteOf("b", 3))), "JOURNAL_UNAVAILABLE");
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_EQ(sink_.row(Full("a")).value, "new");
  EXPECT_EQ(sink_.row(Full("b")).version, kNoVersion);
  EXPECT_EQ(disk_.records(), 0u);
  EXPECT_EQ(sink_.found, (std::vector<std::pair<std::string, Version>>{{Full("a"), 2}}))
      << "copies of what was there before are out of date";
}

TEST_F(JournalTest, OfAWriteThatTheDiskWasNotAskedToTakeItSaysThatItIsNotStored) {
  Open(/*start=*/false);
  disk_.Break(MemoryDisk::Fault::kRefused);
  const absl::Status refused = Append(WriteOf("a", 1));
  EXPECT_EQ(ReasonOf(refused), "JOURNAL_UNAVAILABLE");
  EXPECT_NE(std::string(refused.message()).find("is not stored"), std::string::npos) << refused;
  EXPECT_FALSE(journal_->Health().ok());
  disk_.Repair();
  Advance(absl::Seconds(1));
  EXPECT_FALSE(journal_->Has(Full("a")));
}

// Of those that wait while the disk fails under the batch before them.
TEST_F(JournalTest, OnlyWhatWasWrittenWhenTheDiskFailedIsUnknown) {
  Open(/*start=*/false);
  std::vector<Pending<absl::Status>> waiting;
  disk_.meanwhile = [&] {
    if (waiting.empty()) waiting.push_back(Begin(WriteOf("b", 2)));
  };
  disk_.Break(MemoryDisk::Fault::kKept);
  EXPECT_EQ(ReasonOf(Append(WriteOf("a", 1))), "WRITE_UNKNOWN");
  executor_.RunReady();
  ASSERT_TRUE(waiting.at(0).done());
  EXPECT_EQ(ReasonOf(*waiting[0]), "JOURNAL_UNAVAILABLE");
  disk_.meanwhile = nullptr;
  disk_.Repair();
  Advance(absl::Seconds(1));
  EXPECT_TRUE(journal_->Has(Full("a")));
  EXPECT_FALSE(journal_->Has(Full("b")));
}

TEST_F(JournalTest, DeliversWhileTheDiskTakesNothing) {
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  disk_.Break(MemoryDisk::Fault::kLost);
  EXPECT_FALSE(Append(WriteOf("b", 2)).ok());
  Advance(absl::Seconds(3));
  EXPECT_EQ(sink_.row(Full("a")).version, 1u);
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_EQ(disk_.records(), 1u);
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_EQ(disk_.records(), 0u) << "what was delivered meanwhile is erased, not delivered again";
  EXPECT_EQ(sink_.call_count(), 1u);
}

TEST_F(JournalTest, ABurialThatFailedIsMadeAfterHealing) {
  sink_.of_write = [](const JournalRecord& write) {
    const bool bad = write.full_key == Full("a");
    return JournalDelivered{bad ? JournalDelivered::Kind::kReject : JournalDelivered::Kind::kDone,
                            {}};
  };
  Open();
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  disk_.Break(MemoryDisk::Fault::kKept);
  Advance(absl::Seconds(1));
  EXPECT_TRUE(sink_.dead.empty());
  EXPECT_TRUE(journal_->Has(Full("a"))) << "until it is safely a dead letter it waits";
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_EQ(sink_.dead.size(), 1u);
  EXPECT_FALSE(journal_->Has(Full("a")));
  EXPECT_EQ(journal_->Stats().dead_letters, 1u);
  EXPECT_EQ(disk_.dead(), 1u);
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, ThoseWhoWaitForRoomAreToldOfTheDisk) {
  policy().entries_max = 1;
  policy().on_full = OnFull::kBlock;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  auto waits = Begin(WriteOf("b", 2));
  executor_.RunReady();
  ASSERT_FALSE(waits.done());
  disk_.Break(MemoryDisk::Fault::kLost);
  EXPECT_FALSE(Append(WriteOf("a", 3)).ok());
  executor_.RunReady();
  ASSERT_TRUE(waits.done());
  EXPECT_EQ(ReasonOf(*waits), "JOURNAL_UNAVAILABLE");
}

TEST_F(JournalTest, ComesUpOnADiskThatOnlyReads) {
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  Close();
  {
    MutexLock lock(&disk_.mu);
    disk_.ill = true;
    disk_.heals = false;
  }
  Open();
  EXPECT_FALSE(journal_->Health().ok());
  EXPECT_EQ(ReasonOf(Append(WriteOf("b", 2))), "JOURNAL_UNAVAILABLE");
  Advance(absl::Seconds(1));
  EXPECT_EQ(sink_.row(Full("a")).version, 1u);
  disk_.Repair();
  Advance(absl::Seconds(2));
  EXPECT_TRUE(journal_->Health().ok());
  EXPECT_EQ(disk_.records(), 0u);
}

TEST_F(JournalTest, ARecordThatCannotBeReadDoesNotHoldUpOthers) {
  policy().coalesce = false;
  Open(/*start=*/false);
  ASSERT_TRUE(Append(WriteOf("a", 1)).ok());
  ASSERT_TRUE(Append(WriteOf("b", 2)).ok());
  ASSERT_TRUE(Append(WriteOf("c", 3)).ok());
  disk_.unreadable = {2};
  journal_->Start(&sink_);
  Advance(absl::Seconds(2));
  EXPECT_EQ(sink_.row(Full("a")).version, 1u);
  EXPECT_EQ(sink_.row(Full("c")).version, 3u);
  EXPECT_TRUE(journal_->Has(Full("b")));
  disk_.unreadable.clear();
  Advance(absl::Minutes(1));
  EXPECT_EQ(sink_.row(Full("b")).version, 2u);
}

}  // namespace
}  // namespace larder
