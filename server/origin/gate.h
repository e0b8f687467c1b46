// A Gate lets a bounded number of calls through at a time; the others wait in line, first come,
// first served, as long as their deadlines allow and the line is not full. It can be narrowed, so
// that calls pass one by one while it is in doubt whether any of them can succeed.
//
//   const Gate::Ticket ticket = co_await gate->Enter(deadline);
//   if (ticket.entry == Gate::Entry::kIn) ... gate->TrialOver(ticket) ... gate->Exit();
//
// Thread safety: any method, any thread. Never blocks: who waits is a coroutine, and goes on on the
// executor. Errors: none; Entry tells. Lifetime: nobody waits in line and no call is inside when it
// goes.

#ifndef LARDER_ORIGIN_GATE_H_
#define LARDER_ORIGIN_GATE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/task.h"

namespace larder {

class Gate {
 public:
  struct Options {
    size_t concurrency = 16;  // calls inside; at least 1
    size_t line_max = 1'000;  // calls that wait
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
  };

  enum class Entry : uint8_t {
    kIn,        // inside, until Exit
    kTimeOver,  // the deadline came first
    kFull,      // the line is as long as it may be
    kSentAway,  // by SendAway
    kClosed,    // by Close
  };
  struct Ticket {
    Entry entry = Entry::kClosed;
    // While the gate was narrow: the turn that TrialOver ends.
    uint64_t trial = 0;
  };

  explicit Gate(const Options& options) : options_(options) {}
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  Task<Ticket> Enter(MonoNanos deadline);
  // A call that was inside has ended.
  void Exit();

  // From now on a call enters only when the trial of the one before it is over.
  void Narrow();
  void TrialOver(const Ticket& ticket);
  void Widen();

  // Ends the wait of all who are in line.
  void SendAway();
  // The same, and of all who come.
  void Close();
  // Waits until nobody is inside; false when that took `patience`. Blocks.
  bool AwaitEmpty(absl::Duration patience);

  size_t inside() const;
  size_t waiting() const;

 private:
  struct Waiter {
    Race<bool> race;  // ends in front of the gate; `ticket` says how
    bool decided = false;
    Ticket ticket;
  };
  using Line = std::deque<std::shared_ptr<Waiter>>;

  bool Open() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return inside_ < options_.concurrency && (!narrow_ || trial_ == 0);
  }
  Ticket TakePlace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Lets in who may enter now; they are to be woken without the lock.
  Line Admit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Line EmptyLine(Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Wake(const Line& waiters);

  const Options options_;

  mutable Mutex mu_;
  CondVar empty_;
  size_t inside_ ABSL_GUARDED_BY(mu_) = 0;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  bool narrow_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t trial_ ABSL_GUARDED_BY(mu_) = 0;  // that is on; 0: none
  uint64_t trials_ ABSL_GUARDED_BY(mu_) = 0;
  Line line_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_ORIGIN_GATE_H_
