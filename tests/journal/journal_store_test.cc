// The store while nothing goes wrong with the disk.

#include "journal/journal_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/journal/store_rig.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class JournalStoreTest : public StoreTest {
 protected:
  JournalStoreTest() { Open(); }
};

TEST_F(JournalStoreTest, IsEmptyWhenItIsNew) {
  EXPECT_THAT(Seqs(), IsEmpty());
  EXPECT_EQ(store_->last_seq(), 0u);
  EXPECT_TRUE(store_->Health().ok());
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, KeepsWhatWasAppliedOverACrashAndAClose) {
  Apply(Appending(1, 3));
  Crash();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(1, 2, 3));
  Apply(Erasing({2}), /*sync=*/false);
  Apply(Appending(4, 4), /*sync=*/false);
  Crash();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(1, 3, 4));
  Close();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(1, 3, 4));
  EXPECT_EQ(store_->last_seq(), 4u);
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, RecordsComeBackWhole) {
  JournalRecord removal = RecordOf(9, 0);
  removal.remove = true;
  removal.value.clear();
  JournalStore::Changes changes;
  changes.append = {RecordOf(8, 100'000), removal};
  Apply(changes);
  Close();
  Open();
  const auto read = store_->Read({9, 7, 8});
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE((*read)[0].has_value());
  EXPECT_TRUE(SameRecord(*(*read)[0], removal));
  EXPECT_FALSE((*read)[1].has_value());
  ASSERT_TRUE((*read)[2].has_value());
  EXPECT_TRUE(SameRecord(*(*read)[2], RecordOf(8, 100'000)));
}

TEST_F(JournalStoreTest, BuriesErasesAndAppendsInOneStep) {
  Apply(Appending(1, 4));
  JournalStore::Changes changes = Appending(5, 5);
  changes.erase = {2};
  changes.bury = {LetterOf(6, 2)};
  Apply(changes);
  Crash();
  Open();
  EXPECT_THAT(Content().seqs(), ElementsAre(1, 3, 4, 5));
  EXPECT_THAT(Content().letters, ElementsAre(6));
  EXPECT_EQ(store_->last_seq(), 6u);
  const auto letters = store_->ReadLetters({6, 5});
  ASSERT_TRUE(letters.ok()) << letters.status();
  ASSERT_TRUE((*letters)[0].has_value());
  EXPECT_TRUE(SameRecord((*letters)[0]->record, RecordOf(2)));
  EXPECT_EQ((*letters)[0]->error, "refused 6");
  EXPECT_FALSE((*letters)[1].has_value());
  JournalStore::Changes drop;
  drop.drop_letters = {6, 5};
  Apply(drop);
  EXPECT_THAT(Content().letters, IsEmpty());
}

TEST_F(JournalStoreTest, RecordMayComeAndGoInOneStep) {
  JournalStore::Changes changes = Appending(1, 3);
  changes.erase = {1, 2};
  Apply(changes);
  EXPECT_THAT(Seqs(), ElementsAre(3));
  Crash();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(3));
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, PassesOverErasesOfWhatIsNotThere) {
  Apply(Appending(1, 2));
  Apply(Erasing({1, 1, 5}));
  Apply(Erasing({1}));
  Close();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(2));
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, RefusesANumberThatIsThere) {
  Apply(Appending(1, 2));
  JournalStore::Changes changes = Appending(3, 3);
  changes.erase = {1};
  changes.append.push_back(RecordOf(2));
  const absl::Status refused = store_->Apply(changes, true);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(), "number 2 of the journal is there already");
  EXPECT_EQ(store_->Apply(Appending(0, 0), true).code(), absl::StatusCode::kInvalidArgument);
  // And nothing has happened.
  EXPECT_TRUE(store_->Health().ok());
  EXPECT_THAT(Seqs(), ElementsAre(1, 2));
  Apply(Appending(3, 3));
  Crash();
  Open();
  EXPECT_THAT(Seqs(), ElementsAre(1, 2, 3));
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, NumbersGrowEvenWhenAllIsErased) {
  Apply(Appending(1, 40));
  JournalStore::Changes changes;
  for (uint64_t seq = 1; seq <= 40; ++seq) changes.erase.push_back(seq);
  Apply(changes);
  Close();
  Open();
  EXPECT_THAT(Seqs(), IsEmpty());
  EXPECT_EQ(store_->last_seq(), 40u);
}

TEST_F(JournalStoreTest, SecondProcessIsRefused) {
  const auto second = JournalStore::Open(options());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(second.status().message()).find("is in use by process"), std::string::npos)
      << second.status();
}

// More than the memtables hold, so that there are tables, compactions and several logs.
TEST_F(JournalStoreTest, QueueOfManyTimesItsMemoryStaysSmallOnDisk) {
  constexpr uint64_t kBatch = 100, kWaiting = 2000;
  uint64_t last = 0;
  while (last < 120'000) {
    JournalStore::Changes changes = Appending(last + 1, last + kBatch, 1000);
    for (uint64_t seq = last + 1; seq <= last + kBatch && seq > kWaiting; ++seq)
      changes.erase.push_back(seq - kWaiting);
    Apply(changes, /*sync=*/false);
    last += kBatch;
  }
  // 120 MB went through, and 2 MB wait.
  EXPECT_LT(store_->bytes_on_disk(), uint64_t{150} << 20);
  EXPECT_EQ(Seqs().size(), kWaiting);
  Close();
  Open();
  const StoreContent content = Content();
  EXPECT_EQ(content.records.size(), kWaiting);
  EXPECT_EQ(content.records.begin()->first, last - kWaiting + 1);
  EXPECT_LT(store_->bytes_on_disk(), uint64_t{60} << 20);
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreTest, ReadersAndTheWriterDoNotDisturbEachOther) {
  Apply(Appending(1, 100));
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        const auto read = store_->Read({1, 50, 100});
        ASSERT_TRUE(read.ok()) << read.status();
        EXPECT_TRUE((*read)[1].has_value());
        const auto content = ContentOf(*store_);
        // A record may go between the scan and the read.
        EXPECT_TRUE(content.ok() || absl::IsInternal(content.status())) << content.status();
        EXPECT_TRUE(store_->Health().ok());
        EXPECT_GE(store_->last_seq(), 100u);
      }
    });
  }
  for (uint64_t seq = 101; seq < 2000; ++seq) {
    JournalStore::Changes changes = Appending(seq, seq);
    if (seq > 110) changes.erase = {seq - 5};
    Apply(changes, seq % 100 == 0);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
}

TEST_F(JournalStoreTest, WhoReadsWhileItClosesOrAfterwardsIsToldSo) {
  Apply(Appending(1, 100));
  std::atomic<int> refused{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      for (;;) {
        const auto read = store_->Read({50});
        if (!read.ok()) {
          EXPECT_EQ(read.status().code(), absl::StatusCode::kUnavailable) << read.status();
          ++refused;
          return;
        }
        EXPECT_TRUE(read->front().has_value());
      }
    });
  }
  EXPECT_TRUE(store_->Close().ok());
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(refused, 3);
  EXPECT_EQ(store_->ReadLetters({1}).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace larder
