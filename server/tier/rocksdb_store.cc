// Memory. One block cache of `memory_bytes` is charged for everything: blocks, filters and indexes,
// the readers of open files, filters under construction, and the memtables through the write buffer
// manager, which get a quarter. So the figure that an operator sets is the figure that it takes;
// filters and indexes are cut into pieces of 4 KiB that come and go like any block, because whole
// ones would be 5 bytes an entry whether anybody reads it or not.
//
// Leveled compaction. With sizes chosen from the top level down, nine tenths of the data lie in one
// sorted run, so a read looks at one block after one filter, and dead versions take a tenth of the
// room. Rejected: FIFO compaction, which keeps every file in level 0 and makes a read ask hundreds
// of filters; universal compaction, which needs as much free space again for its largest merge,
// under a cap the worst of all.
//
// No compression. Values that pay off were compressed by the engine, before they came here. For
// those that were not, and half of which compresses, LZ4 would take 38% off the files and slow
// writes down by a third, for reads that are as fast as without (db_bench, a million entries of 243
// bytes).

// The log is replayed to its end or not at all: kTolerateCorruptedTailRecords takes a last record
// that was cut short, as kill -9 leaves it, and answers Corruption for everything else. RocksDB's
// default would drop all that follows a flipped bit and go on, and erased keys would be back.
//
// Errors in the background. The disk is full: RocksDB takes no writes from then on, and reads go
// on. When there is space again, which a file of some size proves, the database is closed and
// opened: the log has everything that was acknowledged. RocksDB's own way, Resume, goes on with a
// log whose last write failed when it has nothing to flush, and the next write to it fails again,
// or ends the process where assertions are on, as in Debian's library. Its automatic recovery is
// off for the same reason. Anything corrupt: the store is dropped.

#include "tier/rocksdb_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

// Bounds of what one compaction takes at a time, and so of the room that it needs: files, and files
// of level 0, each a memtable. Writes wait when there are more of those.
constexpr int kFilesACompaction = 8;
constexpr int kLevelZeroFilesMax = 12;
// What has to fit on a disk that was full, before the database is opened again.
constexpr size_t kSpaceBytes = 1 << 20;
constexpr int kFailuresMax = 3;
constexpr absl::Duration kRetryAfter = absl::Seconds(5);

bool IsDamage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsNotFound() || status.IsPathNotFound() ||
         status.IsInvalidArgument() || status.IsNotSupported();
}

uint64_t FloorPowerOfTwo(uint64_t value) {
  uint64_t power = 1;
  while (power <= value / 2) power *= 2;
  return power;
}

}  // namespace

class RocksStore::Listener : public rocksdb::EventListener {
 public:
  explicit Listener(RocksStore* store) : store_(store) {}

  void OnFlushCompleted(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) override {
    store_->Ring();
  }
  void OnCompactionCompleted(rocksdb::DB* /*db*/,
                             const rocksdb::CompactionJobInfo& /*info*/) override {
    store_->Ring();
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status /*error*/,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    if (error->IsCorruption()) {
      store_->Report(*error);
    } else {
      store_->RefuseWrites(error->ToString());
    }
  }

 private:
  RocksStore* const store_;
};

RocksStore::RocksStore(const RocksTierOptions& options, std::unique_ptr<RocksState> state)
    : options_(options),
      state_(std::move(state)),
      cutoff_(options.clock),
      cache_(rocksdb::NewLRUCache(options.memory_bytes)),
      memtables_(std::make_shared<rocksdb::WriteBufferManager>(options.memory_bytes / 4, cache_)),
      filter_(NewRocksFilter(&cutoff_)),
      listener_(std::make_shared<Listener>(this)) {}

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(const RocksTierOptions& options) {
  ASSIGN_OR_RETURN(auto state, RocksState::Open(options.path, options.boot_id));
  std::unique_ptr<RocksStore> store(new RocksStore(options, std::move(state)));
  store->OpenDb();
  return store;
}

RocksStore::~RocksStore() {
  bool healthy;
  {
    MutexLock lock(&mu_);
    healthy = db_ != nullptr && damage_.empty();
  }
  if (healthy) CloseDb(/*in_order=*/true);
}

uint64_t RocksStore::write_buffer_bytes() const {
  const uint64_t most = std::min(options_.memory_bytes / 8, options_.max_bytes / 128);
  return std::clamp<uint64_t>(FloorPowerOfTwo(most), 256 << 10, 128 << 20);
}

uint64_t RocksStore::file_bytes() const {
  return std::clamp<uint64_t>(FloorPowerOfTwo(options_.max_bytes / 128), 256 << 10, 64 << 20);
}

rocksdb::Options RocksStore::DbOptions() {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache_;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.cache_index_and_filter_blocks = true;
  table.pin_top_level_index_and_filter = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.optimize_filters_for_memory = true;
  table.format_version = 5;
  for (const auto role :
       {rocksdb::CacheEntryRole::kBlockBasedTableReader,
        rocksdb::CacheEntryRole::kFilterConstruction, rocksdb::CacheEntryRole::kFileMetadata}) {
    table.cache_usage_options.options_overrides[role].charged =
        rocksdb::CacheEntryRoleOptions::Decision::kEnabled;
  }

  rocksdb::Options options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (options_.env != nullptr) options.env = options_.env;
  options.create_if_missing = true;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_background_jobs = 2;
  options.max_bgerror_resume_count = 0;
  options.listeners = {listener_};
  options.compaction_filter = filter_.get();
  options.table_properties_collector_factories = {NewSampleCollectorFactory()};
  options.compression = rocksdb::kNoCompression;
  options.write_buffer_manager = memtables_;
  options.write_buffer_size = write_buffer_bytes();
  options.max_write_buffer_number = 3;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_bytes_for_level_base = 4 * write_buffer_bytes();
  options.target_file_size_base = file_bytes();
  options.max_compaction_bytes = kFilesACompaction * file_bytes();
  options.level0_slowdown_writes_trigger = kLevelZeroFilesMax * 2 / 3;
  options.level0_stop_writes_trigger = kLevelZeroFilesMax;
  options.avoid_unnecessary_blocking_io = true;
  options.bytes_per_sync = 1 << 20;
  options.keep_log_file_num = 2;
  options.max_log_file_size = 1 << 20;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

// Opens what is there, or an empty one in its place.
absl::Status RocksStore::OpenOrDrop() {
  RETURN_IF_ERROR(DropUntrusted());
  RETURN_IF_ERROR(state_->MarkOpen());
  const rocksdb::Options options = DbOptions();
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(options, db_path(), &db);
  if (!status.ok() && !status.IsNoSpace() && (IsDamage(status) || ++failures_ >= kFailuresMax)) {
    RETURN_IF_ERROR(DropDamaged(status.ToString()));
    status = rocksdb::DB::Open(options, db_path(), &db);
  }
  if (!status.ok())
    return absl::UnavailableError(StrCat(db_path(), " cannot be opened: ", status.ToString()));
  failures_ = 0;
  MutexLock lock(&mu_);
  db_.reset(db);
  return absl::OkStatus();
}

absl::Status RocksStore::DropUntrusted() {
  switch (state_->Judge()) {
    case RocksState::Verdict::kEmpty:
    case RocksState::Verdict::kTrusted:
      return absl::OkStatus();
    case RocksState::Verdict::kPowerLoss:
      ++dropped_power_loss_;
      LogWarning("l2_dropped_after_power_loss",
                 {{"path", options_.path},
                  {"why", "the machine went down while it was open; the last erases may be lost"}});
      return state_->Drop();
    case RocksState::Verdict::kChanged:
      return DropDamaged("files are missing, or are not as long as they were left");
    case RocksState::Verdict::kUnknown:
      return DropDamaged("nothing says how it was left");
  }
  return absl::OkStatus();
}

absl::Status RocksStore::DropDamaged(const std::string& what) {
  ++dropped_damaged_;
  LogWarning("l2_dropped_damaged", {{"path", options_.path}, {"damage", what}});
  // Before anything new comes in.
  cutoff_.Raise(newest_.load() + 1);
  return state_->Drop();
}

void RocksStore::OpenDb() {
  {
    MutexLock lock(&mu_);
    damage_.clear();
    trouble_ = "opening";
  }
  takes_writes_ = true;
  const absl::Status status = OpenOrDrop();
  if (!status.ok()) {
    takes_writes_ = false;
    LogWarning("l2_unavailable", {{"path", options_.path}, {"why", status}});
    next_attempt_ = MonoAfter(Clock::System()->Mono(), kRetryAfter);
  }
  MutexLock lock(&mu_);
  // Unless the database has met a full disk in the meantime.
  if (!status.ok() || takes_writes()) trouble_ = std::string(status.message());
}

std::shared_ptr<rocksdb::DB> RocksStore::db() const {
  MutexLock lock(&mu_);
  return db_;
}

std::string RocksStore::state() const {
  MutexLock lock(&mu_);
  if (!damage_.empty()) return StrCat("damaged: ", damage_);
  return trouble_.empty() ? "ok" : trouble_;
}

void RocksStore::WaitForChange(absl::Duration timeout) {
  MutexLock lock(&bell_mu_);
  if (!rung_) bell_.WaitFor(&bell_mu_, timeout);
  rung_ = false;
}

void RocksStore::Ring() {
  MutexLock lock(&bell_mu_);
  rung_ = true;
  bell_.Signal();
}

void RocksStore::Report(const rocksdb::Status& status) {
  if (!status.IsCorruption()) return;
  {
    MutexLock lock(&mu_);
    if (!damage_.empty() || db_ == nullptr) return;
    damage_ = status.ToString();
  }
  Ring();
}

void RocksStore::RefuseWrites(const std::string& why) {
  if (!takes_writes_.exchange(false)) return;
  LogWarning("l2_takes_no_writes", {{"path", options_.path}, {"why", why}});
  {
    MutexLock lock(&mu_);
    trouble_ = StrCat("takes no writes: ", why);
  }
  Ring();
}

void RocksStore::NoteVersion(Version version) {
  Version newest = newest_.load(std::memory_order_relaxed);
  while (newest < version && !newest_.compare_exchange_weak(newest, version)) {
  }
}

void RocksStore::Heal() {
  std::string damage;
  std::shared_ptr<rocksdb::DB> db;
  {
    MutexLock lock(&mu_);
    damage = damage_;
    db = db_;
  }
  if (!damage.empty()) {
    db.reset();
    Rebuild(damage);
  } else if (db == nullptr) {
    if (Clock::System()->Mono() >= next_attempt_) OpenDb();
  } else if (!takes_writes()) {
    db.reset();
    if (!HasSpace()) return;
    CloseDb(/*in_order=*/false);
    OpenDb();
    if (takes_writes()) LogInfo("l2_writes_again", {{"path", options_.path}});
  }
}

bool RocksStore::HasSpace() const {
  rocksdb::Env* const env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  const std::string name = options_.path + "/SPACE";
  const std::string bytes(kSpaceBytes, 'x');
  const bool written = rocksdb::WriteStringToFile(env, bytes, name, /*should_sync=*/true).ok();
  env->DeleteFile(name).PermitUncheckedError();  // It may never have come to be.
  return written;
}

void RocksStore::Rebuild(const std::string& damage) {
  CloseDb(/*in_order=*/false);
  const absl::Status dropped = DropDamaged(damage);
  if (dropped.ok()) {
    OpenDb();
    return;
  }
  LogWarning("l2_unavailable", {{"path", options_.path}, {"why", dropped}});
  MutexLock lock(&mu_);
  damage_.clear();
  trouble_ = std::string(dropped.message());
}

void RocksStore::CloseDb(bool in_order) {
  std::shared_ptr<rocksdb::DB> db;
  {
    MutexLock lock(&mu_);
    db.swap(db_);
    if (trouble_.empty()) trouble_ = "closed";
  }
  if (db == nullptr) return;
  // Those who hold it do so for one step, and nobody new can come. They tell nobody when they let
  // go: reads would pay for it, and this is seldom.
  while (db.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const bool flushed = in_order && takes_writes() && db->Flush(rocksdb::FlushOptions()).ok();
  rocksdb::CancelAllBackgroundWork(db.get(), /*wait=*/true);
  const bool closed = db->Close().ok();
  db.reset();
  if (!flushed || !closed) return;
  const absl::Status marked = state_->MarkClosed();
  if (!marked.ok()) LogWarning("l2_not_marked_closed", {{"path", options_.path}, {"why", marked}});
}

uint64_t RocksStore::compaction_bytes_max() const {
  // What it reads of level 0 and of the level below, and the log and the memtables meanwhile.
  return 2 * kLevelZeroFilesMax * write_buffer_bytes() + kFilesACompaction * file_bytes();
}

uint64_t RocksStore::memory_used() const { return cache_->GetUsage(); }

uint64_t RocksStore::free_on_disk() const {
  rocksdb::Env* const env = options_.env != nullptr ? options_.env : rocksdb::Env::Default();
  uint64_t bytes = 0;
  // Where it cannot be known, the cap alone counts.
  return env->GetFreeSpace(options_.path, &bytes).ok() ? bytes : options_.max_bytes;
}

RocksTier::Drops RocksStore::drops() const {
  return {.damaged = dropped_damaged_.load(), .power_loss = dropped_power_loss_.load()};
}

}  // namespace larder
