// BusLog is the one log that a fleet shares: items appended by anybody, read by everybody in one
// order. It promises little, and the bus over it (log_bus.h) believes less: an append that failed
// may have happened or happen later, and the log may lose its end, its beginning or everything.
// Thread safety: any method, any thread. Nothing blocks.

#ifndef LARDER_BUS_LOG_H_
#define LARDER_BUS_LOG_H_

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/task.h"

namespace larder {

// A place in the log, as a Redis Stream numbers its items: the log's wall time in milliseconds, and
// a count within one. Later items have greater places; a log that lost its end may use some again.
struct LogPosition {
  uint64_t ms = 0;
  uint64_t count = 0;

  friend auto operator<=>(const LogPosition&, const LogPosition&) = default;
};

struct LogItem {
  LogPosition at;
  std::string bytes;
};

class BusLog {
 public:
  virtual ~BusLog() = default;

  // Appends one item. After an error nobody knows whether it was appended, or will be.
  virtual Task<absl::StatusOr<LogPosition>> Append(std::string item, MonoNanos deadline) = 0;
  // Up to `limit` items behind `after`, in order. Waits up to `wait` for the first; none came:
  // empty. One call at a time.
  virtual Task<absl::StatusOr<std::vector<LogItem>>> Read(LogPosition after, size_t limit,
                                                          absl::Duration wait,
                                                          MonoNanos deadline) = 0;
  // The place of the last item; of an empty log the one before all.
  virtual Task<absl::StatusOr<LogPosition>> Tail(MonoNanos deadline) = 0;
};

}  // namespace larder

#endif  // LARDER_BUS_LOG_H_
