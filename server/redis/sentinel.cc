// Sentinels agree on who is master and raise the master's configuration epoch with each change. All
// of them are asked at once, and the answer with the highest epoch counts: one that was cut off, or
// was down during a failover, tells of a master that is none any more, but of a lower epoch. The
// first answer with a higher epoch than the one in use takes effect at once, so that a Sentinel
// which does not answer delays nothing. When all have answered or failed, the best of them counts,
// whatever its epoch: Sentinels that were set up anew begin at zero.
//
// They are asked again when a connection to the master is lost or a server says READONLY, and once
// a second. Their +switch-master message would tell the same a little earlier, but only while the
// subscription lives, which is least sure when it matters; a Sentinel that demotes a master also
// closes its clients' connections, which asks the question at once. Whoever is named must
// call itself master (ROLE) before it gets a command.

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "redis/core.h"
#include "redis/error_reply.h"
#include "redis/pacer.h"

namespace larder {
namespace {

constexpr absl::Duration kPoll = absl::Seconds(1);

// What one Sentinel says of the master.
struct Named {
  std::string address;
  int64_t epoch = -1;
};

absl::StatusOr<Named> NamedBy(const RedisReply& reply) {
  Named named;
  std::string host;
  int64_t port = 0;
  for (size_t i = 0; i + 1 < reply.items.size(); i += 2) {
    const std::string& field = reply.items[i].text;
    const std::string& value = reply.items[i + 1].text;
    const char* const end = value.data() + value.size();
    if (field == "ip") host = value;
    if (field == "port") std::from_chars(value.data(), end, port);
    if (field == "config-epoch") std::from_chars(value.data(), end, named.epoch);
  }
  named.address = RedisAddress(host, port);
  if (host.empty() || !ParseRedisAddress(named.address).ok() || named.epoch < 0) {
    return absl::InternalError("SENTINEL MASTER answered something else than a master");
  }
  return named;
}

class Sentinels : public RedisTopology, public RedisReceiver {
 public:
  explicit Sentinels(RedisCore* core)
      : core_(core),
        pacer_(core->options().topology_pause, std::min(kPoll, core->options().topology_poll)) {}

  MonoNanos Tick(MonoNanos now) override {
    if (waiting_for_ == 0 && now >= pacer_.due()) Ask(now);
    const MonoNanos due = waiting_for_ > 0 ? kRedisNever : pacer_.due();
    return std::min(due, core_->Tick(now));
  }

  void OnDown(RedisConnection* /*connection*/) override { Hint(); }
  void OnErrorReply(RedisConnection* /*connection*/, std::string_view text) override {
    if (RedisErrorCode(text) == "READONLY") Hint();
  }
  void OnStop() override { stopped_ = true; }

  // Of the answers to SENTINEL MASTER.
  void OnReply(uint32_t position, RedisReply reply) override {
    const absl::StatusOr<Named> named = NamedBy(reply);
    if (!named.ok()) return OnFailure(position, named.status());
    if (named->epoch > best_.epoch) best_ = *named;
    if (named->epoch > current_.epoch) Use(*named);
  }
  void OnErrorReply(uint32_t position, std::string_view text) override {
    OnFailure(position, RedisErrorStatus(text));
  }
  void OnFailure(uint32_t position, const absl::Status& status) override {
    error_ = absl::Status(
        status.code(),
        ToAbsl(StrCat("sentinel ", core_->options().addresses[position], ": ", status.message())));
  }
  void OnDone(RedisLoop* loop) override {
    if (--waiting_for_ > 0 || stopped_) return;
    if (best_.epoch >= 0) {
      Use(best_);
    } else {
      LogWarning("redis_sentinels_unknown", {{"error", error_}});
      // A master that is known and answers is used on; who else should be?
      if (current_.epoch < 0) core_->SetRoutesError(error_);
    }
    loop->TickAgain();
  }

 private:
  void Hint() {
    pacer_.Hint();
    core_->environment()->loop->TickAgain();
  }

  void Ask(MonoNanos now) {
    pacer_.Ask(now, core_->AllUp());
    const std::vector<std::string>& addresses = core_->options().addresses;
    for (size_t i = connections_.size(); i < addresses.size(); ++i) {
      connections_.push_back(core_->NewConnection(RedisConnection::Use::kControl, addresses[i]));
    }
    best_ = Named();
    waiting_for_ = addresses.size();
    for (size_t i = 0; i < addresses.size(); ++i) {
      auto batch = std::make_unique<RedisBatch>();
      AppendRedisCommand({"SENTINEL", "MASTER", core_->options().master_name}, &batch->bytes);
      batch->connection = connections_[i];
      batch->positions.push_back(static_cast<uint32_t>(i));
      batch->deadline = MonoAfter(now, core_->options().connect_timeout);
      batch->receiver = this;
      connections_[i]->Enqueue(std::move(batch));
    }
  }

  void Use(const Named& named) {
    const bool same = named.address == current_.address;
    current_ = named;
    if (same) return;
    absl::StatusOr<std::shared_ptr<RedisNode>> node = core_->NodeAt(named.address);
    // The address was checked, and one node is not too many.
    if (!node.ok()) return;
    LogInfo("redis_master", {{"address", named.address}, {"epoch", named.epoch}});
    auto routes = std::make_shared<RedisRoutes>();
    routes->masters.push_back(*std::move(node));
    core_->SetRoutes(std::move(routes));
  }

  RedisCore* const core_;
  RedisPacer pacer_;
  std::vector<std::shared_ptr<RedisConnection>> connections_;  // one a Sentinel
  size_t waiting_for_ = 0;
  bool stopped_ = false;
  Named current_;
  Named best_;  // of this round
  absl::Status error_;
};

}  // namespace

std::shared_ptr<RedisTopology> NewRedisSentinels(RedisCore* core) {
  return std::make_shared<Sentinels>(core);
}

}  // namespace larder
