// A call and its attempts. The caller's coroutine makes an attempt, which is a coroutine of its own
// on the inner tier, and waits for a Race: between the attempt's answer and the end of the time,
// whoever comes first wakes the caller, and the other one is dropped. So nothing has to be
// cancelled in the inner tier, which may sit in a system call that nobody can cancel.
//
// One time limit for the whole call. An attempt that ran into it is not repeated: a tier that did
// not answer in time is the one that retries would hurt most, and a caller who waits twice the
// limit has been promised something else. What is repeated is what failed quickly, such as a
// connection that broke, or a Redis that is loading or failing over.
//
// What the breaker learns, once for each attempt, when its caller goes on:
//   answered                               success, slow when it took long
//   the guard's limit was over             failure
//   the caller's own deadline was over     slow when it had taken that long, else unknown: a caller
//                                          with one millisecond left says nothing about the tier
//   INVALID_ARGUMENT, RESOURCE_EXHAUSTED   success: it answered. A Redis that is out of memory
//                                          refuses writes and still serves reads
//   CANCELLED                              unknown
//   any other error                        failure
// A late answer never counts as a success: its attempt has been counted as failed or slow before. A
// page of a Scan is as long as it is and never counts as slow.
//
// The inner tier gets nine tenths of the time. What it has by then, such as the keys of those nodes
// of a Cluster that are well, still arrives, where an answer at the very end would lose the race.
//
// The end. The guard's state is shared by the guard and every attempt, so a late one always finds
// what it needs, and the inner tier with it. The destructor closes the door, waits for what is
// under way and then destroys the inner tier, on its own thread. When the wait is over first, the
// inner tier belongs to the last attempt, which hands it to the executor: it must not be destroyed
// on a thread of its own, which its destructor would join.

#include "tier/guard.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/strings.h"

namespace larder {
namespace {

// What kind of call it is.
struct Terms {
  absl::Duration timeout;
  size_t keys = 1;
  bool repeatable = true;
  // How long it takes says how well the tier is.
  bool timed = true;
  bool reads = false;
};

// What the guard shares with the attempts that outlive their calls.
class Shared {
 public:
  Shared(std::unique_ptr<Tier> inner, const GuardOptions& options)
      : options_(options),
        shared_(inner->shared()),
        name_(inner->Stats().name),
        breaker_(BreakerOptions(options)),
        budget_(options.retry_budget),
        inner_(std::move(inner)) {}

  const GuardOptions& options() const { return options_; }
  bool shared() const { return shared_; }
  RetryBudget& budget() { return budget_; }
  // REQUIRES: the guard exists, or an attempt is under way.
  Tier* inner() const { return inner_.get(); }

  // Leave for one attempt, which ends with End and with Judge.
  absl::StatusOr<Breaker::Pass> Begin(size_t keys) {
    const std::optional<Breaker::Pass> pass = breaker_.TryEnter();
    if (!pass) {
      rejected_.fetch_add(keys, std::memory_order_relaxed);
      return absl::UnavailableError(StrCat(name_, ": not called, its circuit breaker is open"));
    }
    absl::Status refused;
    {
      MutexLock lock(&mu_);
      if (closed_) {
        refused = absl::UnavailableError(StrCat(name_, " is being closed"));
      } else if (under_way_ >= options_.in_flight_max) {
        refused = absl::ResourceExhaustedError(StrCat(
            name_, ": ", under_way_, " calls are under way; at most ", options_.in_flight_max));
      } else {
        ++under_way_;
        return *pass;
      }
    }
    breaker_.Leave(*pass, Breaker::Outcome::kUnknown, absl::ZeroDuration());
    rejected_.fetch_add(keys, std::memory_order_relaxed);
    return refused;
  }

  // The attempt is over in the inner tier and will not touch it again.
  void End(bool ok, size_t keys) {
    if (!ok) inner_failed_.fetch_add(keys, std::memory_order_relaxed);
    std::unique_ptr<Tier> orphan;
    {
      MutexLock lock(&mu_);
      --under_way_;
      if (under_way_ > 0) return;
      if (orphaned_) orphan = std::move(inner_);
      if (closed_) idle_.SignalAll();
    }
    if (orphan != nullptr) options_.executor->Post([orphan = std::move(orphan)] {});
  }

  // Tells the breaker what the caller of an attempt saw.
  void Judge(Breaker::Pass pass, const absl::Status& status, absl::Duration took,
             bool callers_time) {
    Breaker::Outcome outcome = Breaker::Outcome::kFailure;
    switch (status.code()) {
      case absl::StatusCode::kOk:
      case absl::StatusCode::kInvalidArgument:
      case absl::StatusCode::kResourceExhausted:
        outcome = Breaker::Outcome::kSuccess;
        break;
      case absl::StatusCode::kCancelled:
        outcome = Breaker::Outcome::kUnknown;
        break;
      case absl::StatusCode::kDeadlineExceeded:
        timeouts_.fetch_add(1, std::memory_order_relaxed);
        if (!callers_time) break;
        outcome = took < options_.breaker.slow_after ? Breaker::Outcome::kUnknown
                                                     : Breaker::Outcome::kSuccess;
        break;
      default:
        break;
    }
    const Breaker::Change change = breaker_.Leave(pass, outcome, took);
    if (change != Breaker::Change::kNone) Tell(change, status);
  }

  // Counts a call that failed.
  absl::Status Failed(absl::Status status, size_t keys) {
    failed_.fetch_add(keys, std::memory_order_relaxed);
    return status;
  }
  void CountRetry() { retries_.fetch_add(1, std::memory_order_relaxed); }
  void Took(const Terms& terms, MonoNanos nanos) {
    if (terms.timed) (terms.reads ? reads_took_ : changes_took_).RecordNanos(nanos);
  }

  TierStats Stats() const {
    TierStats stats = inner_->Stats();
    // Calls that failed, and keys that failed in calls that did not, as when one node of several is
    // away: those the inner tier alone has counted.
    const uint64_t inner_failed = inner_failed_.load(std::memory_order_relaxed);
    stats.errors = failed_.load(std::memory_order_relaxed) +
                   (stats.errors > inner_failed ? stats.errors - inner_failed : 0);
    stats.timeouts = timeouts_.load(std::memory_order_relaxed);
    stats.retries = retries_.load(std::memory_order_relaxed);
    stats.rejected = rejected_.load(std::memory_order_relaxed);
    const Breaker::Status breaker = breaker_.GetStatus();
    stats.breaker = BreakerStateName(breaker.state);
    stats.breaker_opened = breaker.opened;
    stats.breaker_reason = breaker.reason;
    stats.reads_took = reads_took_.Snap();
    stats.changes_took = changes_took_.Snap();
    if (breaker.state != Breaker::State::kClosed) {
      MutexLock lock(&mu_);
      stats.state = StrCat("circuit breaker ", stats.breaker, ": ", breaker.reason, last_error_);
    }
    return stats;
  }

  // Ends the inner tier, or leaves it to the last attempt.
  void Close() {
    const MonoNanos end = MonoAfter(Clock::System()->Mono(), options_.close_wait);
    std::unique_ptr<Tier> inner;
    MutexLock lock(&mu_);
    closed_ = true;
    while (under_way_ > 0) {
      const MonoNanos now = Clock::System()->Mono();
      if (now >= end) {
        orphaned_ = true;
        return;
      }
      idle_.WaitFor(&mu_, absl::Nanoseconds(end - now));
    }
    inner = std::move(inner_);
  }

 private:
  static Breaker::Options BreakerOptions(const GuardOptions& options) {
    Breaker::Options breaker = options.breaker;
    breaker.clock = options.clock;
    breaker.random = options.random;
    return breaker;
  }

  void Tell(Breaker::Change change, const absl::Status& error) {
    const Breaker::Status breaker = breaker_.GetStatus();
    switch (change) {
      case Breaker::Change::kOpened: {
        LogWarning("breaker_opened", {{"tier", name_},
                                      {"reason", breaker.reason},
                                      {"last_error", error},
                                      {"open_seconds", breaker.remaining}});
        MutexLock lock(&mu_);
        last_error_ = error.ok() ? "" : StrCat("; ", error.ToString());
        break;
      }
      case Breaker::Change::kClosed:
        LogInfo("breaker_closed", {{"tier", name_}});
        break;
      default:
        LogDebug("breaker_reopened",
                 {{"tier", name_}, {"last_error", error}, {"open_seconds", breaker.remaining}});
    }
  }

  const GuardOptions options_;
  const bool shared_;
  const std::string name_;
  Breaker breaker_;
  RetryBudget budget_;
  std::atomic<uint64_t> timeouts_{0};
  std::atomic<uint64_t> retries_{0};
  std::atomic<uint64_t> rejected_{0};      // keys
  std::atomic<uint64_t> failed_{0};        // keys
  std::atomic<uint64_t> inner_failed_{0};  // keys of attempts that the inner tier failed
  Histogram reads_took_;
  Histogram changes_took_;

  mutable Mutex mu_;
  CondVar idle_;
  size_t under_way_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool orphaned_ ABSL_GUARDED_BY(mu_) = false;
  std::string last_error_ ABSL_GUARDED_BY(mu_);
  // Taken away under mu_, when closed and nothing is under way.
  std::unique_ptr<Tier> inner_;
};

template <typename Answer>
using Attempt = std::shared_ptr<Race<absl::StatusOr<Answer>>>;

// Runs `task` until it first waits.
template <typename Answer>
Attempt<Answer> Launch(const std::shared_ptr<Shared>& shared, size_t keys,
                       Task<absl::StatusOr<Answer>> task) {
  auto attempt = std::make_shared<Race<absl::StatusOr<Answer>>>();
  Spawn(std::move(task), [shared, keys, attempt](absl::StatusOr<Answer> answer) {
    shared->End(answer.ok(), keys);
    attempt->Finish(std::move(answer));
  });
  return attempt;
}

template <typename Answer, typename Request>
using Method = Task<absl::StatusOr<Answer>> (Tier::*)(Request, MonoNanos);

template <typename Answer, typename Request>
Task<absl::StatusOr<Answer>> Call(std::shared_ptr<Shared> shared, Method<Answer, Request> method,
                                  Request request, Terms terms, MonoNanos deadline) {
  const GuardOptions& options = shared->options();
  const MonoNanos limit = MonoAfter(options.clock->Mono(), terms.timeout);
  const MonoNanos end = std::min(limit, deadline);
  for (int attempts = 1;; ++attempts) {
    const MonoNanos began = options.clock->Mono();
    if (began >= end) {
      co_return shared->Failed(absl::DeadlineExceededError("no time is left"), terms.keys);
    }
    const absl::StatusOr<Breaker::Pass> pass = shared->Begin(terms.keys);
    if (!pass.ok()) co_return shared->Failed(pass.status(), terms.keys);
    const bool repeatable = terms.repeatable && attempts < options.attempts_max;
    const MonoNanos inner_end = end - (end - began) / 10;
    const Attempt<Answer> attempt = Launch<Answer>(
        shared, terms.keys,
        // NOLINTNEXTLINE(bugprone-use-after-move): what is moved away is not repeated.
        (shared->inner()->*method)(repeatable ? request : std::move(request), inner_end));
    TimerId timer = 0;
    if (!attempt->finished()) {
      timer = options.executor->After(absl::Nanoseconds(end - began),
                                      Alarm<absl::StatusOr<Answer>>(attempt, options.executor));
    }
    std::optional<absl::StatusOr<Answer>> answer = co_await *attempt;
    if (timer != 0) options.executor->Cancel(timer);
    if (!answer) answer = absl::DeadlineExceededError("no answer within the time limit");

    const MonoNanos now = options.clock->Mono();
    shared->Took(terms, now - began);
    shared->Judge(*pass, answer->status(),
                  terms.timed ? absl::Nanoseconds(now - began) : absl::ZeroDuration(),
                  /*callers_time=*/deadline < limit && now >= inner_end);
    if (answer->ok()) {
      shared->budget().OnSuccess();
      co_return *std::move(answer);
    }
    const absl::Duration pause = options.backoff.Pause(attempts, options.random);
    if (!absl::IsUnavailable(answer->status()) || !repeatable || MonoAfter(now, pause) >= end ||
        !shared->budget().TryRetry()) {
      co_return shared->Failed(answer->status(), terms.keys);
    }
    shared->CountRetry();
    co_await Pause(options.executor, pause);
  }
}

class Guard : public Tier {
 public:
  Guard(std::unique_ptr<Tier> inner, const GuardOptions& options)
      : options_(options), shared_(std::make_shared<Shared>(std::move(inner), options)) {}
  ~Guard() override { shared_->Close(); }

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override {
    const Terms terms{.timeout = options_.read_timeout, .keys = full_keys.size(), .reads = true};
    return Call(shared_, &Tier::Get, std::move(full_keys), terms, deadline);
  }

  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                    MonoNanos deadline) override {
    Terms terms{.timeout = options_.write_timeout, .keys = puts.size()};
    size_t bytes = 0;
    for (const TierPut& put : puts) {
      bytes += put.envelope.size();
      // It may have been carried out, and then it would not find what it expects a second time.
      if (put.expect.kind != Expect::Kind::kAny) terms.repeatable = false;
    }
    if (bytes > options_.retry_bytes_max) terms.repeatable = false;
    return Call(shared_, &Tier::Put, std::move(puts), terms, deadline);
  }

  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline) override {
    const Terms terms{.timeout = options_.write_timeout, .keys = erases.size()};
    return Call(shared_, &Tier::Erase, std::move(erases), terms, deadline);
  }

  Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) override {
    const Terms terms{.timeout = options_.scan_timeout, .timed = false};
    return Call(shared_, &Tier::Scan, std::move(scan), terms, deadline);
  }

  void DropCovered(std::shared_ptr<const TierCover> cover) override {
    shared_->inner()->DropCovered(std::move(cover));
  }
  uint64_t losses() const override { return shared_->inner()->losses(); }
  bool shared() const override { return shared_->shared(); }
  TierStats Stats() const override { return shared_->Stats(); }

 private:
  const GuardOptions options_;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<Tier> NewGuard(std::unique_ptr<Tier> inner, const GuardOptions& options) {
  return std::make_unique<Guard>(std::move(inner), options);
}

}  // namespace larder
