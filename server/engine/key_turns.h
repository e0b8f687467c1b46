// KeyTurns lets those who change the same key go one after the other, without a thread waiting.
// Thread safety: any method, any thread; never blocks for longer than a shard's lock. Errors:
// TOO_MANY_WAITERS, DEADLINE_EXCEEDED, DRAINING; who gets one has no turn and has changed nothing.

#ifndef LARDER_ENGINE_KEY_TURNS_H_
#define LARDER_ENGINE_KEY_TURNS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"

namespace larder {

class KeyTurns {
 public:
  // One caller's turn at a key; ends when it goes. The table outlives it.
  class Turn {
   public:
    Turn(KeyTurns* table, std::string full_key) : table_(table), full_key_(std::move(full_key)) {}
    Turn(Turn&& other) noexcept
        : table_(std::exchange(other.table_, nullptr)), full_key_(std::move(other.full_key_)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (table_ != nullptr) table_->End(full_key_);
    }

   private:
    KeyTurns* table_;
    std::string full_key_;
  };

  struct Options {
    // Callers who wait, in all; 1 to 10,000,000.
    size_t waiters_max = 100'000;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;  // outlives the calls
  };

  explicit KeyTurns(const Options& options) : options_(options) {}

  // Goes on when it is the caller's turn.
  Task<absl::StatusOr<Turn>> Take(std::string full_key, MonoNanos deadline);

  // Ends all waits, and lets nobody wait any more.
  void Drain();

  // Callers who wait now.
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  enum class Woken : uint8_t { kTurn, kTimeout, kDraining };
  struct Waiter {
    explicit Waiter(Executor* executor) : woken(executor) {}
    Signal<Woken> woken;
  };
  struct Shard {
    Mutex mu;
    bool draining ABSL_GUARDED_BY(mu) = false;
    // Keys whose turn somebody has, and who comes next.
    absl::flat_hash_map<std::string, std::deque<std::shared_ptr<Waiter>>> keys ABSL_GUARDED_BY(mu);
  };
  static constexpr size_t kShards = 64;

  Shard& ShardOf(std::string_view full_key);
  void End(const std::string& full_key);
  void Leave(const std::string& full_key, const std::shared_ptr<Waiter>& waiter);

  const Options options_;
  std::atomic<size_t> waiting_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace larder

#endif  // LARDER_ENGINE_KEY_TURNS_H_
