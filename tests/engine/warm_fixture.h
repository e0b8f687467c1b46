// Processes that come one after the other over one tier and one data directory, each with an engine
// and a Warmer on a ManualExecutor.

#ifndef LARDER_TESTS_ENGINE_WARM_FIXTURE_H_
#define LARDER_TESTS_ENGINE_WARM_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "engine/warm.h"
#include "tests/tier/fake_tier.h"
#include "tests/tier/rocks_rig.h"

namespace larder {

inline std::string FullKeyOf(const std::string& key) {
  return std::string(FullKey("", key).view());
}

// What the tier was asked for, in order, with the time.
class Watched : public Tier {
 public:
  Watched(Tier* tier, const Clock* clock) : tier_(tier), clock_(clock) {}

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override {
    under_way_most = std::max(under_way_most, ++under_way_);
    for (const std::string& full_key : full_keys) {
      if (IsOwn(full_key)) continue;  // what is invalidated
      keys.emplace_back(FullKey::KeyOf(full_key));
      times.push_back(clock_->Mono());
    }
    auto reads = co_await tier_->Get(std::move(full_keys), deadline);
    --under_way_;
    co_return reads;
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                    MonoNanos deadline) override {
    return tier_->Put(std::move(puts), deadline);
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline) override {
    return tier_->Erase(std::move(erases), deadline);
  }
  Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) override {
    return tier_->Scan(std::move(scan), deadline);
  }
  bool shared() const override { return tier_->shared(); }
  TierStats Stats() const override { return tier_->Stats(); }

  std::vector<std::string> keys;
  std::vector<MonoNanos> times;
  int under_way_most = 0;

 private:
  Tier* const tier_;
  const Clock* const clock_;
  int under_way_ = 0;
};

class WarmFixture : public testing::Test {
 protected:
  WarmFixture() : random_(1) {
    options_.batch = 10;
    options_.batches_max = 2;
    options_.before_ready = absl::Seconds(5);
    options_.rate = 1000;
    engine_options_.memory_bytes = 16 << 20;
    Begin();
  }
  ~WarmFixture() override {
    EXPECT_TRUE(engine_->memory().CheckInvariants());
    // Calls that wait end.
    handle_->Close();
    executor_->RunReady();
  }

  // A process begins. What is in the tier and in the data directory is left from the one before.
  void Begin(std::vector<TypePolicy> types = {}) {
    dir_.reset();
    dir_ = *DataDir::Open(folder_.path() + "/data");
    handle_ = fake_.NewHandle(&clock_, executor_.get(), &random_);
    tier_ = std::make_unique<Watched>(handle_.get(), &clock_);
    Engine::Options options = engine_options_;
    options.clock = &clock_;
    options.random = &random_;
    options.executor = executor_.get();
    options.types = *TypeTable::Make(std::move(types));
    options.tier = with_tier_ ? tier_.get() : nullptr;
    engine_ = std::make_unique<Engine>(options);
    options_.engine = engine_.get();
    options_.data_dir = dir_.get();
    options_.executor = executor_.get();
    options_.clock = &clock_;
    warmer_ = std::make_unique<Warmer>(options_);
  }
  // The process ends in order, and another one begins.
  void Restart(std::vector<TypePolicy> types = {}) {
    warmer_->Stop();
    Crash(std::move(types));
  }
  void Crash(std::vector<TypePolicy> types = {}) {
    handle_->Close();
    executor_->RunReady();
    // The timers that are left belong to the process that is gone.
    gone_.push_back({std::move(executor_), std::move(warmer_), std::move(engine_), std::move(tier_),
                     std::move(handle_)});
    executor_ = std::make_unique<ManualExecutor>(&clock_, 1);
    Begin(std::move(types));
  }

  void Set(const std::string& key, const std::string& value = "v",
           std::optional<absl::Duration> ttl = std::nullopt) {
    WriteRequest write;
    write.key = {"", key, ""};
    write.value = value;
    write.ttl = ttl;
    Spawn(engine_->Set(write), [](absl::StatusOr<WriteResult> result) {
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_TRUE(result->stored);
    });
    executor_->RunReady();
  }
  bool Hit(const std::string& key, std::string* value = nullptr) {
    Entry entry;
    if (!engine_->FindHit(FullKey("", key), clock_.Mono(), true, &entry)) return false;
    if (value != nullptr) *value = entry.stored();
    return true;
  }
  void SetMany(int count) {
    for (int i = 0; i < count; ++i) Set(StrCat("key", i));
  }
  size_t InMemory() { return engine_->memory().Usage().total.entries; }

  void DamageFile(const std::string& name, size_t at) {
    std::fstream file(folder_.path() + "/data/" + name,
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }

  struct Gone {
    std::unique_ptr<ManualExecutor> executor;
    std::unique_ptr<Warmer> warmer;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Watched> tier;
    std::unique_ptr<FakeTier::Handle> handle;
  };

  TemporaryFolder folder_;
  ManualClock clock_;
  std::unique_ptr<ManualExecutor> executor_ = std::make_unique<ManualExecutor>(&clock_, 1);
  SeededRandom random_;
  FakeTier fake_;
  Warmer::Options options_;
  Engine::Options engine_options_;
  bool with_tier_ = true;
  std::vector<Gone> gone_;
  std::unique_ptr<DataDir> dir_;
  std::unique_ptr<FakeTier::Handle> handle_;
  std::unique_ptr<Watched> tier_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Warmer> warmer_;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_WARM_FIXTURE_H_
