// Cancellation tells running work that nobody waits for its result any more.
// Thread safety: any method, any thread. Cancel runs the callback on its own thread, without a
// lock.

#ifndef LARDER_BASE_CANCELLATION_H_
#define LARDER_BASE_CANCELLATION_H_

#include <utility>

#include "base/executor.h"
#include "base/mutex.h"

namespace larder {

class Cancellation {
 public:
  void Cancel() {
    Work callback;
    {
      MutexLock lock(&mu_);
      if (cancelled_) return;
      cancelled_ = true;
      callback = std::exchange(callback_, nullptr);
    }
    if (callback) callback();
  }

  bool IsCancelled() const {
    MutexLock lock(&mu_);
    return cancelled_;
  }

  // Runs `callback` once when cancelled, now if that has happened. One callback at a time: a later
  // one replaces it, null removes it. A callback that is running may outlast its removal, so it
  // owns what it touches.
  void OnCancel(Work callback) {
    {
      MutexLock lock(&mu_);
      if (!cancelled_) {
        std::swap(callback_, callback);
        return;
      }
    }
    if (callback) callback();
  }

 private:
  mutable Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  Work callback_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_BASE_CANCELLATION_H_
