#include "client/src/callback.h"

#include <cstdio>
#include <cstdlib>

namespace larder::internal {

// Callbacks nest: the fake runs them inside the call, so that one callback's FooAsync runs the next
// one. Hence a stack.
static thread_local CallbackScope* innermost = nullptr;

CallbackScope::CallbackScope(const void* owner) : owner_(owner), outer_(innermost) {
  innermost = this;
}

CallbackScope::~CallbackScope() { innermost = outer_; }

bool CallbackScope::Active() { return innermost != nullptr; }

bool CallbackScope::ActiveFor(const void* owner) {
  for (const CallbackScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
    if (scope->owner_ == owner) return true;
  }
  return false;
}

void CheckNotDestroyedByCallback(const void* owner) {
  if (!CallbackScope::ActiveFor(owner)) return;
  std::fputs("larder: a callback destroyed the client that called it\n", stderr);
  std::abort();
}

absl::Status BlockingInCallbackError() {
  return absl::FailedPreconditionError(
      "a blocking call inside a callback of a larder client; use the Async form there");
}

}  // namespace larder::internal
