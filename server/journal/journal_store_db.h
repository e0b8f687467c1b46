// JournalDb is the RocksDB database of the journal: three column families, whose keys are numbers
// and whose values are bytes, and one state that is written with each batch.
// Thread safety: any method, any thread; Write, Sync, Flush and Close from one. Everything blocks.
// Errors: DATA_LOSS what is on disk is damaged; UNAVAILABLE anything else of the disk's.
// Never decides what to do about either.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_DB_H_
#define LARDER_JOURNAL_JOURNAL_STORE_DB_H_

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
#include "journal/journal_store_live.h"

namespace larder {

// What the journal says about itself, in each batch anew: what is read must agree with it.
struct JournalDbState {
  uint64_t changes = 0;   // batches since the journal was made
  uint64_t last_seq = 0;  // the largest seq or id of any of them
  LiveSum records;
  LiveSum letters;
};

class JournalDb {
 public:
  enum class Family { kRecords, kLetters };
  enum class Mode {
    kMake,      // an empty one, where nothing is
    kOpen,      // what is there, up to the first damage in the log
    kSource,    // as kOpen, to be read and thrown away
    kReadOnly,  // as kOpen, and writes nothing
  };
  struct Hooks {
    // Compactions and flushes begin and end; may be null.
    std::function<void(std::string_view)> at;
    // An error in the background: nothing is to be written any more. On a thread of RocksDB's; may
    // be null.
    std::function<void(const absl::Status&)> trouble;
  };
  struct Batch {
    std::vector<std::pair<uint64_t, std::string>> put_records;
    std::vector<uint64_t> remove_records;  // each is there, or among those put
    std::vector<std::pair<uint64_t, std::string>> put_letters;
    std::vector<uint64_t> remove_letters;
    JournalDbState state;  // when all of this is done
  };

  // Recovers what the log holds into tables that are safe on disk, but for kReadOnly.
  static absl::StatusOr<std::unique_ptr<JournalDb>> Open(const std::string& path, Mode mode,
                                                         Hooks hooks);
  // Makes of the files of a damaged database one that can be opened, with what is behind damage in
  // the log. Tables that are damaged anywhere are left out.
  static absl::Status Repair(const std::string& path);

  // Closes without making anything safe that is not.
  virtual ~JournalDb() = default;

  // In one step, handed to the kernel when this returns. After an error nobody knows.
  virtual absl::Status Write(const Batch& batch) = 0;
  // All that was written survives a loss of power.
  virtual absl::Status Sync() = 0;
  // The same, and the log is empty.
  virtual absl::Status Flush() = 0;
  // Gives back to the disk what has been removed. Meanwhile it takes as much again as what is left.
  virtual absl::Status GiveBack() = 0;

  // Null: there is none.
  virtual absl::StatusOr<std::optional<JournalDbState>> ReadState() const = 0;
  using Visit = std::function<void(uint64_t number, std::string_view bytes)>;
  // In the order of the numbers, from `first` on.
  virtual absl::Status Walk(Family family, uint64_t first, const Visit& visit) const = 0;
  // The same over all that can be read, past what is damaged; UNAVAILABLE if the disk does not
  // read.
  virtual absl::Status WalkReadable(Family family, const Visit& visit) const = 0;
  // One answer each, in order; null: it is not there.
  virtual absl::StatusOr<std::vector<std::optional<std::string>>> Read(
      Family family, const std::vector<uint64_t>& numbers) const = 0;

  // Waits for what runs in the background and closes. Nothing may be called afterwards.
  virtual absl::Status Close() = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_DB_H_
