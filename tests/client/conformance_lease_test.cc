// Conformance: leases, and GetOrLoad over them.

#include <atomic>
#include <thread>

#include "tests/client/conformance.h"

namespace larder::testing {
namespace {

class ConformanceLease : public Conformance {};
INSTANTIATE_TEST_SUITE_P(Client, ConformanceLease, ::testing::ValuesIn(Backends()), NameOf);

SetOptions With(const Lease& lease) {
  SetOptions options;
  options.lease_token = lease.token;
  return options;
}

TEST_P(ConformanceLease, GivesTheLeaseToOneAndTheValueToAll) {
  const Lease lease = TakeLease("k");
  EXPECT_GT(lease.ttl, absl::ZeroDuration());
  std::vector<Answer<LeaseResult>> waiters(3);
  for (auto& waiter : waiters) client()->GetOrLeaseAsync("k", {}, waiter.Done());
  WaitForWaiters("k", 3);
  Set("k", "v", With(lease));
  for (auto& waiter : waiters) {
    const absl::StatusOr<LeaseResult> result = waiter.Wait();
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_TRUE(result->hit());
    EXPECT_EQ(result->entry->value, "v");
  }
}

TEST_P(ConformanceLease, DoesNotWaitWhenToldSo) {
  TakeLease("k");
  LoadOptions options;
  options.wait = absl::ZeroDuration();
  const absl::StatusOr<LeaseResult> result = client()->GetOrLease("k", options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->hit() || result->lease.has_value());
  EXPECT_EQ(result->miss.reason, MissReason::kLoading);
}

TEST_P(ConformanceLease, WaitThatIsOverIsAMiss) {
  TakeLease("k");
  LoadOptions options;
  options.wait = absl::Milliseconds(20);
  Answer<LeaseResult> waiter;
  client()->GetOrLeaseAsync("k", options, waiter.Done());
  Elapse(absl::Milliseconds(20));
  const absl::StatusOr<LeaseResult> result = waiter.Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->miss.reason, MissReason::kLoading);
}

TEST_P(ConformanceLease, ReleaseGivesTheLeaseToTheNextWaiter) {
  const Lease lease = TakeLease("k");
  Answer<LeaseResult> waiter;
  client()->GetOrLeaseAsync("k", {}, waiter.Done());
  WaitForWaiters("k", 1);
  EXPECT_TRUE(client()->ReleaseLease("k", lease.token)->released);
  const absl::StatusOr<LeaseResult> result = waiter.Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->lease.has_value());
  EXPECT_NE(result->lease->token, lease.token);
  EXPECT_FALSE(client()->ReleaseLease("k", lease.token)->released);
  EXPECT_FALSE(client()->Set("k", "late", With(lease))->stored);
  EXPECT_TRUE(client()->Set("k", "v", With(*result->lease))->stored);
}

TEST_P(ConformanceLease, LeaseThatRunsOutPassesToTheNextWaiter) {
  LoadOptions options;
  options.lease_ttl = absl::Milliseconds(20);
  const Lease lease = TakeLease("k", options);
  Answer<LeaseResult> waiter;
  client()->GetOrLeaseAsync("k", {}, waiter.Done());
  Elapse(absl::Milliseconds(20));
  const absl::StatusOr<LeaseResult> result = waiter.Wait();
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->lease.has_value());
  const absl::StatusOr<SetResult> late = client()->Set("k", "late", With(lease));
  ASSERT_TRUE(late.ok());
  EXPECT_FALSE(late->stored);
  EXPECT_EQ(late->reason, NotStoredReason::kLeaseLost);
}

TEST_P(ConformanceLease, ChangeOfTheKeyRevokesTheLease) {
  for (const std::string change : {"set", "delete", "invalidate", "increment"}) {
    const Lease lease = TakeLease(change);
    absl::Status changed;
    if (change == "set") changed = client()->Set(change, "new").status();
    if (change == "delete") changed = client()->Delete(change).status();
    if (change == "invalidate") changed = client()->Invalidate({change}).status();
    if (change == "increment") changed = client()->Increment(change, 1).status();
    ASSERT_TRUE(changed.ok()) << changed;
    const absl::StatusOr<SetResult> late = client()->Set(change, "old", With(lease));
    ASSERT_TRUE(late.ok()) << late.status();
    EXPECT_FALSE(late->stored) << change;
    EXPECT_EQ(late->reason, NotStoredReason::kLeaseLost) << change;
  }
  EXPECT_EQ(ValueOf(client()->Get("set")), "new");
  EXPECT_EQ(ValueOf(client()->Get("delete")), "miss: INVALIDATED");
}

TEST_P(ConformanceLease, PlainSetAnswersTheWaiters) {
  TakeLease("k");
  Answer<LeaseResult> waiter;
  client()->GetOrLeaseAsync("k", {}, waiter.Done());
  WaitForWaiters("k", 1);
  Set("k", "v");
  const absl::StatusOr<LeaseResult> result = waiter.Wait();
  ASSERT_TRUE(result.ok() && result->hit());
  EXPECT_EQ(result->entry->value, "v");
}

TEST_P(ConformanceLease, NegativeEntryAnswersWithoutALease) {
  const Lease lease = TakeLease("k");
  ASSERT_TRUE(client()->SetAbsent("k", With(lease))->stored);
  const absl::StatusOr<LeaseResult> result = client()->GetOrLease("k");
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->lease.has_value());
  EXPECT_EQ(result->miss.reason, MissReason::kNegative);
}

TEST_P(ConformanceLease, ExplainTellsWhoLoads) {
  EXPECT_FALSE(client()->Explain("k")->lease_held);
  TakeLease("k");
  EXPECT_TRUE(client()->Explain("k")->lease_held);
}

TEST_P(ConformanceLease, ExplainTellsTheChecksumOfAValueWhenItIsAskedFor) {
  ASSERT_TRUE(client()->Set("k", "123456789").ok());
  ASSERT_TRUE(client()->SetAbsent("none").ok());
  EXPECT_FALSE(client()->Explain("k")->copies.at(0).checksum.has_value());
  ExplainOptions options;
  options.checksums = true;
  EXPECT_EQ(client()->Explain("k", options)->copies.at(0).checksum, 0xE3069283);
  EXPECT_FALSE(client()->Explain("none", options)->copies.at(0).checksum.has_value());
}

TEST_P(ConformanceLease, LoaderRunsOnceForManyCallers) {
  std::atomic<int> loads = 0;
  std::vector<std::thread> callers;
  std::atomic<int> right = 0, loaded = 0;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      const absl::StatusOr<LoadResult> result =
          client()->GetOrLoad("k", [&](const LoadCall& call) -> absl::StatusOr<Loaded> {
            ++loads;
            Loaded value;
            value.value = "value of " + call.key;
            value.tags = {"t"};
            return value;
          });
      ASSERT_TRUE(result.ok()) << result.status();
      ASSERT_TRUE(result->hit());
      right += result->entry->value == "value of k";
      loaded += result->loaded && result->stored;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(right, 8);
  EXPECT_EQ(loaded, 1);
  EXPECT_EQ(client()->Get("k")->entry->tags, std::vector<std::string>{"t"});
}

TEST_P(ConformanceLease, LoaderThatFailsLeavesTheNextCallerTheLease) {
  const auto fail = [](const LoadCall&) -> absl::StatusOr<Loaded> {
    return absl::DataLossError("disk gone");
  };
  EXPECT_EQ(client()->GetOrLoad("k", fail).status(), absl::DataLossError("disk gone"));
  EXPECT_FALSE(client()->Explain("k")->lease_held);
  const auto load = [](const LoadCall&) -> absl::StatusOr<Loaded> { return Loaded{"v"}; };
  EXPECT_EQ(client()->GetOrLoad("k", load)->entry->value, "v");
}

TEST_P(ConformanceLease, LoaderThatFindsNothingLeavesANegativeEntry) {
  const absl::StatusOr<LoadResult> result =
      client()->GetOrLoad("k", [](const LoadCall&) { return Loaded::Absent(); });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->hit());
  EXPECT_TRUE(result->loaded && result->stored);
  EXPECT_EQ(result->miss.reason, MissReason::kNegative);
  EXPECT_EQ(ValueOf(client()->Get("k")), "miss: NEGATIVE");
}

TEST_P(ConformanceLease, ValueWhoseLeaseWasLostIsReturnedButNotStored) {
  const absl::StatusOr<LoadResult> result =
      client()->GetOrLoad("k", [&](const LoadCall&) -> absl::StatusOr<Loaded> {
        EXPECT_TRUE(client()->Invalidate({"k"}).ok());  // the truth changes while we read it
        return Loaded{"old"};
      });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entry->value, "old");
  EXPECT_TRUE(result->loaded);
  EXPECT_FALSE(result->stored);
  EXPECT_EQ(result->not_stored, NotStoredReason::kLeaseLost);
  EXPECT_EQ(ValueOf(client()->Get("k")), "miss: INVALIDATED");
}

TEST_P(ConformanceLease, ValueThatTheCacheRefusesIsReturnedAndTheLeaseGivenBack) {
  const absl::StatusOr<LoadResult> result =
      client()->GetOrLoad("k", [](const LoadCall&) -> absl::StatusOr<Loaded> {
        return Loaded{std::string((1 << 20) + 1, 'x')};
      });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entry->value.size(), (1u << 20) + 1);
  EXPECT_FALSE(result->stored);
  EXPECT_EQ(ErrorReason(result->cache_status), "VALUE_TOO_LARGE");
  EXPECT_FALSE(client()->Explain("k")->lease_held);
}

TEST_P(ConformanceLease, AsyncLoaderFillsTheCache) {
  LoadDone held;
  std::mutex mu;
  std::condition_variable changed;
  Answer<LoadResult> first, second;
  client()->GetOrLoadAsync(
      "k",
      [&](const LoadCall& call, LoadDone done) {
        EXPECT_EQ(call.key, "k");
        EXPECT_TRUE(call.lease_ttl.has_value());
        std::lock_guard lock(mu);
        held = std::move(done);
        changed.notify_all();
      },
      {}, first.Done());
  {
    std::unique_lock lock(mu);
    changed.wait(lock, [&] { return held != nullptr; });
  }
  client()->GetOrLoadAsync(
      "k", [](const LoadCall&, LoadDone done) { done(absl::InternalError("a second load")); }, {},
      second.Done());
  WaitForWaiters("k", 1);
  held(Loaded{"v"});
  const absl::StatusOr<LoadResult> loaded = first.Wait();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(loaded->loaded && loaded->stored);
  const absl::StatusOr<LoadResult> waited = second.Wait();
  ASSERT_TRUE(waited.ok()) << waited.status();
  EXPECT_EQ(waited->entry->value, "v");
  EXPECT_FALSE(waited->loaded);
}

}  // namespace
}  // namespace larder::testing
