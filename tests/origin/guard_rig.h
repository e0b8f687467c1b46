// A guard round a scripted origin, on a clock and an executor that the test moves.

#ifndef LARDER_TESTS_ORIGIN_GUARD_RIG_H_
#define LARDER_TESTS_ORIGIN_GUARD_RIG_H_

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "origin/origin_guard.h"
#include "tests/origin/scripted_origin.h"

namespace larder {

class OriginGuardTest : public testing::Test {
 protected:
  static constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

  OriginGuardTest() {
    options_.close_wait = absl::ZeroDuration();
    options_.clock = &clock_;
    options_.random = &random_;
    options_.executor = &executor_;
  }
  // Attempts that still hang would keep the inner origin, and so themselves, for ever.
  ~OriginGuardTest() override {
    guard_.reset();
    script_->Hold(false);
    script_->ReleaseAll();
    executor_.Advance(absl::Minutes(2));
    EXPECT_EQ(script_->under_way(), 0);
    EXPECT_LE(script_->most_under_way(), static_cast<int>(options_.concurrency));
    EXPECT_EQ(script_->gone(), made_);
  }

  Origin& guard() {
    if (!made_) {
      made_ = true;
      guard_ = NewOriginGuard(OriginScript::NewOrigin(script_), options_);
    }
    return *guard_;
  }

  using Loads = absl::StatusOr<std::vector<OriginLoaded>>;
  template <typename T>
  struct Call {
    std::optional<T> result;
    MonoNanos ended = 0;
    bool done() const { return result.has_value(); }
    absl::Status status() const { return result ? result->status() : absl::UnknownError("waits"); }
  };
  template <typename T>
  std::shared_ptr<Call<T>> Start(Task<T> task) {
    auto call = std::make_shared<Call<T>>();
    Spawn(std::move(task), [call, this](T result) {
      call->result.emplace(std::move(result));
      call->ended = clock_.Mono();
    });
    return call;
  }

  MonoNanos In(absl::Duration time) { return MonoAfter(clock_.Mono(), time); }

  std::shared_ptr<Call<Loads>> Load(std::vector<std::string> keys, MonoNanos deadline = kNever) {
    OriginLoad load;
    load.call = {.name_space = "default", .type = "user"};
    for (std::string& key : keys) load.items.push_back({std::move(key)});
    return Start(guard().Load(std::move(load), deadline));
  }
  auto Store(std::vector<std::string> keys, size_t value_bytes = 3) {
    OriginStore store;
    store.call = {.name_space = "default", .type = "user"};
    for (std::string& key : keys) {
      OriginStore::Write write;
      write.key = std::move(key);
      write.value = std::string(value_bytes, 'v');
      store.writes.push_back(std::move(write));
    }
    return Start(guard().Store(std::move(store), kNever));
  }
  auto Scan() {
    OriginScan scan;
    scan.call = {.name_space = "default", .type = "user"};
    return Start(guard().Scan(std::move(scan), kNever));
  }

  // Fails calls until the breaker is open.
  void Trip() {
    script_->FailNext(1000, absl::InternalError("broken"));
    for (int i = 0; i < 20 && guard().Stats().breaker != "open"; ++i) Load({"k"});
    ASSERT_EQ(guard().Stats().breaker, "open");
    script_->FailNext(0, absl::OkStatus());
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  SeededRandom random_{5};
  OriginGuardOptions options_;
  const std::shared_ptr<OriginScript> script_ = std::make_shared<OriginScript>(&clock_, &executor_);
  bool made_ = false;
  std::unique_ptr<Origin> guard_;
};

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_GUARD_RIG_H_
