// Many callers, few keys, one origin: random interleavings of loads, sets, deletes, invalidations,
// expiries, lost and late leases, against the promises that a cache is trusted for. A seed repeats
// its run.
//
// Every value is a number that the origin counted up, so that "older" can be read off it. After a
// change of a key was acknowledged, no read that begins later may see a number below it:
//   - no stale fill: a load that began before the change is never visible after it;
//   - read your writes: an acknowledged Set is never followed by an older value.
// And at most one caller holds the lease of a key.

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/engine_fixture.h"

namespace larder {
namespace {

constexpr int kKeys = 3;
constexpr absl::Duration kLeaseTtl = absl::Milliseconds(500);

std::string Key(size_t k) { return "k" + std::to_string(k); }

class World {
 public:
  explicit World(uint64_t seed) : random_(seed), executor_(&clock_, seed), lots_(seed) {
    Engine::Options options;
    options.clock = &clock_;
    options.random = &lots_;
    options.executor = &executor_;
    options.types = *TypeTable::Make({});
    options.memory_bytes = L1::kBudgetBytesMin;
    engine_ = std::make_unique<Engine>(options);
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) Step();
    // All leases run out and all waits end.
    executor_.Advance(absl::Minutes(10));
    EXPECT_EQ(running_, 0);
    EXPECT_EQ(engine_->Stats().leases.held, 0u);
    EXPECT_EQ(engine_->Stats().leases.waiting, 0u);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
    EXPECT_TRUE(engine_->memory().CheckInvariants());
  }

 private:
  struct Held {
    size_t key;
    std::string token;
    int64_t loaded;
    MonoNanos until;
    bool valid;  // as far as the caller could know: not released, not used, key unchanged
  };
  struct Caller {
    std::string key;
    Cancellation cancellation;
  };

  size_t Pick(size_t n) { return random_() % n; }

  void Step() {
    const size_t key = Pick(kKeys);
    switch (Pick(10)) {
      case 0:
      case 1:
      case 2:
        return StartLoad(key);
      case 3:
      case 4:
        return EndLoad();
      case 5:
        return Change(key);
      case 6:
        return Read(key);
      case 7:
        executor_.RunOne();
        return;
      case 8:
        if (!callers_.empty()) callers_[Pick(callers_.size())]->cancellation.Cancel();
        return;
      case 9:
        return executor_.Advance(absl::Milliseconds(Pick(200)));
    }
  }

  void StartLoad(size_t key) {
    auto caller = std::make_shared<Caller>();
    caller->key = Key(key);
    callers_.push_back(caller);
    if (callers_.size() > 20) callers_.erase(callers_.begin());
    LoadRequest request;
    request.key = {"", caller->key, ""};
    request.lease_ttl = kLeaseTtl;
    request.cancellation = &caller->cancellation;
    if (Pick(3) == 0) request.deadline = MonoAfter(clock_.Mono(), absl::Milliseconds(Pick(1000)));
    ++running_;
    Spawn(engine_->GetOrLoad(request),
          [this, caller, key, floor = floor_[key]](const absl::StatusOr<LoadResult>& result) {
            --running_;
            if (!result.ok()) return;
            if (result->lease.has_value()) return Granted(key, *result->lease);
            if (result->read.entry) CheckSeen(key, floor, result->read.entry->stored());
          });
  }

  void Granted(size_t key, const GrantedLease& lease) {
    for (const Held& held : held_) {
      EXPECT_FALSE(held.key == key && held.valid && held.until > clock_.Mono())
          << "two callers hold " << Key(key);
    }
    held_.push_back({key, lease.token, origin_[key], MonoAfter(clock_.Mono(), lease.ttl), true});
  }

  // A holder comes back from the origin with what it saw when its load began, or gives up, or is
  // never heard of again.
  void EndLoad() {
    if (held_.empty()) return;
    const size_t chosen = Pick(held_.size());
    const Held held = held_[chosen];
    held_.erase(held_.begin() + static_cast<ptrdiff_t>(chosen));
    switch (Pick(6)) {
      case 0:
        engine_->ReleaseLease({"", Key(held.key), ""}, held.token);
        return;
      case 1:
        return;
      default:
        const WriteResult written = Set(held.key, held.loaded, held.token);
        EXPECT_TRUE(!written.stored || held.valid)
            << "a lease was fulfilled after " << Key(held.key) << " had changed";
        EXPECT_TRUE(written.stored || !held.valid || held.until <= clock_.Mono())
            << "a good lease was refused";
    }
  }

  WriteResult Set(size_t key, int64_t number, const std::string& token) {
    const std::string name = Key(key);
    const std::string value = std::to_string(number);
    WriteRequest write;
    write.key = {"", name, ""};
    write.value = value;
    write.lease_token = token;
    write.ttl = absl::Milliseconds(1 + Pick(400));
    WriteResult result;
    Spawn(engine_->Set(write), [&result](const absl::StatusOr<WriteResult>& r) { result = *r; });
    return result;
  }

  // The origin changes first, as it must, and then the cache is told.
  void Change(size_t key) {
    const int64_t number = ++origin_[key];
    const std::string name = Key(key);
    switch (Pick(3)) {
      case 0:
        EXPECT_TRUE(Set(key, number, "").stored);
        break;
      case 1:
        Spawn(engine_->Delete({"", name, ""}),
              [](const absl::StatusOr<RemoveResult>& r) { EXPECT_TRUE(r.ok()); });
        break;
      default:
        Spawn(engine_->InvalidateKeys({"", {name}, false}),
              [](const absl::StatusOr<InvalidateResult>& r) { EXPECT_TRUE(r.ok()); });
    }
    floor_[key] = number;
    for (Held& held : held_) {
      if (held.key == key) held.valid = false;
    }
  }

  void Read(size_t key) {
    const std::string name = Key(key);
    Spawn(engine_->Get({"", name, ""}), [this, key](const absl::StatusOr<ReadResult>& read) {
      if (read->entry) CheckSeen(key, floor_[key], read->entry->stored());
    });
  }

  void CheckSeen(size_t key, int64_t floor, std::string_view value) {
    EXPECT_GE(std::stoll(std::string(value)), floor) << Key(key);
  }

  std::mt19937_64 random_;
  ManualClock clock_;
  ManualExecutor executor_;
  SeededRandom lots_;
  std::unique_ptr<Engine> engine_;
  std::map<size_t, int64_t> origin_;
  std::map<size_t, int64_t> floor_;
  std::vector<Held> held_;
  std::vector<std::shared_ptr<Caller>> callers_;
  int running_ = 0;
};

TEST(NoStaleFillTest, HoldsInRandomInterleavings) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World(seed).Run(1500);
    if (testing::Test::HasFailure()) break;
  }
}

// The same promises with real threads. Each key's number is raised at the origin before the cache
// is told, and a reader notes the number that was acknowledged before it began.
class Threads {
 public:
  Threads() : pool_(ThreadPool::New({2, 100'000})) {
    Engine::Options options;
    options.executor = pool_.get();
    options.types = *TypeTable::Make({});
    options.memory_bytes = L1::kBudgetBytesMin;
    engine_ = std::make_unique<Engine>(options);
  }

  void Run() {
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) threads.emplace_back([this, t] { Work(t); });
    for (std::thread& thread : threads) thread.join();
    engine_->Drain();
    pool_->Shutdown();
    EXPECT_EQ(violations_, 0);
    EXPECT_GT(fills_, 0);
  }

 private:
  void Work(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (int i = 0; i < 8000; ++i) {
      const size_t key = random() % kKeys;
      const std::string name = Key(key);
      if (random() % 6 == 0) {
        Change(key, name, random() % 3);
      } else {
        LoadOnce(key, name, random() % 8 == 0);
      }
    }
  }

  void Change(size_t key, const std::string& name, uint64_t how) {
    // One writer of a key at a time, as a database's row lock would see to.
    MutexLock lock(&writers_[key]);
    const int64_t number = ++origin_[key];
    if (how == 0) {
      Set(name, number, "");
    } else if (how == 1) {
      Spawn(engine_->Delete({"", name, ""}), [](const absl::StatusOr<RemoveResult>&) {});
    } else {
      Spawn(engine_->InvalidateKeys({"", {name}, false}),
            [](const absl::StatusOr<InvalidateResult>&) {});
    }
    acknowledged_[key] = number;
  }

  void LoadOnce(size_t key, const std::string& name, bool give_back) {
    const int64_t floor = acknowledged_[key];
    LoadRequest request;
    request.key = {"", name, ""};
    request.lease_ttl = absl::Seconds(60);
    request.wait_until = 0;
    Spawn(engine_->GetOrLoad(request), [&](const absl::StatusOr<LoadResult>& result) {
      if (!result.ok()) return;
      if (result->read.entry && std::stoll(std::string(result->read.entry->stored())) < floor)
        ++violations_;
      if (!result->lease.has_value()) return;
      if (give_back) {
        engine_->ReleaseLease({"", name, ""}, result->lease->token);
      } else if (Set(name, origin_[key], result->lease->token)) {
        ++fills_;
      }
    });
  }

  bool Set(const std::string& name, int64_t number, const std::string& token) {
    const std::string value = std::to_string(number);
    WriteRequest write;
    write.key = {"", name, ""};
    write.value = value;
    write.lease_token = token;
    write.ttl = absl::Milliseconds(1);
    bool stored = false;
    Spawn(engine_->Set(write),
          [&stored](const absl::StatusOr<WriteResult>& r) { stored = r.ok() && r->stored; });
    return stored;
  }

  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Engine> engine_;
  Mutex writers_[kKeys];
  std::atomic<int64_t> origin_[kKeys] = {};
  std::atomic<int64_t> acknowledged_[kKeys] = {};
  std::atomic<int> violations_{0};
  std::atomic<int> fills_{0};
};

TEST(NoStaleFillTest, HoldsAmongRealThreads) { Threads().Run(); }

}  // namespace
}  // namespace larder
