// Recovery brings the journal's folder from whatever state it is in to an open database of which
// all is safe on disk, or leaves it as it was.
// Thread safety: one thread at a time on a folder. Blocks.
// Errors: UNAVAILABLE the disk does not let it; it may be tried again. Damage is no error.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_RECOVERY_H_
#define LARDER_JOURNAL_JOURNAL_STORE_RECOVERY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "journal/journal_store.h"
#include "journal/journal_store_db.h"
#include "journal/journal_store_live.h"
#include "journal/journal_store_mark.h"

namespace larder {

struct RecoveredJournal {
  std::unique_ptr<JournalDb> db;
  JournalDbState state;
  LiveSet records;
  LiveSet letters;
};

// `suspicion`: why the database is not to be believed even if it looks well; empty: none. What is
// found wrong is added to `damage`, also when an error follows.
absl::StatusOr<RecoveredJournal> RecoverJournal(const std::string& path, JournalMark* mark,
                                                const std::string& suspicion,
                                                const JournalDb::Hooks& hooks,
                                                JournalDamage* damage);

// What can be read without writing anything, for while the disk takes nothing. The state and the
// sets are those of what was found, and nothing is said of damage.
absl::StatusOr<RecoveredJournal> OpenJournalToRead(const std::string& path);

// The folder of the database.
std::string JournalDbPath(const std::string& path);

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_RECOVERY_H_
