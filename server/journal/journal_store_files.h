// What the journal does to folders: linked copies, renames that survive a loss of power, room.
// Thread safety: pure functions but for the disk; one thread at a time on a folder. All block.
// Errors: UNAVAILABLE, with the path and the cause.

#ifndef LARDER_JOURNAL_JOURNAL_STORE_FILES_H_
#define LARDER_JOURNAL_JOURNAL_STORE_FILES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

// False also where it cannot be known.
bool FolderExists(const std::string& path);

// Makes `to` hold the same files as `from`, which is flat, and makes that safe on disk: links where
// the file system has them, else copies. Leaves out what RocksDB makes anew: its lock and its own
// logs. REQUIRES: RocksDB writes no more to a file of `from` than behind its end.
absl::Status LinkFolder(const std::string& from, const std::string& to);

// Both have to be in the same folder, which is synced.
absl::Status RenameFolder(const std::string& from, const std::string& to);

// OK when it was not there.
absl::Status RemoveFolder(const std::string& path);

// Renames `folder` to `parent`/damaged-TIME and answers that. Of the folders of that name at most
// `count_max` are kept, the newest.
absl::StatusOr<std::string> SetAside(const std::string& folder, const std::string& parent,
                                     absl::Time now, int count_max);

// Whether the folder has a table of RocksDB's.
bool HasTables(const std::string& path);

// What all files in the folder take.
uint64_t FolderBytes(const std::string& path);

// What may still be written by this process; a great number where it cannot be known.
uint64_t FreeBytes(const std::string& path);

// Whether some MiB can be written to the folder and synced.
absl::Status ProbeDisk(const std::string& folder);

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_STORE_FILES_H_
