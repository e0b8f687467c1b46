// The engine's frame: what is common to the paths (type and namespace of a call, TTLs, new
// versions), the sweep, and the views for Explain and Stats. The paths themselves are in read.cc
// and write.cc.

#include "engine/engine.h"

#include <utility>

#include "base/status.h"
#include "core/error.h"

namespace larder {
namespace {

constexpr absl::Duration kSweepInterval = absl::Milliseconds(100);
// The whole memory is looked at every ten seconds.
constexpr double kSweepShare = 0.01;

L1::Options MemoryOptions(const Engine::Options& options) {
  L1::Options memory;
  memory.budget_bytes = options.memory_bytes;
  memory.entry_bytes_max =
      options.value_bytes_max + sizeof(Entry) + kKeyBytesMax + 2 * kTagsMax * kKeyBytesMax;
  memory.tallies_max = options.types->size() + options.namespaces_max;
  memory.clock = options.clock;
  return memory;
}

LeaseTable::Options LeaseOptions(const Engine::Options& options) {
  return {options.leases_max, options.waiters_max, options.waiters_per_key_max, options.executor,
          options.random};
}

void AddCounts(UsageTotals& to, const UsageTotals& from) {
  for (size_t i = 0; i < kUsageCount; ++i) to[i] += from[i];
}

}  // namespace

Engine::Engine(const Options& options)
    : options_(options),
      versions_(options.clock, options.node_id, options.version_floor),
      memory_(L1::New(MemoryOptions(options))),
      namespaces_(options.namespaces_max),
      usage_(options.types->size(), options.namespaces_max),
      leases_(LeaseOptions(options)),
      since_(options.clock->Now()) {}

void Engine::Start() {
  options_.executor->After(kSweepInterval, [this] { SweepAndReschedule(); });
}

void Engine::SweepAndReschedule() {
  memory_->Sweep(kSweepShare);
  options_.executor->After(kSweepInterval, [this] { SweepAndReschedule(); });
}

void Engine::Drain() { leases_.Drain(); }

absl::StatusOr<Engine::Resolved> Engine::ResolveForRead(const KeyRequest& request) const {
  ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  return Resolved{match.type, namespaces_.Find(request.name_space)};
}

absl::StatusOr<Engine::Resolved> Engine::ResolveForWrite(const KeyRequest& request) {
  ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  ASSIGN_OR_RETURN(const uint16_t name_space, namespaces_.Intern(request.name_space));
  return Resolved{match.type, name_space};
}

absl::Duration Engine::TtlFor(const TypePolicy& type, const FullKey& full_key,
                              TtlInput input) const {
  if (type.ttl.adapt_access) {
    const L1Lookup present = memory_->Peek(full_key.view());
    if (present.entry) input.hits = present.entry->hits();
  }
  input.jitter_draw = options_.random->NextSigned();
  return ComputeTtl(type.ttl, input);
}

void Engine::SetExpiry(EntryFields* fields, absl::Duration ttl) const {
  fields->written = options_.clock->Mono();
  fields->fresh_until = MonoAfter(fields->written, ttl);
  fields->usable_until = fields->fresh_until;
}

absl::StatusOr<Explanation> Engine::Explain(const KeyRequest& request, uint64_t value_bytes) const {
  ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  const FullKey full_key(request.name_space, request.key);
  const L1Lookup found = memory_->Peek(full_key.view());

  Explanation explanation;
  explanation.match = match;
  if (match.pattern != nullptr) {
    std::vector<std::pair<std::string, std::string_view>> captures;
    match.pattern->Match(request.key, &captures);
    explanation.captures.assign(captures.begin(), captures.end());
  }
  TtlInput input;
  if (found.entry) {
    input.hits = found.entry->hits();
    input.value_bytes = found.entry->value().size();
  }
  if (value_bytes > 0) input.value_bytes = value_bytes;
  explanation.ttl = ExplainTtl(match.type->ttl, input);
  explanation.entry = found.entry;
  explanation.miss = found.why;
  explanation.lease_held = leases_.IsHeld(full_key.view(), &explanation.lease_waiters);
  return explanation;
}

EngineStats Engine::Stats() const {
  EngineStats stats;
  stats.since = since_;
  stats.memory = memory_->Usage();
  stats.leases = leases_.Totals();
  const auto tally = [](const std::vector<L1Tally>& tallies, size_t id) {
    return id < tallies.size() ? tallies[id] : L1Tally();
  };
  for (const TypePolicy& type : options_.types->types()) {
    stats.types.push_back(
        {type.name, usage_.OfType(type.id), tally(stats.memory.by_type, type.id)});
    AddCounts(stats.total.counts, stats.types.back().counts);
  }
  stats.total.memory = stats.memory.total;
  const std::vector<std::string> names = namespaces_.Names();
  for (size_t id = 0; id < names.size(); ++id) {
    stats.namespaces.push_back({names[id], usage_.OfNamespace(static_cast<uint16_t>(id)),
                                tally(stats.memory.by_namespace, id)});
  }
  return stats;
}

}  // namespace larder
