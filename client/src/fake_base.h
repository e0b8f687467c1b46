// What every call of the fake goes through: the lock, the time, the common checks, and the
// callbacks of whoever is to be told, which run without the lock. Thread safety: any method, any
// thread, unless it says that it needs the lock.

#ifndef LARDER_CLIENT_SRC_FAKE_BASE_H_
#define LARDER_CLIENT_SRC_FAKE_BASE_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "client/src/callback.h"
#include "client/src/checks.h"
#include "client/src/fake_state.h"
#include "client/src/fake_store.h"
#include "client/src/mutex.h"
#include "larder/fake.h"

namespace larder::internal {

// body(), unless one of `checks` failed.
template <typename Result, typename Body>
absl::StatusOr<Result> Checked(std::initializer_list<absl::Status> checks, Body body) {
  for (const absl::Status& check : checks) {
    if (!check.ok()) return check;
  }
  return body();
}

class FakeBase : public FakeClient {
 protected:
  FakeBase(FakeOptions options, absl::Time start)
      : options_(std::move(options)),
        state_(options_.types, options_.now ? options_.now() : start) {}

  absl::Time Now() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return options_.now ? options_.now() : state_.own_now;
  }

  // What comes first in every call.
  absl::Status Begin(const CallOptions& call, std::string* ns,
                     absl::Duration deadline_max = kDeadlineMax)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    ++state_.calls;
    if (!state_.failure.ok()) return state_.failure;
    absl::Status status =
        CheckDeadline("deadline", call.deadline.value_or(options_.default_deadline), deadline_max);
    *ns = call.ns.value_or(options_.ns);
    status.Update(CheckNamespace("namespace", *ns));
    if (ns->empty()) *ns = "default";
    state_.store.Tick(Now());
    return status;
  }

  // Runs body(state, namespace, now) under the lock; its answer and those of the waiters that it
  // woke go out without it.
  template <typename Result, typename Body>
  void Run(const CallOptions& call, Callback<Result> done, Body body) {
    absl::StatusOr<Result> result;
    std::vector<FakeStore::Ready> ready;
    {
      MutexLock lock(&mu_);
      std::string ns;
      const absl::Status valid = Begin(call, &ns);
      if (valid.ok()) {
        result = body(state_, ns, Now());
      } else {
        result = valid;
      }
      ready = state_.store.TakeReady();
    }
    {
      CallbackScope scope(this);
      done(std::move(result));
      done = nullptr;
    }
    Tell(std::move(ready));
  }

  void Tell(std::vector<FakeStore::Ready> ready) {
    CallbackScope scope(this);
    for (auto& [done, result] : ready) done(std::move(result));
    ready.clear();
  }

  const FakeOptions options_;
  mutable Mutex mu_;
  FakeState state_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_FAKE_BASE_H_
