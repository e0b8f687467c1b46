#include "below.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "bus/log_bus.h"
#include "bus/redis_log.h"
#include "larder/config/v1/config.pb.h"
#include "tier/guard.h"
#include "tier/redis_tier.h"
#include "tier/rocksdb_tier.h"

namespace larder {
namespace {

absl::Status MakeRocks(L2Options options, Executor* executor, Below* below) {
  options.rocksdb.executor = executor;
  ASSIGN_OR_RETURN(std::unique_ptr<RocksTier> tier, NewRocksTier(options.rocksdb));
  // Else it has said what keeps it, and will say when it comes.
  const bool ready = tier->Stats().state == "ok";
  below->tier = NewGuard(std::move(tier), options.guard);
  if (ready) LogInfo("l2_ready", {{"kind", "rocksdb"}, {"path", options.rocksdb.path}});
  return absl::OkStatus();
}

absl::Status MakeRedis(L2Options options, const config::v1::Config& proto, Executor* executor,
                       Below* below) {
  options.redis.executor = executor;
  ASSIGN_OR_RETURN(below->redis, Redis::New(options.redis));
  ASSIGN_OR_RETURN(std::unique_ptr<Tier> tier,
                   NewRedisTier(below->redis.get(), options.redis_tier));
  below->tier = NewGuard(std::move(tier), options.guard);

  FleetLease::Options leases;
  leases.prefix = options.redis_tier.prefix;
  leases.executor = executor;
  leases.held_max = proto.limits().leases();
  // Nobody holds a lease for longer than that without giving signs of life.
  leases.wait_max = absl::Seconds(proto.leases().max().seconds()) +
                    absl::Nanoseconds(proto.leases().max().nanos());
  ASSIGN_OR_RETURN(below->fleet_leases, FleetLease::New(below->redis.get(), leases));

  LogBusOptions bus = below->bus_options.bus;
  bus.executor = executor;
  bus.node = proto.node().id();
  RETURN_IF_ERROR(CheckLogBusOptions(bus));
  RedisLogOptions log;
  log.prefix = options.redis_tier.prefix;
  log.items_max = below->bus_options.messages;
  RETURN_IF_ERROR(CheckRedisLogOptions(log));
  below->bus = NewLogBus(NewRedisLog(below->redis.get(), log), bus);
  below->fleet = StrCat("redis ", options.redis_tier.prefix);
  LogInfo("l2_ready", {{"kind", "redis"}, {"prefix", options.redis_tier.prefix}});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Below> NewBelow(const Config& config, Executor* executor) {
  const config::v1::Config& proto = *config.proto;
  ASSIGN_OR_RETURN(L2Options options, L2OptionsOf(proto));
  options.guard.executor = executor;
  Below below;
  below.bus_options = BusOptionsOf(proto);
  switch (options.kind) {
    case L2Options::Kind::kNone:
      break;
    case L2Options::Kind::kRocks:
      RETURN_IF_ERROR(MakeRocks(std::move(options), executor, &below));
      break;
    case L2Options::Kind::kRedis:
      RETURN_IF_ERROR(MakeRedis(std::move(options), proto, executor, &below));
      break;
  }
  return below;
}

}  // namespace larder
