// A Breaker stops calls to something that fails or has become slow, so that callers do not pay for
// each of them, and lets a few through now and then to see whether it is well again. A state
// machine over a clock: it calls nothing, starts no timer, logs nothing.
//
//   closed     every call passes; opens when too many of the last calls failed or were slow
//   open       no call passes; for open_min, doubled with every probe that fails, up to open_max
//   half-open  a few calls pass as probes: enough good ones in a row close it, a bad one opens it
//
// Thread safety: any method, any thread. Never blocks for long: a call through a closed breaker
// costs one load before and one short lock after it. Errors: none.

#ifndef LARDER_POLICY_BREAKER_H_
#define LARDER_POLICY_BREAKER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/random.h"

namespace larder {

class Breaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kHalfOpen };

  struct Options {
    // Opens when this part of the calls in the window failed; above 0, at most 1.
    double failures = 0.5;
    // The same for calls that took `slow_after` or longer, those that failed included; 1 means all.
    double slow = 0.8;
    absl::Duration slow_after = absl::Milliseconds(40);
    // How far back the window looks; at least 10 ms.
    absl::Duration window = absl::Seconds(1);
    // Fewer calls than this in the window tell nothing; at least 1. As many failures without a
    // success between them, during half a window, open it whatever came before.
    uint32_t min_calls = 10;
    // How long it stays open, at first and at most.
    absl::Duration open_min = absl::Seconds(1);
    absl::Duration open_max = absl::Seconds(30);
    // Half-open: calls that may be under way at a time, and good ones in a row that close it; both
    // at least 1.
    uint32_t probes = 3;
    uint32_t successes = 3;
    Clock* clock = Clock::System();
    Random* random = Random::System();
  };

  // What became of a call.
  enum class Outcome : uint8_t {
    kSuccess,
    kFailure,
    kUnknown,  // nobody can say, or it was the caller's fault: does not count
  };

  // Leave to make one call, to be given back with Leave in any case.
  struct Pass {
    uint64_t turn = 0;
    // The breaker is half-open, and this call is there to see whether it may close.
    bool probe = false;
  };

  // What a call changed, for those who tell the world.
  enum class Change : uint8_t { kNone, kOpened, kReopened, kClosed };

  struct Status {
    State state = State::kClosed;
    // How often it went from closed to open since the start.
    uint64_t opened = 0;
    // What opened it last: `9 of the last 10 calls failed`. Empty: never.
    std::string reason;
    // Until the next probe may pass; zero when it is not open.
    absl::Duration remaining;
  };

  explicit Breaker(const Options& options);
  Breaker(const Breaker&) = delete;
  Breaker& operator=(const Breaker&) = delete;

  // Nothing when the call must not be made.
  std::optional<Pass> TryEnter();
  // Ends a call that took `took`.
  Change Leave(Pass pass, Outcome outcome, absl::Duration took);
  // Opens it for `reason`, which somebody else has seen; after the Leave of a call that began with
  // `pass`. Does nothing when it is not closed any more.
  Change Trip(Pass pass, std::string reason);

  Status GetStatus() const;

 private:
  static constexpr int kSlots = 10;

  // The calls of one tenth of the window.
  struct Slot {
    int64_t number = -1;  // since the clock began
    uint32_t calls = 0;
    uint32_t failed = 0;
    uint32_t slow = 0;
  };

  // A state with the number of its turn: every change of state begins a new one, so that the end of
  // a call that began before tells nothing about now.
  static uint64_t Pack(uint64_t turn, State state) {
    return turn << 2 | static_cast<uint64_t>(state);
  }
  static State StateOf(uint64_t packed) { return static_cast<State>(packed & 3); }

  State state() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return StateOf(packed_.load(std::memory_order_relaxed));
  }
  void Begin(State state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Count(bool failed, bool slow, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What is wrong with the calls of late; empty when nothing is.
  std::string Trouble(MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Open(absl::Duration time, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Change LeaveHalfOpen(bool good, bool bad, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const int64_t slot_nanos_;
  // Written under mu_.
  std::atomic<uint64_t> packed_{Pack(0, State::kClosed)};

  mutable Mutex mu_;
  // Closed.
  std::array<Slot, kSlots> slots_ ABSL_GUARDED_BY(mu_);
  uint32_t failed_in_a_row_ ABSL_GUARDED_BY(mu_) = 0;
  MonoNanos failing_since_ ABSL_GUARDED_BY(mu_) = 0;  // the first of these
  // Open.
  MonoNanos open_until_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Duration open_time_ ABSL_GUARDED_BY(mu_);
  // Half-open.
  uint32_t probes_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t good_in_a_row_ ABSL_GUARDED_BY(mu_) = 0;

  uint64_t opened_ ABSL_GUARDED_BY(mu_) = 0;
  std::string reason_ ABSL_GUARDED_BY(mu_);
};

// `closed`, `open`, `half-open`.
const char* BreakerStateName(Breaker::State state);

}  // namespace larder

#endif  // LARDER_POLICY_BREAKER_H_
