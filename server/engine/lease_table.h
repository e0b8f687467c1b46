// LeaseTable decides who fills a missing key of a type without an origin: one caller at a time gets
// the lease, the others wait in line until its value is stored, or for the lease when it comes
// free. Thread safety: any method, any thread. Blocks for one shard's lock at most. Knows nothing
// of values in memory: whether a fill may still be stored is L1's to say, by the fill ticket.
//
// A lease's life: Join or PassOn names a holder (a token) -> Arm gives it a ticket and a time limit
// -> Complete (its Set was stored), or PassOn (given back, run out, lost by a change of the key),
// which makes the first waiter the holder.

#ifndef LARDER_ENGINE_LEASE_TABLE_H_
#define LARDER_ENGINE_LEASE_TABLE_H_

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/counters.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/random.h"
#include "base/task.h"
#include "core/version.h"
#include "memory/l1.h"

namespace larder {

inline constexpr size_t kLeaseTokenBytes = 16;

// How a wait in line ended.
struct LeaseTurn {
  enum class Kind {
    kGranted,    // the waiter is the holder now, by `token`
    kStored,     // a value was stored meanwhile: look in memory again
    kTimeout,    // the caller's time is over
    kCancelled,  // the caller is gone
    kDraining,   // the server is going down
  };
  Kind kind;
  std::string token = {};
};

// A place in line. The owner awaits `turn` and calls Leave when it was not the table that ended the
// wait.
struct LeaseWaiter {
  LeaseWaiter(Executor* executor, std::string_view key) : turn(executor), full_key(key) {}
  Signal<LeaseTurn> turn;
  const std::string full_key;
  std::list<std::shared_ptr<LeaseWaiter>>::iterator place;  // guarded by the shard's lock
  bool in_line = false;                                     // guarded by the shard's lock
};

// What a lease's Set needs to know.
struct ArmedLease {
  FillTicket ticket = 0;
  // Taken when the load began: whatever changed the key since has a larger one.
  Version version = kNoVersion;
  // What the lower tier held when the load began.
  Version seen_below = kNoVersion;
  // When that was, and Coherence::round() then.
  MonoNanos since = 0;
  uint64_t round = 0;
  // The fleet's lease, where there is one: given back when the last copy of this goes.
  std::shared_ptr<void> fleet = nullptr;
};

struct LeaseTotals {
  uint64_t held = 0;
  uint64_t waiting = 0;
  uint64_t granted = 0;
  uint64_t fulfilled = 0;
  uint64_t released = 0;
  uint64_t expired = 0;
  uint64_t revoked = 0;
};

class LeaseTable {
 public:
  struct Options {
    size_t leases_max = 1'000'000;
    size_t waiters_max = 100'000;
    size_t waiters_per_key_max = 20'000;
    Executor* executor = nullptr;
    Random* random = Random::System();
  };
  enum class Lost { kReleased, kExpired, kRevoked };

  explicit LeaseTable(const Options& options);
  ~LeaseTable();

  struct Place {
    std::string token;                    // set: the caller is the holder
    std::shared_ptr<LeaseWaiter> waiter;  // set: the caller waits
    bool busy = false;  // somebody else is the holder and the caller does not want to wait
  };
  // TOO_MANY_WAITERS, OVERLOADED (leases_max) or DRAINING when there is no place.
  absl::StatusOr<Place> Join(std::string_view full_key, bool wait);

  // Takes `waiter` out of its line.
  void Leave(const std::shared_ptr<LeaseWaiter>& waiter);

  // The holder has begun its fill. `timer` ends it and is cancelled when the lease ends otherwise.
  // False when the lease is lost already.
  bool Arm(std::string_view full_key, std::string_view token, const ArmedLease& lease,
           TimerId timer);

  // The lease that `token` names, if it is held and armed.
  bool Find(std::string_view full_key, std::string_view token, ArmedLease* lease) const;

  // The holder's value is stored: all waiters are told. False when the token is not the holder's.
  bool Complete(std::string_view full_key, std::string_view token);

  // The holder is out: the first waiter gets the lease, else it ends. False when the token is not
  // the holder's.
  bool PassOn(std::string_view full_key, std::string_view token, Lost why);

  // The key was changed, and the change ended the fill `cancelled`: its holder loses the lease. If
  // a value was stored (a Set) all waiters are told, else (Delete, Invalidate) the first waiter
  // gets the lease.
  enum class Change { kStored, kRemoved };
  void OnChange(std::string_view full_key, FillTicket cancelled, Change change);

  // Ends all waits with kDraining and refuses new places.
  void Drain();

  // Whether the key's lease is held, and how many wait for it.
  bool IsHeld(std::string_view full_key, size_t* waiters) const;
  LeaseTotals Totals() const;

 private:
  using Line = std::list<std::shared_ptr<LeaseWaiter>>;
  struct Record {
    std::string token;
    ArmedLease lease;
    TimerId timer = 0;
    Line line;
  };
  struct Shard {
    mutable Mutex mu;
    absl::flat_hash_map<std::string, Record> records ABSL_GUARDED_BY(mu);
    bool draining ABSL_GUARDED_BY(mu) = false;
  };
  static constexpr size_t kShards = 64;

  Shard& ShardOf(std::string_view full_key) const;
  std::string NewToken();
  // Makes waiters the holder, one after the other, until one takes it; ends the record when none
  // does.
  void HandOver(std::string_view full_key, std::shared_ptr<LeaseWaiter> next, std::string token);
  // Ends the record of `token` and tells all who wait. False when the token is not the holder's.
  bool EndStored(std::string_view full_key, std::string_view token);
  void Count(Lost why);

  const Options options_;
  std::unique_ptr<std::array<Shard, kShards>> shards_;
  std::atomic<size_t> held_{0};
  std::atomic<size_t> waiting_{0};
  enum Counter : size_t { kGranted, kFulfilled, kReleased, kExpired, kRevoked, kCounters };
  CounterBlock counters_{kCounters};
};

}  // namespace larder

#endif  // LARDER_ENGINE_LEASE_TABLE_H_
