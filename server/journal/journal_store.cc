// Who may say OK. A change is acknowledged after three steps: the batch is in the log, the log is
// synced if it was to be, MARK has been told. When one of the first two fails, nobody can know how
// much of it is on disk, or will be: the rest of a torn write may still be in the kernel, and a
// repeated fsync would answer OK for pages that the kernel has given up. So nothing more is taken
// until Heal has read everything from the files again and written it to new ones
// (journal_store_recovery.cc). A MARK that cannot be written costs only what it would have found.
//
// Meanwhile reads go on with the database as it is. Before Heal gives that up, it proves by a file
// of some MiB that the disk takes writes; and if the database then cannot be opened, it is opened
// for reading alone.
//
// Three kinds of trouble: short of space, which ends by itself and leaves the database alone;
// failed, which needs it reopened; and damaged, met by a read or a compaction, which needs it
// salvaged even if the next look finds nothing wrong. A line too long, because what may say OK
// stands together.

#include "journal/journal_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>
#include <utility>

#include "base/data_dir.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/strings.h"
#include "journal/journal_store_db.h"
#include "journal/journal_store_files.h"
#include "journal/journal_store_live.h"
#include "journal/journal_store_mark.h"
#include "journal/journal_store_recovery.h"

namespace larder {
namespace {

using Family = JournalDb::Family;

constexpr char kOpening[] = "the journal is being opened, or closed";

std::string KernelBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

// What the operator has to mend stays what it is; everything else is the disk, and may pass.
absl::Status OfFolder(const absl::Status& status) {
  const bool is_mistake = absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ||
                          absl::IsPermissionDenied(status);
  return is_mistake ? status : absl::UnavailableError(status.message());
}

class RocksJournalStore : public JournalStore {
 public:
  RocksJournalStore(const Options& options, std::unique_ptr<DataDir> dir,
                    std::unique_ptr<JournalMark> mark)
      : options_(options), dir_(std::move(dir)), mark_(std::move(mark)) {}
  ~RocksJournalStore() override { TakeDb(); }

  absl::Status Start() {
    absl::Status status = Recover();
    if (!absl::IsUnavailable(status)) return status;
    // Without even that there is nothing to begin with.
    return OpenToRead().ok() ? absl::OkStatus() : status;
  }

  absl::Status Scan(const std::function<void(Head)>& record,
                    const std::function<void(DeadLetter, uint64_t)>& letter) override;
  uint64_t last_seq() const override { return last_seq_.load(); }
  absl::Status Apply(const Changes& changes, bool sync) override;
  absl::StatusOr<std::vector<std::optional<JournalRecord>>> Read(
      const std::vector<uint64_t>& seqs) const override;
  absl::StatusOr<std::vector<std::optional<DeadLetter>>> ReadLetters(
      const std::vector<uint64_t>& ids) const override;
  absl::Status Health() const override;
  absl::Status Heal() override;
  JournalDamage Damage() const override {
    MutexLock lock(&mu_);
    return damage_;
  }
  uint64_t bytes_on_disk() const override { return FolderBytes(JournalDbPath(options_.path)); }
  absl::Status Close() override;

 private:
  enum class Trouble { kNone, kShort, kFailed, kDamaged };

  // The sets as they are after `changes`, and the batch. Undo by Unplan.
  absl::StatusOr<JournalDb::Batch> Plan(const Changes& changes, bool traces);
  // Whether the batch may have trace parents: the mark must keep out older larders first. Where it
  // cannot, the writes go without: what they are is worth more than whose.
  bool AllowTraces(const Changes& changes);
  void Unplan(const JournalDb::Batch& batch);
  absl::Status CheckRoom(const Changes& changes);
  void GiveBack();
  absl::Status Store(const JournalDb::Batch& batch, bool sync);
  void Acknowledge(const JournalDbState& state, bool sync);
  void NoteMarked(const absl::Status& marked);

  absl::Status Recover();
  absl::Status OpenToRead();
  void NoteState(const JournalDbState& state);
  std::shared_ptr<JournalDb> db() const {
    MutexLock lock(&mu_);
    return db_;
  }
  // Nobody gets it any more; waits for those who read.
  std::shared_ptr<JournalDb> TakeDb();
  template <typename T, typename Decode>
  absl::StatusOr<std::vector<std::optional<T>>> ReadAll(Family family,
                                                        const std::vector<uint64_t>& numbers,
                                                        Decode decode) const;
  // What a reader met: damage is for Heal.
  absl::Status Met(const absl::Status& status) const {
    if (absl::IsDataLoss(status)) Note(Trouble::kDamaged, status.message());
    return status;
  }
  // The worst trouble stays.
  void Note(Trouble trouble, absl::string_view why) const;
  void At(std::string_view point) const {
    if (options_.at != nullptr) options_.at(point);
  }

  const Options options_;
  const std::unique_ptr<DataDir> dir_;
  std::atomic<uint64_t> last_seq_{0};
  std::atomic<uint64_t> first_record_{0};
  std::atomic<uint64_t> first_letter_{0};

  // Of the thread that applies.
  const std::unique_ptr<JournalMark> mark_;
  JournalDbState state_;
  LiveSet records_;
  LiveSet letters_;
  bool mark_failed_ = false;
  uint64_t kept_ = 0;      // what was there when the disk ran short, or was given back last
  std::string suspicion_;  // the damage that was met, until it has been salvaged

  mutable Mutex mu_;
  std::shared_ptr<JournalDb> db_ ABSL_GUARDED_BY(mu_);
  mutable Trouble trouble_ ABSL_GUARDED_BY(mu_) = Trouble::kNone;
  mutable std::string why_ ABSL_GUARDED_BY(mu_);
  JournalDamage damage_ ABSL_GUARDED_BY(mu_);
};

absl::Status RocksJournalStore::Scan(const std::function<void(Head)>& record,
                                     const std::function<void(DeadLetter, uint64_t)>& letter) {
  const auto db = this->db();
  if (db == nullptr) return absl::UnavailableError(kOpening);
  absl::Status bad;
  RETURN_IF_ERROR(
      Met(db->Walk(Family::kRecords, first_record_, [&](uint64_t seq, std::string_view bytes) {
        Head head;
        auto decoded = DecodeRecordHead(seq, bytes, &head.value_bytes);
        if (!decoded.ok()) {
          bad = decoded.status();
          return;
        }
        head.record = *std::move(decoded);
        record(std::move(head));
      })));
  RETURN_IF_ERROR(
      Met(db->Walk(Family::kLetters, first_letter_, [&](uint64_t id, std::string_view bytes) {
        uint64_t value_bytes = 0;
        auto decoded = DecodeLetterHead(id, bytes, &value_bytes);
        if (!decoded.ok()) {
          bad = decoded.status();
          return;
        }
        letter(*std::move(decoded), value_bytes);
      })));
  return Met(bad);
}

bool RocksJournalStore::AllowTraces(const Changes& changes) {
  bool traced = false;
  for (const JournalRecord& record : changes.append) traced |= !record.trace_parent.empty();
  for (const DeadLetter& letter : changes.bury) traced |= !letter.record.trace_parent.empty();
  if (!traced) return true;
  NoteMarked(mark_->AllowTraces());
  return !mark_failed_;
}

absl::StatusOr<JournalDb::Batch> RocksJournalStore::Plan(const Changes& changes, bool traces) {
  JournalDb::Batch batch;
  const auto refuse = [&](uint64_t number) {
    Unplan(batch);
    return absl::InvalidArgumentError(
        StrCat("number ", number, " of the journal is ", number == 0 ? "none" : "there already"));
  };
  for (const JournalRecord& record : changes.append) {
    if (record.seq == 0 || !records_.Add(record.seq)) return refuse(record.seq);
    batch.put_records.emplace_back(record.seq, EncodeRecord(record, traces));
  }
  for (const DeadLetter& letter : changes.bury) {
    if (letter.id == 0) return refuse(letter.id);
    if (!letters_.Add(letter.id)) continue;
    batch.put_letters.emplace_back(letter.id, EncodeLetter(letter, traces));
  }
  for (const uint64_t seq : changes.erase) {
    if (records_.Remove(seq)) batch.remove_records.push_back(seq);
  }
  for (const uint64_t id : changes.drop_letters) {
    if (letters_.Remove(id)) batch.remove_letters.push_back(id);
  }
  uint64_t last_seq = last_seq_;
  for (const auto& [seq, bytes] : batch.put_records) last_seq = std::max(last_seq, seq);
  for (const auto& [id, bytes] : batch.put_letters) last_seq = std::max(last_seq, id);
  last_seq_ = last_seq;  // Also if it fails: it may be there.
  batch.state = {.changes = state_.changes + 1,
                 .last_seq = last_seq,
                 .records = records_.Sum(last_seq + 1),
                 .letters = letters_.Sum(last_seq + 1)};
  return batch;
}

void RocksJournalStore::Unplan(const JournalDb::Batch& batch) {
  for (const uint64_t seq : batch.remove_records) records_.Add(seq);
  for (const uint64_t id : batch.remove_letters) letters_.Add(id);
  for (const auto& [seq, bytes] : batch.put_records) records_.Remove(seq);
  for (const auto& [id, bytes] : batch.put_letters) letters_.Remove(id);
}

absl::Status RocksJournalStore::CheckRoom(const Changes& changes) {
  if (changes.append.empty()) return absl::OkStatus();
  const uint64_t free = FreeBytes(options_.path);
  if (free >= options_.free_bytes_min) return absl::OkStatus();
  const std::string why =
      StrCat("the disk of ", options_.path, " has ", free >> 20, " MiB free; the journal leaves ",
             options_.free_bytes_min >> 20, " MiB");
  Note(Trouble::kShort, why);
  kept_ = state_.records.count + state_.letters.count;
  return absl::UnavailableError(why);
}

// What has been erased takes room until it is compacted, and what would have it compacted are
// further writes, which are refused. So it is done here, whenever half of what was left is gone.
void RocksJournalStore::GiveBack() {
  const uint64_t left = state_.records.count + state_.letters.count;
  const auto db = this->db();
  if (db == nullptr || left == kept_ || left > kept_ / 2) return;
  kept_ = left;
  const absl::Status status = db->GiveBack();
  if (!status.ok()) LogWarning("journal_gives_nothing_back", {{"why", status}});
}

absl::Status RocksJournalStore::Apply(const Changes& changes, bool sync) {
  if (changes.empty() && !sync) return absl::OkStatus();
  {
    MutexLock lock(&mu_);
    const bool may_erase = trouble_ == Trouble::kShort && changes.append.empty();
    if (trouble_ != Trouble::kNone && !may_erase) return absl::UnavailableError(why_);
  }
  RETURN_IF_ERROR(CheckRoom(changes));
  ASSIGN_OR_RETURN(const JournalDb::Batch batch, Plan(changes, AllowTraces(changes)));
  const absl::Status stored = Store(batch, sync);
  if (!stored.ok()) {
    Note(Trouble::kFailed, stored.message());
    return absl::UnknownError(stored.message());
  }
  Acknowledge(batch.state, sync);
  return absl::OkStatus();
}

absl::Status RocksJournalStore::Store(const JournalDb::Batch& batch, bool sync) {
  const auto db = this->db();
  At("before_append");
  RETURN_IF_ERROR(db->Write(batch));
  At("after_append");
  if (!sync) return absl::OkStatus();
  At("before_sync");
  RETURN_IF_ERROR(db->Sync());
  At("after_sync");
  return absl::OkStatus();
}

void RocksJournalStore::Acknowledge(const JournalDbState& state, bool sync) {
  state_ = state;
  first_record_ = state.records.first;
  first_letter_ = state.letters.first;
  const absl::Status marked = mark_->Set({.synced = sync ? state.changes : mark_->facts().synced,
                                          .written = state.changes,
                                          .last_seq = state.last_seq,
                                          .records = state.records.count,
                                          .first_record = state.records.first,
                                          .letters = state.letters.count,
                                          .first_letter = state.letters.first});
  NoteMarked(marked);
  At("acknowledged");
}

void RocksJournalStore::NoteMarked(const absl::Status& marked) {
  if (!marked.ok() && !mark_failed_)
    LogWarning("journal_mark_failed", {{"path", options_.path}, {"why", marked}});
  mark_failed_ = !marked.ok();
}

template <typename T, typename Decode>
absl::StatusOr<std::vector<std::optional<T>>> RocksJournalStore::ReadAll(
    Family family, const std::vector<uint64_t>& numbers, Decode decode) const {
  const auto db = this->db();
  if (db == nullptr) return absl::UnavailableError(kOpening);
  const auto found = db->Read(family, numbers);
  RETURN_IF_ERROR(Met(found.status()));
  std::vector<std::optional<T>> answers(numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (!(*found)[i].has_value()) continue;
    auto decoded = decode(numbers[i], *(*found)[i]);
    RETURN_IF_ERROR(Met(decoded.status()));
    answers[i] = *std::move(decoded);
  }
  return answers;
}

absl::StatusOr<std::vector<std::optional<JournalRecord>>> RocksJournalStore::Read(
    const std::vector<uint64_t>& seqs) const {
  return ReadAll<JournalRecord>(Family::kRecords, seqs, DecodeRecord);
}

absl::StatusOr<std::vector<std::optional<DeadLetter>>> RocksJournalStore::ReadLetters(
    const std::vector<uint64_t>& ids) const {
  return ReadAll<DeadLetter>(Family::kLetters, ids, DecodeLetter);
}

absl::Status RocksJournalStore::Health() const {
  MutexLock lock(&mu_);
  if (trouble_ != Trouble::kNone) return absl::UnavailableError(why_);
  return db_ == nullptr ? absl::UnavailableError(kOpening) : absl::OkStatus();
}

void RocksJournalStore::Note(Trouble trouble, absl::string_view why) const {
  {
    MutexLock lock(&mu_);
    if (trouble <= trouble_) return;
    trouble_ = trouble;
    why_ = std::string(why);
  }
  LogWarning("journal_takes_nothing", {{"path", options_.path}, {"why", ToStd(why)}});
}

absl::Status RocksJournalStore::Heal() {
  Trouble trouble;
  {
    MutexLock lock(&mu_);
    trouble = trouble_;
  }
  if (trouble == Trouble::kNone) return absl::OkStatus();
  if (trouble == Trouble::kShort && FreeBytes(options_.path) < options_.free_bytes_min) GiveBack();
  // As much again as was kept, or it would come and go with each change.
  if (FreeBytes(options_.path) < options_.free_bytes_min) return Health();
  if (trouble == Trouble::kShort) {
    MutexLock lock(&mu_);
    // Unless worse has come meanwhile.
    if (trouble_ == Trouble::kShort) trouble_ = Trouble::kNone;
  } else {
    RETURN_IF_ERROR(ProbeDisk(options_.path));
    TakeDb();
    const absl::Status recovered = Recover();
    if (!recovered.ok()) {
      OpenToRead().IgnoreError();  // Then there is nothing to read from, until the next attempt.
      return recovered;
    }
  }
  const absl::Status health = Health();
  if (health.ok()) LogInfo("journal_takes_again", {{"path", options_.path}});
  return health;
}

absl::Status RocksJournalStore::Recover() {
  JournalDamage damage;
  {
    MutexLock lock(&mu_);
    if (trouble_ == Trouble::kDamaged && suspicion_.empty()) suspicion_ = why_;
    // What the new database meets in the background counts from here on.
    trouble_ = Trouble::kNone;
    damage = damage_;
  }
  const auto trouble = [this](const absl::Status& status) {
    Note(absl::IsDataLoss(status) ? Trouble::kDamaged : Trouble::kFailed, status.message());
  };
  auto recovered = RecoverJournal(options_.path, mark_.get(), suspicion_,
                                  {.at = options_.at, .trouble = trouble}, &damage);
  if (!recovered.ok()) Note(Trouble::kFailed, recovered.status().message());
  MutexLock lock(&mu_);
  damage_ = std::move(damage);
  if (!recovered.ok()) return recovered.status();
  db_ = std::move(recovered->db);
  suspicion_.clear();
  state_ = recovered->state;
  records_ = std::move(recovered->records);
  letters_ = std::move(recovered->letters);
  NoteState(state_);
  return absl::OkStatus();
}

// What readers need of it.
void RocksJournalStore::NoteState(const JournalDbState& state) {
  last_seq_ = std::max({last_seq_.load(), state.last_seq, mark_->facts().last_seq});
  first_record_ = state.records.first;
  first_letter_ = state.letters.first;
}

absl::Status RocksJournalStore::OpenToRead() {
  ASSIGN_OR_RETURN(auto found, OpenJournalToRead(options_.path));
  NoteState(found.state);
  MutexLock lock(&mu_);
  db_ = std::move(found.db);
  return absl::OkStatus();
}

std::shared_ptr<JournalDb> RocksJournalStore::TakeDb() {
  std::shared_ptr<JournalDb> db;
  {
    MutexLock lock(&mu_);
    db.swap(db_);
  }
  // Those who hold it do so for one step, and nobody new can come.
  while (db.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return db;
}

absl::Status RocksJournalStore::Close() {
  absl::Status status = Health();
  const std::shared_ptr<JournalDb> db = TakeDb();
  if (status.ok()) status = db->Flush();
  if (status.ok()) {
    JournalMark::Facts facts = mark_->facts();
    facts.synced = facts.written = state_.changes;
    status = mark_->SetSynced(facts);
  }
  // Also when it is short of space, or unwell.
  const absl::Status closed = db == nullptr ? absl::OkStatus() : db->Close();
  return status.ok() ? closed : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<JournalStore>> JournalStore::Open(const Options& options) {
  auto dir = DataDir::Open(options.path);
  if (!dir.ok()) return OfFolder(dir.status());
  const std::string boot_id = options.boot_id.empty() ? KernelBootId() : options.boot_id;
  ASSIGN_OR_RETURN(auto mark, JournalMark::Open(options.path, boot_id));
  auto store = std::make_unique<RocksJournalStore>(options, *std::move(dir), std::move(mark));
  RETURN_IF_ERROR(store->Start());
  return store;
}

}  // namespace larder
