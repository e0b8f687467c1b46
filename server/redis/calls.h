// The calls of a Redis, as coroutines that hold what they need. Thread safety: any thread; they go
// on on the executor.

#ifndef LARDER_REDIS_CALLS_H_
#define LARDER_REDIS_CALLS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/task.h"
#include "redis/core.h"
#include "redis/redis.h"

namespace larder {

using RedisReplies = std::vector<absl::StatusOr<RedisReply>>;

// Sends the commands to the nodes of their keys and follows redirections. With a `script`, they are
// EVALSHA of it, and those that find it missing are sent again as EVAL.
Task<RedisReplies> RunRedisCommands(std::shared_ptr<RedisCore> core,
                                    std::vector<RedisCommand> commands, const RedisScript* script,
                                    MonoNanos deadline);

// The same for one command without a script, with less to allocate.
Task<absl::StatusOr<RedisReply>> RunRedisCommand(std::shared_ptr<RedisCore> core,
                                                 RedisCommand command, MonoNanos deadline);

Task<absl::StatusOr<RedisScanPage>> RunRedisScan(std::shared_ptr<RedisCore> core,
                                                 std::string cursor, std::string match,
                                                 size_t count, MonoNanos deadline);

Task<absl::StatusOr<RedisReply>> RunRedisBlocking(std::shared_ptr<RedisCore> core, std::string lane,
                                                  RedisCommand command, MonoNanos deadline);

}  // namespace larder

#endif  // LARDER_REDIS_CALLS_H_
