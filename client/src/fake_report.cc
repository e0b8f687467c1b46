// What the fake tells about itself: Explain, Stats, HotKeys and its types.

#include <algorithm>
#include <utility>

#include "client/src/fake_store.h"

namespace larder::internal {

namespace {

// CRC-32C, bit by bit: the values of tests are short.
uint32_t Crc32c(const std::string& bytes) {
  uint32_t rest = 0xFFFFFFFF;
  for (const char byte : bytes) {
    rest ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) rest = (rest >> 1) ^ ((rest & 1) != 0 ? 0x82F63B78 : 0);
  }
  return ~rest;
}

}  // namespace

ExplainResult FakeStore::Explain(const Key& key, const FakeType& type,
                                 const ExplainOptions& options, absl::Time now) const {
  ExplainResult result;
  result.type = type.name;
  result.match = options.type.empty() ? TypeMatch::kDefault : TypeMatch::kRequest;
  result.ttl = TtlFor(type, std::nullopt, false);
  result.factors = {{"base", 1, type.ttl, "the type's ttl.base"}};
  if (const Record* record = Peek(key, now); record != nullptr) {
    CopyInfo copy;
    copy.tier = Tier::kL1;
    copy.version = record->version;
    copy.age = now - record->written;
    copy.remaining_ttl = record->expires - now;
    copy.value_bytes = record->value.size();
    copy.negative = record->negative;
    copy.tags = record->tags;
    copy.depends_on = record->depends_on;
    copy.hits = record->hits;
    if (options.checksums && !record->negative) copy.checksum = Crc32c(record->value);
    result.copies.push_back(std::move(copy));
  } else {
    result.miss_reason = records_.count(key) > 0 ? MissReason::kExpired : WhyMissing(key);
  }
  if (const auto lease = leases_.find(key); lease != leases_.end()) {
    result.lease_held = !lease->second.origin;
    result.lease_waiters = static_cast<uint32_t>(lease->second.line.size());
  }
  return result;
}

namespace {

// Adds the counts that the fake keeps.
void Add(const UsageStats& from, UsageStats* to) {
  to->hits += from.hits;
  to->misses += from.misses;
  to->negative_hits += from.negative_hits;
  to->sets += from.sets;
  to->sets_refused += from.sets_refused;
  to->removals += from.removals;
  to->loads += from.loads;
  to->loads_failed += from.loads_failed;
  to->loads_coalesced += from.loads_coalesced;
  to->expirations += from.expirations;
  to->entries += from.entries;
  to->bytes += from.bytes;
  to->key_bytes += from.key_bytes;
  to->value_bytes += from.value_bytes;
  to->plain_bytes += from.plain_bytes;
}

void Finish(UsageStats* usage) {
  const uint64_t reads = usage->hits + usage->misses;
  usage->hit_ratio = reads == 0 ? 0 : static_cast<double>(usage->hits) / static_cast<double>(reads);
  usage->compression_ratio = usage->entries == 0 ? 0 : 1;
}

}  // namespace

StatsResult FakeStore::Stats(const StatsOptions& options) const {
  StatsResult stats;
  stats.node = "fake";
  stats.since = since_;
  std::map<std::string, UsageStats> usage = usage_;
  for (const auto& [key, record] : records_) {
    UsageStats& counts = usage[key.first];
    ++counts.entries;
    counts.bytes += key.second.size() + record.value.size();
    counts.key_bytes += key.second.size();
    counts.value_bytes += record.value.size();
    counts.plain_bytes += record.value.size();
  }
  for (auto& [ns, counts] : usage) {
    Add(counts, &stats.total);
    Finish(&counts);
    const auto& wanted = options.namespaces;
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), ns) != wanted.end()) {
      stats.namespaces.push_back({ns, counts});
    }
  }
  Finish(&stats.total);
  TierStats memory;
  memory.tier = Tier::kL1;
  memory.kind = "memory";
  memory.hits = stats.total.hits;
  memory.misses = stats.total.misses;
  memory.entries = stats.total.entries;
  memory.bytes = stats.total.bytes;
  memory.state = "ok";
  stats.tiers = {memory};
  stats.leases = lease_stats_;
  for (const auto& [key, lease] : leases_) {
    if (lease.origin) {
      ++stats.flights.under_way;
      stats.flights.waiting += lease.line.size();
    } else {
      ++stats.leases.held;
      stats.leases.waiting += lease.line.size();
    }
  }
  return stats;
}

HotKeysResult FakeStore::HotKeys(const std::string& ns, const HotKeysOptions& options,
                                 absl::Time now) const {
  const auto rank = [&options](const HotKey& hot) -> uint64_t {
    switch (options.order) {
      case HotKeyOrder::kHits:
        return hot.hits;
      case HotKeyOrder::kMisses:
        return hot.misses;
      case HotKeyOrder::kBytes:
        return hot.bytes;
      case HotKeyOrder::kValueBytes:
        return hot.value_bytes_max;
    }
    return 0;
  };
  HotKeysResult result;
  result.window = absl::Minutes(1);
  for (const auto& [key, record] : records_) {
    if (record.expires <= now || record.negative || (!ns.empty() && key.first != ns)) continue;
    if (!options.type.empty() && record.type != options.type) continue;
    const uint64_t size = record.value.size();
    const HotKey hot{key.first, key.second,         record.type, record.hits,
                     0,         record.hits * size, size,        record.hits > 0 ? 1.0 : 0.0};
    if (rank(hot) > 0) result.keys.push_back(hot);
  }
  std::stable_sort(result.keys.begin(), result.keys.end(),
                   [&](const HotKey& a, const HotKey& b) { return rank(a) > rank(b); });
  const size_t limit = options.limit == 0 ? HotKeysOptions().limit : options.limit;
  if (result.keys.size() > limit) result.keys.resize(limit);
  return result;
}

std::vector<TypeInfo> FakeStore::Types() const {
  std::vector<TypeInfo> types;
  for (const auto& [name, type] : types_)
    types.push_back({name, {}, type.ttl, type.origin ? "fake" : "", "cache_only"});
  return types;
}

}  // namespace larder::internal
