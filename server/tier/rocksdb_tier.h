// The embedded tier: a RocksDB in a folder of this machine. Contract: tier.h. Holds at most
// max_bytes on disk and about memory_bytes in memory; the oldest entries go first.
// Thread safety: as any tier. What is in memory is read on the calling thread; what needs the disk
// and all changes run on threads of the tier's own, and the task goes on on the executor.
// Errors of a call: kResourceExhausted: the disk is full, while reads go on, or too much waits;
// kUnavailable: the database is being made anew, or it cannot be had for now; kDeadlineExceeded: it
// waited until its time was over, and did nothing.
//
// It is a cache, and a cache that is damaged is dropped, never believed and never a reason not to
// start. An acknowledged change survives kill -9. A power loss may take the last ones with it, and
// an erase that is forgotten would bring an old value back; so after one the store is dropped.

#ifndef LARDER_TIER_ROCKSDB_TIER_H_
#define LARDER_TIER_ROCKSDB_TIER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "tier/tier.h"

namespace rocksdb {
class Env;
}

namespace larder {

struct RocksTierOptions {
  // The folder; what is missing of it is created. Only one process may use it.
  std::string path;
  // On disk, everything included. 32 MiB to 16 TiB. Less when the disk has less left.
  uint64_t max_bytes = uint64_t{20} << 30;
  // Blocks, filters, indexes, what is not yet written out and what waits to be. 8 MiB to 1 TiB.
  uint64_t memory_bytes = 64 << 20;
  // Threads that read from the disk; 1 to 64. One more writes, one sweeps, and RocksDB has two.
  int threads = 2;
  // Reads that wait for one of them; 1 to 1,000,000.
  size_t reads_max = 10'000;
  // Envelopes that wait to be written, out of memory_bytes; 64 KiB to half of that. One that is
  // larger waits alone.
  std::optional<uint64_t> write_queue_bytes_max = std::nullopt;  // a sixteenth, at least 4 MiB
  uint64_t write_queue_bytes() const {
    return write_queue_bytes_max.value_or(std::max<uint64_t>(memory_bytes / 16, 4 << 20));
  }
  // An entry that ends sooner is not worth the write, unless its put has a condition. 0 to 1 hour.
  absl::Duration life_min = absl::Seconds(1);
  // A smaller envelope is not worth it either; 0 takes all. Up to 1 MiB.
  size_t entry_bytes_min = 0;
  // A larger one is never taken; 64 KiB to 256 MiB.
  size_t entry_bytes_max = 64 << 20;
  // How often it looks after its size, its health and ended entries; 10 ms to 1 hour.
  absl::Duration sweep_period = absl::Seconds(1);
  // The pause before a database or a folder that cannot be had is tried again, doubled each time up
  // to the second; 10 ms to 1 hour. It is also no shorter than sweep_period.
  absl::Duration reopen_first = absl::Seconds(1);
  absl::Duration reopen_max = absl::Seconds(30);

  // Where tasks go on. Outlives the tier and all calls of it.
  Executor* executor = nullptr;
  Clock* clock = Clock::System();

  // For tests. Null: the system's.
  rocksdb::Env* env = nullptr;
  // Which run of the machine this is. Empty: the kernel says.
  std::string boot_id;
};

class RocksTier : public Tier {
 public:
  // How often the store was dropped, and what for.
  struct Drops {
    uint64_t damaged = 0;     // an error of RocksDB, or files that are not as they were left
    uint64_t power_loss = 0;  // the machine had gone down under it
  };
  virtual Drops drops() const = 0;

  // Does once what the sweep thread does each sweep_period. Blocks, for as long as it takes to
  // write some files anew.
  virtual void Sweep() = 0;
};

// Blocks. An error is the operator's to mend. InvalidArgument: an option out of its range.
// FailedPrecondition: another process has the folder, or it is none. PermissionDenied: it may not
// be written. A folder that cannot be had for another reason, as on a full disk, and a database
// that cannot be opened are no errors: the tier answers kUnavailable, says so in its Stats, and
// tries again until it comes.
absl::StatusOr<std::unique_ptr<RocksTier>> NewRocksTier(const RocksTierOptions& options);

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_TIER_H_
