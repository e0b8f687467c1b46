// How a change reaches every tier. Long, because the ways differ in what decides and have to be
// read side by side.
//
// Memory first, then the tier below, then the other replicas, then the caller. Memory decides under
// one lock which version of a key this replica serves and ends loads that began before the change.
// From before that moment until the tier has the change, LowerTier knows that the tier is behind,
// so that an eviction in between cannot bring an older value back. The other replicas are told when
// the tier has it: whoever drops a copy because of the message finds the new value there.
//
// Clocks of replicas differ. A version may turn out to be older than what another replica wrote
// before: the tier says so, and the change is made again with a version above, because it did come
// later.
//
// Conditions are decided where they are true for everybody: in the shared tier, by one script. A
// replica that is alone decides in memory, after it has looked at what lies below.

#include <algorithm>
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
// The same for changes by other replicas whose clock is ahead.
constexpr int kAttemptsBelowMax = 5;
// Of ToldOf: the write left nothing.
constexpr bool kGone = true;

}  // namespace

absl::Status Contention() {
  return RetryableError(Reason::kCONTENTION, absl::Milliseconds(10),
                        "the key changes faster than this call can");
}

absl::Status Engine::TooLarge(const EntryFields& fields) const {
  return Error(Reason::kMEMORY_FULL,
               StrCat("the entry takes ", memory_->BytesFor(fields),
                      " bytes, too many for the memory budget (memory.l1) or its type's share"));
}

absl::Status Engine::TierAway(const absl::Status& why) const {
  return RetryableError(
      Reason::kTIER_UNAVAILABLE, absl::Milliseconds(100),
      StrCat("the second tier did not confirm the change, which may have happened: ",
             ToStd(why.message())));
}

EntryFields Engine::FieldsOf(std::string_view full_key, Entry& entry) {
  EntryFields fields;
  fields.full_key = full_key;
  fields.value = entry.stored();
  fields.encoding = entry.encoding;
  fields.plain_bytes = entry.plain_bytes;
  fields.written = entry.written;
  fields.type_id = entry.type_id;
  fields.namespace_id = entry.namespace_id;
  fields.tags = std::move(entry.tags);
  fields.depends_on = std::move(entry.depends_on);
  fields.validator = std::move(entry.validator);
  fields.loaded = entry.loaded;
  return fields;
}

void Engine::DropOlder(std::string_view full_key, Version version, LeaseTable::Change change) {
  const EraseResult erased = memory_->Erase(full_key, version, options_.clock->Mono());
  TellLoaders(full_key, erased.cancelled, change);
}

absl::StatusOr<InsertResult> Engine::StoreNewVersion(Storing* storing) {
  EntryFields& fields = storing->fields;
  const bool below = lower_.Has(*storing->type);
  const auto end = [&] {
    if (below) lower_.GiveUp(fields.full_key);
  };
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    fields.version = versions_.Next();
    if (below) lower_.Begin(fields.full_key, fields.version);
    const InsertResult result = InsertCapped(&fields, *storing->type, [&] {
      return memory_->Insert(fields, storing->expect, options_.clock->Mono());
    });
    switch (result.outcome) {
      case InsertOutcome::kOutdated:
        end();
        continue;
      case InsertOutcome::kNewerExists:
        // Without a condition the newer write simply came after this one. A condition held for an
        // entry that is newer than our version, so it has to be tried with a version that is newer
        // still.
        if (storing->expect.kind == Expect::Kind::kAny) return result;
        end();
        versions_.Observe(result.current);
        continue;
      case InsertOutcome::kTooLarge:
        TellLoaders(fields.full_key, result.cancelled, LeaseTable::Change::kRemoved);
        if (!below) {
          TellRemoved(*storing);
          return TooLarge(fields);
        }
        return result;
      case InsertOutcome::kConditionFailed:
        end();
        return result;
      default:
        TellLoaders(fields.full_key, result.cancelled, LeaseTable::Change::kStored);
        return result;
    }
  }
  return Contention();
}

Task<absl::StatusOr<Engine::Stored>> Engine::Store(Storing storing) {
  NoteFormer(&storing);
  if (lower_.Has(*storing.type)) {
    if (storing.expect.kind == Expect::Kind::kAny)
      co_return co_await StoreThrough(std::move(storing));
    if (lower_.shared()) co_return co_await StoreIfShared(std::move(storing));
    co_return co_await StoreIfAlone(std::move(storing));
  }
  CO_ASSIGN_OR_RETURN(const InsertResult result, StoreNewVersion(&storing));
  if (result.outcome == InsertOutcome::kConditionFailed) co_return Stored{false, result.current};
  coherence_.Changed({std::string(storing.fields.full_key)}, storing.fields.version,
                     ToldOf(storing));
  co_return Stored{true, storing.fields.version};
}

// Memory decides, the tier below follows.
Task<absl::StatusOr<Engine::Stored>> Engine::StoreThrough(Storing storing) {
  EntryFields& fields = storing.fields;
  for (int attempt = 1;; ++attempt) {
    CO_ASSIGN_OR_RETURN(const InsertResult result, StoreNewVersion(&storing));
    if (result.outcome == InsertOutcome::kConditionFailed) co_return Stored{false, result.current};
    const Version version = fields.version;
    if (result.outcome == InsertOutcome::kNewerExists) {
      // A later write of this replica, which goes below by itself.
      lower_.GiveUp(fields.full_key);
      co_return Stored{true, version};
    }
    std::vector<TierPut> puts;
    puts.push_back(lower_.PutOf(fields, storing.plain, *storing.type, {}));
    const auto changes = co_await lower_.Put(std::move(puts), INT64_MAX);
    lower_.End(fields.full_key, version, changes.ok());
    const bool too_large = result.outcome == InsertOutcome::kTooLarge;
    if (changes.ok() && (*changes)[0].outcome == TierChange::Outcome::kNewerExists) {
      versions_.Observe((*changes)[0].current);
      storing.expect = {};  // it held
      if (attempt < kAttemptsBelowMax) continue;
      // Somebody else writes all the time: one of those came after this one.
      DropOlder(fields.full_key, version, LeaseTable::Change::kStored);
      co_return Stored{true, version};
    }
    if (!changes.ok() && storing.type->require_l2) {
      DropOlder(fields.full_key, version, LeaseTable::Change::kRemoved);
      coherence_.Changed({std::string(fields.full_key)}, version, ToldOf(storing, kGone));
      co_return TierAway(changes.status());
    }
    const bool kept_below = changes.ok() && (*changes)[0].outcome != TierChange::Outcome::kSkipped;
    const bool gone = too_large && !kept_below;
    coherence_.Changed({std::string(fields.full_key)}, version, ToldOf(storing, gone));
    if (gone) co_return TooLarge(fields);
    co_return Stored{true, version};
  }
}

// A version that was given before cannot be raised here: whoever gave it makes the change again.
Task<absl::StatusOr<Engine::Stored>> Engine::StoreAt(Storing storing) {
  NoteFormer(&storing);
  EntryFields& fields = storing.fields;
  const bool below = lower_.Has(*storing.type);
  if (below) lower_.Begin(fields.full_key, fields.version);
  const InsertResult result = InsertCapped(
      &fields, *storing.type, [&] { return memory_->Insert(fields, {}, options_.clock->Mono()); });
  if (result.outcome == InsertOutcome::kNewerExists) {
    if (below) lower_.GiveUp(fields.full_key);
    co_return Stored{false, result.current};
  }
  if (result.outcome == InsertOutcome::kOutdated) {
    // Memory cannot keep it any more: at least nothing older is there.
    DropOlder(fields.full_key, fields.version, LeaseTable::Change::kStored);
  } else {
    const bool kept = result.outcome != InsertOutcome::kTooLarge;
    TellLoaders(fields.full_key, result.cancelled,
                kept ? LeaseTable::Change::kStored : LeaseTable::Change::kRemoved);
  }
  absl::Status away;
  if (below) {
    std::vector<TierPut> puts;
    puts.push_back(lower_.PutOf(fields, storing.plain, *storing.type, {}));
    const auto changes = co_await lower_.Put(std::move(puts), INT64_MAX);
    lower_.End(fields.full_key, fields.version, changes.ok());
    if (changes.ok() && (*changes)[0].outcome == TierChange::Outcome::kNewerExists)
      co_return Stored{false, (*changes)[0].current};
    if (!changes.ok() && storing.type->require_l2) {
      DropOlder(fields.full_key, fields.version, LeaseTable::Change::kRemoved);
      away = changes.status();
    }
  }
  coherence_.Changed({std::string(fields.full_key)}, fields.version, ToldOf(storing));
  if (!away.ok()) co_return TierAway(away);
  co_return Stored{true, fields.version};
}

// The shared tier decides, memory follows.
Task<absl::StatusOr<Engine::Stored>> Engine::StoreIfShared(Storing storing) {
  EntryFields& fields = storing.fields;
  co_await SettleFirst(std::string(fields.full_key));
  if (lower_.OwedOf(fields.full_key) != kNoVersion) {
    const absl::Status why = absl::UnavailableError("it did not take an earlier write of the key");
    if (storing.type->require_l2) co_return TierAway(why);
    co_return co_await StoreWithoutTier(std::move(storing), why);
  }
  if (rule_table_->newest_listed() != kNoVersion) {
    const bool readable = co_await RemoveCoveredBelow(std::string(fields.full_key));
    if (!readable && storing.type->require_l2)
      co_return TierAway(absl::UnavailableError("it could not be read"));
  }
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    const uint64_t round = coherence_.round();
    const Found held = Peek(fields.full_key);
    fields.version = versions_.Next();
    lower_.Begin(fields.full_key, fields.version);
    std::vector<TierPut> puts;
    puts.push_back(lower_.PutOf(fields, storing.plain, *storing.type, storing.expect));
    const auto changes = co_await lower_.Put(std::move(puts), INT64_MAX);
    if (!changes.ok()) {
      lower_.End(fields.full_key, fields.version, /*settled=*/false);
      co_return co_await StoreWithoutTier(std::move(storing), changes.status());
    }
    const TierChange& change = (*changes)[0];
    if (change.current != kNoVersion) versions_.Observe(change.current);
    switch (change.outcome) {
      case TierChange::Outcome::kNewerExists:
        lower_.End(fields.full_key, fields.version, /*settled=*/true);
        continue;
      case TierChange::Outcome::kConditionFailed:
        DropRefuted(fields.full_key, change, held.present ? held.entry.version : kNoVersion);
        lower_.GiveUp(fields.full_key);
        co_return Stored{false, change.current};
      default:
        FollowBelow(&storing, round);
        lower_.End(fields.full_key, fields.version, /*settled=*/true);
        coherence_.Changed({std::string(fields.full_key)}, fields.version, ToldOf(storing));
        co_return Stored{true, fields.version};
    }
  }
  co_return Contention();
}

Task<bool> Engine::SettleFirst(std::string full_key) {
  if (lower_.OwedOf(full_key) == kNoVersion) co_return false;
  const auto current = [this](const std::string& key, Version version) {
    return CurrentPut(key, version);
  };
  LowerTier::Settled settled = co_await lower_.SettleKey(std::move(full_key), current);
  for (const TierErase& gone : settled.outdated)
    DropOlder(gone.full_key, gone.version, LeaseTable::Change::kRemoved);
  TellSettled(std::move(settled));
  co_return true;
}

// Memory may have what the condition was taken from, and it is not what the fleet has: it is older,
// or what the fleet has of that version is a tombstone. Above `most` it is a change that came
// since.
void Engine::DropRefuted(std::string_view full_key, const TierChange& change, Version most) {
  const Found held = Peek(full_key);
  if (!held.present || held.entry.version > most) return;
  if (held.entry.version != change.current || !change.existed)
    DropOlder(full_key, held.entry.version, LeaseTable::Change::kRemoved);
}

// An entry that gets other times stays the entry that it is. With a version of its own it would
// outrank whatever another replica has written and could not bring below yet:
//
//   1: the tier has 10.  2: A sets 20; its tier is away.  3: B touches 10.  4: the tier is there
//   for A again, and has to keep 20.
//
// A shared tier decides whether the entry is still there. One of this replica alone does not: it
// may not have taken what memory has (too small, about to end).
Task<absl::StatusOr<Engine::Stored>> Engine::Revise(Storing storing) {
  EntryFields& fields = storing.fields;
  const Version version = fields.version;
  const auto revise_memory = [&] {
    const InsertResult result = InsertCapped(&fields, *storing.type, [&] {
      return memory_->Insert(fields, storing.expect, options_.clock->Mono());
    });
    TellLoaders(fields.full_key, result.cancelled, LeaseTable::Change::kStored);
    return result.outcome == InsertOutcome::kStored;
  };
  const bool below = lower_.Has(*storing.type);
  const bool first_here = !below || !lower_.shared();
  bool kept = first_here && revise_memory();
  if (!below) {
    if (kept) coherence_.Revised(std::string(fields.full_key), version, ToldOfTimes(storing));
    co_return Stored{kept, version};
  }

  const uint64_t round = coherence_.round();
  co_await SettleFirst(std::string(fields.full_key));
  lower_.Begin(fields.full_key, version);
  absl::StatusOr<std::vector<TierChange>> changes =
      absl::UnavailableError("it did not take an earlier write of the key");
  if (first_here || lower_.OwedOf(fields.full_key) == kNoVersion) {
    std::vector<TierPut> puts;
    puts.push_back(
        lower_.PutOf(fields, storing.plain, *storing.type, kept ? Expect{} : storing.expect));
    changes = co_await lower_.Put(std::move(puts), INT64_MAX);
  }
  if (!changes.ok() && storing.type->require_l2) {
    lower_.GiveUp(fields.full_key);
    DropOlder(fields.full_key, version, LeaseTable::Change::kRemoved);
    coherence_.Revised(std::string(fields.full_key), version, ToldOfTimes(storing));
    co_return TierAway(changes.status());
  }
  if (!changes.ok()) {
    kept = kept || revise_memory();
    if (kept) {
      lower_.End(fields.full_key, version, /*settled=*/false);
      coherence_.Revised(std::string(fields.full_key), version, ToldOfTimes(storing));
    } else {
      lower_.GiveUp(fields.full_key);
    }
    co_return Stored{kept, version};
  }
  lower_.GiveUp(fields.full_key);
  const TierChange& change = (*changes)[0];
  if (!kept && (change.outcome == TierChange::Outcome::kConditionFailed ||
                change.outcome == TierChange::Outcome::kNewerExists)) {
    if (change.current != kNoVersion) versions_.Observe(change.current);
    DropRefuted(fields.full_key, change, version);
    co_return Stored{false, change.current};
  }
  if (!kept && (round != coherence_.round() || !revise_memory())) {
    DropOlder(fields.full_key, version, LeaseTable::Change::kStored);
  } else if (first_here) {
    // 1: memory has the shorter life.  2: a load looks below, and brings the longer one back.
    // 3: the tier has the shorter one.
    const Found held = Peek(fields.full_key);
    const bool longer = held.present && held.entry.version == version &&
                        held.entry.fresh_until > fields.fresh_until;
    DropOlder(fields.full_key, longer ? version : kNoVersion, LeaseTable::Change::kStored);
  }
  coherence_.Revised(std::string(fields.full_key), version, ToldOfTimes(storing));
  co_return Stored{true, version};
}

// The condition is decided by memory alone: what the type allows while the tier is away.
Task<absl::StatusOr<Engine::Stored>> Engine::StoreWithoutTier(Storing storing, absl::Status why) {
  EntryFields& fields = storing.fields;
  if (storing.type->require_l2) {
    DropOlder(fields.full_key, fields.version, LeaseTable::Change::kRemoved);
    coherence_.Changed({std::string(fields.full_key)}, fields.version, ToldOf(storing, kGone));
    co_return TierAway(why);
  }
  CO_ASSIGN_OR_RETURN(const InsertResult result, StoreNewVersion(&storing));
  if (result.outcome == InsertOutcome::kConditionFailed) co_return Stored{false, result.current};
  lower_.End(fields.full_key, fields.version, /*settled=*/false);
  if (result.outcome == InsertOutcome::kTooLarge) {
    TellRemoved(storing);
    co_return TooLarge(fields);
  }
  coherence_.Changed({std::string(fields.full_key)}, fields.version, ToldOf(storing));
  co_return Stored{true, fields.version};
}

void Engine::FollowBelow(Storing* storing, uint64_t round) {
  EntryFields& fields = storing->fields;
  if (round == coherence_.round()) {
    const InsertResult result = InsertCapped(&fields, *storing->type, [&] {
      return memory_->Insert(fields, {}, options_.clock->Mono());
    });
    TellLoaders(fields.full_key, result.cancelled, LeaseTable::Change::kStored);
    if (result.outcome == InsertOutcome::kStored || result.outcome == InsertOutcome::kNewerExists)
      return;
  }
  // It cannot be kept here (other versions have left this shard since it was made, or it is too
  // large): at least nothing older is.
  DropOlder(fields.full_key, fields.version, LeaseTable::Change::kStored);
}

// A tier of this replica alone: memory and the tier are looked at, memory decides, the tier
// follows.
Task<absl::StatusOr<Engine::Stored>> Engine::StoreIfAlone(Storing storing) {
  const Expect expect = storing.expect;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    Found found = Peek(storing.fields.full_key);
    if (!found.present) {
      std::vector<std::string> keys(1, std::string(storing.fields.full_key));
      std::vector<const TypePolicy*> types(1, storing.type);
      std::vector<Found> below =
          co_await FindBelow(std::move(keys), std::move(types), /*want_value=*/false);
      found = std::move(below[0]);
      if (found.why == MissReason::kTierFailed && storing.type->require_l2)
        co_return TierAway(absl::UnavailableError("it could not be read"));
    }
    const Version version = found.present ? found.entry.version : kNoVersion;
    if (!Holds(expect, found.live(), version)) co_return Stored{false, version};
    // What was found may not have stayed in memory, but nothing else may have come.
    storing.expect = {Expect::Kind::kUnchanged, version};
    CO_ASSIGN_OR_RETURN(const Stored stored, co_await StoreThrough(storing));
    if (stored.stored) co_return stored;
  }
  co_return Contention();
}

Task<absl::StatusOr<std::vector<bool>>> Engine::Remove(Removing removing, Version* version,
                                                       bool* settled) {
  const size_t count = removing.full_keys.size();
  std::vector<bool> existed(count, false);
  *version = versions_.Next();
  *settled = true;
  std::vector<size_t> open;
  for (size_t i = 0; i < count; ++i) {
    const std::string& full_key = removing.full_keys[i];
    if (lower_.Has(*removing.types[i])) {
      lower_.Begin(full_key, *version);
      open.push_back(i);
    }
    const EraseResult erased = memory_->Erase(full_key, *version, options_.clock->Mono());
    TellLoaders(full_key, erased.cancelled, LeaseTable::Change::kRemoved);
    existed[i] = erased.existed;
  }
  absl::Status away;
  for (int attempt = 1; !open.empty(); ++attempt) {
    std::vector<TierErase> erases;
    erases.reserve(open.size());
    for (const size_t i : open) erases.push_back({removing.full_keys[i], *version});
    const auto changes = co_await lower_.Erase(std::move(erases), INT64_MAX);
    if (!changes.ok()) *settled = false;
    std::vector<size_t> outrun;
    const Version tried = *version;
    for (size_t at = 0; at < open.size(); ++at) {
      const size_t i = open[at];
      if (!changes.ok()) {
        if (removing.types[i]->require_l2) away = changes.status();
      } else if ((*changes)[at].existed) {
        existed[i] = true;
      }
      const bool newer =
          changes.ok() && (*changes)[at].outcome == TierChange::Outcome::kNewerExists;
      if (newer) versions_.Observe((*changes)[at].current);
      if (newer && attempt < kAttemptsBelowMax) outrun.push_back(i);
    }
    // Another replica's clock is ahead: what it wrote was there before this removal.
    if (!outrun.empty()) *version = versions_.Next();
    for (const size_t i : outrun) {
      lower_.Begin(removing.full_keys[i], *version);
      DropOlder(removing.full_keys[i], *version, LeaseTable::Change::kRemoved);
    }
    for (const size_t i : open) lower_.End(removing.full_keys[i], tried, changes.ok());
    open = std::move(outrun);
  }
  if (!away.ok()) {
    coherence_.Changed(std::move(removing.full_keys), *version, std::move(removing.changes));
    co_return TierAway(away);
  }
  co_return existed;
}

}  // namespace larder
