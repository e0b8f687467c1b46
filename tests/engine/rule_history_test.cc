#include "engine/rule_history.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

Rule Make(Rule::Kind kind, const std::string& match, Version version,
          const std::string& name_space = "default") {
  Rule rule;
  rule.kind = kind;
  rule.match = match;
  rule.version = version;
  rule.name_space = name_space;
  return rule;
}

std::vector<std::string> About(const RuleHistory& history, std::string_view key,
                               std::vector<std::string> tags = {}, size_t most = 10) {
  RuleSubject subject;
  subject.name_space = "default";
  subject.key = key;
  subject.type = "user";
  subject.tags = tags;
  std::vector<std::string> found;
  for (const Rule& rule : history.About(subject, most))
    found.push_back(std::string(RuleKindName(rule.kind)) + " " + rule.match);
  return found;
}

using Words = std::vector<std::string>;

TEST(RuleHistory, FindsTheKindsThatAreAboutAKeyNewestFirst) {
  RuleHistory history;
  history.Add(Make(Rule::Kind::kTag, "red", 1));
  history.Add(Make(Rule::Kind::kPrefix, "user:", 2));
  history.Add(Make(Rule::Kind::kGlob, "*:7", 5));
  history.Add(Make(Rule::Kind::kType, "user", 4));
  history.Add(Make(Rule::Kind::kAll, "", 3));
  history.Add(Make(Rule::Kind::kAll, "", 6, "other"));
  history.Add(Make(Rule::Kind::kPrefix, "order:", 7));
  history.Add(Make(Rule::Kind::kType, "order", 8));
  EXPECT_EQ(About(history, "user:7", {"red"}),
            (Words{"glob *:7", "type user", "all ", "prefix user:", "tag red"}));
  EXPECT_EQ(About(history, "user:8"), (Words{"type user", "all ", "prefix user:"}));
  EXPECT_EQ(About(history, "user:8", {}, 1), (Words{"type user"}));
}

TEST(RuleHistory, OneThatSaysTheSameTakesThePlaceOfTheOlderOne) {
  RuleHistory history;
  history.Add(Make(Rule::Kind::kPrefix, "u", 1));
  history.Add(Make(Rule::Kind::kPrefix, "us", 2));
  history.Add(Make(Rule::Kind::kPrefix, "u", 3));
  history.Add(Make(Rule::Kind::kPrefix, "u", 2));  // late, by the bus
  EXPECT_EQ(About(history, "user:7"), (Words{"prefix u", "prefix us"}));
}

TEST(RuleHistory, ForgetsTheOldestBeyondItsLimit) {
  RuleHistory history;
  history.Add(Make(Rule::Kind::kPrefix, "user:", 1));
  for (size_t i = 1; i < RuleHistory::kRulesMax; ++i)
    history.Add(Make(Rule::Kind::kTag, "t" + std::to_string(i), 1 + i));
  EXPECT_EQ(About(history, "user:7"), (Words{"prefix user:"}));
  history.Add(Make(Rule::Kind::kTag, "one more", 100'000));
  EXPECT_EQ(About(history, "user:7"), Words{});
}

}  // namespace
}  // namespace larder
