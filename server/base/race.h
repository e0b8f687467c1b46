// Race<T> hands the first of two answers to the one coroutine that awaits it: that of a call, or
// that its time is over. Whoever comes second is dropped, so nothing has to be cancelled.
//
//   const auto race = std::make_shared<Race<Answer>>();
//   Spawn(Ask(question), [race](Answer answer) { race->Finish(std::move(answer)); });
//   const TimerId timer = executor->After(limit, Alarm<Answer>(race, executor));
//   std::optional<Answer> answer = co_await *race;  // nothing: the time was over
//   executor->Cancel(timer);
//
// Unlike a Signal it resumes the coroutine on the thread of whoever comes first, which saves every
// call a hop. So neither may hold a lock. Thread safety: any method from any thread; one co_await.

#ifndef LARDER_BASE_RACE_H_
#define LARDER_BASE_RACE_H_

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"

namespace larder {

template <typename T>
class Race {
 public:
  void Finish(T answer) {
    std::coroutine_handle<> awaiting;
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      answer_.emplace(std::move(answer));
      awaiting = End();
    }
    if (awaiting) awaiting.resume();
  }
  void TimeOver() {
    const std::coroutine_handle<> awaiting = EndWithoutAnswer();
    if (awaiting) awaiting.resume();
  }
  // The same without running the coroutine on this thread.
  void TimeOverOn(Executor* executor) {
    const std::coroutine_handle<> awaiting = EndWithoutAnswer();
    if (awaiting) executor->Post([awaiting] { awaiting.resume(); });
  }
  bool finished() const {
    MutexLock lock(&mu_);
    return finished_;
  }

  auto operator co_await() {
    struct Awaiter {
      Race* race;
      bool await_ready() { return false; }
      bool await_suspend(std::coroutine_handle<> awaiting) {
        MutexLock lock(&race->mu_);
        if (race->finished_) return false;
        race->awaiting_ = awaiting;
        return true;
      }
      std::optional<T> await_resume() {
        MutexLock lock(&race->mu_);
        return std::move(race->answer_);
      }
    };
    return Awaiter{this};
  }

 private:
  std::coroutine_handle<> End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    finished_ = true;
    return std::exchange(awaiting_, nullptr);
  }
  std::coroutine_handle<> EndWithoutAnswer() {
    MutexLock lock(&mu_);
    return finished_ ? nullptr : End();
  }

  mutable Mutex mu_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<T> answer_ ABSL_GUARDED_BY(mu_);
  std::coroutine_handle<> awaiting_ ABSL_GUARDED_BY(mu_);
};

// What a timer owns to end a race. It also ends it when it is destroyed before it went off: timers
// that an executor drops at its shutdown must not leave a coroutine waiting for ever.
template <typename T>
class Alarm {
 public:
  Alarm(std::shared_ptr<Race<T>> race, Executor* executor)
      : race_(std::move(race)), executor_(executor) {}
  Alarm(Alarm&& other) noexcept = default;
  ~Alarm() {
    // Cancelled, and then this does nothing; or dropped by an executor that shuts down.
    if (race_ != nullptr) race_->TimeOverOn(executor_);
  }
  void operator()() {
    const std::shared_ptr<Race<T>> race = std::move(race_);
    race->TimeOver();
  }

 private:
  std::shared_ptr<Race<T>> race_;
  Executor* executor_;
};

// Goes on after `pause`; sooner, when the executor shuts down.
inline Task<bool> Pause(Executor* executor, absl::Duration pause) {
  const auto race = std::make_shared<Race<bool>>();
  executor->After(pause, Alarm<bool>(race, executor));
  co_return (co_await *race).has_value();
}

}  // namespace larder

#endif  // LARDER_BASE_RACE_H_
