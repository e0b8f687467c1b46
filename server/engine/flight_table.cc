// Signals are set outside the shard's lock; the first word that a waiter gets wins, so a landing
// that comes in the moment in which its time runs out is lost on it, and on nobody else.

#include "engine/flight_table.h"

#include "absl/hash/hash.h"
#include "base/strings.h"
#include "core/error.h"

namespace larder {

FlightTable::Shard& FlightTable::ShardOf(std::string_view full_key) const {
  return shards_[absl::Hash<std::string_view>{}(full_key) % kShards];
}

absl::StatusOr<FlightTable::Place> FlightTable::Join(std::string_view full_key, bool wait) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (shard.draining) {
    return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                          "the server is shutting down");
  }
  const auto it = shard.flights.find(ToAbsl(full_key));
  const size_t before_us = it == shard.flights.end() ? 0 : it->second.waiters();
  if (wait && (before_us >= options_.waiters_per_key_max || waiting() >= options_.waiters_max)) {
    return RetryableError(Reason::kTOO_MANY_WAITERS, absl::Milliseconds(500),
                          StrCat(before_us, " callers wait for this key and ", waiting(),
                                 " in all (limits.waiters_per_key, limits.waiters)"));
  }
  Place place;
  place.opened = it == shard.flights.end();
  if (place.opened && flights() >= options_.flights_max) {
    return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                          StrCat(options_.flights_max, " keys are being loaded (limits.leases)"));
  }
  Waiters& waiters = (place.opened ? shard.flights[std::string(full_key)] : it->second).late;
  if (place.opened) flights_.fetch_add(1, std::memory_order_relaxed);
  if (wait) {
    place.waiter = std::make_shared<FlightWaiter>(options_.executor, full_key);
    place.waiter->place = waiters.insert(waiters.end(), place.waiter);
    place.waiter->waits = true;
    waiting_.fetch_add(1, std::memory_order_relaxed);
  }
  return place;
}

bool FlightTable::Open(std::string_view full_key) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (shard.draining || flights() >= options_.flights_max) return false;
  if (!shard.flights.try_emplace(std::string(full_key)).second) return false;
  flights_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void FlightTable::Leave(const std::shared_ptr<FlightWaiter>& waiter) {
  Shard& shard = ShardOf(waiter->full_key);
  MutexLock lock(&shard.mu);
  if (!waiter->waits) return;
  Flight& flight = shard.flights.find(waiter->full_key)->second;
  (waiter->sealed ? flight.sealed : flight.late).erase(waiter->place);
  waiter->waits = false;
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

FlightTable::Waiters FlightTable::Dismiss(Waiters* waiters) {
  waiting_.fetch_sub(waiters->size(), std::memory_order_relaxed);
  for (const auto& waiter : *waiters) waiter->waits = false;
  return std::exchange(*waiters, {});
}

void FlightTable::Seal(std::string_view full_key) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  Flight& flight = shard.flights.find(ToAbsl(full_key))->second;
  for (const auto& waiter : flight.late) waiter->sealed = true;
  flight.sealed.splice(flight.sealed.end(), flight.late);
}

void FlightTable::Land(std::string_view full_key, const Landing& landing) {
  Waiters told, late;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.flights.find(ToAbsl(full_key));
    told = Dismiss(&it->second.sealed);
    late = Dismiss(&it->second.late);
    shard.flights.erase(it);
  }
  flights_.fetch_sub(1, std::memory_order_relaxed);
  for (const auto& waiter : told) waiter->landing.TrySet(landing);
  // A failure is as good for them as for the others.
  const bool landed = landing.kind == Landing::Kind::kLanded;
  for (const auto& waiter : late)
    waiter->landing.TrySet(landed ? Landing{.kind = Landing::Kind::kLookAgain} : landing);
}

void FlightTable::OnStored(std::string_view full_key) {
  Waiters told;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.flights.find(ToAbsl(full_key));
    if (it == shard.flights.end()) return;
    told = Dismiss(&it->second.sealed);
    told.splice(told.end(), Dismiss(&it->second.late));
  }
  for (const auto& waiter : told) waiter->landing.TrySet({.kind = Landing::Kind::kLookAgain});
}

void FlightTable::Drain() {
  for (Shard& shard : shards_) {
    Waiters told;
    {
      MutexLock lock(&shard.mu);
      shard.draining = true;
      for (auto& [key, flight] : shard.flights) {
        told.splice(told.end(), Dismiss(&flight.sealed));
        told.splice(told.end(), Dismiss(&flight.late));
      }
    }
    for (const auto& waiter : told) waiter->landing.TrySet({.kind = Landing::Kind::kDraining});
  }
}

bool FlightTable::IsFlying(std::string_view full_key, size_t* waiters) const {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.flights.find(ToAbsl(full_key));
  if (it == shard.flights.end()) return false;
  *waiters = it->second.waiters();
  return true;
}

}  // namespace larder
