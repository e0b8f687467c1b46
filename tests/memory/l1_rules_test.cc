// What rules make of the entries in L1.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/key.h"
#include "memory/l1.h"
#include "policy/rule_table.h"
#include "tests/base/threads.h"
#include "tests/policy/rules.h"

namespace larder {
namespace {

using Kind = Rule::Kind;

std::string Full(const std::string& key) { return std::string(FullKey("shop", key).view()); }

class L1RulesTest : public testing::Test {
 protected:
  L1RulesTest() { Make(8 << 20); }
  ~L1RulesTest() override { EXPECT_TRUE(l1_->CheckInvariants()); }

  void Make(uint64_t budget) {
    L1::Options options;
    options.budget_bytes = budget;
    options.entry_bytes_max = 64 << 10;
    options.types = {{.name = "user"}, {.name = "order"}};
    options.clock = &clock_;
    options.rules = &rules_;
    l1_ = L1::New(options);
  }

  // Of five minutes, two of them stale.
  EntryFields Fields(std::string_view full_key, Version version) {
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = "value";
    fields.version = version;
    fields.fresh_until = MonoAfter(clock_.Mono(), absl::Minutes(3));
    fields.usable_until = MonoAfter(clock_.Mono(), absl::Minutes(5));
    return fields;
  }
  InsertOutcome Insert(const std::string& key, Version version, std::vector<std::string> tags = {},
                       Expect expect = {}) {
    const std::string full_key = Full(key);
    EntryFields fields = Fields(full_key, version);
    fields.tags = std::move(tags);
    return l1_->Insert(fields, expect, clock_.Mono()).outcome;
  }
  bool Find(const std::string& key) { return l1_->Find(Full(key), clock_.Mono(), &entry_, &why_); }
  bool Peek(const std::string& key) { return l1_->Peek(Full(key), clock_.Mono(), &entry_, &why_); }
  void Add(const Rule& rule) { ASSERT_TRUE(rules_.Add(rule, clock_.Mono()).ok()); }
  std::vector<L1::Listed> List() {
    std::vector<L1::Listed> listed;
    uint64_t cursor = 0;
    do {
      cursor = l1_->List(cursor, clock_.Mono(), &listed);
    } while (cursor != 0);
    return listed;
  }
  int SweepAll() {
    int parts = 0;
    uint64_t cursor = 0;
    do {
      cursor = l1_->SweepRules(cursor, clock_.Mono());
      ++parts;
    } while (cursor != 0);
    return parts;
  }

  ManualClock clock_;
  RuleTable rules_{Seeded()};
  std::unique_ptr<L1> l1_;
  Entry entry_;
  MissReason why_ = MissReason::kAbsent;
};

TEST_F(L1RulesTest, WhatARuleOfAnyKindCoversIsGoneAtOnceAndSaysSo) {
  struct Case {
    Rule rule;
    std::string covered;
  };
  const std::vector<Case> cases = {{Of(Kind::kPrefix, "a", 100), "a1"},
                                   {Of(Kind::kGlob, "b?", 100), "b1"},
                                   {Of(Kind::kTag, "t", 100), "c1"},
                                   {Of(Kind::kType, "order", 100), "d1"},
                                   {Of(Kind::kAll, "", 100), "e1"}};
  for (const bool finds : {true, false}) {
    for (const Case& each : cases) {
      SCOPED_TRACE(each.covered);
      RuleTable table(Seeded());
      L1::Options options;
      options.types = {{.name = "user"}, {.name = "order"}};
      options.clock = &clock_;
      options.rules = &table;
      const auto l1 = L1::New(options);
      for (const std::string& key : {each.covered, each.covered + "new"}) {
        const std::string full_key = Full(key);
        EntryFields fields = Fields(full_key, key == each.covered ? 100 : 101);
        fields.type_id = 1;
        if (each.rule.kind == Kind::kTag) fields.tags = {"s", "t"};
        ASSERT_EQ(l1->Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
      }
      const auto look = [&](const std::string& key) {
        return finds ? l1->Find(Full(key), clock_.Mono(), &entry_, &why_)
                     : l1->Peek(Full(key), clock_.Mono(), &entry_, &why_);
      };
      ASSERT_TRUE(look(each.covered));
      ASSERT_TRUE(table.Add(each.rule, clock_.Mono()).ok());
      EXPECT_FALSE(look(each.covered));
      EXPECT_EQ(why_, MissReason::kInvalidated);
      EXPECT_FALSE(look(each.covered));
      EXPECT_EQ(why_, MissReason::kInvalidated);
      EXPECT_TRUE(look(each.covered + "new"));
      EXPECT_TRUE(l1->CheckInvariants());
    }
  }
}

TEST_F(L1RulesTest, AChangedKeyTakesWithItWhatDependsOnIt) {
  const std::string full_key = Full("a");
  EntryFields fields = Fields(full_key, 100);
  fields.depends_on = {"parent"};
  ASSERT_EQ(l1_->Insert(fields, {}, clock_.Mono()).outcome, InsertOutcome::kStored);
  rules_.Changed("shop", "other", 200);
  EXPECT_TRUE(Find("a"));
  rules_.Changed("shop", "parent", 99);
  EXPECT_TRUE(Find("a"));
  rules_.Changed("shop", "parent", 100);
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(why_, MissReason::kInvalidated);
}

TEST_F(L1RulesTest, AnEntryIsAsAbsentForConditions) {
  using K = Expect::Kind;
  Insert("a", 100, {"t"});
  Add(Of(Kind::kTag, "t", 150));
  EXPECT_EQ(Insert("a", 160, {}, {K::kPresent, 0}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", 160, {}, {K::kVersion, 100}), InsertOutcome::kConditionFailed);
  EXPECT_EQ(Insert("a", 160, {}, {K::kAbsent, 0}), InsertOutcome::kStored);
  EXPECT_FALSE(l1_->Erase(Full("b"), 200, clock_.Mono()).existed);
}

TEST_F(L1RulesTest, AVersionOlderThanOneThatARuleTookDoesNotComeBack) {
  // A Set takes version 10 and is held up. Another takes 20 with a tag, lands, and a rule for the
  // tag takes it away. The first has no tag, so no rule covers it.
  Insert("a", 20, {"t"});
  Add(Of(Kind::kTag, "t", 25));
  EXPECT_EQ(Insert("a", 10), InsertOutcome::kOutdated);
  EXPECT_EQ(Insert("a", 30), InsertOutcome::kStored);
}

TEST_F(L1RulesTest, ALoadThatBeganBeforeARuleDoesNotLandAfterIt) {
  const std::string full_key = Full("a");
  const auto fill = [&](Version version) {
    const FillTicket ticket = l1_->BeginFill(full_key);
    EntryFields fields = Fields(full_key, version);
    fields.tags = {"t"};
    const InsertOutcome outcome = l1_->Fill(fields, ticket, clock_.Mono()).outcome;
    EXPECT_FALSE(l1_->HasFill(full_key, ticket));
    return outcome;
  };
  EXPECT_EQ(fill(50), InsertOutcome::kStored);
  Add(Of(Kind::kTag, "t", 100));
  EXPECT_EQ(fill(99), InsertOutcome::kTicketLost);
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(fill(101), InsertOutcome::kStored);
  EXPECT_TRUE(Find("a"));
}

TEST_F(L1RulesTest, AMarkMakesStaleAndLeavesTheStaleTimeThatTheEntryHad) {
  Insert("a", 100, {"t"});
  Insert("plain", 100);
  clock_.Advance(absl::Minutes(1));
  const MonoNanos marked = clock_.Mono();
  Add(Stale(Of(Kind::kTag, "t", 100)));
  Add(Stale(Of(Kind::kPrefix, "plain", 100)));
  clock_.Advance(absl::Minutes(1));
  for (const std::string key : {"a", "plain"}) {
    for (const bool finds : {true, false}) {
      ASSERT_TRUE(finds ? Find(key) : Peek(key));
      EXPECT_EQ(entry_.fresh_until, marked);
      EXPECT_EQ(entry_.usable_until, MonoAfter(marked, absl::Minutes(2)));
    }
  }
  ASSERT_EQ(List().size(), 2u);
  EXPECT_EQ(List()[0].fresh_until, marked);
  // Without the mark it would have been usable for two minutes more.
  clock_.Advance(absl::Minutes(1));
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(why_, MissReason::kInvalidated);
  EXPECT_FALSE(Peek("plain"));
  EXPECT_TRUE(List().empty());
}

TEST_F(L1RulesTest, AMarkRemovesWhatMayNotBeServedStale) {
  const std::string full_key = Full("a");
  EntryFields fields = Fields(full_key, 100);
  fields.usable_until = fields.fresh_until;
  l1_->Insert(fields, {}, clock_.Mono());
  Add(Stale(Of(Kind::kAll, "", 100)));
  EXPECT_FALSE(Find("a"));
  EXPECT_EQ(why_, MissReason::kInvalidated);
  const FillTicket ticket = l1_->BeginFill(full_key);
  EXPECT_EQ(l1_->Fill(fields, ticket, clock_.Mono()).outcome, InsertOutcome::kTicketLost);
}

TEST_F(L1RulesTest, AMarkedEntryIsNotMadeFreshByBeingRead) {
  const std::string full_key = Full("a");
  EntryFields fields = Fields(full_key, 100);
  fields.sliding = absl::ToInt64Nanoseconds(absl::Minutes(3));
  l1_->Insert(fields, {}, clock_.Mono());
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(Find("a"));
  EXPECT_NE(entry_.slid_from, 0);
  const MonoNanos marked = clock_.Mono();
  Add(Stale(Of(Kind::kAll, "", 100)));
  const absl::Duration left = absl::Nanoseconds(entry_.usable_until - entry_.fresh_until);
  ASSERT_GT(left, absl::Seconds(30));
  clock_.Advance(left / 2);
  ASSERT_TRUE(Find("a"));
  EXPECT_EQ(entry_.fresh_until, marked);
  EXPECT_EQ(entry_.slid_from, 0);
  clock_.Advance(left / 2);
  EXPECT_FALSE(Find("a"));
}

TEST_F(L1RulesTest, ListsWhatNoRuleCovers) {
  for (Version i = 1; i <= 300; ++i) Insert("k" + std::to_string(i), i, {i % 3 == 0 ? "t" : "s"});
  Add(Of(Kind::kTag, "t", 200));
  const std::vector<L1::Listed> listed = List();
  EXPECT_EQ(listed.size(), 300u - 66u);
  for (const L1::Listed& each : listed) EXPECT_TRUE(each.version % 3 != 0 || each.version > 200);
}

TEST_F(L1RulesTest, ASweepGivesTheMemoryBackAndLeavesTheRest) {
  constexpr int kEntries = 30'000;
  for (int i = 1; i <= kEntries; ++i) {
    ASSERT_EQ(Insert("k" + std::to_string(i), static_cast<Version>(i), {i % 2 == 0 ? "t" : "s"}),
              InsertOutcome::kStored);
  }
  ASSERT_EQ(l1_->Usage().total.evicted(), 0u);
  const L1Usage before = l1_->Usage();
  EXPECT_EQ(l1_->Usage().total.entries, static_cast<uint64_t>(kEntries));
  Add(Of(Kind::kTag, "t", kEntries));
  EXPECT_GT(SweepAll(), 10);
  const L1Usage after = l1_->Usage();
  EXPECT_EQ(after.total.entries, static_cast<uint64_t>(kEntries / 2));
  EXPECT_LT(after.dead_bytes, before.bytes / 20);
  EXPECT_TRUE(l1_->CheckInvariants());
  for (int i = 1; i <= kEntries; ++i) ASSERT_EQ(Find("k" + std::to_string(i)), i % 2 == 1) << i;
  // A whole namespace leaves nothing.
  Add(Of(Kind::kAll, "", kEntries));
  SweepAll();
  EXPECT_EQ(l1_->Usage().total.entries, 0u);
  EXPECT_EQ(l1_->SweepRules(uint64_t{1} << 60, clock_.Mono()), 0u);
}

TEST_F(L1RulesTest, EstimatesExactlyInASmallMemoryAndNearlyInALargeOne) {
  const auto near = [&](const Rule& rule, double expected, double part) {
    const auto estimate = static_cast<double>(l1_->Estimate(rule, clock_.Mono()));
    EXPECT_NEAR(estimate, expected, expected * part) << rule.match;
  };
  for (Version i = 1; i <= 5000; ++i)
    Insert("k" + std::to_string(i), i, {"t" + std::to_string(i % 10)});
  near(Of(Kind::kTag, "t3", 5000), 500, 0);
  near(Stale(Of(Kind::kTag, "t3", 1000)), 100, 0);
  near(Of(Kind::kAll, "", 5000), 5000, 0);
  near(Of(Kind::kAll, "", 5000, "another"), 0, 0);
  near(Of(Kind::kPrefix, "k12", 5000), 111, 0);
  near(Of(Kind::kGlob, "k?", 5000), 9, 0);
  EXPECT_EQ(l1_->Estimate(Of(Kind::kGlob, "[", 5000), clock_.Mono()), 0u);
  EXPECT_TRUE(Find("k3"));

  Make(64 << 20);
  constexpr Version kEntries = 200'000;
  for (Version i = 1; i <= kEntries; ++i)
    Insert("k" + std::to_string(i), i, {"t" + std::to_string(i % 10)});
  ASSERT_EQ(l1_->Usage().total.evicted(), 0u);
  near(Of(Kind::kTag, "t3", kEntries), kEntries / 10.0, 0.1);
  near(Of(Kind::kTag, "t3", kEntries / 2), kEntries / 20.0, 0.15);
  near(Of(Kind::kAll, "", kEntries), kEntries, 0.01);
}

TEST_F(L1RulesTest, EvictionTakesWhatIsCoveredForDead) {
  Make(1 << 20);
  Version version = 0;
  for (int i = 0; i < 3000; ++i) {
    Insert("old:" + std::to_string(i), ++version, {"t"});
    Find("old:" + std::to_string(i));
  }
  Add(Of(Kind::kTag, "t", version));
  const uint64_t evicted = l1_->Usage().total.evicted();
  // As many as there is room for beside the others.
  for (int i = 0; i < 3000; ++i) Insert("new:" + std::to_string(i), ++version);
  EXPECT_EQ(l1_->Usage().total.evicted(), evicted);
  int found = 0;
  for (int i = 0; i < 3000; ++i) found += Find("new:" + std::to_string(i));
  EXPECT_EQ(found, 3000);
}

// Random operations next to a plain map and a plain list of rules.
TEST_F(L1RulesTest, NothingThatARuleCoversIsEverSeenAndNothingElseIsLost) {
  struct Held {
    Version version;
    std::string tag;
  };
  constexpr uint64_t kSeed = 11;
  std::printf("seed %zu\n", static_cast<size_t>(kSeed));
  std::mt19937_64 random(kSeed);
  Make(64 << 20);
  std::map<std::string, Held> held;
  std::map<std::string, Version> tags;
  std::map<std::string, Version> prefixes;
  Version version = 0;
  const auto covered = [&](const std::string& key, Version at, const std::string& tag) {
    const auto newest = [](const std::map<std::string, Version>& of, const std::string& match) {
      const auto it = of.find(match);
      return it == of.end() ? kNoVersion : it->second;
    };
    return at <= std::max(newest(tags, tag), newest(prefixes, key.substr(0, 2)));
  };
  uint64_t cursor = 0;
  size_t hits = 0;
  size_t gone = 0;
  for (int step = 0; step < 200'000; ++step) {
    const std::string key = "k" + std::to_string(random() % 3000);
    const std::string tag = "t" + std::to_string(random() % 200);
    const uint64_t draw = random() % 1000;
    if (draw < 600) {
      const auto it = held.find(key);
      const bool hit = draw % 2 == 0 ? Find(key) : Peek(key);
      const bool expected = it != held.end() && !covered(key, it->second.version, it->second.tag);
      ASSERT_EQ(hit, expected) << "at step " << step;
      gone += it != held.end() && !expected;
      hits += hit;
      if (hit) {
        ASSERT_EQ(entry_.version, it->second.version);
      }
    } else if (draw < 900) {
      ASSERT_EQ(Insert(key, ++version, {tag}), InsertOutcome::kStored);
      held[key] = {version, tag};
    } else if (draw < 960) {
      // A load that began some versions ago.
      const std::string full_key = Full(key);
      EntryFields fields = Fields(full_key, std::max<Version>(version, 20) - random() % 20);
      fields.tags = {tag};
      const FillTicket ticket = l1_->BeginFill(full_key);
      const InsertOutcome outcome = l1_->Fill(fields, ticket, clock_.Mono()).outcome;
      if (covered(key, fields.version, tag)) {
        ASSERT_EQ(outcome, InsertOutcome::kTicketLost) << "at step " << step;
      } else if (outcome == InsertOutcome::kStored) {
        held[key] = {fields.version, tag};
      }
    } else if (draw < 990) {
      Add(Of(Kind::kTag, tag, ++version));
      tags[tag] = version;
    } else if (draw < 993) {
      const std::string prefix = key.substr(0, 2);
      Add(Of(Kind::kPrefix, prefix, ++version));
      prefixes[prefix] = version;
    } else {
      cursor = l1_->SweepRules(cursor, clock_.Mono());
    }
  }
  EXPECT_GT(hits, 10'000u);
  EXPECT_GT(gone, 1000u);
}

#if defined(__SANITIZE_ADDRESS__) || defined(_GLIBCXX_TSAN)
constexpr Version kRules = 3'000;
#else
constexpr Version kRules = 30'000;
#endif

TEST_F(L1RulesTest, ReadersNeverSeeWhatAnAcknowledgedRuleCovers) {
  Make(4 << 20);
  // By kind of rule, the newest that is in force. Odd keys are tagged.
  std::atomic<Version> tag_rule{0};
  std::atomic<Version> prefix_rule{0};
  std::atomic<Version> version{1};
  std::atomic<bool> done{false};
  std::atomic<uint64_t> seen{0};
  std::atomic<uint64_t> hits{0};
  Threads(4, [&](int thread) {
    std::mt19937_64 random(thread);
    Entry entry;
    MissReason why;
    uint64_t cursor = 0;
    if (thread == 0) {
      // On one core, all of the rules may be there before a reader's turn comes.
      for (Version i = 0; i < kRules || hits < 1000; ++i) {
        const bool tags = random() % 2 == 0;
        const Version at = ++version;
        EXPECT_TRUE(rules_.Add(Of(tags ? Kind::kTag : Kind::kPrefix, "k", at), 1).ok());
        (tags ? tag_rule : prefix_rule).store(at);
        cursor = l1_->SweepRules(cursor, clock_.Mono());
      }
      done = true;
      return;
    }
    while (!done) {
      const uint64_t number = random() % 50;
      const std::string key = (number % 4 < 2 ? "k" : "other") + std::to_string(number);
      const std::string full_key = Full(key);
      if (random() % 3 == 0) {
        EntryFields fields = Fields(full_key, ++version);
        if (number % 2 == 1) fields.tags = {"x", "k"};
        l1_->Insert(fields, {}, clock_.Mono());
        continue;
      }
      const Version least = std::max(number % 2 == 1 ? tag_rule.load() : kNoVersion,
                                     number % 4 < 2 ? prefix_rule.load() : kNoVersion);
      if (!l1_->Find(full_key, clock_.Mono(), &entry, &why)) continue;
      ++hits;
      if (entry.version <= least) ++seen;
    }
  }).Join();
  EXPECT_EQ(seen, 0u);
}

}  // namespace
}  // namespace larder
