// The loading path of types with an origin: one flight for a key.
//
//   caller                                       flight
//   fresh in memory?             -> answer
//   open a flight, or join one that looks or loads because the key was nowhere
//   fresh below?                 -> answer,      -> ended: those who joined look, too
//   stale, and may be served?    -> answer,      -> opened behind it
//   join the key's flight                        take the fleet's lease
//   ...                                          begin the fill; look in memory and below again
//   ...                                          ask the origin, in one call with other keys
//   ...                                          put below and in memory, if nothing came since
//   <- the landing: one entry, shared by all     land
//
// The flight belongs to nobody who waits for it: a caller's deadline bounds his wait, not the load,
// and what arrives late is still cached. A flight ends at the type's hard time-out in any case.
//
// A landing may be handed over, where a lease's waiters have to look again (load.cc): the table
// knows who joined early enough for that (flight_table.h). So nobody gets what was changed before
// he asked; and a value that cannot be kept, because it ends at once or is too large, still reaches
// all who waited for it.
//
// Whoever opens a flight has mostly just looked below and found nothing; the flight then does not
// ask once more, so that the keys of a batch reach their origin in the same moment. The look inside
// the flight is there to save a load, and what it would find is in memory by now, where memory
// keeps the type; but with the fleet's lease it comes after a wait for another replica's load, and
// has to be made again. What was seen stays the condition under which the loaded value is stored
// below: whatever changes the key after the look, in this replica or elsewhere, refuses it, and the
// next attempt looks for itself.
//
// Callers wait to the end of a time limit of the tier once. Who has waited for a look in vain does
// not ask for the fleet's lease, which is there as well, nor look again; who has for the lease does
// not look again either, if he has looked. And if the tier still has answered nobody when the load
// is over, those who wait are answered before it is: they are told what they would be if the put
// failed. The flight goes on to the put's end, because what it brings stays there for the others if
// it does arrive. What answers at once, be it with an error, costs nobody time and is asked.
//
// After a change of the key a flight goes on, to load once more, instead of making way for another
// one: that would be two loads of one key.

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Each further attempt means that somebody changed the key during the load before.
constexpr int kAttemptsMax = 5;

// A number in [0, 1) that is an entry's own, for as long as it is there: `own` is of its key and
// its version, for what is loaded in one batch may have one version.
double DrawOf(uint64_t own) {
  const uint64_t mixed = own * 0x9e3779b97f4a7c15u;
  return static_cast<double>(mixed >> 11) / static_cast<double>(uint64_t{1} << 53);
}

}  // namespace

void Engine::TellLoaders(std::string_view full_key, FillTicket cancelled,
                         LeaseTable::Change change) {
  if (cancelled == 0) return;
  leases_.OnChange(full_key, cancelled, change);
  if (change == LeaseTable::Change::kStored) flights_.OnStored(full_key);
}

// Of those who miss a key in the same moment one looks below, and the others join him: a crowd asks
// the tier no more often than the origin.
Task<Engine::Found> Engine::FindBeforeFlight(const FullKey* full_key, Resolved resolved, bool again,
                                             OpenedFlight* opened) {
  const TypePolicy& type = *resolved.type;
  if (lower_.Has(type) && !MayWait(type)) {
    Found found = Find(*full_key, options_.clock->Mono(), /*want_value=*/true, again);
    again = true;
    if (!found.present && flights_.IsMissing(full_key->view())) co_return found;
    if (!found.present) opened->Open(&flights_, full_key->view());
  }
  // In memory too: a flight may have landed since.
  Found found = co_await FindAnywhere(full_key, resolved, /*want_value=*/true, again);
  if (found.present) opened->End();
  co_return found;
}

bool Engine::JoinsAtOnce(const KeyRequest& request) const {
  if (flights_.flights() == 0) return false;
  const absl::StatusOr<Resolved> resolved = ResolveForRead(request);
  return resolved.ok() && !resolved->past && LoaderOf(*resolved->type) != nullptr &&
         !MayWait(*resolved->type) &&
         flights_.IsMissing(FullKey(request.name_space, request.key).view());
}

Task<absl::StatusOr<LoadResult>> Engine::LoadThrough(const FullKey* full_key, LoadRequest request,
                                                     Resolved resolved, Found found,
                                                     OpenedFlight* opened) {
  const TypePolicy& type = *resolved.type;
  const MonoNanos until = std::min(request.wait_until, request.deadline);
  bool waited = false;
  for (;;) {
    const MonoNanos now = options_.clock->Mono();
    const Worth worth = found.present ? WorthOf(found.entry, now) : Worth::kFresh;
    if (found.present && worth != Worth::kStaleOnError)
      co_return LoadResult{Counted(*full_key, std::move(found), resolved, now), std::nullopt};
    // Not for namespaces that nobody has stored to: whoever makes names up must not make filters.
    // Nor while others may make keys of which nothing is heard.
    if (!found.present && resolved.name_space.has_value() && coherence_.HeardSince(now) &&
        filters_->IsAbsent(type, full_key->view())) {
      usage_.Count(Usage::kFiltered, type.id, resolved.name_space);
      found.present = found.entry.negative = true;
      found.entry.fresh_until = now;
      co_return LoadResult{Counted(*full_key, std::move(found), resolved, now), std::nullopt};
    }
    if (failures_.Has(full_key->view(), now)) {
      std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
      if (instead.has_value()) co_return *std::move(instead);
    }
    const MonoNanos wake = found.present ? SoonEnough(until, now, type) : until;
    const bool missing = !found.present && (found.looked_at.has_value() || !lower_.Has(type));
    const bool opener = opened != nullptr && opened->exists();
    absl::StatusOr<FlightTable::Place> joined =
        flights_.Join(full_key->view(), wake > now, missing, opener);
    if (joined.ok() && opener) opened->Release();
    if (!joined.ok()) {
      flights_refused_.fetch_add(1, std::memory_order_relaxed);
      std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
      if (instead.has_value()) co_return *std::move(instead);
      co_return joined.status();
    }
    FlightTable::Place place = *std::move(joined);
    if (place.opened) {
      OriginCall call{std::string(full_key->name_space()), type.name,
                      std::string(request.trace_parent), std::string(request.trace_state)};
      SeenBelow seen{.known = !found.present && found.looked_at.has_value(),
                     .version = found.seen_below,
                     .since = found.looked_at.value_or(0),
                     .round = found.round,
                     .waited_since = found.waited_since};
      StartFlight(std::string(full_key->view()), &type, std::move(call), seen);
    } else if (!std::exchange(waited, true)) {
      usage_.Count(Usage::kLoadsCoalesced, type.id, resolved.name_space);
    }
    Landing landing;
    landing.kind = Landing::Kind::kTimeout;
    if (place.waiter != nullptr) {
      landing = co_await Timed(Step::kLoad, options_.clock,
                               WaitForLanding(std::move(place.waiter), wake, request.cancellation));
      StepTimes* const steps = co_await StepsOfThis();
      // That the flight itself waited for others lies within this wait.
      landing.steps.Add(Step::kLoad, -landing.steps.Of(Step::kLoad));
      if (steps != nullptr) steps->Add(landing.steps);
    }
    switch (landing.kind) {
      case Landing::Kind::kLanded: {
        ReadResult read = CountedLanding(*full_key, landing, resolved);
        co_return LoadResult{std::move(read), std::nullopt};
      }
      case Landing::Kind::kFailed: {
        if (type.freshness.errors.Has(landing.cause)) {
          std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
          if (instead.has_value()) co_return *std::move(instead);
        }
        CountMiss(*full_key, resolved);
        co_return landing.error;
      }
      case Landing::Kind::kLookAgain:
        break;
      case Landing::Kind::kTimeout: {
        std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
        if (instead.has_value()) co_return *std::move(instead);
        if (options_.clock->Mono() >= request.deadline) {
          co_return Error(Reason::kDEADLINE_EXCEEDED,
                          "the deadline passed while the key was being loaded");
        }
        CountMiss(*full_key, resolved);
        co_return LoadResult{ReadResult{.miss = MissReason::kLoading}, std::nullopt};
      }
      case Landing::Kind::kCancelled:
        co_return Error(Reason::kCALL_CANCELLED, "the caller cancelled the call");
      case Landing::Kind::kDraining: {
        std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
        if (instead.has_value()) co_return *std::move(instead);
        co_return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                                 "the server is shutting down");
      }
    }
    found = co_await FindAnywhere(full_key, resolved, /*want_value=*/true, /*again=*/true);
  }
}

std::optional<LoadResult> Engine::StaleInstead(const FullKey& full_key, Found* found,
                                               const Resolved& resolved) {
  const MonoNanos now = options_.clock->Mono();
  if (!found->live() || now >= found->entry.usable_until) return std::nullopt;
  usage_.Count(Usage::kStaleOnError, resolved.type->id, resolved.name_space);
  return LoadResult{Counted(full_key, std::move(*found), resolved, now), std::nullopt};
}

Task<Landing> Engine::WaitForLanding(std::shared_ptr<FlightWaiter> waiter, MonoNanos until,
                                     Cancellation* cancellation) {
  TimerId timer = 0;
  if (until != INT64_MAX) {
    const absl::Duration left = absl::Nanoseconds(until - options_.clock->Mono());
    timer = options_.executor->After(
        left, [waiter] { waiter->landing.TrySet({.kind = Landing::Kind::kTimeout}); });
  }
  if (cancellation != nullptr) {
    cancellation->OnCancel(
        [waiter] { waiter->landing.TrySet({.kind = Landing::Kind::kCancelled}); });
  }
  Landing landing = co_await waiter->landing;
  if (cancellation != nullptr) cancellation->OnCancel(nullptr);
  if (timer != 0) options_.executor->Cancel(timer);
  flights_.Leave(waiter);
  co_return landing;
}

bool Engine::RefreshIsDue(std::string_view full_key, const Entry& entry, bool below,
                          MonoNanos now) const {
  if (loader_of_[entry.type_id] == nullptr || entry.negative) return false;
  if (now >= entry.fresh_until) return true;
  const TypePolicy& type = options_.types->Get(entry.type_id);
  // A copy that memory keeps for a part of its time says nothing of the whole.
  if (!below && type.l1_ttl_max != absl::InfiniteDuration() && lower_.Has(type)) return false;
  const auto due = [&](double draw) {
    return RefreshDue(type.freshness, entry.written, entry.fresh_until, now, draw);
  };
  // Most reads come before the earliest moment, and need no draw.
  return due(1) && due(DrawOf(key_hash_(full_key) ^ entry.version));
}

void Engine::RefreshBehind(std::string_view full_key, const Entry& entry, MonoNanos now) {
  if (failures_.Has(full_key, now) || !flights_.Open(full_key)) return;
  const TypePolicy* const type = &options_.types->Get(entry.type_id);
  const bool posted = options_.executor->TryPost([this, type, key = std::string(full_key)] {
    usage_.Count(Usage::kRefreshes, type->id, namespaces_.Find(FullKey::NamespaceOf(key)));
    OriginCall call{std::string(FullKey::NamespaceOf(key)), type->name};
    StartFlight(key, type, std::move(call), SeenBelow());
  });
  // There is too much to do: a later read tries again.
  if (!posted) flights_.Land(full_key, {.kind = Landing::Kind::kLookAgain});
}

void Engine::StartFlight(std::string full_key, const TypePolicy* type, OriginCall call,
                         SeenBelow seen) {
  if (!background_.TryEnter()) {
    flights_.Land(full_key, {.kind = Landing::Kind::kDraining});
    return;
  }
  Spawn(Fly(std::move(full_key), type, std::move(call), seen),
        [this](bool) { background_.Leave(); });
}

Task<bool> Engine::Fly(std::string full_key, const TypePolicy* type, OriginCall call,
                       SeenBelow seen) {
  const MonoNanos deadline = MonoAfter(options_.clock->Mono(), type->freshness.hard_timeout);
  StepTimes steps;
  co_await NoteStepsIn(&steps);
  Landing landing;
  for (int attempt = 1;; ++attempt) {
    landing = co_await FlyOnce(&full_key, type, &call, deadline, seen);
    seen = SeenBelow();
    if (landing.kind != Landing::Kind::kLookAgain) break;
    flights_again_.fetch_add(1, std::memory_order_relaxed);
    if (attempt < kAttemptsMax && options_.clock->Mono() < deadline) continue;
    landing = FailedLanding(Contention(), absl::StatusCode::kAborted);
    break;
  }
  if (landing.kind == Landing::Kind::kFailed) {
    usage_.Count(Usage::kLoadsFailed, type->id, namespaces_.Find(call.name_space));
    const MonoNanos now = options_.clock->Mono();
    // A breaker paces the tries by itself.
    if (landing.asked && type->freshness.errors.Has(landing.cause))
      failures_.Note(full_key, now, MonoAfter(now, type->freshness.error_pause));
  } else {
    failures_.Forget(full_key);
  }
  landing.steps = steps;
  flights_.Land(full_key, landing);
  co_return true;
}

Task<Landing> Engine::FlyOnce(const std::string* full_key, const TypePolicy* type,
                              const OriginCall* call, MonoNanos deadline, SeenBelow before) {
  const FullKey key(FullKey::NamespaceOf(*full_key), FullKey::KeyOf(*full_key));
  const bool below = lower_.Has(*type);
  ArmedLease lease;
  std::optional<MonoNanos> waited_since = before.waited_since;
  if (waited_since.has_value()) {
    loads_without_lease_.fetch_add(options_.fleet_leases != nullptr ? 1 : 0,
                                   std::memory_order_relaxed);
  } else if (options_.fleet_leases != nullptr && below) {
    // Half of the time there is, so that a holder who hangs costs the others no failure.
    const MonoNanos began = options_.clock->Mono();
    const MonoNanos patience = began + (deadline - began) / 2;
    for (bool granted = false; !granted;) {
      FleetTurn turn = co_await WaitForFleet(&key, patience, nullptr);
      granted = turn.kind == LeaseTurn::Kind::kGranted;
      waited_since = turn.waited_since;
      // It may have been a wait for another replica's load.
      if (!waited_since.has_value()) before.known = false;
      if (granted) {
        lease.fleet = std::move(turn.lease);
      } else if (turn.kind == LeaseTurn::Kind::kStored && options_.clock->Mono() < patience) {
        // Another replica has landed, or given up.
        flights_.OnLook(*full_key);
        const Resolved resolved{type, namespaces_.Find(key.name_space())};
        Found found = co_await FindAnywhere(&key, resolved, /*want_value=*/true, /*again=*/true);
        if (IsCurrent(*full_key, found, options_.clock->Mono()))
          co_return LandFound(std::move(found));
      } else if (turn.kind == LeaseTurn::Kind::kDraining) {
        co_return Landing{.kind = Landing::Kind::kDraining};
      } else {
        loads_without_lease_.fetch_add(1, std::memory_order_relaxed);
        granted = true;
      }
    }
  }

  // 1: A misses.  2: B's flight loads and lands.  3: A opens another one. So the fill begins, and
  // then A looks again; whatever lands or is removed from here on ends the fill.
  lease.ticket = memory_->BeginFill(*full_key);
  if (lease.ticket == 0) {
    co_return FailedLanding(RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                                           "too many loads are running for the memory budget"),
                            absl::StatusCode::kResourceExhausted);
  }
  lease.since = options_.clock->Mono();
  lease.round = coherence_.round();
  // Who joined after that look has not looked at all.
  if (!before.known) flights_.OnLook(*full_key);
  Found held = Find(key, lease.since, /*want_value=*/true, /*again=*/true);
  Version seen = held.present ? held.entry.version : kNoVersion;
  if (!Trusts(key, held, lease.since)) held = Found();
  if (MayWait(*type)) {
    // The origin does not know yet what it will have.
    absl::StatusOr<std::optional<Found>> waiting = co_await FindWaiting(&key, type);
    if (!waiting.ok() || waiting->has_value()) memory_->EndFill(*full_key, lease.ticket);
    if (!waiting.ok()) co_return FailedLanding(waiting.status(), absl::StatusCode::kUnavailable);
    if (waiting->has_value()) co_return LandFound(**std::move(waiting));
  }
  // What memory keeps for a part of its time says nothing of the whole.
  const bool capped = type->l1_ttl_max != absl::InfiniteDuration();
  const bool knows =
      !held.present && type->l1_ttl_max > absl::ZeroDuration() && before.round == lease.round;
  if (before.known && (knows || waited_since.has_value())) {
    lease.since = before.since;
    lease.seen_below = before.version;
  } else if (below && !before.waited_since.has_value() &&
             (capped || !IsCurrent(*full_key, held, lease.since))) {
    std::vector<std::string> keys(1, *full_key);
    const MonoNanos asked = options_.clock->Mono();
    std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
    // The same with another replica for B. It is kept under our ticket, if it is what was waited
    // for.
    const bool same_round = lease.round == coherence_.round();
    const std::optional<Entry>& entry = reads[0].entry;
    const MonoNanos now = options_.clock->Mono();
    const bool current = entry.has_value() && now < entry->fresh_until;
    if (reads[0].timed_out) waited_since = asked;
    Found there = Promote(*full_key, *type, std::move(reads[0]),
                          current && same_round ? lease.ticket : 0, /*want_value=*/true);
    lease.seen_below = there.seen_below;
    if (there.present && (!held.present || there.entry.version > held.entry.version ||
                          (there.entry.version == held.entry.version &&
                           there.entry.fresh_until > held.entry.fresh_until)))
      held = std::move(there);
  }
  if (IsCurrent(*full_key, held, options_.clock->Mono())) {
    memory_->EndFill(*full_key, lease.ticket);
    co_return LandFound(std::move(held));
  }
  if (!memory_->HasFill(*full_key, lease.ticket)) {
    // What is near its end and was kept under our ticket has ended it; or a change has, and that
    // must not be outranked by what is loaded for the sake of what was there before.
    lease.ticket = memory_->BeginFill(*full_key);
    const Found present = Peek(*full_key);
    if (lease.ticket == 0 || !present.present || !held.present ||
        present.entry.version != held.entry.version) {
      memory_->EndFill(*full_key, lease.ticket);
      co_return Landing{.kind = Landing::Kind::kLookAgain};
    }
  }

  if (held.present) seen = std::max(seen, held.entry.version);
  lease.version = versions_.OfLoad(std::max(seen, lease.seen_below));
  usage_.Count(Usage::kLoads, type->id, namespaces_.Find(call->name_space));
  OriginLoad::Item item{std::string(key.key()), held.live() ? held.entry.validator : ""};
  const bool conditional = !item.validator.empty();
  OriginLoaded loaded = co_await Timed(Step::kOrigin, options_.clock,
                                       LoaderOf(*type)->Load(*call, std::move(item), deadline));
  if (loaded.kind == OriginLoaded::Kind::kUnchanged && !conditional) {
    loaded.kind = OriginLoaded::Kind::kFailed;
    loaded.error = absl::DataLossError("`unchanged` for a key of which no copy was named");
  }
  if (loaded.kind == OriginLoaded::Kind::kFailed) {
    memory_->EndFill(*full_key, lease.ticket);
    co_return OriginFailed(type->origin, loaded.error);
  }
  Learn(*full_key, *type, held, loaded);
  if (loaded.kind == OriginLoaded::Kind::kUnchanged) {
    usage_.Count(Usage::kLoadsUnchanged, type->id, namespaces_.Find(call->name_space));
    loaded.value = std::string(held.entry.stored());
    loaded.tags = std::move(held.entry.tags);
    loaded.depends_on = std::move(held.entry.depends_on);
    loaded.validator = std::move(held.entry.validator);
  }
  co_return co_await LandLoaded(full_key, type, std::move(loaded), std::move(lease), waited_since);
}

}  // namespace larder
