// RedisConnection keeps one connection to one server: it makes it, greets the server (AUTH, SELECT,
// ROLE), writes batches and hands their answers out in order, notices when it is dead and makes it
// again. Thread safety: Reserve, ready, pending and address from any thread; the rest on the loop's
// thread. Errors: every batch that was enqueued gets its answers or a status. Never writes a
// command twice.

#ifndef LARDER_REDIS_CONNECTION_H_
#define LARDER_REDIS_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "redis/batch.h"
#include "redis/environment.h"
#include "redis/loop.h"
#include "redis/resolver.h"
#include "redis/socket.h"

namespace larder {

// Who wants to know of a connection. Called on the loop's thread.
class RedisConnectionObserver {
 public:
  virtual ~RedisConnectionObserver() = default;
  virtual void OnUp(RedisConnection* /*connection*/) {}
  // It was lost, or an attempt to make it failed.
  virtual void OnDown(RedisConnection* /*connection*/, const absl::Status& /*why*/) {}
  virtual void OnErrorReply(RedisConnection* /*connection*/, std::string_view /*text*/) {}
};

class RedisConnection : public RedisTicker,
                        public RedisReplySink,
                        public std::enable_shared_from_this<RedisConnection> {
 public:
  enum class Use : uint8_t {
    kData,
    kBlocking,  // the server may take its time to answer
    kControl,   // asks about the topology; is not counted among the connections
  };
  struct Spec {
    std::string address;
    Use use = Use::kData;
    std::string user;
    std::string password_file;
    int database = 0;
    bool must_be_master = false;
  };

  // `environment` and `observer` outlive the connection's time on the loop.
  RedisConnection(RedisEnvironment* environment, RedisConnectionObserver* observer, Spec spec);
  ~RedisConnection() override;

  const std::string& address() const { return spec_.address; }
  Use use() const { return spec_.use; }
  bool ready() const { return up_.load(std::memory_order_relaxed); }
  // Commands without an answer.
  size_t pending() const { return pending_.load(std::memory_order_relaxed); }

  // Takes room for `commands` in the queue; the room is given back with their last answer.
  [[nodiscard]] bool Reserve(size_t commands);
  // Gives back what was reserved for a batch that is not enqueued after all.
  void Unreserve(size_t commands) { pending_ -= commands; }

  // Takes a batch. One with `reserved` unset is not counted.
  void Enqueue(std::unique_ptr<RedisBatch> batch);
  // Ends it for good.
  void Close(const absl::Status& why);

  void OnEvents(uint32_t events) override;
  MonoNanos Tick(MonoNanos now) override;
  void OnStop() override;
  bool OnReply(RedisReply reply) override;
  bool OnErrorReply(std::string_view text) override;

 private:
  enum class State : uint8_t { kResting, kLookingUp, kConnecting, kGreeting, kReady, kClosed };

  // Gets the answers to the greeting.
  class Greeter : public RedisReceiver {
   public:
    explicit Greeter(RedisConnection* connection) : connection_(connection) {}
    void OnReply(uint32_t position, RedisReply reply) override;
    void OnErrorReply(uint32_t position, std::string_view text) override;
    void OnFailure(uint32_t /*position*/, const absl::Status& /*status*/) override {}
    void OnDone(RedisLoop* loop) override;
    absl::Status status;

   private:
    RedisConnection* const connection_;
  };

  bool Active() const { return state_ != State::kResting && state_ != State::kClosed; }
  void Begin();
  void ConnectTo(const std::string& ip);
  void OnLookedUp(RedisIps ips);
  absl::Status Greet();
  void OnReady();
  // The socket is gone: what was sent fails, and an attempt begins now or later.
  void Fail(const absl::Status& why);
  void CloseSocket();
  MonoNanos NextPause();

  RedisBatch* NextAnswered();
  bool AfterAnswer(RedisReceiver* receiver);
  void Expire();
  void CheckSilence();
  void Flush();
  void Advance(size_t written);
  void Wants(bool write);
  void Release(const RedisBatch& batch);
  void GiveBack();
  MonoNanos NextDue() const;
  absl::Status Explain(const absl::Status& why) const;

  RedisEnvironment* const env_;
  RedisConnectionObserver* const observer_;
  const Spec spec_;
  std::atomic<size_t> pending_{0};
  std::atomic<bool> up_{false};

  State state_ = State::kResting;
  bool closing_ = false;
  std::unique_ptr<RedisSocket> socket_;
  bool watched_ = false;
  bool wants_write_ = false;
  bool looking_up_ = false;
  MonoNanos next_attempt_ = 0;
  MonoNanos attempt_until_ = 0;
  unsigned attempts_ = 0;
  // Attempts that failed, and connections that were lost before they were of use, in a row.
  unsigned failures_ = 0;
  absl::Status last_error_;
  bool said_lost_ = false;
  Greeter greeter_;

  // In the order of sending. The first `written_` are with the server, and the first `offset_`
  // bytes of the next.
  std::deque<std::unique_ptr<RedisBatch>> queue_;
  size_t written_ = 0;
  size_t offset_ = 0;
  // No deadline in the queue is earlier; answered ones may leave it too early.
  MonoNanos next_deadline_ = kRedisNever;
  // Of a byte that was read or written.
  MonoNanos last_progress_ = 0;
  // Since when it is ready, and whether it has answered a command since.
  MonoNanos up_since_ = 0;
  bool proven_ = false;
  // Room of batches that ended, which is given back in one go.
  size_t released_ = 0;
  uint64_t released_bytes_ = 0;
  // Why the connection is to end, found while its answers are being read.
  absl::Status broken_;
};

}  // namespace larder

#endif  // LARDER_REDIS_CONNECTION_H_
