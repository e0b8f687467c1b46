// Dispatcher takes a parsed call from a lane and sees to it that it is answered: at once from
// memory, else by its handler on the executor. What all lanes have in common is here: deadlines,
// overload, accounting. Thread safety: any method, any thread. Never blocks.

#ifndef LARDER_RPC_DISPATCHER_H_
#define LARDER_RPC_DISPATCHER_H_

#include "absl/status/status.h"
#include "base/clock.h"
#include "base/executor.h"
#include "rpc/call.h"
#include "rpc/methods.h"

namespace larder {

class Dispatcher {
 public:
  // Both outlive the dispatcher.
  Dispatcher(Clock* clock, Executor* executor) : clock_(clock), executor_(executor) {}

  // Answers `call`, sooner or later, exactly once.
  void Run(Call* call);

  // Answers a call that never got as far as its handler.
  void Refuse(Call* call, const absl::Status& status) { Finish(call, status); }

  Clock* clock() const { return clock_; }
  Executor* executor() const { return executor_; }

 private:
  void RunSlowly(Call* call);
  bool Expired(const Call& call) const { return call.deadline() <= clock_->Mono(); }
  void Finish(Call* call, const absl::Status& status);

  Clock* const clock_;
  Executor* const executor_;
};

}  // namespace larder

#endif  // LARDER_RPC_DISPATCHER_H_
