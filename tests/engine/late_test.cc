// What arrives late, and what was changed meanwhile by replicas that could not tell each other.

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

// Two replicas that share a tier and hear nothing of each other.
class LateTest : public ReplicasFixture {
 protected:
  LateTest() {
    for (int i = 0; i < 2; ++i) {
      Replica::Options options;
      options.bus = false;
      options.fleet_leases = false;
      options.engine.memory_bytes = L1::kBudgetBytesMin;
      Add(std::move(options));
    }
  }
  bool Touch(size_t replica, const std::string& key, absl::Duration ttl) {
    const auto touched = Now(engine(replica).Touch({{"", key, ""}, ttl, TouchMode::kSet}));
    EXPECT_TRUE(touched.ok()) << touched.status();
    return touched.ok() && touched->changed;
  }
  size_t Settled(size_t replica) {
    engine(replica).Start();
    executor_.Advance(absl::Seconds(1));
    return engine(replica).Stats().lower.settled;
  }
};

TEST_F(LateTest, ALoadIsLateAlsoWhenWhatChangedTheKeyHasEnded) {
  const auto loading = Load(1, "a");
  ASSERT_TRUE(loading->HasLease());
  Set(0, "a", "new", absl::Seconds(1));
  executor_.Advance(absl::Seconds(2));
  EXPECT_FALSE(Set(1, "a", "old", {}, {}, loading->Token()).stored);
  EXPECT_EQ(Get(0, "a"), "(expired)");
  EXPECT_EQ(Get(1, "a"), "(expired)");
}

// By then, what changed the key and has ended has left nothing below.
TEST_F(LateTest, ALoadThatTakesLongerThanVersionsAreKeptIsStoredOnlyWithTheBus) {
  Replica::Options options;
  options.engine.memory_bytes = L1::kBudgetBytesMin;
  Add(std::move(options)).engine->Start();
  executor_.Advance(absl::Seconds(5));
  const auto without = Load(1, "a", absl::Minutes(5));
  const auto with = Load(2, "b", absl::Minutes(5));
  ASSERT_TRUE(without->HasLease());
  ASSERT_TRUE(with->HasLease());
  // In steps, or the clock jumps over heartbeats.
  for (int i = 0; i < 70 * 20; ++i) executor_.Advance(absl::Milliseconds(50));
  EXPECT_TRUE(Set(2, "b", "told", {}, {}, with->Token()).stored);
  EXPECT_TRUE(Set(1, "a", "alone", {}, {}, without->Token()).stored) << "it has no bus to hear";
  const auto cut_off = Load(2, "c", absl::Minutes(5));
  fleet_.log.Disconnect(2);
  for (int i = 0; i < 70 * 20; ++i) executor_.Advance(absl::Milliseconds(50));
  EXPECT_FALSE(Set(2, "c", "late", {}, {}, cut_off->Token()).stored);
}

TEST_F(LateTest, OtherTimesForAnEntryDoNotOutrankAWriteThatTheTierHasNotYet) {
  Set(0, "a", "old");
  ASSERT_EQ(Get(1, "a"), "old");
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "new");
  EXPECT_TRUE(Touch(1, "a", absl::Minutes(1)));
  tier(0).SetFaults({});
  EXPECT_EQ(Settled(0), 1u);
  EXPECT_EQ(Get(0, "a"), "new");
  Evict(1, "a");
  EXPECT_EQ(Get(1, "a"), "new");
}

TEST_F(LateTest, OtherTimesThatTheTierDidNotTakeDoNotBringBackWhatWasRemoved) {
  Set(0, "a", "1");
  ASSERT_EQ(Get(1, "a"), "1");
  tier(1).SetFaults({.fail_ratio = 1});
  Delete(0, "a");
  EXPECT_TRUE(Touch(1, "a", absl::Hours(1))) << "it knows no better";
  tier(1).SetFaults({});
  EXPECT_EQ(Settled(1), 1u);
  EXPECT_EQ(Get(1, "a"), "(invalidated)");
  EXPECT_EQ(Get(0, "a"), "(invalidated)");
}

TEST_F(LateTest, OtherTimesThatTheTierDidNotTakeAreMadeGood) {
  Set(0, "a", "1", absl::Seconds(10));
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_TRUE(Touch(0, "a", absl::Hours(1)));
  Set(0, "b", "1", absl::Seconds(10));
  EXPECT_TRUE(Touch(0, "b", absl::Hours(1))) << "of an entry that the tier does not have either";
  tier(0).SetFaults({});
  EXPECT_EQ(Settled(0), 2u);
  executor_.Advance(absl::Minutes(1));
  EXPECT_EQ(Get(1, "a"), "1");
  EXPECT_EQ(Get(1, "b"), "1");
}

TEST_F(LateTest, AWriteThatWasGivenUpAndRemovedStaysAwayWhenItArrives) {
  TypePolicy strict = Type("strict");
  strict.require_l2 = true;
  types_ = {strict};
  replicas_.clear();
  for (int i = 0; i < 2; ++i) {
    Replica::Options options;
    options.bus = false;
    options.fleet_leases = false;
    options.guarded = true;
    options.engine.memory_bytes = L1::kBudgetBytesMin;
    Add(std::move(options));
  }
  Set(0, "strict:a", "before");
  ASSERT_EQ(Get(1, "strict:a"), "before");
  tier(0).SetFaults({.hang = true});
  EXPECT_FALSE(TrySet(0, "strict:a", "given up").ok());
  tier(0).SetFaults({});
  EXPECT_EQ(Settled(0), 1u);
  tier(0).Release();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Get(1, "strict:a"), "before") << "a copy in memory, which no bus takes away";
  Evict(1, "strict:a");
  EXPECT_EQ(Get(1, "strict:a"), "(invalidated)");
}

}  // namespace
}  // namespace larder
