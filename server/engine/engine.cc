// The engine's frame: what is common to the paths (type and namespace of a call, TTLs, new
// versions), the sweep, and the views for Explain and Stats. The paths themselves are in read.cc
// and write.cc. A little long, because the constructor names every part and what it is tied to.

#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "core/error.h"
#include "engine/engine_options.h"

namespace larder {
namespace {

constexpr absl::Duration kSweepInterval = absl::Milliseconds(100);
constexpr absl::Duration kSweepStepInterval = absl::Milliseconds(1);
constexpr absl::Duration kTrainInterval = absl::Seconds(1);
// Between the steps of one training, so that other work comes in between.
constexpr absl::Duration kTrainStepInterval = absl::Milliseconds(20);
constexpr absl::Duration kRetireInterval = absl::Seconds(5);
// Between two steps towards another memory budget, so that other work comes in between.
constexpr absl::Duration kBudgetStepInterval = absl::Milliseconds(1);
// How often writes that the lower tier did not take are made good, so many at a time.
constexpr absl::Duration kSettleInterval = absl::Milliseconds(200);
constexpr absl::Duration kSettleStepInterval = absl::Milliseconds(5);
constexpr size_t kSettleBatch = 256;
// Keys of which it is remembered that they could not be loaded.
constexpr size_t kFailuresMax = 100'000;
// Of those that are about a key.
constexpr size_t kRulesExplained = 10;
// A key that is asked for when nobody else asks.
constexpr std::string_view kProbeKey = "larder:probe";

void AddCounts(UsageTotals& to, const UsageTotals& from) {
  for (size_t i = 0; i < kUsageCount; ++i) to[i] += from[i];
}

// Durations as nanoseconds; INT64_MAX: infinite.
absl::Duration DurationOf(const std::atomic<int64_t>& nanos) {
  const int64_t value = nanos.load(std::memory_order_relaxed);
  return value == INT64_MAX ? absl::InfiniteDuration() : absl::Nanoseconds(value);
}

void RaiseTo(std::atomic<int64_t>* nanos, absl::Duration duration) {
  const int64_t before = nanos->load(std::memory_order_relaxed);
  nanos->store(std::max(before, absl::ToInt64Nanoseconds(duration)), std::memory_order_relaxed);
}

}  // namespace

Engine::Engine(const Options& options)
    : options_(options),
      versions_(options.clock, options.node_id, options.version_floor),
      rule_table_(std::make_shared<RuleTable>(RuleOptions(options))),
      covered_below_(std::make_shared<CoveredBelow>(rule_table_)),
      memory_(L1::New(MemoryOptions(options, rule_table_.get()))),
      namespaces_(options.namespaces_max),
      usage_(options.types->capacity(), options.namespaces_max),
      hot_keys_(HotKeysOptions(options)),
      compressor_(Compressor::New(CompressorOptions(options))),
      leases_(LeaseOptions(options)),
      flights_(
          {options.leases_max, options.waiters_max, options.waiters_per_key_max, options.executor}),
      failures_(kFailuresMax),
      key_hash_(options.random->Next(), options.random->Next()),
      turns_({options.waiters_max, options.clock, options.executor}),
      copies_under_way_(options.executor),
      journal_sink_(this),
      longest_life_(absl::ToInt64Nanoseconds(LongestLife(*options.types))),
      longest_load_(absl::ToInt64Nanoseconds(LongestLoad(*options.types, options.lease_ttl_max))),
      longest_stale_(absl::ToInt64Nanoseconds(LongestStale(*options.types))),
      rules_(RulesOptions(
          options, rule_table_.get(), memory_.get(), &versions_, &background_, &changes_,
          &rule_history_, [this] { return DurationOf(longest_life_); },
          [this](bool marked) {
            const absl::Duration load = DurationOf(longest_load_);
            return marked ? load + DurationOf(longest_stale_) : load;
          })),
      lower_({options.tier, options.clock, rule_table_.get(), &rules_, options.owed_max}),
      changes_(FeedOptions(options)),
      coherence_(CoherenceOptions(
          options, memory_.get(), &leases_, &lower_, &changes_, &versions_, &background_,
          [this](std::string_view full_key, Version version) {
            filters_->NoteChanged(full_key);
            flights_.OnChanged(full_key);
            rule_table_->Changed(FullKey::NamespaceOf(full_key), FullKey::KeyOf(full_key), version);
          },
          [this](const BusMessage& message) { rules_.OnMessage(message); },
          [this](bool following) { OnBus(following); },
          [this](Version version) { rules_.OnSaw(version); })),
      since_(options.clock->Now()),
      budget_bytes_(options.memory_bytes) {
  // What waits there from before comes before all that is written from now on, whatever the clock
  // says.
  if (options.journal != nullptr) versions_.Observe(options.journal->newest());
  if (options.tier != nullptr) options.tier->DropCovered(covered_below_);
  loader_of_.resize(options.types->capacity());
  learner_of_.resize(options.types->capacity());
  writer_of_.resize(options.types->capacity());
  for (const OriginLink& link : options.origins) {
    OriginLoader::Options loader;
    loader.origin = link.origin;
    loader.batch_max = link.batch_max;
    loader.delay = link.delay;
    loader.calls_max = link.calls_max;
    loader.clock = options.clock;
    loader.executor = options.executor;
    loader.background = &background_;
    loaders_.push_back(std::make_unique<OriginLoader>(loader));
    OriginWriter::Options writer;
    writer.origin = link.origin;
    writer.batch_max = link.batch_max;
    writer.clock = options.clock;
    writer.executor = options.executor;
    writer.background = &background_;
    writers_.push_back(std::make_unique<OriginWriter>(writer));
    for (const TypePolicy& type : options.types->types()) {
      if (type.origin != link.name) continue;
      loader_of_[type.id] = loaders_.back().get();
      writer_of_[type.id] = writers_.back().get();
    }
  }
  KeyFilters::Options filters;
  filters.types = options.types.get();
  filters.clock = options.clock;
  filters.executor = options.executor;
  filters.random = options.random;
  filters.background = &background_;
  filters.hears_changes = options.bus != nullptr;
  filters.bytes_max = std::max(options.memory_bytes, options.memory_bytes_max) / 8;
  for (const TypePolicy& type : options.types->types()) {
    filters.origins.push_back(OriginOf(type));
    if (OriginOf(type) == nullptr || !type.ttl.adapt_change) continue;
    ChangeLearner::Options learner;
    learner.target = type.ttl.change_target;
    learner_of_[type.id] = std::make_unique<ChangeLearner>(learner);
  }
  filters_ = std::make_unique<KeyFilters>(filters);
}

absl::Status Engine::ReplaceTypes(const TypeTable& next) {
  RETURN_IF_ERROR(options_.types->Replace(next, [this](const std::vector<TypePolicy>& types) {
    for (const TypePolicy& type : types)
      memory_->SetType(type.id, MemoryTypeOf(type, lower_.Has(type)));
  }));
  // Entries that were stored under the old policies live on as long as those gave them.
  RaiseTo(&longest_life_, LongestLife(*options_.types));
  RaiseTo(&longest_load_, LongestLoad(*options_.types, options_.lease_ttl_max));
  RaiseTo(&longest_stale_, LongestStale(*options_.types));
  return absl::OkStatus();
}

void Engine::OnBus(bool following) {
  filters_->OnBus(following);
  if (!following) {
    rules_.OnGap();
    return;
  }
  rule_table_->ForgetChanges(versions_.Next());
  rules_.OnFollowing();
}

void Engine::Start() {
  options_.executor->After(kSweepInterval, [this] { SweepAndReschedule(); });
  options_.executor->After(kTrainInterval, [this] { TrainAndReschedule(); });
  if (lower_.exists()) options_.executor->After(kSettleInterval, [this] { SettleAndReschedule(); });
  // Changes before this are not known, and what depends on them may lie in the tier.
  if (lower_.exists()) rule_table_->ForgetChanges(versions_.Next());
  coherence_.Start();
  rules_.Start();
  filters_->Start();
  if (options_.journal != nullptr) options_.journal->Start(&journal_sink_);
}

Origin* Engine::OriginNamed(std::string_view name) const {
  for (const OriginLink& link : options_.origins) {
    if (link.name == name) return link.origin;
  }
  return nullptr;
}

void Engine::SettleAndReschedule() {
  if (!background_.TryEnter()) return;
  NoteTierState();
  const auto current = [this](const std::string& full_key, Version version) {
    return CurrentPut(full_key, version);
  };
  Spawn(lower_.Settle(kSettleBatch, current), [this](LowerTier::Settled settled) {
    for (const TierErase& gone : settled.outdated)
      DropOlder(gone.full_key, gone.version, LeaseTable::Change::kRemoved);
    // The others may have read from the tier what it should not have had any more.
    const size_t count = settled.count;
    TellSettled(std::move(settled));
    background_.Leave();
    options_.executor->After(count == kSettleBatch ? kSettleStepInterval : kSettleInterval,
                             [this] { SettleAndReschedule(); });
  });
}

// Somebody has to ask when others do not: a breaker lets a call through when its time is over, and
// hits that ask nobody make no calls, so that the tier would be taken to be away for ever; and when
// the bus falls silent hits are about to be suspect, and the first of them should not be the ones
// who find out that nobody answers.
void Engine::NoteTierState() {
  const auto is_well = [this] {
    const std::string breaker = lower_.OfTier().breaker;
    return breaker.empty() || breaker == "closed";
  };
  const bool well = is_well();
  if (!well) tier_away_.store(true, std::memory_order_relaxed);
  if (well && !coherence_.IsSilent(options_.clock->Mono()))
    return tier_away_.store(false, std::memory_order_relaxed);
  if (probing_.exchange(true)) return;
  if (!background_.TryEnter()) return probing_.store(false);
  std::vector<std::string> keys(1, std::string(FullKey("", kProbeKey).view()));
  Spawn(lower_.Get(std::move(keys), INT64_MAX),
        [this, well, is_well](const std::vector<LowerTier::Read>& reads) {
          const bool answered = !reads[0].failed;
          tier_away_.store(!answered || !is_well(), std::memory_order_relaxed);
          probing_.store(false);
          // A breaker that is half open wants more than one.
          if (answered && !well) NoteTierState();
          background_.Leave();
        });
}

void Engine::TrainAndReschedule() {
  const bool more = compressor_->TrainingDue() && compressor_->TrainingStep();
  const MonoNanos now = options_.clock->Mono();
  if (now >= retire_next_) {
    retire_next_ = MonoAfter(now, kRetireInterval);
    compressor_->Retire([this](Encoding encoding) { return memory_->EntriesEncoded(encoding); });
  }
  options_.executor->After(more ? kTrainStepInterval : kTrainInterval,
                           [this] { TrainAndReschedule(); });
}

void Engine::SweepAndReschedule() {
  hot_keys_.Tick();
  const bool swept = memory_->Sweep(options_.clock->Mono());
  const bool more = TellExpired() || swept;
  options_.executor->After(more ? kSweepStepInterval : kSweepInterval,
                           [this] { SweepAndReschedule(); });
}

bool Engine::Stop(absl::Duration most) {
  filters_->Stop();
  return background_.Close(most);
}

void Engine::Drain() {
  leases_.Drain();
  flights_.Drain();
  turns_.Drain();
  coherence_.Drain();
  changes_.Drain();
}

absl::StatusOr<Engine::Resolved> Engine::ResolveForRead(const KeyRequest& request) const {
  ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  Resolved resolved{match.type, namespaces_.Find(request.name_space)};
  if (ABSL_PREDICT_FALSE(!match.type->rollout.ReadsAll())) {
    const FullKey full_key(request.name_space, request.key);
    resolved.past = !match.type->rollout.Reads(full_key.view());
  }
  return resolved;
}

absl::StatusOr<Engine::Resolved> Engine::ResolveForWrite(const KeyRequest& request) {
  ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  ASSIGN_OR_RETURN(const uint16_t name_space, namespaces_.Intern(request.name_space));
  return Resolved{match.type, name_space};
}

bool Engine::ChangesAtOnce(const KeyRequest& request) const {
  // To tell others may be much work, and they are told in the order of the workers.
  if (coherence_.Tells()) return false;
  const absl::StatusOr<TypeMatch> match = options_.types->Resolve(request.key, request.type);
  if (!match.ok()) return false;
  const TypePolicy& type = *match->type;
  return !lower_.Has(type) && !WritesOrigin(type) && !type.HasDerived();
}

bool Engine::HandsOverAtOnce(const KeyRequest& request) const {
  if (options_.journal == nullptr || coherence_.Tells()) return false;
  const absl::StatusOr<TypeMatch> match = options_.types->Resolve(request.key, request.type);
  if (!match.ok()) return false;
  const TypePolicy& type = *match->type;
  const WritePolicy& write = type.write;
  // To have no room, or to write early, is more to do than a lane's thread should.
  return write.mode == WriteMode::kBehind && write.sync != JournalSync::kNone &&
         write.on_full == OnFull::kReject && !lower_.Has(type) && !type.HasDerived() &&
         type.rollout.Keeps(FullKey(request.name_space, request.key).view());
}

void Engine::SetMemoryBudget(uint64_t bytes) {
  const uint64_t most = std::max(options_.memory_bytes, options_.memory_bytes_max);
  {
    MutexLock lock(&budget_mu_);
    budget_bytes_ = std::clamp(bytes, L1::kBudgetBytesMin, most);
    if (std::exchange(budget_moves_, true)) return;
  }
  options_.executor->Post([this] { StepMemoryBudget(); });
}

void Engine::StepMemoryBudget() {
  uint64_t bytes;
  {
    MutexLock lock(&budget_mu_);
    bytes = budget_bytes_;
  }
  const bool reached = memory_->SetBudget(bytes);
  {
    MutexLock lock(&budget_mu_);
    if (reached && bytes == budget_bytes_) {
      budget_moves_ = false;
      return;
    }
  }
  options_.executor->After(kBudgetStepInterval, [this] { StepMemoryBudget(); });
}

absl::Duration Engine::SetExpiry(EntryFields* fields, const TypePolicy& type, TtlInput input,
                                 MonoNanos now) const {
  if (type.ttl.adapt_access) {
    Entry present;
    MissReason why;
    if (memory_->Peek(fields->full_key, now, &present, &why)) input.hits = present.hits;
  }
  if (const ChangeLearner* const learner = learner_of_[type.id].get(); learner != nullptr)
    input.learned = learner->Factor(key_hash_(fields->full_key));
  input.jitter_draw = options_.random->NextSigned();
  const absl::Duration ttl = ComputeTtl(type.ttl, input);
  fields->fresh_until = MonoAfter(now, ttl);
  fields->usable_until = input.absent || type.ttl.sliding
                             ? fields->fresh_until
                             : MonoAfter(fields->fresh_until, type.freshness.stale_most());
  fields->sliding = absl::ToInt64Nanoseconds(SlidingTtl(type.ttl, input, ttl));
  return ttl;
}

Task<absl::StatusOr<Explanation>> Engine::Explain(KeyRequest request, uint64_t value_bytes,
                                                  bool want_values) {
  CO_ASSIGN_OR_RETURN(const TypeMatch match, options_.types->Resolve(request.key, request.type));
  const FullKey full_key(request.name_space, request.key);
  Found found = Peek(full_key.view());
  if (found.present && want_values && !Decode(full_key.view(), &found.entry)) found = Found();

  Explanation explanation;
  explanation.match = match;
  if (match.pattern != nullptr) {
    std::vector<std::pair<std::string, std::string_view>> captures;
    match.pattern->Match(request.key, &captures);
    explanation.captures.assign(captures.begin(), captures.end());
  }
  TtlInput input;
  if (found.present) {
    input.hits = found.entry.hits;
    input.value_bytes = found.entry.value_bytes();
  }
  if (value_bytes > 0) input.value_bytes = value_bytes;
  if (const ChangeLearner* const learner = learner_of_[match.type->id].get(); learner != nullptr) {
    const std::optional<double> own = learner->OwnFactor(key_hash_(full_key.view()));
    input.learned_of_key = own.has_value();
    input.learned = own.value_or(learner->MeanFactor());
  }
  explanation.ttl = ExplainTtl(match.type->ttl, input);
  if (found.present) {
    explanation.suspect = !coherence_.Trusts(full_key.view(), found.entry, options_.clock->Mono());
    explanation.entry = std::move(found.entry);
  }
  explanation.miss = found.why;
  explanation.lease_held = leases_.IsHeld(full_key.view(), &explanation.lease_waiters) ||
                           flights_.IsFlying(full_key.view(), &explanation.lease_waiters);
  if (lower_.Has(*match.type)) {
    std::vector<std::string> keys(1, std::string(full_key.view()));
    std::vector<LowerTier::Read> reads = co_await lower_.Get(std::move(keys), INT64_MAX);
    Found below = Promote(std::string(full_key.view()), *match.type, std::move(reads[0]),
                          /*ticket=*/0, want_values);
    if (below.present) explanation.below = std::move(below.entry);
  }
  if (MayWait(*match.type)) {
    CO_ASSIGN_OR_RETURN(explanation.waiting,
                        co_await options_.journal->Find(std::string(full_key.view())));
  }
  explanation.rules = RulesAbout(full_key, explanation);
  co_return explanation;
}

std::vector<Rule> Engine::RulesAbout(const FullKey& full_key,
                                     const Explanation& explanation) const {
  // Of an entry that is gone nobody knows the tags any more.
  std::vector<std::string> tags;
  for (const std::optional<Entry>* copy : {&explanation.entry, &explanation.below}) {
    if (copy->has_value()) tags.insert(tags.end(), (*copy)->tags.begin(), (*copy)->tags.end());
  }
  RuleSubject subject;
  subject.name_space = full_key.name_space();
  subject.key = full_key.key();
  subject.type = explanation.match.type->name;
  subject.tags = tags;
  return rule_history_.About(subject, kRulesExplained);
}

EngineStats Engine::Stats() const {
  EngineStats stats;
  stats.since = since_;
  stats.memory = memory_->Usage();
  stats.dictionary_bytes = compressor_->bytes();
  stats.hot_keys_bytes = hot_keys_.bytes();
  stats.leases = leases_.Totals();
  if (lower_.exists()) stats.tier = lower_.OfTier();
  stats.lower = lower_.Stats();
  if (options_.bus != nullptr) stats.bus = options_.bus->Stats();
  stats.coherence = coherence_.Stats();
  stats.rules = rules_.Stats();
  stats.rules.removed_below += covered_below_->dropped();
  stats.watch = changes_.GetStats();
  if (options_.fleet_leases != nullptr) {
    stats.fleet_leases = options_.fleet_leases->Stats();
    stats.fleet_leases->waited_out += loads_without_lease_.load(std::memory_order_relaxed);
  }
  stats.fleet_waits_short = fleet_waits_short_.load(std::memory_order_relaxed);
  for (const OriginLink& link : options_.origins) stats.origins.push_back(link.origin->Stats());
  if (options_.journal != nullptr) stats.journal = options_.journal->Stats();
  stats.writes_doubtful = writes_doubtful_.load(std::memory_order_relaxed);
  stats.flights = flights_.flights();
  stats.flights_waiting = flights_.waiting();
  stats.flights_refused = flights_refused_.load(std::memory_order_relaxed);
  stats.flights_again = flights_again_.load(std::memory_order_relaxed);
  for (const auto& loader : loaders_) {
    stats.flights_queued += loader->queued();
    stats.flights_refused += loader->refused();
  }
  const std::vector<CompressionStats> compression = compressor_->Stats();
  const auto tally = [](const std::vector<L1Tally>& tallies, size_t id) {
    return id < tallies.size() ? tallies[id] : L1Tally();
  };
  for (const TypePolicy& type : options_.types->types()) {
    stats.types.push_back({type.name, usage_.OfType(type.id), tally(stats.memory.by_type, type.id),
                           type.id < compression.size() ? compression[type.id] : CompressionStats(),
                           filters_->Stats(type)});
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
