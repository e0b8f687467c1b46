// Power that goes, fsyncs and writes that fail: what was acknowledged as safe is there afterwards,
// and nothing is acknowledged because a second fsync said OK.

#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "tests/journal/faulty_disk.h"
#include "tests/journal/store_history.h"
#include "tests/journal/store_rig.h"

namespace larder {
namespace {

using testing::ElementsAre;

bool Long() { return std::getenv("LARDER_LONG") != nullptr; }

class JournalStorePowerTest : public StoreTest {
 protected:
  JournalStorePowerTest() : disk_(folder_.root()) { OpenAfterBoot(); }

  // Every time another boot of the machine.
  void OpenAfterBoot() { Open(WithBoot(++boot_)); }
  JournalStore::Options WithBoot(int boot) {
    JournalStore::Options options = this->options();
    options.boot_id = StrCat("boot ", boot);
    return options;
  }
  void StartAnew() {
    Crash();
    disk_.FailSyncs(0);
    disk_.FailWrites(0);
    std::filesystem::remove_all(path());
    OpenAfterBoot();
  }
  void LosePower(bool names_too) {
    disk_.Stop();
    Crash();
    disk_.PowerLoss(names_too);
  }

  FaultyDisk disk_;
  int boot_ = 0;
};

TEST_F(JournalStorePowerTest, KeepsWhatWasSyncedAndMayLoseTheRest) {
  Apply(Appending(1, 2));
  Apply(Appending(3, 3), /*sync=*/false);
  LosePower(true);
  OpenAfterBoot();
  EXPECT_THAT(Seqs(), ElementsAre(1, 2));
  EXPECT_EQ(store_->Damage().events, 0u);
  // What a sync covers is everything before.
  Apply(Appending(4, 4), /*sync=*/false);
  Apply(Erasing({1}), /*sync=*/false);
  Apply({}, /*sync=*/true);
  LosePower(true);
  OpenAfterBoot();
  EXPECT_THAT(Seqs(), ElementsAre(2, 4));
  EXPECT_EQ(store_->Damage().events, 0u);
}

TEST_F(JournalStorePowerTest, CloseMakesEverythingSafe) {
  Apply(Appending(1, 5), /*sync=*/false);
  Close();
  disk_.PowerLoss(true);
  OpenAfterBoot();
  EXPECT_EQ(Seqs().size(), 5u);
  EXPECT_EQ(store_->Damage().events, 0u);
}

// At any moment, many times in a row; values that fill memtables, so that it also goes in flushes,
// compactions and between two logs.
TEST_F(JournalStorePowerTest, LosesNothingSyncedAndReportsNoDamageThatIsNone) {
  for (uint64_t seed = 1; seed <= (Long() ? 60 : 4); ++seed) {
    SCOPED_TRACE(seed);
    StartAnew();
    StoreHistory history(seed, seed % 2 == 0 ? 100 : 300'000);
    for (int round = 0; round < 8; ++round) {
      for (uint64_t n = history.random()() % 150; n > 0; --n) {
        const bool sync = history.random()() % 3 == 0;
        Apply(history.Next(), sync);
        history.Acknowledged(sync);
        if (HasFatalFailure()) return;
      }
      if (round % 3 == 2) Close();
      LosePower(round % 2 == 0);
      OpenAfterBoot();
      if (HasFatalFailure()) return;
      EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
      const StoreContent content = Content();
      ASSERT_TRUE(history.Holds(content, /*after_power_loss=*/true));
      // What recovery has shown stays.
      history.Found(content, /*safe=*/true);
      EXPECT_GE(history.last(), store_->last_seq());
    }
  }
}

// The power goes in the midst of a recovery, again and again, at each of its steps.
TEST_F(JournalStorePowerTest, RecoversFromPowerLostInRecovery) {
  StoreHistory history(5, 2000);
  for (int round = 0; round < (Long() ? 100 : 12); ++round) {
    SCOPED_TRACE(round);
    for (int i = 0; i < 10; ++i) {
      Apply(history.Next(), /*sync=*/true);
      history.Acknowledged(true);
    }
    LosePower(round % 2 == 0);
    JournalStore::Options options = WithBoot(++boot_);
    int left = 1 + round % 6;
    options.at = [&](std::string_view) {
      if (--left == 0) disk_.Stop();
    };
    // It may fail, come up to be read only, or be done already.
    auto cut_off = JournalStore::Open(options);
    if (cut_off.ok()) cut_off->reset();
    disk_.PowerLoss(round % 4 < 2);
    OpenAfterBoot();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
    ASSERT_TRUE(history.Holds(Content(), /*after_power_loss=*/true));
  }
}

TEST_F(JournalStorePowerTest, AcknowledgesNothingOnTheStrengthOfASecondSync) {
  Apply(Appending(1, 2));
  disk_.FailSyncs(EIO);
  const absl::Status failed = store_->Apply(Appending(3, 3), true);
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnknown);
  disk_.FailSyncs(0);
  // The disk says OK again, and has lost 3: whoever trusts it now loses 4 with it.
  const uint64_t before = disk_.bytes_written();
  EXPECT_EQ(store_->Apply(Appending(4, 4), true).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_->Apply(Erasing({1}), false).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(disk_.bytes_written(), before);
  EXPECT_EQ(store_->Health().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Seqs().front(), 1u);
  ASSERT_TRUE(store_->Heal().ok());
  const std::vector<uint64_t> healed = Seqs();
  // 3 came from the kernel's memory, and is on disk now.
  EXPECT_THAT(healed, ElementsAre(1, 2, 3));
  LosePower(true);
  OpenAfterBoot();
  EXPECT_EQ(Seqs(), healed);
  EXPECT_EQ(store_->Damage().events, 0u);
  EXPECT_EQ(store_->last_seq(), 3u);
}

TEST_F(JournalStorePowerTest, ABurialThatHappenedAlthoughItFailedCanBeMadeAgain) {
  Apply(Appending(1, 2));
  JournalStore::Changes burial = Erasing({1});
  burial.bury.push_back(LetterOf(3, 1));
  disk_.FailSyncs(EIO);
  EXPECT_EQ(store_->Apply(burial, true).code(), absl::StatusCode::kUnknown);
  disk_.FailSyncs(0);
  ASSERT_TRUE(store_->Heal().ok());
  EXPECT_THAT(Content().letters, ElementsAre(3));
  Apply(burial);
  EXPECT_THAT(Content().letters, ElementsAre(3));
  EXPECT_THAT(Seqs(), ElementsAre(2));
  EXPECT_TRUE(store_->Health().ok());
  LosePower(true);
  OpenAfterBoot();
  EXPECT_THAT(Content().letters, ElementsAre(3));
  EXPECT_EQ(store_->Damage().events, 0u);
}

// Syncs and writes fail now and then, and the power goes: nothing acknowledged is lost.
TEST_F(JournalStorePowerTest, LosesNothingSyncedOnADiskThatFailsNowAndThen) {
  for (uint64_t seed = 1; seed <= (Long() ? 60 : 4); ++seed) {
    SCOPED_TRACE(seed);
    StartAnew();
    StoreHistory history(seed, seed % 2 == 0 ? 100 : 200'000);
    int failures = 0;
    for (int i = 0; i < 250; ++i) {
      if (history.random()() % 12 == 0) {
        (history.random()() % 2 == 0) ? disk_.FailSyncs(EIO) : disk_.FailWrites(EIO);
      }
      const bool sync = history.random()() % 2 == 0;
      if (store_->Apply(history.Next(), sync).ok()) {
        history.Acknowledged(sync);
      } else {
        history.Failed();
        ++failures;
        EXPECT_FALSE(store_->Health().ok());
        disk_.FailSyncs(0);
        disk_.FailWrites(0);
        ASSERT_TRUE(store_->Heal().ok()) << store_->Health();
        const StoreContent content = Content();
        ASSERT_TRUE(history.Holds(content, /*after_power_loss=*/false));
        history.Found(content, /*safe=*/true);
      }
      if (history.random()() % 40 == 0) {
        LosePower(i % 2 == 0);
        OpenAfterBoot();
        if (HasFatalFailure()) return;
        const StoreContent content = Content();
        ASSERT_TRUE(history.Holds(content, /*after_power_loss=*/true));
        history.Found(content, /*safe=*/true);
      }
    }
    EXPECT_GT(failures, 3);
    EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
  }
}

TEST_F(JournalStorePowerTest, HealsOnlyWhenTheDiskTakesWritesAgain) {
  Apply(Appending(1, 2));
  disk_.FailWrites(EIO);
  EXPECT_EQ(store_->Apply(Appending(3, 3), true).code(), absl::StatusCode::kUnknown);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(store_->Heal().code(), absl::StatusCode::kUnavailable);
    EXPECT_FALSE(store_->Health().ok());
    // The database as it was is still there to be read.
    EXPECT_EQ(Seqs().front(), 1u);
  }
  disk_.FailWrites(0);
  ASSERT_TRUE(store_->Heal().ok());
  EXPECT_TRUE(store_->Health().ok());
  Apply(Appending(4, 4));
  EXPECT_EQ(Seqs().back(), 4u);
}

// The probe finds the disk well, and the recovery then does not: reads still go on.
TEST_F(JournalStorePowerTest, ReadsGoOnWhenHealFailsHalfWay) {
  JournalStore::Options options = WithBoot(++boot_);
  std::string_view stop_at;
  options.at = [&](std::string_view point) {
    if (point == stop_at) disk_.FailWrites(EIO);
  };
  Crash();
  Open(options);
  Apply(Appending(1, 2));
  for (const std::string_view point : {"before_recover", "kept_before", "replayed"}) {
    disk_.FailSyncs(EIO);
    const uint64_t next = store_->last_seq() + 1;
    EXPECT_FALSE(store_->Apply(Appending(next, next), true).ok());
    disk_.FailSyncs(0);
    stop_at = point;
    const absl::Status healed = store_->Heal();
    EXPECT_EQ(healed.code(), absl::StatusCode::kUnavailable) << point;
    EXPECT_FALSE(store_->Health().ok()) << point;
    EXPECT_EQ(Seqs().front(), 1u) << point;
    stop_at = {};
    disk_.FailWrites(0);
    ASSERT_TRUE(store_->Heal().ok()) << store_->Health();
  }
  EXPECT_EQ(store_->Damage().events, 0u);
}

}  // namespace
}  // namespace larder
