// L1 holds entries in memory: bounded in bytes, expiring, and the place where it is decided which
// version of a key this replica serves. Thread safety: any method, any thread. Blocks at most for
// one shard's lock, which is never held across I/O or a callback. Errors: none; a lookup that finds
// nothing says why as far as L1 remembers. Never holds more than its budget, index and bookkeeping
// included. Never calls another tier.
//
// Fills. A load takes time, and what it brings back may be out of date when it lands. BeginFill
// leaves a ticket for the key; whatever changes the key afterwards (Insert, Erase) takes the ticket
// away under the same lock; Fill stores its entry only while the ticket is there. So a load that
// began before a change never becomes visible after it, also when the change itself was evicted in
// between.

#ifndef LARDER_MEMORY_L1_H_
#define LARDER_MEMORY_L1_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "core/entry.h"
#include "core/miss.h"
#include "core/version.h"

namespace larder {

// What an Insert expects to find. A negative or expired entry counts as absent.
struct Expect {
  enum class Kind : uint8_t { kAny, kAbsent, kPresent, kVersion };
  Kind kind = Kind::kAny;
  Version version = kNoVersion;  // for kVersion
};

// Names one fill. 0 is none.
using FillTicket = uint64_t;

enum class InsertOutcome : uint8_t {
  kStored,
  kNewerExists,      // an entry of a newer version is there
  kConditionFailed,  // Expect did not hold
  kOutdated,         // newer versions have left this shard since: try again with a new version
  kTicketLost,       // the key was changed, or the fill given up, since BeginFill
  kTooLarge,         // the entry alone would take more than a quarter of its shard
};

struct InsertResult {
  InsertOutcome outcome;
  // What is there after the call, live or negative; kNoVersion when nothing is.
  Version current = kNoVersion;
  // The fill that the call ended because it changed the key; 0 when there was none.
  FillTicket cancelled = 0;
};

struct EraseResult {
  // A live entry that is not negative was removed.
  bool existed = false;
  FillTicket cancelled = 0;
};

struct L1Lookup {
  EntryPtr entry;  // null on a miss; may be negative
  MissReason why = MissReason::kAbsent;
};

// What is held for one data type or namespace, and what left.
struct L1Tally {
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t evictions = 0;
  uint64_t expirations = 0;

  void Add(const L1Tally& other);
};

struct L1Usage {
  // Everything that L1 allocates: entries, index and bookkeeping.
  uint64_t bytes = 0;
  uint64_t budget_bytes = 0;
  uint64_t fills = 0;  // tickets out now
  L1Tally total;       // total.bytes leaves out index and fixed bookkeeping
  std::vector<L1Tally> by_type;
  std::vector<L1Tally> by_namespace;
};

class L1 {
 public:
  static constexpr uint64_t kBudgetBytesMin = 8 << 20;

  struct Options {
    // At least kBudgetBytesMin.
    uint64_t budget_bytes = 64 << 20;
    // The largest entry to expect: there are as many shards as keep it below a quarter of one, 64
    // at most.
    uint64_t entry_bytes_max = 1 << 20;
    // Data types and namespaces that may be told apart: their books are kept in each shard.
    size_t tallies_max = 2000;
    Clock* clock = Clock::System();
  };

  static std::unique_ptr<L1> New(const Options& options);
  ~L1();

  // The live entry for `full_key` at `now` of the clock's Mono(), counted as a hit of that entry.
  // The caller reads the clock, so that a batch reads it once.
  L1Lookup Find(std::string_view full_key, MonoNanos now);
  L1Lookup Find(std::string_view full_key) { return Find(full_key, clock_->Mono()); }
  // The same without a trace.
  L1Lookup Peek(std::string_view full_key) const;

  // Puts `entry` in the place of an older version. Ends a fill of the key when it stores.
  InsertResult Insert(EntryPtr entry, Expect expect);
  // Removes the entry if its version is at most `version`. Ends a fill of the key.
  EraseResult Erase(std::string_view full_key, Version version);

  // Begins a fill and gives up an earlier one of the same key. Every ticket must be ended, by Fill
  // or EndFill. 0 when an eighth of the shard is taken by tickets already: then there is no fill.
  FillTicket BeginFill(std::string_view full_key);
  // Whether the ticket is still there.
  bool HasFill(std::string_view full_key, FillTicket ticket) const;
  // Stores `entry` if the ticket is still there, and ends the fill.
  InsertResult Fill(EntryPtr entry, FillTicket ticket);
  // Gives the fill up. Harmless when it has ended.
  void EndFill(std::string_view full_key, FillTicket ticket);

  // Looks at `share` of all entries (0 to 1) and frees those that expired. Goes on where the last
  // call stopped.
  void Sweep(double share);

  L1Usage Usage() const;
  // Walks everything and returns false when the books are wrong: bytes = sum, index = list. For
  // tests.
  bool CheckInvariants() const;

 private:
  struct Shard;

  explicit L1(const Options& options);
  Shard& ShardOf(uint64_t hash) const;

  Clock* const clock_;
  const uint64_t budget_bytes_;
  size_t shard_count_;
  std::unique_ptr<Shard[]> shards_;
};

}  // namespace larder

#endif  // LARDER_MEMORY_L1_H_
