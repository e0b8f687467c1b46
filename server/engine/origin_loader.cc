// An origin may answer, or refuse, before Load returns. So nothing here looks at the queue from
// within an answer: it posts a look instead, or a queue of small calls to an origin whose breaker
// is open would be worked off on one stack.

#include "engine/origin_loader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

OriginLoaded Failed(absl::Status error) {
  OriginLoaded failed;
  failed.error = std::move(error);
  return failed;
}

}  // namespace

OriginLoader::Gather::Gather(OriginLoader* loader) : loader_(loader) {
  MutexLock lock(&loader_->mu_);
  ++loader_->gathers_;
}

OriginLoader::Gather::~Gather() {
  std::vector<Group> due;
  {
    MutexLock lock(&loader_->mu_);
    if (--loader_->gathers_ > 0) return;
    for (const auto& [group, gathering] : loader_->groups_) {
      if (!gathering.keys.empty() && gathering.calls == 0) due.push_back(group);
    }
  }
  for (const Group& group : due) loader_->LookSoon(group);
}

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
      now = full || (!gathering.looks && gathering.calls == 0 && gathers_ == 0);
      later = !now && !gathering.looks;
      if (now || later) gathering.looks = true;
    }
  }
  if (now) {
    LookSoon(group);
  } else if (later) {
    options_.executor->After(options_.delay, [this, group] { Look(group); });
  }
  // Not moved to the queue: it was full.
  if (wanted.answer != nullptr) {
    refused_.fetch_add(1, std::memory_order_relaxed);
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
      batch = Take(group, &gathering, &wait);
      if (batch.empty() && wait != absl::InfiniteDuration()) gathering.looks = true;
      if (batch.empty() && gathering.keys.empty() && gathering.calls == 0 && !gathering.held_up)
        groups_.erase(it);
    }
    if (batch.empty()) {
      if (wait != absl::InfiniteDuration())
        options_.executor->After(wait, [this, group] { Look(group); });
      return;
    }
    Send(group, std::move(batch));
  }
}

std::vector<OriginLoader::Wanted> OriginLoader::Take(const Group& group, Gathering* gathering,
                                                     absl::Duration* wait) {
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
  if (keys.empty()) return batch;
  if (calls_ >= options_.calls_max) {
    if (!std::exchange(gathering->held_up, true)) held_up_.push_back(group);
    return batch;
  }
  const absl::Duration waited = absl::Nanoseconds(options_.clock->Mono() - keys.front().since);
  const bool more = gathering->calls > 0 || gathers_ > 0;
  if (keys.size() < options_.batch_max && more && waited < options_.delay) {
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
  // A call for another group, if one waits for it.
  std::optional<Group> next;
  {
    MutexLock lock(&mu_);
    --calls_;
    --groups_[group].calls;
    if (!held_up_.empty()) {
      next = std::move(held_up_.front());
      held_up_.pop_front();
      groups_[*next].held_up = false;
    }
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].answer->Finish(answers.ok() ? std::move((*answers)[i]) : Failed(answers.status()));
  }
  if (next.has_value()) LookSoon(*next);
  LookSoon(group);
}

}  // namespace larder
