// The embedded second tier in a process that is stopped, killed, given damaged files or a full
// disk: what was acknowledged is served afterwards, what was deleted is not, and no call fails.

#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "tests/e2e/fleet_fixture.h"
#include "tests/e2e/small_disk.h"

namespace larder {
namespace {

namespace fs = std::filesystem;

constexpr int kEntries = 300;

std::string ConfigIn(const std::string& data, const std::string& l2 = "enabled: true") {
  return "data: { path: \"" + data + "\" }\n" +
         "memory: { l1: 32MiB }\n"
         "l2:\n  rocksdb: { " +
         l2 +
         ", max_bytes: 64MiB, memory: 8MiB }\n"
         // A disk that is busy for a moment is no fault here.
         "  read_timeout: 10s\n  write_timeout: 10s\n  breaker: { slow_after: 10s }\n"
         // What is in memory after a restart would hide what is on the disk.
         "warm: { limit: off }\n"
         "types: { otp: { match: [\"otp:*\"], tiers: { l2: false } } }\n";
}

std::string Key(int i) { return "k:" + std::to_string(i); }
std::string ValueOf(int i) { return std::string(500, static_cast<char>('a' + i % 26)) + Key(i); }

// Every fifth of them is deleted again.
bool IsDeleted(int i) { return i % 5 == 0; }

void Fill(Replica* replica) {
  for (int i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(replica->Set(Key(i), "an older value").ok());
    ASSERT_TRUE(replica->Set(Key(i), ValueOf(i)).ok());
    if (!IsDeleted(i)) continue;
    ASSERT_TRUE(replica->Delete(Key(i)).ok());
  }
  ASSERT_TRUE(replica->Set("otp:1", "123456").ok());
}

// All of it is there, and comes from the disk.
void CheckServedFromDisk(Replica* replica) {
  for (int i = 0; i < kEntries; ++i) {
    const v1::GetResponse got = replica->Get(Key(i));
    if (IsDeleted(i)) {
      ASSERT_TRUE(got.has_miss()) << i;
      continue;
    }
    ASSERT_EQ(got.hit().value(), ValueOf(i)) << i;
    ASSERT_EQ(got.hit().tier(), v1::TIER_L2) << i;
    ASSERT_EQ(replica->Get(Key(i)).hit().tier(), v1::TIER_L1) << i;
  }
  // What may not leave memory is gone with it.
  EXPECT_TRUE(replica->Get("otp:1").has_miss());
  EXPECT_GE(replica->L2().hits(), uint64_t{kEntries * 4 / 5});
}

TEST(RocksFaultsTest, EntriesSurviveStopsAndKillsAndDeletesDoToo) {
  const TempDir data;
  Replica replica(ConfigIn(data.path()));
  Fill(&replica);
  if (testing::Test::HasFatalFailure()) return;
  EXPECT_EQ(replica.Value("otp:1"), "123456");
  EXPECT_EQ(replica.Stop().exit_code, 0);
  ASSERT_TRUE(replica.Start());
  CheckServedFromDisk(&replica);
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  CheckServedFromDisk(&replica);
  // Killed right after an acknowledgement.
  for (int round = 0; round < 3; ++round) {
    const std::string text = std::to_string(round);
    ASSERT_TRUE(replica.Set("last", text).ok());
    ASSERT_TRUE(replica.Set("gone", text).ok());
    ASSERT_TRUE(replica.Delete("gone").ok());
    replica.Kill();
    ASSERT_TRUE(replica.Start());
    const v1::GetResponse last = replica.Get("last");
    EXPECT_EQ(last.hit().value(), text);
    EXPECT_EQ(last.hit().tier(), v1::TIER_L2);
    EXPECT_TRUE(replica.Get("gone").has_miss());
    EXPECT_GT(replica.L2().entries(), 0u);
  }
}

TEST(RocksFaultsTest, TimesToLiveGoOnWhileTheProcessIsDown) {
  const TempDir data;
  Replica replica(ConfigIn(data.path()));
  v1::SetRequest request;
  v1::SetResponse response;
  request.set_key("short");
  request.set_value("x");
  request.mutable_ttl()->set_seconds(2);
  ASSERT_TRUE(replica.Set(request, &response).ok());
  const auto set = std::chrono::steady_clock::now();
  request.set_key("long");
  request.mutable_ttl()->set_seconds(1000);
  ASSERT_TRUE(replica.Set(request, &response).ok());
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  const v1::GetResponse kept = replica.Get("long");
  EXPECT_EQ(kept.hit().tier(), v1::TIER_L2);
  // The jitter of 10% included.
  EXPECT_LE(kept.hit().remaining_ttl().seconds(), 1100);
  EXPECT_TRUE(Eventually([&] { return replica.Get("short").has_miss(); }));
  // Not a second life.
  EXPECT_LT(std::chrono::steady_clock::now() - set, std::chrono::seconds(5));
}

// Does something to the files of the store between two runs.
void DamageAndRestart(const std::function<void(const fs::path&)>& damage) {
  const TempDir data;
  Replica replica(ConfigIn(data.path()));
  Fill(&replica);
  if (testing::Test::HasFatalFailure()) return;
  ASSERT_EQ(replica.Stop().exit_code, 0);
  int files = 0;
  for (const auto& file : fs::recursive_directory_iterator(data.path() + "/l2")) {
    if (!file.is_regular_file()) continue;
    ++files;
    damage(file.path());
  }
  ASSERT_GT(files, 3);
  ASSERT_TRUE(replica.Start());
  // A cache that is damaged is no reason not to serve. What comes is right or nothing.
  for (int i = 0; i < kEntries; ++i) {
    const v1::GetResponse got = replica.Get(Key(i));
    if (IsDeleted(i)) {
      EXPECT_TRUE(got.has_miss()) << i;
    } else if (got.has_hit()) {
      EXPECT_EQ(got.hit().value(), ValueOf(i)) << i;
    }
  }
  EXPECT_TRUE(Eventually([&] { return replica.L2().state() == "ok"; })) << replica.L2().state();
  ASSERT_TRUE(replica.Set("after", "x").ok());
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  const v1::GetResponse after = replica.Get("after");
  EXPECT_EQ(after.hit().value(), "x");
  EXPECT_EQ(after.hit().tier(), v1::TIER_L2);
}

TEST(RocksFaultsTest, FilesThatWereCutShortAreNoReasonNotToStart) {
  DamageAndRestart([](const fs::path& path) {
    std::error_code ignored;
    fs::resize_file(path, fs::file_size(path) / 2, ignored);
  });
}

TEST(RocksFaultsTest, FilesWithFlippedBitsAreNoReasonNotToStart) {
  DamageAndRestart([](const fs::path& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<int64_t>(fs::file_size(path));
    for (int64_t at = 7; at < size; at += 61) {
      file.seekg(at);
      const int byte = file.get();
      file.seekp(at);
      file.put(static_cast<char>(byte ^ 0x55));
    }
  });
}

TEST(RocksFaultsTest, FilesThatAreGoneAreNoReasonNotToStart) {
  DamageAndRestart([](const fs::path& path) {
    if (path.extension() == ".sst" || path.filename() == "CURRENT") fs::remove(path);
  });
}

TEST(RocksFaultsTest, SecondProcessOnTheStoreIsRefusedWithASentence) {
  const TempDir one;
  const TempDir two;
  const TempDir store;
  const std::string l2 = "path: \"" + store.path() + "\"";
  Replica first(ConfigIn(one.path(), l2));
  const std::string config = two.path() + "/larder.yaml";
  std::ofstream(config) << ConfigIn(two.path(), l2);
  const Ended second = RunLarderd({"--set", "listen.grpc=127.0.0.1:0", "--config", config});
  EXPECT_EQ(second.exit_code, 1) << second.err;
  EXPECT_NE(second.err.find(store.path()), std::string::npos) << second.err;
  EXPECT_NE(second.err.find("process"), std::string::npos) << second.err;
  // The first has not noticed.
  ASSERT_TRUE(first.Set("a", "1").ok());
  EXPECT_EQ(first.L2().state(), "ok");
  first.Kill();
  ASSERT_TRUE(first.Start());
  EXPECT_EQ(first.Get("a").hit().tier(), v1::TIER_L2);
}

TEST(RocksFaultsTest, FullDiskFailsNoCallAndIsUsedAgainWhenThereIsRoom) {
  // Of 64 MiB the store takes nothing: it leaves a reserve to others.
  const SmallDisk disk(192);
  ASSERT_TRUE(disk.mounted()) << "needs mount namespaces";
  const TempDir data;
  Replica replica(ConfigIn(data.path(), "path: \"" + disk.path() + "/l2\""));
  ASSERT_TRUE(replica.Set("early", "1").ok());
  EXPECT_EQ(replica.L2().state(), "ok");
  EXPECT_EQ(replica.L2().skipped(), 0u);
  disk.FillUp();
  std::minstd_rand random(1);
  std::string large(200'000, 0);
  for (char& byte : large) byte = static_cast<char>(random());
  int n = 0;
  // Until the store has seen that nothing goes any more: it takes no writes, or finds none of them
  // worth its room.
  EXPECT_TRUE(Eventually([&] {
    const std::string key = "full:" + std::to_string(n++ % 50);
    EXPECT_TRUE(replica.Set(key, large + std::to_string(n)).ok());
    EXPECT_EQ(replica.Value(key), large + std::to_string(n));
    const v1::TierStats tier = replica.L2();
    return tier.errors() + tier.skipped() > 5;
  })) << replica.L2().DebugString();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(replica.Set("small:" + std::to_string(i), "2").ok());
    ASSERT_EQ(replica.Value("small:" + std::to_string(i)), "2");
    ASSERT_TRUE(replica.Delete("full:" + std::to_string(i)).ok());
    v1::GetResponse got;
    ASSERT_TRUE(replica.Get("absent:" + std::to_string(i), &got).ok());
  }
  EXPECT_EQ(replica.Value("early"), "1");
  disk.Free();
  EXPECT_TRUE(Eventually([&] { return replica.Well() && replica.L2().state() == "ok"; }))
      << replica.L2().DebugString();
  EXPECT_EQ(replica.L2().owed_total() > 0, replica.L2().settled() > 0);
  // It looks once a second how much room there is.
  EXPECT_TRUE(Eventually([&] {
    const uint64_t skipped = replica.L2().skipped();
    EXPECT_TRUE(replica.Set("late", "3").ok());
    return replica.L2().skipped() == skipped;
  }));
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(replica.Get("late").hit().tier(), v1::TIER_L2);
  // What was written meanwhile may have made room; what was deleted is not back.
  for (int i = 0; i < 50; ++i) {
    const v1::GetResponse small = replica.Get("small:" + std::to_string(i));
    EXPECT_TRUE(small.has_miss() || small.hit().value() == "2") << i;
    EXPECT_TRUE(replica.Get("full:" + std::to_string(i)).has_miss());
  }
}

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(RocksFaultsTest, DiskThatOthersFillUpIsNamedAsTheReasonForWhatIsSkipped) {
  const SmallDisk disk(192);
  ASSERT_TRUE(disk.mounted()) << "needs mount namespaces";
  const TempDir data;
  Replica replica(ConfigIn(data.path(), "path: \"" + disk.path() + "/l2\""));
  ASSERT_TRUE(replica.Set("early", "1").ok());
  // Below what the store leaves to others, and enough for all that it does itself.
  disk.FillUp(32);
  EXPECT_TRUE(Eventually([&] { return replica.L2().state() != "ok"; }));
  EXPECT_NE(replica.L2().state().find("MiB of the disk are free"), std::string::npos)
      << replica.L2().state();
  const uint64_t skipped = replica.L2().skipped();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(replica.Set("late:" + std::to_string(i), "2").ok());
  EXPECT_TRUE(Eventually([&] { return replica.L2().skipped() >= skipped + 20; }));
  EXPECT_EQ(replica.Value("late:7"), "2");
  disk.Free();
  EXPECT_TRUE(Eventually([&] { return replica.L2().state() == "ok"; })) << replica.L2().state();
  ASSERT_TRUE(replica.Set("kept", "3").ok());
  const Ended ended = replica.Stop();
  EXPECT_EQ(ended.exit_code, 0);
  // Once, however long it lasted.
  EXPECT_EQ(CountOf(ended.err, "l2_short_of_disk"), 1) << ended.err;
  EXPECT_EQ(CountOf(ended.err, "l2_has_room"), 1) << ended.err;
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(replica.Get("kept").hit().tier(), v1::TIER_L2);
}

TEST(RocksFaultsTest, FolderThatCannotBeHadAtTheStartIsUsedWhenItCan) {
  const SmallDisk disk(192);
  ASSERT_TRUE(disk.mounted()) << "needs mount namespaces";
  const TempDir data;
  const std::string config = ConfigIn(data.path(), "path: \"" + disk.path() + "/l2\"");
  Replica replica(config);
  ASSERT_TRUE(replica.Set("early", "1").ok());
  ASSERT_TRUE(replica.Set("deleted", "1").ok());
  EXPECT_EQ(replica.Stop().exit_code, 0);
  // Not even the file by which the folder is claimed can be written.
  disk.FillUp();
  ASSERT_TRUE(replica.Start());
  EXPECT_NE(replica.L2().state().find(disk.path()), std::string::npos) << replica.L2().state();
  ASSERT_TRUE(replica.Set("meanwhile", "2").ok());
  EXPECT_EQ(replica.Value("meanwhile"), "2");
  EXPECT_TRUE(replica.Get("early").has_miss());
  ASSERT_TRUE(replica.Delete("deleted").ok());
  disk.Free();
  EXPECT_TRUE(Eventually([&] { return replica.Well() && replica.L2().state() == "ok"; },
                         std::chrono::seconds(40)))
      << replica.L2().DebugString();
  EXPECT_EQ(replica.Value("early"), "1");
  EXPECT_TRUE(replica.Get("deleted").has_miss());
  ASSERT_TRUE(replica.Set("late", "3").ok());
  const Ended ended = replica.Stop();
  EXPECT_EQ(CountOf(ended.err, "l2_unavailable"), 1) << ended.err;
  EXPECT_EQ(CountOf(ended.err, "l2_available_again"), 1) << ended.err;
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(replica.Get("late").hit().tier(), v1::TIER_L2);
  EXPECT_EQ(replica.Value("meanwhile"), "2");
  EXPECT_TRUE(replica.Get("deleted").has_miss());
}

}  // namespace
}  // namespace larder
