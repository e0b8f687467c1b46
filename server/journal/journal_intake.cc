// How an append gets to the writer. It is handed in, and the thread queues it where there is room;
// where there is none it is refused, or waits in the line of its type. Nobody overtakes those who
// wait for the same room.

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "base/turn.h"
#include "core/error.h"
#include "journal/journal_writer.h"

namespace larder {
namespace {

// As many as a batch has, so that nobody waits long for the lock.
constexpr size_t kTakenAtOnce = 2'000;

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
  change->early = change->blocks = true;
  for (const PendingTypeId type : change->types) {
    const WritePolicy& policy = state_->options.types[type].policy;
    change->sync = change->sync || policy.sync == JournalSync::kFsync;
    change->early = change->early && policy.sync == JournalSync::kNone;
    change->blocks = change->blocks && policy.on_full == OnFull::kBlock;
  }
  if (!change->early) {
    change->home = HereOr(state_->options.executor);
    change->done = std::make_shared<Race<absl::Status>>();
  }
  if (change->early || refuses_.load(std::memory_order_relaxed)) {
    absl::Status status;
    {
      MutexLock lock(&state_->mu);
      status = TakeInLocked(change);
    }
    if (!status.ok()) co_return status;
    if (!change->waits) Wake();
  } else {
    const std::shared_ptr<Race<absl::Status>> done = change->done;
    if (!HandIn(change)) {
      MutexLock lock(&state_->mu);
      CountRefusedLocked(*change);
      co_return TooManyWait();
    }
    std::optional<absl::Status> ended = co_await *done;
    if (!change->waits) co_return *std::move(ended);
  }
  if (change->waits) {
    changed_();
    const absl::Status status = co_await AwaitRoom(change, deadline);
    if (!status.ok()) co_return status;
  }
  if (change->early) co_return absl::OkStatus();
  std::optional<absl::Status> ended = co_await *change->done;
  co_return *std::move(ended);
}

bool JournalWriter::HandIn(const std::shared_ptr<JournalChange>& change) {
  bool first = false;
  {
    MutexLock lock(&intake_mu_);
    if (intake_writes_ + change->writes.size() > state_->options.appends_max) return false;
    first = intake_.empty();
    intake_writes_ += change->writes.size();
    intake_.push_back(change);
  }
  // Whoever came before sees to it that the thread looks, or it does by itself.
  if (first && !looks_.load()) Wake();
  return true;
}

std::vector<JournalWriter::Told> JournalWriter::TakeIntakeLocked() {
  std::vector<std::shared_ptr<JournalChange>> came;
  {
    MutexLock lock(&intake_mu_);
    while (!intake_.empty() && came.size() < kTakenAtOnce) {
      intake_writes_ -= intake_.front()->writes.size();
      came.push_back(std::move(intake_.front()));
      intake_.pop_front();
    }
  }
  std::vector<Told> told;
  for (const auto& change : came) {
    const std::shared_ptr<Race<absl::Status>> done = change->done;
    absl::Status status = TakeInLocked(change);
    if (status.ok() && !change->waits) continue;
    // Who waits for room waits for the end after that.
    if (change->waits) change->done = std::make_shared<Race<absl::Status>>();
    told.push_back({done, change->home, std::move(status)});
  }
  return told;
}

absl::Status JournalWriter::TakeInLocked(const std::shared_ptr<JournalChange>& change) {
  bool never = false;
  absl::Status status = TryQueueLocked(change, &never);
  refuses_.store(!status.ok(), std::memory_order_relaxed);
  if (status.ok() || DetailsOf(status).reason != ReasonName(Reason::kJOURNAL_FULL)) return status;
  change->waits = change->blocks && !never;
  if (change->waits) return WaitInLineLocked(change);
  CountRefusedLocked(*change);
  return status;
}

void JournalWriter::CountRefusedLocked(const JournalChange& change) {
  for (const PendingTypeId type : change.types) ++state_->FiguresOf(type).refused;
}

void JournalWriter::Tell(std::vector<Told> told) {
  for (Told& one : told) state_->FinishLater({std::move(one.race)}, one.status, one.home);
}

absl::Status JournalWriter::Draining() {
  return Error(Reason::kDRAINING, "the server is shutting down and takes no more writes");
}

absl::Status JournalWriter::TooManyWait() const {
  return RetryableError(Reason::kJOURNAL_FULL, absl::Milliseconds(100),
                        StrCat("the journal has no room: ", state_->options.appends_max,
                               " writes wait for its disk"));
}

absl::Status JournalWriter::TryQueueLocked(const std::shared_ptr<JournalChange>& change,
                                           bool* never) {
  if (state_->draining || stopped_) return Draining();
  if (!state_->trouble.ok()) return state_->trouble;
  if (queued_writes_ + in_lines_ + change->writes.size() > state_->options.appends_max) {
    *never = true;
    return TooManyWait();
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

}  // namespace larder
