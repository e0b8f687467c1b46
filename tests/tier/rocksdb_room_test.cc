// The size of the RocksDB tier, and what leaves it.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/tier/rocks_test.h"

namespace larder {
namespace {

using Outcome = TierChange::Outcome;
constexpr uint64_t kMiB = 1 << 20;

// What the folder takes, as du would say.
uint64_t OnDisk(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    const uint64_t size = at->is_regular_file(gone) ? at->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

class RocksRoomTest : public RocksTest {
 protected:
  // Puts `count` entries of `bytes` random bytes under random keys out of `keys`.
  void Fill(uint64_t count, size_t bytes, uint64_t keys) {
    constexpr uint64_t kBatch = 64;
    for (uint64_t done = 0; done < count; done += kBatch) {
      std::vector<TierPut> puts;
      for (uint64_t i = 0; i < kBatch; ++i) {
        puts.push_back(NewPut(absl::StrCat("k", random_() % keys), ++version_, Noise(bytes)));
      }
      const auto changes = AwaitTask(rig_.tier().Put(std::move(puts), kNever));
      ASSERT_TRUE(changes.ok()) << changes.status();
      if (done % (8 * kBatch) == 0) most_ = std::max(most_, OnDisk(rig_.path()));
    }
  }
  // Bytes that do not compress and are not the same each time.
  std::string_view Noise(size_t bytes) {
    if (noise_.empty()) {
      noise_.resize(kMiB);
      for (char& byte : noise_) byte = static_cast<char>(random_());
    }
    return std::string_view(noise_).substr(random_() % (noise_.size() - bytes), bytes);
  }
  void SweptEvery(absl::Duration period) {
    RocksTierOptions options = rig_.options();
    options.sweep_period = period;
    rig_.Reopen(options);
  }

  std::mt19937_64 random_{1};
  std::string noise_;
  Version version_ = 1000;
  uint64_t most_ = 0;
};

TEST_F(RocksRoomTest, StaysBelowItsSizeWhileItIsOverwritten) {
  SweptEvery(absl::Milliseconds(20));
  // Three times the room, under keys that would take twice the room.
  Fill(192 * kMiB / 4096, 4096, 32'000);
  RecordProperty("most_bytes", absl::StrCat(most_));
  RecordProperty("skipped", absl::StrCat(rig_.tier().Stats().skipped));
  EXPECT_LE(most_, 64 * kMiB);
  EXPECT_GE(most_, 32 * kMiB);
  EXPECT_GT(rig_.tier().Stats().evictions, 0u);
}

TEST_F(RocksRoomTest, OldestGoFirst) {
  SweptEvery(absl::Milliseconds(20));
  std::vector<std::pair<std::string, Version>> written;
  for (int i = 0; i < 30'000; i += 50) {
    std::vector<TierPut> puts;
    std::vector<std::pair<std::string, Version>> batch;
    for (int k = i; k < i + 50; ++k) {
      // An order of keys that has nothing to do with age.
      const std::string key = absl::StrCat("k", (k * 7919) % 30'000);
      puts.push_back(NewPut(key, ++version_, Noise(4000)));
      batch.emplace_back(key, version_);
    }
    const auto changes = AwaitTask(rig_.tier().Put(std::move(puts), kNever));
    ASSERT_TRUE(changes.ok()) << changes.status();
    // On a busy machine puts come faster than room is made, and some are skipped.
    for (size_t k = 0; k < batch.size(); ++k) {
      if ((*changes)[k].outcome == Outcome::kDone) written.push_back(batch[k]);
    }
  }
  rig_.rocks().Sweep();
  ASSERT_GE(written.size(), 20'000u);
  // Of the newest 10 MB nearly all are there, of the oldest hardly any.
  constexpr int kLooked = 2500;
  int newest = 0, oldest = 0;
  for (int i = 0; i < kLooked; ++i) {
    newest += Value(written[written.size() - 1 - i].first) != "(absent)";
    oldest += Value(written[i].first) != "(absent)";
  }
  EXPECT_GE(newest, kLooked * 95 / 100);
  EXPECT_LE(oldest, kLooked / 10);
}

TEST_F(RocksRoomTest, WriteThatIsOlderThanWhatWasEvictedIsRefused) {
  SweptEvery(absl::Milliseconds(20));
  Put("early", 500, "v");
  Fill(90 * kMiB / 4096, 4096, 100'000);
  rig_.rocks().Sweep();
  ASSERT_GT(rig_.tier().Stats().evictions, 0u);
  EXPECT_EQ(Put("late", 501, "older than the line"), Outcome::kSkipped);
  EXPECT_EQ(Value("late"), "(tombstone 501)");
}

TEST_F(RocksRoomTest, EndedEntriesAndTombstonesAreDropped) {
  for (int i = 0; i < 8; ++i) {
    for (int k = 0; k < 1000; ++k)
      Put(absl::StrCat("k", k), ++version_, std::string(2000, 'v'), {}, absl::Minutes(30));
  }
  for (int k = 0; k < 1000; ++k) Erase(absl::StrCat("t", k), ++version_);
  rig_.Reopen();
  rig_.rocks().Sweep();
  const TierStats before = rig_.tier().Stats();
  EXPECT_GT(before.bytes, kMiB);
  rig_.clock().Advance(absl::Hours(1));
  // Something has to be written for level 0 to go down; after that no I/O but the sweep's.
  for (int i = 0; i < 6; ++i) {
    Put("new", ++version_, "v");
    rig_.Reopen();
    rig_.rocks().Sweep();
  }
  const MonoNanos give_up = Clock::System()->Mono() + 20'000'000'000;
  while (rig_.tier().Stats().bytes > kMiB / 2 && Clock::System()->Mono() < give_up)
    rig_.rocks().Sweep();
  EXPECT_LT(rig_.tier().Stats().bytes, kMiB / 2);
  EXPECT_EQ(Value("new"), "v");
}

// All that is not newer than a version.
class CoverUpTo : public TierCover {
 public:
  explicit CoverUpTo(Version version) : version_(version) {}
  Version newest(bool /*listed*/) const override { return version_; }
  bool Covers(std::string_view /*full_key*/, const TierRead& read) const override {
    EXPECT_LE(read.entry.version, version_);
    ++dropped;
    return true;
  }

  mutable std::atomic<uint64_t> dropped{0};

 private:
  const Version version_;
};

TEST_F(RocksRoomTest, CompactionsDropWhatIsCovered) {
  constexpr uint64_t kEntries = 8'000;
  Fill(kEntries, 1024, 100'000);
  const auto cover = std::make_shared<CoverUpTo>(version_);
  rig_.tier().DropCovered(cover);
  ASSERT_EQ(PutIn(rig_.tier(), NewPut("new", ++version_, "v")).value(), Outcome::kDone);
  // Until what is there has been gone through.
  for (int i = 0; i < 20 && cover->dropped < kEntries / 2; ++i) Fill(2'000, 1024, 100'000);
  EXPECT_GE(cover->dropped, kEntries / 2);
  EXPECT_LE(cover->dropped, kEntries);
  EXPECT_EQ(Value("new"), "v");
  EXPECT_EQ(rig_.tier().Stats().evictions, 0u);
}

TEST_F(RocksRoomTest, MemoryStaysWithinWhatWasGiven) {
  SweptEvery(absl::Milliseconds(20));
  Fill(50 * kMiB / 1024, 1024, 40'000);
  for (int i = 0; i < 40'000; ++i) Value(absl::StrCat("k", i));
  EXPECT_LE(rig_.tier().Stats().memory_bytes, 8 * kMiB + kMiB);
  EXPECT_GE(rig_.tier().Stats().memory_bytes, 3 * kMiB);
}

TEST_F(RocksRoomTest, RefusesAtOnceWhenTooMuchWaits) {
  RocksTierOptions options = rig_.options();
  options.write_queue_bytes_max = kMiB;
  rig_.Reopen(options);
  const std::string value(400'000, 'v');
  std::atomic<int> refused{0}, done{0}, pending{0};
  uint64_t most = 0;
  for (int i = 0; i < 200; ++i) {
    std::vector<TierPut> puts;
    puts.push_back(NewPut(absl::StrCat("k", i), 10, value));
    ++pending;
    Spawn(rig_.tier().Put(std::move(puts), kNever),
          [&](const absl::StatusOr<std::vector<TierChange>>& changes) {
            if (changes.ok()) {
              ++done;
            } else {
              EXPECT_EQ(changes.status().code(), absl::StatusCode::kResourceExhausted);
              ++refused;
            }
            --pending;
          });
    most = std::max(most, rig_.tier().Stats().memory_bytes);
  }
  while (pending > 0) std::this_thread::yield();
  EXPECT_GT(refused, 0);
  EXPECT_GE(done, 2);
  // What waits is told as memory that it takes.
  EXPECT_GT(most, value.size());
  EXPECT_LE(most, options.memory_bytes + kMiB);
}

}  // namespace
}  // namespace larder
