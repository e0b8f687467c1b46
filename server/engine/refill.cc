// Fetching entries from the lower tier before anybody asks for them.
//
// What comes back is as true as what a miss brings back, because it goes the same way: under a fill
// ticket that any change of the key takes away, with the TTL that the tier still gives it, and not
// at all if the tier has a tombstone or has let it end. While this process was down, others could
// change only the tier; so to read it is to apply what was missed.
//
// The list knows one thing more: the version that memory had. A tier that holds an older one did
// not take the last write, and nobody remembers that it owes it. It is told so now.
//
// What the tier no longer has, or never gets, its origin may have: of types that are warmed at the
// start, such keys are handed on (origin_warmer.h), because loads take long and are paced by other
// limits.
//
// With other replicas, nothing is fetched before their changes are heard of, and not while copies
// are suspect: each would be fetched once for nothing, and a second time to be checked.

#include <algorithm>
#include <utility>

#include "engine/engine.h"

namespace larder {
namespace {

// The eviction sees newcomers, the hottest of which came first: they would be the first to go when
// memory is full again. So what was read before the restart is given some hits, as many as count.
constexpr int kHitsGiven = 3;

}  // namespace

bool Engine::CanRefill() const {
  if (options_.bus == nullptr) return true;
  return !coherence_.Stats().suspect && options_.clock->Mono() <= options_.bus->ReliableUntil();
}

Task<RefillResult> Engine::Refill(const std::vector<HotKey>* keys) {
  RefillResult result;
  result.again = !CanRefill();
  if (result.again) co_return result;
  const uint64_t round = coherence_.round();
  std::vector<const HotKey*> asked;
  std::vector<std::string> full_keys;
  std::vector<const TypePolicy*> types;
  std::vector<FillTicket> tickets;
  for (const HotKey& key : *keys) {
    const absl::StatusOr<TypeMatch> match =
        options_.types->Resolve(FullKey::KeyOf(key.full_key), "");
    const bool below = match.ok() && lower_.Has(*match->type);
    if (!below && !(match.ok() && WarmsFromOrigin(*match->type))) {
      ++result.missing;
      continue;
    }
    Entry present;
    MissReason why;
    FillTicket ticket = 0;
    const bool there = memory_->Peek(key.full_key, options_.clock->Mono(), &present, &why);
    if (!there && !below) {
      Missing(key, *match->type, &result);
      continue;
    }
    if (!there) ticket = memory_->TryBeginFill(key.full_key);
    if (ticket == 0) {
      // There already, or being loaded.
      ++result.present;
      continue;
    }
    versions_.Observe(key.version);
    asked.push_back(&key);
    full_keys.push_back(key.full_key);
    types.push_back(match->type);
    tickets.push_back(ticket);
  }
  if (asked.empty()) co_return result;

  std::vector<LowerTier::Read> reads = co_await lower_.Get(full_keys, INT64_MAX);
  const bool same_round = round == coherence_.round();
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!same_round || reads[i].failed) {
      result.again = true;
    } else {
      RefillOne(*asked[i], *types[i], std::move(reads[i]), tickets[i], &result);
    }
    // Harmless when the fill has ended.
    memory_->EndFill(full_keys[i], tickets[i]);
  }
  co_return result;
}

void Engine::Missing(const HotKey& key, const TypePolicy& type, RefillResult* result) const {
  ++result->missing;
  if (WarmsFromOrigin(type)) result->from_origin.push_back(key.full_key);
}

void Engine::RefillOne(const HotKey& key, const TypePolicy& type, LowerTier::Read read,
                       FillTicket ticket, RefillResult* result) {
  if (MayWait(type) && IsBeforeWaiting(key.full_key, read)) {
    ++result->outdated;
    return;
  }
  if (read.seen != kNoVersion && read.seen < key.version) {
    ++result->outdated;
    lower_.Begin(key.full_key, key.version);
    lower_.End(key.full_key, key.version, /*settled=*/false);
    return;
  }
  const TypePolicy* const stored_as = options_.types->Find(read.type);
  // What the tier has of a type that no longer goes there may be out of date.
  const bool kept_there = stored_as == nullptr || stored_as->second_tier;
  if (!read.entry.has_value() || !kept_there) return Missing(key, type, result);
  ++result->loaded;
  const Found found = Promote(key.full_key, type, std::move(read), ticket, /*want_value=*/false);
  // Hits would make a sliding entry live longer.
  if (found.entry.sliding != 0) return;
  Entry ignored;
  MissReason why;
  for (int hit = 0; hit < std::min<int>(key.level, kHitsGiven); ++hit)
    memory_->Find(key.full_key, options_.clock->Mono(), &ignored, &why);
}

}  // namespace larder
