// What went wrong below and beside an engine can be read from its Stats: writes that an outage of
// the tier may have cost, and waits for the fleet that did not reach all of it.

#include <gtest/gtest.h>

#include <string>

#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class CountedTest : public ReplicasFixture {
 protected:
  LowerTierStats Lower(size_t replica) { return engine(replica).Stats().lower; }
  uint64_t WaitsShort(size_t replica) { return engine(replica).Stats().fleet_waits_short; }

  void TwoWithoutABus() {
    for (int i = 0; i < 2; ++i) {
      Add({.bus = false, .fleet_leases = false, .engine = {.memory_bytes = L1::kBudgetBytesMin}});
    }
  }
  InvalidateResult InvalidateEverywhere(size_t replica, const std::string& key) {
    InvalidateRequest request;
    request.keys = {key};
    request.fleet_until = MonoAfter(clock_.Mono(), absl::Milliseconds(50));
    const absl::StatusOr<InvalidateResult> done = Now(engine(replica).InvalidateKeys(request));
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? *done : InvalidateResult();
  }
};

TEST_F(CountedTest, WritesOfShortlyBeforeAnOutageAreOwedOnceMore) {
  TwoWithoutABus();
  Set(0, "old", "1");
  Set(0, "removed", "1");
  fleet_.tier.TakeCopy();
  executor_.Advance(absl::Seconds(11));
  Set(0, "written", "2");
  Delete(0, "removed");
  EXPECT_EQ(Lower(0).owed_again, 0u);

  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "during", "3");
  EXPECT_EQ(Lower(0).owed, 1u);
  // What takes over has neither the write nor the removal.
  fleet_.tier.FailOver();
  tier(0).SetFaults({});
  EXPECT_EQ(Get(0, "nothing"), "(absent)");
  EXPECT_EQ(Lower(0).owed_again, 2u) << "`old` was written long before";
  EXPECT_EQ(Lower(0).owed, 3u);
  EXPECT_EQ(Lower(0).owed_total, 3u) << "owed_again is a part of it";

  engine(0).Start();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Lower(0).owed, 0u);
  EXPECT_EQ(Lower(0).settled, 3u);
  EXPECT_EQ(Get(1, "old"), "1");
  EXPECT_EQ(Get(1, "written"), "2");
  EXPECT_EQ(Get(1, "during"), "3");
  EXPECT_NE(Get(1, "removed"), "1");
}

// Killed and started again between two calls: no call of it failed, and it has forgotten as much.
TEST_F(CountedTest, WritesOfShortlyBeforeALossThatNoCallSawAreOwedOnceMore) {
  TwoWithoutABus();
  Set(0, "removed", "1");
  fleet_.tier.TakeCopy();
  Set(0, "written", "2");
  Delete(0, "removed");
  fleet_.tier.RestartUnseen();
  EXPECT_NE(Get(0, "removed"), "1");
  EXPECT_EQ(Lower(0).owed_again, 3u);
  engine(0).Start();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Lower(0).owed, 0u);
  EXPECT_EQ(Get(1, "written"), "2");
  EXPECT_NE(Get(1, "removed"), "1");
  EXPECT_EQ(Lower(0).owed_again, 3u) << "once for each loss";
}

// And the next call comes when all that was written before the loss is no longer remembered.
TEST_F(CountedTest, WritesOfShortlyBeforeALossThatNoCallSawForLongAreOwedOnceMore) {
  TwoWithoutABus();
  engine(0).Start();
  Set(0, "read", "1");
  Set(0, "other", "1");
  fleet_.tier.TakeCopy();
  Set(0, "read", "2");
  Set(0, "other", "2");
  fleet_.tier.RestartUnseen();
  executor_.Advance(absl::Seconds(11));
  EXPECT_EQ(Lower(0).owed_again, 0u) << "nobody has called the tier";
  Evict(0, "read");
  Evict(0, "other");
  EXPECT_NE(Get(0, "read"), "1") << "older than what this replica has acknowledged";
  EXPECT_NE(Get(0, "other"), "1");
  EXPECT_EQ(Lower(0).owed_again, 4u);
}

// The tier took it and was gone before whoever wrote it had the answer.
TEST_F(CountedTest, AWriteDuringWhoseCallTheTierMayHaveLostItIsOwedOnceMore) {
  TwoWithoutABus();
  fleet_.tier.TakeCopy();
  tier(0).SetFaults({.delay_min = absl::Milliseconds(10), .delay_max = absl::Milliseconds(10)});
  std::optional<absl::StatusOr<WriteResult>> result;
  WriteRequest write;
  write.key = {"", "key", ""};
  write.value = "1";
  Spawn(engine(0).Set(write), [&result](absl::StatusOr<WriteResult> set) { result = set; });
  executor_.Advance(absl::Milliseconds(15));
  ASSERT_FALSE(result.has_value()) << "its answer is on its way";
  fleet_.tier.RestartUnseen();
  executor_.Advance(absl::Milliseconds(50));
  ASSERT_TRUE(result.has_value() && result->ok());
  EXPECT_EQ(Lower(0).owed, 1u);
  tier(0).SetFaults({});
  engine(0).Start();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Lower(0).owed, 0u);
  EXPECT_EQ(Get(1, "key"), "1");
}

TEST_F(CountedTest, AnOutageAfterAQuietTimeOwesNothingAgain) {
  TwoWithoutABus();
  Set(0, "old", "1");
  executor_.Advance(absl::Seconds(11));
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "during", "2");
  tier(0).SetFaults({});
  Get(0, "nothing");
  EXPECT_EQ(Lower(0).owed_again, 0u);
  EXPECT_EQ(Lower(0).owed_total, 1u);
}

TEST_F(CountedTest, AWaitForTheFleetThatEndsShortOfAReplica) {
  for (int i = 0; i < 2; ++i) Add({}).engine->Start();
  executor_.Advance(absl::Seconds(5));
  Set(0, "a", "1");
  EXPECT_TRUE(InvalidateEverywhere(0, "a").fleet.all());
  EXPECT_EQ(WaitsShort(0), 0u);

  fleet_.log.Disconnect(1);
  EXPECT_FALSE(InvalidateEverywhere(0, "a").fleet.all());
  EXPECT_EQ(WaitsShort(0), 1u);
  EXPECT_EQ(WaitsShort(1), 0u);
}

TEST_F(CountedTest, AWaitForTheFleetWhoseTierDidNotTakeTheRemoval) {
  Add({}).engine->Start();
  executor_.Advance(absl::Seconds(5));
  Set(0, "a", "1");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_FALSE(InvalidateEverywhere(0, "a").fleet.all());
  EXPECT_EQ(WaitsShort(0), 1u);
}

TEST_F(CountedTest, ARehearsalOrAWaitOfAReplicaThatIsAloneIsNotShort) {
  TwoWithoutABus();
  Set(0, "a", "1");
  EXPECT_TRUE(InvalidateEverywhere(0, "a").fleet.all());
  InvalidateRequest rehearsal;
  rehearsal.keys = {"a"};
  rehearsal.dry_run = true;
  rehearsal.fleet_until = clock_.Mono();
  EXPECT_TRUE(Now(engine(0).InvalidateKeys(rehearsal)).ok());
  EXPECT_EQ(WaitsShort(0), 0u);
}

}  // namespace
}  // namespace larder
