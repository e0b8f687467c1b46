// Below is what lies below memory and beside this replica, as the configuration asks for it: the
// second tier behind its guard, the bus and the leases of the fleet. Built once, at the start.

#ifndef LARDER_BELOW_H_
#define LARDER_BELOW_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/executor.h"
#include "bus/bus.h"
#include "config/config.h"
#include "config/l2.h"
#include "redis/redis.h"
#include "tier/fleet_lease.h"
#include "tier/tier.h"

namespace larder {

struct Below {
  // In the order in which they are made: the later ones use the earlier ones.
  std::unique_ptr<Redis> redis;
  std::unique_ptr<Tier> tier;  // null: memory is all there is
  std::unique_ptr<FleetLease> fleet_leases;
  std::unique_ptr<Bus> bus;
  BusOptions bus_options;
  // Names what the replicas share; empty: nothing.
  std::string fleet;
};

// Blocks while an embedded store is opened. An error is one of the configuration: what a restart
// would not mend. A store that is damaged or cannot be had is reported, and done without until it
// comes. `executor` outlives the result.
absl::StatusOr<Below> NewBelow(const Config& config, Executor* executor);

}  // namespace larder

#endif  // LARDER_BELOW_H_
