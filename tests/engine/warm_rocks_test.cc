// A restart with the real embedded tier, on real threads.

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/strings.h"
#include "engine/warm.h"
#include "tests/tier/rocks_rig.h"
#include "tier/rocksdb_tier.h"

namespace larder {
namespace {

constexpr int kKeys = 100'000;
constexpr int kReads = 300'000;

std::string KeyOf(int number) { return StrCat("user:", number); }

// What no codec makes smaller.
std::string Noise(size_t size) {
  std::mt19937_64 random(7);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Zipf by rank: the rank whose share of all accesses `at`, 0 to 1, falls into.
class Zipf {
 public:
  explicit Zipf(int count) {
    double sum = 0;
    for (int rank = 0; rank < count; ++rank) shares_.push_back(sum += 1.0 / (rank + 1));
    for (double& share : shares_) share /= sum;
  }
  int RankAt(double at) const {
    return static_cast<int>(std::lower_bound(shares_.begin(), shares_.end(), at) - shares_.begin());
  }

 private:
  std::vector<double> shares_;
};

class Process {
 public:
  explicit Process(const std::string& path) : executor_(ThreadPool::New({.threads = 2})) {
    data_dir_ = *DataDir::Open(path);
    RocksTierOptions rocks;
    rocks.path = path + "/l2";
    rocks.executor = executor_.get();
    tier_ = *NewRocksTier(rocks);
    Engine::Options options;
    options.executor = executor_.get();
    options.types = *TypeTable::Make({});
    // A third of the entries.
    options.memory_bytes = 10 << 20;
    options.tier = tier_.get();
    engine_ = std::make_unique<Engine>(options);
    Warmer::Options warm;
    warm.engine = engine_.get();
    warm.data_dir = data_dir_.get();
    warm.executor = executor_.get();
    warm.before_ready = absl::Seconds(60);
    warmer_ = std::make_unique<Warmer>(warm);
    engine_->Start();
    warmer_->Start();
  }
  ~Process() {
    warmer_->Stop();
    EXPECT_TRUE(engine_->memory().CheckInvariants());
    executor_->Shutdown();
  }

  Warmer& warmer() { return *warmer_; }
  Engine& engine() { return *engine_; }

  void Fill() {
    const std::string value = Noise(200);
    for (int first = 0; first < kKeys; first += 1000) {
      std::vector<std::string> keys;
      std::vector<WriteRequest> writes;
      for (int i = first; i < first + 1000; ++i) keys.push_back(KeyOf(i));
      for (const std::string& key : keys) {
        WriteRequest write;
        write.key = {"", key, ""};
        write.value = value;
        writes.push_back(write);
      }
      for (const auto& written : AwaitTask(engine_->BatchSet(std::move(writes))))
        ASSERT_TRUE(written.ok()) << written.status();
    }
  }
  void Read(const Zipf& zipf, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> at(0, 1);
    for (int i = 0; i < kReads; ++i) {
      const std::string key = KeyOf(zipf.RankAt(at(random)));
      Entry entry;
      if (engine_->FindHit(FullKey("", key), Clock::System()->Mono(), true, &entry)) continue;
      ASSERT_TRUE(AwaitTask(engine_->Get({"", key, ""}))->entry.has_value()) << key;
    }
  }
  // Of the same accesses, the part that memory answers. Counts as hits.
  double HitRatio(const Zipf& zipf, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> at(0, 1);
    int hits = 0;
    for (int i = 0; i < kReads; ++i) {
      Entry entry;
      hits += engine_->FindHit(FullKey("", KeyOf(zipf.RankAt(at(random)))), Clock::System()->Mono(),
                               true, &entry);
    }
    return static_cast<double>(hits) / kReads;
  }
  std::set<std::string> InMemory() {
    std::vector<L1::Listed> listed;
    uint64_t cursor = 0;
    do {
      cursor = engine_->memory().List(cursor, Clock::System()->Mono(), &listed);
    } while (cursor != 0);
    std::set<std::string> keys;
    for (const L1::Listed& entry : listed) keys.insert(entry.full_key);
    return keys;
  }

 private:
  std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<DataDir> data_dir_;
  std::unique_ptr<Tier> tier_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Warmer> warmer_;
};

TEST(WarmRocksTest, TheHotSetIsBackAfterARestart) {
  const TemporaryFolder folder;
  const Zipf zipf(kKeys);
  std::set<std::string> before;
  double ratio_before = 0;
  {
    Process process(folder.path());
    process.warmer().WaitUntilReady();
    process.Fill();
    process.Read(zipf, 1);
    ratio_before = process.HitRatio(zipf, 2);
    before = process.InMemory();
  }
  ASSERT_GT(before.size(), 20'000u);
  Process process(folder.path());
  process.warmer().WaitUntilReady();
  const WarmStats stats = process.warmer().Stats();
  EXPECT_EQ(stats.total, before.size());
  EXPECT_EQ(stats.missing, 0u);
  EXPECT_EQ(stats.outdated, 0u);
  EXPECT_EQ(stats.bad_files, 0u);
  const std::set<std::string> after = process.InMemory();
  std::vector<std::string> strangers;
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::back_inserter(strangers));
  EXPECT_TRUE(strangers.empty());
  EXPECT_GT(after.size(), before.size() * 9 / 10);
  // The head of the Zipf, whatever else.
  for (int rank = 0; rank < 1000; ++rank)
    EXPECT_TRUE(after.contains(std::string(FullKey("", KeyOf(rank)).view()))) << rank;
  const double ratio_after = process.HitRatio(zipf, 2);
  EXPECT_GT(ratio_after, 0.97 * ratio_before);
  RecordProperty("hit_ratio_before", StrCat(ratio_before));
  RecordProperty("hit_ratio_after", StrCat(ratio_after));
  RecordProperty("took", absl::FormatDuration(stats.took));
}

}  // namespace
}  // namespace larder
