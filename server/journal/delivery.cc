// Who calls when. Each origin has a lane. A look at it begins as many calls as it may have under
// way and as are due, and sets one timer for what falls due next. Looks come from commits, from the
// ends of calls, from timers and from resumed pauses; they run on the executor, at most one is on
// its way for each lane, so that a thousand commits do not become a thousand looks.
//
// Whose fault. An answer for each write settles each by itself. Without one the origin is to blame
// when it says UNAVAILABLE: then the lane pauses, whatever there is to deliver, and goes on with
// one call at a time until one has been answered. Any other error (the time was over, the message
// too large, a crash in the middle) may come from one write that breaks every call it is in. So
// all writes of the call go alone next time, each in a call of its own: the others get through, and
// the one fails by itself, attempt after attempt, until it is a dead letter. Where the time of such
// a call is over it may still be that the origin hangs, and takes from nobody: the attempt counts
// only if the origin has answered some call since the write was last tried. Rejected: to halve the
// call again and again; it finds the one in fewer calls, and the other halves wait for each other.
// Calls with lone writes leave a place for the others, so that slow ones do not fill the lane.

#include "journal/delivery.h"

#include <algorithm>

#include "base/log.h"
#include "core/error.h"

namespace larder {
namespace {

// Callers that wait for a flush.
constexpr size_t kFlushesMax = 1'000;

absl::Status Paused(std::string_view what) {
  return Error(Reason::kDELIVERY_PAUSED,
               StrCat("deliveries to ", what, " are paused; resume them first"));
}

}  // namespace

Delivery::Delivery(JournalState* state, JournalWriter* writer, Executor* reader)
    : state_(state), writer_(writer), reader_(reader) {
  MutexLock lock(&state_->mu);
  lanes_.resize(state_->index.origins());
}

void Delivery::Start(std::weak_ptr<void> alive) {
  {
    MutexLock lock(&state_->mu);
    alive_ = std::move(alive);
    started_ = true;
  }
  Look();
}

bool Delivery::MayCallLocked(const Lane& lane, MonoNanos now) const {
  return started_ && !stopped_ && !lane.paused && lane.calls < state_->options.deliveries_max &&
         now >= lane.away_until && (lane.failures == 0 || lane.calls == 0);
}

bool Delivery::MayGoAloneLocked(const Lane& lane) const {
  return lane.lone + 1 < std::max<size_t>(state_->options.deliveries_max, 2);
}

void Delivery::Look() {
  std::vector<size_t> origins;
  Flushes finished;
  std::weak_ptr<void> alive;
  {
    MutexLock lock(&state_->mu);
    for (const auto& barrier : state_->index.TakeFinished()) {
      const auto flush = flushes_.find(barrier);
      if (flush == flushes_.end()) continue;
      finished.push_back(std::move(flush->second));
      flushes_.erase(flush);
    }
    writer_->AdmitLocked();
    changed_.SignalAll();
    alive = alive_;
    const MonoNanos now = state_->options.clock->Mono();
    for (size_t origin = 0; origin < lanes_.size() && started_; ++origin) {
      Lane& lane = lanes_[origin];
      if (lane.looking || !MayCallLocked(lane, std::max(now, lane.away_until))) continue;
      const bool due = now >= lane.away_until && state_->index.IsDue(origin, now);
      if (!due && NextLookLocked(origin, now) >= lane.timer_due) continue;
      lane.looking = true;
      origins.push_back(origin);
    }
  }
  writer_->Wake();
  state_->FinishLater(std::move(finished), absl::OkStatus());
  for (const size_t origin : origins) {
    state_->options.executor->Post([this, alive, origin] {
      const std::shared_ptr<void> held = alive.lock();
      if (held != nullptr) LookAt(origin);
    });
  }
}

MonoNanos Delivery::NextLookLocked(size_t origin, MonoNanos now) const {
  const MonoNanos soonest = std::max(now, lanes_[origin].away_until);
  if (soonest > now && state_->index.IsDue(origin, soonest)) return soonest;
  return state_->index.NextDue(origin, soonest);
}

void Delivery::LookAt(size_t origin) {
  std::vector<Call> calls;
  std::shared_ptr<void> alive;
  MonoNanos due = kMonoNever;
  {
    MutexLock lock(&state_->mu);
    alive = alive_.lock();
    Lane& lane = lanes_[origin];
    lane.looking = false;
    const MonoNanos now = state_->options.clock->Mono();
    while (MayCallLocked(lane, now)) {
      std::optional<Call> call = state_->index.Take(origin, now, MayGoAloneLocked(lane));
      if (!call.has_value()) break;
      ++calls_;
      ++lane.calls;
      lane.lone += call->alone ? 1 : 0;
      calls.push_back(*std::move(call));
    }
    // When a call ends there is another look.
    if (MayCallLocked(lane, std::max(now, lane.away_until))) {
      due = NextLookLocked(origin, now);
    }
  }
  SetTimer(origin, due);
  for (Call& call : calls) Spawn(Deliver(alive, origin, std::move(call)), [](bool) {});
}

void Delivery::SetTimer(size_t origin, MonoNanos due) {
  Executor* const executor = state_->options.executor;
  TimerId stale = 0;
  std::weak_ptr<void> alive;
  MonoNanos now = 0;
  {
    MutexLock lock(&state_->mu);
    Lane& lane = lanes_[origin];
    if (due >= lane.timer_due) return;
    lane.timer_due = due;
    stale = std::exchange(lane.timer, 0);
    alive = alive_;
    now = state_->options.clock->Mono();
  }
  if (stale != 0) executor->Cancel(stale);
  const absl::Duration wait = absl::Nanoseconds(std::max<MonoNanos>(due - now, 0));
  const TimerId timer = executor->After(wait, [this, alive, origin, due] {
    const std::shared_ptr<void> held = alive.lock();
    if (held != nullptr) OnTimer(origin, due);
  });
  MutexLock lock(&state_->mu);
  // It may have gone off already, or have been set anew.
  if (lanes_[origin].timer_due == due) lanes_[origin].timer = timer;
}

void Delivery::OnTimer(size_t origin, MonoNanos due) {
  {
    MutexLock lock(&state_->mu);
    Lane& lane = lanes_[origin];
    if (lane.timer_due == due) {
      lane.timer_due = kMonoNever;
      lane.timer = 0;
    }
    if (lane.looking) return;
  }
  LookAt(origin);
}

bool Delivery::HeldUpLocked(PendingTypeId type) const {
  for (size_t origin = 0; origin < lanes_.size(); ++origin) {
    if (!lanes_[origin].paused || state_->index.origin_depth(origin) == 0) continue;
    if (type == kNoPendingType || state_->index.type(type).origin_id == origin) return true;
  }
  return false;
}

std::optional<JournalTry> Delivery::TryOf(std::string_view full_key, std::string_view type) const {
  MutexLock lock(&state_->mu);
  const PendingTypeId id = state_->index.TypeOf(type);
  if (id == kNoPendingType) return std::nullopt;
  const std::optional<PendingIndex::Trying> trying = state_->index.TryingOf(full_key, id);
  if (!trying.has_value()) return std::nullopt;
  const Lane& lane = lanes_[state_->index.type(id).origin_id];
  JournalTry answer{trying->attempts, std::string(trying->error), std::nullopt};
  if (lane.failures > 0) answer.error = lane.away_error;
  if (trying->in_flight || lane.paused) return answer;
  const MonoNanos due = std::max(trying->due, lane.away_until);
  const MonoNanos left = std::max<MonoNanos>(due - state_->options.clock->Mono(), 0);
  answer.next = absl::Nanoseconds(left);
  return answer;
}

Task<absl::StatusOr<JournalFlushed>> Delivery::Flush(PendingTypeId type, MonoNanos deadline,
                                                     Cancellation* cancellation) {
  // What has been acknowledged from memory gets to the disk first, where the index knows of it.
  const auto change = std::make_shared<JournalChange>();
  const absl::Status passed = co_await writer_->Change(change);
  if (DetailsOf(passed).reason == "DRAINING") co_return passed;
  std::shared_ptr<PendingBarrier> barrier;
  const auto race = std::make_shared<Race<absl::Status>>();
  {
    MutexLock lock(&state_->mu);
    if (HeldUpLocked(type)) co_return Paused("an origin with waiting writes");
    if (stopped_) co_return Error(Reason::kDRAINING, "the server is shutting down");
    if (flushes_.size() >= kFlushesMax) {
      co_return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                               StrCat(kFlushesMax, " callers wait for a flush already"));
    }
    barrier = state_->index.AddBarrier(type, state_->last_seq);
    if (barrier == nullptr) co_return JournalFlushed();
    flushes_[barrier] = race;
  }
  Look();
  Executor* const executor = state_->options.executor;
  const MonoNanos now = state_->options.clock->Mono();
  const absl::Duration left = absl::Nanoseconds(std::max<MonoNanos>(deadline - now, 0));
  const TimerId timer = executor->After(left, Alarm<absl::Status>(race, executor));
  if (cancellation != nullptr) {
    cancellation->OnCancel([race, executor] { race->TimeOverOn(executor); });
  }
  std::optional<absl::Status> ended = co_await *race;
  executor->Cancel(timer);
  MutexLock lock(&state_->mu);
  flushes_.erase(barrier);
  state_->index.DropBarrier(barrier);
  if (barrier->left == 0 || (ended.has_value() && ended->ok()))
    co_return JournalFlushed{barrier->all, barrier->dead};
  if (ended.has_value()) co_return *std::move(ended);
  if (cancellation != nullptr && cancellation->IsCancelled())
    co_return Error(Reason::kCALL_CANCELLED, "the caller has gone");
  co_return Error(Reason::kDEADLINE_EXCEEDED, StrCat(barrier->left, " of ", barrier->all,
                                                     " writes have not been delivered yet"));
}

absl::StatusOr<uint64_t> Delivery::SetPaused(std::string_view origin, bool paused) {
  Flushes held_up;
  uint64_t waiting = 0;
  bool found = false;
  {
    MutexLock lock(&state_->mu);
    for (size_t i = 0; i < lanes_.size(); ++i) {
      if (!origin.empty() && origin != state_->index.origin_name(i)) continue;
      found = true;
      lanes_[i].paused = paused;
      waiting += state_->index.origin_depth(i);
    }
    for (auto it = flushes_.begin(); it != flushes_.end() && paused;) {
      if (HeldUpLocked(it->first->type)) {
        held_up.push_back(it->second);
        it = flushes_.erase(it);
      } else {
        ++it;
      }
    }
  }
  if (!found && !origin.empty()) {
    return FieldError(Reason::kREQUEST_INVALID, "origin",
                      StrCat("no type that writes behind has the origin \"", origin, "\""));
  }
  state_->FinishLater(std::move(held_up), Paused("an origin with waiting writes"));
  LogInfo(paused ? "journal_delivery_paused" : "journal_delivery_resumed",
          {{"origin", origin.empty() ? "all" : origin}, {"waiting", waiting}});
  Look();
  return waiting;
}

std::vector<std::string> Delivery::paused() const {
  std::vector<std::string> names;
  MutexLock lock(&state_->mu);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].paused) names.push_back(state_->index.origin_name(i));
  }
  return names;
}

bool Delivery::IdleLocked() const {
  if (calls_ > 0) return false;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (!lanes_[i].paused && state_->index.origin_depth(i) > 0) return false;
  }
  return true;
}

void Delivery::Stop(MonoNanos deliver_until, absl::Duration grace) {
  {
    MutexLock lock(&state_->mu);
    state_->index.HurryAll();
  }
  Look();
  // The journal's clock may be one that only a test moves, so it is looked at now and then.
  constexpr absl::Duration kStep = absl::Milliseconds(10);
  Flushes waiting;
  {
    MutexLock lock(&state_->mu);
    while (started_ && !IdleLocked() && state_->options.clock->Mono() < deliver_until) {
      changed_.WaitFor(&state_->mu, kStep);
    }
    stopped_ = true;
    for (auto& [barrier, race] : flushes_) waiting.push_back(race);
    flushes_.clear();
  }
  state_->FinishLater(std::move(waiting), Error(Reason::kDRAINING, "the server is shutting down"));
  const MonoNanos end = MonoAfter(Clock::System()->Mono(), grace);
  MutexLock lock(&state_->mu);
  while (calls_ > 0 && Clock::System()->Mono() < end) changed_.WaitFor(&state_->mu, kStep);
}

}  // namespace larder
