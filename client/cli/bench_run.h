// BenchRun makes calls to a server at a rate that does not depend on how soon they are answered, as
// many independent callers do (an open loop), and measures each from the time at which it was to be
// sent. So a server that stalls shows the wait of all who came meanwhile, and not of one: there is
// no coordinated omission. What the generator itself could not keep up with is part of that time,
// too, and is told apart.
//
// Thread safety: Run is one thread's, and blocks until all calls are over; `so_far` is called on
// it. Errors of calls are counted.

#ifndef LARDER_CLIENT_CLI_BENCH_RUN_H_
#define LARDER_CLIENT_CLI_BENCH_RUN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/client.h"

namespace larder::cli {

// How a key is read.
enum class BenchRead {
  kGet,     // from the cache, which loads nothing
  kLoad,    // GetOrLoad: the server loads what is missing
  kOrigin,  // past the cache: each read is a load from the origin
};

struct BenchPlan {
  double rate = 1'000;  // calls a second
  absl::Duration warmup = absl::Seconds(2);
  absl::Duration duration = absl::Seconds(10);
  // True: gaps between calls as of independent callers; false: all alike.
  bool poisson = true;
  double read_share = 0.9;
  BenchRead read = BenchRead::kGet;
  double zipf = 0.99;
  std::vector<std::string> keys;
  size_t value_bytes_min = 100;
  size_t value_bytes_max = 100;
  std::string type;
  std::optional<absl::Duration> ttl;
  uint64_t seed = 1;
  // More are not under way at once: then calls begin late.
  size_t in_flight_max = 10'000;
  // How long calls may go on to be sent or answered after the time is over.
  absl::Duration patience = absl::Seconds(5);
};

// Of what came after the warm-up.
struct Latencies {
  uint64_t count = 0;
  absl::Duration mean = {};
  absl::Duration p50 = {};
  absl::Duration p90 = {};
  absl::Duration p99 = {};
  absl::Duration p999 = {};
  absl::Duration p9999 = {};
  absl::Duration max = {};
};

struct BenchOutcome {
  double intended_rate = 0;
  double achieved_rate = 0;  // calls that were answered well, a second
  absl::Duration span = {};  // from the first measured call's time to the last answer
  uint64_t planned = 0;      // calls whose time came
  uint64_t ok = 0;
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t stale = 0;
  // Reads of keys that the cache is not used for, by the rollout of their type: neither hits nor
  // misses.
  uint64_t past = 0;
  uint64_t unsent = 0;  // their time came, and there was no sending them any more
  std::map<std::string, uint64_t> errors = {};
  // Calls that began later than they were to, by more than kLate.
  uint64_t late_starts = 0;
  absl::Duration late_p99 = {};
  absl::Duration late_max = {};
  // From the time at which calls were to be sent; calls that ran out of time count as long as they
  // took, other errors not.
  Latencies all = {};
  Latencies reads = {};
  Latencies writes = {};
  // From the time at which they were sent: what a closed loop would have shown.
  Latencies from_start = {};
  bool interrupted = false;

  uint64_t failed() const;
};

inline constexpr absl::Duration kLate = absl::Milliseconds(1);

// How far it is: calls answered, of them not well, planned in all.
using BenchProgress = std::function<void(uint64_t answered, uint64_t failed, uint64_t planned)>;

// `clients` are connections of their own; none is used by others meanwhile, and none repeats calls
// (RetryPolicy), which would hide what happened. REQUIRES: at least one key and one client.
BenchOutcome RunBench(const BenchPlan& plan, const std::vector<std::unique_ptr<Client>>& clients,
                      const BenchProgress& so_far);

// A value of so many bytes, of which about half are chance.
std::string BenchValue(uint64_t seed, size_t bytes);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_BENCH_RUN_H_
