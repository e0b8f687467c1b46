// Writes that the origin does not have yet, as readers see them.
//
// What waits in the journal is newer than what the origin, or a tier that has lost it, can say. So
// whoever does not find it in memory looks in the journal before he looks further, and no load of
// such a key reaches the origin. Memory itself needs no question: it was given the write before the
// writer had his answer, and nothing older comes back while the write waits. A write of which the
// writer was told that nobody knows was not given to memory; when the journal finds it after all,
// what memory has of the key goes.
//
// With other replicas there is one thing more. They know nothing of what waits here, and when no
// tier has a copy of it any more, one of them loads what the origin had before, under a version
// above. So copies say whether they were loaded: a newer one that was written elsewhere is the
// truth, one that was loaded is not as long as something waits.
//
//   1: Set is in the journal.  2: this process ends before the tier below has it.  3: another one
//   starts, delivers it, and forgets it.  4: the tier below has yet what was there before 1.
//
// So copies are compared once more when a write is delivered that memory does not have, or not as
// it was written, and before the journal forgets it: what was loaded, or is older, goes. What
// others have written since stays.

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "base/wave.h"
#include "core/error.h"
#include "engine/engine.h"
#include "origin/origin_guard.h"

namespace larder {
namespace {

// For how long an answer from the journal is good: as long as the write waits, which nobody knows.
constexpr absl::Duration kWaitingLife = absl::Seconds(1);
// So long after a death others have had the time to write the key anew.
constexpr absl::Duration kLongAgo = absl::Minutes(1);
// Comparisons that are under way for one delivery.
constexpr size_t kComparedTogether = 100;

}  // namespace

std::string IdempotencyId(std::string_view request_id, Version version) {
  return request_id.empty() ? StrCat("v", version) : std::string(request_id);
}

Task<absl::StatusOr<std::optional<Engine::Found>>> Engine::FindWaiting(const FullKey* full_key,
                                                                       const TypePolicy* type) {
  CO_ASSIGN_OR_RETURN(std::optional<JournalRecord> record,
                      co_await Timed(Step::kJournal, options_.clock,
                                     options_.journal->Find(std::string(full_key->view()))));
  if (!record.has_value()) co_return std::optional<Found>();
  Found found;
  found.present = found.waits = true;
  Entry& entry = found.entry;
  const MonoNanos now = options_.clock->Mono();
  entry.negative = record->remove;
  entry.bytes = std::move(record->value);
  entry.version = record->version;
  entry.written = now;
  entry.fresh_until = entry.usable_until = MonoAfter(now, kWaitingLife);
  entry.type_id = type->id;
  // The writer's own tags are in no record: the origin has no use for them.
  if (!entry.negative) AddTypeTags(*type, full_key->view(), &entry.tags);
  const absl::StatusOr<uint16_t> name_space = namespaces_.Intern(full_key->name_space());
  entry.namespace_id = name_space.ok() ? *name_space : 0;
  versions_.Observe(entry.version);
  co_return std::optional<Found>(std::move(found));
}

Task<Engine::Found> Engine::WithWaiting(const FullKey* full_key, const TypePolicy* type,
                                        Found found) {
  const Version waiting = options_.journal->VersionOf(full_key->view());
  if (waiting == kNoVersion) co_return found;
  if (found.present && found.entry.version >= waiting && !found.entry.loaded &&
      options_.clock->Mono() < found.entry.fresh_until) {
    co_return found;
  }
  absl::StatusOr<std::optional<Found>> there = co_await FindWaiting(full_key, type);
  if (!there.ok()) {
    // Anything else that could be served is older.
    found = Found();
    found.why = MissReason::kTierFailed;
    co_return found;
  }
  if (!there->has_value()) {
    // The origin has it by now, and what was found may be what the origin had before.
    if (found.present && (found.entry.loaded || found.entry.version < waiting)) found = Found();
    co_return found;
  }
  co_return **std::move(there);
}

Task<absl::StatusOr<std::vector<JournalDelivered>>> JournalSinkOfEngine::Deliver(
    JournalDelivery delivery, MonoNanos deadline) {
  Origin* const origin = engine_->OriginNamed(delivery.origin);
  if (origin == nullptr)
    co_return absl::UnavailableError(StrCat("origin ", delivery.origin, " is not configured"));
  OriginStore store;
  store.call = {delivery.name_space, delivery.type};
  store.writes.reserve(delivery.writes.size());
  for (JournalRecord& record : delivery.writes) {
    OriginStore::Write write;
    write.key = std::string(FullKey::KeyOf(record.full_key));
    write.remove = record.remove;
    write.value = std::move(record.value);
    write.version = record.version;
    write.idempotency_id = IdempotencyId(record.request_id, record.version);
    write.trace_parent = std::move(record.trace_parent);
    store.writes.push_back(std::move(write));
  }
  // Of several callers none is the parent of the call.
  if (store.writes.size() == 1) store.call.trace_parent = store.writes[0].trace_parent;
  const absl::StatusOr<std::vector<OriginStored>> stored =
      co_await origin->Store(std::move(store), deadline);
  if (!stored.ok() && WasNotAsked(stored.status()))
    co_return absl::UnavailableError(stored.status().message());
  if (!stored.ok()) co_return stored.status();
  std::vector<JournalDelivered> delivered;
  delivered.reserve(stored->size());
  std::vector<const JournalRecord*> done;
  for (size_t i = 0; i < stored->size(); ++i) {
    const OriginStored& each = (*stored)[i];
    // What nobody knows the end of goes again, under the same version.
    JournalDelivered one{JournalDelivered::Kind::kRetry, each.error};
    if (each.kind == OriginStored::Kind::kDone) one.kind = JournalDelivered::Kind::kDone;
    if (each.kind == OriginStored::Kind::kReject) one.kind = JournalDelivered::Kind::kReject;
    if (each.kind == OriginStored::Kind::kDone && engine_->MustCompare(delivery.writes[i]))
      done.push_back(&delivery.writes[i]);
    delivered.push_back(std::move(one));
  }
  const TypePolicy* const type = engine_->options().types->Find(delivery.type);
  if (type != nullptr && type->filter.bloom) engine_->NoteDelivered(*type, delivery.writes);
  if (type != nullptr && type->HasDerived()) {
    // What was loaded while the write waited may be made of what the origin had before it.
    std::vector<Engine::ChangedKey> changed;
    for (size_t i = 0; i < stored->size(); ++i) {
      if ((*stored)[i].kind == OriginStored::Kind::kDone)
        changed.push_back({delivery.writes[i].full_key, type});
    }
    if (!changed.empty()) co_await engine_->InvalidateDerived(std::move(changed));
  }
  for (size_t first = 0; type != nullptr && first < done.size(); first += kComparedTogether) {
    const size_t last = std::min(first + kComparedTogether, done.size());
    const auto wave = std::make_shared<Wave>(engine_->options().executor, last - first);
    for (size_t i = first; i < last; ++i) {
      Spawn(engine_->CompareCopies(done[i]->full_key, type, done[i]->version),
            [wave](bool) { wave->End(); });
    }
    co_await wave->done;
  }
  co_return delivered;
}

// The cache says what the origin will never have: the next reader is to load what it does have.
void JournalSinkOfEngine::OnDead(const DeadLetter& letter) {
  const absl::Duration dead = engine_->options().clock->Now() - letter.last_attempt;
  engine_->RemoveDead(letter.record, dead > kLongAgo);
}

// Loads under way go first. What was loaded since the write failed has a version above it, and is
// of before it all the same; a load that begins now finds the write in the journal.
void JournalSinkOfEngine::OnFound(const JournalRecord& write) {
  engine_->versions_.Observe(write.version);
  engine_->DropOlder(write.full_key, write.version, LeaseTable::Change::kRemoved);
  const Engine::Found held = engine_->Peek(write.full_key);
  if (held.present && held.entry.loaded)
    engine_->DropOlder(write.full_key, held.entry.version, LeaseTable::Change::kRemoved);
}

// Filters noted the keys when the writes were accepted. One that was begun after that, here or on
// another replica, and built before now, has not found them in the origin. Also where the origin
// took some of the writes only: it may have taken others without saying so.
void Engine::NoteDelivered(const TypePolicy& type, const std::vector<JournalRecord>& writes) {
  for (const JournalRecord& write : writes) {
    if (write.remove) continue;
    filters_->Note(type, write.full_key);
    if (coherence_.alone()) continue;
    std::vector<KeyChange> told(1);
    told[0].what = KeyChange::What::kPut;
    told[0].type = type.name;
    // It is nothing new to those who have heard of that version.
    coherence_.ChangedElsewhere({write.full_key}, write.version, std::move(told));
  }
}

bool Engine::MustCompare(const JournalRecord& write) {
  if (write.put_back || write.enqueued < since_) return true;
  const Found held = Peek(write.full_key);
  const TypePolicy* const type = options_.types->Find(write.type);
  if (type == nullptr) return false;
  // Others have loaded for themselves meanwhile, and no tier has told them better.
  if (options_.bus != nullptr && !lower_.Has(*type)) return true;
  if (write.remove) return held.present || lower_.Has(*type);
  return !held.present || held.entry.version != write.version ||
         (lower_.exists() && lower_.OwedOf(write.full_key) != kNoVersion);
}

// Of a removal, a negative copy may be what was loaded after it; that it goes costs a load.
Task<bool> Engine::CompareCopies(std::string full_key, const TypePolicy* type, Version version) {
  versions_.Observe(version);
  // 1: Append.  2: the origin has it.  3: here the copies are old.  4: the change makes its copies.
  co_await copies_under_way_.Done(full_key, version);
  const auto wrong = [version](const Entry& entry) {
    return entry.version != version && (entry.loaded || entry.version < version);
  };
  const bool below = lower_.Has(*type);
  const Found held = Peek(full_key);
  bool remove = held.present && wrong(held.entry);
  if (!remove && below) {
    std::vector<std::string> keys(1, full_key);
    const std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
    remove = reads[0].failed || (reads[0].entry.has_value() && wrong(*reads[0].entry));
  }
  if (!remove) {
    if (!below) coherence_.ChangedElsewhere({full_key}, versions_.Next(), {});
    co_return true;
  }
  co_return co_await RemoveAgain(std::move(full_key), {type, std::nullopt});
}

void Engine::RemoveDead(const JournalRecord& write, bool long_ago) {
  const TypePolicy* const type = options_.types->Find(write.type);
  if (type == nullptr || !background_.TryEnter()) return;
  Spawn(RemoveCopiesOf(write.full_key, type, write.version, long_ago),
        [this](bool) { background_.Leave(); });
}

// What was written since is somebody else's.
Task<bool> Engine::RemoveCopiesOf(std::string full_key, const TypePolicy* type, Version version,
                                  bool long_ago) {
  const Found held = Peek(full_key);
  bool remove = held.present && held.entry.version == version;
  if (!remove && lower_.Has(*type)) {
    std::vector<std::string> keys(1, full_key);
    const std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
    remove = (reads[0].failed && !long_ago) || reads[0].seen == version;
  }
  if (!remove || options_.journal->VersionOf(full_key) > version) co_return true;
  co_return co_await RemoveAgain(std::move(full_key), {type, std::nullopt});
}

}  // namespace larder
