// larder_l1_bench measures L1 itself, without a server round it. Run by bench/l1/run, which judges.
//
//   larder_l1_bench hits-10k | hits-1m | hits-8m | sets | threads | tails
//
// Each mode is a process of its own: what one leaves in the caches and in the allocator is nothing
// to the next. Exits 0 when it has measured, 1 when it cannot, 2 on a usage error.

#include <cstdio>
#include <string_view>

#include "bench/l1/modes.h"

int main(int argc, char** argv) {
  using namespace larder::bench;  // NOLINT: a program of one function
  const std::string_view mode = argc == 2 ? argv[1] : "";
  if (mode == "hits-10k") {
    MeasureHits(10'000, "10k");
  } else if (mode == "hits-1m") {
    MeasureHits(1'000'000, "1m");
  } else if (mode == "hits-8m") {
    MeasureHits(8'000'000, "8m");
  } else if (mode == "sets") {
    MeasureSets();
  } else if (mode == "threads") {
    MeasureThreads();
  } else if (mode == "tails") {
    MeasureTails();
  } else {
    std::fprintf(stderr, "usage: %s hits-10k | hits-1m | hits-8m | sets | threads | tails\n",
                 argv[0]);
    return 2;
  }
  return 0;
}
