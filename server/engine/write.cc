// The write path over memory alone: Set, Delete, Invalidate by keys, Touch, Increment.
//
// Every change takes a new version and then goes to memory, which decides under one lock. The
// change ends a fill of its key in that same step, and only then is the lease table told, so that
// whoever holds the lease has lost it before anybody can learn of the change.

#include <charconv>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "engine/engine.h"

namespace larder {
namespace {

// Each further attempt means that another change of the same key, or a removal in the same shard,
// came in between.
constexpr int kAttemptsMax = 100;

absl::Status Contention() {
  return RetryableError(Reason::kCONTENTION, absl::Milliseconds(10),
                        "the key changes faster than this call can");
}

absl::StatusOr<int64_t> ParseCounter(std::string_view value) {
  int64_t parsed;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
  if (error != std::errc() || end != value.data() + value.size()) {
    return Error(Reason::kNOT_A_COUNTER, "the value is not a whole decimal number of 64 bits");
  }
  return parsed;
}

// The same entry again; its lists move over.
EntryFields FieldsOf(const FullKey& full_key, Entry& entry) {
  EntryFields fields;
  fields.full_key = full_key.view();
  fields.value = entry.stored();
  fields.encoding = entry.encoding;
  fields.plain_bytes = entry.plain_bytes;
  fields.written = entry.written;
  fields.type_id = entry.type_id;
  fields.namespace_id = entry.namespace_id;
  fields.tags = std::move(entry.tags);
  fields.depends_on = std::move(entry.depends_on);
  return fields;
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

absl::Status Engine::TooLarge(const EntryFields& fields) const {
  return Error(Reason::kMEMORY_FULL,
               StrCat("the entry takes ", memory_->BytesFor(fields),
                      " bytes, too many for the memory budget (memory.l1) or its type's share"));
}

absl::StatusOr<InsertResult> Engine::StoreNewVersion(EntryFields* fields, Expect expect,
                                                     MonoNanos now) {
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    fields->version = versions_.Next();
    const InsertResult result = memory_->Insert(*fields, expect, now);
    switch (result.outcome) {
      case InsertOutcome::kOutdated:
        continue;
      case InsertOutcome::kNewerExists:
        // Without a condition the newer write simply came after this one. A condition held for an
        // entry that is newer than our version, so it has to be tried with a version that is newer
        // still.
        if (expect.kind == Expect::Kind::kAny) return result;
        versions_.Observe(result.current);
        continue;
      case InsertOutcome::kTooLarge:
        leases_.OnChange(fields->full_key, result.cancelled, LeaseTable::Change::kRemoved);
        return TooLarge(*fields);
      default:
        return result;
    }
  }
  return Contention();
}

Task<absl::StatusOr<WriteResult>> Engine::Set(WriteRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  const MonoNanos now = options_.clock->Mono();
  TtlInput input;
  input.value_bytes = request.value.size();
  input.absent = request.absent;
  input.requested = request.ttl;
  EntryFields fields = NewFields(request, full_key, resolved);
  const absl::Duration ttl = SetExpiry(&fields, *resolved.type, input, now);
  if (const uint32_t weight = hot_keys_.Sampled(); weight != 0) {
    hot_keys_.Record(fields.type_id, fields.full_key, HotKeys::Event::kWrite, fields.value.size(),
                     weight);
  }
  std::string stored;
  Encode(&fields, &stored);

  WriteResult written;
  if (!request.lease_token.empty()) {
    CO_ASSIGN_OR_RETURN(written, Fulfil(request, full_key, resolved, std::move(fields), now));
  } else {
    CO_ASSIGN_OR_RETURN(const InsertResult result,
                        StoreNewVersion(&fields, request.condition, now));
    written.stored = result.outcome != InsertOutcome::kConditionFailed;
    written.version = written.stored ? fields.version : result.current;
    leases_.OnChange(full_key.view(), result.cancelled, LeaseTable::Change::kStored);
  }
  written.ttl = ttl;
  usage_.Count(written.stored ? Usage::kSets : Usage::kSetsRefused, resolved.type->id,
               resolved.name_space);
  co_return written;
}

// Stores the value of a lease's holder, under the version of the moment when its load began.
absl::StatusOr<WriteResult> Engine::Fulfil(const WriteRequest& request, const FullKey& full_key,
                                           const Resolved& resolved, EntryFields fields,
                                           MonoNanos now) {
  WriteResult written;
  written.reason = NotStored::kLeaseLost;
  ArmedLease lease;
  if (!leases_.Find(full_key.view(), request.lease_token, &lease)) {
    const Found found = Peek(full_key, now);
    written.version = found.present ? found.entry.version : kNoVersion;
    return written;
  }
  fields.version = lease.version;
  const InsertResult result = memory_->Fill(fields, lease.ticket, now);
  switch (result.outcome) {
    case InsertOutcome::kStored:
      written.stored = true;
      written.version = lease.version;
      leases_.Complete(full_key.view(), request.lease_token);
      return written;
    case InsertOutcome::kTooLarge:
      leases_.PassOn(full_key.view(), request.lease_token, LeaseTable::Lost::kReleased);
      usage_.Count(Usage::kLoadsFailed, resolved.type->id, resolved.name_space);
      return TooLarge(fields);
    default:
      // The change that ended the fill also passes the lease on; its caller may be slower than we
      // are.
      written.version = result.current;
      leases_.PassOn(full_key.view(), request.lease_token, LeaseTable::Lost::kRevoked);
      return written;
  }
}

Task<absl::StatusOr<RemoveResult>> Engine::Delete(KeyRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request));
  const FullKey full_key(request.name_space, request.key);
  const Version version = versions_.Next();
  const EraseResult erased = memory_->Erase(full_key.view(), version, options_.clock->Mono());
  leases_.OnChange(full_key.view(), erased.cancelled, LeaseTable::Change::kRemoved);
  usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  co_return RemoveResult{erased.existed, version};
}

Task<absl::StatusOr<InvalidateResult>> Engine::InvalidateKeys(std::string_view name_space,
                                                              std::vector<std::string_view> keys,
                                                              bool dry_run) {
  InvalidateResult result;
  if (!dry_run) result.version = versions_.Next();
  const MonoNanos now = options_.clock->Mono();
  for (const std::string_view key : keys) {
    const FullKey full_key(name_space, key);
    if (dry_run) {
      if (Peek(full_key, now).present) ++result.entries;
      continue;
    }
    const EraseResult erased = memory_->Erase(full_key.view(), result.version, now);
    leases_.OnChange(full_key.view(), erased.cancelled, LeaseTable::Change::kRemoved);
    if (erased.existed) ++result.entries;
    CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead({name_space, key, ""}));
    usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  }
  co_return result;
}

Task<absl::StatusOr<TouchResult>> Engine::Touch(TouchRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForRead(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const MonoNanos now = options_.clock->Mono();
    Found found = Peek(full_key, now);
    if (!found.live()) {
      const ReadResult miss = Counted(full_key, std::move(found), resolved, now);
      co_return TouchResult{.miss = miss.miss};
    }
    Entry& present = found.entry;
    if (attempt == 0) usage_.Count(Usage::kHits, present.type_id, present.namespace_id);
    TouchResult touched{
        .found = true, .version = present.version, .fresh_until = present.fresh_until};
    TtlInput input;
    input.value_bytes = present.value_bytes();
    input.requested = request.ttl;
    EntryFields fields = FieldsOf(full_key, present);
    SetExpiry(&fields, options_.types->Get(present.type_id), input, now);
    const bool longer = fields.fresh_until > present.fresh_until;
    if ((request.mode == TouchMode::kExtendOnly && !longer) ||
        (request.mode == TouchMode::kShortenOnly && longer)) {
      co_return touched;
    }
    CO_ASSIGN_OR_RETURN(const InsertResult result,
                        StoreNewVersion(&fields, {Expect::Kind::kVersion, present.version}, now));
    if (result.outcome != InsertOutcome::kStored) continue;
    touched.changed = true;
    touched.version = fields.version;
    touched.fresh_until = fields.fresh_until;
    co_return touched;
  }
  co_return Contention();
}

Task<absl::StatusOr<IncrementResult>> Engine::Increment(IncrementRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const MonoNanos now = options_.clock->Mono();
    Found found = Peek(full_key, now);
    Entry& present = found.entry;
    IncrementResult counted{.value = request.initial, .created = !found.live()};
    if (found.live()) {
      if (!Decode(full_key, now, &present)) continue;
      CO_ASSIGN_OR_RETURN(counted.value, ParseCounter(present.stored()));
    }
    if (__builtin_add_overflow(counted.value, request.delta, &counted.value)) {
      co_return Error(Reason::kCOUNTER_OVERFLOW,
                      "the counter would leave the range of 64 bits; it is unchanged");
    }
    if (found.live() && request.delta == 0 && !request.extend) {
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
    EntryFields fields = NewFields(write, full_key, resolved);
    SetExpiry(&fields, *resolved.type, input, now);
    Expect expect{Expect::Kind::kAbsent, kNoVersion};
    if (found.live()) {
      expect = {Expect::Kind::kVersion, present.version};
      fields.type_id = present.type_id;
      fields.tags = std::move(present.tags);
      fields.depends_on = std::move(present.depends_on);
      if (!request.extend) {
        fields.fresh_until = fields.usable_until = present.fresh_until;
        fields.sliding = present.sliding;
      }
    }
    CO_ASSIGN_OR_RETURN(const InsertResult result, StoreNewVersion(&fields, expect, now));
    if (result.outcome != InsertOutcome::kStored) continue;
    leases_.OnChange(full_key.view(), result.cancelled, LeaseTable::Change::kStored);
    usage_.Count(Usage::kSets, resolved.type->id, resolved.name_space);
    counted.version = fields.version;
    counted.fresh_until = fields.fresh_until;
    co_return counted;
  }
  co_return Contention();
}

}  // namespace larder
