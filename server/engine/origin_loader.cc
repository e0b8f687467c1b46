#include "engine/origin_loader.h"

#include <algorithm>
#include <optional>

#include "base/strings.h"

namespace larder {
namespace {

OriginLoaded Failed(absl::Status error) {
  OriginLoaded failed;
  failed.error = std::move(error);
  return failed;
}

}  // namespace

Task<OriginLoaded> OriginLoader::Load(OriginCall call, OriginLoad::Item item, MonoNanos deadline) {
  const auto race = std::make_shared<Race<OriginLoaded>>();
  const MonoNanos now = options_.clock->Mono();
  Wanted wanted{std::move(call), std::move(item), deadline, now, race};
  Enqueue(std::move(wanted));
  const absl::Duration left = absl::Nanoseconds(std::max<MonoNanos>(deadline - now, 0));
  const TimerId timer =
      options_.executor->After(left, Alarm<OriginLoaded>(race, options_.executor));
  std::optional<OriginLoaded> answer = co_await *race;
  options_.executor->Cancel(timer);
  if (answer.has_value()) co_return *std::move(answer);
  co_return Failed(absl::DeadlineExceededError("no answer within the time limit"));
}

void OriginLoader::Enqueue(Wanted wanted) {
  const Group group(wanted.call.name_space, wanted.call.type);
  bool now = false, later = false;
  {
    MutexLock lock(&mu_);
    if (queued_ < options_.queue_max) {
      ++queued_;
      Gathering& gathering = groups_[group];
      gathering.keys.push_back(std::move(wanted));
      const bool full = gathering.keys.size() == options_.batch_max;
      now = full || (!gathering.looks && gathering.calls == 0);
      later = !now && !gathering.looks;
      if (now || later) gathering.looks = true;
    }
  }
  if (now) {
    options_.executor->Post([this, group] { Look(group); });
  } else if (later) {
    options_.executor->After(options_.delay, [this, group] { Look(group); });
  }
  // Not moved to the queue: it was full.
  if (wanted.answer != nullptr) {
    wanted.answer->Finish(Failed(absl::ResourceExhaustedError(
        StrCat(options_.queue_max, " keys wait to be loaded from the origin already"))));
  }
}

void OriginLoader::Look(const Group& group) {
  for (;;) {
    std::vector<Wanted> batch;
    absl::Duration wait = absl::InfiniteDuration();
    {
      MutexLock lock(&mu_);
      const auto it = groups_.find(group);
      if (it == groups_.end()) return;
      Gathering& gathering = it->second;
      gathering.looks = false;
      batch = Take(&gathering, &wait);
      if (batch.empty() && wait != absl::InfiniteDuration()) gathering.looks = true;
      if (batch.empty() && gathering.keys.empty() && gathering.calls == 0) groups_.erase(it);
    }
    if (batch.empty()) {
      if (wait != absl::InfiniteDuration())
        options_.executor->After(wait, [this, group] { Look(group); });
      return;
    }
    Send(group, std::move(batch));
  }
}

std::vector<OriginLoader::Wanted> OriginLoader::Take(Gathering* gathering, absl::Duration* wait) {
  std::vector<Wanted> batch;
  std::deque<Wanted>& keys = gathering->keys;
  // Whose time is over is not asked for any more.
  const auto drop_finished = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    while (!keys.empty() && keys.front().answer->finished()) {
      keys.pop_front();
      --queued_;
    }
  };
  drop_finished();
  // Whoever comes back looks again.
  if (keys.empty() || calls_ >= options_.calls_max) return batch;
  const absl::Duration waited = absl::Nanoseconds(options_.clock->Mono() - keys.front().since);
  if (keys.size() < options_.batch_max && gathering->calls > 0 && waited < options_.delay) {
    *wait = options_.delay - waited;
    return batch;
  }
  for (; !keys.empty() && batch.size() < options_.batch_max; drop_finished()) {
    batch.push_back(std::move(keys.front()));
    keys.pop_front();
    --queued_;
  }
  ++calls_;
  ++gathering->calls;
  return batch;
}

void OriginLoader::Send(const Group& group, std::vector<Wanted> batch) {
  OriginLoad load;
  load.call = batch.front().call;
  MonoNanos deadline = 0;
  for (Wanted& wanted : batch) {
    load.items.push_back(std::move(wanted.item));
    deadline = std::max(deadline, wanted.deadline);
  }
  if (options_.background != nullptr && !options_.background->TryEnter()) {
    OnAnswer(group, std::move(batch), absl::UnavailableError("the server is shutting down"));
    return;
  }
  Spawn(options_.origin->Load(std::move(load), deadline),
        [this, group,
         batch = std::move(batch)](absl::StatusOr<std::vector<OriginLoaded>> answers) mutable {
          OnAnswer(group, std::move(batch), std::move(answers));
          if (options_.background != nullptr) options_.background->Leave();
        });
}

void OriginLoader::OnAnswer(const Group& group, std::vector<Wanted> batch,
                            absl::StatusOr<std::vector<OriginLoaded>> answers) {
  // Groups that wait for a call of any group to return, the one whose key has waited longest first.
  std::vector<std::pair<MonoNanos, Group>> held_up;
  {
    MutexLock lock(&mu_);
    if (calls_-- == options_.calls_max) {
      for (const auto& [other, gathering] : groups_) {
        if (!gathering.keys.empty() && other != group)
          held_up.emplace_back(gathering.keys.front().since, other);
      }
    }
    --groups_[group].calls;
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].answer->Finish(answers.ok() ? std::move((*answers)[i]) : Failed(answers.status()));
  }
  std::sort(held_up.begin(), held_up.end());
  for (const auto& [since, other] : held_up) Look(other);
  Look(group);
}

}  // namespace larder
