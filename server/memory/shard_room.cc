// How room is made, in this order: what has ended as a whole, what is dead to a good part, what the
// eviction gives up.
//
// Eviction. Newcomers enter the small chain. At its old end an entry that was read goes to the main
// chain, another is dropped; at the old end of the main chain an entry that was read goes back to
// the young end, another is dropped. Which chain has to give, and what earns a stay, is the
// policy's to say (policy/eviction.h). Entries are decided about one at a time, so that large
// values leave one by one; the segment itself comes back when all of its entries are decided about.
//
// Types compete by what a hit costs. Every segment at an old end holds entries that were given a
// turn of the chain; the chain's turn is the price in bytes and time that one hit has to justify.
// The victim is the segment whose turn was dearest, age times the mean size of its type's entries,
// so that in the end all types pay the same bytes for a hit: a type of small entries keeps them
// longer. Types below their minimum share are passed over while another has something to give.
//
// Moving needs room before it makes some: kReserve segments are kept for it. If they run out, the
// entry is dropped; nothing is lost but a copy of what can be loaded again.

#include <sched.h>

#include <algorithm>

#include "base/epoch.h"
#include "memory/shard.h"

namespace larder {
namespace {

// Dead records may take one part in this many of the segments before segments are looked for that
// are worth compacting.
constexpr uint64_t kDeadShare = 8;
// Evicting for large values goes on by this part of the budget, so that what waits for readers is
// waited for together.
constexpr uint64_t kAheadShare = 256;
constexpr uint64_t kAheadMax = 64 << 10;
// Tables that the index outgrew may wait until there are so many bytes of them, also while there is
// room.
constexpr uint64_t kIndexWaitsMax = 256 << 10;
constexpr int kYieldsMax = 64;
// What waits for readers that do not come may be overdrawn up to one part in this many of the
// budget.
constexpr uint64_t kOverdraftShare = 64;
constexpr int kBudgetSteps = 256;
// Room for a large value is made in turns of so many steps.
constexpr int kPrepareSteps = 256;
constexpr int kPrepareTurnsMax = 1000;
constexpr uint64_t kTrimTables = 64;

}  // namespace

uint64_t Shard::Used() const {
  return sizeof(Shard) + pool_.bytes() + index_.bytes() + large_bytes_ + policy_bytes_ +
         ticket_bytes_ + book_bytes_;
}

uint64_t Shard::Capacity() const {
  const uint64_t used = Used();
  return chain_bytes_[0] + chain_bytes_[1] + dead_bytes_ + (budget_ > used ? budget_ - used : 0) +
         static_cast<uint64_t>(pool_.ready()) * pool_.segment_bytes();
}

uint64_t Shard::Waiting() const {
  return index_.waiting_bytes() + waiting_block_bytes_ +
         static_cast<uint64_t>(pool_.waiting()) * pool_.segment_bytes();
}

void Shard::Reclaim() {
  const uint64_t passed = Epoch::Passed();
  pool_.Reclaim(passed);
  index_.Reclaim(passed);
  std::erase_if(waiting_blocks_,
                [&](const WaitingBlock& waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                  if (waiting.stamp > passed) return false;
                  SharedBytes::Adopt(waiting.block);
                  waiting_block_bytes_ -= waiting.bytes;
                  large_bytes_ -= waiting.bytes;
                  return true;
                });
}

// Makes room for `bytes` beside the segments, and sees to it that there is a segment for a record
// and a reserve for what moves meanwhile. False when all that could go has gone.
bool Shard::MakeRoom(uint64_t bytes, MonoNanos now) {
  int yields = 0;
  if (index_.waiting_bytes() > kIndexWaitsMax) Reclaim();
  while (true) {
    const bool fits = Used() + bytes <= budget_;
    const bool ready = pool_.ready() > kReserve;
    if (fits && ready) return true;
    if (fits && Used() + bytes + pool_.growth_bytes() <= budget_ && pool_.Back()) continue;
    if (!fits && pool_.ready() > kReserve + 1 && pool_.Unback()) continue;
    const uint64_t waiting = Waiting();
    const bool enough_waits =
        fits ? pool_.waiting() > 0
             : Used() + bytes + std::min(budget_ / kAheadShare, kAheadMax) <= budget_ + waiting;
    if (waiting > 0 && enough_waits) {
      Reclaim();
      if (Waiting() < waiting) continue;
      // A reader holds everything back, most likely because it lost its processor. It will not hold
      // up the writers as well: for as long, a little more than the budget is used.
      if (++yields > kYieldsMax) return Overdraw(bytes);
      sched_yield();
      continue;
    }
    if (EvictStep(now)) continue;
    if (waiting == 0) return false;
    Reclaim();
    if (Waiting() < waiting) continue;
    if (++yields > kYieldsMax) return false;
    sched_yield();
  }
}

void Shard::PrepareFor(uint64_t bytes, MonoNanos now) {
  for (int turn = 0; turn < kPrepareTurnsMax; ++turn) {
    MutexLock lock(&mu_);
    if (bytes > budget_ / kLargestPerShard) return;
    for (int step = 0; step < kPrepareSteps; ++step) {
      if (Used() + bytes <= budget_ + Waiting() || !EvictStep(now)) return;
    }
  }
}

char* Shard::TakeNextPage() {
  MutexLock lock(&mu_);
  return Used() + SegmentPool::kPageBytes <= budget_ ? pool_.TakeNextPage() : nullptr;
}

bool Shard::Overdraw(uint64_t bytes) {
  if (Used() + bytes > budget_ + budget_ / kOverdraftShare) return false;
  return pool_.ready() > kReserve || pool_.Back();
}

bool Shard::EvictStep(MonoNanos now) {
  if (now >= next_end_ && ExpireWhole(now)) return true;
  if (CompactMostDead(now)) return true;
  const uint64_t small = chain_bytes_[static_cast<int>(Chain::kSmall)];
  const uint64_t main = chain_bytes_[static_cast<int>(Chain::kMain)];
  const Chain first = policy_.EndToEvict(small, main);
  const Chain second = first == Chain::kSmall ? Chain::kMain : Chain::kSmall;
  return EvictFrom(first, false, now) || EvictFrom(second, false, now) ||
         EvictFrom(first, true, now) || EvictFrom(second, true, now);
}

bool Shard::EvictFrom(Chain chain, bool force, MonoNanos now) {
  cause_ = shrinking_               ? EvictionCause::kShrink
           : chain == Chain::kSmall ? EvictionCause::kUnread
                                    : EvictionCause::kCold;
  Victim& victim = victims_[static_cast<int>(chain)];
  if (victim.segment == SegmentPool::kNone) {
    victim.segment = ChooseVictim(chain, force);
    if (victim.segment == SegmentPool::kNone) return false;
    victim.offset = 0;
    victim.ahead = Ahead();
    victim.force = force;
    Segment& segment = pool_[victim.segment];
    if (segment.state == Segment::State::kOpen) {
      std::erase(GroupOf(segment.group).open, victim.segment);
      --open_segments_;
    }
    UnlinkFromChain(victim.segment);
    if (most_dead_ == victim.segment) most_dead_ = SegmentPool::kNone;
    segment.state = Segment::State::kVictim;
  }
  if (!DecideNext(&victim, now)) {
    Retire(victim.segment);
    victim = Victim();
  }
  return true;
}

uint32_t Shard::ChooseVictim(Chain chain, bool force) const {
  uint32_t chosen = SegmentPool::kNone;
  double dearest = -1;
  // For mixed segments.
  const double mean_of_all = static_cast<double>(chain_bytes_[0] + chain_bytes_[1]) /
                             static_cast<double>(std::max<uint64_t>(index_.entries(), 1));
  for (size_t group = 0; group < groups_.size(); ++group) {
    const uint32_t oldest = groups_[group].chains[static_cast<int>(chain)].oldest;
    if (oldest == SegmentPool::kNone) continue;
    const auto type = static_cast<uint16_t>(group);
    if (!force && IsProtected(type)) continue;
    double mean = mean_of_all;
    if (group < by_type_.count && by_type_.tallies[group].entries > 0) {
      const L1Tally& tally = by_type_.tallies[group];
      mean = static_cast<double>(tally.bytes()) / static_cast<double>(tally.entries);
    }
    const double price = static_cast<double>(appended_ - pool_[oldest].order) * mean;
    if (price > dearest) {
      dearest = price;
      chosen = oldest;
    }
  }
  return chosen;
}

bool Shard::DecideNext(Victim* victim, MonoNanos now) {
  const Segment& segment = pool_[victim->segment];
  bool decided = false;
  victim->offset =
      Walk(victim->segment, victim->offset, [&](Record* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
        if (record->Has(Record::kDead)) return true;
        const uint64_t hash = HashAhead(&victim->ahead, victim->segment, record);
        const Found found = LookAt(record, hash);
        decided = true;
        if (!BuryIfOver(record, hash, found.slot, now))
          Decide(found, hash, segment.chain, victim->force, now);
        return false;
      });
  return decided || victim->offset < segment.tail;
}

uint64_t Shard::HashAhead(Ahead* ahead, uint32_t number, const Record* record) const {
  while (ahead->next < ahead->count) {
    const Ahead::Coming& coming = ahead->coming[ahead->next++];
    if (coming.record == record) return coming.hash;
  }
  // A few at a time, so that the misses of all are waited for together.
  ahead->next = 1;
  ahead->count = 0;
  const auto offset =
      static_cast<uint32_t>(reinterpret_cast<const char*>(record) - pool_.memory(number));
  const bool may_haunt = pool_[number].chain == Chain::kSmall;
  Walk(number, offset, [&](const Record* later) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (later->Has(Record::kDead)) return true;
    const uint64_t hash = HashOf(*later);
    index_.Prefetch(hash);
    if (may_haunt) policy_.Prefetch(hash);
    ahead->coming[ahead->count++] = {later, hash};
    return ahead->count < Ahead::kRecords;
  });
  return ahead->coming[0].hash;
}

void Shard::Decide(const Found& found, uint64_t hash, Chain chain, bool force, MonoNanos now) {
  const uint32_t uses = Index::UsesOf(found.content);
  // Its segment may be a mix of types.
  const bool keep = !force && IsProtected(found.record->type_id());
  bool moved = false;
  if (chain == Chain::kSmall) {
    const bool promote = policy_.OnSmallEnd(hash, uses);
    if (promote || keep) {
      moved = Move(found, hash, promote ? Chain::kMain : Chain::kSmall, 0, now) != nullptr;
    }
  } else if (policy_.OnMainEnd(uses) || keep) {
    moved = Move(found, hash, Chain::kMain, uses > 0 ? uses - 1 : 0, now) != nullptr;
  }
  if (!moved) Bury(found.record, hash, found.slot, Leave::kEvicted, now);
}

// Evicts from segments of the type alone until `bytes` more are within its maximum share.
void Shard::MakeRoomInType(uint16_t type, uint64_t bytes, MonoNanos now) {
  const auto most =
      static_cast<uint64_t>(common_->TypeOf(type).share_max * static_cast<double>(budget_));
  while (TypeBytes(type) + bytes > most) {
    const Group& group = GroupOf(type);
    uint32_t number = group.chains[0].oldest;
    if (number == SegmentPool::kNone) number = group.chains[1].oldest;
    if (number == SegmentPool::kNone) return;
    if (pool_[number].state == Segment::State::kOpen) {
      Seal(number);
      if (pool_[number].state != Segment::State::kSealed) continue;
    }
    // As a victim of its own, so that the walk survives the last of its records.
    UnlinkFromChain(number);
    if (most_dead_ == number) most_dead_ = SegmentPool::kNone;
    pool_[number].state = Segment::State::kVictim;
    const Chain chain = pool_[number].chain;
    cause_ = EvictionCause::kTypeFull;
    Victim victim;
    victim.segment = number;
    victim.force = true;
    while (TypeBytes(type) + bytes > most && DecideNext(&victim, now)) {
    }
    if (victim.offset >= pool_[number].tail || pool_[number].live == 0) {
      Retire(number);
      continue;
    }
    // Its turn is not over: back to the old end.
    pool_[number].state = Segment::State::kSealed;
    Group::List& list = GroupOf(type).chains[static_cast<int>(chain)];
    pool_[number].older = SegmentPool::kNone;
    pool_[number].newer = list.oldest;
    (list.oldest != SegmentPool::kNone ? pool_[list.oldest].older : list.newest) = number;
    list.oldest = number;
  }
}

bool Shard::CompactMostDead(MonoNanos now) {
  uint32_t number = most_dead_;
  const uint32_t worth = pool_.segment_bytes() / 2;
  if (number == SegmentPool::kNone || pool_[number].dead < worth) {
    const uint64_t most =
        static_cast<uint64_t>(pool_.backed()) * pool_.segment_bytes() / kDeadShare;
    if (dead_bytes_ <= std::max(most, compact_above_)) return false;
    number = SegmentPool::kNone;
    for (uint32_t other = 0; other < pool_.end(); ++other) {
      if (pool_[other].state != Segment::State::kSealed) continue;
      if (number == SegmentPool::kNone || pool_[other].dead > pool_[number].dead) number = other;
    }
    if (number == SegmentPool::kNone || pool_[number].dead < worth / 2) {
      // All of it is spread thin. It takes another segment's worth before that changes.
      compact_above_ = dead_bytes_ + pool_.segment_bytes();
      return false;
    }
    compact_above_ = 0;
  }
  if (pool_.ready() == 0) return false;
  most_dead_ = SegmentPool::kNone;
  Compact(number, now);
  return true;
}

// Moves what lives in the segment to the young end of its chain and gives the segment back.
void Shard::Compact(uint32_t number, MonoNanos now) {
  Segment& segment = pool_[number];
  UnlinkFromChain(number);
  segment.state = Segment::State::kVictim;
  cause_ = segment.chain == Chain::kSmall ? EvictionCause::kUnread : EvictionCause::kCold;
  Ahead ahead;
  Walk(number, 0, [&](Record* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (record->Has(Record::kDead)) return true;
    const uint64_t hash = HashAhead(&ahead, number, record);
    const Found found = LookAt(record, hash);
    if (BuryIfOver(record, hash, found.slot, now)) return true;
    if (Move(found, hash, segment.chain, Index::UsesOf(found.content), now) == nullptr)
      Bury(record, hash, found.slot, Leave::kEvicted, now);
    return true;
  });
  Retire(number);
}

bool Shard::BudgetStep(uint64_t budget_bytes, MonoNanos now) {
  MutexLock lock(&mu_);
  budget_bytes = std::max(budget_bytes, budget_bytes_min());
  if (budget_bytes >= budget_) {
    budget_ = budget_bytes;
    return true;
  }
  shrinking_ = true;
  index_.Trim(kTrimTables);
  // What the eviction remembers shrinks with what there will be.
  policy_.Resize(
      std::max<uint64_t>(index_.entries() * budget_bytes / std::max(Used(), uint64_t{1}), 1));
  policy_bytes_ = policy_.bytes();
  for (int step = 0; step < kBudgetSteps && Used() > budget_bytes; ++step) {
    if (pool_.ready() > kReserve && pool_.Unback()) continue;
    if (Waiting() > budget_ / kAheadShare || Used() <= budget_bytes + Waiting()) {
      const uint64_t waiting = Waiting();
      Reclaim();
      if (Waiting() < waiting) continue;
      break;
    }
    if (!EvictStep(now)) break;
  }
  shrinking_ = false;
  ResizePolicy();
  budget_ = std::max(budget_bytes, std::min(budget_, Used()));
  return budget_ == budget_bytes;
}

}  // namespace larder
