// A process that is killed at each of the store's named points, and at any moment: whatever it
// acknowledged, synced or not, is there when the store is opened again.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/journal/store_rig.h"
#include "tests/journal/store_writer/queue.h"
#include "tests/journal/writer_process.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> WriterOn(const std::string& path, const std::string& point, int count,
                                  int value_bytes, int sync_every) {
  return {LARDER_BIN_DIR "/journal_store_writer",
          path,
          point,
          StrCat(count),
          StrCat(value_bytes),
          StrCat(sync_every)};
}

struct Point {
  const char* name;
  int value_bytes;
  int sync_every;
};

class JournalStoreKillTest : public StoreTest {
 protected:
  // The store has all that was acknowledged, exactly as it was after some batch, which counts as
  // acknowledged from then on.
  void ExpectAllAcknowledged(uint64_t* acknowledged) {
    Open();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(store_->Damage().events, 0u) << store_->Damage().last;
    const std::vector<uint64_t> seqs = Seqs();
    const uint64_t last = store_->last_seq();
    EXPECT_GE(last, *acknowledged);
    EXPECT_LE(last, *acknowledged + kBatch);
    EXPECT_EQ(seqs, WaitingAt(last));
    *acknowledged = last;
    Crash();
  }
};

class JournalStorePointTest : public JournalStoreKillTest,
                              public testing::WithParamInterface<Point> {};

TEST_P(JournalStorePointTest, KilledThereFiveTimesItKeepsAllThatWasAcknowledged) {
  uint64_t acknowledged = 0;
  for (int count = 1; count <= 5; ++count) {
    SCOPED_TRACE(count);
    WriterProcess writer(WriterOn(path(), GetParam().name, 1 + (count - 1) % 3,
                                  GetParam().value_bytes, GetParam().sync_every));
    for (uint64_t seq; writer.Next(&seq);) acknowledged = seq;
    ASSERT_TRUE(writer.Reap()) << "it ended before it came there";
    ExpectAllAcknowledged(&acknowledged);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Apply, JournalStorePointTest,
                         testing::Values(Point{"before_append", 100, 2},
                                         Point{"after_append", 100, 2},
                                         Point{"before_sync", 100, 2}, Point{"after_sync", 100, 2},
                                         Point{"acknowledged", 100, 2}),
                         [](const auto& info) { return std::string(info.param.name); });
INSTANTIATE_TEST_SUITE_P(Database, JournalStorePointTest,
                         testing::Values(Point{"before_flush", 200'000, 20},
                                         Point{"after_flush", 200'000, 20},
                                         Point{"before_compact", 200'000, 20},
                                         Point{"after_compact", 200'000, 20}),
                         [](const auto& info) { return std::string(info.param.name); });

// Points that are passed once each time the store is opened.
class JournalStoreRecoveryPointTest : public JournalStoreKillTest,
                                      public testing::WithParamInterface<const char*> {
 protected:
  uint64_t WriteUntil(uint64_t enough) {
    WriterProcess writer(WriterOn(path(), "never", 1, 100, 2));
    uint64_t acknowledged = 0;
    while (acknowledged < enough && writer.Next(&acknowledged)) {
    }
    EXPECT_TRUE(writer.Kill());
    for (uint64_t seq; writer.Next(&seq);) acknowledged = seq;
    return acknowledged;
  }
  void DieAt(const char* point) {
    WriterProcess writer(WriterOn(path(), point, 1, 100, 2));
    uint64_t seq = 0;
    EXPECT_FALSE(writer.Next(&seq)) << "it was opened";
    EXPECT_TRUE(writer.Reap()) << "it ended before it came there";
  }
};

TEST_P(JournalStoreRecoveryPointTest, KilledThereAgainAndAgainItRecovers) {
  uint64_t acknowledged = 0;
  for (int round = 1; round <= 5; ++round) {
    SCOPED_TRACE(round);
    acknowledged = WriteUntil(acknowledged + 30);
    for (int times = 0; times < round % 3 + 1; ++times) DieAt(GetParam());
    ExpectAllAcknowledged(&acknowledged);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Recovery, JournalStoreRecoveryPointTest,
                         testing::Values("before_recover", "kept_before", "replayed",
                                         "after_recover"),
                         [](const auto& info) { return std::string(info.param); });

class JournalStoreSalvagePointTest : public JournalStoreRecoveryPointTest {};

// The damage is still found by the recovery that is not killed, and nothing more is lost by those
// that were.
TEST_P(JournalStoreSalvagePointTest, KilledThereAgainAndAgainItSalvages) {
  uint64_t acknowledged = 0;
  for (int round = 1; round <= 5; ++round) {
    SCOPED_TRACE(round);
    acknowledged = WriteUntil(acknowledged + 30);
    // In the middle of the log that the writer has left.
    fs::path log;
    for (const auto& entry : fs::directory_iterator(path() + "/db")) {
      if (entry.path().extension() == ".log" && entry.file_size() > 1000) log = entry.path();
    }
    ASSERT_FALSE(log.empty());
    std::fstream file(log, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(fs::file_size(log) / 2));
    file << "damage";
    file.close();
    for (int times = 0; times < round % 3 + 1; ++times) DieAt(GetParam());
    Open();
    ASSERT_FALSE(HasFatalFailure());
    EXPECT_EQ(store_->Damage().events, 1u);
    EXPECT_TRUE(fs::exists(store_->Damage().set_aside + "/CURRENT"));
    // What lies before the damage is there. How much comes after it, and is lost up to the end of a
    // block of the log, depends on how soon the writer was killed.
    EXPECT_FALSE(Seqs().empty());
    EXPECT_GE(store_->last_seq(), acknowledged);
    acknowledged = store_->last_seq();
    // The next round begins with an empty journal.
    Crash();
    fs::remove_all(path());
    acknowledged = 0;
  }
}

INSTANTIATE_TEST_SUITE_P(Salvage, JournalStoreSalvagePointTest,
                         testing::Values("before_salvage", "salvaged", "before_set_aside"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(JournalStoreKillTest, KilledAtAnyMomentItKeepsAllThatWasAcknowledged) {
  uint64_t acknowledged = 0;
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    WriterProcess writer(
        WriterOn(path(), "never", 1, round % 2 == 0 ? 100 : 50'000, 1 + round % 5));
    const uint64_t enough = acknowledged + 100 + static_cast<uint64_t>(37 * round);
    while (acknowledged < enough) ASSERT_TRUE(writer.Next(&acknowledged));
    EXPECT_TRUE(writer.Kill());
    for (uint64_t seq; writer.Next(&seq);) acknowledged = seq;
    ExpectAllAcknowledged(&acknowledged);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace larder
