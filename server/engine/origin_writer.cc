// An origin may answer before Store returns, so an answer never looks at the queue by itself: it
// posts a look (as origin_loader.cc, whose reason is the same).

#include "engine/origin_writer.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "origin/origin_guard.h"

namespace larder {
namespace {

OriginWritten NotAskedInTime() {
  return {
      OriginWritten::Kind::kFailed,
      absl::DeadlineExceededError("earlier writes took all of the time; the origin was not asked")};
}

}  // namespace

OriginWritten WrittenOf(const OriginStored& stored) {
  switch (stored.kind) {
    case OriginStored::Kind::kDone:
      return {OriginWritten::Kind::kDone, absl::OkStatus()};
    case OriginStored::Kind::kRetry:
      return {OriginWritten::Kind::kFailed, stored.error};
    case OriginStored::Kind::kReject:
      return {OriginWritten::Kind::kRefused, stored.error};
    case OriginStored::Kind::kUnknown:
      return {OriginWritten::Kind::kUnknown, stored.error};
  }
  return {};
}

OriginWritten WrittenOf(const absl::Status& error) {
  if (WasNotAsked(error)) return {OriginWritten::Kind::kFailed, error};
  // What the origin says of the call itself, before it looks at any write.
  const bool refused = absl::IsFailedPrecondition(error) || absl::IsInvalidArgument(error) ||
                       absl::IsUnimplemented(error) || absl::IsPermissionDenied(error) ||
                       absl::IsUnauthenticated(error);
  return {refused ? OriginWritten::Kind::kRefused : OriginWritten::Kind::kUnknown, error};
}

Task<OriginWritten> OriginWriter::Write(OriginCall call, OriginStore::Write write,
                                        MonoNanos deadline) {
  const auto race = std::make_shared<Race<OriginWritten>>();
  const auto sent = std::make_shared<bool>(false);
  const Group group(call.name_space, call.type);
  bool full = false;
  {
    MutexLock lock(&mu_);
    full = queued_ >= options_.queue_max;
    if (!full) {
      ++queued_;
      queues_[group].writes.push_back({std::move(call), std::move(write), deadline, race, sent});
    }
  }
  if (full) {
    co_return OriginWritten{OriginWritten::Kind::kFailed,
                            absl::ResourceExhaustedError(
                                StrCat(options_.queue_max, " writes wait for the origin already"))};
  }
  Look(group);
  const absl::Duration left =
      absl::Nanoseconds(std::max<MonoNanos>(deadline - options_.clock->Mono(), 0));
  const TimerId timer =
      options_.executor->After(left, Alarm<OriginWritten>(race, options_.executor));
  std::optional<OriginWritten> answer = co_await *race;
  options_.executor->Cancel(timer);
  if (answer.has_value()) co_return *std::move(answer);
  bool asked = false;
  {
    MutexLock lock(&mu_);
    asked = *sent;
  }
  if (!asked) co_return NotAskedInTime();
  co_return OriginWritten{OriginWritten::Kind::kUnknown,
                          absl::DeadlineExceededError("no answer within the time limit")};
}

void OriginWriter::Look(const Group& group) {
  for (;;) {
    std::vector<Waiting> batch, late;
    {
      MutexLock lock(&mu_);
      const auto it = queues_.find(group);
      if (it == queues_.end()) return;
      Queue& queue = it->second;
      const MonoNanos now = options_.clock->Mono();
      size_t bytes = 0;
      while (!queue.writes.empty() && queue.calls < options_.calls_max &&
             batch.size() < options_.batch_max) {
        bytes += queue.writes.front().write.value.size();
        if (!batch.empty() && bytes > options_.batch_bytes_max) break;
        Waiting next = std::move(queue.writes.front());
        queue.writes.pop_front();
        --queued_;
        // Nobody waits for it any more.
        if (next.deadline <= now) {
          late.push_back(std::move(next));
          continue;
        }
        *next.sent = true;
        batch.push_back(std::move(next));
      }
      if (!batch.empty()) ++queue.calls;
      if (queue.writes.empty() && queue.calls == 0) queues_.erase(it);
    }
    for (const Waiting& waiting : late) waiting.answer->Finish(NotAskedInTime());
    if (batch.empty()) return;
    Send(group, std::move(batch));
  }
}

void OriginWriter::Send(const Group& group, std::vector<Waiting> batch) {
  OriginStore store;
  store.call = batch.front().call;
  MonoNanos deadline = 0;
  for (Waiting& waiting : batch) {
    store.writes.push_back(std::move(waiting.write));
    deadline = std::max(deadline, waiting.deadline);
  }
  const auto answered = [this, group](std::vector<Waiting>* waiting,
                                      const absl::StatusOr<std::vector<OriginStored>>& stored) {
    {
      MutexLock lock(&mu_);
      --queues_[group].calls;
    }
    for (size_t i = 0; i < waiting->size(); ++i)
      (*waiting)[i].answer->Finish(stored.ok() ? WrittenOf((*stored)[i])
                                               : WrittenOf(stored.status()));
    options_.executor->Post([this, group] { Look(group); });
  };
  if (options_.background != nullptr && !options_.background->TryEnter()) {
    std::vector<OriginStored> none(batch.size());
    for (OriginStored& each : none)
      each.error = absl::UnavailableError("the server is shutting down");
    answered(&batch, std::move(none));
    return;
  }
  Spawn(options_.origin->Store(std::move(store), deadline),
        [this, answered, batch = std::move(batch)](
            const absl::StatusOr<std::vector<OriginStored>>& stored) mutable {
          answered(&batch, stored);
          if (options_.background != nullptr) options_.background->Leave();
        });
}

}  // namespace larder
