// PendingIndex knows what waits in the journal: which writes of which keys, in which order they are
// due at their origins, how much room they take, and who waits for them to leave. It holds no
// values, does no I/O and reads no clock: times are passed in.
// Thread safety: none; its owner has a lock. Never blocks. Errors: Reserve's alone.
//
//   Reserve -> (on disk) -> Insert -> Take -> Done        it has left
//                                      |  \-> Retry ...   in line again after a pause, or dead
//                                      \----> Return      in line again at once, in front
//
// A key is known by its full key and its type: writes of one key as two types are those of two
// keys, since they go to two origins. At most one write of a key is in flight.

#ifndef LARDER_JOURNAL_PENDING_INDEX_H_
#define LARDER_JOURNAL_PENDING_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/keyed_hash.h"
#include "base/random.h"
#include "core/version.h"
#include "journal/pending_filter.h"
#include "journal/pending_line.h"
#include "policy/write_policy.h"

namespace larder {

// Waits until what was there before it has left.
struct PendingBarrier {
  uint64_t seq = 0;                     // the last that it waits for
  PendingTypeId type = kNoPendingType;  // kNoPendingType: all
  uint64_t all = 0;                     // writes that it waits for, or has waited for
  uint64_t left = 0;                    // those that have not left
  uint64_t dead = 0;                    // those that have left as dead letters
};

class PendingIndex {
 public:
  struct Type {
    std::string name;
    std::string origin;
    WritePolicy policy;
  };
  struct Options {
    // See Journal::Options.
    uint64_t bytes_max = uint64_t{4} << 30;
    uint64_t entries_max = 1'000'000;
    absl::Duration age_max = absl::InfiniteDuration();
    // Keys and values of one delivery, where there is more than one.
    uint64_t delivery_bytes_max = 2 << 20;
    std::vector<Type> types;
    Random* random = Random::System();
    // Knows each key while it waits; outlives the index; null: not.
    PendingFilter* filter = nullptr;
  };

  explicit PendingIndex(const Options& options);
  ~PendingIndex();
  PendingIndex(const PendingIndex&) = delete;
  PendingIndex& operator=(const PendingIndex&) = delete;

  // kNoPendingType: it is none of Options::types.
  PendingTypeId TypeOf(std::string_view name) const;
  // As TypeOf; a type that is not known becomes one whose writes wait for ever.
  PendingTypeId TypeOfStored(std::string_view name);
  const PendingType& type(PendingTypeId id) const { return *types_[id]; }
  size_t types() const { return types_.size(); }
  size_t origins() const { return origins_.size(); }
  const std::string& origin_name(size_t origin) const { return origins_[origin]->name; }

  // The newest write of the key that readers are to see, of whatever type: none that was put back
  // or is superseded.
  struct Newest {
    uint64_t seq;
    Version version;
    bool remove;
  };
  std::optional<Newest> NewestOf(std::string_view full_key) const;
  bool Knows(std::string_view full_key, PendingTypeId type, uint64_t seq) const;

  // Room, before writes are on disk.
  struct Wanted {
    std::string_view full_key;
    PendingTypeId type;
    Version version;
    uint64_t bytes;
  };
  struct Share {
    PendingTypeId type;
    uint64_t bytes = 0;
    uint64_t entries = 0;
  };
  using Reservation = absl::InlinedVector<Share, 1>;
  // JOURNAL_FULL: there is no room. `never`: nor will there ever be. A write that takes the place
  // of a waiting one needs the difference.
  // `in_all`, if not null: it is full in all, not only of the type.
  absl::Status Reserve(const std::vector<Wanted>& writes, MonoNanos now, Reservation* reservation,
                       bool* never, bool* in_all = nullptr);
  void Release(const Reservation& reservation);
  // Appends of the type that wait for room. While there are any, its writes are due at once.
  void AddWaiting(PendingTypeId type);
  void RemoveWaiting(PendingTypeId type);

  // What an append will do, asked right before it is written: the newer one of the key makes it
  // needless, or it takes the place of the one with the seq `replaces` (0: none). The one to be
  // replaced is marked until Insert of its successor, or Keep.
  struct Place {
    bool superseded = false;
    uint64_t replaces = 0;
  };
  Place PlaceOf(std::string_view full_key, PendingTypeId type, Version version);
  // Nothing has come in the place of the marked write after all.
  void Keep(std::string_view full_key, PendingTypeId type);

  struct Stored {
    std::string_view full_key;
    PendingTypeId type;
    uint64_t seq;
    Version version;
    uint64_t bytes;
    bool remove;
    MonoNanos since;        // when it was appended
    uint64_t replaces = 0;  // has been erased already
    bool put_back = false;  // see JournalRecord
  };
  // The write is on disk. Seqs that need not be there any more go to `erase`. True: a write of the
  // key has been superseded by this one, or this one by another.
  bool Insert(const Stored& write, std::vector<uint64_t>* erase);

  // What waits of the key up to `upto` needs not be delivered any more. Answers how many left.
  size_t Supersede(std::string_view full_key, PendingTypeId type, Version upto,
                   std::vector<uint64_t>* erase);

  // Deliveries.
  struct Taken {
    PendingKey* key;  // good until one of the answers below
    uint64_t seq;
    bool remove;
    bool put_back;
  };
  struct Call {
    PendingTypeId type = kNoPendingType;
    std::string name_space;
    bool alone = false;
    std::vector<Taken> writes;
  };
  // The next call to the origin that is due; nothing when none is. `alone`: those too that go in a
  // call of their own.
  std::optional<Call> Take(size_t origin, MonoNanos now, bool alone);
  // When something falls due after `now`; kMonoNever: never.
  MonoNanos NextDue(size_t origin, MonoNanos now) const;
  bool IsDue(size_t origin, MonoNanos now) const;

  // The origin has it. Answers when the first write of the key that it stands for was appended.
  MonoNanos Done(PendingKey* key, std::vector<uint64_t>* erase);
  // Back in line, in front; in the same order.
  void Return(const Call& call, std::vector<uint64_t>* erase);
  // It goes in a call of its own next time.
  void GoAlone(PendingKey* key, std::vector<uint64_t>* erase);
  // Counts an attempt. False: in line again after a pause; or, true, the attempts are used up and
  // it stays in flight until Buried. `refused`: they are, whatever their number.
  bool Retry(PendingKey* key, bool refused, MonoNanos now, absl::Time wall,
             std::vector<uint64_t>* erase);
  // Notes a try that had no answer; answers when the one before it had begun, if there was one, or
  // else `began`.
  MonoNanos NoteSilent(PendingKey* key, MonoNanos began);
  // In line again after a pause, without an attempt.
  void Delay(PendingKey* key, MonoNanos now, std::vector<uint64_t>* erase);
  struct History {
    uint32_t attempts = 0;
    absl::Time first;
    absl::Time last;
  };
  History HistoryOf(PendingKey* key) const;
  // What came of the key's last try, as valid UTF-8. At most kErrorBytesMax of it are kept, and
  // kErrorsMax different ones; none of further ones. Keys of a type with the same share one.
  static constexpr size_t kErrorBytesMax = 256, kErrorsMax = 10'000;
  void NoteError(PendingKey* key, std::string_view error);
  // How it goes with the key; nothing when nothing of it waits.
  struct Trying {
    uint32_t attempts = 0;
    std::string_view error;
    MonoNanos due = 0;  // when it is tried next
    bool in_flight = false;
  };
  std::optional<Trying> TryingOf(std::string_view full_key, PendingTypeId type) const;
  // It is a dead letter now, and in flight no more.
  void Buried(PendingKey* key);
  // Its record was not to be found on disk. False: nothing has taken its place, it is lost.
  bool Vanished(PendingKey* key, std::vector<uint64_t>* erase);

  // Everything is due, from now on.
  void HurryAll();

  // Null: nothing to wait for. What is due by it is due at once. Writes of types that are not known
  // are no part of it: they wait for ever.
  std::shared_ptr<PendingBarrier> AddBarrier(PendingTypeId type, uint64_t seq);
  void DropBarrier(const std::shared_ptr<PendingBarrier>& barrier);
  // Those for which all has left since the last time.
  std::vector<std::shared_ptr<PendingBarrier>> TakeFinished();

  // Dead letters count in the bounds, those of all and those of their type.
  void AddLetters(PendingTypeId type, uint64_t letters, uint64_t bytes);
  void RemoveLetters(PendingTypeId type, uint64_t letters, uint64_t bytes);

  uint64_t depth() const { return depth_; }
  uint64_t bytes() const { return bytes_; }
  // Writes that some delivery may still take away.
  uint64_t deliverable() const;
  uint64_t origin_depth(size_t origin) const { return origins_[origin]->depth; }
  // When the oldest was appended; kMonoNever: none.
  MonoNanos oldest() const;
  // The same, but for writes of types that are not known.
  MonoNanos oldest_known() const;
  size_t memory_bytes() const;
  // Ends the process when the books are wrong. For tests.
  void CheckInvariants() const;

 private:
  struct KeyHash {
    using is_transparent = void;
    const KeyedHash* hash;
    size_t operator()(std::string_view key) const { return (*hash)(key); }
    size_t operator()(const PendingKey* key) const { return (*hash)(key->full_key()); }
  };
  struct KeyEqual {
    using is_transparent = void;
    static std::string_view Text(std::string_view key) { return key; }
    static std::string_view Text(const PendingKey* key) { return key->full_key(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Text(a) == Text(b);
    }
  };

  PendingTypeId AddType(const Type& type, bool known);
  // Null: nothing waits.
  PendingKey* FindKey(std::string_view full_key, PendingTypeId type) const;
  PendingKey* FindOrAddKey(std::string_view full_key, PendingTypeId type);
  void RemoveKey(PendingKey* key);
  bool Coalesces(const PendingKey* key) const { return types_[key->group->type]->policy.coalesce; }

  // The write has been delivered, superseded or, `dead`, buried.
  void Leave(PendingKey* key, PendingWrite* write, bool dead = false);
  // Why there is no room for these; empty: there is.
  std::string FullInAll(const Share& all, MonoNanos now) const;
  std::string FullOfType(const Share& share, MonoNanos now) const;
  // In flight no more; the oldest is merged into what came after it, where that is wanted.
  void Land(PendingKey* key, std::vector<uint64_t>* erase);
  // Puts the key where it belongs now: into a line, a pause, nowhere, or out of the index.
  void Settle(PendingKey* key, bool in_front);
  void Unplace(PendingKey* key);
  void Reorder(PendingGroup* group);
  void ReorderType(PendingType* type);
  MonoNanos DueOf(const PendingGroup& group) const;
  bool Hurries(const PendingType& type) const;
  std::optional<Call> TakeAlone(PendingOrigin* origin, MonoNanos now);
  std::optional<Call> TakeBatch(PendingOrigin* origin, MonoNanos now);
  void FillBatch(PendingGroup* group, MonoNanos now, Call* call);
  void TakeKey(PendingKey* key, Call* call);
  void Wake(PendingGroup* group, MonoNanos now);
  void Served(PendingGroup* group, MonoNanos now);

  const Options options_;
  const KeyedHash hash_;
  size_t errors_ = 0;  // that are kept; outlives them
  std::vector<std::unique_ptr<PendingType>> types_;
  absl::flat_hash_map<std::string, PendingTypeId> type_ids_;
  std::vector<std::unique_ptr<PendingOrigin>> origins_;
  // The first type's; the others hang on it.
  absl::flat_hash_set<PendingKey*, KeyHash, KeyEqual> keys_;

  uint64_t depth_ = 0;
  uint64_t bytes_ = 0;
  uint64_t reserved_bytes_ = 0;
  uint64_t reserved_entries_ = 0;
  uint64_t letters_ = 0;
  uint64_t letter_bytes_ = 0;
  uint64_t key_memory_ = 0;
  uint64_t turns_ = 0;
  bool hurry_all_ = false;
  std::vector<std::shared_ptr<PendingBarrier>> barriers_;
  std::vector<std::shared_ptr<PendingBarrier>> finished_;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_PENDING_INDEX_H_
