// Loads from origins when something comes in between: a Set, a gap of the bus, a holder that dies,
// a copy that memory keeps for a part of its time.

#include <gtest/gtest.h>

#include <vector>

#include "tests/engine/fake_origin.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class FlightFaultsTest : public ReplicasFixture {
 protected:
  void Begin(TypePolicy type, int replicas, Engine::Options engine = {}) {
    type.origin = "shop";
    types_ = {type};
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    engine.origins = {link};
    for (int i = 0; i < replicas; ++i) {
      Replica::Options options;
      options.engine = engine;
      Add(options).engine->Start();
    }
    executor_.Advance(absl::Seconds(2));
    origin_.values["user:1"] = {"one"};
  }

  FakeOrigin origin_{&executor_};
};

TEST_F(FlightFaultsTest, ASetIsNeverLostToALoadThatBeganBefore) {
  Begin(Type("user"), 1);
  for (int steps = 0; steps < 30; ++steps) {
    for (int again = 0; again < 20; ++again) {
      const std::string key = "user:" + std::to_string(steps) + "_" + std::to_string(again);
      origin_.values[key] = {"origin"};
      LoadRequest load;
      load.key = {"", key, ""};
      Spawn(engine(0).GetOrLoad(load), [](const absl::StatusOr<LoadResult>&) {});
      for (int i = 0; i < steps; ++i) executor_.RunOne();
      WriteRequest write;
      write.key = {"", key, ""};
      write.value = "set";
      Spawn(engine(0).Set(write), [](const absl::StatusOr<WriteResult>&) {});
      executor_.Advance(absl::Seconds(1));
      ASSERT_EQ(Get(0, key), "set") << "after " << steps << " steps of the load";
    }
  }
}

TEST_F(FlightFaultsTest, ACopyThatMemoryKeepsForAPartOfItsTimeIsNotLoadedAtThatPace) {
  TypePolicy type = Type("user", absl::Seconds(300));
  type.l1_ttl_max = absl::Seconds(5);
  type.freshness.refresh_ahead = 0.8;
  Begin(type, 1);
  for (int i = 0; i < 1000; ++i) {
    Load(0, "user:1");
    executor_.Advance(absl::Milliseconds(100));
  }
  EXPECT_EQ(origin_.loads, 1);
  for (int i = 0; i < 2000; ++i) {
    Load(0, "user:1");
    executor_.Advance(absl::Milliseconds(100));
  }
  EXPECT_EQ(origin_.loads, 2);
}

TEST_F(FlightFaultsTest, WhoHasAStaleValueGetsNoErrorForWantOfRoom) {
  TypePolicy type = Type("user", absl::Seconds(10));
  type.freshness.stale_if_error = absl::Hours(1);
  Engine::Options engine;
  engine.waiters_per_key_max = 3;
  Begin(type, 1, engine);
  Load(0, "user:1");
  executor_.Advance(absl::Seconds(11));
  origin_.takes = absl::Hours(1);
  std::vector<std::shared_ptr<Loading>> callers;
  for (int i = 0; i < 5; ++i) callers.push_back(Load(0, "user:1"));
  executor_.Advance(absl::Seconds(6));
  for (const auto& caller : callers) EXPECT_EQ(caller->Value(), "one");
}

TEST_F(FlightFaultsTest, AValueThatIsTooLargeIsAnErrorLikeOthers) {
  TypePolicy type = Type("user", absl::Seconds(10));
  type.freshness.stale_if_error = absl::Hours(1);
  Begin(type, 1);
  Load(0, "user:1");
  executor_.Advance(absl::Seconds(11));
  origin_.values["user:1"] = {std::string((1 << 20) + 1, 'x')};
  const int loads = origin_.loads;
  for (int i = 0; i < 3; ++i) {
    const auto caller = Load(0, "user:1");
    executor_.Advance(absl::Milliseconds(10));
    EXPECT_EQ(caller->Value(), "one");
  }
  EXPECT_EQ(origin_.loads, loads + 1);
}

TEST_F(FlightFaultsTest, AHolderThatHangsCostsTheOthersNoFailure) {
  TypePolicy type = Type("user");
  type.freshness.hard_timeout = absl::Seconds(1);
  Begin(type, 2);
  origin_.takes = absl::Milliseconds(50);
  Load(0, "user:1");
  executor_.Advance(absl::Milliseconds(5));
  replicas_[0]->Kill();
  const auto caller = Load(1, "user:1");
  executor_.Advance(absl::Milliseconds(700));
  EXPECT_EQ(caller->Value(), "one");
  EXPECT_EQ(engine(1).Stats().fleet_leases->waited_out, 1u);
}

TEST_F(FlightFaultsTest, AFilterIsNotTrustedAfterChangesMayHaveBeenMissed) {
  TypePolicy type = Type("user", absl::Seconds(10));
  type.filter.bloom = true;
  Begin(type, 2);
  fleet_.log.Disconnect(1);
  executor_.Advance(absl::Seconds(3));
  origin_.values["user:new"] = {"there"};
  Set(0, "user:new", "there");
  executor_.Advance(absl::Seconds(1));
  fleet_.log.Connect(1);
  executor_.Advance(absl::Seconds(12));
  for (size_t replica : {0, 1}) {
    const auto caller = Load(replica, "user:new");
    executor_.Advance(absl::Seconds(1));
    EXPECT_EQ(caller->Value(), "there");
  }
}

TEST_F(FlightFaultsTest, AFilterHearsOfKeysWhoseTypeTheRequestNames) {
  TypePolicy type = Type("user", absl::Seconds(10));
  type.filter.bloom = true;
  Begin(type, 2);
  origin_.values["odd:1"] = {"there"};
  WriteRequest write;
  write.key = {"", "odd:1", "user"};
  write.value = "there";
  ASSERT_TRUE(Now(engine(0).Set(write)).ok());
  executor_.Advance(absl::Seconds(12));
  for (size_t replica : {0, 1}) {
    LoadRequest load;
    load.key = {"", "odd:1", "user"};
    const absl::StatusOr<LoadResult> loaded = Now(engine(replica).GetOrLoad(load));
    ASSERT_TRUE(loaded.ok());
    EXPECT_EQ(Text(loaded->read), "there");
  }
}

// An origin that refuses at once, as one whose breaker is open does.
TEST(OriginLoaderRefusalTest, ManySmallCallsThatAreRefusedAtOnceAreNotWorkedOffOnOneStack) {
  ManualClock clock;
  ManualExecutor executor(&clock, 1);
  FakeOrigin origin(&executor);
  origin.failure = absl::UnavailableError("open");
  OriginLoader::Options options;
  options.origin = &origin;
  options.batch_max = 1;
  options.clock = &clock;
  options.executor = &executor;
  OriginLoader loader(options);
  constexpr int kKeys = 50'000;
  int answered = 0;
  for (int i = 0; i < kKeys; ++i) {
    OriginCall call{"default", "user"};
    OriginLoad::Item item{"user:" + std::to_string(i)};
    Spawn(loader.Load(std::move(call), std::move(item), MonoAfter(clock.Mono(), absl::Hours(1))),
          [&](const OriginLoaded&) { ++answered; });
  }
  executor.RunReady();
  EXPECT_EQ(answered, kKeys);
}

}  // namespace
}  // namespace larder
