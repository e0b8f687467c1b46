// A server's figures for the tests of the admin port, a little of everything.

#ifndef LARDER_TESTS_ADMIN_SAMPLE_VIEW_H_
#define LARDER_TESTS_ADMIN_SAMPLE_VIEW_H_

#include <utility>

#include "admin/view.h"

namespace larder {

inline v1::StatsResponse SampleStats() {
  v1::StatsResponse stats;
  stats.set_node("larder-0");
  stats.mutable_since()->set_seconds(1'700'000'000);
  stats.mutable_total()->set_hits(9);
  v1::TypeStats& user = *stats.add_types();
  user.set_type("user");
  user.set_share_max(0.5);
  user.mutable_usage()->set_hits(7);
  user.mutable_usage()->set_misses(3);
  user.mutable_usage()->set_key_bytes(10);
  user.mutable_usage()->set_value_bytes(20);
  user.mutable_usage()->set_overhead_bytes(30);
  user.mutable_usage()->mutable_eviction()->set_cold(4);
  user.mutable_compression()->set_lz4_values(2);
  user.mutable_compression()->mutable_encode_time()->set_nanos(1'500'000);
  user.mutable_filter()->set_keys(5);
  stats.add_types()->set_type("default");
  stats.add_namespaces()->set_namespace_("a\"b\\c");
  v1::TierStats& memory = *stats.add_tiers();
  memory.set_tier(v1::TIER_L1);
  memory.set_kind("memory");
  memory.set_state("ok");
  v1::TierStats& redis = *stats.add_tiers();
  redis.set_tier(v1::TIER_L2);
  redis.set_kind("redis");
  redis.set_state("no connection");
  redis.set_timeouts(6);
  v1::BreakerStats& breaker = *stats.add_breakers();
  breaker.set_name("l2");
  breaker.set_state(v1::BREAKER_STATE_OPEN);
  breaker.set_opened(2);
  stats.mutable_warm()->set_state("warming");
  stats.mutable_warm()->set_loaded(9);
  v1::OriginStats& origin = *stats.add_origins();
  origin.set_name("shop");
  origin.set_kind("sqlite");
  origin.set_state("ok");
  stats.mutable_memory()->set_budget_bytes(1'000);
  stats.mutable_watch()->set_watchers(3);
  stats.mutable_watch()->set_cut(2);
  stats.mutable_fleet()->set_state("following");
  stats.mutable_fleet()->mutable_lag()->set_nanos(250'000'000);
  v1::JournalStats& journal = *stats.mutable_journal();
  journal.set_state("ok");
  journal.set_depth(11);
  journal.set_dead_letters(8);
  v1::JournalTypeStats& behind = *journal.add_types();
  behind.set_type("user");
  behind.set_depth(11);
  behind.mutable_oldest_age()->set_seconds(12);
  v1::HotKey& hot = *stats.add_hot_keys();
  hot.set_key("secret:customer:42");
  hot.set_type("user");
  return stats;
}

inline Histogram::Snapshot SampleLatency() {
  Histogram histogram;
  histogram.Record(absl::Microseconds(40));
  histogram.Record(absl::Microseconds(400));
  histogram.Record(absl::Seconds(60));
  return histogram.Snap();
}

inline AdminView SampleView() {
  AdminView view;
  view.version = "1.2.3";
  view.node = "larder-0";
  view.started = absl::FromUnixSeconds(1'700'000'000);
  view.settings = [] {
    return std::vector<ShownSetting>{{"log.level", "info", "default"},
                                     {"node.name", "\"larder-0\"", "--set"}};
  };
  view.shed = [] {
    return std::vector<std::pair<std::string_view, uint64_t>>{{"in_flight", 7}, {"quota", 2}};
  };
  view.calls = [] { return CallsTally{3, 100}; };
  view.reloads = [] {
    return ReloadTally{
        .applied = 3, .refused = 1, .last_ok = false, .trouble = "larder.yaml:3:1: typo"};
  };
  view.replicas = [] {
    return std::vector<ReplicaTally>{{1, "alive", absl::Milliseconds(40), 7},
                                     {2, "silent", absl::Seconds(90), 3}};
  };
  view.access = [] { return AccessTally{{{"read", 4}, {"admin", 1}}, 6}; };
  view.certificates = [] {
    return CertificateEnds{{"native", absl::FromUnixSeconds(1'900'000'000)}};
  };
  view.journal_room = {1'000, 38};
  view.stats = SampleStats;
  view.rpcs = [] {
    std::vector<RpcTally> tallies(1);
    tallies[0] = {"Get", {{"OK", 2}, {"NOT_FOUND", 1}}, SampleLatency()};
    return tallies;
  };
  view.tiers_took = [] {
    return std::vector<BelowTally>{{"l2", "read", SampleLatency()}, {"l2", "change", {}}};
  };
  view.origins_took = [] {
    return std::vector<BelowTally>{{"shop", "load", SampleLatency()}, {"shop", "store", {}}};
  };
  view.deliveries = [] { return std::vector<DeliveryTally>{{"user", SampleLatency()}}; };
  view.memory_left = [] { return MemoryRoom{3000, 400, true}; };
  view.reference = [] { return LaneTally{2, 7, 1}; };
  view.native = [] {
    return std::vector<std::pair<std::string_view, uint64_t>>{
        {"connections_accepted", 5}, {"connections", 3}, {"calls", 1}};
  };
  return view;
}

}  // namespace larder

#endif  // LARDER_TESTS_ADMIN_SAMPLE_VIEW_H_
