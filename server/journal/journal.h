// Journal is the durable queue of write-behind: it takes writes, keeps them safe, and delivers them
// to their origins, per key in the order of their versions, at least once.
//
//   Append -> writer: one batch, one fsync for all who wait -> the index knows it -> acknowledged
//                                                                |
//   origin <- delivery: those due, one call of many keys  <------+     done: erased
//                                                                      retry: again after a pause
//                                                                      refused: a dead letter
//
// Thread safety: any method, any thread; Open, Start and Stop from one. Tasks hold no thread while
// they wait. What blocks (the disk) runs on threads of the journal's own.
// Errors carry a reason (core/error.h): JOURNAL_FULL there is no room, JOURNAL_UNAVAILABLE the disk
// takes nothing, DRAINING: nothing has happened. WRITE_UNKNOWN: the disk failed while it was
// written, and it may or may not have happened. Never calls a tier or the engine, but for the sink
// that it was given.

#ifndef LARDER_JOURNAL_JOURNAL_H_
#define LARDER_JOURNAL_JOURNAL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/histogram.h"
#include "base/random.h"
#include "base/task.h"
#include "core/version.h"
#include "journal/journal_store.h"
#include "journal/record.h"
#include "policy/write_policy.h"

namespace larder {

// Writes of one call to an origin.
struct JournalDelivery {
  std::string origin;
  std::string name_space;
  std::string type;
  std::vector<JournalRecord> writes;  // each key once
};

// What became of one of them.
struct JournalDelivered {
  enum class Kind : uint8_t { kDone, kRetry, kReject };
  Kind kind = Kind::kRetry;
  absl::Status error = absl::OkStatus();  // for kRetry and kReject
};

// Where deliveries go. Outlives the journal's Stop.
class JournalSink {
 public:
  virtual ~JournalSink() = default;

  // One answer each, in order. An error says nothing about any write: it may have been applied.
  // UNAVAILABLE: the origin is away, which is no write's fault: no attempts are counted.
  virtual Task<absl::StatusOr<std::vector<JournalDelivered>>> Deliver(JournalDelivery delivery,
                                                                      MonoNanos deadline) = 0;
  // The origin has the write; `waited` since it was appended. Never blocks.
  virtual void OnDelivered(const JournalRecord& write, absl::Duration waited) = 0;
  // The write has become a dead letter; or it was one when the journal was opened, and whoever was
  // told may have ended before the copies were gone. Without its value then. Never blocks.
  virtual void OnDead(const DeadLetter& letter) = 0;
  // A write that ended with WRITE_UNKNOWN is in the journal, and waits from now on; without its
  // value. Never blocks.
  virtual void OnFound(const JournalRecord& /*write*/) {}
};

struct JournalTypeStats {
  std::string type;
  uint64_t depth = 0;  // writes that wait, now
  uint64_t bytes = 0;
  absl::Duration oldest_age;
  // Since the start.
  uint64_t enqueued = 0;
  uint64_t coalesced = 0;  // never delivered, because a newer one of the key was there
  uint64_t delivered = 0;
  uint64_t retried = 0;
  uint64_t dead = 0;
  uint64_t refused = 0;  // appends for which there was no room
  // From append to the origin's answer.
  Histogram::Snapshot lag;
};

struct JournalStats {
  uint64_t depth = 0;
  uint64_t bytes = 0;
  absl::Duration oldest_age;
  uint64_t dead_letters = 0;  // now
  uint64_t letter_bytes = 0;
  uint64_t bytes_on_disk = 0;
  uint64_t index_bytes = 0;  // memory for what waits
  uint64_t syncs = 0;        // batches made durable, since the start
  uint64_t failures = 0;     // batches that the disk did not take
  std::string state;         // `ok`, or why nothing is taken
  JournalDamage damage;
  std::vector<std::string> paused;  // origins
  std::vector<JournalTypeStats> types;
};

// What a flush waited for.
struct JournalFlushed {
  uint64_t left = 0;  // writes that left the journal
  uint64_t dead = 0;  // of them, those that are dead letters, and not at the origin
};

// How the delivery of a waiting write goes.
struct JournalTry {
  uint32_t attempts = 0;
  // Of the last attempt, or why its origin is away; empty: nothing has failed.
  std::string error;
  // From now to the next; zero: when there is a place. Unset: it is under way, or the origin is
  // paused.
  std::optional<absl::Duration> next;
};

// Which dead letters: all conditions together.
struct LetterFilter {
  std::vector<uint64_t> ids = {};  // empty: all that match the rest
  std::string name_space = {};     // empty: any, here and below
  std::string type = {};
  std::string key_prefix = {};
};

struct LetterPage {
  struct Item {
    DeadLetter letter;
    uint64_t value_bytes = 0;
  };
  std::vector<Item> letters;  // oldest first; with values where they were asked for
  uint64_t total = 0;         // that match in all
  uint64_t next = 0;          // the id to go on after; 0: there is no more
};

class Journal {
 public:
  struct Type {
    std::string name;
    std::string origin;
    WritePolicy policy;  // of mode kBehind
  };
  struct Options {
    JournalStore::Options store;
    // Waiting writes and dead letters together: their keys and values, and their number. 1 MiB to
    // 1 TiB; 1 to 100,000,000.
    uint64_t bytes_max = uint64_t{4} << 30;
    uint64_t entries_max = 1'000'000;
    // While a write of these types has waited longer, there is no room for any. From 1 s.
    absl::Duration age_max = absl::InfiniteDuration();
    // Calls under way to one origin; 1 to 64.
    size_t deliveries_max = 4;
    // Appends that wait for the disk; beyond it they are refused. 1 to 1,000,000.
    size_t appends_max = 100'000;
    // Between attempts to have a disk back that failed.
    absl::Duration heal_pause = absl::Seconds(1);
    std::vector<Type> types;
    Clock* clock = Clock::System();
    Random* random = Random::System();
    Executor* executor = nullptr;  // outlives the journal
  };

  // Reads what waits. Blocks. Errors are JournalStore::Open's. Records of types that are not among
  // `types` wait until they are again.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const Options& options);
  // On a store that is open. `writer` runs one piece of work at a time, `reader` any; both may
  // block, and outlive the journal; null: threads of its own.
  static absl::StatusOr<std::unique_ptr<Journal>> New(const Options& options,
                                                      std::unique_ptr<JournalStore> store,
                                                      Executor* writer = nullptr,
                                                      Executor* reader = nullptr);
  virtual ~Journal() = default;

  // Begins to deliver.
  virtual void Start(JournalSink* sink) = 0;
  // Takes nothing more, delivers what waits until `deliver_until`, makes everything safe on disk
  // and closes. Blocks. True: nothing waits any more.
  virtual bool Stop(MonoNanos deliver_until) = 0;

  // Goes on when the writes are as safe as their type's `sync` says: all of them, or none. seq and
  // enqueued are given here. From then on Find sees them. DEADLINE_EXCEEDED only while waiting for
  // room, when nothing has happened. REQUIRES: each type is one of Options::types; at most 1,000.
  virtual Task<absl::Status> Append(std::vector<JournalRecord> writes, MonoNanos deadline) = 0;

  // What readers are to see: writes that wait, but for those that were put back or superseded.
  // Whether there is one of the key. Never blocks.
  virtual bool Has(std::string_view full_key) const = 0;
  // The newest version of the key; kNoVersion: none. Never blocks.
  virtual Version VersionOf(std::string_view full_key) const = 0;
  // The newest write of the key.
  virtual Task<absl::StatusOr<std::optional<JournalRecord>>> Find(std::string full_key) = 0;
  // A write of the key as this type, with version `upto`, has reached the origin another way: what
  // waits of it up to that version need not be delivered any more. Never blocks.
  virtual void Supersede(std::string_view full_key, std::string_view type, Version upto) = 0;
  // The largest version of all writes and dead letters since the journal was opened, those found
  // then included. Below it a new write could be taken for an old one. Never blocks.
  virtual Version newest() const = 0;

  // Waits until all that was appended before has been delivered, refused for good or superseded; of
  // `type` alone unless empty. Answers how many left meanwhile, and where to. DEADLINE_EXCEEDED
  // says how many are left; FAILED_PRECONDITION: delivery is paused, DELIVERY_PAUSED. Whoever goes
  // away leaves its place to others; null: it waits to the end.
  virtual Task<absl::StatusOr<JournalFlushed>> Flush(std::string type, MonoNanos deadline,
                                                     Cancellation* cancellation) = 0;
  Task<absl::StatusOr<JournalFlushed>> Flush(std::string type, MonoNanos deadline) {
    return Flush(std::move(type), deadline, nullptr);
  }
  // How it goes with what is next of the key as this type; nothing when nothing of it waits. Never
  // blocks.
  virtual std::optional<JournalTry> TryOf(std::string_view full_key,
                                          std::string_view type) const = 0;
  // Of one origin; empty: all. Answers how many wait. Not remembered over a restart.
  // INVALID_ARGUMENT: no type that writes behind has that origin.
  virtual absl::StatusOr<uint64_t> Pause(std::string_view origin) = 0;
  virtual absl::StatusOr<uint64_t> Resume(std::string_view origin) = 0;

  // The letters after the id `after`, at most `limit` (1 to 1,000).
  virtual Task<absl::StatusOr<LetterPage>> Letters(LetterFilter filter, uint64_t after,
                                                   size_t limit, bool with_values) = 0;
  // Puts them back, with the versions that they have; readers do not see them. Answers how many.
  virtual Task<absl::StatusOr<uint64_t>> RetryLetters(LetterFilter filter) = 0;
  virtual Task<absl::StatusOr<uint64_t>> DropLetters(LetterFilter filter) = 0;

  // OK, or why appends are refused. Never blocks.
  virtual absl::Status Health() const = 0;
  virtual JournalStats Stats() const = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_H_
