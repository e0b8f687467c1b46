// What went wrong anywhere below can be read from the answer to Stats: each count in a field of its
// own.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/request_ids.h"
#include "rpc/cache_handlers.h"
#include "rpc/methods.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

// A tier, a bus and leases that do nothing and have counts that no play of faults would give them
// together.
class CountingTier : public Tier {
 public:
  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string>, MonoNanos) override {
    co_return Away();
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut>, MonoNanos) override {
    co_return Away();
  }
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase>, MonoNanos) override {
    co_return Away();
  }
  Task<absl::StatusOr<TierPage>> Scan(TierScan, MonoNanos) override { co_return Away(); }
  bool shared() const override { return true; }
  TierStats Stats() const override { return stats; }

  TierStats stats;

 private:
  static absl::Status Away() { return absl::UnavailableError("this tier only counts"); }
};

class CountingBus : public Bus {
 public:
  void Start(BusListener*) override {}
  Task<absl::Status> Stop(MonoNanos) override { co_return absl::OkStatus(); }
  void Publish(BusMessage) override {}
  Task<FleetAck> PublishAndWait(BusMessage, MonoNanos) override {
    co_return FleetAck{.replicas = 2, .acknowledged = 1, .known = true};
  }
  BusStats Stats() const override { return stats; }

  BusStats stats;
};

class CountingLeases : public FleetLease {
 public:
  Task<FleetLeaseTurn> Acquire(std::string, MonoNanos, MonoNanos) override {
    co_return FleetLeaseTurn();
  }
  Task<absl::StatusOr<bool>> Release(std::shared_ptr<HeldFleetLease>, MonoNanos) override {
    co_return false;
  }
  FleetLeaseStats Stats() const override { return stats; }

  FleetLeaseStats stats;
};

class StatsTest : public ReplicasFixture {
 protected:
  std::unique_ptr<Engine> NewEngine(bool alone = false) {
    Engine::Options options;
    options.clock = &clock_;
    options.random = &random_;
    options.executor = &executor_;
    options.types = *TypeTable::Make({});
    if (!alone) {
      options.tier = &told_tier_;
      options.bus = &told_bus_;
      options.fleet_leases = &told_leases_;
    }
    return std::make_unique<Engine>(options);
  }
  // What the replica of `engine` answers.
  v1::StatsResponse Ask(Engine* engine, std::function<WarmStats()> warm = nullptr) {
    RequestIds request_ids({.clock = &clock_});
    MethodTable methods;
    CacheHandlers handlers({.limits = {}, .node_name = "a", .warm_stats = std::move(warm)}, engine,
                           &request_ids, &methods);
    const v1::StatsRequest request;
    v1::StatsResponse response;
    CallContext context;
    const absl::Status answered = Now(handlers.Stats(&context, &request, &response));
    EXPECT_TRUE(answered.ok()) << answered;
    return response;
  }

  CountingTier told_tier_;
  CountingBus told_bus_;
  CountingLeases told_leases_;
};

TEST_F(StatsTest, TellsWhyATierWasDropped) {
  told_tier_.stats.full = 1;
  told_tier_.stats.dropped_damaged = 2;
  told_tier_.stats.dropped_power_loss = 3;
  const auto engine = NewEngine();
  const v1::StatsResponse stats = Ask(engine.get());
  ASSERT_EQ(stats.tiers_size(), 2);
  EXPECT_EQ(stats.tiers(1).full(), 1u);
  EXPECT_EQ(stats.tiers(1).dropped_damaged(), 2u);
  EXPECT_EQ(stats.tiers(1).dropped_power_loss(), 3u);
}

TEST_F(StatsTest, TellsWhatTheTierOwesAndMayHaveLost) {
  Add({.bus = false,
       .fleet_leases = false,
       .engine = {.memory_bytes = L1::kBudgetBytesMin, .owed_max = 2}});
  for (const char* key : {"a1", "a2", "a3", "c"}) Set(0, key, "old");
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "b", "new");
  Set(0, "c", "new");
  Delete(0, "d");  // one more than can be remembered
  tier(0).SetFaults({});
  Evict(0, "c");
  // The tier answers again: a1, a2 and a3 may be lost, and there is no room to remember them. Its
  // old `c` is not read.
  EXPECT_NE(Get(0, "c"), "old");
  const v1::StatsResponse stats = Ask(&engine(0));
  ASSERT_EQ(stats.tiers_size(), 2);
  const v1::TierStats& tier = stats.tiers(1);
  EXPECT_EQ(tier.owed(), 2u);
  EXPECT_EQ(tier.owed_total(), 6u);
  EXPECT_EQ(tier.owed_again(), 3u);
  EXPECT_EQ(tier.owed_forgotten(), 4u);
  EXPECT_EQ(tier.outdated_reads(), 1u);
}

TEST_F(StatsTest, TellsWhatTheBusCouldNotDo) {
  told_bus_.stats.state = "following";
  told_bus_.stats.repeated = 1;
  told_bus_.stats.bad_messages = 2;
  told_bus_.stats.append_errors = 3;
  told_bus_.stats.read_errors = 4;
  told_bus_.stats.node_id_shared = 5;
  const auto engine = NewEngine();
  const v1::StatsResponse stats = Ask(engine.get());
  const v1::FleetStats& fleet = stats.fleet();
  EXPECT_EQ(fleet.state(), "following");
  EXPECT_EQ(fleet.received_again(), 1u);
  EXPECT_EQ(fleet.bad_messages(), 2u);
  EXPECT_EQ(fleet.append_errors(), 3u);
  EXPECT_EQ(fleet.read_errors(), 4u);
  EXPECT_EQ(fleet.node_id_shared(), 5u);
  EXPECT_EQ(fleet.waits_short(), 0u);
}

TEST_F(StatsTest, TellsOfWaitsThatEndedShortOfTheFleet) {
  const auto engine = NewEngine();
  for (int i = 0; i < 3; ++i) {
    InvalidateRequest request;
    request.keys = {"k"};
    request.fleet_until = clock_.Mono();
    ASSERT_TRUE(Now(engine->InvalidateKeys(request)).ok());
  }
  EXPECT_EQ(Ask(engine.get()).fleet().waits_short(), 3u);
}

TEST_F(StatsTest, LoadsWithoutALeaseAreCountedWhateverTheCause) {
  told_leases_.stats.errors = 1;
  told_leases_.stats.unasked = 20;
  told_leases_.stats.waited_out = 300;
  told_leases_.stats.full = 4000;
  const auto engine = NewEngine();
  EXPECT_EQ(Ask(engine.get()).fleet().leases_without(), 4321u);
}

TEST_F(StatsTest, TellsHowTheWarmingWent) {
  WarmStats warm;
  warm.state = "given up";
  warm.total = 1;
  warm.loaded = 2;
  warm.present = 3;
  warm.missing = 4;
  warm.outdated = 5;
  warm.again = 6;
  warm.bad_files = 7;
  warm.took = absl::Seconds(8);
  warm.saves = 9;
  warm.saves_failed = 10;
  warm.saved_keys = 11;
  const auto engine = NewEngine();
  const v1::StatsResponse stats = Ask(engine.get(), [&warm] { return warm; });
  ASSERT_TRUE(stats.has_warm());
  const v1::WarmStats& told = stats.warm();
  EXPECT_EQ(told.state(), "given up");
  EXPECT_EQ((std::vector<uint64_t>{told.total(), told.loaded(), told.present(), told.missing(),
                                   told.outdated(), told.again(), told.bad_files(),
                                   static_cast<uint64_t>(told.took().seconds()), told.saves(),
                                   told.saves_failed(), told.saved_keys()}),
            (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
}

TEST_F(StatsTest, SaysNothingOfWhatAReplicaDoesNotHave) {
  const auto engine = NewEngine(/*alone=*/true);
  for (const v1::StatsResponse& stats :
       {Ask(engine.get()), Ask(engine.get(), [] { return WarmStats(); })}) {
    EXPECT_FALSE(stats.has_warm());
    EXPECT_FALSE(stats.has_fleet());
    EXPECT_EQ(stats.tiers_size(), 1);
  }
}

}  // namespace
}  // namespace larder
