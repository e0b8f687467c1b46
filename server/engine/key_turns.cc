// A turn is handed over by whoever ends it, under the shard's lock: the key stays taken in between,
// so nobody comes before those who wait. A waiter whose time is over may be in the line yet when
// the turn comes to it: TrySet says that it was woken before.

#include "engine/key_turns.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "base/strings.h"
#include "core/error.h"

namespace larder {

KeyTurns::Shard& KeyTurns::ShardOf(std::string_view full_key) {
  return shards_[absl::HashOf(full_key) % kShards];
}

Task<absl::StatusOr<KeyTurns::Turn>> KeyTurns::Take(std::string full_key, MonoNanos deadline) {
  std::shared_ptr<Waiter> waiter;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto [place, first] = shard.keys.try_emplace(full_key);
    if (!first) {
      if (shard.draining) {
        co_return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                                 "the server is shutting down");
      }
      if (waiting_.fetch_add(1, std::memory_order_relaxed) >= options_.waiters_max) {
        waiting_.fetch_sub(1, std::memory_order_relaxed);
        co_return RetryableError(
            Reason::kTOO_MANY_WAITERS, absl::Milliseconds(100),
            StrCat(options_.waiters_max, " callers wait to write keys that others write already"));
      }
      waiter = std::make_shared<Waiter>(options_.executor);
      place->second.push_back(waiter);
    }
  }
  if (waiter == nullptr) co_return Turn(this, std::move(full_key));
  TimerId timer = 0;
  if (deadline != INT64_MAX) {
    const absl::Duration left = absl::Nanoseconds(deadline - options_.clock->Mono());
    timer = options_.executor->After(left, [waiter] { waiter->woken.TrySet(Woken::kTimeout); });
  }
  const Woken woken = co_await waiter->woken;
  if (timer != 0) options_.executor->Cancel(timer);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  switch (woken) {
    case Woken::kTurn:
      co_return Turn(this, std::move(full_key));
    case Woken::kTimeout:
      Leave(full_key, waiter);
      co_return Error(Reason::kDEADLINE_EXCEEDED,
                      "the deadline passed while another write of the key was under way; nothing "
                      "was written");
    case Woken::kDraining:
      break;
  }
  co_return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                           "the server is shutting down");
}

void KeyTurns::Leave(const std::string& full_key, const std::shared_ptr<Waiter>& waiter) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto place = shard.keys.find(full_key);
  if (place != shard.keys.end()) std::erase(place->second, waiter);
}

void KeyTurns::End(const std::string& full_key) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto place = shard.keys.find(full_key);
  std::deque<std::shared_ptr<Waiter>>& line = place->second;
  while (!line.empty()) {
    const std::shared_ptr<Waiter> next = std::move(line.front());
    line.pop_front();
    if (next->woken.TrySet(Woken::kTurn)) return;
  }
  shard.keys.erase(place);
}

void KeyTurns::Drain() {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    shard.draining = true;
    for (auto& [full_key, line] : shard.keys) {
      for (const std::shared_ptr<Waiter>& waiter : line) waiter->woken.TrySet(Woken::kDraining);
    }
  }
}

}  // namespace larder
