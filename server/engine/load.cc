// The loading path of types without an origin: GetOrLoad over leases. With one: flight.cc.
//
// GetOrLoad on a miss joins the key's lease. Whoever is first gets the lease and an answer at once:
// "load it". The others wait in line without a thread, and wake when the holder's Set lands (or
// anybody's Set), or with the lease when the holder gives it back, lets it run out, or loses it to
// a Delete or an Invalidate. Whoever wakes looks again, because a value may have landed, or have
// gone, between its miss and its turn.
//
// With other replicas, the holder of the key's lease here asks for the fleet's before it is told to
// load, and waits for whoever has it. The fleet's lease saves work; what makes a late value
// harmless is what the lower tier held when the load began: the value is stored there only if that
// is still so. Versions alone would not do, because the clocks of two replicas may differ by more
// than the time between a load's beginning and a Delete elsewhere.

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// How long to wait for the answer about a lease of the fleet before going on without it.
constexpr absl::Duration kFleetAnswerMost = absl::Milliseconds(500);
// Who has waited for the tier in vain does not wait for it again before that.
constexpr absl::Duration kStillAway = absl::Seconds(1);
// How long a put may be under way to the tier.
constexpr absl::Duration kPutMost = absl::Seconds(10);

}  // namespace

Task<absl::StatusOr<LoadResult>> Engine::GetOrLoad(LoadRequest request, bool again) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  if (resolved.past) {
    Found past = co_await FindPast(&full_key, resolved);
    co_return co_await LoadPast(&full_key, request, resolved, std::move(past));
  }
  if (LoaderOf(*resolved.type) != nullptr) {
    OpenedFlight opened;
    Found found = co_await FindBeforeFlight(&full_key, resolved, again, &opened);
    co_return co_await LoadThrough(&full_key, request, resolved, std::move(found), &opened);
  }
  Found found = co_await FindAnywhere(&full_key, resolved, /*want_value=*/true, again);
  co_return co_await LoadByLease(&full_key, request, resolved, std::move(found));
}

Task<absl::StatusOr<LoadResult>> Engine::LoadByLease(const FullKey* full_key, LoadRequest request,
                                                     Resolved resolved, Found found) {
  const bool fleet = options_.fleet_leases != nullptr && lower_.Has(*resolved.type);
  const MonoNanos until = std::min(request.wait_until, request.deadline);
  bool waited = false;
  for (;;) {
    const MonoNanos now = options_.clock->Mono();
    if (found.present && WorthOf(found.entry, now) == Worth::kFresh)
      co_return LoadResult{Counted(*full_key, std::move(found), resolved, now), std::nullopt};

    // Who is not the holder gets a stale value at once, or when waiting has taken too long.
    const bool stale = found.present && WorthOf(found.entry, now) == Worth::kStale;
    const MonoNanos wake = found.present ? SoonEnough(until, now, *resolved.type) : until;
    CO_ASSIGN_OR_RETURN(LeaseTable::Place place,
                        leases_.Join(full_key->view(), !stale && wake > now));
    std::string token = std::move(place.token);
    LeaseTurn turn{place.busy ? LeaseTurn::Kind::kTimeout : LeaseTurn::Kind::kGranted};
    const bool in_line = place.waiter != nullptr;
    if (in_line) {
      if (!std::exchange(waited, true)) {
        usage_.Count(Usage::kLoadsCoalesced, resolved.type->id, resolved.name_space);
      }
      turn = co_await Timed(Step::kLoad, options_.clock,
                            WaitInLine(std::move(place.waiter), wake, request.cancellation));
      token = std::move(turn.token);
    }
    std::shared_ptr<void> fleet_lease;
    // Who has just waited in vain for the tier, where the fleet's leases are too, goes on without.
    const bool away =
        found.waited_since.has_value() && options_.clock->Mono() < MonoAfter(now, kStillAway);
    bool knows = away;
    if (fleet && away && turn.kind == LeaseTurn::Kind::kGranted)
      loads_without_lease_.fetch_add(1, std::memory_order_relaxed);
    if (fleet && !away && turn.kind == LeaseTurn::Kind::kGranted) {
      FleetTurn theirs = co_await WaitForFleet(full_key, stale ? now : wake, request.cancellation);
      turn.kind = theirs.kind;
      knows = theirs.waited_since.has_value() && found.looked_at.has_value();
      fleet_lease = std::move(theirs.lease);
      if (turn.kind != LeaseTurn::Kind::kGranted) {
        leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kReleased);
      }
    }
    switch (turn.kind) {
      case LeaseTurn::Kind::kGranted: {
        // Not made within the call: g++ 12 destroys the pointer of such an argument twice.
        Below below{.seen_below = found.seen_below,
                    .look_below = !knows && (fleet || in_line || found.present),
                    .fleet = std::move(fleet_lease)};
        CO_ASSIGN_OR_RETURN(
            std::optional<LoadResult> result,
            co_await TakeLease(full_key, request, resolved, std::move(token), std::move(below)));
        if (result.has_value()) co_return *std::move(result);
        break;  // lost before it began: try again
      }
      case LeaseTurn::Kind::kStored:
        // Not the value itself is handed over: by the time a waiter runs, it may have expired, or
        // been deleted by a call that was answered before this one began.
        break;
      case LeaseTurn::Kind::kTimeout: {
        std::optional<LoadResult> instead = StaleInstead(*full_key, &found, resolved);
        if (instead.has_value()) co_return *std::move(instead);
        if (options_.clock->Mono() >= request.deadline) {
          co_return Error(Reason::kDEADLINE_EXCEEDED,
                          "the deadline passed while another caller was loading the key");
        }
        CountMiss(*full_key, resolved);
        co_return LoadResult{ReadResult{.miss = MissReason::kLoading}, std::nullopt};
      }
      case LeaseTurn::Kind::kCancelled:
        co_return Error(Reason::kCALL_CANCELLED, "the caller cancelled the call");
      case LeaseTurn::Kind::kDraining:
        co_return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                                 "the server is shutting down");
    }
    found = co_await FindAnywhere(full_key, resolved, /*want_value=*/true, /*again=*/true);
  }
}

// Who has a stale value waits no longer than the type's soft time-out, and leaves enough of the
// caller's time for the answer to arrive.
MonoNanos Engine::SoonEnough(MonoNanos until, MonoNanos now, const TypePolicy& type) const {
  const MonoNanos soft = MonoAfter(now, type.freshness.soft_timeout);
  if (until == INT64_MAX) return soft;
  return std::min(soft, until - (until - now) / 10);
}

Task<LeaseTurn> Engine::WaitInLine(std::shared_ptr<LeaseWaiter> waiter, MonoNanos until,
                                   Cancellation* cancellation) {
  TimerId timer = 0;
  if (until != INT64_MAX) {
    const absl::Duration left = absl::Nanoseconds(until - options_.clock->Mono());
    timer = options_.executor->After(
        left, [waiter] { waiter->turn.TrySet({LeaseTurn::Kind::kTimeout}); });
  }
  if (cancellation != nullptr) {
    cancellation->OnCancel([waiter] { waiter->turn.TrySet({LeaseTurn::Kind::kCancelled}); });
  }
  LeaseTurn turn = co_await waiter->turn;
  if (cancellation != nullptr) cancellation->OnCancel(nullptr);
  if (timer != 0) options_.executor->Cancel(timer);
  leases_.Leave(waiter);
  co_return turn;
}

// Until the fleet's lease is ours, or whoever has it has changed something, or the caller's time is
// over.
Task<Engine::FleetTurn> Engine::WaitForFleet(const FullKey* full_key, MonoNanos until,
                                             Cancellation* cancellation) {
  const MonoNanos began = options_.clock->Mono();
  for (;;) {
    // Watching begins before the question, so that a release in between is not missed.
    const auto waiter = std::make_shared<LeaseWaiter>(options_.executor, full_key->view());
    coherence_.Watch(waiter);
    const MonoNanos asked = options_.clock->Mono();
    FleetLeaseTurn turn = co_await Timed(
        Step::kFleetLease, options_.clock,
        options_.fleet_leases->Acquire(std::string(full_key->view()), began, INT64_MAX));
    if (turn.kind != FleetLeaseTurn::Kind::kHeld) {
      coherence_.Unwatch(waiter);
      // Without a lease that may be ours, it was not the answer that was waited for.
      FleetTurn ours;
      if (turn.lease != nullptr && absl::IsDeadlineExceeded(turn.why)) ours.waited_since = asked;
      ours.lease = OwnFleetLease(std::move(turn.lease));
      co_return ours;
    }
    const MonoNanos ask_again = MonoAfter(options_.clock->Mono(), turn.ask_again_after);
    const LeaseTurn woken = co_await Timed(
        Step::kLoad, options_.clock, WaitInLine(waiter, std::min(until, ask_again), cancellation));
    coherence_.Unwatch(waiter);
    if (woken.kind == LeaseTurn::Kind::kTimeout && options_.clock->Mono() < until) continue;
    co_return FleetTurn{woken.kind, nullptr, std::nullopt};
  }
}

// Gives the lease back, and tells who waits for it elsewhere, when the last copy of the pointer
// goes. That may be under a lock, so it happens on the executor.
std::shared_ptr<void> Engine::OwnFleetLease(std::shared_ptr<HeldFleetLease> lease) {
  if (lease == nullptr) return nullptr;
  HeldFleetLease* const held = lease.get();
  return {held, [this, lease = std::move(lease)](void*) mutable {
            options_.executor->Post([this, lease = std::move(lease)] {
              // One that is not given back runs out.
              if (!background_.TryEnter()) return;
              const std::string full_key = lease->full_key();
              const MonoNanos until = MonoAfter(options_.clock->Mono(), kFleetAnswerMost);
              Spawn(options_.fleet_leases->Release(lease, until),
                    [this, full_key](const absl::StatusOr<bool>&) {
                      coherence_.Released(full_key);
                      background_.Leave();
                    });
            });
          }};
}

// The caller is the holder by `token`. Null: the lease was lost before its fill began.
Task<absl::StatusOr<std::optional<LoadResult>>> Engine::TakeLease(const FullKey* full_key,
                                                                  LoadRequest request,
                                                                  Resolved resolved,
                                                                  std::string token, Below below) {
  // 1: A misses.  2: B is given the lease, loads and lands.  3: A joins, finds no lease out and is
  // given one. So the fill begins and the lease is armed first, and then A looks in memory again:
  // whatever lands or is removed from here on ends the fill and is told to the lease table.
  ArmedLease lease;
  lease.ticket = memory_->BeginFill(full_key->view());
  if (lease.ticket == 0) {
    leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kReleased);
    co_return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                             "too many loads are running for the memory budget");
  }
  // From before the look below on, whatever changes is heard of, or is known to be missed.
  const MonoNanos since = options_.clock->Mono();
  const uint64_t round = coherence_.round();
  // The same with another replica for B. What is found here goes straight to the caller: memory's
  // place for it is taken by the fill.
  Found there;
  if (below.look_below && lower_.Has(*resolved.type)) {
    there = co_await FindOneBelow(full_key, resolved.type, /*want_value=*/true);
    below.seen_below = there.seen_below;
  }
  const Found held = Peek(full_key->view());
  const Version seen = held.present ? held.entry.version : kNoVersion;
  lease.version = versions_.OfLoad(std::max(seen, below.seen_below));
  lease.since = since;
  lease.round = round;
  lease.seen_below = below.seen_below;
  lease.fleet = std::move(below.fleet);
  const TimerId timer = options_.executor->After(
      request.lease_ttl, [this, key = std::string(full_key->view()), token, ticket = lease.ticket,
                          resolved] { ExpireLease(key, token, ticket, resolved); });
  if (!leases_.Arm(full_key->view(), token, lease, timer)) {
    options_.executor->Cancel(timer);
    memory_->EndFill(full_key->view(), lease.ticket);
    co_return std::optional<LoadResult>();
  }
  const MonoNanos now = options_.clock->Mono();
  Found found = Find(*full_key, now, /*want_value=*/true, /*again=*/true);
  if (!found.present || !Trusts(*full_key, found, now) ||
      (there.present && there.entry.version > found.entry.version)) {
    found = std::move(there);
  }
  if (found.present && WorthOf(found.entry, now) == Worth::kFresh) {
    memory_->EndFill(full_key->view(), lease.ticket);
    leases_.Complete(full_key->view(), token);
    co_return std::optional<LoadResult>(
        LoadResult{Counted(*full_key, std::move(found), resolved, now), std::nullopt});
  }
  // A change between BeginFill and Arm found no armed lease to tell.
  if (!memory_->HasFill(full_key->view(), lease.ticket)) {
    leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kRevoked);
    co_return std::optional<LoadResult>();
  }
  CountMiss(*full_key, resolved);
  usage_.Count(Usage::kLoads, resolved.type->id, resolved.name_space);
  co_return std::optional<LoadResult>(
      LoadResult{ReadResult{.miss = found.present ? MissReason::kExpired : found.why},
                 GrantedLease{std::move(token), request.lease_ttl}});
}

// Stores the value of a lease's holder, under the version of the moment when its load began.
Task<absl::StatusOr<WriteResult>> Engine::Fulfil(const WriteRequest* request,
                                                 const FullKey* full_key, Resolved resolved,
                                                 Storing storing) {
  WriteResult written;
  written.reason = NotStored::kLeaseLost;
  const std::string_view token = request->lease_token;
  ArmedLease lease;
  if (!leases_.Find(full_key->view(), token, &lease)) {
    const Found found = Peek(full_key->view());
    written.version = found.present ? found.entry.version : kNoVersion;
    co_return written;
  }
  const absl::Status too_large = TooLarge(storing.fields);
  const Filled filled = co_await FillTiers(std::move(storing), lease);
  switch (filled.kind) {
    case Filled::Kind::kKept:
      written.stored = true;
      written.version = lease.version;
      leases_.Complete(full_key->view(), token);
      co_return written;
    case Filled::Kind::kTooLarge:
      leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kReleased);
      usage_.Count(Usage::kLoadsFailed, resolved.type->id, resolved.name_space);
      co_return too_large;
    case Filled::Kind::kTierAway:
      leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kReleased);
      co_return filled.error;
    case Filled::Kind::kLate:
      break;
  }
  // The change that ended the fill also passes the lease on; its caller may be slower than we are.
  written.version = filled.current;
  leases_.PassOn(full_key->view(), token, LeaseTable::Lost::kRevoked);
  co_return written;
}

// Below first: when somebody has changed the key there since, the value is late, and memory must
// not have it either. A change here in the meantime takes the ticket away, and has a newer version
// below.
Task<Engine::Filled> Engine::FillTiers(Storing storing, ArmedLease lease, bool changes_key) {
  Filled filled;
  EntryFields& fields = storing.fields;
  const std::string_view full_key = fields.full_key;
  const TypePolicy& type = *storing.type;
  // After that long, what changed the key and has ended since leaves nothing below; only the bus
  // would have told.
  if (lower_.Has(type) && lower_.shared() &&
      options_.clock->Mono() > MonoAfter(lease.since, kVersionKept - kPutMost) &&
      !coherence_.HeardSince(lease.since)) {
    memory_->EndFill(full_key, lease.ticket);
    co_return filled;
  }
  fields.version = lease.version;
  NoteFormer(&storing);
  // It was invalidated while it was loaded. Checked again at the end.
  if (IsCovered(fields)) {
    memory_->EndFill(full_key, lease.ticket);
    co_return filled;
  }
  const uint64_t round = coherence_.round();
  bool below = false;
  if (lower_.Has(type) && memory_->HasFill(full_key, lease.ticket)) {
    lower_.Begin(full_key, lease.version);
    std::vector<TierPut> puts;
    puts.push_back(
        lower_.PutOf(fields, storing.plain, type, {Expect::Kind::kUnchanged, lease.seen_below}));
    const auto changes = co_await lower_.Put(std::move(puts), INT64_MAX);
    const bool late =
        changes.ok() && ((*changes)[0].outcome == TierChange::Outcome::kNewerExists ||
                         (*changes)[0].outcome == TierChange::Outcome::kConditionFailed);
    const bool refused =
        changes.ok() && (*changes)[0].outcome == TierChange::Outcome::kConditionFailed;
    if (refused) {
      lower_.GiveUp(full_key);
    } else if (changes.ok()) {
      lower_.End(full_key, lease.version, /*settled=*/true);
    } else {
      lower_.EndUntaken(full_key, lease.version);
    }
    if (late) {
      filled.current = (*changes)[0].current;
      if (filled.current != kNoVersion) versions_.Observe(filled.current);
      memory_->EndFill(full_key, lease.ticket);
      co_return filled;
    }
    if (!changes.ok() && type.require_l2) {
      memory_->EndFill(full_key, lease.ticket);
      filled.kind = Filled::Kind::kTierAway;
      filled.error = TierAway(changes.status());
      co_return filled;
    }
    filled.below = below = changes.ok();
  }
  const MonoNanos now = options_.clock->Mono();
  // In another round, a change in between may not have been heard of.
  const bool other_round = (below ? round : lease.round) != coherence_.round();
  if (other_round) memory_->EndFill(full_key, lease.ticket);
  const InsertResult result =
      InsertCapped(&fields, type, [&] { return memory_->Fill(fields, lease.ticket, now); });
  const bool kept = result.outcome == InsertOutcome::kStored;
  const bool too_large = result.outcome == InsertOutcome::kTooLarge;
  filled.current = result.current;
  if (IsCovered(fields)) {
    filled.kind = Filled::Kind::kLate;
  } else if (kept || (below && (other_round || too_large))) {
    filled.kind = Filled::Kind::kKept;
  } else if (too_large) {
    filled.kind = Filled::Kind::kTooLarge;
  }
  // Without a tier that they share, what was loaded here is no change to the others.
  if (changes_key && (below || kept)) {
    coherence_.Changed({std::string(full_key)}, lease.version, ToldOf(storing));
  } else if (below) {
    coherence_.Loaded({std::string(full_key)}, lease.version, ToldOf(storing));
  } else if (kept) {
    TellHere(storing);
  }
  co_return filled;
}

void Engine::ExpireLease(const std::string& full_key, const std::string& token, FillTicket ticket,
                         Resolved resolved) {
  // The fill ends first: once the next caller may begin, the late Set of this one must not be
  // stored.
  memory_->EndFill(full_key, ticket);
  if (leases_.PassOn(full_key, token, LeaseTable::Lost::kExpired)) {
    usage_.Count(Usage::kLoadsFailed, resolved.type->id, resolved.name_space);
  }
}

bool Engine::ReleaseLease(const KeyRequest& request, std::string_view token) {
  const FullKey full_key(request.name_space, request.key);
  ArmedLease lease;
  if (!leases_.Find(full_key.view(), token, &lease)) return false;
  memory_->EndFill(full_key.view(), lease.ticket);
  if (!leases_.PassOn(full_key.view(), token, LeaseTable::Lost::kReleased)) return false;
  const absl::StatusOr<Resolved> resolved = ResolveForRead(request);
  if (resolved.ok()) usage_.Count(Usage::kLoadsFailed, resolved->type->id, resolved->name_space);
  return true;
}

}  // namespace larder
