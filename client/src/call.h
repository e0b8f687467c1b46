// CallRunner carries one client's calls through their attempts: deadline, repeats, failover between
// targets, cancelling.
// Thread safety: Start: any thread. Never blocks, except the destructor, which cancels every call
// and waits until the last `finish` has returned. Errors go to `finish`: the server's status as in
// status.h; CANCELLED when the runner was destroyed.

#ifndef LARDER_CLIENT_SRC_CALL_H_
#define LARDER_CLIENT_SRC_CALL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <unordered_set>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/mutex.h"
#include "client/src/retry.h"
#include "grpcpp/client_context.h"
#include "larder/options.h"

namespace larder::internal {

struct CallSpec {
  // For all attempts together.
  absl::Duration deadline;
  // Whether an attempt of which nobody knows what it did may be repeated; asked after it.
  std::function<bool()> repeatable;
  // Begins one attempt at target number `target`; `remaining` is what is left of the deadline. The
  // context outlives the call of `done`.
  std::function<void(size_t target, absl::Duration remaining, grpc::ClientContext* context,
                     std::function<void(grpc::Status)> done)>
      send;
  // Takes the outcome. Called exactly once.
  absl::AnyInvocable<void(absl::Status)> finish;
};

class CallRunner {
 public:
  // `owner` is the client whose callbacks the calls run. REQUIRES: targets >= 1.
  CallRunner(const RetryPolicy& policy, size_t targets, const void* owner);
  ~CallRunner();

  void Start(CallSpec spec);

 private:
  class Call;

  // False when the runner is closing.
  bool Add(const std::shared_ptr<Call>& call);
  void Remove(const std::shared_ptr<Call>& call);

  size_t Target() const { return current_target_.load(std::memory_order_relaxed) % targets_; }
  // Moves on to the next target, unless another call has done so already.
  void TargetFailed(size_t target);

  double Chance();

  const RetryPolicy policy_;
  const size_t targets_;
  const void* const owner_;
  RetryBudget budget_;
  std::atomic<size_t> current_target_{0};

  Mutex chance_mu_;
  std::mt19937_64 chance_ ABSL_GUARDED_BY(chance_mu_);

  Mutex mu_;
  CondVar idle_;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  std::unordered_set<std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CALL_H_
