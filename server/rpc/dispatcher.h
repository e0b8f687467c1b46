// Dispatcher takes a parsed call from a lane and sees to it that it is answered: at once from
// memory, else by its handler on the executor. What all lanes have in common is here: deadlines,
// who may do what and how much, overload, accounting. Thread safety: any method, any thread. Never
// blocks.

#ifndef LARDER_RPC_DISPATCHER_H_
#define LARDER_RPC_DISPATCHER_H_

#include <atomic>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "policy/type_table.h"
#include "rpc/access.h"
#include "rpc/admission.h"
#include "rpc/call.h"
#include "rpc/methods.h"
#include "rpc/quotas.h"

namespace larder {

class Dispatcher {
 public:
  // All outlive the dispatcher. Without `access` everybody may do everything; without `admission`
  // and `quotas`, as often as they like. `types` is for the log of slow calls.
  Dispatcher(Clock* clock, Executor* executor, Access* access = nullptr,
             Admission* admission = nullptr, Quotas* quotas = nullptr,
             const TypeTable* types = nullptr)
      : clock_(clock),
        executor_(executor),
        access_(access),
        admission_(admission),
        quotas_(quotas),
        types_(types) {}

  // Answers `call`, sooner or later, exactly once.
  void Run(Call* call);

  // Answers a call that never got as far as its handler.
  void Refuse(Call* call, const absl::Status& status) { Finish(call, status); }

  // Calls that take longer are written down; infinite: none.
  void SetSlowCall(absl::Duration slow) { slow_call_ = absl::ToInt64Nanoseconds(slow); }

  // Whether there is more to do than time for it.
  bool IsOverloadedAt(MonoNanos now) const {
    return admission_ != nullptr && admission_->RefusesAt(now);
  }

  Clock* clock() const { return clock_; }
  Executor* executor() const { return executor_; }
  // Null: there is none.
  Admission* admission() const { return admission_; }

 private:
  // On a worker.
  void RunSlowly(Call* call);
  void Start(Call* call);
  bool Expired(const Call& call) const {
    return call.deadline() != INT64_MAX && call.deadline() <= clock_->Mono();
  }
  // Whether its namespace may ask for so much.
  absl::Status TakeQuota(Call* call);
  // What the call is to a server under load; nothing: it is never refused for that.
  static std::optional<CallClass> ClassOf(const Call& call);
  // Whether the server can do more than it does. `waits`: for a worker.
  absl::Status Enter(Call* call, bool waits);
  void Finish(Call* call, const absl::Status& status);

  Clock* const clock_;
  Executor* const executor_;
  Access* const access_;
  Admission* const admission_;
  Quotas* const quotas_;
  const TypeTable* const types_;
  std::atomic<MonoNanos> slow_call_{INT64_MAX};
};

}  // namespace larder

#endif  // LARDER_RPC_DISPATCHER_H_
