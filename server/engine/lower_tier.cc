// Why the floor of a key is taken before the tier is asked, and not when its answer is there:
//
//   1: Set inserts version 20 in memory.   2: A read misses (20 was evicted) and asks the tier.
//   3: The tier answers version 10.        4: The tier takes 20; Set ends.   5: The read goes on.
//
// At 5 nothing tells any more that 10 is old. At 2 the write was under way. A write that begins
// after 2 inserts in memory after 2, and that ends the read's fill ticket.
//
// After an outage, what the tier took in the seconds before it is written once more: a Redis that
// starts again from its disk, or a replica that takes over, may be behind, and says nothing of it.
// The first answer after the outage may be out of date already, so the floors are taken again after
// it. Entries that memory no longer has are not removed, only what is older than they are. The cost
// is a bounded burst of writes after each outage. An outage between two calls is known by the
// connections that ended. Whoever settles looks at them, calls or no calls: the next call may come
// when what was taken before the loss is no longer remembered. Not covered: an outage of which
// neither a call nor a connection took notice, such as one behind a proxy.
//
// A little long: what is owed and what is below are changed under the same lock.

#include "engine/lower_tier.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/strings.h"
#include "core/key.h"
#include "policy/codec.h"
#include "tier/envelope.h"

namespace larder {
namespace {

// Values that memory keeps with a dictionary of this process go below without it. Compressed if
// they are large enough for that to gain something.
constexpr size_t kCompressMin = 512;
constexpr int kCompressLevel = 1;

}  // namespace

LowerTier::Shard& LowerTier::ShardOf(std::string_view full_key) {
  return shards_[Crc32c(0, full_key) % kShards];
}

Version LowerTier::FloorOf(std::string_view full_key) {
  Version floor = floor_.load(std::memory_order_acquire);
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (const auto it = shard.keys.find(ToAbsl(full_key)); it != shard.keys.end())
    floor = std::max(floor, it->second.version);
  return floor;
}

void LowerTier::Begin(std::string_view full_key, Version version) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  Ahead& ahead = shard.keys[ToAbsl(full_key)];
  ahead.version = std::max(ahead.version, version);
  ++ahead.under_way;
}

void LowerTier::End(std::string_view full_key, Version version, bool settled) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  if (it == shard.keys.end()) return;
  Ahead& ahead = it->second;
  --ahead.under_way;
  const bool lost = TakeLost(&ahead, version);
  if (settled && !lost) {
    Pay(&ahead, version);
  } else {
    Owe(&ahead, version);
    if (lost && ahead.owed == version) ahead.again = !ahead.lost_removal;
  }
  if (ahead.under_way == 0 && ahead.owed == kNoVersion) shard.keys.erase(it);
}

bool LowerTier::IsUnderWay(std::string_view full_key) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  return it != shard.keys.end() && it->second.under_way > 0;
}

void LowerTier::EndUntaken(std::string_view full_key, Version version) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  if (it == shard.keys.end()) return;
  Ahead& ahead = it->second;
  --ahead.under_way;
  Owe(&ahead, version);
  if (ahead.owed == version) ahead.by_value = false;
  if (ahead.under_way == 0 && ahead.owed == kNoVersion) shard.keys.erase(it);
}

void LowerTier::Owe(Ahead* ahead, Version version) {
  owed_total_.fetch_add(1, std::memory_order_relaxed);
  if (ahead->owed != kNoVersion) {
    if (version <= ahead->owed) return;
    ahead->owed = version;
    ahead->again = false;
    ahead->by_value = true;
    return;
  }
  if (owed_.load(std::memory_order_relaxed) >= options_.owed_max) {
    owed_forgotten_.fetch_add(1, std::memory_order_relaxed);
    Version floor = floor_.load(std::memory_order_relaxed);
    while (floor < version &&
           !floor_.compare_exchange_weak(floor, version, std::memory_order_acq_rel)) {
    }
    return;
  }
  ahead->owed = version;
  ahead->by_value = true;
  owed_.fetch_add(1, std::memory_order_relaxed);
}

void LowerTier::Pay(Ahead* ahead, Version version) {
  if (ahead->owed == kNoVersion || ahead->owed > version) return;
  ahead->owed = kNoVersion;
  ahead->again = false;
  owed_.fetch_sub(1, std::memory_order_relaxed);
  settled_.fetch_add(1, std::memory_order_relaxed);
}

Task<std::vector<LowerTier::Read>> LowerTier::Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) {
  std::vector<Read> reads(full_keys.size());
  std::vector<Version> floors;
  floors.reserve(full_keys.size());
  for (const std::string& full_key : full_keys) floors.push_back(FloorOf(full_key));
  const uint64_t outages = outages_.load(std::memory_order_acquire);
  bool known = options_.rules == nullptr || options_.rules->Known();
  if (!known) known = co_await Timed(Step::kTierRead, options_.clock, options_.rules->BeKnown());
  // Who waited in vain for the rules has waited as long as a call of the tier may take.
  absl::StatusOr<std::vector<TierRead>> found =
      absl::UnavailableError("the invalidations that it keeps could not be read");
  if (known) {
    found =
        co_await Timed(Step::kTierRead, options_.clock, options_.tier->Get(full_keys, deadline));
  }
  const bool failed = !Note(found.status()) || !found.ok();
  if (outages != outages_.load(std::memory_order_acquire)) {
    for (size_t i = 0; i < floors.size(); ++i)
      floors[i] = std::max(floors[i], FloorOf(full_keys[i]));
  }
  for (size_t i = 0; i < reads.size(); ++i) {
    Read& read = reads[i];
    if (failed) {
      read.failed = true;
      read.timed_out = !known || absl::IsDeadlineExceeded(found.status());
      continue;
    }
    TierRead& at = (*found)[i];
    if (at.kind == TierRead::Kind::kAbsent) continue;
    read.seen = at.entry.version;
    read.ended = at.kind == TierRead::Kind::kEnded;
    if (at.kind != TierRead::Kind::kEntry) continue;
    if (at.entry.version < floors[i]) {
      outdated_reads_.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    read.type = std::move(at.type);
    read.entry = std::move(at.entry);
    if (options_.table != nullptr) Cover(full_keys[i], &read);
  }
  co_return reads;
}

void LowerTier::Cover(std::string_view full_key, Read* read) const {
  Entry& entry = *read->entry;
  RuleTable::Verdict verdict;
  const bool listed = !entry.tags.empty() || !entry.depends_on.empty();
  if (entry.version <= (listed ? options_.table->newest_listed() : options_.table->newest())) {
    verdict = options_.table->Judge({FullKey::NamespaceOf(full_key), FullKey::KeyOf(full_key),
                                     read->type, entry.tags, entry.depends_on, entry.version});
  }
  if (!entry.depends_on.empty() && !options_.rules->KnowsChangesSince(entry.version))
    verdict.gone = true;
  if (verdict.fresh_until < entry.fresh_until) {
    const MonoNanos window = entry.usable_until - entry.fresh_until;
    entry.fresh_until = verdict.fresh_until;
    if (window <= 0) verdict.gone = true;
    entry.usable_until = std::min(entry.usable_until, entry.fresh_until + window);
    if (entry.usable_until <= options_.clock->Mono()) verdict.gone = true;
  }
  if (!verdict.gone) return;
  read->covered = true;
  read->entry.reset();
}

Task<absl::StatusOr<std::vector<TierChange>>> LowerTier::Put(std::vector<TierPut> puts,
                                                             MonoNanos deadline) {
  std::vector<Taken> taken;
  if (shared()) {
    for (const TierPut& put : puts) taken.push_back({put.full_key, put.version, 0, false});
  }
  const uint64_t losses = shared() ? options_.tier->losses() : 0;
  auto changes = co_await Timed(Step::kTierWrite, options_.clock,
                                options_.tier->Put(std::move(puts), deadline));
  NoteChanges(changes, losses, std::move(taken));
  co_return changes;
}

Task<absl::StatusOr<std::vector<TierChange>>> LowerTier::Erase(std::vector<TierErase> erases,
                                                               MonoNanos deadline) {
  std::vector<Taken> taken;
  if (shared()) {
    for (const TierErase& erase : erases) taken.push_back({erase.full_key, erase.version, 0, true});
  }
  const uint64_t losses = shared() ? options_.tier->losses() : 0;
  auto changes = co_await Timed(Step::kTierWrite, options_.clock,
                                options_.tier->Erase(std::move(erases), deadline));
  NoteChanges(changes, losses, std::move(taken));
  co_return changes;
}

void LowerTier::NoteChanges(const absl::StatusOr<std::vector<TierChange>>& changes, uint64_t losses,
                            std::vector<Taken> taken) {
  // 1: The tier takes a write.  2: It is gone, and what was lost is owed again.  3: Who wrote reads
  // the answer to 1. What it says is true no more.
  if (changes.ok() && !taken.empty() && losses != options_.tier->losses()) {
    for (const Taken& one : taken) {
      Shard& shard = ShardOf(one.full_key);
      MutexLock lock(&shard.mu);
      const auto it = shard.keys.find(one.full_key);
      if (it == shard.keys.end()) continue;
      it->second.lost = one.version;
      it->second.lost_removal = one.removal;
    }
  }
  Note(changes.status());
  if (changes.ok() && !taken.empty()) Remember(*changes, std::move(taken));
}

bool LowerTier::TakeLost(Ahead* ahead, Version version) {
  if (version == kNoVersion || ahead->lost != version) return false;
  ahead->lost = kNoVersion;
  return true;
}

void LowerTier::Remember(const std::vector<TierChange>& changes, std::vector<Taken> taken) {
  const MonoNanos now = options_.clock->Mono();
  // What may have been lost stays until it is owed, however long ago that was.
  const MonoNanos since = TroubleSince(now);
  for (size_t i = 0; i < taken.size(); ++i) {
    const TierChange::Outcome outcome = changes[i].outcome;
    if (outcome != TierChange::Outcome::kDone && outcome != TierChange::Outcome::kSkipped) continue;
    taken[i].at = now;
    Shard& shard = ShardOf(taken[i].full_key);
    MutexLock lock(&shard.mu);
    while (!shard.taken.empty() && (shard.taken.size() >= options_.remembered_max / kShards ||
                                    MonoAfter(shard.taken.front().at, options_.remember) < since)) {
      shard.taken.pop_front();
    }
    shard.taken.push_back(std::move(taken[i]));
  }
}

void LowerTier::LookForLoss() {
  if (!shared() || options_.tier->losses() == losses_seen_.load(std::memory_order_acquire)) return;
  MonoNanos none = 0;
  MonoNanos now = options_.clock->Mono();
  if (!lost_since_.compare_exchange_strong(none, now)) return;
  // Somebody else has noted it just now.
  if (options_.tier->losses() == losses_seen_.load(std::memory_order_acquire))
    lost_since_.compare_exchange_strong(now, 0);
}

MonoNanos LowerTier::TroubleSince(MonoNanos now) const {
  for (const auto* since : {&failing_since_, &lost_since_}) {
    const MonoNanos at = since->load(std::memory_order_acquire);
    if (at != 0) now = std::min(now, at);
  }
  return now;
}

bool LowerTier::Note(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status))
    answered_at_.store(options_.clock->Mono(), std::memory_order_relaxed);
  if (!shared()) return true;
  MonoNanos since = failing_since_.load(std::memory_order_acquire);
  if (absl::IsUnavailable(status)) {
    if (since == 0) failing_since_.compare_exchange_strong(since, options_.clock->Mono());
    return true;
  }
  // A tier that is back before anybody has called it has failed nobody, and may have lost as much.
  const uint64_t losses = options_.tier->losses();
  const bool lost = losses != losses_seen_.load(std::memory_order_acquire);
  if ((since == 0 && !lost) || !status.ok()) return true;
  if (owing_again_.exchange(true, std::memory_order_acq_rel)) return false;
  OweAgain(TroubleSince(options_.clock->Mono()));
  losses_seen_.store(losses, std::memory_order_release);
  outages_.fetch_add(1, std::memory_order_acq_rel);
  failing_since_.store(0, std::memory_order_release);
  lost_since_.store(0, std::memory_order_release);
  owing_again_.store(false, std::memory_order_release);
  return true;
}

void LowerTier::OweAgain(MonoNanos failing_since) {
  uint64_t count = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    for (const Taken& taken : shard.taken) {
      if (MonoAfter(taken.at, options_.remember) < failing_since) continue;
      Ahead& ahead = shard.keys[taken.full_key];
      ahead.version = std::max(ahead.version, taken.version);
      if (ahead.owed >= taken.version) continue;
      Owe(&ahead, taken.version);
      ahead.again = !taken.removal;
      ++count;
      if (ahead.owed == kNoVersion && ahead.under_way == 0) shard.keys.erase(taken.full_key);
    }
    shard.taken.clear();
  }
  owed_again_.fetch_add(count, std::memory_order_relaxed);
  if (count > 0) LogInfo("l2_written_again_after_outage", {{"writes", count}});
}

TierPut LowerTier::PutOf(const EntryFields& fields, std::string_view plain, const TypePolicy& type,
                         Expect expect) const {
  TierPut put;
  put.full_key = fields.full_key;
  put.version = fields.version;
  put.usable_until = fields.usable_until;
  put.expect = expect;
  if (fields.encoding < kDictionaryFirst) {
    put.envelope = EncodeEnvelope(fields, type.name, *options_.clock);
    return put;
  }
  EntryFields below = fields;
  below.encoding = kPlain;
  below.value = plain;
  below.plain_bytes = 0;
  if (plain.size() >= kCompressMin) {
    if (const auto smaller = ZstdCompress(plain, kCompressLevel, plain.size() * 9 / 10)) {
      below.encoding = kZstd;
      below.value = *smaller;
      below.plain_bytes = static_cast<uint32_t>(plain.size());
    }
  }
  put.envelope = EncodeEnvelope(below, type.name, *options_.clock);
  return put;
}

LowerTier::Owed LowerTier::BeginOwed(const std::string& full_key, Ahead* ahead) {
  ++ahead->under_way;
  return {full_key, ahead->owed, ahead->again ? ahead->owed - 1 : ahead->owed, ahead->by_value};
}

std::vector<LowerTier::Owed> LowerTier::TakeOwed(size_t limit) {
  std::vector<Owed> owed;
  for (size_t i = 0; i < kShards && owed.size() < limit; ++i) {
    Shard& shard = shards_[next_shard_.fetch_add(1, std::memory_order_relaxed) % kShards];
    MutexLock lock(&shard.mu);
    for (auto& [full_key, ahead] : shard.keys) {
      if (ahead.owed == kNoVersion || ahead.under_way > 0) continue;
      owed.push_back(BeginOwed(full_key, &ahead));
      if (owed.size() >= limit) break;
    }
  }
  return owed;
}

void LowerTier::EndOwed(std::string_view full_key, Version version, Version given, bool settled) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  if (it == shard.keys.end()) return;
  Ahead& ahead = it->second;
  --ahead.under_way;
  const bool lost = TakeLost(&ahead, given);
  if (settled && !lost) Pay(&ahead, version);
  if (ahead.under_way == 0 && ahead.owed == kNoVersion) shard.keys.erase(it);
}

Version LowerTier::OwedOf(std::string_view full_key) {
  if (owed_.load(std::memory_order_acquire) == 0) return kNoVersion;
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  return it == shard.keys.end() ? kNoVersion : it->second.owed;
}

bool LowerTier::IsBehind(std::string_view full_key, Version version, Version seen) {
  if (owed_.load(std::memory_order_acquire) == 0) return false;
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.keys.find(ToAbsl(full_key));
  return it != shard.keys.end() && it->second.owed == version && it->second.by_value &&
         seen < version;
}

Task<LowerTier::Settled> LowerTier::Settle(size_t limit, Current current) {
  LookForLoss();
  return SettleThese(TakeOwed(limit), std::move(current));
}

Task<LowerTier::Settled> LowerTier::SettleKey(std::string full_key, Current current) {
  std::vector<Owed> owed;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.keys.find(full_key);
    if (it != shard.keys.end() && it->second.owed != kNoVersion)
      owed.push_back(BeginOwed(full_key, &it->second));
  }
  return SettleThese(std::move(owed), std::move(current));
}

Task<LowerTier::Settled> LowerTier::SettleThese(std::vector<Owed> all, Current current) {
  std::vector<TierPut> puts;
  std::vector<TierErase> erases;
  std::vector<Owed> gone;
  for (Owed& owed : all) {
    std::optional<TierPut> put;
    if (owed.by_value) put = current(owed.full_key, owed.version);
    if (put.has_value()) {
      puts.push_back(*std::move(put));
    } else {
      erases.push_back({owed.full_key, owed.remove_upto});
      gone.push_back(std::move(owed));
    }
  }
  Settled settled;
  const auto end = [&](const std::string& full_key, Version version, bool done, bool removed,
                       Version given) {
    EndOwed(full_key, version, given, done);
    if (!done) return;
    ++settled.count;
    settled.versions.push_back(given);
    settled.removed.push_back(removed);
    settled.full_keys.push_back(full_key);
    // Above it, because it may be that only the times of that very version are new.
    settled.newest = std::max(settled.newest, version + 1);
  };
  if (!puts.empty()) {
    const auto done = co_await Put(puts, INT64_MAX);
    for (size_t i = 0; i < puts.size(); ++i) {
      end(puts[i].full_key, puts[i].version, done.ok(), /*removed=*/false, puts[i].version);
      if (done.ok() && (*done)[i].outcome == TierChange::Outcome::kNewerExists)
        settled.outdated.push_back({puts[i].full_key, puts[i].version});
    }
  }
  if (!erases.empty()) {
    const auto done = co_await Erase(std::move(erases), INT64_MAX);
    for (const Owed& owed : gone) {
      end(owed.full_key, owed.version, done.ok(), /*removed=*/true, owed.remove_upto);
      if (done.ok()) settled.outdated.push_back({owed.full_key, owed.remove_upto});
    }
  }
  co_return settled;
}

LowerTierStats LowerTier::Stats() const {
  LowerTierStats stats;
  stats.owed = owed_.load(std::memory_order_relaxed);
  stats.owed_total = owed_total_.load(std::memory_order_relaxed);
  stats.settled = settled_.load(std::memory_order_relaxed);
  stats.owed_forgotten = owed_forgotten_.load(std::memory_order_relaxed);
  stats.owed_again = owed_again_.load(std::memory_order_relaxed);
  stats.outdated_reads = outdated_reads_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace larder
