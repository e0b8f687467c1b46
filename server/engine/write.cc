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

}  // namespace

EntryFields Engine::NewFields(const WriteRequest& request, const FullKey& full_key,
                              const Resolved& resolved, absl::Duration ttl) const {
  EntryFields fields;
  fields.full_key = full_key.view();
  fields.value = request.value;
  fields.negative = request.absent;
  fields.type_id = resolved.type->id;
  fields.namespace_id = *resolved.name_space;
  fields.tags = request.tags;
  fields.depends_on = request.depends_on;
  SetExpiry(&fields, ttl);
  return fields;
}

absl::StatusOr<InsertResult> Engine::StoreNewVersion(EntryFields* fields, Expect expect,
                                                     EntryPtr* stored) {
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    fields->version = versions_.Next();
    *stored = Entry::New(*fields);
    const InsertResult result = memory_->Insert(*stored, expect);
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
        return Error(Reason::kMEMORY_FULL,
                     StrCat("the entry takes ", (*stored)->allocated_bytes(),
                            " bytes, too many for the memory budget (memory.l1)"));
      default:
        return result;
    }
  }
  return Contention();
}

Task<absl::StatusOr<WriteResult>> Engine::Set(WriteRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  TtlInput input;
  input.value_bytes = request.value.size();
  input.absent = request.absent;
  input.requested = request.ttl;
  const absl::Duration ttl = TtlFor(*resolved.type, full_key, input);
  EntryFields fields = NewFields(request, full_key, resolved, ttl);

  WriteResult written;
  if (!request.lease_token.empty()) {
    CO_ASSIGN_OR_RETURN(written, Fulfil(request, full_key, resolved, std::move(fields)));
  } else {
    EntryPtr stored;
    CO_ASSIGN_OR_RETURN(const InsertResult result,
                        StoreNewVersion(&fields, request.condition, &stored));
    written.stored = result.outcome != InsertOutcome::kConditionFailed;
    written.version = written.stored ? stored->version() : result.current;
    leases_.OnChange(full_key.view(), result.cancelled, LeaseTable::Change::kStored);
  }
  written.ttl = ttl;
  usage_.Count(written.stored ? Usage::kSets : Usage::kSetsRefused, resolved.type->id,
               resolved.name_space);
  co_return written;
}

// Stores the value of a lease's holder, under the version of the moment when its load began.
absl::StatusOr<WriteResult> Engine::Fulfil(const WriteRequest& request, const FullKey& full_key,
                                           const Resolved& resolved, EntryFields fields) {
  WriteResult written;
  written.reason = NotStored::kLeaseLost;
  ArmedLease lease;
  if (!leases_.Find(full_key.view(), request.lease_token, &lease)) {
    const L1Lookup present = memory_->Peek(full_key.view());
    written.version = present.entry ? present.entry->version() : kNoVersion;
    return written;
  }
  fields.version = lease.version;
  const EntryPtr entry = Entry::New(fields);
  const InsertResult result = memory_->Fill(entry, lease.ticket);
  switch (result.outcome) {
    case InsertOutcome::kStored:
      written.stored = true;
      written.version = lease.version;
      leases_.Complete(full_key.view(), request.lease_token);
      return written;
    case InsertOutcome::kTooLarge:
      leases_.PassOn(full_key.view(), request.lease_token, LeaseTable::Lost::kReleased);
      usage_.Count(Usage::kLoadsFailed, resolved.type->id, resolved.name_space);
      return Error(Reason::kMEMORY_FULL,
                   StrCat("the entry takes ", entry->allocated_bytes(),
                          " bytes, too many for the memory budget (memory.l1)"));
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
  const EraseResult erased = memory_->Erase(full_key.view(), version);
  leases_.OnChange(full_key.view(), erased.cancelled, LeaseTable::Change::kRemoved);
  usage_.Count(Usage::kRemovals, resolved.type->id, resolved.name_space);
  co_return RemoveResult{erased.existed, version};
}

Task<absl::StatusOr<InvalidateResult>> Engine::InvalidateKeys(std::string_view name_space,
                                                              std::vector<std::string_view> keys,
                                                              bool dry_run) {
  InvalidateResult result;
  if (!dry_run) result.version = versions_.Next();
  for (const std::string_view key : keys) {
    const FullKey full_key(name_space, key);
    if (dry_run) {
      const L1Lookup found = memory_->Peek(full_key.view());
      if (found.entry) ++result.entries;
      continue;
    }
    const EraseResult erased = memory_->Erase(full_key.view(), result.version);
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
    const L1Lookup found = memory_->Peek(full_key.view());
    if (!found.entry || found.entry->negative()) {
      const ReadResult miss = CountedMiss(found, resolved);
      co_return TouchResult{EntryPtr(), miss.miss, false};
    }
    const Entry& present = *found.entry;
    if (attempt == 0) usage_.Count(Usage::kHits, present.type_id(), present.namespace_id());
    const TypePolicy& type = options_.types->Get(present.type_id());
    TtlInput input;
    input.value_bytes = present.value().size();
    input.requested = request.ttl;
    EntryFields fields;
    SetExpiry(&fields, TtlFor(type, full_key, input));
    const bool longer = fields.fresh_until > present.fresh_until();
    if ((request.mode == TouchMode::kExtendOnly && !longer) ||
        (request.mode == TouchMode::kShortenOnly && longer)) {
      co_return TouchResult{found.entry, MissReason::kAbsent, false};
    }
    fields.written = present.written();
    fields.full_key = present.full_key();
    fields.value = present.value();
    fields.type_id = present.type_id();
    fields.namespace_id = present.namespace_id();
    fields.tags = present.tags();
    fields.depends_on = present.depends_on();
    EntryPtr stored;
    CO_ASSIGN_OR_RETURN(
        const InsertResult result,
        StoreNewVersion(&fields, {Expect::Kind::kVersion, present.version()}, &stored));
    if (result.outcome == InsertOutcome::kStored)
      co_return TouchResult{stored, MissReason::kAbsent, true};
  }
  co_return Contention();
}

Task<absl::StatusOr<IncrementResult>> Engine::Increment(IncrementRequest request) {
  CO_ASSIGN_OR_RETURN(const Resolved resolved, ResolveForWrite(request.key));
  const FullKey full_key(request.key.name_space, request.key.key);
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const L1Lookup found = memory_->Peek(full_key.view());
    const bool exists = found.entry && !found.entry->negative();
    int64_t value = request.initial;
    if (exists) {
      CO_ASSIGN_OR_RETURN(value, ParseCounter(found.entry->value()));
    }
    if (__builtin_add_overflow(value, request.delta, &value)) {
      co_return Error(Reason::kCOUNTER_OVERFLOW,
                      "the counter would leave the range of 64 bits; it is unchanged");
    }
    if (exists && request.delta == 0 && !request.extend)
      co_return IncrementResult{value, found.entry, false};

    const std::string text = StrCat(value);
    WriteRequest write;
    write.key = request.key;
    write.value = text;
    TtlInput input;
    input.value_bytes = text.size();
    input.requested = request.ttl;
    EntryFields fields =
        NewFields(write, full_key, resolved, TtlFor(*resolved.type, full_key, input));
    Expect expect{Expect::Kind::kAbsent, kNoVersion};
    if (exists) {
      expect = {Expect::Kind::kVersion, found.entry->version()};
      fields.type_id = found.entry->type_id();
      fields.tags = found.entry->tags();
      fields.depends_on = found.entry->depends_on();
      if (!request.extend) fields.fresh_until = fields.usable_until = found.entry->fresh_until();
    }
    EntryPtr stored;
    CO_ASSIGN_OR_RETURN(const InsertResult result, StoreNewVersion(&fields, expect, &stored));
    if (result.outcome != InsertOutcome::kStored) continue;
    leases_.OnChange(full_key.view(), result.cancelled, LeaseTable::Change::kStored);
    usage_.Count(Usage::kSets, resolved.type->id, resolved.name_space);
    co_return IncrementResult{value, stored, !exists};
  }
  co_return Contention();
}

}  // namespace larder
