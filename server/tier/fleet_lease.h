// A FleetLease lets one replica of a fleet load a key while the others wait. It is a key in Redis
// with the token of its holder and a time to live: it ends when the holder gives it back, or runs
// out when he is gone. Thread safety: any method, any thread; nothing blocks. Everything that is
// passed in outlives the calls.
//
// The lease saves work and nothing else: that no older value replaces a newer one is what versions
// are for. So whoever cannot have it in time loads without it, and so does the fleet when Redis
// does not answer. Every outcome says which.
//
//   flight wants key       Turn turn = co_await lease->Acquire(key, began, deadline);
//     kGranted             load, put, co_await lease->Release(...), tell the bus kReleased
//     kHeld                wait for the bus or for turn.ask_again_after, look in the tiers, and ask
//                          again with the same `began`
//     kLoadAnyway          load and put without it; Release(...) all the same if turn.lease is set

#ifndef LARDER_TIER_FLEET_LEASE_H_
#define LARDER_TIER_FLEET_LEASE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/random.h"
#include "base/task.h"
#include "policy/breaker.h"
#include "redis/redis.h"

namespace larder {

// A lease that this replica holds, and extends in the background until it is released or lost.
class HeldFleetLease {
 public:
  virtual ~HeldFleetLease() = default;
  // Somebody else may hold the lease now, and load as well: it was taken away, or Redis did not
  // extend it in time. Never becomes false again. What was loaded may still be put.
  virtual bool lost() const = 0;
  virtual const std::string& full_key() const = 0;
};

struct FleetLeaseTurn {
  enum class Kind : uint8_t { kGranted, kHeld, kLoadAnyway };
  Kind kind = Kind::kLoadAnyway;
  // Of kGranted, to be released. Of kLoadAnyway when nobody knows whether Redis granted it: it is
  // not extended then.
  std::shared_ptr<HeldFleetLease> lease;
  // Of kHeld: when the holder's lease runs out unless he extends it, or the caller has waited long
  // enough, whichever is first.
  absl::Duration ask_again_after;
  // Why kLoadAnyway, for counters and people.
  absl::Status why;
};

struct FleetLeaseStats {
  uint64_t granted = 0;
  uint64_t refused = 0;     // somebody else held it
  uint64_t errors = 0;      // Redis did not answer: loaded without
  uint64_t unasked = 0;     // the circuit breaker was open: loaded without
  uint64_t waited_out = 0;  // waited for too long: loaded without
  uint64_t full = 0;        // too many held: loaded without
  uint64_t extended = 0;
  uint64_t lost = 0;
  uint64_t released = 0;
  uint64_t held = 0;  // now
};

class FleetLease {
 public:
  struct Options {
    // As of the Redis tier.
    std::string prefix = "larder";
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    Random* random = Random::System();
    // How long after its holder is gone a lease is held yet. It is extended each third of that.
    // 100 ms to 10 minutes.
    absl::Duration ttl = absl::Seconds(2);
    // After so long a wait for others a caller loads anyway. 0 to 10 minutes.
    absl::Duration wait_max = absl::Seconds(5);
    // How long Redis may take to answer before the caller loads anyway. 1 ms to 10 s.
    absl::Duration answer_max = absl::Milliseconds(100);
    // While it is open Redis is not asked, and callers load anyway. Its clock and random are these.
    Breaker::Options breaker = {};
    // Leases held at a time; beyond it callers load without one. 1 to 1,000,000.
    size_t held_max = 10'000;
  };

  // InvalidArgument: an option that is out of its range.
  static absl::StatusOr<std::unique_ptr<FleetLease>> New(Redis* redis, const Options& options);
  // Stops extending. What is held runs out, unless it was released before.
  virtual ~FleetLease() = default;

  // Asks once, and does not wait for a holder; answers at the latest after Options::answer_max, or
  // at the deadline. `began` is when the caller first asked for this key. Both times are of
  // Options::clock's Mono.
  virtual Task<FleetLeaseTurn> Acquire(std::string full_key, MonoNanos began,
                                       MonoNanos deadline) = 0;
  // True: the lease was still ours, and has ended. False: it had been lost. An error: it runs out
  // by itself.
  virtual Task<absl::StatusOr<bool>> Release(std::shared_ptr<HeldFleetLease> lease,
                                             MonoNanos deadline) = 0;

  virtual FleetLeaseStats Stats() const = 0;
};

}  // namespace larder

#endif  // LARDER_TIER_FLEET_LEASE_H_
