#include "tier/fleet_lease.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "base/strings.h"
#include "tests/base/threads.h"
#include "tests/tier/redis_rig.h"
#include "tier/redis_key.h"
#include "tier/redis_scripts.h"

namespace larder {
namespace {

using Kind = FleetLeaseTurn::Kind;
using LeasePtr = std::shared_ptr<HeldFleetLease>;

std::string Name(const std::string& full_key) {
  return RedisKeys("larder", RedisKeys::Part::kLease).Of(full_key);
}

// A replica with its own way to the leases.
class LeaseOf {
 public:
  explicit LeaseOf(Replica* replica, FleetLease::Options options = {}) : replica_(replica) {
    options.clock = replica->clock();
    options.executor = replica->executor();
    // The machine of a test may be slow.
    if (options.answer_max == FleetLease::Options().answer_max) {
      options.answer_max = absl::Seconds(10);
    }
    options.breaker.slow_after = absl::Seconds(10);
    lease_ = FleetLease::New(&replica->redis(), options).value();
  }

  FleetLeaseTurn Acquire(const std::string& full_key) { return Acquire(full_key, Now(), Soon()); }
  FleetLeaseTurn Acquire(const std::string& full_key, MonoNanos began, MonoNanos deadline) {
    return Wait(lease_->Acquire(full_key, began, deadline));
  }
  absl::StatusOr<bool> Release(LeasePtr lease) {
    return Wait(lease_->Release(std::move(lease), Soon()));
  }
  // Asks until the lease is granted, or for 20 s.
  FleetLeaseTurn AcquireInTheEnd(const std::string& full_key) {
    const MonoNanos give_up = MonoAfter(Now(), absl::Seconds(20));
    for (;;) {
      FleetLeaseTurn turn = Acquire(full_key);
      if (turn.kind != Kind::kHeld || Now() > give_up) return turn;
    }
  }
  FleetLeaseStats Stats() const { return lease_->Stats(); }
  MonoNanos Now() const { return replica_->clock()->Mono(); }

 private:
  Replica* const replica_;
  std::unique_ptr<FleetLease> lease_;
};

// True as soon as `holds` does; false after 20 s.
bool ComesTrue(const std::function<bool()>& holds) {
  const MonoNanos give_up = MonoAfter(Clock::System()->Mono(), absl::Seconds(20));
  while (!holds()) {
    if (Clock::System()->Mono() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

class FleetLeaseTest : public testing::Test {
 protected:
  RedisServer server_;
  Replica here_{{server_.address()}};
  Replica there_{{server_.address()}};
  LeaseOf a_{&here_};
  LeaseOf b_{&there_};
  const std::string key_ = Key("k");
};

TEST_F(FleetLeaseTest, OneReplicaGetsItAndTheOtherHearsForHowLong) {
  const FleetLeaseTurn first = a_.Acquire(key_);
  ASSERT_EQ(first.kind, Kind::kGranted);
  EXPECT_EQ(first.lease->full_key(), key_);
  EXPECT_FALSE(first.lease->lost());
  const FleetLeaseTurn second = b_.Acquire(key_);
  ASSERT_EQ(second.kind, Kind::kHeld);
  EXPECT_EQ(second.lease, nullptr);
  EXPECT_GT(second.ask_again_after, absl::ZeroDuration());
  EXPECT_LE(second.ask_again_after, absl::Seconds(2));
  // Another key, and the same one in another namespace, are others' business.
  EXPECT_EQ(b_.Acquire(Key("other")).kind, Kind::kGranted);
  EXPECT_EQ(b_.Acquire(Key("k", "b")).kind, Kind::kGranted);
  EXPECT_EQ(a_.Stats().held, 1u);
  EXPECT_EQ(b_.Stats().refused, 1u);
}

TEST_F(FleetLeaseTest, ReleasedLeaseIsFreeAtOnce) {
  const FleetLeaseTurn first = a_.Acquire(key_);
  EXPECT_TRUE(a_.Release(first.lease).value());
  EXPECT_EQ(a_.Stats().held, 0u);
  EXPECT_EQ(a_.Stats().released, 1u);
  EXPECT_EQ(b_.Acquire(key_).kind, Kind::kGranted);
  // A second release does nothing, least of all to the new holder.
  EXPECT_FALSE(a_.Release(first.lease).value());
  EXPECT_EQ(a_.Acquire(key_).kind, Kind::kHeld);
}

TEST_F(FleetLeaseTest, AtMostOneHolderAmongThreadsOfTwoReplicas) {
  constexpr int kThreads = 6, kRounds = 150, kKeys = 2;
  std::array<std::atomic<int>, kKeys> holders{};
  std::atomic<int> grants{0};
  Threads(kThreads, [&](int thread) {
    LeaseOf& lease = thread % 2 == 0 ? a_ : b_;
    std::mt19937 random(thread);
    for (int round = 0; round < kRounds; ++round) {
      const int k = static_cast<int>(random() % kKeys);
      const FleetLeaseTurn turn = lease.Acquire(Key(StrCat("race", k)));
      if (turn.kind != Kind::kGranted) continue;
      EXPECT_EQ(++holders[k], 1);
      ++grants;
      EXPECT_EQ(--holders[k], 0);
      EXPECT_TRUE(lease.Release(turn.lease).value());
    }
  }).Join();
  EXPECT_GT(grants.load(), 0);
  EXPECT_EQ(a_.Stats().held + b_.Stats().held, 0u);
}

TEST_F(FleetLeaseTest, LeaseOfADeadHolderRunsOut) {
  {
    auto dying = std::make_unique<Replica>(std::vector<std::string>{server_.address()});
    LeaseOf lease(dying.get(), {.ttl = absl::Seconds(3)});
    ASSERT_EQ(lease.Acquire(key_).kind, Kind::kGranted);
    dying.reset();
  }
  const FleetLeaseTurn turn = a_.Acquire(key_);
  ASSERT_EQ(turn.kind, Kind::kHeld);
  EXPECT_LE(turn.ask_again_after, absl::Seconds(3));
  EXPECT_EQ(a_.AcquireInTheEnd(key_).kind, Kind::kGranted);
}

TEST_F(FleetLeaseTest, HeldLeaseIsExtendedUntilItIsReleased) {
  LeaseOf brief(&here_, {.ttl = absl::Seconds(6)});
  const FleetLeaseTurn first = brief.Acquire(key_);
  ASSERT_EQ(first.kind, Kind::kGranted);
  EXPECT_TRUE(ComesTrue([&] {
    EXPECT_EQ(b_.Acquire(key_).kind, Kind::kHeld);
    return brief.Stats().extended >= 2;
  }));
  EXPECT_FALSE(first.lease->lost());
  EXPECT_TRUE(brief.Release(first.lease).value());
  EXPECT_EQ(b_.Acquire(key_).kind, Kind::kGranted);
  EXPECT_EQ(brief.Stats().lost, 0u);
}

TEST_F(FleetLeaseTest, LeaseThatIsDroppedRunsOut) {
  LeaseOf brief(&here_, {.ttl = absl::Milliseconds(150)});
  ASSERT_EQ(brief.Acquire(key_).kind, Kind::kGranted);
  EXPECT_EQ(brief.Stats().held, 0u);
  EXPECT_EQ(b_.AcquireInTheEnd(key_).kind, Kind::kGranted);
}

TEST_F(FleetLeaseTest, StrangerReleasesAndExtendsNothing) {
  const FleetLeaseTurn turn = a_.Acquire(key_);
  ASSERT_EQ(turn.kind, Kind::kGranted);
  for (const bool extend : {false, true}) {
    std::vector<Redis::ScriptCall> calls;
    calls.push_back(extend ? LeaseExtendCall(Name(key_), "token of a stranger", absl::Hours(1))
                           : LeaseReleaseCall(Name(key_), "token of a stranger"));
    const auto replies = Wait(there_.redis().RunMany(
        extend ? LeaseExtendScript() : LeaseReleaseScript(), std::move(calls), Soon()));
    EXPECT_FALSE(ParseYes(*replies[0]).value());
  }
  EXPECT_EQ(b_.Acquire(key_).kind, Kind::kHeld);
  EXPECT_LE(there_.Do({"PTTL", Name(key_)}).integer, 2000);
}

TEST_F(FleetLeaseTest, LeaseThatWasTakenAwayIsLost) {
  LeaseOf brief(&here_, {.ttl = absl::Milliseconds(300)});
  const FleetLeaseTurn turn = brief.Acquire(key_);
  ASSERT_EQ(turn.kind, Kind::kGranted);
  there_.Do({"SET", Name(key_), "token of another", "PX", "60000"});
  EXPECT_TRUE(ComesTrue([&] { return turn.lease->lost(); }));
  EXPECT_TRUE(ComesTrue([&] { return brief.Stats().lost == 1; }));
  EXPECT_FALSE(brief.Release(turn.lease).value());
  EXPECT_EQ(there_.Do({"GET", Name(key_)}).text, "token of another");
}

TEST_F(FleetLeaseTest, LeaseIsLostWhenRedisHangs) {
  LeaseOf brief(&here_, {.ttl = absl::Milliseconds(300)});
  const FleetLeaseTurn turn = brief.Acquire(key_);
  ASSERT_EQ(turn.kind, Kind::kGranted);
  server_.Freeze();
  EXPECT_TRUE(ComesTrue([&] { return turn.lease->lost(); }));
  server_.Thaw();
  // Redis may carry out an extension that was on its way. It stays lost.
  EXPECT_TRUE(brief.Release(turn.lease).ok());
  EXPECT_TRUE(turn.lease->lost());
  EXPECT_TRUE(ComesTrue([&] { return brief.Stats().lost == 1; }));
}

TEST_F(FleetLeaseTest, LoadsAnywayWhenRedisHangsAndGivesBackWhatItMayHaveGot) {
  // A lease of another key first, so that the connection is up.
  ASSERT_TRUE(a_.Release(a_.Acquire(Key("other")).lease).ok());
  server_.Freeze();
  const FleetLeaseTurn turn =
      a_.Acquire(key_, a_.Now(), MonoAfter(a_.Now(), absl::Milliseconds(100)));
  EXPECT_EQ(turn.kind, Kind::kLoadAnyway);
  EXPECT_EQ(turn.why.code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_NE(turn.lease, nullptr);
  EXPECT_TRUE(turn.lease->lost());
  server_.Thaw();
  EXPECT_TRUE(a_.Release(turn.lease).ok());
  EXPECT_EQ(b_.Acquire(key_).kind, Kind::kGranted);
  EXPECT_EQ(a_.Stats().errors, 1u);
  EXPECT_EQ(a_.Stats().lost, 0u);
}

TEST_F(FleetLeaseTest, LoadsAnywayWhenRedisIsDead) {
  server_.Kill();
  const FleetLeaseTurn turn =
      a_.Acquire(key_, a_.Now(), MonoAfter(a_.Now(), absl::Milliseconds(200)));
  EXPECT_EQ(turn.kind, Kind::kLoadAnyway);
  EXPECT_FALSE(turn.why.ok());
  EXPECT_EQ(a_.Stats().errors, 1u);
}

TEST_F(FleetLeaseTest, LoadsAnywayWithoutAskingWhileRedisIsUnwell) {
  FleetLease::Options options{.answer_max = absl::Milliseconds(50)};
  options.breaker.min_calls = 3;
  options.breaker.open_min = absl::Milliseconds(100);
  LeaseOf lease(&here_, options);
  ASSERT_TRUE(lease.Release(lease.Acquire(Key("other")).lease).ok());
  server_.Freeze();
  // Each pays the time limit, however late its deadline, until the breaker has seen enough.
  EXPECT_TRUE(ComesTrue([&] {
    EXPECT_EQ(lease.Acquire(key_, lease.Now(), INT64_MAX).kind, Kind::kLoadAnyway);
    return lease.Stats().unasked > 0;
  }));
  EXPECT_GE(lease.Stats().errors, 2u);
  EXPECT_LE(lease.Stats().errors, 10u);
  EXPECT_EQ(lease.Stats().held, 0u);
  server_.Thaw();
  // Its probes find that Redis answers again.
  EXPECT_TRUE(ComesTrue([&] {
    const FleetLeaseTurn turn = lease.Acquire(key_);
    if (turn.lease != nullptr) {
      EXPECT_TRUE(lease.Release(turn.lease).ok());
    }
    return turn.kind == Kind::kGranted;
  }));
}

TEST_F(FleetLeaseTest, LoadsAnywayAfterALongWait) {
  const FleetLeaseTurn first = a_.Acquire(key_);
  ASSERT_EQ(first.kind, Kind::kGranted);
  // Not yet: what is left of the wait bounds the next one.
  const FleetLeaseTurn waiting =
      b_.Acquire(key_, MonoAfter(b_.Now(), -absl::Milliseconds(4900)), Soon());
  ASSERT_EQ(waiting.kind, Kind::kHeld);
  EXPECT_LE(waiting.ask_again_after, absl::Milliseconds(100));
  const FleetLeaseTurn over =
      b_.Acquire(key_, MonoAfter(b_.Now(), -absl::Milliseconds(5001)), Soon());
  EXPECT_EQ(over.kind, Kind::kLoadAnyway);
  EXPECT_EQ(over.why.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(over.lease, nullptr);
  EXPECT_EQ(b_.Stats().waited_out, 1u);
  EXPECT_EQ(b_.Stats().held, 0u);
}

TEST_F(FleetLeaseTest, LoadsAnywayBeyondTheBoundOfHeldLeases) {
  LeaseOf few(&here_, {.held_max = 2});
  const FleetLeaseTurn one = few.Acquire(Key("1"));
  const FleetLeaseTurn two = few.Acquire(Key("2"));
  EXPECT_EQ(two.kind, Kind::kGranted);
  const FleetLeaseTurn three = few.Acquire(Key("3"));
  EXPECT_EQ(three.kind, Kind::kLoadAnyway);
  EXPECT_EQ(three.why.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(few.Stats().full, 1u);
  EXPECT_TRUE(few.Release(one.lease).value());
  EXPECT_EQ(few.Acquire(Key("3")).kind, Kind::kGranted);
}

TEST_F(FleetLeaseTest, WorksOnWhenScriptsAreGone) {
  here_.Do({"SCRIPT", "FLUSH"});
  const FleetLeaseTurn turn = a_.Acquire(key_);
  ASSERT_EQ(turn.kind, Kind::kGranted);
  here_.Do({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(a_.Release(turn.lease).value());
}

TEST_F(FleetLeaseTest, OutOfRangeIsRefused) {
  const auto refused = [&](const FleetLease::Options& options) {
    return FleetLease::New(&here_.redis(), options).status().code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused({.prefix = ""}));
  EXPECT_TRUE(refused({.ttl = absl::Milliseconds(99)}));
  EXPECT_TRUE(refused({.ttl = absl::Minutes(11)}));
  EXPECT_TRUE(refused({.wait_max = absl::Minutes(11)}));
  EXPECT_TRUE(refused({.answer_max = absl::Microseconds(999)}));
  EXPECT_TRUE(refused({.answer_max = absl::Seconds(11)}));
  EXPECT_TRUE(refused({.held_max = 0}));
  EXPECT_TRUE(refused({.held_max = 1'000'001}));
}

}  // namespace
}  // namespace larder
