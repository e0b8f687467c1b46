// JournalStore is the journal on disk: records in the order of their appending and dead letters, in
// a RocksDB database of its own. It knows nothing of keys, origins or time.
// Thread safety: Apply, Heal and Close from one thread; everything else from any thread. Everything
// blocks but Health and Damage.
// Errors: UNAVAILABLE the disk does not take it (full, failed); DATA_LOSS what was read is damaged;
// UNKNOWN, of Apply alone, the disk failed while it was written: nobody knows whether it happened.
// After an error of Apply nothing more is taken until Heal has
// opened the database again, which makes all that it found safe on disk before it says OK. Damage
// that is met while running is treated the same way: Heal sets aside and salvages, as Open does.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_H_
#define LARDER_JOURNAL_JOURNAL_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "journal/record.h"

namespace larder {

// What was found wrong on disk since the journal was opened for the first time by this process.
struct JournalDamage {
  uint64_t events = 0;        // times that something was found
  uint64_t records_lost = 0;  // records and letters known to be gone, as far as that can be told
  std::string last;           // the last, in a sentence
  std::string set_aside;      // where a copy of the damaged files is; empty: none was needed
};

class JournalStore {
 public:
  struct Options {
    // Made if it is not there. One process at a time: others get FAILED_PRECONDITION.
    std::string path;
    // Below this free space on the disk nothing is taken.
    uint64_t free_bytes_min = 32 << 20;
    // Called at named moments, for tests that end the process there; null: not at all. On any
    // thread. Of Apply: before_append, after_append, before_sync, after_sync, acknowledged; of the
    // database: before_flush, after_flush, before_compact, after_compact; of Open and Heal:
    // before_recover, kept_before, replayed, before_salvage, salvaged, before_set_aside,
    // after_recover.
    std::function<void(std::string_view)> at = nullptr;
    // Of this run of the machine; empty: ask the kernel. Under another one, what was not synced
    // may be gone without anybody's fault.
    std::string boot_id = {};
  };

  // Reads and mends what is there: a torn end is cut, damage elsewhere is copied aside, reported by
  // Damage and what is left is salvaged. FAILED_PRECONDITION: another process has it, or a newer
  // larder wrote it. If the disk can be read and not written, the store comes up as after a failed
  // Apply: Health says so, reads work, and Heal tries again.
  static absl::StatusOr<std::unique_ptr<JournalStore>> Open(const Options& options);
  virtual ~JournalStore() = default;

  // What a record is without its value.
  struct Head {
    JournalRecord record;  // without the value
    uint64_t value_bytes = 0;
  };
  // All records, in the order of their seq; then all letters. Open and Heal have left out what
  // cannot be read, so DATA_LOSS is damage that came since, and there is work for Heal.
  virtual absl::Status Scan(
      const std::function<void(Head)>& record,
      const std::function<void(DeadLetter, uint64_t value_bytes)>& letter) = 0;
  // The largest seq or id that was ever acknowledged, as far as that is known; new ones begin
  // above.
  virtual uint64_t last_seq() const = 0;

  struct Changes {
    std::vector<JournalRecord> append;
    std::vector<uint64_t> erase;         // seqs
    std::vector<DeadLetter> bury;        // with values
    std::vector<uint64_t> drop_letters;  // ids
    bool empty() const {
      return append.empty() && erase.empty() && bury.empty() && drop_letters.empty();
    }
  };
  // All of it or nothing, in one step. `sync`: it survives a loss of power when this returns, and
  // so does all that was applied before. Numbers to erase that are not there are passed over, and
  // so are letters that are there: after a failure, whoever buries cannot know. INVALID_ARGUMENT: a
  // number is 0, or one to append is there already. Nothing has happened unless it says UNKNOWN.
  // While the disk is short of free space, changes that append nothing are still taken.
  virtual absl::Status Apply(const Changes& changes, bool sync) = 0;

  // One answer each, in order; null: it is not there (any more).
  virtual absl::StatusOr<std::vector<std::optional<JournalRecord>>> Read(
      const std::vector<uint64_t>& seqs) const = 0;
  // With their values.
  virtual absl::StatusOr<std::vector<std::optional<DeadLetter>>> ReadLetters(
      const std::vector<uint64_t>& ids) const = 0;

  // OK, or why nothing is taken. Never blocks.
  virtual absl::Status Health() const = 0;
  // Tries to become well again; as Health afterwards. Records that Apply failed with may turn out
  // to be there, and after damage others to be gone or back: scan again. While the database is
  // reopened, reads are UNAVAILABLE for some milliseconds.
  virtual absl::Status Heal() = 0;
  virtual JournalDamage Damage() const = 0;
  virtual uint64_t bytes_on_disk() const = 0;

  // Makes everything safe on disk and closes the database, when those who read have done. Whoever
  // reads afterwards gets UNAVAILABLE; nothing else may be called.
  virtual absl::Status Close() = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_H_
