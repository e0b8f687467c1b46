// How long past its TTL a value may still be served, when it is loaded again before its end, and
// how long a load may take: the freshness of a data type.
//
//   written      refresh point        fresh_until        + stale_while_revalidate  + stale_if_error
//   |--- fresh --|-- fresh, one reader --|- stale, a load behind -|- stale, only if the load fails
//   -|
//                   starts a load
//
// Both stale windows begin at the end of the TTL. Pure functions of a policy and an input; no
// clock, no chance, no state. Thread safety: any function, any thread.

#ifndef LARDER_POLICY_FRESHNESS_H_
#define LARDER_POLICY_FRESHNESS_H_

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace larder {

// A set of status codes.
class ErrorSet {
 public:
  constexpr ErrorSet() = default;
  void Add(absl::StatusCode code) { bits_ |= Bit(code); }
  bool Has(absl::StatusCode code) const { return (bits_ & Bit(code)) != 0; }
  friend bool operator==(const ErrorSet&, const ErrorSet&) = default;

  // All by which an origin says that it is unwell: UNAVAILABLE, DEADLINE_EXCEEDED,
  // RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNKNOWN, DATA_LOSS.
  static ErrorSet OfUnwell();

 private:
  static uint32_t Bit(absl::StatusCode code) { return 1u << (static_cast<uint32_t>(code) & 31); }
  uint32_t bits_ = 0;
};

struct FreshnessPolicy {
  // A read after this part of the TTL starts a load behind it; 0: never. At most 0.99.
  double refresh_ahead = 0;
  // How long a stale value is served at once while it is loaded again.
  absl::Duration stale_while_revalidate;
  // How long a stale value is served when loading it fails with one of `errors`.
  absl::Duration stale_if_error;
  ErrorSet errors = ErrorSet::OfUnwell();
  // After such a failure the stale value is served without a try for so long.
  absl::Duration error_pause = absl::Seconds(1);
  // A caller who waits this long for a load gets the stale value if there is one.
  absl::Duration soft_timeout = absl::InfiniteDuration();
  // What a load may take, and so the longest that a caller waits for one.
  absl::Duration hard_timeout = absl::Seconds(5);

  // How long past its TTL a value may be served at all.
  absl::Duration stale_most() const { return std::max(stale_while_revalidate, stale_if_error); }
  bool any_stale() const { return stale_most() > absl::ZeroDuration(); }
};

// Whether a read at `now` starts the load ahead of an entry's end. `draw` in [0, 1) is the entry's
// own and spreads what was written together over the last tenth of the time until the refresh
// point. `fresh_until` INT64_MAX: the entry has no end, and nothing to be ahead of.
bool RefreshDue(const FreshnessPolicy& policy, MonoNanos written, MonoNanos fresh_until,
                MonoNanos now, double draw);

}  // namespace larder

#endif  // LARDER_POLICY_FRESHNESS_H_
