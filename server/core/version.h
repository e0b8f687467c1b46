// Versions order all changes of the fleet: a 64-bit hybrid logical clock, larger wins everywhere.
//
//   | 42 bits: milliseconds since 1970 | 12 bits: counter | 10 bits: node id |
//
// Two versions that Next made are never equal, and two nodes with different ids never make the same
// one. Versions keep growing when the wall clock goes back, and grow past every version that
// was Observed.

#ifndef LARDER_CORE_VERSION_H_
#define LARDER_CORE_VERSION_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"
#include "base/clock.h"

namespace larder {

using Version = uint64_t;

// No version: older than all.
inline constexpr Version kNoVersion = 0;
inline constexpr int kNodeIdBits = 10;
inline constexpr uint32_t kNodeIdMax = (1u << kNodeIdBits) - 1;

// The milliseconds since 1970 at which `version` was made, as its node saw it.
inline uint64_t VersionMs(Version version) { return version >> 22; }
// The wall time at which `version` was made, as its node saw it, to the millisecond.
absl::Time VersionTime(Version version);
uint32_t VersionNode(Version version);
// Whether VersionClock::OfLoad may have made it as one below all changes of its millisecond. Always
// true for one that it did; of others one in 4,096 at most looks alike.
bool VersionMayBeOfLoad(Version version);
// The least version that a node could make at `time`.
Version VersionAt(absl::Time time);

// Thread safety: any method, any thread. Never blocks.
class VersionClock {
 public:
  // REQUIRES: node_id <= kNodeIdMax. Every version made is above `floor`, which a restarted node
  // takes from its disk.
  VersionClock(Clock* clock, uint32_t node_id, Version floor = kNoVersion);

  // A version above all that this clock made or observed.
  Version Next();

  // A version for what a load brings that begins now: above `seen`, the newest that is known of its
  // key; and, where that is older, below all changes of this very millisecond, on whichever node,
  // since nobody can tell any more which of the two came first. Two loads may get the same one.
  // REQUIRES: `seen` was observed.
  Version OfLoad(Version seen);

  // Takes note of a version made elsewhere.
  void Observe(Version version);

  // The last version made or observed.
  Version Last() const;

 private:
  Clock* const clock_;
  const uint32_t node_id_;
  // Milliseconds and counter of the last version, without the node id.
  std::atomic<uint64_t> last_;
};

}  // namespace larder

#endif  // LARDER_CORE_VERSION_H_
