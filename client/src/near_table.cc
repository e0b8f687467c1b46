// The danger is a copy that outlives its truth. It can come to that in four ways.
//
// An answer overtaken by a change.  1: a read of k is answered version 5.  2: k becomes 6, and the
// stream tells it.  3: the answer arrives. There was no copy to drop at 2, so the change itself has
// to be remembered: a shard keeps the last change of each key, in a table of fixed size. A change
// that displaces another one there takes note of it, and an answer whose question is older than a
// displaced change is not kept. So the table may cost a copy, never the truth.
//
// An answer of a replica that is behind the one that the stream comes from.  1: the stream tells 6.
// 2: a read begins, reaches the other replica, and is answered 5. What is remembered of the changes
// before the read began speaks against that, too, for as long as it is not displaced: seconds, at a
// thousand changes a second, while replicas are milliseconds behind each other.
//
// A rule. It may cover any number of copies, so it is not applied when it comes, but when a copy is
// looked at: a copy knows up to which rule it was compared. A shard keeps the last kRules; a copy
// that has missed more than those goes. Rules that came a little before a read began count against
// its answer as well, for the sake of replicas that are behind; but only where the client can tell
// exactly what they cover, or entries that they do not cover could not be kept for that time.
//
// Changes that the stream lost. Each stream has an epoch, and a copy that of the moment when it was
// asked for; DropStream begins a new one, and then gives the memory back, shard by shard.
//
// Room is made by a clock hand that goes over the slots and takes what was not used since it last
// came by (S3-FIFO does better on scans, and needs queues: links in each entry, or a second table).
// Memory is counted as asked from the allocator and its least overhead, tables included.

#include "client/src/near_table.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace larder::internal {
namespace {

constexpr size_t kShardsMax = 64;
constexpr size_t kShardBytesMin = size_t{1} << 20;
constexpr size_t kChangesMax = 8192;  // over all shards
constexpr size_t kSlotsMin = 16;
constexpr uint8_t kUsesMax = 3;
// How far a replica may be behind the one whose changes are followed.
constexpr int64_t kBehindNanos = 5'000'000'000;

size_t PowerOfTwoUpTo(size_t most) {
  size_t power = 1;
  while (power * 2 <= most) power *= 2;
  return power;
}

// Whether it can be told exactly what the rule covers.
bool IsExact(const WatchRule& rule) {
  return rule.kind == WatchRule::Kind::kTag || rule.kind == WatchRule::Kind::kPrefix ||
         rule.kind == WatchRule::Kind::kAll;
}

// The bytes that every match of a glob begins with.
std::string_view LiteralHead(std::string_view glob) {
  return glob.substr(0, std::min(glob.find_first_of("*?[\\"), glob.size()));
}

bool MayCover(const WatchRule& rule, const NearEntry& entry) {
  const auto starts_with = [&entry](std::string_view head) {
    return entry.key().substr(0, head.size()) == head;
  };
  switch (rule.kind) {
    case WatchRule::Kind::kTag:
      return entry.HasTag(rule.match);
    case WatchRule::Kind::kPrefix:
      return starts_with(rule.match);
    case WatchRule::Kind::kGlob:
      return starts_with(LiteralHead(rule.match));
    case WatchRule::Kind::kType:  // nobody told which type the entry has
    case WatchRule::Kind::kAll:
    case WatchRule::Kind::kUnspecified:
      break;
  }
  return true;
}

}  // namespace

uint64_t NearHash(std::string_view key) {
  return absl::Hash<absl::string_view>{}(absl::string_view(key.data(), key.size()));
}

NearTable::NearTable(size_t bytes_max, size_t value_bytes_max, int64_t ttl_max)
    : value_bytes_max_(value_bytes_max),
      ttl_max_(ttl_max),
      shard_mask_(PowerOfTwoUpTo(std::clamp(bytes_max / kShardBytesMin, size_t{1}, kShardsMax)) -
                  1),
      shard_bytes_max_(bytes_max / (shard_mask_ + 1)),
      shards_(shard_mask_ + 1) {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    shard.slots.resize(kSlotsMin);
    shard.changes.resize(std::min(kChangesMax / shards_.size(), kChangesMax / 8));
  }
}

NearTable::~NearTable() {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    for (Slot& slot : shard.slots) {
      if (slot.entry != nullptr) slot.entry->Unref();
    }
  }
}

size_t NearTable::BytesOf(const Shard& shard) {
  return sizeof(Shard) + shard.entry_bytes + shard.slots.size() * sizeof(Slot) +
         shard.changes.size() * sizeof(Change);
}

size_t NearTable::Place(const Shard& shard, uint64_t hash, std::string_view key) {
  const size_t mask = shard.slots.size() - 1;
  size_t at = hash & mask;
  while (shard.slots[at].entry != nullptr &&
         (shard.slots[at].hash != hash || shard.slots[at].entry->key() != key)) {
    at = (at + 1) & mask;
  }
  return at;
}

void NearTable::EraseAt(Shard& shard, size_t at) {
  const size_t mask = shard.slots.size() - 1;
  shard.entry_bytes -= shard.slots[at].entry->Bytes();
  shard.slots[at].entry->Unref();
  --shard.count;
  // What lies behind it moves up, so that no search ends at the gap before its time.
  for (size_t next = (at + 1) & mask; shard.slots[next].entry != nullptr;
       next = (next + 1) & mask) {
    const size_t home = shard.slots[next].hash & mask;
    if (((next - home) & mask) < ((next - at) & mask)) continue;
    shard.slots[at] = shard.slots[next];
    at = next;
  }
  shard.slots[at] = Slot{};
}

bool NearTable::Alive(const NearEntry& entry, int64_t now) const {
  return now < entry.until && entry.epoch == streams_[entry.stream].epoch.load();
}

bool NearTable::Covered(Shard& shard, NearEntry* entry) {
  if (shard.rule_number - entry->rules_seen > kRules) return true;
  while (entry->rules_seen < shard.rule_number) {
    const Rule& next = *shard.rules[++entry->rules_seen % kRules];
    if (entry->version <= next.version && MayCover(next.rule, *entry)) return true;
  }
  return false;
}

const NearEntry* NearTable::Find(std::string_view key, uint32_t stream, int64_t now,
                                 Ticket* ticket) {
  const uint64_t hash = NearHash(key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  const size_t at = Place(shard, hash, key);
  NearEntry* const entry = shard.slots[at].entry;
  if (entry != nullptr) {
    const bool alive = Alive(*entry, now);
    if (alive && now < streams_[entry->stream].trusted_until.load(std::memory_order_acquire)) {
      if (entry->rules_seen == shard.rule_number || !Covered(shard, entry)) {
        ++shard.counts.hits;
        if (entry->uses < kUsesMax) ++entry->uses;
        entry->Ref();
        return entry;
      }
      ++shard.counts.invalidated;
      EraseAt(shard, at);
    } else if (alive) {
      ++shard.counts.suspect;  // it may prove true when the stream comes back
    } else {
      ++shard.counts.expired;
      EraseAt(shard, at);
    }
  }
  if (ticket != nullptr) {
    ++shard.counts.misses;
    const Stream& followed = streams_[stream];
    // The epoch first: a stream that is dropped in between must not look followed.
    const uint64_t epoch = followed.epoch.load();
    *ticket = {hash, epoch,  shard.change_number,     shard.rule_number,
               now,  stream, followed.followed.load()};
  }
  return nullptr;
}

bool NearTable::Outdated(const Shard& shard, const Ticket& ticket, uint64_t version) const {
  const Change& last = shard.changes[(ticket.hash >> 16) & (shard.changes.size() - 1)];
  if (last.number != 0 && last.hash == ticket.hash) {
    if (version < last.version_min) return true;
    if (last.unknown && last.number > ticket.changes) return true;
  }
  return ticket.changes < shard.change_lost;
}

bool NearTable::IsCurrent(const Ticket& ticket) {
  Shard& shard = ShardOf(ticket.hash);
  MutexLock lock(&shard.mu);
  const Change& last = shard.changes[(ticket.hash >> 16) & (shard.changes.size() - 1)];
  return ticket.epoch == streams_[ticket.stream].epoch.load() &&
         ticket.rules == shard.rule_number && ticket.changes >= shard.change_lost &&
         (last.hash != ticket.hash || last.number <= ticket.changes);
}

uint64_t NearTable::RulesBefore(const Shard& shard, const Ticket& ticket) {
  uint64_t number = ticket.rules;
  // Back over those that a replica which is behind may not know yet.
  while (number > 0 && shard.rule_number - number < kRules) {
    const Rule& rule = *shard.rules[number % kRules];
    if (!IsExact(rule.rule) || rule.heard < ticket.asked - kBehindNanos) break;
    --number;
  }
  return number;
}

void NearTable::Land(const Ticket& ticket, std::string_view key, const Entry& entry, int64_t now) {
  Shard& shard = ShardOf(ticket.hash);
  const Stream& stream = streams_[ticket.stream];
  const int64_t fresh = absl::ToInt64Nanoseconds(std::min(entry.remaining_ttl, absl::Hours(24)));
  const bool keepable = ticket.followed && !entry.stale && !entry.dependent && entry.version != 0 &&
                        entry.value.size() <= value_bytes_max_ && ticket.asked + fresh > now;
  NearEntry* const made = keepable ? NearEntry::New(key, entry) : nullptr;
  if (made != nullptr) {
    // From when it was asked for: the answer may have been on its way for a while.
    made->hash = ticket.hash;
    made->fresh_until = ticket.asked + fresh;
    made->until = std::min(made->fresh_until, ticket.asked + ttl_max_);
    made->born = now - absl::ToInt64Nanoseconds(std::min(entry.age, absl::Hours(24 * 36500)));
    made->epoch = ticket.epoch;
    made->stream = ticket.stream;
  }
  MutexLock lock(&shard.mu);
  const NearEntry* const there = shard.slots[Place(shard, ticket.hash, key)].entry;
  // A copy that is not served any more stands for its version all the same.
  const bool older = there != nullptr && there->version > entry.version;
  if (ticket.epoch != stream.epoch.load() || older || Outdated(shard, ticket, entry.version)) {
    ++shard.counts.outdated;
    if (made != nullptr) made->Unref();
    return;
  }
  if (made == nullptr || !MakeRoom(shard, made->Bytes(), now)) {
    ++shard.counts.refused;
    if (made != nullptr) made->Unref();
    return;
  }
  made->rules_seen = RulesBefore(shard, ticket);
  if (Covered(shard, made)) {
    ++shard.counts.outdated;
    made->Unref();
    return;
  }
  ++shard.counts.kept;
  // Making room may have moved it, or taken what was there.
  size_t at = Place(shard, ticket.hash, key);
  if (shard.slots[at].entry != nullptr) {
    made->uses = shard.slots[at].entry->uses;
    EraseAt(shard, at);
    at = Place(shard, ticket.hash, key);
  }
  shard.slots[at] = {ticket.hash, made};
  ++shard.count;
  shard.entry_bytes += made->Bytes();
}

bool NearTable::MakeRoom(Shard& shard, size_t bytes, int64_t now) {
  if (bytes > shard_bytes_max_ / 2) return false;
  // Slots take a quarter of the shard at most: where that is not enough, copies are small indeed,
  // and they, not the slots, are what is wanted.
  const bool crowded = (shard.count + 1) * 4 > shard.slots.size() * 3;
  if (crowded && shard.slots.size() * 2 * sizeof(Slot) <= shard_bytes_max_ / 4) Grow(shard);
  while (shard.count > 0 && (BytesOf(shard) + bytes > shard_bytes_max_ ||
                             (shard.count + 1) * 4 > shard.slots.size() * 3)) {
    EvictOne(shard, now);
  }
  return BytesOf(shard) + bytes <= shard_bytes_max_;
}

void NearTable::EvictOne(Shard& shard, int64_t now) {
  while (true) {
    shard.hand &= shard.slots.size() - 1;
    NearEntry* const entry = shard.slots[shard.hand].entry;
    if (entry != nullptr) {
      const bool alive = Alive(*entry, now);
      if (!alive || entry->uses == 0) {
        ++(alive ? shard.counts.evicted : shard.counts.expired);
        EraseAt(shard, shard.hand);  // what moves into its place is looked at next
        return;
      }
      --entry->uses;
    }
    ++shard.hand;
  }
}

void NearTable::Grow(Shard& shard) {
  std::vector<Slot> old(shard.slots.size() * 2);
  old.swap(shard.slots);
  const size_t mask = shard.slots.size() - 1;
  for (const Slot& slot : old) {
    if (slot.entry == nullptr) continue;
    size_t at = slot.hash & mask;
    while (shard.slots[at].entry != nullptr) at = (at + 1) & mask;
    shard.slots[at] = slot;
  }
}

void NearTable::Note(Shard& shard, uint64_t hash, uint64_t version_min, bool unknown) {
  Change& last = shard.changes[(hash >> 16) & (shard.changes.size() - 1)];
  if (last.number != 0 && last.hash != hash) {
    shard.change_lost = std::max(shard.change_lost, last.number);
    last = {};
  }
  last.hash = hash;
  last.version_min = std::max(last.version_min, version_min);
  last.number = ++shard.change_number;
  // A later change of a known version may have been before the unknown one: that goes on counting.
  last.unknown = last.unknown || unknown;
}

void NearTable::Changed(std::string_view key, uint64_t version) {
  change_count_.fetch_add(1, std::memory_order_relaxed);
  const uint64_t hash = NearHash(key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  Note(shard, hash, version, false);
  const size_t at = Place(shard, hash, key);
  if (shard.slots[at].entry == nullptr || shard.slots[at].entry->version >= version) return;
  ++shard.counts.invalidated;
  EraseAt(shard, at);
}

void NearTable::ChangedUnknown(std::string_view key) {
  const uint64_t hash = NearHash(key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  Note(shard, hash, 0, true);
  const size_t at = Place(shard, hash, key);
  if (shard.slots[at].entry == nullptr) return;
  ++shard.counts.invalidated;
  EraseAt(shard, at);
}

void NearTable::Ruled(const WatchRule& rule, uint64_t version, int64_t now) {
  rule_count_.fetch_add(1, std::memory_order_relaxed);
  const auto shared = std::make_shared<const Rule>(Rule{rule, version, now});
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    shard.rules[++shard.rule_number % kRules] = shared;
  }
}

void NearTable::SetTrust(uint32_t stream, int64_t trusted_until) {
  streams_[stream].trusted_until.store(trusted_until, std::memory_order_release);
}

void NearTable::SetFollowed(uint32_t stream) {
  if (!streams_[stream].followed.load()) streams_[stream].followed = true;
}

void NearTable::DropStream(uint32_t stream) {
  streams_[stream].followed = false;
  streams_[stream].epoch.fetch_add(1);
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    for (size_t at = 0; at < shard.slots.size();) {
      const NearEntry* const entry = shard.slots[at].entry;
      if (entry != nullptr && entry->stream == stream &&
          entry->epoch != streams_[stream].epoch.load()) {
        ++shard.counts.invalidated;
        EraseAt(shard, at);  // what moves into its place is looked at next
      } else {
        ++at;
      }
    }
  }
}

void NearTable::AddStats(NearStats* stats) {
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    const Counts& counts = shard.counts;
    stats->hits += counts.hits;
    stats->misses += counts.misses;
    stats->suspect += counts.suspect;
    stats->kept += counts.kept;
    stats->outdated += counts.outdated;
    stats->refused += counts.refused;
    stats->invalidated += counts.invalidated;
    stats->expired += counts.expired;
    stats->evicted += counts.evicted;
    stats->entries += shard.count;
    stats->bytes += BytesOf(shard);
  }
  stats->changes += change_count_.load(std::memory_order_relaxed);
  stats->rules += rule_count_.load(std::memory_order_relaxed);
}

void NearTable::CheckInvariants() {
  const auto check = [](bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "larder: near cache: %s\n", what);
    std::abort();
  };
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mu);
    size_t count = 0;
    size_t bytes = 0;
    for (const Slot& slot : shard.slots) {
      if (slot.entry == nullptr) continue;
      ++count;
      bytes += slot.entry->Bytes();
      check(slot.hash == slot.entry->hash && slot.hash == NearHash(slot.entry->key()),
            "a copy under a wrong hash");
      check(shard.slots[Place(shard, slot.hash, slot.entry->key())].entry == slot.entry,
            "a copy that is not found");
    }
    check(count == shard.count, "the count of copies is wrong");
    check(bytes == shard.entry_bytes, "the bytes of copies are wrong");
    check(BytesOf(shard) <= shard_bytes_max_, "more bytes than allowed");
  }
}

}  // namespace larder::internal
