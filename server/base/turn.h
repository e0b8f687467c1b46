// Where and when work goes on. A turn is what a thread of a ThreadPool does at once: one piece of
// work, or several where many wait. AtTurnEnd is for what is worth doing once for all of them, such
// as waking another thread. Thread safety: any thread.

#ifndef LARDER_BASE_TURN_H_
#define LARDER_BASE_TURN_H_

#include "base/executor.h"

namespace larder {

// Runs `work` on this thread when its turn ends; at once on a thread of no pool.
void AtTurnEnd(Work work);

// While it lives, tasks that run on this thread may go on on `here` after a wait, because what they
// hold is of this thread and what they do then is short. Null: they may not.
class StayHere {
 public:
  explicit StayHere(Executor* here);
  ~StayHere();
  StayHere(const StayHere&) = delete;
  StayHere& operator=(const StayHere&) = delete;

 private:
  Executor* const before_;
};

// Of the innermost StayHere; `other` where there is none.
Executor* HereOr(Executor* other);

}  // namespace larder

#endif  // LARDER_BASE_TURN_H_
