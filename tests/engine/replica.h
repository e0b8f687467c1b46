// A Replica is one engine of a fleet with all that is below it: a clock of its own that may be off,
// its way to the tier that the fleet shares, its bus and its fleet leases. Nothing of it runs by
// itself: a ManualExecutor and a ManualClock do. For tests and simulations.
//
// A replica dies by Kill: what it has under way ends without an effect on anything but itself, and
// when that has ended (running() is 0) it can be destroyed. Thread safety: none.

#ifndef LARDER_TESTS_ENGINE_REPLICA_H_
#define LARDER_TESTS_ENGINE_REPLICA_H_

#include <memory>
#include <utility>
#include <vector>

#include "bus/log_bus.h"
#include "engine/engine.h"
#include "tests/bus/memory_log.h"
#include "tests/engine/fake_fleet_lease.h"
#include "tests/tier/fake_tier.h"
#include "tier/guard.h"

namespace larder {

// A wall clock that is off by something, and may jump; monotonic time is that of the world.
class SkewedClock : public Clock {
 public:
  explicit SkewedClock(const Clock* world) : world_(world) {}

  absl::Time Now() const override { return world_->Now() + off_; }
  MonoNanos Mono() const override { return world_->Mono(); }

  void SetOff(absl::Duration off) { off_ = off; }
  absl::Duration off() const { return off_; }

 private:
  const Clock* const world_;
  absl::Duration off_;
};

// The bus as an engine sees it, until the replica dies: then messages go nowhere.
class BusUntilDeath : public Bus {
 public:
  explicit BusUntilDeath(std::unique_ptr<Bus> bus) : bus_(std::move(bus)) {}

  void Kill() { bus_.reset(); }

  void Start(BusListener* listener) override { bus_->Start(listener); }
  Task<absl::Status> Stop(MonoNanos deadline) override { return bus_->Stop(deadline); }
  void Publish(BusMessage message) override {
    if (bus_ != nullptr) bus_->Publish(std::move(message));
  }
  Task<FleetAck> PublishAndWait(BusMessage message, MonoNanos deadline) override {
    if (bus_ == nullptr) return Nobody();
    return bus_->PublishAndWait(std::move(message), deadline);
  }
  MonoNanos ReliableUntil() const override { return bus_ == nullptr ? 0 : bus_->ReliableUntil(); }
  BusStats Stats() const override { return bus_ == nullptr ? BusStats() : bus_->Stats(); }

 private:
  static Task<FleetAck> Nobody() { co_return FleetAck(); }

  std::unique_ptr<Bus> bus_;
};

// What the replicas of one fleet share. Outlives them.
struct Fleet {
  Fleet(ManualClock* its_clock, Executor* executor, uint64_t seed,
        const FakeTier::Options& tier_options = {})
      : clock(its_clock),
        tier(tier_options),
        log(its_clock, executor, seed),
        leases({.clock = its_clock}) {}

  ManualClock* const clock;
  FakeTier tier;
  MemoryLog log;
  FakeFleetLease leases;
};

class Replica {
 public:
  struct Options {
    int number = 0;
    // Of this start of the replica, so that no two of them share a node id.
    uint32_t node_id = 0;
    bool guarded = false;
    GuardOptions guard = {};
    bool bus = true;
    bool fleet_leases = true;
    absl::Duration clock_off = absl::ZeroDuration();
    std::vector<TypePolicy> types = {};
    // Clock, random, executor, types, node id, tier, bus and leases are filled in.
    Engine::Options engine = {};
  };

  // `executor` outlives the replica.
  Replica(Fleet* fleet, Executor* executor, Random* random, Options options) : clock(fleet->clock) {
    clock.SetOff(options.clock_off);
    std::unique_ptr<FakeTier::Handle> handle = fleet->tier.NewHandle(&clock, executor, random);
    tier = handle.get();
    if (options.guarded) {
      options.guard.clock = &clock;
      options.guard.random = random;
      options.guard.executor = executor;
      options.guard.close_wait = absl::ZeroDuration();
      tier_ = NewGuard(std::move(handle), options.guard);
    } else {
      tier_ = std::move(handle);
    }
    Engine::Options engine_options = options.engine;
    engine_options.clock = &clock;
    engine_options.random = random;
    engine_options.executor = executor;
    engine_options.types = *TypeTable::Make(std::move(options.types));
    engine_options.node_id = options.node_id;
    engine_options.tier = tier_.get();
    if (options.bus) {
      bus = std::make_unique<BusUntilDeath>(NewLogBus(
          fleet->log.NewClient(options.number, executor),
          {.node = options.node_id, .random = random, .clock = &clock, .executor = executor}));
      engine_options.bus = bus.get();
    }
    if (options.fleet_leases) {
      leases = fleet->leases.NewHandle(executor, random);
      engine_options.fleet_leases = leases.get();
    }
    engine = std::make_unique<Engine>(engine_options);
  }

  // The process is gone: nothing of it reaches anybody from here on.
  void Kill() {
    if (bus != nullptr) bus->Kill();
    if (leases != nullptr) leases->Cut();
    tier->Close();
    engine->Drain();
    engine->Stop(absl::ZeroDuration());
  }

  SkewedClock clock;
  FakeTier::Handle* tier;  // to be made to fail
  std::unique_ptr<BusUntilDeath> bus;
  std::unique_ptr<FakeFleetLease::Handle> leases;

 private:
  std::unique_ptr<Tier> tier_;

 public:
  std::unique_ptr<Engine> engine;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_REPLICA_H_
