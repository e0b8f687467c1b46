#include "policy/tag_sketch.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "policy/rule_table.h"
#include "tests/policy/rules.h"

namespace larder {
namespace {

// The prints as they lie in an entry: at an odd address.
class Prints {
 public:
  Prints(const RuleTable& table, const std::string& name_space,
         const std::vector<std::string>& tags) {
    std::vector<TagPrint> prints(tags.size());
    table.PrintTags(name_space, tags, prints.data());
    bytes_.assign("x");
    bytes_.append(reinterpret_cast<const char*>(prints.data()), prints.size() * sizeof(TagPrint));
    count_ = tags.size();
  }
  TagPrints view() const { return {bytes_.data() + 1, count_}; }

 private:
  std::string bytes_;
  size_t count_ = 0;
};

TEST(TagSketchTest, OnlyRulesForATagOfTheEntryThatAreNotOlderMayConcernIt) {
  RuleTable table(Seeded());
  const Prints none(table, "shop", {}), red(table, "shop", {"a", "b", "red", "c"});
  const Prints elsewhere(table, "office", {"red"}), other(table, "shop", {"blue"});
  for (const Prints* prints : {&none, &red, &elsewhere, &other})
    EXPECT_FALSE(table.MayConcernTags(prints->view(), 1));
  ASSERT_TRUE(table.Add(Of(Rule::Kind::kTag, "red", 100), 0).ok());
  ASSERT_TRUE(table.Add(Of(Rule::Kind::kTag, "red", 50), 0).ok());
  EXPECT_TRUE(table.MayConcernTags(red.view(), 100));
  EXPECT_FALSE(table.MayConcernTags(red.view(), 101));
  for (const Prints* prints : {&none, &elsewhere, &other})
    EXPECT_FALSE(table.MayConcernTags(prints->view(), 1));
  // Of a namespace that is named, and of the one that need not be.
  ASSERT_TRUE(table.Add(Of(Rule::Kind::kTag, "red", 100, ""), 0).ok());
  EXPECT_TRUE(table.MayConcernTags(Prints(table, "default", {"red"}).view(), 100));
  EXPECT_TRUE(table.MayConcernTags(Prints(table, "", {"red"}).view(), 100));
}

TEST(TagSketchTest, MoreTagsThanAnybodyMayGiveHavePrints) {
  RuleTable table(Seeded());
  std::vector<std::string> tags;
  for (int i = 0; i < 100; ++i) tags.push_back("t" + std::to_string(i));
  const Prints prints(table, "shop", tags);
  ASSERT_TRUE(table.Add(Of(Rule::Kind::kTag, "t99", 7), 0).ok());
  EXPECT_TRUE(table.MayConcernTags(prints.view(), 7));
}

// Against the judgement itself, while rules come, are merged, and are dropped.
TEST(TagSketchTest, NeverClearsWhatTheJudgementConcerns) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    RuleTable::Options options = Seeded();
    options.rules_max = 30;
    options.tag_places = seed % 2 == 0 ? 16 : 1 << 14;
    RuleTable table(options);
    const auto tag = [&] { return "t" + std::to_string(random() % 200); };
    size_t cleared = 0, concerned = 0;
    for (int round = 0; round < 20'000; ++round) {
      const Version now = 1'000 + static_cast<Version>(round);
      const uint64_t what = random() % 1'000;
      if (what < 20) {
        Rule rule = Of(Rule::Kind::kTag, tag(), now - random() % 500);
        rule.stale = random() % 3 == 0;
        if (random() % 4 == 0) rule.node = 1;
        ASSERT_TRUE(table.Add(rule, static_cast<MonoNanos>(now)).ok());
      } else if (what < 21) {
        table.DropUpTo(now - 400);
      }
      Asked asked;
      for (uint64_t n = random() % 5; n > 0; --n) asked.tags.push_back(tag());
      asked.version = now - random() % 400;
      const Prints prints(table, asked.name_space, asked.tags);
      const bool clear = !table.MayConcernTags(prints.view(), asked.version);
      const bool judged = table.Judge(asked.subject()).concerned();
      ASSERT_FALSE(clear && judged) << "seed " << seed << ", round " << round;
      cleared += clear;
      concerned += judged;
    }
    EXPECT_GT(concerned, 100u);
    // With few places nearly every one is taken.
    EXPECT_TRUE(options.tag_places == 16 || cleared > 1'000) << cleared;
  }
}

}  // namespace
}  // namespace larder
