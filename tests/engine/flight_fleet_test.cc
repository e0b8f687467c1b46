// GetOrLoad of types with an origin, on several replicas that share a tier, a bus and leases.

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/fake_origin.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class FlightFleetTest : public ReplicasFixture {
 protected:
  explicit FlightFleetTest(bool fleet_leases = true) {
    TypePolicy type = Type("user");
    type.origin = "shop";
    type.ttl.base = absl::Seconds(100);
    type.freshness.stale_while_revalidate = absl::Seconds(30);
    type.freshness.stale_if_error = absl::Hours(1);
    TypePolicy strict = Type("strict");
    strict.origin = "shop";
    strict.require_l2 = true;
    TypePolicy below = Type("below");
    below.origin = "shop";
    below.l1_ttl_max = absl::ZeroDuration();
    types_ = {type, strict, below};
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    for (int i = 0; i < 3; ++i) {
      Replica::Options options;
      options.engine.origins = {link};
      options.fleet_leases = fleet_leases;
      Add(options).engine->Start();
    }
    executor_.Advance(absl::Seconds(1));
    origin_.values["user:1"] = {"one"};
    origin_.takes = absl::Milliseconds(50);
  }

  using Result = std::shared_ptr<std::optional<absl::StatusOr<LoadResult>>>;
  Result Load(size_t replica, const std::string& key) {
    keys_.push_back(std::make_unique<std::string>(key));
    LoadRequest request;
    request.key = {"", *keys_.back(), ""};
    request.deadline = MonoAfter(clock_.Mono(), absl::Seconds(30));
    auto result = std::make_shared<std::optional<absl::StatusOr<LoadResult>>>();
    Spawn(engine(replica).GetOrLoad(request),
          [result](absl::StatusOr<LoadResult> loaded) { result->emplace(std::move(loaded)); });
    return result;
  }
  static std::string ValueOf(const Result& result) {
    if (!result->has_value()) return "(waits)";
    if (!(*result)->ok()) return DetailsOf((*result)->status()).reason;
    return Text((**result)->read);
  }

  // Who joins without a look must not miss what was answered before he came, wherever the flight
  // is.
  void JoinWhileAnotherReplicaSets() {
    for (const int after_ms : {0, 1, 3, 6, 12, 20, 40}) {
      SCOPED_TRACE(after_ms);
      const std::string key = "user:" + std::to_string(100 + after_ms);
      origin_.values[key] = {"loaded"};
      tier(0).SetFaults({.delay_min = absl::Milliseconds(5), .delay_max = absl::Milliseconds(5)});
      const Result before = Load(0, key);
      executor_.Advance(absl::Milliseconds(after_ms));
      WriteRequest write;
      write.key = {"", key, ""};
      write.value = "set";
      const auto written = std::make_shared<bool>(false);
      Result after;
      // In the very moment of the answer, before any message reaches the other replica.
      Spawn(engine(1).Set(write), [&, written](const absl::StatusOr<WriteResult>& result) {
        *written = result.ok() && result->stored;
        after = Load(0, key);
      });
      executor_.Advance(absl::Seconds(2));
      EXPECT_TRUE(*written);
      ASSERT_NE(after, nullptr);
      EXPECT_EQ(ValueOf(after), "set");
      EXPECT_EQ(Get(0, key), "set");
      EXPECT_TRUE(ValueOf(before) == "set" || ValueOf(before) == "loaded");
    }
  }

  FakeOrigin origin_{&executor_};
  std::vector<std::unique_ptr<std::string>> keys_;
};

TEST_F(FlightFleetTest, AKeyIsLoadedOnceForAllReplicas) {
  std::vector<Result> callers;
  for (int i = 0; i < 300; ++i) callers.push_back(Load(static_cast<size_t>(i) % 3, "user:1"));
  executor_.Advance(absl::Seconds(2));
  for (const Result& caller : callers) EXPECT_EQ(ValueOf(caller), "one");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FlightFleetTest, EachSaysWhereItsValueCameFrom) {
  const auto from = [](const Result& result) { return (**result)->read.from; };
  const Result loads = Load(0, "user:1");
  const Result waits = Load(1, "user:1");
  executor_.Advance(absl::Seconds(2));
  ASSERT_EQ(ValueOf(waits), "one");
  EXPECT_EQ(from(loads), ReadResult::From::kOrigin);
  EXPECT_EQ(from(waits), ReadResult::From::kBelow);

  // A Get has brought it into memory before the one who waits hears that it is there.
  origin_.values["user:2"] = {"two"};
  fleet_.log.Disconnect(1);
  const Result other = Load(0, "user:2");
  const Result late = Load(1, "user:2");
  while (ValueOf(other) == "(waits)") executor_.Advance(absl::Milliseconds(1));
  ASSERT_EQ(ValueOf(late), "(waits)");
  EXPECT_EQ(Read(1, "user:2").from, ReadResult::From::kBelow);
  fleet_.log.Connect(1);
  executor_.Advance(absl::Seconds(2));
  ASSERT_EQ(ValueOf(late), "two");
  EXPECT_EQ(from(late), ReadResult::From::kMemory);
  EXPECT_EQ(origin_.loads, 2);
}

TEST_F(FlightFleetTest, AnErrorIsAnsweredWithTheStaleValueThatOnlyTheTierHas) {
  const Result first = Load(0, "user:1");
  executor_.Advance(absl::Seconds(1));
  ASSERT_EQ(ValueOf(first), "one");
  executor_.Advance(absl::Seconds(135));
  origin_.failure = absl::UnavailableError("down");
  ASSERT_FALSE(InMemory(1, "user:1"));
  std::vector<Result> callers;
  for (int i = 0; i < 10; ++i) callers.push_back(Load(1, "user:1"));
  executor_.Advance(absl::Seconds(2));
  for (const Result& caller : callers) {
    ASSERT_EQ(ValueOf(caller), "one");
    EXPECT_TRUE((**caller)->read.stale);
  }
}

TEST_F(FlightFleetTest, AStaleValueIsLoadedOnceAndReachesAllReplicas) {
  for (size_t i = 0; i < 3; ++i) {
    const Result first = Load(i, "user:1");
    executor_.Advance(absl::Seconds(1));
    EXPECT_EQ(ValueOf(first), "one");
  }
  origin_.values["user:1"] = {"two"};
  executor_.Advance(absl::Seconds(101));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "user:1"), "one");
  executor_.Advance(absl::Seconds(2));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "user:1"), "two");
  EXPECT_EQ(origin_.loads, 2);
}

// Its own load waits for the other replica's, and it for its own: that is one wait.
TEST_F(FlightFleetTest, WhoWaitsForAnotherReplicaIsToldSoOnce) {
  const Result loads = Load(0, "user:1");
  executor_.Advance(absl::Milliseconds(1));
  StepTimes steps;
  LoadRequest request;
  request.key = {"", "user:1", ""};
  request.deadline = MonoAfter(clock_.Mono(), absl::Seconds(30));
  const MonoNanos began = clock_.Mono();
  MonoNanos ended = 0;
  Spawn(engine(1).GetOrLoad(request), [&](const auto&) { ended = clock_.Mono(); }, &steps);
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(ValueOf(loads), "one");
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_GT(steps.Of(Step::kLoad), absl::ToInt64Nanoseconds(absl::Milliseconds(30)));
  EXPECT_LE(steps.Of(Step::kLoad), ended - began);
}

TEST_F(FlightFleetTest, ALoadThatBeganBeforeAChangeElsewhereIsNotSeenAfterIt) {
  const Result before = Load(0, "user:1");
  executor_.Advance(absl::Milliseconds(20));
  EXPECT_EQ(origin_.loads, 1);
  origin_.values["user:1"] = {"two"};
  EXPECT_FALSE(Delete(1, "user:1"));
  const Result after = Load(1, "user:1");
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(ValueOf(before), "two");
  EXPECT_EQ(ValueOf(after), "two");
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "user:1"), "two");
}

TEST_F(FlightFleetTest, ALoadElsewhereIsNoChangeOfWhatIsLoaded) {
  WriteRequest write;
  write.key = {"", "page", ""};
  write.value = "hello one";
  write.depends_on = {"user:1"};
  ASSERT_TRUE(Now(engine(1).Set(write)).ok());
  executor_.Advance(absl::Seconds(1));
  const auto loaded = Load(0, "user:1");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(loaded), "one");
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "page"), "hello one") << i;
  Set(0, "user:1", "two");
  executor_.Advance(absl::Seconds(1));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(Get(i, "page"), "(invalidated)") << i;
}

// Nothing of the key is cached yet, so there is nothing to mark: what is on its way must not arrive
// all the same.
TEST_F(FlightFleetTest, ALoadThatBeganBeforeAMarkElsewhereIsNotSeenAfterIt) {
  for (const bool cached : {false, true}) {
    SCOPED_TRACE(cached ? "stale" : "absent");
    origin_.values["user:1"] = {"old"};
    if (cached) executor_.Advance(absl::Seconds(110));  // the copy of the round before is stale
    const auto before = Load(1, "user:1");
    executor_.Advance(absl::Milliseconds(20));
    origin_.values["user:1"] = {"new"};
    InvalidateRequest request;
    request.keys = {"user:1"};
    request.mark_stale = true;
    request.fleet_until = MonoAfter(clock_.Mono(), absl::Seconds(5));
    const auto marked = Now(engine(0).Invalidate(request));
    ASSERT_TRUE(marked.ok()) << marked.status();
    EXPECT_TRUE(marked->fleet.all());
    executor_.Advance(absl::Seconds(1));
    for (size_t i = 0; i < 3; ++i) {
      const auto after = Load(i, "user:1");
      executor_.Advance(absl::Seconds(1));
      EXPECT_EQ(ValueOf(after), "new") << i;
    }
  }
}

// A mark has no version of its own, so the tier takes what another replica had sent before it
// heard.
TEST_F(FlightFleetTest, WhatReachesTheTierAfterAMarkIsRemovedThere) {
  Load(0, "user:1");
  executor_.Advance(absl::Seconds(110));
  origin_.values["user:1"] = {"old"};
  Load(1, "user:1");
  executor_.Advance(absl::Milliseconds(20));
  tier(1).SetFaults({.hang = true});
  executor_.Advance(absl::Milliseconds(100));
  ASSERT_GT(tier(1).waiting(), 0u);
  origin_.values["user:1"] = {"new"};
  InvalidateRequest request;
  request.keys = {"user:1"};
  request.mark_stale = true;
  ASSERT_TRUE(Now(engine(0).Invalidate(request)).ok());
  EXPECT_EQ(Get(0, "user:1"), "one") << "as stale as it was";
  tier(1).SetFaults({});
  tier(1).Release();
  executor_.Advance(absl::Seconds(3));
  for (size_t i = 0; i < 3; ++i) {
    const auto after = Load(i, "user:1");
    executor_.Advance(absl::Seconds(1));
    EXPECT_EQ(ValueOf(after), "new") << i;
  }
}

// A thousand that come while one looks below, and a thousand that come while the origin is asked.
TEST_F(FlightFleetTest, ACrowdAsksTheTierNoMoreOftenThanOneCallerDoes) {
  const uint64_t before = tier(0).calls();
  const Result alone = Load(0, "user:1");
  executor_.Advance(absl::Seconds(1));
  const uint64_t one_caller = tier(0).calls() - before;
  origin_.values["user:2"] = {"two"};
  tier(0).SetFaults({.delay_min = absl::Milliseconds(5), .delay_max = absl::Milliseconds(5)});
  std::vector<Result> callers;
  for (int i = 0; i < 1000; ++i) callers.push_back(Load(0, "user:2"));
  executor_.Advance(absl::Milliseconds(40));
  EXPECT_EQ(origin_.under_way, 1);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(engine(0).JoinsAtOnce({"", "user:2", ""}));
    callers.push_back(Load(0, "user:2"));
  }
  EXPECT_FALSE(engine(0).JoinsAtOnce({"", "user:3", ""}));
  EXPECT_FALSE(engine(1).JoinsAtOnce({"", "user:2", ""}));
  executor_.Advance(absl::Seconds(1));
  for (const Result& caller : callers) ASSERT_EQ(ValueOf(caller), "two");
  EXPECT_EQ(tier(0).calls() - before, 2 * one_caller);
  EXPECT_EQ(origin_.loads, 2);
}

TEST_F(FlightFleetTest, WhoJoinsSomebodyWhoFindsItBelowFindsItToo) {
  Set(1, "user:1", "set");
  tier(0).SetFaults({.delay_min = absl::Milliseconds(5), .delay_max = absl::Milliseconds(5)});
  std::vector<Result> callers;
  for (int i = 0; i < 10; ++i) callers.push_back(Load(0, "user:1"));
  EXPECT_TRUE(engine(0).JoinsAtOnce({"", "user:1", ""}));
  executor_.Advance(absl::Seconds(1));
  for (const Result& caller : callers) EXPECT_EQ(ValueOf(caller), "set");
  EXPECT_EQ(origin_.loads, 0);
  EXPECT_EQ(engine(0).Stats().flights, 0u);
}

TEST_F(FlightFleetTest, WhoJoinsWithoutALookIsNotGivenWhatWasChangedElsewhereBefore) {
  JoinWhileAnotherReplicaSets();
}

// A flight then goes by its opener's look.
class FlightWithoutLeasesTest : public FlightFleetTest {
 protected:
  FlightWithoutLeasesTest() : FlightFleetTest(/*fleet_leases=*/false) {}
};

TEST_F(FlightWithoutLeasesTest, WhoJoinsWithoutALookIsNotGivenWhatWasChangedElsewhereBefore) {
  JoinWhileAnotherReplicaSets();
}

TEST_F(FlightFleetTest, WhoIsSentAwayAtTheEndOfALookLeavesNoFlightBehind) {
  tier(0).SetFaults({.delay_min = absl::Milliseconds(5), .delay_max = absl::Milliseconds(5)});
  const Result looking = Load(0, "user:1");
  const Result joined = Load(0, "user:1");
  engine(0).Drain();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(looking), "DRAINING");
  EXPECT_EQ(ValueOf(joined), "DRAINING");
  EXPECT_EQ(engine(0).Stats().flights, 0u);
  EXPECT_EQ(origin_.loads, 0);
}

TEST_F(FlightFleetTest, TheLoadOfAReplicaThatDiedIsTakenUpByAnother) {
  origin_.takes = absl::Seconds(4);
  Load(0, "user:1");
  executor_.Advance(absl::Milliseconds(20));
  const Result survivor = Load(1, "user:1");
  executor_.Advance(absl::Milliseconds(20));
  EXPECT_EQ(origin_.loads, 1);
  replicas_[0]->Kill();
  origin_.takes = absl::Milliseconds(50);
  // Two times the life of a lease, by which waiters ask again.
  executor_.Advance(absl::Seconds(4.5));
  EXPECT_EQ(ValueOf(survivor), "one");
  EXPECT_EQ(origin_.loads, 2);
}

// Whoever waits has waited for the tier then, and before the load waits for it no second time:
// neither for the lease of the fleet, which is there as well, nor for another look.
TEST_F(FlightFleetTest, ATierThatDoesNotAnswerInTimeIsAskedOnceBeforeTheLoad) {
  constexpr absl::Duration kEachWay = absl::Milliseconds(100);
  const absl::Status late = absl::DeadlineExceededError("no answer within the time limit");
  tier(0).SetFaults({.fail_ratio = 1, .error = late, .delay_min = kEachWay, .delay_max = kEachWay});
  replicas_[0]->leases->SetFaults({.fails = 1, .delay_max = 2 * kEachWay});
  const uint64_t before = tier(0).calls();
  const MonoNanos began = clock_.Mono();
  const Result caller = Load(0, "user:1");
  while (origin_.loads == 0) executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(tier(0).calls(), before + 1);
  EXPECT_LE(clock_.Mono() - began, absl::ToInt64Nanoseconds(2 * kEachWay) + 2'000'000);
  // The load's value is brought below all the same: that it is kept there is worth a try. But not
  // worth a wait.
  const Result joins = Load(0, "user:1");
  while (ValueOf(caller) == "(waits)") executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(ValueOf(caller), "one");
  EXPECT_LE(clock_.Mono() - began,
            absl::ToInt64Nanoseconds(2 * kEachWay + origin_.takes) + 3'000'000);
  EXPECT_EQ(tier(0).calls(), before + 2);
  EXPECT_EQ(ValueOf(joins), "one");
  // Who comes while it is tried has not seen what may have changed since it began.
  const Result later = Load(0, "user:1");
  executor_.Advance(kEachWay);
  EXPECT_EQ(ValueOf(later), "(waits)");
  executor_.Advance(kEachWay + absl::Milliseconds(5));
  EXPECT_EQ(ValueOf(later), "one");
  EXPECT_EQ(Get(0, "user:1"), "one");
  EXPECT_EQ(tier(0).calls(), before + 2);
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(engine(0).Stats().fleet_leases->waited_out, 1u);

  // As soon as it answers, what is loaded is there for the others.
  tier(0).SetFaults({});
  replicas_[0]->leases->SetFaults({});
  executor_.Advance(absl::Seconds(5));
  origin_.values["user:2"] = {"two"};
  const Result first = Load(0, "user:2");
  executor_.Advance(absl::Seconds(1));
  const Result second = Load(1, "user:2");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(first), "two");
  EXPECT_EQ(ValueOf(second), "two");
  EXPECT_EQ(origin_.loads, 2);
}

// The look was in time, and the question for the lease was the one that was waited for.
TEST_F(FlightFleetTest, ALeaseThatIsNotAnsweredInTimeIsTheOnlyWait) {
  replicas_[0]->leases->SetFaults({.fails = 1, .late = true, .delay_max = absl::Milliseconds(100)});
  const uint64_t before = tier(0).calls();
  const Result caller = Load(0, "user:1");
  while (origin_.loads == 0) executor_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(tier(0).calls(), before + 1);
  tier(0).SetFaults({.hang = true});
  executor_.Advance(origin_.takes + absl::Milliseconds(1));
  EXPECT_EQ(ValueOf(caller), "one");
  EXPECT_EQ(tier(0).waiting(), 1u);
  tier(0).SetFaults({});
  tier(0).Release();
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Get(1, "user:1"), "one");
  EXPECT_EQ(origin_.loads, 1);
}

// The same where nobody can say what was changed since: whoever opens a flight asked before it.
TEST_F(FlightFleetTest, WhoOpensAFlightIsAnsweredWhileNothingIsHeard) {
  replicas_[0]->leases->SetFaults({.fails = 1, .late = true, .delay_max = absl::Milliseconds(100)});
  fleet_.log.Disconnect(0);
  executor_.Advance(absl::Seconds(5));
  const Result caller = Load(0, "user:1");
  while (origin_.loads == 0) executor_.Advance(absl::Milliseconds(1));
  tier(0).SetFaults({.hang = true});
  executor_.Advance(origin_.takes + absl::Milliseconds(1));
  EXPECT_EQ(ValueOf(caller), "one");
  tier(0).Drop();
}

// The lease is late, again and again, and what is below is older: it is replaced by one load.
TEST_F(FlightFleetTest, ALateLeaseDoesNotKeepALoadFromReplacingWhatIsBelow) {
  const Result first = Load(0, "user:1");
  executor_.Advance(absl::Seconds(110));
  ASSERT_EQ(ValueOf(first), "one");
  origin_.values["user:1"] = {"two"};
  replicas_[0]->leases->SetFaults({.fails = 1, .late = true});
  EXPECT_EQ(Get(0, "user:1"), "one") << "stale, and refreshed behind";
  const Result second = Load(0, "user:1");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(second), "one");
  EXPECT_EQ(Get(0, "user:1"), "two");
  EXPECT_EQ(origin_.loads, 2);
  EXPECT_EQ(Get(1, "user:1"), "two");

  // A tombstone, and memory keeps nothing of the type.
  origin_.values["below:1"] = {"new"};
  Set(1, "below:1", "old");
  Delete(1, "below:1");
  const uint64_t before = tier(0).calls();
  const Result third = Load(0, "below:1");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(third), "new");
  EXPECT_EQ(tier(0).calls(), before + 2) << "a look and a put";
  EXPECT_EQ(Get(1, "below:1"), "new");
  EXPECT_EQ(origin_.loads, 3);
}

// One look is late, while the tier answers others: it has the last word.
TEST_F(FlightFleetTest, WhileTheTierAnswersOthersItIsWaitedFor) {
  const absl::Status late = absl::DeadlineExceededError("no answer within the time limit");
  Set(1, "user:1", "set");
  tier(0).SetFaults({.fail_next = 1, .error = late});
  const Result caller = Load(0, "user:1");
  executor_.Advance(origin_.takes / 2);
  EXPECT_EQ(Get(0, "user:2"), "(absent)");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(caller), "set");
  EXPECT_EQ(Get(0, "user:1"), "set");
}

// Answered before the tier has it means: as if it did not answer again. A change that was heard of
// counts as ever.
TEST_F(FlightFleetTest, WhatIsAnsweredBeforeTheTierHasItIsStillNothingOld) {
  const absl::Status late = absl::DeadlineExceededError("no answer within the time limit");
  for (const size_t changer : {0, 1}) {
    SCOPED_TRACE(changer);
    const std::string key = "user:2" + std::to_string(changer);
    origin_.values[key] = {"old"};
    tier(0).SetFaults({.fail_next = 1, .error = late});
    const Result caller = Load(0, key);
    executor_.Advance(origin_.takes / 2);
    // The load has its value, and is on the way back with it.
    tier(0).SetFaults({});
    origin_.values[key] = {"new"};
    Delete(changer, key);
    executor_.Advance(absl::Seconds(2));
    EXPECT_EQ(ValueOf(caller), "new");
    EXPECT_EQ(Get(0, key), "new");
  }
}

// A type that wants nothing to be kept without the tier has it confirmed before it answers.
TEST_F(FlightFleetTest, ATypeThatRequiresTheTierWaitsForItsAnswer) {
  const absl::Status late = absl::DeadlineExceededError("no answer within the time limit");
  origin_.values["strict:1"] = {"one"};
  tier(0).SetFaults({.fail_next = 1, .error = late});
  const Result caller = Load(0, "strict:1");
  executor_.Advance(origin_.takes / 2);
  tier(0).SetFaults({.hang = true});
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(ValueOf(caller), "(waits)");
  tier(0).Drop();
  executor_.Advance(absl::Milliseconds(10));
  EXPECT_EQ(ValueOf(caller), "TIER_UNAVAILABLE");
  tier(0).SetFaults({});
  EXPECT_EQ(Get(0, "strict:1"), "(absent)");
}

// A look that fails once is no reason to lose what the tier has, nor for the others to load.
TEST_F(FlightFleetTest, AfterOneFailureTheTierStillHasWhatItHad) {
  for (const absl::Status& error :
       {absl::DeadlineExceededError("late"), absl::ResourceExhaustedError("too much to do")}) {
    SCOPED_TRACE(error.ToString());
    const std::string key = "user:" + absl::StatusCodeToString(error.code());
    origin_.values[key] = {"one"};
    const Result first = Load(1, key);
    executor_.Advance(absl::Seconds(1));
    ASSERT_EQ(ValueOf(first), "one");
    tier(0).SetFaults({.fail_next = 1, .error = error});
    const Result second = Load(0, key);
    executor_.Advance(absl::Seconds(5));
    EXPECT_EQ(ValueOf(second), "one");
    EXPECT_EQ(Read(2, key).from, ReadResult::From::kBelow);
    EXPECT_EQ(Read(0, key).entry->version, Read(1, key).entry->version);
  }
}

TEST_F(FlightFleetTest, WithTheTierAwayEachReplicaLoadsForItself) {
  for (size_t i = 0; i < 3; ++i) tier(i).Close();
  for (const auto& replica : replicas_) replica->leases->Cut();
  std::vector<Result> callers;
  for (size_t i = 0; i < 3; ++i) callers.push_back(Load(i, "user:1"));
  executor_.Advance(absl::Seconds(2));
  for (const Result& caller : callers) EXPECT_EQ(ValueOf(caller), "one");
  EXPECT_LE(origin_.loads, 3);
}

}  // namespace
}  // namespace larder
