// A disk that is full: changes answer an error, reads go on, and when there is space again Heal has
// everything that was acknowledged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "tests/journal/faulty_disk.h"
#include "tests/journal/store_history.h"
#include "tests/journal/store_rig.h"

namespace larder {
namespace {

using testing::ElementsAre;

class JournalStoreDiskTest : public StoreTest {
 protected:
  JournalStoreDiskTest() : disk_(folder_.root()) { Open(); }

  FaultyDisk disk_;
};

TEST_F(JournalStoreDiskTest, TakesNothingBelowTheFreeSpaceAndErasesAllTheSame) {
  Apply(Appending(1, 3));
  disk_.Leave(options().free_bytes_min - (1 << 20));
  const absl::Status refused = store_->Apply(Appending(4, 4), true);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(std::string(refused.message()).find("has 31 MiB free; the journal leaves 32 MiB"),
            std::string::npos)
      << refused;
  EXPECT_EQ(store_->Health(), refused);
  EXPECT_EQ(store_->Heal(), refused);
  Apply(Erasing({2}));
  EXPECT_THAT(Seqs(), ElementsAre(1, 3));
  disk_.LeaveEnough();
  // Not before Heal has looked.
  EXPECT_FALSE(store_->Apply(Appending(4, 4), true).ok());
  EXPECT_TRUE(store_->Heal().ok());
  EXPECT_TRUE(store_->Health().ok());
  Apply(Appending(4, 4));
  EXPECT_THAT(Seqs(), ElementsAre(1, 3, 4));
}

TEST_F(JournalStoreDiskTest, FullDiskTakesNothingAndLetsReadersRead) {
  Apply(Appending(1, 3));
  JournalStore::Options options = this->options();
  options.free_bytes_min = 0;
  Open(options);
  disk_.Leave(0);
  EXPECT_EQ(store_->Apply(Appending(4, 4), true).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(store_->Apply(Erasing({1}), false).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Heal().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Seqs(), ElementsAre(1, 2, 3));
  disk_.LeaveEnough();
  ASSERT_TRUE(store_->Heal().ok());
  Apply(Appending(5, 5));
  EXPECT_EQ(Seqs().back(), 5u);
  EXPECT_EQ(store_->Damage().events, 0u);
}

// Fails at every kind of place: in the log, in a table that is flushed or compacted, in the
// manifest, in MARK.
TEST_F(JournalStoreDiskTest, NothingAcknowledgedIsLostWhereverTheSpaceEnds) {
  JournalStore::Options options = this->options();
  options.free_bytes_min = 0;
  Open(options);
  StoreHistory history(3, 100'000);
  for (int64_t space = 1000; space < 200'000'000; space = space * 5 / 3) {
    SCOPED_TRACE(space);
    disk_.Leave(space);
    bool failed = false;
    for (int i = 0; i < 3000 && !failed; ++i) {
      const bool sync = i % 4 == 0;
      failed = !store_->Apply(history.Next(), sync).ok();
      failed ? history.Failed() : history.Acknowledged(sync);
    }
    EXPECT_TRUE(failed);
    EXPECT_FALSE(store_->Health().ok());
    EXPECT_FALSE(store_->Heal().ok());
    disk_.LeaveEnough();
    if (space % 2 == 0) {
      ASSERT_TRUE(store_->Heal().ok()) << store_->Health();
    } else {
      Open(options);
      ASSERT_FALSE(HasFatalFailure());
    }
    const StoreContent content = Content();
    ASSERT_TRUE(history.Holds(content, /*after_power_loss=*/false));
    history.Found(content, /*safe=*/true);
    EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
  }
}

TEST_F(JournalStoreDiskTest, StartsOnAFullDiskToBeReadAndHealsWhenThereIsSpace) {
  Apply(Appending(1, 3));
  Apply(Erasing({1}), /*sync=*/false);
  Crash();
  // For the number of the process in LOCK.
  disk_.Leave(100);
  Open();
  EXPECT_EQ(store_->Health().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Seqs(), ElementsAre(2, 3));
  EXPECT_EQ(store_->last_seq(), 3u);
  EXPECT_EQ(store_->Apply(Appending(4, 4), true).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Heal().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Seqs(), ElementsAre(2, 3));
  disk_.LeaveEnough();
  ASSERT_TRUE(store_->Heal().ok());
  EXPECT_THAT(Seqs(), ElementsAre(2, 3));
  Apply(Appending(4, 4));
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStoreDiskTest, SaysWhyItCannotBeMadeOnAFullDisk) {
  Crash();
  std::filesystem::remove_all(path());
  disk_.Leave(0);
  const auto store = JournalStore::Open(options());
  EXPECT_FALSE(store.ok());
  EXPECT_NE(std::string(store.status().message()).find("No space left on device"),
            std::string::npos)
      << store.status();
}

// A file system of 64 MiB, which the kernel fills up in its own way. Where mounting is not allowed,
// the test's disk stands in, on which removing frees nothing.
class JournalStoreSmallDiskTest : public testing::Test {
 protected:
  JournalStoreSmallDiskTest() {
    std::filesystem::create_directory(folder_.path());
    mounted_ = mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=64m,mode=0700") == 0;
    if (!mounted_) {
      stand_in_ = std::make_unique<FaultyDisk>(folder_.path());
      stand_in_->Leave(64 << 20);
    }
  }
  ~JournalStoreSmallDiskTest() override {
    store_.reset();
    if (mounted_) umount2(folder_.path().c_str(), MNT_DETACH);
  }

  void Open(uint64_t free_bytes_min) {
    JournalStore::Options options;
    options.path = folder_.path() + "/journal";
    options.free_bytes_min = free_bytes_min;
    auto store = JournalStore::Open(options);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // Appends until the store takes no more.
  void Fill() {
    for (;;) {
      const uint64_t next = store_->last_seq() + 1;
      if (!store_->Apply(Appending(next, next, 50'000), true).ok()) return;
      acknowledged_.insert(next);
      ASSERT_LT(acknowledged_.size(), 2000u);
    }
  }

  const JournalFolder folder_;
  bool mounted_ = false;
  std::unique_ptr<FaultyDisk> stand_in_;
  std::unique_ptr<JournalStore> store_;
  std::set<uint64_t> acknowledged_;
};

TEST_F(JournalStoreSmallDiskTest, FillsUpAndIsUsedAgainWhenItHasSpace) {
  const std::string ballast = folder_.path() + "/ballast";
  if (mounted_) {
    std::ofstream(ballast) << std::string(20 << 20, 'b');
  } else {
    stand_in_->Leave(44 << 20);
  }
  Open(/*free_bytes_min=*/0);
  // RocksDB may make room a few times, when it compacts what it has.
  do {
    Fill();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_FALSE(store_->Health().ok());
  } while (store_->Heal().ok());
  EXPECT_GT(acknowledged_.size(), 200u);
  const auto full = ContentOf(*store_);
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_GE(full->records.size(), acknowledged_.size());

  mounted_ ? void(std::filesystem::remove(ballast)) : stand_in_->LeaveEnough();
  ASSERT_TRUE(store_->Heal().ok()) << store_->Health();
  const uint64_t next = store_->last_seq() + 1;
  const absl::Status applied = store_->Apply(Appending(next, next), true);
  EXPECT_TRUE(applied.ok()) << applied;
  const auto content = ContentOf(*store_);
  ASSERT_TRUE(content.ok()) << content.status();
  for (const uint64_t seq : acknowledged_) EXPECT_TRUE(content->records.contains(seq)) << seq;
  EXPECT_EQ(store_->Damage().events, 0u);
}

// What was erased takes room until it is compacted, which would never be without new writes.
TEST_F(JournalStoreSmallDiskTest, GivesBackWhatWasDeliveredWhileItIsShort) {
  Open(/*free_bytes_min=*/24 << 20);
  Fill();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_GT(acknowledged_.size(), 200u);
  EXPECT_FALSE(store_->Heal().ok());
  const absl::Status erased =
      store_->Apply(Erasing({acknowledged_.begin(), acknowledged_.end()}), false);
  ASSERT_TRUE(erased.ok()) << erased;
  if (!mounted_) stand_in_->LeaveEnough();
  EXPECT_TRUE(store_->Heal().ok()) << store_->Health();
  const uint64_t next = store_->last_seq() + 1;
  EXPECT_TRUE(store_->Apply(Appending(next, next), true).ok());
  EXPECT_LT(store_->bytes_on_disk(), uint64_t{2} << 20);
}

}  // namespace
}  // namespace larder
