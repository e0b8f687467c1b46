// RedisPacer says when the topology is asked for again: soon after something hints at a change, but
// never more often than the pause, however many hints come; and now and then without any.
// Thread safety: none.

#ifndef LARDER_REDIS_PACER_H_
#define LARDER_REDIS_PACER_H_

#include <algorithm>

#include "absl/time/time.h"
#include "base/clock.h"

namespace larder {

class RedisPacer {
 public:
  RedisPacer(absl::Duration pause, absl::Duration poll) : pause_(pause), poll_(poll) {}

  // Something may have changed.
  void Hint() { hinted_ = true; }
  // The question is put now. `calm`: nothing is known to be wrong.
  void Ask(MonoNanos now, bool calm) {
    hinted_ = false;
    soonest_ = MonoAfter(now, pause_);
    latest_ = MonoAfter(now, calm ? poll_ : std::min(poll_, std::max(pause_, kWorried)));
  }
  // When the question is due.
  MonoNanos due() const { return hinted_ ? soonest_ : latest_; }

 private:
  // Between questions while a server is missing.
  static constexpr absl::Duration kWorried = absl::Milliseconds(200);

  const absl::Duration pause_;
  const absl::Duration poll_;
  bool hinted_ = true;
  MonoNanos soonest_ = 0;
  MonoNanos latest_ = 0;
};

}  // namespace larder

#endif  // LARDER_REDIS_PACER_H_
