// An hour of a cache's life, and how much memory the process takes in it. See churn.cc.
// Thread safety: none; it starts threads of its own and ends them.

#ifndef LARDER_BENCH_MEMORY_CHURN_H_
#define LARDER_BENCH_MEMORY_CHURN_H_

namespace larder::bench {

void MeasureChurn();

}  // namespace larder::bench

#endif  // LARDER_BENCH_MEMORY_CHURN_H_
