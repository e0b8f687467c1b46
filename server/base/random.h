// Random gives random numbers. What draws lots takes one, so that a seed repeats a run.
// Thread safety: any method, any thread. Never blocks for long.

#ifndef LARDER_BASE_RANDOM_H_
#define LARDER_BASE_RANDOM_H_

#include <cstdint>
#include <random>

#include "base/mutex.h"

namespace larder {

class Random {
 public:
  virtual ~Random() = default;

  // Uniform over all 64-bit numbers.
  virtual uint64_t Next() = 0;

  // Uniform over [-1, 1].
  double NextSigned() {
    return static_cast<double>(static_cast<int64_t>(Next())) / 9223372036854775808.0;
  }

  // Seeded by the system, one generator a thread. Lives for ever. Not for secrets.
  static Random* System();
};

// The same numbers for the same seed.
class SeededRandom : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : generator_(seed) {}
  uint64_t Next() override {
    MutexLock lock(&mu_);
    return generator_();
  }

 private:
  Mutex mu_;
  std::mt19937_64 generator_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_BASE_RANDOM_H_
