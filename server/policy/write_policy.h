// What a write of a data type does to its origin, and how safe it is when it is acknowledged.
// Thread safety: values.

#ifndef LARDER_POLICY_WRITE_POLICY_H_
#define LARDER_POLICY_WRITE_POLICY_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "policy/retry_budget.h"

namespace larder {

// In which order a change reaches the origin and the cached copies.
enum class WriteMode : uint8_t {
  kCacheOnly,   // the copies alone
  kThrough,     // the origin, then the copies
  kInvalidate,  // the origin, then no copy is left anywhere
  kAround,      // the origin; the copies are removed and loaded again behind the caller's back
  kBehind,      // the journal, then the copies; the origin later
};

// What an acknowledged write of mode kBehind survives.
enum class JournalSync : uint8_t {
  kFsync,  // a loss of power
  kOs,     // a crash of this process, not of the machine
  kNone,   // neither
};

// What a write of mode kBehind does when the journal has no room.
enum class OnFull : uint8_t {
  kReject,        // fails at once
  kBlock,         // waits for room, until the caller's deadline
  kWriteThrough,  // goes the way of kThrough
};

struct WritePolicy {
  WriteMode mode = WriteMode::kCacheOnly;
  // The longest that one write, or one delivery from the journal, waits for the origin.
  absl::Duration timeout = absl::Seconds(5);

  // For kBehind.
  JournalSync sync = JournalSync::kFsync;
  // How long a write waits in the journal for others to go with it, and for later writes of its key
  // to take its place.
  absl::Duration delay = absl::Milliseconds(50);
  // Writes of one delivery; 1 to 1,000.
  size_t batch = 500;
  // Whether only the newest of a key's waiting writes is delivered.
  bool coalesce = true;
  // How often the origin is asked to take a write before it becomes a dead letter; 1 to 1,000.
  int attempts = 8;
  // Pauses between them.
  Backoff backoff{absl::Milliseconds(100), absl::Seconds(30)};
  OnFull on_full = OnFull::kReject;
  // The part of the journal that the type's waiting writes may take; 0: all of it.
  uint64_t bytes_max = 0;
  uint64_t entries_max = 0;
  // While the oldest waiting write of the type is older, the journal counts as full.
  absl::Duration age_max = absl::InfiniteDuration();
};

}  // namespace larder

#endif  // LARDER_POLICY_WRITE_POLICY_H_
