// CallRunner carries one client's calls through their attempts: deadline, repeats, choice of
// targets, cancelling, and what metrics hear of them. Thread safety: Start: any thread. Never
// blocks, except the destructor, which cancels every call and waits until the last `finish` has
// returned. Errors go to `finish`: the server's status as in status.h; CANCELLED when the runner
// was destroyed.

#ifndef LARDER_CLIENT_SRC_CALL_H_
#define LARDER_CLIENT_SRC_CALL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/mutex.h"
#include "client/src/retry.h"
#include "client/src/routes.h"
#include "client/src/token.h"
#include "grpcpp/client_context.h"
#include "larder/options.h"

namespace larder::internal {

struct CallSpec {
  // As in the API; lives as long as the program.
  std::string_view method;
  // For all attempts together; InfiniteDuration() = none.
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
  // RouteHash of the key that the call is about, if it is about one.
  std::optional<uint64_t> route = {};
  // Whether no answer in time speaks against the target: not where an origin may be what is slow.
  bool prompt = false;
  // For a second try: the target of the first one.
  std::optional<size_t> avoid = {};
  bool hedge = false;
  // What goes along with each attempt.
  std::vector<std::pair<std::string, std::string>> metadata = {};
};

// A call that was started.
class StartedCall {
 public:
  virtual ~StartedCall() = default;
  // Ends it soon with CANCELLED, unless it has an outcome. Any thread; nothing happens after the
  // end.
  virtual void Cancel() = 0;
  // The target of the last attempt, if there was one.
  virtual std::optional<size_t> target() = 0;
};

class CallRunner {
 public:
  // `owner` is the client whose callbacks the calls run. REQUIRES: valid options, targets >= 1.
  CallRunner(const ClientOptions& options, std::vector<std::string> targets, const void* owner);
  ~CallRunner();

  std::shared_ptr<StartedCall> Start(CallSpec spec);

  // While it is held, the destructor waits: for who may start a call later on. False: it is
  // closing, and is not held.
  bool Hold();
  void Release();

 private:
  class Call;

  // False when the runner is closing.
  bool Add(const std::shared_ptr<Call>& call);
  void Remove(const std::shared_ptr<Call>& call);

  double Chance();

  const RetryPolicy policy_;
  const std::shared_ptr<ClientMetrics> metrics_;
  const void* const owner_;
  Routes routes_;
  TokenSource token_;
  RetryBudget budget_;

  Mutex chance_mu_;
  std::mt19937_64 chance_ ABSL_GUARDED_BY(chance_mu_);

  Mutex mu_;
  CondVar idle_;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  int holds_ ABSL_GUARDED_BY(mu_) = 0;
  std::unordered_set<std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_CALL_H_
