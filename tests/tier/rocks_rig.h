// A RocksDB tier in a temporary folder, on a ManualClock, for tests.

#ifndef LARDER_TESTS_TIER_ROCKS_RIG_H_
#define LARDER_TESTS_TIER_ROCKS_RIG_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "core/key.h"
#include "tests/conformance/tier_suite.h"
#include "tier/rocksdb_tier.h"

namespace larder {

// Removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-test-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Small, and swept only when a test says so.
inline RocksTierOptions SmallRocks(const std::string& path, Executor* executor, Clock* clock) {
  RocksTierOptions options;
  options.path = path;
  options.max_bytes = 64 << 20;
  options.memory_bytes = 8 << 20;
  options.entry_bytes_max = 4 << 20;
  options.sweep_period = absl::Hours(1);
  options.executor = executor;
  options.clock = clock;
  return options;
}

class RocksRig : public TierRig {
 public:
  RocksRig() : executor_(ThreadPool::New({.threads = 2})) { Open(); }

  Tier& tier() override { return *tier_; }
  RocksTier& rocks() { return *tier_; }
  ManualClock& clock() override { return clock_; }
  ThreadPool* executor() { return executor_.get(); }
  std::string path() const { return folder_.path() + "/l2"; }
  RocksTierOptions options() { return SmallRocks(path(), executor_.get(), &clock_); }

  void SetRaw(std::string_view full_key, std::string_view bytes) override {
    TierPut put;
    put.full_key = full_key;
    put.version = std::numeric_limits<Version>::max();
    put.usable_until = std::numeric_limits<MonoNanos>::max();
    put.envelope = bytes;
    std::vector<TierPut> puts;
    puts.push_back(std::move(put));
    const auto changes =
        AwaitTask(tier().Put(std::move(puts), std::numeric_limits<MonoNanos>::max()));
    ASSERT_TRUE(changes.ok()) << changes.status();
    ASSERT_EQ(changes->front().outcome, TierChange::Outcome::kDone);
  }

  // Ends the tier in order and begins it again, with other options if any are given.
  void Reopen() { Reopen(options()); }
  void Reopen(const RocksTierOptions& options) {
    tier_.reset();
    Open(options);
  }
  void Close() { tier_.reset(); }
  void Open() { Open(options()); }
  void Open(const RocksTierOptions& options) {
    auto tier = NewRocksTier(options);
    ASSERT_TRUE(tier.ok()) << tier.status();
    tier_ = *std::move(tier);
  }

 private:
  const TemporaryFolder folder_;
  ManualClock clock_;
  const std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<RocksTier> tier_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_ROCKS_RIG_H_
