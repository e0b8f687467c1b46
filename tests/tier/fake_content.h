// FakeContent is what a FakeTier holds: envelopes under full keys, and the rules of the tier
// contract about what replaces what. Thread safety: any method, any thread; each call takes effect
// in one step. Never blocks for long.

#ifndef LARDER_TESTS_TIER_FAKE_CONTENT_H_
#define LARDER_TESTS_TIER_FAKE_CONTENT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "tier/tier.h"

namespace larder {

class FakeContent {
 public:
  struct Options {
    // Puts of entries that live no longer than this, or are larger than that, are skipped.
    absl::Duration life_min = absl::ZeroDuration();
    size_t envelope_bytes_max = std::numeric_limits<size_t>::max();
  };

  explicit FakeContent(const Options& options) : options_(options) {}

  // `clock` is that of the replica that asks. `stale`: from the copy. `bad_envelopes` grows by
  // those that could not be read, which are absent.
  std::vector<TierRead> Get(const std::vector<std::string>& full_keys, bool stale,
                            const Clock& clock, uint64_t* bad_envelopes) const;
  std::vector<TierChange> Put(const std::vector<TierPut>& puts, const Clock& clock);
  std::vector<TierChange> Erase(const std::vector<TierErase>& erases, const Clock& clock);
  // InvalidArgument for a glob that is none.
  absl::StatusOr<TierPage> Scan(const TierScan& scan, bool stale, const Clock& clock) const;

  void Clear();
  bool Evict(std::string_view full_key);
  void TakeCopy();
  void GoBackToCopy();
  void CountLoss() { ++losses_; }
  uint64_t losses() const { return losses_; }

  std::optional<std::string> Raw(std::string_view full_key) const;
  void SetRaw(std::string_view full_key, std::string bytes);
  size_t size() const;
  size_t bytes() const;

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  struct Stored {
    std::string envelope;
    // Wall milliseconds; gone from then on, as a key of Redis is.
    int64_t expires_ms = kNever;
  };
  using Map = std::map<std::string, Stored, std::less<>>;
  struct Present;

  Present Look(const std::string& full_key, int64_t now_ms) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Bury(const std::string& full_key, Version version, const Clock& clock)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  TierChange PutOne(const TierPut& put, const Clock& clock) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  TierChange EraseOne(const TierErase& erase, const Clock& clock)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable Mutex mu_;
  Map map_ ABSL_GUARDED_BY(mu_);
  Map copy_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint64_t> losses_{0};
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_FAKE_CONTENT_H_
