// The fuzzers' work in the time of a test: all seeds, and a bounded number of random mutations.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/envelope_fuzz.h"
#include "tests/fuzz/frame_fuzz.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/native_fuzz.h"
#include "tests/fuzz/session_fuzz.h"

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
        input[at] = static_cast<char>(input[at] ^ (1 << (random() % 8)));
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

struct Case {
  std::string name;
  FuzzTarget target;
  size_t mutations = 400'000;
};

class MutationsTest : public testing::TestWithParam<Case> {};

TEST_P(MutationsTest, SeedsAreAccepted) {
  // The end of a session's script may come before an answer that a worker has yet to give.
  constexpr int kTries = 10;
  const std::vector<std::string> seeds = GetParam().target.seeds();
  for (size_t i = 0; i < seeds.size(); ++i) {
    bool accepted = false;
    for (int tries = 0; !accepted && tries < kTries; ++tries)
      accepted = GetParam().target.run(seeds[i]);
    EXPECT_TRUE(accepted) << "seed " << i;
  }
}

TEST_P(MutationsTest, NeverBreakTheContract) {
  std::mt19937_64 random(20261121);
  const FuzzTarget& target = GetParam().target;
  const std::vector<std::string> seeds = target.seeds();
  size_t accepted = 0;
  const size_t mutations = GetParam().mutations;
  for (size_t i = 0; i < mutations; ++i)
    accepted += target.run(Mutated(seeds[random() % seeds.size()], seeds, random));
  // The mutations reach both what is refused and what is read.
  EXPECT_GT(accepted, mutations / 100);
  EXPECT_LT(accepted, mutations);
}

INSTANTIATE_TEST_SUITE_P(All, MutationsTest,
                         testing::Values(Case{"Envelope", {FuzzEnvelope, EnvelopeSeeds}},
                                         Case{"Frame", {FuzzFrame, FrameSeeds}},
                                         Case{"Native", {FuzzNative, NativeSeeds}},
                                         Case{"Session", {FuzzSession, SessionSeeds}, 6'000}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace larder
