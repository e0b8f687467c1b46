// Rules against a plain list of them, and from several threads.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/glob.h"
#include "policy/rule_table.h"
#include "tests/base/threads.h"
#include "tests/policy/rules.h"

namespace larder {
namespace {

using Kind = Rule::Kind;

// Everything that was ever said, looked at one by one.
class Reference {
 public:
  void Add(const Rule& rule, MonoNanos now) { rules_.push_back({rule, now}); }
  void Changed(const std::string& key, Version version) {
    changes_[key] = std::max(changes_[key], version);
  }

  RuleTable::Verdict Judge(const Asked& asked) const {
    RuleTable::Verdict verdict;
    for (const auto& [rule, since] : rules_) {
      if (asked.version > rule.version || !Matches(rule, asked)) continue;
      if (rule.stale) {
        verdict.fresh_until = std::min(verdict.fresh_until, since);
      } else {
        verdict.gone = true;
      }
    }
    for (const std::string& key : asked.depends_on) {
      const auto it = changes_.find(key);
      if (it != changes_.end() && asked.version <= it->second) verdict.gone = true;
    }
    return verdict;
  }

 private:
  static bool Matches(const Rule& rule, const Asked& asked) {
    const bool node_matches = rule.node == Rule::kEveryNode ||
                              rule.node == VersionNode(asked.version) ||
                              (asked.version >> kNodeIdBits) % 4096 == 4095;
    if (!node_matches || rule.name_space != asked.name_space) return false;
    switch (rule.kind) {
      case Kind::kTag:
        return std::ranges::find(asked.tags, rule.match) != asked.tags.end();
      case Kind::kPrefix:
        return asked.key.starts_with(rule.match);
      case Kind::kGlob:
        return Glob::Parse(rule.match)->Matches(asked.key);
      case Kind::kType:
        return asked.type == rule.match;
      case Kind::kAll:
        return true;
    }
    return false;
  }

  std::vector<std::pair<Rule, MonoNanos>> rules_;
  std::map<std::string, Version> changes_;
};

struct Run {
  uint64_t seed;
  size_t rules_max;
};

class RuleTableModelTest : public testing::TestWithParam<Run> {
 protected:
  RuleTableModelTest() : random_(GetParam().seed) {
    std::printf("seed %zu\n", static_cast<size_t>(GetParam().seed));
  }

  uint64_t Draw(uint64_t below) { return random_() % below; }
  std::string Word(size_t words) { return std::string(1, static_cast<char>('a' + Draw(words))); }
  std::string Key() { return Word(3) + Word(3) + Word(3); }
  std::string Space() { return Draw(4) == 0 ? "other" : "shop"; }
  // Now and then a load's.
  Version DrawVersion() {
    const uint64_t counter = Draw(4) == 0 ? 4095 : Draw(5);
    return Made(now_ - Draw(200), counter, static_cast<uint32_t>(Draw(3)));
  }

  Rule DrawRule() {
    Rule rule;
    rule.kind = static_cast<Kind>(1 + Draw(5));
    // What covers a whole namespace is seldom, or nothing else would show.
    if (rule.kind == Kind::kAll && Draw(20) != 0) rule.kind = Kind::kTag;
    rule.name_space = Space();
    if (rule.kind == Kind::kTag) rule.match = "tag:" + std::to_string(Draw(300));
    if (rule.kind == Kind::kType) rule.match = "type:" + std::to_string(Draw(100));
    if (rule.kind == Kind::kPrefix) rule.match = Key().substr(0, 1 + Draw(3));
    if (rule.kind == Kind::kGlob) rule.match = Word(3) + "*" + Word(3);
    rule.stale = Draw(3) == 0;
    rule.version = DrawVersion();
    if (Draw(3) == 0) rule.node = static_cast<uint32_t>(Draw(3));
    return rule;
  }
  Asked DrawAsked() {
    Asked asked;
    asked.name_space = Space();
    asked.key = Key();
    asked.type = "type:" + std::to_string(Draw(100));
    for (uint64_t i = Draw(4); i > 0; --i) asked.tags.push_back("tag:" + std::to_string(Draw(300)));
    if (Draw(3) == 0) asked.depends_on.push_back("shop:" + Key());
    asked.version = DrawVersion();
    return asked;
  }

  std::mt19937_64 random_;
  uint64_t now_ = 1000;  // milliseconds
};

TEST_P(RuleTableModelTest, CoversNeverLessAndWithoutMergingNothingElse) {
  RuleTable::Options options = Seeded();
  options.rules_max = GetParam().rules_max;
  options.changes = 1 << 20;
  RuleTable table(options);
  Reference reference;
  size_t gone = 0;
  size_t stale = 0;
  for (int step = 0; step < 3000; ++step) {
    now_ += Draw(3);
    if (Draw(4) == 0) {
      const std::string key = "shop:" + Key();
      const Version version = DrawVersion();
      table.Changed("shop", key, version);
      // Other namespaces have other keys.
      reference.Changed(key, version);
    } else {
      const Rule rule = DrawRule();
      ASSERT_TRUE(table.Add(rule, static_cast<MonoNanos>(now_)).ok());
      reference.Add(rule, static_cast<MonoNanos>(now_));
    }
    const bool merged = table.GetStats().merged > 0;
    for (int i = 0; i < 5; ++i) {
      Asked asked = DrawAsked();
      if (!asked.depends_on.empty()) asked.name_space = "shop";
      const RuleTable::Verdict expected = reference.Judge(asked);
      const RuleTable::Verdict verdict = table.Judge(asked.subject());
      gone += expected.gone;
      stale += !expected.gone && expected.concerned();
      ASSERT_TRUE(verdict.gone || !expected.gone) << "covered less at step " << step;
      if (verdict.gone) {
        ASSERT_TRUE(expected.gone || merged) << "covered more at step " << step;
        continue;
      }
      ASSERT_LE(verdict.fresh_until, expected.fresh_until) << "at step " << step;
      ASSERT_TRUE(verdict.fresh_until == INT64_MAX || expected.fresh_until != INT64_MAX || merged)
          << "covered more at step " << step;
    }
  }
  EXPECT_GT(gone, 100u);
  EXPECT_GT(stale, 100u);
  const RuleTable::Stats stats = table.GetStats();
  EXPECT_EQ(stats.merged > 0, GetParam().rules_max < 1000);
  EXPECT_LE(stats.rules, GetParam().rules_max + stats.globs * 4);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RuleTableModelTest,
                         testing::Values(Run{1, 1'000'000}, Run{2, 1'000'000}, Run{3, 1'000'000},
                                         Run{4, 100}, Run{5, 30}, Run{6, 2}));

#if defined(__SANITIZE_ADDRESS__) || defined(_GLIBCXX_TSAN)
constexpr Version kAdded = 20'000;
#else
constexpr Version kAdded = 200'000;
#endif

// Readers ask about rules that were added, while the table grows, merges and drops.
void AddUnderReaders(size_t rules_max) {
  RuleTable::Options options = Seeded();
  options.rules_max = rules_max;
  RuleTable table(options);
  std::atomic<Version> added{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> asked{0};
  const auto match_of = [](Version version) { return "m" + std::to_string(version); };
  Threads(3, [&](int thread) {
    if (thread == 0) {
      for (Version version = 1; version <= kAdded; ++version) {
        const Kind kinds[] = {Kind::kTag, Kind::kType, Kind::kPrefix, Kind::kTag};
        Rule rule = Of(kinds[version % 4], match_of(version), version);
        rule.stale = version % 8 == 3;
        if (!table.Add(rule, 1).ok()) ++wrong;
        added.store(version, std::memory_order_release);
      }
      return;
    }
    std::mt19937_64 random(thread);
    Version known = 0;
    while (known < kAdded) {
      known = added.load(std::memory_order_acquire);
      if (known == 0) continue;
      const Version version = 1 + random() % known;
      const std::vector<std::string> tags = {match_of(version)};
      RuleSubject subject{"shop", tags[0], tags[0], tags, {}, version};
      if (!table.Judge(subject).concerned()) ++wrong;
      subject.version = kAdded + 1;
      if (table.Judge(subject).concerned()) ++wrong;
      ++asked;
    }
  }).Join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(asked, 0u);
}

TEST(RuleTableThreadsTest, ReadersSeeEveryRuleWhileTheTableGrows) { AddUnderReaders(1'000'000); }

TEST(RuleTableThreadsTest, ReadersSeeEveryRuleWhileTheyAreMerged) { AddUnderReaders(500); }

TEST(RuleTableThreadsTest, ReadersSeeTheNewestMarksAndChangesWhileOldOnesAreDropped) {
  RuleTable table(Seeded());
  std::atomic<Version> added{0};
  std::atomic<uint64_t> wrong{0};
  Threads(3, [&](int thread) {
    const std::vector<std::string> tag = {"a"};
    const std::vector<std::string> key = {"k"};
    if (thread == 0) {
      for (Version version = 1; version <= kAdded; ++version) {
        const auto now = static_cast<MonoNanos>(version);
        if (!table.Add(Stale(Of(Kind::kTag, "a", version)), now).ok()) ++wrong;
        if (!table.Add(Of(Kind::kGlob, "k" + std::to_string(version % 20) + "*", version), 1).ok())
          ++wrong;
        table.Changed("shop", "k", version);
        added.store(version, std::memory_order_release);
        if (version % 64 == 0) table.DropUpTo(version - 32);
      }
      return;
    }
    Version known = 0;
    while (known < kAdded) {
      known = added.load(std::memory_order_acquire);
      const RuleTable::Verdict marked = table.Judge({"shop", "other", "t", tag, {}, known});
      // It was marked at about its own version.
      if (known > 0 && (marked.gone || marked.fresh_until > static_cast<MonoNanos>(known))) ++wrong;
      if (known > 0 && !table.Judge({"shop", "other", "t", {}, key, known}).gone) ++wrong;
      const std::string glob_key = "k" + std::to_string(known % 20) + "x";
      if (known > 0 && !table.Judge({"shop", glob_key, "t", {}, {}, known}).gone &&
          added.load() < known + 30)
        ++wrong;
    }
  }).Join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace larder
