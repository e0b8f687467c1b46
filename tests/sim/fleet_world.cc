// Time, faults, and what the world knows of its changes.
//
// Each start of a replica has an executor of its own: when the replica dies, what it has under way
// is let run to its end, cut off from everybody, and only then is the engine destroyed. All
// executors share one clock, which moves in small steps.

#include "tests/sim/fleet_world.h"

#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// After the log has been well for so long, whatever was changed before has been heard of, or is
// known to be missed; and the same when whoever made the change died before it could tell.
constexpr absl::Duration kHeard = absl::Milliseconds(1500);
constexpr absl::Duration kDeathNoticed = absl::Milliseconds(3500);
// Until a breaker has closed again.
constexpr absl::Duration kTierRecovers = absl::Seconds(4);
constexpr size_t kStoryMax = 400;
// No call of the log takes longer.
constexpr absl::Duration kLogCallMost = absl::Seconds(3);

TypePolicy Type(const std::string& name) {
  TypePolicy type;
  type.name = name;
  if (name != "default") type.match.push_back(*Pattern::Parse(name + ":*"));
  type.ttl.jitter = 0;
  return type;
}

std::vector<TypePolicy> Types(bool filter, absl::Duration l1_ttl_max) {
  TypePolicy strict = Type("strict");
  strict.require_l2 = true;
  TypePolicy local = Type("local");
  local.second_tier = false;
  TypePolicy slide = Type("slide");
  slide.ttl.sliding = true;
  TypePolicy owned = Type("owned");
  owned.origin = "origin";
  owned.freshness.refresh_ahead = 0.7;
  owned.freshness.stale_while_revalidate = absl::Milliseconds(300);
  owned.freshness.stale_if_error = FleetWorld::kStaleMost;
  owned.freshness.soft_timeout = absl::Milliseconds(100);
  owned.freshness.hard_timeout = FleetWorld::kLoadMost;
  owned.freshness.error_pause = absl::Milliseconds(200);
  owned.filter.bloom = filter;
  owned.filter.rebuild = absl::Seconds(1);
  owned.l1_ttl_max = l1_ttl_max;
  owned.ttl.absent = absl::Milliseconds(100);
  return {Type("default"), strict, local, slide, owned};
}

}  // namespace

FleetWorld::FleetWorld(uint64_t seed)
    : seed_(seed),
      random_(seed),
      log_executor_(&clock_, seed),
      fleet_(&clock_, &log_executor_, seed),
      history_(kKeys) {
  const auto share = [this] { return OneIn(3) ? 0 : 1 + Below(4); };
  weather_.calm = OneIn(5);
  constexpr int kOff[] = {0, 0, 5, 3000};
  weather_.clocks_off = absl::Milliseconds(kOff[Below(4)]);
  weather_.guarded = !OneIn(4);
  weather_.serve_suspect = OneIn(2);
  weather_.pace = absl::Milliseconds(1 + Below(OneIn(2) ? 10 : 60));
  weather_.tier_faults = share();
  weather_.bus_faults = share();
  weather_.lease_faults = share();
  weather_.deaths = share();
  weather_.short_lives = OneIn(2);
  weather_.origin_faults = share();
  weather_.fleet_leases = !OneIn(4);
  weather_.filter = OneIn(2);
  if (OneIn(3)) weather_.l1_ttl_max = absl::Milliseconds(Below(300));
  weather_.pauses = share();
  if (weather_.calm) {
    weather_.tier_faults = weather_.bus_faults = weather_.lease_faults = weather_.deaths = 0;
    weather_.origin_faults = weather_.pauses = 0;
  }
  for (int i = 0; i < kReplicas; ++i) nodes_.push_back(Start(i));
}

FleetWorld::~FleetWorld() {
  for (NodePtr& node : nodes_) Die(std::exchange(node, nullptr));
  for (int i = 0; i < 20'000 && !dead_.empty(); ++i)
    RunFor(absl::Milliseconds(5), absl::Milliseconds(5));
  if (!dead_.empty()) ADD_FAILURE() << "seed " << seed_ << ": calls of a dead replica do not end";
}

void FleetWorld::Fail(std::string why, int key) {
  if (!failure_.empty()) return;
  failure_ = absl::StrCat(absl::FormatDuration(absl::Nanoseconds(now())), ": ", why);
  failed_key_ = key;
}

void FleetWorld::Note(int replica, int key, const char* what, int64_t number) {
  if (!failure_.empty()) return;
  for (const uint64_t part : {static_cast<uint64_t>(now()), static_cast<uint64_t>(replica),
                              static_cast<uint64_t>(key), static_cast<uint64_t>(number)}) {
    digest_ = (digest_ ^ part) * 0x9e3779b97f4a7c15;
    digest_ ^= digest_ >> 29;
  }
  events_.push_back({now(), replica, key, what, number});
  if (events_.size() > kStoryMax) events_.pop_front();
}

std::string FleetWorld::Story() const {
  std::string story = absl::StrCat(
      weather_.calm ? "calm, " : "", "clocks off ", absl::FormatDuration(weather_.clocks_off),
      weather_.guarded ? ", guarded" : "", weather_.serve_suspect ? ", serves suspects" : "",
      weather_.short_lives ? ", short lives" : "", weather_.fleet_leases ? "" : ", no fleet leases",
      weather_.filter ? ", filter" : "", ", memory keeps ",
      absl::FormatDuration(weather_.l1_ttl_max), "\n");
  size_t lines = 0;
  for (const Event& event : events_) {
    if (event.key >= 0 && failed_key_ >= 0 && event.key != failed_key_) continue;
    ++lines;
  }
  for (const Event& event : events_) {
    if (event.key >= 0 && failed_key_ >= 0 && event.key != failed_key_) continue;
    if (lines-- > 60) continue;
    absl::StrAppend(&story, "  ", absl::FormatDuration(absl::Nanoseconds(event.at)), " replica ",
                    event.replica, " ", event.key >= 0 ? kKeyNames[event.key] : "", " ", event.what,
                    " ", event.number, "\n");
  }
  return story;
}

FleetWorld::NodePtr FleetWorld::Start(int replica) {
  auto node = std::make_shared<Node>();
  node->id = {replica, ++instances_};
  node->executor = std::make_unique<ManualExecutor>(&clock_, random_.Next());
  node->random = std::make_unique<SeededRandom>(random_.Next());
  Replica::Options options;
  options.number = node->id.number;
  options.node_id = static_cast<uint32_t>(node->id.number);
  options.guarded = weather_.guarded;
  options.guard.breaker.open_max = absl::Seconds(1);
  options.types = Types(weather_.filter, weather_.l1_ttl_max);
  options.fleet_leases = weather_.fleet_leases;
  options.clock_off = weather_.clocks_off * (static_cast<double>(Below(201)) / 100 - 1);
  options.engine.memory_bytes = L1::kBudgetBytesMin;
  options.engine.serve_suspect = weather_.serve_suspect;
  options.engine.hash_seed = 1 + seed_;
  node->origin = std::make_unique<SimOrigin>(&clock_, node->executor.get(), node->random.get(),
                                             OriginOf(node->id));
  OriginLink link;
  link.name = "origin";
  link.origin = node->origin.get();
  options.engine.origins = {link};
  node->replica = std::make_unique<Replica>(&fleet_, node->executor.get(), node->random.get(),
                                            std::move(options));
  node->replica->engine->Start();
  if (OneIn(2)) node->faults.delay_max = absl::Milliseconds(Below(8));
  node->replica->tier->SetFaults(node->faults);
  return node;
}

void FleetWorld::Die(NodePtr node) {
  node->dead = true;
  node->gone_at = MonoAfter(now(), kLogCallMost);
  node->replica->Kill();
  std::erase_if(held_, [&](const Held& held) { return held.node == node; });
  dead_.push_back(std::move(node));
}

// Runs some pieces of work that are ready, whosever they are.
void FleetWorld::RunSome(int pieces) {
  for (; pieces > 0; --pieces) {
    const uint64_t which = Below(kReplicas + 1);
    if (which == kReplicas) {
      log_executor_.RunOne();
    } else if (!IsStill(*nodes_[which])) {
      nodes_[which]->executor->RunOne();
    }
  }
}

void FleetWorld::RunFor(absl::Duration span, absl::Duration step) {
  const MonoNanos end = MonoAfter(now(), span);
  for (;;) {
    for (bool ran = true; ran;) {
      ran = log_executor_.RunOne();
      for (const NodePtr& node : nodes_)
        ran |= node != nullptr && !IsStill(*node) && node->executor->RunOne();
      for (const NodePtr& node : dead_) ran |= node->executor->RunOne();
    }
    Bury();
    if (nodes_[0] != nullptr) Watch();
    if (now() >= end) return;
    clock_.Advance(std::min(step, absl::Nanoseconds(end - now())));
  }
}

// Destroys the dead of whom nothing is under way any more. Their executors stay: the log may know
// them.
void FleetWorld::Bury() {
  std::erase_if(dead_, [this](const NodePtr& node) {
    const bool over = node->running == 0 && now() >= node->gone_at &&
                      node->replica->engine->Stop(absl::ZeroDuration());
    if (!over) return false;
    node->replica.reset();
    buried_.push_back(std::move(node->executor));
    return true;
  });
}

void FleetWorld::Watch() {
  bool bus_well = !log_faults_ && !log_frozen_;
  bool owes = false;
  for (const NodePtr& node : nodes_) {
    bus_well &= !node->cut_off && !IsStill(*node);
    if (node->replica->bus->ReliableUntil() < now()) {
      node->reliable_since = 0;
    } else if (node->reliable_since == 0) {
      node->reliable_since = now();
    }
    if (now() >= node->faults_until && node->faults_until != 0) {
      node->faults_until = 0;
      node->faults = {};
      node->replica->tier->SetFaults({});
      OneIn(2) ? node->replica->tier->Release() : node->replica->tier->Drop();
      Note(node->id.replica, -1, "tier well again");
    }
    // To whoever has stood still, the tier was slow.
    if (node->faults_until != 0 || IsStill(*node))
      node->tier_unwell_until = MonoAfter(now(), kTierRecovers);
    node->owed = node->replica->engine->lower().Stats().owed;
    owes |= node->owed > 0;
  }
  if (!bus_well) bus_well_since_ = now();
  // What is made good later is told later.
  for (size_t key = 0; owes && key < kKeys; ++key) Stir(key);
  for (size_t key = 0; key < kKeys; ++key) WatchChanges(key);
}

bool FleetWorld::AnyTierIsUnwell() const {
  return std::any_of(nodes_.begin(), nodes_.end(),
                     [this](const NodePtr& node) { return node->tier_unwell_until >= now(); });
}

void FleetWorld::WatchChanges(size_t key) {
  const bool local = KindOf(key) == Kind::kLocal;
  for (SentChange& change : history_.changes(key)) {
    if (change.told != kNotYet || change.untold) continue;
    const NodePtr& node = nodes_[change.by.replica];
    const bool gone = node->id != change.by;
    if (change.over == kNotYet) {
      if (gone) {
        change.over = history_.Next();
      } else if (change.answered == kNotYet) {
        continue;
      } else if ((local || AnyTierIsUnwell()) &&
                 now() < MonoAfter(change.answered_at, absl::Milliseconds(2))) {
        // Where replicas do not meet in the tier, clocks order their changes, and those that are
        // right do so only to the millisecond.
        continue;
      } else if (local) {
        change.over = history_.Next();
      } else if (node->owed == 0 && node->replica->tier->oldest_call() > change.calls) {
        change.over = history_.Next();
      } else {
        continue;
      }
      if (!gone && change.acknowledged) {
        change.in_tier = history_.Next();
        change.in_tier_at = now();
      }
    }
    if (change.in_tier == kNotYet || (local && weather_.clocks_off != absl::ZeroDuration())) {
      change.untold = true;
      continue;
    }
    if (gone && change.sender_unsure) change.untold = true;
    for (const NodePtr& other : nodes_) {
      if (gone && other->reliable_since >= change.answered_at - absl::ToInt64Nanoseconds(kKnown) &&
          other->reliable_since <= change.in_tier_at)
        change.untold = true;
    }
    if (change.untold) continue;
    const MonoNanos since = std::max(change.in_tier_at, bus_well_since_);
    if (now() < MonoAfter(since, gone ? kDeathNoticed : kHeard)) continue;
    change.told = history_.Next();
    ++tally_.told;
  }
}

void FleetWorld::TierFault(const NodePtr& node) {
  FakeTierFaults faults;
  switch (Below(5)) {
    case 0:
      faults.fail_ratio = OneIn(2) ? 1 : 0.3;
      break;
    case 1:
      faults.lose_ratio = OneIn(2) ? 1 : 0.3;
      break;
    case 2:
      faults.hang = weather_.guarded;
      break;
    case 3:
      faults.delay_max = absl::Milliseconds(Below(200));
      break;
    default:
      faults.fail_ratio = faults.lose_ratio = 0.2;
      faults.delay_max = absl::Milliseconds(Below(60));
  }
  node->faults = faults;
  node->faults_until = MonoAfter(now(), absl::Milliseconds(20 + Below(OneIn(4) ? 4000 : 400)));
  node->tier_unwell_until = MonoAfter(now(), kTierRecovers);
  node->replica->tier->SetFaults(faults);
  Note(node->id.replica, -1, faults.hang ? "tier hangs" : "tier unwell");
}

void FleetWorld::BusFault(const NodePtr& node) {
  const uint64_t what = Below(10);
  switch (what) {
    case 0:
      log_loss_at_ = bus_well_since_ = now();
      Note(-1, -1, "log flushed");
      return fleet_.log.Flush();
    case 1:
      log_loss_at_ = bus_well_since_ = now();
      Note(-1, -1, "log trimmed");
      return fleet_.log.Trim(Below(10));
    case 2:
      log_frozen_ = !log_frozen_;
      Note(-1, -1, log_frozen_ ? "log frozen" : "log thawed");
      return log_frozen_ ? fleet_.log.Freeze() : fleet_.log.Thaw();
    case 3: {
      log_faults_ = OneIn(2);
      MemoryLog::Faults faults;
      faults.latency_max = absl::Milliseconds(Below(20));
      if (log_faults_) {
        faults.lost = faults.unknown = faults.late = 0.1;
        faults.read_error = 0.1;
      }
      Note(-1, -1, log_faults_ ? "log unwell" : "log well");
      return fleet_.log.SetFaults(faults);
    }
    default:
      if (node->cut_off == (what > 6)) return;
      node->cut_off = what > 6;
      Note(node->id.replica, -1, node->cut_off ? "cut off from the log" : "back at the log");
      node->cut_off ? fleet_.log.Disconnect(node->id.number) : fleet_.log.Connect(node->id.number);
  }
}

void FleetWorld::LeaseFault(const NodePtr& node) {
  if (node->replica->leases == nullptr) return;
  FakeFleetLease::Faults faults;
  faults.delay_max = absl::Milliseconds(Below(20));
  if (OneIn(2)) faults.fails = faults.loses = 0.2;
  faults.late = OneIn(2);
  node->replica->leases->SetFaults(faults);
  if (OneIn(4)) {
    const std::string_view key = kKeyNames[Below(kKeys)];
    fleet_.leases.Lose(std::string(FullKey("", key).view()));
  }
}

void FleetWorld::Pause(const NodePtr& node) {
  node->still_until = MonoAfter(now(), absl::Milliseconds(1 + Below(OneIn(4) ? 8000 : 300)));
  Note(node->id.replica, -1, "stands still");
}

void FleetWorld::OriginFault(const NodePtr& node) {
  SimOrigin::Faults faults;
  faults.fails = OneIn(2);
  // Past the time that loads have, at times.
  faults.takes_most = OneIn(3) ? 2 * kLoadMost : absl::Milliseconds(Below(300));
  node->origin->SetFaults(faults);
}

void FleetWorld::Heal() {
  log_faults_ = false;
  fleet_.log.SetFaults({});
  if (std::exchange(log_frozen_, false)) fleet_.log.Thaw();
  for (const NodePtr& node : nodes_) {
    if (std::exchange(node->cut_off, false)) fleet_.log.Connect(node->id.number);
    if (node->faults_until != 0) node->faults_until = now();
    node->still_until = 0;
    // Time goes on in larger steps now: what takes a while would look slow to the breakers.
    node->replica->tier->SetFaults({});
    if (node->replica->leases != nullptr) node->replica->leases->SetFaults({});
    node->origin->SetFaults({});
  }
  Note(-1, -1, "all is well");
}

void FleetWorld::Run() {
  for (int phase = 0; phase < 2 && failure_.empty(); ++phase) {
    const uint64_t steps = 150 + Below(200);
    for (uint64_t i = 0; i < steps && failure_.empty(); ++i) Step();
    Heal();
    // Whoever gets a lease now ends its load soon, so that everybody has his turn.
    for (int i = 0; i < 90 && failure_.empty(); ++i) {
      RunFor(absl::Milliseconds(100), absl::Milliseconds(20));
      while (i < 75 && !held_.empty()) EndLoad();
    }
    CheckAtTheEnd();
  }
}

void FleetWorld::CheckAtTheEnd() {
  for (const NodePtr& node : nodes_) {
    if (!failure_.empty()) return;
    const EngineStats stats = node->replica->engine->Stats();
    const std::string who = absl::StrCat("replica ", node->id.replica);
    if (node->running != 0) Fail(who + " has calls that do not end", -1);
    if (stats.lower.owed != 0) Fail(who + " did not settle its debts", -1);
    if (stats.coherence.suspect) Fail(who + " is suspect for ever", -1);
    if (stats.bus->state != "following") Fail(absl::StrCat(who, " is ", stats.bus->state), -1);
    if (stats.leases.held != 0 || stats.leases.waiting != 0) Fail(who + " has leases out", -1);
    if (stats.flights != 0) Fail(who + " has flights that do not land", -1);
    if (stats.memory.fills != 0) Fail(who + " has fills out", -1);
    if (!node->replica->engine->memory().CheckInvariants()) Fail(who + " has wrong books", -1);
    for (size_t key = 0; key < kKeys; ++key) Get(node, key);
    for (size_t key = 0; key < kKeys; ++key) {
      if (KindOf(key) == Kind::kOwned) Load(node, key);
    }
    tally_.settled += stats.lower.settled;
    tally_.filtered += stats.total.counts[static_cast<size_t>(Usage::kFiltered)];
  }
  RunFor(absl::Seconds(1), absl::Milliseconds(5));
  if (!weather_.calm || !failure_.empty()) return;
  for (const NodePtr& node : nodes_) {
    Note(node->id.replica, -1, "count", counted_);
    Increment(node);
    RunFor(absl::Seconds(1), absl::Milliseconds(5));
    if (last_count_ != counted_)
      Fail(absl::StrCat("counted ", counted_, ", but the counter says ", last_count_), -1);
  }
}

}  // namespace larder
