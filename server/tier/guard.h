// NewGuard makes any tier safe to wait for: a time limit on every call, a circuit breaker that
// stops calling a tier that fails or has become slow, retries within a budget, and a bound on the
// calls under way. What it refuses or gives up is an error like any other of a tier, and at once.
// It is a Tier itself and keeps the contract of tier.h; Stats adds what the guard did.
//
// Errors of its own: DEADLINE_EXCEEDED when the time is over, UNAVAILABLE while the breaker is
// open, RESOURCE_EXHAUSTED when too many calls are under way. A call whose time is over goes on
// behind the caller's back; its answer is dropped, and its change may still happen.

#ifndef LARDER_TIER_GUARD_H_
#define LARDER_TIER_GUARD_H_

#include <cstddef>
#include <memory>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "policy/breaker.h"
#include "policy/retry_budget.h"
#include "tier/tier.h"

namespace larder {

struct GuardOptions {
  // What a call may take in all, retries included, where the caller does not allow less: Get; Put
  // and Erase; one page of a Scan. 1 ms to 1 minute.
  absl::Duration read_timeout = absl::Milliseconds(50);
  absl::Duration write_timeout = absl::Milliseconds(100);
  absl::Duration scan_timeout = absl::Seconds(2);
  // Calls of the inner tier under way, those included whose caller has gone; 1 to 1,000,000.
  size_t in_flight_max = 1'000;
  // Its clock and its random are those below.
  Breaker::Options breaker = {};
  RetryBudget::Options retry_budget = {};
  // Attempts for one call, the first included, 1 to 10. Only calls that failed with UNAVAILABLE are
  // repeated: reads, Puts without a condition, Erases. After a repetition, TierChange::existed may
  // tell of the attempt before it.
  int attempts_max = 3;
  Backoff backoff = {};
  // Larger Puts are not repeated, because each attempt needs a copy. 0 to 1 GiB.
  size_t retry_bytes_max = 256 << 10;
  // How long the destructor waits for calls under way before it leaves the inner tier to the last
  // of them. Zero where the executor's work runs on the thread that destroys the guard.
  absl::Duration close_wait = absl::Seconds(5);
  Clock* clock = Clock::System();
  Random* random = Random::System();
  Executor* executor = nullptr;  // outlives the guard and the calls under way
};

std::unique_ptr<Tier> NewGuard(std::unique_ptr<Tier> inner, const GuardOptions& options);

}  // namespace larder

#endif  // LARDER_TIER_GUARD_H_
