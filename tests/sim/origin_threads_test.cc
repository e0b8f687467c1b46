// The promises of origin_flights_test.cc among real threads: eight of them load, read and change
// few keys, while values expire, refreshes run behind and loads fail. For ThreadSanitizer, too.

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/base/await_task.h"
#include "tests/sim/truthful_origin.h"
#include "tests/tier/fake_tier.h"

namespace larder {
namespace {

class Threads {
 public:
  explicit Threads(bool with_tier) : pool_(ThreadPool::New({3, 100'000})) {
    Engine::Options options;
    options.executor = pool_.get();
    options.memory_bytes = L1::kBudgetBytesMin;
    std::vector<TypePolicy> types;
    types.push_back(TruthType());
    options.types = *TypeTable::Make(std::move(types));
    OriginLink link;
    link.name = "truth";
    link.origin = &origin_;
    options.origins = {link};
    tier_ = fake_.NewHandle(Clock::System(), pool_.get());
    tier_->SetFaults({.delay_max = absl::Milliseconds(1)});
    if (with_tier) options.tier = tier_.get();
    engine_ = std::make_unique<Engine>(options);
    engine_->Start();
  }

  void Run(int calls_of_each) {
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 8; ++t)
      threads.emplace_back([this, t, calls_of_each] { Work(t, calls_of_each); });
    for (std::thread& thread : threads) thread.join();
    engine_->Drain();
    EXPECT_TRUE(engine_->Stop(absl::Seconds(10)));
    pool_->Shutdown();
    const EngineStats stats = engine_->Stats();
    EXPECT_EQ(stats.flights, 0u);
    EXPECT_EQ(stats.flights_waiting, 0u);
    EXPECT_EQ(stats.memory.fills, 0u);
    EXPECT_TRUE(engine_->memory().CheckInvariants());
    EXPECT_EQ(origin_.loaded_twice(), 0);
    EXPECT_GT(origin_.loads(), calls_of_each / 10);
    EXPECT_GT(changes_, calls_of_each / 10);
    EXPECT_GT(seen_, calls_of_each);
  }

 private:
  void Work(uint64_t seed, int calls) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < calls && !testing::Test::HasFailure(); ++i) {
      const size_t key = random() % kTruths;
      switch (random() % 16) {
        case 0:
          Change(key, random() % 3);
          break;
        case 1:
          LoadBatch();
          break;
        case 2:
        case 3:
          Read(key);
          break;
        case 4:
        case 5:
        case 6:
          Hit(key);
          break;
        default:
          Load(key, random() % 8);
      }
    }
  }

  void Saw(size_t key, const ReadResult& read, int64_t floor, MonoNanos began) {
    ++seen_;
    const std::string why = WhyNot(read, floor, began, Clock::System()->Mono());
    EXPECT_EQ(why, "") << TruthKey(key);
  }

  void Load(size_t key, uint64_t how) {
    const std::string name = TruthKey(key);
    const int64_t floor = truth_.acknowledged[key];
    const MonoNanos began = Clock::System()->Mono();
    LoadRequest request;
    request.key = {"", name, ""};
    if (how == 0) request.deadline = MonoAfter(began, absl::Milliseconds(1));
    if (how == 1) request.wait_until = began;
    const auto result = AwaitTask(engine_->GetOrLoad(request));
    if (result.ok()) Saw(key, result->read, floor, began);
  }

  void LoadBatch() {
    std::vector<std::string> names;
    std::array<int64_t, kTruths> floor = {};
    for (size_t key = 0; key < kTruths; ++key) {
      names.push_back(TruthKey(key));
      floor[key] = truth_.acknowledged[key];
    }
    const MonoNanos began = Clock::System()->Mono();
    BatchLoadRequest request;
    request.keys.assign(names.begin(), names.end());
    const auto results = AwaitTask(engine_->BatchGetOrLoad(request));
    for (size_t key = 0; key < kTruths; ++key) {
      if (results[key].ok()) Saw(key, results[key]->read, floor[key], began);
    }
  }

  void Read(size_t key) {
    const std::string name = TruthKey(key);
    const int64_t floor = truth_.acknowledged[key];
    const MonoNanos began = Clock::System()->Mono();
    const auto read = AwaitTask(engine_->Get({"", name, ""}));
    ASSERT_TRUE(read.ok()) << read.status();
    Saw(key, *read, floor, began);
  }

  void Hit(size_t key) {
    const std::string name = TruthKey(key);
    const int64_t floor = truth_.acknowledged[key];
    const MonoNanos began = Clock::System()->Mono();
    ReadResult read;
    Entry entry;
    if (!engine_->FindHit(FullKey("", name), began, true, &entry)) return;
    read.entry = std::move(entry);
    Saw(key, read, floor, began);
  }

  void Change(size_t key, uint64_t how) {
    const std::string name = TruthKey(key);
    // One writer of a key at a time, as a database's row lock would see to.
    MutexLock lock(&writers_[key]);
    const int64_t number = ++truth_.number[key];
    ++changes_;
    if (how == 0) {
      const std::string value = std::to_string(number);
      WriteRequest write;
      write.key = {"", name, ""};
      write.value = value;
      const auto set = AwaitTask(engine_->Set(write));
      ASSERT_TRUE(set.ok()) << set.status();
      ASSERT_TRUE(set->stored);
    } else if (how == 1) {
      ASSERT_TRUE(AwaitTask(engine_->Delete({"", name, ""})).ok());
    } else {
      InvalidateRequest request;
      request.keys = {name};
      ASSERT_TRUE(AwaitTask(engine_->InvalidateKeys(request)).ok());
    }
    truth_.acknowledged[key] = number;
  }

  std::unique_ptr<ThreadPool> pool_;
  FakeTier fake_;
  std::unique_ptr<FakeTier::Handle> tier_;
  Truth truth_;
  TruthfulOrigin origin_{&truth_, pool_.get(), Random::System()};
  std::unique_ptr<Engine> engine_;
  Mutex writers_[kTruths];
  std::atomic<int> changes_{0};
  std::atomic<int> seen_{0};
};

TEST(OriginThreadsTest, FlightsKeepThePromises) { Threads(/*with_tier=*/false).Run(4'000); }

TEST(OriginThreadsTest, FlightsKeepThePromisesOverATier) { Threads(/*with_tier=*/true).Run(2'000); }

}  // namespace
}  // namespace larder
