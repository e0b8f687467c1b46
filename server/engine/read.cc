// The read path: Get, and GetOrLoad over leases.
//
// GetOrLoad on a miss joins the key's lease. Whoever is first gets the lease and an answer at once:
// "load it". The others wait in line without a thread, and wake when the holder's Set lands (or
// anybody's Set), or with the lease when the holder gives it back, lets it run out, or loses it to
// a Delete or an Invalidate. Whoever wakes looks in memory once more, because a value may have
// landed, or have gone, between its miss and its turn.

#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {

EntryPtr Engine::FindHit(const FullKey& key, MonoNanos now) {
  L1Lookup found = memory_->Find(key.view(), now);
  if (!found.entry || found.entry->negative()) return EntryPtr();
  usage_.Count(Usage::kHits, found.entry->type_id(), found.entry->namespace_id());
  return std::move(found.entry);
}

ReadResult Engine::CountedMiss(const L1Lookup& found, const Resolved& resolved) {
  usage_.Count(Usage::kMisses, resolved.type->id, resolved.name_space);
  if (!found.entry) return {EntryPtr(), found.why, absl::ZeroDuration()};
  usage_.Count(Usage::kNegativeHits, resolved.type->id, resolved.name_space);
  const MonoNanos left = found.entry->fresh_until() - options_.clock->Mono();
  return {EntryPtr(), MissReason::kNegative, absl::Nanoseconds(std::max<MonoNanos>(left, 0))};
}

Task<absl::StatusOr<ReadResult>> Engine::Get(KeyRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request));
  const FullKey full_key(request.name_space, request.key);
  L1Lookup found = memory_->Find(full_key.view());
  if (!found.entry || found.entry->negative()) co_return CountedMiss(found, resolved);
  usage_.Count(Usage::kHits, found.entry->type_id(), found.entry->namespace_id());
  co_return ReadResult{std::move(found.entry), MissReason::kAbsent, absl::ZeroDuration()};
}

// REQUIRES: found.entry.
absl::StatusOr<LoadResult> Engine::HitOrNegative(const L1Lookup& found, const Resolved& resolved) {
  if (found.entry->negative()) return LoadResult{CountedMiss(found, resolved), std::nullopt};
  usage_.Count(Usage::kHits, found.entry->type_id(), found.entry->namespace_id());
  return LoadResult{ReadResult{found.entry, MissReason::kAbsent, absl::ZeroDuration()},
                    std::nullopt};
}

Task<absl::StatusOr<LoadResult>> Engine::GetOrLoad(LoadRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  bool waited = false;
  while (true) {
    const L1Lookup found = memory_->Find(full_key.view());
    if (found.entry) co_return HitOrNegative(found, resolved);

    const MonoNanos until = std::min(request.wait_until, request.deadline);
    const bool may_wait = until > options_.clock->Mono();
    CO_ASSIGN_OR_RETURN(LeaseTable::Place place, leases_.Join(full_key.view(), may_wait));
    std::string token = std::move(place.token);
    LeaseTurn turn{place.busy ? LeaseTurn::Kind::kTimeout : LeaseTurn::Kind::kGranted};
    if (place.waiter != nullptr) {
      if (!std::exchange(waited, true)) {
        usage_.Count(Usage::kLoadsCoalesced, resolved.type->id, resolved.name_space);
      }
      turn = co_await WaitInLine(std::move(place.waiter), until, request.cancellation);
      token = std::move(turn.token);
    }
    switch (turn.kind) {
      case LeaseTurn::Kind::kGranted: {
        CO_ASSIGN_OR_RETURN(std::optional<LoadResult> result,
                            TakeLease(full_key, request, resolved, std::move(token)));
        if (result.has_value()) co_return *std::move(result);
        break;  // lost before it began: try again
      }
      case LeaseTurn::Kind::kStored:
        // Not the value itself is handed over: by the time a waiter runs, it may have expired, or
        // been deleted by a call that was answered before this one began.
        break;
      case LeaseTurn::Kind::kTimeout:
        if (options_.clock->Mono() >= request.deadline) {
          co_return Error(Reason::kDEADLINE_EXCEEDED,
                          "the deadline passed while another caller was loading the key");
        }
        usage_.Count(Usage::kMisses, resolved.type->id, resolved.name_space);
        co_return LoadResult{ReadResult{EntryPtr(), MissReason::kLoading, absl::ZeroDuration()},
                             std::nullopt};
      case LeaseTurn::Kind::kCancelled:
        co_return Error(Reason::kCALL_CANCELLED, "the caller cancelled the call");
      case LeaseTurn::Kind::kDraining:
        co_return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                                 "the server is shutting down");
    }
  }
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

// The caller is the holder by `token`. Null: the lease was lost before its fill began.
absl::StatusOr<std::optional<LoadResult>> Engine::TakeLease(const FullKey& full_key,
                                                            const LoadRequest& request,
                                                            const Resolved& resolved,
                                                            std::string token) {
  // 1: A misses.  2: B is given the lease, loads and lands.  3: A joins, finds no lease out and is
  // given one. So the fill begins and the lease is armed first, and then A looks in memory again:
  // whatever lands or is removed from here on ends the fill and is told to the lease table.
  const ArmedLease lease{memory_->BeginFill(full_key.view()), versions_.Next()};
  if (lease.ticket == 0) {
    leases_.PassOn(full_key.view(), token, LeaseTable::Lost::kReleased);
    return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                          "too many loads are running for the memory budget");
  }
  const TimerId timer = options_.executor->After(
      request.lease_ttl, [this, key = std::string(full_key.view()), token, ticket = lease.ticket,
                          resolved] { ExpireLease(key, token, ticket, resolved); });
  if (!leases_.Arm(full_key.view(), token, lease, timer)) {
    options_.executor->Cancel(timer);
    memory_->EndFill(full_key.view(), lease.ticket);
    return std::optional<LoadResult>();
  }
  const L1Lookup found = memory_->Find(full_key.view());
  if (found.entry) {
    memory_->EndFill(full_key.view(), lease.ticket);
    leases_.Complete(full_key.view(), token);
    ASSIGN_OR_RETURN(LoadResult result, HitOrNegative(found, resolved));
    return std::optional<LoadResult>(std::move(result));
  }
  // A change between BeginFill and Arm found no armed lease to tell.
  if (!memory_->HasFill(full_key.view(), lease.ticket)) {
    leases_.PassOn(full_key.view(), token, LeaseTable::Lost::kRevoked);
    return std::optional<LoadResult>();
  }
  usage_.Count(Usage::kMisses, resolved.type->id, resolved.name_space);
  usage_.Count(Usage::kLoads, resolved.type->id, resolved.name_space);
  return std::optional<LoadResult>(
      LoadResult{ReadResult{EntryPtr(), found.why, absl::ZeroDuration()},
                 GrantedLease{std::move(token), request.lease_ttl}});
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
