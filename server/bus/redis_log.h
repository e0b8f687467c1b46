// The bus's log as one Redis Stream under one key, so that it works on a Cluster as well. Thread
// safety, blocking and errors: log.h and redis/redis.h.

#ifndef LARDER_BUS_REDIS_LOG_H_
#define LARDER_BUS_REDIS_LOG_H_

#include <cstdint>
#include <memory>
#include <string>

#include "bus/log.h"
#include "redis/redis.h"

namespace larder {

struct RedisLogOptions {
  // The stream is `<prefix>:bus`.
  std::string prefix;
  // What the stream is trimmed to, roughly: the lesser of the two. A replica that was away while
  // more than this came takes it for a gap. 1,000 to 100 million, 1 MiB to 64 GiB.
  uint64_t items_max = 100'000;
  uint64_t bytes_max = 256 << 20;
};

// InvalidArgument names the option that is out of its range.
absl::Status CheckRedisLogOptions(const RedisLogOptions& options);

// REQUIRES: CheckRedisLogOptions(options) is OK. `redis` outlives the log's calls, which it ends
// itself when it goes.
std::unique_ptr<BusLog> NewRedisLog(Redis* redis, const RedisLogOptions& options);

}  // namespace larder

#endif  // LARDER_BUS_REDIS_LOG_H_
