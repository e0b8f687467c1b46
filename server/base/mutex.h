// Mutex, MutexLock and CondVar: std::mutex with the annotations that clang's thread-safety analysis
// reads. Not absl::Mutex: Debian's absl is not built for ThreadSanitizer, which then reports races
// that are none. Locks are leaves: hold one at a time, and never across I/O, a callback or a load.

#ifndef LARDER_BASE_MUTEX_H_
#define LARDER_BASE_MUTEX_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace larder {

class ABSL_LOCKABLE Mutex {
 public:
  // Tries for a few microseconds before it sleeps: what is done under these locks is short, and to
  // be woken takes longer.
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (!mu_.try_lock()) LockSlowly();
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) { return mu_.try_lock(); }

 private:
  friend class CondVar;

  void LockSlowly() {
    constexpr int kTries = 50;
    for (int i = 0; i < kTries; ++i) {
      Pause();
      if (mu_.try_lock()) return;
    }
    mu_.lock();
  }
  // Lets the processor's other thread go first.
  static void Pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  std::mutex mu_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mu) ABSL_EXCLUSIVE_LOCK_FUNCTION(mu) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

// Waits are spurious as those of std::condition_variable are: call them in a loop over the
// condition.
class CondVar {
 public:
  void Wait(Mutex* mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }

  // Returns false when `timeout` is over. Waits on the system's monotonic clock.
  bool WaitFor(Mutex* mu, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    // The standard library adds this to the time of now, where an infinite one would overflow into
    // the past.
    constexpr absl::Duration kForEver = absl::Hours(24 * 365 * 100);
    const auto most = absl::ToChronoNanoseconds(std::min(timeout, kForEver));
    const bool notified = cv_.wait_for(lock, most) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }

  void Signal() { cv_.notify_one(); }
  void SignalAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace larder

#endif  // LARDER_BASE_MUTEX_H_
