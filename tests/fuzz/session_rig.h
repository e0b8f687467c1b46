// SessionRig is a loop of the native lane, as the lane itself makes them, with small limits,
// handlers of every kind, and a clock that its user moves. Connections are pairs of sockets, so
// that a million of them leave nothing behind in the kernel. Thread safety: none; one user. Its
// methods block until the loop has done what they say, for at most ten seconds: then the process
// aborts.

#ifndef LARDER_TESTS_FUZZ_SESSION_RIG_H_
#define LARDER_TESTS_FUZZ_SESSION_RIG_H_

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_loop.h"
#include "rpc/native_services.h"

namespace larder {

class SessionHandlers;

class SessionRig {
 public:
  SessionRig();
  ~SessionRig();

  // A new connection's other end, which is the caller's to close.
  int Connect();
  // Waits until the loop has read what was sent before, and its worker has done what came of that.
  void Settle();
  void Advance(absl::Duration by);
  // Lets the calls of GetOrLoad that wait go on.
  void LetGo();

  // Waits until no connection and no call is left, and sees to it that nothing else of them is.
  // REQUIRES: all sockets are closed.
  void ExpectEmpty();

 private:
  // Runs `work` on the loop, after it has handled the events before, and waits for it.
  void OnLoop(absl::AnyInvocable<void()> work);
  void AwaitTurns();

  ManualClock clock_;
  const std::unique_ptr<ThreadPool> pool_;
  MethodTable methods_;
  const std::unique_ptr<SessionHandlers> handlers_;
  Dispatcher dispatcher_;
  NativeServices services_;
  NativeShared shared_;
  std::unique_ptr<NativeLoop> loop_;
};

}  // namespace larder

#endif  // LARDER_TESTS_FUZZ_SESSION_RIG_H_
