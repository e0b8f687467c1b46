// RedisRound collects the answers of some commands that are sent together, and says which of them
// have to be sent once more. Thread safety: filled on the loop's thread while the coroutine that
// owns it waits; its own between two sendings.

#ifndef LARDER_REDIS_ROUND_H_
#define LARDER_REDIS_ROUND_H_

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "redis/core.h"

namespace larder {

class RedisRound : public RedisReceiver {
 public:
  struct Again {
    uint32_t position = 0;
    enum class How : uint8_t { kMoved, kAsk, kNoScript } how = How::kMoved;
    std::string address;  // of kMoved and kAsk
  };

  // `where` has a place for each answer, and outlives this.
  RedisRound(std::shared_ptr<RedisCore> core, absl::Span<absl::StatusOr<RedisReply>> where)
      : results(where), core_(std::move(core)) {}

  // Adds a command to what is sent next.
  void Add(const std::shared_ptr<RedisConnection>& to, uint32_t position,
           const std::vector<std::string>& args, bool asking);
  // The connection to this node that something was added for; null when there is none.
  const std::shared_ptr<RedisConnection>* ConnectionTo(const RedisNode& node) const;
  // co_await it: sends what was added, and goes on when everything is answered, has failed, or the
  // deadline has passed.
  auto Send(MonoNanos deadline) {
    struct Awaiter {
      RedisRound* round;
      MonoNanos deadline;
      bool await_ready() const { return round->batches_.empty(); }
      bool await_suspend(std::coroutine_handle<> waiting) const {
        return round->SendAll(waiting, deadline);
      }
      void await_resume() const {}
    };
    return Awaiter{this, deadline};
  }

  void OnReply(uint32_t position, RedisReply reply) override;
  void OnErrorReply(uint32_t position, std::string_view text) override;
  void OnFailure(uint32_t position, const absl::Status& status) override;
  void OnDone(RedisLoop* loop) override;

  const absl::Span<absl::StatusOr<RedisReply>> results;
  std::vector<Again> again;

 private:
  using Batches = absl::InlinedVector<std::unique_ptr<RedisBatch>, 2>;

  bool SendAll(std::coroutine_handle<> waiting, MonoNanos deadline);

  const std::shared_ptr<RedisCore> core_;
  Batches batches_;
  std::coroutine_handle<> waiting_;
  std::atomic<size_t> outstanding_{0};
};

}  // namespace larder

#endif  // LARDER_REDIS_ROUND_H_
