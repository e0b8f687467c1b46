// Decides whether a failed attempt is repeated, and when. No I/O and no clock: the caller waits.
// Thread safety: RetryBudget: any method, any thread. The functions are pure.

#ifndef LARDER_CLIENT_SRC_RETRY_H_
#define LARDER_CLIENT_SRC_RETRY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/mutex.h"
#include "larder/options.h"

namespace larder::internal {

// Limits repeats to a share of all calls, over the whole client.
class RetryBudget {
 public:
  // REQUIRES: 0 <= ratio <= 1, max >= 0. Starts full.
  RetryBudget(double ratio, int max) : ratio_(ratio), max_(max), tokens_(max) {}

  // A call begins: earns `ratio` of a repeat.
  void Earn();
  // Takes one repeat; false when there is none.
  bool TrySpend();

 private:
  const double ratio_;
  const double max_;
  Mutex mu_;
  double tokens_ ABSL_GUARDED_BY(mu_);
};

// Whether an error may go away by itself and leaves nothing done: UNAVAILABLE, and
// RESOURCE_EXHAUSTED or ABORTED for which the server says when to try again.
bool IsTransient(const absl::Status& status);

// The wait before attempt `attempt` (2 = the first repeat) after `status`: the backoff, or what the
// server asked for if that is longer. `chance` is drawn from [0, 1). Unset: do not try again,
// because the attempts are used up, the error is not transient, or the wait would end after
// `remaining`.
std::optional<absl::Duration> WaitBefore(int attempt, const absl::Status& status,
                                         absl::Duration remaining, const RetryPolicy& policy,
                                         double chance);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_RETRY_H_
