// The calls of a Redis, as coroutines that hold what they need. Thread safety: any thread; they go
// on on the executor.

#ifndef LARDER_REDIS_CALLS_H_
#define LARDER_REDIS_CALLS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/task.h"
#include "redis/core.h"
#include "redis/redis.h"

namespace larder {

using RedisReplies = std::vector<absl::StatusOr<RedisReply>>;

// Whether commands of a key arrive in the order in which they are sent, by sharing a connection.
enum class RedisOrder : uint8_t { kByKey, kNone };

// Sends the commands to the nodes of their keys and follows redirections. With a `script`, they are
// EVALSHA of it, and those that find it missing are sent again as EVAL.
Task<RedisReplies> RunRedisCommands(std::shared_ptr<RedisCore> core,
                                    std::vector<RedisCommand> commands, const RedisScript* script,
                                    RedisOrder order, MonoNanos deadline);

// The same for one command without a script, with less to allocate.
Task<absl::StatusOr<RedisReply>> RunRedisCommand(std::shared_ptr<RedisCore> core,
                                                 RedisCommand command, MonoNanos deadline);

// Sends the command to every master, whatever its keys.
Task<RedisReplies> RunRedisOnMasters(std::shared_ptr<RedisCore> core, RedisCommand command,
                                     MonoNanos deadline);

// scan.cc.
Task<absl::StatusOr<RedisScanPage>> RunRedisScan(std::shared_ptr<RedisCore> core,
                                                 std::string cursor, std::string match,
                                                 size_t count, MonoNanos deadline);

Task<absl::StatusOr<RedisReply>> RunRedisBlocking(std::shared_ptr<RedisCore> core, std::string lane,
                                                  RedisCommand command, MonoNanos deadline);

// Adds commands that are over to the counters.
void CountRedisReplies(RedisCore* core, absl::Span<const absl::StatusOr<RedisReply>> replies);

}  // namespace larder

#endif  // LARDER_REDIS_CALLS_H_
