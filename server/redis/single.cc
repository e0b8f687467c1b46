#include "redis/core.h"

namespace larder {
namespace {

// One server at a fixed address. Nothing has to be found out, so the routes are there before the
// first call, and no call waits for them and is overtaken by a later one.
class Single : public RedisTopology {
 public:
  explicit Single(RedisCore* core) : core_(core) {
    auto routes = std::make_shared<RedisRoutes>();
    // The address was checked when the Redis was made.
    routes->masters.push_back(*core->NodeAt(core->options().addresses[0]));
    core->SetRoutes(std::move(routes));
  }

  MonoNanos Tick(MonoNanos now) override { return core_->Tick(now); }

 private:
  RedisCore* const core_;
};

}  // namespace

std::shared_ptr<RedisTopology> NewSingleRedisTopology(RedisCore* core) {
  return std::make_shared<Single>(core);
}

}  // namespace larder
