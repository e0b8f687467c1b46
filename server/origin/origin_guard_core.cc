// What the breaker learns, once for each attempt:
//   answered                                success; also when it refused (PERMISSION_DENIED, ...)
//   all items failed with an unwell code    failure; the code is the first item's
//   failed with an unwell code              failure (ErrorSet::OfUnwell)
//   the time was over                       failure, unless the attempt had less than half of the
//                                           call's time, the rest having gone in line or on others
//   CANCELLED                               unknown
//
// An outage begins. The breaker's rate looks back over a window, and under load a dead origin that
// refuses at once would be asked hundreds of times before half of the window has failed. So the
// guard counts failures in a row, too, and from the first one on lets attempts through one at a
// time until one succeeds: whoever comes next is the test, the others wait in line. Four such
// failures, one after the other, open the breaker, and all who wait are sent away. What fails
// together does not count as a row: a connection that breaks takes all calls on it along and is
// back some milliseconds later. Time-outs do count when they come together, because a frozen origin
// gives no other sign, and no blip takes that long. The price: an origin that fails one call in ten
// works one call at a time for a moment after each of them, until the next answer of those that are
// under way.
//
// The end is that of tier/guard.cc. The destructor of the guard closes the gate and waits for the
// attempts under way. When that takes too long, the inner origin belongs to the last of them, which
// hands it to the executor: it must not be destroyed on a thread of its own, which its destructor
// would join. Who has passed the gate but has not begun finds `closed_` and does not begin.

#include "origin/origin_guard_core.h"

#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "base/log.h"

namespace larder {
namespace {

constexpr char kNotAsked[] = "larder/origin-was-not-asked";

}  // namespace

absl::Status NotAsked(absl::Status why) {
  why.SetPayload(kNotAsked, absl::Cord());
  return why;
}

bool WasNotAsked(const absl::Status& error) { return error.GetPayload(kNotAsked).has_value(); }

absl::Status OriginGuardCore::Refuse(absl::Status why) {
  refused_.fetch_add(1, std::memory_order_relaxed);
  return NotAsked(std::move(why));
}

Task<absl::StatusOr<OriginAdmission>> OriginGuardCore::Begin(MonoNanos deadline) {
  // Nobody waits in line for what would be refused at its end.
  if (breaker_.GetStatus().remaining > absl::ZeroDuration()) co_return BreakerIsOpen();
  OriginAdmission admission;
  admission.ticket = co_await gate_.Enter(deadline);
  switch (admission.ticket.entry) {
    case Gate::Entry::kIn:
      break;
    case Gate::Entry::kTimeOver:
      timeouts_.fetch_add(1, std::memory_order_relaxed);
      co_return NotAsked(absl::DeadlineExceededError(
          StrCat("origin ", name_, ": the time was over before it was this call's turn")));
    case Gate::Entry::kFull:
      co_return Refuse(absl::ResourceExhaustedError(
          StrCat("origin ", name_, ": ", options_.queue_max, " calls wait for their turn")));
    case Gate::Entry::kSentAway:
      co_return BreakerIsOpen();
    case Gate::Entry::kClosed:
      co_return IsBeingClosed();
  }
  absl::Status refused;
  if (const std::optional<Breaker::Pass> pass = breaker_.TryEnter()) {
    admission.pass = *pass;
    MutexLock lock(&mu_);
    if (!closed_) {
      ++under_way_;
      co_return admission;
    }
    refused = IsBeingClosed();
  } else {
    refused = BreakerIsOpen();
  }
  gate_.TrialOver(admission.ticket);
  gate_.Exit();
  co_return refused;
}

void OriginGuardCore::End(const absl::Status& health) {
  // Before the place is free: who takes it shall be a trial.
  if (unwell_.Has(health.code())) gate_.Narrow();
  std::unique_ptr<Origin> orphan;
  {
    MutexLock lock(&mu_);
    if (--under_way_ == 0 && closed_) orphan = std::move(inner_);
  }
  if (orphan != nullptr) options_.executor->Post([orphan = std::move(orphan)] {});
  gate_.Exit();
}

void OriginGuardCore::Judge(const OriginAdmission& admission, const absl::Status& status,
                            MonoNanos began, MonoNanos deadline, double part) {
  const MonoNanos now = options_.clock->Mono();
  const bool time_over = absl::IsDeadlineExceeded(status);
  if (time_over) timeouts_.fetch_add(1, std::memory_order_relaxed);
  Breaker::Outcome outcome = Breaker::Outcome::kSuccess;
  if (absl::IsCancelled(status) || (time_over && now >= deadline && part < 0.5)) {
    outcome = Breaker::Outcome::kUnknown;
  } else if (unwell_.Has(status.code())) {
    outcome = Breaker::Outcome::kFailure;
  }
  Breaker::Change change = breaker_.Leave(admission.pass, outcome, absl::Nanoseconds(now - began));
  if (outcome == Breaker::Outcome::kSuccess) {
    row_.End();
    gate_.Widen();
  } else if (outcome == Breaker::Outcome::kFailure && !admission.pass.probe) {
    gate_.Narrow();
    const uint32_t row = row_.OnFailure(began, now, time_over);
    if (change == Breaker::Change::kNone && row >= options_.failures_in_a_row) {
      change = breaker_.Trip(admission.pass, StrCat("the last ", row, " calls failed"));
    }
  }
  if (change != Breaker::Change::kNone) {
    row_.End();
    gate_.Widen();
    if (change != Breaker::Change::kClosed) gate_.SendAway();
    Tell(change, status);
  }
  gate_.TrialOver(admission.ticket);
}

void OriginGuardCore::Tell(Breaker::Change change, const absl::Status& said) {
  // Without what NotAsked has put on it.
  const absl::Status error(said.code(), said.message());
  const Breaker::Status breaker = breaker_.GetStatus();
  switch (change) {
    case Breaker::Change::kOpened: {
      LogWarning("breaker_opened", {{"origin", name_},
                                    {"reason", breaker.reason},
                                    {"last_error", error},
                                    {"open_seconds", breaker.remaining}});
      MutexLock lock(&mu_);
      last_error_ = error.ok() ? "" : StrCat("; ", error.ToString());
      break;
    }
    case Breaker::Change::kClosed:
      LogInfo("breaker_closed", {{"origin", name_}});
      break;
    default:
      LogDebug("breaker_reopened",
               {{"origin", name_}, {"last_error", error}, {"open_seconds", breaker.remaining}});
  }
}

OriginStats OriginGuardCore::Stats() const {
  OriginStats stats = inner_->Stats();
  stats.under_way = gate_.inside();
  stats.queued = gate_.waiting();
  stats.timeouts = timeouts_.load(std::memory_order_relaxed);
  stats.retries = retries_.load(std::memory_order_relaxed);
  stats.refused = refused_.load(std::memory_order_relaxed);
  stats.loads_took = loads_took_.Snap();
  stats.stores_took = stores_took_.Snap();
  const Breaker::Status breaker = breaker_.GetStatus();
  stats.breaker = BreakerStateName(breaker.state);
  stats.breaker_opened = breaker.opened;
  stats.breaker_reason = breaker.reason;
  if (breaker.state != Breaker::State::kClosed) {
    MutexLock lock(&mu_);
    stats.state = StrCat("circuit breaker ", stats.breaker, ": ", breaker.reason, last_error_);
  }
  return stats;
}

void OriginGuardCore::Close() {
  gate_.Close();
  gate_.AwaitEmpty(options_.close_wait);
  std::unique_ptr<Origin> inner;
  MutexLock lock(&mu_);
  closed_ = true;
  if (under_way_ == 0) inner = std::move(inner_);
}

}  // namespace larder
