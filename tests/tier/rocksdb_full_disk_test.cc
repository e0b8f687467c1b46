// A disk that is full: changes answer an error at once, reads go on, and when there is space again
// the tier goes on by itself, with everything that it acknowledged.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/tier/limited_disk.h"
#include "tests/tier/rocks_test.h"

namespace larder {
namespace {

using Outcome = TierChange::Outcome;

class RocksFullDiskTest : public RocksTest {
 protected:
  RocksFullDiskTest() { rig_.Reopen(OnDisk()); }
  ~RocksFullDiskTest() override { rig_.Close(); }

  RocksTierOptions OnDisk() {
    RocksTierOptions options = rig_.options();
    options.env = disk_.env();
    return options;
  }
  absl::StatusOr<Outcome> TryPut(std::string_view key, Version version, std::string_view value) {
    return PutIn(rig_.tier(), NewPut(key, version, value));
  }
  // Until the tier takes changes again; it tries by itself, each period and whenever it is swept.
  void ExpectRecovery() {
    for (int i = 0; i < 10 && rig_.tier().Stats().state != "ok"; ++i) rig_.rocks().Sweep();
    EXPECT_EQ(rig_.tier().Stats().state, "ok");
  }

  LimitedDisk disk_;
};

TEST_F(RocksFullDiskTest, ChangesFailReadsGoOnAndItRecoversByItself) {
  for (int k = 0; k < 100; ++k) Put(absl::StrCat("k", k), 10, absl::StrCat("v", k));
  disk_.Leave(0);
  EXPECT_EQ(TryPut("new", 10, "v").status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(AwaitTask(rig_.tier().Erase({{Key("k1"), 11}}, kNever)).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_NE(rig_.tier().Stats().state, "ok");
  EXPECT_GE(rig_.tier().Stats().errors, 2u);
  for (int k = 0; k < 100; ++k) EXPECT_EQ(Value(absl::StrCat("k", k)), absl::StrCat("v", k));
  // Still full: still so.
  rig_.rocks().Sweep();
  EXPECT_EQ(TryPut("new", 10, "v").status().code(), absl::StatusCode::kResourceExhausted);
  disk_.LeaveEnough();
  ExpectRecovery();
  EXPECT_EQ(Put("new", 11, "eleven"), Outcome::kDone);
  for (int k = 0; k < 100; ++k) EXPECT_EQ(Value(absl::StrCat("k", k)), absl::StrCat("v", k));
  EXPECT_EQ(rig_.rocks().drops().damaged, 0u);
}

// Fails at every kind of place: in the log, in a file that is flushed or compacted, in the
// manifest.
TEST_F(RocksFullDiskTest, NothingAcknowledgedIsLostWhereverTheSpaceEnds) {
  std::map<std::string, Version> acknowledged;
  Version version = 10;
  for (int64_t space = 1000; space < 4'000'000; space = space * 5 / 3) {
    disk_.Leave(space);
    // Until the tier knows: what fails in the background is heard of a little later.
    for (int i = 0; i < 5000 && rig_.tier().Stats().state == "ok"; ++i) {
      const std::string key = absl::StrCat("k", i % 500);
      ++version;
      const auto outcome = TryPut(key, version, absl::StrCat(version, "/", std::string(2000, 'v')));
      if (outcome.ok() && *outcome == Outcome::kDone) acknowledged[key] = version;
    }
    EXPECT_NE(rig_.tier().Stats().state, "ok") << space;
    disk_.LeaveEnough();
    ExpectRecovery();
    if (space % 3 == 0) rig_.Reopen(OnDisk());
    for (const auto& [key, newest] : acknowledged) {
      const auto reads = AwaitTask(rig_.tier().Get({Key(key)}, kNever));
      ASSERT_TRUE(reads.ok()) << reads.status();
      // A put that answered an error may have been kept.
      ASSERT_GE(reads->front().entry.version, newest) << key << " with " << space;
      EXPECT_TRUE(reads->front().entry.stored().starts_with(
          absl::StrCat(reads->front().entry.version, "/")));
    }
  }
  EXPECT_EQ(rig_.rocks().drops().damaged, 0u);
}

TEST_F(RocksFullDiskTest, LeavesSpaceToOthersOnADiskThatFillsUp) {
  for (int k = 0; k < 1000; ++k) Put(absl::StrCat("k", k), 10 + k, std::string(10'000, 'v'));
  disk_.Say(32 << 20);
  rig_.rocks().Sweep();
  EXPECT_EQ(Put("new", 5000, std::string(1000, 'v')), Outcome::kSkipped);
  EXPECT_EQ(Value("new"), "(tombstone 5000)");
  // Who looks at it reads why, and how little it may have now.
  TierStats stats = rig_.tier().Stats();
  EXPECT_EQ(stats.state,
            "new entries are skipped: 32 MiB of the disk are free, and 64 MiB are kept free for "
            "others");
  EXPECT_EQ(stats.skipped, 1u);
  EXPECT_LT(stats.bytes_max, 32u << 20);
  disk_.Say(uint64_t{1} << 40);
  rig_.rocks().Sweep();
  EXPECT_EQ(Put("new", 5001, std::string(1000, 'v')), Outcome::kDone);
  stats = rig_.tier().Stats();
  EXPECT_EQ(stats.state, "ok");
  EXPECT_EQ(stats.bytes_max, rig_.options().max_bytes);
}

TEST_F(RocksFullDiskTest, StoreThatFitsADiskOfLittleSpaceIsNotShortOfIt) {
  Put("k", 10, "ten");
  disk_.Say(100 << 20);
  rig_.rocks().Sweep();
  EXPECT_EQ(Put("k", 11, "eleven"), Outcome::kDone);
  EXPECT_EQ(rig_.tier().Stats().state, "ok");
}

TEST_F(RocksFullDiskTest, GoesOnWithoutWhenItCannotBeOpenedAndTriesAgain) {
  Put("k", 10, "ten");
  rig_.Close();
  disk_.Leave(0);
  rig_.Open(OnDisk());
  EXPECT_NE(rig_.tier().Stats().state, "ok");
  EXPECT_EQ(TryPut("k", 11, "v").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(AwaitTask(rig_.tier().Get({Key("k")}, kNever)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(AwaitTask(rig_.tier().Scan({Key(""), "", "", 10}, kNever)).status().code(),
            absl::StatusCode::kUnavailable);
  disk_.LeaveEnough();
  // Not before the pause is over, and then by itself.
  rig_.rocks().Sweep();
  EXPECT_NE(rig_.tier().Stats().state, "ok");
  rig_.clock().Advance(OnDisk().reopen_first);
  rig_.rocks().Sweep();
  EXPECT_EQ(rig_.tier().Stats().state, "ok");
  EXPECT_EQ(Value("k"), "ten");
  EXPECT_EQ(rig_.rocks().drops().damaged, 0u);
}

}  // namespace
}  // namespace larder
