// Which events to look at? Looking at all of them would double the cost of a hit. Every n-th would
// be cheap, but traffic has rhythms of its own: a client that reads ten keys in turn would show one
// of them to a server that looks at every tenth event. So the distance to the next sample is drawn
// anew each time, from the geometric distribution, which is what makes each event a sample with the
// same chance, whatever came before. Each thread counts down in a cell of its own; a load, a
// subtraction and a store. Because the distribution has no memory, a countdown can also be thrown
// away and drawn again at any time without favouring anything: that is how a lower n reaches
// threads that have become quiet. n follows the traffic every 100 ms and aims at half of the limit;
// a burst that meets the limit within an interval multiplies n by four at once.
//
// What to remember and what to say of it is the matter of hot_ranking. Each type has a ranking for
// each order, with keys of its own: a value that is big and read twice is none of the busiest keys,
// and a key that only misses has no bytes.

#include "policy/hot_keys.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "absl/hash/hash.h"
#include "core/key.h"
#include "policy/type_table.h"

namespace larder {
namespace {

constexpr MonoNanos kInterval = 100'000'000;
constexpr uint64_t kIntervalsPerSecond = 10;
constexpr uint32_t kEveryMax = 1 << 20;
constexpr uint32_t kBurstFactor = 4;
constexpr int kLockTries = 64;
constexpr size_t kTrackedMin = 16;
// What a tracked key takes in all orders and windows when it is as long as keys usually are.
constexpr uint64_t kUsualKeyBytes = 1536;

// A lock that others hold for a moment is worth a few tries, one that its holder was put to sleep
// with is not: callers answer requests.
bool TryLockSoon(Mutex* mu)
    ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true, mu) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  for (int i = 0; i < kLockTries; ++i) {
    if (mu->TryLock()) return true;
  }
  return false;
}

HotKeys::Options Sane(HotKeys::Options options) {
  options.types = std::clamp<size_t>(options.types, 1, TypeTable::kTypesMax);
  options.types_max = std::clamp(options.types_max, options.types, TypeTable::kTypesMax);
  options.window = std::clamp(options.window, absl::Seconds(1), absl::Hours(1));
  options.samples_per_second_max =
      std::clamp<uint32_t>(options.samples_per_second_max, 100, 1'000'000);
  options.bytes_max = std::max(options.bytes_max, HotKeys::kTypeBytesMin * options.types);
  return options;
}

}  // namespace

struct HotKeys::Table {
  Table(const Options& options, int64_t number) : window(number) {
    const uint64_t bytes = options.bytes_max / options.types;
    rows_max = std::clamp<size_t>(bytes / kUsualKeyBytes, kTrackedMin, kTrackedMax);
    const uint64_t fixed =
        sizeof(Table) + kOrders * (HotRanking::FixedBytes(rows_max, /*filtered=*/true) +
                                   HotRanking::FixedBytes(rows_max, /*filtered=*/false));
    key_bytes_max = (bytes - fixed) / (2 * kOrders);
    current = NewRankings();
  }

  std::vector<HotRanking> NewRankings() const {
    std::vector<HotRanking> rankings;
    for (size_t order = 0; order < kOrders; ++order) {
      rankings.emplace_back(static_cast<Order>(order), rows_max, key_bytes_max);
    }
    return rankings;
  }

  // Goes on to window `number`.
  void TurnTo(int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (number <= window) return;
    previous.clear();
    if (number == window + 1) previous = std::move(current);
    for (HotRanking& ranking : previous) ranking.Close();
    current = NewRankings();
    window = number;
  }

  Mutex mu;
  size_t rows_max;
  uint64_t key_bytes_max;
  int64_t window ABSL_GUARDED_BY(mu);
  // By order; `previous` may be empty.
  std::vector<HotRanking> current ABSL_GUARDED_BY(mu);
  std::vector<HotRanking> previous ABSL_GUARDED_BY(mu);
};

HotKeys::HotKeys(const Options& options)
    : options_(Sane(options)),
      start_(options_.clock->Mono()),
      interval_start_(start_),
      tables_(new std::atomic<Table*>[options_.types_max]()) {
  for (Cell& cell : cells_) cell.state = NextState();
}

HotKeys::~HotKeys() {
  for (size_t i = 0; i < options_.types_max; ++i) delete tables_[i].load();
}

uint64_t HotKeys::NextState() const {
  const uint32_t every = every_.load(std::memory_order_relaxed);
  double distance = 1;
  if (every > 1) {
    const double draw = static_cast<double>((options_.random->Next() >> 11) + 1) * 0x1p-53;
    distance += std::floor(std::log(draw) / std::log1p(-1.0 / every));
  }
  const auto left = static_cast<uint64_t>(std::min(distance, 1e9));
  return uint64_t{every} << 32 | (kCounting + left - 1);
}

uint32_t HotKeys::TakeSample(std::atomic<uint64_t>* cell, uint64_t state) {
  // Threads that share a cell may pass zero together; the sample is the first one's.
  if (static_cast<uint32_t>(state) != kCounting - 1) return 0;
  const auto weight = static_cast<uint32_t>(state >> 32);
  const uint64_t taken = samples_.fetch_add(1, std::memory_order_relaxed) + 1;
  events_.fetch_add(weight, std::memory_order_relaxed);
  const MonoNanos now = options_.clock->Mono();
  const bool over = now - interval_start_.load(std::memory_order_relaxed) >= kInterval;
  const bool burst = taken > options_.samples_per_second_max / kIntervalsPerSecond;
  if ((over || burst) && rate_mu_.TryLock()) {
    FollowTraffic(now);
    rate_mu_.Unlock();
  }
  cell->store(NextState(), std::memory_order_relaxed);
  return weight;
}

void HotKeys::Tick() {
  MutexLock lock(&rate_mu_);
  FollowTraffic(options_.clock->Mono());
}

void HotKeys::FollowTraffic(MonoNanos now) {
  const uint32_t every = every_.load(std::memory_order_relaxed);
  const MonoNanos elapsed = now - interval_start_.load(std::memory_order_relaxed);
  if (elapsed < kInterval) {
    // Looked at again under the lock: another thread may have dealt with the burst.
    if (samples_.load() <= options_.samples_per_second_max / kIntervalsPerSecond) return;
    samples_ = 0;
    every_ = std::min(every * kBurstFactor, kEveryMax);
    return;
  }
  samples_ = 0;
  interval_start_ = now;
  const double per_second =
      static_cast<double>(events_.exchange(0)) / absl::ToDoubleSeconds(absl::Nanoseconds(elapsed));
  const double wanted = std::ceil(per_second / (0.5 * options_.samples_per_second_max));
  // Down by halves, so that a short lull is not followed by a burst of samples.
  const uint32_t next = std::max(static_cast<uint32_t>(std::clamp<double>(wanted, 1, kEveryMax)),
                                 std::max(every / 2, 1u));
  every_ = next;
  // Each time for all: a thread that counts meanwhile overwrites what is stored here.
  for (Cell& cell : cells_) {
    if (cell.state.load(std::memory_order_relaxed) >> 32 > next) cell.state = NextState();
  }
}

int64_t HotKeys::WindowAt(MonoNanos now) const {
  return (now - start_) / absl::ToInt64Nanoseconds(options_.window);
}

absl::Duration HotKeys::window_age() const {
  return absl::Nanoseconds(options_.clock->Mono() - start_) % options_.window;
}

HotKeys::Table* HotKeys::TableOf(uint16_t type_id) {
  std::atomic<Table*>& slot = tables_[type_id];
  Table* table = slot.load(std::memory_order_acquire);
  if (table != nullptr) return table;
  auto made = std::make_unique<Table>(options_, WindowAt(options_.clock->Mono()));
  // Another thread may have been faster; `table` is its table then.
  if (slot.compare_exchange_strong(table, made.get(), std::memory_order_acq_rel)) {
    return made.release();
  }
  return table;
}

void HotKeys::Record(uint16_t type_id, std::string_view full_key, Event event, uint64_t value_bytes,
                     uint32_t weight) {
  if (type_id >= options_.types_max) return;
  Table* const table = TableOf(type_id);
  const uint64_t hits = event == Event::kHit ? weight : 0;
  const HotSample sample = {full_key,
                            absl::Hash<std::string_view>()(full_key),
                            hits,
                            event == Event::kMiss ? weight : 0,
                            hits * value_bytes,
                            value_bytes,
                            weight};
  const int64_t window = WindowAt(options_.clock->Mono());
  if (!TryLockSoon(&table->mu)) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  table->TurnTo(window);
  for (HotRanking& ranking : table->current) ranking.Add(sample);
  table->mu.Unlock();
}

std::vector<HotKeys::Row> HotKeys::Top(const Query& query) const {
  std::vector<Row> rows;
  const int64_t window = WindowAt(options_.clock->Mono());
  for (size_t id = 0; id < options_.types_max; ++id) {
    if (query.type_id.value_or(id) != id) continue;
    Table* const table = tables_[id].load(std::memory_order_acquire);
    if (table == nullptr) continue;
    MutexLock lock(&table->mu);
    table->TurnTo(window);
    const auto& rankings = query.window == Window::kCurrent ? table->current : table->previous;
    if (rankings.empty()) continue;
    for (const auto* const tracked : rankings[static_cast<size_t>(query.order)].Certain()) {
      const std::string_view name_space = FullKey::NamespaceOf(tracked->full_key);
      if (query.name_space.value_or(name_space) != name_space) continue;
      rows.push_back({std::string(name_space), std::string(FullKey::KeyOf(tracked->full_key)),
                      static_cast<uint16_t>(id), tracked->hits, tracked->misses, tracked->bytes,
                      tracked->value_bytes_max});
    }
  }
  const auto by = [&](const Row& row) {
    switch (query.order) {
      case Order::kHits:
        return row.hits;
      case Order::kMisses:
        return row.misses;
      case Order::kBytes:
        return row.bytes;
      case Order::kValueBytes:
        return row.value_bytes_max;
    }
    return uint64_t{0};
  };
  std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    return std::make_tuple(by(b), std::string_view(a.name_space), std::string_view(a.key)) <
           std::make_tuple(by(a), std::string_view(b.name_space), std::string_view(b.key));
  });
  rows.resize(std::min({rows.size(), query.limit, kLimitMax}));
  return rows;
}

uint64_t HotKeys::bytes() const {
  uint64_t bytes = sizeof(*this) + options_.types_max * sizeof(std::atomic<Table*>);
  for (size_t id = 0; id < options_.types_max; ++id) {
    Table* const table = tables_[id].load(std::memory_order_acquire);
    if (table == nullptr) continue;
    MutexLock lock(&table->mu);
    bytes += sizeof(Table);
    for (const auto* const rankings : {&table->current, &table->previous}) {
      for (const HotRanking& ranking : *rankings) bytes += sizeof(HotRanking) + ranking.bytes();
    }
  }
  return bytes;
}

}  // namespace larder
