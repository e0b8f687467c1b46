// Turns the sections l2, bus and warm of a configuration into the options of what is built from
// them. Executors, clocks and the node's number are left to whoever builds it. Thread safety: any
// thread.

#ifndef LARDER_CONFIG_L2_H_
#define LARDER_CONFIG_L2_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bus/log_bus.h"
#include "larder/config/v1/config.pb.h"
#include "redis/redis.h"
#include "tier/guard.h"
#include "tier/redis_tier.h"
#include "tier/rocksdb_tier.h"

namespace larder {

struct L2Options {
  enum class Kind : uint8_t { kNone, kRocks, kRedis };
  Kind kind = Kind::kNone;
  RocksTierOptions rocksdb;     // kRocks
  Redis::Options redis;         // kRedis
  RedisTierOptions redis_tier;  // kRedis
  GuardOptions guard;
};

// Reads l2.redis.url_file, if there is one, and blocks on the disk for it. InvalidArgument: what
// stands there is no url of a Redis; other errors: it cannot be read.
absl::StatusOr<L2Options> L2OptionsOf(const config::v1::Config& config);

// Which tier the configuration asks for.
L2Options::Kind L2KindOf(const config::v1::Config& config);

struct BusOptions {
  LogBusOptions bus;
  // What the log keeps at least.
  size_t messages = 0;
  // What a hit in memory does while nobody can tell whether it is still true.
  bool serve_suspect = true;
  // Longest wait for the other replicas.
  absl::Duration fleet_wait;
};
BusOptions BusOptionsOf(const config::v1::Config& config);

struct WarmOptions {
  // Most entries; 0: none.
  size_t limit = 0;
  // Zero: readiness does not wait.
  absl::Duration before_ready;
  // Entries a second, afterwards.
  uint32_t rate = 0;
  // Between two savings of the list.
  absl::Duration save;
};
WarmOptions WarmOptionsOf(const config::v1::Config& config);

// OK when this build can speak TLS to a Redis; else InvalidArgument says what it lacks.
absl::Status RedisTlsOfThisBuild();

}  // namespace larder

#endif  // LARDER_CONFIG_L2_H_
