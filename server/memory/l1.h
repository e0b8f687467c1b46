// L1 holds entries in memory: bounded in bytes, expiring, and the place where it is decided which
// version of a key this replica serves. Thread safety: any method, any thread. A hit takes no lock;
// everything else blocks at most for one shard's lock, which is never held across I/O or a
// callback. Errors: none; a lookup that finds nothing says why as far as L1 remembers. Never holds
// more than its budget, index and bookkeeping included; while a reader that lost its processor
// holds memory back, at most a sixty-fourth more; and as much for what expired and is still to be
// told, while somebody wants to be told. Never calls another tier.
//
// Rules. What the rule table says is gone is as if it had expired, and what it says is stale is
// handed out as stale, from the moment that the rule is there; its memory comes back later.
//
// Fills. A load takes time, and what it brings back may be out of date when it lands. BeginFill
// leaves a ticket for the key; whatever changes the key afterwards (Insert, Erase) takes the ticket
// away under the same lock; Fill stores its entry only while the ticket is there. So a load that
// began before a change never becomes visible after it, also when the change itself was evicted in
// between.

#ifndef LARDER_MEMORY_L1_H_
#define LARDER_MEMORY_L1_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "core/entry.h"
#include "core/expect.h"
#include "core/miss.h"
#include "core/version.h"
#include "policy/rule_table.h"

namespace larder {

// Names one fill. 0 is none.
using FillTicket = uint64_t;

enum class InsertOutcome : uint8_t {
  kStored,
  kNewerExists,      // an entry of a newer version is there
  kConditionFailed,  // Expect did not hold
  kOutdated,         // newer versions have left this shard since: try again with a new version
  // The key was changed, or the fill given up, since BeginFill; or a rule covers what it brings.
  kTicketLost,
  // The entry alone would take more than a quarter of its shard or of its type. Insert removes what
  // it would have replaced.
  kTooLarge,
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

// Why an entry left to make room.
enum class EvictionCause : uint8_t {
  kUnread,    // it was never read after it came
  kCold,      // it was read once, but not of late
  kTypeFull,  // its type reached its maximum share
  kShrink,    // the budget was made smaller
};
inline constexpr size_t kEvictionCauses = 4;

// What is held for one data type or namespace, and what left. Aligned, because what every writer
// writes, the first seven, then lies in one of the lines that processors hand to each other.
struct alignas(64) L1Tally {
  uint64_t entries = 0;
  uint64_t key_bytes = 0;       // keys without their namespace
  uint64_t value_bytes = 0;     // values as stored
  uint64_t plain_bytes = 0;     // the same values as callers see them
  uint64_t encoded_bytes = 0;   // the part of value_bytes that is compressed
  uint64_t overhead_bytes = 0;  // headers, tags, index slots, rounding
  // Sum of the times at which they were written, in milliseconds since L1 began; in L1Usage the sum
  // of their ages.
  int64_t ages_ms = 0;
  std::array<uint64_t, kEvictionCauses> evictions = {};
  uint64_t evicted_bytes = 0;
  // Sum of the ages, since they were written, of what was evicted; in milliseconds.
  uint64_t evicted_age_ms = 0;
  uint64_t expirations = 0;

  uint64_t bytes() const { return key_bytes + value_bytes + overhead_bytes; }
  uint64_t evicted() const;
  void Add(const L1Tally& other);
};

struct L1Usage {
  // Everything that L1 allocates: entries, index and bookkeeping.
  uint64_t bytes = 0;
  uint64_t budget_bytes = 0;
  // Parts of `bytes`: segments, large values, index, ghosts; the rest is fixed bookkeeping.
  uint64_t segment_bytes = 0;
  uint64_t large_bytes = 0;
  uint64_t index_bytes = 0;
  uint64_t ghost_bytes = 0;
  // Bytes of entries that are known to be dead, or past their time, and not given back yet.
  uint64_t dead_bytes = 0;
  // The part of memory that newcomers get now, 0 to 1, the mean over the shards.
  double newcomer_share = 0;
  uint64_t fills = 0;  // tickets out now
  L1Tally total;       // total.bytes() leaves out what no entry owns
  std::vector<L1Tally> by_type;
  std::vector<L1Tally> by_namespace;
};

class L1 {
 public:
  static constexpr uint64_t kBudgetBytesMin = 1 << 20;

  // What L1 knows of a data type.
  struct TypeOptions {
    // As rules call it.
    std::string name = {};
    // Part of the budget that other types cannot take from it, and that it cannot exceed. The
    // minimum shares of all types together are at most 1.
    double share_min = 0;
    double share_max = 1;
    // Hits count half after this time.
    absl::Duration hits_half_life = absl::Minutes(10);
    // Whether KeepEnded concerns it; SetType changes it.
    bool keeps_ended = true;
  };

  struct Options {
    // At least kBudgetBytesMin.
    uint64_t budget_bytes = 64 << 20;
    // The most that SetBudget may ask for; address space is reserved for it. 0 = budget_bytes.
    uint64_t budget_bytes_max = 0;
    // The largest entry to expect: there are as many shards as keep it below a quarter of one, 64
    // at most.
    uint64_t entry_bytes_max = 1 << 20;
    // By type id. Types beyond the list have the defaults.
    std::vector<TypeOptions> types = {};
    // Ids at or beyond these are not told apart in the books.
    size_t types_max = 1000;
    size_t namespaces_max = 1000;
    // The key of the hash that places entries; 0 draws one. Only tests set it.
    uint64_t hash_seed = 0;
    Clock* clock = Clock::System();
    // What is not served any more; outlives L1. Null: there are no rules.
    const RuleTable* rules = nullptr;
  };

  static std::unique_ptr<L1> New(const Options& options);
  virtual ~L1() = default;

  // Copies the live entry for `full_key` at `now` of the clock's Mono() to `entry` and counts a hit
  // of it. True on a hit; it may be negative. On a miss `entry` is left in an unknown state and
  // `why` says why. The caller reads the clock, so that a batch reads it once.
  virtual bool Find(std::string_view full_key, MonoNanos now, Entry* entry, MissReason* why) = 0;
  // The same without a trace. On a miss entry->hits is what an expired entry had that is still
  // remembered, else 0: a value that comes again in time goes on with its hits.
  virtual bool Peek(std::string_view full_key, MonoNanos now, Entry* entry,
                    MissReason* why) const = 0;

  // REQUIRES, here and for Fill: one namespace_id always stands for one namespace.
  // Puts the entry in the place of an older version. Ends a fill of the key when it stores, or is
  // too large to.
  virtual InsertResult Insert(const EntryFields& fields, Expect expect, MonoNanos now) = 0;
  // Removes the entry if its version is at most `version`. Ends a fill of the key.
  virtual EraseResult Erase(std::string_view full_key, Version version, MonoNanos now) = 0;

  // Begins a fill and gives up an earlier one of the same key. Every ticket must be ended, by Fill
  // or EndFill. 0 when an eighth of the shard is taken by tickets already: then there is no fill.
  virtual FillTicket BeginFill(std::string_view full_key) = 0;
  // The same, but 0 also when there is a fill of the key already: for copies from the tier below,
  // which must not take a load's place.
  virtual FillTicket TryBeginFill(std::string_view full_key) = 0;
  // Whether the ticket is still there.
  virtual bool HasFill(std::string_view full_key, FillTicket ticket) const = 0;
  // Stores the entry if the ticket is still there and no rule says that it is gone, and ends the
  // fill.
  virtual InsertResult Fill(const EntryFields& fields, FillTicket ticket, MonoNanos now) = 0;
  // Gives the fill up. Harmless when it has ended.
  virtual void EndFill(std::string_view full_key, FillTicket ticket) = 0;

  // Bytes that an entry with these fields takes, its part of the index included.
  virtual uint64_t BytesFor(const EntryFields& fields) const = 0;

  // Gives the memory of expired entries back and goes on with what is due: one segment's worth in
  // each shard. To be called about ten times a second, and again in a millisecond when it returns
  // that more is due.
  virtual bool Sweep(MonoNanos now) = 0;

  // An entry whose time is over.
  struct Ended {
    std::string full_key;
    Version version = kNoVersion;
    uint16_t type_id = 0;
    std::vector<std::string> tags;
  };
  // From now on what expires is kept until TakeEnded: entries with values, as far as there is room,
  // and Sweep looks for them more often. Or no more, and what is kept is forgotten.
  virtual void KeepEnded(bool keep) = 0;
  // Moves at most `most` of those to `out`, and adds to `lost` how many there was no room for. True
  // when there are more.
  virtual bool TakeEnded(size_t most, std::vector<Ended>* out, uint64_t* lost) = 0;

  // Changes the budget, within budget_bytes_max and the least that its shards can work with (about
  // a fortieth of the budget at the start; Usage says what is in force), in steps: each call frees
  // at most a few milliseconds' worth in each shard and returns whether the budget is reached.
  // Until then call again; readers and writers go on meanwhile, and writers stay within what is
  // left.
  virtual bool SetBudget(uint64_t budget_bytes) = 0;

  struct Listed {
    std::string full_key;
    Version version = kNoVersion;
    uint16_t type_id = 0;
    uint32_t hits = 0;
    MonoNanos fresh_until = 0;
    MonoNanos sliding = 0;
  };
  // Appends the live entries of one part of L1, some thousand at most, to `out` and returns the
  // cursor of the next part; 0 after the last one. Begin with 0. What is inserted or moves between
  // shards meanwhile may be missing.
  virtual uint64_t List(uint64_t cursor, MonoNanos now, std::vector<Listed>* out) const = 0;

  // Removes what the rules say is gone from one part of L1, a segment at most, and returns the
  // cursor of the next part; 0 after the last one. Begin with 0. Holds a lock for about a
  // millisecond. What moves from one part to another meanwhile may be left: begin again while rules
  // come.
  virtual uint64_t SweepRules(uint64_t cursor, MonoNanos now) = 0;

  // About how many live entries the rule alone would cover: of some ten thousand that are looked
  // at, which is all of them in a small memory, and as many more of the others. Other rules are
  // none of its business.
  virtual uint64_t Estimate(const Rule& rule, MonoNanos now) const = 0;

  // Entries that are stored in this encoding now.
  // Takes over what may change of a type while it has entries; one that has none yet gets its name.
  virtual void SetType(uint16_t id, const TypeOptions& type) = 0;

  virtual uint64_t EntriesEncoded(Encoding encoding) const = 0;

  virtual L1Usage Usage() const = 0;
  // Walks everything and returns false, with a line on standard error, when the books are wrong:
  // bytes = sum, index = entries. For tests.
  virtual bool CheckInvariants() const = 0;
};

}  // namespace larder

#endif  // LARDER_MEMORY_L1_H_
