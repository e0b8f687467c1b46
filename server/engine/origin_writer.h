// OriginWriter brings writes to one origin while their callers wait: the first goes at once, and
// what comes while enough calls are under way goes together in the next. Thread safety: any method,
// any thread; never blocks for longer than its lock. That writes of one key go one after the other
// is for the caller to see to (key_turns.h): an origin applies each key once in a call.

#ifndef LARDER_ENGINE_ORIGIN_WRITER_H_
#define LARDER_ENGINE_ORIGIN_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/in_flight.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/task.h"
#include "origin/origin.h"

namespace larder {

// What became of a write at its origin.
struct OriginWritten {
  enum class Kind : uint8_t {
    kDone,
    kFailed,   // not applied; the same write may succeed later
    kRefused,  // not applied, and never will be
    kUnknown,  // nobody can tell
  };
  Kind kind = Kind::kUnknown;
  absl::Status error = absl::OkStatus();  // unless kDone
};

class OriginWriter {
 public:
  struct Options {
    Origin* origin = nullptr;  // outlives the calls under way
    // Writes of one call, 1 to kOriginItemsMax.
    size_t batch_max = 100;
    // Bytes of values of one call, if it is more than one write: what stock gRPC servers take.
    size_t batch_bytes_max = 2 << 20;
    // Calls of one namespace and type under way before writes wait for one to return; 1 to 1,000.
    size_t calls_max = 4;
    // Writes that wait for a call to return; 1 to 10 million.
    size_t queue_max = 100'000;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    // Where calls are counted while they use the origin; null: not.
    InFlight* background = nullptr;
  };

  explicit OriginWriter(const Options& options) : options_(options) {}

  // Answers when the origin has, or at the deadline; a write that is under way then may be applied
  // yet.
  Task<OriginWritten> Write(OriginCall call, OriginStore::Write write, MonoNanos deadline);

  Origin* origin() const { return options_.origin; }

 private:
  struct Waiting {
    OriginCall call;
    OriginStore::Write write;
    MonoNanos deadline;
    std::shared_ptr<Race<OriginWritten>> answer;
    // Set, under mu_, when it leaves the queue for a call.
    std::shared_ptr<bool> sent;
  };
  using Group = std::pair<std::string, std::string>;  // namespace, type
  struct Queue {
    std::deque<Waiting> writes;
    size_t calls = 0;
  };

  // Sends what may go now.
  void Look(const Group& group);
  void Send(const Group& group, std::vector<Waiting> batch);

  const Options options_;
  Mutex mu_;
  std::map<Group, Queue> queues_ ABSL_GUARDED_BY(mu_);
  size_t queued_ ABSL_GUARDED_BY(mu_) = 0;
};

// What the origin's answer to a write means for whoever asked.
OriginWritten WrittenOf(const OriginStored& stored);
// The same of the error of a whole call.
OriginWritten WrittenOf(const absl::Status& error);

}  // namespace larder

#endif  // LARDER_ENGINE_ORIGIN_WRITER_H_
