// Mutex, MutexLock and CondVar: std::mutex with the annotations that clang's thread-safety analysis
// reads. Not absl::Mutex: packaged absl is not built for ThreadSanitizer, which then reports races
// that are none. Not the server's either: the client is installed and must stand alone. Locks are
// leaves: hold one at a time, and never across I/O or a callback.

#ifndef LARDER_CLIENT_SRC_MUTEX_H_
#define LARDER_CLIENT_SRC_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/base/thread_annotations.h"

namespace larder::internal {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mu_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }

 private:
  friend class CondVar;
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

// Wakes up without reason now and then: wait in a loop over the condition.
class CondVar {
 public:
  void Wait(Mutex* mu) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait(lock);
    lock.release();
  }
  // The same, and no longer than until the steady clock shows so many nanoseconds.
  void WaitUntil(Mutex* mu, int64_t steady_nanos) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::unique_lock<std::mutex> lock(mu->mu_, std::adopt_lock);
    cv_.wait_until(lock,
                   std::chrono::steady_clock::time_point(std::chrono::nanoseconds(steady_nanos)));
    lock.release();
  }
  void SignalAll() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_MUTEX_H_
