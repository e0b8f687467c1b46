// The one way in which the client runs code of its caller, and the blocking form of a callback
// call.
// Thread safety: any function, any thread.

#ifndef LARDER_CLIENT_SRC_CALLBACK_H_
#define LARDER_CLIENT_SRC_CALLBACK_H_

#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/src/mutex.h"

namespace larder::internal {

// While one lives, this thread runs a callback of the client `owner`.
class CallbackScope {
 public:
  explicit CallbackScope(const void* owner);
  ~CallbackScope();
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

  // Whether this thread runs a callback of any client, or of the client `owner`.
  static bool Active();
  static bool ActiveFor(const void* owner);

 private:
  const void* const owner_;
  CallbackScope* const outer_;
};

// Crashes when a callback of the client `owner` destroys that client, which would wait for itself
// for ever.
void CheckNotDestroyedByCallback(const void* owner);

absl::Status BlockingInCallbackError();

// Calls start(done) and blocks until `done` has been called. FAILED_PRECONDITION inside a callback:
// the thread that would deliver the answer may be this one.
template <typename T, typename Start>
absl::StatusOr<T> Block(Start start) {
  if (CallbackScope::Active()) return BlockingInCallbackError();
  struct State {
    Mutex mu;
    CondVar cv;
    std::optional<absl::StatusOr<T>> result ABSL_GUARDED_BY(mu);
  };
  // Shared, because `done` may still be about to leave `mu` when the waiter has already seen the
  // result.
  auto state = std::make_shared<State>();
  start([state](absl::StatusOr<T> result) {
    MutexLock lock(&state->mu);
    state->result = std::move(result);
    state->cv.SignalAll();
  });
  MutexLock lock(&state->mu);
  while (!state->result.has_value()) state->cv.Wait(&state->mu);
  return *std::move(state->result);
}

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CALLBACK_H_
