// AwaitTask waits on the test's own thread for what a task answers. Blocks; ends the process when
// nothing comes for 30 seconds. Thread safety: any thread.

#ifndef LARDER_TESTS_BASE_AWAIT_TASK_H_
#define LARDER_TESTS_BASE_AWAIT_TASK_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/task.h"

namespace larder {

// `run_some` runs some of the work that waits for this thread, and answers false when there was
// none.
template <typename T>
T AwaitTask(Task<T> task, const std::function<bool()>& run_some = [] { return false; }) {
  struct Answer {
    Mutex mu;
    CondVar came;
    std::optional<T> result ABSL_GUARDED_BY(mu);
  };
  const auto answer = std::make_shared<Answer>();
  Spawn(std::move(task), [answer](T result) {
    MutexLock lock(&answer->mu);
    answer->result.emplace(std::move(result));
    answer->came.SignalAll();
  });
  const MonoNanos give_up = Clock::System()->Mono() + 30'000'000'000;
  for (;;) {
    {
      MutexLock lock(&answer->mu);
      if (answer->result.has_value()) return *std::move(answer->result);
    }
    if (Clock::System()->Mono() > give_up) {
      ADD_FAILURE() << "the call never ends";
      std::abort();
    }
    if (run_some()) continue;
    MutexLock lock(&answer->mu);
    if (!answer->result.has_value()) answer->came.WaitFor(&answer->mu, absl::Milliseconds(100));
  }
}

}  // namespace larder

#endif  // LARDER_TESTS_BASE_AWAIT_TASK_H_
