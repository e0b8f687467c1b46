// History is what the dashboard's charts begin with: counters of the last ten minutes and of the
// last day, as they were at even steps. A page that is opened, or opened again, has a past; one
// that watches for days needs no memory for it.
// Bounded: 841 samples of 40 bytes, however long the server runs. Gone with the process: for longer
// there is Prometheus.
// Thread safety: any method, any thread. Never blocks.

#ifndef LARDER_ADMIN_HISTORY_H_
#define LARDER_ADMIN_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace larder {

// Counters since the start.
struct HistorySample {
  absl::Time at = absl::UnixEpoch();
  uint64_t calls = 0;
  uint64_t hits = 0;
  uint64_t reads = 0;
  uint64_t evictions = 0;
};

class History {
 public:
  // Ten minutes, and a day of each 24th of them.
  static constexpr absl::Duration kStep = absl::Seconds(5);
  static constexpr size_t kFineMax = 121;
  static constexpr size_t kCoarseEvery = 24;
  static constexpr size_t kCoarseMax = 720;

  // To be called each kStep.
  void Add(const HistorySample& sample);

  // Oldest first.
  std::vector<HistorySample> Fine() const;
  // The newest of Fine() may be younger than the newest of these by kCoarseEvery steps.
  std::vector<HistorySample> Coarse() const;

 private:
  mutable Mutex mu_;
  std::deque<HistorySample> fine_ ABSL_GUARDED_BY(mu_);
  std::deque<HistorySample> coarse_ ABSL_GUARDED_BY(mu_);
  size_t added_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace larder

#endif  // LARDER_ADMIN_HISTORY_H_
