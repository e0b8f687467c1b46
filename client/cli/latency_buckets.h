// How long calls took, by buckets, as the admin port's metrics tell it: counts since the server's
// start, so that the difference of two readings is what happened in between. Thread safety: plain
// values, pure functions.

#ifndef LARDER_CLIENT_CLI_LATENCY_BUCKETS_H_
#define LARDER_CLIENT_CLI_LATENCY_BUCKETS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace larder::cli {

// Of one kind of call: how many took no longer than so many seconds; the last bound is infinite.
using Buckets = std::map<double, uint64_t>;
// By the name of the call.
using LatencyBuckets = std::map<std::string, Buckets>;

// Of larder_rpc_duration_seconds in the text form of metrics. Lines that cannot be read are left
// out.
LatencyBuckets ReadLatencyBuckets(std::string_view metrics);

// What came since `before`; all of `now` when the server has begun anew in between.
Buckets Since(const Buckets& before, const Buckets& now);
// Adds the counts of `more`.
void AddTo(const Buckets& more, Buckets* sum);

// Between two bounds it is reckoned as if calls lay evenly. Unset when there was no call; the
// largest finite bound when it is above that.
std::optional<absl::Duration> Quantile(const Buckets& buckets, double part);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_LATENCY_BUCKETS_H_
