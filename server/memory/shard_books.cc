// Records, segments and what is counted of them. Everything that a shard holds is known to the
// byte, because each change of a record passes through Settle, Move or Bury, and each change of a
// segment through OpenSegment or Retire.

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>

#include "base/epoch.h"
#include "core/key.h"
#include "memory/shard.h"

namespace larder {
namespace {

// Open segments may take one part in this many of the segments; beyond that, what would need a
// further one joins a segment of its group that is open already. Each group may have one in each
// chain whatever the others have, and types that come then share a group.
constexpr uint32_t kOpenShare = 8;
// Behind a new record, so many lines from this distance on are fetched ahead.
constexpr uint32_t kFetchedFrom = 192;
constexpr uint32_t kFetchedLines = 3;
// A shard is nearly full when less than one part in this many is free.
constexpr uint64_t kNearlyFullShare = 4;
// What the policy is made for until then: it takes four bytes an entry.
constexpr uint64_t kEntriesUnlearned = 1024;

}  // namespace

uint64_t L1Tally::evicted() const {
  uint64_t sum = 0;
  for (const uint64_t count : evictions) sum += count;
  return sum;
}

void L1Tally::Add(const L1Tally& other) {
  entries += other.entries;
  key_bytes += other.key_bytes;
  value_bytes += other.value_bytes;
  plain_bytes += other.plain_bytes;
  encoded_bytes += other.encoded_bytes;
  overhead_bytes += other.overhead_bytes;
  ages_ms += other.ages_ms;
  for (size_t i = 0; i < evictions.size(); ++i) evictions[i] += other.evictions[i];
  evicted_bytes += other.evicted_bytes;
  evicted_age_ms += other.evicted_age_ms;
  expirations += other.expirations;
}

uint64_t Shard::HashOf(const Record& record) const {
  const bool is_default =
      record.namespace_id() == common_->default_id.load(std::memory_order_relaxed);
  const std::string_view name =
      is_default ? std::string_view() : common_->NamespaceOf(record.namespace_id());
  return common_->hash(FullKey(name, record.key()).view());
}

uint64_t Shard::CostOf(const Record& record) {
  return record.bytes() + Index::kBytesPerEntry +
         (record.Has(Record::kLarge) ? record.block_bytes() : 0);
}

Shard::Found Shard::LookAt(Record* record, uint64_t hash) const {
  Found found;
  const uint64_t place = PlaceOf(record);
  found.slot =
      index_.FindExact(hash, &found.content, [place](uint64_t other) { return other == place; });
  if (found.slot != nullptr) found.record = record;
  return found;
}

void Shard::Account(const Record& record, Chain chain, int sign) {
  const uint64_t by = static_cast<uint64_t>(sign);
  const bool plain = record.IsPlain();
  const uint64_t cost = by * CostOf(record);
  const uint64_t key = by * record.key_size();
  const uint64_t stored = by * record.stored_bytes();
  const uint64_t decoded = plain ? stored : by * record.plain_bytes();
  const uint64_t encoded = plain || !record.Has(Record::kEncoded) ? 0 : stored;
  const int64_t written = sign * common_->WrittenMs(record);
  chain_bytes_[static_cast<int>(chain)] += cost;
  for (L1Tally* tally : {&TypeTally(record.type_id()), &NamespaceTally(record.namespace_id())}) {
    tally->entries += by;
    tally->key_bytes += key;
    tally->value_bytes += stored;
    tally->plain_bytes += decoded;
    tally->encoded_bytes += encoded;
    tally->overhead_bytes += cost - key - stored;
    tally->ages_ms += written;
  }
  if (encoded != 0) common_->CountEncoded(record.encoding(), sign);
}

bool Shard::List(uint64_t table, MonoNanos now, std::vector<L1::Listed>* out) const {
  MutexLock lock(&mu_);
  const Moment at(now, common_->began);
  if (table >= index_.table_count()) return false;
  index_.ForEachOf(table, [&](uint64_t content) {
    const Record* const record = RecordAt(Index::PlaceOf(content));
    if (!record->LiveAt(at)) return;
    MonoNanos fresh_until = record->FreshUntil(at);
    MonoNanos usable_until = record->UsableUntil(at);
    if (!Lower(JudgeBy(*common_->rules, *record), now, &fresh_until, &usable_until)) return;
    const FullKey full_key(common_->NamespaceOf(record->namespace_id()), record->key());
    out->push_back({std::string(full_key.view()), record->version(), record->type_id(),
                    record->Hits(common_->HitsEpochOf(record->type_id())), fresh_until,
                    record->sliding()});
  });
  return table + 1 < index_.table_count();
}

void Shard::Bury(Record* record, uint64_t hash, Index::Slot* slot, Leave how, MonoNanos now) {
  ++changes_;
  const uint32_t number = pool_.NumberOf(record);
  Segment& segment = pool_[number];
  if (slot != nullptr) index_.Remove(hash, slot);
  Account(*record, segment.chain, -1);
  record->MarkDead();
  if (record->Has(Record::kLarge)) {
    waiting_blocks_.push_back({record->block(), record->block_bytes(), Epoch::Stamp()});
    waiting_block_bytes_ += record->block_bytes();
  }
  if (how == Leave::kRuledOut) {
    floor_ = std::max(floor_, record->version());
    RememberWhy(hash, MissReason::kInvalidated);
  } else if (how == Leave::kEvicted || how == Leave::kExpired) {
    floor_ = std::max(floor_, record->version());
    RememberWhy(hash, how == Leave::kExpired ? MissReason::kExpired : MissReason::kAbsent);
    if (how == Leave::kExpired &&
        ABSL_PREDICT_FALSE(common_->keeps_ended.load(std::memory_order_relaxed))) {
      KeepEnded(*record);
    }
    const int64_t age_ms = std::max<int64_t>(MsBetween(WrittenAt(*record, now), now), 0);
    for (L1Tally* tally :
         {&TypeTally(record->type_id()), &NamespaceTally(record->namespace_id())}) {
      if (how == Leave::kExpired) {
        ++tally->expirations;
        continue;
      }
      ++tally->evictions[static_cast<size_t>(cause_)];
      tally->evicted_bytes += CostOf(*record);
      tally->evicted_age_ms += static_cast<uint64_t>(age_ms);
    }
  }
  const uint32_t bytes = record->bytes();
  segment.dead += bytes;
  --segment.live;
  dead_bytes_ += bytes;
  if (segment.state != Segment::State::kSealed) return;
  if (segment.live == 0) {
    Retire(number);
  } else if (most_dead_ == SegmentPool::kNone || segment.dead > pool_[most_dead_].dead) {
    most_dead_ = number;
  }
}

void Shard::GrowBooks(Books* books, size_t count) {
  const size_t before = books->tallies.capacity();
  books->tallies.resize(count);
  books->count = count;
  book_bytes_ += (books->tallies.capacity() - before) * sizeof(L1Tally);
}

uint64_t Shard::TypeBytes(uint16_t id) const {
  return id < by_type_.count ? by_type_.tallies[id].bytes() : 0;
}

bool Shard::IsProtected(uint16_t id) const {
  const double share = common_->TypeOf(id).share_min;
  return share > 0 && static_cast<double>(TypeBytes(id)) <= share * static_cast<double>(budget_);
}

char* Shard::Append(uint16_t group, Chain chain, uint8_t ttl_class, uint32_t bytes, MonoNanos now) {
  uint32_t number = OpenFor(group, chain, ttl_class);
  if (number == SegmentPool::kNone || pool_[number].tail + bytes > pool_.segment_bytes()) {
    if (number != SegmentPool::kNone) Seal(number);
    number = OpenSegment(group, chain, ttl_class, now);
    if (number == SegmentPool::kNone) return nullptr;
  }
  Segment& segment = pool_[number];
  char* const to = pool_.memory(number) + segment.tail;
  // The memory of what comes next: else whoever takes the lock next waits until this record has
  // been written to memory that was not at hand.
  for (uint32_t line = 0; line < kFetchedLines; ++line)
    __builtin_prefetch(to + bytes + kFetchedFrom + line * 64, 1);
  segment.tail += bytes;
  appended_ += bytes;
  return to;
}

// The open segment for such records, if there is one. While fewer may be open than would be needed,
// the one whose class is nearest: the entries' own times stay exact, only the segment ends later.
uint32_t Shard::OpenFor(uint16_t group, Chain chain, uint8_t ttl_class) {
  const bool may_open = open_segments_ < std::max(pool_.backed(), kSegmentsMin) / kOpenShare;
  uint32_t nearest = SegmentPool::kNone;
  int nearest_distance = may_open ? 1 : INT_MAX;
  for (const uint32_t open : GroupOf(group).open) {
    if (pool_[open].chain != chain) continue;
    const int distance = std::abs(pool_[open].ttl_class - ttl_class);
    if (distance < nearest_distance) {
      nearest = open;
      nearest_distance = distance;
    }
  }
  return nearest;
}

uint32_t Shard::OpenSegment(uint16_t group, Chain chain, uint8_t ttl_class, MonoNanos now) {
  const uint32_t number = pool_.Take();
  if (number == SegmentPool::kNone) return number;
  ResizePolicy();
  Segment& segment = pool_[number];
  segment.state = Segment::State::kOpen;
  segment.chain = chain;
  segment.ttl_class = ttl_class;
  segment.group = group;
  segment.order = appended_;
  segment.opened = now;
  segment.first_expiry = INT64_MAX;
  segment.last_expiry = 0;
  GroupOf(group).open.push_back(number);
  ++open_segments_;
  LinkInChain(number);
  return number;
}

// What the shard will hold when it is full, but not far more than it holds: what the policy
// remembers takes memory, and is of use only once there is something to evict.
void Shard::ResizePolicy() {
  const uint64_t entries = index_.entries();
  if (entries == 0) return;
  const uint64_t mean = std::max<uint64_t>((chain_bytes_[0] + chain_bytes_[1]) / entries, 1);
  // By what lives: what is dead is given back before anything is evicted.
  const uint64_t live = chain_bytes_[0] + chain_bytes_[1];
  const bool nearly_full = live > Capacity() / kNearlyFullShare * (kNearlyFullShare - 1);
  nearly_full_.store(nearly_full, std::memory_order_relaxed);
  const uint64_t held = Capacity() / mean;
  policy_.Resize(std::max<uint64_t>(nearly_full ? held : std::min(held, kEntriesUnlearned), 1));
  policy_bytes_ = policy_.bytes();
}

void Shard::Settle(Record* record, MonoNanos now) {
  Segment& segment = pool_[pool_.NumberOf(record)];
  ++segment.live;
  const MonoNanos until = record->UsableUntil(At(now));
  segment.first_expiry = std::min(segment.first_expiry, until);
  segment.last_expiry = std::max(segment.last_expiry, until);
  next_end_ = std::min(next_end_, segment.last_expiry);
  Account(*record, segment.chain, +1);
}

Record* Shard::Move(const Found& found, uint64_t hash, Chain chain, uint32_t uses, MonoNanos now,
                    MonoNanos until) {
  ++changes_;
  const uint32_t number = pool_.NumberOf(found.record);
  Segment& from = pool_[number];
  const uint32_t bytes = found.record->bytes();
  char* const to = Append(from.group, chain, from.ttl_class, bytes, now);
  if (to == nullptr) return nullptr;
  Record* const moved = found.record->CopyTo(to);
  if (until != 0) moved->Extend(until, common_->began);
  found.slot->store(Index::Make(hash, PlaceOf(moved), uses), std::memory_order_release);
  Account(*found.record, from.chain, -1);
  found.record->MarkDead();
  from.dead += bytes;
  --from.live;
  dead_bytes_ += bytes;
  Settle(moved, now);
  if (from.live == 0 && from.state == Segment::State::kSealed) Retire(number);
  return moved;
}

Shard::Group& Shard::GroupOf(uint16_t number) {
  if (groups_.size() <= number) {
    const size_t before = groups_.capacity();
    groups_.resize(number + 1);
    book_bytes_ += (groups_.capacity() - before) * sizeof(Group);
  }
  return groups_[number];
}

uint16_t Shard::GroupFor(uint16_t type) {
  // The group behind the last type takes the mixed ones.
  const auto mixed = static_cast<uint16_t>(common_->types_max);
  if (type >= mixed) return mixed;
  if (type < groups_.size() && !groups_[type].open.empty()) return type;
  const L1Common::Type& options = common_->TypeOf(type);
  // Shares are kept by evicting from segments of the type's own.
  if (options.share_min > 0 || options.share_max < 1) return type;
  const uint32_t most = std::max(pool_.backed(), kSegmentsMin) / kOpenShare;
  return open_segments_ < most ? type : mixed;
}

void Shard::Seal(uint32_t number) {
  Segment& segment = pool_[number];
  std::erase(GroupOf(segment.group).open, number);
  --open_segments_;
  segment.state = Segment::State::kSealed;
  if (segment.live == 0) Retire(number);
}

void Shard::LinkInChain(uint32_t number) {
  Segment& segment = pool_[number];
  Group::List& list = GroupOf(segment.group).chains[static_cast<int>(segment.chain)];
  segment.older = list.newest;
  segment.newer = SegmentPool::kNone;
  (list.newest != SegmentPool::kNone ? pool_[list.newest].newer : list.oldest) = number;
  list.newest = number;
}

void Shard::UnlinkFromChain(uint32_t number) {
  const Segment& segment = pool_[number];
  Group::List& list = GroupOf(segment.group).chains[static_cast<int>(segment.chain)];
  (segment.older != SegmentPool::kNone ? pool_[segment.older].newer : list.oldest) = segment.newer;
  (segment.newer != SegmentPool::kNone ? pool_[segment.newer].older : list.newest) = segment.older;
}

void Shard::Retire(uint32_t number) {
  Segment& segment = pool_[number];
  if (segment.state != Segment::State::kVictim) UnlinkFromChain(number);
  if (most_dead_ == number) most_dead_ = SegmentPool::kNone;
  dead_bytes_ -= segment.dead;
  pool_.Retire(number);
}

void Shard::AddTo(L1Usage* usage) const {
  MutexLock lock(&mu_);
  usage->bytes += Used();
  usage->segment_bytes += pool_.bytes();
  usage->large_bytes += large_bytes_;
  usage->index_bytes += index_.bytes();
  usage->ghost_bytes += policy_.bytes();
  usage->dead_bytes += dead_bytes_;
  usage->newcomer_share += policy_.small_share();
  usage->fills += tickets_.size();
  const auto add = [](std::vector<L1Tally>& to, const std::vector<L1Tally>& from) {
    if (to.size() < from.size()) to.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[i].Add(from[i]);
  };
  add(usage->by_type, by_type_.tallies);
  add(usage->by_namespace, by_namespace_.tallies);
}

// The walk over everything that CheckInvariants makes.
bool Shard::CheckInvariants() const {
  MutexLock lock(&mu_);
  uint64_t live = 0;
  uint64_t dead = 0;
  uint64_t large = waiting_block_bytes_;
  uint64_t lost = 0;
  std::array<uint64_t, kChains> chains = {};
  for (uint32_t number = 0; number < pool_.end(); ++number) {
    const Segment& segment = pool_[number];
    if (segment.state != Segment::State::kOpen && segment.state != Segment::State::kSealed &&
        segment.state != Segment::State::kVictim) {
      continue;
    }
    uint32_t segment_live = 0;
    uint32_t segment_dead = 0;
    Walk(number, 0, [&](Record* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      if (record->Has(Record::kDead)) {
        segment_dead += record->bytes();
        return true;
      }
      ++segment_live;
      chains[static_cast<int>(segment.chain)] += CostOf(*record);
      if (record->Has(Record::kLarge)) large += record->block_bytes();
      if (LookAt(record, HashOf(*record)).slot == nullptr) ++lost;
      return true;
    });
    if (segment_live != segment.live || segment_dead != segment.dead) {
      std::fprintf(stderr, "segment %u: %u of %u live, %u of %u bytes dead\n", number, segment_live,
                   segment.live, segment_dead, segment.dead);
      return false;
    }
    live += segment_live;
    dead += segment_dead;
  }
  uint64_t indexed = 0;
  index_.ForEach([&](uint64_t) { ++indexed; });
  uint64_t tallied = 0;
  for (const L1Tally& tally : by_type_.tallies) tallied += tally.entries;
  const bool right = lost == 0 && indexed == live && index_.entries() == live && tallied == live &&
                     dead == dead_bytes_ && large == large_bytes_ && chains == chain_bytes_ &&
                     Used() <= budget_;
  if (!right) {
    std::fprintf(stderr,
                 "shard: %zu live, %zu indexed, %zu tallied, %zu not found; dead %zu of %zu, large "
                 "%zu of %zu, used %zu of %zu\n",
                 live, indexed, tallied, lost, dead, dead_bytes_, large, large_bytes_, Used(),
                 budget_);
  }
  return right;
}

}  // namespace larder
