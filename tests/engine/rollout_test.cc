// The cache for a part of the keys, and policies that are replaced while the engine runs.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/engine_fixture.h"
#include "tests/engine/fake_journal.h"
#include "tests/engine/fake_origin.h"

namespace larder {
namespace {

constexpr int kKeys = 1000;

class RolloutTest : public EngineFixture {
 protected:
  RolloutTest() {
    Engine::Options options;
    OriginLink link;
    link.name = "shop";
    link.origin = &origin_;
    options.origins = {link};
    options.journal = &journal_;
    Make(options, Types(1, 1));
    engine_->Start();
  }
  ~RolloutTest() override {
    executor_.Advance(absl::Seconds(60));
    engine_->Stop(absl::ZeroDuration());
  }

  static std::vector<TypePolicy> Types(double reads, double writes) {
    std::vector<TypePolicy> types;
    for (const auto& [name, mode] :
         std::vector<std::pair<std::string, WriteMode>>{{"through", WriteMode::kThrough},
                                                        {"behind", WriteMode::kBehind},
                                                        {"plain", WriteMode::kCacheOnly}}) {
      TypePolicy type = Type(name, name + ":*", absl::Seconds(100));
      if (mode != WriteMode::kCacheOnly) type.origin = "shop";
      type.write.mode = mode;
      type.rollout.reads = reads;
      type.rollout.writes = writes;
      types.push_back(type);
    }
    return types;
  }
  void RollTo(double reads, double writes) {
    ASSERT_TRUE(engine_->ReplaceTypes(**TypeTable::Make(Types(reads, writes))).ok());
  }

  std::string LoadNow(const std::string& key) {
    const auto loading = Load(key);
    executor_.RunReady();
    return loading->Value();
  }
  std::string Truth(const std::string& key) {
    const auto at = origin_.values.find(key);
    return at == origin_.values.end() ? "(none)" : at->second.value;
  }
  static std::string Key(const std::string& type, int i) { return type + ":" + std::to_string(i); }
  // The first key of the type that is read past the cache, or not.
  std::string KeyThat(const std::string& type, bool past) {
    for (int i = 0;; ++i) {
      MissReason why = MissReason::kAbsent;
      Get(Key(type, i), &why);
      if ((why == MissReason::kRolledPast) == past) return Key(type, i);
    }
  }

  FakeOrigin origin_{&executor_};
  FakeJournal journal_{&clock_, &executor_};
};

TEST_F(RolloutTest, PartGrowsWithoutLosingWhatWasInIt) {
  std::map<double, std::vector<std::string>> in;
  for (const double part : {0.0, 0.1, 0.5, 1.0}) {
    RollTo(part, 0);
    for (int i = 0; i < kKeys; ++i) {
      MissReason why = MissReason::kAbsent;
      Get(Key("plain", i), &why);
      if (why != MissReason::kRolledPast) in[part].push_back(Key("plain", i));
    }
  }
  for (auto& [part, keys] : in) std::sort(keys.begin(), keys.end());
  EXPECT_TRUE(in[0.0].empty());
  EXPECT_NEAR(static_cast<double>(in[0.1].size()), 0.1 * kKeys, 40);
  EXPECT_NEAR(static_cast<double>(in[0.5].size()), 0.5 * kKeys, 60);
  EXPECT_EQ(in[1.0].size(), static_cast<size_t>(kKeys));
  EXPECT_TRUE(std::includes(in[0.5].begin(), in[0.5].end(), in[0.1].begin(), in[0.1].end()));
}

TEST_F(RolloutTest, KeysPastTheCacheAreLoadedEachTimeAndLeaveNothing) {
  RollTo(0.5, 0);
  for (const bool past : {true, false}) {
    const std::string key = KeyThat("through", past);
    origin_.values[key] = {"v"};
    const int before = origin_.loads;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(LoadNow(key), "v");
    EXPECT_EQ(origin_.loads - before, past ? 3 : 1);
    EXPECT_EQ(Get(key), past ? "(miss)" : "v");
    EXPECT_EQ(FindHit(key), !past);
  }
  const std::string key = KeyThat("through", true);
  origin_.values.erase(key);
  EXPECT_EQ(LoadNow(key), "(miss)");
  origin_.failure = absl::UnavailableError("down");
  EXPECT_EQ(LoadNow(key), "ORIGIN_UNAVAILABLE");
  EXPECT_GT(engine_->Stats().total.counts[static_cast<size_t>(Usage::kPast)], 0u);
}

TEST_F(RolloutTest, CallerWaitsNoLongerThanItWantsTo) {
  RollTo(0, 0);
  origin_.values["through:1"] = {"v"};
  origin_.takes = absl::Seconds(1);
  const auto patient = Load("through:1");
  const auto hasty = Load("through:1", absl::Seconds(10), absl::Milliseconds(100));
  const auto late =
      Load("through:1", absl::Seconds(10), absl::InfiniteDuration(), absl::Milliseconds(100));
  executor_.Advance(absl::Milliseconds(200));
  EXPECT_EQ(hasty->Value(), "(miss)");
  EXPECT_EQ((*hasty->result)->read.miss, MissReason::kLoading);
  EXPECT_EQ(late->Value(), "ORIGIN_TIMEOUT");
  EXPECT_EQ(patient->Value(), "(waits)");
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(patient->Value(), "v");
}

TEST_F(RolloutTest, BatchesAreDividedKeyByKey) {
  RollTo(0.5, 0);
  const std::string past = KeyThat("through", true), in = KeyThat("through", false);
  origin_.values[past] = {"p"};
  origin_.values[in] = {"i"};
  BatchLoadRequest request;
  request.keys = {past, in};
  const auto first = Now(engine_->BatchGetOrLoad(request));
  EXPECT_EQ(first[0]->read.entry->stored(), "p");
  EXPECT_EQ(first[1]->read.entry->stored(), "i");
  const auto read = Now(engine_->BatchGet("", {past, in}, "", true));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ((*read)[0].miss, MissReason::kRolledPast);
  EXPECT_EQ((*read)[1].entry->stored(), "i");
}

TEST_F(RolloutTest, CallersWithoutAnOriginLoadSideBySide) {
  RollTo(0, 0);
  const auto one = Load("plain:1"), two = Load("plain:1");
  executor_.RunReady();
  ASSERT_TRUE(one->HasLease());
  ASSERT_TRUE(two->HasLease());
  EXPECT_NE(one->Token(), two->Token());
  EXPECT_FALSE(Set("plain:1", "v", std::nullopt, {}, one->Token()).stored);
  RollTo(1, 1);
  EXPECT_EQ(Get("plain:1"), "(miss)");
}

TEST_F(RolloutTest, WritesThatAreNotKeptReachTheOriginAndRemoveTheCopies) {
  for (const std::string type : {"through", "behind"}) {
    RollTo(1, 1);
    const std::string key = Key(type, 1);
    EXPECT_TRUE(Set(key, "one").stored);
    Now(journal_.Deliver());
    EXPECT_EQ(Get(key), "one");
    RollTo(1, 0);
    EXPECT_EQ(Get(key), "one") << "reads go on";
    EXPECT_TRUE(Set(key, "two").stored);
    EXPECT_EQ(Truth(key), "two") << "at once";
    EXPECT_TRUE(journal_.waiting.empty());
    EXPECT_EQ(Get(key), "(miss)");
    EXPECT_EQ(LoadNow(key), "two");
    EXPECT_EQ(Get(key), "two");
  }
}

TEST_F(RolloutTest, WriteAfterOneThatWaitsIsNotOvertakenByIt) {
  EXPECT_TRUE(Set("behind:1", "one").stored);
  RollTo(1, 0);
  EXPECT_EQ(Get("behind:1"), "one");
  EXPECT_TRUE(Set("behind:1", "two").stored);
  EXPECT_EQ(Get("behind:1"), "two");
  Now(journal_.Deliver());
  EXPECT_EQ(Truth("behind:1"), "two");
  EXPECT_EQ(Get("behind:1"), "two");
}

TEST_F(RolloutTest, WriterReadsWhatWaitsInTheJournalAlsoPastTheCache) {
  EXPECT_TRUE(Set("behind:1", "one").stored);
  RollTo(0, 0);
  EXPECT_EQ(Get("behind:1"), "one");
  EXPECT_EQ(LoadNow("behind:1"), "one");
  Now(journal_.Deliver());
  EXPECT_EQ(Get("behind:1"), "(miss)");
  EXPECT_EQ(LoadNow("behind:1"), "one");
}

TEST_F(RolloutTest, WithoutAnOriginAWriteThatIsNotKeptRemovesTheCopy) {
  EXPECT_TRUE(Set("plain:1", "one").stored);
  RollTo(1, 0);
  const WriteResult written = Set("plain:1", "two");
  EXPECT_TRUE(written.stored);
  EXPECT_NE(written.version, kNoVersion);
  EXPECT_EQ(Get("plain:1"), "(miss)");
  // What decides something is decided by the cache all the same.
  Expect absent;
  absent.kind = Expect::Kind::kAbsent;
  EXPECT_TRUE(Set("plain:lock", "me", std::nullopt, absent).stored);
  EXPECT_FALSE(Set("plain:lock", "you", std::nullopt, absent).stored);
}

TEST_F(RolloutTest, RollingBackAndForthShowsNoOldValue) {
  origin_.values["through:1"] = {"old"};
  EXPECT_EQ(LoadNow("through:1"), "old");
  RollTo(0, 0);
  EXPECT_TRUE(Set("through:1", "new").stored);
  RollTo(1, 1);
  EXPECT_EQ(Get("through:1"), "(miss)");
  EXPECT_EQ(LoadNow("through:1"), "new");
}

class ReplaceTypesTest : public EngineFixture {};

TEST_F(ReplaceTypesTest, NewEntriesLiveByTheNewPolicies) {
  Make({}, {Type("user", "user:*", absl::Seconds(100))});
  Set("user:1", "old");
  ASSERT_TRUE(engine_
                  ->ReplaceTypes(**TypeTable::Make({Type("cart", "cart:*", absl::Seconds(7)),
                                                    Type("user", "user:*", absl::Seconds(10))}))
                  .ok());
  Set("user:2", "new");
  Set("cart:1", "new");
  clock_.Advance(absl::Seconds(8));
  EXPECT_EQ(Get("cart:1"), "(miss)");
  EXPECT_EQ(Get("user:2"), "new");
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(Get("user:2"), "(miss)");
  // It was given its life when it was stored.
  EXPECT_EQ(Get("user:1"), "old");
  const EngineStats stats = engine_->Stats();
  ASSERT_EQ(stats.types.size(), 3u);
  EXPECT_EQ(stats.types[2].name, "cart");
}

TEST_F(ReplaceTypesTest, EntriesOfATypeThatGoesEndTheirLives) {
  Make({}, {Type("user", "user:*", absl::Seconds(100))});
  Set("user:1", "v");
  ASSERT_TRUE(engine_->ReplaceTypes(**TypeTable::Make({})).ok());
  EXPECT_EQ(Get("user:1"), "v");
  Set("user:1", "w");
  EXPECT_EQ(Get("user:1"), "w");
  EXPECT_EQ(engine_->options().types->Resolve("user:1", "")->type->name, "default");
}

}  // namespace
}  // namespace larder
