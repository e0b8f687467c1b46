// Filters of types with an origin: what they answer, and when they must not.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_journal.h"
#include "tests/engine/fake_origin.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

class FilterTest : public EngineFixture {
 protected:
  // Once: what an engine has begun outlives no other.
  void Begin(FilterPolicy filter, uint64_t memory_bytes = 64 << 20,
             WriteMode mode = WriteMode::kCacheOnly) {
    filter.bloom = true;
    TypePolicy type = Type("user", "user:{id}", absl::Minutes(5));
    type.origin = "shop";
    type.write.mode = mode;
    type.filter = filter;
    type.ttl.absent = absl::Milliseconds(1);
    Engine::Options options;
    options.memory_bytes = memory_bytes;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    if (mode == WriteMode::kBehind) options.journal = &journal_;
    std::vector<TypePolicy> types;
    types.push_back(std::move(type));
    for (int i = 0; i < 100; ++i) origin_.values["user:" + std::to_string(i)] = {"v"};
    Make(options, std::move(types));
    engine_->Start();
  }
  std::string Loaded(const std::string& key) {
    const auto loading = Load(key);
    executor_.Advance(absl::Milliseconds(5));
    return loading->Value();
  }
  KeyFilterStats Stats() const {
    for (const UsageRow& row : engine_->Stats().types) {
      if (row.name == "user") return row.filter;
    }
    return {};
  }
  uint64_t Count(Usage what) const {
    return engine_->Stats().total.counts[static_cast<size_t>(what)];
  }

  FakeOrigin origin_{&executor_};
  FakeJournal journal_{&clock_, &executor_};
};

TEST_F(FilterTest, AnswersForKeysThatTheOriginDoesNotHave) {
  Begin({});
  executor_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Stats().ready);
  EXPECT_EQ(Stats().keys, 100u);
  const auto absent = Load("user:nobody");
  executor_.RunReady();
  ASSERT_EQ(absent->Value(), "(miss)");
  EXPECT_EQ((*absent->result)->read.miss, MissReason::kNegative);
  EXPECT_EQ(origin_.loads, 0);
  EXPECT_EQ(Loaded("user:7"), "v");
  EXPECT_EQ(origin_.loads, 1);
  EXPECT_EQ(Count(Usage::kFiltered), 1u);
}

TEST_F(FilterTest, UntilItIsBuiltTheOriginIsAsked) {
  Begin({});
  origin_.takes = absl::Seconds(1);
  const auto early = Load("user:nobody");
  executor_.Advance(absl::Seconds(1.5));
  EXPECT_EQ(early->Value(), "(miss)");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FilterTest, KnowsWhatIsStoredWhileItIsBuiltAndAfterwards) {
  Begin({});
  origin_.takes = absl::Milliseconds(100);
  executor_.Advance(absl::Milliseconds(50));
  Set("user:during", "v");
  executor_.Advance(absl::Seconds(1));
  Set("user:after", "v");
  std::vector<std::string_view> announced = {"user:announced"};
  ASSERT_TRUE(Now(engine_->InvalidateKeys({"", announced})).ok());
  ASSERT_TRUE(Now(engine_->BatchDelete("", {"user:during", "user:after"}, "")).ok());
  origin_.takes = absl::ZeroDuration();
  for (const char* key : {"user:during", "user:after", "user:announced"}) {
    origin_.values[key] = {"there"};
    EXPECT_EQ(Loaded(key), "there");
  }
}

// The filter is built while a write that larder has answered waits in the journal: it is not among
// what the origin lists, and was taken before there was a filter to note it in.
TEST_F(FilterTest, KnowsWhatIsDeliveredAfterItWasBuilt) {
  Begin({}, 64 << 20, WriteMode::kBehind);
  Set("user:new", "v", absl::Seconds(3));
  executor_.Advance(absl::Seconds(1));
  ASSERT_TRUE(Stats().ready);
  ASSERT_TRUE(Now(journal_.Deliver()));
  executor_.Advance(absl::Seconds(5));
  EXPECT_EQ(Loaded("user:new"), "v");
}

class FilterFleetTest : public ReplicasFixture {
 protected:
  FilterFleetTest() {
    TypePolicy type = Type("user");
    type.origin = "shop";
    type.write.mode = WriteMode::kBehind;
    type.filter.bloom = true;
    types_ = {type};
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    for (int i = 0; i < 2; ++i) {
      Replica::Options options;
      options.engine.origins = {link};
      options.engine.journal = &journals_[i];
      Add(options).engine->Start();
    }
  }

  FakeOrigin origin_{&executor_};
  FakeJournal journals_[2] = {{&clock_, &executor_}, {&clock_, &executor_}};
};

TEST_F(FilterFleetTest, TheFiltersOfTheOthersKnowWhatIsDelivered) {
  Set(0, "user:new", "v", absl::Seconds(8));
  // Filters are built when the bus is followed.
  executor_.Advance(absl::Seconds(5));
  ASSERT_TRUE(Now(journals_[0].Deliver()));
  executor_.Advance(absl::Seconds(5));
  const auto nobody = Load(1, "user:nobody");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(nobody->Value(), "(negative)");
  EXPECT_EQ(origin_.loads, 0) << "there is no filter";
  const auto loading = Load(1, "user:new");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(loading->Value(), "v");
}

// Whoever writes the row himself tells the cache by a Delete as often as by an Invalidate.
TEST_F(FilterTest, AKeyThatWasDeletedIsAskedFor) {
  Begin({});
  executor_.Advance(absl::Seconds(1));
  origin_.values["user:new"] = {"there"};
  ASSERT_TRUE(Now(engine_->Delete({"", "user:new", ""})).ok());
  EXPECT_EQ(Loaded("user:new"), "there");
}

TEST_F(FilterTest, AFilterThatWouldTakeTooMuchMemoryAnswersNothing) {
  FilterPolicy filter;
  filter.error = 1e-6;
  for (int i = 0; i < 200'000; ++i) origin_.values["user:m" + std::to_string(i)] = {};
  Begin(filter, 4 << 20);
  executor_.Advance(absl::Seconds(5));
  EXPECT_FALSE(Stats().ready);
  EXPECT_GT(Stats().builds_failed, 0u);
  EXPECT_LE(Stats().bytes, (4u << 20) / 8);
  EXPECT_EQ(Loaded("user:nobody"), "(miss)");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FilterTest, IsBuiltAgainAndLearnsWhatCameBehindItsBack) {
  FilterPolicy filter;
  filter.rebuild = absl::Minutes(10);
  Begin(filter);
  executor_.Advance(absl::Seconds(1));
  origin_.values["user:new"] = {"v"};
  EXPECT_EQ(Loaded("user:new"), "(miss)");
  executor_.Advance(absl::Minutes(11));
  EXPECT_EQ(Loaded("user:new"), "v");
  EXPECT_GE(Stats().builds, 2u);
}

TEST_F(FilterTest, StopsAnsweringWhenItCannotBeBuiltForTooLong) {
  FilterPolicy filter;
  filter.rebuild = absl::Minutes(10);
  Begin(filter);
  executor_.Advance(absl::Seconds(1));
  origin_.failure = absl::UnavailableError("away");
  executor_.Advance(absl::Minutes(20));
  EXPECT_TRUE(Stats().ready);
  executor_.Advance(absl::Minutes(11));
  EXPECT_FALSE(Stats().ready);
  EXPECT_GT(Stats().builds_failed, 0u);
  EXPECT_EQ(Loaded("user:nobody"), "ORIGIN_UNAVAILABLE");
}

TEST_F(FilterTest, WithMoreKeysThanItMayHoldItAnswersNothing) {
  FilterPolicy filter;
  filter.keys_max = 50;
  Begin(filter);
  executor_.Advance(absl::Seconds(1));
  EXPECT_FALSE(Stats().ready);
  EXPECT_EQ(Loaded("user:nobody"), "(miss)");
  EXPECT_EQ(origin_.loads, 1);
}

TEST_F(FilterTest, CountsTheLoadsThatItLetThroughInVain) {
  FilterPolicy filter;
  filter.error = 0.3;
  for (int i = 0; i < 20'000; ++i) origin_.values["user:m" + std::to_string(i)] = {"v"};
  Begin(filter);
  executor_.Advance(absl::Seconds(1));
  for (int i = 0; i < 1000; ++i) Load("user:none" + std::to_string(i));
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Count(Usage::kFiltered) + Count(Usage::kFilterFalse), 1000u);
  EXPECT_GT(Count(Usage::kFilterFalse), 50u);
  EXPECT_LT(Count(Usage::kFilterFalse), 350u);
}

TEST_F(FilterTest, EachNamespaceHasItsOwn) {
  Begin({});
  executor_.Advance(absl::Seconds(1));
  LoadRequest request;
  request.key = {"tenant", "user:7", ""};
  WriteRequest write;
  write.key = {"tenant", "other", ""};
  ASSERT_TRUE(Now(engine_->Set(write)).ok());
  const auto load = [&] {
    std::string value;
    Spawn(engine_->GetOrLoad(request), [&](const absl::StatusOr<LoadResult>& result) {
      value = result.ok() && result->read.entry ? std::string(result->read.entry->stored()) : "";
    });
    executor_.Advance(absl::Seconds(1));
    return value;
  };
  EXPECT_EQ(load(), "v");
  EXPECT_EQ(Stats().builds, 2u);
}

}  // namespace
}  // namespace larder
