// A FakeFleetLease is what the leases of a fleet are in Redis, in memory: one table for the fleet,
// a handle for each replica, and faults. A lease is extended as long as its handle can; after that
// it runs out. Thread safety: none; one thread runs everything, on manual executors.

#ifndef LARDER_TESTS_ENGINE_FAKE_FLEET_LEASE_H_
#define LARDER_TESTS_ENGINE_FAKE_FLEET_LEASE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "tier/fleet_lease.h"

namespace larder {

class FakeFleetLease {
 public:
  struct Options {
    absl::Duration ttl = absl::Seconds(2);
    absl::Duration wait_max = absl::Seconds(5);
    // Of all replicas: leases run out by it.
    Clock* clock = nullptr;
  };
  // Of one handle, by chance, 0 to 1, of every call.
  struct Faults {
    double fails = 0;  // without effect
    double loses = 0;  // with effect
    // Either looks as if no answer had come in time.
    bool late = false;
    // Each call takes up to this long.
    absl::Duration delay_max = absl::ZeroDuration();
  };

  class Handle : public FleetLease {
   public:
    virtual void SetFaults(const Faults& faults) = 0;
    // From here on calls fail at once and nothing is extended: the replica is dead, or cut off.
    virtual void Cut() = 0;
    // And again as before. What ran out meanwhile is lost.
    virtual void Mend() = 0;
  };

  explicit FakeFleetLease(const Options& options);

  std::unique_ptr<Handle> NewHandle(Executor* executor, Random* random);

  // Takes the lease of the key from whoever holds it.
  void Lose(const std::string& full_key);
  bool IsHeld(const std::string& full_key) const;

  class Table;

 private:
  const std::shared_ptr<Table> table_;
};

}  // namespace larder

#endif  // LARDER_TESTS_ENGINE_FAKE_FLEET_LEASE_H_
