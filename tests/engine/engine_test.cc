#include "engine/engine.h"

#include <gtest/gtest.h>

#include "tests/engine/engine_fixture.h"

namespace larder {
namespace {

using EngineTest = EngineFixture;

TEST_F(EngineTest, SetGetDelete) {
  const WriteResult set = Set("a", "1");
  EXPECT_TRUE(set.stored);
  EXPECT_EQ(Get("a"), "1");
  const auto removed = Now(engine_->Delete({"", "a", ""}));
  EXPECT_TRUE(removed->existed);
  EXPECT_GT(removed->version, set.version);
  MissReason why;
  EXPECT_EQ(Get("a", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kInvalidated);
  EXPECT_FALSE(Now(engine_->Delete({"", "a", ""}))->existed);
}

TEST_F(EngineTest, AChangeThatReachesNothingButMemoryEndsWhereItIsMade) {
  TypePolicy list = Type("list", "list:{id}", absl::Hours(1));
  list.on_change.push_back(*NameTemplate::Parse("page:{id}"));
  TypePolicy behind = Type("order", "order:{id}", absl::Hours(1));
  behind.write.mode = WriteMode::kThrough;
  Make({}, {list, behind});
  EXPECT_FALSE(engine_->ChangesAtOnce({"", "list:1", ""})) << "pages are out of date then";
  EXPECT_FALSE(engine_->ChangesAtOnce({"", "order:1", ""})) << "an origin is told";
  EXPECT_FALSE(engine_->ChangesAtOnce({"", "a", "no such type"}));
  ASSERT_TRUE(engine_->ChangesAtOnce({"", "a", ""}));
  int ended = 0;
  const auto note = [&ended](const auto& result) { ended += result.ok() ? 1 : 0; };
  WriteRequest write;
  write.key = {"", "a", ""};
  write.value = "1";
  Spawn(engine_->Set(write), note);
  write.condition = {Expect::Kind::kAbsent};
  Spawn(engine_->Set(write), note);
  IncrementRequest increment;
  increment.key = {"", "a", ""};
  increment.delta = 2;
  Spawn(engine_->Increment(increment), note);
  TouchRequest touch;
  touch.key = {"", "a", ""};
  Spawn(engine_->Touch(touch), note);
  Spawn(engine_->Delete({"", "a", ""}), note);
  EXPECT_EQ(ended, 5);
  EXPECT_EQ(executor_.ready(), 0u);
  const auto watcher = engine_->Watch({WatchSelector::Kind::kAll, "", {}, false}, "");
  ASSERT_TRUE(watcher.ok());
  EXPECT_FALSE(engine_->ChangesAtOnce({"", "a", ""})) << "somebody is told";
}

TEST_F(EngineTest, NamespacesDoNotSeeEachOther) {
  WriteRequest write;
  write.key = {"shop", "a", ""};
  write.value = "shop's";
  ASSERT_TRUE(Now(engine_->Set(write)).ok());
  EXPECT_EQ(Get("a"), "(miss)");
  ASSERT_TRUE(Now(engine_->Delete({"other", "a", ""})).ok());
  EXPECT_TRUE(Now(engine_->Get({"shop", "a", ""}))->entry);
}

TEST_F(EngineTest, NamespacesAreBounded) {
  Make({.namespaces_max = 2});
  WriteRequest write;
  write.key = {"one", "a", ""};
  EXPECT_TRUE(Now(engine_->Set(write)).ok());
  write.key.name_space = "two";
  EXPECT_EQ(DetailsOf(Now(engine_->Set(write)).status()).reason, "NAMESPACE_LIMIT");
  EXPECT_TRUE(Now(engine_->Get({"two", "a", ""})).ok());
}

TEST_F(EngineTest, TypeByPatternGivesTheTtlAndTheRequestOverridesIt) {
  Make({}, {Type("user", "user:{id}", absl::Minutes(3)), Type("otp", "otp:*", absl::Seconds(30))});
  EXPECT_EQ(Set("user:1", "x").ttl, absl::Minutes(3));
  EXPECT_EQ(Set("otp:1", "x").ttl, absl::Seconds(30));
  EXPECT_EQ(Set("user:1", "x", absl::Seconds(7)).ttl, absl::Seconds(7));
  WriteRequest unknown;
  unknown.key = {"", "user:1", "usr"};
  const absl::Status status = Now(engine_->Set(unknown)).status();
  EXPECT_EQ(DetailsOf(status).reason, "TYPE_UNKNOWN");
  EXPECT_NE(std::string(status.message()).find("did you mean \"user\""), std::string::npos)
      << status;
}

TEST_F(EngineTest, PopularEntriesLiveLongerWhereTheTypeSaysSo) {
  TypePolicy type = Type("user", "user:{id}", absl::Minutes(1));
  type.ttl.adapt_access = true;
  Make({}, {type});
  Set("user:1", "x");
  for (int i = 0; i < 100; ++i) Get("user:1");
  EXPECT_EQ(Set("user:1", "y").ttl, absl::Seconds(90));
}

TEST_F(EngineTest, NeverServesPastTheTtl) {
  Set("a", "1", absl::Seconds(10));
  clock_.Advance(absl::Seconds(9));
  EXPECT_TRUE(FindHit("a"));
  const ReadResult read = *Now(engine_->Get({"", "a", ""}));
  EXPECT_LE(read.entry->fresh_until - clock_.Mono(),
            absl::ToInt64Nanoseconds(absl::Milliseconds(2100)));
  clock_.Advance(absl::Seconds(2.1));
  EXPECT_FALSE(FindHit("a"));
  MissReason why;
  EXPECT_EQ(Get("a", &why), "(miss)");
  EXPECT_EQ(why, MissReason::kExpired);
}

TEST_F(EngineTest, ConditionsHold) {
  using K = Expect::Kind;
  EXPECT_FALSE(Set("a", "1", {}, {K::kPresent, 0}).stored);
  const WriteResult first = Set("a", "1", {}, {K::kAbsent, 0});
  EXPECT_TRUE(first.stored);
  const WriteResult refused = Set("a", "2", {}, {K::kAbsent, 0});
  EXPECT_FALSE(refused.stored);
  EXPECT_EQ(refused.reason, NotStored::kCondition);
  EXPECT_EQ(refused.version, first.version);
  EXPECT_TRUE(Set("a", "2", {}, {K::kVersion, first.version}).stored);
  EXPECT_FALSE(Set("a", "3", {}, {K::kVersion, first.version}).stored);
  EXPECT_EQ(Get("a"), "2");
}

TEST_F(EngineTest, NegativeEntriesAnswerNegativeUntilTheirTimeIsOver) {
  WriteRequest write;
  write.key = {"", "ghost", ""};
  write.absent = true;
  const auto written = Now(engine_->Set(write));
  ASSERT_TRUE(written->stored);
  const ReadResult read = *Now(engine_->Get({"", "ghost", ""}));
  EXPECT_FALSE(read.entry);
  EXPECT_EQ(read.miss, MissReason::kNegative);
  EXPECT_GT(read.miss_remaining, absl::ZeroDuration());
  EXPECT_FALSE(FindHit("ghost"));
  EXPECT_EQ(Load("ghost")->Value(), "(miss)");
  EXPECT_TRUE(Set("ghost", "now it is", {}, {Expect::Kind::kAbsent, 0}).stored);
  EXPECT_EQ(Get("ghost"), "now it is");
}

TEST_F(EngineTest, TouchMovesTheExpiryByItsMode) {
  EXPECT_FALSE(Now(engine_->Touch({{"", "a", ""}, absl::Seconds(5), TouchMode::kSet}))->found);
  const WriteResult set = Set("a", "1", absl::Seconds(10));
  const auto shorter =
      Now(engine_->Touch({{"", "a", ""}, absl::Seconds(1), TouchMode::kExtendOnly}));
  EXPECT_FALSE(shorter->changed);
  EXPECT_EQ(shorter->version, set.version);
  const auto longer =
      Now(engine_->Touch({{"", "a", ""}, absl::Minutes(1), TouchMode::kExtendOnly}));
  EXPECT_TRUE(longer->changed);
  EXPECT_EQ(longer->version, set.version) << "the entry is the same";
  EXPECT_FALSE(
      Now(engine_->Touch({{"", "a", ""}, absl::Hours(1), TouchMode::kShortenOnly}))->changed);
  clock_.Advance(absl::Seconds(30));
  EXPECT_EQ(Get("a"), "1");
  EXPECT_TRUE(
      Now(engine_->Touch({{"", "a", ""}, absl::Seconds(1), TouchMode::kShortenOnly}))->changed);
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(Get("a"), "(miss)");
}

TEST_F(EngineTest, IncrementCountsInAFixedOrASlidingWindow) {
  IncrementRequest request;
  request.key = {"", "rate:1", ""};
  request.delta = 2;
  request.initial = 10;
  request.ttl = absl::Seconds(10);
  const auto created = Now(engine_->Increment(request));
  EXPECT_EQ(created->value, 12);
  EXPECT_TRUE(created->created);
  clock_.Advance(absl::Seconds(6));
  const auto second = Now(engine_->Increment(request));
  EXPECT_EQ(second->value, 14);
  EXPECT_FALSE(second->created);
  // Memory keeps whole milliseconds; they are not rounded again and again.
  EXPECT_LE(second->fresh_until, created->fresh_until);
  EXPECT_LT(created->fresh_until - second->fresh_until, 1'000'000);
  EXPECT_EQ(Get("rate:1"), "14");
  request.delta = 0;
  EXPECT_EQ(Now(engine_->Increment(request))->fresh_until, second->fresh_until);
  request.extend = true;
  EXPECT_GT(Now(engine_->Increment(request))->fresh_until, created->fresh_until);
}

TEST_F(EngineTest, IncrementRefusesTextAndOverflowAndLeavesTheValue) {
  Set("a", "not a number");
  IncrementRequest request;
  request.key = {"", "a", ""};
  request.delta = 1;
  EXPECT_EQ(DetailsOf(Now(engine_->Increment(request)).status()).reason, "NOT_A_COUNTER");
  EXPECT_EQ(Get("a"), "not a number");
  Set("a", "9223372036854775807");
  EXPECT_EQ(DetailsOf(Now(engine_->Increment(request)).status()).reason, "COUNTER_OVERFLOW");
  EXPECT_EQ(Get("a"), "9223372036854775807");
}

TEST_F(EngineTest, InvalidateKeysRemovesAndADryRunOnlyCounts) {
  Set("a", "1");
  Set("b", "2");
  EXPECT_EQ(Now(engine_->InvalidateKeys({"", {"a", "b", "c"}, true}))->entries, 2u);
  EXPECT_EQ(Get("a"), "1");
  const auto done = Now(engine_->InvalidateKeys({"", {"a", "b", "c"}, false}));
  EXPECT_EQ(done->entries, 2u);
  EXPECT_EQ(Get("a"), "(miss)");
  EXPECT_EQ(Get("b"), "(miss)");
}

TEST_F(EngineTest, ExplainShowsTypeTtlAndCopy) {
  Make({}, {Type("user", "user:{id}", absl::Minutes(3))});
  Set("user:42", "x");
  Get("user:42");
  const auto explained = Now(engine_->Explain({"", "user:42", ""}, 0));
  ASSERT_TRUE(explained.ok());
  EXPECT_EQ(explained->match.type->name, "user");
  EXPECT_EQ(explained->match.kind, TypeMatchKind::kPattern);
  ASSERT_EQ(explained->captures.size(), 1u);
  EXPECT_EQ(explained->captures[0], (std::pair<std::string, std::string>("id", "42")));
  EXPECT_EQ(explained->ttl.back().ttl, absl::Minutes(3));
  EXPECT_EQ(explained->entry->hits, 1u);
  EXPECT_EQ(Get("user:42"), "x");
  EXPECT_EQ(Now(engine_->Explain({"", "user:42", ""}, 0))->entry->hits, 2u)
      << "explaining is no hit";
}

TEST_F(EngineTest, StatsCountPerTypeAndNamespace) {
  Make({}, {Type("user", "user:{id}", absl::Minutes(3))});
  Set("user:1", "x");
  Get("user:1");
  Get("user:2");
  FindHit("user:1");
  const EngineStats stats = engine_->Stats();
  for (const UsageRow& row : {stats.types[1], stats.namespaces[0], stats.total}) {
    EXPECT_EQ(row.counts[static_cast<size_t>(Usage::kHits)], 2u) << row.name;
    EXPECT_EQ(row.counts[static_cast<size_t>(Usage::kMisses)], 1u) << row.name;
    EXPECT_EQ(row.counts[static_cast<size_t>(Usage::kSets)], 1u) << row.name;
    EXPECT_EQ(row.memory.entries, 1u) << row.name;
    EXPECT_GT(row.memory.bytes(), 0u) << row.name;
  }
}

TEST_F(EngineTest, SweepGivesMemoryOfUntouchedEntriesBack) {
  engine_->Start();
  for (int i = 0; i < 1000; ++i) Set("k" + std::to_string(i), "x", absl::Seconds(1));
  EXPECT_EQ(engine_->Stats().memory.total.entries, 1000u);
  executor_.Advance(absl::Seconds(15));
  EXPECT_EQ(engine_->Stats().memory.total.entries, 0u);
}

}  // namespace
}  // namespace larder
