// Three replicas, one tier, one bus, everything that goes wrong, and the promises that hold all the
// same: bounded staleness, no stale fill, one load, read your writes, and that an invalidation
// reaches every copy. A seed repeats its run: LARDER_SIM_SEED=N runs one, LARDER_SIM_SEEDS=N runs
// the first N instead of 1,000.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/log.h"
#include "tests/sim/fleet_world.h"

namespace larder {
namespace {

constexpr uint64_t kSeeds = 1000;
// The seeds are dealt out to so many cases, which run side by side.
constexpr uint64_t kParts = 8;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

// Faults are logged at length.
class Quiet {
 public:
  Quiet() : nowhere_(open("/dev/null", O_WRONLY)) { ConfigureLog({.fd = nowhere_}); }
  ~Quiet() {
    ConfigureLog({});
    close(nowhere_);
  }

 private:
  const int nowhere_;
};

class FleetFaults : public testing::TestWithParam<uint64_t> {};

TEST_P(FleetFaults, KeepsItsPromises) {
  const Quiet quiet;
  const uint64_t one = FromEnvironment("LARDER_SIM_SEED", 0);
  const uint64_t seeds = FromEnvironment("LARDER_SIM_SEEDS", kSeeds);
  FleetTally sum;
  uint64_t runs = 0;
  for (uint64_t seed = 1 + GetParam(); seed <= std::max(seeds, one); seed += kParts) {
    if (one != 0 && seed != one) continue;
    FleetWorld world(seed);
    world.Run();
    const FleetTally& tally = world.tally();
    ++runs;
    sum.changes += tally.changes;
    sum.reads += tally.reads;
    sum.hits += tally.hits;
    sum.leases += tally.leases;
    sum.fills += tally.fills;
    sum.fleet_waits += tally.fleet_waits;
    sum.increments += tally.increments;
    sum.restarts += tally.restarts;
    sum.suspects += tally.suspects;
    sum.settled += tally.settled;
    sum.told += tally.told;
    sum.flights += tally.flights;
    sum.stale += tally.stale;
    sum.filtered += tally.filtered;
    sum.absent += tally.absent;
    sum.warmed += tally.warmed;
    if (world.failure().empty()) continue;
    ADD_FAILURE() << "LARDER_SIM_SEED=" << seed << ": " << world.failure() << "\n" << world.Story();
  }
  std::printf(
      "runs %lu: changes %lu (told %lu) reads %lu hits %lu leases %lu fills %lu fleet waits %lu "
      "increments %lu restarts %lu suspect reads %lu settled %lu flights %lu stale %lu filtered "
      "%lu absent %lu warmed %lu\n",
      runs, sum.changes, sum.told, sum.reads, sum.hits, sum.leases, sum.fills, sum.fleet_waits,
      sum.increments, sum.restarts, sum.suspects, sum.settled, sum.flights, sum.stale, sum.filtered,
      sum.absent, sum.warmed);
  if (runs < 50) return;
  // The simulation is worth something only while all of it happens.
  EXPECT_GT(sum.told, 10 * runs);
  EXPECT_GT(sum.hits, 20 * runs);
  EXPECT_GT(sum.fills, 5 * runs);
  EXPECT_GT(sum.fleet_waits, runs);
  EXPECT_GT(sum.increments, 5 * runs);
  EXPECT_GT(sum.restarts, runs / 4);
  EXPECT_GT(sum.suspects, runs);
  EXPECT_GT(sum.settled, runs);
  EXPECT_GT(sum.flights, 10 * runs);
  EXPECT_GT(sum.stale, runs / 4);
  EXPECT_GT(sum.absent, runs / 4);
  EXPECT_GT(sum.warmed, 5 * runs);
}

TEST(FleetSimulation, ASeedRepeatsItsRun) {
  const Quiet quiet;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    const auto digest = [seed] {
      FleetWorld world(seed);
      world.Run();
      return world.digest();
    };
    EXPECT_EQ(digest(), digest()) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Part, FleetFaults, testing::Range<uint64_t>(0, kParts));

}  // namespace
}  // namespace larder
