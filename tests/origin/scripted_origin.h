// An origin that does what a test tells it to, and takes notes: what it was asked, when, and how
// many calls were under way at a time. Thread safety: any method, any thread; `answer` is set
// before.

#ifndef LARDER_TESTS_ORIGIN_SCRIPTED_ORIGIN_H_
#define LARDER_TESTS_ORIGIN_SCRIPTED_ORIGIN_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/task.h"
#include "origin/origin.h"

namespace larder {

class OriginScript {
 public:
  OriginScript(Clock* clock, Executor* executor) : clock_(clock), executor_(executor) {}

  // How every item of a call ends that nothing else is said of; the call's number counts from 1.
  std::function<OriginLoaded(const std::string& key, int call)> answer = [](const std::string& key,
                                                                            int /*call*/) {
    OriginLoaded loaded;
    loaded.kind = OriginLoaded::Kind::kFound;
    loaded.value = "value of " + key;
    return loaded;
  };
  // What becomes of the writes of a Store that does not fail as a whole.
  std::function<OriginStored(const std::string& key)> store = [](const std::string& /*key*/) {
    return OriginStored{OriginStored::Kind::kDone};
  };

  // The next `count` calls fail.
  void FailNext(int count, absl::Status error) {
    MutexLock lock(&mu_);
    fail_next_ = count;
    error_ = std::move(error);
  }
  // Calls from now on wait for Release, or for `delay`.
  void Hold(bool hold) {
    MutexLock lock(&mu_);
    hold_ = hold;
  }
  // Loads from now on wait for their deadline, and then fail as a client library lets them fail.
  void Freeze(bool frozen) {
    MutexLock lock(&mu_);
    frozen_ = frozen;
  }
  void Delay(absl::Duration delay) {
    MutexLock lock(&mu_);
    delay_ = delay;
  }
  // Ends the oldest of the calls that are held, or all.
  void ReleaseOne() { Release(1); }
  void ReleaseAll() { Release(SIZE_MAX); }

  struct Asked {
    MonoNanos at;
    std::vector<std::string> keys;
  };
  std::vector<Asked> asked() const {
    MutexLock lock(&mu_);
    return asked_;
  }
  int calls() const {
    MutexLock lock(&mu_);
    return static_cast<int>(asked_.size());
  }
  int under_way() const {
    MutexLock lock(&mu_);
    return under_way_;
  }
  int most_under_way() const {
    MutexLock lock(&mu_);
    return most_under_way_;
  }
  bool gone() const {
    MutexLock lock(&mu_);
    return gone_;
  }

  // An origin that follows `script`.
  static std::unique_ptr<Origin> NewOrigin(std::shared_ptr<OriginScript> script);

 private:
  friend class ScriptedOrigin;
  using Held = Race<bool>;

  void Release(size_t count) {
    std::vector<std::shared_ptr<Held>> released;
    {
      MutexLock lock(&mu_);
      count = std::min(count, held_.size());
      released.assign(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(count));
      held_.erase(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(count));
    }
    for (const auto& held : released) held->Finish(true);
  }

  static Task<absl::Status> Run(std::shared_ptr<OriginScript> script, std::vector<std::string> keys,
                                MonoNanos deadline = 0) {
    std::shared_ptr<Held> held;
    absl::Duration delay;
    absl::Status status;
    {
      MutexLock lock(&script->mu_);
      script->asked_.push_back({script->clock_->Mono(), std::move(keys)});
      script->most_under_way_ = std::max(script->most_under_way_, ++script->under_way_);
      delay = script->delay_;
      if (script->frozen_ && deadline != 0) {
        delay = absl::Nanoseconds(deadline - script->clock_->Mono());
        status = absl::DeadlineExceededError("frozen");
      }
      if (script->hold_) {
        held = std::make_shared<Held>();
        script->held_.push_back(held);
      }
      if (script->fail_next_ > 0) {
        --script->fail_next_;
        status = script->error_;
      }
    }
    if (held != nullptr) {
      co_await *held;
    } else if (delay > absl::ZeroDuration()) {
      co_await Pause(script->executor_, delay);
    }
    MutexLock lock(&script->mu_);
    --script->under_way_;
    co_return status;
  }

  Clock* const clock_;
  Executor* const executor_;
  mutable Mutex mu_;
  int fail_next_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool hold_ ABSL_GUARDED_BY(mu_) = false;
  bool frozen_ ABSL_GUARDED_BY(mu_) = false;
  absl::Duration delay_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Held>> held_ ABSL_GUARDED_BY(mu_);
  std::vector<Asked> asked_ ABSL_GUARDED_BY(mu_);
  int under_way_ ABSL_GUARDED_BY(mu_) = 0;
  int most_under_way_ ABSL_GUARDED_BY(mu_) = 0;
  bool gone_ ABSL_GUARDED_BY(mu_) = false;
};

class ScriptedOrigin : public Origin {
 public:
  explicit ScriptedOrigin(std::shared_ptr<OriginScript> script) : script_(std::move(script)) {}
  ~ScriptedOrigin() override {
    MutexLock lock(&script_->mu_);
    script_->gone_ = true;
  }

  Task<absl::StatusOr<std::vector<OriginLoaded>>> Load(OriginLoad load,
                                                       MonoNanos deadline) override {
    return RunLoad(script_, std::move(load), deadline);
  }
  Task<absl::StatusOr<std::vector<OriginStored>>> Store(OriginStore store,
                                                        MonoNanos /*deadline*/) override {
    return RunStore(script_, std::move(store));
  }
  Task<absl::StatusOr<OriginPage>> Scan(OriginScan /*scan*/, MonoNanos /*deadline*/) override {
    return RunScan(script_);
  }
  OriginStats Stats() const override {
    OriginStats stats;
    stats.name = "truth";
    stats.kind = "scripted";
    stats.state = "ok";
    return stats;
  }

 private:
  using Script = std::shared_ptr<OriginScript>;

  static Task<absl::StatusOr<std::vector<OriginLoaded>>> RunLoad(Script script, OriginLoad load,
                                                                 MonoNanos deadline) {
    std::vector<std::string> keys;
    for (const OriginLoad::Item& item : load.items) keys.push_back(item.key);
    const int call = script->calls() + 1;
    const absl::Status status = co_await OriginScript::Run(script, keys, deadline);
    if (!status.ok()) co_return status;
    std::vector<OriginLoaded> loaded;
    for (const std::string& key : keys) loaded.push_back(script->answer(key, call));
    co_return loaded;
  }
  static Task<absl::StatusOr<std::vector<OriginStored>>> RunStore(Script script,
                                                                  OriginStore store) {
    std::vector<std::string> keys;
    for (const OriginStore::Write& write : store.writes) keys.push_back(write.key);
    const absl::Status status = co_await OriginScript::Run(script, keys);
    if (!status.ok()) co_return status;
    std::vector<OriginStored> stored;
    for (const std::string& key : keys) stored.push_back(script->store(key));
    co_return stored;
  }
  static Task<absl::StatusOr<OriginPage>> RunScan(Script script) {
    std::vector<std::string> keys;
    const absl::Status status = co_await OriginScript::Run(script, std::move(keys));
    if (!status.ok()) co_return status;
    co_return OriginPage();
  }

  const Script script_;
};

inline std::unique_ptr<Origin> OriginScript::NewOrigin(std::shared_ptr<OriginScript> script) {
  return std::make_unique<ScriptedOrigin>(std::move(script));
}

}  // namespace larder

#endif  // LARDER_TESTS_ORIGIN_SCRIPTED_ORIGIN_H_
