// Keys that the cache is not used for, or not yet (`rollout` of their type). What there may be of
// them in the tiers is not looked at: it is from before, when the part was larger, and is kept
// coherent like all else until it dies. Neither does anything new get there.

#include <algorithm>
#include <memory>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {

// The origin does not know yet what waits in the journal, and whoever wrote it may read it.
Task<Engine::Found> Engine::FindPast(const FullKey* full_key, Resolved resolved) {
  Found nothing;
  nothing.why = MissReason::kRolledPast;
  if (!MayWait(*resolved.type)) co_return nothing;
  co_return co_await WithWaiting(full_key, resolved.type, std::move(nothing));
}

ReadResult Engine::CountedPast(const FullKey& full_key, Found found, const Resolved& resolved) {
  if (found.present) return Counted(full_key, std::move(found), resolved, options_.clock->Mono());
  usage_.Count(Usage::kPast, resolved.type->id, resolved.name_space);
  return ReadResult{.miss = found.why};
}

// As if there were no cache: the origin is asked each time, and nobody waits for somebody else's
// load. A type without an origin has its value loaded by the caller, under a lease that holds
// nobody up; the Set with its token then finds that it is not the holder's. Who does not want to
// wait so long is told that it is loading, as ever, though nobody will have it then.
Task<absl::StatusOr<LoadResult>> Engine::LoadPast(const FullKey* full_key, LoadRequest request,
                                                  Resolved resolved, Found found) {
  const TypePolicy& type = *resolved.type;
  const bool waits = found.present;
  ReadResult read = CountedPast(*full_key, std::move(found), resolved);
  if (waits || resolved.ahead) co_return LoadResult{std::move(read), std::nullopt};
  OriginLoader* const loader = LoaderOf(type);
  if (loader == nullptr) {
    std::string token = StrCat(options_.random->Next(), "-", options_.random->Next());
    co_return LoadResult{std::move(read), GrantedLease{std::move(token), request.lease_ttl}};
  }
  const MonoNanos now = options_.clock->Mono();
  const MonoNanos deadline =
      std::min({request.deadline, request.wait_until, MonoAfter(now, type.freshness.hard_timeout)});
  OriginCall call{std::string(full_key->name_space()), type.name, std::string(request.trace_parent),
                  std::string(request.trace_state)};
  OriginLoad::Item item{std::string(full_key->key()), ""};
  usage_.Count(Usage::kLoads, type.id, resolved.name_space);
  OriginLoaded loaded = co_await Timed(Step::kOrigin, options_.clock,
                                       loader->Load(std::move(call), std::move(item), deadline));
  if (loaded.kind == OriginLoaded::Kind::kUnchanged) {
    loaded.kind = OriginLoaded::Kind::kFailed;
    loaded.error = absl::DataLossError("`unchanged` for a key of which no copy was named");
  } else if (loaded.value.size() > options_.value_bytes_max) {
    loaded.kind = OriginLoaded::Kind::kFailed;
    loaded.error =
        absl::DataLossError(StrCat("the value is ", loaded.value.size(), " bytes; at most ",
                                   options_.value_bytes_max, " (limits.value_bytes)"));
  }
  if (loaded.kind == OriginLoaded::Kind::kFailed && request.wait_until < request.deadline &&
      options_.clock->Mono() >= request.wait_until) {
    read.miss = MissReason::kLoading;
    co_return LoadResult{std::move(read), std::nullopt};
  }
  if (loaded.kind == OriginLoaded::Kind::kFailed)
    co_return OriginFailed(type.origin, loaded.error).error;
  if (loaded.kind == OriginLoaded::Kind::kAbsent) {
    read.miss = MissReason::kNegative;
    co_return LoadResult{std::move(read), std::nullopt};
  }
  Entry entry;
  entry.bytes = std::move(loaded.value);
  entry.version = versions_.OfLoad(kNoVersion);
  entry.written = options_.clock->Mono();
  entry.fresh_until = entry.usable_until = entry.written;
  entry.type_id = type.id;
  entry.namespace_id = resolved.name_space.value_or(0);
  entry.tags = std::move(loaded.tags);
  AddTypeTags(type, full_key->view(), &entry.tags);
  read.from = ReadResult::From::kOrigin;
  read.entry = std::move(entry);
  co_return LoadResult{std::move(read), std::nullopt};
}

// A write that the cache does not keep, of a type that has no origin to tell: what is cached of the
// key is out of date all the same.
Task<absl::StatusOr<WriteResult>> Engine::SetPast(KeyRequest key, ChangeContext context) {
  CO_ASSIGN_OR_RETURN(const RemoveResult removed, co_await Delete(key, context));
  WriteResult written;
  written.stored = true;
  written.version = removed.version;
  co_return written;
}

}  // namespace larder
