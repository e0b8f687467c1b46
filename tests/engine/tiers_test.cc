// The engine over a tier: what lies where, for how long, and what happens while the tier is away.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "policy/codec.h"
#include "tests/engine/replicas_fixture.h"
#include "tests/policy/values.h"

namespace larder {
namespace {

using testing::ElementsAre;

class TiersTest : public ReplicasFixture {
 protected:
  // Two replicas that share the tier but have no bus between them: nothing comes over but what the
  // tier says.
  void Two(std::vector<TypePolicy> types = {}) {
    types_ = std::move(types);
    Add({.bus = false, .fleet_leases = false, .engine = {.memory_bytes = L1::kBudgetBytesMin}});
    Add({.bus = false, .fleet_leases = false, .engine = {.memory_bytes = L1::kBudgetBytesMin}});
  }

  TypePolicy Strict(const std::string& name) {
    TypePolicy type = Type(name);
    type.require_l2 = true;
    return type;
  }

  std::string Reason(const absl::Status& status) { return DetailsOf(status).reason; }
  LowerTierStats Lower(size_t replica) { return engine(replica).Stats().lower; }
  // Until debts are paid; the engine does it by itself when it is started.
  size_t Settled(size_t replica) {
    engine(replica).Start();
    executor_.Advance(absl::Seconds(1));
    return Lower(replica).settled;
  }
};

TEST_F(TiersTest, WhatTheTierHasIsReadOnceAndThenLivesInMemory) {
  Two();
  Set(0, "a", "1");
  EXPECT_FALSE(InMemory(1, "a"));
  const ReadResult first = Read(1, "a");
  EXPECT_EQ(Text(first), "1");
  EXPECT_EQ(first.from, ReadResult::From::kBelow);
  const uint64_t calls = tier(1).calls();
  const ReadResult second = Read(1, "a");
  EXPECT_EQ(Text(second), "1");
  EXPECT_EQ(second.from, ReadResult::From::kMemory);
  EXPECT_EQ(tier(1).calls(), calls);
  EXPECT_EQ(engine(1).Stats().total.counts[static_cast<size_t>(Usage::kHitsBelow)], 1u);
}

TEST_F(TiersTest, AChangeThatGoesToTheTierIsNoneThatEndsAtOnce) {
  TypePolicy here = Type("otp");
  here.second_tier = false;
  Two({here});
  EXPECT_FALSE(engine(0).ChangesAtOnce({"", "a", ""}));
  EXPECT_TRUE(engine(0).ChangesAtOnce({"", "otp:1", ""}));
}

TEST_F(TiersTest, ACopyFromBelowLivesNoLongerThanTheOriginal) {
  Two();
  Set(0, "a", "1", absl::Seconds(60));
  executor_.Advance(absl::Seconds(59));
  EXPECT_EQ(Get(1, "a"), "1");
  executor_.Advance(absl::Milliseconds(990));
  EXPECT_EQ(Get(1, "a"), "1");
  executor_.Advance(absl::Milliseconds(20));
  EXPECT_EQ(Get(1, "a"), "(expired)");
}

TEST_F(TiersTest, MemoryKeepsACopyNoLongerThanItsTypeAllows) {
  TypePolicy type = Type("user");
  type.l1_ttl_max = absl::Seconds(10);
  Two({type});
  Set(0, "user:1", "1", absl::Seconds(60));
  EXPECT_EQ(Get(1, "user:1"), "1");
  executor_.Advance(absl::Seconds(9));
  EXPECT_TRUE(InMemory(0, "user:1"));
  EXPECT_TRUE(InMemory(1, "user:1"));
  executor_.Advance(absl::Seconds(2));
  EXPECT_FALSE(InMemory(0, "user:1"));
  EXPECT_FALSE(InMemory(1, "user:1"));
  for (size_t replica : {0, 1}) {
    const ReadResult read = Read(replica, "user:1");
    EXPECT_EQ(Text(read), "1");
    EXPECT_EQ(read.from, ReadResult::From::kBelow);
    // The life that callers see is the entry's, not that of the copy.
    EXPECT_NEAR(absl::ToDoubleSeconds(absl::Nanoseconds(read.entry->fresh_until - clock_.Mono())),
                49, 0.01);
  }
}

TEST_F(TiersTest, TypesWithoutASecondTierNeverReachIt) {
  TypePolicy otp = Type("otp");
  otp.second_tier = false;
  Two({otp});
  const uint64_t calls = tier(0).calls();
  Set(0, "otp:1", "1");
  EXPECT_EQ(Get(0, "otp:1"), "1");
  EXPECT_EQ(Get(0, "otp:2"), "(absent)");
  EXPECT_EQ(Increment(0, "otp:n"), 1);
  EXPECT_TRUE(Delete(0, "otp:1"));
  const auto loading = Load(0, "otp:3");
  ASSERT_TRUE(loading->HasLease());
  EXPECT_TRUE(Set(0, "otp:3", "3", {}, {}, loading->Token()).stored);
  EXPECT_TRUE(Now(engine(0).Touch({.key = {"", "otp:3", ""}, .ttl = absl::Minutes(1)}))->changed);
  EXPECT_EQ(tier(0).calls(), calls);
  EXPECT_EQ(fleet_.tier.size(), 0u);
  EXPECT_EQ(Get(1, "otp:3"), "(absent)");
}

TEST_F(TiersTest, AnEntryIsOfTheTypeThatItWasStoredAs) {
  Two({Type("user"), Type("order")});
  WriteRequest write;
  write.key = {"", "user:1", "order"};
  write.value = "1";
  ASSERT_TRUE(Now(engine(0).Set(write))->stored);
  const ReadResult read = Read(1, "user:1");
  ASSERT_TRUE(read.entry.has_value());
  EXPECT_EQ(engine(1).options().types->Get(read.entry->type_id).name, "order");
  EXPECT_EQ(engine(1).options().types->Get(Read(1, "user:1").entry->type_id).name, "order");
}

TEST_F(TiersTest, TagsAndDependenciesComeAlong) {
  Two();
  WriteRequest write;
  write.key = {"", "a", ""};
  write.value = "1";
  write.tags = {"t1", "t2"};
  write.depends_on = {"b"};
  ASSERT_TRUE(Now(engine(0).Set(write))->stored);
  for (int i = 0; i < 2; ++i) {  // from below, then from memory
    const ReadResult read = Read(1, "a");
    ASSERT_TRUE(read.entry.has_value());
    EXPECT_THAT(read.entry->tags, ElementsAre("t1", "t2"));
    EXPECT_THAT(read.entry->depends_on, ElementsAre("b"));
  }
}

TEST_F(TiersTest, NegativeEntriesGoBelowAndComeBack) {
  Two();
  WriteRequest write;
  write.key = {"", "ghost", ""};
  write.absent = true;
  write.ttl = absl::Seconds(60);
  ASSERT_TRUE(Now(engine(0).Set(write))->stored);
  const ReadResult below = Read(1, "ghost");
  EXPECT_EQ(Text(below), "(negative)");
  EXPECT_NEAR(absl::ToDoubleSeconds(below.miss_remaining), 60, 0.01);
  const uint64_t calls = tier(1).calls();
  EXPECT_EQ(Get(1, "ghost"), "(negative)");
  EXPECT_EQ(tier(1).calls(), calls);
  EXPECT_EQ(Load(1, "ghost")->Value(), "(negative)");
}

TEST_F(TiersTest, ValuesOfATrainedDictionaryCanBeReadElsewhere) {
  TypePolicy packed = Type("packed", absl::Hours(10));
  packed.compress = {CodecChoice::kZstd, 64, true, 3};
  types_ = {packed};
  for (int i = 0; i < 2; ++i) Add({.bus = false, .fleet_leases = false});
  engine(0).Start();
  Generator generator(1);
  std::vector<std::string> values;
  const auto set_some = [&] {
    for (int i = 0; i < 500; ++i) {
      values.push_back(Record("order", &generator));
      Set(0, "packed:" + std::to_string(values.size()), values.back());
    }
  };
  const auto dictionary_values = [&] {
    return engine(0).Stats().types[1].compression.dictionary_values;
  };
  for (int i = 0; i < 100 && dictionary_values() == 0; ++i) {
    set_some();
    executor_.Advance(absl::Seconds(10));
  }
  ASSERT_GT(dictionary_values(), 0u);
  const std::string last = "packed:" + std::to_string(values.size());
  Entry in_memory;
  ASSERT_TRUE(InMemory(0, last, &in_memory));
  EXPECT_GE(in_memory.encoding, kDictionaryFirst);
  for (size_t i = values.size() - 10; i < values.size(); ++i) {
    const std::string key = "packed:" + std::to_string(i + 1);
    EXPECT_EQ(Get(0, key), values[i]);
    EXPECT_EQ(Get(1, key), values[i]);
  }
  // Large ones go below compressed all the same.
  const std::string large = Prose(20'000, &generator);
  Set(0, "packed:large", large);
  EXPECT_LT(fleet_.tier.Raw(FullKey("", "packed:large").view())->size(), large.size() / 2);
  EXPECT_EQ(Get(1, "packed:large"), large);
}

TEST_F(TiersTest, ABatchAsksTheTierOnce) {
  Two();
  std::vector<std::string> names;
  for (int i = 0; i < 150; ++i) names.push_back("k" + std::to_string(i));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  std::vector<WriteRequest> writes(100);
  for (size_t i = 0; i < writes.size(); ++i) {
    writes[i].key = {"", names[i], ""};
    writes[i].value = names[i];
  }
  for (const auto& written : Now(engine(0).BatchSet(writes))) EXPECT_TRUE(written->stored);
  Get(1, "k0");
  uint64_t calls = tier(1).calls();
  const auto read = Now(engine(1).BatchGet("", keys, "", true));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(tier(1).calls(), calls + 1);
  for (size_t i = 0; i < keys.size(); ++i)
    EXPECT_EQ(Text((*read)[i]), i < 100 ? names[i] : "(absent)");
  calls = tier(1).calls();
  const auto removed = Now(engine(1).BatchDelete("", keys, ""));
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(tier(1).calls(), calls + 1);
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ((*removed)[i]->existed, i < 100);
  EXPECT_EQ(Get(0, "k5"), "k5") << "nobody told this replica";
  Evict(0, "k5");
  EXPECT_EQ(Get(0, "k5"), "(invalidated)");
}

TEST_F(TiersTest, ATierThatIsAwayIsAMiss) {
  Two();
  Set(0, "a", "1");
  tier(1).SetFaults({.fail_ratio = 1});
  EXPECT_EQ(Get(1, "a"), "(tier failed)");
  const auto read = Now(engine(1).BatchGet("", {"a", "b"}, "", true));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(Text((*read)[0]), "(tier failed)");
  EXPECT_EQ(Load(1, "a")->Value(), "(lease)");
  tier(1).SetFaults({});
  EXPECT_EQ(Get(1, "a"), "1");
}

TEST_F(TiersTest, AWriteThatTheTierDidNotTakeIsAcknowledgedAndMadeGoodLater) {
  Two();
  Set(0, "a", "old");
  ASSERT_EQ(Get(1, "a"), "old");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_TRUE(Set(0, "a", "new").stored);
  EXPECT_EQ(Get(0, "a"), "new");
  EXPECT_EQ(Lower(0).owed, 1u);
  EXPECT_EQ(Lower(0).owed_total, 1u);
  EXPECT_EQ(Settled(0), 0u);
  tier(0).SetFaults({});
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(Lower(0).owed, 0u);
  EXPECT_EQ(Lower(0).settled, 1u);
  Evict(1, "a");
  EXPECT_EQ(Get(1, "a"), "new");
}

TEST_F(TiersTest, AnOlderValueBelowIsNotReadAfterAWriteThatTheTierDidNotTake) {
  Two();
  Set(0, "a", "old");
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "new");
  tier(0).SetFaults({});
  Evict(0, "a");
  EXPECT_NE(Get(0, "a"), "old");
  EXPECT_EQ(Lower(0).outdated_reads, 1u);
}

TEST_F(TiersTest, ARemovalThatTheTierDidNotTakeIsMadeGoodLater) {
  Two();
  Set(0, "a", "1");
  tier(0).SetFaults({.fail_ratio = 1});
  Delete(0, "a");
  tier(0).SetFaults({});
  EXPECT_NE(Get(0, "a"), "1");
  EXPECT_EQ(Settled(0), 1u);
  EXPECT_EQ(Get(1, "a"), "(invalidated)");
}

TEST_F(TiersTest, ALaterWriteThatArrivesPaysTheDebt) {
  Two();
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "a", "1");
  tier(0).SetFaults({});
  Set(0, "a", "2");
  EXPECT_EQ(Lower(0).owed, 0u);
  EXPECT_EQ(Get(1, "a"), "2");
}

TEST_F(TiersTest, BeyondWhatIsRememberedNothingOlderIsRead) {
  Add({.bus = false, .fleet_leases = false, .engine = {.owed_max = 2}});
  for (const char* key : {"a", "b", "c", "d"}) Set(0, key, "old");
  tier(0).SetFaults({.fail_ratio = 1});
  for (const char* key : {"a", "b", "c"}) Delete(0, key);
  tier(0).SetFaults({});
  EXPECT_EQ(Lower(0).owed, 2u);
  EXPECT_EQ(Lower(0).owed_forgotten, 1u);
  for (const char* key : {"a", "b", "c"}) EXPECT_NE(Get(0, key), "old") << key;
  EXPECT_EQ(Get(0, "d"), "old") << "memory has it";
  Set(0, "c", "new");
  Evict(0, "c");
  EXPECT_EQ(Get(0, "c"), "new");
}

TEST_F(TiersTest, TypesThatRequireTheTierFailWithIt) {
  Two({Strict("strict")});
  Set(0, "strict:a", "old");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_EQ(Reason(TrySet(0, "strict:a", "new").status()), "TIER_UNAVAILABLE");
  EXPECT_EQ(Reason(TrySet(0, "strict:b", "new", {}, {Expect::Kind::kAbsent}).status()),
            "TIER_UNAVAILABLE");
  EXPECT_EQ(Reason(Now(engine(0).Delete({"", "strict:a", ""})).status()), "TIER_UNAVAILABLE");
  EXPECT_EQ(Reason(Now(engine(0).Increment(Counting("strict:n", 1))).status()), "TIER_UNAVAILABLE");
  const auto loading = Load(0, "strict:c");
  ASSERT_TRUE(loading->HasLease());
  EXPECT_EQ(Reason(TrySet(0, "strict:c", "1", {}, {}, loading->Token()).status()),
            "TIER_UNAVAILABLE");
  tier(0).SetFaults({});
  EXPECT_NE(Get(0, "strict:a"), "new") << "nobody was told that it was stored";
  EXPECT_NE(Get(0, "strict:c"), "1");
  Settled(0);
  EXPECT_TRUE(TrySet(0, "strict:a", "newer").ok());
  EXPECT_EQ(Get(1, "strict:a"), "newer");
}

TEST_F(TiersTest, ConditionsAreDecidedByTheSharedTier) {
  Two();
  const Version first = Set(0, "a", "1").version;
  EXPECT_FALSE(Set(1, "a", "2", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_EQ(Get(1, "a"), "1");
  const WriteResult second = Set(1, "a", "2", {}, {Expect::Kind::kVersion, first});
  EXPECT_TRUE(second.stored);
  // Replica 0 has the first version in memory yet.
  ASSERT_TRUE(InMemory(0, "a"));
  const WriteResult late = Set(0, "a", "3", {}, {Expect::Kind::kVersion, first});
  EXPECT_FALSE(late.stored);
  EXPECT_EQ(late.reason, NotStored::kCondition);
  EXPECT_EQ(late.version, second.version);
  EXPECT_EQ(Get(0, "a"), "2") << "the old copy is dropped when it is found to be old";
  EXPECT_TRUE(Set(0, "a", "3", {}, {Expect::Kind::kPresent}).stored);
  Delete(1, "a");
  EXPECT_FALSE(Set(0, "a", "4", {}, {Expect::Kind::kPresent}).stored);
  EXPECT_NE(Get(0, "a"), "3");
  EXPECT_TRUE(Set(0, "a", "4", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_FALSE(Set(1, "a", "5", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_EQ(Get(1, "a"), "4");
}

TEST_F(TiersTest, WithoutTheTierMemoryDecidesAlone) {
  Two();
  Set(0, "a", "1");
  for (size_t replica : {0, 1}) tier(replica).SetFaults({.fail_ratio = 1});
  EXPECT_FALSE(Set(0, "a", "2", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_TRUE(Set(1, "a", "2", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_EQ(Increment(0, "n"), 1);
  EXPECT_EQ(Increment(0, "n"), 2);
}

TEST_F(TiersTest, NoIncrementOfTwoReplicasIsLost) {
  Two();
  for (int i = 1; i <= 50; ++i) EXPECT_EQ(Increment(i % 2, "n"), i);
  int64_t sum = 0;
  std::vector<std::optional<int64_t>> answers(100);
  for (size_t i = 0; i < answers.size(); ++i) {
    tier(i % 2).SetFaults({.delay_max = absl::Milliseconds(1)});
    Spawn(engine(i % 2).Increment(Counting("m", static_cast<int64_t>(i))),
          [&answer = answers[i]](absl::StatusOr<IncrementResult> result) {
            if (result.ok()) answer = result->value;
          });
  }
  executor_.Advance(absl::Seconds(10));
  for (size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].has_value()) sum += static_cast<int64_t>(i);
  }
  EXPECT_EQ(Increment(0, "m"), sum + 1);
}

TEST_F(TiersTest, CountersGoOnAfterTheTierWasAway) {
  Two();
  for (int i = 0; i < 3; ++i) Increment(0, "n");
  tier(0).SetFaults({.fail_ratio = 1});
  EXPECT_EQ(Increment(0, "n"), 4);
  tier(0).SetFaults({});
  // Whatever becomes of the count, counting works at once.
  EXPECT_GE(Increment(0, "n"), 1);
  engine(0).Start();
  executor_.Advance(absl::Seconds(1));
  const int64_t after = Increment(0, "n");
  EXPECT_GE(after, 1);
  EXPECT_EQ(Increment(1, "n"), after + 1);
  EXPECT_EQ(Increment(0, "n"), after + 2);
}

TEST_F(TiersTest, TouchAndConditionsGoOnAfterTheTierWasAway) {
  Two();
  tier(0).SetFaults({.fail_ratio = 1});
  Set(0, "c", "1");
  Evict(0, "c");
  const Version version = Set(0, "a", "1").version;
  Set(0, "b", "1");
  tier(0).SetFaults({});
  const auto touched = Now(engine(0).Touch({.key = {"", "a", ""}, .ttl = absl::Minutes(1)}));
  ASSERT_TRUE(touched.ok()) << touched.status();
  EXPECT_TRUE(touched->changed);
  EXPECT_FALSE(Set(0, "b", "2", {}, {Expect::Kind::kAbsent}).stored);
  EXPECT_FALSE(Set(0, "b", "2", {}, {Expect::Kind::kVersion, version}).stored);
  EXPECT_TRUE(Set(0, "b", "2", {}, {Expect::Kind::kPresent}).stored);
  EXPECT_TRUE(Set(0, "c", "2", {}, {Expect::Kind::kAbsent}).stored) << "nobody has it any more";
  for (size_t replica : {0, 1}) {
    EXPECT_EQ(Get(replica, "a"), "1");
    EXPECT_EQ(Get(replica, "b"), "2");
    EXPECT_EQ(Get(replica, "c"), "2");
  }
}

TEST_F(TiersTest, TouchChangesTheLifeEverywhere) {
  Two();
  Set(0, "a", "1", absl::Seconds(10));
  TouchRequest request{.key = {"", "a", ""}, .ttl = absl::Seconds(60)};
  const auto touched = Now(engine(1).Touch(request));
  ASSERT_TRUE(touched.ok());
  EXPECT_TRUE(touched->changed);
  executor_.Advance(absl::Seconds(30));
  EXPECT_EQ(Get(1, "a"), "1");
  EXPECT_EQ(Get(0, "a"), "1") << "memory has forgotten, the tier has not";
  request.ttl = absl::Seconds(5);
  request.mode = TouchMode::kExtendOnly;
  EXPECT_FALSE(Now(engine(0).Touch(request))->changed);
  request.mode = TouchMode::kShortenOnly;
  EXPECT_TRUE(Now(engine(0).Touch(request))->changed);
  executor_.Advance(absl::Seconds(6));
  EXPECT_EQ(Get(0, "a"), "(expired)");
  EXPECT_FALSE(Now(engine(1).Touch({.key = {"", "none", ""}, .ttl = absl::Seconds(5)}))->found);
}

TEST_F(TiersTest, SlidingEntriesThatAreReadLiveOnBelow) {
  TypePolicy session = Type("session", absl::Minutes(10));
  session.ttl.sliding = true;
  Two({session});
  Set(0, "session:read", "1");
  Set(0, "session:idle", "1");
  for (int i = 0; i < 10; ++i) {
    executor_.Advance(absl::Minutes(3));
    EXPECT_EQ(Get(0, "session:read"), "1");
  }
  EXPECT_EQ(Get(1, "session:read"), "1");
  EXPECT_NE(Get(1, "session:idle"), "1");
  // Hits within a step of the life do not go below.
  const uint64_t calls = tier(0).calls();
  for (int i = 0; i < 100; ++i) {
    executor_.Advance(absl::Milliseconds(700));
    Get(0, "session:read");
  }
  EXPECT_LE(tier(0).calls(), calls + 2);
}

TEST_F(TiersTest, TheLaterWriteWinsThoughItsClockIsBehind) {
  types_ = {};
  Add({.bus = false, .fleet_leases = false, .clock_off = absl::Minutes(4)});
  Add({.bus = false, .fleet_leases = false});
  const Version first = Set(0, "a", "1").version;
  const WriteResult second = Set(1, "a", "2");
  EXPECT_TRUE(second.stored);
  EXPECT_GT(second.version, first);
  Set(0, "b", "1");
  Set(1, "c", "2");
  Set(0, "c", "3");
  EXPECT_TRUE(Delete(1, "b"));
  EXPECT_NE(Get(1, "b"), "1");
  Add({.bus = false, .fleet_leases = false});
  EXPECT_EQ(Get(2, "a"), "2");
  EXPECT_EQ(Get(2, "b"), "(invalidated)");
  EXPECT_EQ(Get(2, "c"), "3");
}

TEST_F(TiersTest, ALoadThatBeganBeforeAChangeElsewhereIsTooLateWhateverTheClocksSay) {
  types_ = {};
  for (const absl::Duration off : {absl::Minutes(2), -absl::Minutes(2)})
    Add({.bus = false, .fleet_leases = false, .clock_off = off});
  for (size_t loader : {0, 1}) {
    const size_t other = 1 - loader;
    for (const std::string change : {"set", "delete", "invalidate"}) {
      const std::string key = change + std::to_string(loader);
      const auto loading = Load(loader, key);
      ASSERT_TRUE(loading->HasLease());
      if (change == "set") Set(other, key, "new");
      if (change == "delete") Delete(other, key);
      if (change == "invalidate") {
        EXPECT_TRUE(Now(engine(other).InvalidateKeys({"", {key}})).ok());
      }
      const WriteResult late = Set(loader, key, "stale", {}, {}, loading->Token());
      EXPECT_FALSE(late.stored) << key;
      EXPECT_EQ(late.reason, NotStored::kLeaseLost);
      EXPECT_NE(Get(loader, key), "stale");
      EXPECT_NE(Get(other, key), "stale");
    }
  }
}

TEST_F(TiersTest, ALoadedValueGoesBelow) {
  Two();
  const auto loading = Load(0, "a");
  ASSERT_TRUE(loading->HasLease());
  EXPECT_TRUE(Set(0, "a", "1", {}, {}, loading->Token()).stored);
  EXPECT_EQ(Get(1, "a"), "1");
  EXPECT_EQ(Load(1, "a")->Value(), "1");
}

TEST_F(TiersTest, ExplainShowsBothCopies) {
  Two();
  Set(0, "a", "1");
  auto here = Now(engine(0).Explain({"", "a", ""}, 0));
  ASSERT_TRUE(here.ok());
  EXPECT_TRUE(here->entry.has_value());
  ASSERT_TRUE(here->below.has_value());
  EXPECT_EQ(here->below->version, here->entry->version);
  auto there = Now(engine(1).Explain({"", "a", ""}, 0));
  EXPECT_FALSE(there->entry.has_value());
  EXPECT_TRUE(there->below.has_value());
  EXPECT_FALSE(InMemory(1, "a")) << "explaining is no read";
}

TEST_F(TiersTest, AnEvictedEntryIsReadBackFromBelow) {
  Two();
  Set(0, "a", "1");
  Evict(0, "a");
  const ReadResult read = Read(0, "a");
  EXPECT_EQ(Text(read), "1");
  EXPECT_EQ(read.from, ReadResult::From::kBelow);
}

TEST_F(TiersTest, ABadEnvelopeIsAMiss) {
  Two();
  Set(0, "a", "1");
  std::string bytes = *fleet_.tier.Raw(FullKey("", "a").view());
  bytes[bytes.size() / 2] ^= 1;
  fleet_.tier.SetRaw(FullKey("", "a").view(), bytes);
  EXPECT_EQ(Get(1, "a"), "(absent)");
  EXPECT_EQ(engine(1).Stats().tier->bad_envelopes, 1u);
  EXPECT_TRUE(Set(1, "a", "2").stored);
  EXPECT_EQ(Get(1, "a"), "2");
}

TEST_F(TiersTest, AChangeDuringAReadFromBelowIsNotHiddenByIt) {
  Two();
  Set(1, "a", "old");
  EXPECT_EQ(Get(0, "b"), "(absent)");  // what is invalidated is known now
  // The answer of the read is on its way while the key changes here and memory loses the new value.
  tier(0).SetFaults({.delay_min = absl::Milliseconds(10), .delay_max = absl::Milliseconds(10)});
  std::optional<std::string> seen;
  Spawn(engine(0).Get({"", "a", ""}),
        [&seen](absl::StatusOr<ReadResult> read) { seen = Text(*read); });
  executor_.Advance(absl::Milliseconds(15));  // it has been read
  tier(0).SetFaults({});
  Set(0, "a", "new");
  Evict(0, "a");
  executor_.Advance(absl::Milliseconds(10));
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(*seen, "old") << "it began before the change";
  EXPECT_EQ(Get(0, "a"), "new");
}

TEST_F(TiersTest, AHungTierCostsItsTimeLimitAndNoMore) {
  types_ = {};
  Add({.guarded = true, .bus = false, .fleet_leases = false});
  Set(0, "here", "1");
  tier(0).SetFaults({.hang = true});
  const MonoNanos began = clock_.Mono();
  EXPECT_EQ(Get(0, "gone"), "(tier failed)");
  EXPECT_LE(clock_.Mono() - began, absl::ToInt64Nanoseconds(absl::Milliseconds(52)));
  EXPECT_EQ(Get(0, "here"), "1");
  EXPECT_TRUE(Set(0, "b", "1").stored);
  EXPECT_LE(clock_.Mono() - began, absl::ToInt64Nanoseconds(absl::Milliseconds(160)));
  EXPECT_EQ(Lower(0).owed, 1u);
}

}  // namespace
}  // namespace larder
