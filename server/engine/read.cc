// The read path: Get, and GetOrLoad over leases.
//
// GetOrLoad on a miss joins the key's lease. Whoever is first gets the lease and an answer at once:
// "load it". The others wait in line without a thread, and wake when the holder's Set lands (or
// anybody's Set), or with the lease when the holder gives it back, lets it run out, or loses it to
// a Delete or an Invalidate. Whoever wakes looks in memory once more, because a value may have
// landed, or have gone, between its miss and its turn.

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {

Engine::Found Engine::Find(const FullKey& full_key, MonoNanos now, bool want_value, bool again) {
  Found found;
  // What memory learns from one request's misses it should learn once.
  found.present = again ? memory_->Peek(full_key.view(), now, &found.entry, &found.why)
                        : memory_->Find(full_key.view(), now, &found.entry, &found.why);
  if (found.present && want_value && !Decode(full_key, now, &found.entry)) return Found();
  return found;
}

Engine::Found Engine::Peek(const FullKey& full_key, MonoNanos now) const {
  Found found;
  found.present = memory_->Peek(full_key.view(), now, &found.entry, &found.why);
  return found;
}

bool Engine::Decode(const FullKey& full_key, MonoNanos now, Entry* entry) {
  if (entry->encoding == kPlain) return true;
  std::string plain;
  const absl::Status decoded = compressor_->Decode(entry->type_id, entry->encoding, entry->stored(),
                                                   entry->plain_bytes, &plain);
  if (!decoded.ok()) {
    LogError("value_lost", {{"type", options_.types->Get(entry->type_id).name},
                            {"encoding", entry->encoding},
                            {"error", decoded}});
    const EraseResult erased = memory_->Erase(full_key.view(), entry->version, now);
    leases_.OnChange(full_key.view(), erased.cancelled, LeaseTable::Change::kRemoved);
    return false;
  }
  entry->bytes = std::move(plain);
  entry->shared = SharedBytes();
  entry->encoding = kPlain;
  return true;
}

void Engine::CountHit(const FullKey& full_key, const Entry& entry) {
  usage_.Count(Usage::kHits, entry.type_id, entry.namespace_id);
  const uint32_t weight = hot_keys_.Sampled();
  if (weight == 0) return;
  hot_keys_.Record(entry.type_id, full_key.view(), HotKeys::Event::kHit, entry.value_bytes(),
                   weight);
}

void Engine::CountMiss(const FullKey& full_key, const Resolved& resolved) {
  usage_.Count(Usage::kMisses, resolved.type->id, resolved.name_space);
  const uint32_t weight = hot_keys_.Sampled();
  if (weight == 0) return;
  hot_keys_.Record(resolved.type->id, full_key.view(), HotKeys::Event::kMiss, 0, weight);
}

bool Engine::FindHit(const FullKey& key, MonoNanos now, bool want_value, Entry* entry) {
  MissReason why;
  if (!memory_->Find(key.view(), now, entry, &why) || entry->negative) return false;
  if (want_value && !Decode(key, now, entry)) return false;
  CountHit(key, *entry);
  return true;
}

ReadResult Engine::Counted(const FullKey& full_key, Found found, const Resolved& resolved,
                           MonoNanos now) {
  if (found.live()) {
    CountHit(full_key, found.entry);
    return {std::move(found.entry), MissReason::kAbsent, absl::ZeroDuration()};
  }
  CountMiss(full_key, resolved);
  if (!found.present) return {std::nullopt, found.why, absl::ZeroDuration()};
  usage_.Count(Usage::kNegativeHits, resolved.type->id, resolved.name_space);
  const MonoNanos left = std::max<MonoNanos>(found.entry.fresh_until - now, 0);
  return {std::nullopt, MissReason::kNegative, absl::Nanoseconds(left)};
}

Task<absl::StatusOr<ReadResult>> Engine::Get(KeyRequest request, bool want_value, bool again) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request));
  const FullKey full_key(request.name_space, request.key);
  const MonoNanos now = options_.clock->Mono();
  co_return Counted(full_key, Find(full_key, now, want_value, again), resolved, now);
}

Task<absl::StatusOr<LoadResult>> Engine::GetOrLoad(LoadRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  bool waited = false;
  for (bool again = false;; again = true) {
    const MonoNanos now = options_.clock->Mono();
    Found found = Find(full_key, now, /*want_value=*/true, again);
    if (found.present) {
      co_return LoadResult{Counted(full_key, std::move(found), resolved, now), std::nullopt};
    }

    const MonoNanos until = std::min(request.wait_until, request.deadline);
    const bool may_wait = until > now;
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
        CountMiss(full_key, resolved);
        co_return LoadResult{ReadResult{std::nullopt, MissReason::kLoading, absl::ZeroDuration()},
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
  const MonoNanos now = options_.clock->Mono();
  Found found = Find(full_key, now, /*want_value=*/true, /*again=*/true);
  if (found.present) {
    memory_->EndFill(full_key.view(), lease.ticket);
    leases_.Complete(full_key.view(), token);
    return std::optional<LoadResult>(
        LoadResult{Counted(full_key, std::move(found), resolved, now), std::nullopt});
  }
  // A change between BeginFill and Arm found no armed lease to tell.
  if (!memory_->HasFill(full_key.view(), lease.ticket)) {
    leases_.PassOn(full_key.view(), token, LeaseTable::Lost::kRevoked);
    return std::optional<LoadResult>();
  }
  CountMiss(full_key, resolved);
  usage_.Count(Usage::kLoads, resolved.type->id, resolved.name_space);
  return std::optional<LoadResult>(
      LoadResult{ReadResult{std::nullopt, found.why, absl::ZeroDuration()},
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
