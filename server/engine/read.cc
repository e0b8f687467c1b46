// The read path: memory, then the tier below.
//
// What the lower tier has goes to memory under a fill ticket, as a load's value does: whatever
// changes the key between the question and the answer takes the ticket away, and the answer is
// given to the caller who asked, but not kept. Tickets of loads come first: a copy from below never
// takes the place of one.

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// The lower tier learns of a sliding entry's new life so many times in each.
constexpr int64_t kSlidesBelow = 8;

// Versions and clocks are not finer than this.
constexpr MonoNanos kWrittenSlack = 2'000'000;

// When an entry from the lower tier was written: by its version, if nothing else is said.
MonoNanos WrittenAt(const Entry& entry, const Clock& clock) {
  if (entry.written != 0) return entry.written;
  return clock.Mono() - absl::ToInt64Nanoseconds(clock.Now() - VersionTime(entry.version));
}

}  // namespace

Engine::Found Engine::Find(const FullKey& full_key, MonoNanos now, bool want_value, bool again) {
  Found found;
  // What memory learns from one request's misses it should learn once.
  found.present = again ? memory_->Peek(full_key.view(), now, &found.entry, &found.why)
                        : memory_->Find(full_key.view(), now, &found.entry, &found.why);
  if (found.present && want_value && !Decode(full_key.view(), &found.entry)) return Found();
  return found;
}

Engine::Found Engine::Peek(std::string_view full_key) const {
  Found found;
  found.present = memory_->Peek(full_key, options_.clock->Mono(), &found.entry, &found.why);
  return found;
}

bool Engine::Decode(std::string_view full_key, Entry* entry) {
  if (entry->encoding == kPlain) return true;
  std::string plain;
  const absl::Status decoded = compressor_->Decode(entry->type_id, entry->encoding, entry->stored(),
                                                   entry->plain_bytes, &plain);
  if (!decoded.ok()) {
    LogError("value_lost", {{"type", options_.types->Get(entry->type_id).name},
                            {"encoding", entry->encoding},
                            {"error", decoded}});
    DropOlder(full_key, entry->version, LeaseTable::Change::kRemoved);
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
  if (resolved.ahead) return;
  usage_.Count(Usage::kMisses, resolved.type->id, resolved.name_space);
  const uint32_t weight = hot_keys_.Sampled();
  if (weight == 0) return;
  hot_keys_.Record(resolved.type->id, full_key.view(), HotKeys::Event::kMiss, 0, weight);
}

bool Engine::FindHit(const FullKey& key, MonoNanos now, bool want_value, Entry* entry) {
  MissReason why;
  if (!memory_->Find(key.view(), now, entry, &why) || entry->negative) return false;
  if (ABSL_PREDICT_FALSE(now >= entry->fresh_until)) return false;
  if (ABSL_PREDICT_FALSE(!options_.types->Get(entry->type_id).rollout.Reads(key.view())))
    return false;
  if (!coherence_.Trusts(key.view(), *entry, now)) {
    // What Checked would say in the end.
    if (!options_.serve_suspect || !tier_away_.load(std::memory_order_relaxed)) return false;
    coherence_.CountServedSuspect();
  }
  if (want_value && !Decode(key.view(), entry)) return false;
  SlideBelow(key, *entry, now);
  if (ABSL_PREDICT_FALSE(RefreshIsDue(key.view(), *entry, /*below=*/false, now)))
    RefreshBehind(key.view(), *entry, now);
  CountHit(key, *entry);
  return true;
}

void Engine::SlideBelow(const FullKey& full_key, const Entry& entry, MonoNanos now) {
  if (ABSL_PREDICT_TRUE(entry.sliding == 0) || entry.slid_from == 0) return;
  if (!lower_.Has(options_.types->Get(entry.type_id))) return;
  const MonoNanos step = std::max<MonoNanos>(entry.sliding / kSlidesBelow, 1);
  if ((entry.slid_from - entry.sliding) / step == now / step) return;
  // Dropped when there is too much to do: the entry then lives shorter below.
  (void)options_.executor->TryPost([this, key = std::string(full_key.view())] {
    if (!background_.TryEnter()) return;
    Spawn(ExtendBelow(key), [this](bool) { background_.Leave(); });
  });
}

Task<bool> Engine::ExtendBelow(std::string full_key) {
  Entry entry;
  MissReason why;
  if (!memory_->Peek(full_key, options_.clock->Mono(), &entry, &why)) co_return false;
  // What was served for want of an answer must not be what the fleet has, once it has answers.
  if (!coherence_.Trusts(full_key, entry, options_.clock->Mono())) co_return false;
  std::optional<TierPut> put = CurrentPut(full_key, entry.version);
  if (!put.has_value()) co_return false;
  put->expect = {Expect::Kind::kUnchanged, entry.version};
  std::vector<TierPut> puts;
  puts.push_back(*std::move(put));
  const auto changes = co_await lower_.Put(std::move(puts), INT64_MAX);
  co_return changes.ok();
}

std::optional<TierPut> Engine::CurrentPut(const std::string& full_key, Version version) {
  Entry entry;
  MissReason why;
  if (!memory_->Peek(full_key, options_.clock->Mono(), &entry, &why)) return std::nullopt;
  if (entry.version != version || !Decode(full_key, &entry)) return std::nullopt;
  EntryFields fields = FieldsOf(full_key, entry);
  fields.negative = entry.negative;
  fields.version = entry.version;
  fields.fresh_until = entry.fresh_until;
  fields.usable_until = entry.usable_until;
  fields.sliding = entry.sliding;
  // Memory always says when; only what the version does not say takes room below.
  const MonoNanos written = std::exchange(entry.written, 0);
  if (std::abs(written - WrittenAt(entry, *options_.clock)) < kWrittenSlack) fields.written = 0;
  return lower_.PutOf(fields, fields.value, options_.types->Get(entry.type_id), {});
}

Engine::Worth Engine::WorthOf(const Entry& entry, MonoNanos now) const {
  if (now < entry.fresh_until) return Worth::kFresh;
  const FreshnessPolicy& policy = options_.types->Get(entry.type_id).freshness;
  return now < MonoAfter(entry.fresh_until, policy.stale_while_revalidate) ? Worth::kStale
                                                                           : Worth::kStaleOnError;
}

Engine::Found Engine::ForReader(Found found, MonoNanos now) const {
  if (!found.present || WorthOf(found.entry, now) != Worth::kStaleOnError) return found;
  Found nothing;
  nothing.why = MissReason::kExpired;
  nothing.seen_below = found.seen_below;
  return nothing;
}

ReadResult Engine::Counted(const FullKey& full_key, Found found, const Resolved& resolved,
                           MonoNanos now) {
  ReadResult result;
  if (found.live() && resolved.ahead) {
    if (RefreshIsDue(full_key.view(), found.entry, found.below, now))
      RefreshBehind(full_key.view(), found.entry, now);
    result.stale = now >= found.entry.fresh_until;
    result.entry = std::move(found.entry);
    return result;
  }
  if (found.live()) {
    CountHit(full_key, found.entry);
    result.stale = now >= found.entry.fresh_until;
    if (result.stale)
      usage_.Count(Usage::kStaleHits, found.entry.type_id, found.entry.namespace_id);
    if (found.below) {
      result.from = ReadResult::From::kBelow;
      usage_.Count(Usage::kHitsBelow, found.entry.type_id, found.entry.namespace_id);
    } else {
      SlideBelow(full_key, found.entry, now);
    }
    if (RefreshIsDue(full_key.view(), found.entry, found.below, now))
      RefreshBehind(full_key.view(), found.entry, now);
    result.entry = std::move(found.entry);
    return result;
  }
  CountMiss(full_key, resolved);
  result.miss = found.present ? MissReason::kNegative : found.why;
  if (!found.present || resolved.ahead) return result;
  usage_.Count(Usage::kNegativeHits, resolved.type->id, resolved.name_space);
  result.miss_remaining = absl::Nanoseconds(std::max<MonoNanos>(found.entry.fresh_until - now, 0));
  return result;
}

Task<absl::StatusOr<ReadResult>> Engine::Get(KeyRequest request, bool want_value, bool again) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request));
  const FullKey full_key(request.name_space, request.key);
  if (resolved.past) {
    Found past = co_await FindPast(&full_key, resolved);
    co_return CountedPast(full_key, std::move(past), resolved);
  }
  Found found = co_await FindAnywhere(&full_key, resolved, want_value, again);
  const MonoNanos now = options_.clock->Mono();
  co_return Counted(full_key, ForReader(std::move(found), now), resolved, now);
}

Task<absl::StatusOr<std::vector<ReadResult>>> Engine::BatchGet(std::string_view name_space,
                                                               std::vector<std::string_view> keys,
                                                               std::string_view type,
                                                               bool want_value) {
  std::vector<Resolved> resolved;
  resolved.reserve(keys.size());
  for (const std::string_view key : keys) {
    CO_ASSIGN_OR_RETURN(const Resolved one, ResolveForRead({name_space, key, type}));
    resolved.push_back(one);
  }
  std::vector<Found> found = co_await FindMany(name_space, keys, resolved, want_value);
  std::vector<ReadResult> results;
  results.reserve(keys.size());
  const MonoNanos now = options_.clock->Mono();
  for (size_t i = 0; i < keys.size(); ++i) {
    const FullKey full_key(name_space, keys[i]);
    results.push_back(resolved[i].past ? CountedPast(full_key, std::move(found[i]), resolved[i])
                                       : Counted(full_key, ForReader(std::move(found[i]), now),
                                                 resolved[i], now));
  }
  co_return results;
}

Task<std::vector<Engine::Found>> Engine::FindMany(std::string_view name_space,
                                                  std::vector<std::string_view> keys,
                                                  std::vector<Resolved> resolved, bool want_value) {
  std::vector<Found> results(keys.size());
  // What the lower tier is asked for, in one question: what is missing, and the suspect copies.
  std::vector<size_t> asked;
  std::vector<std::optional<Found>> copies;
  std::vector<std::string> full_keys;
  std::vector<const TypePolicy*> types;
  const MonoNanos now = options_.clock->Mono();
  for (size_t i = 0; i < keys.size(); ++i) {
    const FullKey full_key(name_space, keys[i]);
    if (resolved[i].past) {
      results[i].why = MissReason::kRolledPast;
      continue;
    }
    Found found = Find(full_key, now, want_value, /*again=*/true);
    const bool suspect = !Trusts(full_key, found, now);
    const TypePolicy& kept_as =
        found.present ? options_.types->Get(found.entry.type_id) : *resolved[i].type;
    const bool unasked = suspect && tier_away_.load(std::memory_order_relaxed);
    if ((suspect || !found.present) && !unasked && lower_.Has(kept_as)) {
      asked.push_back(i);
      full_keys.emplace_back(full_key.view());
      types.push_back(resolved[i].type);
      results[i].why = found.why;
      copies.emplace_back();
      if (suspect) copies.back() = std::move(found);
      continue;
    }
    if (suspect) Judge(full_key.view(), nullptr, now, &found);
    results[i] = std::move(found);
  }
  std::vector<Found> below;
  if (!asked.empty())
    below = co_await FindBelow(std::move(full_keys), std::move(types), want_value);
  for (size_t at = 0; at < asked.size(); ++at) {
    const FullKey full_key(name_space, keys[asked[at]]);
    Found& result = results[asked[at]];
    Found& answer = below[at];
    if (copies[at].has_value()) {
      if (Judge(full_key.view(), &answer, now, &*copies[at])) answer = *std::move(copies[at]);
    } else if (!answer.present && answer.why == MissReason::kAbsent) {
      answer.why = result.why;
    }
    result = std::move(answer);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!MayWait(*resolved[i].type)) continue;
    const FullKey full_key(name_space, keys[i]);
    results[i] = co_await WithWaiting(&full_key, resolved[i].type, std::move(results[i]));
  }
  co_return results;
}

Task<Engine::Found> Engine::FindAnywhere(const FullKey* full_key, Resolved resolved,
                                         bool want_value, bool again) {
  const MonoNanos now = options_.clock->Mono();
  Found found = Find(*full_key, now, want_value, again);
  if (!Trusts(*full_key, found, now)) {
    found = co_await Checked(full_key, resolved.type, std::move(found), want_value);
  } else if (!found.present && lower_.Has(*resolved.type)) {
    Found below = co_await FindOneBelow(full_key, resolved.type, want_value);
    if (!below.present && below.why == MissReason::kAbsent) below.why = found.why;
    found = std::move(below);
  }
  if (!MayWait(*resolved.type)) co_return found;
  co_return co_await WithWaiting(full_key, resolved.type, std::move(found));
}

Task<Engine::Found> Engine::FindForChange(const FullKey* full_key, Resolved resolved,
                                          bool want_value) {
  Found found = co_await FindAnywhere(full_key, resolved, want_value, /*again=*/true);
  const bool cut = found.present && !found.below && lower_.Has(*resolved.type) &&
                   resolved.type->l1_ttl_max != absl::InfiniteDuration();
  if (!cut) co_return found;
  Found below = co_await FindOneBelow(full_key, resolved.type, want_value);
  const bool same = below.present && below.entry.version == found.entry.version;
  co_return same ? std::move(below) : std::move(found);
}

Task<Engine::Found> Engine::FindOneBelow(const FullKey* full_key, const TypePolicy* type,
                                         bool want_value) {
  std::vector<std::string> full_keys(1, std::string(full_key->view()));
  std::vector<const TypePolicy*> types(1, type);
  std::vector<Found> found = co_await FindBelow(std::move(full_keys), std::move(types), want_value);
  co_return std::move(found[0]);
}

Task<std::vector<Engine::Found>> Engine::FindBelow(std::vector<std::string> full_keys,
                                                   std::vector<const TypePolicy*> types,
                                                   bool want_value) {
  const uint64_t round = coherence_.round();
  const MonoNanos began = options_.clock->Mono();
  std::vector<FillTicket> tickets;
  tickets.reserve(full_keys.size());
  for (const std::string& full_key : full_keys) tickets.push_back(memory_->TryBeginFill(full_key));
  std::vector<LowerTier::Read> reads = co_await lower_.Get(full_keys, INT64_MAX);
  const bool same_round = round == coherence_.round();
  std::vector<Found> found;
  found.reserve(reads.size());
  for (size_t i = 0; i < reads.size(); ++i) {
    const bool outdated = MayWait(*types[i]) && IsBeforeWaiting(full_keys[i], reads[i]);
    if ((!same_round || outdated) && tickets[i] != 0)
      memory_->EndFill(full_keys[i], std::exchange(tickets[i], 0));
    const bool answered = !reads[i].failed;
    const bool timed_out = reads[i].timed_out;
    found.push_back(Promote(full_keys[i], *types[i], std::move(reads[i]), tickets[i], want_value));
    if (answered) found.back().looked_at = began;
    if (timed_out) found.back().waited_since = began;
    found.back().round = round;
    // Harmless when the fill has ended.
    if (tickets[i] != 0) memory_->EndFill(full_keys[i], tickets[i]);
  }
  co_return found;
}

// Makes what the lower tier said an answer, and memory's if `ticket` is still good for it.
Engine::Found Engine::Promote(const std::string& full_key, const TypePolicy& type,
                              LowerTier::Read read, FillTicket ticket, bool want_value) {
  Found found;
  found.seen_below = read.seen;
  if (read.seen != kNoVersion) versions_.Observe(read.seen);
  if (read.failed) {
    found.why = MissReason::kTierFailed;
    return found;
  }
  if (!read.entry.has_value()) {
    if (read.seen != kNoVersion)
      found.why = read.ended ? MissReason::kExpired : MissReason::kInvalidated;
    return found;
  }
  found.present = found.below = true;
  found.entry = *std::move(read.entry);
  const TypePolicy* const stored_as = options_.types->Find(read.type);
  const TypePolicy& as = stored_as != nullptr ? *stored_as : type;
  found.entry.type_id = as.id;
  const absl::StatusOr<uint16_t> name_space = namespaces_.Intern(FullKey::NamespaceOf(full_key));
  found.entry.namespace_id = name_space.ok() ? *name_space : 0;
  const MonoNanos now = options_.clock->Mono();
  // Without an id of its own the namespace cannot be told apart in memory; and what a type's
  // entries do not go below for must not come from there.
  if (ticket != 0 && name_space.ok() && as.second_tier && as.l1_ttl_max > absl::ZeroDuration()) {
    Entry copy = found.entry;
    EntryFields fields = FieldsOf(full_key, copy);
    fields.negative = found.entry.negative;
    fields.version = found.entry.version;
    fields.sliding = found.entry.sliding;
    const MonoNanos most = MonoAfter(now, as.l1_ttl_max);
    fields.fresh_until = std::min(found.entry.fresh_until, most);
    fields.usable_until = std::min(found.entry.usable_until, most);
    memory_->Fill(fields, ticket, now);
  }
  found.entry.written = WrittenAt(found.entry, *options_.clock);
  if (want_value && !Decode(full_key, &found.entry)) {
    Found lost;
    lost.seen_below = found.seen_below;
    return lost;
  }
  return found;
}

// A copy that this replica cannot vouch for is compared with the lower tier. Where nobody can tell,
// the configuration says what a hit is worth.
bool Engine::Judge(std::string_view full_key, const Found* below, MonoNanos began, Found* found) {
  if (below == nullptr || below->why == MissReason::kTierFailed) {
    if (options_.serve_suspect) {
      coherence_.CountServedSuspect();
      return true;
    }
    *found = Found();
    found->why = MissReason::kTierFailed;
    return true;
  }
  const Entry& copy = found->entry;
  const bool same = below->present && below->entry.version == copy.version &&
                    !LowerTier::Outlives(copy.fresh_until, copy.sliding, below->entry.fresh_until);
  if (same || lower_.IsBehind(full_key, copy.version, below->seen_below)) {
    coherence_.Confirm(full_key, copy.version, began);
    return true;
  }
  coherence_.Refute(full_key, copy.version);
  return false;
}

Task<Engine::Found> Engine::Checked(const FullKey* full_key, const TypePolicy* type, Found found,
                                    bool want_value) {
  const MonoNanos began = options_.clock->Mono();
  std::optional<Found> below;
  if (!tier_away_.load(std::memory_order_relaxed) &&
      lower_.Has(options_.types->Get(found.entry.type_id)))
    below = co_await FindOneBelow(full_key, type, want_value);
  if (Judge(full_key->view(), below.has_value() ? &*below : nullptr, began, &found))
    co_return found;
  co_return *std::move(below);
}

}  // namespace larder
