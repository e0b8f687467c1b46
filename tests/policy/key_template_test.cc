// The client's KeyTemplate and the server's Pattern are two programs for one language: whatever one
// takes, gives or refuses, the other one does too.

#include <gtest/gtest.h>

#include <random>

#include "larder/keys.h"
#include "policy/pattern.h"

namespace larder {
namespace {

constexpr uint64_t kSeed = 20261122;

using Views = std::vector<std::pair<std::string, std::string_view>>;

KeyTemplate::Captures Sorted(const Views& captures) { return {captures.begin(), captures.end()}; }

std::string AnyText(std::mt19937_64& random, std::string_view alphabet, size_t most) {
  std::string text;
  for (size_t i = 0, n = random() % (most + 1); i < n; ++i)
    text += alphabet[random() % alphabet.size()];
  return text;
}

// Templates that are one often enough, and now and then none.
std::string AnyTemplate(std::mt19937_64& random) {
  static constexpr const char* kPieces[] = {"a",   "b",   ":",        "-",        "*",
                                            "{x}", "{y}", "{long_1}", "\xC3\xA9", "\\*",
                                            "\\",  "{",   "}",        "{1}",      "\xC3"};
  std::string text;
  // Of the last five, which spoil it, one in a while.
  for (size_t i = 0, n = random() % 7; i < n; ++i)
    text += kPieces[random() % 16 == 0 ? random() % std::size(kPieces) : random() % 10];
  return text;
}

TEST(KeyTemplateTest, TakesApartWhatThePatternDoes) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  size_t refused = 0, matched = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::string text = AnyTemplate(random);
    const absl::StatusOr<Pattern> pattern = Pattern::Parse(text);
    const absl::StatusOr<KeyTemplate> key_template = KeyTemplate::Parse(text);
    ASSERT_EQ(pattern.ok(), key_template.ok()) << text << "\n"
                                               << pattern.status() << "\n"
                                               << key_template.status();
    if (!pattern.ok()) {
      ++refused;
      continue;
    }
    for (int i = 0; i < 5; ++i) {
      const std::string key = AnyText(random, "aab:-*\xC3\xA9", 10);
      Views captures;
      const bool matches = pattern->Match(key, &captures);
      const std::optional<KeyTemplate::Captures> read = key_template->Match(key);
      ASSERT_EQ(matches, read.has_value()) << text << " and " << key;
      if (!matches) continue;
      ASSERT_EQ(*read, Sorted(captures)) << text << " and " << key;
      ++matched;
    }
  }
  EXPECT_GT(refused, 500u);
  EXPECT_GT(matched, 1'000u);
}

TEST(KeyTemplateTest, MakesWhatThePatternDoes) {
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  size_t made = 0, refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    const std::string text = AnyTemplate(random);
    const absl::StatusOr<Pattern> pattern = Pattern::Parse(text);
    if (!pattern.ok()) continue;
    const absl::StatusOr<KeyTemplate> key_template = KeyTemplate::Parse(text);
    ASSERT_TRUE(key_template.ok()) << key_template.status();
    KeyTemplate::Captures captures;
    for (const char* name : {"x", "y", "long_1"}) {
      const bool has = text.find(std::string("{") + name + "}") != std::string::npos;
      if (has != (random() % 16 == 0)) captures[name] = AnyText(random, "aab-\xC3\xA9", 4);
    }
    const absl::StatusOr<std::string> by_server =
        pattern->Make(Views(captures.begin(), captures.end()));
    const absl::StatusOr<std::string> by_client = key_template->Make(captures);
    ASSERT_EQ(by_server.ok(), by_client.ok()) << text << "\n"
                                              << by_server.status() << "\n"
                                              << by_client.status();
    ++(by_server.ok() ? made : refused);
    if (!by_server.ok()) continue;
    ASSERT_EQ(*by_server, *by_client) << text;
    ASSERT_EQ(key_template->Match(*by_client), captures) << text;
  }
  EXPECT_GT(made, 1'000u);
  EXPECT_GT(refused, 1'000u);
}

TEST(KeyTemplateTest, SaysWhatIsWrong) {
  EXPECT_EQ(KeyTemplate::Parse("user:{id").status().message(),
            "template \"user:{id\" is wrong at byte 6: '{' is not closed; write \\{ for a literal "
            "one");
  const absl::StatusOr<KeyTemplate> user = KeyTemplate::Parse("user:{id}");
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->text(), "user:{id}");
  EXPECT_EQ(user->Make({}).status().message(), "template \"user:{id}\": {id} is missing");
  EXPECT_EQ(user->Make({{"id", "1:2"}}).status().message(),
            "template \"user:{id}\": {id} holds a ':', which separates the parts of a key");
  EXPECT_EQ(user->Make({{"id", "1"}, {"page", "2"}}).status().message(),
            "template \"user:{id}\": it has no {page}");
  EXPECT_EQ(user->Make({{"id", std::string(1'020, 'x')}}).status().message(),
            "key is 1025 bytes; at most 1024");
}

}  // namespace
}  // namespace larder
