// Pulse is what a server did between two readings of its counts: what `top` and `stat` show.
// Thread safety: plain values, pure functions.

#ifndef LARDER_CLIENT_CLI_PULSE_H_
#define LARDER_CLIENT_CLI_PULSE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/cli/json.h"
#include "client/cli/latency_buckets.h"
#include "larder/stats.h"

namespace larder::cli {

// One reading.
struct Sample {
  absl::Duration at;  // since some beginning, by a clock that does not jump
  StatsResult stats;
  // Unset where no admin port tells.
  std::optional<LatencyBuckets> latencies = {};
};

// All are a second, but for the ratio.
struct Rates {
  double reads = 0;
  double hits = 0;
  double stale_hits = 0;
  double sets = 0;
  double removals = 0;
  double loads = 0;
  double loads_failed = 0;
  double evictions = 0;
  double expirations = 0;
  // Unset when there was no read.
  std::optional<double> hit_ratio = {};
};

struct CallPulse {
  std::string rpc;
  double calls = 0;  // a second
  double errors = 0;
  std::optional<absl::Duration> p50 = {};
  std::optional<absl::Duration> p99 = {};
};

struct TypePulse {
  std::string name;
  Rates rates;
  UsageStats now;
};

struct Pulse {
  absl::Duration span;
  bool restarted = false;  // in between: rates count from its start
  double calls = 0;        // a second, those left out that only look
  double errors = 0;
  // Of the calls that wait for no origin. `windowed`: of those in between; else since the start.
  std::optional<absl::Duration> p99 = {};
  bool windowed = false;
  Rates total;
  std::vector<CallPulse> rpcs;   // the most frequent first; only those that came
  std::vector<TypePulse> types;  // the busiest first, then the largest; only those with something
};

// REQUIRES: now.at > before.at.
Pulse PulseOf(const Sample& before, const Sample& now);

void AddPulse(const Pulse& pulse, Json* object);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_PULSE_H_
