// Callers of a type with an origin, on one replica: random interleavings of loads, batches, reads,
// sets, deletes, invalidations, marks, expiries, callers who leave and loads that fail, against the
// promises of the cache: bounded staleness, no stale fill, one load, read your writes. With a tier
// below and without. A seed repeats its run.

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/truthful_origin.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

class World {
 public:
  explicit World(uint64_t seed)
      : random_(seed),
        executor_(&clock_, seed),
        lots_(seed),
        fake_({.shared = seed % 4 == 0}),
        tier_(fake_.NewHandle(&clock_, &executor_, &lots_)) {
    Engine::Options options;
    options.clock = &clock_;
    options.random = &lots_;
    options.executor = &executor_;
    options.memory_bytes = L1::kBudgetBytesMin;
    std::vector<TypePolicy> types;
    types.push_back(TruthType());
    if (seed % 3 == 0) types[0].l1_ttl_max = absl::Milliseconds(4);
    options.types = *TypeTable::Make(std::move(types));
    OriginLink link;
    link.name = "truth";
    link.origin = &origin_;
    options.origins = {link};
    if (seed % 2 == 0) {
      options.tier = tier_.get();
      tier_->SetFaults({.delay_max = absl::Milliseconds(seed % 4)});
    }
    engine_ = std::make_unique<Engine>(options);
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) Step();
    executor_.Advance(absl::Minutes(1));
    EXPECT_EQ(running_, 0);
    EXPECT_EQ(origin_.loaded_twice(), 0);
    EXPECT_EQ(engine_->Stats().flights, 0u);
    EXPECT_EQ(engine_->Stats().flights_waiting, 0u);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
    EXPECT_TRUE(engine_->memory().CheckInvariants());
    tier_->Close();
    executor_.RunReady();
  }

  int loads() const { return origin_.loads(); }
  int changes() const { return changes_; }
  int reads() const { return reads_; }
  int stale() const { return stale_; }

 private:
  // What a call needs for as long as it runs.
  struct Caller {
    explicit Caller(const World& world) : began(world.clock_.Mono()) {
      for (size_t key = 0; key < kTruths; ++key) floor[key] = world.truth_.acknowledged[key];
      stale_floor = world.removed_;
    }
    const MonoNanos began;
    std::array<int64_t, kTruths> floor = {};
    // Of what is served as stale.
    std::array<int64_t, kTruths> stale_floor = {};
    std::string key;
    std::string value;
    std::vector<std::string> keys;
    Cancellation cancellation;
  };
  using CallerPtr = std::shared_ptr<Caller>;

  size_t Pick(size_t n) { return random_() % n; }

  void Step() {
    switch (Pick(12)) {
      case 0:
      case 1:
      case 2:
        return Load(Pick(kTruths));
      case 3:
        return LoadBatch();
      case 4:
        return Read(Pick(kTruths));
      case 5:
        return Hit(Pick(kTruths));
      case 6:
        return Change(Pick(kTruths));
      case 7:
        if (!callers_.empty()) callers_[Pick(callers_.size())]->cancellation.Cancel();
        return;
      case 8:
        return executor_.Advance(absl::Microseconds(Pick(Pick(4) == 0 ? 40'000 : 3000)));
      default:
        executor_.RunOne();
    }
  }

  CallerPtr NewCaller(size_t key) {
    auto caller = std::make_shared<Caller>(*this);
    caller->key = TruthKey(key);
    callers_.push_back(caller);
    if (callers_.size() > 20) callers_.erase(callers_.begin());
    ++running_;
    return caller;
  }
  void Saw(const CallerPtr& caller, size_t key, const ReadResult& read, const char* how) {
    ++reads_;
    if (read.stale) ++stale_;
    const int64_t floor = read.stale ? caller->stale_floor[key] : caller->floor[key];
    const std::string why = WhyNot(read, floor, caller->began, clock_.Mono());
    EXPECT_EQ(why, "") << how << " " << TruthKey(key);
  }

  void Load(size_t key) {
    const CallerPtr caller = NewCaller(key);
    LoadRequest request;
    request.key = {"", caller->key, ""};
    request.cancellation = &caller->cancellation;
    if (Pick(3) == 0) request.deadline = MonoAfter(clock_.Mono(), absl::Milliseconds(Pick(10)));
    if (Pick(8) == 0) request.wait_until = clock_.Mono();
    Spawn(engine_->GetOrLoad(request),
          [this, caller, key](const absl::StatusOr<LoadResult>& result) {
            --running_;
            if (result.ok()) Saw(caller, key, result->read, "loads");
          });
  }

  void LoadBatch() {
    const CallerPtr caller = NewCaller(0);
    BatchLoadRequest request;
    for (size_t key = 0; key < kTruths; ++key) caller->keys.push_back(TruthKey(key));
    request.keys.assign(caller->keys.begin(), caller->keys.end());
    request.cancellation = &caller->cancellation;
    Spawn(engine_->BatchGetOrLoad(request),
          [this, caller](const std::vector<absl::StatusOr<LoadResult>>& results) {
            --running_;
            for (size_t key = 0; key < kTruths; ++key) {
              if (results[key].ok()) Saw(caller, key, results[key]->read, "loads in a batch");
            }
          });
  }

  void Read(size_t key) {
    const CallerPtr caller = NewCaller(key);
    Spawn(engine_->Get({"", caller->key, ""}),
          [this, caller, key](const absl::StatusOr<ReadResult>& read) {
            --running_;
            Saw(caller, key, *read, "reads");
          });
  }

  void Hit(size_t key) {
    const CallerPtr caller = NewCaller(key);
    --running_;
    ReadResult read;
    Entry entry;
    if (!engine_->FindHit(FullKey("", caller->key), clock_.Mono(), true, &entry)) return;
    read.entry = std::move(entry);
    Saw(caller, key, read, "hits");
  }

  // The truth changes first, and then the cache is told; one change of a key at a time, as a
  // database's row lock would see to.
  void Change(size_t key) {
    if (std::exchange(changing_[key], true)) return;
    const CallerPtr caller = NewCaller(key);
    const int64_t number = ++truth_.number[key];
    ++changes_;
    const size_t how = Pick(4);
    const bool marks = how == 3;
    const auto done = [this, caller, key, number, marks](bool acknowledged) {
      --running_;
      changing_[key] = false;
      EXPECT_TRUE(acknowledged);
      truth_.acknowledged[key] = number;
      if (!marks) removed_[key] = number;
    };
    switch (how) {
      case 0: {
        caller->value = std::to_string(number);
        WriteRequest write;
        write.key = {"", caller->key, ""};
        write.value = caller->value;
        Spawn(engine_->Set(write),
              [done](const absl::StatusOr<WriteResult>& set) { done(set.ok() && set->stored); });
        return;
      }
      case 1:
        Spawn(engine_->Delete({"", caller->key, ""}),
              [done](const absl::StatusOr<RemoveResult>& removed) { done(removed.ok()); });
        return;
      default: {
        InvalidateRequest request;
        request.keys = {caller->key};
        request.mark_stale = marks;
        Spawn(engine_->Invalidate(request),
              [done](const absl::StatusOr<InvalidateResult>& gone) { done(gone.ok()); });
      }
    }
  }

  std::mt19937_64 random_;
  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom lots_;
  FakeTier fake_;
  std::unique_ptr<FakeTier::Handle> tier_;
  Truth truth_;
  TruthfulOrigin origin_{&truth_, &executor_, &lots_};
  std::unique_ptr<Engine> engine_;
  std::vector<CallerPtr> callers_;
  std::array<bool, kTruths> changing_ = {};
  // The last change after which nothing older is served, not even as stale.
  std::array<int64_t, kTruths> removed_ = {};
  int running_ = 0;
  int changes_ = 0;
  int reads_ = 0;
  int stale_ = 0;
};

TEST(OriginFlightsTest, KeepThePromisesInRandomInterleavings) {
  int loads = 0, changes = 0, reads = 0, stale = 0;
  constexpr uint64_t kSeeds = 400;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.Run(1200);
    if (testing::Test::HasFailure()) return;
    loads += world.loads();
    changes += world.changes();
    reads += world.reads();
    stale += world.stale();
  }
  // It is worth something only while all of it happens.
  EXPECT_GT(loads, 50 * static_cast<int>(kSeeds));
  EXPECT_GT(changes, 20 * static_cast<int>(kSeeds));
  EXPECT_GT(reads, 300 * static_cast<int>(kSeeds));
  EXPECT_GT(stale, static_cast<int>(kSeeds));
}

}  // namespace
}  // namespace larder
