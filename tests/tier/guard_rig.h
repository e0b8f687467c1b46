// A guard round a fake tier, on a clock and an executor that the test moves.

#ifndef LARDER_TESTS_TIER_GUARD_RIG_H_
#define LARDER_TESTS_TIER_GUARD_RIG_H_

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/key.h"
#include "tests/tier/fake_tier.h"
#include "tier/envelope.h"
#include "tier/guard.h"

namespace larder {

class GuardTest : public testing::Test {
 protected:
  static constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

  GuardTest() {
    options_.breaker.min_calls = 5;
    options_.close_wait = absl::ZeroDuration();
    options_.clock = &clock_;
    options_.random = &random_;
    options_.executor = &executor_;
  }
  // Attempts that still hang would keep the inner tier, and so themselves, for ever.
  ~GuardTest() override {
    if (guard_ != nullptr && inner_ != nullptr) {
      inner_->SetFaults({});
      inner_->Drop();
      executor_.Advance(absl::Minutes(1));
    }
    guard_.reset();
    executor_.RunReady();
  }

  Tier& guard() {
    if (guard_ == nullptr) {
      auto handle = fake_.NewHandle(&clock_, &executor_, &random_);
      inner_ = handle.get();
      guard_ = NewGuard(std::move(handle), options_);
    }
    return *guard_;
  }
  FakeTier::Handle& inner() {
    guard();
    return *inner_;
  }

  template <typename T>
  struct Call {
    std::optional<T> result;
    bool done() const { return result.has_value(); }
    absl::Status status() const { return result ? result->status() : absl::UnknownError("waits"); }
  };
  using Reads = absl::StatusOr<std::vector<TierRead>>;
  using Changes = absl::StatusOr<std::vector<TierChange>>;

  template <typename T>
  std::shared_ptr<Call<T>> Start(Task<T> task) {
    auto call = std::make_shared<Call<T>>();
    Spawn(std::move(task), [call](T result) { call->result.emplace(std::move(result)); });
    return call;
  }

  static std::string Key(std::string_view key) { return std::string(FullKey("", key).view()); }

  std::shared_ptr<Call<Reads>> Get(MonoNanos deadline = kNever) {
    return Start(guard().Get({Key("k")}, deadline));
  }
  std::shared_ptr<Call<Changes>> Put(Version version, Expect expect = {}, size_t value_bytes = 3) {
    TierPut put;
    put.full_key = Key("k");
    put.version = version;
    put.usable_until = MonoAfter(clock_.Mono(), absl::Minutes(10));
    EntryFields fields;
    const std::string value(value_bytes, 'v');
    fields.full_key = put.full_key;
    fields.value = value;
    fields.version = version;
    fields.fresh_until = fields.usable_until = put.usable_until;
    put.envelope = EncodeEnvelope(fields, "user", clock_);
    put.expect = expect;
    std::vector<TierPut> puts;
    puts.push_back(std::move(put));
    return Start(guard().Put(std::move(puts), kNever));
  }
  std::shared_ptr<Call<Changes>> Erase(Version version) {
    std::vector<TierErase> erases;
    erases.push_back({Key("k"), version});
    return Start(guard().Erase(std::move(erases), kNever));
  }
  std::shared_ptr<Call<absl::StatusOr<TierPage>>> Scan() {
    TierScan scan;
    scan.full_prefix = Key("");
    return Start(guard().Scan(std::move(scan), kNever));
  }

  // Fails calls at once until the breaker is open.
  void Trip() {
    inner().SetFaults({.fail_next = 1000, .error = absl::InternalError("broken")});
    for (int i = 0; i < 100 && guard().Stats().breaker != "open"; ++i) Get();
    ASSERT_EQ(guard().Stats().breaker, "open");
    inner().SetFaults({});
  }

  absl::Duration Ago(MonoNanos then) const { return absl::Nanoseconds(clock_.Mono() - then); }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  SeededRandom random_{5};
  GuardOptions options_;
  FakeTier fake_;
  FakeTier::Handle* inner_ = nullptr;
  std::unique_ptr<Tier> guard_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_GUARD_RIG_H_
