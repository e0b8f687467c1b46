// RedisBatch is what travels to one connection in one piece: some commands, encoded, and where
// their answers go. Thread safety: none; a batch belongs to whoever holds it.

#ifndef LARDER_REDIS_BATCH_H_
#define LARDER_REDIS_BATCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "base/clock.h"
#include "redis/redis.h"

namespace larder {

class RedisConnection;
class RedisLoop;

// Where the answers of batches go. Called on the loop's thread: one of the first three for each
// position, then OnDone once for each batch.
class RedisReceiver {
 public:
  virtual ~RedisReceiver() = default;
  virtual void OnReply(uint32_t position, RedisReply reply) = 0;
  // The server answered with an error; `text` as it came.
  virtual void OnErrorReply(uint32_t position, std::string_view text) = 0;
  // No answer.
  virtual void OnFailure(uint32_t position, const absl::Status& status) = 0;
  virtual void OnDone(RedisLoop* loop) = 0;
};

struct RedisBatch {
  // A position whose answer nobody wants.
  static constexpr uint32_t kIgnored = UINT32_MAX;

  std::shared_ptr<RedisConnection> connection;
  std::string bytes;
  // Of the request, also when `bytes` are gone.
  uint64_t size = 0;
  // Whether it was counted in the queue of its connection.
  bool reserved = false;
  // One for each command, in order.
  absl::InlinedVector<uint32_t, 4> positions;
  uint32_t answered = 0;
  MonoNanos deadline = 0;
  // Null: nobody waits any more, and what comes is dropped.
  RedisReceiver* receiver = nullptr;

  // The rest of the answers will not come.
  void Fail(const absl::Status& status, RedisLoop* loop);
};

// Appends a command as Redis reads it: every argument with its length, so that no byte in one can
// be taken for something else.
void AppendRedisCommand(const std::vector<std::string>& args, std::string* out);

}  // namespace larder

#endif  // LARDER_REDIS_BATCH_H_
