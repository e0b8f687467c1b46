// Three replicas of one fleet whose clocks are minutes apart: random interleavings of tagged sets,
// loads by lease, reads, invalidations by tag, prefix and namespace, with messages lost, logs
// trimmed and cut off, a tier that fails, hangs and loses answers, and replicas that die and start
// again, against the one promise: once an invalidation that waited for the fleet says that all have
// it, nobody is given anything that was there before it began. A seed repeats its run.
//
// An interleaving is one round: some dozens of calls side by side, then a world that is well again,
// in which everything is read everywhere. LARDER_SIM_SEEDS=N runs N times fifty of them (default
// 40 times), LARDER_SIM_SEED=S those of one seed.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "tests/engine/replica.h"

namespace larder {
namespace {

constexpr size_t kReplicas = 3;
constexpr int kRounds = 50;
constexpr int kCalls = 40;
constexpr size_t kKeys = 3;

// Counts what begins and ends, so that of any two things it can be told which came first.
using Moment = uint64_t;

// A value that somebody wrote or loaded.
struct Written {
  std::string key;
  std::string tag;
  // When it was there at the latest: the Set has answered, the load has begun with what is loaded.
  // 0: nobody knows.
  Moment there_by = 0;
};

struct Invalidation {
  Rule rule;
  Moment began = 0;
  Moment done = 0;  // 0: it did not reach all
};

class RulesWorld {
 public:
  explicit RulesWorld(uint64_t seed)
      : random_(seed), executor_(&clock_, seed), chance_(seed), fleet_(&clock_, &executor_, seed) {
    const absl::Duration offs[] = {absl::ZeroDuration(), absl::Minutes(5), -absl::Minutes(5)};
    for (size_t i = 0; i < kReplicas; ++i) {
      offs_.push_back(offs[(i + seed) % kReplicas]);
      replicas_.push_back(nullptr);
      StartAgain(i);
    }
    executor_.Advance(absl::Seconds(5));
  }
  ~RulesWorld() {
    for (const auto& replica : replicas_) replica->Kill();
    executor_.Advance(absl::Seconds(60));
  }

  // What was seen that must not be; empty: nothing.
  std::string Round() {
    // Keys of its own, so that what a round proves does not depend on the one before.
    ++round_;
    invalidations_.clear();
    for (int i = 0; i < kCalls; ++i) {
      Step();
      if (Roll(2)) executor_.Advance(absl::Milliseconds(random_() % 8));
    }
    Heal();
    executor_.Advance(absl::Seconds(8));
    for (size_t i = 0; i < kReplicas; ++i) {
      for (size_t k = 0; k < kKeys; ++k) Read(i, Key(k));
    }
    executor_.Advance(absl::Seconds(2));
    return wrong_;
  }

  uint64_t reads() const { return reads_; }
  uint64_t hits() const { return hits_; }
  uint64_t judged() const { return judged_; }

 private:
  bool Roll(uint64_t one_in) { return random_() % one_in == 0; }
  std::string Key(size_t k) const { return "r" + std::to_string(round_) + ":" + std::to_string(k); }
  static std::string Tag(uint64_t n) { return "t" + std::to_string(n % 2); }
  Engine& engine(size_t i) { return *replicas_[i]->engine; }

  void StartAgain(size_t i) {
    if (replicas_[i] != nullptr) {
      replicas_[i]->Kill();
      dead_.push_back(std::move(replicas_[i]));
    }
    Replica::Options options;
    options.number = static_cast<int>(starts_);
    options.node_id = static_cast<uint32_t>(++starts_ % kNodeIdMax);
    options.clock_off = offs_[i];
    TypePolicy type;
    type.name = "default";
    type.ttl.base = absl::Minutes(10);
    type.ttl.jitter = 0;
    options.types.push_back(type);
    options.engine.memory_bytes = L1::kBudgetBytesMin;
    replicas_[i] = std::make_unique<Replica>(&fleet_, &executor_, &chance_, options);
    numbers_[i] = options.number;
    engine(i).Start();
  }

  void Step() {
    const size_t i = random_() % kReplicas;
    const std::string key = Key(random_() % kKeys);
    switch (random_() % 16) {
      case 0:
      case 1:
      case 2:
        return Set(i, key);
      case 3:
      case 4:
        return Load(i, key);
      case 5:
      case 6:
      case 7:
        return Invalidate(i);
      case 8:
        return Fault(i);
      default:
        return Read(i, key);
    }
  }

  void Set(size_t i, const std::string& key, const std::string& token = "", Moment loaded = 0) {
    auto call = std::make_shared<std::pair<std::string, std::string>>(key, "");
    const size_t number = written_.size();
    call->second = std::to_string(number);
    written_.push_back({key, Tag(random_()), 0});
    WriteRequest write;
    write.key = {"", call->first, ""};
    write.value = call->second;
    write.tags = {written_.back().tag};
    write.lease_token = token;
    Spawn(engine(i).Set(std::move(write)),
          [this, call, number, loaded](const absl::StatusOr<WriteResult>& done) {
            const Moment now = ++moment_;
            if (!done.ok() || !done->stored) return;
            written_[number].there_by = loaded != 0 ? loaded : now;
          });
  }

  // Takes a lease and fills it a while later, with what was true when it was given.
  void Load(size_t i, const std::string& key) {
    auto name = std::make_shared<std::string>(key);
    LoadRequest request;
    request.key = {"", *name, ""};
    request.lease_ttl = absl::Seconds(1);
    request.wait_until = clock_.Mono();
    const Replica* const replica = replicas_[i].get();
    Spawn(engine(i).GetOrLoad(request),
          [this, i, name, replica](const absl::StatusOr<LoadResult>& done) {
            if (!done.ok() || !done->lease.has_value()) return;
            const Moment loaded = ++moment_;
            executor_.After(absl::Milliseconds(random_() % 20),
                            [this, i, name, replica, loaded, token = done->lease->token] {
                              if (replicas_[i].get() == replica) Set(i, *name, token, loaded);
                            });
          });
  }

  void Invalidate(size_t i) {
    Rule rule;
    rule.name_space = "default";
    switch (random_() % 4) {
      case 0:
        rule.kind = Rule::Kind::kPrefix;
        rule.match = "r" + std::to_string(round_) + ":";
        break;
      case 1:
        rule.kind = Rule::Kind::kAll;
        break;
      default:
        rule.kind = Rule::Kind::kTag;
        rule.match = Tag(random_());
    }
    const auto at = std::make_shared<Invalidation>();
    at->rule = rule;
    at->began = ++moment_;
    invalidations_.push_back(at);
    InvalidateRequest request;
    request.rules.push_back(rule);
    request.fleet_until = MonoAfter(clock_.Mono(), absl::Milliseconds(500));
    Spawn(engine(i).Invalidate(std::move(request)),
          [this, at](const absl::StatusOr<InvalidateResult>& done) {
            if (done.ok() && done->fleet.all()) at->done = ++moment_;
          });
  }

  void Fault(size_t i) {
    const int number = numbers_[i];
    switch (random_() % 8) {
      case 0:
        return StartAgain(i);
      case 1:
        return fleet_.log.Disconnect(number);
      case 2:
        return fleet_.log.Connect(number);
      case 3:
        return fleet_.log.Trim(random_() % 10);
      case 4: {
        FakeTierFaults faults;
        faults.fail_ratio = 0.3;
        faults.lose_ratio = 0.3;
        faults.delay_max = absl::Milliseconds(5);
        return replicas_[i]->tier->SetFaults(faults);
      }
      case 5:
        return replicas_[i]->tier->SetFaults({});
      case 6:
        replicas_[i]->clock.SetOff(offs_[i] + absl::Milliseconds(random_() % 2000) -
                                   absl::Seconds(1));
        return;
      default:
        for (size_t n = 0; n < kReplicas; ++n)
          fleet_.log.Connect(numbers_[n]), replicas_[n]->tier->SetFaults({});
    }
  }
  void Heal() {
    for (size_t i = 0; i < kReplicas; ++i) {
      fleet_.log.Connect(numbers_[i]);
      replicas_[i]->tier->SetFaults({});
    }
  }

  void Read(size_t i, const std::string& key) {
    auto name = std::make_shared<std::string>(key);
    const Moment began = ++moment_;
    ++reads_;
    Entry entry;
    if (engine(i).FindHit(FullKey("", key), clock_.Mono(), true, &entry))
      return Judge(i, key, std::string(entry.stored()), began);
    Spawn(engine(i).Get({"", *name, ""}),
          [this, i, name, began](const absl::StatusOr<ReadResult>& read) {
            if (read.ok() && read->entry.has_value())
              Judge(i, *name, std::string(read->entry->stored()), began);
          });
  }

  static bool Covers(const Rule& rule, const Written& value) {
    switch (rule.kind) {
      case Rule::Kind::kTag:
        return rule.match == value.tag;
      case Rule::Kind::kPrefix:
        return value.key.compare(0, rule.match.size(), rule.match) == 0;
      default:
        return true;
    }
  }

  void Judge(size_t i, const std::string& key, const std::string& seen, Moment began) {
    ++hits_;
    const Written& value = written_[std::stoul(seen)];
    for (const auto& at : invalidations_) {
      if (at->done == 0 || at->done > began) continue;
      ++judged_;
      if (value.there_by == 0 || value.there_by > at->began || !Covers(at->rule, value)) continue;
      wrong_ = "round " + std::to_string(round_) + ": replica " + std::to_string(i) + " gave " +
               key + " = " + seen + " (there by " + std::to_string(value.there_by) +
               ") to a read at " + std::to_string(began) + ", after an invalidation from " +
               std::to_string(at->began) + " to " + std::to_string(at->done);
    }
  }

  std::mt19937_64 random_;
  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom chance_;
  Fleet fleet_;
  std::vector<absl::Duration> offs_;
  std::vector<std::unique_ptr<Replica>> replicas_, dead_;
  std::array<int, kReplicas> numbers_ = {};
  uint32_t starts_ = 0;
  int round_ = 0;
  Moment moment_ = 0;
  std::vector<Written> written_;
  std::vector<std::shared_ptr<Invalidation>> invalidations_;
  std::string wrong_;
  uint64_t reads_ = 0, hits_ = 0, judged_ = 0;
};

// Faults are logged at length.
class Quiet {
 public:
  Quiet() : nowhere_(open("/dev/null", O_WRONLY)) { ConfigureLog({.fd = nowhere_}); }
  ~Quiet() {
    ConfigureLog({});
    close(nowhere_);
  }

 private:
  const int nowhere_;
};

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

TEST(RulesSimulation, NothingThatIsCoveredIsSeenOnceAllReplicasHaveTheRule) {
  const Quiet quiet;
  const uint64_t one = FromEnvironment("LARDER_SIM_SEED", 0);
  const uint64_t seeds = FromEnvironment("LARDER_SIM_SEEDS", 40);
  uint64_t hits = 0, judged = 0, rounds = 0;
  for (uint64_t seed = one != 0 ? one : 1; seed <= (one != 0 ? one : seeds); ++seed) {
    RulesWorld world(seed);
    for (int round = 0; round < kRounds; ++round, ++rounds) {
      const std::string wrong = world.Round();
      ASSERT_EQ(wrong, "") << "seed " << seed;
    }
    hits += world.hits();
    judged += world.judged();
  }
  std::cout << rounds << " interleavings, " << hits << " hits, " << judged
            << " of them held against an invalidation before" << std::endl;
  EXPECT_GT(judged, rounds);
}

}  // namespace
}  // namespace larder
