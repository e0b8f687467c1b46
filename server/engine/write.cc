// The write path: Set, Delete, Touch. How a change reaches every tier is in store.cc; how it
// reaches an origin, in write_modes.cc; counters are in counter.cc; invalidations in invalidate.cc.
//
// A change ends a fill of its key in the step in which it becomes visible, and only then is the
// lease table told, so that whoever holds the lease has lost it before anybody can learn of the
// change.

#include <algorithm>
#include <memory>
#include <utility>

#include "base/status.h"
#include "base/wave.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Each further attempt means that another change of the same key came in between.
constexpr int kAttemptsMax = 100;
// Items of a batch that are under way at a time.
constexpr size_t kTogether = 100;

absl::Status CheckTagCount(size_t count, const TypePolicy& type) {
  if (count <= kTagsMax) return absl::OkStatus();
  return FieldError(
      Reason::kTAG_INVALID, "tags",
      StrCat(count, " tags, those of type ", type.name, " included; at most ", kTagsMax));
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
  AddTypeTags(*resolved.type, full_key.view(), &fields.tags);
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
  CO_RETURN_IF_ERROR(CheckTagCount(storing.fields.tags.size(), *resolved.type));
  std::string stored;
  Encode(&storing.fields, &stored);

  if (!request.absent) filters_->Note(*resolved.type, full_key.view());

  WriteResult written;
  if (!request.lease_token.empty()) {
    CO_ASSIGN_OR_RETURN(written,
                        co_await Fulfil(&request, &full_key, resolved, std::move(storing)));
  } else {
    Stored result;
    // That the origin has no value is nothing that it could be told.
    if (!WritesOrigin(*resolved.type) && request.condition.kind == Expect::Kind::kAny &&
        !resolved.type->rollout.Keeps(full_key.view())) {
      CO_ASSIGN_OR_RETURN(written, co_await SetPast(request.key, request.context));
      co_return written;
    }
    if (WritesOrigin(*resolved.type) && !request.absent) {
      OriginChange change{&full_key, resolved, false, &storing, request.condition, request.context};
      CO_ASSIGN_OR_RETURN(result, co_await ChangeAtOrigin(std::move(change)));
    } else {
      CO_ASSIGN_OR_RETURN(result, co_await Store(std::move(storing)));
    }
    written.stored = result.stored;
    written.version = result.version;
  }
  if (written.stored && resolved.type->HasDerived()) {
    std::vector<ChangedKey> changed(1, ChangedKey{std::string(full_key.view()), resolved.type});
    co_await InvalidateDerived(std::move(changed));
  }
  written.ttl = ttl;
  usage_.Count(written.stored ? Usage::kSets : Usage::kSetsRefused, resolved.type->id,
               resolved.name_space);
  co_return written;
}

absl::Status Engine::CheckWrite(const WriteRequest& request) const {
  ASSIGN_OR_RETURN(const TypeMatch match,
                   options_.types->Resolve(request.key.key, request.key.type));
  if (match.type->tags.empty()) return absl::OkStatus();
  const FullKey full_key(request.key.name_space, request.key.key);
  std::vector<std::string> tags = request.tags;
  AddTypeTags(*match.type, full_key.view(), &tags);
  return CheckTagCount(tags.size(), *match.type);
}

// Items go their way a hundred at a time, so that the lower tier takes them in few steps.
Task<std::vector<absl::StatusOr<WriteResult>>> Engine::BatchSet(
    std::vector<WriteRequest> requests) {
  std::vector<absl::StatusOr<WriteResult>> results(requests.size(), absl::UnknownError(""));
  StepTimes* const steps = co_await StepsOfThis();
  for (size_t first = 0; first < requests.size(); first += kTogether) {
    const size_t last = std::min(first + kTogether, requests.size());
    const auto wave = std::make_shared<Wave>(options_.executor, last - first);
    std::vector<StepTimes> each(steps == nullptr ? 0 : last - first);
    for (size_t i = first; i < last; ++i) {
      Spawn(
          Set(std::move(requests[i])),
          [wave, result = &results[i]](absl::StatusOr<WriteResult> written) {
            *result = std::move(written);
            wave->End();
          },
          each.empty() ? nullptr : &each[i - first]);
    }
    co_await wave->done;
    AddLongest(each, steps);
  }
  co_return results;
}

Task<absl::StatusOr<RemoveResult>> Engine::Delete(KeyRequest request, ChangeContext context) {
  std::vector<std::string_view> keys(1, request.key);
  CO_ASSIGN_OR_RETURN(Removed removed, co_await BatchDelete(request.name_space, std::move(keys),
                                                            request.type, context));
  co_return std::move(removed[0]);
}

Task<absl::StatusOr<Engine::Removed>> Engine::BatchDelete(std::string_view name_space,
                                                          std::vector<std::string_view> keys,
                                                          std::string_view type,
                                                          ChangeContext context) {
  std::vector<Resolved> resolved;
  bool at_origin = false;
  for (const std::string_view key : keys) {
    CO_ASSIGN_OR_RETURN(const Resolved one, ResolveForRead({name_space, key, type}));
    resolved.push_back(one);
    at_origin = at_origin || WritesOrigin(*one.type);
    usage_.Count(Usage::kRemovals, one.type->id, one.name_space);
  }
  std::vector<ChangedKey> derived;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!resolved[i].type->HasDerived()) continue;
    derived.push_back({std::string(FullKey(name_space, keys[i]).view()), resolved[i].type});
  }
  if (at_origin) {
    Removed deleted =
        co_await DeleteAtOrigin(name_space, std::move(keys), std::move(resolved), context);
    // Also where some of them failed.
    if (!derived.empty()) co_await InvalidateDerived(std::move(derived));
    co_return deleted;
  }
  Removing removing;
  for (size_t i = 0; i < keys.size(); ++i) {
    removing.full_keys.emplace_back(FullKey(name_space, keys[i]).view());
    removing.types.push_back(resolved[i].type);
  }
  Describe(&removing);
  std::vector<std::string> changed = removing.full_keys;
  std::vector<KeyChange> told = removing.changes;
  Version version = kNoVersion;
  bool settled = false;  // if not, the engine sees to it
  CO_ASSIGN_OR_RETURN(const std::vector<bool> existed,
                      co_await Remove(std::move(removing), &version, &settled));
  coherence_.Changed(std::move(changed), version, std::move(told));
  if (!derived.empty()) co_await InvalidateDerived(std::move(derived));
  Removed results;
  results.reserve(keys.size());
  for (const bool was_there : existed) results.emplace_back(RemoveResult{was_there, version});
  co_return results;
}

// Side by side, so that an origin is given many in one call.
Task<Engine::Removed> Engine::DeleteAtOrigin(std::string_view name_space,
                                             std::vector<std::string_view> keys,
                                             std::vector<Resolved> resolved,
                                             ChangeContext context) {
  std::vector<absl::StatusOr<Stored>> removed(keys.size(), absl::UnknownError(""));
  StepTimes* const steps = co_await StepsOfThis();
  std::vector<FullKey> full_keys;
  full_keys.reserve(keys.size());
  for (const std::string_view key : keys) full_keys.emplace_back(name_space, key);
  for (size_t first = 0; first < keys.size(); first += kTogether) {
    const size_t last = std::min(first + kTogether, keys.size());
    const auto wave = std::make_shared<Wave>(options_.executor, last - first);
    std::vector<StepTimes> each(steps == nullptr ? 0 : last - first);
    for (size_t i = first; i < last; ++i) {
      OriginChange change{&full_keys[i], resolved[i], true, nullptr, {}, context};
      Spawn(
          ChangeAtOrigin(std::move(change)),
          [wave, result = &removed[i]](absl::StatusOr<Stored> stored) {
            *result = std::move(stored);
            wave->End();
          },
          each.empty() ? nullptr : &each[i - first]);
    }
    co_await wave->done;
    AddLongest(each, steps);
  }
  Removed results;
  results.reserve(keys.size());
  for (const absl::StatusOr<Stored>& one : removed) {
    if (one.ok()) {
      results.emplace_back(RemoveResult{one->existed, one->version});
    } else {
      results.emplace_back(one.status());
    }
  }
  co_return results;
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
    Stored stored;
    if (found.waits) {
      CO_ASSIGN_OR_RETURN(stored, co_await StoreAt(std::move(storing)));
    } else {
      CO_ASSIGN_OR_RETURN(stored, co_await Revise(std::move(storing)));
    }
    if (!stored.stored) continue;
    touched.changed = true;
    touched.fresh_until = fresh_until;
    co_return touched;
  }
  co_return Contention();
}

}  // namespace larder
