// Task<T> is a coroutine that answers a T: it lets a path that waits be written as one function
// without holding a thread. Start one with Spawn; await others inside it.
//
//   Task<absl::StatusOr<Hit>> Load(Request request) {         // parameters by value: they live in
//   the coroutine
//     co_await Hop(executor);                                 // go on on another thread
//     const Turn turn = co_await waiter->done;                // wait for a Signal
//     co_return turn.hit;
//   }
//
// A task starts when it is awaited or spawned, and must run to its end: whoever holds a Signal that
// a task awaits sets it sooner or later. Await in a statement of its own, never in the condition of
// an if or a loop: g++ 12 then makes nothing of the coroutine. No coroutine lambdas with captures:
// the lambda dies before the coroutine does.
//
// A task has the StepTimes of the task that awaits it, and the outermost one those that Spawn is
// given: so what waits for something notes how long that took (Timed) wherever it stands, and
// nothing in between has to hand anything on.

#ifndef LARDER_BASE_TASK_H_
#define LARDER_BASE_TASK_H_

#include <coroutine>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/steps.h"

namespace larder {

template <typename T>
class [[nodiscard]] Task {
 public:
  struct promise_type {
    std::optional<T> result;
    std::coroutine_handle<> continuation;
    StepTimes* steps = nullptr;

    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct FinalAwaiter {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> done) noexcept {
        return done.promise().continuation;
      }
      void await_resume() noexcept {}
    };
    FinalAwaiter final_suspend() noexcept { return {}; }
    template <typename U>
    void return_value(U&& value) {
      result.emplace(std::forward<U>(value));
    }
    void unhandled_exception() noexcept { std::abort(); }
  };

  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (coroutine_) coroutine_.destroy();
  }

  // Not a local class: those have no member templates.
  struct Awaiter {
    std::coroutine_handle<promise_type> task;
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
      if constexpr (requires { awaiting.promise().steps; })
        task.promise().steps = awaiting.promise().steps;
      task.promise().continuation = awaiting;
      return task;
    }
    T await_resume() { return *std::move(task.promise().result); }
  };

  // Awaiting runs the task on this thread until it first waits.
  Awaiter operator co_await() && noexcept { return Awaiter{coroutine_}; }

 private:
  explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  std::coroutine_handle<promise_type> coroutine_;
};

namespace internal {

// The outermost coroutine: starts at once and frees itself at its end.
struct Detached {
  struct promise_type {
    StepTimes* steps;

    // As RunDetached is called.
    template <typename T, typename Done>
    promise_type(const Task<T>&, const Done&, StepTimes* steps) : steps(steps) {}
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() noexcept { std::abort(); }
  };
};

template <typename T, typename Done>
Detached RunDetached(Task<T> task, Done done, StepTimes*) {
  done(co_await std::move(task));
}

}  // namespace internal

// Runs `task` on this thread until it first waits; `done` gets its result on whichever thread the
// task ends. `steps`, which may be null, outlives the task.
template <typename T, typename Done>
void Spawn(Task<T> task, Done done, StepTimes* steps = nullptr) {
  internal::RunDetached(std::move(task), std::move(done), steps);
}

// co_await StepsOfThis(): where this task notes how long things take; null: nowhere. Does not wait.
class StepsOfThis {
 public:
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    steps_ = self.promise().steps;
    return false;
  }
  StepTimes* await_resume() const noexcept { return steps_; }

 private:
  StepTimes* steps_ = nullptr;
};

// co_await NoteStepsIn(&steps): from here on this task, and those that it awaits, note it there.
class NoteStepsIn {
 public:
  explicit NoteStepsIn(StepTimes* steps) : steps_(steps) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    self.promise().steps = steps_;
    return false;
  }
  void await_resume() const noexcept {}

 private:
  StepTimes* const steps_;
};

// co_await Timed(step, clock, task): awaits the task and notes how long that took. Two looks at the
// clock, and none where nobody asks.
template <typename T>
class [[nodiscard]] Timed {
 public:
  Timed(Step step, const Clock* clock, Task<T> task)
      : step_(step), clock_(clock), task_(std::move(task)) {}

  struct Awaiter {
    Step step;
    const Clock* clock;
    typename Task<T>::Awaiter inner;
    StepTimes* steps = nullptr;
    MonoNanos began = 0;

    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
      steps = awaiting.promise().steps;
      if (steps != nullptr) began = clock->Mono();
      return inner.await_suspend(awaiting);
    }
    T await_resume() {
      if (steps != nullptr) steps->Add(step, clock->Mono() - began);
      return inner.await_resume();
    }
  };

  Awaiter operator co_await() && noexcept {
    return Awaiter{step_, clock_, std::move(task_).operator co_await()};
  }

 private:
  const Step step_;
  const Clock* const clock_;
  Task<T> task_;
};

// Goes on on a thread of `executor`.
struct Hop {
  explicit Hop(Executor* to) : executor(to) {}
  Executor* const executor;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaiting) const {
    executor->Post([awaiting] { awaiting.resume(); });
  }
  void await_resume() const noexcept {}
};

// Signal<T> hands one value from whoever comes first to the one coroutine that awaits it; later
// values are dropped. The coroutine goes on on `executor`, never inside TrySet, so that TrySet may
// be called from anywhere but under a lock that the coroutine would take. Thread safety: TrySet any
// number of times from any thread; one co_await. Lifetime: the awaiting coroutine may free the
// signal when it goes on, so a caller of TrySet holds a reference.
template <typename T>
class Signal {
 public:
  explicit Signal(Executor* executor) : executor_(executor) {}

  // False when a value had been set before.
  bool TrySet(T value) {
    std::coroutine_handle<> awaiting;
    {
      MutexLock lock(&mu_);
      if (value_.has_value()) return false;
      value_.emplace(std::move(value));
      awaiting = std::exchange(awaiting_, nullptr);
    }
    if (awaiting) executor_->Post([awaiting] { awaiting.resume(); });
    return true;
  }

  bool IsSet() const {
    MutexLock lock(&mu_);
    return value_.has_value();
  }

  auto operator co_await() {
    struct Awaiter {
      Signal* signal;
      bool await_ready() { return false; }
      bool await_suspend(std::coroutine_handle<> awaiting) {
        MutexLock lock(&signal->mu_);
        if (signal->value_.has_value()) return false;
        signal->awaiting_ = awaiting;
        return true;
      }
      T await_resume() {
        MutexLock lock(&signal->mu_);
        return *std::move(signal->value_);
      }
    };
    return Awaiter{this};
  }

 private:
  Executor* const executor_;
  mutable Mutex mu_;
  std::optional<T> value_ ABSL_GUARDED_BY(mu_);
  std::coroutine_handle<> awaiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_BASE_TASK_H_
