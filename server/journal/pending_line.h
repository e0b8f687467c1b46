// What a PendingIndex is made of: writes, the keys that they are of, the groups that a delivery is
// taken from, and lines of keys. Thread safety: none; the index's owner has a lock. Errors: none.
//
// A million keys may wait, so a key and a write are one allocation each: about 190 bytes for a key
// of 30 bytes with one write, all tables included.

#ifndef LARDER_JOURNAL_PENDING_LINE_H_
#define LARDER_JOURNAL_PENDING_LINE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "core/version.h"
#include "policy/write_policy.h"

namespace larder {

using PendingTypeId = uint32_t;
inline constexpr PendingTypeId kNoPendingType = std::numeric_limits<PendingTypeId>::max();
inline constexpr MonoNanos kMonoNever = std::numeric_limits<MonoNanos>::max();

// One write that waits or is in flight.
struct PendingWrite {
  uint64_t seq;
  // Of the oldest write that it stands for, itself included, and when that was appended.
  uint64_t first_seq;
  MonoNanos since;
  Version version;
  uint32_t bytes;
  bool remove : 1 = false;
  bool put_back : 1 = false;  // see JournalRecord
  bool in_flight : 1 = false;
  bool superseded : 1 = false;    // in flight; needs no second attempt
  bool replacing : 1 = false;     // one that takes its place is being written
  PendingWrite* later = nullptr;  // of the same key, with a larger version
  // Of the same type, by `since`.
  PendingWrite* older = nullptr;
  PendingWrite* newer = nullptr;
};

struct PendingGroup;

// What only keys with failed deliveries have.
struct PendingTrouble {
  uint32_t attempts = 0;  // of the write that is next
  uint32_t failures = 0;  // of the key in a row
  bool alone = false;     // goes in a call of its own
  bool paused = false;    // until `until`
  MonoNanos until = 0;
  MonoNanos tried = kMonoNever;  // when the last try began that had no answer; kMonoNever: none
  absl::Time first;
  absl::Time last;
  std::shared_ptr<const std::string> error;  // of the last try; null: none is kept
};

// A key of one type.
struct PendingKey {
  enum class Where : uint8_t { kNowhere, kLine, kAgain, kAlone, kPause };

  static PendingKey* New(std::string_view full_key, PendingGroup* group) {
    void* const place = ::operator new(sizeof(PendingKey) + full_key.size());
    auto* const key = new (place) PendingKey;
    key->group = group;
    key->bytes = static_cast<uint16_t>(full_key.size());
    std::memcpy(static_cast<void*>(key + 1), full_key.data(), full_key.size());
    return key;
  }
  static void Delete(PendingKey* key) {
    key->~PendingKey();
    ::operator delete(key);
  }

  std::string_view full_key() const { return {reinterpret_cast<const char*>(this + 1), bytes}; }
  bool in_flight() const { return flying != nullptr; }
  // The newest write, in flight or not. REQUIRES: there is one.
  PendingWrite* newest() const {
    PendingWrite* write = writes;
    while (write->later != nullptr) write = write->later;
    return write;
  }

  PendingGroup* group = nullptr;
  PendingWrite* writes = nullptr;  // by version
  PendingWrite* flying = nullptr;
  PendingKey* other_type = nullptr;
  PendingKey* ahead = nullptr;  // in its line
  PendingKey* behind = nullptr;
  std::unique_ptr<PendingTrouble> trouble;
  uint16_t bytes = 0;
  Where where = Where::kNowhere;
};

// First come, first served.
class PendingLine {
 public:
  bool empty() const { return first_ == nullptr; }
  size_t size() const { return size_; }
  PendingKey* front() const { return first_; }

  void PushBack(PendingKey* key) {
    key->ahead = last_;
    key->behind = nullptr;
    (last_ == nullptr ? first_ : last_->behind) = key;
    last_ = key;
    ++size_;
  }
  void PushFront(PendingKey* key) {
    key->ahead = nullptr;
    key->behind = first_;
    (first_ == nullptr ? last_ : first_->ahead) = key;
    first_ = key;
    ++size_;
  }
  void Remove(PendingKey* key) {
    (key->ahead == nullptr ? first_ : key->ahead->behind) = key->behind;
    (key->behind == nullptr ? last_ : key->behind->ahead) = key->ahead;
    key->ahead = key->behind = nullptr;
    --size_;
  }

 private:
  PendingKey* first_ = nullptr;
  PendingKey* last_ = nullptr;
  size_t size_ = 0;
};

// All writes of a type, oldest first.
class PendingAges {
 public:
  PendingWrite* oldest() const { return oldest_; }

  void PushNewest(PendingWrite* write) {
    write->older = newest_;
    write->newer = nullptr;
    (newest_ == nullptr ? oldest_ : newest_->newer) = write;
    newest_ = write;
  }
  void Remove(PendingWrite* write) {
    (write->older == nullptr ? oldest_ : write->older->newer) = write->newer;
    (write->newer == nullptr ? newest_ : write->newer->older) = write->older;
  }

 private:
  PendingWrite* oldest_ = nullptr;
  PendingWrite* newest_ = nullptr;
};

struct PendingOrigin {
  std::string name;
  uint64_t depth = 0;
  // Groups by when their next call of many is due, or their next pause is over; of those that are
  // due, the one that was served least recently comes first.
  std::set<std::tuple<MonoNanos, uint64_t, PendingGroup*>> order;
  // Groups with keys that go alone, least recently served first.
  std::set<std::pair<uint64_t, PendingGroup*>> alone;
  bool was_alone = false;  // the last call
};

struct PendingType {
  std::string name;
  bool known = true;  // among those of the configuration
  WritePolicy policy;
  size_t origin_id = 0;  // where it is known
  uint64_t depth = 0;
  uint64_t bytes = 0;
  uint64_t reserved_bytes = 0;
  uint64_t reserved_entries = 0;
  uint64_t letters = 0;  // dead
  uint64_t letter_bytes = 0;
  // Of keys, which others may share: the last few, as long as some key has them.
  std::array<std::weak_ptr<const std::string>, 8> errors;
  size_t next_error = 0;  // the place of the next one
  size_t barriers = 0;
  size_t waiting = 0;  // appends that wait for room
  // Writes that left because a newer one of the key came while they were being delivered, in vain.
  uint64_t overtaken = 0;
  PendingAges ages;
  absl::flat_hash_map<std::string, std::unique_ptr<PendingGroup>> groups;  // by namespace
};

// What one delivery is taken from.
struct PendingGroup {
  PendingTypeId type;
  std::string name_space;
  size_t keys = 0;
  PendingLine line;
  PendingLine again;  // whose pause is over
  PendingLine alone;  // that go in a call of their own
  std::set<std::pair<MonoNanos, PendingKey*>> pauses;
  // Its places in the origin's order and among those with lone keys.
  MonoNanos due = kMonoNever;
  MonoNanos served = 0;
  uint64_t turn = 0;
  bool in_alone = false;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_PENDING_LINE_H_
