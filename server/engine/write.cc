// The write path: Set, Delete, Invalidate by keys, Touch, Increment. How a change reaches every
// tier is in store.cc.
//
// A change ends a fill of its key in the step in which it becomes visible, and only then is the
// lease table told, so that whoever holds the lease has lost it before anybody can learn of the
// change.

#include <algorithm>
#include <atomic>
#include <charconv>
#include <memory>
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

EntryFields Engine::NewFields(const WriteRequest& request, const FullKey& full_key,
                              const Resolved& resolved) const {
  EntryFields fields;
  fields.full_key = full_key.view();
  fields.value = request.value;
  fields.negative = request.absent;
  fields.type_id = resolved.type->id;
  fields.namespace_id = *resolved.name_space;
  fields.tags = request.tags;
  fields.depends_on = request.depends_on;
  return fields;
}

void Engine::Encode(EntryFields* fields, std::string* stored) {
  if (fields->negative) return;
  Compressor::Encoded encoded = compressor_->Encode(fields->type_id, fields->value);
  if (encoded.encoding == kPlain) return;
  *stored = std::move(encoded.bytes);
  fields->encoding = encoded.encoding;
  fields->plain_bytes = static_cast<uint32_t>(fields->value.size());
  fields->value = *stored;
}

Task<absl::StatusOr<WriteResult>> Engine::Set(WriteRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  TtlInput input;
  input.value_bytes = request.value.size();
  input.absent = request.absent;
  input.requested = request.ttl;
  Storing storing{NewFields(request, full_key, resolved), request.value, resolved.type,
                  request.condition};
  const absl::Duration ttl =
      SetExpiry(&storing.fields, *resolved.type, input, options_.clock->Mono());
  if (const uint32_t weight = hot_keys_.Sampled(); weight != 0) {
    hot_keys_.Record(storing.fields.type_id, full_key.view(), HotKeys::Event::kWrite,
                     request.value.size(), weight);
  }
  std::string stored;
  Encode(&storing.fields, &stored);

  if (!request.absent) filters_->Note(*resolved.type, full_key.view());

  WriteResult written;
  if (!request.lease_token.empty()) {
    CO_ASSIGN_OR_RETURN(written,
                        co_await Fulfil(&request, &full_key, resolved, std::move(storing)));
  } else {
    CO_ASSIGN_OR_RETURN(const Stored result, co_await Store(std::move(storing)));
    written.stored = result.stored;
    written.version = result.version;
  }
  written.ttl = ttl;
  usage_.Count(written.stored ? Usage::kSets : Usage::kSetsRefused, resolved.type->id,
               resolved.name_space);
  co_return written;
}

// Items go their way a hundred at a time, so that the lower tier takes them in few steps.
Task<std::vector<absl::StatusOr<WriteResult>>> Engine::BatchSet(
    std::vector<WriteRequest> requests) {
  constexpr size_t kTogether = 100;
  struct Wave {
    explicit Wave(Executor* executor, size_t count) : open(count), done(executor) {}
    std::atomic<size_t> open;
    Signal<bool> done;
  };
  std::vector<absl::StatusOr<WriteResult>> results(requests.size(), absl::UnknownError(""));
  for (size_t first = 0; first < requests.size(); first += kTogether) {
    const size_t last = std::min(first + kTogether, requests.size());
    const auto wave = std::make_shared<Wave>(options_.executor, last - first);
    for (size_t i = first; i < last; ++i) {
      Spawn(Set(std::move(requests[i])),
            [wave, result = &results[i]](absl::StatusOr<WriteResult> written) {
              *result = std::move(written);
              if (wave->open.fetch_sub(1, std::memory_order_acq_rel) == 1) wave->done.TrySet(true);
            });
    }
    co_await wave->done;
  }
  co_return results;
}

Task<absl::StatusOr<RemoveResult>> Engine::Delete(KeyRequest request) {
  std::vector<std::string_view> keys(1, request.key);
  CO_ASSIGN_OR_RETURN(const std::vector<RemoveResult> removed,
                      co_await BatchDelete(request.name_space, std::move(keys), request.type));
  co_return removed[0];
}

Task<absl::StatusOr<std::vector<RemoveResult>>> Engine::BatchDelete(
    std::string_view name_space, std::vector<std::string_view> keys, std::string_view type) {
  Removing removing;
  for (const std::string_view key : keys) {
    CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead({name_space, key, type}));
    removing.full_keys.emplace_back(FullKey(name_space, key).view());
    removing.types.push_back(resolved.type);
    usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  }
  std::vector<std::string> changed = removing.full_keys;
  Version version = kNoVersion;
  bool settled = false;  // if not, the engine sees to it
  CO_ASSIGN_OR_RETURN(const std::vector<bool> existed,
                      co_await Remove(std::move(removing), &version, &settled));
  coherence_.Changed(std::move(changed), version);
  std::vector<RemoveResult> results;
  results.reserve(keys.size());
  for (const bool was_there : existed) results.push_back({was_there, version});
  co_return results;
}

Task<absl::StatusOr<InvalidateResult>> Engine::InvalidateKeys(InvalidateRequest request) {
  InvalidateResult result;
  Removing removing;
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
    usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  }
  if (request.dry_run) co_return result;
  std::vector<std::string> changed = removing.full_keys;
  bool settled = false;
  CO_ASSIGN_OR_RETURN(const std::vector<bool> existed,
                      co_await Remove(std::move(removing), &result.version, &settled));
  result.entries = static_cast<uint64_t>(std::count(existed.begin(), existed.end(), true));
  if (!request.fleet_until.has_value()) {
    coherence_.Changed(std::move(changed), result.version);
  } else {
    result.fleet = co_await coherence_.ChangedAndWait(std::move(changed), result.version,
                                                      *request.fleet_until);
    // Whoever drops its copy may still find the old value below.
    if (!settled) result.fleet.known = false;
    if (!result.fleet.all()) fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  }
  co_return result;
}

Task<absl::StatusOr<TouchResult>> Engine::Touch(TouchRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    // The lower tier needs the value plain; memory alone keeps it in the form that it has.
    const bool plain = lower_.exists();
    Found found = co_await FindForChange(&full_key, resolved, plain);
    const MonoNanos now = options_.clock->Mono();
    if (found.live() && now >= found.entry.fresh_until) {
      // Stale: its life is over, and no longer TTL gives it another one.
      CountMiss(full_key, resolved);
      co_return TouchResult{.miss = MissReason::kExpired};
    }
    if (!found.live()) {
      const ReadResult miss = Counted(full_key, std::move(found), resolved, now);
      co_return TouchResult{.miss = miss.miss};
    }
    Entry& present = found.entry;
    if (attempt == 0) usage_.Count(Usage::kHits, present.type_id, present.namespace_id);
    TouchResult touched{
        .found = true, .version = present.version, .fresh_until = present.fresh_until};
    const TypePolicy& type = options_.types->Get(present.type_id);
    TtlInput input;
    input.value_bytes = present.value_bytes();
    input.requested = request.ttl;
    Storing storing{FieldsOf(full_key.view(), present),
                    present.stored(),
                    &type,
                    {Expect::Kind::kVersion, present.version}};
    storing.fields.version = present.version;
    SetExpiry(&storing.fields, type, input, now);
    const MonoNanos fresh_until = storing.fields.fresh_until;
    const bool longer = fresh_until > present.fresh_until;
    if ((request.mode == TouchMode::kExtendOnly && !longer) ||
        (request.mode == TouchMode::kShortenOnly && longer)) {
      co_return touched;
    }
    std::string stored_form;
    if (plain) Encode(&storing.fields, &stored_form);
    CO_ASSIGN_OR_RETURN(const Stored stored, co_await Revise(std::move(storing)));
    if (!stored.stored) continue;
    touched.changed = true;
    touched.fresh_until = fresh_until;
    co_return touched;
  }
  co_return Contention();
}

Task<absl::StatusOr<IncrementResult>> Engine::Increment(IncrementRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    Found found = co_await FindForChange(&full_key, resolved, /*want_value=*/true);
    const MonoNanos now = options_.clock->Mono();
    if (!found.present && found.why == MissReason::kTierFailed && resolved.type->require_l2)
      co_return TierAway(absl::UnavailableError("it could not be read"));
    Entry& present = found.entry;
    // A stale counter begins anew, in the place of the entry that is there yet.
    const bool counts = found.live() && now < present.fresh_until;
    IncrementResult counted{.value = request.initial, .created = !counts};
    if (counts) {
      CO_ASSIGN_OR_RETURN(counted.value, ParseCounter(present.stored()));
    }
    if (__builtin_add_overflow(counted.value, request.delta, &counted.value)) {
      co_return Error(Reason::kCOUNTER_OVERFLOW,
                      "the counter would leave the range of 64 bits; it is unchanged");
    }
    if (counts && request.delta == 0 && !request.extend) {
      counted.version = present.version;
      counted.fresh_until = present.fresh_until;
      co_return counted;
    }

    const std::string text = StrCat(counted.value);
    WriteRequest write;
    write.key = request.key;
    write.value = text;
    TtlInput input;
    input.value_bytes = text.size();
    input.requested = request.ttl;
    Storing storing{NewFields(write, full_key, resolved),
                    text,
                    resolved.type,
                    {Expect::Kind::kAbsent, kNoVersion}};
    EntryFields& fields = storing.fields;
    SetExpiry(&fields, *resolved.type, input, now);
    if (found.live()) {
      storing.expect = {Expect::Kind::kVersion, present.version};
      storing.type = &options_.types->Get(present.type_id);
      fields.type_id = present.type_id;
      fields.tags = std::move(present.tags);
      fields.depends_on = std::move(present.depends_on);
      if (counts && !request.extend) {
        fields.fresh_until = present.fresh_until;
        fields.usable_until = present.usable_until;
        fields.sliding = present.sliding;
      }
    }
    counted.fresh_until = fields.fresh_until;
    CO_ASSIGN_OR_RETURN(const Stored stored, co_await Store(std::move(storing)));
    if (!stored.stored) continue;
    usage_.Count(Usage::kSets, resolved.type->id, resolved.name_space);
    counted.version = stored.version;
    co_return counted;
  }
  co_return Contention();
}

}  // namespace larder
