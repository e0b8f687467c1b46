// InFlight counts work that is under way, so that what the work uses can wait for its end before it
// goes. Thread safety: any method, any thread. Only Close blocks.

#ifndef LARDER_BASE_IN_FLIGHT_H_
#define LARDER_BASE_IN_FLIGHT_H_

#include <cstddef>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace larder {

class InFlight {
 public:
  // False after Close: the work must not begin. Else Leave ends it.
  [[nodiscard]] bool TryEnter() {
    MutexLock lock(&mu_);
    if (closed_) return false;
    ++count_;
    return true;
  }
  void Leave() {
    MutexLock lock(&mu_);
    if (--count_ == 0) idle_.SignalAll();
  }

  // Nothing begins any more. Waits until nothing is under way; false when that takes longer than
  // `most`.
  bool Close(absl::Duration most) {
    MutexLock lock(&mu_);
    closed_ = true;
    while (count_ > 0) {
      if (!idle_.WaitFor(&mu_, most)) return count_ == 0;
    }
    return true;
  }

 private:
  Mutex mu_;
  CondVar idle_;
  size_t count_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace larder

#endif  // LARDER_BASE_IN_FLIGHT_H_
