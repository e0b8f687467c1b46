// What the parts of one Redis share. Thread safety: options are constant, counters atomic.

#ifndef LARDER_REDIS_ENVIRONMENT_H_
#define LARDER_REDIS_ENVIRONMENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/counters.h"
#include "redis/loop.h"
#include "redis/redis.h"
#include "redis/socket.h"

namespace larder {

struct RedisCounters {
  CounterBlock commands{1};
  std::atomic<uint64_t> errors{0};
  std::atomic<uint64_t> timeouts{0};
  std::atomic<uint64_t> connects{0};
  std::atomic<uint64_t> disconnects{0};
  std::atomic<uint64_t> redirections{0};
  std::atomic<uint64_t> topology_changes{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> pending{0};        // commands
  std::atomic<uint64_t> pending_bytes{0};  // of their requests
  std::atomic<int> connected{0};
};

struct RedisEnvironment {
  Redis::Options options;
  std::shared_ptr<RedisLoop> loop;
  RedisTlsPtr tls;
  RedisCounters counters;
};

// `host:port` or `[::1]:port`. InvalidArgument says what is wrong with it.
struct RedisHostPort {
  std::string host;
  int port = 0;
};
absl::StatusOr<RedisHostPort> ParseRedisAddress(std::string_view address);
// The other way round.
std::string RedisAddress(std::string_view host, int64_t port);

// The first line of a file, such as a password, without its end; empty when `path` is. Blocks as
// long as reading a small local file does.
absl::StatusOr<std::string> ReadRedisPassword(const std::string& path);

}  // namespace larder

#endif  // LARDER_REDIS_ENVIRONMENT_H_
