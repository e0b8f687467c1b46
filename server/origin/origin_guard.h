// NewOriginGuard makes an origin safe to call from any number of flights: a bound on the calls
// under way with a line in front of it, a circuit breaker, and retries within a budget. It is an
// Origin itself and keeps the contract of origin.h; Stats adds what the guard did. The deadline of
// a call bounds all of it: its wait in line, its attempts and the pauses between them.
//
// Errors of its own: DEADLINE_EXCEEDED when the time is over, UNAVAILABLE while the breaker is
// open, RESOURCE_EXHAUSTED when the line is full. A call whose time is over goes on behind the
// caller's back and keeps its place until it really ends; its answer is dropped, and its change may
// still happen.

#ifndef LARDER_ORIGIN_ORIGIN_GUARD_H_
#define LARDER_ORIGIN_ORIGIN_GUARD_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "origin/origin.h"
#include "policy/breaker.h"
#include "policy/retry_budget.h"

namespace larder {

struct OriginGuardOptions {
  // Calls of the origin under way, those included whose caller has gone; 1 to 10,000.
  size_t concurrency = 16;
  // Calls that wait for their turn; 0 to 1,000,000.
  size_t queue_max = 1'000;
  // What a call may take in all where the caller does not allow less; 1 ms to 1 hour.
  absl::Duration call_max = absl::Minutes(1);
  // Its clock and its random are those below. Slow calls do not open it unless that is configured:
  // how long an origin may take is for its owners to say.
  Breaker::Options breaker = {.failures = 0.5,
                              .slow = 1,
                              .slow_after = absl::InfiniteDuration(),
                              .window = absl::Seconds(10),
                              .min_calls = 10,
                              .open_min = absl::Seconds(1),
                              .open_max = absl::Milliseconds(1'250),
                              .probes = 1,
                              .successes = 1};
  // So many failed attempts in a row, each begun after the one before it had failed, or all run
  // into their time limit, open the breaker, too; 2 to 1,000.
  uint32_t failures_in_a_row = 4;
  // After a failure attempts go one by one, until one succeeds; who has to wait for the one before
  // waits no longer than this. 1 ms to 1 minute.
  absl::Duration trial_max = absl::Milliseconds(100);
  RetryBudget::Options retry_budget = {.ratio = 0.2, .burst = 10};
  // Attempts for one call, the first included, 1 to 10. Only what failed with UNAVAILABLE is
  // repeated: calls, and those items of a Load that did.
  int attempts_max = 3;
  Backoff backoff = {.first = absl::Milliseconds(20), .max = absl::Seconds(1)};
  // Stores with more bytes of values are not repeated, because each attempt needs a copy. 0 to
  // 1 GiB.
  size_t retry_bytes_max = 4 << 20;
  // How long the destructor waits for calls under way before it leaves the inner origin to the last
  // of them. Zero where the executor's work runs on the thread that destroys the guard.
  absl::Duration close_wait = absl::Seconds(5);
  Clock* clock = Clock::System();
  Random* random = Random::System();
  Executor* executor = nullptr;  // outlives the guard and the calls under way
};

// True for an error of a call of which nothing has reached the origin: the guard's breaker was
// open, its line full, or the time over before it was the call's turn; or, of a Store, the inner
// origin had no connection or could not begin a transaction. Nothing has happened there.
bool WasNotAsked(const absl::Status& error);
// `why` as such an error.
absl::Status NotAsked(absl::Status why);

std::unique_ptr<Origin> NewOriginGuard(std::unique_ptr<Origin> inner,
                                       const OriginGuardOptions& options);

}  // namespace larder

#endif  // LARDER_ORIGIN_ORIGIN_GUARD_H_
