#include "engine/engine_options.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace larder {
namespace {

// What an entry takes beside its key, value, tags and dependencies, with room to spare.
constexpr uint64_t kEntryOverheadBytes = 256;

// What is kept beside memory follows its size: a thirty-second part, but enough to be of use.
uint64_t Beside(const Engine::Options& options, uint64_t bytes_max) {
  constexpr uint64_t kBytesMin = 1 << 20;
  const uint64_t budget = std::max(options.memory_bytes, options.memory_bytes_max);
  return std::clamp(budget / 32, kBytesMin, bytes_max);
}

}  // namespace

// Hits lengthen no life that a rule has ended.
absl::Duration LongestLife(const TypeTable& types) {
  const absl::Duration late = 2 * kTombstoneTtl;
  absl::Duration longest;
  for (const TypePolicy& type : types.types()) {
    if (type.ttl.forever) return absl::InfiniteDuration();
    longest = std::max(longest, type.ttl.max + type.freshness.stale_most());
  }
  return longest + late;
}

absl::Duration LongestLoad(const TypeTable& types, absl::Duration lease_ttl_max) {
  // Timers, and what is done after an answer, may be late.
  constexpr absl::Duration kLate = absl::Minutes(1);
  absl::Duration longest = lease_ttl_max;
  for (const TypePolicy& type : types.types())
    longest = std::max(longest, type.freshness.hard_timeout);
  return longest + kLate;
}

absl::Duration LongestStale(const TypeTable& types) {
  absl::Duration longest;
  for (const TypePolicy& type : types.types())
    longest = std::max(longest, type.freshness.stale_most());
  return longest;
}

L1::TypeOptions MemoryTypeOf(const TypePolicy& type, bool below) {
  L1::TypeOptions of_type;
  of_type.name = type.name;
  of_type.share_min = type.share_min;
  of_type.share_max = type.share_max;
  of_type.hits_half_life = type.ttl.access_half_life;
  // A copy that is cut short does not end with its entry.
  of_type.keeps_ended = !below || type.l1_ttl_max == absl::InfiniteDuration();
  return of_type;
}

L1::Options MemoryOptions(const Engine::Options& options, const RuleTable* rules) {
  L1::Options memory;
  memory.budget_bytes = options.memory_bytes;
  memory.budget_bytes_max = options.memory_bytes_max;
  memory.entry_bytes_max =
      options.value_bytes_max + kEntryOverheadBytes + kKeyBytesMax + 2 * kTagsMax * kKeyBytesMax;
  for (const TypePolicy& type : options.types->types()) {
    memory.types.push_back(MemoryTypeOf(type, options.tier != nullptr && type.second_tier));
  }
  memory.rules = rules;
  memory.types_max = options.types->capacity();
  memory.namespaces_max = options.namespaces_max;
  memory.hash_seed = options.hash_seed;
  memory.clock = options.clock;
  return memory;
}

HotKeys::Options HotKeysOptions(const Engine::Options& options) {
  HotKeys::Options hot_keys;
  hot_keys.types = options.types->size();
  hot_keys.types_max = options.types->capacity();
  hot_keys.bytes_max = Beside(options, hot_keys.bytes_max);
  hot_keys.clock = options.clock;
  hot_keys.random = options.random;
  return hot_keys;
}

Compressor::Options CompressorOptions(const Engine::Options& options) {
  Compressor::Options compressor;
  for (const TypePolicy& type : options.types->types()) {
    compressor.types.push_back(type.compress);
  }
  compressor.types.resize(options.types->capacity());
  compressor.value_bytes_max = options.value_bytes_max;
  compressor.dictionaries_bytes_max = Beside(options, compressor.dictionaries_bytes_max);
  compressor.sample_bytes_max = Beside(options, compressor.sample_bytes_max);
  compressor.clock = options.clock;
  compressor.random = options.random;
  return compressor;
}

LeaseTable::Options LeaseOptions(const Engine::Options& options) {
  return {options.leases_max, options.waiters_max, options.waiters_per_key_max, options.executor,
          options.random};
}

Coherence::Options CoherenceOptions(const Engine::Options& options, L1* memory, LeaseTable* leases,
                                    LowerTier* lower, ChangeFeed* feed, VersionClock* versions,
                                    InFlight* background,
                                    std::function<void(std::string_view, Version)> on_changed,
                                    std::function<void(const BusMessage&)> on_rule,
                                    std::function<void(bool)> on_bus,
                                    std::function<void(Version)> on_saw) {
  Coherence::Options coherence;
  coherence.bus = options.bus;
  coherence.memory = memory;
  coherence.leases = leases;
  coherence.lower = lower;
  coherence.feed = feed;
  coherence.versions = versions;
  coherence.types = options.types.get();
  coherence.clock = options.clock;
  coherence.executor = options.executor;
  coherence.background = background;
  coherence.on_changed = std::move(on_changed);
  coherence.on_rule = std::move(on_rule);
  coherence.on_bus = std::move(on_bus);
  coherence.on_saw = std::move(on_saw);
  return coherence;
}

ChangeFeed::Options FeedOptions(const Engine::Options& options) {
  ChangeFeed::Options watch = options.watch;
  watch.clock = options.clock;
  watch.executor = options.executor;
  watch.node_id = options.node_id;
  watch.boot = options.random->Next();
  return watch;
}

RuleTable::Options RuleOptions(const Engine::Options& options) {
  RuleTable::Options rules = options.rules;
  // A hundred-and-twentieth part of memory: changes of two keys that share a place are taken for
  // one.
  const uint64_t budget = std::max(options.memory_bytes, options.memory_bytes_max);
  if (rules.changes == RuleTable::Options().changes)
    rules.changes = std::bit_floor(std::clamp<uint64_t>(budget / 1024, 1 << 12, 1 << 24));
  if (rules.hash_seed == 0) rules.hash_seed = options.hash_seed;
  return rules;
}

Rules::Options RulesOptions(const Engine::Options& options, RuleTable* table, L1* memory,
                            VersionClock* versions, InFlight* background, ChangeFeed* feed,
                            RuleHistory* history, std::function<absl::Duration()> life,
                            std::function<absl::Duration(bool marked)> lasts) {
  Rules::Options rules;
  rules.on_rule = [feed, history](const Rule& rule) {
    history->Add(rule);
    feed->Ruled(rule);
  };
  rules.table = table;
  rules.memory = memory;
  rules.tier = options.tier;
  rules.bus = options.bus;
  rules.versions = versions;
  rules.clock = options.clock;
  rules.executor = options.executor;
  rules.background = background;
  rules.node_id = options.node_id;
  rules.life = std::move(life);
  rules.lasts = std::move(lasts);
  rules.sweep_rate = options.sweep_rate;
  return rules;
}

}  // namespace larder
