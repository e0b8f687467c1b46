// Executor runs work off the caller's thread, now or later.
// Thread safety: any method, any thread. None of them blocks or runs the work on the calling
// thread.
//
// New work goes through TryPost, which refuses when the queue is full. Work that was accepted goes
// on through Post, which never refuses: it is bounded by the work that was accepted.

#ifndef LARDER_BASE_EXECUTOR_H_
#define LARDER_BASE_EXECUTOR_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace larder {

using Work = absl::AnyInvocable<void()>;
using TimerId = uint64_t;

class Executor {
 public:
  virtual ~Executor() = default;

  // False when the queue is full or the executor has shut down; `work` is then dropped without
  // having run.
  [[nodiscard]] virtual bool TryPost(Work work) = 0;

  // The next step of accepted work. Runs on the posting thread only after Shutdown, when there is
  // no other.
  virtual void Post(Work work) = 0;

  // Posts `work` after `delay`. The id is never 0.
  virtual TimerId After(absl::Duration delay, Work work) = 0;

  // True when the timer was stopped before it posted its work; the work is then destroyed.
  virtual bool Cancel(TimerId timer) = 0;
};

// Threads that share one queue, and one more that keeps the timers.
class ThreadPool : public Executor {
 public:
  struct Options {
    // 1 to 256.
    int threads = 2;
    // New work that may wait for a thread; at least 1.
    size_t queue_max = 10'000;
    // Its threads let the other ones of the process go first where there are not cores for all.
    bool gives_way = false;
    // What its threads are called, with a number where there are several; that of its timers has
    // `-t` behind it.
    std::string name = "pool";
  };

  static std::unique_ptr<ThreadPool> New(const Options& options);

  // Refuses new work, runs what is queued, drops the timers, and joins the threads. Idempotent.
  // Blocks.
  virtual void Shutdown() = 0;

  // Work that waits for a thread now.
  virtual size_t queued() const = 0;
  // New work that was refused since the start.
  virtual uint64_t refused() const = 0;
};

// An executor without threads for tests and simulations: the test runs the work, one step at a
// time, in an order that a seed decides. Timers fall due by a ManualClock. Not thread safe, except
// that nothing else runs meanwhile.
class ManualExecutor : public Executor {
 public:
  ManualExecutor(ManualClock* clock, uint64_t seed) : clock_(clock), random_(seed) {}

  bool TryPost(Work work) override;
  void Post(Work work) override;
  TimerId After(absl::Duration delay, Work work) override;
  bool Cancel(TimerId timer) override;

  // Runs one piece of work that is ready, chosen at random. False when there is none.
  bool RunOne();
  // Runs until nothing is ready.
  void RunReady();
  // Moves the clock on, timer by timer, and runs what falls due.
  void Advance(absl::Duration by);

  size_t ready() const { return ready_.size(); }
  size_t timers() const { return timers_.size(); }

 private:
  struct Timer {
    TimerId id;
    Work work;
  };

  void PostDueTimers();

  ManualClock* const clock_;
  std::mt19937_64 random_;
  std::vector<Work> ready_;
  std::multimap<MonoNanos, Timer> timers_;
  TimerId next_timer_ = 1;
};

}  // namespace larder

#endif  // LARDER_BASE_EXECUTOR_H_
