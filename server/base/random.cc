#include "base/random.h"

namespace larder {
namespace {

std::mt19937_64 SeededBySystem() {
  std::random_device device;
  std::seed_seq seed{device(), device(), device(), device()};
  return std::mt19937_64(seed);
}

class SystemRandom : public Random {
 public:
  uint64_t Next() override {
    thread_local std::mt19937_64 generator = SeededBySystem();
    return generator();
  }
};

}  // namespace

Random* Random::System() {
  static SystemRandom* const random = new SystemRandom;
  return random;
}

}  // namespace larder
