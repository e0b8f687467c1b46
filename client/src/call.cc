// A call is a small state machine: attempt, wait, attempt, ..., finish. It runs on gRPC's callback
// threads and holds no thread while an attempt or a wait is under way; the wait is a grpc::Alarm.
// Its steps come one after the other, each on whatever thread gRPC chooses. Cancel alone comes at
// any moment, from the destroying thread; it ends the step that is under way and lets that step's
// callback finish the call.
//
// Failover. With several targets one is current for all calls, and an UNAVAILABLE attempt makes the
// next one current, unless it is an origin that is unavailable and not the server. Spreading calls
// over the targets instead would let a caller read from a replica that has not heard of its write
// yet; spreading keys (Routing::kByKey) does so only while a key's own target is away.
//
// An attempt that ended with WRITE_UNKNOWN may have changed something, whatever a later one says of
// itself, and the later one may have asked another replica. So a call that fails after one fails
// with that error.

#include "client/src/call.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "client/src/callback.h"
#include "client/src/status.h"
#include "grpcpp/alarm.h"
#include "larder/error.h"

namespace larder::internal {
namespace {

std::chrono::steady_clock::time_point Mono() { return std::chrono::steady_clock::now(); }

absl::Status DestroyedError() { return absl::CancelledError("the larder client was destroyed"); }

}  // namespace

class CallRunner::Call : public StartedCall, public std::enable_shared_from_this<CallRunner::Call> {
 public:
  Call(CallRunner* runner, CallSpec spec)
      : runner_(runner),
        spec_(std::move(spec)),
        start_(Mono()),
        end_(spec_.deadline == absl::InfiniteDuration()
                 ? std::chrono::steady_clock::time_point::max()
                 : start_ + absl::ToChronoNanoseconds(spec_.deadline)) {}

  void StartAttempt() {
    const absl::Duration remaining = Remaining();
    if (remaining <= absl::ZeroDuration()) {
      Finish(absl::DeadlineExceededError("the deadline was over before the next attempt"));
      return;
    }
    const std::optional<size_t> picked =
        runner_->routes_.Pick(spec_.route, spec_.avoid, Nanos(Mono()));
    if (!picked.has_value()) {
      Finish(absl::UnavailableError("the circuit breakers of all targets are open"));
      return;
    }
    auto owned = std::make_shared<grpc::ClientContext>();
    grpc::ClientContext* const context = owned.get();
    for (const auto& [name, value] : spec_.metadata) context->AddMetadata(name, value);
    if (const std::string header = runner_->token_.Header(); !header.empty())
      context->AddMetadata("authorization", header);
    if (remaining != absl::InfiniteDuration())
      context->set_deadline(absl::ToChronoTime(absl::Now() + remaining));
    std::shared_ptr<grpc::Alarm> alarm;
    bool cancelled;
    {
      MutexLock lock(&mu_);
      context_ = std::move(owned);
      alarm.swap(alarm_);
      cancelled = cancelled_;
      target_ = picked;
      ++attempt_;
    }
    if (cancelled) {
      runner_->routes_.Unknown(*picked);
      Finish(DestroyedError());
      return;
    }
    // A context that is cancelled before its call begins makes the call fail at once, so a Cancel
    // in between is not lost. AttemptDone may run, and end the context, before this returns.
    spec_.send(*picked, remaining, context,
               [self = shared_from_this()](const grpc::Status& status) {
                 self->AttemptDone(
                     FromWire(status.error_code(), status.error_message(), status.error_details()));
               });
  }

  // Makes the step that is under way end soon.
  void Cancel() override {
    std::shared_ptr<grpc::ClientContext> context;
    std::shared_ptr<grpc::Alarm> alarm;
    {
      MutexLock lock(&mu_);
      cancelled_ = true;
      context = context_;
      alarm = alarm_;
    }
    if (context != nullptr) context->TryCancel();
    if (alarm != nullptr) alarm->Cancel();
  }

  void Finish(absl::Status status) {
    // Goes away outside the lock; it holds this call, which holds it.
    std::shared_ptr<grpc::Alarm> alarm;
    {
      MutexLock lock(&mu_);
      alarm.swap(alarm_);
      context_ = nullptr;
      if (!status.ok() && !unknown_.ok()) status = std::move(unknown_);
      if (cancelled_ && !status.ok()) status = DestroyedError();
    }
    if (runner_->metrics_ != nullptr) Tell(status);
    {
      CallbackScope scope(runner_->owner_);
      spec_.finish(std::move(status));
      // What the callback holds may run code of the caller's when it goes away; that, too, must be
      // over before the client is gone.
      spec_.finish = nullptr;
    }
    runner_->Remove(shared_from_this());
  }

  std::optional<size_t> target() override {
    MutexLock lock(&mu_);
    return target_;
  }

 private:
  static int64_t Nanos(std::chrono::steady_clock::time_point time) {
    return time.time_since_epoch().count();
  }

  void Tell(const absl::Status& status) {
    CallRecord record;
    record.method = spec_.method;
    record.code = status.code();
    record.took = absl::FromChrono(Mono() - start_);
    record.hedge = spec_.hedge;
    {
      MutexLock lock(&mu_);
      record.attempts = attempt_;
      if (target_.has_value()) record.target = runner_->routes_.name(*target_);
    }
    runner_->metrics_->OnCall(record);
  }

  // What the end of an attempt says about its target.
  void Judge(size_t target, const absl::Status& status) {
    const bool silent = status.code() == absl::StatusCode::kDeadlineExceeded;
    if (status.code() == absl::StatusCode::kUnavailable && !IsOriginsFault(status)) {
      runner_->routes_.Failed(target, Nanos(Mono()));
    } else if (silent && spec_.prompt) {
      runner_->routes_.Failed(target, Nanos(Mono()));
    } else if (silent || status.code() == absl::StatusCode::kCancelled) {
      runner_->routes_.Unknown(target);
    } else {
      runner_->routes_.Answered(target);
    }
  }

  absl::Duration Remaining() const {
    return end_ == std::chrono::steady_clock::time_point::max() ? absl::InfiniteDuration()
                                                                : absl::FromChrono(end_ - Mono());
  }

  void AttemptDone(absl::Status status) {
    int attempt;
    size_t target;
    std::shared_ptr<grpc::ClientContext> context;
    {
      MutexLock lock(&mu_);
      attempt = attempt_;
      target = *target_;
      context.swap(context_);
    }
    // A context keeps its channel alive, and the process's last channel joins gRPC's polling
    // threads when it goes, one of which is this thread.  1: the caller has its answer and destroys
    // the client with its channels.  2: this thread lets go of the context: it would destroy the
    // last channel and join itself, which gRPC 1.51 survives for a moment only. So the context goes
    // before Finish, while the client still waits for this call.
    context = nullptr;
    Judge(target, status);
    if (const std::string reason = ErrorReason(status);
        reason == "WRITE_UNKNOWN" || reason == "TIER_UNAVAILABLE") {
      MutexLock lock(&mu_);
      unknown_ = status;
    }
    if (status.ok() || !spec_.repeatable()) {
      Finish(std::move(status));
      return;
    }
    const auto wait =
        WaitBefore(attempt + 1, status, Remaining(), runner_->policy_, runner_->Chance());
    if (!wait.has_value() || !runner_->budget_.TrySpend() || !StartWait(*wait))
      Finish(std::move(status));
  }

  // False when the call has been cancelled.
  bool StartWait(absl::Duration wait) {
    // Set under the lock, so that Cancel never meets an alarm that is half set. gRPC fires it on
    // another thread.
    MutexLock lock(&mu_);
    if (cancelled_) return false;
    context_ = nullptr;
    alarm_ = std::make_shared<grpc::Alarm>();
    alarm_->Set(absl::ToChronoTime(absl::Now() + wait), [self = shared_from_this()](bool fired) {
      if (fired) {
        self->StartAttempt();
      } else {
        self->Finish(DestroyedError());
      }
    });
    return true;
  }

  CallRunner* const runner_;
  CallSpec spec_;
  const std::chrono::steady_clock::time_point start_;
  const std::chrono::steady_clock::time_point end_;

  Mutex mu_;
  int attempt_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<size_t> target_ ABSL_GUARDED_BY(mu_);
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status unknown_ ABSL_GUARDED_BY(mu_);  // of the last attempt that ended so
  std::shared_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mu_);
};

CallRunner::CallRunner(const ClientOptions& options, std::vector<std::string> targets,
                       const void* owner)
    : policy_(options.retry),
      metrics_(options.metrics),
      owner_(owner),
      routes_(std::move(targets), options.routing, options.breaker, options.metrics),
      token_(options.token, options.token_file),
      budget_(policy_.budget_ratio, policy_.budget_max),
      chance_(std::random_device()()) {}

CallRunner::~CallRunner() {
  std::vector<std::shared_ptr<Call>> calls;
  {
    MutexLock lock(&mu_);
    closing_ = true;
    calls.assign(calls_.begin(), calls_.end());
  }
  for (const auto& call : calls) call->Cancel();
  MutexLock lock(&mu_);
  while (!calls_.empty() || holds_ > 0) idle_.Wait(&mu_);
}

bool CallRunner::Hold() {
  MutexLock lock(&mu_);
  if (!closing_) ++holds_;
  return !closing_;
}

void CallRunner::Release() {
  // Signalled under the lock, as in Remove.
  MutexLock lock(&mu_);
  if (--holds_ == 0) idle_.SignalAll();
}

std::shared_ptr<StartedCall> CallRunner::Start(CallSpec spec) {
  budget_.Earn();
  auto call = std::make_shared<Call>(this, std::move(spec));
  if (Add(call)) {
    call->StartAttempt();
  } else {
    call->Finish(DestroyedError());
  }
  return call;
}

bool CallRunner::Add(const std::shared_ptr<Call>& call) {
  MutexLock lock(&mu_);
  if (!closing_) calls_.insert(call);
  return !closing_;
}

void CallRunner::Remove(const std::shared_ptr<Call>& call) {
  // Signalled under the lock: the runner may be gone as soon as the destroying thread sees the last
  // call leave.
  MutexLock lock(&mu_);
  calls_.erase(call);
  if (calls_.empty()) idle_.SignalAll();
}

double CallRunner::Chance() {
  MutexLock lock(&chance_mu_);
  return std::uniform_real_distribution<double>(0, 1)(chance_);
}

}  // namespace larder::internal
