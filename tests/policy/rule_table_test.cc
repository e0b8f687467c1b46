#include "policy/rule_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/policy/rules.h"

namespace larder {
namespace {

using Kind = Rule::Kind;

class RuleTableTest : public testing::Test {
 protected:
  bool Gone(const Asked& asked) const { return table_.Judge(asked.subject()).gone; }
  MonoNanos FreshUntil(const Asked& asked) const {
    return table_.Judge(asked.subject()).fresh_until;
  }
  void Add(const Rule& rule, MonoNanos now = 1) { ASSERT_TRUE(table_.Add(rule, now).ok()); }

  RuleTable table_{Seeded()};
};

TEST_F(RuleTableTest, SaysNothingWhileThereAreNoRules) {
  for (const Version version : {kNoVersion, Version{1}, Version{100}}) {
    const Asked asked{.tags = {"a"}, .depends_on = {"b"}, .version = version};
    EXPECT_FALSE(table_.Judge(asked.subject()).concerned());
  }
  EXPECT_EQ(table_.newest(), kNoVersion);
  EXPECT_EQ(table_.newest_listed(), kNoVersion);
}

TEST_F(RuleTableTest, EachKindCoversWhatItMatchesUpToItsVersion) {
  struct Case {
    Rule rule;
    Asked covered;
    Asked other;
  };
  const std::vector<Case> cases = {
      {Of(Kind::kTag, "a", 100), {.tags = {"b", "a"}}, {.tags = {"b", "aa"}}},
      {Of(Kind::kPrefix, "user:4", 100), {.key = "user:42"}, {.key = "user:52"}},
      {Of(Kind::kPrefix, "user:42", 100), {.key = "user:42"}, {.key = "user:4"}},
      {Of(Kind::kGlob, "u*:4?", 100), {.key = "user:42"}, {.key = "user:421"}},
      {Of(Kind::kType, "user", 100), {.type = "user"}, {.type = "users"}},
      {Of(Kind::kAll, "", 100), {.name_space = "shop"}, {.name_space = "shop2"}},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(static_cast<int>(each.rule.kind));
    RuleTable table(Seeded());
    ASSERT_TRUE(table.Add(each.rule, 1).ok());
    EXPECT_TRUE(table.Judge(each.covered.subject()).gone);
    EXPECT_FALSE(table.Judge(each.other.subject()).concerned());
    Asked changed = each.covered;
    changed.version = 101;
    EXPECT_FALSE(table.Judge(changed.subject()).concerned());
    changed.version = 1;
    EXPECT_TRUE(table.Judge(changed.subject()).gone);
    changed.name_space = "another";
    EXPECT_FALSE(table.Judge(changed.subject()).concerned());
    EXPECT_EQ(table.GetStats().rules, 1u);
    EXPECT_EQ(table.newest_listed(), 100u);
    EXPECT_EQ(table.newest(), each.rule.kind == Kind::kTag ? kNoVersion : 100u);
  }
}

TEST_F(RuleTableTest, TheEmptyNamespaceIsTheDefaultOne) {
  Add(Of(Kind::kAll, "", 100, ""));
  EXPECT_TRUE(Gone({.name_space = "default"}));
  EXPECT_TRUE(Gone({.name_space = ""}));
  EXPECT_FALSE(Gone({.name_space = "shop"}));
}

TEST_F(RuleTableTest, LooksAtEveryTagHoweverMany) {
  Add(Of(Kind::kTag, "tag:39", 100));
  std::vector<std::string> tags;
  for (int i = 0; i < 39; ++i) tags.push_back("tag:" + std::to_string(i));
  EXPECT_FALSE(Gone({.tags = tags}));
  tags.push_back("tag:39");
  EXPECT_TRUE(Gone({.tags = tags}));
}

TEST_F(RuleTableTest, AChangeOfAKeyCoversWhatDependsOnIt) {
  table_.Changed("shop", "user:1", 100);
  EXPECT_TRUE(Gone({.depends_on = {"user:2", "user:1"}}));
  EXPECT_FALSE(Gone({.depends_on = {"user:2"}}));
  EXPECT_FALSE(Gone({.name_space = "other", .depends_on = {"user:1"}}));
  EXPECT_FALSE(Gone({.depends_on = {"user:1"}, .version = 101}));
  EXPECT_FALSE(Gone({.key = "user:1"}));
  table_.Changed("shop", "user:1", 50);
  EXPECT_TRUE(Gone({.depends_on = {"user:1"}}));
  EXPECT_EQ(table_.newest(), kNoVersion);
  EXPECT_EQ(table_.newest_listed(), 100u);
}

TEST_F(RuleTableTest, ForgottenChangesCoverWhateverDependsOnAnything) {
  table_.ForgetChanges(100);
  EXPECT_TRUE(Gone({.depends_on = {"whatever"}}));
  EXPECT_FALSE(Gone({.depends_on = {"whatever"}, .version = 101}));
  EXPECT_FALSE(Gone({.tags = {"a"}}));
}

TEST_F(RuleTableTest, AStaleRuleSaysSinceWhenAndARemovalOutdoesIt) {
  Add(Stale(Of(Kind::kTag, "a", 100)), 7000);
  const Asked asked{.tags = {"a"}};
  EXPECT_FALSE(Gone(asked));
  EXPECT_EQ(FreshUntil(asked), 7000);
  Add(Of(Kind::kTag, "a", 90), 8000);
  EXPECT_EQ(FreshUntil(asked), 7000);
  EXPECT_TRUE(Gone({.tags = {"a"}, .version = 90}));
  Add(Of(Kind::kTag, "a", 100), 9000);
  EXPECT_TRUE(Gone(asked));
  // A mark says nothing of what is gone.
  Add(Stale(Of(Kind::kTag, "a", 100)), 9500);
  EXPECT_TRUE(Gone(asked));
}

TEST_F(RuleTableTest, TheEarliestOfAllMarksCounts) {
  Add(Stale(Of(Kind::kType, "user", 200)), 5000);
  Add(Stale(Of(Kind::kTag, "a", 100)), 4000);
  Add(Stale(Of(Kind::kPrefix, "user:", 150)), 6000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}}), 4000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}, .version = 101}), 5000);
  EXPECT_EQ(FreshUntil({.type = "other", .version = 150}), 6000);
  EXPECT_EQ(FreshUntil({.version = 201}), INT64_MAX);
}

TEST_F(RuleTableTest, WhatIsMarkedAgainIsStaleSinceTheFirstMarkAfterIt) {
  Add(Stale(Of(Kind::kTag, "a", 100)), 1000);
  Add(Stale(Of(Kind::kTag, "a", 200)), 2000);
  Add(Stale(Of(Kind::kTag, "a", 300)), 3000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}, .version = 100}), 1000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}, .version = 101}), 2000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}, .version = 201}), 3000);
  EXPECT_EQ(FreshUntil({.tags = {"a"}, .version = 301}), INT64_MAX);
}

TEST_F(RuleTableTest, OfManyMarksIsRememberedWhatIsNearlyRightAndNeverTooLate) {
  // A mark each second for an hour; every entry is made half a second before its mark.
  constexpr MonoNanos kSecond = 1'000'000'000;
  constexpr int kMarks = 3600;
  for (int i = 1; i <= kMarks; ++i) Add(Stale(Of(Kind::kTag, "a", 10 * i)), i * kSecond);
  for (int i = 1; i <= kMarks; ++i) {
    const MonoNanos said = FreshUntil({.tags = {"a"}, .version = static_cast<Version>(10 * i)});
    const MonoNanos age = (kMarks - i) * kSecond;
    const MonoNanos said_age = kMarks * kSecond - said;
    ASSERT_GE(said_age, age);
    ASSERT_LE(said_age, 4 * age + 4 * kSecond) << "mark " << i;
  }
}

TEST_F(RuleTableTest, ARuleAgainOrAnOlderOneChangesNothing) {
  Add(Of(Kind::kTag, "a", 100));
  Add(Of(Kind::kTag, "a", 100));
  Add(Of(Kind::kTag, "a", 50));
  Add(Stale(Of(Kind::kTag, "b", 100)), 1000);
  Add(Stale(Of(Kind::kTag, "b", 100)), 9000);
  Add(Stale(Of(Kind::kTag, "b", 60)), 9000);
  Add(Of(Kind::kGlob, "g*", 100));
  Add(Of(Kind::kGlob, "g*", 90));
  EXPECT_EQ(table_.GetStats().added, 3u);
  EXPECT_EQ(table_.GetStats().rules, 3u);
  EXPECT_EQ(table_.GetStats().globs, 1u);
  EXPECT_TRUE(Gone({.tags = {"a"}}));
  EXPECT_EQ(FreshUntil({.tags = {"b"}}), 1000);
  EXPECT_TRUE(Gone({.key = "g1"}));
}

TEST_F(RuleTableTest, RulesOfOneNodeCoverWhatItMadeAndLoadsOfAny) {
  const Version rule = Made(1000, 7, 3);
  Add(OfNode(Of(Kind::kAll, "", rule), 3));
  EXPECT_TRUE(Gone({.version = Made(1000, 7, 3)}));
  EXPECT_TRUE(Gone({.version = Made(999, 0, 3)}));
  EXPECT_FALSE(Gone({.version = Made(1000, 8, 3)}));
  EXPECT_FALSE(Gone({.version = Made(999, 0, 4)}));
  EXPECT_TRUE(Gone({.version = Made(999, 4095, 4)}));
  EXPECT_FALSE(Gone({.version = Made(1000, 4095, 4)}));
  EXPECT_EQ(table_.newest(), rule);
  // Another node's is one of its own.
  Add(OfNode(Of(Kind::kAll, "", Made(500, 0, 4)), 4));
  EXPECT_TRUE(Gone({.version = Made(500, 0, 4)}));
  EXPECT_FALSE(Gone({.version = Made(500, 1, 4)}));
  EXPECT_TRUE(Gone({.version = Made(999, 0, 3)}));
  EXPECT_EQ(table_.GetStats().rules, 2u);
  // And one of all nodes covers all of it.
  Add(Of(Kind::kAll, "", Made(2000, 0, 1)));
  EXPECT_TRUE(Gone({.version = Made(1999, 0, 5)}));
  Add(OfNode(Of(Kind::kAll, "", Made(1500, 0, 9)), 9));
  EXPECT_EQ(table_.GetStats().rules, 3u);
}

TEST_F(RuleTableTest, RulesOfOneNodeMayMarkOrRemoveOfAnyKind) {
  const Version version = Made(1000, 7, 3);
  Add(OfNode(Stale(Of(Kind::kTag, "a", version)), 3), 5000);
  Add(OfNode(Of(Kind::kGlob, "user:*", Made(900, 0, 3)), 3));
  EXPECT_EQ(FreshUntil({.key = "k", .tags = {"a"}, .version = version}), 5000);
  EXPECT_EQ(FreshUntil({.key = "k", .tags = {"a"}, .version = Made(999, 4095, 8)}), 5000);
  EXPECT_EQ(FreshUntil({.key = "k", .tags = {"a"}, .version = Made(999, 1, 8)}), INT64_MAX);
  EXPECT_TRUE(Gone({.version = Made(800, 1, 3)}));
  EXPECT_FALSE(Gone({.version = Made(800, 1, 8)}));
}

TEST_F(RuleTableTest, RefusesGlobsAndPrefixLengthsBeyondTheirLimitsAndKeepsWhatItHas) {
  RuleTable::Options options = Seeded();
  options.globs_max = 3;
  options.prefix_lengths_max = 2;
  RuleTable table(options);
  for (const char* glob : {"a*", "b*", "c*"})
    ASSERT_TRUE(table.Add(Of(Kind::kGlob, glob, 9), 1).ok());
  const absl::Status full = table.Add(Of(Kind::kGlob, "d*", 9), 1);
  EXPECT_EQ(DetailsOf(full).reason, "RULES_FULL");
  EXPECT_TRUE(table.Add(Of(Kind::kGlob, "a*", 10), 1).ok());
  EXPECT_TRUE(table.Add(Of(Kind::kGlob, "d*", 9, "other"), 1).ok());
  ASSERT_TRUE(table.Add(Of(Kind::kPrefix, "1", 20), 1).ok());
  ASSERT_TRUE(table.Add(Of(Kind::kPrefix, "22", 20), 1).ok());
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kPrefix, "333", 20), 1)).reason, "RULES_FULL");
  EXPECT_TRUE(table.Add(Of(Kind::kPrefix, "23", 20), 1).ok());
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kGlob, "[", 9, "third"), 1)).reason, "SELECTOR_INVALID");
  EXPECT_TRUE(table.Judge(Asked{.key = "a1", .version = 10}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.key = "d1", .version = 9}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.key = "333", .version = 9}.subject()).gone);
  EXPECT_EQ(table.GetStats().rules, 7u);
  // What is dropped makes room.
  table.DropUpTo(15);
  EXPECT_TRUE(table.Add(Of(Kind::kGlob, "d*", 30), 1).ok());
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kPrefix, "333", 30), 1)).reason, "RULES_FULL");
}

TEST_F(RuleTableTest, NamesOfNamespacesDoNotMakeRoom) {
  RuleTable::Options options = Seeded();
  options.all_globs_max = 3;
  options.pattern_namespaces_max = 5;
  RuleTable table(options);
  for (const char* name : {"a", "b", "c"})
    ASSERT_TRUE(table.Add(Of(Kind::kGlob, "x*", 9, name), 1).ok());
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kGlob, "x*", 9, "d"), 1)).reason, "RULES_FULL");
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kGlob, "y*", 9, "a"), 1)).reason, "RULES_FULL");
  EXPECT_TRUE(table.Add(Of(Kind::kGlob, "x*", 10, "a"), 1).ok());
  for (const char* name : {"d", "e", "a"})
    ASSERT_TRUE(table.Add(Of(Kind::kPrefix, "x", 9, name), 1).ok());
  EXPECT_EQ(DetailsOf(table.Add(Of(Kind::kPrefix, "x", 9, "f"), 1)).reason, "RULES_FULL");
  EXPECT_TRUE(table.Add(Of(Kind::kAll, "", 9, "f"), 1).ok());
  EXPECT_TRUE(table.Judge(Asked{.name_space = "f", .version = 9}.subject()).gone);
}

// Else a namespace that had to be invalidated as a whole, for want of room, would have to be at the
// next change again.
TEST_F(RuleTableTest, ARuleForAllOfANamespaceMakesRoomForOthersOfIt) {
  RuleTable::Options options = Seeded();
  options.globs_max = options.prefix_lengths_max = 1;
  RuleTable table(options);
  const auto add = [&](const Rule& rule) { return table.Add(rule, 1).ok(); };
  const auto gone = [&](const std::string& key, Version version) {
    return table.Judge(Asked{.key = key, .version = version}.subject()).gone;
  };
  ASSERT_TRUE(add(Of(Kind::kPrefix, "1", 10)));
  ASSERT_TRUE(add(Of(Kind::kGlob, "a*", 10)));
  ASSERT_TRUE(add(Of(Kind::kPrefix, "1", 10, "other")));
  // What it does not cover stays: it is for one node alone, only marks, or is older.
  ASSERT_TRUE(add(OfNode(Of(Kind::kAll, "", 20), 1)));
  ASSERT_TRUE(add(Stale(Of(Kind::kAll, "", 20))));
  ASSERT_TRUE(add(Of(Kind::kAll, "", 9)));
  EXPECT_FALSE(add(Of(Kind::kPrefix, "22", 30)));
  EXPECT_FALSE(add(Of(Kind::kGlob, "b*", 30)));
  EXPECT_TRUE(gone("1", 10));
  EXPECT_TRUE(gone("a", 10));
  ASSERT_TRUE(add(Of(Kind::kAll, "", 20)));
  EXPECT_TRUE(gone("1", 10));
  EXPECT_TRUE(gone("z", 20));
  EXPECT_TRUE(add(Of(Kind::kPrefix, "22", 30)));
  EXPECT_TRUE(add(Of(Kind::kGlob, "b*", 30)));
  EXPECT_TRUE(gone("22", 30));
  EXPECT_TRUE(gone("b1", 30));
  EXPECT_FALSE(gone("1", 21));
  EXPECT_TRUE(table.Judge(Asked{.name_space = "other", .key = "1", .version = 10}.subject()).gone);
}

TEST_F(RuleTableTest, BeyondTheMaximumTheOlderHalfOfTheTagsCoversAllThatIsTagged) {
  RuleTable::Options options = Seeded();
  options.rules_max = 100;
  RuleTable table(options);
  for (int i = 1; i <= 99; ++i)
    ASSERT_TRUE(table.Add(Of(Kind::kTag, std::to_string(i), 1000 + i), 1).ok());
  ASSERT_TRUE(table.Add(Of(Kind::kPrefix, "product:", 1001), 1).ok());
  EXPECT_EQ(table.GetStats().merged, 0u);
  EXPECT_FALSE(table.Judge(Asked{.tags = {"x"}, .version = 1001}.subject()).gone);
  ASSERT_TRUE(table.Add(Of(Kind::kTag, "100", 1100), 1).ok());
  EXPECT_EQ(table.GetStats().merged, 50u);
  EXPECT_EQ(table.GetStats().rules, 51u);
  EXPECT_TRUE(table.Judge(Asked{.tags = {"x"}, .version = 1050}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.tags = {"x"}, .version = 1051}.subject()).gone);
  EXPECT_TRUE(table.Judge(Asked{.tags = {"51"}, .version = 1051}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.version = 1}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.depends_on = {"a"}, .version = 1}.subject()).gone);
}

TEST_F(RuleTableTest, WhereTheOthersAreMoreTheirOlderHalfCoversEverything) {
  RuleTable::Options options = Seeded();
  options.rules_max = 10;
  RuleTable table(options);
  ASSERT_TRUE(table.Add(Of(Kind::kGlob, "other:*", 1), 1).ok());
  for (int i = 0; i < 10; ++i) {
    Rule rule = Of(Kind::kPrefix, "p" + std::to_string(i), 1001 + i);
    rule.stale = i < 5;
    ASSERT_TRUE(table.Add(rule, 7000 + i).ok());
  }
  EXPECT_FALSE(table.Judge(Asked{.version = 1}.subject()).concerned());
  ASSERT_TRUE(table.Add(Of(Kind::kType, "order", 1020), 1).ok());
  EXPECT_EQ(table.GetStats().merged, 6u);
  // The first five marked what they cover, the sixth removed.
  EXPECT_TRUE(table.Judge(Asked{.version = 1006}.subject()).gone);
  EXPECT_FALSE(table.Judge(Asked{.version = 1007}.subject()).concerned());
  EXPECT_TRUE(table.Judge(Asked{.key = "p9", .version = 1010}.subject()).gone);
  EXPECT_TRUE(table.Judge(Asked{.key = "other:1", .version = 1}.subject()).gone);
}

TEST_F(RuleTableTest, MergedMarksStayMarks) {
  RuleTable::Options options = Seeded();
  options.rules_max = 4;
  RuleTable table(options);
  for (int i = 1; i <= 5; ++i)
    ASSERT_TRUE(table.Add(Stale(Of(Kind::kTag, std::to_string(i), 100 * i)), 1000 * i).ok());
  EXPECT_EQ(table.GetStats().merged, 3u);
  const RuleTable::Verdict verdict = table.Judge(Asked{.tags = {"x"}, .version = 150}.subject());
  EXPECT_FALSE(verdict.gone);
  EXPECT_EQ(verdict.fresh_until, 2000);
  EXPECT_EQ(table.Judge(Asked{.tags = {"x"}, .version = 301}.subject()).fresh_until, INT64_MAX);
}

TEST_F(RuleTableTest, DropsWhatSaysNothingOfNewerVersions) {
  for (int i = 1; i <= 1000; ++i) {
    Add(Of(Kind::kTag, "t" + std::to_string(i), i));
    Add(OfNode(Stale(Of(Kind::kType, "y" + std::to_string(i), i)), static_cast<uint32_t>(i)), i);
  }
  for (int i = 1; i <= 50; ++i) {
    Add(Of(Kind::kPrefix, std::string(i, 'p'), 10 * i));
    Add(Of(Kind::kGlob, std::string(i, 'g') + "*", 10 * i));
  }
  const uint64_t before = table_.GetStats().bytes;
  table_.DropUpTo(500);
  EXPECT_EQ(table_.GetStats().rules, 1000u);
  EXPECT_EQ(table_.GetStats().globs, 0u);
  EXPECT_TRUE(Gone({.tags = {"t501"}, .version = 501}));
  EXPECT_FALSE(Gone({.tags = {"t500"}, .version = 500}));
  EXPECT_EQ(FreshUntil({.type = "y700", .version = 700}), 700);
  table_.DropUpTo(1000);
  EXPECT_EQ(table_.GetStats().rules, 0u);
  EXPECT_FALSE(Gone({.tags = {"t1000"}, .version = 1000}));
  EXPECT_LT(table_.GetStats().bytes, before);
  Add(Of(Kind::kTag, "t1", 2000));
  EXPECT_TRUE(Gone({.tags = {"t1"}, .version = 2000}));
}

TEST_F(RuleTableTest, MemoryIsBoundedByTheMaximumOfRules) {
  RuleTable::Options options = Seeded();
  options.rules_max = 10'000;
  options.changes = 1 << 10;
  RuleTable table(options);
  uint64_t most = 0;
  for (int i = 0; i < 200'000; ++i) {
    Rule rule = Of(i % 3 == 0 ? Kind::kTag : Kind::kType, std::to_string(i), i + 1);
    rule.stale = i % 5 == 0;
    ASSERT_TRUE(table.Add(rule, i).ok());
    if (i % 100 == 0) most = std::max(most, table.GetStats().bytes);
  }
  EXPECT_LE(table.GetStats().rules, 10'000u);
  EXPECT_LT(most, 10'000u * 250);
}

}  // namespace
}  // namespace larder
