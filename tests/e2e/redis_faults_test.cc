// Losing Redis in every way that it can be lost, under traffic, with real processes: no call fails
// that may be answered without it, no value is older than promised, everything is well again
// without a restart, and the counters tell what happened.

#include <algorithm>
#include <cstdlib>

#include "tests/e2e/counting_traffic.h"
#include "tests/e2e/fleet_fixture.h"
#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/tcp_proxy.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

// What kShortTimes promises to the other replicas (bus.trust, and a replica's silence), and room
// for a busy machine.
constexpr milliseconds kOthersWithin{3000};
constexpr int kKeys = 20;

std::string UrlOf(int port) { return "redis://127.0.0.1:" + std::to_string(port) + "/0"; }

class RedisFaultsTest : public testing::Test {
 protected:
  void StartFleet(const std::string& url_a, const std::string& url_b) {
    StartFleetOf(FleetConfig(1, url_a, "", kShortTimes), FleetConfig(2, url_b, "", kShortTimes));
  }
  void StartFleetOf(const std::string& config_a, const std::string& config_b) {
    a_ = std::make_unique<Replica>(config_a);
    b_ = std::make_unique<Replica>(config_b);
    ASSERT_TRUE(Eventually([&] {
      return a_->Well() && b_->Well() && a_->Fleet().replicas() == 1 && b_->Fleet().replicas() == 1;
    }));
    traffic_ = std::make_unique<CountingTraffic>(a_.get(), b_.get());
    for (int i = 0; i < kKeys; ++i) {
      ASSERT_TRUE(a_->Set(Changed(i), "1").ok());
      ASSERT_TRUE(a_->Set(Removed(i), "1").ok());
      // B has copies of all of them.
      ASSERT_TRUE(
          Eventually([&] { return b_->Value(Changed(i)) == "1" && b_->Value(Removed(i)) == "1"; }));
    }
    // What the other replica has once had it never has an older value of, unless Redis loses that.
    const int64_t before = traffic_->acknowledged();
    ASSERT_TRUE(Eventually([&] { return std::atoll(b_->Value("count").c_str()) >= before; }));
    traffic_->RequireOthersAtLeast(before);
    traffic_->AwaitRounds(30);
  }

  static std::string Changed(int i) { return "changed:" + std::to_string(i); }
  static std::string Removed(int i) { return "removed:" + std::to_string(i); }

  // What A does while Redis is away. B looks on.
  void WriteDuringFault() {
    for (int i = 0; i < kKeys; ++i) {
      EXPECT_TRUE(a_->Set(Changed(i), "2").ok());
      EXPECT_TRUE(a_->Delete(Removed(i)).ok());
      b_->Get(Changed(i));
      b_->Get(Removed(i));
      EXPECT_EQ(a_->Value(Changed(i)), "2");
      EXPECT_EQ(a_->Value(Removed(i)), "");
    }
    traffic_->AwaitRounds(10);
  }

  // Whether `replica` has nothing of what WriteDuringFault replaced. What it wrote may be a miss: a
  // copy that the tier never took may have been dropped for want of proof that it is the newest.
  static bool IsUpToDate(Replica* replica) {
    for (int i = 0; i < kKeys; ++i) {
      if (replica->Value(Changed(i)) == "1" || !replica->Value(Removed(i)).empty()) return false;
    }
    return true;
  }
  static std::string Shown(Replica* replica) {
    std::string shown;
    for (int i = 0; i < kKeys; ++i)
      shown += "'" + replica->Value(Changed(i)) + "' '" + replica->Value(Removed(i)) + "', ";
    return shown + replica->Fleet().DebugString();
  }
  // A has never been behind what it acknowledged.
  void CheckOwnWrites() {
    for (int i = 0; i < kKeys; ++i) {
      ASSERT_NE(a_->Value(Changed(i)), "1") << i;
      ASSERT_EQ(a_->Value(Removed(i)), "") << i;
    }
  }

  void CheckRecovery() {
    ASSERT_TRUE(Eventually([&] {
      CheckOwnWrites();
      return HasFatalFailure() || (a_->Well() && b_->Well());
    })) << a_->Stats().DebugString()
        << b_->Stats().DebugString();
    if (HasFatalFailure()) return;
    traffic_->RequireOthersWithin(kOthersWithin);
    traffic_->AwaitRounds(30);
    EXPECT_TRUE(IsUpToDate(a_.get())) << Shown(a_.get());
    EXPECT_TRUE(Eventually([&] { return IsUpToDate(b_.get()); })) << Shown(b_.get());
    traffic_->Stop();
    const std::string last = std::to_string(traffic_->acknowledged());
    EXPECT_TRUE(Eventually([&] {
      for (const char* const key : {"count", "batch:0", "batch:1", "batch:2"}) {
        if (a_->Value(key) != last || b_->Value(key) != last) return false;
      }
      return true;
    }));
    // What an operator would ask finds no copy that is older than what is known elsewhere.
    std::string verify = LARDER_BIN_DIR "/larder --server " + a_->address() + "," + b_->address() +
                         " verify --bound 5s count batch:0 batch:1 batch:2";
    for (int i = 0; i < kKeys; ++i) verify += " " + Changed(i) + " " + Removed(i);
    EXPECT_EQ(std::system(verify.c_str()), 0) << verify;
  }

  // For those who look at nothing but metrics.
  static void ExpectCounted(Replica* replica, const std::vector<std::string>& series) {
    for (const std::string& one : series) EXPECT_GT(replica->Metric(one), 0) << one;
  }

  // The second tier was seen to fail, calls to it stopped, and it was made good since.
  void CheckCountersOfAnOutage() {
    const v1::TierStats tier = a_->L2();
    EXPECT_GT(tier.errors(), 0u);
    EXPECT_GT(tier.rejected(), 0u);
    EXPECT_GT(tier.owed_total(), 0u);
    EXPECT_GT(tier.settled(), 0u);
    EXPECT_EQ(tier.owed(), 0u);
    const v1::BreakerStats breaker = a_->Breaker();
    EXPECT_GE(breaker.opened(), 1u);
    EXPECT_NE(breaker.reason(), "");
    ExpectCounted(a_.get(), {R"(larder_tier_errors_total{tier="l2"})",
                             R"(larder_tier_rejected_total{tier="l2"})",
                             R"(larder_tier_owed_writes_total{tier="l2"})",
                             R"(larder_tier_settled_writes_total{tier="l2"})",
                             R"(larder_breaker_opened_total{breaker="l2"})",
                             R"(larder_tier_up{tier="l2"})", "larder_bus_up"});
    EXPECT_EQ(a_->Metric(R"(larder_tier_owed_keys{tier="l2"})"), 0);
    EXPECT_EQ(a_->Metric("larder_bus_suspect"), 0);
  }

  // A type that requires the second tier says so when it is away, conditions and counters too.
  void CheckStrictIsRefused() {
    for (int i = 0; i < 3; ++i) {
      const grpc::Status set = a_->Set("strict:a", "x");
      EXPECT_EQ(set.error_code(), grpc::StatusCode::UNAVAILABLE) << set.error_message();
      EXPECT_EQ(ReasonOf(set), "TIER_UNAVAILABLE");
      bool stored = false;
      EXPECT_EQ(ReasonOf(a_->SetIfAbsent("strict:b", "x", &stored)), "TIER_UNAVAILABLE");
      int64_t value = 0;
      EXPECT_EQ(ReasonOf(a_->Increment("strict:c", &value)), "TIER_UNAVAILABLE");
      EXPECT_EQ(ReasonOf(a_->Delete("strict:a")), "TIER_UNAVAILABLE");
      // Reads go on.
      EXPECT_EQ(a_->Value("strict:a"), "");
    }
  }
  void CheckStrictWorks() {
    EXPECT_TRUE(Eventually([&] { return a_->Set("strict:a", "y").ok(); }));
    EXPECT_TRUE(Eventually([&] { return b_->Value("strict:a") == "y"; }));
  }

  std::unique_ptr<Replica> a_;
  std::unique_ptr<Replica> b_;
  std::unique_ptr<CountingTraffic> traffic_;
};

TEST_F(RedisFaultsTest, KilledAndBackEmpty) {
  RedisServer redis;
  StartFleet(UrlOf(redis.port()), UrlOf(redis.port()));
  redis.Kill();
  WriteDuringFault();
  CheckStrictIsRefused();
  EXPECT_TRUE(Eventually([&] { return a_->Breaker().opened() > 0 && b_->Fleet().suspect(); }));
  redis.Start();
  CheckRecovery();
  CheckCountersOfAnOutage();
  CheckStrictWorks();
  EXPECT_GT(a_->Fleet().gaps(), 0u);
  EXPECT_GT(b_->Fleet().gaps(), 0u);
}

TEST_F(RedisFaultsTest, KilledAndBackWithWhatItHadAMomentBefore) {
  RedisServer redis;
  StartFleet(UrlOf(redis.port()), UrlOf(redis.port()));
  ASSERT_EQ(redis.Run({"SAVE"}), "OK");
  // Redis loses what it acknowledged from here on.
  WriteDuringFault();
  redis.Kill();
  redis.Start();
  CheckRecovery();
  EXPECT_GT(a_->L2().errors(), 0u);
  EXPECT_GT(a_->L2().settled(), 0u);
  ExpectCounted(a_.get(), {R"(larder_tier_errors_total{tier="l2"})",
                           R"(larder_tier_settled_writes_total{tier="l2"})"});
}

TEST_F(RedisFaultsTest, Flushed) {
  RedisServer redis;
  StartFleet(UrlOf(redis.port()), UrlOf(redis.port()));
  // How many keys Redis has is asked every few seconds.
  EXPECT_TRUE(Eventually([&] { return a_->L2().entries() > 2 * kKeys; }, seconds(30)));
  const uint64_t misses = b_->L2().misses();
  // What is lost before the other replica has read it is a gap, and Redis is seen to be emptier.
  EXPECT_TRUE(Eventually(
      [&] {
        EXPECT_EQ(redis.Run({"FLUSHALL"}), "OK");
        return a_->L2().entries() < 2 * kKeys && a_->Fleet().gaps() > 0 && b_->Fleet().gaps() > 0;
      },
      seconds(30)))
      << a_->Stats().DebugString();
  EXPECT_GT(b_->L2().misses(), misses);
  ExpectCounted(b_.get(), {"larder_bus_gaps_total", R"(larder_tier_misses_total{tier="l2"})"});
  WriteDuringFault();
  CheckRecovery();
}

TEST_F(RedisFaultsTest, FailedOverToAReplicaThatWasBehind) {
  RedisSentinelServers servers;
  std::string url = "redis+sentinel://";
  for (const std::string& address : servers.addresses()) url += address + ",";
  url.back() = '/';
  url += RedisSentinelServers::kMasterName + std::string("/0");
  StartFleet(url, url);
  // From here on the replica hears nothing more, and cannot come back.
  servers.server(1).Run({"CONFIG", "SET", "masteruser", "nobody"});
  servers.server(1).Run({"CONFIG", "SET", "masterauth", "wrong"});
  servers.server(0).Run({"CLIENT", "KILL", "TYPE", "replica"});
  EXPECT_TRUE(Eventually([&] { return servers.server(1).Info("master_link_status") == "down"; }));
  WriteDuringFault();
  servers.LetReplicaTakeOver();
  servers.server(0).Kill();
  EXPECT_TRUE(Eventually([&] { return servers.server(1).Info("role") == "master"; }));
  CheckRecovery();
  EXPECT_GT(a_->L2().errors(), 0u);
  EXPECT_GT(a_->Fleet().gaps(), 0u);
  EXPECT_GT(b_->Fleet().gaps(), 0u);
  ExpectCounted(a_.get(), {R"(larder_tier_errors_total{tier="l2"})", "larder_bus_gaps_total"});
}

// It dies with the bus and a third of the keys, and with what its replica has not heard of.
TEST_F(RedisFaultsTest, ClusterMasterOfTheBusDiesAndItsReplicaTakesOver) {
  RedisClusterServers servers;
  std::string url = "redis-cluster://";
  for (const std::string& address : servers.addresses()) url += address + ",";
  url.back() = '/';
  StartFleet(url, url);
  const int slot = std::atoi(servers.node(0).Run({"CLUSTER", "KEYSLOT", "larder:bus"}).c_str());
  const int owner = servers.OwnerOf(slot);
  ASSERT_EQ(servers.node(owner).Run({"EXISTS", "larder:bus"}), "1");
  servers.LetReplicasTakeOver();
  servers.node(owner).Kill();
  WriteDuringFault();
  const int witness = (owner + 1) % 3;
  EXPECT_TRUE(Eventually([&] {
    const int now = servers.OwnerOf(slot, witness);
    return now >= 0 && now != owner;
  }));
  CheckRecovery();
  EXPECT_GT(a_->L2().errors(), 0u);
  EXPECT_GT(a_->Fleet().gaps(), 0u);
  EXPECT_GT(b_->Fleet().gaps(), 0u);
  ExpectCounted(a_.get(), {R"(larder_tier_errors_total{tier="l2"})", "larder_bus_gaps_total"});
}

TEST_F(RedisFaultsTest, WritersReplicaIsCutOffAndItsLastBytesComeLate) {
  RedisServer redis;
  TcpProxy proxy(redis.port());
  StartFleet(UrlOf(proxy.port()), UrlOf(redis.port()));
  proxy.Hold();
  WriteDuringFault();
  CheckStrictIsRefused();
  // Who is silent may have changed something that it cannot tell.
  EXPECT_TRUE(Eventually([&] { return a_->Breaker().opened() > 0 && b_->Fleet().gaps() > 0; }));
  proxy.Release();
  CheckRecovery();
  CheckCountersOfAnOutage();
  CheckStrictWorks();
}

TEST_F(RedisFaultsTest, WritersReplicaIsCutOffAndItsLastBytesAreLost) {
  RedisServer redis;
  TcpProxy proxy(redis.port());
  StartFleet(UrlOf(proxy.port()), UrlOf(redis.port()));
  proxy.Hold();
  WriteDuringFault();
  EXPECT_TRUE(Eventually([&] { return a_->Breaker().opened() > 0 && b_->Fleet().gaps() > 0; }));
  // Whoever gave up on these connections is right: nothing of what they hold arrives.
  proxy.Cut();
  proxy.Release();
  CheckRecovery();
  CheckCountersOfAnOutage();
  ExpectCounted(b_.get(), {"larder_bus_gaps_total"});
}

TEST_F(RedisFaultsTest, ReadersReplicaIsCutOffAndStopsToTrustItsMemory) {
  RedisServer redis;
  TcpProxy proxy(redis.port());
  // What A may wait for Redis is none of this test: not one of its calls may fail.
  StartFleetOf(FleetConfig(1, UrlOf(redis.port()), "bus: { heartbeat: 100ms, trust: 10s }\n"),
               FleetConfig(2, UrlOf(proxy.port()),
                           "bus: { heartbeat: 100ms, trust: 1s, when_lost: miss }\n", kShortTimes));
  // With when_lost: miss the bound holds all through.
  traffic_->RequireOthersWithin(kOthersWithin);
  proxy.Hold();
  WriteDuringFault();
  EXPECT_TRUE(Eventually([&] {
    return b_->Fleet().suspect() && b_->Breaker().opened() > 0 &&
           b_->Get(Changed(0)).miss().reason() == v1::MISS_REASON_TIER_FAILED;
  }));
  EXPECT_EQ(a_->Breaker().opened(), 0u);
  proxy.Release();
  CheckRecovery();
  EXPECT_GT(b_->Fleet().gaps(), 0u);
  EXPECT_GT(b_->L2().errors(), 0u);
  EXPECT_GE(b_->Breaker().opened(), 1u);
  EXPECT_EQ(a_->L2().errors(), 0u);
  ExpectCounted(b_.get(), {R"(larder_tier_errors_total{tier="l2"})", "larder_bus_gaps_total",
                           R"(larder_breaker_opened_total{breaker="l2"})"});
}

TEST_F(RedisFaultsTest, SlowerThanTheTimeLimit) {
  RedisServer redis;
  TcpProxy proxy(redis.port());
  StartFleet(UrlOf(proxy.port()), UrlOf(proxy.port()));
  proxy.Delay(kShortTimes.tier + milliseconds(250));
  WriteDuringFault();
  EXPECT_TRUE(Eventually([&] { return a_->Breaker().opened() > 0; }));
  EXPECT_GT(a_->L2().timeouts(), 0u);
  CheckStrictIsRefused();
  proxy.Delay(milliseconds(0));
  CheckRecovery();
  CheckCountersOfAnOutage();
  ExpectCounted(a_.get(), {R"(larder_tier_timeouts_total{tier="l2"})"});
  CheckStrictWorks();
}

TEST_F(RedisFaultsTest, OutOfMemory) {
  RedisServer redis;
  StartFleet(UrlOf(redis.port()), UrlOf(redis.port()));
  ASSERT_EQ(redis.Run({"CONFIG", "SET", "maxmemory", "1"}), "OK");
  WriteDuringFault();
  EXPECT_EQ(ReasonOf(a_->Set("strict:a", "x")), "TIER_UNAVAILABLE");
  EXPECT_TRUE(Eventually([&] { return a_->Fleet().gaps() > 0 && b_->Fleet().gaps() > 0; }));
  EXPECT_TRUE(IsUpToDate(a_.get())) << Shown(a_.get());
  EXPECT_GT(a_->L2().owed(), 0u);
  ASSERT_EQ(redis.Run({"CONFIG", "SET", "maxmemory", "0"}), "OK");
  CheckRecovery();
  const v1::TierStats tier = a_->L2();
  EXPECT_GT(tier.errors(), 0u);
  EXPECT_GT(tier.settled(), 0u);
  ExpectCounted(a_.get(), {R"(larder_tier_errors_total{tier="l2"})",
                           R"(larder_tier_settled_writes_total{tier="l2"})",
                           "larder_bus_append_errors_total"});
  CheckStrictWorks();
}

TEST_F(RedisFaultsTest, FrozenCostsHitsNothingAndMissesTheTimeLimitUntilTheBreakerOpens) {
  RedisServer redis;
  // Hits are trusted for as long as this test takes.
  constexpr FleetTimes kTimes{.tier = milliseconds(50), .trust = milliseconds(60'000)};
  const std::string config = FleetConfig(1, UrlOf(redis.port()), "", kTimes);
  Replica replica(config);
  ASSERT_TRUE(Eventually([&] { return replica.Well(); }));
  ASSERT_TRUE(replica.Set("hot", "1").ok());
  redis.Freeze();
  const auto reads = [&replica] {
    const v1::TierStats tier = replica.L2();
    return tier.hits() + tier.misses();
  };
  const uint64_t before = reads();
  const auto begun = steady_clock::now();
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(replica.Value("hot"), "1");
    ASSERT_EQ(replica.Get("hot").hit().tier(), v1::TIER_L1);
  }
  // Not one of them waited for the tier.
  EXPECT_EQ(reads(), before);
  EXPECT_LT(steady_clock::now() - begun, 200 * milliseconds(20));
  int slow = 0;
  int stopped = 0;
  int misses = 0;
  const auto from = steady_clock::now();
  while (replica.Breaker().opened() == 0 && steady_clock::now() - from < seconds(10)) {
    const auto asked = steady_clock::now();
    EXPECT_EQ(replica.Get("cold:" + std::to_string(++misses)).miss().reason(),
              v1::MISS_REASON_TIER_FAILED);
    const auto took = steady_clock::now() - asked;
    slow += took > milliseconds(45) ? 1 : 0;
    stopped += took > milliseconds(500) ? 1 : 0;
  }
  // The time limit is 50 ms. Now and then a busy machine stops one of them for longer.
  EXPECT_LE(stopped, 2);
  EXPECT_LT(steady_clock::now() - from, seconds(5));
  EXPECT_GT(slow, 0);
  // From here on they are refused at once, but for a few probes.
  const uint64_t rejected = replica.L2().rejected();
  int quick = 0;
  for (int i = 0; i < 100; ++i) {
    const auto asked = steady_clock::now();
    replica.Get("colder:" + std::to_string(i));
    quick += steady_clock::now() - asked < milliseconds(45) ? 1 : 0;
    ASSERT_EQ(replica.Value("hot"), "1");
  }
  EXPECT_GE(quick, 80);
  EXPECT_GE(replica.L2().rejected(), rejected + 80);
  redis.Thaw();
  EXPECT_TRUE(Eventually([&] {
    return replica.Get("coldest").miss().reason() != v1::MISS_REASON_TIER_FAILED && replica.Well();
  }));
}

// A load asks the tier up to four times: for the key, for the fleet's lease, again, and to keep it.
TEST_F(RedisFaultsTest, FrozenCostsALoadTheTimeLimitOnce) {
  RedisServer redis;
  OriginProcess origin(EchoOrigin());
  constexpr milliseconds kTimeout{1000};
  std::string config = FleetConfig(1, UrlOf(redis.port()),
                                   "  shop: { match: [\"shop:*\"], origin: shop }\n"
                                   "origins: { shop: { grpc: { target: \"" +
                                       origin.target() + "\" } } }\n",
                                   {.tier = kTimeout, .trust = milliseconds(60'000)});
  // The breaker has its own test, and stays out of this one.
  const std::string breaker = "breaker: { ";
  config.insert(config.find(breaker) + breaker.size(), "min_calls: 1000000, ");
  Replica replica(config);
  ASSERT_TRUE(Eventually([&] { return replica.Well(); }));
  v1::GetOrLoadResponse response;
  ASSERT_TRUE(replica.GetOrLoad("shop:0", &response).ok());
  redis.Freeze();
  // The quickest of a few, for a machine that may be busy.
  const auto took = [&](const std::string& prefix) {
    auto quickest = steady_clock::duration::max();
    for (const char* key : {"1", "2", "3"}) {
      const auto asked = steady_clock::now();
      EXPECT_TRUE(replica.GetOrLoad(prefix + key, &response, /*seconds=*/20).ok());
      quickest = std::min(quickest, steady_clock::now() - asked);
    }
    return quickest;
  };
  // Between one and two of them.
  const auto loaded = took("shop:");
  EXPECT_EQ(response.hit().value(), "shop:3");
  EXPECT_GT(loaded, kTimeout / 2);
  EXPECT_LT(loaded, kTimeout * 19 / 10);
  EXPECT_LT(took("other:"), kTimeout * 19 / 10);
  EXPECT_TRUE(response.has_lease());
  redis.Thaw();
  EXPECT_TRUE(Eventually([&] { return replica.Well(); }));
}

// Trusted for a second. After that copies are suspect, and a probe has
// found out that nobody can tell; not one of the hits does, for which it would take half a second.
TEST_F(RedisFaultsTest, FrozenForLongCostsHitsNothingEither) {
  RedisServer redis;
  constexpr milliseconds kTimeout{500};
  Replica replica(
      FleetConfig(1, UrlOf(redis.port()), "", {.tier = kTimeout, .trust = milliseconds(1000)}));
  ASSERT_TRUE(Eventually([&] { return replica.Well(); }));
  ASSERT_TRUE(replica.Set("hot", "1").ok());
  redis.Freeze();
  const auto begun = steady_clock::now();
  int slow = 0;
  int hits = 0;
  while (replica.Fleet().served_suspect() < 3'000 && steady_clock::now() - begun < seconds(60)) {
    const auto asked = steady_clock::now();
    ++hits;
    ASSERT_EQ(replica.Value("hot"), "1");
    slow += steady_clock::now() - asked > kTimeout * 4 / 5 ? 1 : 0;
  }
  EXPECT_GE(replica.Fleet().served_suspect(), 3'000u);
  EXPECT_LE(slow, hits / 100) << "where the machine stood still";
  redis.Thaw();
  EXPECT_TRUE(Eventually([&] { return replica.Well(); }));
}

}  // namespace
}  // namespace larder
