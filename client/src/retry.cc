#include "client/src/retry.h"

#include <algorithm>

#include "larder/error.h"

namespace larder::internal {

// Three bounds, each against another danger. Attempts and backoff: one call must not hammer.
// Deadline: a repeat whose wait alone outlives the call only hides the real error behind
// DEADLINE_EXCEEDED, so the real one is returned at once. Budget: when a server is down, every call
// of every client fails; without a bound over all calls, `attempts_max` of four would greet the
// returning server with four times its load.

void RetryBudget::Earn() {
  MutexLock lock(&mu_);
  tokens_ = std::min(max_, tokens_ + ratio_);
}

bool RetryBudget::TrySpend() {
  MutexLock lock(&mu_);
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return true;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return RetryAfter(status).has_value();
    case absl::StatusCode::kCancelled:
      // A gRPC server that shuts down answers so, without a reason, to calls that reach it before
      // its client knows. Whether it was this client that cancelled, its caller knows.
      return ErrorReason(status).empty();
    default:
      return false;
  }
}

std::optional<absl::Duration> WaitBefore(int attempt, const absl::Status& status,
                                         absl::Duration remaining, const RetryPolicy& policy,
                                         double chance) {
  if (attempt > policy.attempts_max || !IsTransient(status)) return std::nullopt;
  absl::Duration wait = policy.backoff_first;
  for (int i = 2; i < attempt && wait < policy.backoff_max; ++i) wait *= 2;
  wait = std::min(wait, policy.backoff_max);
  wait *= 0.5 + 0.5 * chance;
  wait = std::max(wait, RetryAfter(status).value_or(absl::ZeroDuration()));
  if (wait >= remaining) return std::nullopt;
  return wait;
}

}  // namespace larder::internal
