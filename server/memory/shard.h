// Shard is one part of L1 with a lock, an index, segments and a budget of its own; L1 sends every
// key to one shard by its hash. Thread safety: any public method, any thread. Find takes the lock
// only for what is not a plain hit; all else blocks at most for the lock.
//
// Entries lie in segments. A segment belongs to a group (the entries of one data type, or a mix
// where types are too many to have segments of their own), to one of the two chains, and to a class
// of TTLs, so that what lies together ends together. One class in six .cc files: they share one
// lock, and the invariants between index, segments and books.

#ifndef LARDER_MEMORY_SHARD_H_
#define LARDER_MEMORY_SHARD_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/epoch.h"
#include "base/keyed_hash.h"
#include "base/mutex.h"
#include "core/key.h"
#include "memory/ended_list.h"
#include "memory/index.h"
#include "memory/l1.h"
#include "memory/record.h"
#include "memory/segment_pool.h"
#include "policy/eviction.h"

namespace larder {

// What all shards of one L1 have in common.
struct L1Common {
  struct Type {
    double share_min = 0;
    double share_max = 1;
    std::atomic<int64_t> hits_half_life{1};
    std::string name;
    std::atomic<bool> keeps_ended{true};
    // The number of the half-life that runs now.
    std::atomic<uint8_t> hits_epoch{0};
  };

  explicit L1Common(const L1::Options& options);

  const Type& TypeOf(uint16_t id) const { return types[id < types_max ? id : types_max]; }
  uint8_t HitsEpochOf(uint16_t id) const {
    return TypeOf(id).hits_epoch.load(std::memory_order_relaxed);
  }
  // When a version was made, on the monotonic clock.
  MonoNanos MadeAt(Version version) const {
    return static_cast<MonoNanos>(VersionMs(version)) * 1'000'000 -
           wall_minus_mono.load(std::memory_order_relaxed);
  }
  // Takes note of the time: half-lives, and how far wall and monotonic clock are apart.
  void Tick(MonoNanos now);
  // Not by two threads at once; see L1::SetType.
  void SetType(uint16_t id, const L1::TypeOptions& type);
  // What namespace an id stands for; empty before Learn.
  std::string_view NamespaceOf(uint16_t id) const {
    const std::string* const name =
        id < namespaces_max ? namespaces[id].load(std::memory_order_acquire) : nullptr;
    return name == nullptr ? std::string_view() : std::string_view(*name);
  }
  void Learn(uint16_t id, std::string_view name);

  // When a record was written, in milliseconds since L1 began: always the same for one record, as
  // the wall clock of when it began is kept.
  int64_t WrittenMs(const Record& record) const {
    const MonoNanos written = record.WrittenExplicitly();
    if (ABSL_PREDICT_FALSE(written != 0)) return MsBetween(began, written);
    return static_cast<int64_t>(VersionMs(record.version())) - began_wall_ms;
  }

  Clock* const clock;
  const MonoNanos began;
  const int64_t began_wall_ms;
  const KeyedHash hash;
  const size_t types_max;
  const size_t namespaces_max;
  std::unique_ptr<Type[]> types;  // one more than types_max, for those beyond
  std::unique_ptr<std::atomic<const std::string*>[]> namespaces;
  Mutex learn_mu;
  std::vector<std::unique_ptr<const std::string>> names ABSL_GUARDED_BY(learn_mu);
  const RuleTable* const rules;  // never null
  // Whether what expires is kept; see L1::KeepEnded.
  std::atomic<bool> keeps_ended{false};
  std::atomic<int64_t> wall_minus_mono{0};
  std::atomic<MonoNanos> next_epochs{0};  // when Tick looks at the half-lives again
  // The id of the default namespace, once it is known.
  std::atomic<uint32_t> default_id{UINT32_MAX};
  // Entries by encoding, in chunks that are allocated when the first entry of one comes.
  static constexpr size_t kEncodedChunk = 256;
  using EncodedChunk = std::array<std::atomic<int64_t>, kEncodedChunk>;
  std::array<std::atomic<EncodedChunk*>, (1 << 16) / kEncodedChunk> encoded = {};
  std::atomic<uint64_t> encoded_bytes{0};

  void CountEncoded(Encoding encoding, int64_t by);
  ~L1Common();
};

// A full key, taken apart once for a lookup that may compare it with several records.
struct KeyParts {
  explicit KeyParts(std::string_view full_key)
      : name_space(FullKey::NamespaceOf(full_key)),
        key(FullKey::KeyOf(full_key)),
        is_default(FullKey::IsDefault(full_key)) {}
  std::string_view name_space;
  std::string_view key;
  bool is_default;
};

class Shard {
 public:
  // Segments that are kept ready for what moves while room is made.
  static constexpr uint32_t kReserve = 3;
  // An entry takes at most one part in this many of a shard or of its type's share.
  static constexpr uint64_t kLargestPerShard = 4;
  // A shard has at least so many segments.
  static constexpr uint32_t kSegmentsMin = 24;

  // `memory` is address space for `segments_max` segments. `indexed_bytes` is how large the budget
  // may become before the index gets slower, `tables` room for Index::TablesFor that.
  Shard(L1Common* common, char* memory, uint32_t segments_max, uint32_t segment_bytes,
        uint64_t budget_bytes, uint64_t indexed_bytes, Index::Table* tables, uint64_t seed);
  ~Shard();

  // A budget that the shard can still work with.
  uint64_t budget_bytes_min() const {
    return sizeof(Shard) + static_cast<uint64_t>(kSegmentsMin) * pool_bytes_;
  }

  // Values of more bytes than this have an allocation of their own.
  size_t inline_bytes_max() const { return pool_bytes_ / 8; }

  // `table` is that of the hash.
  ABSL_ATTRIBUTE_ALWAYS_INLINE bool Find(const Index::Table& table, std::string_view full_key,
                                         uint64_t hash, MonoNanos now, Entry* entry,
                                         MissReason* why) {
    if (ABSL_PREDICT_TRUE(!Watched(hash))) {
      const Quick found = FindPlain(table, full_key, hash, now, entry);
      if (ABSL_PREDICT_TRUE(found == Quick::kClear) &&
          ABSL_PREDICT_TRUE(entry->version > common_->rules->newest())) {
        return true;
      }
      if (found != Quick::kNone && StandsByRules(full_key, now, entry)) return true;
    }
    return FindLocked(full_key, hash, now, entry, why);
  }
  bool Peek(std::string_view full_key, uint64_t hash, MonoNanos now, Entry* entry,
            MissReason* why) const;
  // Fetches what an Insert of this key reads first.
  void Prefetch(uint64_t hash) const { index_.Prefetch(hash); }
  // `large` holds a copy of the value if it is longer than inline_bytes_max.
  InsertResult Insert(const EntryFields& fields, uint64_t hash, Expect expect, SharedBytes large,
                      MonoNanos now);
  // Makes most of the room for a large value ahead, in turns with whoever else wants the lock: a
  // thousand small entries may have to go for one large one.
  void PrepareFor(uint64_t bytes, MonoNanos now);
  EraseResult Erase(std::string_view full_key, uint64_t hash, Version version, MonoNanos now);

  FillTicket BeginFill(std::string_view full_key, MonoNanos now);
  // BeginFill unless there is one.
  FillTicket TryBeginFill(std::string_view full_key, MonoNanos now);
  bool HasFill(std::string_view full_key, FillTicket ticket) const;
  InsertResult Fill(const EntryFields& fields, uint64_t hash, FillTicket ticket, SharedBytes large,
                    MonoNanos now);
  void EndFill(std::string_view full_key, FillTicket ticket);

  // Appends the live entries of one table of the index. True when there is a further one.
  bool List(uint64_t table, MonoNanos now, std::vector<L1::Listed>* out) const;

  // Removes what the rules say is gone from a segment, or a good part of it, and returns the
  // segment to go on with; SegmentPool::kNone after the last one.
  uint32_t SweepRules(uint32_t number, MonoNanos now);
  // Looks at the entries of one table of the index, and counts in `covered` those live ones that
  // the rules of `table` say are gone. Returns how many it looked at.
  uint64_t CountCovered(const RuleTable& rules, uint64_t table, MonoNanos now,
                        uint64_t* covered) const;
  uint64_t entries() const;
  uint64_t index_tables() const { return index_.table_count(); }

  // Frees expired entries, for at most some hundred microseconds. True when there is more to do.
  bool SweepStep(MonoNanos now);
  // See SegmentPool; nothing beyond the budget.
  char* TakeNextPage();
  // Goes towards `budget_bytes`, for about a millisecond. True when it is reached.
  bool BudgetStep(uint64_t budget_bytes, MonoNanos now);

  // See L1.
  bool TakeEnded(size_t most, std::vector<L1::Ended>* out, uint64_t* lost);
  void ForgetEnded();

  void AddTo(L1Usage* usage) const;
  bool CheckInvariants() const;

 private:
  // Open segments of one group, and its chains by age.
  struct Group {
    struct List {
      uint32_t oldest = SegmentPool::kNone;
      uint32_t newest = SegmentPool::kNone;
    };
    std::array<List, kChains> chains;
    std::vector<uint32_t> open;
  };
  // Records of a segment that a walk comes to next, and the hashes of their keys: what is to be
  // read of them is on its way from memory. Some may have died since.
  struct Ahead {
    static constexpr uint32_t kRecords = 8;
    struct Coming {
      const Record* record;
      uint64_t hash;
    };
    std::array<Coming, kRecords> coming;
    uint32_t next = 0;
    uint32_t count = 0;
  };
  struct Victim {
    uint32_t segment = SegmentPool::kNone;
    uint32_t offset = 0;
    // It was chosen although its type is below its minimum share, and no mercy is to be had.
    bool force = false;
    Ahead ahead;
  };
  struct WaitingBlock {
    uint64_t block;
    uint64_t bytes;
    uint64_t stamp;
  };
  struct Departed {
    uint32_t fingerprint = 0;
    MissReason why = MissReason::kAbsent;
  };
  // A record and the slot that knows it.
  struct Found {
    Index::Slot* slot = nullptr;
    uint64_t content = 0;
    Record* record = nullptr;
  };
  enum class Leave : uint8_t { kEvicted, kExpired, kRuledOut, kReplaced, kErased };
  // What was found without the lock; kClear has no dependencies, and no tags that a rule could
  // concern.
  enum class Quick : uint8_t { kNone, kClear, kSpecial };

  // shard.cc: what callers ask for.
  // Finds an entry of which nothing is special, without the lock. See the top of shard.cc.
  Quick FindPlain(const Index::Table& table, std::string_view full_key, uint64_t hash,
                  MonoNanos now, Entry* entry);
  bool FindLocked(std::string_view full_key, uint64_t hash, MonoNanos now, Entry* entry,
                  MissReason* why);
  // Whether the policy wants to know of accesses to this key.
  bool Watched(uint64_t hash) const {
    return nearly_full_.load(std::memory_order_relaxed) && policy_.Sampled(hash);
  }
  // What is left of FindPlain for a record with optional parts.
  Quick FindSpecial(Index::Slot* slot, uint64_t content, uint64_t hash, MonoNanos now,
                    Entry* entry);
  static void CountUse(Index::Slot* slot, uint64_t content, uint64_t hash) {
    const uint32_t uses = Index::UsesOf(content);
    if (ABSL_PREDICT_TRUE(uses == Index::kUsesMax)) return;
    // Losing to a writer or to another reader costs one count.
    slot->compare_exchange_weak(content, Index::Make(hash, Index::PlaceOf(content), uses + 1),
                                std::memory_order_relaxed);
  }
  bool IsIn(const Record& record, const KeyParts& key) const {
    const uint16_t id = record.namespace_id();
    return key.is_default ? id == common_->default_id.load(std::memory_order_relaxed)
                          : common_->NamespaceOf(id) == key.name_space;
  }
  // Whether the record is this key's and as most are: without optional parts, in the default
  // namespace.
  bool IsPlainDefault(const Record& record, std::string_view full_key) const {
    // The value comes from memory while the key is compared.
    __builtin_prefetch(reinterpret_cast<const char*>(&record) + 64);
    __builtin_prefetch(reinterpret_cast<const char*>(&record) + 128);
    return ABSL_PREDICT_TRUE(FullKey::IsDefault(full_key)) && ABSL_PREDICT_TRUE(record.IsPlain()) &&
           ABSL_PREDICT_TRUE(SameBytes(record.plain_key(), FullKey::KeyOf(full_key))) &&
           record.namespace_id() == common_->default_id.load(std::memory_order_relaxed);
  }
  bool Matches(const Record& record, const KeyParts& key) const {
    return SameBytes(record.key(), key.key) && IsIn(record, key);
  }
  void ReadTo(const Record& record, const Moment& at, uint8_t hits_epoch, Entry* entry) const {
    record.Read(entry);
    entry->fresh_until = record.FreshUntil(at);
    entry->usable_until = record.UsableUntil(at);
    entry->written = WrittenAt(record, at.now);
    entry->hits = record.Hits(hits_epoch);
  }
  MonoNanos WrittenAt(const Record& record, MonoNanos now) const {
    const MonoNanos written = record.WrittenExplicitly();
    return written != 0 ? written : std::min(common_->MadeAt(record.version()), now);
  }
  // What few lookups need, kept out of the way of the others. See FindPlain.
  Index::Seen FindSlowly(std::string_view full_key, uint64_t hash) const;
  Moment At(MonoNanos now) const { return Moment(now, common_->began); }
  Found Look(const KeyParts& key, uint64_t hash) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Removes the record if it is over, and says what its hits were.
  Found LookLive(const KeyParts& key, uint64_t hash, MonoNanos now,
                 uint32_t* expired_hits = nullptr) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Slide(Found found, const KeyParts& key, uint64_t hash, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // `present` is the live record of the key, if there is one; `hits` those of one that expired.
  InsertResult Put(const EntryFields& fields, uint64_t hash, Found present, uint32_t hits,
                   SharedBytes large, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  FillTicket TakeTicket(std::string_view full_key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  FillTicket NewTicket(std::string_view full_key, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  MissReason WhyGone(uint64_t hash) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RememberWhy(uint64_t hash, MissReason why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // shard_rules.cc: what the rules say.
  // Whether the rules let callers have what was found, until when the entry then says.
  bool StandsByRules(std::string_view full_key, MonoNanos now, Entry* entry) const;
  // The same for times alone.
  static bool Lower(const RuleTable::Verdict& verdict, MonoNanos now, MonoNanos* fresh_until,
                    MonoNanos* usable_until);
  RuleTable::Verdict JudgeBy(const RuleTable& rules, const Record& record) const;
  // Whether rules for tags, and changes of other keys, leave the record alone.
  bool HasClearLists(const Record& record) const {
    return !record.Has(Record::kListed) ||
           (!record.has_dependencies() &&
            !common_->rules->MayConcernTags(record.tag_prints(), record.version()));
  }
  bool RuledOut(const Record& record, const Moment& at) const;
  bool RuledOut(const EntryFields& fields, MonoNanos now) const;
  // Removes the record if it has expired or the rules say that it is gone. False when it is not
  // over.
  bool BuryIfOver(Record* record, uint64_t hash, Index::Slot* slot, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // shard_ended.cc: what ends by its time, and who is told.
  bool ExpireWhole(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False: `may_stop`, and it did because what ends could not be kept to be told.
  bool ExpireIn(uint32_t number, bool may_stop, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Whether the sweep is to look into a segment in which something has ended.
  bool IsWorthALook(const Segment& segment, MonoNanos now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t EndedBytesMax() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Somebody wants to be told, and there is no room for more.
  bool EndedIsFull() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void KeepEnded(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // shard_books.cc: records, segments and what is counted of them.
  Record* RecordAt(uint64_t place) const {
    return reinterpret_cast<Record*>(memory_ + (place - 1) * Record::kAlign);
  }
  uint64_t PlaceOf(const Record* record) const {
    return static_cast<uint64_t>(reinterpret_cast<const char*>(record) - memory_) / Record::kAlign +
           1;
  }
  uint64_t HashOf(const Record& record) const;
  static uint64_t CostOf(const Record& record);
  Found LookAt(Record* record, uint64_t hash) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the record out of the index, if `slot` is given, and out of the books.
  void Bury(Record* record, uint64_t hash, Index::Slot* slot, Leave how, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Account(const Record& record, Chain chain, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The books of one kind: a vector that knows its size without a division.
  struct Books {
    std::vector<L1Tally> tallies;
    size_t count = 0;
  };
  L1Tally& TallyOf(Books& books, size_t id, size_t max) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    id = std::min(id, max);
    if (ABSL_PREDICT_FALSE(id >= books.count)) GrowBooks(&books, id + 1);
    return books.tallies[id];
  }
  void GrowBooks(Books* books, size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  L1Tally& TypeTally(uint16_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return TallyOf(by_type_, id, common_->types_max);
  }
  L1Tally& NamespaceTally(uint16_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return TallyOf(by_namespace_, id, common_->namespaces_max);
  }
  uint64_t TypeBytes(uint16_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsProtected(uint16_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Room for a record at the end of an open segment; null when there is no segment left.
  char* Append(uint16_t group, Chain chain, uint8_t ttl_class, uint32_t bytes, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint32_t OpenFor(uint16_t group, Chain chain, uint8_t ttl_class)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint32_t OpenSegment(uint16_t group, Chain chain, uint8_t ttl_class, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ResizePolicy() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The record is complete and in the index: its segment learns of it.
  void Settle(Record* record, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Copies a live record to the end of `chain` and gives its slot to the copy, which lives until
  // `until` if that is not 0. Null when there is no segment left.
  Record* Move(const Found& found, uint64_t hash, Chain chain, uint32_t uses, MonoNanos now,
               MonoNanos until = 0) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint16_t GroupFor(uint16_t type) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Group& GroupOf(uint16_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Seal(uint32_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LinkInChain(uint32_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void UnlinkFromChain(uint32_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Gives a segment without live records back.
  void Retire(uint32_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Calls visit(record) for the records of a segment from `offset` on, until it returns false, and
  // returns the offset of where it stopped.
  template <typename Visit>
  uint32_t Walk(uint32_t number, uint32_t offset, Visit&& visit) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // shard_room.cc: how room is made.
  uint64_t Used() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t Waiting() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What both chains together may hold.
  uint64_t Capacity() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool MakeRoom(uint64_t bytes, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Overdraw(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeRoomInType(uint16_t type, uint64_t bytes, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Reclaim() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One small step towards room. False when nothing is left to evict.
  bool EvictStep(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool EvictFrom(Chain chain, bool force, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint32_t ChooseVictim(Chain chain, bool force) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Decides about the records of the victim from where the last call stopped, until one was decided
  // about; false at the end of the segment.
  bool DecideNext(Victim* victim, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // HashOf for a walk that comes to this live record of the segment.
  uint64_t HashAhead(Ahead* ahead, uint32_t number, const Record* record) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Decide(const Found& found, uint64_t hash, Chain chain, bool force, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool CompactMostDead(MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Compact(uint32_t number, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  L1Common* const common_;
  char* const memory_;
  const uint32_t pool_bytes_;  // of a segment
  Index index_;                // Find reads it without the lock
  // While there is plenty of room nothing has to be learned about what should stay.
  std::atomic<bool> nearly_full_{false};
  EvictionPolicy policy_;  // mu_ guards it but for Sampled, which Find asks without

  // What every writer writes lies together, and apart from what readers read: processors hand
  // memory to each other in lines of 64 bytes.
  alignas(64) mutable Mutex mu_;
  uint64_t budget_ ABSL_GUARDED_BY(mu_);
  std::array<uint64_t, kChains> chain_bytes_ ABSL_GUARDED_BY(mu_) = {};
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;   // records buried or moved, ever
  uint64_t appended_ ABSL_GUARDED_BY(mu_) = 0;  // bytes, ever
  uint64_t dead_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // No segment ends as a whole before this.
  MonoNanos next_end_ ABSL_GUARDED_BY(mu_) = INT64_MAX;
  // Below so many dead bytes it is not worth looking for segments to compact again.
  uint64_t compact_above_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t most_dead_ ABSL_GUARDED_BY(mu_) = SegmentPool::kNone;
  uint32_t open_segments_ ABSL_GUARDED_BY(mu_) = 0;
  SegmentPool pool_ ABSL_GUARDED_BY(mu_);
  std::vector<Group> groups_ ABSL_GUARDED_BY(mu_);
  std::array<Victim, kChains> victims_ ABSL_GUARDED_BY(mu_);
  uint32_t sweep_next_ ABSL_GUARDED_BY(mu_) = 0;
  EvictionCause cause_ ABSL_GUARDED_BY(mu_) = EvictionCause::kUnread;
  bool shrinking_ ABSL_GUARDED_BY(mu_) = false;

  uint64_t policy_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t book_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of tallies and groups
  uint64_t large_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<WaitingBlock> waiting_blocks_ ABSL_GUARDED_BY(mu_);
  uint64_t waiting_block_bytes_ ABSL_GUARDED_BY(mu_) = 0;

  absl::flat_hash_map<std::string, FillTicket> tickets_ ABSL_GUARDED_BY(mu_);
  FillTicket last_ticket_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t ticket_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  Books by_type_ ABSL_GUARDED_BY(mu_);
  Books by_namespace_ ABSL_GUARDED_BY(mu_);
  std::array<Departed, 512> departed_ ABSL_GUARDED_BY(mu_);
  EndedList ended_ ABSL_GUARDED_BY(mu_);
  // The newest version that left this shard without a successor.
  Version floor_ ABSL_GUARDED_BY(mu_) = kNoVersion;
};

// Every instruction counts here: the processor works ahead on the next lookup only as far as its
// window reaches, and that is about two lookups of this length.
ABSL_ATTRIBUTE_ALWAYS_INLINE inline Shard::Quick Shard::FindPlain(const Index::Table& table,
                                                                  std::string_view full_key,
                                                                  uint64_t hash, MonoNanos now,
                                                                  Entry* entry) {
  const Epoch::Reader reader;
  Index::Seen seen = Index::FirstAtHome(table, hash);
  if (ABSL_PREDICT_FALSE(seen.content == 0 ||
                         !IsPlainDefault(*RecordAt(Index::PlaceOf(seen.content)), full_key))) {
    seen = FindSlowly(full_key, hash);
    if (seen.slot == nullptr) return Quick::kNone;
  }
  Record* const record = RecordAt(Index::PlaceOf(seen.content));
  if (ABSL_PREDICT_FALSE(!record->IsPlain()))
    return FindSpecial(seen.slot, seen.content, hash, now, entry);
  const Moment at(now, common_->began);
  const int32_t left_ms = record->PlainMsLeft(at);
  if (left_ms <= 0) return Quick::kNone;
  CountUse(seen.slot, seen.content, hash);
  const uint8_t epoch = common_->HitsEpochOf(record->type_id());
  entry->hits = record->CountHit(epoch);
  record->ReadPlain(entry);
  entry->fresh_until = entry->usable_until = at.began + (at.ms + left_ms) * 1'000'000;
  entry->written = std::min(common_->MadeAt(entry->version), now);
  return Quick::kClear;
}

template <typename Visit>
uint32_t Shard::Walk(uint32_t number, uint32_t offset, Visit&& visit) const {
  char* const memory = pool_.memory(number);
  while (offset < pool_[number].tail) {
    auto* const record = reinterpret_cast<Record*>(memory + offset);
    offset += record->bytes();
    if (!visit(record)) break;
  }
  return offset;
}

}  // namespace larder

#endif  // LARDER_MEMORY_SHARD_H_
