#include "core/glob.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace larder {
namespace {

bool Matches(const std::string& pattern, const std::string& key) {
  const absl::StatusOr<Glob> glob = Glob::Parse(pattern);
  EXPECT_TRUE(glob.ok()) << pattern << ": " << glob.status();
  return glob.ok() && glob->Matches(key);
}

TEST(GlobTest, MatchesByTable) {
  struct Case {
    const char* pattern;
    const char* key;
    bool matches;
  };
  for (const Case& c : {Case{"user:*", "user:42", true},
                        {"user:*", "user:", true},
                        {"user:*", "users:1", false},
                        {"*", "", true},
                        {"*:42", "user:42", true},
                        {"*:42", "user:421", false},
                        {"a*b*c", "aXbYc", true},
                        {"a*b*c", "abc", true},
                        {"a*b*c", "acb", false},
                        {"a**c", "abc", true},
                        {"u?er", "user", true},
                        {"u?er", "uer", false},
                        {"?", "ß", true},
                        {"??", "ß", false},
                        {"?x", "鍵x", true},
                        {"[a-c]1", "b1", true},
                        {"[a-c]1", "d1", false},
                        {"[^a-c]1", "d1", true},
                        {"[^a-c]1", "a1", false},
                        {"[!a]", "🗝", true},
                        {"[]]", "]", true},
                        {"[a-]", "-", true},
                        {"\\*", "*", true},
                        {"\\*", "x", false},
                        {"[\\]]", "]", true},
                        {"abc", "abc", true},
                        {"abc", "abcd", false},
                        {"abc", "ab", false}}) {
    EXPECT_EQ(Matches(c.pattern, c.key), c.matches) << c.pattern << " ~ " << c.key;
  }
}

TEST(GlobTest, RefusesBrokenPatternsWithTheirPlace) {
  for (const char* pattern : {"", "[a", "a\\", "[b-a]", "[ä]", "[^"}) {
    EXPECT_FALSE(Glob::Parse(pattern).ok()) << pattern;
  }
  EXPECT_TRUE(Glob::Parse(std::string(Glob::kBytesMax, '?')).ok());
  EXPECT_FALSE(Glob::Parse(std::string(Glob::kBytesMax + 1, '?')).ok());
  EXPECT_EQ(std::string(Glob::Parse("ab[c").status().message()),
            "glob \"ab[c\" at byte 3: the set is never closed by ']'");
}

TEST(GlobTest, KnowsItsLiteralPrefixAndWhetherItMatchesEverything) {
  EXPECT_EQ(Glob::Parse("user:4*2")->literal_prefix(), "user:4");
  EXPECT_EQ(Glob::Parse("a\\*b?c")->literal_prefix(), "a*b");
  EXPECT_TRUE(Glob::Parse("**")->matches_everything());
  for (const char* pattern : {"*", "*?", "?*", "**?*"})
    EXPECT_TRUE(Glob::Parse(pattern)->matches_everything()) << pattern;
  for (const char* pattern : {"?", "??*", "*?*?", "*a", "[a]*", "\\**", "[^a]*"})
    EXPECT_FALSE(Glob::Parse(pattern)->matches_everything()) << pattern;
}

// The matcher that everybody knows, slow and obviously right, over ASCII.
bool Naive(const char* p, const char* k) {
  if (*p == 0) return *k == 0;
  if (*p == '*') return Naive(p + 1, k) || (*k != 0 && Naive(p, k + 1));
  return *k != 0 && (*p == '?' || *p == *k) && Naive(p + 1, k + 1);
}

TEST(GlobTest, AgreesWithTheNaiveMatcherOnRandomInput) {
  std::mt19937 random(20260711);
  const auto text = [&random](const char* alphabet, size_t letters, size_t length) {
    std::string s;
    for (size_t i = 0; i < length; ++i) s += alphabet[random() % letters];
    return s;
  };
  for (int i = 0; i < 50'000; ++i) {
    const std::string pattern = text("ab*?", 4, 1 + random() % 8);
    const std::string key = text("ab", 2, random() % 10);
    ASSERT_EQ(Matches(pattern, key), Naive(pattern.c_str(), key.c_str()))
        << pattern << " ~ " << key;
  }
}

TEST(GlobTest, HostilePatternEndsAtOnce) {
  std::string pattern;
  while (pattern.size() < Glob::kBytesMax - 2) pattern += "*a";
  pattern += "*b";
  // A backtracking matcher would not end in the lifetime of the machine.
  EXPECT_FALSE(Matches(pattern, std::string(1024, 'a')));
  EXPECT_TRUE(Matches(pattern, std::string(1023, 'a') + "b"));
}

TEST(GlobTest, LongPatternsCrossTheWordsOfTheStateSet) {
  const std::string key(256, 'x');
  EXPECT_TRUE(Matches(key, key));
  EXPECT_TRUE(Matches(std::string(255, '?') + "*", key));
  EXPECT_FALSE(Matches(key.substr(1) + "y", key));
}

}  // namespace
}  // namespace larder
