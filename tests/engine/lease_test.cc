// GetOrLoad over leases: who loads, who waits, and what ends a wait.

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/engine_fixture.h"

namespace larder {
namespace {

class LeaseTest : public EngineFixture {
 protected:
  ~LeaseTest() override {
    const LeaseTotals totals = engine_->Stats().leases;
    EXPECT_EQ(totals.waiting, 0u);
    EXPECT_EQ(totals.held, 0u);
    EXPECT_EQ(totals.granted, totals.fulfilled + totals.released + totals.expired + totals.revoked);
    EXPECT_EQ(engine_->Stats().memory.fills, 0u);
  }
};

TEST_F(LeaseTest, OneCallerLoadsAndAllGetItsValue) {
  const auto holder = Load("a");
  ASSERT_TRUE(holder->HasLease());
  std::vector<std::shared_ptr<Loading>> waiting;
  for (int i = 0; i < 1000; ++i) waiting.push_back(Load("a"));
  executor_.RunReady();
  for (const auto& loading : waiting) EXPECT_EQ(loading->Value(), "(waits)");
  EXPECT_TRUE(Set("a", "loaded", {}, {}, holder->Token()).stored);
  executor_.RunReady();
  for (const auto& loading : waiting) EXPECT_EQ(loading->Value(), "loaded");
  EXPECT_EQ(Load("a")->Value(), "loaded");
  EXPECT_EQ(engine_->Stats().leases.granted, 1u);
}

TEST_F(LeaseTest, ReleasedLeasePassesToTheNextWaiter) {
  const auto holder = Load("a");
  const auto second = Load("a");
  const auto third = Load("a");
  EXPECT_TRUE(engine_->ReleaseLease({"", "a", ""}, holder->Token()));
  EXPECT_FALSE(engine_->ReleaseLease({"", "a", ""}, holder->Token()));
  executor_.RunReady();
  ASSERT_TRUE(second->HasLease());
  EXPECT_EQ(third->Value(), "(waits)");
  EXPECT_FALSE(Set("a", "late", {}, {}, holder->Token()).stored);
  EXPECT_TRUE(Set("a", "2", {}, {}, second->Token()).stored);
  executor_.RunReady();
  EXPECT_EQ(third->Value(), "2");
}

TEST_F(LeaseTest, LeaseThatRunsOutPassesOnAndItsSetComesTooLate) {
  const auto holder = Load("a", absl::Seconds(2));
  const auto second = Load("a", absl::Seconds(2));
  executor_.Advance(absl::Seconds(1.9));
  EXPECT_EQ(second->Value(), "(waits)");
  executor_.Advance(absl::Seconds(0.2));
  ASSERT_TRUE(second->HasLease());
  const WriteResult late = Set("a", "late", {}, {}, holder->Token());
  EXPECT_FALSE(late.stored);
  EXPECT_EQ(late.reason, NotStored::kLeaseLost);
  EXPECT_EQ(Get("a"), "(miss)");
  EXPECT_TRUE(Set("a", "in time", {}, {}, second->Token()).stored);
  EXPECT_EQ(Get("a"), "in time");
}

TEST_F(LeaseTest, ChangeWhileTheLeaseIsOutMakesItsSetNotStored) {
  for (const std::string change : {"set", "delete", "invalidate", "increment"}) {
    SCOPED_TRACE(change);
    const std::string key = "k:" + change;
    const auto holder = Load(key);
    ASSERT_TRUE(holder->HasLease());
    if (change == "set") Set(key, "newer");
    if (change == "delete") {
      EXPECT_TRUE(Now(engine_->Delete({"", key, ""})).ok());
    }
    if (change == "invalidate") {
      EXPECT_TRUE(Now(engine_->InvalidateKeys({"", {key}, false})).ok());
    }
    if (change == "increment") {
      IncrementRequest request;
      request.key = {"", key, ""};
      request.delta = 1;
      EXPECT_TRUE(Now(engine_->Increment(request)).ok());
    }
    const WriteResult fill = Set(key, "stale", {}, {}, holder->Token());
    EXPECT_FALSE(fill.stored);
    EXPECT_EQ(fill.reason, NotStored::kLeaseLost);
    EXPECT_NE(Get(key), "stale");
  }
}

TEST_F(LeaseTest, SetByAnotherServesTheWaiters) {
  const auto holder = Load("a");
  const auto waiter = Load("a");
  Set("a", "from elsewhere");
  executor_.RunReady();
  EXPECT_EQ(waiter->Value(), "from elsewhere");
  EXPECT_FALSE(Set("a", "stale", {}, {}, holder->Token()).stored);
  EXPECT_EQ(Get("a"), "from elsewhere");
}

TEST_F(LeaseTest, DeleteGivesTheLeaseToTheFirstWaiter) {
  const auto holder = Load("a");
  const auto waiter = Load("a");
  ASSERT_TRUE(Now(engine_->Delete({"", "a", ""})).ok());
  executor_.RunReady();
  ASSERT_TRUE(waiter->HasLease());
  EXPECT_FALSE(Set("a", "from before", {}, {}, holder->Token()).stored);
  EXPECT_TRUE(Set("a", "from after", {}, {}, waiter->Token()).stored);
  EXPECT_EQ(Get("a"), "from after");
}

TEST_F(LeaseTest, NegativeSetWithALeaseAnswersTheWaitersToo) {
  const auto holder = Load("ghost");
  const auto waiter = Load("ghost");
  WriteRequest write;
  write.key = {"", "ghost", ""};
  write.absent = true;
  write.lease_token = holder->Token();
  EXPECT_TRUE(Now(engine_->Set(write))->stored);
  executor_.RunReady();
  ASSERT_EQ(waiter->Value(), "(miss)");
  EXPECT_EQ((*waiter->result)->read.miss, MissReason::kNegative);
}

TEST_F(LeaseTest, WaitEndsAtTheAllowedTimeOrTheDeadline) {
  const auto holder = Load("a", absl::Minutes(1));
  const auto patient = Load("a", absl::Seconds(10), absl::Seconds(5));
  const auto hurried = Load("a", absl::Seconds(10), absl::InfiniteDuration(), absl::Seconds(3));
  const auto at_once = Load("a", absl::Seconds(10), absl::ZeroDuration());
  EXPECT_EQ((*at_once->result)->read.miss, MissReason::kLoading);
  executor_.Advance(absl::Seconds(4));
  EXPECT_EQ(hurried->Value(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(patient->Value(), "(waits)");
  executor_.Advance(absl::Seconds(2));
  ASSERT_EQ(patient->Value(), "(miss)");
  EXPECT_EQ((*patient->result)->read.miss, MissReason::kLoading);
  engine_->ReleaseLease({"", "a", ""}, holder->Token());
}

TEST_F(LeaseTest, CallerThatLeavesFreesItsPlace) {
  const auto holder = Load("a");
  const auto gone = Load("a");
  const auto stays = Load("a");
  gone->cancellation.Cancel();
  executor_.RunReady();
  EXPECT_EQ(gone->Value(), "CALL_CANCELLED");
  EXPECT_EQ(engine_->Stats().leases.waiting, 1u);
  engine_->ReleaseLease({"", "a", ""}, holder->Token());
  executor_.RunReady();
  ASSERT_TRUE(stays->HasLease());
  engine_->ReleaseLease({"", "a", ""}, stays->Token());
}

TEST_F(LeaseTest, CallerThatLeavesInTheMomentOfItsTurnIsPassedOver) {
  const auto holder = Load("a");
  const auto gone = Load("a");
  const auto next = Load("a");
  // Cancelled, but its coroutine has not run yet: it is still in line when the lease comes free.
  gone->cancellation.Cancel();
  engine_->ReleaseLease({"", "a", ""}, holder->Token());
  executor_.RunReady();
  EXPECT_EQ(gone->Value(), "CALL_CANCELLED");
  ASSERT_TRUE(next->HasLease());
  engine_->ReleaseLease({"", "a", ""}, next->Token());
}

TEST_F(LeaseTest, WaitersAndLeasesAreBounded) {
  Make({.leases_max = 2, .waiters_max = 3, .waiters_per_key_max = 2});
  const auto a = Load("a");
  const auto b = Load("b");
  EXPECT_EQ(Load("c")->Value(), "OVERLOADED");
  std::vector<std::shared_ptr<Loading>> waiting{Load("a"), Load("a")};
  EXPECT_EQ(Load("a")->Value(), "TOO_MANY_WAITERS");
  waiting.push_back(Load("b"));
  EXPECT_EQ(Load("b")->Value(), "TOO_MANY_WAITERS");
  EXPECT_TRUE(Set("a", "1", {}, {}, a->Token()).stored);
  EXPECT_TRUE(Set("b", "2", {}, {}, b->Token()).stored);
  executor_.RunReady();
  for (const auto& loading : waiting) EXPECT_NE(loading->Value(), "(waits)");
}

TEST_F(LeaseTest, DrainEndsAllWaits) {
  const auto holder = Load("a");
  const auto waiter = Load("a");
  engine_->Drain();
  executor_.RunReady();
  EXPECT_EQ(waiter->Value(), "DRAINING");
  EXPECT_EQ(Load("b")->Value(), "DRAINING");
  EXPECT_TRUE(Set("a", "1", {}, {}, holder->Token()).stored) << "what is under way may finish";
}

TEST_F(LeaseTest, FillCarriesTheVersionOfItsBeginning) {
  const auto holder = Load("a");
  const Version during = engine_->versions().Next();
  const WriteResult fill = Set("a", "1", {}, {}, holder->Token());
  EXPECT_TRUE(fill.stored);
  EXPECT_LT(fill.version, during);
}

}  // namespace
}  // namespace larder
