// Signals are set outside the shard's lock; the first word that a waiter gets wins, so a landing
// that comes in the moment in which its time runs out is lost on it, and on nobody else.

#include "engine/flight_table.h"

#include "absl/hash/hash.h"
#include "base/strings.h"
#include "base/turn.h"
#include "core/error.h"
#include "origin/origin_guard.h"
#include "policy/freshness.h"

namespace larder {

Landing FailedLanding(absl::Status error, absl::StatusCode cause) {
  Landing landing;
  landing.error = std::move(error);
  landing.cause = cause;
  return landing;
}

// What callers are told of an origin's failure.
Landing OriginFailed(std::string_view origin, const absl::Status& cause) {
  const std::string message =
      StrCat("the origin `", origin, "`: ", absl::StatusCodeToString(cause.code()), ": ",
             ToStd(cause.message()));
  const absl::StatusCode code = cause.code();
  Landing landing;
  if (code == absl::StatusCode::kDeadlineExceeded) {
    landing = FailedLanding(Error(Reason::kORIGIN_TIMEOUT, message), code);
  } else if (code == absl::StatusCode::kDataLoss) {
    landing = FailedLanding(Error(Reason::kORIGIN_BAD_ANSWER, message), code);
  } else if (ErrorSet::OfUnwell().Has(code)) {
    landing =
        FailedLanding(RetryableError(Reason::kORIGIN_UNAVAILABLE, absl::Seconds(1), message), code);
  } else {
    landing = FailedLanding(Error(Reason::kORIGIN_REFUSED, message), code);
  }
  landing.asked = !WasNotAsked(cause);
  return landing;
}

FlightTable::Shard& FlightTable::ShardOf(std::string_view full_key) const {
  return shards_[absl::Hash<std::string_view>{}(full_key) % kShards];
}

absl::StatusOr<FlightTable::Place> FlightTable::Join(std::string_view full_key, bool wait,
                                                     bool missing, bool opener) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (shard.draining) {
    return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                          "the server is shutting down");
  }
  const auto it = shard.flights.find(ToAbsl(full_key));
  const bool none = it == shard.flights.end();
  const size_t before_us = none ? 0 : it->second.waiting();
  if (wait && (before_us >= options_.waiters_per_key_max || waiting() >= options_.waiters_max)) {
    return RetryableError(Reason::kTOO_MANY_WAITERS, absl::Milliseconds(500),
                          StrCat(before_us, " callers wait for this key and ", waiting(),
                                 " in all (limits.waiters_per_key, limits.waiters)"));
  }
  Place place;
  place.opened = none || opener;
  if (none && flights() >= options_.flights_max) {
    return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                          StrCat(options_.flights_max, " keys are being loaded (limits.leases)"));
  }
  Flight& flight = none ? shard.flights[std::string(full_key)] : it->second;
  if (none) {
    flight.missing = missing;
    flights_.fetch_add(1, std::memory_order_relaxed);
  }
  if (wait) {
    place.waiter = std::make_shared<FlightWaiter>(HereOr(options_.executor), full_key);
    const Joined joined = place.opened ? kBeforeLook : kAfterFill;
    Waiters& line = flight.waiters[joined];
    place.waiter->place = line.insert(line.end(), place.waiter);
    place.waiter->joined = joined;
    place.waiter->waits = true;
    waiting_.fetch_add(1, std::memory_order_relaxed);
  }
  return place;
}

bool FlightTable::IsMissing(std::string_view full_key) const {
  if (flights() == 0) return false;
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.flights.find(ToAbsl(full_key));
  return it != shard.flights.end() && it->second.missing;
}

bool FlightTable::Open(std::string_view full_key, bool missing) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (shard.draining || flights() >= options_.flights_max) return false;
  const auto [it, opened] = shard.flights.try_emplace(std::string(full_key));
  if (!opened) return false;
  it->second.missing = missing;
  flights_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void FlightTable::Leave(const std::shared_ptr<FlightWaiter>& waiter) {
  Shard& shard = ShardOf(waiter->full_key);
  MutexLock lock(&shard.mu);
  if (!waiter->waits) return;
  Flight& flight = shard.flights.find(waiter->full_key)->second;
  flight.waiters[waiter->joined].erase(waiter->place);
  waiter->waits = false;
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

FlightTable::Waiters FlightTable::Dismiss(Waiters* waiters) {
  waiting_.fetch_sub(waiters->size(), std::memory_order_relaxed);
  for (const auto& waiter : *waiters) waiter->waits = false;
  return std::exchange(*waiters, {});
}

void FlightTable::MoveTo(Joined joined, std::string_view full_key) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  Flight& flight = shard.flights.find(ToAbsl(full_key))->second;
  for (size_t later = joined + 1; later < kJoinedCount; ++later) {
    for (const auto& waiter : flight.waiters[later]) waiter->joined = joined;
    flight.waiters[joined].splice(flight.waiters[joined].end(), flight.waiters[later]);
  }
}

void FlightTable::Answer(std::string_view full_key, const Landing& landing) {
  Waiters told;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    Flight& flight = shard.flights.find(ToAbsl(full_key))->second;
    for (size_t joined = 0; joined < kJoinedCount; ++joined) {
      if (IsGiven(landing, joined)) told.splice(told.end(), Dismiss(&flight.waiters[joined]));
    }
  }
  for (const auto& waiter : told) waiter->landing.TrySet(landing);
}

void FlightTable::Land(std::string_view full_key, const Landing& landing) {
  Waiters told, late;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.flights.find(ToAbsl(full_key));
    for (size_t joined = 0; joined < kJoinedCount; ++joined) {
      Waiters& to = IsGiven(landing, joined) ? told : late;
      to.splice(to.end(), Dismiss(&it->second.waiters[joined]));
    }
    shard.flights.erase(it);
  }
  flights_.fetch_sub(1, std::memory_order_relaxed);
  for (const auto& waiter : told) waiter->landing.TrySet(landing);
  for (const auto& waiter : late) waiter->landing.TrySet({.kind = Landing::Kind::kLookAgain});
}

void FlightTable::OnStored(std::string_view full_key) {
  Waiters told;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.flights.find(ToAbsl(full_key));
    if (it == shard.flights.end()) return;
    for (Waiters& waiters : it->second.waiters) told.splice(told.end(), Dismiss(&waiters));
  }
  for (const auto& waiter : told) waiter->landing.TrySet({.kind = Landing::Kind::kLookAgain});
}

void FlightTable::OnChanged(std::string_view full_key) {
  if (flights() == 0) return;
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.flights.find(ToAbsl(full_key));
  if (it != shard.flights.end()) it->second.missing = false;
}

void FlightTable::Drain() {
  for (Shard& shard : shards_) {
    Waiters told;
    {
      MutexLock lock(&shard.mu);
      shard.draining = true;
      for (auto& [key, flight] : shard.flights) {
        for (Waiters& waiters : flight.waiters) told.splice(told.end(), Dismiss(&waiters));
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
  *waiters = it->second.waiting();
  return true;
}

}  // namespace larder
