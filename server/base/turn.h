// A turn is what a thread of a ThreadPool does at once: one piece of work, or several where many
// wait. AtTurnEnd is for what is worth doing once for all of them, such as waking another thread.
// Thread safety: any thread.

#ifndef LARDER_BASE_TURN_H_
#define LARDER_BASE_TURN_H_

#include "base/executor.h"

namespace larder {

// Runs `work` on this thread when its turn ends; at once on a thread of no pool.
void AtTurnEnd(Work work);

}  // namespace larder

#endif  // LARDER_BASE_TURN_H_
