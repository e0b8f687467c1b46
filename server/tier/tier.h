// A Tier is one level of the cache below memory: RocksDB on this machine, or Redis for the fleet.
// Thread safety: any method, any thread, any time. No method blocks its thread: what may block runs
// elsewhere, and the task goes on on the executor. Answers come in the order of the request. A key
// that is not there is an answer, never an error; an error means that the tier is unwell and says
// nothing about what is in it (after a failed Put or Erase the change may have happened, or may
// still happen). Requests own what they hold, because an attempt that lost its time limit may
// outlive the call. Never calls another tier, the engine or an origin.
//
// Versions decide. A tier never replaces what it holds by something older, and an erased key leaves
// a tombstone for a while, so that an older write that is late does not bring the key back.

#ifndef LARDER_TIER_TIER_H_
#define LARDER_TIER_TIER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/task.h"
#include "core/entry.h"
#include "core/expect.h"
#include "core/version.h"

namespace larder {

// What a Get found under one key.
struct TierRead {
  enum class Kind : uint8_t {
    kAbsent,     // nothing, or something that could not be read, which was counted
    kTombstone,  // erased; entry.version is that of the removal
    kEnded,      // an entry whose life is over; entry.version is known yet
    kEntry,      // an entry that may be served; it may be negative
  };
  Kind kind = Kind::kAbsent;
  // Its type_id and namespace_id mean nothing: ids belong to one process.
  Entry entry;
  // The data type that the entry was stored as; it need not exist here.
  std::string type;
};

// One entry to keep.
struct TierPut {
  std::string full_key;  // FullKey::view()
  Version version = kNoVersion;
  // No longer served from then on; INT64_MAX is never.
  MonoNanos usable_until = 0;
  // The whole entry, from EncodeEnvelope.
  std::string envelope;
  // What has to hold for it to be kept, decided in one step with keeping it. A negative or expired
  // entry and a tombstone count as absent.
  Expect expect;
};

struct TierErase {
  std::string full_key;
  // What is newer than this stays.
  Version version = kNoVersion;
};

// What became of a Put or an Erase.
struct TierChange {
  enum class Outcome : uint8_t {
    kDone,
    kNewerExists,      // an entry or a tombstone of a newer version is there
    kConditionFailed,  // TierPut::expect did not hold
    // Not worth its room (about to expire, too small, too large); what it would have replaced is
    // gone.
    kSkipped,
  };
  Outcome outcome = Outcome::kDone;
  // Before the call a live entry was there that was not negative.
  bool existed = false;
  // What is there after the call, if it is known; a tombstone has a version too.
  Version current = kNoVersion;
};

struct TierScan {
  // FullKey prefix to walk under: a namespace, or a namespace and the start of a key.
  std::string full_prefix;
  // Only keys (without the namespace) that match; empty: all. See core/glob.h.
  std::string glob;
  // From the page before; empty: from the start.
  std::string cursor;
  size_t limit = 1000;
};

struct TierPage {
  struct Item {
    std::string full_key;
    Version version = kNoVersion;
  };
  // Live entries. A page may be empty and not be the last. What is changed during the walk may be
  // missing or come twice.
  std::vector<Item> items;
  // Empty: the walk is over.
  std::string cursor;
};

// Monotonic counts since the start, and what is there now.
struct TierStats {
  std::string name;            // `rocksdb`, `redis`
  std::string state;           // `ok`, or why not, in a few words
  uint64_t gets = 0;           // keys asked for
  uint64_t hits = 0;           // live entries found
  uint64_t puts = 0;           // entries kept
  uint64_t erases = 0;         // tombstones written
  uint64_t outdated = 0;       // changes refused because something newer was there
  uint64_t skipped = 0;        // puts that were not worth their room
  uint64_t bad_envelopes = 0;  // read as a miss
  uint64_t errors = 0;         // keys of calls that failed, whatever the cause
  uint64_t full = 0;           // the part of them that it refused for want of room
  // What only some tiers know; 0 elsewhere.
  uint64_t entries = 0;       // estimated
  uint64_t bytes = 0;         // on disk, or in the memory of Redis, which may hold other things too
  uint64_t bytes_max = 0;     // that it may take; 0: not limited
  uint64_t memory_bytes = 0;  // of this process
  uint64_t evictions = 0;
  uint64_t dropped_damaged = 0;     // times that all it held was dropped: because it was damaged,
  uint64_t dropped_power_loss = 0;  // because the machine had gone down under it
  // The guard's.
  uint64_t timeouts = 0;
  uint64_t retries = 0;
  uint64_t rejected = 0;  // keys of calls refused because the breaker was open
  uint64_t breaker_opened = 0;
  std::string breaker;         // `closed`, `open`, `half-open`; empty without a guard
  std::string breaker_reason;  // what opened it last
  // How long its attempts took, late ones as long as they were waited for.
  Histogram::Snapshot reads_took;
  Histogram::Snapshot changes_took;
};

// Knows of entries that nobody may see any more although their time is not over. Thread safety: any
// method, any thread; never blocks.
class TierCover {
 public:
  virtual ~TierCover() = default;
  // No entry that is newer is covered. `listed`: it has tags or depends on keys.
  virtual Version newest(bool listed) const = 0;
  // Whether this entry, without its value, may be dropped. Whoever asks then drops it.
  virtual bool Covers(std::string_view full_key, const TierRead& read) const = 0;
};

class Tier {
 public:
  virtual ~Tier() = default;

  virtual Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                          MonoNanos deadline) = 0;
  virtual Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                            MonoNanos deadline) = 0;
  // Leaves a tombstone of `version` for each key, also where nothing was.
  virtual Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                              MonoNanos deadline) = 0;
  virtual Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) = 0;

  // From now on the tier also drops what is covered, when it goes through its entries anyway. Most
  // tiers never do.
  virtual void DropCovered(std::shared_ptr<const TierCover> /*cover*/) {}

  // Grows when the tier may have lost what it took although no call of it failed: a server whose
  // connection ends may have ended, too, and be back with what it had before. Cheap.
  virtual uint64_t losses() const { return 0; }

  // Whether other replicas see the same entries.
  virtual bool shared() const = 0;
  virtual TierStats Stats() const = 0;
};

// What larder keeps for itself lies in a namespace that no caller can name. A tier that makes room
// does not drop it, and takes it however small it is.
inline constexpr std::string_view kOwnNamespace = "!larder";
inline bool IsOwn(std::string_view full_key) {
  return !full_key.empty() && static_cast<uint8_t>(full_key[0]) == kOwnNamespace.size() &&
         full_key.substr(1, kOwnNamespace.size()) == kOwnNamespace;
}

// How long a tombstone stays at least: longer than any load, lease or write may be late.
inline constexpr absl::Duration kTombstoneTtl = absl::Minutes(10);
// How long the version of an entry is known at least after its put, also when its life ends before:
//   1: a load begins.  2: Set, to live a second.  3: it has ended.  4: the load's value arrives.
// At 4, nothing but the version of 2 tells that the value is late.
inline constexpr absl::Duration kVersionKept = absl::Minutes(1);

}  // namespace larder

#endif  // LARDER_TIER_TIER_H_
