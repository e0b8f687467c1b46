// Group commit. One thread writes; a batch is everything that waited while the batch before it was
// written: appends, erases of what has been delivered and burials, in one step with at most one
// fsync. Erases alone need none: a record that comes back after a crash is delivered again, which
// its version makes harmless. Those who wait are answered where they come from, some dozens in one
// piece of work, so that an append costs a part of one. How appends get here: journal_intake.cc.
//
// What a write does to others of its key is decided when its batch is made, under the lock: only
// this thread adds to the index, so nothing newer can come in between. Of several writes of a key
// in one batch only the newest gets to the disk at all.
//
// Trouble. After a failed write nobody knows what is on disk; a repeat that succeeds would prove
// nothing, because the system forgets the pages whose writing failed. So everything that waits is
// told so, nothing more is taken, and the store is healed until that succeeds (journal_heal.cc).

#include "journal/journal_writer.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "base/log.h"
#include "core/error.h"

namespace larder {
namespace {

// Of one batch: enough to spread the cost of an fsync over, few enough to be answered soon.
constexpr size_t kBatchWrites = 2'000;
constexpr size_t kBatchBytes = 8 << 20;
constexpr size_t kBatchErases = 20'000;
constexpr size_t kBatchBurials = 200;

}  // namespace

Task<absl::Status> JournalWriter::Change(std::shared_ptr<JournalChange> change) {
  change->done = std::make_shared<Race<absl::Status>>();
  bool in_trouble = false;
  {
    MutexLock lock(&state_->mu);
    if (stopped_) co_return Draining();
    in_trouble = !state_->trouble.ok();
    // A disk that is short of room takes what gives it some.
    const bool gives_room = change->writes.empty() && !change->drop_letters.empty();
    if (in_trouble && !gives_room) co_return state_->trouble;
    QueueLocked(change);
  }
  if (in_trouble) {
    thread_->Post([this, held = alive_.lock()] { EraseInTrouble(); });
  } else {
    Wake();
  }
  std::optional<absl::Status> ended = co_await *change->done;
  co_return *std::move(ended);
}

void JournalWriter::QueueLocked(std::shared_ptr<JournalChange> change) {
  queued_writes_ += change->writes.size();
  for (const JournalRecord& record : change->writes) state_->Note(record.version);
  if (change->early) {
    for (size_t i = 0; i < change->writes.size(); ++i) {
      const JournalRecord& record = change->writes[i];
      EarlyWrite& newest = state_->early[record.full_key];
      if (newest.record == nullptr || newest.record->version < record.version) {
        newest.record = std::make_shared<const JournalRecord>(record);
        newest.type = change->types[i];
      }
    }
    state_->Publish();
  }
  queue_.push_back(std::move(change));
}

void JournalWriter::EraseLocked(const std::vector<uint64_t>& seqs) {
  erases_.insert(erases_.end(), seqs.begin(), seqs.end());
}

void JournalWriter::BuryLocked(JournalBurial burial) {
  burial.letter.id = ++state_->last_seq;
  burials_.push_back(std::move(burial));
}

void JournalWriter::Wake() {
  std::vector<std::shared_ptr<JournalChange>> admitted;
  std::vector<Told> told;
  bool runs = false;
  {
    MutexLock lock(&state_->mu);
    admitted.swap(admitted_);
    const bool work = !queue_.empty() || !erases_.empty() || !burials_.empty() || HasIntake();
    const bool takes = !stopped_ && state_->trouble.ok();
    runs = work && !running_ && takes;
    running_ = running_ || runs;
    looks_.store(running_);
    // The thread takes nothing, and may not look at all.
    while (!takes && HasIntake()) {
      for (Told& one : TakeIntakeLocked()) told.push_back(std::move(one));
    }
  }
  Tell(std::move(told));
  for (auto& change : admitted) {
    state_->options.executor->Post([change = std::move(change)] { change->room->Finish(true); });
  }
  if (runs) thread_->Post([this] { Run(); });
}

void JournalWriter::Run() {
  for (;;) {
    Batch batch;
    std::vector<Told> told;
    bool over = false;
    {
      MutexLock lock(&state_->mu);
      told = TakeIntakeLocked();
      over = !TakeLocked(&batch);
      if (over) {
        running_ = false;
        looks_.store(false);
        idle_.SignalAll();
      } else if (!batch.letters) {
        PlanLocked(&batch);
      }
    }
    Tell(std::move(told));
    if (batch.letters) {
      KeepToLetters(&batch);
      MutexLock lock(&state_->mu);
      PlanLocked(&batch);
    }
    if (over) {
      // Whoever handed something in meanwhile may have seen that the thread looks.
      if (HasIntake()) Wake();
      return;
    }
    const absl::Status status = batch.disk.empty() && !batch.sync
                                    ? absl::OkStatus()
                                    : state_->store->Apply(batch.disk, batch.sync);
    if (status.ok()) {
      Commit(&batch);
    } else {
      Fail(&batch, status);
    }
  }
}

bool JournalWriter::TakeLocked(Batch* batch) {
  if (stopped_ || !state_->trouble.ok()) return false;
  size_t writes = 0, bytes = 0;
  while (!queue_.empty() && writes < kBatchWrites && bytes < kBatchBytes) {
    const std::shared_ptr<JournalChange>& change = queue_.front();
    writes += change->writes.size();
    for (const JournalRecord& record : change->writes) bytes += BytesOf(record);
    queued_writes_ -= change->writes.size();
    batch->letters = batch->letters || !change->drop_letters.empty();
    batch->changes.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  TakeLeavingsLocked(batch);
  return !batch->changes.empty() || batch->leavings > 0 || !batch->burials.empty();
}

void JournalWriter::TakeLeavingsLocked(Batch* batch) {
  const size_t erases = std::min(erases_.size(), kBatchErases);
  batch->leavings = erases;
  batch->disk.erase.assign(erases_.begin(), erases_.begin() + static_cast<ptrdiff_t>(erases));
  erases_.erase(erases_.begin(), erases_.begin() + static_cast<ptrdiff_t>(erases));
  while (!burials_.empty() && batch->burials.size() < kBatchBurials) {
    batch->burials.push_back(std::move(burials_.front()));
    burials_.pop_front();
  }
}

// What a change wants of letters was decided when it was handed in, and others may have dropped
// them or put them back meanwhile. Only this thread takes letters away, so here it is known.
void JournalWriter::KeepToLetters(Batch* batch) {
  absl::flat_hash_set<uint64_t> gone;
  for (const auto& change : batch->changes) {
    const auto is_gone = [&](uint64_t id) { return !state_->letters.Has(id) || gone.contains(id); };
    size_t kept = 0;
    for (size_t i = 0; i < change->of_letters.size(); ++i) {
      if (is_gone(change->of_letters[i])) continue;
      if (kept != i) change->writes[kept] = std::move(change->writes[i]);
      change->types[kept] = change->types[i];
      ++kept;
    }
    if (!change->of_letters.empty()) {
      change->writes.resize(kept);
      change->types.resize(kept);
    }
    auto& drop = change->drop_letters;
    drop.erase(std::remove_if(drop.begin(), drop.end(), is_gone), drop.end());
    gone.insert(drop.begin(), drop.end());
  }
}

void JournalWriter::PlanLocked(Batch* batch) {
  absl::flat_hash_map<std::pair<std::string_view, PendingTypeId>, size_t> newest;
  for (const auto& change : batch->changes) {
    batch->sync = batch->sync || change->sync;
    for (size_t i = 0; i < change->writes.size(); ++i) {
      Planned planned{&change->writes[i], change->types[i], change->since};
      JournalRecord& record = *planned.record;
      record.seq = ++state_->last_seq;
      if (state_->index.type(planned.type).policy.coalesce) {
        const std::pair<std::string_view, PendingTypeId> key(record.full_key, planned.type);
        if (const auto it = newest.find(key); it == newest.end()) {
          const auto place = state_->index.PlaceOf(record.full_key, planned.type, record.version);
          planned.superseded = place.superseded;
          planned.replaces = place.replaces;
          if (!place.superseded) newest[key] = batch->writes.size();
        } else if (Planned& other = batch->writes[it->second];
                   other.record->version >= record.version) {
          planned.superseded = true;
        } else {
          other.superseded = true;
          planned.replaces = other.replaces;
          planned.since = other.since;
          it->second = batch->writes.size();
        }
      }
      batch->writes.push_back(planned);
    }
    auto& drop = batch->disk.drop_letters;
    drop.insert(drop.end(), change->drop_letters.begin(), change->drop_letters.end());
  }
  for (const JournalBurial& burial : batch->burials) {
    batch->disk.bury.push_back(burial.letter);
    batch->disk.erase.push_back(burial.letter.record.seq);
    batch->sync = true;
  }
  newest.clear();  // Its views go now.
  batch->disk.append.reserve(batch->writes.size());
  for (const Planned& planned : batch->writes) {
    ++state_->FiguresOf(planned.type).enqueued;
    if (planned.superseded) {
      ++state_->FiguresOf(planned.type).coalesced;
      continue;
    }
    if (planned.replaces != 0) batch->disk.erase.push_back(planned.replaces);
    batch->disk.append.push_back(std::move(*planned.record));
    const JournalRecord& record = batch->disk.append.back();
    batch->stored.push_back({.full_key = record.full_key,
                             .type = planned.type,
                             .seq = record.seq,
                             .version = record.version,
                             .bytes = BytesOf(record),
                             .remove = record.remove,
                             .since = planned.since,
                             .replaces = planned.replaces,
                             .put_back = record.put_back});
  }
}

}  // namespace larder
