// The parts of bench l1, each a mode of the program, and the caches that they measure. Thread
// safety: none; modes start threads of their own and end them. What cannot be measured ends the
// process with exit code 1.

#ifndef LARDER_BENCH_L1_MODES_H_
#define LARDER_BENCH_L1_MODES_H_

#include <cstdint>
#include <memory>

#include "memory/l1.h"

namespace larder::bench {

// An L1 that holds keys 0 to `keys` with room to spare.
std::unique_ptr<L1> FilledL1(uint64_t keys);
// One with room for about half of them, which therefore evicts already.
std::unique_ptr<L1> FullL1(uint64_t keys);

// The parts, each a mode of the program.
void MeasureHits(uint64_t keys, const char* label);
void MeasureSets();
void MeasureThreads();
void MeasureTails();

}  // namespace larder::bench

#endif  // LARDER_BENCH_L1_MODES_H_
