// RocksStore is the database under the RocksDB tier: opened, again and again if need be, watched,
// dropped and made anew when it is damaged, closed in order.
// Thread safety: any method, any thread. Blocks where it says so.
//
// A damaged database is replaced by an empty one by Heal. The erased keys that it knew are
// forgotten with it, so the cutoff rises above all that was ever written: a write that is older
// than the loss is refused.

#ifndef LARDER_TIER_ROCKSDB_STORE_H_
#define LARDER_TIER_ROCKSDB_STORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "tier/rocksdb_filter.h"
#include "tier/rocksdb_state.h"
#include "tier/rocksdb_tier.h"

namespace rocksdb {
class Cache;
class CompactionFilter;
class DB;
class EventListener;
class Status;
class WriteBufferManager;
struct Options;
}  // namespace rocksdb

namespace larder {

class RocksStore {
 public:
  // As NewRocksTier.
  static absl::StatusOr<std::unique_ptr<RocksStore>> Open(const RocksTierOptions& options);
  // Closes the database, with all of it on disk. Blocks. REQUIRES: nothing else runs.
  ~RocksStore();

  // The database, which is not closed while somebody holds it; null while there is none. Hold it
  // for one step, not while waiting.
  std::shared_ptr<rocksdb::DB> db() const;
  // False while the disk is full.
  bool takes_writes() const { return takes_writes_.load(std::memory_order_relaxed); }
  // `ok`, or what is wrong.
  std::string state() const;
  // Puts are skipped for want of room, and why; empty: they are not. Of what is wrong it is the
  // least.
  void SetShortage(std::string why);

  // A read or a write answered `status`. Corruption asks for a new database.
  void Report(const rocksdb::Status& status);
  // Returns when there is work for Heal, or the sizes have changed, or Ring was called, or
  // `timeout` is over. Blocks.
  void WaitForChange(absl::Duration timeout);
  void Ring();
  // Makes a damaged or missing database anew, and opens one again that had no space. Blocks; one
  // thread at a time.
  void Heal();

  RocksCutoff& cutoff() { return cutoff_; }
  // An entry or a tombstone of this version was written.
  void NoteVersion(Version version);

  const RocksTierOptions& options() const { return options_; }
  // REQUIRES: there is or was a database.
  const std::string& db_path() const { return state_->db_path(); }
  // The size of a full file, and how much more than its entries take may be on disk at a time.
  uint64_t file_bytes() const;
  uint64_t compaction_bytes_max() const;
  // Without what waits to be written.
  uint64_t memory_used() const;
  uint64_t free_on_disk() const;
  RocksTier::Drops drops() const;

 private:
  class Listener;

  explicit RocksStore(const RocksTierOptions& options);

  // What one memtable takes before it is written out.
  uint64_t write_buffer_bytes() const;
  rocksdb::Options DbOptions();
  // The folder, unless it is there already.
  absl::Status Claim();
  // Opens the database after a look at what is there. Sets what state() says.
  void OpenDb();
  absl::Status OpenOrDrop();
  // There is no database, and a next attempt is due after a pause.
  void NoteUnavailable(const absl::Status& why);
  absl::Status DropUntrusted();
  absl::Status DropDamaged(const std::string& what);
  void CloseDb(bool in_order);
  void Rebuild(const std::string& damage);
  bool HasSpace() const;
  void RefuseWrites(const std::string& why);

  const RocksTierOptions options_;
  std::unique_ptr<RocksState> state_;  // null until the folder could be had
  RocksCutoff cutoff_;
  std::atomic<Version> newest_{kNoVersion};
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<rocksdb::WriteBufferManager> memtables_;
  std::unique_ptr<const rocksdb::CompactionFilter> filter_;
  std::shared_ptr<rocksdb::EventListener> listener_;
  std::atomic<bool> takes_writes_{true};
  std::atomic<uint64_t> dropped_damaged_{0};
  std::atomic<uint64_t> dropped_power_loss_{0};

  mutable Mutex mu_;
  std::shared_ptr<rocksdb::DB> db_ ABSL_GUARDED_BY(mu_);
  // Why there is no database, or no writes; empty when all is well.
  std::string trouble_ ABSL_GUARDED_BY(mu_);
  std::string shortage_ ABSL_GUARDED_BY(mu_);
  // What was found damaged since the database was opened; empty when nothing was.
  std::string damage_ ABSL_GUARDED_BY(mu_);

  Mutex bell_mu_;
  CondVar bell_;
  bool rung_ ABSL_GUARDED_BY(bell_mu_) = false;

  // Heal's own: how often in a row RocksDB could not open the database, and what is known of the
  // attempts to have it since it was lost: the pause after the last, when the next is due, and what
  // the log was told.
  int failures_ = 0;
  absl::Duration pause_;
  MonoNanos next_attempt_ = 0;
  std::string told_;
};

}  // namespace larder

#endif  // LARDER_TIER_ROCKSDB_STORE_H_
