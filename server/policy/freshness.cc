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
