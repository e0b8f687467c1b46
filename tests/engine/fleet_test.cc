// Engines of one fleet: what a change on one does to the copies of the others, what is done about
// messages that were missed, and who loads.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class FleetTest : public ReplicasFixture {
 protected:
  // Replicas that follow the bus already.
  void Some(size_t count, bool serve_suspect = true) {
    for (size_t i = 0; i < count; ++i) {
      Replica::Options options;
      options.engine.memory_bytes = L1::kBudgetBytesMin;
      options.engine.serve_suspect = serve_suspect;
      Add(std::move(options)).engine->Start();
    }
    RunUntilTrusted();
  }
  void RunUntilTrusted() {
    executor_.Advance(absl::Seconds(5));
    for (size_t i = 0; i < replicas_.size(); ++i)
      ASSERT_FALSE(engine(i).Stats().coherence.suspect) << i;
  }
  CoherenceStats Coherent(size_t replica) { return engine(replica).Stats().coherence; }
  void CutOff(int replica) {
    fleet_.log.Disconnect(replica);
    executor_.Advance(absl::Seconds(3));
    ASSERT_TRUE(Coherent(replica).suspect);
  }
  // It follows again, and the check of its copies has not begun to go through them.
  void Join(int replica) {
    fleet_.log.Connect(replica);
    for (int i = 0; i < 5000 && !Follows(replica); ++i) executor_.Advance(absl::Milliseconds(1));
    ASSERT_TRUE(Follows(replica));
  }
  bool Follows(int replica) { return replicas_[replica]->bus->ReliableUntil() >= clock_.Mono(); }
  absl::StatusOr<InvalidateResult> InvalidateEverywhere(size_t replica, const std::string& key,
                                                        absl::Duration wait) {
    InvalidateRequest request;
    request.keys = {key};
    request.fleet_until = MonoAfter(clock_.Mono(), wait);
    return Now(engine(replica).InvalidateKeys(request));
  }
};

TEST_F(FleetTest, ChangesElsewhereDropCopies) {
  Some(3);
  for (const std::string change : {"set", "set if", "delete", "invalidate", "increment", "touch"}) {
    SCOPED_TRACE(change);
    const std::string key = "k " + change;
    const Version version = Set(0, key, "1").version;
    executor_.Advance(absl::Milliseconds(50));
    for (size_t replica : {0, 1, 2}) ASSERT_EQ(Get(replica, key), "1");
    if (change == "set") Set(1, key, "2");
    if (change == "set if") {
      EXPECT_TRUE(Set(1, key, "2", {}, {Expect::Kind::kVersion, version}).stored);
    }
    if (change == "delete") Delete(1, key);
    if (change == "invalidate") {
      EXPECT_TRUE(Now(engine(1).InvalidateKeys({"", {key}})).ok());
    }
    if (change == "increment") Increment(1, key);
    if (change == "touch") {
      EXPECT_TRUE(
          Now(engine(1).Touch({{"", key, ""}, absl::Minutes(1), TouchMode::kSet}))->changed);
    }
    executor_.Advance(absl::Milliseconds(50));
    EXPECT_FALSE(InMemory(0, key));
    EXPECT_FALSE(InMemory(2, key));
    if (change == "touch") {
      EXPECT_EQ(Get(0, key), "1");
    } else {
      EXPECT_NE(Get(0, key), "1");
    }
    EXPECT_EQ(Get(0, key), Get(1, key));
    EXPECT_EQ(Get(2, key), Get(1, key));
  }
  EXPECT_EQ(Coherent(0).dropped, 6u);
  EXPECT_GE(Coherent(0).changes, 6u);
}

TEST_F(FleetTest, ACopyThatIsNewerThanTheMessageStays) {
  Some(2);
  Set(1, "a", "1");
  Set(0, "a", "2");  // before the message has come
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_TRUE(InMemory(0, "a"));
  EXPECT_EQ(Get(0, "a"), "2");
  EXPECT_EQ(Get(1, "a"), "2");
}

TEST_F(FleetTest, WhatWasLoadedWithoutASharedTierIsNoChangeToTheOthers) {
  TypePolicy local = Type("local");
  local.second_tier = false;
  types_ = {local};
  Some(2);
  for (size_t replica : {0, 1}) {
    const auto loading = Load(replica, "local:1");
    ASSERT_TRUE(loading->HasLease());
    EXPECT_TRUE(Set(replica, "local:1", "1", {}, {}, loading->Token()).stored);
    executor_.Advance(absl::Milliseconds(100));
  }
  EXPECT_TRUE(InMemory(0, "local:1"));
  EXPECT_TRUE(InMemory(1, "local:1"));
  Set(0, "local:1", "2");
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_FALSE(InMemory(1, "local:1"));
}

// Whether suspect copies may be served.
class SuspectTest : public FleetTest, public testing::WithParamInterface<bool> {};
INSTANTIATE_TEST_SUITE_P(ServeSuspect, SuspectTest, testing::Bool());

TEST_P(SuspectTest, SuspectCopiesAreConfirmedOrRefutedByTheTier) {
  Some(2, GetParam());
  Set(0, "same", "1");
  Set(0, "changed", "1");
  Set(0, "deleted", "1");
  executor_.Advance(absl::Milliseconds(100));
  for (const char* key : {"same", "changed", "deleted"}) ASSERT_EQ(Get(1, key), "1");
  EXPECT_FALSE(Now(engine(1).Explain({"", "same", ""}, 0))->suspect);
  CutOff(1);
  Set(0, "changed", "2");
  Delete(0, "deleted");
  EXPECT_TRUE(Now(engine(1).Explain({"", "same", ""}, 0))->suspect);
  Entry entry;
  EXPECT_FALSE(engine(1).FindHit(FullKey("", "same"), clock_.Mono(), true, &entry));
  EXPECT_EQ(Get(1, "same"), "1");
  EXPECT_EQ(Get(1, "changed"), "2");
  EXPECT_EQ(Get(1, "deleted"), "(invalidated)");
  const auto batch = Now(engine(1).BatchGet("", {"same", "changed", "deleted"}, "", true));
  EXPECT_EQ(Text((*batch)[1]), "2");
  EXPECT_GE(Coherent(1).confirmed, 1u);
  EXPECT_EQ(Coherent(1).refuted, 2u);
  EXPECT_EQ(Coherent(1).served_suspect, 0u);
}

TEST_P(SuspectTest, WhileTheTierIsAwayTooTheConfigurationSaysWhatACopyIsWorth) {
  Some(2, GetParam());
  Set(0, "a", "1");
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(Get(1, "a"), "1");
  CutOff(1);
  Set(0, "a", "2");
  tier(1).SetFaults({.fail_ratio = 1});
  EXPECT_EQ(Get(1, "a"), GetParam() ? "1" : "(tier failed)");
  EXPECT_EQ(Coherent(1).served_suspect, GetParam() ? 1u : 0u);
  tier(1).SetFaults({});
  EXPECT_EQ(Get(1, "a"), "2");
}

TEST_F(FleetTest, ACopyOfNoTierCannotBeCheckedAndGoesWhenTheBusIsBack) {
  TypePolicy local = Type("local");
  local.second_tier = false;
  types_ = {local};
  Some(2, /*serve_suspect=*/false);
  Set(1, "local:1", "1");
  EXPECT_EQ(Get(1, "local:1"), "1");
  CutOff(1);
  EXPECT_EQ(Get(1, "local:1"), "(tier failed)");
  fleet_.log.Connect(1);
  RunUntilTrusted();
  EXPECT_FALSE(InMemory(1, "local:1"));
}

TEST_F(FleetTest, ABatchOfSuspectCopiesIsOneQuestion) {
  Some(2);
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) names.push_back("k" + std::to_string(i));
  for (const std::string& name : names) Set(0, name, "1");
  for (const std::string& name : names) ASSERT_EQ(Get(1, name), "1");
  CutOff(1);
  Set(0, "k7", "2");
  Set(0, "k8", "2");
  Evict(1, "k8");
  const std::vector<std::string_view> keys(names.begin(), names.end());
  const uint64_t calls = tier(1).calls();
  const auto read = Now(engine(1).BatchGet("", keys, "", true));
  ASSERT_TRUE(read.ok());
  for (size_t i = 0; i < keys.size(); ++i)
    EXPECT_EQ(Text((*read)[i]), i == 7 || i == 8 ? "2" : "1");
  // And one for what was invalidated meanwhile.
  EXPECT_EQ(tier(1).calls(), calls + 2);
}

TEST_F(FleetTest, ASuspectCopyOfAnEntryThatShallLiveShorterIsRefuted) {
  TypePolicy slide = Type("slide");
  slide.ttl.sliding = true;
  types_ = {slide};
  Some(2);
  uint64_t refuted = 0;
  for (const std::string key : {"asked for", "not asked for", "slide:1", "over"}) {
    SCOPED_TRACE(key);
    Set(0, key, "1", absl::Hours(1));
    ASSERT_EQ(Get(1, key), "1");
    CutOff(1);
    const absl::Duration ttl = absl::Seconds(key == "over" ? 1 : 60);
    EXPECT_TRUE(Now(engine(0).Touch({{"", key, ""}, ttl, TouchMode::kSet}))->changed);
    if (key == "asked for") {
      EXPECT_EQ(Get(1, key), "1");
    }
    if (key == "over") executor_.Advance(absl::Seconds(2));
    fleet_.log.Trim(0);
    fleet_.log.Connect(1);
    RunUntilTrusted();
    EXPECT_EQ(Coherent(1).refuted, ++refuted);
    for (int i = 0; i < 120; ++i) executor_.Advance(absl::Seconds(1));
    EXPECT_NE(Get(1, key), "1");
  }
}

TEST_F(FleetTest, AWriteThatTheTierDidNotTakeOutlivesSuspicion) {
  Some(2);
  Set(0, "a", "old");
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "new");
  CutOff(0);
  tier(0).SetFaults({});
  EXPECT_EQ(Get(0, "a"), "new") << "the tier still has the old value";
  fleet_.log.Connect(0);
  RunUntilTrusted();
  EXPECT_EQ(Get(0, "a"), "new");
  EXPECT_EQ(Get(1, "a"), "new");
}

TEST_F(FleetTest, TheCheckInTheBackgroundEndsSuspicion) {
  Some(2);
  for (int i = 0; i < 700; ++i) Set(0, "k" + std::to_string(i), "1");
  executor_.Advance(absl::Milliseconds(100));
  for (int i = 0; i < 700; ++i) ASSERT_EQ(Get(1, "k" + std::to_string(i)), "1");
  CutOff(1);
  for (int i = 0; i < 700; i += 7) Set(0, "k" + std::to_string(i), "2");
  // A tier that fails makes it wait, not give up.
  tier(1).SetFaults({.fail_ratio = 1});
  fleet_.log.Trim(0);
  fleet_.log.Connect(1);
  executor_.Advance(absl::Seconds(10));
  EXPECT_TRUE(Coherent(1).suspect);
  tier(1).SetFaults({});
  RunUntilTrusted();
  EXPECT_EQ(Coherent(1).refuted, 100u);
  EXPECT_EQ(Coherent(1).confirmed, 600u);
  Entry entry;
  for (int i = 0; i < 700; ++i) {
    const std::string key = "k" + std::to_string(i);
    EXPECT_EQ(engine(1).FindHit(FullKey("", key), clock_.Mono(), true, &entry), i % 7 != 0) << i;
    EXPECT_EQ(Get(1, key), i % 7 == 0 ? "2" : "1");
  }
}

TEST_F(FleetTest, CopiesThatCameAfterTheGapAreTrustedAtOnce) {
  Some(2);
  CutOff(1);
  Join(1);
  Set(0, "a", "1");
  EXPECT_EQ(Get(1, "a"), "1");
  Entry entry;
  EXPECT_TRUE(engine(1).FindHit(FullKey("", "a"), clock_.Mono(), true, &entry));
}

TEST_F(FleetTest, WhatWasReadBelowDuringAGapIsNotKeptBeyondIt) {
  Some(2);
  Set(0, "a", "1");
  CutOff(1);
  tier(1).SetFaults({.delay_min = absl::Seconds(4), .delay_max = absl::Seconds(4)});
  std::string seen;
  Spawn(engine(1).Get({"", "a", ""}),
        [&seen](absl::StatusOr<ReadResult> read) { seen = Text(*read); });
  // It has read the rules of the tier; then the tier has said 1, and the answer is on its way.
  executor_.Advance(absl::Seconds(13));
  Set(0, "a", "2");  // nobody here hears of it
  Join(1);
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(seen, "1");
  EXPECT_FALSE(InMemory(1, "a"));
  tier(1).SetFaults({});
  EXPECT_EQ(Get(1, "a"), "2");
}

TEST_F(FleetTest, ALoadThatBeganBeforeAGapIsNotKeptWithoutTheTiersWord) {
  Some(2);
  const auto loading = Load(1, "a");
  ASSERT_TRUE(loading->HasLease());
  fleet_.log.Disconnect(1);
  Delete(0, "a");  // the message is missed
  executor_.Advance(absl::Seconds(3));
  fleet_.log.Trim(0);
  Join(1);
  tier(1).SetFaults({.fail_ratio = 1});
  EXPECT_FALSE(Set(1, "a", "stale", {}, {}, loading->Token()).stored);
  EXPECT_FALSE(InMemory(1, "a"));
}

TEST_F(FleetTest, WaitsUntilAllReplicasHaveDoneTheSame) {
  Some(3);
  Set(0, "a", "1");
  executor_.Advance(absl::Milliseconds(100));
  for (size_t replica : {1, 2}) ASSERT_EQ(Get(replica, "a"), "1");
  const auto done = InvalidateEverywhere(0, "a", absl::Seconds(2));
  ASSERT_TRUE(done.ok());
  EXPECT_TRUE(done->fleet.all());
  EXPECT_EQ(done->fleet.acknowledged, 2u);
  for (size_t replica : {0, 1, 2}) EXPECT_FALSE(InMemory(replica, "a"));
  fleet_.log.Disconnect(2);
  const auto partly = InvalidateEverywhere(0, "a", absl::Seconds(1));
  ASSERT_TRUE(partly.ok());
  EXPECT_FALSE(partly->fleet.all());
  EXPECT_EQ(partly->fleet.acknowledged, 1u);
  EXPECT_EQ(partly->fleet.replicas, 2u);
}

TEST_F(FleetTest, AnInvalidationThatTheTierDidNotTakeIsNotDoneEverywhere) {
  Some(2);
  Set(0, "a", "1");
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(Get(1, "a"), "1");
  tier(0).SetFaults({.fail_ratio = 1});
  const auto done = InvalidateEverywhere(0, "a", absl::Seconds(2));
  ASSERT_TRUE(done.ok());
  EXPECT_FALSE(done->fleet.all());
  // The other one drops its copy, and reads the old value again.
  EXPECT_EQ(Get(1, "a"), "1");
  EXPECT_NE(Get(0, "a"), "1");
  tier(0).SetFaults({});
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Get(1, "a"), "(invalidated)") << "what was made good is told";
}

TEST_F(FleetTest, AVersionThatTheTierNeverTookIsNoNewerThanWhatTheOthersWrote) {
  Add({.clock_off = absl::Minutes(1)}).engine->Start();
  Add({}).engine->Start();
  executor_.Advance(absl::Seconds(5));
  fleet_.log.Disconnect(1);
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "1");
  Set(1, "a", "2");  // later, by a clock that is behind, and without having heard of the other
  fleet_.log.Connect(1);
  tier(0).SetFaults({});
  executor_.Advance(absl::Seconds(5));
  EXPECT_NE(Get(0, "a"), "1");
  EXPECT_NE(Get(1, "a"), "1");
}

TEST_F(FleetTest, ASuspectCopyIsNotPutBelow) {
  TypePolicy session = Type("session", absl::Minutes(1));
  session.ttl.sliding = true;
  types_ = {session};
  Some(2);
  Set(0, "session:1", "old");
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(Get(1, "session:1"), "old");
  CutOff(1);
  Delete(0, "session:1");
  fleet_.tier.Clear();
  executor_.Advance(absl::Seconds(30));
  tier(1).SetFaults({.fail_next = 1});
  EXPECT_EQ(Get(1, "session:1"), "old") << "as the configuration says";
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Get(0, "session:1"), "(invalidated)");
}

TEST_F(FleetTest, OneReplicaLoadsAndTheOtherGetsItsValue) {
  Some(2);
  const auto holder = Load(0, "a");
  ASSERT_TRUE(holder->HasLease());
  const auto waiter = Load(1, "a");
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(waiter->Value(), "(waits)");
  const MonoNanos began = clock_.Mono();
  EXPECT_TRUE(Set(0, "a", "loaded", {}, {}, holder->Token()).stored);
  for (int i = 0; i < 1000 && !waiter->result.has_value(); ++i)
    executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(waiter->Value(), "loaded");
  EXPECT_LT(clock_.Mono() - began, absl::ToInt64Nanoseconds(absl::Milliseconds(50)))
      << "the bus wakes it, not the time";
  EXPECT_EQ(engine(1).Stats().leases.granted, 0u);
}

TEST_F(FleetTest, WhileOneReplicaLoadsTheOtherServesTheStaleValue) {
  TypePolicy page = Type("page", absl::Seconds(10));
  page.freshness.stale_while_revalidate = absl::Minutes(1);
  types_ = {page};
  Some(2);
  Set(0, "page:1", "old");
  EXPECT_EQ(Get(1, "page:1"), "old");
  executor_.Advance(absl::Seconds(11));
  const auto holder = Load(0, "page:1");
  ASSERT_TRUE(holder->HasLease());
  for (const size_t replica : {0, 1}) {
    const auto waiter = Load(replica, "page:1");
    executor_.Advance(absl::Milliseconds(100));
    EXPECT_EQ(waiter->Value(), "old") << replica;
    EXPECT_TRUE((*waiter->result)->read.stale) << replica;
  }
  EXPECT_TRUE(Set(0, "page:1", "new", {}, {}, holder->Token()).stored);
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(Get(1, "page:1"), "new");
  EXPECT_EQ(engine(1).Stats().leases.granted, 0u);
}

TEST_F(FleetTest, AHolderThatGivesUpWakesTheOtherReplica) {
  Some(2);
  const auto holder = Load(0, "a");
  const auto waiter = Load(1, "a");
  ASSERT_TRUE(holder->HasLease());
  const MonoNanos began = clock_.Mono();
  EXPECT_TRUE(engine(0).ReleaseLease({"", "a", ""}, holder->Token()));
  for (int i = 0; i < 1000 && !waiter->result.has_value(); ++i)
    executor_.Advance(absl::Milliseconds(1));
  ASSERT_TRUE(waiter->HasLease());
  EXPECT_LT(clock_.Mono() - began, absl::ToInt64Nanoseconds(absl::Milliseconds(50)));
  EXPECT_TRUE(Set(1, "a", "2", {}, {}, waiter->Token()).stored);
}

TEST_F(FleetTest, TheNextCallerOfTheSameReplicaDoesNotWaitForTheFleet) {
  Some(2);
  const auto holder = Load(0, "a");
  const auto next = Load(0, "a");
  ASSERT_TRUE(holder->HasLease());
  const MonoNanos began = clock_.Mono();
  EXPECT_TRUE(engine(0).ReleaseLease({"", "a", ""}, holder->Token()));
  for (int i = 0; i < 5000 && !next->result.has_value(); ++i)
    executor_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(next->HasLease());
  EXPECT_LT(clock_.Mono() - began, absl::ToInt64Nanoseconds(absl::Milliseconds(50)));
}

TEST_F(FleetTest, ASetOfTheSameReplicaWakesWhoWaitsForTheFleet) {
  Some(2);
  const auto holder = Load(1, "a");
  const auto waiter = Load(0, "a");
  ASSERT_TRUE(holder->HasLease());
  executor_.Advance(absl::Milliseconds(20));
  EXPECT_EQ(waiter->Value(), "(waits)");
  Set(0, "a", "set");
  executor_.RunReady();
  EXPECT_EQ(waiter->Value(), "set");
}

TEST_F(FleetTest, TheLeaseOfADeadHolderRunsOut) {
  Some(2);
  const auto holder = Load(0, "a");
  ASSERT_TRUE(holder->HasLease());
  const auto waiter = Load(1, "a");
  replicas_[0]->leases->Cut();
  executor_.Advance(absl::Seconds(1.9));
  EXPECT_EQ(waiter->Value(), "(waits)");
  executor_.Advance(absl::Seconds(2.2));
  EXPECT_TRUE(waiter->HasLease());
}

TEST_F(FleetTest, WhoHasWaitedLongEnoughLoadsAnyway) {
  Some(2);
  const auto holder = Load(0, "a", absl::Minutes(1));
  ASSERT_TRUE(holder->HasLease());
  const auto waiter = Load(1, "a");
  executor_.Advance(absl::Seconds(4.9));
  EXPECT_EQ(waiter->Value(), "(waits)");
  executor_.Advance(absl::Seconds(0.3));
  EXPECT_TRUE(waiter->HasLease());
  EXPECT_EQ(engine(1).Stats().fleet_leases->waited_out, 1u);
}

TEST_F(FleetTest, WithoutFleetLeasesEveryReplicaLoads) {
  Some(2);
  for (size_t replica : {0, 1}) replicas_[replica]->leases->SetFaults({.fails = 1});
  const auto first = Load(0, "a");
  const auto second = Load(1, "a");
  ASSERT_TRUE(first->HasLease());
  ASSERT_TRUE(second->HasLease());
  EXPECT_TRUE(Set(0, "a", "1", {}, {}, first->Token()).stored);
  EXPECT_FALSE(Set(1, "a", "1", {}, {}, second->Token()).stored) << "the other was first";
  EXPECT_EQ(engine(0).Stats().fleet_leases->errors, 1u);
}

// Neither for the fleet's lease, which is there as well, nor for another look.
TEST_F(FleetTest, WhoIsToLoadWaitsForATierThatDoesNotAnswerOnce) {
  Some(2);
  const absl::Status late = absl::DeadlineExceededError("no answer within the time limit");
  tier(0).SetFaults({.fail_ratio = 1, .error = late});
  uint64_t before = tier(0).calls();
  const auto looked = Load(0, "a");
  EXPECT_TRUE(looked->HasLease());
  EXPECT_EQ(tier(0).calls(), before + 1);
  EXPECT_EQ(engine(0).Stats().fleet_leases->waited_out, 1u);
  // Nothing older was there, so it is of no harm not to have looked.
  tier(0).SetFaults({});
  EXPECT_TRUE(Set(0, "a", "1", {}, {}, looked->Token()).stored);
  EXPECT_EQ(Get(1, "a"), "1");

  replicas_[0]->leases->SetFaults({.fails = 1, .late = true});
  before = tier(0).calls();
  const auto asked = Load(0, "b");
  EXPECT_TRUE(asked->HasLease());
  EXPECT_EQ(tier(0).calls(), before + 1);
  // Something has come since, and what was loaded before that is not to replace it.
  Set(1, "b", "newer");
  EXPECT_FALSE(Set(0, "b", "older", {}, {}, asked->Token()).stored);
  EXPECT_EQ(Get(0, "b"), "newer");
}

TEST_F(FleetTest, ALateLeaseDoesNotKeepALoadFromReplacingWhatIsBelow) {
  TypePolicy page = Type("page", absl::Seconds(10));
  page.freshness.stale_while_revalidate = absl::Seconds(60);
  types_ = {page};
  Some(2);
  Set(0, "page:1", "old");
  executor_.Advance(absl::Seconds(15));
  replicas_[0]->leases->SetFaults({.fails = 1, .late = true});
  const auto holder = Load(0, "page:1");
  ASSERT_TRUE(holder->HasLease());
  EXPECT_TRUE(Set(0, "page:1", "new", {}, {}, holder->Token()).stored);
  EXPECT_EQ(Get(1, "page:1"), "new");
}

TEST_F(FleetTest, AWaitForTheFleetEndsWithTheCallersTime) {
  Some(2);
  const auto holder = Load(0, "a", absl::Minutes(1));
  ASSERT_TRUE(holder->HasLease());
  const auto patient = Load(1, "a", absl::Seconds(10), absl::Seconds(1));
  const auto gone = Load(1, "a");
  gone->cancellation.Cancel();
  executor_.Advance(absl::Seconds(1.1));
  EXPECT_EQ(patient->Value(), "(loading)");
  EXPECT_EQ(gone->Value(), "CALL_CANCELLED");
  const auto drained = Load(1, "a");
  executor_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(drained->Value(), "(waits)");
  engine(1).Drain();
  executor_.RunReady();
  EXPECT_EQ(drained->Value(), "DRAINING");
}

TEST_F(FleetTest, AChangeElsewhereTakesTheLeaseAway) {
  Some(2);
  const auto holder = Load(0, "a");
  const auto waiter = Load(0, "a");
  ASSERT_TRUE(holder->HasLease());
  Delete(1, "a");
  executor_.Advance(absl::Milliseconds(100));
  EXPECT_FALSE(Set(0, "a", "stale", {}, {}, holder->Token()).stored);
  EXPECT_TRUE(waiter->HasLease()) << waiter->Value();
}

}  // namespace
}  // namespace larder
