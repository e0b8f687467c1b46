// The conformance suite on the Redis tier: one server, a Cluster, and the guard round the former.

#include <string>
#include <vector>

#include "tests/conformance/tier_suite.h"
#include "tests/tier/guarded_rig.h"
#include "tests/tier/redis_rig.h"
#include "tier/redis_key.h"

namespace larder {
namespace {

constexpr size_t kEnvelopeBytesMax = 2 << 20;

// The servers live as long as the test program and are emptied for each rig. The clock is the
// test's: Redis itself counts real time, which does not matter as lives here are longer than tests.
class RedisTierRig : public TierRig {
 public:
  RedisTierRig(const std::vector<RedisServer*>& masters, const std::vector<std::string>& addresses,
               Redis::Topology topology)
      : replica_(addresses, topology, &clock_),
        tier_(&replica_, {.envelope_bytes_max = kEnvelopeBytesMax}) {
    for (RedisServer* master : masters) EXPECT_EQ(master->Run({"FLUSHALL"}), "OK");
  }

  Tier& tier() override { return tier_.tier(); }
  ManualClock& clock() override { return clock_; }
  void SetRaw(std::string_view full_key, std::string_view bytes) override {
    const RedisKeys keys("larder", RedisKeys::Part::kEntry);
    replica_.Do({"SET", keys.Of(full_key), std::string(bytes)});
  }

 private:
  ManualClock clock_;
  Replica replica_;
  TierOf tier_;
};

std::unique_ptr<TierRig> NewSingleRig() {
  static RedisServer server;
  return std::make_unique<RedisTierRig>(std::vector<RedisServer*>{&server},
                                        std::vector<std::string>{server.address()},
                                        Redis::Topology::kSingle);
}

std::unique_ptr<TierRig> NewClusterRig() {
  static RedisClusterServers cluster;
  return std::make_unique<RedisTierRig>(
      std::vector<RedisServer*>{&cluster.node(0), &cluster.node(1), &cluster.node(2)},
      cluster.addresses(), Redis::Topology::kCluster);
}

std::unique_ptr<TierRig> NewGuardedRig() { return std::make_unique<GuardedRig>(NewSingleRig()); }

INSTANTIATE_TEST_SUITE_P(
    Redis, TierSuite,
    testing::Values(TierMaker{"Redis", &NewSingleRig, kEnvelopeBytesMax},
                    TierMaker{"RedisCluster", &NewClusterRig, kEnvelopeBytesMax},
                    TierMaker{"GuardedRedis", &NewGuardedRig, kEnvelopeBytesMax}),
    TierSuite::Name);

}  // namespace
}  // namespace larder
