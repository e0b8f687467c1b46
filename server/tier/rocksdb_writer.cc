// Put and Erase are "look at what is there, then decide": two steps that must be one. Here they
// are, because one thread makes all of them. Nothing else ever writes to the database, so what the
// thread has read is still true when it writes; a change of the same key earlier in the group is
// seen in the group's own table. There is no lock to hold across I/O and no transaction to retry,
// and the order in which calls are answered is the order in which they took effect.
//
// One thread is enough: a group is everything that waited while the group before it was written,
// read by one MultiGet and written by one WriteBatch, which is what RocksDB would make of
// concurrent writers anyway. What is new to the store costs a look into filters, not a read from
// the disk. Rejected: striped locks round each change, which serialize the same keys as well, cost
// a thread for each change that waits for the disk, and write one record of the log each.
//
// A thread of its own, not one of the readers': RocksDB makes a writer wait when compaction does
// not keep up, and no read should wait with it. What waits is bounded by the bytes of the queue;
// beyond that calls are refused at once.
//
// A put that is skipped leaves a tombstone of its version, also where nothing was: with nothing
// there, an older entry that comes late would be taken in, and be stale.

#include "tier/rocksdb_writer.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

// Changes that are written together: enough to spread the cost of a write over, and few enough that
// the first of them does not wait long.
constexpr size_t kGroupChanges = 256;

rocksdb::Slice Slice(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

RocksDecision DecidePut(const TierPut& put, const std::optional<EnvelopeHead>& held, int64_t now_ms,
                        bool worth) {
  using Outcome = TierChange::Outcome;
  RocksDecision decision;
  TierChange& change = decision.change;
  const bool live = held.has_value() && held->live(now_ms);
  const bool counts = held.has_value() && now_ms < held->usable_until_ms;
  // A tombstone whose time is over is nothing; an entry that has ended still is of its version.
  const bool guards = held.has_value() && (counts || !held->tombstone);
  change.existed = live;
  if (held.has_value()) change.current = held->version;
  const bool same = counts && !held->tombstone && held->version == put.version;
  bool holds = true;
  switch (put.expect.kind) {
    case Expect::Kind::kAny:
      break;
    case Expect::Kind::kAbsent:
      holds = !live;
      break;
    case Expect::Kind::kPresent:
      holds = live;
      break;
    case Expect::Kind::kVersion:
      holds = live && held->version == put.expect.version;
      break;
    case Expect::Kind::kUnchanged:
      holds = !guards || held->version == put.expect.version;
      break;
  }
  if (!holds && !same) {
    change.outcome = Outcome::kConditionFailed;
    return decision;
  }
  const bool removed = counts && held->tombstone && held->version == put.version;
  if (guards && (held->version > put.version || (removed && worth))) {
    change.outcome = Outcome::kNewerExists;
    return decision;
  }
  change.outcome = worth ? Outcome::kDone : Outcome::kSkipped;
  change.current = put.version;
  decision.tombstone = !worth;
  return decision;
}

RocksDecision DecideErase(const TierErase& erase, const std::optional<EnvelopeHead>& held,
                          int64_t now_ms) {
  RocksDecision decision;
  decision.tombstone = true;
  TierChange& change = decision.change;
  change.existed = held.has_value() && held->live(now_ms);
  const bool guards = held.has_value() && (now_ms < held->usable_until_ms || !held->tombstone);
  const bool newer = guards && held->version > erase.version;
  change.outcome = newer ? TierChange::Outcome::kNewerExists : TierChange::Outcome::kDone;
  change.current = newer ? held->version : erase.version;
  return decision;
}

// The changes of some calls, on their way to one WriteBatch.
class RocksWriter::Group {
 public:
  using Held = std::unordered_map<std::string_view, std::optional<EnvelopeHead>>;

  Group(RocksWriter* writer, rocksdb::DB* db)
      : writer_(writer),
        db_(db),
        now_(writer->store_->options().clock->Now()),
        now_ms_(absl::ToUnixMillis(now_)) {}

  // What is under all keys of these calls.
  rocksdb::Status Read(const std::vector<std::shared_ptr<RocksCall>>& calls) {
    for (const auto& call : calls) {
      for (const TierPut& put : call->puts) held_.try_emplace(put.full_key);
      for (const TierErase& erase : call->erases) held_.try_emplace(erase.full_key);
    }
    std::vector<rocksdb::Slice> keys;
    keys.reserve(held_.size());
    for (const auto& [key, head] : held_) keys.push_back(Slice(key));
    std::vector<rocksdb::PinnableSlice> values(keys.size());
    std::vector<rocksdb::Status> statuses(keys.size());
    db_->MultiGet(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), keys.size(), keys.data(),
                  values.data(), statuses.data());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (statuses[i].IsNotFound()) continue;
      if (!statuses[i].ok()) return statuses[i];
      const std::string_view key(keys[i].data(), keys[i].size());
      const auto head = CheckEnvelope(key, {values[i].data(), values[i].size()});
      // What is no envelope is nothing, and is replaced.
      if (head.ok()) held_[key] = *head;
    }
    return {};
  }

  TierChange Put(const TierPut& put) {
    std::optional<EnvelopeHead>& held = held_[put.full_key];
    const RocksDecision decision = DecidePut(put, held, now_ms_, writer_->WorthIt(put));
    if (decision.tombstone) {
      Bury(put.full_key, put.version, &held);
    } else if (decision.change.outcome == TierChange::Outcome::kDone) {
      Write(put.full_key, put.version, put.envelope, &held);
    }
    return decision.change;
  }

  TierChange Erase(const TierErase& erase) {
    std::optional<EnvelopeHead>& held = held_[erase.full_key];
    const RocksDecision decision = DecideErase(erase, held, now_ms_);
    if (decision.change.outcome == TierChange::Outcome::kDone)
      Bury(erase.full_key, erase.version, &held);
    return decision.change;
  }

  rocksdb::Status Commit() {
    if (batch_.Count() == 0) return {};
    // Without fsync: rocksdb_state.cc says why that is enough.
    const rocksdb::Status status = db_->Write(rocksdb::WriteOptions(), &batch_);
    if (status.ok()) writer_->sweep_->Wrote(batch_.GetDataSize());
    return status;
  }

 private:
  void Bury(std::string_view key, Version version, std::optional<EnvelopeHead>* held) {
    Write(key, version, EncodeTombstone(key, version, now_ + kTombstoneTtl), held);
  }

  void Write(std::string_view key, Version version, std::string_view envelope,
             std::optional<EnvelopeHead>* held) {
    // A batch in memory cannot fail.
    batch_.Put(Slice(key), Slice(envelope)).PermitUncheckedError();
    const auto head = DecodeEnvelopeHead(envelope);
    *held = head.ok() ? std::optional(*head) : std::nullopt;
    writer_->store_->NoteVersion(version);
  }

  RocksWriter* const writer_;
  rocksdb::DB* const db_;
  const absl::Time now_;
  const int64_t now_ms_;
  Held held_;
  rocksdb::WriteBatch batch_;
};

RocksWriter::RocksWriter(RocksStore* store, RocksSweep* sweep, CounterBlock* counters)
    : store_(store),
      sweep_(sweep),
      counters_(counters),
      thread_(
          ThreadPool::New({.threads = 1, .queue_max = 1, .gives_way = true, .name = "l2-write"})) {}

bool RocksWriter::TryAdd(std::shared_ptr<RocksCall> call) {
  for (const TierPut& put : call->puts) call->bytes += put.full_key.size() + put.envelope.size();
  for (const TierErase& erase : call->erases) call->bytes += erase.full_key.size();
  // What the changes themselves take counts, too, or a flood of erases would have no bound.
  call->bytes += sizeof(RocksCall) + call->size() * (sizeof(TierPut) + sizeof(TierChange));
  bool starts;
  {
    MutexLock lock(&mu_);
    // One call that is larger than the queue passes when nothing else waits.
    if (!queue_.empty() && queued_bytes_ + call->bytes > store_->options().write_queue_bytes())
      return false;
    starts = !draining_;
    draining_ = true;
    queued_bytes_ += call->bytes;
    queue_.push_back(std::move(call));
  }
  // Only after Shutdown is there nobody to do it.
  if (starts && !thread_->TryPost([this] { Drain(); })) Abandon();
  return true;
}

uint64_t RocksWriter::queued_bytes() const {
  MutexLock lock(&mu_);
  return queued_bytes_;
}

// What is being written is memory yet.
void RocksWriter::NoteGone(const std::vector<std::shared_ptr<RocksCall>>& calls) {
  MutexLock lock(&mu_);
  for (const auto& call : calls) queued_bytes_ -= call->bytes;
}

void RocksWriter::Abandon() {
  for (auto calls = Take(); !calls.empty(); calls = Take()) {
    NoteGone(calls);
    for (const auto& call : calls) {
      call->status = absl::UnavailableError("rocksdb: closed");
      call->done.TrySet(true);
    }
  }
}

void RocksWriter::Shutdown() { thread_->Shutdown(); }

std::vector<std::shared_ptr<RocksCall>> RocksWriter::Take() {
  std::vector<std::shared_ptr<RocksCall>> calls;
  size_t changes = 0;
  MutexLock lock(&mu_);
  while (!queue_.empty() && changes < kGroupChanges) {
    changes += queue_.front()->size();
    calls.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  draining_ = !calls.empty();
  return calls;
}

void RocksWriter::Drain() {
  for (auto calls = Take(); !calls.empty(); calls = Take()) {
    const MonoNanos now = store_->options().clock->Mono();
    std::vector<std::shared_ptr<RocksCall>> in_time;
    for (const auto& call : calls) {
      if (now < call->deadline) {
        in_time.push_back(call);
      } else {
        call->status = absl::DeadlineExceededError("the change waited until its time was over");
      }
    }
    Apply(in_time);
    NoteGone(calls);
    for (const auto& call : calls) {
      if (!call->status.ok()) counters_->Add(kRocksErrors, call->size());
      call->done.TrySet(true);
    }
  }
}

bool RocksWriter::WorthIt(const TierPut& put) const {
  const RocksTierOptions& options = store_->options();
  // What is not worth it is removed, and these are what others are checked by.
  if (IsOwn(put.full_key)) return true;
  if (put.envelope.size() > options.entry_bytes_max) return false;
  if (put.version < store_->cutoff().version() || sweep_->full()) return false;
  // Whoever set a condition needs the entry to decide the next one by.
  if (put.expect.kind != Expect::Kind::kAny) return true;
  return put.envelope.size() >= options.entry_bytes_min &&
         put.usable_until >= MonoAfter(options.clock->Mono(), options.life_min);
}

void RocksWriter::Apply(const std::vector<std::shared_ptr<RocksCall>>& calls) {
  if (calls.empty()) return;
  const auto db = store_->db();
  rocksdb::Status status = rocksdb::Status::Aborted(store_->state());
  std::vector<TierChange> changes;
  if (db != nullptr && store_->takes_writes()) {
    Group group(this, db.get());
    status = group.Read(calls);
    for (const auto& call : calls) {
      if (!status.ok()) break;
      for (const TierPut& put : call->puts) call->changes.push_back(group.Put(put));
      for (const TierErase& erase : call->erases) call->changes.push_back(group.Erase(erase));
    }
    if (status.ok()) status = group.Commit();
    store_->Report(status);
  }
  for (const auto& call : calls) {
    if (!status.ok()) {
      const std::string why = StrCat("rocksdb: ", status.ToString());
      call->status =
          status.IsNoSpace() ? absl::ResourceExhaustedError(why) : absl::UnavailableError(why);
      continue;
    }
    for (const TierChange& change : call->changes) {
      using Outcome = TierChange::Outcome;
      if (change.outcome == Outcome::kNewerExists) counters_->Add(kRocksOutdated);
      if (change.outcome == Outcome::kSkipped) counters_->Add(kRocksSkipped);
      if (change.outcome == Outcome::kDone)
        counters_->Add(call->puts.empty() ? kRocksErases : kRocksPuts);
    }
  }
}

}  // namespace larder
