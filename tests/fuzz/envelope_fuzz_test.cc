// The fuzzer's work in the time of a test: all seeds, and a bounded number of random mutations.

#include "tests/fuzz/envelope_fuzz.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace larder {
namespace {

std::string Mutated(std::string input, const std::vector<std::string>& seeds,
                    std::mt19937_64& random) {
  const size_t changes = 1 + random() % 4;
  for (size_t i = 0; i < changes; ++i) {
    if (input.empty()) input = "x";
    // Mostly in front, where the structure is.
    const size_t at =
        random() % (random() % 4 == 0 ? input.size() : std::min<size_t>(64, input.size()));
    switch (random() % 7) {
      case 0:
        input[at] ^= static_cast<char>(1 << (random() % 8));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2:
        input.erase(at, 1 + random() % 8);
        break;
      case 3:
        input.insert(at, std::string(1 + random() % 8, static_cast<char>(random())));
        break;
      case 4:
        input.resize(random() % (input.size() + 1));
        break;
      case 5:
        // Numbers at the edges.
        input.replace(at, std::min<size_t>(10, input.size() - at),
                      std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1 + random() % 10));
        break;
      default: {
        const std::string& other = seeds[random() % seeds.size()];
        input = input.substr(0, at) + other.substr(random() % other.size());
        break;
      }
    }
  }
  return input;
}

TEST(EnvelopeFuzzTest, SeedsDecode) {
  for (const std::string& seed : EnvelopeSeeds()) EXPECT_TRUE(FuzzEnvelope(seed));
}

TEST(EnvelopeFuzzTest, MutationsNeverBreakTheContract) {
  std::mt19937_64 random(20261121);
  const std::vector<std::string> seeds = EnvelopeSeeds();
  size_t decoded = 0;
  constexpr size_t kMutations = 400'000;
  for (size_t i = 0; i < kMutations; ++i) {
    decoded += FuzzEnvelope(Mutated(seeds[random() % seeds.size()], seeds, random));
  }
  // The mutations reach both what is refused and what is read.
  EXPECT_GT(decoded, kMutations / 100);
  EXPECT_LT(decoded, kMutations);
}

}  // namespace
}  // namespace larder
