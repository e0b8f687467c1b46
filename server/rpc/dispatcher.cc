// The order of the checks: what is over by now is not worth any other work; then who asks; then how
// much its namespace has had, hits included, because they cost the others too; and only what memory
// does not answer has to be taken on.
//
// A call that waits for nothing runs where it came in: to give it to a worker and to take its
// answer back costs more than a write to memory does. It stands in no queue, so how long others
// wait for a worker is nothing to it.

#include "rpc/dispatcher.h"

#include <optional>
#include <string>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "base/turn.h"
#include "core/error.h"
#include "rpc/access_needs.h"
#include "rpc/slow_call.h"

namespace larder {
namespace {

absl::Status DeadlinePassed() {
  return Error(Reason::kDEADLINE_EXCEEDED, "the deadline had passed before any work was done");
}

}  // namespace

void Dispatcher::Run(Call* call) {
  if (Expired(*call)) return Finish(call, DeadlinePassed());
  if (access_ != nullptr) {
    if (const absl::Status allowed = access_->Check(call); !allowed.ok())
      return Finish(call, allowed);
  }
  if (quotas_ != nullptr && quotas_->any()) {
    if (const absl::Status taken = TakeQuota(call); !taken.ok()) return Finish(call, taken);
  }
  absl::Status status;
  if (call->method().try_now && call->method().try_now(call, &status)) return Finish(call, status);
  const bool at_once = call->method().at_once && call->method().at_once(*call);
  if (const absl::Status entered = Enter(call, !at_once); !entered.ok())
    return Finish(call, entered);
  if (at_once) {
    const StayHere here(call->home());
    return Start(call);
  }
  call->notes().posted = clock_->Mono();
  if (!executor_->TryPost([this, call] { RunSlowly(call); })) {
    if (call->notes().entered) admission_->NotQueued();
    Finish(call, RetryableError(Reason::kOVERLOADED, absl::Milliseconds(100),
                                "too many calls wait for a worker (limits.queue)"));
  }
}

absl::Status Dispatcher::TakeQuota(Call* call) {
  const Method& method = call->method();
  if (method.name_space == nullptr) return absl::OkStatus();
  const google::protobuf::Message& request = *call->request();
  const google::protobuf::Reflection& reflection = *request.GetReflection();
  std::string none;
  Quotas::Line* const line =
      quotas_->Find(reflection.GetStringReference(request, method.name_space, &none));
  if (line == nullptr) return absl::OkStatus();
  const int keys = method.keys == nullptr ? 1 : reflection.FieldSize(request, method.keys);
  RETURN_IF_ERROR(
      Quotas::Take(line, static_cast<uint64_t>(keys), request.ByteSizeLong(), clock_->Mono()));
  call->notes().quota = line;
  return absl::OkStatus();
}

// Whoever operates the whole server is answered as long as anything is. Admin of a part is a
// tenant's, of whom there may be many.
std::optional<CallClass> Dispatcher::ClassOf(const Call& call) {
  const Method& method = call.method();
  const bool of_part = call.view() != nullptr && method.access != nullptr && method.access->is_act;
  return of_part && !method.call_class.has_value() ? CallClass::kBatch : method.call_class;
}

absl::Status Dispatcher::Enter(Call* call, bool waits) {
  if (admission_ == nullptr) return absl::OkStatus();
  const std::optional<CallClass> what = ClassOf(*call);
  if (!what.has_value()) return absl::OkStatus();
  std::string peer;
  // One address may have many connections.
  if (admission_->counts_peers()) peer = call->PeerHost();
  RETURN_IF_ERROR(admission_->Enter(*what, peer, waits));
  call->notes().entered = true;
  call->notes().peer = std::move(peer);
  return absl::OkStatus();
}

void Dispatcher::RunSlowly(Call* call) {
  Call::Notes& notes = call->notes();
  notes.waited = clock_->Mono() - notes.posted;
  const absl::Status in_time = notes.entered ? admission_->Waited(notes.waited) : absl::OkStatus();
  if (Expired(*call)) return Finish(call, DeadlinePassed());
  if (call->cancellation().IsCancelled()) {
    return Finish(call, Error(Reason::kCALL_CANCELLED, "the caller cancelled the call"));
  }
  if (!in_time.ok()) return Finish(call, in_time);
  Start(call);
}

void Dispatcher::Start(Call* call) {
  Spawn(
      call->method().run(call), [this, call](const absl::Status& status) { Finish(call, status); },
      &call->notes().steps);
}

void Dispatcher::Finish(Call* call, const absl::Status& status) {
  const Method& method = call->method();
  const MonoNanos now = clock_->Mono();
  const MonoNanos took = now - call->started();
  method.counters->Add(Method::kCalls);
  if (!status.ok()) method.counters->Add(Method::kErrors);
  // code() knows the 17 of gRPC and takes any other for UNKNOWN, as the lanes do.
  method.counters->Add(Method::kByCode + static_cast<size_t>(status.code()));
  method.latency->RecordNanos(took);
  const Call::Notes& notes = call->notes();
  if (notes.quota != nullptr && status.ok()) Quotas::Owe(notes.quota, call->ResponseBytes(), now);
  if (notes.entered) admission_->Leave(notes.peer);
  // A stream is as long as its caller wants it to be.
  if (took > slow_call_.load(std::memory_order_relaxed) && !method.streams)
    LogSlowCall(call, status, absl::Nanoseconds(took), types_);
  call->Answer(status);
}

}  // namespace larder
