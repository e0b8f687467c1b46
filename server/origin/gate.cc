// Whose place it is. A place goes from the call that leaves straight to the first in line, under
// the lock, so that nobody who comes in between can take it: that is what makes the line fair. The
// one who got it is woken later, on the executor, never inside Exit: a call that fails at once
// would otherwise wake the next one on its own stack, that one the next, and so on for the whole
// line.
//
// So the timer of a waiter may go off between the moment it was given a place and the moment it is
// woken. `decided` settles this: who finds it set has the place, and uses it or gives it back, even
// though its wait ended by the timer; who finds it unset takes itself out of the line.

#include "origin/gate.h"

#include <algorithm>
#include <utility>

namespace larder {

Task<Gate::Ticket> Gate::Enter(MonoNanos deadline) {
  std::shared_ptr<Waiter> waiter;
  Ticket ticket;
  const MonoNanos now = options_.clock->Mono();
  {
    MutexLock lock(&mu_);
    if (closed_) {
      ticket.entry = Entry::kClosed;
    } else if (now >= deadline) {
      ticket.entry = Entry::kTimeOver;
    } else if (Open() && line_.empty()) {
      ticket = TakePlace();
    } else if (line_.size() >= options_.line_max) {
      ticket.entry = Entry::kFull;
    } else {
      waiter = std::make_shared<Waiter>();
      line_.push_back(waiter);
    }
  }
  if (waiter == nullptr) co_return ticket;

  const std::shared_ptr<Race<bool>> race(waiter, &waiter->race);
  const TimerId timer = options_.executor->After(absl::Nanoseconds(deadline - now),
                                                 Alarm<bool>(race, options_.executor));
  const std::optional<bool> woken = co_await *race;
  if (woken) options_.executor->Cancel(timer);
  MutexLock lock(&mu_);
  if (!waiter->decided) {
    line_.erase(std::find(line_.begin(), line_.end(), waiter));
    waiter->ticket.entry = Entry::kTimeOver;
  }
  co_return waiter->ticket;
}

Gate::Ticket Gate::TakePlace() {
  ++inside_;
  Ticket ticket;
  ticket.entry = Entry::kIn;
  if (narrow_) ticket.trial = trial_ = ++trials_;
  return ticket;
}

Gate::Line Gate::Admit() {
  Line admitted;
  while (!line_.empty() && Open()) {
    line_.front()->ticket = TakePlace();
    line_.front()->decided = true;
    admitted.push_back(std::move(line_.front()));
    line_.pop_front();
  }
  return admitted;
}

Gate::Line Gate::EmptyLine(Entry entry) {
  for (const std::shared_ptr<Waiter>& waiter : line_) {
    waiter->ticket.entry = entry;
    waiter->decided = true;
  }
  return std::exchange(line_, {});
}

void Gate::Wake(const Line& waiters) {
  for (const std::shared_ptr<Waiter>& waiter : waiters) {
    options_.executor->Post([waiter] { waiter->race.Finish(true); });
  }
}

void Gate::Exit() {
  Line admitted;
  {
    MutexLock lock(&mu_);
    --inside_;
    admitted = Admit();
    if (inside_ == 0) empty_.SignalAll();
  }
  Wake(admitted);
}

void Gate::Narrow() {
  MutexLock lock(&mu_);
  narrow_ = true;
}

void Gate::TrialOver(const Ticket& ticket) {
  if (ticket.trial == 0) return;
  Line admitted;
  {
    MutexLock lock(&mu_);
    if (ticket.trial == trial_) trial_ = 0;
    admitted = Admit();
  }
  Wake(admitted);
}

void Gate::Widen() {
  Line admitted;
  {
    MutexLock lock(&mu_);
    narrow_ = false;
    trial_ = 0;
    admitted = Admit();
  }
  Wake(admitted);
}

void Gate::SendAway() {
  Line away;
  {
    MutexLock lock(&mu_);
    away = EmptyLine(Entry::kSentAway);
  }
  Wake(away);
}

void Gate::Close() {
  Line away;
  {
    MutexLock lock(&mu_);
    closed_ = true;
    away = EmptyLine(Entry::kClosed);
  }
  Wake(away);
}

bool Gate::AwaitEmpty(absl::Duration patience) {
  const MonoNanos end = MonoAfter(Clock::System()->Mono(), patience);
  MutexLock lock(&mu_);
  while (inside_ > 0) {
    const MonoNanos now = Clock::System()->Mono();
    if (now >= end) return false;
    empty_.WaitFor(&mu_, absl::Nanoseconds(end - now));
  }
  return true;
}

size_t Gate::inside() const {
  MutexLock lock(&mu_);
  return inside_;
}

size_t Gate::waiting() const {
  MutexLock lock(&mu_);
  return line_.size();
}

}  // namespace larder
