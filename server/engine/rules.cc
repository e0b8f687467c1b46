// Why the table first, then the tier, then the others.
//
//   Readers here must miss as soon as the call has begun to have an effect, whatever becomes of the
//   rest. A replica that is told, and one that starts or missed the message, must find the rule in
//   the tier, so the tier comes before the bus. If the tier does not take it, the others are told
//   all the same, and it is kept as soon as the tier is well again.
//
// Who waits for the fleet is promised that everything of before is covered, on all replicas,
// whatever their clocks say. So when all have the rule and one of them knows of newer versions,
// which may be of before, it is made once more under a version above them. It may cover what was
// written while the call ran.
//
// What is read from the tier while this replica may lack rules is checked against all that the tier
// has by then: readers wait for one reading of the rules that begins after they do, which they
// share.

#include "engine/rules.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "engine/rule_codec.h"

namespace larder {
namespace {

// How often the rules of the tier are read while all is well, in case that it lost some.
constexpr MonoNanos kStudyEvery = 60'000'000'000;
constexpr absl::Duration kMaintainEvery = absl::Milliseconds(500);
// Time in which every replica that is alive is heard; some heartbeats of the bus.
constexpr absl::Duration kHearAll = absl::Seconds(1);
// Clocks that are less apart are as good as the same.
constexpr absl::Duration kClocksDiffer = absl::Seconds(1);

void Raise(std::atomic<Version>* to, Version version) {
  Version now = to->load(std::memory_order_relaxed);
  while (now < version && !to->compare_exchange_weak(now, version, std::memory_order_acq_rel)) {
  }
}

}  // namespace

Rules::Rules(const Options& options)
    : options_(options), heard_all_at_(options.bus == nullptr ? 0 : INT64_MAX) {
  if (options.tier == nullptr) {
    known_ = true;
    return;
  }
  RuleStore::Options store;
  store.tier = options.tier;
  store.versions = options.versions;
  store.clock = options.clock;
  store.executor = options.executor;
  store.life = options.life;
  store.on_found = [this](const std::vector<Rule>& rules) { LearnFound(rules); };
  store_ = std::make_unique<RuleStore>(store);
}

void Rules::Start() {
  StartSweeps();
  if (store_ != nullptr) MaintainAndReschedule();
}

Task<absl::StatusOr<Rules::Applied>> Rules::Apply(
    std::vector<Rule> rules, std::optional<MonoNanos> fleet_until,
    std::function<void(const std::vector<Rule>& rules)> in_force) {
  Applied applied;
  applied.version = options_.versions->Next();
  const MonoNanos now = options_.clock->Mono();
  if (store_ != nullptr) CO_RETURN_IF_ERROR(store_->CheckRoom(rules));
  for (Rule& rule : rules) {
    rule.version = applied.version;
    // Several at once are tags, of which there is always room for one more; or what changes make
    // out of date, where the caller goes on with all of the namespace.
    CO_RETURN_IF_ERROR(options_.table->Add(rule, now));
    if (rule.stale) Raise(&newest_marked_, rule.version);
    if (options_.on_rule) options_.on_rule(rule);
  }
  // Before the sweep, which goes by what follows, removes what it may want to count.
  if (in_force) in_force(rules);
  Raise(&newest_, applied.version);
  Raise(&own_newest_, applied.version);
  applied_.fetch_add(rules.size(), std::memory_order_relaxed);
  if (store_ != nullptr) {
    const absl::Status kept = co_await Timed(Step::kTierWrite, options_.clock, store_->Add(rules));
    applied.kept = kept.ok();
    if (!kept.ok()) {
      store_failures_.fetch_add(1, std::memory_order_relaxed);
      LogWarning("rules_not_kept", {{"error", kept}});
    }
  } else {
    applied.kept = true;
  }
  if (options_.bus == nullptr) {
    applied.fleet.known = true;
    co_return applied;
  }
  BusMessage message{BusMessage::Kind::kRule, applied.version, {}, EncodeRules(rules), 0, {}};
  if (!fleet_until.has_value()) {
    options_.bus->Publish(std::move(message));
    co_return applied;
  }
  applied.fleet = co_await Timed(Step::kFleet, options_.clock,
                                 options_.bus->PublishAndWait(std::move(message), *fleet_until));
  // By now it is known what versions there may have been when the first of them began.
  if (applied.fleet.all() && applied.fleet.newest > applied.version) {
    options_.versions->Observe(applied.fleet.newest);
    CO_ASSIGN_OR_RETURN(applied, co_await ApplyAgain(std::move(rules), *fleet_until));
  }
  // Whoever has it in force may still lose it with a restart.
  if (!applied.kept) applied.fleet.known = false;
  co_return applied;
}

// The others tell of no newer version by now that something of before the call could have.
Task<absl::StatusOr<Rules::Applied>> Rules::ApplyAgain(std::vector<Rule> rules,
                                                       MonoNanos fleet_until) {
  Applied applied;
  applied.version = options_.versions->Next();
  for (Rule& rule : rules) rule.version = applied.version;
  Learn(rules);
  Raise(&own_newest_, applied.version);
  if (store_ != nullptr) {
    const absl::Status kept = co_await Timed(Step::kTierWrite, options_.clock, store_->Add(rules));
    applied.kept = kept.ok();
    if (!kept.ok()) store_failures_.fetch_add(1, std::memory_order_relaxed);
  } else {
    applied.kept = true;
  }
  BusMessage message{BusMessage::Kind::kRule, applied.version, {}, EncodeRules(rules), 0, {}};
  applied.fleet = co_await Timed(Step::kFleet, options_.clock,
                                 options_.bus->PublishAndWait(std::move(message), fleet_until));
  co_return applied;
}

void Rules::Learn(const std::vector<Rule>& rules) {
  const MonoNanos now = options_.clock->Mono();
  for (const Rule& rule : rules) {
    options_.versions->Observe(rule.version);
    Raise(&newest_, rule.version);
    if (rule.stale) Raise(&newest_marked_, rule.version);
    if (const absl::Status added = options_.table->Add(rule, now); !added.ok()) {
      // Its limits are another's. What cannot be told apart is covered together.
      LogWarning("rule_widened", {{"namespace", rule.name_space}, {"error", added}});
      Rule all = rule;
      all.kind = Rule::Kind::kAll;
      all.match.clear();
      const absl::Status widened = options_.table->Add(all, now);
      if (!widened.ok()) LogError("rule_lost", {{"error", widened}});
      if (options_.on_rule) options_.on_rule(all);
    }
    if (options_.on_rule) options_.on_rule(rule);
  }
}

// A rule that was found in the tier before the others told of it has been in force since: what was
// made in between comes after it.
std::vector<Rule> Rules::Extensions(const std::vector<Rule>& rules) const {
  std::vector<Rule> more;
  const Version last = options_.versions->Last();
  for (const Rule& rule : rules) {
    if (rule.node != Rule::kEveryNode) continue;
    const Version upto = options_.table->Covers(rule) ? std::min(last, found_upto_.load()) : last;
    if (rule.version >= upto) continue;
    more.push_back(rule);
    more.back().node = options_.node_id;
    more.back().version = upto;
  }
  return more;
}

// At the start and after a gap there may be many, and the others are about to tell of those that
// are new. Later on, a rule that is found was told a moment ago, or never will be.
void Rules::LearnFound(const std::vector<Rule>& rules) {
  std::vector<Rule> more;
  if (!Known()) {
    Raise(&found_upto_, options_.versions->Last());
  } else {
    std::vector<Rule> unheard;
    for (const Rule& rule : rules) {
      if (rule.node == Rule::kEveryNode && !options_.table->Covers(rule)) unheard.push_back(rule);
    }
    more = Extensions(unheard);
  }
  Learn(rules);
  if (more.empty()) return;
  Learn(more);
  extended_.fetch_add(more.size(), std::memory_order_relaxed);
  KeepBehind(std::move(more));
}

void Rules::OnMessage(const BusMessage& message) {
  auto rules = DecodeRules(message.rule);
  if (!rules.ok()) {
    // A newer release speaks. What it invalidates is not known, so everything is.
    LogWarning("rules_unreadable", {{"node", message.node}, {"error", rules.status()}});
    options_.table->CoverUpTo(message.version);
    return;
  }
  received_.fetch_add(rules->size(), std::memory_order_relaxed);
  // Before any of them is in force here, so that what is made above them afterwards comes after.
  std::vector<Rule> more = Extensions(*rules);
  rules->insert(rules->end(), more.begin(), more.end());
  Learn(*rules);
  if (store_ != nullptr) store_->Note(*rules);
  if (more.empty()) return;
  extended_.fetch_add(more.size(), std::memory_order_relaxed);
  KeepBehind(std::move(more));
}

void Rules::KeepBehind(std::vector<Rule> rules) {
  if (!options_.background->TryEnter()) return;
  Spawn(KeepAndTell(std::move(rules)), [this](bool) { options_.background->Leave(); });
}

Task<bool> Rules::KeepAndTell(std::vector<Rule> rules) {
  bool kept = true;
  if (store_ != nullptr) {
    const absl::Status added = co_await Timed(Step::kTierWrite, options_.clock, store_->Add(rules));
    kept = added.ok();
    if (!kept) store_failures_.fetch_add(1, std::memory_order_relaxed);
  }
  const Version newest = rules.back().version;
  BusMessage message{BusMessage::Kind::kRule, newest, {}, EncodeRules(rules), 0, {}};
  options_.bus->Publish(std::move(message));
  co_return kept;
}

void Rules::OnGap() {
  round_.fetch_add(1, std::memory_order_acq_rel);
  following_.store(false, std::memory_order_release);
  heard_all_at_.store(INT64_MAX, std::memory_order_release);
  known_.store(store_ == nullptr, std::memory_order_release);
}

void Rules::OnFollowing() {
  round_.fetch_add(1, std::memory_order_acq_rel);
  known_.store(store_ == nullptr, std::memory_order_release);
  following_.store(true, std::memory_order_release);
  heard_all_at_.store(MonoAfter(options_.clock->Mono(), kHearAll), std::memory_order_release);
  if (store_ != nullptr) StudyBehind(nullptr);
}

// What a replica whose clock is ahead made, or heard of, while this one heard nothing, has versions
// that are newer than the ones from here. Each of them says what its newest is.
void Rules::OnSaw(Version version) {
  Raise(&heard_newest_, version);
  if (options_.clock->Mono() < heard_all_at_.load(std::memory_order_acquire))
    options_.table->ForgetChanges(version);
}

bool Rules::KnowsChangesSince(Version version) {
  if (!Known()) return false;
  if (options_.clock->Mono() < heard_all_at_.load(std::memory_order_acquire)) return false;
  // A replica that is alone goes on above what it made before.
  if (options_.bus == nullptr) return true;
  // Nobody else who is alive has made or heard of it, and no clock that is right has come so far.
  // What was read from the tier says nothing: it may be of the dead, too.
  if (version > heard_newest_.load(std::memory_order_acquire) &&
      VersionTime(version) > options_.clock->Now() + kClocksDiffer) {
    options_.table->ForgetChanges(version);
    return false;
  }
  return true;
}

Task<bool> Rules::BeKnown() {
  if (Known()) co_return true;
  auto waiter = std::make_shared<Waiter>(options_.executor);
  StudyBehind(waiter);
  co_return co_await waiter->known;
}

void Rules::StudyBehind(std::shared_ptr<Waiter> waiter) {
  {
    MutexLock lock(&mu_);
    if (waiter != nullptr) waiting_.push_back(std::move(waiter));
    study_again_ = true;
    if (studying_) return;
    studying_ = true;
  }
  if (options_.background->TryEnter()) {
    Spawn(Study(), [this](bool) { options_.background->Leave(); });
    return;
  }
  std::vector<std::shared_ptr<Waiter>> refused;
  {
    MutexLock lock(&mu_);
    refused = std::exchange(waiting_, {});
    studying_ = false;
  }
  for (const auto& one : refused) one->known.TrySet(false);
}

// One reading after the other, as long as somebody came after the last one had begun.
Task<bool> Rules::Study() {
  for (;;) {
    std::vector<std::shared_ptr<Waiter>> waiting;
    {
      MutexLock lock(&mu_);
      if (!study_again_) {
        studying_ = false;
        co_return true;
      }
      study_again_ = false;
      waiting = std::exchange(waiting_, {});
    }
    const bool following = options_.bus == nullptr || following_.load(std::memory_order_acquire);
    const uint64_t round = round_.load(std::memory_order_acquire);
    const absl::Status read = co_await store_->ReadAll();
    if (!read.ok()) {
      store_failures_.fetch_add(1, std::memory_order_relaxed);
      LogWarning("rules_not_read", {{"error", read}});
    }
    studied_.store(options_.clock->Mono(), std::memory_order_relaxed);
    if (read.ok() && following && round == round_.load(std::memory_order_acquire))
      known_.store(true, std::memory_order_release);
    for (const auto& one : waiting) one->known.TrySet(read.ok());
  }
}

void Rules::MaintainAndReschedule() {
  const MonoNanos now = options_.clock->Mono();
  const bool following = options_.bus == nullptr || following_.load(std::memory_order_acquire);
  if ((following && !Known()) || now - studied_.load(std::memory_order_relaxed) > kStudyEvery)
    StudyBehind(nullptr);
  if (const absl::Duration life = store_->life(); life != absl::InfiniteDuration())
    options_.table->DropUpTo(VersionAt(options_.clock->Now() - life));
  if (!store_->IsBehind() || !options_.background->TryEnter()) {
    options_.executor->After(kMaintainEvery, [this] { MaintainAndReschedule(); });
    return;
  }
  Spawn(Mend(), [this](bool) {
    options_.background->Leave();
    options_.executor->After(kMaintainEvery, [this] { MaintainAndReschedule(); });
  });
}

Task<bool> Rules::Mend() {
  const absl::Status mended = co_await store_->Mend();
  if (!mended.ok()) store_failures_.fetch_add(1, std::memory_order_relaxed);
  co_return mended.ok();
}

RulesStats Rules::Stats() const {
  RulesStats stats;
  stats.table = options_.table->GetStats();
  stats.known = Known();
  stats.behind = store_ != nullptr && store_->IsBehind();
  stats.applied = applied_.load(std::memory_order_relaxed);
  stats.received = received_.load(std::memory_order_relaxed);
  stats.extended = extended_.load(std::memory_order_relaxed);
  stats.swept = swept_.load(std::memory_order_relaxed);
  stats.swept_below = swept_below_.load(std::memory_order_relaxed);
  stats.removed_below = removed_below_.load(std::memory_order_relaxed);
  stats.store_failures = store_failures_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace larder
