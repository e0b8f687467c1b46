// Who serves what is read for every command and changes once in a while, so it is an immutable
// object behind a pointer. Calls pick the connection themselves and encode their commands before
// they hand them to the loop: the one thread that all connections share does only what must be done
// in one place.
//
// A call that began holds this object, not the Redis, so that the Redis may be destroyed while the
// executor still runs the last steps of calls that it has answered.

#include "redis/core.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

// Redis Cluster is made for up to a thousand nodes.
constexpr size_t kNodesMax = 1000;
// How long a node of a Cluster that serves nothing any more is kept: what was sent to it is
// answered, and what still comes for it is told where to go.
constexpr absl::Duration kLeave = absl::Seconds(1);

absl::Status ShuttingDown() { return absl::UnavailableError("the client is shutting down"); }

}  // namespace

const std::shared_ptr<RedisConnection>& RedisNode::LeastBusy() const {
  const std::shared_ptr<RedisConnection>* best = &connections[0];
  for (const auto& each : connections) {
    if (!each->ready()) continue;
    if (!(*best)->ready() || each->pending() < (*best)->pending()) best = &each;
  }
  return *best;
}

const RedisNode* RedisRoutes::NodeOf(std::string_view key) const {
  if (slots.empty()) return masters.empty() ? nullptr : masters[0].get();
  const uint16_t at = slots[RedisSlot(key)];
  return at == kNobody ? nullptr : masters[at].get();
}

const std::shared_ptr<RedisConnection>& RedisRoutes::ConnectionOf(const RedisNode& node,
                                                                  std::string_view key) const {
  return node.connections[absl::HashOf(key) % node.connections.size()];
}

RedisCore::RedisCore(const Redis::Options& options, RedisTlsPtr tls) {
  env_.options = options;
  env_.tls = std::move(tls);
  env_.loop = std::make_shared<RedisLoop>(options.clock, options.executor);
}

RedisCore::~RedisCore() = default;

void RedisCore::Start() {
  switch (options().topology) {
    case Redis::Topology::kSingle:
      topology_ = NewSingleRedisTopology(this);
      break;
    case Redis::Topology::kSentinel:
      topology_ = NewRedisSentinels(this);
      break;
    case Redis::Topology::kCluster:
      topology_ = NewRedisCluster(this);
      break;
  }
  env_.loop->Start();
  // Accepted: the loop has only begun.
  (void)env_.loop->Post([this] { env_.loop->Add(topology_); });
}

void RedisCore::Stop() {
  env_.loop->Stop();
  std::vector<Wait> waits;
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    waits.swap(waits_);
  }
  for (const Wait& wait : waits) {
    options().executor->Post([waiting = wait.waiting] { waiting.resume(); });
  }
}

// ---- routes

std::shared_ptr<const RedisRoutes> RedisCore::routes() const {
  MutexLock lock(&mu_);
  return routes_;
}

bool RedisCore::routes_known() const {
  MutexLock lock(&mu_);
  return routes_ != nullptr && routes_error_.ok();
}

absl::Status RedisCore::routes_error() const {
  MutexLock lock(&mu_);
  if (stopped_) return ShuttingDown();
  if (!routes_error_.ok()) return routes_error_;
  return absl::DeadlineExceededError("no server was found before the deadline");
}

bool RedisCore::WaitForRoutes(std::coroutine_handle<> waiting, MonoNanos deadline) {
  // The waiting coroutine may go on, and free what called this, as soon as it is in the list.
  const std::shared_ptr<RedisLoop> loop = env_.loop;
  {
    MutexLock lock(&mu_);
    if (routes_ != nullptr || !routes_error_.ok() || stopped_) return false;
    if (waits_.size() >= options().pending_per_connection_max) return false;
    waits_.push_back({waiting, deadline});
  }
  // Has the loop look at the deadline. A loop that has stopped resumes it in Stop.
  (void)loop->Post([] {});
  return true;
}

void RedisCore::ResumeWaits(std::vector<Wait> waits) {
  for (const Wait& wait : waits) env_.loop->Resume(wait.waiting);
}

MonoNanos RedisCore::Tick(MonoNanos now) {
  MonoNanos next = ExpireWaits(now);
  std::erase_if(leaving_, [&](const Leaving& each) {
    next = std::min(next, std::max(each.until, now));
    if (each.until > now) return false;
    for (const auto& connection : each.node->connections) CloseConnection(connection);
    return true;
  });
  return next;
}

MonoNanos RedisCore::ExpireWaits(MonoNanos now) {
  std::vector<Wait> expired;
  MonoNanos next = kRedisNever;
  {
    MutexLock lock(&mu_);
    std::erase_if(waits_, [&](const Wait& wait) {
      if (wait.deadline > now) {
        next = std::min(next, wait.deadline);
        return false;
      }
      expired.push_back(wait);
      return true;
    });
  }
  ResumeWaits(std::move(expired));
  return next;
}

void RedisCore::SetRoutes(std::shared_ptr<RedisRoutes> routes) {
  std::vector<std::shared_ptr<RedisNode>> gone;
  std::vector<Wait> waits;
  {
    MutexLock lock(&mu_);
    routes_error_ = absl::OkStatus();
    std::erase_if(nodes_, [&](const auto& each) {
      const bool serves = std::find(routes->masters.begin(), routes->masters.end(), each.second) !=
                          routes->masters.end();
      if (!serves) gone.push_back(each.second);
      return !serves;
    });
    routes_ = std::move(routes);
    waits.swap(waits_);
  }
  ++env_.counters.topology_changes;
  ResumeWaits(std::move(waits));
  // Behind Sentinels the one that is no master any more must not take another command.
  const bool cluster = options().topology == Redis::Topology::kCluster;
  const MonoNanos until = cluster ? MonoAfter(env_.loop->now(), kLeave) : env_.loop->now();
  for (auto& node : gone) leaving_.push_back({std::move(node), until});
  env_.loop->TickAgain();
}

void RedisCore::SetRoutesError(const absl::Status& why) {
  std::vector<Wait> waits;
  {
    MutexLock lock(&mu_);
    routes_error_ = why;
    last_error_ = why;
    waits.swap(waits_);
  }
  ResumeWaits(std::move(waits));
}

// ---- nodes and connections

std::shared_ptr<RedisConnection> RedisCore::NewConnection(RedisConnection::Use use,
                                                          std::string address) {
  RedisConnection::Spec spec;
  spec.address = std::move(address);
  spec.use = use;
  const bool sentinel = options().topology == Redis::Topology::kSentinel;
  if (use == RedisConnection::Use::kControl && sentinel) {
    spec.password_file = options().sentinel_password_file;
  } else {
    spec.user = options().user;
    spec.password_file = options().password_file;
    spec.must_be_master = sentinel;
    if (options().topology != Redis::Topology::kCluster) spec.database = options().database;
  }
  auto connection = std::make_shared<RedisConnection>(&env_, this, std::move(spec));
  // When the loop has stopped, the connection answers nothing and is asked nothing.
  (void)env_.loop->Post([this, connection] { env_.loop->Add(connection); });
  return connection;
}

void RedisCore::CloseConnection(const std::shared_ptr<RedisConnection>& connection) {
  // Later and not now: the connection may be in the middle of reading the answer that led here.
  (void)env_.loop->Post([this, connection] {
    connection->Close(absl::UnavailableError(
        StrCat("redis ", connection->address(), ": no longer serves these keys")));
    env_.loop->Remove(connection.get());
  });
}

absl::StatusOr<std::shared_ptr<RedisNode>> RedisCore::NodeAt(const std::string& where) {
  ASSIGN_OR_RETURN(const RedisHostPort parsed, ParseRedisAddress(where));
  // One spelling for each: redirections write IPv6 without brackets.
  const std::string address = RedisAddress(parsed.host, parsed.port);
  {
    MutexLock lock(&mu_);
    const auto known = nodes_.find(address);
    if (known != nodes_.end()) return known->second;
    if (nodes_.size() >= kNodesMax) {
      return absl::UnavailableError(StrCat("more than ", kNodesMax, " nodes"));
    }
  }
  auto node = std::make_shared<RedisNode>();
  node->address = address;
  for (int i = 0; i < options().connections_per_node; ++i) {
    node->connections.push_back(NewConnection(RedisConnection::Use::kData, address));
  }
  std::shared_ptr<RedisNode> kept;
  {
    MutexLock lock(&mu_);
    kept = nodes_.emplace(address, node).first->second;
  }
  // Another thread was quicker.
  if (kept != node) {
    for (const auto& connection : node->connections) CloseConnection(connection);
  }
  return kept;
}

void RedisCore::Submit(std::unique_ptr<RedisBatch> batch) {
  RedisCounters& counters = env_.counters;
  const size_t commands = batch->positions.size();
  batch->size = batch->bytes.size();
  if (!batch->connection->Reserve(commands)) {
    counters.refused += commands;
    return batch->Fail(
        absl::UnavailableError(StrCat("redis ", batch->connection->address(),
                                      ": the queue is full: ", options().pending_per_connection_max,
                                      " commands without an answer")),
        nullptr);
  }
  const uint64_t bytes = counters.pending_bytes.fetch_add(batch->size) + batch->size;
  counters.pending += commands;
  absl::Status refused;
  if (bytes > options().pending_bytes_max) {
    counters.refused += commands;
    refused = absl::UnavailableError(StrCat("the queue is full: ", options().pending_bytes_max,
                                            " bytes of requests without an answer"));
  } else {
    batch->reserved = true;
    RedisBatch* const raw = batch.release();
    // A raw pointer, so that the work fits where it is kept without a heap block of its own.
    if (env_.loop->Post([raw] {
          std::unique_ptr<RedisBatch> mine(raw);
          const std::shared_ptr<RedisConnection> to = mine->connection;
          to->Enqueue(std::move(mine));
        })) {
      return;
    }
    batch.reset(raw);
    refused = ShuttingDown();
  }
  counters.pending -= commands;
  counters.pending_bytes -= batch->size;
  batch->connection->Unreserve(commands);
  batch->Fail(refused, nullptr);
}

// ---- lanes

absl::StatusOr<std::shared_ptr<RedisConnection>> RedisCore::AcquireLane(
    const std::string& lane, const std::string& address) {
  std::shared_ptr<RedisConnection> old;
  std::shared_ptr<RedisConnection> chosen;
  {
    MutexLock lock(&mu_);
    const auto found = lanes_.find(lane);
    if (found == lanes_.end() && lanes_.size() >= options().lanes_max) {
      return absl::FailedPreconditionError(
          StrCat("lane \"", lane, "\": there are ", options().lanes_max, " already"));
    }
    Lane& mine = lanes_[lane];
    if (mine.busy) {
      return absl::FailedPreconditionError(
          StrCat("lane \"", lane, "\" has a call under way; one at a time"));
    }
    mine.busy = true;
    if (mine.connection != nullptr && mine.connection->address() != address) {
      old = std::exchange(mine.connection, nullptr);
    }
    chosen = mine.connection;
  }
  if (old != nullptr) CloseConnection(old);
  if (chosen != nullptr) return chosen;
  chosen = NewConnection(RedisConnection::Use::kBlocking, address);
  MutexLock lock(&mu_);
  lanes_[lane].connection = chosen;
  return chosen;
}

void RedisCore::ReleaseLane(const std::string& lane, bool reuse) {
  std::shared_ptr<RedisConnection> old;
  {
    MutexLock lock(&mu_);
    Lane& mine = lanes_[lane];
    mine.busy = false;
    if (!reuse) old = std::exchange(mine.connection, nullptr);
  }
  if (old != nullptr) CloseConnection(old);
}

// ---- what connections tell

void RedisCore::OnUp(RedisConnection* /*connection*/) {}

void RedisCore::OnDown(RedisConnection* connection, const absl::Status& why) {
  {
    MutexLock lock(&mu_);
    last_error_ = why;
  }
  if (connection->use() == RedisConnection::Use::kData) topology_->OnDown(connection);
}

void RedisCore::OnErrorReply(RedisConnection* connection, std::string_view text) {
  if (connection->use() == RedisConnection::Use::kData) topology_->OnErrorReply(connection, text);
}

bool RedisCore::AllUp() const {
  MutexLock lock(&mu_);
  return AllUpLocked();
}

bool RedisCore::AllUpLocked() const {
  if (routes_ == nullptr || !routes_error_.ok()) return false;
  for (const auto& master : routes_->masters) {
    for (const auto& connection : master->connections) {
      if (!connection->ready()) return false;
    }
  }
  return true;
}

RedisStats RedisCore::Stats() const {
  const RedisCounters& counters = env_.counters;
  RedisStats stats;
  stats.commands = counters.commands.Sum(0);
  stats.errors = counters.errors;
  stats.timeouts = counters.timeouts;
  stats.connects = counters.connects;
  stats.disconnects = counters.disconnects;
  stats.redirections = counters.redirections;
  stats.topology_changes = counters.topology_changes;
  stats.refused = counters.refused;
  stats.pending = counters.pending;
  stats.connected = counters.connected;
  MutexLock lock(&mu_);
  if (routes_ != nullptr) stats.nodes = static_cast<int>(routes_->masters.size());
  if (AllUpLocked()) {
    stats.state = "ok";
  } else {
    stats.state = last_error_.ok() ? "connecting" : std::string(last_error_.message());
  }
  return stats;
}

}  // namespace larder
