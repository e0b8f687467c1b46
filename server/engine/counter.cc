// Counters: Increment. A counter is read, and stored again under the condition that it has not
// changed since.

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Each further attempt means that another change of the same key came in between.
constexpr int kAttemptsMax = 100;

absl::StatusOr<int64_t> ParseCounter(std::string_view value) {
  int64_t parsed;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || end != value.data() + value.size()) {
    return Error(Reason::kNOT_A_COUNTER, "the value is not a whole decimal number of 64 bits");
  }
  return parsed;
}

}  // namespace

// A stale counter begins anew, in the place of the entry that is there yet.
absl::StatusOr<IncrementResult> Engine::CountUp(const Found& found, const IncrementRequest& request,
                                                MonoNanos now) {
  const bool counts = found.live() && now < found.entry.fresh_until;
  IncrementResult counted{.value = request.initial, .created = !counts};
  if (counts) {
    ASSIGN_OR_RETURN(counted.value, ParseCounter(found.entry.stored()));
    counted.version = found.entry.version;
    counted.fresh_until = found.entry.fresh_until;
  }
  if (__builtin_add_overflow(counted.value, request.delta, &counted.value)) {
    return Error(Reason::kCOUNTER_OVERFLOW,
                 "the counter would leave the range of 64 bits; it is unchanged");
  }
  return counted;
}

Engine::Storing Engine::CounterOf(const FullKey* full_key, const Resolved& resolved,
                                  const IncrementRequest& request, std::string_view text,
                                  Found found, bool keep_times, IncrementResult* counted) const {
  WriteRequest write;
  write.key = request.key;
  write.value = text;
  TtlInput input;
  input.value_bytes = text.size();
  input.requested = request.ttl;
  Storing storing{NewFields(write, *full_key, resolved),
                  text,
                  resolved.type,
                  {Expect::Kind::kAbsent, kNoVersion}};
  EntryFields& fields = storing.fields;
  SetExpiry(&fields, *resolved.type, input, options_.clock->Mono());
  if (found.live()) {
    Entry& present = found.entry;
    storing.expect = {Expect::Kind::kVersion, present.version};
    storing.type = &options_.types->Get(present.type_id);
    fields.type_id = present.type_id;
    fields.tags = std::move(present.tags);
    fields.depends_on = std::move(present.depends_on);
    if (keep_times) {
      fields.fresh_until = present.fresh_until;
      fields.usable_until = present.usable_until;
      fields.sliding = present.sliding;
    }
  }
  counted->fresh_until = fields.fresh_until;
  return storing;
}

Task<absl::StatusOr<IncrementResult>> Engine::Increment(IncrementRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  absl::StatusOr<IncrementResult> counted;
  if (WritesOrigin(*resolved.type)) {
    counted = co_await IncrementAtOrigin(request, resolved);
  } else {
    counted = co_await IncrementCopies(&full_key, request, resolved);
  }
  if (counted.ok() && resolved.type->HasDerived()) {
    std::vector<ChangedKey> changed(1, ChangedKey{std::string(full_key.view()), resolved.type});
    co_await InvalidateDerived(std::move(changed));
  }
  co_return counted;
}

Task<absl::StatusOr<IncrementResult>> Engine::IncrementCopies(const FullKey* key,
                                                              IncrementRequest request,
                                                              Resolved resolved) {
  const FullKey& full_key = *key;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    Found found = co_await FindForChange(&full_key, resolved, /*want_value=*/true);
    if (!found.present && found.why == MissReason::kTierFailed && resolved.type->require_l2)
      co_return TierAway(absl::UnavailableError("it could not be read"));
    CO_ASSIGN_OR_RETURN(IncrementResult counted, CountUp(found, request, options_.clock->Mono()));
    if (!counted.created && request.delta == 0 && !request.extend) co_return counted;
    const std::string text = StrCat(counted.value);
    const bool keep_times = !counted.created && !request.extend;
    Storing storing =
        CounterOf(&full_key, resolved, request, text, std::move(found), keep_times, &counted);
    CO_ASSIGN_OR_RETURN(const Stored stored, co_await Store(std::move(storing)));
    if (!stored.stored) continue;
    usage_.Count(Usage::kSets, resolved.type->id, resolved.name_space);
    counted.version = stored.version;
    co_return counted;
  }
  co_return Contention();
}

// The counter is what the origin says, or will have once what waits is delivered: what memory does
// not have is loaded. Nobody else changes it here meanwhile, because it is this call's turn, nor on
// another replica that asks the fleet.
Task<absl::StatusOr<IncrementResult>> Engine::IncrementAtOrigin(IncrementRequest request,
                                                                Resolved resolved) {
  const WriteMode mode = resolved.type->write.mode;
  if (mode != WriteMode::kThrough && mode != WriteMode::kBehind) {
    co_return Error(Reason::kWRITE_MODE_UNSUPPORTED,
                    StrCat("type ", resolved.type->name,
                           " keeps no copy of what it writes (write.mode), so there is nothing to "
                           "count on; counters need cache_only, through or behind"));
  }
  const FullKey full_key(request.key.name_space, request.key.key);
  CO_ASSIGN_OR_RETURN(
      const KeyTurns::Turn turn,
      co_await Timed(Step::kTurn, options_.clock,
                     turns_.Take(std::string(full_key.view()), request.context.deadline)));
  OriginChange change{&full_key, resolved, false, nullptr, {}, request.context};
  const std::shared_ptr<void> fleet = co_await TakeFleetTurn(&change);
  CO_ASSIGN_OR_RETURN(Found truth, co_await FindTruth(&change));
  // True it is, however long ago it was loaded.
  const MonoNanos fresh = std::min(options_.clock->Mono(), truth.entry.fresh_until - 1);
  CO_ASSIGN_OR_RETURN(IncrementResult counted, CountUp(truth, request, fresh));
  if (!counted.created && request.delta == 0 && !request.extend) co_return counted;
  const std::string text = StrCat(counted.value);
  Storing storing = CounterOf(&full_key, resolved, request, text, std::move(truth),
                              /*keep_times=*/false, &counted);
  filters_->Note(*resolved.type, full_key.view());
  change.storing = &storing;
  CO_ASSIGN_OR_RETURN(const Stored stored, co_await ChangeInTurn(&change));
  usage_.Count(Usage::kSets, resolved.type->id, resolved.name_space);
  counted.version = stored.version;
  co_return counted;
}

}  // namespace larder
