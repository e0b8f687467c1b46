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

// 1: the tier takes 20.  2: it goes away, and 20 gets other times.  3: it is back with 10.
TEST_F(LateTest, OtherTimesThatTheTierDidNotTakeDoNotLoseTheirEntryToAnOlderOne) {
  Set(0, "a", "old");
  fleet_.tier.TakeCopy();
  Set(0, "a", "new");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_TRUE(Touch(0, "a", absl::Hours(1)));
  fleet_.tier.FailOver();
  tier(0).SetFaults({});
  EXPECT_EQ(Get(0, "a"), "new");
  EXPECT_GE(Settled(0), 1u);
  EXPECT_EQ(Get(0, "a"), "new");
  EXPECT_EQ(Get(1, "a"), "new");
}

TEST_F(LateTest, AWriteThatTheTierCannotTakeYetIsNotLostToATouch) {
  Set(0, "a", "old");
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "new");
  tier(0).SetFaults({.fail_next = 1});
  EXPECT_TRUE(Touch(0, "a", absl::Hours(1)));
  EXPECT_EQ(Get(0, "a"), "new");
  EXPECT_EQ(Settled(0), 1u);
  EXPECT_EQ(Get(1, "a"), "new");
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

// A tier of this replica alone, which does not take what is about to end.
class AloneTest : public ReplicasFixture {
 protected:
  AloneTest() : ReplicasFixture(1, {.shared = false, .content = {.life_min = absl::Seconds(1)}}) {
    Add({.bus = false, .fleet_leases = false, .engine = {.memory_bytes = L1::kBudgetBytesMin}});
  }
};

TEST_F(AloneTest, AnEntryThatOnlyMemoryHasCanGetOtherTimes) {
  Set(0, "a", "1", absl::Milliseconds(900));
  const auto touched = Now(engine(0).Touch({{"", "a", ""}, absl::Hours(1), TouchMode::kSet}));
  ASSERT_TRUE(touched.ok()) << touched.status();
  EXPECT_TRUE(touched->changed);
  executor_.Advance(absl::Minutes(1));
  EXPECT_EQ(Get(0, "a"), "1");
}

TEST_F(AloneTest, AnEntryThatOnlyTheTierHasCanGetOtherTimes) {
  Set(0, "a", "1", absl::Minutes(1));
  Evict(0, "a");
  EXPECT_TRUE(Now(engine(0).Touch({{"", "a", ""}, absl::Hours(1), TouchMode::kSet}))->changed);
  executor_.Advance(absl::Minutes(10));
  EXPECT_EQ(Get(0, "a"), "1");
}

// Types whose copies memory keeps for a short time only, or not at all.
class ShortCopiesTest : public ReplicasFixture {
 protected:
  void Two(absl::Duration most) {
    TypePolicy type = Type("t");
    type.l1_ttl_max = most;
    types_ = {type};
    for (int i = 0; i < 2; ++i)
      Add({.bus = false, .fleet_leases = false, .engine = {.memory_bytes = L1::kBudgetBytesMin}});
  }
};

TEST_F(ShortCopiesTest, ChangesGoByTheTimesOfTheEntryAndNotOfTheCopy) {
  Two(absl::Seconds(10));
  Set(0, "t:a", "1", absl::Hours(1));
  EXPECT_FALSE(
      Now(engine(0).Touch({{"", "t:a", ""}, absl::Minutes(1), TouchMode::kExtendOnly}))->changed);
  EXPECT_TRUE(
      Now(engine(0).Touch({{"", "t:a", ""}, absl::Minutes(30), TouchMode::kShortenOnly}))->changed);
  executor_.Advance(absl::Minutes(20));
  EXPECT_EQ(Get(1, "t:a"), "1");

  IncrementRequest request = Counting("t:n", 1);
  request.ttl = absl::Seconds(60);
  for (int64_t count = 1; count <= 3; ++count) {
    const auto counted = Now(engine(0).Increment(request));
    ASSERT_TRUE(counted.ok());
    EXPECT_EQ(counted->value, count);
    executor_.Advance(absl::Seconds(15));
  }
}

TEST_F(ShortCopiesTest, MemoryCanStayOutOfIt) {
  Two(absl::ZeroDuration());
  Set(0, "t:a", "1");
  EXPECT_FALSE(InMemory(0, "t:a"));
  for (size_t replica : {0, 1, 0, 1}) {
    const ReadResult read = Read(replica, "t:a");
    EXPECT_EQ(Text(read), "1");
    EXPECT_EQ(read.from, ReadResult::From::kBelow);
    EXPECT_FALSE(InMemory(replica, "t:a"));
  }
  Set(1, "t:a", "2");
  EXPECT_EQ(Get(0, "t:a"), "2") << "no copy to be out of date";
  EXPECT_EQ(Increment(0, "t:n"), 1);
  EXPECT_EQ(Increment(1, "t:n"), 2);
  EXPECT_TRUE(Delete(0, "t:a"));
  EXPECT_EQ(Get(1, "t:a"), "(invalidated)");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_TRUE(Set(0, "t:b", "1").stored);
  EXPECT_EQ(Get(0, "t:b"), "(tier failed)");
}

}  // namespace
}  // namespace larder
