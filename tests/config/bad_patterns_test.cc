// Thousands of bad patterns in files: each is reported with its own line, all of them by one load
// as far as the report goes, and no file takes longer than its length.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "config/config.h"

namespace larder {
namespace {

using testing::ElementsAre;

std::vector<std::string> ProblemsOf(const std::string& text) {
  const auto config = LoadConfig({.file_name = "f", .text = text}, Machine{.hostname = "larder-0"});
  if (config.ok()) return {};
  return absl::StrSplit(std::string(config.status().message()), '\n');
}

std::string Odd(std::mt19937_64& random) {
  static const std::vector<std::string> pieces = {"a",   "b",  ":",  "{",  "}",   "*",
                                                  "\\",  "{}", "_",  "1",  "{1}", "{id}",
                                                  "{n}", " ",  "''", "\"", "#x",  ": "};
  std::string text;
  for (size_t n = 1 + random() % 9; n > 0; --n) text += pieces[random() % pieces.size()];
  return text;
}

TEST(BadPatternsInFilesTest, EachIsReportedInItsLine) {
  const uint64_t seed = 161'803;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  size_t reported = 0, taken = 0;
  for (int file = 0; file < 60; ++file) {
    std::string text = "types:\n";
    std::vector<std::string> want;
    size_t line = 1;
    for (int type = 0; type < 10; ++type) {
      absl::StrAppend(&text, "  t", type, ":\n    match:\n");
      line += 2;
      for (int i = 0; i < 15; ++i) {
        // In single quotes, where '' stands for one.
        const std::string written = Odd(random);
        absl::StrAppend(&text, "      - '", written, "'\n");
        ++line;
        std::string plain = written;
        for (size_t at = 0; (at = plain.find("''", at)) != std::string::npos; ++at) {
          plain.erase(at, 1);
        }
        const auto pattern = Pattern::Parse(plain);
        if (pattern.ok()) {
          ++taken;
          continue;
        }
        want.push_back(absl::StrCat("f:", line, ":9: types.t", type, ".match[", i,
                                    "]: ", std::string(pattern.status().message())));
      }
    }
    reported += want.size();
    std::vector<std::string> got;
    for (const std::string& problem : ProblemsOf(text)) {
      // Odd patterns also happen to be the same twice, which is another test's matter; and a report
      // ends with a count after a hundred problems.
      const bool another = problem.find("matches the same keys as") != std::string::npos;
      if (!another && !problem.starts_with("and ")) got.push_back(problem);
    }
    ASSERT_LE(got.size(), want.size());
    want.resize(got.size());
    ASSERT_GT(got.size(), 50u);
    ASSERT_EQ(got, want) << text;
  }
  EXPECT_GT(reported, 5000u);
  EXPECT_GT(taken, 1000u);
}

TEST(BadPatternsInFilesTest, AFileFullOfThemIsReportedAndCounted) {
  std::string text = "types:\n";
  for (int type = 0; type < 999; ++type) {
    absl::StrAppend(&text, "  t", type, ":\n    match:\n");
    for (int i = 0; i < 100; ++i) absl::StrAppend(&text, "      - 'k", type, ":{i", i, "'\n");
  }
  const std::vector<std::string> problems = ProblemsOf(text);
  ASSERT_EQ(problems.size(), 101u);
  EXPECT_EQ(problems[0],
            "f:4:9: types.t0.match[0]: pattern \"k0:{i0\" is wrong at byte 4: '{' is not closed; "
            "write \\{ for a literal one");
  EXPECT_EQ(problems[99].substr(0, 26), "f:103:9: types.t0.match[99");
  EXPECT_EQ(problems[100], "and 99800 more");
}

TEST(BadPatternsInFilesTest, AFileFullOfGoodOnesIsTaken) {
  std::string text = "types:\n";
  for (int type = 0; type < 999; ++type) {
    absl::StrAppend(&text, "  t", type, ":\n    match:\n");
    for (int i = 0; i < 50; ++i) absl::StrAppend(&text, "      - 'k", type, ":", i, ":{id}'\n");
  }
  EXPECT_THAT(ProblemsOf(text), ElementsAre());
  // One name more, and one pattern that is there under another name.
  EXPECT_THAT(ProblemsOf(text + "  one-more: {}\n"),
              ElementsAre("f:2:3: types has 1000 entries; at most 999"));
  text.replace(text.find("'k998:49:{id}'"), 14, "'k7:7:{other}'");
  EXPECT_THAT(ProblemsOf(text),
              ElementsAre("f:51949:9: types.t998.match[49]: pattern \"k7:7:{other}\" matches the "
                          "same keys as types.t7.match[7]"));
}

TEST(BadPatternsInFilesTest, AsManyTypesAsAFileCanHoldAreTooMany) {
  std::string text = "types:\n";
  size_t types = 0;
  while (text.size() < (4 << 20) - 32) absl::StrAppend(&text, " t", types++, ": {}\n");
  EXPECT_THAT(ProblemsOf(text),
              ElementsAre(absl::StrCat("f:2:2: types has ", types, " entries; at most 999")));
}

}  // namespace
}  // namespace larder
