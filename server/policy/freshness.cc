// Both spreads are needed: entries that were written together have the same refresh point but for
// the jitter of their TTLs, and a type may have none. The spread goes towards the beginning only,
// so that `refresh_ahead` is the latest moment and the time that is left for the load is as
// configured. The draw belongs to the entry: one that were drawn anew by each read would make a
// busy entry's refresh come at the spread's beginning always.

#include "policy/freshness.h"

namespace larder {

ErrorSet ErrorSet::OfUnwell() {
  ErrorSet set;
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded,
        absl::StatusCode::kResourceExhausted, absl::StatusCode::kAborted,
        absl::StatusCode::kInternal, absl::StatusCode::kUnknown, absl::StatusCode::kDataLoss}) {
    set.Add(code);
  }
  return set;
}

bool RefreshDue(const FreshnessPolicy& policy, MonoNanos written, MonoNanos fresh_until,
                MonoNanos now, double draw) {
  if (policy.refresh_ahead <= 0 || fresh_until == INT64_MAX) return false;
  constexpr double kSpread = 0.1;
  const double share = policy.refresh_ahead * (1 - kSpread * draw);
  const double life = static_cast<double>(fresh_until - written);
  return static_cast<double>(now - written) >= share * life;
}

}  // namespace larder
