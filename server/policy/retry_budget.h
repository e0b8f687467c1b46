// When a failed call may be made again, and after which pause.
//
// A RetryBudget bounds retries by what goes well: every success adds a part of a token, every retry
// takes one. So retries mend a few failures, and when everything fails they are over after `burst`
// of them, instead of multiplying the load on something that is down. Thread safety: any method,
// any thread. Never blocks. Errors: none.

#ifndef LARDER_POLICY_RETRY_BUDGET_H_
#define LARDER_POLICY_RETRY_BUDGET_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/random.h"

namespace larder {

class RetryBudget {
 public:
  struct Options {
    // Retries for each success, 0 to 1; 0 switches retries off.
    double ratio = 0.1;
    // Most tokens, which are there at the start; 1 to 1,000.
    uint32_t burst = 10;
  };

  explicit RetryBudget(const Options& options);

  void OnSuccess() {
    // A full bucket, which is the rule, is not written to.
    if (tokens_.load(std::memory_order_relaxed) < full_) Add();
  }
  // True when the call may be made once more.
  bool TryRetry();

  // Retries that are left now.
  double left() const;

 private:
  void Add();

  // In millionths, so that a small part of a token is a whole number.
  const int64_t share_;
  const int64_t full_;
  std::atomic<int64_t> tokens_;
};

struct Backoff {
  absl::Duration first = absl::Milliseconds(2);
  absl::Duration max = absl::Milliseconds(50);

  // The pause before retry number `retry`, from 1: doubled each time up to `max`, and drawn between
  // half of that and all of it, so that callers that failed together do not come back together.
  absl::Duration Pause(int retry, Random* random) const;
};

}  // namespace larder

#endif  // LARDER_POLICY_RETRY_BUDGET_H_
