// RocksState knows whether what lies in the tier's folder may be believed: from a file STATE beside
// the database, which says how the last process left it.
// Thread safety: one thread at a time. Blocks on the disk.

#ifndef LARDER_TIER_ROCKSDB_STATE_H_
#define LARDER_TIER_ROCKSDB_STATE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/data_dir.h"

namespace larder {

class RocksState {
 public:
  enum class Verdict {
    kEmpty,      // there is no database
    kTrusted,    // left in order, or by a process that died while the machine went on
    kPowerLoss,  // the machine went down under it
    kChanged,    // left in order, and not as it was left
    kUnknown,    // nothing says how it was left
  };

  // Claims the folder. `boot_id`: of this run of the machine; empty: ask the kernel.
  static absl::StatusOr<std::unique_ptr<RocksState>> Open(const std::string& path,
                                                          const std::string& boot_id);

  // Where the database is.
  const std::string& db_path() const { return db_path_; }

  Verdict Judge() const;
  // To be called before the database is opened, and after it was closed without an error and with
  // all of it on disk.
  absl::Status MarkOpen();
  absl::Status MarkClosed();

  // Removes the database.
  absl::Status Drop();

 private:
  RocksState(std::unique_ptr<DataDir> dir, std::string boot_id);

  // The files of the database that matter, with their sizes.
  absl::StatusOr<std::string> Listing() const;

  const std::unique_ptr<DataDir> dir_;
  const std::string db_path_;
  const std::string boot_id_;
  bool distrusted_ = false;  // A database that was to be removed is still there.
};

// What all files under `path` take on disk.
uint64_t BytesUnder(const std::string& path);

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_STATE_H_
