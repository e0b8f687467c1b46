// A shard is a mutex, a chained hash index and one doubly linked list in order of insertion, with
// SIEVE as the eviction policy: a hit sets a bit and moves nothing; the hand walks from the oldest
// entry to the newest, forgives entries whose bit is set (once), and evicts the first that is not.
// Hits therefore cost one store under the lock, and one-hit wonders leave early.
//
// The index is our own so that its size is known to the byte: buckets grow by doubling when entries
// outnumber them and the budget allows, and before anything is allocated room is made for it. A
// general hash table grows when it likes, and for the length of a rehash holds both copies.
//
// Departed remembers, in a few fixed slots per shard, by 32 bits of the hash, why a key is no
// longer there. It only makes a miss more telling and may forget; nothing is decided by it.

#include "memory/l1.h"

#include <malloc.h>

#include <array>
#include <bit>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "base/mutex.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr size_t kShardsMax = 64;
constexpr size_t kBucketsMin = 64;
// The books of types and namespaces take at most one part in this many of a shard, the smallest
// budgets excepted.
constexpr uint64_t kTalliesShare = 8;
// A shard holds at least this many of the largest entries.
constexpr uint64_t kLargestPerShard = 4;
// A ticket's key and its place in the table, beside the key's bytes.
constexpr uint64_t kTicketBytes = 96;
// Tickets may take one part in this many of a shard.
constexpr uint64_t kTicketShare = 8;

struct Node {
  EntryPtr entry;
  uint64_t hash;
  uint64_t bytes;
  Node* chain;
  Node* older;
  Node* newer;
  bool visited;
};

uint64_t HashOf(std::string_view full_key) { return absl::Hash<std::string_view>{}(full_key); }

bool IsValue(const Node* node, MonoNanos now) {
  return node != nullptr && !node->entry->negative() && node->entry->usable_until() > now;
}

}  // namespace

void L1Tally::Add(const L1Tally& other) {
  entries += other.entries;
  bytes += other.bytes;
  evictions += other.evictions;
  expirations += other.expirations;
}

struct L1::Shard {
  Shard() = default;
  ~Shard() {
    MutexLock lock(&mu);
    while (newest != nullptr) Unlink(newest);
  }

  void Open(uint64_t budget_bytes) {
    MutexLock lock(&mu);
    budget = budget_bytes;
    SetBuckets(kBucketsMin);
  }

  Node* FindNode(std::string_view full_key, uint64_t hash) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    for (Node* node = buckets[hash & (buckets.size() - 1)]; node != nullptr; node = node->chain) {
      if (node->hash == hash && node->entry->full_key() == full_key) return node;
    }
    return nullptr;
  }

  // The live node, after an expired one was removed.
  Node* FindLive(std::string_view full_key, uint64_t hash, MonoNanos now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Node* const node = FindNode(full_key, hash);
    if (node == nullptr || node->entry->usable_until() > now) return node;
    Expire(node);
    return nullptr;
  }

  InsertResult Put(EntryPtr entry, uint64_t hash, MonoNanos now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const std::string_view full_key = entry->full_key();
    Node* const present = FindLive(full_key, hash, now);
    if (present != nullptr && present->entry->version() >= entry->version()) {
      return {InsertOutcome::kNewerExists, present->entry->version(), 0};
    }
    const uint64_t bytes = entry->allocated_bytes() + sizeof(Node) + sizeof(uint64_t);
    if (bytes > budget / kLargestPerShard) {
      return {InsertOutcome::kTooLarge, present != nullptr ? present->entry->version() : kNoVersion,
              0};
    }
    if (present != nullptr) {
      entry->CarryHits(present->entry->hits());
      Unlink(present);
    }
    // Grown first, so that what they grow by is part of the room that is made.
    TallyOf(by_type, entry->type_id());
    TallyOf(by_namespace, entry->namespace_id());
    MakeRoom(bytes);
    Link(std::move(entry), hash, bytes);
    return {InsertOutcome::kStored, newest->entry->version(), 0};
  }

  FillTicket TakeTicket(std::string_view full_key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (tickets.empty()) return 0;
    const auto it = tickets.find(ToAbsl(full_key));
    if (it == tickets.end()) return 0;
    const FillTicket ticket = it->second;
    const uint64_t bytes = kTicketBytes + it->first.size();
    ticket_bytes -= bytes;
    used -= bytes;
    tickets.erase(it);
    // The table does not shrink by itself, and a burst of loads would leave it large for good.
    if (tickets.empty() && tickets.capacity() > kBucketsMin) tickets = {};
    return ticket;
  }

  // Evicts until `bytes` more fit, and grows the index where that is due and fits as well.
  void MakeRoom(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    while (used + bytes > budget && newest != nullptr) EvictOne();
    if (entries < buckets.size()) return;
    // Both arrays exist while the entries move over.
    const uint64_t grown = buckets.size() * 2 * sizeof(Node*);
    // A full shard whose entries have become small would walk ever longer chains: then the index
    // comes first.
    while (entries >= 2 * buckets.size() && used + bytes + grown > budget) EvictOne();
    if (used + bytes + grown <= budget) SetBuckets(buckets.size() * 2);
  }

  void EvictOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Node* node = hand != nullptr ? hand : oldest;
    while (node->visited) {
      node->visited = false;
      node = node->newer != nullptr ? node->newer : oldest;
    }
    hand = node;  // Unlink moves it on
    Depart(node, MissReason::kAbsent);
    ++TallyOf(by_type, node->entry->type_id()).evictions;
    ++TallyOf(by_namespace, node->entry->namespace_id()).evictions;
    Unlink(node);
  }

  void Expire(Node* node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Depart(node, MissReason::kExpired);
    ++TallyOf(by_type, node->entry->type_id()).expirations;
    ++TallyOf(by_namespace, node->entry->namespace_id()).expirations;
    Unlink(node);
  }

  void Link(EntryPtr entry, uint64_t hash, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Node*& bucket = buckets[hash & (buckets.size() - 1)];
    Node* const node = new Node{std::move(entry), hash, bytes, bucket, newest, nullptr, false};
    bucket = node;
    (newest != nullptr ? newest->newer : oldest) = node;
    newest = node;
    Account(node, 1);
  }

  void Unlink(Node* node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Node** link = &buckets[node->hash & (buckets.size() - 1)];
    while (*link != node) link = &(*link)->chain;
    *link = node->chain;
    (node->older != nullptr ? node->older->newer : oldest) = node->newer;
    (node->newer != nullptr ? node->newer->older : newest) = node->older;
    if (hand == node) hand = node->newer;
    if (sweeper == node) sweeper = node->newer;
    Account(node, -1);
    delete node;
  }

  void Account(const Node* node, int sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const uint64_t bytes = sign * node->bytes;
    used += bytes;
    entries += sign;
    for (L1Tally* tally : {&TallyOf(by_type, node->entry->type_id()),
                           &TallyOf(by_namespace, node->entry->namespace_id())}) {
      tally->entries += sign;
      tally->bytes += bytes;
    }
  }

  L1Tally& TallyOf(std::vector<L1Tally>& tallies, uint16_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (tallies.size() <= id) {
      const size_t before = tallies.capacity();
      tallies.resize(id + 1);
      used += (tallies.capacity() - before) * sizeof(L1Tally);
    }
    return tallies[id];
  }

  void SetBuckets(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    std::vector<Node*> grown(count, nullptr);
    for (Node* node = oldest; node != nullptr; node = node->newer) {
      Node*& bucket = grown[node->hash & (count - 1)];
      node->chain = bucket;
      bucket = node;
    }
    used += (count - buckets.size()) * sizeof(Node*);
    buckets.swap(grown);
  }

  void Depart(const Node* node, MissReason why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    RememberWhy(node->hash, why);
    floor = std::max(floor, node->entry->version());
  }
  void RememberWhy(uint64_t hash, MissReason why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    departed[hash % departed.size()] = {static_cast<uint32_t>(hash >> 32), why};
  }
  MissReason WhyGone(uint64_t hash) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    const Departed& slot = departed[hash % departed.size()];
    return slot.fingerprint == static_cast<uint32_t>(hash >> 32) ? slot.why : MissReason::kAbsent;
  }

  struct Departed {
    uint32_t fingerprint = 0;
    MissReason why = MissReason::kAbsent;
  };

  mutable Mutex mu;
  uint64_t budget ABSL_GUARDED_BY(mu) = 0;
  uint64_t used ABSL_GUARDED_BY(mu) = sizeof(Shard);
  uint64_t entries ABSL_GUARDED_BY(mu) = 0;
  std::vector<Node*> buckets ABSL_GUARDED_BY(mu);
  Node* oldest ABSL_GUARDED_BY(mu) = nullptr;
  Node* newest ABSL_GUARDED_BY(mu) = nullptr;
  Node* hand ABSL_GUARDED_BY(mu) = nullptr;     // where eviction goes on; null = at the oldest
  Node* sweeper ABSL_GUARDED_BY(mu) = nullptr;  // where the sweep goes on; null = at the oldest
  absl::flat_hash_map<std::string, FillTicket> tickets ABSL_GUARDED_BY(mu);
  FillTicket last_ticket ABSL_GUARDED_BY(mu) = 0;
  uint64_t ticket_bytes ABSL_GUARDED_BY(mu) = 0;
  std::vector<L1Tally> by_type ABSL_GUARDED_BY(mu);
  std::vector<L1Tally> by_namespace ABSL_GUARDED_BY(mu);
  std::array<Departed, 512> departed ABSL_GUARDED_BY(mu);
  // The newest version that left this shard without a successor.
  Version floor ABSL_GUARDED_BY(mu) = kNoVersion;
};

std::unique_ptr<L1> L1::New(const Options& options) { return std::unique_ptr<L1>(new L1(options)); }

L1::L1(const Options& options)
    : clock_(options.clock), budget_bytes_(std::max(options.budget_bytes, kBudgetBytesMin)) {
  const uint64_t shard_bytes_min =
      std::max<uint64_t>({options.entry_bytes_max * kLargestPerShard,
                          options.tallies_max * sizeof(L1Tally) * kTalliesShare, 1 << 20});
  shard_count_ =
      std::bit_floor(std::clamp<uint64_t>(budget_bytes_ / shard_bytes_min, 1, kShardsMax));
  shards_ = std::make_unique<Shard[]>(shard_count_);
  for (size_t i = 0; i < shard_count_; ++i) shards_[i].Open(budget_bytes_ / shard_count_);
}

L1::~L1() = default;

// The top bits choose the shard, the bottom bits the bucket.
L1::Shard& L1::ShardOf(uint64_t hash) const { return shards_[(hash >> 48) & (shard_count_ - 1)]; }

L1Lookup L1::Find(std::string_view full_key, MonoNanos now) {
  const uint64_t hash = HashOf(full_key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  Node* const node = shard.FindLive(full_key, hash, now);
  if (node == nullptr) return {EntryPtr(), shard.WhyGone(hash)};
  node->visited = true;
  node->entry->CountHit();
  return {node->entry, MissReason::kAbsent};
}

L1Lookup L1::Peek(std::string_view full_key) const {
  const uint64_t hash = HashOf(full_key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  const Node* const node = shard.FindNode(full_key, hash);
  if (node == nullptr) return {EntryPtr(), shard.WhyGone(hash)};
  if (node->entry->usable_until() <= clock_->Mono()) return {EntryPtr(), MissReason::kExpired};
  return {node->entry, MissReason::kAbsent};
}

InsertResult L1::Insert(EntryPtr entry, Expect expect) {
  const uint64_t hash = HashOf(entry->full_key());
  const MonoNanos now = clock_->Mono();
  // Keeps the key's bytes alive past the move below.
  const EntryPtr keep = entry;
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  const Node* const present = shard.FindLive(keep->full_key(), hash, now);
  const bool is_value = IsValue(present, now);
  const bool holds = expect.kind == Expect::Kind::kAny ||
                     (expect.kind == Expect::Kind::kAbsent && !is_value) ||
                     (expect.kind == Expect::Kind::kPresent && is_value) ||
                     (expect.kind == Expect::Kind::kVersion && is_value &&
                      present->entry->version() == expect.version);
  if (!holds) {
    return {InsertOutcome::kConditionFailed,
            present != nullptr ? present->entry->version() : kNoVersion, 0};
  }
  // 1: Set A takes version 10.  2: Set B takes 20, lands, expires at once.  3: A lands. Nothing of
  // the key is left to tell that 10 is old, so every version that leaves raises the floor, and A
  // comes back with a new version.
  if (present == nullptr && keep->version() <= shard.floor)
    return {InsertOutcome::kOutdated, kNoVersion, 0};
  InsertResult result = shard.Put(std::move(entry), hash, now);
  if (result.outcome == InsertOutcome::kStored)
    result.cancelled = shard.TakeTicket(keep->full_key());
  return result;
}

EraseResult L1::Erase(std::string_view full_key, Version version) {
  const uint64_t hash = HashOf(full_key);
  const MonoNanos now = clock_->Mono();
  EraseResult result;
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  result.cancelled = shard.TakeTicket(full_key);
  shard.floor = std::max(shard.floor, version);
  Node* const node = shard.FindLive(full_key, hash, now);
  if (node != nullptr && node->entry->version() > version) return result;
  shard.RememberWhy(hash, MissReason::kInvalidated);
  if (node != nullptr) {
    result.existed = IsValue(node, now);
    shard.Unlink(node);
  }
  return result;
}

FillTicket L1::BeginFill(std::string_view full_key) {
  const uint64_t hash = HashOf(full_key);
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  shard.TakeTicket(full_key);
  const uint64_t bytes = kTicketBytes + full_key.size();
  if (shard.ticket_bytes + bytes > shard.budget / kTicketShare) return 0;
  const FillTicket ticket = ++shard.last_ticket;
  shard.tickets.emplace(std::string(full_key), ticket);
  shard.ticket_bytes += bytes;
  shard.used += bytes;
  shard.MakeRoom(0);
  return ticket;
}

InsertResult L1::Fill(EntryPtr entry, FillTicket ticket) {
  const uint64_t hash = HashOf(entry->full_key());
  const MonoNanos now = clock_->Mono();
  const EntryPtr keep = entry;
  Shard& shard = ShardOf(hash);
  MutexLock lock(&shard.mu);
  const auto it = shard.tickets.find(ToAbsl(keep->full_key()));
  if (it == shard.tickets.end() || it->second != ticket) {
    const Node* const present = shard.FindLive(keep->full_key(), hash, now);
    return {InsertOutcome::kTicketLost, present != nullptr ? present->entry->version() : kNoVersion,
            0};
  }
  shard.TakeTicket(keep->full_key());
  return shard.Put(std::move(entry), hash, now);
}

bool L1::HasFill(std::string_view full_key, FillTicket ticket) const {
  Shard& shard = ShardOf(HashOf(full_key));
  MutexLock lock(&shard.mu);
  const auto it = shard.tickets.find(ToAbsl(full_key));
  return it != shard.tickets.end() && it->second == ticket;
}

void L1::EndFill(std::string_view full_key, FillTicket ticket) {
  Shard& shard = ShardOf(HashOf(full_key));
  MutexLock lock(&shard.mu);
  const auto it = shard.tickets.find(ToAbsl(full_key));
  if (it != shard.tickets.end() && it->second == ticket) shard.TakeTicket(full_key);
}

void L1::Sweep(double share) {
  const MonoNanos now = clock_->Mono();
  for (size_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    MutexLock lock(&shard.mu);
    auto left = static_cast<uint64_t>(static_cast<double>(shard.entries) * share) + 1;
    Node* node = shard.sweeper != nullptr ? shard.sweeper : shard.oldest;
    for (; left > 0 && node != nullptr; --left) {
      Node* const next = node->newer;
      if (node->entry->usable_until() <= now) shard.Expire(node);
      node = next;
    }
    shard.sweeper = node;
    if (shard.buckets.size() > kBucketsMin && shard.entries < shard.buckets.size() / 8) {
      shard.SetBuckets(shard.buckets.size() / 2);
    }
  }
}

L1Usage L1::Usage() const {
  L1Usage usage;
  usage.budget_bytes = budget_bytes_;
  const auto add = [](std::vector<L1Tally>& to, const std::vector<L1Tally>& from) {
    if (to.size() < from.size()) to.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[i].Add(from[i]);
  };
  for (size_t i = 0; i < shard_count_; ++i) {
    const Shard& shard = shards_[i];
    MutexLock lock(&shard.mu);
    usage.bytes += shard.used;
    usage.fills += shard.tickets.size();
    add(usage.by_type, shard.by_type);
    add(usage.by_namespace, shard.by_namespace);
  }
  for (const L1Tally& tally : usage.by_type) usage.total.Add(tally);
  return usage;
}

bool L1::CheckInvariants() const {
  for (size_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    MutexLock lock(&shard.mu);
    uint64_t bytes = sizeof(Shard) + shard.buckets.size() * sizeof(Node*) +
                     (shard.by_type.capacity() + shard.by_namespace.capacity()) * sizeof(L1Tally);
    for (const auto& [key, ticket] : shard.tickets) bytes += kTicketBytes + key.size();
    uint64_t listed = 0;
    for (Node* node = shard.oldest; node != nullptr; node = node->newer) {
      bytes += node->bytes;
      ++listed;
      if (shard.FindNode(node->entry->full_key(), node->hash) != node) return false;
    }
    uint64_t indexed = 0;
    for (const Node* chain : shard.buckets) {
      for (; chain != nullptr; chain = chain->chain) ++indexed;
    }
    uint64_t tallied = 0;
    for (const L1Tally& tally : shard.by_type) tallied += tally.entries;
    const bool books_right =
        bytes == shard.used && listed == shard.entries && indexed == listed && tallied == listed;
    if (!books_right || shard.used > shard.budget) return false;
  }
  return true;
}

}  // namespace larder
