// What `bench` measured: as a table, as JSON, read again from JSON, and two of them compared.
// Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_BENCH_REPORT_H_
#define LARDER_CLIENT_CLI_BENCH_REPORT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/bench_run.h"
#include "client/cli/output.h"

namespace larder::cli {

// One run of a plan. `name` tells it from the other runs of a bench: `cache`, `origin`.
struct BenchPart {
  std::string name;
  BenchOutcome outcome;
  // Keys that the origin had to load meanwhile; unset where there is none.
  std::optional<uint64_t> origin_loads = {};
  // Of its own keys, the part that the cache had once they were stored: less than all in a rollout.
  // Unset where it did not store them.
  std::optional<double> kept_ratio = {};
};

struct BenchReport {
  std::string server;
  std::string server_version;
  std::string client_version;
  absl::Time time;
  // What it was measured with, in words: compared as they are.
  std::map<std::string, std::string> settings;
  std::vector<BenchPart> parts;
};

Json BenchJson(const BenchReport& report);
void PrintBench(const BenchReport& report, Output* out);

// A number that two benches have in common.
struct Figure {
  std::string name;  // such as `cache p99_seconds`
  double a = 0;
  double b = 0;
  bool more_is_better = false;
  // Why it does not tell whether b is worse; empty where it does.
  std::string unjudged = {};

  // b of a: 1 where both are nothing; infinite where only a is.
  double ratio() const;
  // By how much b is worse: 1 as good, 2 twice as bad. Of a figure that is not judged, too.
  double worse() const;
};

struct BenchComparison {
  std::vector<Figure> figures;
  // Settings in which they differ: what is compared then is not the servers alone.
  std::vector<std::string> unlike;

  // Whether b is worse in something by more than this factor.
  bool Worse(double factor) const;
};

// Of two texts that BenchJson made. INVALID_ARGUMENT when one is none, or they have nothing in
// common.
absl::StatusOr<BenchComparison> CompareBenches(const std::string& a, const std::string& b);

Json ComparisonJson(const BenchComparison& comparison);
void PrintComparison(const BenchComparison& comparison, Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_BENCH_REPORT_H_
