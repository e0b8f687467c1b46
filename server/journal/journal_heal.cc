// How the journal comes up, and comes back after trouble. Both are one thing: bring the index and
// the disk to say the same.
//
// After trouble there may be records on disk that the index does not know: those of a failed batch,
// whose callers were told that they might be; and, after damage, some that had been erased. Both
// are delivered like any other: what the origin has already it will not take again. But readers see
// only the former; what had been erased is older than what they have seen. Meanwhile
// deliveries go on, and what they finish is on disk until it is erased there, which only this
// thread does: so a record that the index does not know is new only when it is not among those that
// are to be erased. The writes that a failed batch was to replace have been kept as they are;
// once the disk has been read, it is settled which of the two is there.
//
// Memory may have older copies of what a failed batch had, so the sink is told of it. It is told of
// letters, too, that were there when the journal was opened: a process that ended between a burial
// and the end of what follows it has left copies of the dead write. The newest will do: letters
// that were buried long before were seen to.
//
// A disk that is merely full still takes erases, which is how room may come about. So each attempt
// to heal begins with them.

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "base/log.h"
#include "base/status.h"
#include "core/error.h"
#include "journal/journal_writer.h"

namespace larder {
namespace {

// Of the letters that Load finds, so many are told of, some at a time: each is a read of a tier.
constexpr size_t kToldMax = 1'000;
constexpr size_t kToldTogether = 20;
constexpr absl::Duration kToldPause = absl::Milliseconds(100);

}  // namespace

// One walk over what is on disk.
class JournalWriter::Scan {
 public:
  // `loads`: it is the first.
  explicit Scan(JournalWriter* writer, bool loads)
      : writer_(writer), state_(writer->state_), loads_(loads) {
    const std::vector<uint64_t> ids = state_->letters.Ids();
    unseen_letters_.insert(ids.begin(), ids.end());
    MutexLock lock(&state_->mu);
    knew_all_ = writer_->loaded_all_;
    for (const Doubt& doubt : writer_->doubts_) doubtful_.insert(doubt.seq);
  }

  absl::Status Run() {
    RETURN_IF_ERROR(state_->store->Scan(
        [this](const JournalStore::Head& head) { OnRecord(head); },
        [this](const DeadLetter& letter, uint64_t bytes) { OnLetter(letter, bytes); }));
    Finish();
    return absl::OkStatus();
  }
  uint64_t added() const { return added_; }
  // Of a failed batch, and new to readers.
  const std::vector<JournalRecord>& found() const { return found_; }

 private:
  void OnRecord(const JournalStore::Head& head) {
    const JournalRecord& record = head.record;
    const Clock& clock = *state_->options.clock;
    const absl::Duration waited = std::max(clock.Now() - record.enqueued, absl::ZeroDuration());
    MutexLock lock(&state_->mu);
    state_->last_seq = std::max(state_->last_seq, record.seq);
    state_->Note(record.version);
    const PendingTypeId type = state_->index.TypeOfStored(record.type);
    if (state_->index.Knows(record.full_key, type, record.seq) || IsOverLocked(record.seq)) return;
    std::vector<uint64_t> erase;
    state_->index.Insert({.full_key = record.full_key,
                          .type = type,
                          .seq = record.seq,
                          .version = record.version,
                          .bytes = record.full_key.size() + head.value_bytes,
                          .remove = record.remove,
                          .since = clock.Mono() - absl::ToInt64Nanoseconds(waited),
                          .put_back = record.put_back || WasErased(record.seq)},
                         &erase);
    writer_->EraseLocked(erase);
    ++added_;
    if (doubtful_.contains(record.seq) && !record.put_back) found_.push_back(record);
  }

  // Whether a record that the index does not know had left it.
  bool WasErased(uint64_t seq) const { return knew_all_ && !doubtful_.contains(seq); }

  // Whether it is to be erased.
  bool IsOverLocked(uint64_t seq) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu) {
    // Others only add to the end meanwhile.
    for (; looked_at_ < writer_->erases_.size(); ++looked_at_) {
      over_.insert(writer_->erases_[looked_at_]);
    }
    return over_.contains(seq);
  }

  void OnLetter(const DeadLetter& letter, uint64_t value_bytes) {
    unseen_letters_.erase(letter.id);
    MutexLock lock(&state_->mu);
    state_->last_seq = std::max(state_->last_seq, letter.id);
    state_->Note(letter.record.version);
    for (const JournalBurial& burial : writer_->burials_) {
      if (burial.letter.id == letter.id) return;  // Counted when it has been made sure.
    }
    if (loads_) {
      writer_->found_letters_.push_back(letter);
      if (writer_->found_letters_.size() > kToldMax) writer_->found_letters_.pop_front();
    }
    new_letters_.push_back({letter.id, letter.record.full_key, letter.record.type,
                            letter.record.full_key.size() + value_bytes});
  }

  void Finish() {
    LetterTable::ByType added;
    for (const Letter& letter : new_letters_) {
      if (!state_->letters.Add(letter.id, letter.full_key, letter.type, letter.bytes)) continue;
      LetterTable::Sum& sum = added[letter.type];
      ++sum.letters;
      sum.bytes += letter.bytes;
    }
    const LetterTable::ByType gone =
        state_->letters.Remove({unseen_letters_.begin(), unseen_letters_.end()});
    MutexLock lock(&state_->mu);
    state_->CountLetters(added, gone);
    for (const Doubt& doubt : writer_->doubts_) state_->index.Keep(doubt.full_key, doubt.type);
    writer_->doubts_.clear();
    for (PendingTypeId type = 0; type < state_->index.types(); ++type) state_->FiguresOf(type);
    state_->Publish();
  }

  struct Letter {
    uint64_t id;
    std::string full_key;
    std::string type;
    uint64_t bytes;
  };

  JournalWriter* const writer_;
  JournalState* const state_;
  const bool loads_;
  uint64_t added_ = 0;
  std::vector<JournalRecord> found_;
  size_t looked_at_ = 0;
  absl::flat_hash_set<uint64_t> over_;
  bool knew_all_ = false;
  absl::flat_hash_set<uint64_t> doubtful_;
  std::vector<Letter> new_letters_;
  absl::flat_hash_set<uint64_t> unseen_letters_;
};

absl::Status JournalWriter::Load() {
  {
    MutexLock lock(&state_->mu);
    state_->last_seq = state_->store->last_seq();
  }
  Scan scan(this, /*loads=*/true);
  RETURN_IF_ERROR(scan.Run());
  {
    MutexLock lock(&state_->mu);
    loaded_all_ = state_->store->Health().ok();
  }
  LogInfo("journal_opened",
          {{"waiting", scan.added()}, {"dead_letters", state_->letters.sum().letters}});
  CheckHealth();
  Wake();
  return absl::OkStatus();
}

void JournalWriter::TellOfLettersLater() {
  state_->options.executor->After(kToldPause, [this, alive = alive_] {
    const std::shared_ptr<void> held = alive.lock();
    if (held != nullptr) TellOfLetters();
  });
}

void JournalWriter::TellOfLetters() {
  std::vector<DeadLetter> told;
  {
    MutexLock lock(&state_->mu);
    if (stopped_ || state_->draining) return;
    while (!found_letters_.empty() && told.size() < kToldTogether) {
      told.push_back(std::move(found_letters_.back()));
      found_letters_.pop_back();
    }
  }
  if (told.empty()) return;
  JournalSink* const sink = state_->sink.load();
  for (const DeadLetter& letter : told) {
    if (state_->letters.Has(letter.id)) sink->OnDead(letter);
  }
  TellOfLettersLater();
}

void JournalWriter::CheckHealth() {
  const absl::Status health = state_->store->Health();
  if (health.ok()) return;
  const absl::Status refused = Refused(health);
  std::vector<std::shared_ptr<JournalChange>> waiting;
  {
    MutexLock lock(&state_->mu);
    if (!state_->trouble.ok() || stopped_) return;
    state_->trouble = refused;
    waiting = EmptyQueueLocked();
  }
  CountLost(waiting);
  Answer(waiting, refused);
  RefuseWaiting(refused);
  HealLater();
}

void JournalWriter::HealLater() {
  state_->options.executor->After(state_->options.heal_pause, [this, alive = alive_] {
    const std::shared_ptr<void> held = alive.lock();
    if (held != nullptr) HealSoon();
  });
}

void JournalWriter::HealSoon() {
  {
    MutexLock lock(&state_->mu);
    if (stopped_) return;
  }
  thread_->Post([this] { Heal(); });
}

void JournalWriter::EraseInTrouble() {
  Batch batch;
  {
    MutexLock lock(&state_->mu);
    if (stopped_ || state_->trouble.ok()) return;
    // Only what drops letters is queued while nothing else is taken.
    batch.changes.assign(queue_.begin(), queue_.end());
    queue_.clear();
  }
  KeepToLetters(&batch);
  {
    MutexLock lock(&state_->mu);
    TakeLeavingsLocked(&batch);
    PlanLocked(&batch);
  }
  if (batch.disk.empty() && batch.changes.empty()) return;
  const absl::Status status =
      batch.disk.empty() ? absl::OkStatus() : state_->store->Apply(batch.disk, batch.sync);
  if (status.ok()) {
    Commit(&batch);
    return;
  }
  {
    MutexLock lock(&state_->mu);
    PutBackLocked(&batch);
  }
  Answer(batch.changes, absl::IsUnknown(status) ? Unknown(status) : Refused(status));
}

void JournalWriter::Heal() {
  EraseInTrouble();
  absl::Status status = state_->store->Heal();
  Scan scan(this, /*loads=*/false);
  if (status.ok()) status = scan.Run();
  if (JournalSink* const sink = state_->sink.load(); sink != nullptr) {
    for (const JournalRecord& write : scan.found()) sink->OnFound(write);
  }
  if (!status.ok()) {
    LogWarning("journal_disk_still_fails", {{"error", status}});
    HealLater();
    return;
  }
  {
    MutexLock lock(&state_->mu);
    state_->trouble = absl::OkStatus();
  }
  LogInfo("journal_disk_healed", {{"found", scan.added()}});
  Wake();
  changed_();
}

}  // namespace larder
