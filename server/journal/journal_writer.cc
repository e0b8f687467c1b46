// Group commit. One thread writes; a batch is everything that waited while the batch before it was
// written: appends, erases of what has been delivered and burials, in one step with at most one
// fsync. Erases alone need none: a record that comes back after a crash is delivered again, which
// its version makes harmless. Those who wait are answered on the executor, some dozens in one piece
// of work, so that an append costs the executor a part of one.
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
#include <set>

#include "base/log.h"
#include "core/error.h"

namespace larder {
namespace {

// Of one batch: enough to spread the cost of an fsync over, few enough to be answered soon.
constexpr size_t kBatchWrites = 2'000;
constexpr size_t kBatchBytes = 8 << 20;
constexpr size_t kBatchErases = 20'000;
constexpr size_t kBatchBurials = 200;

absl::Status Draining() {
  return Error(Reason::kDRAINING, "the server is shutting down and takes no more writes");
}

uint64_t BytesOf(const JournalRecord& record) {
  return record.full_key.size() + record.value.size();
}

std::vector<PendingIndex::Wanted> WantedOf(const JournalChange& change) {
  std::vector<PendingIndex::Wanted> wanted;
  wanted.reserve(change.writes.size());
  for (size_t i = 0; i < change.writes.size(); ++i) {
    const JournalRecord& record = change.writes[i];
    wanted.push_back({record.full_key, change.types[i], record.version, BytesOf(record)});
  }
  return wanted;
}

}  // namespace

Task<absl::Status> JournalWriter::Append(std::vector<JournalRecord> writes,
                                         std::vector<PendingTypeId> types, MonoNanos deadline) {
  if (writes.empty()) co_return absl::OkStatus();
  const auto change = std::make_shared<JournalChange>();
  change->writes = std::move(writes);
  change->types = std::move(types);
  change->since = state_->options.clock->Mono();
  const absl::Time now = state_->options.clock->Now();
  for (JournalRecord& record : change->writes) record.enqueued = now;
  absl::Status status;
  bool waits = false;
  bool early = false;
  {
    MutexLock lock(&state_->mu);
    bool never = false;
    bool blocks = true;
    early = true;
    for (const PendingTypeId type : change->types) {
      const WritePolicy& policy = state_->index.type(type).policy;
      change->sync = change->sync || policy.sync == JournalSync::kFsync;
      early = early && policy.sync == JournalSync::kNone;
      blocks = blocks && policy.on_full == OnFull::kBlock;
    }
    change->early = early;
    if (!early) change->done = std::make_shared<Race<absl::Status>>();
    status = TryQueueLocked(change, &never);
    if (!status.ok() && DetailsOf(status).reason == "JOURNAL_FULL") {
      if (blocks && !never) {
        waits = true;
        status = WaitInLineLocked(change);
      }
      if (!status.ok()) {
        for (const PendingTypeId type : change->types) ++state_->FiguresOf(type).refused;
      }
    }
  }
  if (!status.ok()) co_return status;
  if (waits) {
    changed_();
    status = co_await AwaitRoom(change, deadline);
    if (!status.ok()) co_return status;
  } else {
    Wake();
  }
  if (early) co_return absl::OkStatus();
  std::optional<absl::Status> ended = co_await *change->done;
  co_return *std::move(ended);
}

Task<absl::Status> JournalWriter::Change(std::shared_ptr<JournalChange> change) {
  change->done = std::make_shared<Race<absl::Status>>();
  {
    MutexLock lock(&state_->mu);
    if (stopped_) co_return Draining();
    if (!state_->trouble.ok()) co_return state_->trouble;
    QueueLocked(change);
  }
  Wake();
  std::optional<absl::Status> ended = co_await *change->done;
  co_return *std::move(ended);
}

absl::Status JournalWriter::TryQueueLocked(const std::shared_ptr<JournalChange>& change,
                                           bool* never) {
  if (state_->draining || stopped_) return Draining();
  if (!state_->trouble.ok()) return state_->trouble;
  if (queued_writes_ + in_lines_ + change->writes.size() > state_->options.appends_max) {
    *never = true;
    return RetryableError(Reason::kJOURNAL_FULL, absl::Milliseconds(100),
                          StrCat("the journal has no room: ", state_->options.appends_max,
                                 " writes wait for its disk"));
  }
  absl::Status status = state_->index.Reserve(WantedOf(*change), state_->options.clock->Mono(),
                                              &change->reservation, never, &change->in_all);
  if (!status.ok()) return status;
  // Nobody overtakes those who wait for the same room, unless by what takes none.
  const bool first =
      change->room != nullptr || (!full_in_all_ && !lines_.contains(change->types.front()));
  if (!first && !change->reservation.empty()) {
    state_->index.Release(change->reservation);
    return RetryableError(Reason::kJOURNAL_FULL, absl::Milliseconds(500),
                          "the journal has no room, and others wait for it");
  }
  QueueLocked(change);
  return absl::OkStatus();
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

absl::Status JournalWriter::WaitInLineLocked(const std::shared_ptr<JournalChange>& change) {
  change->room = std::make_shared<Race<bool>>();
  change->turn = ++turns_;
  in_lines_ += change->writes.size();
  auto& line = lines_[change->types.front()];
  full_in_all_ = full_in_all_ || (change->in_all && line.empty());
  line.push_back(change);
  for (const PendingTypeId type : change->types) state_->index.AddWaiting(type);
  return absl::OkStatus();
}

Task<absl::Status> JournalWriter::AwaitRoom(std::shared_ptr<JournalChange> change,
                                            MonoNanos deadline) {
  Executor* const executor = state_->options.executor;
  const absl::Duration left =
      absl::Nanoseconds(std::max<MonoNanos>(deadline - state_->options.clock->Mono(), 0));
  const TimerId timer = executor->After(left, Alarm<bool>(change->room, executor));
  const std::optional<bool> woken = co_await *change->room;
  if (woken.has_value()) executor->Cancel(timer);
  {
    MutexLock lock(&state_->mu);
    if (change->decided) co_return change->refusal;
    LeaveLineLocked(change);
    for (const PendingTypeId type : change->types) ++state_->FiguresOf(type).refused;
  }
  // For those behind it.
  changed_();
  co_return Error(Reason::kDEADLINE_EXCEEDED,
                  "the journal had no room until the deadline; nothing has been written");
}

void JournalWriter::LeaveLineLocked(const std::shared_ptr<JournalChange>& change) {
  const auto line = lines_.find(change->types.front());
  line->second.erase(std::find(line->second.begin(), line->second.end(), change));
  in_lines_ -= change->writes.size();
  if (line->second.empty()) lines_.erase(line);
  for (const PendingTypeId type : change->types) state_->index.RemoveWaiting(type);
}

void JournalWriter::AdmitLocked() {
  std::set<PendingTypeId> held_up;
  full_in_all_ = false;
  for (;;) {
    // Whoever came first of all, but for those whose own type is full.
    std::shared_ptr<JournalChange> first;
    for (const auto& [type, line] : lines_) {
      if (held_up.contains(type)) continue;
      if (first == nullptr || line.front()->turn < first->turn) first = line.front();
    }
    if (first == nullptr) return;
    in_lines_ -= first->writes.size();
    bool never = false;
    const absl::Status status = TryQueueLocked(first, &never);
    in_lines_ += first->writes.size();
    if (!status.ok() && first->in_all) {
      full_in_all_ = true;
      return;
    }
    if (!status.ok()) {
      held_up.insert(first->types.front());
      continue;
    }
    first->decided = true;
    admitted_.push_back(first);
    LeaveLineLocked(first);
  }
}

void JournalWriter::RefuseWaiting(const absl::Status& why) {
  std::vector<std::shared_ptr<JournalChange>> refused;
  {
    MutexLock lock(&state_->mu);
    while (!lines_.empty()) {
      const std::shared_ptr<JournalChange> first = lines_.begin()->second.front();
      first->decided = true;
      first->refusal = why;
      refused.push_back(first);
      LeaveLineLocked(first);
    }
  }
  for (const auto& change : refused) {
    state_->options.executor->Post([change] { change->room->Finish(false); });
  }
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
  bool runs = false;
  {
    MutexLock lock(&state_->mu);
    admitted.swap(admitted_);
    const bool work = !queue_.empty() || !erases_.empty() || !burials_.empty();
    runs = work && !running_ && !stopped_ && state_->trouble.ok();
    running_ = running_ || runs;
  }
  for (auto& change : admitted) {
    state_->options.executor->Post([change = std::move(change)] { change->room->Finish(true); });
  }
  if (runs) thread_->Post([this] { Run(); });
}

void JournalWriter::Run() {
  for (;;) {
    Batch batch;
    {
      MutexLock lock(&state_->mu);
      if (!TakeLocked(&batch)) {
        running_ = false;
        idle_.SignalAll();
        return;
      }
      PlanLocked(&batch);
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
