// L1 is its shards: this file decides how many, reserves their address space, sends each call to
// one by the hash of its key, and adds up what they hold.
//
// Shards. One lock is enough for a small cache, and a whole budget in one piece is the best that an
// eviction can have; many writers want many locks. So a shard has 32 MiB at least, more than eight
// of them 256 MiB each (the last huge page of each is half empty), and there are 64 at most.
// Segments are a thousandth of a shard, within 8 KiB and 256 KiB: small enough that open and half
// evicted ones hardly count, large enough that what is done once a segment hardly costs.
//
// The budget is divided evenly. Keys are placed by a keyed hash, so no client can make one shard
// fuller than the others.

#include "memory/l1.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "base/keyed_hash_aes.h"
#include "base/random.h"
#include "base/strings.h"
#include "core/key.h"
#include "memory/shard.h"

namespace larder {
namespace {

constexpr uint64_t kShardsMax = 64;
constexpr uint64_t kShardBytesMin = 32 << 20;
// Up to so many shards; beyond it, one for so many bytes.
constexpr uint64_t kShardsFew = 8;
constexpr uint64_t kShardBytesMany = 256 << 20;
constexpr uint64_t kSegmentsPerShard = 1024;
constexpr uint64_t kSegmentBytesMin = 8 << 10;
constexpr uint64_t kSegmentBytesMax = 256 << 10;
// Books of types and namespaces take at most one part in this many of a shard, unless there may be
// tens of thousands of them.
constexpr uint64_t kTalliesShare = 16;
// From this size of a shard on, its segments are in huge pages: a hit in a large cache waits for
// address translation as long as for the data.
constexpr uint64_t kHugeShardBytes = 16 << 20;
constexpr uint64_t kHugePageBytes = SegmentPool::kPageBytes;
// An index is made for so many times the budget at the start.
constexpr uint64_t kGrowthForeseen = 16;
// How far a budget may grow; beyond it the index would not fit any more.
constexpr uint64_t kGrowthMax = 256;

constexpr uint64_t RoundUp(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

// So many entries tell well enough what part of all a rule would cover.
constexpr uint64_t kEstimatedFrom = 20'000;

// | what a shard goes on with | shard: 6 bits |
constexpr int kCursorShardBits = 6;

// Lives for ever, and is empty.
const RuleTable* NoRules() {
  static const RuleTable* const none = [] {
    RuleTable::Options options;
    options.changes = options.tag_places = 1;
    return new RuleTable(options);
  }();
  return none;
}

}  // namespace

L1Common::L1Common(const L1::Options& options)
    : clock(options.clock),
      began(options.clock->Mono()),
      began_wall_ms(absl::ToUnixMillis(options.clock->Now())),
      hash(options.hash_seed == 0 ? Random::System()->Next() : options.hash_seed,
           options.hash_seed == 0 ? Random::System()->Next() : ~options.hash_seed),
      types_max(options.types_max),
      namespaces_max(options.namespaces_max),
      types(std::make_unique<Type[]>(options.types_max + 1)),
      namespaces(std::make_unique<std::atomic<const std::string*>[]>(options.namespaces_max)),
      rules(options.rules != nullptr ? options.rules : NoRules()) {
  for (size_t id = 0; id <= types_max; ++id) {
    const L1::TypeOptions type = id < options.types.size() ? options.types[id] : L1::TypeOptions();
    types[id].share_min = type.share_min;
    types[id].share_max = type.share_max;
    SetType(static_cast<uint16_t>(id), type);
  }
  Tick(began);
}

void L1Common::SetType(uint16_t id, const L1::TypeOptions& type) {
  if (id > types_max) return;
  if (types[id].name.empty()) types[id].name = type.name;
  types[id].hits_half_life.store(
      std::max<int64_t>(absl::ToInt64Nanoseconds(type.hits_half_life), 1),
      std::memory_order_relaxed);
  types[id].keeps_ended.store(type.keeps_ended, std::memory_order_relaxed);
}

L1Common::~L1Common() {
  for (std::atomic<EncodedChunk*>& chunk : encoded) delete chunk.load();
}

void L1Common::Tick(MonoNanos now) {
  wall_minus_mono.store(absl::ToUnixNanos(clock->Now()) - now, std::memory_order_relaxed);
  if (now < next_epochs && now != began) return;
  next_epochs = now + absl::ToInt64Nanoseconds(absl::Seconds(1));
  for (size_t id = 0; id <= types_max; ++id) {
    const int64_t half_life = types[id].hits_half_life.load(std::memory_order_relaxed);
    types[id].hits_epoch.store(static_cast<uint8_t>((now - began) / half_life),
                               std::memory_order_relaxed);
  }
}

void L1Common::Learn(uint16_t id, std::string_view name) {
  if (namespaces[id].load(std::memory_order_acquire) != nullptr) return;
  MutexLock lock(&learn_mu);
  if (namespaces[id].load(std::memory_order_relaxed) != nullptr) return;
  names.push_back(std::make_unique<const std::string>(name));
  if (name == kDefaultNamespace) default_id.store(id, std::memory_order_relaxed);
  namespaces[id].store(names.back().get(), std::memory_order_release);
}

void L1Common::CountEncoded(Encoding encoding, int64_t by) {
  std::atomic<EncodedChunk*>& place = encoded[encoding / kEncodedChunk];
  EncodedChunk* chunk = place.load(std::memory_order_acquire);
  if (chunk == nullptr) {
    auto made = std::make_unique<EncodedChunk>();
    if (place.compare_exchange_strong(chunk, made.get(), std::memory_order_acq_rel)) {
      chunk = made.release();
      encoded_bytes.fetch_add(sizeof(EncodedChunk), std::memory_order_relaxed);
    }
  }
  (*chunk)[encoding % kEncodedChunk].fetch_add(by, std::memory_order_relaxed);
}

namespace {

class ShardedL1 : public L1 {
 public:
  explicit ShardedL1(const Options& options);
  ~ShardedL1() override;

  bool Find(std::string_view full_key, MonoNanos now, Entry* entry, MissReason* why) override {
    const uint64_t hash = HashOf(full_key);
    return ShardOf(hash).Find(TableOf(hash), full_key, hash, now, entry, why);
  }
  bool Peek(std::string_view full_key, MonoNanos now, Entry* entry,
            MissReason* why) const override {
    const uint64_t hash = HashOf(full_key);
    return ShardOf(hash).Peek(full_key, hash, now, entry, why);
  }
  InsertResult Insert(const EntryFields& fields, Expect expect, MonoNanos now) override {
    const uint64_t hash = HashOf(fields.full_key);
    Shard& shard = ShardOf(hash);
    shard.Prefetch(hash);
    common_.Learn(fields.namespace_id, FullKey::NamespaceOf(fields.full_key));
    return shard.Insert(fields, hash, expect, LargeValue(shard, fields, now), now);
  }
  EraseResult Erase(std::string_view full_key, Version version, MonoNanos now) override {
    const uint64_t hash = HashOf(full_key);
    return ShardOf(hash).Erase(full_key, hash, version, now);
  }
  FillTicket BeginFill(std::string_view full_key) override {
    return ShardOf(HashOf(full_key)).BeginFill(full_key, common_.clock->Mono());
  }
  FillTicket TryBeginFill(std::string_view full_key) override {
    return ShardOf(HashOf(full_key)).TryBeginFill(full_key, common_.clock->Mono());
  }
  bool HasFill(std::string_view full_key, FillTicket ticket) const override {
    return ShardOf(HashOf(full_key)).HasFill(full_key, ticket);
  }
  InsertResult Fill(const EntryFields& fields, FillTicket ticket, MonoNanos now) override {
    const uint64_t hash = HashOf(fields.full_key);
    Shard& shard = ShardOf(hash);
    shard.Prefetch(hash);
    common_.Learn(fields.namespace_id, FullKey::NamespaceOf(fields.full_key));
    return shard.Fill(fields, hash, ticket, LargeValue(shard, fields, now), now);
  }
  void EndFill(std::string_view full_key, FillTicket ticket) override {
    ShardOf(HashOf(full_key)).EndFill(full_key, ticket);
  }
  uint64_t BytesFor(const EntryFields& fields) const override;
  bool Sweep(MonoNanos now) override;
  void KeepEnded(bool keep) override;
  bool TakeEnded(size_t most, std::vector<Ended>* out, uint64_t* lost) override;
  bool SetBudget(uint64_t budget_bytes) override;
  uint64_t List(uint64_t cursor, MonoNanos now, std::vector<Listed>* out) const override;
  uint64_t SweepRules(uint64_t cursor, MonoNanos now) override;
  uint64_t Estimate(const Rule& rule, MonoNanos now) const override;
  void SetType(uint16_t id, const TypeOptions& type) override { common_.SetType(id, type); }
  uint64_t EntriesEncoded(Encoding encoding) const override;
  L1Usage Usage() const override;
  bool CheckInvariants() const override;

 protected:
  // The bits above those that choose a table in the shard.
  Shard& ShardOf(uint64_t hash) const { return *shards_[(hash >> shard_shift_) & shard_mask_]; }
  // The table of the hash in the index of its shard.
  const Index::Table& TableOf(uint64_t hash) const {
    return tables_[(hash >> Index::kTagBits) & table_mask_];
  }

  L1Common common_;

 private:
  uint64_t HashOf(std::string_view full_key) const { return common_.hash(full_key); }
  static bool IsLarge(const Shard& shard, const EntryFields& fields) {
    return fields.value.size() > shard.inline_bytes_max();
  }
  static SharedBytes LargeValue(Shard& shard, const EntryFields& fields, MonoNanos now) {
    if (!IsLarge(shard, fields)) return SharedBytes();
    shard.PrepareFor(SharedBytes::AllocatedBytesFor(fields.value.size()), now);
    return SharedBytes::Copy(fields.value);
  }
  // What L1 takes beside its shards.
  uint64_t FixedBytes() const;
  // Has the system find memory that is going to be written soon. True: there may be more.
  bool FindPage();

  char* addresses_ = nullptr;
  uint64_t address_bytes_ = 0;
  // Of all shards, one shard's after the other's.
  std::unique_ptr<Index::Table[]> tables_;
  uint64_t table_mask_ = 0;
  std::vector<std::unique_ptr<Shard>> shards_;
  int shard_shift_ = 0;
  uint64_t shard_mask_ = 0;
  std::atomic<uint64_t> budget_bytes_;
  uint64_t budget_bytes_most_ = 0;
  bool huge_pages_ = false;
  std::atomic<size_t> take_next_{0};  // the shard that TakeEnded begins with
};

#if defined(__x86_64__)
// The hash becomes part of Find.
class ShardedL1WithAes : public ShardedL1 {
 public:
  using ShardedL1::ShardedL1;
  LARDER_WITH_AES bool Find(std::string_view full_key, MonoNanos now, Entry* entry,
                            MissReason* why) override {
    const uint64_t hash = KeyedHash::AesInline(common_.hash, full_key);
    return ShardOf(hash).Find(TableOf(hash), full_key, hash, now, entry, why);
  }
};
#endif

ShardedL1::ShardedL1(const Options& options)
    : common_(options), budget_bytes_(std::max(options.budget_bytes, kBudgetBytesMin)) {
  const uint64_t tallies = (options.types_max + options.namespaces_max) * sizeof(L1Tally);
  const uint64_t shard_bytes_min =
      std::max({options.entry_bytes_max * Shard::kLargestPerShard,
                std::min<uint64_t>(tallies * kTalliesShare, 64 << 20), kShardBytesMin});
  const uint64_t count_max = std::clamp(budget_bytes_ / kShardBytesMany, kShardsFew, kShardsMax);
  const uint64_t count =
      std::bit_floor(std::clamp<uint64_t>(budget_bytes_ / shard_bytes_min, 1, count_max));
  shard_mask_ = count - 1;
  const uint64_t shard_bytes = (budget_bytes_ - FixedBytes()) / count;
  const uint64_t segment_bytes = std::clamp(std::bit_floor(shard_bytes / kSegmentsPerShard),
                                            kSegmentBytesMin, kSegmentBytesMax);
  budget_bytes_most_ =
      std::clamp(options.budget_bytes_max, budget_bytes_.load(), budget_bytes_.load() * kGrowthMax);
  const uint64_t shard_addresses =
      RoundUp(budget_bytes_most_ / count + segment_bytes, kHugePageBytes);
  const uint64_t indexed_bytes =
      std::min(budget_bytes_most_ / count, shard_bytes * kGrowthForeseen);
  const uint64_t shard_tables = Index::TablesFor(indexed_bytes);
  tables_ = std::make_unique<Index::Table[]>(shard_tables * count);
  table_mask_ = shard_tables * count - 1;
  shard_shift_ = Index::kTagBits + std::countr_zero(shard_tables);
  address_bytes_ = shard_addresses * count + kHugePageBytes;
  void* const addresses = mmap(nullptr, address_bytes_, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (addresses == MAP_FAILED) std::abort();
  addresses_ = static_cast<char*>(addresses);
  auto* const aligned =
      reinterpret_cast<char*>(RoundUp(reinterpret_cast<uint64_t>(addresses_), kHugePageBytes));
  huge_pages_ = shard_bytes >= kHugeShardBytes;
  for (uint64_t i = 0; i < count; ++i) {
    if (huge_pages_) SegmentPool::WantHugePages(aligned + i * shard_addresses, shard_addresses);
    shards_.push_back(std::make_unique<Shard>(
        &common_, aligned + i * shard_addresses,
        static_cast<uint32_t>(shard_addresses / segment_bytes),
        static_cast<uint32_t>(segment_bytes), shard_bytes, indexed_bytes,
        tables_.get() + i * shard_tables,
        options.hash_seed == 0 ? Random::System()->Next() : options.hash_seed + i));
  }
}

ShardedL1::~ShardedL1() {
  shards_.clear();
  munmap(addresses_, address_bytes_);
}

uint64_t ShardedL1::FixedBytes() const {
  uint64_t bytes = sizeof(*this) + (common_.types_max + 1) * sizeof(L1Common::Type) +
                   common_.namespaces_max * sizeof(void*);
  return bytes + common_.encoded_bytes.load(std::memory_order_relaxed);
}

uint64_t ShardedL1::BytesFor(const EntryFields& fields) const {
  const bool large = IsLarge(*shards_[0], fields);
  return Record::BytesFor(fields, large, common_.clock->Mono()) + Index::kBytesPerEntry +
         (large ? SharedBytes::AllocatedBytesFor(fields.value.size()) : 0);
}

bool ShardedL1::Sweep(MonoNanos now) {
  common_.Tick(now);
  bool more = false;
  for (const std::unique_ptr<Shard>& shard : shards_) {
    if (shard->SweepStep(now)) more = true;
  }
  return FindPage() || more;
}

// One at a time: it may take as long as all of the sweep.
bool ShardedL1::FindPage() {
  for (size_t i = 0; huge_pages_ && i < shards_.size(); ++i) {
    char* const page = shards_[i]->TakeNextPage();
    if (page == nullptr) continue;
    SegmentPool::FindPage(page);
    return true;
  }
  return false;
}

void ShardedL1::KeepEnded(bool keep) {
  if (common_.keeps_ended.load(std::memory_order_relaxed) == keep) return;
  common_.keeps_ended.store(keep, std::memory_order_relaxed);
  if (keep) return;
  for (const std::unique_ptr<Shard>& shard : shards_) shard->ForgetEnded();
}

bool ShardedL1::TakeEnded(size_t most, std::vector<Ended>* out, uint64_t* lost) {
  bool more = false;
  // The first in turn, so that a shard with plenty leaves something to the others.
  const size_t first = take_next_.fetch_add(1, std::memory_order_relaxed);
  const size_t wanted = out->size() + most;
  for (size_t i = 0; i < shards_.size(); ++i) {
    Shard& shard = *shards_[(first + i) & shard_mask_];
    if (shard.TakeEnded(wanted - out->size(), out, lost)) more = true;
  }
  return more;
}

bool ShardedL1::SetBudget(uint64_t budget_bytes) {
  const uint64_t least = FixedBytes() + shards_.size() * shards_[0]->budget_bytes_min();
  budget_bytes = std::clamp(budget_bytes, std::max(least, kBudgetBytesMin), budget_bytes_most_);
  const MonoNanos now = common_.clock->Mono();
  bool reached = true;
  for (const std::unique_ptr<Shard>& shard : shards_) {
    if (!shard->BudgetStep((budget_bytes - FixedBytes()) / shards_.size(), now)) reached = false;
  }
  budget_bytes_.store(budget_bytes);
  return reached;
}

uint64_t ShardedL1::List(uint64_t cursor, MonoNanos now, std::vector<Listed>* out) const {
  uint64_t number = cursor & ((1u << kCursorShardBits) - 1);
  const uint64_t table = cursor >> kCursorShardBits;
  if (number >= shards_.size()) return 0;
  if (shards_[number]->List(table, now, out)) return (table + 1) << kCursorShardBits | number;
  return ++number < shards_.size() ? number : 0;
}

uint64_t ShardedL1::SweepRules(uint64_t cursor, MonoNanos now) {
  uint64_t number = cursor & ((1u << kCursorShardBits) - 1);
  if (number >= shards_.size() || cursor >> kCursorShardBits >= SegmentPool::kNone) return 0;
  const auto segment = static_cast<uint32_t>(cursor >> kCursorShardBits);
  const uint64_t next = shards_[number]->SweepRules(segment, now);
  if (next != SegmentPool::kNone) return next << kCursorShardBits | number;
  return ++number < shards_.size() ? number : 0;
}

uint64_t ShardedL1::Estimate(const Rule& rule, MonoNanos now) const {
  RuleTable::Options options;
  options.changes = options.tag_places = 1;
  RuleTable alone(options);
  Rule removal = rule;
  removal.stale = false;
  // A glob that cannot be read matches nothing.
  if (!alone.Add(removal, now).ok()) return 0;
  uint64_t entries = 0;
  for (const std::unique_ptr<Shard>& shard : shards_) entries += shard->entries();
  if (entries == 0) return 0;
  // Keys are spread over the tables by their hash, so that every table is as good a sample.
  const uint64_t tables = shards_.size() * shards_[0]->index_tables();
  const uint64_t asked = std::clamp<uint64_t>(tables * kEstimatedFrom / entries, 1, tables);
  uint64_t looked = 0;
  uint64_t covered = 0;
  for (uint64_t i = 0; i < asked || (looked < kEstimatedFrom && i < tables); ++i) {
    // An odd step visits every table once, as their number is a power of two.
    const uint64_t at = (i * 0x9e3779b97f4a7c15) & (tables - 1);
    looked += shards_[at % shards_.size()]->CountCovered(alone, at / shards_.size(), now, &covered);
  }
  if (looked == 0 || asked == tables) return covered;
  return static_cast<uint64_t>(static_cast<double>(covered) / static_cast<double>(looked) *
                               static_cast<double>(entries));
}

uint64_t ShardedL1::EntriesEncoded(Encoding encoding) const {
  const L1Common::EncodedChunk* const chunk =
      common_.encoded[encoding / L1Common::kEncodedChunk].load(std::memory_order_acquire);
  if (chunk == nullptr) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(
      (*chunk)[encoding % L1Common::kEncodedChunk].load(std::memory_order_relaxed), 0));
}

L1Usage ShardedL1::Usage() const {
  L1Usage usage;
  usage.budget_bytes = budget_bytes_.load();
  usage.bytes = FixedBytes();
  for (const std::unique_ptr<Shard>& shard : shards_) shard->AddTo(&usage);
  usage.newcomer_share /= static_cast<double>(shards_.size());
  const int64_t now_ms = MsBetween(common_.began, common_.clock->Mono());
  for (std::vector<L1Tally>* const tallies : {&usage.by_type, &usage.by_namespace}) {
    for (L1Tally& tally : *tallies) {
      const auto entries = static_cast<int64_t>(tally.entries);
      tally.ages_ms = std::max<int64_t>(entries * now_ms - tally.ages_ms, 0);
    }
  }
  for (const L1Tally& tally : usage.by_type) usage.total.Add(tally);
  return usage;
}

bool ShardedL1::CheckInvariants() const {
  return std::ranges::all_of(shards_, [](const auto& shard) { return shard->CheckInvariants(); });
}

}  // namespace

std::unique_ptr<L1> L1::New(const Options& options) {
#if defined(__x86_64__)
  if (KeyedHash::HasAes()) return std::make_unique<ShardedL1WithAes>(options);
#endif
  return std::make_unique<ShardedL1>(options);
}

}  // namespace larder
