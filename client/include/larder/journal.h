// The write-behind journal, for those who operate it: what Stats tells of it, and dead letters.
// Thread safety: plain values.

#ifndef LARDER_JOURNAL_H_
#define LARDER_JOURNAL_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "larder/options.h"

namespace larder {

// From taking a write to the origin's having it.
struct JournalLag {
  uint64_t count = 0;
  absl::Duration p50 = {};
  absl::Duration p90 = {};
  absl::Duration p99 = {};
  absl::Duration p999 = {};
  absl::Duration max = {};
};

// One type that writes behind: what waits now, and counts since the server's start.
struct JournalTypeStats {
  std::string type = {};
  uint64_t depth = 0;  // writes
  uint64_t bytes = 0;
  absl::Duration oldest_age = {};
  uint64_t enqueued = 0;
  uint64_t coalesced = 0;  // never delivered, because a newer one of the key was there
  uint64_t delivered = 0;
  uint64_t retried = 0;
  uint64_t dead = 0;     // became dead letters
  uint64_t refused = 0;  // there was no room
  JournalLag lag = {};
};

// What was found wrong with the journal on disk since the server's start.
struct JournalDamage {
  uint64_t events = 0;
  uint64_t records_lost = 0;   // as far as that can be told
  std::string last = {};       // in a sentence
  std::string set_aside = {};  // where a copy of the damaged files is; empty = none was needed
};

struct JournalStats {
  uint64_t depth = 0;  // writes that the origins do not have yet
  uint64_t bytes = 0;
  absl::Duration oldest_age = {};
  uint64_t dead_letters = 0;  // now
  uint64_t letter_bytes = 0;
  uint64_t bytes_on_disk = 0;
  uint64_t index_bytes = 0;  // memory for what waits
  uint64_t syncs = 0;        // batches that were made durable
  uint64_t failures = 0;     // batches that the disk did not take
  std::string state = {};    // `ok`, or why no writes are taken
  std::optional<JournalDamage> damage = {};
  std::vector<std::string> paused = {};  // origins
  std::vector<JournalTypeStats> types = {};
};

// The newest write of a key that its origin does not have yet.
struct PendingWrite {
  uint64_t version = 0;
  absl::Duration age = {};
  uint64_t value_bytes = 0;
  bool deletion = false;
  // How often the origin has been asked to take it, what came of the last time (empty: nothing has
  // failed), and when it is tried next, from now (unset: it is being delivered, or the origin is
  // paused).
  uint32_t attempts = 0;
  std::string last_error = {};
  std::optional<absl::Duration> next_attempt = {};
};

struct FlushOptions {
  // Only this type; empty = all that write behind.
  std::string type = {};
  // The deadline, 1 ms to 24 h, is how long to wait.
  CallOptions call = {};
};

struct FlushResult {
  // Writes that left the journal meanwhile.
  uint64_t delivered = 0;
  // Of them, those that are dead letters now, and not at their origin.
  uint64_t dead = 0;
};

// For PauseDelivery and ResumeDelivery.
struct DeliveryOptions {
  // Only this origin; empty = all.
  std::string origin = {};
  CallOptions call = {};
};

struct DeliveryResult {
  uint64_t depth = 0;  // writes that wait now
};

// A write that its origin refused for good.
struct DeadLetter {
  std::string id = {};
  std::string ns = {};
  std::string key = {};
  std::string type = {};
  uint64_t version = 0;
  std::string error = {};  // what the origin said last
  uint32_t attempts = 0;
  absl::Time written = absl::InfinitePast();
  absl::Time first_attempt = absl::InfinitePast();
  absl::Time last_attempt = absl::InfinitePast();
  uint64_t value_bytes = 0;
  bool deletion = false;
  std::string request_id = {};
};

// Those to which all of it applies; the default is all.
struct DeadLetterFilter {
  std::vector<std::string> ids = {};  // at most 1,000; empty = all that match the rest
  std::string ns = {};                // empty = any, here and below
  std::string type = {};
  std::string key_prefix = {};
};

struct ListDeadLettersOptions {
  DeadLetterFilter filter = {};
  uint32_t page_size = 100;  // 1 to 1,000; 0 = 100
  std::string page_token = {};
  CallOptions call = {};
};

struct DeadLetterPage {
  std::vector<DeadLetter> letters = {};  // oldest first
  std::string next_page_token = {};      // empty = there is no more
  uint64_t total = 0;                    // that match in all
};

// For RetryDeadLetters, DropDeadLetters and ExportDeadLetters.
struct DeadLetterOptions {
  DeadLetterFilter filter = {};
  CallOptions call = {};
};

struct DeadLetterCount {
  uint64_t letters = 0;
};

struct ExportedLetter {
  DeadLetter letter = {};
  std::string value = {};  // empty for a deletion
};

}  // namespace larder

#endif  // LARDER_JOURNAL_H_
