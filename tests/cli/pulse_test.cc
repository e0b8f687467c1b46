#include "client/cli/pulse.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

constexpr char kMetrics[] = R"(# TYPE larder_rpc_duration_seconds histogram
larder_rpc_duration_seconds_bucket{rpc="Get",le="0.001"} 90
larder_rpc_duration_seconds_bucket{rpc="Get",le="0.01"} 99
larder_rpc_duration_seconds_bucket{rpc="Get",le="+Inf"} 100
larder_rpc_duration_seconds_sum{rpc="Get"} 0.2
larder_rpc_duration_seconds_bucket{rpc="Set",le="0.001"} 1e1
larder_rpc_duration_seconds_bucket{rpc="Set",le="what"} 10
larder_rpc_duration_seconds_bucket{le="1"} 10
something_else{rpc="Get",le="1"} 7
)";

Sample At(double seconds) {
  Sample sample;
  sample.at = absl::Seconds(seconds);
  sample.stats.node = "n";
  sample.stats.since = absl::UnixEpoch();
  return sample;
}

LatencyStats Calls(const std::string& rpc, uint64_t count, uint64_t errors = 0) {
  LatencyStats stats;
  stats.rpc = rpc;
  stats.count = count;
  stats.errors = errors;
  stats.p50 = absl::Milliseconds(1);
  stats.p99 = absl::Milliseconds(9);
  return stats;
}

TEST(LatencyBuckets, ReadsTheBucketsAndNothingElse) {
  const LatencyBuckets all = ReadLatencyBuckets(kMetrics);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all.at("Get").size(), 3u);
  EXPECT_EQ(all.at("Get").at(0.01), 99u);
  EXPECT_EQ(all.at("Set").size(), 1u);
  EXPECT_EQ(all.at("Set").at(0.001), 10u);
}

TEST(LatencyBuckets, QuantilesLieInsideTheirBucket) {
  const Buckets get = ReadLatencyBuckets(kMetrics).at("Get");
  EXPECT_EQ(*Quantile(get, 0.45), absl::Microseconds(500));
  EXPECT_GT(*Quantile(get, 0.95), absl::Milliseconds(1));
  EXPECT_LE(*Quantile(get, 0.99), absl::Milliseconds(10));
  // Beyond the last bound nobody knows.
  EXPECT_EQ(*Quantile(get, 0.999), absl::Milliseconds(10));
  EXPECT_EQ(Quantile({}, 0.5), std::nullopt);
  EXPECT_EQ(Quantile({{1, 0}}, 0.5), std::nullopt);
}

TEST(LatencyBuckets, TheDifferenceIsWhatCameInBetween) {
  const Buckets before = {{1, 5}, {2, 6}};
  EXPECT_EQ(Since(before, {{1, 7}, {2, 9}}), (Buckets{{1, 2}, {2, 3}}));
  // A server that began anew counts from nothing.
  EXPECT_EQ(Since(before, {{1, 1}, {2, 2}}), (Buckets{{1, 1}, {2, 2}}));
}

TEST(Pulse, RatesAreOfTheTimeBetweenTheReadings) {
  Sample before = At(10);
  before.stats.total.hits = 100;
  before.stats.total.misses = 100;
  before.stats.latencies = {Calls("Get", 200), Calls("Stats", 5)};
  Sample now = At(12);
  now.stats.total.hits = 190;
  now.stats.total.misses = 110;
  now.stats.total.evictions = 4;
  now.stats.latencies = {Calls("Get", 300, 20), Calls("Stats", 9), Calls("Set", 10)};
  const Pulse pulse = PulseOf(before, now);
  EXPECT_DOUBLE_EQ(pulse.total.reads, 50);
  EXPECT_DOUBLE_EQ(*pulse.total.hit_ratio, 0.9);
  EXPECT_DOUBLE_EQ(pulse.total.evictions, 2);
  // Without the calls that only look.
  EXPECT_DOUBLE_EQ(pulse.calls, 55);
  EXPECT_DOUBLE_EQ(pulse.errors, 10);
  ASSERT_EQ(pulse.rpcs.size(), 2u);
  EXPECT_EQ(pulse.rpcs[0].rpc, "Get");
  // No admin port: the server's own figure since its start.
  EXPECT_FALSE(pulse.windowed);
  EXPECT_EQ(*pulse.p99, absl::Milliseconds(9));
}

TEST(Pulse, LatenciesOfTheInterval) {
  Sample before = At(0);
  before.stats.latencies = {Calls("Get", 1'000)};
  before.latencies = LatencyBuckets{{"Get", {{0.001, 0}, {0.01, 1'000}}}};
  Sample now = At(1);
  now.stats.latencies = {Calls("Get", 1'100)};
  now.latencies = LatencyBuckets{{"Get", {{0.001, 100}, {0.01, 1'100}}}};
  const Pulse pulse = PulseOf(before, now);
  EXPECT_TRUE(pulse.windowed);
  EXPECT_LE(*pulse.p99, absl::Milliseconds(1));  // all hundred of them
}

TEST(Pulse, AServerThatBeganAnewCountsFromItsStart) {
  Sample before = At(0);
  before.stats.total.hits = 1'000;
  before.stats.latencies = {Calls("Get", 1'000)};
  Sample now = At(1);
  now.stats.since = absl::UnixEpoch() + absl::Hours(1);
  now.stats.total.hits = 7;
  now.stats.latencies = {Calls("Get", 7)};
  const Pulse pulse = PulseOf(before, now);
  EXPECT_TRUE(pulse.restarted);
  EXPECT_DOUBLE_EQ(pulse.total.hits, 7);
  EXPECT_DOUBLE_EQ(pulse.calls, 7);
}

TEST(Pulse, TypesWithNeitherDataNorTrafficAreLeftOut) {
  Sample now = At(1);
  TypeStats idle, busy, large;
  idle.name = "idle";
  busy.name = "busy";
  busy.usage.hits = 10;
  large.name = "large";
  large.usage.entries = 1;
  large.usage.bytes = 1'000;
  now.stats.types = {idle, large, busy};
  const Pulse pulse = PulseOf(At(0), now);
  ASSERT_EQ(pulse.types.size(), 2u);
  EXPECT_EQ(pulse.types[0].name, "busy");
  EXPECT_EQ(pulse.types[1].name, "large");
}

}  // namespace
}  // namespace larder::cli
