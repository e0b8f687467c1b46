// FlightTable knows which keys are being loaded from an origin, and who waits for them: one flight
// for a key, however many callers want it. Thread safety: any method, any thread. Blocks for one
// shard's lock at most. Knows nothing of values in memory and starts no load: whoever opens a
// flight does, and lands it in any case.
//
// A flight's life: Join or Open opens it -> OnLook, when it begins to look -> OnFill, before it
// stores what it loaded -> Land ends it and tells all who wait. A Set of the key meanwhile
// (OnStored) sends those who wait to look for it; the flight goes on. Answer, after OnFill, gives
// those who may have it what is being stored; the flight goes on then, too.
//
// Who is given what landed depends on when he joined. First, or before the look: it is newer than
// he. Before the fill: whatever had changed the key before he came would have ended the fill,
// provided that it was heard of. After that he has to look again:
//   1: the flight stores its value.  2: a Delete removes it, and is answered.  3: A misses, and
//   joins.  4: the flight lands.  A must not get the value of 1.

#ifndef LARDER_ENGINE_FLIGHT_TABLE_H_
#define LARDER_ENGINE_FLIGHT_TABLE_H_

#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "core/entry.h"

namespace larder {

// How a flight, or a wait for one, ended.
struct Landing {
  enum class Kind : uint8_t {
    kLanded,     // `entry` is what there is now; it may be negative
    kFailed,     // `error` says why
    kLookAgain,  // a value was stored meanwhile
    kTimeout,    // the caller's time is over
    kCancelled,  // the caller is gone
    kDraining,   // the server is going down
  };
  Kind kind = Kind::kFailed;
  // Shared by all who wait. Its value is plain.
  std::shared_ptr<const Entry> entry = nullptr;
  // It was there: somebody else had loaded it, or a write of it waits; and it was below memory.
  bool found = false;
  bool below = false;
  // A change of the key during the load would have been heard of.
  bool heard = true;
  absl::Status error = absl::OkStatus();
  // What the origin's error was, for those who may go on with something stale.
  absl::StatusCode cause = absl::StatusCode::kUnknown;
  // False: the origin was not even asked, because its breaker is open.
  bool asked = true;
  // What the flight waited for, for as long.
  StepTimes steps = {};
};

// Of a flight that failed. `cause`: the code that the type's list of errors is asked for.
Landing FailedLanding(absl::Status error, absl::StatusCode cause);
// Of one whose origin has said `cause`, as callers are told.
Landing OriginFailed(std::string_view origin, const absl::Status& cause);

// A caller's place. The owner awaits `landing` and calls Leave when it was not the table that ended
// the wait.
struct FlightWaiter {
  FlightWaiter(Executor* executor, std::string_view key) : landing(executor), full_key(key) {}
  Signal<Landing> landing;
  const std::string full_key;
  std::list<std::shared_ptr<FlightWaiter>>::iterator place;  // guarded by the shard's lock
  bool waits = false;                                        // guarded by the shard's lock
  size_t joined = 0;                                         // guarded by the shard's lock
};

class FlightTable {
 public:
  struct Options {
    size_t flights_max = 1'000'000;
    size_t waiters_max = 100'000;
    size_t waiters_per_key_max = 20'000;
    Executor* executor = nullptr;
  };

  explicit FlightTable(const Options& options) : options_(options) {}

  struct Place {
    // The caller has to start the flight.
    bool opened = false;
    // Null when the caller does not want to wait.
    std::shared_ptr<FlightWaiter> waiter;
  };
  // TOO_MANY_WAITERS, OVERLOADED (flights_max) or DRAINING when there is no place. `missing`: the
  // caller has found the key nowhere. `opener`: he has opened the flight, to look.
  absl::StatusOr<Place> Join(std::string_view full_key, bool wait, bool missing = false,
                             bool opener = false);
  // Opens a flight of a key that memory does not have, for a caller who looks further before he
  // starts it. False: there is one, or may be none.
  bool OpenToLook(std::string_view full_key) { return Open(full_key, /*missing=*/true); }
  // Whether a flight is open whose opener has found the key nowhere, or not yet, and nobody is
  // known to have changed it since. Who does not find it in memory either need not look further,
  // and joins: what landed is his if it was still true below when it was stored there.
  bool IsMissing(std::string_view full_key) const;
  // Opens a flight that nobody waits for yet. False when there is one, or may be none.
  bool Open(std::string_view full_key) { return Open(full_key, /*missing=*/false); }

  // Gives up the place of `waiter`.
  void Leave(const std::shared_ptr<FlightWaiter>& waiter);

  // REQUIRES, here and below: the flight is open.
  void OnLook(std::string_view full_key) { MoveTo(kBeforeLook, full_key); }
  void OnFill(std::string_view full_key) { MoveTo(kBeforeFill, full_key); }
  // Gives what will land to those who would be given it. REQUIRES: kLanded.
  void Answer(std::string_view full_key, const Landing& landing);
  // Ends the flight.
  void Land(std::string_view full_key, const Landing& landing);
  // A value was stored under the key.
  void OnStored(std::string_view full_key);
  // The key was changed or loaded, here or elsewhere. There need be no flight.
  void OnChanged(std::string_view full_key);

  // Ends all waits with kDraining and opens no more flights. Those that are under way land.
  void Drain();

  // Whether the key is being loaded, and how many wait for it.
  bool IsFlying(std::string_view full_key, size_t* waiters) const;
  size_t flights() const { return flights_.load(std::memory_order_relaxed); }
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  using Waiters = std::list<std::shared_ptr<FlightWaiter>>;
  // When a waiter joined.
  enum Joined : size_t { kBeforeLook, kBeforeFill, kAfterFill, kJoinedCount };
  struct Flight {
    std::array<Waiters, kJoinedCount> waiters;
    bool missing = false;
    size_t waiting() const {
      return waiters[kBeforeLook].size() + waiters[kBeforeFill].size() + waiters[kAfterFill].size();
    }
  };
  // Whether those who joined then are given `landing`. A failure is as good for all.
  static bool IsGiven(const Landing& landing, size_t joined) {
    return landing.kind != Landing::Kind::kLanded || joined == kBeforeLook ||
           (joined == kBeforeFill && landing.heard);
  }
  struct Shard {
    mutable Mutex mu;
    absl::flat_hash_map<std::string, Flight> flights ABSL_GUARDED_BY(mu);
    bool draining ABSL_GUARDED_BY(mu) = false;
  };
  static constexpr size_t kShards = 64;

  bool Open(std::string_view full_key, bool missing);
  Shard& ShardOf(std::string_view full_key) const;
  // Those who joined later are taken for having joined then.
  void MoveTo(Joined joined, std::string_view full_key);
  // Takes all out of `waiters`, which the shard's lock guards.
  Waiters Dismiss(Waiters* waiters);

  const Options options_;
  mutable std::array<Shard, kShards> shards_;
  std::atomic<size_t> flights_{0};
  std::atomic<size_t> waiting_{0};
};

// The flight of somebody who looks further before he starts it. If he does not, it ends with him,
// and those who have joined look for themselves.
class OpenedFlight {
 public:
  OpenedFlight() = default;
  OpenedFlight(const OpenedFlight&) = delete;
  OpenedFlight& operator=(const OpenedFlight&) = delete;
  ~OpenedFlight() { End(); }

  // False: see FlightTable::OpenToLook.
  bool Open(FlightTable* table, std::string_view full_key) {
    if (!table->OpenToLook(full_key)) return false;
    table_ = table;
    full_key_ = full_key;
    return true;
  }
  bool exists() const { return table_ != nullptr; }
  // He has started it.
  void Release() { table_ = nullptr; }
  void End() {
    if (exists()) table_->Land(full_key_, {.kind = Landing::Kind::kLookAgain});
    Release();
  }

 private:
  FlightTable* table_ = nullptr;
  std::string full_key_;
};

}  // namespace larder

#endif  // LARDER_ENGINE_FLIGHT_TABLE_H_
