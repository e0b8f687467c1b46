// What callers do, and what they must not see.
//
// The origin changes first, as it must, and then the cache is told: so a load brings the number of
// the newest change that had begun when the load did.

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tests/sim/fleet_world.h"

namespace larder {
namespace {

constexpr absl::Duration kLeaseTtl = absl::Milliseconds(600);
constexpr const char* kCounter = "counter";

int64_t NumberIn(std::string_view value) {
  int64_t number = -1;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number;
}

}  // namespace

template <typename T, typename Done>
void FleetWorld::Call(const NodePtr& node, Task<T> task, Done done) {
  ++node->running;
  Spawn(std::move(task), [this, node, done = std::move(done)](T result) mutable {
    --node->running;
    if (!node->dead) done(std::move(result));
  });
}

void FleetWorld::Step() {
  const NodePtr node = AnyNode();
  const size_t key = Below(kKeys);
  if (IsStill(*node)) return RunFor(weather_.pace, absl::Milliseconds(5));
  switch (Below(20)) {
    case 0:
    case 1:
    case 2:
      Get(node, key);
      break;
    case 3:
      BatchGet(node);
      break;
    case 4:
    case 5:
    case 6:
      Load(node, key);
      break;
    case 7:
    case 8:
      EndLoad();
      break;
    case 9:
      Set(node, key, /*condition=*/false);
      break;
    case 10:
      OneIn(2) ? Set(node, key, /*condition=*/true) : Touch(node, key);
      break;
    case 11:
      OneIn(2) ? BatchSet(node) : BatchDelete(node);
      break;
    case 12:
      Delete(node, key);
      break;
    case 13:
      Invalidate(node, key);
      break;
    case 14:
      Increment(node);
      break;
    case 15:
      OneIn(6) ? Evict(node) : OneIn(4) ? Warm(node) : BatchLoad(node);
      break;
    default:
      Misfortune(node);
  }
  if (OneIn(3)) return RunSome(static_cast<int>(Below(20)));
  RunFor(weather_.pace * (static_cast<double>(Below(100)) / 100), absl::Milliseconds(5));
  if (OneIn(60)) RunFor(absl::Milliseconds(Below(6000)), absl::Milliseconds(10));
}

void FleetWorld::Misfortune(const NodePtr& node) {
  if (Below(8) < weather_.tier_faults) TierFault(node);
  if (Below(8) < weather_.bus_faults) BusFault(node);
  if (Below(8) < weather_.lease_faults) LeaseFault(node);
  if (Below(8) < weather_.origin_faults) OriginFault(node);
  if (Below(8) < weather_.pauses) Pause(node);
  if (Below(60) < weather_.deaths) {
    Note(node->id.replica, -1, "dies and starts again");
    ++tally_.restarts;
    const int replica = node->id.replica;
    Die(std::exchange(nodes_[replica], nullptr));
    nodes_[replica] = Start(replica);
  }
  if (!weather_.calm && weather_.clocks_off != absl::ZeroDuration() && OneIn(10)) {
    const double share = static_cast<double>(Below(201)) / 100 - 1;
    nodes_[node->id.replica]->replica->clock.SetOff(weather_.clocks_off * share);
    Note(node->id.replica, -1, "clock jumps");
  }
}

bool FleetWorld::Vouches(const NodePtr& node) const {
  return node->replica->bus->ReliableUntil() >= now() &&
         !node->replica->engine->coherence().Stats().suspect;
}

Reading FleetWorld::ReadingBy(const NodePtr& node) {
  Reading reading;
  reading.by = node->id;
  reading.began = history_.Next();
  reading.began_at = now();
  reading.asks = node->replica->bus->ReliableUntil() < now();
  reading.vouched = Vouches(node);
  reading.gaps = node->replica->bus->Stats().gaps;
  if (reading.asks) ++tally_.suspects;
  return reading;
}

void FleetWorld::Saw(const NodePtr& node, size_t key, Reading reading, std::string_view value,
                     const char* how, bool stale) {
  const int64_t number = NumberIn(value);
  ++tally_.hits;
  Note(reading.by.replica, static_cast<int>(key), how, number);
  // What it cannot vouch for it may serve while the tier does not answer, if it is told to.
  const bool vouched =
      reading.vouched && Vouches(node) && reading.gaps == node->replica->bus->Stats().gaps;
  reading.alone = !vouched &&
                  (KindOf(key) == Kind::kLocal || node->tier_unwell_until >= reading.began_at) &&
                  weather_.serve_suspect;
  std::string why = history_.WhyOutdated(key, number, reading);
  absl::Duration slack = 2 * weather_.clocks_off + absl::Milliseconds(2);
  if (stale) {
    ++tally_.stale;
    slack += kStaleMost;
    if (KindOf(key) != Kind::kOwned) Fail("a value was served stale that must not be", -1);
  }
  if (why.empty() && KindOf(key) != Kind::kSliding && touching_[key] == 0 &&
      !history_.MayBeFresh(key, number, reading.began_at, slack))
    why = "its time to live was over";
  if (!why.empty())
    Fail(absl::StrCat("replica ", reading.by.replica, " ", how, " value ", number, " of ",
                      kKeyNames[key], ", but ", why),
         static_cast<int>(key));
}

// That a key is not there is what its beginning says: number 0.
void FleetWorld::SawAbsent(const NodePtr& node, size_t key, Reading reading) {
  ++tally_.absent;
  Note(reading.by.replica, static_cast<int>(key), "is told that there is none");
  const bool vouched =
      reading.vouched && Vouches(node) && reading.gaps == node->replica->bus->Stats().gaps;
  reading.alone = !vouched && node->tier_unwell_until >= reading.began_at && weather_.serve_suspect;
  const std::string why = history_.WhyOutdated(key, 0, reading);
  if (!why.empty())
    Fail(absl::StrCat("replica ", reading.by.replica, " is told that there is no ", kKeyNames[key],
                      ", but ", why),
         static_cast<int>(key));
}

void FleetWorld::SawResult(const NodePtr& node, size_t key, const Reading& reading,
                           const ReadResult& read, const char* how) {
  if (read.entry.has_value()) {
    Saw(node, key, reading, read.entry->stored(), how, read.stale);
  } else if (read.miss == MissReason::kNegative) {
    SawAbsent(node, key, reading);
  }
}

absl::Duration FleetWorld::AnyTtl() {
  return weather_.short_lives ? absl::Milliseconds(50 + Below(3000)) : absl::Minutes(10);
}

std::vector<size_t> FleetWorld::SomeKeys() {
  std::vector<size_t> keys;
  for (size_t key = 0; key < kKeys; ++key) {
    if (OneIn(2)) keys.push_back(key);
  }
  if (keys.empty()) keys.push_back(0);
  return keys;
}

int64_t FleetWorld::BeginChange(const NodePtr& node, size_t key, const char* what,
                                absl::Duration ttl) {
  const int64_t number = history_.Begin(key, node->id, now());
  history_.ExtendFresh(key, number, MonoAfter(now(), ttl));
  if (touching_[key] > 0) history_.ExtendFresh(key, number, touched_until_[key]);
  Note(node->id.replica, static_cast<int>(key), what, number);
  ++tally_.changes;
  Stir(key);
  return number;
}

void FleetWorld::Stir(size_t key) {
  stirred_[key] = now();
  for (Held& held : held_) {
    if (held.key == key) held.valid = false;
  }
}

bool FleetWorld::IsQuiet(size_t key) const {
  const absl::Duration heard = weather_.calm ? absl::Milliseconds(50) : absl::Seconds(2);
  return now() >= MonoAfter(stirred_[key], heard) &&
         now() >= MonoAfter(bus_well_since_, absl::Seconds(2));
}

void FleetWorld::Answered(const NodePtr& node, size_t key, int64_t number, bool acknowledged) {
  Stir(key);
  // Where neither the tier nor the others order what happens, only clocks do, and they are off.
  const bool clocks = weather_.clocks_off != absl::ZeroDuration() &&
                      node->tier_unwell_until >= history_.change(key, number).began_at;
  if (clocks) acknowledged = false;
  const bool unsure = node->reliable_since == 0 || now() < MonoAfter(node->reliable_since, kKnown);
  history_.Answer(key, number, acknowledged, node->replica->tier->calls(), unsure, now());
  Note(node->id.replica, static_cast<int>(key), acknowledged ? "  done" : "  not done", number);
}

void FleetWorld::Get(const NodePtr& node, size_t key) {
  ++tally_.reads;
  const Reading reading = ReadingBy(node);
  Entry entry;
  if (OneIn(2) &&
      node->replica->engine->FindHit(FullKey("", kKeyNames[key]), now(), true, &entry)) {
    return Saw(node, key, reading, entry.stored(), "hits");
  }
  Call(node, node->replica->engine->Get({"", kKeyNames[key], ""}),
       [this, node, key, reading](const absl::StatusOr<ReadResult>& read) {
         if (!read.ok()) return Fail(absl::StrCat("a Get failed: ", read.status().ToString()), -1);
         SawResult(node, key, reading, *read, "gets");
       });
}

void FleetWorld::BatchGet(const NodePtr& node) {
  const std::vector<size_t> keys = SomeKeys();
  std::vector<std::string_view> names;
  for (const size_t key : keys) names.emplace_back(kKeyNames[key]);
  const Reading reading = ReadingBy(node);
  Call(node, node->replica->engine->BatchGet("", names, "", true),
       [this, node, keys, reading](const absl::StatusOr<std::vector<ReadResult>>& reads) {
         for (size_t i = 0; i < keys.size(); ++i)
           SawResult(node, keys[i], reading, (*reads)[i], "gets in a batch");
       });
}

void FleetWorld::Set(const NodePtr& node, size_t key, bool condition) {
  const absl::Duration ttl = AnyTtl();
  Expect expect;
  if (condition) {
    expect.kind = OneIn(2) ? Expect::Kind::kAbsent : Expect::Kind::kPresent;
    Entry entry;
    MissReason why;
    if (OneIn(2) && node->replica->engine->memory().Peek(FullKey("", kKeyNames[key]).view(), now(),
                                                         &entry, &why))
      expect = {Expect::Kind::kVersion, entry.version};
  }
  const int64_t number = BeginChange(node, key, condition ? "sets if" : "sets", ttl);
  const auto value = std::make_shared<std::string>(absl::StrCat(number));
  WriteRequest write;
  write.key = {"", kKeyNames[key], ""};
  write.value = *value;
  write.ttl = ttl;
  write.condition = expect;
  Call(node, node->replica->engine->Set(write),
       [this, node, key, number, value](const absl::StatusOr<WriteResult>& written) {
         Answered(node, key, number, written.ok() && written->stored);
       });
}

void FleetWorld::BatchSet(const NodePtr& node) {
  const std::vector<size_t> keys = SomeKeys();
  const auto values = std::make_shared<std::vector<std::string>>();
  std::vector<int64_t> numbers;
  std::vector<WriteRequest> writes(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const absl::Duration ttl = AnyTtl();
    numbers.push_back(BeginChange(node, keys[i], "sets in a batch", ttl));
    values->push_back(absl::StrCat(numbers[i]));
    writes[i].key = {"", kKeyNames[keys[i]], ""};
    writes[i].ttl = ttl;
  }
  for (size_t i = 0; i < keys.size(); ++i) writes[i].value = (*values)[i];
  Call(node, node->replica->engine->BatchSet(std::move(writes)),
       [this, node, keys, numbers, values](const std::vector<absl::StatusOr<WriteResult>>& all) {
         for (size_t i = 0; i < keys.size(); ++i)
           Answered(node, keys[i], numbers[i], all[i].ok() && all[i]->stored);
       });
}

void FleetWorld::BatchDelete(const NodePtr& node) {
  const std::vector<size_t> keys = SomeKeys();
  std::vector<std::string_view> names;
  std::vector<int64_t> numbers;
  for (const size_t key : keys) {
    names.emplace_back(kKeyNames[key]);
    numbers.push_back(BeginChange(node, key, "deletes in a batch", AnyTtl()));
  }
  Call(node, node->replica->engine->BatchDelete("", names, ""),
       [this, node, keys, numbers](const absl::StatusOr<Engine::Removed>& removed) {
         for (size_t i = 0; i < keys.size(); ++i)
           Answered(node, keys[i], numbers[i], removed.ok() && (*removed)[i].ok());
       });
}

void FleetWorld::Delete(const NodePtr& node, size_t key) {
  const int64_t number = BeginChange(node, key, "deletes", AnyTtl());
  Call(node, node->replica->engine->Delete({"", kKeyNames[key], ""}),
       [this, node, key, number](const absl::StatusOr<RemoveResult>& removed) {
         Answered(node, key, number, removed.ok());
       });
}

void FleetWorld::Invalidate(const NodePtr& node, size_t key) {
  const bool wait = OneIn(2);
  InvalidateRequest request;
  request.keys = {kKeyNames[key]};
  if (wait) request.fleet_until = MonoAfter(now(), absl::Milliseconds(Below(3000)));
  const int64_t number =
      BeginChange(node, key, wait ? "invalidates everywhere" : "invalidates", AnyTtl());
  Call(node, node->replica->engine->InvalidateKeys(request),
       [this, node, key, number, wait](const absl::StatusOr<InvalidateResult>& done) {
         Answered(node, key, number, done.ok());
         if (!wait || !done.ok() || !done->fleet.all()) return;
         // The log lost something while somebody may have just begun to follow it: log_bus.cc, what
         // this cannot do.
         if (now() < MonoAfter(log_loss_at_, absl::Milliseconds(1600))) return;
         // Without a tier, only clocks order what happens.
         if (KindOf(key) == Kind::kLocal && weather_.clocks_off != absl::ZeroDuration()) return;
         ++tally_.fleet_waits;
         Note(node->id.replica, static_cast<int>(key), "  done everywhere", number);
         history_.change(key, number).told = history_.Next();
       });
}

void FleetWorld::Touch(const NodePtr& node, size_t key) {
  const absl::Duration ttl = AnyTtl();
  Note(node->id.replica, static_cast<int>(key), "touches");
  Stir(key);
  // Whichever value it finds: those that are there, and those that come while it is under way.
  const MonoNanos until = MonoAfter(now(), ttl);
  ++touching_[key];
  touched_until_[key] = std::max(touched_until_[key], until);
  for (const SentChange& change : history_.changes(key))
    history_.ExtendFresh(key, change.number, until);
  Call(node, node->replica->engine->Touch({{"", kKeyNames[key], ""}, ttl, TouchMode::kSet}),
       [this, key, ttl](const absl::StatusOr<TouchResult>&) {
         Stir(key);
         --touching_[key];
         // Its time began when the value had been found.
         for (const SentChange& change : history_.changes(key))
           history_.ExtendFresh(key, change.number, MonoAfter(now(), ttl));
       });
}

void FleetWorld::Load(const NodePtr& node, size_t key) {
  LoadRequest request;
  request.key = {"", kKeyNames[key], ""};
  request.lease_ttl = kLeaseTtl;
  if (OneIn(3)) request.wait_until = MonoAfter(now(), absl::Milliseconds(Below(1000)));
  if (OneIn(4)) request.deadline = MonoAfter(now(), absl::Milliseconds(Below(2000)));
  ++tally_.reads;
  const Reading reading = ReadingBy(node);
  Call(node, node->replica->engine->GetOrLoad(request),
       [this, node, key, reading](const absl::StatusOr<LoadResult>& result) {
         if (!result.ok()) return;
         if (result->lease.has_value()) return Granted(node, key, *result->lease, now());
         SawResult(node, key, reading, result->read, "gets or loads");
       });
}

void FleetWorld::BatchLoad(const NodePtr& node) {
  BatchLoadRequest request;
  request.lease_ttl = kLeaseTtl;
  const std::vector<size_t> keys = SomeKeys();
  for (const size_t key : keys) request.keys.emplace_back(kKeyNames[key]);
  if (OneIn(3)) request.wait_until = MonoAfter(now(), absl::Milliseconds(Below(1000)));
  // Of the leases of others some are never heard of again.
  request.deadline = MonoAfter(now(), absl::Milliseconds(Below(2000)));
  const Reading reading = ReadingBy(node);
  Call(node, node->replica->engine->BatchGetOrLoad(std::move(request)),
       [this, node, keys, reading](const std::vector<absl::StatusOr<LoadResult>>& results) {
         for (size_t i = 0; i < keys.size(); ++i) {
           if (!results[i].ok()) continue;
           if (results[i]->lease.has_value()) {
             // Some time in between.
             Granted(node, keys[i], *results[i]->lease, reading.began_at);
           } else {
             SawResult(node, keys[i], reading, results[i]->read, "loads in a batch");
           }
         }
       });
}

void FleetWorld::Warm(const NodePtr& node) {
  const auto keys = std::make_shared<std::vector<std::string>>();
  for (const size_t key : SomeKeys()) keys->emplace_back(kKeyNames[key]);
  Note(node->id.replica, -1, "warms", static_cast<int64_t>(keys->size()));
  Call(node, node->replica->engine->WarmKeys("", keys.get(), ""),
       [this, keys](const EngineWarmed& warmed) { tally_.warmed += warmed.loaded; });
}

// The origin as one start of a replica sees it.
SimOrigin::Hooks FleetWorld::OriginOf(Instance id) {
  const auto index = [](const std::string& name) {
    return static_cast<size_t>(std::find(std::begin(kKeyNames), std::end(kKeyNames), name) -
                               std::begin(kKeyNames));
  };
  SimOrigin::Hooks hooks;
  hooks.begin = [this, id, index](const std::string& name, MonoNanos until) {
    const size_t key = index(name);
    ++tally_.flights;
    Note(id.replica, static_cast<int>(key), "loads from the origin", history_.newest(key));
    bool exact = LeasesHold();
    for (const NodePtr& node : nodes_) {
      if (!weather_.fleet_leases) break;
      // Those included who did not want to wait any longer.
      const FleetLeaseStats leases = *node->replica->engine->Stats().fleet_leases;
      exact = exact && leases.errors == 0 && leases.waited_out == 0;
    }
    for (const Flight& flight : flights_) {
      if (flight.key != key || flight.until <= now()) continue;
      if (flight.by == id || exact)
        Fail(absl::StrCat("replicas ", id.replica, " and ", flight.by.replica, " both load ", name),
             static_cast<int>(key));
    }
    flights_.push_back({id, key, until});
    return history_.newest(key) == 0 ? "" : absl::StrCat(history_.newest(key));
  };
  hooks.list = [this] {
    std::vector<std::string> keys;
    for (size_t key = 0; key < kKeys; ++key) {
      if (KindOf(key) == Kind::kOwned && history_.newest(key) > 0)
        keys.emplace_back(kKeyNames[key]);
    }
    return keys;
  };
  hooks.end = [this, id, index](const std::string& name, const std::string& value) {
    const size_t key = index(name);
    std::erase_if(flights_, [&](const Flight& flight) {
      return flight.key == key && (flight.by == id || flight.until <= now());
    });
    const absl::Duration ttl = AnyTtl();
    if (!value.empty()) history_.ExtendFresh(key, NumberIn(value), MonoAfter(now(), ttl));
    return ttl;
  };
  return hooks;
}

void FleetWorld::Granted(const NodePtr& node, size_t key, const GrantedLease& lease,
                         MonoNanos since) {
  ++tally_.leases;
  const int64_t loaded = history_.newest(key);
  Note(node->id.replica, static_cast<int>(key), "begins to load", loaded);
  FleetLeaseStats theirs;
  // Those included that did not ask, because the tier was away.
  if (weather_.fleet_leases) theirs = *node->replica->engine->Stats().fleet_leases;
  const bool exact =
      LeasesHold() && theirs.errors == 0 && theirs.waited_out == 0 && KindOf(key) != Kind::kLocal;
  for (Held& held : held_) {
    if (held.key != key || !held.valid || held.until <= now()) continue;
    if (held.gaps != held.node->replica->bus->Stats().gaps) continue;
    if (held.node == node || exact)
      Fail(absl::StrCat("replicas ", node->id.replica, " and ", held.node->id.replica,
                        " both load ", kKeyNames[key]),
           static_cast<int>(key));
  }
  // Who has just begun to follow hears of changes that came before.
  const bool valid = IsQuiet(key) && node->reliable_since != 0;
  held_.push_back({node, key, lease.token, loaded, MonoAfter(since, lease.ttl), valid,
                   node->replica->bus->Stats().gaps});
}

// A holder comes back from the origin with what it saw when its load began, or gives up, or is
// never heard of again.
void FleetWorld::EndLoad() {
  if (held_.empty()) return;
  const size_t chosen = Below(held_.size());
  const Held held = held_[chosen];
  if (IsStill(*held.node)) return;
  held_.erase(held_.begin() + static_cast<ptrdiff_t>(chosen));
  switch (Below(8)) {
    case 0:
      held.node->replica->engine->ReleaseLease({"", kKeyNames[held.key], ""}, held.token);
      Note(held.node->id.replica, static_cast<int>(held.key), "gives its lease back");
      return;
    case 1:
      return;
    default:
      Fulfil(held);
  }
}

void FleetWorld::Fulfil(const Held& of) {
  // The call looks at the token after its first wait, too.
  const auto kept = std::make_shared<const Held>(of);
  const Held& held = *kept;
  const NodePtr& node = held.node;
  const auto value = std::make_shared<std::string>(absl::StrCat(held.loaded));
  WriteRequest write;
  write.key = {"", kKeyNames[held.key], ""};
  write.value = *value;
  write.lease_token = held.token;
  write.ttl = AnyTtl();
  history_.ExtendFresh(held.key, held.loaded, MonoAfter(now(), *write.ttl));
  Stir(held.key);
  Reading reading = ReadingBy(node);
  Note(node->id.replica, static_cast<int>(held.key), "has loaded", held.loaded);
  Call(node, node->replica->engine->Set(write),
       [this, kept, value, reading](const absl::StatusOr<WriteResult>& written) mutable {
         const Held& held = *kept;
         Stir(held.key);
         const bool stored = written.ok() && written->stored;
         Note(held.node->id.replica, static_cast<int>(held.key),
              stored ? "  stored what it loaded" : "  did not store it", held.loaded);
         if (!stored) return;
         ++tally_.fills;
         // The tier knows better than the bus, as long as it answers and values do not expire.
         reading.asks = held.node->tier_unwell_until < reading.began_at && !weather_.short_lives &&
                        KindOf(held.key) != Kind::kLocal;
         // What no tier has and this replica does not vouch for is compared with the tier before it
         // is served, or thrown away, when it follows again.
         reading.alone = !reading.vouched && (KindOf(held.key) == Kind::kLocal ||
                                              held.node->tier_unwell_until >= reading.began_at);
         const std::string why = history_.WhyOutdated(held.key, held.loaded, reading);
         if (!why.empty())
           Fail(absl::StrCat("replica ", reading.by.replica, " stored load ", held.loaded, " of ",
                             kKeyNames[held.key], ", but ", why),
                static_cast<int>(held.key));
       });
}

void FleetWorld::Increment(const NodePtr& node) {
  ++tally_.increments;
  IncrementRequest request;
  request.key = {"", kCounter, ""};
  request.delta = 1;
  request.ttl = absl::Hours(1);
  Call(node, node->replica->engine->Increment(request),
       [this](const absl::StatusOr<IncrementResult>& result) {
         if (!result.ok()) return;
         ++counted_;
         last_count_ = result->value;
       });
}

// Fills memory with other things until something has to go.
void FleetWorld::Evict(const NodePtr& node) {
  Note(node->id.replica, -1, "memory fills up");
  const std::string value(16 << 10, 'j');
  for (int i = 0; i < 70; ++i) {
    const FullKey junk("", absl::StrCat("junk", ++junk_));
    EntryFields fields;
    fields.full_key = junk.view();
    fields.value = value;
    fields.version = node->replica->engine->versions().Next();
    fields.fresh_until = fields.usable_until = MonoAfter(now(), absl::Milliseconds(100));
    node->replica->engine->memory().Insert(fields, {}, now());
  }
}

}  // namespace larder
