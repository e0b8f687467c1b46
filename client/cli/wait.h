// Waits of commands that go on: until a time, or Ctrl-C (CatchInterrupt), which ends them at once.
// Thread safety: any thread; blocks.

#ifndef LARDER_CLIENT_CLI_WAIT_H_
#define LARDER_CLIENT_CLI_WAIT_H_

#include <poll.h>

#include <algorithm>

#include "absl/time/time.h"
#include "client/cli/interrupt.h"

namespace larder::cli {

// `left()` tells how long it still is.
template <typename Left>
void WaitUnlessInterrupted(Left left) {
  while (!Interrupted()) {
    const absl::Duration more = left();
    if (more <= absl::ZeroDuration()) return;
    // A signal between the question and the poll would be slept over: not for longer than this.
    const absl::Duration step = std::min(more, absl::Milliseconds(200));
    poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(step)) + 1);
  }
}

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_WAIT_H_
