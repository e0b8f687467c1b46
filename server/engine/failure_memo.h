// FailureMemo remembers for a while which keys could not be loaded, so that an origin that is
// unwell is not asked again by every caller who has something stale to go on with. Thread safety:
// any method, any thread. Bounded: when a shard is full, what is over is forgotten, and else all of
// it; then keys are tried once more than they need be.

#ifndef LARDER_ENGINE_FAILURE_MEMO_H_
#define LARDER_ENGINE_FAILURE_MEMO_H_

#include <array>
#include <atomic>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/strings.h"

namespace larder {

class FailureMemo {
 public:
  explicit FailureMemo(size_t keys_max) : per_shard_max_(keys_max / kShards + 1) {}

  // The key is not tried before `until`.
  void Note(std::string_view full_key, MonoNanos now, MonoNanos until) {
    if (until <= now) return;
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    if (shard.keys.size() >= per_shard_max_) {
      absl::erase_if(shard.keys, [now](const auto& noted) { return noted.second <= now; });
      if (shard.keys.size() >= per_shard_max_) shard.keys.clear();
    }
    shard.keys.insert_or_assign(std::string(full_key), until);
    any_.store(true, std::memory_order_relaxed);
  }
  // The key was loaded.
  void Forget(std::string_view full_key) {
    if (!any_.load(std::memory_order_relaxed)) return;
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    shard.keys.erase(ToAbsl(full_key));
  }
  bool Has(std::string_view full_key, MonoNanos now) const {
    if (!any_.load(std::memory_order_relaxed)) return false;
    const Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.keys.find(ToAbsl(full_key));
    return it != shard.keys.end() && now < it->second;
  }

 private:
  struct Shard {
    mutable Mutex mu;
    absl::flat_hash_map<std::string, MonoNanos> keys ABSL_GUARDED_BY(mu);
  };
  static constexpr size_t kShards = 16;

  Shard& ShardOf(std::string_view full_key) const {
    return shards_[absl::Hash<std::string_view>{}(full_key) % kShards];
  }

  const size_t per_shard_max_;
  mutable std::array<Shard, kShards> shards_;
  // Nothing ever failed: then nobody takes a lock.
  std::atomic<bool> any_{false};
};

}  // namespace larder

#endif  // LARDER_ENGINE_FAILURE_MEMO_H_
