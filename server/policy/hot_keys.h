// HotKeys knows, for each data type, which keys are busy (hits, misses, bytes sent) and which have
// big values, in the window of time that runs and in the one before it. It sees a sample of the
// traffic as it passes and scans nothing.
//
// Thread safety: any method, any thread. Sampled() costs about two nanoseconds and writes only what
// is the thread's own; Record() takes part of a microsecond, for at most samples_per_second_max
// calls a second in all, and gives its sample up rather than wait for a lock. Top() and bytes()
// wait for one short lock at a time. Errors: none. What it says are estimates: of a key that was
// busy throughout the window, within a few percent; of one that became busy late, too low rather
// than too high. Keys about which too little is known are left out. While traffic is below half of
// samples_per_second_max, nothing is left to chance: every event counts, once.
//
//   if (const uint32_t weight = hot_keys->Sampled(); weight != 0)
//     hot_keys->Record(type_id, full_key.view(), HotKeys::Event::kHit, value_bytes, weight);

#ifndef LARDER_POLICY_HOT_KEYS_H_
#define LARDER_POLICY_HOT_KEYS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/optimization.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "base/random.h"
#include "policy/hot_ranking.h"

namespace larder {

class HotKeys {
 public:
  enum class Event : uint8_t {
    kHit,
    kMiss,
    kWrite,  // counts for the size of values alone
  };
  using Order = HotOrder;
  enum class Window : uint8_t { kCurrent, kPrevious };

  static constexpr size_t kLimitMax = 1000;
  // Keys that are tracked at most for one type and order; fewer when bytes_max has no room.
  static constexpr size_t kTrackedMax = 128;
  static constexpr uint64_t kTypeBytesMin = 32 << 10;

  struct Options {
    // How many types there are; 1 to 1,000.
    size_t types = 1;
    // Type ids are below this, at least `types` and at most 1,000. Others are not recorded.
    size_t types_max = 1;
    // 1 s to 1 h.
    absl::Duration window = absl::Seconds(60);
    // 100 to 1,000,000.
    uint32_t samples_per_second_max = 20'000;
    // Most memory that `types` may take, divided between them; one that comes later takes as much
    // as each of them. Tables are made when they are first needed. At least kTypeBytesMin for each
    // type, whatever is asked for here.
    uint64_t bytes_max = 32 << 20;
    Clock* clock = Clock::System();
    Random* random = Random::System();
  };

  // One key in one window; counts are estimates.
  struct Row {
    std::string name_space;
    std::string key;
    uint16_t type_id = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t bytes = 0;            // sent: the sizes of the values of all hits
    uint64_t value_bytes_max = 0;  // the largest value that was seen
  };

  struct Query {
    std::optional<uint16_t> type_id = std::nullopt;             // unset: all
    std::optional<std::string_view> name_space = std::nullopt;  // unset: all
    Order order = Order::kHits;
    Window window = Window::kCurrent;
    size_t limit = 20;  // cut to kLimitMax
  };

  explicit HotKeys(const Options& options);
  ~HotKeys();
  HotKeys(const HotKeys&) = delete;
  HotKeys& operator=(const HotKeys&) = delete;

  // To be asked at every event. Not 0: record this event; it stands for so many.
  uint32_t Sampled() {
    const uint32_t shard = ThreadShard();
    std::atomic<uint64_t>& cell = cells_[shard].state;
    uint64_t state = 0;
    if (ABSL_PREDICT_TRUE(shard < kOwnedShards)) {
      state = cell.load(std::memory_order_relaxed) - 1;
      cell.store(state, std::memory_order_relaxed);
    } else {
      state = cell.fetch_sub(1, std::memory_order_relaxed) - 1;
    }
    if (ABSL_PREDICT_TRUE((state & kCounting) != 0)) return 0;
    return TakeSample(&cell, state);
  }

  // `full_key` is FullKey::view(). `value_bytes`: of the value as the caller sees it; 0 for a miss.
  // `weight` is what Sampled() said.
  void Record(uint16_t type_id, std::string_view full_key, Event event, uint64_t value_bytes,
              uint32_t weight);

  // Follows the traffic with the rate. To be called about ten times a second; without it a drop in
  // traffic is noticed late.
  void Tick();

  // The first of a ranking, largest first, for one type or all. Namespaces are told apart only
  // here: the keys of a quiet one are found while they are among the busiest of their type.
  std::vector<Row> Top(const Query& query) const;

  absl::Duration window() const { return options_.window; }
  // For how long the current window has been running.
  absl::Duration window_age() const;
  // One event in so many is sampled now.
  uint32_t every() const { return every_.load(std::memory_order_relaxed); }
  // Samples that were given up because a lock was taken.
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  // Memory taken now.
  uint64_t bytes() const;

 private:
  struct Table;

  static constexpr size_t kOrders = 4;

  // The low half of a state counts down to the next sample, from kCounting + events between - 1;
  // the high half is the weight of that sample.
  static constexpr uint64_t kCounting = uint64_t{1} << 31;
  struct alignas(64) Cell {
    std::atomic<uint64_t> state{0};
  };

  uint32_t TakeSample(std::atomic<uint64_t>* cell, uint64_t state);
  uint64_t NextState() const;
  void FollowTraffic(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(rate_mu_);
  int64_t WindowAt(MonoNanos now) const;
  Table* TableOf(uint16_t type_id);

  const Options options_;
  const MonoNanos start_;
  std::array<Cell, kThreadShards> cells_;
  std::atomic<uint32_t> every_{1};
  std::atomic<uint64_t> dropped_{0};

  // Of the interval that runs: samples taken, and the events that they stand for.
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> events_{0};
  std::atomic<MonoNanos> interval_start_;
  Mutex rate_mu_;

  // Null until the type has its first sample.
  const std::unique_ptr<std::atomic<Table*>[]> tables_;
};

}  // namespace larder

#endif  // LARDER_POLICY_HOT_KEYS_H_
