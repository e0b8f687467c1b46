// ThreadPool is one mutex, a queue for new work and one for work that goes on. The work it gets
// (misses, writes, waits) costs microseconds and L1 hits never come here, so that a lock-free queue
// would win nothing that a caller could see. Where much waits that goes on, a thread takes several
// at once: a load that ten thousand callers wait for wakes them all, and what comes of them should
// leave together.
//
// Timers live in an ordered map under a mutex of their own. The timer thread sleeps until the first
// of them and is woken only when an earlier one comes in, so that the many timers that are set and
// cancelled (one for each waiting call) cost two map operations each and no wake-up.

#include "base/executor.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <unordered_map>

#include "base/thread_name.h"
#include "base/turn.h"

namespace larder {
namespace {

// Enough for a thread that does not give way to have most of a core that it shares with this one.
constexpr int kNicer = 10;
// Of one turn. What comes last in it waits for the others.
constexpr size_t kTakenMax = 32;

thread_local std::vector<Work>* at_turn_end = nullptr;
thread_local Executor* stay_here = nullptr;

void GiveWay() {
  const id_t thread = static_cast<id_t>(gettid());
  // May be refused only where nothing may be changed at all; then all threads are alike, as before.
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + kNicer);
}

class Timers {
 public:
  // `fire` runs on the timer thread and must not block.
  Timers(const std::string& name, absl::AnyInvocable<void(Work)> fire) : fire_(std::move(fire)) {
    thread_ = std::thread([this, name] {
      NameThisThread(name);
      Run();
    });
  }
  ~Timers() { Stop(); }

  void Stop() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      changed_.Signal();
    }
    if (thread_.joinable()) thread_.join();
    std::multimap<MonoNanos, Timer> dropped;
    {
      MutexLock lock(&mu_);
      dropped.swap(queue_);
      places_.clear();
    }
  }

  TimerId Add(absl::Duration delay, Work work) {
    const MonoNanos due = MonoAfter(Clock::System()->Mono(), delay);
    MutexLock lock(&mu_);
    const TimerId id = next_++;
    if (stopping_) return id;
    const bool first = queue_.empty() || due < queue_.begin()->first;
    places_[id] = queue_.emplace(due, Timer{id, std::move(work)});
    if (first) changed_.Signal();
    return id;
  }

  bool Cancel(TimerId id) {
    Work dropped;
    MutexLock lock(&mu_);
    const auto place = places_.find(id);
    if (place == places_.end()) return false;
    dropped = std::move(place->second->second.work);
    queue_.erase(place->second);
    places_.erase(place);
    return true;
  }

 private:
  struct Timer {
    TimerId id;
    Work work;
  };

  void Run() {
    while (true) {
      Work due;
      {
        MutexLock lock(&mu_);
        if (stopping_) return;
        if (queue_.empty()) {
          changed_.Wait(&mu_);
          continue;
        }
        const auto first = queue_.begin();
        const MonoNanos now = Clock::System()->Mono();
        if (first->first > now) {
          changed_.WaitFor(&mu_, absl::Nanoseconds(first->first - now));
          continue;
        }
        due = std::move(first->second.work);
        places_.erase(first->second.id);
        queue_.erase(first);
      }
      fire_(std::move(due));
    }
  }

  absl::AnyInvocable<void(Work)> fire_;
  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  TimerId next_ ABSL_GUARDED_BY(mu_) = 1;
  std::multimap<MonoNanos, Timer> queue_ ABSL_GUARDED_BY(mu_);
  std::unordered_map<TimerId, std::multimap<MonoNanos, Timer>::iterator> places_
      ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

class ThreadPoolImpl : public ThreadPool {
 public:
  explicit ThreadPoolImpl(const Options& options)
      : threads_max_(options.threads),
        queue_max_(options.queue_max),
        gives_way_(options.gives_way),
        timers_(options.name + "-t", [this](Work work) { Post(std::move(work)); }) {
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back(
          [this, name = options.threads == 1 ? options.name : NumberedThreadName(options.name, i)] {
            NameThisThread(name);
            Run();
          });
    }
  }
  ~ThreadPoolImpl() override { ThreadPoolImpl::Shutdown(); }

  bool TryPost(Work work) override {
    MutexLock lock(&mu_);
    if (stopping_ || new_.size() >= queue_max_) {
      ++refused_;
      return false;
    }
    new_.push_back(std::move(work));
    filled_.Signal();
    return true;
  }

  void Post(Work work) override {
    {
      MutexLock lock(&mu_);
      if (!joined_) {
        going_on_.push_back(std::move(work));
        filled_.Signal();
        return;
      }
    }
    work();
  }

  TimerId After(absl::Duration delay, Work work) override {
    return timers_.Add(delay, std::move(work));
  }
  bool Cancel(TimerId timer) override { return timers_.Cancel(timer); }

  void Shutdown() override {
    timers_.Stop();
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
      stopping_ = true;
      filled_.SignalAll();
    }
    for (std::thread& thread : threads_) thread.join();
    // Work that was posted after the last thread had looked.
    std::deque<Work> left;
    {
      MutexLock lock(&mu_);
      joined_ = true;
      left.swap(going_on_);
    }
    for (Work& work : left) work();
  }

  size_t queued() const override {
    MutexLock lock(&mu_);
    return new_.size();
  }
  uint64_t refused() const override {
    MutexLock lock(&mu_);
    return refused_;
  }

 private:
  void Run() {
    if (gives_way_) GiveWay();
    std::vector<Work> taken;
    std::vector<Work> at_end;
    at_turn_end = &at_end;
    while (Take(&taken)) {
      for (Work& work : taken) std::exchange(work, nullptr)();
      taken.clear();
      for (Work& work : at_end) work();
      at_end.clear();
    }
  }

  // What one turn is to do; false when there will be nothing more.
  bool Take(std::vector<Work>* taken) {
    MutexLock lock(&mu_);
    while (going_on_.empty() && new_.empty()) {
      if (stopping_) return false;
      filled_.Wait(&mu_);
    }
    // What was accepted ends before new work begins: calls that wait have waited long enough.
    std::deque<Work>& from = going_on_.empty() ? new_ : going_on_;
    // Not more than a thread's share: the others have nothing better to do.
    const size_t share = &from == &new_ ? 1 : from.size() / static_cast<size_t>(threads_max_);
    for (size_t count = std::clamp<size_t>(share, 1, kTakenMax); count > 0; --count) {
      taken->push_back(std::move(from.front()));
      from.pop_front();
    }
    return true;
  }

  const int threads_max_;
  const size_t queue_max_;
  const bool gives_way_;
  mutable Mutex mu_;
  CondVar filled_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool joined_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<Work> going_on_ ABSL_GUARDED_BY(mu_);
  std::deque<Work> new_ ABSL_GUARDED_BY(mu_);
  uint64_t refused_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<std::thread> threads_;
  Timers timers_;
};

}  // namespace

void AtTurnEnd(Work work) {
  if (at_turn_end == nullptr) return work();
  at_turn_end->push_back(std::move(work));
}

StayHere::StayHere(Executor* here) : before_(std::exchange(stay_here, here)) {}

StayHere::~StayHere() { stay_here = before_; }

Executor* HereOr(Executor* other) { return stay_here == nullptr ? other : stay_here; }

std::unique_ptr<ThreadPool> ThreadPool::New(const Options& options) {
  return std::make_unique<ThreadPoolImpl>(options);
}

bool ManualExecutor::TryPost(Work work) {
  ready_.push_back(std::move(work));
  return true;
}

void ManualExecutor::Post(Work work) { ready_.push_back(std::move(work)); }

TimerId ManualExecutor::After(absl::Duration delay, Work work) {
  const TimerId id = next_timer_++;
  timers_.emplace(MonoAfter(clock_->Mono(), delay), Timer{id, std::move(work)});
  return id;
}

bool ManualExecutor::Cancel(TimerId timer) {
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->second.id != timer) continue;
    const Work dropped = std::move(it->second.work);
    timers_.erase(it);
    return true;
  }
  return false;
}

bool ManualExecutor::RunOne() {
  PostDueTimers();
  if (ready_.empty()) return false;
  const size_t chosen = std::uniform_int_distribution<size_t>(0, ready_.size() - 1)(random_);
  Work work = std::move(ready_[chosen]);
  ready_.erase(ready_.begin() + static_cast<ptrdiff_t>(chosen));
  work();
  return true;
}

void ManualExecutor::RunReady() {
  while (RunOne()) {
  }
}

void ManualExecutor::Advance(absl::Duration by) {
  const MonoNanos end = MonoAfter(clock_->Mono(), by);
  RunReady();
  while (!timers_.empty() && timers_.begin()->first <= end) {
    const MonoNanos due = timers_.begin()->first;
    if (due > clock_->Mono()) clock_->Advance(absl::Nanoseconds(due - clock_->Mono()));
    RunReady();
  }
  clock_->Advance(absl::Nanoseconds(end - clock_->Mono()));
  RunReady();
}

void ManualExecutor::PostDueTimers() {
  while (!timers_.empty() && timers_.begin()->first <= clock_->Mono()) {
    ready_.push_back(std::move(timers_.begin()->second.work));
    timers_.erase(timers_.begin());
  }
}

}  // namespace larder
