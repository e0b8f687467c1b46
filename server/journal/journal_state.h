// What the parts of a Journal share: the index of what waits, the figures, and the lock over them.
// Thread safety: `mu` guards what says so. Errors: none.

#ifndef LARDER_JOURNAL_JOURNAL_STATE_H_
#define LARDER_JOURNAL_JOURNAL_STATE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/histogram.h"
#include "base/mutex.h"
#include "base/race.h"
#include "base/strings.h"
#include "journal/journal.h"
#include "journal/journal_store.h"
#include "journal/letter_table.h"
#include "journal/pending_index.h"

namespace larder {

// Since the start, of one type.
struct JournalFigures {
  uint64_t enqueued = 0;
  uint64_t coalesced = 0;
  uint64_t delivered = 0;
  uint64_t retried = 0;
  uint64_t dead = 0;
  uint64_t refused = 0;
  Histogram lag;
};

inline uint64_t BytesOf(const JournalRecord& record) {
  return record.full_key.size() + record.value.size();
}

// What one caller wants to have on disk, in one step.
struct JournalChange {
  std::vector<JournalRecord> writes;
  std::vector<PendingTypeId> types;  // of each
  std::vector<uint64_t> drop_letters;
  // Of each write: the letter that it puts back. Empty: they put back none.
  std::vector<uint64_t> of_letters;
  bool sync = false;
  // Acknowledged already: found in JournalState::early until it is on disk.
  bool early = false;
  MonoNanos since = 0;
  PendingIndex::Reservation reservation;
  // How it ended, and where whoever waits for that goes on; null: nobody waits.
  std::shared_ptr<Race<absl::Status>> done;
  Executor* home = nullptr;
  // Waits where there is no room; and that it does.
  bool blocks = false;
  bool waits = false;

  // While it waits for room: ends when it is decided that it has got it, or why it will not.
  std::shared_ptr<Race<bool>> room;
  bool decided = false;
  absl::Status refusal;
  uint64_t turn = 0;    // in the order of coming
  bool in_all = false;  // the journal is full in all, not only of its type
};

// One that the origin will not have.
struct JournalBurial {
  DeadLetter letter;
  PendingKey* key;
  PendingTypeId type;
};

// The newest write of a key among those that are not on disk yet.
struct EarlyWrite {
  bool IsSuperseded(PendingTypeId of, Version version) const {
    const auto it = superseded.find(of);
    return it != superseded.end() && version <= it->second;
  }

  std::shared_ptr<const JournalRecord> record;
  PendingTypeId type = kNoPendingType;
  // See Journal::Supersede: up to which version, by type.
  std::map<PendingTypeId, Version> superseded;
};

struct JournalState {
  JournalState(const Journal::Options& all, std::unique_ptr<JournalStore> opened)
      : options(all),
        store(std::move(opened)),
        filter(all.random),
        index(IndexOptions(all, &filter)) {
    for (const Journal::Type& type : options.types)
      known.emplace(type.name, static_cast<PendingTypeId>(known.size()));
  }

  static PendingIndex::Options IndexOptions(const Journal::Options& all, PendingFilter* filter) {
    PendingIndex::Options options;
    options.filter = filter;
    options.bytes_max = all.bytes_max;
    options.entries_max = all.entries_max;
    options.age_max = all.age_max;
    options.random = all.random;
    for (const Journal::Type& type : all.types) {
      options.types.push_back({.name = type.name, .origin = type.origin, .policy = type.policy});
    }
    return options;
  }

  JournalFigures& FiguresOf(PendingTypeId type) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    while (figures.size() <= type) figures.push_back(std::make_unique<JournalFigures>());
    return *figures[type];
  }
  bool IsClosed() const {
    MutexLock lock(&mu);
    return closed;
  }
  // What a reader without the lock may rely on. After each change of what waits.
  void Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    early_keys.store(early.size(), std::memory_order_release);
  }
  // By the names of Options::types, whose ids are their places.
  PendingTypeId KnownType(std::string_view name) const {
    const auto it = known.find(ToAbsl(name));
    return it == known.end() ? kNoPendingType : it->second;
  }
  void CountLetters(const LetterTable::ByType& added, const LetterTable::ByType& gone)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    for (const auto& [type, sum] : added)
      index.AddLetters(index.TypeOfStored(type), sum.letters, sum.bytes);
    for (const auto& [type, sum] : gone)
      index.RemoveLetters(index.TypeOfStored(type), sum.letters, sum.bytes);
  }
  // Ends the race on the executor: never under the lock.
  void FinishLater(std::vector<std::shared_ptr<Race<absl::Status>>> races,
                   const absl::Status& status) {
    FinishLater(std::move(races), status, options.executor);
  }
  void FinishLater(std::vector<std::shared_ptr<Race<absl::Status>>> races,
                   const absl::Status& status, Executor* on) {
    // Few at a time, so that more than one thread may go on with them, and a loop with what else it
    // has to do.
    const size_t together = on == options.executor ? 32 : 4;
    for (size_t begin = 0; begin < races.size(); begin += together) {
      const size_t end = std::min(races.size(), begin + together);
      std::vector<std::shared_ptr<Race<absl::Status>>> some(
          races.begin() + static_cast<ptrdiff_t>(begin),
          races.begin() + static_cast<ptrdiff_t>(end));
      on->Post([some = std::move(some), status] {
        for (const auto& race : some) race->Finish(status);
      });
    }
  }

  const Journal::Options options;
  absl::flat_hash_map<std::string, PendingTypeId> known;  // does not change
  const std::unique_ptr<JournalStore> store;
  LetterTable letters;
  PendingFilter filter;

  mutable Mutex mu;
  PendingIndex index ABSL_GUARDED_BY(mu);
  // Writes of types that are acknowledged from memory, until they are on disk.
  absl::flat_hash_map<std::string, EarlyWrite> early ABSL_GUARDED_BY(mu);
  // Null: none of the key that readers are to see.
  std::shared_ptr<const JournalRecord> EarlyOf(std::string_view full_key) const
      ABSL_SHARED_LOCKS_REQUIRED(mu) {
    if (early.empty()) return nullptr;
    const auto it = early.find(ToAbsl(full_key));
    if (it == early.end() || it->second.IsSuperseded(it->second.type, it->second.record->version)) {
      return nullptr;
    }
    return it->second.record;
  }
  std::vector<std::unique_ptr<JournalFigures>> figures ABSL_GUARDED_BY(mu);
  // Of all records and letters that there were.
  std::atomic<Version> newest{kNoVersion};
  void Note(Version version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (version > newest) newest = version;
  }
  // Given to records and letters.
  uint64_t last_seq ABSL_GUARDED_BY(mu) = 0;
  bool draining ABSL_GUARDED_BY(mu) = false;
  bool closed ABSL_GUARDED_BY(mu) = false;  // the store
  // OK, or JOURNAL_UNAVAILABLE.
  absl::Status trouble ABSL_GUARDED_BY(mu);
  uint64_t syncs ABSL_GUARDED_BY(mu) = 0;
  uint64_t failures ABSL_GUARDED_BY(mu) = 0;
  uint64_t missing ABSL_GUARDED_BY(mu) = 0;  // records that were not to be found
  // Without the lock. Whether nothing of the key waits.
  bool Lacks(std::string_view full_key) const {
    return early_keys.load(std::memory_order_acquire) == 0 && !filter.MayHold(full_key);
  }
  std::atomic<uint64_t> early_keys{0};
  // Set once, before anything is delivered.
  std::atomic<JournalSink*> sink{nullptr};
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STATE_H_
