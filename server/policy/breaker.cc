// When to open. A rate over a window is what one bad call in a hundred should not trip and a sick
// server should. But a rate alone is late when something stops dead: after ten thousand good calls
// a second, a frozen server answers nothing, its callers wait for their time limits, and it takes
// most of a window until the few that gave up outnumber the many that went well before. So a run of
// failures without one success between them opens the breaker as well, once it has lasted half a
// window. The time matters as much as the number: a connection that breaks fails a hundred
// pipelined calls in one instant and is back after some milliseconds, which is no reason to stop.
//
// A tier that answers but takes as long as its time limit costs callers the same as one that does
// not answer, so slow calls have a rate of their own. A failure that took long counts as slow too.
//
// When to close. One good probe may be luck, so that several in a row are needed; one bad or slow
// probe opens the breaker again for twice the time, drawn longer by up to a quarter, so that the
// replicas of a fleet do not all knock at the same moment.
//
// Why a lock. A call through a closed breaker reads one atomic number, and its end adds to three
// counters under a lock that is held for a few nanoseconds. Counters without a lock would need the
// turn of a slot and its three counts to change in one step; what is guarded takes microseconds at
// least, so that nobody could see the difference.
//
// Turns. A thousand calls may be under way when the breaker opens. They fail later, one by one, and
// must neither open it again nor spoil the probes: each carries the number of the turn in which it
// began, and only calls of the current turn count.

#include "policy/breaker.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

// The longest part by which a time is drawn longer.
constexpr double kJitter = 0.25;

}  // namespace

Breaker::Breaker(const Options& options)
    : options_(options),
      slot_nanos_(std::max<int64_t>(absl::ToInt64Nanoseconds(options.window) / kSlots, 1)) {}

std::optional<Breaker::Pass> Breaker::TryEnter() {
  const uint64_t packed = packed_.load(std::memory_order_acquire);
  if (StateOf(packed) == State::kClosed) return Pass{.turn = packed >> 2};
  const MonoNanos now = options_.clock->Mono();
  MutexLock lock(&mu_);
  if (state() == State::kOpen) {
    if (now < open_until_) return std::nullopt;
    Begin(State::kHalfOpen);
  }
  if (state() == State::kHalfOpen) {
    if (probes_ >= options_.probes) return std::nullopt;
    ++probes_;
  }
  return Pass{.turn = packed_.load(std::memory_order_relaxed) >> 2,
              .probe = state() == State::kHalfOpen};
}

Breaker::Change Breaker::Leave(Pass pass, Outcome outcome, absl::Duration took) {
  const MonoNanos now = options_.clock->Mono();
  const bool slow = took >= options_.slow_after;
  const bool failed = outcome == Outcome::kFailure;
  const bool unknown = outcome == Outcome::kUnknown;
  MutexLock lock(&mu_);
  if (packed_.load(std::memory_order_relaxed) >> 2 != pass.turn) return Change::kNone;
  if (state() == State::kHalfOpen) {
    return LeaveHalfOpen(!unknown && !failed && !slow, !unknown && (failed || slow), now);
  }
  if (unknown) return Change::kNone;
  Count(failed, slow, now);
  if (!failed && !slow) return Change::kNone;
  std::string trouble = Trouble(now);
  if (trouble.empty()) return Change::kNone;
  ++opened_;
  reason_ = std::move(trouble);
  Open(options_.open_min, now);
  return Change::kOpened;
}

Breaker::Change Breaker::Trip(Pass pass, std::string reason) {
  const MonoNanos now = options_.clock->Mono();
  MutexLock lock(&mu_);
  if (packed_.load(std::memory_order_relaxed) >> 2 != pass.turn || state() != State::kClosed) {
    return Change::kNone;
  }
  ++opened_;
  reason_ = std::move(reason);
  Open(options_.open_min, now);
  return Change::kOpened;
}

Breaker::Change Breaker::LeaveHalfOpen(bool good, bool bad, MonoNanos now) {
  --probes_;
  if (bad) {
    Open(std::min(2 * open_time_, options_.open_max), now);
    return Change::kReopened;
  }
  if (!good || ++good_in_a_row_ < options_.successes) return Change::kNone;
  Begin(State::kClosed);
  slots_ = {};
  failed_in_a_row_ = 0;
  return Change::kClosed;
}

void Breaker::Begin(State state) {
  const uint64_t turn = packed_.load(std::memory_order_relaxed) >> 2;
  probes_ = 0;
  good_in_a_row_ = 0;
  packed_.store(Pack(turn + 1, state), std::memory_order_release);
}

void Breaker::Open(absl::Duration time, MonoNanos now) {
  Begin(State::kOpen);
  open_time_ = time;
  const double draw = (options_.random->NextSigned() + 1) / 2;
  open_until_ = MonoAfter(now, std::min(time * (1 + kJitter * draw), options_.open_max));
}

void Breaker::Count(bool failed, bool slow, MonoNanos now) {
  const int64_t number = now / slot_nanos_;
  Slot& slot = slots_[number % kSlots];
  if (slot.number != number) {
    slot = Slot();
    slot.number = number;
  }
  ++slot.calls;
  slot.failed += failed;
  slot.slow += slow;
  if (!failed) {
    failed_in_a_row_ = 0;
  } else if (failed_in_a_row_++ == 0) {
    failing_since_ = now;
  }
}

std::string Breaker::Trouble(MonoNanos now) const {
  const int64_t number = now / slot_nanos_;
  uint64_t calls = 0, failed = 0, slow = 0;
  for (const Slot& slot : slots_) {
    if (slot.number <= number - kSlots) continue;
    calls += slot.calls;
    failed += slot.failed;
    slow += slot.slow;
  }
  if (calls >= options_.min_calls) {
    const double all = static_cast<double>(calls);
    if (static_cast<double>(failed) >= options_.failures * all) {
      return StrCat(failed, " of the last ", calls, " calls failed");
    }
    if (static_cast<double>(slow) >= options_.slow * all) {
      return StrCat(slow, " of the last ", calls, " calls took ",
                    absl::FormatDuration(options_.slow_after), " or longer");
    }
  }
  const int64_t half_window = slot_nanos_ * kSlots / 2;
  if (failed_in_a_row_ >= options_.min_calls && now - failing_since_ >= half_window) {
    return StrCat("the last ", failed_in_a_row_, " calls failed, over ",
                  absl::FormatDuration(absl::Nanoseconds(now - failing_since_)));
  }
  return "";
}

Breaker::Status Breaker::GetStatus() const {
  const MonoNanos now = options_.clock->Mono();
  MutexLock lock(&mu_);
  Status status;
  status.state = state();
  status.opened = opened_;
  status.reason = reason_;
  if (status.state == State::kOpen) {
    status.remaining = absl::Nanoseconds(std::max<int64_t>(open_until_ - now, 0));
  }
  return status;
}

const char* BreakerStateName(Breaker::State state) {
  switch (state) {
    case Breaker::State::kClosed:
      return "closed";
    case Breaker::State::kOpen:
      return "open";
    case Breaker::State::kHalfOpen:
      return "half-open";
  }
  return "";
}

}  // namespace larder
