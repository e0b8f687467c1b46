// Every node of a Cluster knows who serves which slot, and tells a client that asks the wrong one
// (MOVED, with the right address). So the table of slots need not be right for a command to arrive,
// only for it to arrive in one hop; it is read again when something hints at a change, at most
// every `topology_pause`, and now and then without a hint.
//
// Who is asked: first whoever gave the hint, because it knows at least that; then the masters that
// are connected, in turn, so that one which is cut off from the others and lives in the past does
// not decide for long; and when none is connected, everybody that was ever heard of, in turn. A
// table that serves no slot at all is no answer.

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "redis/core.h"
#include "redis/error_reply.h"
#include "redis/pacer.h"

namespace larder {
namespace {

constexpr size_t kAddressesMax = 2000;

class Cluster : public RedisTopology, public RedisReceiver {
 public:
  explicit Cluster(RedisCore* core)
      : core_(core),
        pacer_(core->options().topology_pause, core->options().topology_poll),
        addresses_(core->options().addresses) {}

  MonoNanos Tick(MonoNanos now) override {
    if (!asking_ && now >= pacer_.due()) Ask(now);
    const MonoNanos due = asking_ ? kRedisNever : pacer_.due();
    return std::min(due, core_->Tick(now));
  }

  void OnDown(RedisConnection* /*connection*/) override { Hint(); }

  void OnErrorReply(RedisConnection* connection, std::string_view text) override {
    const std::string_view code = RedisErrorCode(text);
    if (code == "MOVED" || code == "CLUSTERDOWN" || code == "READONLY") {
      hinting_ = connection->weak_from_this();
      Hint();
    }
  }

  void OnStop() override { stopped_ = true; }

  // Of the answer to CLUSTER SLOTS.
  void OnReply(uint32_t /*position*/, RedisReply reply) override {
    auto routes = RoutesOf(reply);
    if (!routes.ok()) return Failed(routes.status());
    failed_in_a_row_ = 0;
    unanswering_ = nullptr;
    if (SameAsNow(**routes)) return;
    LogInfo("redis_cluster_changed",
            {{"masters", (*routes)->masters.size()}, {"told_by", asked_->address()}});
    core_->SetRoutes(*std::move(routes));
  }
  void OnErrorReply(uint32_t /*position*/, std::string_view text) override {
    Failed(RedisErrorStatus(text));
  }
  void OnFailure(uint32_t /*position*/, const absl::Status& status) override { Failed(status); }
  void OnDone(RedisLoop* /*loop*/) override {
    asking_ = false;
    asked_ = nullptr;
    core_->environment()->loop->TickAgain();
  }

 private:
  void Hint() {
    pacer_.Hint();
    core_->environment()->loop->TickAgain();
  }

  void Ask(MonoNanos now) {
    pacer_.Ask(now, core_->AllUp());
    asking_ = true;
    asked_ = Choose();
    auto batch = std::make_unique<RedisBatch>();
    AppendRedisCommand({"CLUSTER", "SLOTS"}, &batch->bytes);
    batch->connection = asked_;
    batch->positions.push_back(0);
    batch->deadline = MonoAfter(now, core_->options().connect_timeout);
    batch->receiver = this;
    asked_->Enqueue(std::move(batch));
  }

  std::shared_ptr<RedisConnection> Choose() {
    if (auto hinting = std::exchange(hinting_, {}).lock(); hinting && hinting->ready()) {
      return hinting;
    }
    ++turn_;
    if (const auto routes = core_->routes()) {
      for (size_t i = 0; i < routes->masters.size(); ++i) {
        const auto& master = routes->masters[(turn_ + i) % routes->masters.size()];
        const auto& connection = master->connections[0];
        // One that left the last question unanswered is passed over.
        if (connection->ready() && connection.get() != unanswering_) return connection;
      }
    }
    const std::string& address = addresses_[turn_ % addresses_.size()];
    if (control_ == nullptr || control_->address() != address) {
      if (control_ != nullptr) core_->CloseConnection(control_);
      control_ = core_->NewConnection(RedisConnection::Use::kControl, address);
    }
    return control_;
  }

  void Failed(const absl::Status& why) {
    if (stopped_) return;
    unanswering_ = asked_.get();
    Hint();
    if (++failed_in_a_row_ < addresses_.size()) return;
    failed_in_a_row_ = 0;
    LogWarning("redis_cluster_unknown", {{"error", why}});
    core_->SetRoutesError(why);
  }

  absl::StatusOr<std::shared_ptr<RedisRoutes>> RoutesOf(const RedisReply& reply);
  std::string AddressOf(const RedisReply& node) const;
  bool SameAsNow(const RedisRoutes& routes) const;

  RedisCore* const core_;
  RedisPacer pacer_;
  bool asking_ = false;
  bool stopped_ = false;
  std::shared_ptr<RedisConnection> asked_;
  // Only compared, never used.
  const RedisConnection* unanswering_ = nullptr;
  std::weak_ptr<RedisConnection> hinting_;
  // To a node that carries no commands.
  std::shared_ptr<RedisConnection> control_;
  // Everybody that can be asked: what the options name, then what was heard of since.
  std::vector<std::string> addresses_;
  size_t turn_ = 0;
  size_t failed_in_a_row_ = 0;
};

// `host, port, id, ...` of one node; empty when it is nothing like that.
std::string Cluster::AddressOf(const RedisReply& node) const {
  if (node.items.size() < 2 || node.items[1].kind != RedisReply::Kind::kInteger) return {};
  std::string host = node.items[0].text;
  // A node that does not know its own address leaves it out: it is the one that answered.
  if (host.empty() || host == "?") host = ParseRedisAddress(asked_->address())->host;
  return RedisAddress(host, node.items[1].integer);
}

absl::StatusOr<std::shared_ptr<RedisRoutes>> Cluster::RoutesOf(const RedisReply& reply) {
  constexpr auto kInteger = RedisReply::Kind::kInteger;
  // The masters, and that of each slot.
  std::set<std::string> masters;
  std::vector<const std::string*> owners(RedisRoutes::kSlots, nullptr);
  std::set<std::string> heard_of(core_->options().addresses.begin(),
                                 core_->options().addresses.end());
  for (const RedisReply& range : reply.items) {
    const auto& items = range.items;
    if (items.size() < 3 || items[0].kind != kInteger || items[1].kind != kInteger ||
        items[0].integer < 0 || items[0].integer > items[1].integer ||
        items[1].integer >= static_cast<int64_t>(RedisRoutes::kSlots)) {
      return absl::InternalError("CLUSTER SLOTS answered something else than ranges of slots");
    }
    for (size_t i = 2; i < items.size() && heard_of.size() < kAddressesMax; ++i) {
      heard_of.insert(AddressOf(items[i]));
    }
    const std::string* const master = &*masters.insert(AddressOf(items[2])).first;
    for (auto slot = static_cast<size_t>(items[0].integer);
         slot <= static_cast<size_t>(items[1].integer); ++slot) {
      owners[slot] = master;
    }
  }
  if (masters.empty()) return absl::UnavailableError("the cluster serves no slot");
  heard_of.erase("");
  addresses_.assign(heard_of.begin(), heard_of.end());

  auto routes = std::make_shared<RedisRoutes>();
  std::map<const std::string*, uint16_t> places;
  for (const std::string& address : masters) {
    absl::StatusOr<std::shared_ptr<RedisNode>> node = core_->NodeAt(address);
    if (!node.ok()) return node.status();
    places[&address] = static_cast<uint16_t>(routes->masters.size());
    routes->masters.push_back(*std::move(node));
  }
  routes->slots.assign(RedisRoutes::kSlots, RedisRoutes::kNobody);
  for (size_t slot = 0; slot < RedisRoutes::kSlots; ++slot) {
    if (owners[slot] != nullptr) routes->slots[slot] = places[owners[slot]];
  }
  return routes;
}

bool Cluster::SameAsNow(const RedisRoutes& routes) const {
  const std::shared_ptr<const RedisRoutes> now = core_->routes();
  return now != nullptr && core_->routes_known() && now->slots == routes.slots &&
         now->masters == routes.masters;
}

}  // namespace

std::shared_ptr<RedisTopology> NewRedisCluster(RedisCore* core) {
  return std::make_shared<Cluster>(core);
}

}  // namespace larder
