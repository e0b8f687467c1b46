// Routes knows the targets of a client: which one a call should go to, and which are away.
// Thread safety: any method, any thread. Never blocks. Times are nanoseconds of the steady clock.

#ifndef LARDER_CLIENT_SRC_ROUTES_H_
#define LARDER_CLIENT_SRC_ROUTES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/src/mutex.h"
#include "larder/metrics.h"
#include "larder/options.h"

namespace larder::internal {

// Of a key, for Pick. The same in every process.
uint64_t RouteHash(std::string_view key);

class Routes {
 public:
  // REQUIRES: at least one target.
  Routes(std::vector<std::string> targets, Routing routing, const BreakerPolicy& breaker,
         std::shared_ptr<ClientMetrics> metrics);

  // Where an attempt goes: the first of its targets that is there, `avoid` only when there is no
  // other. `key` is the hash of the key that the call is about, if it is about one. Unset when the
  // breakers of all refuse. Each pick is followed by one of the three below.
  std::optional<size_t> Pick(std::optional<uint64_t> key, std::optional<size_t> avoid, int64_t now);

  // The target answered; it was not there; nobody knows.
  void Answered(size_t target);
  void Failed(size_t target, int64_t now);
  void Unknown(size_t target);

  std::string_view name(size_t target) const { return names_[target]; }

 private:
  struct Target {
    int failures = 0;  // in a row
    bool open = false;
    int64_t retry_at = 0;  // when open: the next attempt may be made then
  };

  // The targets in the order of preference.
  std::vector<size_t> Order(std::optional<uint64_t> key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::vector<std::string> names_;
  const Routing routing_;
  const int failures_max_;  // 0 = a target is never given up for good
  const int64_t open_for_;
  const std::shared_ptr<ClientMetrics> metrics_;
  std::vector<uint64_t> hashes_;  // of the names

  Mutex mu_;
  size_t current_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<Target> targets_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_ROUTES_H_
