// The guard round the tier of another rig, on threads of its own, for the suite that every tier
// passes. Thread safety: as of the rig inside.

#ifndef LARDER_TESTS_TIER_GUARDED_RIG_H_
#define LARDER_TESTS_TIER_GUARDED_RIG_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "tests/conformance/tier_suite.h"
#include "tier/guard.h"

namespace larder {

// A tier that belongs to somebody else, and outlives this.
class LentTier : public Tier {
 public:
  explicit LentTier(Tier* tier) : tier_(tier) {}

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override {
    return tier_->Get(std::move(full_keys), deadline);
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

 private:
  Tier* const tier_;
};

class GuardedRig : public TierRig {
 public:
  explicit GuardedRig(std::unique_ptr<TierRig> inside)
      : inside_(std::move(inside)), executor_(ThreadPool::New({.threads = 2})) {
    GuardOptions options;
    options.read_timeout = options.write_timeout = options.scan_timeout = absl::Minutes(1);
    options.clock = &inside_->clock();
    options.executor = executor_.get();
    guard_ = NewGuard(std::make_unique<LentTier>(&inside_->tier()), options);
  }
  // Calls under way end before what they are made of.
  ~GuardedRig() override { guard_.reset(); }

  Tier& tier() override { return *guard_; }
  ManualClock& clock() override { return inside_->clock(); }
  void SetRaw(std::string_view full_key, std::string_view bytes) override {
    inside_->SetRaw(full_key, bytes);
  }

 private:
  const std::unique_ptr<TierRig> inside_;
  const std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<Tier> guard_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_GUARDED_RIG_H_
