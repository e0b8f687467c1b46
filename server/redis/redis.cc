#include "redis/redis.h"

#include <limits>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "redis/calls.h"
#include "redis/core.h"
#include "redis/environment.h"

namespace larder {
namespace {

template <typename T>
absl::Status Within(std::string_view name, const T& value, const T& least, const T& most) {
  if (value >= least && value <= most) return absl::OkStatus();
  if constexpr (std::is_same_v<T, absl::Duration>) {
    return absl::InvalidArgumentError(StrCat(name, " is ", absl::FormatDuration(value), "; ",
                                             absl::FormatDuration(least), " to ",
                                             absl::FormatDuration(most)));
  } else {
    return absl::InvalidArgumentError(StrCat(name, " is ", value, "; ", least, " to ", most));
  }
}

absl::Status CheckTopology(const Redis::Options& options) {
  const bool single = options.topology == Redis::Topology::kSingle;
  const bool sentinel = options.topology == Redis::Topology::kSentinel;
  if (options.addresses.empty()) return absl::InvalidArgumentError("no address of a Redis");
  if (single && options.addresses.size() > 1) {
    return absl::InvalidArgumentError(
        StrCat(options.addresses.size(), " addresses of a single Redis; it has one"));
  }
  RETURN_IF_ERROR(Within<size_t>("the number of addresses", options.addresses.size(), 1, 100));
  for (const std::string& address : options.addresses) {
    RETURN_IF_ERROR(ParseRedisAddress(address).status());
  }
  if (sentinel && options.master_name.empty()) {
    return absl::InvalidArgumentError("Sentinels are asked for a master by its name; it is empty");
  }
  if (options.topology == Redis::Topology::kCluster && options.database != 0) {
    return absl::InvalidArgumentError("a Redis Cluster has only database 0");
  }
  if (!options.tls_cert_file.empty() != !options.tls_key_file.empty()) {
    return absl::InvalidArgumentError(
        "a TLS certificate needs its key, and the key its certificate");
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const Redis::Options& options) {
  constexpr absl::Duration kHour = absl::Hours(1);
  RETURN_IF_ERROR(Within("database", options.database, 0, 1'000'000));
  RETURN_IF_ERROR(Within("connections_per_node", options.connections_per_node, 1, 64));
  RETURN_IF_ERROR(Within<size_t>("pending_per_connection_max", options.pending_per_connection_max,
                                 1, 10'000'000));
  RETURN_IF_ERROR(
      Within<uint64_t>("pending_bytes_max", options.pending_bytes_max, 1 << 10, uint64_t{1} << 40));
  RETURN_IF_ERROR(
      Within<uint64_t>("reply_bytes_max", options.reply_bytes_max, 1 << 20, uint64_t{4} << 30));
  RETURN_IF_ERROR(Within("connect_timeout", options.connect_timeout, absl::Milliseconds(1), kHour));
  RETURN_IF_ERROR(Within("reconnect_min", options.reconnect_min, absl::Milliseconds(1), kHour));
  RETURN_IF_ERROR(Within("reconnect_max", options.reconnect_max, options.reconnect_min, kHour));
  RETURN_IF_ERROR(Within("silence_max", options.silence_max, absl::Milliseconds(100), kHour));
  RETURN_IF_ERROR(
      Within("topology_pause", options.topology_pause, absl::Milliseconds(10), absl::Seconds(10)));
  RETURN_IF_ERROR(
      Within("topology_poll", options.topology_poll, options.topology_pause, absl::Minutes(10)));
  RETURN_IF_ERROR(Within<size_t>("lanes_max", options.lanes_max, 1, 1024));
  return Within("redirections_max", options.redirections_max, 0, 16);
}

class RedisImpl : public Redis {
 public:
  RedisImpl(const Options& options, RedisTlsPtr tls)
      : core_(std::make_shared<RedisCore>(options, std::move(tls))) {
    core_->Start();
  }
  ~RedisImpl() override { core_->Stop(); }

  Task<absl::StatusOr<RedisReply>> Call(RedisCommand command, MonoNanos deadline) override {
    return RunRedisCommand(core_, std::move(command), deadline);
  }
  Task<RedisReplies> CallMany(std::vector<RedisCommand> commands, MonoNanos deadline) override {
    return RunRedisCommands(core_, std::move(commands), nullptr, RedisOrder::kByKey, deadline);
  }
  Task<RedisReplies> ReadMany(std::vector<RedisCommand> commands, MonoNanos deadline) override {
    return RunRedisCommands(core_, std::move(commands), nullptr, RedisOrder::kNone, deadline);
  }
  Task<RedisReplies> RunMany(const RedisScript* script, std::vector<ScriptCall> calls,
                             MonoNanos deadline) override {
    std::vector<RedisCommand> commands;
    commands.reserve(calls.size());
    for (ScriptCall& call : calls) commands.push_back(EvalSha(*script, std::move(call)));
    return RunRedisCommands(core_, std::move(commands), script, RedisOrder::kByKey, deadline);
  }
  Task<RedisReplies> CallMasters(RedisCommand command, MonoNanos deadline) override {
    return RunRedisOnMasters(core_, std::move(command), deadline);
  }
  Task<absl::StatusOr<RedisScanPage>> Scan(std::string cursor, std::string match, size_t count,
                                           MonoNanos deadline) override {
    return RunRedisScan(core_, std::move(cursor), std::move(match), count, deadline);
  }
  Task<absl::StatusOr<RedisReply>> CallBlocking(std::string lane, RedisCommand command,
                                                MonoNanos deadline) override {
    return RunRedisBlocking(core_, std::move(lane), std::move(command), deadline);
  }
  RedisStats Stats() const override { return core_->Stats(); }
  uint64_t disconnects() const override { return core_->disconnects(); }

 private:
  static RedisCommand EvalSha(const RedisScript& script, ScriptCall call) {
    RedisCommand command;
    // Without keys it goes to any node.
    command.key_at = call.keys.empty() ? std::numeric_limits<size_t>::max() : 3;
    command.args.reserve(3 + call.keys.size() + call.args.size());
    command.args = {"EVALSHA", script.sha1, absl::StrCat(call.keys.size())};
    for (std::string& key : call.keys) command.args.push_back(std::move(key));
    for (std::string& arg : call.args) command.args.push_back(std::move(arg));
    return command;
  }

  const std::shared_ptr<RedisCore> core_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Redis>> Redis::New(const Options& options) {
  RETURN_IF_ERROR(CheckTopology(options));
  RETURN_IF_ERROR(CheckLimits(options));
  RedisTlsPtr tls;
  if (options.tls) {
    ASSIGN_OR_RETURN(tls, NewRedisTls(options));
  }
  return std::make_unique<RedisImpl>(options, std::move(tls));
}

}  // namespace larder
