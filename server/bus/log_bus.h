// The bus over a log that may fail in any way a log can: every judgement about what was missed is
// here, none in the log. log_bus.cc says how. Thread safety and errors: bus.h.

#ifndef LARDER_BUS_LOG_BUS_H_
#define LARDER_BUS_LOG_BUS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "bus/bus.h"
#include "bus/log.h"

namespace larder {

struct LogBusOptions {
  // Of this replica, 0 to 1,023; no other live one has it.
  uint32_t node = 0;
  // How often a replica that has nothing to say says so. 10 ms to 10 s.
  absl::Duration heartbeat = absl::Milliseconds(200);
  // What was heard is relied on for this long after our own last message that came back was sent.
  // At least three heartbeats.
  absl::Duration lost_after = absl::Milliseconds(1500);
  // A replica that was not heard for this long counts as gone. At least two heartbeats more than
  // lost_after: whoever is not waited for must have stopped to rely on what it holds.
  absl::Duration alive = absl::Seconds(2);
  // A message that could not be appended for this long is given up. 100 ms to 10 minutes.
  absl::Duration give_up_after = absl::Seconds(5);
  // Of one attempt to append, or to find the end of the log. At most lost_after.
  absl::Duration attempt_timeout = absl::Milliseconds(500);
  // Between attempts, doubling from the first to the second, with jitter.
  absl::Duration retry_min = absl::Milliseconds(5);
  absl::Duration retry_max = absl::Milliseconds(200);
  // Messages that wait to be sent; more are given up. At least 1.
  size_t queue_messages_max = 100'000;
  uint64_t queue_bytes_max = 64 << 20;
  // Of one item of the log; one message may be larger. At least 1.
  size_t frame_messages_max = 256;
  uint64_t frame_bytes_max = 64 << 10;
  // Items of one read. At least 1.
  size_t read_items_max = 256;
  // PublishAndWaits that were sent and not answered; further ones send their message and are
  // answered at once with nobody. At least 1.
  size_t waits_max = 10'000;
  Random* random = Random::System();
  Clock* clock = Clock::System();
  // Outlives the bus, and what was under way in the log when the bus went.
  Executor* executor = nullptr;
};

// InvalidArgument names the option that is out of its range.
absl::Status CheckLogBusOptions(const LogBusOptions& options);

// REQUIRES: CheckLogBusOptions(options) is OK. A bus that goes without Stop says no goodbye; the
// others count it as vanished. Not to be destroyed inside a call of its listener.
std::unique_ptr<Bus> NewLogBus(std::unique_ptr<BusLog> log, const LogBusOptions& options);

}  // namespace larder

#endif  // LARDER_BUS_LOG_BUS_H_
