// How a bench's program speaks to the script that runs it: one figure a line on standard output,
//   NAME VALUE UNIT
// which the script judges; all else goes to standard error. And the few sums that figures need.
// Thread safety: functions without state.

#ifndef LARDER_BENCH_REPORT_H_
#define LARDER_BENCH_REPORT_H_

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace larder::bench {

inline void Report(const char* name, double value, const char* unit) {
  std::printf("%s %.6f %s\n", name, value, unit);
  std::fflush(stdout);
}

// The bench cannot measure: something does not do what it is measured for.
[[noreturn]] inline void Broken(const char* what) {
  std::fprintf(stderr, "broken: %s\n", what);
  std::exit(1);
}

// REQUIRES: not empty.
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// The median of a[i] / b[i]: noise that lasts longer than a round hits both and drops out.
inline double MedianRatio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.size(); ++i) ratios.push_back(a[i] / b[i]);
  return Median(ratios);
}

}  // namespace larder::bench

#endif  // LARDER_BENCH_REPORT_H_
