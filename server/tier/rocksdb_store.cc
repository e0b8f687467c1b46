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
//
// What cannot be had, the folder or the database in it, is tried again by Heal, with pauses that
// double: a full disk, a volume that is mounted late and a broken controller look the same from
// here, and none of them should need somebody to restart what works without. Only what no waiting
// mends ends the start: a path that is no folder, no right to it, another process in it. When the
// same is found later, as when another process was faster on the volume that came, it is waited for
// like the rest, because a service that runs is not ended for a cache.

#include "tier/rocksdb_store.h"

#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

// What has to fit on a disk that was full, before the database is opened again.
constexpr size_t kSpaceBytes = 1 << 20;
// RocksDB's errors other than damage may pass; a database that it cannot open so often is dropped.
constexpr int kFailuresMax = 5;

// Whether a folder that cannot be had is the operator's to mend, and not the disk's fault.
bool IsMistake(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ||
         absl::IsPermissionDenied(status);
}

bool IsDamage(const rocksdb::Status& status) {
  return status.IsCorruption() || status.IsNotFound() || status.IsPathNotFound() ||
         status.IsInvalidArgument() || status.IsNotSupported();
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

RocksStore::RocksStore(const RocksTierOptions& options)
    : options_(options),
      cutoff_(options.clock),
      cache_(rocksdb::NewLRUCache(options.memory_bytes - options.write_queue_bytes())),
      memtables_(std::make_shared<rocksdb::WriteBufferManager>(options.memory_bytes / 4, cache_)),
      filter_(NewRocksFilter(&cutoff_)),
      listener_(std::make_shared<Listener>(this)) {}

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(const RocksTierOptions& options) {
  std::unique_ptr<RocksStore> store(new RocksStore(options));
  absl::Status claimed = store->Claim();
  if (IsMistake(claimed)) return claimed;
  store->OpenDb();
  return store;
}

RocksStore::~RocksStore() {
  bool open, healthy;
  {
    MutexLock lock(&mu_);
    open = db_ != nullptr;
    healthy = damage_.empty();
  }
  // Also when it is damaged: what RocksDB has under way calls into members that end before it.
  if (open) CloseDb(/*in_order=*/healthy);
}

absl::Status RocksStore::Claim() {
  if (state_ != nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(state_, RocksState::Open(options_.path, options_.boot_id));
  return absl::OkStatus();
}

// Opens what is there, or an empty one in its place.
absl::Status RocksStore::OpenOrDrop() {
  RETURN_IF_ERROR(Claim());
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
    // While it is tried again, why the last attempt failed tells more.
    if (trouble_.empty()) trouble_ = "opening";
  }
  takes_writes_ = true;
  const absl::Status status = OpenOrDrop();
  if (!status.ok()) {
    NoteUnavailable(status);
    return;
  }
  pause_ = absl::ZeroDuration();
  if (!told_.empty()) LogInfo("l2_available_again", {{"path", options_.path}});
  told_.clear();
  MutexLock lock(&mu_);
  // Unless the database has met a full disk in the meantime.
  if (takes_writes()) trouble_.clear();
}

void RocksStore::NoteUnavailable(const absl::Status& why) {
  takes_writes_ = false;
  pause_ = std::clamp(2 * pause_, options_.reopen_first, options_.reopen_max);
  next_attempt_ = MonoAfter(options_.clock->Mono(), pause_);
  // Once for each reason, not for each attempt.
  if (told_ != why.message()) LogWarning("l2_unavailable", {{"path", options_.path}, {"why", why}});
  told_ = std::string(why.message());
  MutexLock lock(&mu_);
  damage_.clear();
  trouble_ = told_;
}

std::shared_ptr<rocksdb::DB> RocksStore::db() const {
  MutexLock lock(&mu_);
  return db_;
}

std::string RocksStore::state() const {
  MutexLock lock(&mu_);
  if (!damage_.empty()) return StrCat("damaged: ", damage_);
  if (!trouble_.empty()) return trouble_;
  return shortage_.empty() ? "ok" : shortage_;
}

void RocksStore::SetShortage(std::string why) {
  bool was_short;
  {
    MutexLock lock(&mu_);
    was_short = !shortage_.empty();
    shortage_ = why;
  }
  if (was_short == !why.empty()) return;
  if (why.empty()) {
    LogInfo("l2_has_room", {{"path", options_.path}});
  } else {
    LogWarning("l2_short_of_disk", {{"path", options_.path}, {"why", why}});
  }
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
    if (options_.clock->Mono() >= next_attempt_) OpenDb();
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
  } else {
    NoteUnavailable(dropped);
  }
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
