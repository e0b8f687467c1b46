// OriginGuardCore is what an origin's guard shares with the attempts that outlive their calls: who
// may ask the inner origin now, what the breaker and the gate learn from each answer, the counts,
// and the end. Thread safety: any method, any thread. Only Close blocks. Errors: those of the
// guard.

#ifndef LARDER_ORIGIN_ORIGIN_GUARD_CORE_H_
#define LARDER_ORIGIN_ORIGIN_GUARD_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/task.h"
#include "origin/gate.h"
#include "origin/origin.h"
#include "origin/origin_guard.h"
#include "policy/breaker.h"
#include "policy/freshness.h"
#include "policy/retry_budget.h"

namespace larder {

// Leave for one attempt.
struct OriginAdmission {
  Breaker::Pass pass;
  Gate::Ticket ticket;
};

// The failures of late that had no success between them.
class FailureRow {
 public:
  // How many there are now. `began` and `now` are the attempt's.
  uint32_t OnFailure(MonoNanos began, MonoNanos now, bool time_over) {
    MutexLock lock(&mu_);
    if (count_ == 0) first_ = now;
    if (count_ == 0 || time_over || began >= first_) ++count_;
    return count_;
  }
  void End() {
    MutexLock lock(&mu_);
    count_ = 0;
  }

 private:
  Mutex mu_;
  uint32_t count_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos first_ ABSL_GUARDED_BY(mu_) = 0;
};

class OriginGuardCore {
 public:
  OriginGuardCore(std::unique_ptr<Origin> inner, const OriginGuardOptions& options)
      : options_(options),
        name_(inner->Stats().name),
        gate_({.concurrency = options.concurrency,
               .line_max = options.queue_max,
               .clock = options.clock,
               .executor = options.executor}),
        breaker_(BreakerOptions(options)),
        budget_(options.retry_budget),
        inner_(std::move(inner)) {}

  const OriginGuardOptions& options() const { return options_; }
  RetryBudget& budget() { return budget_; }
  // REQUIRES: the guard exists, or an attempt is under way.
  Origin* inner() const { return inner_.get(); }

  Task<absl::StatusOr<OriginAdmission>> Begin(MonoNanos deadline);
  // The attempt is over in the inner origin and will not touch it again. `health`: what its answer
  // says of the origin.
  void End(const absl::Status& health);
  // Tells the breaker what the caller of an attempt saw. `part`: the attempt's part of the call's
  // time, from 0 to 1.
  void Judge(const OriginAdmission& admission, const absl::Status& status, MonoNanos began,
             MonoNanos deadline, double part);

  // A trial has lasted long enough for others to follow it.
  void EndTrial(const OriginAdmission& admission) { gate_.TrialOver(admission.ticket); }

  void CountRetry() { retries_.fetch_add(1, std::memory_order_relaxed); }
  void LoadTook(MonoNanos nanos) { loads_took_.RecordNanos(nanos); }
  void StoreTook(MonoNanos nanos) { stores_took_.RecordNanos(nanos); }
  OriginStats Stats() const;
  // Ends the inner origin, or leaves it to the last attempt.
  void Close();

 private:
  static Breaker::Options BreakerOptions(const OriginGuardOptions& options) {
    Breaker::Options breaker = options.breaker;
    breaker.clock = options.clock;
    breaker.random = options.random;
    return breaker;
  }

  absl::Status Refuse(absl::Status why);
  absl::Status BreakerIsOpen() {
    return Refuse(absl::UnavailableError(
        StrCat("origin ", name_, ": not called, its circuit breaker is open")));
  }
  absl::Status IsBeingClosed() {
    return Refuse(absl::UnavailableError(StrCat("origin ", name_, " is being closed")));
  }
  void Tell(Breaker::Change change, const absl::Status& said);

  const OriginGuardOptions options_;
  const std::string name_;
  const ErrorSet unwell_ = ErrorSet::OfUnwell();
  Gate gate_;
  Breaker breaker_;
  FailureRow row_;
  RetryBudget budget_;
  std::atomic<uint64_t> timeouts_{0};
  std::atomic<uint64_t> retries_{0};
  std::atomic<uint64_t> refused_{0};
  Histogram loads_took_;
  Histogram stores_took_;

  mutable Mutex mu_;
  size_t under_way_ ABSL_GUARDED_BY(mu_) = 0;  // attempts
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::string last_error_ ABSL_GUARDED_BY(mu_);
  // Taken away under mu_, when closed and nothing is under way.
  std::unique_ptr<Origin> inner_;
};

}  // namespace larder

#endif  // LARDER_ORIGIN_ORIGIN_GUARD_CORE_H_
