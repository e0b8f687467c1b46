// Changes of types whose writes reach an origin: in which order, and why.
//
// Changes of one key go one after the other on a replica (key_turns.h). Between replicas the
// origin's version guard decides which of two comes last there, and the copies must not say
// otherwise. For that a change that the origin has taken is cached like a loaded value: only if
// nothing has landed or was removed since before the origin was asked; else there is no copy, and
// the next reader loads what the origin has.
//
//   1: A writes 1 to the origin.  2: B writes 2, and caches it.  3: A would cache 1.
//   1: A's write is on its way.   2: a load reads the old value, and lands.  3: A would cache its
//      value under the version that it gave to the origin, which is older than the load's.
//
// At 3, A sees that its fill has ended, and removes the copies. What is cached or removed after the
// origin has answered has a version made after that, above all loads that may have read what was
// there before.
//
// A write whose end nobody knows (no answer in time) may be applied a while later: the copies are
// removed at once, and again when it can no longer come.
//
// Behind, the journal's version is the cache's, too: the order of versions is the order in which
// the origin will have them, and memory and the tier below go by the same. Who finds something
// newer there, a load or another replica's write, comes after it all the same, and takes a new
// version in the journal as well. For the origin it stays one write: the id is the same, so that
// what it does once for each write it does once, and what it stores goes by versions.

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/trace_parent.h"
#include "engine/engine.h"

namespace larder {
namespace {

// How often a write behind gives way to a newer version before it is taken to have come first.
constexpr int kAttemptsMax = 5;
// How long a removal of all copies waits for the other replicas.
constexpr absl::Duration kFleetMost = absl::Seconds(1);
// The name of a key in the fleet's leases of writers: no key begins like that. What is cut off
// makes two keys share a turn, nothing else.
constexpr std::string_view kWriterPrefix = "\1";
constexpr size_t kWriterKeyMax = kKeyBytesMax - kWriterPrefix.size();

absl::Status WriteError(const TypePolicy& type, const OriginWritten& written) {
  const std::string origin = StrCat("origin ", type.origin);
  const std::string_view why = ToStd(written.error.message());
  switch (written.kind) {
    case OriginWritten::Kind::kRefused:
      return Error(Reason::kWRITE_REFUSED,
                   StrCat(origin, " refused the write, which is not stored: ", why));
    case OriginWritten::Kind::kFailed:
      return RetryableError(Reason::kWRITE_FAILED, absl::Milliseconds(100),
                            StrCat(origin, " did not take the write, which is not stored: ", why));
    default:
      return RetryableError(Reason::kWRITE_UNKNOWN, absl::Milliseconds(100),
                            StrCat("nobody knows whether ", origin,
                                   " has stored the write; its cached copies are removed: ", why));
  }
}

}  // namespace

// The newest that this replica and the fleet have of the key. That it is somebody's turn does not
// mean that memory has heard of the one before: the bus may be slower than the lease.
Task<Engine::Found> Engine::FindNewest(const OriginChange* change, Resolved resolved) {
  const FullKey* const key = change->full_key;
  Found found = co_await FindForChange(key, resolved, /*want_value=*/true);
  if (!lower_.Has(*resolved.type) || !lower_.shared() || found.below) co_return found;
  Found below = co_await FindOneBelow(key, resolved.type, /*want_value=*/true);
  const Version version = found.present ? found.entry.version : kNoVersion;
  // Loaded elsewhere while a write waits here: that was before it.
  if (below.present && below.entry.loaded && found.waits) co_return found;
  if (below.present) co_return below.entry.version > version ? std::move(below) : std::move(found);
  // It was removed since.
  co_return below.seen_below > version ? std::move(below) : std::move(found);
}

// A stale copy is no truth to decide by: then the origin is asked.
Task<absl::StatusOr<Engine::Found>> Engine::FindTruth(const OriginChange* change) {
  const FullKey* const key = change->full_key;
  Resolved quiet = change->resolved;
  quiet.ahead = true;
  Found found = co_await FindNewest(change, quiet);
  if (found.present && options_.clock->Mono() < found.entry.fresh_until) co_return found;
  LoadRequest load;
  load.key = {key->name_space(), key->key(), quiet.type->name};
  load.wait_until = load.deadline = change->context.deadline;
  load.trace_parent = change->context.trace_parent;
  load.trace_state = change->context.trace_state;
  CO_ASSIGN_OR_RETURN(LoadResult loaded, co_await LoadThrough(key, load, quiet, Found()));
  const ReadResult& read = loaded.read;
  const bool stale = read.stale && read.from != ReadResult::From::kOrigin;
  if (stale || (!read.entry.has_value() && read.miss != MissReason::kNegative)) {
    co_return RetryableError(Reason::kORIGIN_UNAVAILABLE, absl::Milliseconds(100),
                             StrCat("origin ", quiet.type->origin,
                                    " could not say what the key is now; nothing was written"));
  }
  Found truth;
  truth.present = true;
  if (read.entry.has_value()) {
    truth.entry = *std::move(loaded.read.entry);
  } else {
    truth.entry.negative = true;
  }
  co_return truth;
}

Task<bool> Engine::ObserveBelow(const OriginChange* change) {
  if (!lower_.Has(*change->resolved.type) || !lower_.shared()) co_return false;
  std::vector<std::string> keys(1, std::string(change->full_key->view()));
  const std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
  if (reads[0].seen != kNoVersion) versions_.Observe(reads[0].seen);
  co_return true;
}

// With other replicas, who decides by what is there holds the fleet's lease of the key's writers
// meanwhile. Where it cannot be had in time the decision is this replica's alone.
Task<std::shared_ptr<void>> Engine::TakeFleetTurn(const OriginChange* change) {
  if (options_.fleet_leases == nullptr || !lower_.Has(*change->resolved.type)) co_return nullptr;
  const std::string key = StrCat(kWriterPrefix, change->full_key->key().substr(0, kWriterKeyMax));
  const FullKey writers(change->full_key->name_space(), key);
  const MonoNanos most = MonoAfter(options_.clock->Mono(), change->resolved.type->write.timeout);
  FleetTurn turn;
  do {
    turn = co_await WaitForFleet(&writers, std::min(most, change->context.deadline), nullptr);
  } while (turn.kind == LeaseTurn::Kind::kStored && options_.clock->Mono() < most);
  co_return std::move(turn.lease);
}

Task<absl::StatusOr<Engine::Stored>> Engine::ChangeAtOrigin(OriginChange change) {
  CO_ASSIGN_OR_RETURN(
      const KeyTurns::Turn turn,
      co_await Timed(Step::kTurn, options_.clock,
                     turns_.Take(std::string(change.full_key->view()), change.context.deadline)));
  if (change.expect.kind == Expect::Kind::kAny) co_return co_await ChangeInTurn(&change);
  const std::shared_ptr<void> fleet = co_await TakeFleetTurn(&change);
  CO_ASSIGN_OR_RETURN(const Found truth, co_await FindTruth(&change));
  const Version version = truth.live() ? truth.entry.version : kNoVersion;
  if (!Holds(change.expect, truth.live(), version)) co_return Stored{false, version};
  co_return co_await ChangeInTurn(&change);
}

Task<absl::StatusOr<Engine::Stored>> Engine::ChangeInTurn(const OriginChange* change) {
  // The origin goes by versions: this change comes after what a replica whose clock is ahead has
  // written. Others find it on their way.
  WriteMode mode = change->resolved.type->write.mode;
  // The origin alone has what the cache does not keep, unless an older write of the key waits for
  // it in the journal: the order is kept there.
  const std::string_view full_key = change->full_key->view();
  if (mode != WriteMode::kCacheOnly && !change->resolved.type->rollout.Keeps(full_key)) {
    const bool waits =
        mode == WriteMode::kBehind && options_.journal->VersionOf(full_key) != kNoVersion;
    if (!waits) mode = WriteMode::kInvalidate;
  }
  if (change->remove || mode == WriteMode::kInvalidate || mode == WriteMode::kAround)
    co_await ObserveBelow(change);
  switch (mode) {
    case WriteMode::kThrough:
      co_return co_await ChangeThrough(change);
    case WriteMode::kInvalidate:
      co_return co_await ChangeInvalidate(change);
    case WriteMode::kAround:
      co_return co_await ChangeAround(change);
    case WriteMode::kBehind:
      co_return co_await ChangeBehind(change);
    case WriteMode::kCacheOnly:
      break;
  }
  // In a batch with others.
  if (change->remove) co_return co_await RemoveCopies(change, std::nullopt);
  co_return Error(Reason::kBUG, "a write of a type that has no origin");
}

// The origin first: what it refuses is never seen by a reader. Then the copies, so that the next
// reader need not load what was just written.
Task<absl::StatusOr<Engine::Stored>> Engine::ChangeThrough(const OriginChange* change) {
  const std::string full_key(change->full_key->view());
  const TypePolicy& type = *change->resolved.type;
  ArmedLease fill;
  fill.ticket = change->remove ? 0 : memory_->BeginFill(full_key);
  fill.since = options_.clock->Mono();
  fill.round = coherence_.round();
  if (fill.ticket != 0 && lower_.Has(type)) {
    std::vector<std::string> keys(1, full_key);
    const std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
    fill.seen_below = reads[0].seen;
    if (fill.seen_below != kNoVersion) versions_.Observe(fill.seen_below);
  }
  const OriginWritten written = co_await WriteToOrigin(change, versions_.Next());
  if (written.kind != OriginWritten::Kind::kDone) {
    memory_->EndFill(full_key, fill.ticket);
    if (written.kind == OriginWritten::Kind::kUnknown) co_await RemoveDoubtful(change);
    co_return WriteError(type, written);
  }
  if (fill.ticket == 0) co_return co_await RemoveCopies(change, std::nullopt);
  fill.version = versions_.Next();
  const Version version = fill.version;
  Storing storing = *change->storing;
  storing.expect = {};
  const Filled filled =
      co_await FillTiers(std::move(storing), std::move(fill), /*changes_key=*/true);
  if (filled.kind != Filled::Kind::kKept) co_return co_await RemoveCopies(change, std::nullopt);
  // What memory has no room for it does not replace either.
  const Found held = Peek(full_key);
  if (held.present && held.entry.version < version)
    DropOlder(full_key, version - 1, LeaseTable::Change::kStored);
  co_return Stored{true, version};
}

// The origin first, for the same reason; then no copy is left anywhere when the caller has his
// answer. Whoever reads next loads what the origin made of the write.
Task<absl::StatusOr<Engine::Stored>> Engine::ChangeInvalidate(const OriginChange* change) {
  const OriginWritten written = co_await WriteToOrigin(change, versions_.Next());
  if (written.kind == OriginWritten::Kind::kUnknown) co_await RemoveDoubtful(change);
  if (written.kind != OriginWritten::Kind::kDone)
    co_return WriteError(*change->resolved.type, written);
  const MonoNanos most = MonoAfter(options_.clock->Mono(), kFleetMost);
  co_return co_await RemoveCopies(change, std::min(most, change->context.deadline));
}

// The origin first; then the copies go, and what was in use comes back by a load that nobody waits
// for.
Task<absl::StatusOr<Engine::Stored>> Engine::ChangeAround(const OriginChange* change) {
  const OriginWritten written = co_await WriteToOrigin(change, versions_.Next());
  if (written.kind == OriginWritten::Kind::kUnknown) co_await RemoveDoubtful(change);
  if (written.kind != OriginWritten::Kind::kDone)
    co_return WriteError(*change->resolved.type, written);
  const bool in_use = Peek(change->full_key->view()).live();
  CO_ASSIGN_OR_RETURN(const Stored removed, co_await RemoveCopies(change, std::nullopt));
  if (in_use && !change->remove) {
    Entry gone;
    gone.type_id = change->resolved.type->id;
    RefreshBehind(change->full_key->view(), gone, options_.clock->Mono());
  }
  co_return removed;
}

// The journal first: from here on the write is safe, and reads see it whatever becomes of the
// copies. Then the copies, then the answer; the origin has it later.
Task<absl::StatusOr<Engine::Stored>> Engine::ChangeBehind(const OriginChange* change) {
  const TypePolicy& type = *change->resolved.type;
  Version in_journal = kNoVersion, first = kNoVersion;
  for (int attempt = 1;; ++attempt) {
    const Version version = versions_.Next();
    std::vector<JournalRecord> writes(1);
    writes[0].full_key = std::string(change->full_key->view());
    writes[0].type = type.name;
    writes[0].remove = change->remove;
    if (!change->remove) writes[0].value = std::string(change->storing->plain);
    writes[0].version = version;
    // The origin may have got the one before already: it is the same write, whatever its version.
    if (attempt == 1) first = version;
    writes[0].request_id = attempt == 1 ? std::string(change->context.request_id)
                                        : IdempotencyId(change->context.request_id, first);
    if (IsTraceParent(change->context.trace_parent))
      writes[0].trace_parent = std::string(change->context.trace_parent);
    const CopiesUnderWay::Mark mark(&copies_under_way_, writes[0].full_key, version);
    const absl::Status appended =
        co_await Timed(Step::kJournal, options_.clock,
                       options_.journal->Append(std::move(writes), change->context.deadline));
    // It is in the journal, under the version before. What landed newer, and would be read until
    // the delivery, goes, so that readers see what waits.
    if (!appended.ok() && in_journal != kNoVersion) {
      const absl::StatusOr<Stored> removed = co_await RemoveCopies(change, std::nullopt);
      // An error is of the tier below, which is caught up later; the write itself is safe.
      co_return Stored{true, removed.ok() ? std::max(in_journal, removed->version) : in_journal};
    }
    if (!appended.ok()) {
      const bool full = DetailsOf(appended).reason == ReasonName(Reason::kJOURNAL_FULL);
      if (!full || type.write.on_full != OnFull::kWriteThrough) co_return appended;
      CO_ASSIGN_OR_RETURN(const Stored stored, co_await ChangeThrough(change));
      options_.journal->Supersede(change->full_key->view(), type.name, stored.version);
      co_return stored;
    }
    in_journal = version;
    if (change->remove) co_return co_await RemoveCopies(change, std::nullopt);
    Storing storing = *change->storing;
    storing.fields.version = version;
    CO_ASSIGN_OR_RETURN(const Stored stored, co_await StoreAt(std::move(storing)));
    if (stored.stored) co_return stored;
    versions_.Observe(stored.version);
    if (attempt < kAttemptsMax) continue;
    // Somebody else writes all the time: one of those came after this one.
    co_return Stored{true, version};
  }
}

Task<OriginWritten> Engine::WriteToOrigin(const OriginChange* change, Version version) {
  const TypePolicy& type = *change->resolved.type;
  OriginCall call{std::string(change->full_key->name_space()), type.name,
                  std::string(change->context.trace_parent),
                  std::string(change->context.trace_state)};
  OriginStore::Write write;
  write.key = std::string(change->full_key->key());
  write.remove = change->remove;
  if (!change->remove) write.value = std::string(change->storing->plain);
  write.version = version;
  write.idempotency_id = IdempotencyId(change->context.request_id, version);
  if (IsTraceParent(change->context.trace_parent))
    write.trace_parent = std::string(change->context.trace_parent);
  // The call goes on when the caller has gone, so that its end is known.
  const MonoNanos until = MonoAfter(options_.clock->Mono(), type.write.timeout);
  co_return co_await Timed(Step::kOrigin, options_.clock,
                           writer_of_[type.id]->Write(std::move(call), std::move(write), until));
}

Task<absl::StatusOr<Engine::Stored>> Engine::RemoveCopies(const OriginChange* change,
                                                          std::optional<MonoNanos> fleet_until) {
  Removing removing;
  removing.full_keys.emplace_back(change->full_key->view());
  removing.types.push_back(change->resolved.type);
  Describe(&removing);
  std::vector<KeyChange> told = removing.changes;
  Stored stored{true};
  bool settled = false;  // if not, the engine sees to it
  CO_ASSIGN_OR_RETURN(const std::vector<bool> existed,
                      co_await Remove(std::move(removing), &stored.version, &settled));
  stored.existed = existed[0];
  std::vector<std::string> changed(1, std::string(change->full_key->view()));
  if (!fleet_until.has_value()) {
    coherence_.Changed(std::move(changed), stored.version, std::move(told));
    co_return stored;
  }
  const FleetAck acked = co_await coherence_.ChangedAndWait(std::move(changed), stored.version,
                                                            std::move(told), *fleet_until);
  if (!acked.all() || !settled) fleet_waits_short_.fetch_add(1, std::memory_order_relaxed);
  co_return stored;
}

Task<bool> Engine::RemoveDoubtful(const OriginChange* change) {
  const absl::StatusOr<Stored> removed = co_await RemoveCopies(change, std::nullopt);
  writes_doubtful_.fetch_add(1, std::memory_order_relaxed);
  options_.executor->After(
      change->resolved.type->write.timeout,
      [this, key = std::string(change->full_key->view()), resolved = change->resolved] {
        if (!background_.TryEnter()) return;
        Spawn(RemoveAgain(key, resolved), [this](bool) { background_.Leave(); });
      });
  co_return removed.ok();
}

Task<bool> Engine::RemoveAgain(std::string full_key, Resolved resolved) {
  const FullKey key(FullKey::NamespaceOf(full_key), FullKey::KeyOf(full_key));
  OriginChange change;
  change.full_key = &key;
  change.resolved = resolved;
  const absl::StatusOr<Stored> removed = co_await RemoveCopies(&change, std::nullopt);
  co_return removed.ok();
}

}  // namespace larder
