// A million patterns as nobody should write them: each is taken or refused exactly as a second,
// plainer reading of the rules says, and each refusal names what is wrong and where.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "policy/type_table.h"

namespace larder {
namespace {

struct Verdict {
  std::string what;  // part of the message; empty for a good pattern
  size_t byte = 0;   // where, from 1; 0 when the message names no place
};

// The rules of patterns, one after the other, in the order in which a reader meets them.
Verdict Judge(const std::string& text) {
  if (text.empty()) return {"pattern is empty", 0};
  if (text.size() > 256) return {"bytes; at most 256", 0};
  std::set<std::string> names;
  size_t wildcards = 0;
  bool after_wildcard = false;
  for (size_t i = 0; i < text.size();) {
    const size_t place = i + 1;
    if (text[i] == '*' || text[i] == '{') {
      size_t end = i + 1;
      if (text[i] == '{') {
        end = text.find('}', i);
        if (end == std::string::npos) return {"'{' is not closed", place};
        const std::string name = text.substr(i + 1, end - i - 1);
        if (name.empty()) return {"{} needs a name", place};
        for (size_t n = 0; n < name.size(); ++n) {
          const char c = name[n];
          const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
          if (!letter && !(n > 0 && c >= '0' && c <= '9')) return {"a name in braces", place + 1};
        }
        if (!names.insert(name).second) return {"occurs twice", place};
        ++end;
      }
      if (after_wildcard) return {"two wildcards need a literal", place};
      if (++wildcards > 8) return {"at most 8 wildcards", place};
      after_wildcard = true;
      i = end;
      continue;
    }
    if (text[i] == '}') return {"'}' without '{'", place};
    if (text[i] == '\\') ++i;
    if (i == text.size()) return {"'\\' at the end", place};
    const Rune rune = DecodeRune(std::string_view(text).substr(i));
    if (!rune.valid) return {"not UTF-8", i + 1};
    if (rune.code < 0x20 || (rune.code >= 0x7F && rune.code < 0xA0)) {
      return {"control characters", i + 1};
    }
    after_wildcard = false;
    i += rune.bytes;
  }
  return {};
}

const std::vector<std::string> kPieces = {
    "a",        "b",        ":",          "{",      "}",        "*",    "\\",   "_",   "1",
    "{id}",     "{n}",      " ",          "{}",     "{1}",      "\xFF", "\xC3", "\n",  "\x7F",
    "\xC2\x85", "\xC3\xA9", "{\xC3\xA9}", "{ id }", "-",        "user", "\\{x", "[a]", "?",
    "%s",       "**",       "${id}",      "{{id}}", "{id:int}", "\"",   "'"};

const std::vector<std::string> kGood = {"user:{id}", "orders:user:{id}:page:{n}",
                                        "session:*", "inventory:{warehouse}:{sku}",
                                        "a\\*b",     "{a}-{b}:*:{c}",
                                        "*:end",     "caf\xC3\xA9:{id}"};

std::string Odd(std::mt19937_64& random) {
  std::string text;
  switch (random() % 8) {
    case 0: {  // long
      const size_t size = 200 + random() % 200;
      while (text.size() < size) text += kPieces[random() % 16];
      return text;
    }
    case 1:
    case 2: {  // a good one with something in the wrong place
      text = kGood[random() % kGood.size()];
      for (size_t edits = 1 + random() % 3; edits > 0; --edits) {
        const size_t at = random() % (text.size() + 1);
        if (random() % 3 == 0) {
          text.erase(at, random() % 3);
        } else {
          text.insert(at, kPieces[random() % kPieces.size()]);
        }
      }
      return text;
    }
    case 3:  // many wildcards
      for (size_t n = random() % 12; n > 0; --n) text += "*" + kPieces[random() % 3];
      return text;
    case 4:  // any bytes
      for (size_t n = random() % 12; n > 0; --n) text += static_cast<char>(random());
      return text;
    default:
      for (size_t n = random() % 14; n > 0; --n) text += kPieces[random() % kPieces.size()];
      return text;
  }
}

bool IsPrintable(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const Rune rune = DecodeRune(std::string_view(text).substr(i));
    if (!rune.valid || rune.code < 0x20 || (rune.code >= 0x7F && rune.code < 0xA0)) return false;
    i += rune.bytes;
  }
  return true;
}

TEST(BadPatternsTest, AMillionAreRefusedWithWhatAndWhere) {
  const uint64_t seed = 3'141'592;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  size_t good = 0;
  std::map<std::string, size_t> refused;  // by what is wrong
  for (int i = 0; i < 1'000'000; ++i) {
    const std::string text = Odd(random);
    const Verdict want = Judge(text);
    const absl::StatusOr<Pattern> got = Pattern::Parse(text);
    ASSERT_EQ(got.ok(), want.what.empty()) << testing::PrintToString(text) << got.status();
    if (got.ok()) {
      ++good;
      continue;
    }
    const std::string message(got.status().message());
    ASSERT_EQ(got.status().code(), absl::StatusCode::kInvalidArgument);
    ASSERT_NE(message.find(want.what), std::string::npos) << message << " lacks " << want.what;
    if (want.byte > 0) {
      const std::string place = absl::StrCat("\" is wrong at byte ", want.byte, ": ");
      ASSERT_NE(message.find(place), std::string::npos) << message << " lacks " << place;
    }
    ASSERT_TRUE(IsPrintable(message)) << testing::PrintToString(message);
    ASSERT_LT(message.size(), 400u);
    ++refused[want.what.substr(0, 12)];
  }
  EXPECT_GT(good, 10'000u) << "good ones are taken too";
  EXPECT_EQ(refused.size(), 12u) << "every rule was broken";
  for (const auto& [what, count] : refused) EXPECT_GT(count, 20u) << what;
}

// What is wrong between patterns: a table of many types names both places, and takes the rest.
TEST(BadPatternsTest, TablesOfAThousandTypesAreTakenOrRefusedAsAWhole) {
  const uint64_t seed = 2'718'281;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::vector<TypePolicy> types;
  std::set<std::string> shapes;
  for (int i = 1; i < 1000; ++i) {
    TypePolicy type;
    type.name = absl::StrCat("t", i);
    while (type.match.size() < 15) {
      const absl::StatusOr<Pattern> pattern = Pattern::Parse(Odd(random));
      if (pattern.ok() && shapes.insert(pattern->Shape()).second) type.match.push_back(*pattern);
    }
    types.push_back(std::move(type));
  }
  const auto table = TypeTable::Make(types);
  ASSERT_TRUE(table.ok()) << table.status();
  // Every pattern without wildcards is a key, and no other pattern is closer to it.
  size_t literals = 0;
  for (const TypePolicy& type : (*table)->types()) {
    for (const Pattern& pattern : type.match) {
      const std::string& key = pattern.literal_prefix();
      if (key.size() != pattern.literal_bytes() || !pattern.Matches(key)) continue;
      ++literals;
      const auto match = (*table)->Resolve(key, "");
      ASSERT_EQ(match->kind, TypeMatchKind::kPattern) << key;
      ASSERT_EQ(match->pattern->literal_prefix(), key);
    }
  }
  EXPECT_GT(literals, 1000u);

  types.back().match.push_back(*Pattern::Parse("once:{more}"));
  types[7].match.push_back(*Pattern::Parse("once:{again}"));
  EXPECT_EQ(TypeTable::Make(types).status().message(),
            "pattern \"once:{more}\" of type t999 matches the same keys as one of type t8");
  types.push_back(TypePolicy());
  types.back().name = "t1000";
  EXPECT_EQ(TypeTable::Make(types).status().message(),
            "there are 1001 types, `default` included; at most 1000");
}

TEST(BadPatternsTest, AMillionTypesAreTooMany) {
  std::vector<TypePolicy> types(1'000'000);
  for (size_t i = 0; i < types.size(); ++i) types[i].name = absl::StrCat("t", i);
  EXPECT_EQ(TypeTable::Make(std::move(types)).status().message(),
            "there are 1000001 types, `default` included; at most 1000");
}

}  // namespace
}  // namespace larder
