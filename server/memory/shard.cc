// What callers ask of a shard.
//
// A hit takes no lock. The reader enters an epoch, finds the slot, and copies the record out.
// Records never change and their memory is not used again while a reader is inside, so what it
// copies is whole; it is the entry that was current when the slot was read. Whatever is not a plain
// hit (a miss, an expired or a sliding entry, a slot that is being moved) is done again under the
// lock, where nothing moves.

#include "memory/shard.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "base/epoch.h"
#include "base/strings.h"
#include "core/key.h"

namespace larder {
namespace {

// A ticket's key and its place in the table, beside the key's bytes.
constexpr uint64_t kTicketBytes = 96;
// Tickets may take one part in this many of a shard.
constexpr uint64_t kTicketShare = 8;
constexpr size_t kTicketTableMin = 64;
// The eviction's experiments take at most one part in this many of a shard.
constexpr uint64_t kMiniatureShare = 256;
// Entries slide on in steps of this part of their time.
constexpr int64_t kSlideSteps = 1024;

bool IsValue(const Record* record) { return record != nullptr && !record->Has(Record::kNegative); }

Version VersionOf(const Record* record) {
  return record != nullptr ? record->version() : kNoVersion;
}

// Entries whose times differ by less than about a fifth share segments.
uint8_t TtlClass(const EntryFields& fields, MonoNanos now) {
  const int64_t ms = MsBetween(now, fields.usable_until);
  constexpr int kSteps = 4;  // to a doubling
  if (ms <= 1) return 0;
  const int octave = std::bit_width(static_cast<uint64_t>(ms)) - 1;
  const auto step = static_cast<int>((ms >> std::max(octave - 2, 0)) & (kSteps - 1));
  return static_cast<uint8_t>(std::min(octave * kSteps + step, 255));
}

EvictionPolicy::Options PolicyOptions(uint64_t budget_bytes, uint64_t seed) {
  EvictionPolicy::Options options;
  options.seed = seed;
  options.miniature_bytes_max =
      std::clamp(budget_bytes / kMiniatureShare, EvictionPolicy::kMiniatureBytesMin,
                 EvictionPolicy::Options().miniature_bytes_max);
  return options;
}

}  // namespace

Shard::Shard(L1Common* common, char* memory, uint32_t segments_max, uint32_t segment_bytes,
             uint64_t budget_bytes, uint64_t indexed_bytes, Index::Table* tables, uint64_t seed)
    : common_(common),
      memory_(memory),
      pool_bytes_(segment_bytes),
      index_(indexed_bytes, tables),
      policy_(PolicyOptions(budget_bytes, seed)),
      budget_(budget_bytes),
      pool_(memory, segments_max, segment_bytes),
      policy_bytes_(policy_.bytes()) {}

Shard::~Shard() {
  MutexLock lock(&mu_);
  index_.ForEach([&](uint64_t content) {
    const Record* const record = RecordAt(Index::PlaceOf(content));
    if (record->Has(Record::kLarge)) SharedBytes::Adopt(record->block());
  });
  for (const WaitingBlock& waiting : waiting_blocks_) SharedBytes::Adopt(waiting.block);
}

// Of any namespace, with any parts, in any line.
Index::Seen Shard::FindSlowly(std::string_view full_key, uint64_t hash) const {
  const KeyParts key(full_key);
  Index::Seen seen;
  seen.slot = index_.Find(hash, &seen.content,
                          [&](uint64_t place) { return Matches(*RecordAt(place), key); });
  return seen;
}

Shard::Quick Shard::FindSpecial(Index::Slot* slot, uint64_t content, uint64_t hash, MonoNanos now,
                                Entry* entry) {
  Record* const record = RecordAt(Index::PlaceOf(content));
  const Moment at(now, common_->began);
  if (!record->LiveAt(at) || record->Has(Record::kSliding)) return Quick::kNone;
  CountUse(slot, content, hash);
  const uint8_t epoch = common_->HitsEpochOf(record->type_id());
  record->CountHit(epoch);
  ReadTo(*record, at, epoch, entry);
  return HasClearLists(*record) ? Quick::kClear : Quick::kSpecial;
}

bool Shard::FindLocked(std::string_view full_key, uint64_t hash, MonoNanos now, Entry* entry,
                       MissReason* why) {
  const KeyParts key(full_key);
  MutexLock lock(&mu_);
  if (Watched(hash)) policy_.OnAccess(hash);
  const Found found = LookLive(key, hash, now);
  if (found.slot == nullptr) {
    *why = WhyGone(hash);
    return false;
  }
  const uint32_t uses = std::min(Index::UsesOf(found.content) + 1, Index::kUsesMax);
  found.slot->store(Index::Make(hash, Index::PlaceOf(found.content), uses),
                    std::memory_order_release);
  const uint8_t epoch = common_->HitsEpochOf(found.record->type_id());
  found.record->CountHit(epoch);
  ReadTo(*found.record, At(now), epoch, entry);
  entry->slid_from = 0;
  const MonoNanos own_fresh_until = entry->fresh_until;
  // LookLive has asked as well, but a rule may have come since; and a mark lowers the times.
  if (!StandsByRules(full_key, now, entry)) {
    *why = MissReason::kInvalidated;
    return false;
  }
  // What a rule made stale stays so however often it is read.
  if (entry->sliding != 0 && entry->fresh_until == own_fresh_until) {
    const MonoNanos until = now + std::min(entry->sliding, INT64_MAX - now);
    if (until - entry->fresh_until > entry->sliding / kSlideSteps) {
      entry->slid_from = std::exchange(entry->fresh_until, until);
      entry->usable_until = std::max(entry->usable_until, until);
      Slide(found, key, hash, now);
    }
  }
  return true;
}

// REQUIRES: `found` is a sliding entry.
void Shard::Slide(Found found, const KeyParts& key, uint64_t hash, MonoNanos now) {
  const MonoNanos sliding = found.record->sliding();
  const MonoNanos until = now + std::min(sliding, INT64_MAX - now);
  if (found.record->Has(Record::kTimes)) {
    // Its times are not written under the eyes of readers: a copy takes its place.
    if (!MakeRoom(0, now)) return;
    found = Look(key, hash);
    if (found.slot == nullptr) return;
    const Chain chain = pool_[pool_.NumberOf(found.record)].chain;
    const Record* const old = found.record;
    found.record = Move(found, hash, chain, Index::UsesOf(found.content), now, until);
    if (found.record == nullptr || found.record == old) return;
  } else {
    found.record->Extend(until, common_->began);
  }
  Segment& segment = pool_[pool_.NumberOf(found.record)];
  segment.last_expiry = std::max(segment.last_expiry, until);
}

bool Shard::Peek(std::string_view full_key, uint64_t hash, MonoNanos now, Entry* entry,
                 MissReason* why) const {
  MutexLock lock(&mu_);
  const Found found = Look(KeyParts(full_key), hash);
  if (found.slot == nullptr) {
    *why = WhyGone(hash);
    entry->hits = 0;
    return false;
  }
  if (!found.record->LiveAt(At(now))) {
    *why = MissReason::kExpired;
    entry->hits = found.record->Hits(common_->HitsEpochOf(found.record->type_id()));
    return false;
  }
  ReadTo(*found.record, At(now), common_->HitsEpochOf(found.record->type_id()), entry);
  if (StandsByRules(full_key, now, entry)) return true;
  *why = MissReason::kInvalidated;
  return false;
}

Shard::Found Shard::Look(const KeyParts& key, uint64_t hash) const {
  Found found;
  found.slot = index_.FindExact(hash, &found.content,
                                [&](uint64_t place) { return Matches(*RecordAt(place), key); });
  if (found.slot != nullptr) found.record = RecordAt(Index::PlaceOf(found.content));
  return found;
}

Shard::Found Shard::LookLive(const KeyParts& key, uint64_t hash, MonoNanos now,
                             uint32_t* expired_hits) {
  const Found found = Look(key, hash);
  if (found.slot == nullptr) return found;
  const uint32_t hits = found.record->Hits(common_->HitsEpochOf(found.record->type_id()));
  if (!BuryIfOver(found.record, hash, found.slot, now)) return found;
  if (expired_hits != nullptr) *expired_hits = hits;
  return Found();
}

InsertResult Shard::Insert(const EntryFields& fields, uint64_t hash, Expect expect,
                           SharedBytes large, MonoNanos now) {
  MutexLock lock(&mu_);
  policy_.Prefetch(hash);
  uint32_t hits = 0;
  const Found found = LookLive(KeyParts(fields.full_key), hash, now, &hits);
  const Record* const present = found.record;
  const bool is_value = IsValue(present);
  const bool holds =
      expect.kind == Expect::Kind::kAny || (expect.kind == Expect::Kind::kAbsent && !is_value) ||
      (expect.kind == Expect::Kind::kPresent && is_value) ||
      (expect.kind == Expect::Kind::kVersion && is_value && present->version() == expect.version) ||
      (expect.kind == Expect::Kind::kUnchanged &&
       (present == nullptr || present->version() == expect.version));
  if (!holds) return {InsertOutcome::kConditionFailed, VersionOf(present), 0};
  // 1: Set A takes version 10.  2: Set B takes 20, lands, expires at once.  3: A lands. Nothing of
  // the key is left to tell that 10 is old, so every version that leaves raises the floor, and A
  // comes back with a new version.
  if (present == nullptr && fields.version <= floor_)
    return {InsertOutcome::kOutdated, kNoVersion, 0};
  // The same version comes again with other times, if that is what it replaces.
  const bool revises = expect.kind == Expect::Kind::kVersion && expect.version == fields.version;
  if (VersionOf(present) >= fields.version && !revises)
    return {InsertOutcome::kNewerExists, VersionOf(present), 0};
  InsertResult result = Put(fields, hash, found, hits, std::move(large), now);
  if (result.outcome == InsertOutcome::kStored) {
    result.cancelled = TakeTicket(fields.full_key);
  } else if (result.outcome == InsertOutcome::kTooLarge) {
    // The value is not kept, but what it replaces is out of date all the same.
    result.cancelled = TakeTicket(fields.full_key);
    result.current = kNoVersion;
    floor_ = std::max(floor_, fields.version);
    const Found older = Look(KeyParts(fields.full_key), hash);
    if (older.record != nullptr) {
      RememberWhy(hash, MissReason::kInvalidated);
      Bury(older.record, hash, older.slot, Leave::kErased, now);
    }
  }
  return result;
}

InsertResult Shard::Put(const EntryFields& fields, uint64_t hash, Found present, uint32_t hits,
                        SharedBytes large, MonoNanos now) {
  if (present.record != nullptr && Watched(hash)) policy_.OnAccess(hash);
  const bool is_large = static_cast<bool>(large);
  const uint32_t bytes = Record::BytesFor(fields, is_large, now);
  const uint64_t block_bytes = large.allocated_bytes();
  const uint64_t cost = bytes + block_bytes + Index::kBytesPerEntry;
  const double share_max = common_->TypeOf(fields.type_id).share_max;
  const auto room = static_cast<uint64_t>(static_cast<double>(budget_) * share_max);
  if (cost > room / kLargestPerShard || bytes > pool_bytes_) {
    return {InsertOutcome::kTooLarge, VersionOf(present.record), 0};
  }
  const uint64_t changes = changes_;
  if (share_max < 1) MakeRoomInType(fields.type_id, cost, now);
  // Books that grow are part of the room that is made.
  TypeTally(fields.type_id);
  NamespaceTally(fields.namespace_id);
  if (!MakeRoom(block_bytes + index_.GrowthFor(hash), now)) {
    return {InsertOutcome::kTooLarge, kNoVersion, 0};
  }

  // What was there may have had to go, or to move.
  if (changes_ != changes) present = Look(KeyParts(fields.full_key), hash);
  Chain chain = Chain::kSmall;
  uint32_t uses = 0;
  Record::Context context{common_->began, now, is_large, 0, block_bytes, hits, 0};
  context.hits_epoch = common_->HitsEpochOf(fields.type_id);
  if (present.record != nullptr) {
    chain = pool_[pool_.NumberOf(present.record)].chain;
    uses = std::min(Index::UsesOf(present.content) + 1, Index::kUsesMax);
    // What is popular stays so under a new version.
    context.hits = present.record->Hits(context.hits_epoch);
  } else {
    chain = policy_.PlaceNew(hash, chain_bytes_[static_cast<int>(Chain::kSmall)], Capacity());
  }
  char* const to = Append(GroupFor(fields.type_id), chain, TtlClass(fields, now), bytes, now);
  if (to == nullptr) return {InsertOutcome::kTooLarge, VersionOf(present.record), 0};
  context.block = large.Detach();
  absl::InlinedVector<TagPrint, kTagsMax> tag_prints(fields.tags.size());
  if (!fields.tags.empty()) {
    common_->rules->PrintTags(FullKey::NamespaceOf(fields.full_key), fields.tags,
                              tag_prints.data());
  }
  context.tag_prints = tag_prints.data();
  Record* const record = Record::Write(to, fields, context);
  if (present.record != nullptr) {
    // A reader finds the old record or the new one.
    present.slot->store(Index::Make(hash, PlaceOf(record), uses), std::memory_order_release);
    Bury(present.record, hash, nullptr, Leave::kReplaced, now);
  } else {
    index_.Add(hash, PlaceOf(record), uses);
  }
  if (is_large) large_bytes_ += block_bytes;
  Settle(record, now);
  return {InsertOutcome::kStored, fields.version, 0};
}

EraseResult Shard::Erase(std::string_view full_key, uint64_t hash, Version version, MonoNanos now) {
  EraseResult result;
  MutexLock lock(&mu_);
  result.cancelled = TakeTicket(full_key);
  floor_ = std::max(floor_, version);
  const Found found = LookLive(KeyParts(full_key), hash, now);
  if (found.record != nullptr && found.record->version() > version) return result;
  RememberWhy(hash, MissReason::kInvalidated);
  if (found.record != nullptr) {
    result.existed = IsValue(found.record);
    Bury(found.record, hash, found.slot, Leave::kErased, now);
  }
  return result;
}

FillTicket Shard::TakeTicket(std::string_view full_key) {
  if (tickets_.empty()) return 0;
  const auto it = tickets_.find(ToAbsl(full_key));
  if (it == tickets_.end()) return 0;
  const FillTicket ticket = it->second;
  ticket_bytes_ -= kTicketBytes + it->first.size();
  tickets_.erase(it);
  // The table does not shrink by itself, and a burst of loads would leave it large for good.
  if (tickets_.empty() && tickets_.capacity() > kTicketTableMin) tickets_ = {};
  return ticket;
}

FillTicket Shard::BeginFill(std::string_view full_key, MonoNanos now) {
  MutexLock lock(&mu_);
  TakeTicket(full_key);
  return NewTicket(full_key, now);
}

FillTicket Shard::TryBeginFill(std::string_view full_key, MonoNanos now) {
  MutexLock lock(&mu_);
  return tickets_.contains(ToAbsl(full_key)) ? 0 : NewTicket(full_key, now);
}

FillTicket Shard::NewTicket(std::string_view full_key, MonoNanos now) {
  const uint64_t bytes = kTicketBytes + full_key.size();
  if (ticket_bytes_ + bytes > budget_ / kTicketShare || !MakeRoom(bytes, now)) return 0;
  const FillTicket ticket = ++last_ticket_;
  tickets_.emplace(std::string(full_key), ticket);
  ticket_bytes_ += bytes;
  return ticket;
}

bool Shard::HasFill(std::string_view full_key, FillTicket ticket) const {
  MutexLock lock(&mu_);
  const auto it = tickets_.find(ToAbsl(full_key));
  return it != tickets_.end() && it->second == ticket;
}

InsertResult Shard::Fill(const EntryFields& fields, uint64_t hash, FillTicket ticket,
                         SharedBytes large, MonoNanos now) {
  MutexLock lock(&mu_);
  const auto it = tickets_.find(ToAbsl(fields.full_key));
  if (it == tickets_.end() || it->second != ticket) {
    return {InsertOutcome::kTicketLost,
            VersionOf(LookLive(KeyParts(fields.full_key), hash, now).record), 0};
  }
  TakeTicket(fields.full_key);
  uint32_t hits = 0;
  const Found found = LookLive(KeyParts(fields.full_key), hash, now, &hits);
  if (RuledOut(fields, now)) return {InsertOutcome::kTicketLost, VersionOf(found.record), 0};
  if (VersionOf(found.record) >= fields.version)
    return {InsertOutcome::kNewerExists, VersionOf(found.record), 0};
  return Put(fields, hash, found, hits, std::move(large), now);
}

void Shard::EndFill(std::string_view full_key, FillTicket ticket) {
  MutexLock lock(&mu_);
  const auto it = tickets_.find(ToAbsl(full_key));
  if (it != tickets_.end() && it->second == ticket) TakeTicket(full_key);
}

// Remembers, in a few fixed slots, by a part of the hash, why a key is no longer there. It only
// makes a miss more telling and may forget; nothing is decided by it.
void Shard::RememberWhy(uint64_t hash, MissReason why) {
  departed_[hash % departed_.size()] = {static_cast<uint32_t>(hash >> 32), why};
}

MissReason Shard::WhyGone(uint64_t hash) const {
  const Departed& slot = departed_[hash % departed_.size()];
  return slot.fingerprint == static_cast<uint32_t>(hash >> 32) ? slot.why : MissReason::kAbsent;
}

}  // namespace larder
