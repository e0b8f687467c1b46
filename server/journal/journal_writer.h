// JournalWriter brings changes to the journal's disk, in the order in which they came, as many at a
// time as wait. It decides what each write does to those of its key, gives it its seq, and tells
// the index when it is on disk. When the disk fails it takes nothing more until it has healed.
// Thread safety: any method, any thread; those that end in Locked under the state's lock, and then
// Wake without it. Only Load and Drain block. Errors: those of journal.h.

#ifndef LARDER_JOURNAL_JOURNAL_WRITER_H_
#define LARDER_JOURNAL_JOURNAL_WRITER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "journal/journal_state.h"

namespace larder {

class JournalWriter {
 public:
  // All outlive it. `thread` runs one piece of work at a time. `changed` is called without a lock
  // whenever something may have become due.
  JournalWriter(JournalState* state, Executor* thread, std::function<void()> changed)
      : state_(state), thread_(thread), changed_(std::move(changed)) {}

  // Before anything else. Timers do nothing any more when `alive` has gone.
  void Start(std::weak_ptr<void> alive) { alive_ = std::move(alive); }

  // Before Start has returned to anybody else: brings what is on disk into the index. Blocks.
  absl::Status Load();
  // Has the sink told of the newest letters that Load found, some at a time.
  void TellOfLettersLater();
  // The store may have found something wrong that needs healing.
  void CheckHealth();

  // See Journal::Append. `types` are those of the writes.
  Task<absl::Status> Append(std::vector<JournalRecord> writes, std::vector<PendingTypeId> types,
                            MonoNanos deadline);
  // Without a bound on the room: what it brings has been in the journal before. An empty change
  // ends when all that was acknowledged before it is in the index. Letters that are no longer there
  // are passed over, and left out of it.
  Task<absl::Status> Change(std::shared_ptr<JournalChange> change);

  void EraseLocked(const std::vector<uint64_t>& seqs) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // The key stays in flight until it is done.
  void BuryLocked(JournalBurial burial) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Gives room that has become free to those who wait for it.
  void AdmitLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Has the thread see to what waits.
  void Wake();

  // Nobody gets room any more.
  void RefuseWaiting(const absl::Status& why);
  // Waits until nothing is left to do that the disk takes. Blocks.
  void Drain(absl::Duration most);
  // Does nothing more, from now on.
  void Stop();

 private:
  // One write of a batch.
  struct Planned {
    JournalRecord* record;
    PendingTypeId type;
    MonoNanos since;
    uint64_t replaces = 0;
    bool superseded = false;
  };
  struct Batch {
    std::vector<std::shared_ptr<JournalChange>> changes;
    std::vector<Planned> writes;
    std::vector<PendingIndex::Stored> stored;  // those that are not superseded
    std::vector<JournalBurial> burials;
    JournalStore::Changes disk;
    size_t leavings = 0;   // of disk.erase: what came from erases_
    bool letters = false;  // some change is about letters
    bool sync = false;
  };
  // The key of a write of which nobody knows whether it is on disk.
  struct Doubt {
    std::string full_key;
    PendingTypeId type;
    uint64_t seq;
  };
  class Scan;

  // What is to be told to who handed a change in.
  struct Told {
    std::shared_ptr<Race<absl::Status>> race;
    Executor* home;
    absl::Status status;
  };
  // False when too many wait already.
  bool HandIn(const std::shared_ptr<JournalChange>& change);
  bool HasIntake() const {
    MutexLock lock(&intake_mu_);
    return !intake_.empty();
  }
  // Queues what was handed in. Those are to be told, after the lock is given up, for whom there is
  // no room, or of whom nothing is taken any more.
  std::vector<Told> TakeIntakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void Tell(std::vector<Told> told);
  void CountRefusedLocked(const JournalChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Queues it, or has it wait for room.
  absl::Status TakeInLocked(const std::shared_ptr<JournalChange>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  static absl::Status Draining();
  absl::Status TooManyWait() const;
  absl::Status TryQueueLocked(const std::shared_ptr<JournalChange>& change, bool* never)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void QueueLocked(std::shared_ptr<JournalChange> change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  absl::Status WaitInLineLocked(const std::shared_ptr<JournalChange>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  Task<absl::Status> AwaitRoom(std::shared_ptr<JournalChange> change, MonoNanos deadline);
  void LeaveLineLocked(const std::shared_ptr<JournalChange>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);

  void Run();
  void TakeLeavingsLocked(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  // Everything that waits for the disk, its room given back. What had been acknowledged is lost.
  std::vector<std::shared_ptr<JournalChange>> EmptyQueueLocked()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void PutBackLocked(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  bool TakeLocked(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void KeepToLetters(Batch* batch);
  void PlanLocked(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void Commit(Batch* batch);
  void Fail(Batch* batch, const absl::Status& why);
  // What is told to whom nothing is taken of, and nothing is stored.
  absl::Status Refused(const absl::Status& why) const;
  absl::Status Unknown(const absl::Status& why) const;
  // Writes that were acknowledged from memory and never got to the disk.
  static void CountLost(const std::vector<std::shared_ptr<JournalChange>>& changes);
  void ForgetEarlyLocked(std::string_view full_key, Version version)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mu);
  void Answer(const std::vector<std::shared_ptr<JournalChange>>& changes,
              const absl::Status& status);
  void TellOfLetters();
  void HealLater();
  void HealSoon();
  void Heal();
  void EraseInTrouble();
  absl::Status ScanStore();

  JournalState* const state_;
  Executor* const thread_;
  const std::function<void()> changed_;
  std::weak_ptr<void> alive_;

  // Appends that have come since the thread last looked. Many callers hand them in while the thread
  // has the state's lock for long; this one nobody has for long.
  mutable Mutex intake_mu_;
  std::deque<std::shared_ptr<JournalChange>> intake_ ABSL_GUARDED_BY(intake_mu_);
  size_t intake_writes_ ABSL_GUARDED_BY(intake_mu_) = 0;

  // The thread runs, and looks at what was handed in before it rests.
  std::atomic<bool> looks_{false};
  // The last append was not taken: whoever comes next is told so at once.
  std::atomic<bool> refuses_{false};

  std::deque<std::shared_ptr<JournalChange>> queue_ ABSL_GUARDED_BY(state_->mu);
  size_t queued_writes_ ABSL_GUARDED_BY(state_->mu) = 0;
  // Those that wait for room, by the type of their first write, in the order of their coming. Each
  // line is held up by its type's bounds for itself, and all of them by the bounds of all together.
  std::map<PendingTypeId, std::deque<std::shared_ptr<JournalChange>>> lines_
      ABSL_GUARDED_BY(state_->mu);
  size_t in_lines_ ABSL_GUARDED_BY(state_->mu) = 0;       // their writes
  bool full_in_all_ ABSL_GUARDED_BY(state_->mu) = false;  // whoever is next waits for room in all
  uint64_t turns_ ABSL_GUARDED_BY(state_->mu) = 0;
  // Those that have got room and have not been told.
  std::vector<std::shared_ptr<JournalChange>> admitted_ ABSL_GUARDED_BY(state_->mu);
  std::deque<uint64_t> erases_ ABSL_GUARDED_BY(state_->mu);
  std::deque<JournalBurial> burials_ ABSL_GUARDED_BY(state_->mu);
  // Without values; the newest last.
  std::deque<DeadLetter> found_letters_ ABSL_GUARDED_BY(state_->mu);
  std::vector<Doubt> doubts_ ABSL_GUARDED_BY(state_->mu);
  // Load saw all that there was, not only what a disk that fails could give.
  bool loaded_all_ ABSL_GUARDED_BY(state_->mu) = false;
  bool running_ ABSL_GUARDED_BY(state_->mu) = false;
  bool stopped_ ABSL_GUARDED_BY(state_->mu) = false;
  CondVar idle_;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_JOURNAL_WRITER_H_
