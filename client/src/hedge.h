// A Hedger makes slow reads a second time and takes the answer that comes first.
// Thread safety: any method, any thread. Never blocks.

#ifndef LARDER_CLIENT_SRC_HEDGE_H_
#define LARDER_CLIENT_SRC_HEDGE_H_

#include <array>
#include <cstdint>
#include <functional>

#include "absl/functional/any_invocable.h"
#include "client/src/call.h"
#include "client/src/mutex.h"
#include "client/src/retry.h"
#include "larder/options.h"

namespace larder::internal {

// The latencies of the last few thousand calls, to an eighth of themselves.
// Thread safety: none.
class RecentLatencies {
 public:
  void Add(absl::Duration took);
  // That within which the part `part` of them lies; zero as long as there are too few to tell.
  absl::Duration Percentile(double part) const;

 private:
  static constexpr int kBuckets = 8 * 40;  // 1 us to half an hour
  static constexpr uint32_t kEnough = 100;
  static constexpr uint32_t kForgetAt = 8192;

  std::array<uint32_t, kBuckets> counts_{};
  uint32_t sum_ = 0;
};

class Hedger {
 public:
  // REQUIRES: `policy` is valid; `runner` outlives it.
  Hedger(const HedgePolicy& policy, CallRunner* runner);

  // Starts `make(finish)`, and once more when it takes too long. `finish` of the first one to
  // succeed, or of the last one to fail, is passed on to `done`, which is called once.
  // Each spec made has messages of its own: `take` is called, before `done`, for that one which
  // counts.
  struct Leg {
    CallSpec spec;  // without `finish`
    std::function<void()> take;
  };
  void Start(std::function<Leg()> make, absl::AnyInvocable<void(absl::Status)> done);

 private:
  class Race;

  // When to try again; zero = never.
  absl::Duration Delay();
  void Took(absl::Duration took);

  const HedgePolicy policy_;
  CallRunner* const runner_;
  RetryBudget budget_;
  Mutex mu_;
  RecentLatencies latencies_ ABSL_GUARDED_BY(mu_);
  absl::Duration delay_ ABSL_GUARDED_BY(mu_) = absl::ZeroDuration();
  uint32_t since_ ABSL_GUARDED_BY(mu_) = 0;  // latencies that delay_ does not count yet
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_HEDGE_H_
