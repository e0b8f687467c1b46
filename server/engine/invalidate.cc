// Invalidations. Those by key remove: each key has its tombstone in the tier below, so no rule is
// needed. All others are rules (rules.h), in force at once however much they cover.

#include <algorithm>
#include <functional>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Each further attempt means that another change of the same key came in between.
constexpr int kAttemptsMax = 100;
// After that time every replica has heard of a mark, and what was on its way to the tier is there.
constexpr absl::Duration kLoadsLate = absl::Seconds(2);

// Of two messages, one after the other: whoever has not had one of them has not had both.
FleetAck Both(const FleetAck& one, const FleetAck& other) {
  FleetAck both;
  const auto lacks = [](const FleetAck& ack) {
    return ack.replicas - std::min(ack.acknowledged, ack.replicas);
  };
  both.replicas = std::max(one.replicas, other.replicas);
  both.acknowledged = both.replicas - std::max(lacks(one), lacks(other));
  both.newest = std::max(one.newest, other.newest);
  both.known = one.known && other.known;
  return both;
}

}  // namespace

Task<absl::StatusOr<InvalidateResult>> Engine::Invalidate(InvalidateRequest request) {
  if (!request.rules.empty()) co_return co_await InvalidateByRules(std::move(request));
  if (request.mark_stale) co_return co_await MarkKeysStale(std::move(request));
  co_return co_await InvalidateKeys(std::move(request));
}

Task<absl::StatusOr<InvalidateResult>> Engine::InvalidateByRules(InvalidateRequest request) {
  InvalidateResult result;
  std::function<void(const std::vector<Rule>&)> estimate =
      [this, &result](const std::vector<Rule>& rules) {
        const MonoNanos now = options_.clock->Mono();
        for (const Rule& rule : rules) result.entries += memory_->Estimate(rule, now);
      };
  if (request.dry_run) {
    for (Rule& rule : request.rules) rule.version = versions_.Last();
    estimate(request.rules);
    co_return result;
  }
  // What a rule takes is bounded for each namespace, and names of namespaces are free.
  for (const Rule& rule : request.rules)
    CO_RETURN_IF_ERROR(namespaces_.Intern(rule.name_space).status());
  // The estimate takes some milliseconds: readers miss before it.
  CO_ASSIGN_OR_RETURN(
      const Rules::Applied applied,
      co_await rules_.Apply(std::move(request.rules), request.fleet_until, std::move(estimate)));
  result.version = applied.version;
  result.fleet = applied.fleet;
  if (request.fleet_until.has_value() && !result.fleet.all())
    fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  co_return result;
}

Task<absl::StatusOr<InvalidateResult>> Engine::InvalidateKeys(InvalidateRequest request) {
  InvalidateResult result;
  Removing removing;
  std::vector<ChangedKey> derived;
  for (const std::string_view key : request.keys) {
    CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead({request.name_space, key, ""}));
    const FullKey full_key(request.name_space, key);
    if (request.dry_run) {
      if (Peek(full_key.view()).present) ++result.entries;
      continue;
    }
    // Why it is removed is that the origin has another value, which may be its first.
    filters_->Note(*resolved.type, full_key.view());
    removing.full_keys.emplace_back(full_key.view());
    removing.types.push_back(resolved.type);
    if (resolved.type->HasDerived())
      derived.push_back({std::string(full_key.view()), resolved.type});
    usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  }
  if (request.dry_run) co_return result;
  Describe(&removing);
  std::vector<std::string> changed = removing.full_keys;
  std::vector<KeyChange> told = removing.changes;
  bool settled = false;
  CO_ASSIGN_OR_RETURN(const std::vector<bool> existed,
                      co_await Remove(std::move(removing), &result.version, &settled));
  result.entries = static_cast<uint64_t>(std::count(existed.begin(), existed.end(), true));
  if (!request.fleet_until.has_value()) {
    coherence_.Changed(std::move(changed), result.version, std::move(told));
  } else {
    result.fleet = co_await coherence_.ChangedAndWait(std::move(changed), result.version,
                                                      std::move(told), *request.fleet_until);
    // Whoever drops its copy may still find the old value below.
    if (!settled) result.fleet.known = false;
  }
  if (!derived.empty()) {
    const FleetAck gone = co_await InvalidateDerived(std::move(derived), request.fleet_until);
    if (request.fleet_until.has_value()) result.fleet = Both(result.fleet, gone);
  }
  if (request.fleet_until.has_value() && !result.fleet.all())
    fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  co_return result;
}

// Loads under way first, as with every change: what they bring may be of before. What one of this
// replica has already sent to the tier is outranked there by nothing but a removal.
//
// The entry stays the entry that it is, with a shorter fresh life: see Revise. What may not be
// served stale is removed; so is what is not there, because what another replica loads meanwhile
// has to be outranked, too.
Task<absl::StatusOr<bool>> Engine::MarkStale(const FullKey* full_key, Resolved resolved,
                                             Marked* marked) {
  DropOlder(full_key->view(), kNoVersion, LeaseTable::Change::kRemoved);
  if (lower_.Has(*resolved.type) && lower_.IsUnderWay(full_key->view())) co_return false;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    Found found = co_await FindForChange(full_key, resolved, /*want_value=*/true);
    if (found.present && !found.below && lower_.Has(*resolved.type)) {
      // A load that memory did not take, because of a change in between, may have got there.
      Found below = co_await FindOneBelow(full_key, resolved.type, /*want_value=*/true);
      if (below.present && below.entry.version > found.entry.version) found = std::move(below);
    }
    const MonoNanos now = options_.clock->Mono();
    const MonoNanos window = found.entry.usable_until - found.entry.fresh_until;
    if (!found.present || found.entry.negative || window <= 0 || found.waits) co_return false;
    const bool fresh = now < found.entry.fresh_until;
    const TypePolicy& type = options_.types->Get(found.entry.type_id);
    const Version version = found.entry.version;
    Storing storing{FieldsOf(full_key->view(), found.entry),
                    found.entry.stored(),
                    &type,
                    {Expect::Kind::kVersion, version}};
    storing.fields.version = version;
    std::vector<KeyChange> told = ToldOfTimes(storing);
    if (fresh) {
      storing.fields.fresh_until = now;
      storing.fields.usable_until = now + window;
      std::string stored_form;
      Encode(&storing.fields, &stored_form);
      CO_ASSIGN_OR_RETURN(const Stored stored, co_await Revise(std::move(storing)));
      if (!stored.stored) continue;
      ++marked->fresh;
    } else if (const Found held = Peek(full_key->view());
               held.present && now < held.entry.fresh_until) {
      // The tier keeps whole milliseconds, and memory has a part of one left.
      DropOlder(full_key->view(), held.entry.version, LeaseTable::Change::kRemoved);
    }
    marked->full_keys.emplace_back(full_key->view());
    marked->types.push_back(&type);
    marked->versions.push_back(version);
    for (KeyChange& change : told) {
      change.version = version;
      marked->told.push_back(std::move(change));
    }
    co_return true;
  }
  co_return false;
}

Task<absl::StatusOr<InvalidateResult>> Engine::MarkKeysStale(InvalidateRequest request) {
  InvalidateResult result;
  std::vector<std::string_view> remove;
  std::vector<ChangedKey> derived;
  Marked marked;
  for (const std::string_view key : request.keys) {
    CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead({request.name_space, key, ""}));
    const FullKey full_key(request.name_space, key);
    if (request.dry_run) {
      const Found found = co_await FindForChange(&full_key, resolved, /*want_value=*/false);
      if (found.present) ++result.entries;
      continue;
    }
    CO_ASSIGN_OR_RETURN(const bool stays, co_await MarkStale(&full_key, resolved, &marked));
    if (!stays) {
      remove.push_back(key);
    } else if (resolved.type->HasDerived()) {
      derived.push_back({std::string(full_key.view()), resolved.type});
    }
  }
  if (request.dry_run) co_return result;
  const std::optional<MonoNanos> fleet_until = request.fleet_until;
  const uint64_t fresh = marked.fresh;
  FleetAck fleet;
  fleet.known = true;
  Version version = kNoVersion;
  if (!marked.full_keys.empty()) {
    version = versions_.Next();
    fleet = co_await TellMarked(std::move(marked), version, fleet_until);
    if (!derived.empty())
      fleet = Both(fleet, co_await InvalidateDerived(std::move(derived), fleet_until));
    if (fleet_until.has_value() && !fleet.all())
      fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  }
  result.fleet.known = true;
  if (!remove.empty()) {
    request.keys = std::move(remove);
    request.mark_stale = false;
    CO_ASSIGN_OR_RETURN(result, co_await InvalidateKeys(std::move(request)));
  }
  result.entries += fresh;
  result.version = std::max(result.version, version);
  if (fleet_until.has_value()) result.fleet = Both(result.fleet, fleet);
  co_return result;
}

// The others drop their copies, and find the shorter life below; and they end their loads. One of
// theirs may be on its way to the tier when they hear of it, or there already, where the mark has
// no version of its own that could refuse it. So there is a second look.
Task<FleetAck> Engine::TellMarked(Marked marked, Version version,
                                  std::optional<MonoNanos> fleet_until) {
  std::vector<std::string> full_keys = marked.full_keys;
  // Somebody may have begun to watch in between; then not all of them are described.
  std::vector<KeyChange> told;
  if (marked.told.size() == full_keys.size()) told = marked.told;
  FleetAck fleet;
  if (!fleet_until.has_value()) {
    // Those who watch here were told by Revise.
    coherence_.ChangedElsewhere(std::move(full_keys), version, std::move(told));
  } else {
    fleet = co_await coherence_.ChangedAndWait(std::move(full_keys), version, std::move(told),
                                               *fleet_until);
  }
  if (coherence_.alone() || !lower_.shared()) co_return fleet;
  if (fleet_until.has_value()) {
    const FleetAck again =
        co_await RemoveLoadedSince(marked, std::max(version, fleet.newest), fleet_until);
    fleet = Both(fleet, again);
  }
  options_.executor->After(kLoadsLate, [this, marked = std::move(marked), version]() mutable {
    if (!background_.TryEnter()) return;
    Spawn(RemoveLoadedSince(std::move(marked), version, std::nullopt),
          [this](const FleetAck&) { background_.Leave(); });
  });
  co_return fleet;
}

Task<FleetAck> Engine::RemoveLoadedSince(Marked marked, Version upto,
                                         std::optional<MonoNanos> fleet_until) {
  FleetAck fleet;
  fleet.known = true;
  Removing removing;
  const std::vector<LowerTier::Read> reads = co_await lower_.Get(marked.full_keys, INT64_MAX);
  for (size_t i = 0; i < reads.size(); ++i) {
    if (reads[i].failed) fleet.known = false;
    const std::optional<Entry>& entry = reads[i].entry;
    if (!entry.has_value() || entry->version == marked.versions[i] || entry->version > upto)
      continue;
    removing.full_keys.push_back(marked.full_keys[i]);
    removing.types.push_back(marked.types[i]);
  }
  if (removing.full_keys.empty()) co_return fleet;
  Describe(&removing);
  std::vector<std::string> gone = removing.full_keys;
  std::vector<KeyChange> told = removing.changes;
  Version version = kNoVersion;
  bool settled = false;
  const auto removed = co_await Remove(std::move(removing), &version, &settled);
  if (!removed.ok() || !settled) fleet.known = false;
  if (!fleet_until.has_value()) {
    coherence_.Changed(std::move(gone), version, std::move(told));
    co_return fleet;
  }
  const FleetAck acked =
      co_await coherence_.ChangedAndWait(std::move(gone), version, std::move(told), *fleet_until);
  co_return Both(fleet, acked);
}

Task<FleetAck> Engine::InvalidateDerived(std::vector<ChangedKey> changed,
                                         std::optional<MonoNanos> fleet_until) {
  FleetAck fleet;
  fleet.known = true;
  std::vector<Rule> rules;
  std::vector<std::string> texts;
  std::string_view name_space;
  for (const ChangedKey& key : changed) {
    name_space = FullKey::NamespaceOf(key.full_key);
    const NameTemplate::Captures captures = CapturesOf(*key.type, FullKey::KeyOf(key.full_key));
    for (const NameTemplate& made_from : key.type->on_change) {
      std::string text;
      if (!made_from.Make(captures, &text)) continue;
      if (made_from.is_prefix()) {
        Rule rule;
        rule.kind = Rule::Kind::kPrefix;
        rule.name_space = std::string(name_space);
        rule.match = std::move(text);
        rules.push_back(std::move(rule));
      } else if (CheckKey(text).ok()) {
        texts.push_back(std::move(text));
      }
    }
  }
  // Where a namespace can have no number, memory has nothing of it and takes nothing in.
  const bool anywhere = lower_.exists() || namespaces_.Intern(name_space).ok();
  if (!rules.empty() && anywhere) {
    absl::StatusOr<Rules::Applied> applied = co_await rules_.Apply(std::move(rules), fleet_until);
    if (!applied.ok()) {
      // More than it has to be, but not less. It makes room for what comes after it.
      LogWarning("derived_widened", {{"namespace", name_space}, {"error", applied.status()}});
      std::vector<Rule> all(1);
      all[0].name_space = std::string(name_space);
      applied = co_await rules_.Apply(std::move(all), fleet_until);
    }
    if (applied.ok()) {
      fleet = applied->fleet;
    } else {
      LogError("derived_not_invalidated", {{"error", applied.status()}});
      fleet.known = false;
    }
  }
  if (texts.empty()) co_return fleet;
  Removing removing;
  for (const std::string& text : texts) {
    const absl::StatusOr<Resolved> resolved = ResolveForRead({name_space, text, ""});
    if (!resolved.ok()) continue;
    removing.full_keys.emplace_back(FullKey(name_space, text).view());
    removing.types.push_back(resolved->type);
    filters_->Note(*resolved->type, removing.full_keys.back());
    usage_.Count(Usage::kRemovals, resolved->type->id, resolved->name_space);
  }
  Describe(&removing);
  std::vector<std::string> gone = removing.full_keys;
  std::vector<KeyChange> told = removing.changes;
  Version version = kNoVersion;
  bool settled = false;
  const auto removed = co_await Remove(std::move(removing), &version, &settled);
  if (!removed.ok()) LogWarning("derived_not_invalidated", {{"error", removed.status()}});
  if (!removed.ok() || !settled) fleet.known = false;
  if (!fleet_until.has_value()) {
    coherence_.Changed(std::move(gone), version, std::move(told));
    co_return fleet;
  }
  const FleetAck acked =
      co_await coherence_.ChangedAndWait(std::move(gone), version, std::move(told), *fleet_until);
  co_return Both(fleet, acked);
}

bool Engine::IsCovered(const EntryFields& fields) const {
  const bool listed = !fields.tags.empty() || !fields.depends_on.empty();
  if (fields.version > (listed ? rule_table_->newest_listed() : rule_table_->newest()))
    return false;
  const RuleSubject subject{FullKey::NamespaceOf(fields.full_key),
                            FullKey::KeyOf(fields.full_key),
                            options_.types->Get(fields.type_id).name,
                            fields.tags,
                            fields.depends_on,
                            fields.version};
  // What is stale from the start is worth no more.
  return rule_table_->Judge(subject).concerned();
}

Task<bool> Engine::RemoveCoveredBelow(std::string full_key) {
  std::vector<std::string> keys(1, full_key);
  const std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
  if (reads[0].failed) co_return false;
  if (!reads[0].covered) co_return true;
  std::vector<TierErase> erases(1);
  erases[0].full_key = std::move(full_key);
  erases[0].version = reads[0].seen;
  const auto erased = co_await lower_.Erase(std::move(erases), INT64_MAX);
  co_return erased.ok();
}

NameTemplate::Captures Engine::CapturesOf(const TypePolicy& type, std::string_view key) {
  NameTemplate::Captures captures;
  for (const Pattern& pattern : type.match) {
    if (pattern.Match(key, &captures)) break;
  }
  return captures;
}

void Engine::AddTypeTags(const TypePolicy& type, std::string_view full_key,
                         std::vector<std::string>* tags) {
  if (type.tags.empty()) return;
  const NameTemplate::Captures captures = CapturesOf(type, FullKey::KeyOf(full_key));
  for (const NameTemplate& made_from : type.tags) {
    std::string tag;
    if (!made_from.Make(captures, &tag) || !CheckTag(tag).ok()) continue;
    if (std::find(tags->begin(), tags->end(), tag) == tags->end()) tags->push_back(std::move(tag));
  }
}

}  // namespace larder
