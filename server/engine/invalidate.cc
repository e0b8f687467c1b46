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
    if (!result.fleet.all()) fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  }
  if (!derived.empty()) co_await InvalidateDerived(std::move(derived));
  co_return result;
}

// The entry stays the entry that it is, with a shorter fresh life: see Revise. What may not be
// served stale is removed.
Task<absl::StatusOr<InvalidateResult>> Engine::MarkKeysStale(InvalidateRequest request) {
  InvalidateResult result;
  std::vector<std::string_view> remove;
  std::vector<std::string> revised;
  for (const std::string_view key : request.keys) {
    CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead({request.name_space, key, ""}));
    const FullKey full_key(request.name_space, key);
    bool marked = false;
    for (int attempt = 0; attempt < kAttemptsMax && !marked; ++attempt) {
      Found found = co_await FindForChange(&full_key, resolved, /*want_value=*/true);
      const MonoNanos now = options_.clock->Mono();
      if (!found.present) break;
      if (request.dry_run) {
        ++result.entries;
        break;
      }
      const MonoNanos window = found.entry.usable_until - found.entry.fresh_until;
      if (found.entry.negative || window <= 0 || found.waits) {
        remove.push_back(key);
        break;
      }
      if (now >= found.entry.fresh_until) break;
      const TypePolicy& type = options_.types->Get(found.entry.type_id);
      Storing storing{FieldsOf(full_key.view(), found.entry),
                      found.entry.stored(),
                      &type,
                      {Expect::Kind::kVersion, found.entry.version}};
      storing.fields.version = found.entry.version;
      storing.fields.fresh_until = now;
      storing.fields.usable_until = now + window;
      std::string stored_form;
      Encode(&storing.fields, &stored_form);
      CO_ASSIGN_OR_RETURN(const Stored stored, co_await Revise(std::move(storing)));
      marked = stored.stored;
      if (marked) {
        result.version = std::max(result.version, stored.version);
        ++result.entries;
        revised.emplace_back(full_key.view());
      }
    }
  }
  if (request.dry_run) co_return result;
  // The others drop their copies and find the shorter life below.
  if (request.fleet_until.has_value() && !revised.empty()) {
    std::vector<KeyChange> told;  // by Revise, already
    result.fleet = co_await coherence_.ChangedAndWait(std::move(revised), result.version + 1,
                                                      std::move(told), *request.fleet_until);
  } else {
    result.fleet.known = true;
  }
  if (!remove.empty()) {
    const uint64_t marked = result.entries;
    request.keys = std::move(remove);
    request.mark_stale = false;
    CO_ASSIGN_OR_RETURN(result, co_await InvalidateKeys(std::move(request)));
    result.entries += marked;
  }
  if (result.version == kNoVersion) result.version = versions_.Next();
  co_return result;
}

Task<bool> Engine::InvalidateDerived(std::vector<ChangedKey> changed) {
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
  if (!rules.empty()) {
    const auto applied = co_await rules_.Apply(std::move(rules), std::nullopt);
    if (!applied.ok()) {
      // More than it has to be, but not less.
      LogWarning("derived_widened", {{"namespace", name_space}, {"error", applied.status()}});
      std::vector<Rule> all(1);
      all[0].name_space = std::string(name_space);
      const auto widened = co_await rules_.Apply(std::move(all), std::nullopt);
      if (!widened.ok()) LogError("derived_not_invalidated", {{"error", widened.status()}});
    }
  }
  if (texts.empty()) co_return true;
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
  coherence_.Changed(std::move(gone), version, std::move(told));
  co_return removed.ok();
}

bool Engine::IsCovered(const EntryFields& fields) const {
  const bool listed = !fields.tags.empty() || !fields.depends_on.empty();
  if (fields.version > (listed ? rule_table_.newest_listed() : rule_table_.newest())) return false;
  const RuleSubject subject{FullKey::NamespaceOf(fields.full_key),
                            FullKey::KeyOf(fields.full_key),
                            options_.types->Get(fields.type_id).name,
                            fields.tags,
                            fields.depends_on,
                            fields.version};
  // What is stale from the start is worth no more.
  return rule_table_.Judge(subject).concerned();
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
