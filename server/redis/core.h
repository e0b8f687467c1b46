// RedisCore is what all calls of one Redis share: the loop, the connections by node, and which node
// serves which slot. It outlives the Redis while calls are on their way to their end. Thread
// safety: methods say where they may be called.

#ifndef LARDER_REDIS_CORE_H_
#define LARDER_REDIS_CORE_H_

#include <coroutine>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "redis/batch.h"
#include "redis/connection.h"
#include "redis/environment.h"
#include "redis/redis.h"

namespace larder {

// One server that takes commands, with its connections.
struct RedisNode {
  std::string address;
  std::vector<std::shared_ptr<RedisConnection>> connections;

  // One that is up and has the fewest commands under way; any, when none is up.
  const std::shared_ptr<RedisConnection>& LeastBusy() const;
};

// Who serves what. Immutable: a new one replaces it.
struct RedisRoutes {
  static constexpr size_t kSlots = 16384;
  static constexpr uint16_t kNobody = UINT16_MAX;

  std::vector<std::shared_ptr<RedisNode>> masters;
  // Of a Cluster: index of the master of each slot, or kNobody. Else empty: one serves all.
  std::vector<uint16_t> slots;

  // Null when nobody serves it.
  const RedisNode* NodeOf(std::string_view key) const;
  // The connection of that node that keeps the order of this key.
  const std::shared_ptr<RedisConnection>& ConnectionOf(const RedisNode& node,
                                                       std::string_view key) const;
};

class RedisCore;

// Finds out who serves what, and tells the core. On the loop's thread; made before it starts.
class RedisTopology : public RedisTicker {
 public:
  void OnEvents(uint32_t /*events*/) override {}
  void OnStop() override {}
  // Of connections of nodes, which carry commands.
  virtual void OnDown(RedisConnection* /*connection*/) {}
  virtual void OnErrorReply(RedisConnection* /*connection*/, std::string_view /*text*/) {}
};

// `core` outlives them.
std::shared_ptr<RedisTopology> NewSingleRedisTopology(RedisCore* core);
std::shared_ptr<RedisTopology> NewRedisSentinels(RedisCore* core);
std::shared_ptr<RedisTopology> NewRedisCluster(RedisCore* core);

class RedisCore : public RedisConnectionObserver, public std::enable_shared_from_this<RedisCore> {
 public:
  RedisCore(const Redis::Options& options, RedisTlsPtr tls);
  ~RedisCore() override;

  void Start();
  // Answers everything that is under way with UNAVAILABLE and joins the thread.
  void Stop();

  const Redis::Options& options() const { return env_.options; }
  RedisEnvironment* environment() { return &env_; }

  // Any thread. Null as long as nothing is known.
  std::shared_ptr<const RedisRoutes> routes() const;
  // co_await it: goes on when routes are known, or why not, or at the deadline.
  auto RoutesKnown(MonoNanos deadline) {
    struct Awaiter {
      std::shared_ptr<RedisCore> core;
      MonoNanos deadline;
      bool await_ready() const { return false; }
      bool await_suspend(std::coroutine_handle<> waiting) const {
        return core->WaitForRoutes(waiting, deadline);
      }
      void await_resume() const {}
    };
    return Awaiter{shared_from_this(), deadline};
  }
  // False also when they were known and nothing more could be found out since.
  bool routes_known() const;
  // Why routes are not known.
  absl::Status routes_error() const;

  // Any thread. The node at this address, with connections that are made when it is new. Error: too
  // many nodes, or no address.
  absl::StatusOr<std::shared_ptr<RedisNode>> NodeAt(const std::string& where);
  // Any thread. Hands a batch to its connection; one that cannot be taken fails at once.
  void Submit(std::unique_ptr<RedisBatch> batch);
  // Any thread. A connection that is none of a node's.
  std::shared_ptr<RedisConnection> NewConnection(RedisConnection::Use use, std::string address);
  // What waits on it fails.
  void CloseConnection(const std::shared_ptr<RedisConnection>& connection);

  // The connection of a lane, to the node at `address`; see Redis::CallBlocking. One caller at a
  // time holds it, until ReleaseLane.
  absl::StatusOr<std::shared_ptr<RedisConnection>> AcquireLane(const std::string& lane,
                                                               const std::string& address);
  // `reuse` false: its connection is closed, so that a late answer does not hold up the next call.
  void ReleaseLane(const std::string& lane, bool reuse);

  RedisStats Stats() const;
  uint64_t disconnects() const { return env_.counters.disconnects; }

  // On the loop's thread, or before it starts.
  void SetRoutes(std::shared_ptr<RedisRoutes> routes);
  // Nothing could be found out; keeps the routes that are known.
  void SetRoutesError(const absl::Status& why);
  // Whether every master has all its connections.
  bool AllUp() const;
  // Ends the waits whose deadline has passed, and closes the nodes that left long enough ago.
  // Returns when it is to be called again.
  MonoNanos Tick(MonoNanos now);

  void OnUp(RedisConnection* connection) override;
  void OnDown(RedisConnection* connection, const absl::Status& why) override;
  void OnErrorReply(RedisConnection* connection, std::string_view text) override;

 private:
  struct Wait {
    std::coroutine_handle<> waiting;
    MonoNanos deadline;
  };
  struct Leaving {
    std::shared_ptr<RedisNode> node;
    MonoNanos until;
  };
  struct Lane {
    std::shared_ptr<RedisConnection> connection;
    bool busy = false;
  };

  bool AllUpLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MonoNanos ExpireWaits(MonoNanos now);
  bool WaitForRoutes(std::coroutine_handle<> waiting, MonoNanos deadline);
  void ResumeWaits(std::vector<Wait> waits);

  RedisEnvironment env_;
  std::shared_ptr<RedisTopology> topology_;
  // Of the loop's thread.
  std::vector<Leaving> leaving_;

  mutable Mutex mu_;
  std::shared_ptr<const RedisRoutes> routes_ ABSL_GUARDED_BY(mu_);
  absl::Status routes_error_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<RedisNode>> nodes_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Lane> lanes_ ABSL_GUARDED_BY(mu_);
  std::vector<Wait> waits_ ABSL_GUARDED_BY(mu_);
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace larder

#endif  // LARDER_REDIS_CORE_H_
