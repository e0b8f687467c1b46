// Quotas holds each namespace that has one to so many keys and bytes a second. What a namespace did
// not use for a while it may use at once, up to its burst; a call is taken on while nothing is
// owed, and may then be larger than what is left, which the next ones wait for. Thread safety: any
// method, any thread; never blocks, Replace excepted. Errors: QUOTA_EXCEEDED, with the time after
// which to try again.

#ifndef LARDER_RPC_QUOTAS_H_
#define LARDER_RPC_QUOTAS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace larder {

struct NamespaceQuota {
  std::string name_space;
  // 0: not limited.
  uint64_t keys_per_second = 0;
  uint64_t bytes_per_second = 0;
  absl::Duration burst = absl::Seconds(1);
};

class Quotas {
 public:
  // What one namespace has used. Lives as long as the Quotas.
  class Line;

  explicit Quotas(const std::vector<NamespaceQuota>& quotas);
  ~Quotas();

  // Holds for calls that begin after it returns. What is owed stays owed.
  void Replace(const std::vector<NamespaceQuota>& quotas);

  // Null: the namespace has no quota. Empty stands for `default`.
  Line* Find(std::string_view name_space) const;
  // Whether any namespace has one.
  bool any() const { return any_.load(std::memory_order_relaxed); }

  // Takes a request of so many keys and bytes on, or says why not.
  static absl::Status Take(Line* line, uint64_t keys, uint64_t bytes, MonoNanos now);
  // Adds what the answer took.
  static void Owe(Line* line, uint64_t bytes, MonoNanos now);

  // Calls refused since the start.
  uint64_t refused() const;

 private:
  using Table = absl::flat_hash_map<std::string, Line*>;

  std::atomic<bool> any_{false};
  std::atomic<const Table*> table_{nullptr};
  mutable Mutex mu_;
  // All that there ever were: calls may still use them.
  std::vector<std::unique_ptr<const Table>> tables_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<Line>> lines_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_RPC_QUOTAS_H_
