// A queue in a tree of sorted tables. Numbers only grow, so each flush writes a table to the right
// of the last, and what was delivered is erased on the left. Three things keep that fast.
//
// Records are erased with SingleDelete, which is allowed because each is put once: the pair of the
// two vanishes where it meets, also in a flush, and most records are delivered before their
// memtable is full. They never reach a table.
//
// The state in each batch says which is the first record that is still there, and reading begins
// at it: millions of erased ones on the left are not looked at.
//
// A table of which half is erasures asks for compaction by itself (ErasureCollector), so what a
// long outage left behind is given back to the disk when the queue has drained.
//
// The state lies in the default family under one key. Each family has one more entry, the number 0,
// which nobody sees, and which was flushed when the database was made: RocksDB's repair takes the
// families from the tables that it finds, and without a table of a family it would drop all that
// the log has of it.
//
// Compression is off: values that pay off came compressed. There are no filters: nobody asks for
// numbers that are not there. Memory is a block cache of 8 MiB and memtables of 16 MiB, of which up
// to four may wait for the disk. The log is at most 64 MiB, which bounds what a recovery reads.
//
// Write does not sync; Sync does, with the same fsync as WriteOptions::sync would: so that the two
// can be told apart in tests, and a batch of mixed wishes is one write. RocksDB's own recovery from
// errors is off: it goes on with a log whose last write failed. The owner reopens the database.

#include "journal/journal_store_db.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/table_properties.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "absl/strings/string_view.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr char kStateKey[] = "state";
constexpr uint8_t kStateFormat = 1;
constexpr size_t kFamilies = 3;
constexpr std::array<const char*, kFamilies> kNames = {"default", "records", "letters"};

std::string KeyOf(uint64_t number) {
  std::string key(sizeof(number), '\0');
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<char>(number >> (56 - 8 * i));
  return key;
}

// 0, which is nobody's, for a key that is none.
uint64_t NumberOf(rocksdb::Slice key) {
  if (key.size() != sizeof(uint64_t)) return 0;
  uint64_t number = 0;
  for (size_t i = 0; i < key.size(); ++i) number = (number << 8) | static_cast<uint8_t>(key[i]);
  return number;
}

std::string EncodeState(const JournalDbState& state) {
  std::string out(1, static_cast<char>(kStateFormat));
  for (const uint64_t number :
       {state.changes, state.last_seq, state.records.count, state.records.sum, state.records.first,
        state.letters.count, state.letters.sum, state.letters.first})
    out += KeyOf(number);
  const uint64_t crc = Crc32c(0, out);
  return out + KeyOf(crc);
}

absl::StatusOr<JournalDbState> DecodeState(std::string_view bytes) {
  constexpr size_t kBytes = 1 + 9 * sizeof(uint64_t);
  const auto number = [bytes](size_t i) {
    return NumberOf(rocksdb::Slice(bytes.data() + 1 + i * sizeof(uint64_t), sizeof(uint64_t)));
  };
  if (bytes.size() != kBytes || number(8) != Crc32c(0, bytes.substr(0, kBytes - 8)) ||
      static_cast<uint8_t>(bytes[0]) != kStateFormat) {
    return absl::DataLossError("the state of the journal is damaged");
  }
  return JournalDbState{.changes = number(0),
                        .last_seq = number(1),
                        .records = {.count = number(2), .sum = number(3), .first = number(4)},
                        .letters = {.count = number(5), .sum = number(6), .first = number(7)}};
}

// Errors of the disk may pass. Everything else that RocksDB says of files is that they are not what
// it wrote.
absl::Status ToStatus(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const bool of_disk = (status.IsIOError() && !status.IsPathNotFound()) || status.IsBusy() ||
                       status.IsTimedOut() || status.IsAborted() || status.IsIncomplete() ||
                       status.IsShutdownInProgress();
  return of_disk ? absl::UnavailableError(status.ToString())
                 : absl::DataLossError(status.ToString());
}

// Asks for compaction of a table that is mostly erasures.
class ErasureCollector : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice& /*key*/, const rocksdb::Slice& /*value*/,
                             rocksdb::EntryType type, rocksdb::SequenceNumber /*sequence*/,
                             uint64_t /*file_bytes*/) override {
    ++entries_;
    if (type == rocksdb::kEntryDelete || type == rocksdb::kEntrySingleDelete) ++erasures_;
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* /*properties*/) override {
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override { return {}; }
  const char* Name() const override { return "larder.journal.erasures"; }
  // Fewer are not worth the files that would be written for them.
  bool NeedCompact() const override { return erasures_ >= 10'000 && 2 * erasures_ >= entries_; }

 private:
  uint64_t entries_ = 0;
  uint64_t erasures_ = 0;
};

class ErasureCollectorFactory : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(
      rocksdb::TablePropertiesCollectorFactory::Context /*context*/) override {
    return new ErasureCollector;
  }
  const char* Name() const override { return "larder.journal.erasures"; }
};

class Listener : public rocksdb::EventListener {
 public:
  explicit Listener(JournalDb::Hooks hooks) : hooks_(std::move(hooks)) {}

  void OnFlushBegin(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) override {
    At("before_flush");
  }
  void OnFlushCompleted(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) override {
    At("after_flush");
  }
  void OnCompactionBegin(rocksdb::DB* /*db*/, const rocksdb::CompactionJobInfo& /*info*/) override {
    At("before_compact");
  }
  void OnCompactionCompleted(rocksdb::DB* /*db*/,
                             const rocksdb::CompactionJobInfo& /*info*/) override {
    At("after_compact");
  }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status /*error*/,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    if (hooks_.trouble != nullptr) hooks_.trouble(ToStatus(*error));
  }

 private:
  void At(std::string_view point) const {
    if (hooks_.at != nullptr) hooks_.at(point);
  }

  const JournalDb::Hooks hooks_;
};

// Where RocksDB tells what it does. Its own, a file beside the database, ends the process when a
// line follows one that the disk did not take, where assertions are on, as in Debian's library.
class InfoLog : public rocksdb::Logger {
 public:
  InfoLog() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, 512> line;
    const int size = std::vsnprintf(line.data(), line.size(), format, arguments);
    if (size > 0) LogDebug("journal_rocksdb", {{"line", line.data()}});
  }
};

rocksdb::DBOptions DbOptions(JournalDb::Mode mode, JournalDb::Hooks hooks) {
  rocksdb::DBOptions options;
  options.create_if_missing = mode == JournalDb::Mode::kMake;
  options.create_missing_column_families = mode == JournalDb::Mode::kMake;
  // kSkipAnyCorruptedRecords reads one record for ever whose type says that its log was recycled.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  options.listeners = {std::make_shared<Listener>(std::move(hooks))};
  options.max_background_jobs = 2;
  options.max_bgerror_resume_count = 0;
  options.max_total_wal_size = 64 << 20;
  options.max_open_files = 512;
  // There are few files, and threads would cost more than they save.
  options.max_file_opening_threads = 1;
  options.avoid_unnecessary_blocking_io = true;
  options.bytes_per_sync = 1 << 20;
  options.info_log = std::make_shared<InfoLog>();
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Descriptors(JournalDb::Mode mode) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  table.block_size = 16 << 10;
  table.format_version = 5;
  rocksdb::ColumnFamilyOptions options;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.compression = rocksdb::kNoCompression;
  // After a repair an entry may lie twice, which SingleDelete does not bear.
  options.disable_auto_compactions = mode == JournalDb::Mode::kSource;
  options.max_write_buffer_number = 4;
  options.target_file_size_base = 32 << 20;
  options.max_bytes_for_level_base = 128 << 20;
  options.level_compaction_dynamic_level_bytes = true;
  options.table_properties_collector_factories = {std::make_shared<ErasureCollectorFactory>()};
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const char* name : kNames) {
    options.write_buffer_size = name == kNames[1] ? 16 << 20 : 4 << 20;
    descriptors.emplace_back(name, options);
  }
  return descriptors;
}

class RocksJournalDb : public JournalDb {
 public:
  ~RocksJournalDb() override { CloseDb().PermitUncheckedError(); }

  rocksdb::Status OpenDb(const std::string& path, Mode mode, Hooks hooks) {
    rocksdb::DB* db = nullptr;
    const rocksdb::DBOptions options = DbOptions(mode, std::move(hooks));
    const rocksdb::Status status =
        mode == Mode::kReadOnly
            ? rocksdb::DB::OpenForReadOnly(options, path, Descriptors(mode), &families_, &db)
            : rocksdb::DB::Open(options, path, Descriptors(mode), &families_, &db);
    db_.reset(db);
    return status;
  }
  rocksdb::Status PutAnchors() {
    rocksdb::WriteBatch batch;
    for (rocksdb::ColumnFamilyHandle* family : families_) {
      const rocksdb::Status status = batch.Put(family, KeyOf(0), "");
      if (!status.ok()) return status;
    }
    const rocksdb::Status status = db_->Write({}, &batch);
    return status.ok() ? db_->Flush({}, families_) : status;
  }

  absl::Status Write(const Batch& batch) override {
    rocksdb::WriteBatch updates;
    rocksdb::Status status = updates.Put(families_[0], kStateKey, EncodeState(batch.state));
    const auto add = [&status](const rocksdb::Status& added) {
      if (status.ok()) status = added;
    };
    for (const auto& [seq, bytes] : batch.put_records)
      add(updates.Put(families_[1], KeyOf(seq), bytes));
    for (const uint64_t seq : batch.remove_records)
      add(updates.SingleDelete(families_[1], KeyOf(seq)));
    for (const auto& [id, bytes] : batch.put_letters)
      add(updates.Put(families_[2], KeyOf(id), bytes));
    for (const uint64_t id : batch.remove_letters) add(updates.Delete(families_[2], KeyOf(id)));
    if (status.ok()) status = db_->Write(rocksdb::WriteOptions(), &updates);
    return ToStatus(status);
  }
  absl::Status Sync() override { return ToStatus(db_->SyncWAL()); }
  absl::Status Flush() override { return ToStatus(db_->Flush({}, families_)); }
  absl::Status GiveBack() override {
    RETURN_IF_ERROR(Flush());
    rocksdb::Status status;
    for (rocksdb::ColumnFamilyHandle* family : families_) {
      if (status.ok()) status = db_->CompactRange({}, family, nullptr, nullptr);
    }
    return ToStatus(status);
  }

  absl::StatusOr<std::optional<JournalDbState>> ReadState() const override {
    std::string bytes;
    const rocksdb::Status status = db_->Get({}, families_[0], kStateKey, &bytes);
    if (status.IsNotFound()) return std::nullopt;
    RETURN_IF_ERROR(ToStatus(status));
    return DecodeState(bytes);
  }

  absl::Status Walk(Family family, uint64_t first, const Visit& visit) const override {
    const auto at = Iterator(family);
    for (at->Seek(KeyOf(std::max<uint64_t>(first, 1))); at->Valid(); at->Next())
      visit(NumberOf(at->key()), {at->value().data(), at->value().size()});
    return ToStatus(at->status());
  }

  // A bad block ends the iterator, and a position in it cannot be sought. So steps that double find
  // one behind it, and halves the first such.
  absl::Status WalkReadable(Family family, const Visit& visit) const override {
    for (uint64_t next = 1; next != 0;) {
      const auto at = Iterator(family);
      for (at->Seek(KeyOf(next)); at->Valid(); at->Next()) {
        next = NumberOf(at->key()) + 1;
        visit(next - 1, {at->value().data(), at->value().size()});
      }
      const absl::Status status = ToStatus(at->status());
      if (!absl::IsDataLoss(status)) return status;
      next = BehindDamage(family, next);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<std::optional<std::string>>> Read(
      Family family, const std::vector<uint64_t>& numbers) const override {
    std::vector<std::string> keys;
    keys.reserve(numbers.size());
    for (const uint64_t number : numbers) keys.push_back(KeyOf(number));
    const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    db_->MultiGet({}, FamilyOf(family), keys.size(), slices.data(), values.data(), statuses.data());
    std::vector<std::optional<std::string>> answers(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (statuses[i].IsNotFound() || numbers[i] == 0) continue;
      RETURN_IF_ERROR(ToStatus(statuses[i]));
      answers[i] = values[i].ToString();
    }
    return answers;
  }

  absl::Status Close() override { return ToStatus(CloseDb()); }

 private:
  rocksdb::ColumnFamilyHandle* FamilyOf(Family family) const {
    return families_[family == Family::kRecords ? 1 : 2];
  }
  std::unique_ptr<rocksdb::Iterator> Iterator(Family family) const {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = 1 << 20;
    return std::unique_ptr<rocksdb::Iterator>(db_->NewIterator(options, FamilyOf(family)));
  }
  // The first number after `bad` that can be sought; 0: there is none.
  uint64_t BehindDamage(Family family, uint64_t bad) const {
    uint64_t step = 1;
    while (!CanSeek(family, bad + step)) {
      bad += step;
      step *= 2;
      if (step > UINT64_MAX / 4) return 0;
    }
    uint64_t good = bad + step;
    while (good - bad > 1) {
      const uint64_t middle = bad + (good - bad) / 2;
      (CanSeek(family, middle) ? good : bad) = middle;
    }
    return good;
  }
  // Whether what follows `number` can be read, or nothing does.
  bool CanSeek(Family family, uint64_t number) const {
    const auto at = Iterator(family);
    at->Seek(KeyOf(number));
    return at->status().ok();
  }
  rocksdb::Status CloseDb() {
    if (db_ == nullptr) return rocksdb::Status::OK();
    rocksdb::CancelAllBackgroundWork(db_.get(), /*wait=*/true);
    for (rocksdb::ColumnFamilyHandle* family : families_)
      db_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
    families_.clear();
    const rocksdb::Status status = db_->Close();
    db_.reset();
    return status;
  }

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<JournalDb>> JournalDb::Open(const std::string& path, Mode mode,
                                                           Hooks hooks) {
  auto db = std::make_unique<RocksJournalDb>();
  rocksdb::Status status = db->OpenDb(path, mode, std::move(hooks));
  if (status.ok() && mode == Mode::kMake) status = db->PutAnchors();
  if (!status.ok()) return ToStatus(status);
  return db;
}

absl::Status JournalDb::Repair(const std::string& path) {
  return ToStatus(
      rocksdb::RepairDB(path, DbOptions(Mode::kSource, {}), Descriptors(Mode::kSource)));
}

}  // namespace larder
