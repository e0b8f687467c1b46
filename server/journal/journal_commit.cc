// What follows a write to the disk.

#include <algorithm>
#include <atomic>

#include "base/log.h"
#include "core/error.h"
#include "core/key.h"
#include "journal/journal_writer.h"

namespace larder {
namespace {

// Not the key, and not what the origin said, which may name it: `larder dlq show` has both.
void WriteDown(const DeadLetter& letter) {
  LogLazily(LogLevel::kWarning, "journal_dead_letter", [&]() -> std::vector<LogField> {
    return {{"id", letter.id},
            {"type", letter.record.type},
            {"namespace", FullKey::NamespaceOf(letter.record.full_key)},
            {"attempts", letter.attempts}};
  });
}

}  // namespace

void JournalWriter::Commit(Batch* batch) {
  // The table of letters has a lock of its own.
  const LetterTable::ByType dropped = state_->letters.Remove(batch->disk.drop_letters);
  LetterTable::ByType buried;
  for (const JournalBurial& burial : batch->burials) {
    const DeadLetter& letter = burial.letter;
    const uint64_t bytes = letter.record.full_key.size() + letter.record.value.size();
    if (!state_->letters.Add(letter.id, letter.record.full_key, letter.record.type, bytes)) {
      continue;
    }
    LetterTable::Sum& sum = buried[letter.record.type];
    ++sum.letters;
    sum.bytes += bytes;
  }
  {
    MutexLock lock(&state_->mu);
    state_->syncs += batch->sync ? 1 : 0;
    for (const auto& change : batch->changes) state_->index.Release(change->reservation);
    std::vector<uint64_t> erase;
    for (const PendingIndex::Stored& stored : batch->stored) {
      if (state_->index.Insert(stored, &erase)) ++state_->FiguresOf(stored.type).coalesced;
      if (!state_->early.empty()) {
        const auto early = state_->early.find(ToAbsl(stored.full_key));
        if (early != state_->early.end() &&
            early->second.IsSuperseded(stored.type, stored.version)) {
          state_->index.Supersede(stored.full_key, stored.type, stored.version, &erase);
        }
      }
      ForgetEarlyLocked(stored.full_key, stored.version);
    }
    for (const Planned& planned : batch->writes) {
      if (planned.superseded) {
        ForgetEarlyLocked(planned.record->full_key, planned.record->version);
      }
    }
    for (const JournalBurial& burial : batch->burials) {
      state_->index.Buried(burial.key);
      ++state_->FiguresOf(burial.type).dead;
    }
    state_->CountLetters(buried, dropped);
    EraseLocked(erase);
    state_->Publish();
  }
  Answer(batch->changes, absl::OkStatus());
  for (const JournalBurial& burial : batch->burials) WriteDown(burial.letter);
  if (JournalSink* const sink = state_->sink.load(); sink != nullptr) {
    for (const JournalBurial& burial : batch->burials) sink->OnDead(burial.letter);
  }
  changed_();
}

void JournalWriter::ForgetEarlyLocked(std::string_view full_key, Version version) {
  if (state_->early.empty()) return;
  const auto it = state_->early.find(ToAbsl(full_key));
  if (it != state_->early.end() && it->second.record->version <= version) state_->early.erase(it);
}

void JournalWriter::Answer(const std::vector<std::shared_ptr<JournalChange>>& changes,
                           const absl::Status& status) {
  // Few homes: the executor, and the loops of a lane.
  std::vector<std::pair<Executor*, std::vector<std::shared_ptr<Race<absl::Status>>>>> races;
  for (const auto& change : changes) {
    if (change->done == nullptr) continue;
    Executor* const home = change->home != nullptr ? change->home : state_->options.executor;
    const auto known = std::find_if(races.begin(), races.end(),
                                    [home](const auto& at) { return at.first == home; });
    auto& at = known != races.end() ? *known : races.emplace_back(home, 0);
    at.second.push_back(change->done);
  }
  for (auto& [home, some] : races) state_->FinishLater(std::move(some), status, home);
}

std::vector<std::shared_ptr<JournalChange>> JournalWriter::EmptyQueueLocked() {
  std::vector<std::shared_ptr<JournalChange>> changes(queue_.begin(), queue_.end());
  queue_.clear();
  queued_writes_ = 0;
  for (const auto& change : changes) state_->index.Release(change->reservation);
  state_->early.clear();
  state_->Publish();
  return changes;
}

void JournalWriter::PutBackLocked(Batch* batch) {
  // Not those that the appends of the batch were to replace.
  const auto& erase = batch->disk.erase;
  erases_.insert(erases_.end(), erase.begin(),
                 erase.begin() + static_cast<ptrdiff_t>(batch->leavings));
  for (auto it = batch->burials.rbegin(); it != batch->burials.rend(); ++it) {
    burials_.push_front(std::move(*it));
  }
}

absl::Status JournalWriter::Refused(const absl::Status& why) const {
  return RetryableError(Reason::kJOURNAL_UNAVAILABLE, state_->options.heal_pause,
                        StrCat("the journal takes nothing, and the write is not stored: its disk "
                               "failed: ",
                               ToStd(why.message())));
}

absl::Status JournalWriter::Unknown(const absl::Status& why) const {
  return RetryableError(Reason::kWRITE_UNKNOWN, state_->options.heal_pause,
                        StrCat("the journal's disk failed; the write may or may not be stored: ",
                               ToStd(why.message())));
}

void JournalWriter::CountLost(const std::vector<std::shared_ptr<JournalChange>>& changes) {
  uint64_t writes = 0;
  for (const auto& change : changes) writes += change->early ? change->writes.size() : 0;
  if (writes > 0) LogError("journal_writes_lost", {{"writes", writes}, {"sync", "none"}});
}

// What was handed to the disk may be there when it has failed meanwhile; what still waited, and
// what comes from now on, is not.
void JournalWriter::Fail(Batch* batch, const absl::Status& why) {
  const absl::Status refused = Refused(why);
  std::vector<std::shared_ptr<JournalChange>> others;
  {
    MutexLock lock(&state_->mu);
    ++state_->failures;
    state_->trouble = refused;
    for (const PendingIndex::Stored& stored : batch->stored) {
      doubts_.push_back({std::string(stored.full_key), stored.type, stored.seq});
    }
    others = EmptyQueueLocked();
    for (const auto& change : batch->changes) state_->index.Release(change->reservation);
    PutBackLocked(batch);
    state_->Publish();
  }
  LogError("journal_disk_failed", {{"error", why}, {"unacknowledged", batch->stored.size()}});
  std::vector<std::shared_ptr<JournalChange>> unsafe = batch->changes;
  unsafe.insert(unsafe.end(), others.begin(), others.end());
  CountLost(unsafe);
  Answer(batch->changes, absl::IsUnknown(why) ? Unknown(why) : refused);
  Answer(others, refused);
  RefuseWaiting(refused);
  HealLater();
}

void JournalWriter::Drain(absl::Duration most) {
  Wake();
  const MonoNanos end = MonoAfter(Clock::System()->Mono(), most);
  MutexLock lock(&state_->mu);
  while (running_) {
    const MonoNanos now = Clock::System()->Mono();
    if (now >= end) return;
    idle_.WaitFor(&state_->mu, absl::Nanoseconds(end - now));
  }
}

void JournalWriter::Stop() {
  std::vector<std::shared_ptr<JournalChange>> late;
  std::vector<Told> told;
  {
    MutexLock lock(&state_->mu);
    stopped_ = true;
    late = EmptyQueueLocked();
    told = TakeIntakeLocked();
  }
  Tell(std::move(told));
  CountLost(late);
  Answer(late, Error(Reason::kDRAINING, "the server is shutting down"));
}

}  // namespace larder
