#include "rpc/dispatcher.h"

#include "base/strings.h"
#include "core/error.h"

namespace larder {
namespace {

absl::Status DeadlinePassed() {
  return Error(Reason::kDEADLINE_EXCEEDED, "the deadline had passed before any work was done");
}

}  // namespace

void Dispatcher::Run(Call* call) {
  if (Expired(*call)) return Finish(call, DeadlinePassed());
  absl::Status status;
  if (call->method().try_now && call->method().try_now(call, &status)) return Finish(call, status);
  if (!executor_->TryPost([this, call] { RunSlowly(call); })) {
    Finish(call, RetryableError(Reason::kOVERLOADED, absl::Milliseconds(100),
                                "too many calls wait for a worker (limits.queue)"));
  }
}

void Dispatcher::RunSlowly(Call* call) {
  if (Expired(*call)) return Finish(call, DeadlinePassed());
  if (call->cancellation().IsCancelled()) {
    return Finish(call, Error(Reason::kCALL_CANCELLED, "the caller cancelled the call"));
  }
  Spawn(call->method().run(call),
        [this, call](const absl::Status& status) { Finish(call, status); });
}

void Dispatcher::Finish(Call* call, const absl::Status& status) {
  const Method& method = call->method();
  method.counters->Add(Method::kCalls);
  if (!status.ok()) method.counters->Add(Method::kErrors);
  method.latency->RecordNanos(clock_->Mono() - call->started());
  call->Answer(status);
}

}  // namespace larder
