#include "policy/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace larder {
namespace {

using testing::ElementsAre;
using testing::Pair;

using Captures = std::vector<std::pair<std::string, std::string_view>>;

Pattern P(std::string_view text) {
  auto pattern = Pattern::Parse(text);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return *std::move(pattern);
}

std::string ErrorOf(std::string_view text) {
  return std::string(Pattern::Parse(text).status().message());
}

TEST(PatternTest, LiteralMatchesOnlyItself) {
  EXPECT_TRUE(P("users:all").Matches("users:all"));
  EXPECT_FALSE(P("users:all").Matches("users:al"));
  EXPECT_FALSE(P("users:all").Matches("users:all2"));
  EXPECT_FALSE(P("users:all").Matches(""));
}

TEST(PatternTest, CaptureTakesOneOrMoreBytesButNoColon) {
  const Pattern pattern = P("user:{id}");
  EXPECT_TRUE(pattern.Matches("user:4"));
  EXPECT_TRUE(pattern.Matches("user:\xC3\xA9"));
  EXPECT_FALSE(pattern.Matches("user:"));
  EXPECT_FALSE(pattern.Matches("user:4:page"));
  EXPECT_FALSE(pattern.Matches("super:4"));
}

TEST(PatternTest, StarTakesAnythingAlsoNothing) {
  EXPECT_TRUE(P("session:*").Matches("session:"));
  EXPECT_TRUE(P("session:*").Matches("session:a:b:c"));
  EXPECT_TRUE(P("*").Matches(""));
  EXPECT_TRUE(P("*:end").Matches(":end"));
  EXPECT_FALSE(P("a*a").Matches("a")) << "the two literals may not share a byte";
}

TEST(PatternTest, BackslashMakesTheNextByteLiteral) {
  EXPECT_TRUE(P("a\\*b").Matches("a*b"));
  EXPECT_FALSE(P("a\\*b").Matches("axb"));
  EXPECT_TRUE(P("\\{id\\}").Matches("{id}"));
  EXPECT_TRUE(P("\\\\").Matches("\\"));
}

TEST(PatternTest, FillsCapturesInTheOrderOfThePattern) {
  Captures captures;
  ASSERT_TRUE(P("orders:{kind}:{id}:page:{n}").Match("orders:user:42:page:3", &captures));
  EXPECT_THAT(captures, ElementsAre(Pair("kind", "user"), Pair("id", "42"), Pair("n", "3")));
}

TEST(PatternTest, WildcardsTakeAsLittleAsPossibleFromTheLeft) {
  Captures captures;
  ASSERT_TRUE(P("{a}-{b}").Match("x-y-z", &captures));
  EXPECT_THAT(captures, ElementsAre(Pair("a", "x"), Pair("b", "y-z")));
  ASSERT_TRUE(P("*:{last}").Match("a:b:c", &captures));
  EXPECT_THAT(captures, ElementsAre(Pair("last", "c")));
}

// Greedy matching gives up here: after the first "a" the capture meets a colon.
TEST(PatternTest, FindsAMatchThatNeedsALaterStart) {
  Captures captures;
  ASSERT_TRUE(P("*a{x}b").Match("a:ba1b", &captures));
  EXPECT_THAT(captures, ElementsAre(Pair("x", "1")));
}

TEST(PatternTest, LeavesCapturesAloneWhenItDoesNotMatch) {
  Captures captures = {{"old", "value"}};
  EXPECT_FALSE(P("{a}:{b}").Match("no colon", &captures));
  EXPECT_THAT(captures, ElementsAre(Pair("old", "value")));
  ASSERT_TRUE(P("x").Match("x", &captures));
  EXPECT_THAT(captures, ElementsAre());
}

TEST(PatternTest, TellsHowSpecificItIs) {
  EXPECT_EQ(P("user:{id}:page").literal_prefix(), "user:");
  EXPECT_EQ(P("user:{id}:page").literal_bytes(), 10u);
  EXPECT_EQ(P("*x").literal_prefix(), "");
  EXPECT_EQ(P("a\\*").literal_prefix(), "a*");
}

TEST(PatternTest, ShapeIsEqualExactlyForPatternsThatMatchTheSameKeys) {
  EXPECT_EQ(P("user:{id}").Shape(), P("use\\r:{name}").Shape());
  EXPECT_NE(P("user:{id}").Shape(), P("user:*").Shape());
  EXPECT_NE(P("user:*").Shape(), P("user:\\*").Shape());
  EXPECT_NE(P("a\\{").Shape(), P("a{x}").Shape());
}

TEST(PatternTest, RefusesBadPatternsAndSaysWhere) {
  const std::string text_257(257, 'a');
  EXPECT_EQ(ErrorOf(""), "pattern is empty");
  EXPECT_EQ(ErrorOf(text_257), "pattern is 257 bytes; at most 256");
  EXPECT_TRUE(Pattern::Parse(text_257.substr(1)).ok());
  EXPECT_EQ(
      ErrorOf("user:{id"),
      "pattern \"user:{id\" is wrong at byte 6: '{' is not closed; write \\{ for a literal one");
  EXPECT_EQ(
      ErrorOf("user:id}"),
      "pattern \"user:id}\" is wrong at byte 8: '}' without '{'; write \\} for a literal one");
  EXPECT_EQ(ErrorOf("user:{}"),
            "pattern \"user:{}\" is wrong at byte 6: {} needs a name, such as {id}");
  EXPECT_EQ(ErrorOf("u:{1d}"),
            "pattern \"u:{1d}\" is wrong at byte 4: a name in braces is made of letters, digits "
            "and '_', the first no "
            "digit");
  EXPECT_EQ(ErrorOf("{a}:{a}"), "pattern \"{a}:{a}\" is wrong at byte 5: {a} occurs twice");
  EXPECT_EQ(ErrorOf("u**"),
            "pattern \"u**\" is wrong at byte 3: two wildcards need a literal between them");
  EXPECT_EQ(ErrorOf("{a}{b}"),
            "pattern \"{a}{b}\" is wrong at byte 4: two wildcards need a literal between them");
  EXPECT_EQ(ErrorOf("u\\"), "pattern \"u\\\" is wrong at byte 2: '\\' at the end takes no byte");
  EXPECT_EQ(ErrorOf("u\n"),
            "pattern \"u?\" is wrong at byte 2: control characters never occur in keys");
}

TEST(PatternTest, TakesEightWildcardsAndNoMore) {
  EXPECT_TRUE(Pattern::Parse("*a*a*a*a*a*a*a*").ok());
  EXPECT_EQ(ErrorOf("*a*a*a*a*a*a*a*a*"),
            "pattern \"*a*a*a*a*a*a*a*a*\" is wrong at byte 17: at most 8 wildcards");
}

// A matcher that backtracks needs about (key bytes)^8 steps for these and never comes back.
TEST(PatternTest, TakesLinearTimeForHostileKeys) {
  const std::string key = std::string(1'000'000, 'a') + "b";
  EXPECT_FALSE(P("*a*a*a*a*a*a*a*a").Matches(key));
  EXPECT_FALSE(P("{a}a{b}a{c}a{d}a{e}a{f}a{g}a{h}:").Matches(key));
  EXPECT_FALSE(P("*aa{b}aa*aa{d}aa*aa{f}aa*aac").Matches(key));
  Captures captures;
  ASSERT_TRUE(P("{a}a{b}a{c}a{d}a{e}a{f}a{g}a{h}b").Match(key, &captures));
  EXPECT_EQ(captures[0].second, "a");
  EXPECT_EQ(captures[7].second.size(), 1'000'000u - 14);
}

std::string MadeOf(std::string_view pattern, const Captures& captures) {
  const absl::StatusOr<std::string> key = P(pattern).Make(captures);
  return key.ok() ? *key : "error: " + std::string(key.status().message());
}

TEST(PatternTest, MakesTheKeyOfItsCaptures) {
  EXPECT_EQ(MadeOf("user:{id}", {{"id", "42"}}), "user:42");
  EXPECT_EQ(MadeOf("{shop}:order:{id}:v2", {{"id", "7"}, {"shop", "\xC3\xA9"}}),
            "\xC3\xA9:order:7:v2");
  EXPECT_EQ(MadeOf("users:all", {}), "users:all");
  EXPECT_EQ(MadeOf("a\\{b\\*", {}), "a{b*");
}

TEST(PatternTest, MakesNoKeyThatIsNotOneOfItsOwn) {
  EXPECT_EQ(MadeOf("user:{id}", {}), "error: pattern \"user:{id}\": {id} is missing");
  EXPECT_EQ(MadeOf("user:{id}", {{"id", ""}}), "error: pattern \"user:{id}\": {id} is empty");
  EXPECT_EQ(MadeOf("user:{id}", {{"id", "4:2"}}),
            "error: pattern \"user:{id}\": {id} holds a ':', which separates the parts of a key");
  EXPECT_EQ(MadeOf("user:{id}", {{"id", "1"}, {"page", "2"}}),
            "error: pattern \"user:{id}\": it has no {page}");
  EXPECT_EQ(MadeOf("user:{id}", {{"id", "1"}, {"id", "2"}}),
            "error: pattern \"user:{id}\": {id} is given twice");
  EXPECT_EQ(MadeOf("session:*", {}),
            "error: pattern \"session:*\": nothing can be given for its '*'");
  EXPECT_EQ(MadeOf("u:{id}", {{"id", "a\nb"}}).substr(0, 6), "error:");
  EXPECT_EQ(MadeOf("u:{id}", {{"id", "a\xFF"}}).substr(0, 6), "error:");
  const std::string id(1'022, 'x');
  EXPECT_EQ(MadeOf("u:{id}", {{"id", id}}), "u:" + id);
  EXPECT_EQ(MadeOf("u:{id}", {{"id", id + "x"}}), "error: key is 1025 bytes; at most 1024");
}

// The key x-y-z is taken apart into x and y-z, whatever it was made of.
TEST(PatternTest, MakesNoKeyThatWouldBeReadBackAsAnother) {
  EXPECT_EQ(MadeOf("{a}-{b}", {{"a", "x"}, {"b", "y-z"}}), "x-y-z");
  EXPECT_EQ(MadeOf("{a}-{b}", {{"a", "x-y"}, {"b", "z"}}),
            "error: pattern \"{a}-{b}\": {a} would be read back as \"x\"");
}

// The definition itself, tried in every way there is.
bool MatchesByDefinition(std::string_view pattern, std::string_view key) {
  if (pattern.empty()) return key.empty();
  if (pattern[0] == '*') {
    for (size_t n = 0; n <= key.size(); ++n) {
      if (MatchesByDefinition(pattern.substr(1), key.substr(n))) return true;
    }
    return false;
  }
  if (pattern[0] == '{') {
    for (size_t n = 1; n <= key.size() && key[n - 1] != ':'; ++n) {
      if (MatchesByDefinition(pattern.substr(3), key.substr(n))) return true;
    }
    return false;
  }
  return !key.empty() && key[0] == pattern[0] &&
         MatchesByDefinition(pattern.substr(1), key.substr(1));
}

TEST(PatternTest, AgreesWithTheDefinitionOnRandomPatternsAndKeys) {
  const uint64_t seed = 20260821;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  size_t matches = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string text;
    char name = 'p';
    bool wildcard_allowed = true;
    for (size_t i = 0, n = 1 + random() % 7; i < n; ++i) {
      const size_t kind = random() % 5;
      if (kind >= 3 && wildcard_allowed) {
        text += kind == 3 ? "*" : std::string("{") + name++ + "}";
        wildcard_allowed = false;
      } else {
        text += "ab:"[random() % 3];
        wildcard_allowed = true;
      }
    }
    std::string key;
    for (size_t i = 0, n = random() % 9; i < n; ++i) key += "aab:"[random() % 4];
    const Pattern pattern = P(text);
    Captures captures;
    ASSERT_EQ(pattern.Matches(key), MatchesByDefinition(text, key)) << text << " and " << key;
    ASSERT_EQ(pattern.Match(key, &captures), MatchesByDefinition(text, key))
        << text << " and " << key;
    for (const auto& [captured, part] : captures) {
      ASSERT_FALSE(part.empty()) << text << " and " << key;
      ASSERT_EQ(part.find(':'), std::string_view::npos) << text << " and " << key;
    }
    matches += pattern.Matches(key);
  }
  EXPECT_GT(matches, 1'000u) << "too few of the random keys match to prove anything";
}

}  // namespace
}  // namespace larder
