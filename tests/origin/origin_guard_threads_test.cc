// The guard on real threads.

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "origin/origin_guard.h"
#include "tests/base/threads.h"
#include "tests/origin/scripted_origin.h"

namespace larder {
namespace {

constexpr MonoNanos kNever = std::numeric_limits<MonoNanos>::max();

OriginLoad LoadOf(const std::string& key) {
  OriginLoad load;
  load.call = {.name_space = "default", .type = "user"};
  load.items.push_back({key});
  return load;
}

void AwaitCount(const std::atomic<int>& count, int least) {
  const MonoNanos give_up = Clock::System()->Mono() + 30'000'000'000;
  while (count < least && Clock::System()->Mono() < give_up) std::this_thread::yield();
}

// Answers, deadlines, turns and retries meet at every distance: each call ends exactly once, and
// the bound holds.
TEST(OriginGuardThreadsTest, EveryCallEndsOnceWhoeverComesFirst) {
  constexpr int kThreads = 4, kCalls = 400, kAtOnce = 8;
  const auto executor = ThreadPool::New({.threads = 4});
  const auto script = std::make_shared<OriginScript>(Clock::System(), executor.get());
  script->Delay(absl::Microseconds(300));
  std::atomic<uint64_t> asked{0};
  script->answer = [&asked](const std::string& key, int /*call*/) {
    OriginLoaded loaded;
    if (++asked % 20 == 0) {
      loaded.error = absl::UnavailableError("flaps");
    } else {
      loaded.kind = OriginLoaded::Kind::kFound;
      loaded.value = key;
    }
    return loaded;
  };
  OriginGuardOptions options;
  options.concurrency = 4;
  options.queue_max = 20;
  options.failures_in_a_row = 1000;
  options.breaker.min_calls = 1'000'000;
  options.backoff = {.first = absl::Microseconds(200), .max = absl::Milliseconds(1)};
  options.executor = executor.get();
  auto guard = NewOriginGuard(OriginScript::NewOrigin(script), options);
  std::atomic<int> ended{0}, in_time{0};
  Threads threads(kThreads, [&](int thread) {
    for (int i = 0; i < kCalls; i += kAtOnce) {
      std::atomic<int> batch{0};
      for (int j = 0; j < kAtOnce; ++j) {
        const MonoNanos deadline =
            MonoAfter(Clock::System()->Mono(), absl::Microseconds(500 + 250 * (j + thread)));
        Spawn(guard->Load(LoadOf("k"), deadline),
              [&](absl::StatusOr<std::vector<OriginLoaded>> loaded) {
                if (loaded.ok()) ++in_time;
                ++ended;
                ++batch;
              });
      }
      AwaitCount(batch, kAtOnce);
      ASSERT_EQ(batch, kAtOnce);
    }
  });
  threads.Join();
  EXPECT_EQ(ended, kThreads * kCalls);
  EXPECT_GT(in_time, 0);
  EXPECT_LE(script->most_under_way(), 4);
  guard.reset();
  EXPECT_TRUE(script->gone());
}

// The destructor waits for what is under way, and the inner origin is gone when it returns.
TEST(OriginGuardThreadsTest, EndWaitsForCallsUnderWay) {
  const auto executor = ThreadPool::New({.threads = 2});
  const auto script = std::make_shared<OriginScript>(Clock::System(), executor.get());
  script->Delay(absl::Milliseconds(20));
  OriginGuardOptions options;
  options.executor = executor.get();
  for (int round = 0; round < 10; ++round) {
    auto guard = NewOriginGuard(OriginScript::NewOrigin(script), options);
    std::atomic<int> ended{0};
    for (int i = 0; i < 20; ++i) {
      Spawn(guard->Load(LoadOf("k"), kNever),
            [&ended](const absl::StatusOr<std::vector<OriginLoaded>>&) { ++ended; });
    }
    guard.reset();
    EXPECT_TRUE(script->gone());
    EXPECT_EQ(script->under_way(), 0);
    AwaitCount(ended, 20);
    EXPECT_EQ(ended, 20);
  }
}

// Executors drop their timers when they shut down; nobody may wait for one of them for ever.
TEST(OriginGuardThreadsTest, ShutdownOfTheExecutorEndsEveryCall) {
  const auto executor = ThreadPool::New({.threads = 2});
  const auto script = std::make_shared<OriginScript>(Clock::System(), executor.get());
  OriginGuardOptions options;
  options.concurrency = 2;
  options.close_wait = absl::ZeroDuration();
  options.backoff = {.first = absl::Seconds(20), .max = absl::Seconds(20)};
  options.executor = executor.get();
  auto guard = NewOriginGuard(OriginScript::NewOrigin(script), options);
  std::atomic<int> ended{0};
  const auto load = [&] {
    Spawn(guard->Load(LoadOf("k"), kNever),
          [&ended](const absl::StatusOr<std::vector<OriginLoaded>>&) { ++ended; });
  };
  script->FailNext(1, absl::UnavailableError("away"));
  load();  // pauses before its second attempt
  script->Hold(true);
  for (int i = 0; i < 4; ++i) load();
  EXPECT_EQ(ended, 0);
  executor->Shutdown();
  EXPECT_EQ(ended, 5);
  script->Hold(false);
  script->ReleaseAll();
  guard.reset();
}

}  // namespace
}  // namespace larder
