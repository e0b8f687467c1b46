// What a flight brings, on its way into the tiers and to those who wait. See flight.cc.

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Values from here on are shared by the callers who wait for them, not copied for each.
constexpr size_t kSharedBytesMin = 4 << 10;

}  // namespace

ReadResult Engine::CountedLanding(const FullKey& full_key, const Landing& landing,
                                  const Resolved& resolved) {
  ReadResult result;
  Entry entry = *landing.entry;
  const MonoNanos now = options_.clock->Mono();
  // Asked for and not there: whoever loaded it, it was no hit.
  CountMiss(full_key, resolved);
  if (entry.negative) {
    result.miss = MissReason::kNegative;
    result.miss_remaining = absl::Nanoseconds(std::max<MonoNanos>(entry.fresh_until - now, 0));
    return result;
  }
  result.from = !landing.found  ? ReadResult::From::kOrigin
                : landing.below ? ReadResult::From::kBelow
                                : ReadResult::From::kMemory;
  result.stale = now >= entry.fresh_until;
  result.entry = std::move(entry);
  return result;
}

void Engine::Learn(std::string_view full_key, const TypePolicy& type, const Found& held,
                   const OriginLoaded& loaded) {
  if (loaded.kind != OriginLoaded::Kind::kAbsent) {
    filters_->Note(type, full_key);
  } else if (filters_->Answers(type, full_key)) {
    usage_.Count(Usage::kFilterFalse, type.id, namespaces_.Find(FullKey::NamespaceOf(full_key)));
  }
  ChangeLearner* const learner = learner_of_[type.id].get();
  if (learner == nullptr || !held.live()) return;
  const bool changed =
      loaded.kind == OriginLoaded::Kind::kAbsent ||
      (loaded.kind == OriginLoaded::Kind::kFound && loaded.value != held.entry.stored());
  learner->Note(key_hash_(full_key), changed);
}

bool Engine::IsCurrent(std::string_view full_key, const Found& found, MonoNanos now) const {
  return found.present && now < found.entry.fresh_until &&
         !RefreshIsDue(full_key, found.entry, found.below, now);
}

Landing Engine::LandFound(Found found) {
  Landing landing{.kind = Landing::Kind::kLanded};
  landing.entry = std::make_shared<const Entry>(std::move(found.entry));
  landing.found = true;
  landing.below = found.below;
  return landing;
}

// Not while the tier answers others: it may know of something newer. Nor where that is likely,
// because the origin has a write later than the tier; nor for a type that is nothing without it.
bool Engine::AnswersFirst(const EntryFields& fields, const TypePolicy& type,
                          const ArmedLease& lease, MonoNanos waited_since) const {
  return !type.require_l2 && !MayWait(type) && !lower_.AnsweredSince(waited_since) &&
         lease.round == coherence_.round() && !IsCovered(fields) &&
         memory_->HasFill(fields.full_key, lease.ticket);
}

Task<Landing> Engine::LandLoaded(const std::string* full_key, const TypePolicy* type,
                                 OriginLoaded loaded, ArmedLease lease,
                                 std::optional<MonoNanos> waited_since) {
  const bool absent = loaded.kind == OriginLoaded::Kind::kAbsent;
  const absl::StatusOr<uint16_t> name_space = namespaces_.Intern(FullKey::NamespaceOf(*full_key));
  if (loaded.value.size() > options_.value_bytes_max) {
    memory_->EndFill(*full_key, lease.ticket);
    co_return OriginFailed(
        type->origin,
        absl::DataLossError(StrCat("the value is ", loaded.value.size(), " bytes; at most ",
                                   options_.value_bytes_max, " (limits.value_bytes)")));
  }
  if (!name_space.ok()) {
    memory_->EndFill(*full_key, lease.ticket);
    co_return FailedLanding(name_space.status(), absl::StatusCode::kFailedPrecondition);
  }
  Storing storing{EntryFields(), loaded.value, type, {}};
  EntryFields& fields = storing.fields;
  fields.full_key = *full_key;
  fields.value = loaded.value;
  fields.negative = absent;
  fields.version = lease.version;
  fields.type_id = type->id;
  fields.namespace_id = *name_space;
  AddTypeTags(*type, *full_key, &loaded.tags);
  if (loaded.tags.size() > kTagsMax) {
    memory_->EndFill(*full_key, lease.ticket);
    co_return OriginFailed(
        type->origin, absl::DataLossError(StrCat(loaded.tags.size(), " tags, those of type ",
                                                 type->name, " included; at most ", kTagsMax)));
  }
  fields.tags = loaded.tags;
  fields.depends_on = loaded.depends_on;
  fields.validator = loaded.validator;
  fields.loaded = MayWait(*type);
  TtlInput input;
  input.value_bytes = loaded.value.size();
  input.absent = absent;
  input.requested = loaded.ttl;
  const MonoNanos now = options_.clock->Mono();
  SetExpiry(&fields, *type, input, now);

  auto entry = std::make_shared<Entry>();
  if (loaded.value.size() < kSharedBytesMin) {
    entry->bytes = loaded.value;
  } else {
    entry->shared = SharedBytes::Copy(loaded.value);
  }
  entry->negative = absent;
  entry->version = lease.version;
  entry->written = now;
  entry->fresh_until = fields.fresh_until;
  entry->usable_until = fields.usable_until;
  entry->sliding = fields.sliding;
  entry->type_id = type->id;
  entry->namespace_id = *name_space;
  entry->tags = std::move(loaded.tags);
  entry->depends_on = std::move(loaded.depends_on);
  entry->validator = std::move(loaded.validator);
  entry->loaded = MayWait(*type);

  std::string stored;
  Encode(&fields, &stored);
  flights_.OnFill(*full_key);
  const MonoNanos began = lease.since;
  Landing landing{.kind = Landing::Kind::kLanded};
  landing.entry = std::move(entry);
  landing.heard = coherence_.HeardSince(began);
  if (waited_since.has_value() && AnswersFirst(fields, *type, lease, *waited_since)) {
    const StepTimes* const steps = co_await StepsOfThis();
    if (steps != nullptr) landing.steps = *steps;
    flights_.Answer(*full_key, landing);
  }
  Filled filled = co_await FillTiers(std::move(storing), std::move(lease));
  switch (filled.kind) {
    case Filled::Kind::kKept:
    case Filled::Kind::kTooLarge:
      landing.heard = filled.below || coherence_.HeardSince(began);
      co_return landing;
    case Filled::Kind::kTierAway:
      co_return FailedLanding(std::move(filled.error), absl::StatusCode::kUnavailable);
    case Filled::Kind::kLate:
      break;
  }
  co_return Landing{.kind = Landing::Kind::kLookAgain};
}

}  // namespace larder
