// Each quota is one number: the time at which all that was taken so far will have been paid for. A
// call moves it on by what it costs. It may lie ahead of now by the burst; further ahead, calls are
// refused until time has come near enough.

#include "rpc/quotas.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {

class Quotas::Line {
 public:
  explicit Line(std::string name_space) : name_space_(std::move(name_space)) {}

  void Set(const NamespaceQuota& quota) {
    keys_.rate = quota.keys_per_second;
    bytes_.rate = quota.bytes_per_second;
    burst_ = absl::ToInt64Nanoseconds(quota.burst);
  }

  absl::Status Take(uint64_t keys, uint64_t bytes, MonoNanos now) {
    for (const auto& [meter, what] : {std::pair(&keys_, "keys"), std::pair(&bytes_, "bytes")}) {
      const uint64_t rate = meter->rate.load(std::memory_order_relaxed);
      const MonoNanos ahead = meter->paid_until.load(std::memory_order_relaxed) - now;
      const MonoNanos burst = burst_.load(std::memory_order_relaxed);
      if (rate == 0 || ahead <= burst) continue;
      refused_.fetch_add(1, std::memory_order_relaxed);
      return RetryableError(Reason::kQUOTA_EXCEEDED,
                            std::clamp(absl::Nanoseconds(ahead - burst), kAgainLeast, kAgainMost),
                            StrCat("namespace \"", name_space_, "\" has used its quota of ", rate,
                                   " ", what, " a second"));
    }
    Owe(&keys_, keys, now);
    Owe(&bytes_, bytes, now);
    return absl::OkStatus();
  }
  void OweBytes(uint64_t bytes, MonoNanos now) { Owe(&bytes_, bytes, now); }

  uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  struct Meter {
    std::atomic<uint64_t> rate{0};  // a second; 0: not limited
    std::atomic<MonoNanos> paid_until{0};
  };
  static constexpr absl::Duration kAgainLeast = absl::Milliseconds(1);
  static constexpr absl::Duration kAgainMost = absl::Seconds(10);

  static void Owe(Meter* meter, uint64_t amount, MonoNanos now) {
    const uint64_t rate = meter->rate.load(std::memory_order_relaxed);
    if (rate == 0 || amount == 0) return;
    const auto cost =
        static_cast<MonoNanos>(static_cast<double>(amount) * 1e9 / static_cast<double>(rate));
    MonoNanos before = meter->paid_until.load(std::memory_order_relaxed);
    while (!meter->paid_until.compare_exchange_weak(before, std::max(before, now) + cost,
                                                    std::memory_order_relaxed)) {
    }
  }

  const std::string name_space_;
  Meter keys_;
  Meter bytes_;
  std::atomic<MonoNanos> burst_{0};
  std::atomic<uint64_t> refused_{0};
};

Quotas::Quotas(const std::vector<NamespaceQuota>& quotas) { Replace(quotas); }

Quotas::~Quotas() = default;

void Quotas::Replace(const std::vector<NamespaceQuota>& quotas) {
  MutexLock lock(&mu_);
  const Table* const before = table_.load(std::memory_order_relaxed);
  auto table = std::make_unique<Table>();
  for (const NamespaceQuota& quota : quotas) {
    Line* line = nullptr;
    if (before != nullptr && before->contains(quota.name_space)) {
      line = before->at(quota.name_space);
    } else {
      lines_.push_back(std::make_unique<Line>(quota.name_space));
      line = lines_.back().get();
    }
    line->Set(quota);
    (*table)[quota.name_space] = line;
  }
  tables_.push_back(std::move(table));
  table_.store(tables_.back().get(), std::memory_order_release);
  any_.store(!quotas.empty(), std::memory_order_relaxed);
}

Quotas::Line* Quotas::Find(std::string_view name_space) const {
  const Table& table = *table_.load(std::memory_order_acquire);
  const auto found = table.find(ToAbsl(name_space.empty() ? kDefaultNamespace : name_space));
  return found == table.end() ? nullptr : found->second;
}

absl::Status Quotas::Take(Line* line, uint64_t keys, uint64_t bytes, MonoNanos now) {
  return line->Take(keys, bytes, now);
}

void Quotas::Owe(Line* line, uint64_t bytes, MonoNanos now) { line->OweBytes(bytes, now); }

uint64_t Quotas::refused() const {
  MutexLock lock(&mu_);
  uint64_t refused = 0;
  for (const auto& line : lines_) refused += line->refused();
  return refused;
}

}  // namespace larder
