// The catalogue of examples/larder.yaml does what docs/policies.md says of it, line by line: which
// type each sample key has and why, its TTL without chance, its limits, its share of the memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "config/config.h"
#include "config/units.h"
#include "larder/config/v1/config.pb.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::SizeIs;

std::string ReadFile(const std::string& path) {
  std::ifstream in(std::string(LARDER_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

using Row = std::map<std::string, std::string>;

// The table of docs/policies.md whose head has these columns; cells without backquotes.
std::vector<Row> Table(const std::string& head) {
  const std::string text = ReadFile("docs/policies.md");
  const auto cells = [](const std::string& line) {
    std::vector<std::string> cells = absl::StrSplit(line, '|');
    std::vector<std::string> clean;
    for (size_t i = 1; i + 1 < cells.size(); ++i) {
      absl::StripAsciiWhitespace(&cells[i]);
      clean.push_back(absl::StrReplaceAll(cells[i], {{"`", ""}}));
    }
    return clean;
  };
  std::istringstream lines(text.substr(std::min(text.find(head), text.size())));
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> columns = cells(line);
  std::getline(lines, line);  // |---|
  std::vector<Row> rows;
  while (std::getline(lines, line) && line.starts_with("|")) {
    const std::vector<std::string> values = cells(line);
    EXPECT_EQ(values.size(), columns.size()) << line;
    Row row;
    for (size_t i = 0; i < std::min(values.size(), columns.size()); ++i)
      row[columns[i]] = values[i];
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::Duration DurationOf(const std::string& text) {
  const auto duration = ParseDuration(text);
  EXPECT_TRUE(duration.ok()) << duration.status();
  return duration.value_or(absl::ZeroDuration());
}

double NumberOf(const std::string& text) {
  double number = 0;
  EXPECT_TRUE(absl::SimpleAtod(text, &number)) << text;
  return number;
}

// The part of the memory that follows `words` in `notes`; `otherwise` when they are not there.
double ShareIn(const std::string& notes, const std::string& words, double otherwise) {
  const size_t at = notes.find(words);
  if (at == std::string::npos) return otherwise;
  const size_t start = at + words.size();
  const auto share = ParseRatio(notes.substr(start, notes.find('%', start) + 1 - start));
  EXPECT_TRUE(share.ok()) << notes;
  return share.value_or(-1);
}

class CatalogueTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto config = LoadConfig(
        {.file_name = "examples/larder.yaml", .text = ReadFile("examples/larder.yaml")},
        Machine{.hostname = "larder-0", .memory = MemoryOf(uint64_t{4} << 30), .cpus = 2});
    ASSERT_TRUE(config.ok()) << config.status().message();
    config_ = *config;
  }

  const TypePolicy& Type(const std::string& name) {
    const TypePolicy* const type = config_.types->Find(name);
    EXPECT_NE(type, nullptr) << name;
    return type != nullptr ? *type : config_.types->Get(0);
  }

  Config config_;
};

TEST_F(CatalogueTest, EverySampleKeyHasItsTypeItsCapturesAndItsPolicies) {
  std::set<std::string> types, patterns;
  for (const Row& row : Table("| type | a key of it |")) {
    SCOPED_TRACE(row.at("a key of it"));
    types.insert(row.at("type"));
    const auto match = config_.types->Resolve(row.at("a key of it"), "");
    ASSERT_TRUE(match.ok());
    ASSERT_EQ(match->type->name, row.at("type"));
    std::vector<std::string> captured;
    if (match->pattern != nullptr) {
      patterns.insert(match->pattern->text());
      std::vector<std::pair<std::string, std::string_view>> captures;
      ASSERT_TRUE(match->pattern->Match(row.at("a key of it"), &captures));
      for (const auto& [name, part] : captures) {
        captured.push_back(absl::StrCat(name, "=", std::string(part)));
      }
    }
    EXPECT_EQ(absl::StrJoin(captured, " "), row.at("captures"));

    const TtlPolicy& ttl = match->type->ttl;
    EXPECT_EQ(ComputeTtl(ttl, {.value_bytes = 2048}), DurationOf(row.at("TTL")));
    EXPECT_EQ(ttl.min, DurationOf(row.at("min")));
    EXPECT_EQ(ttl.max, DurationOf(row.at("max")));
    EXPECT_EQ(WriteRatio(ttl.jitter), row.at("jitter"));
    EXPECT_FALSE(ttl.forever);
  }
  for (const TypePolicy& type : config_.types->types()) {
    EXPECT_TRUE(types.contains(type.name)) << "docs/policies.md has no key of " << type.name;
    for (const Pattern& pattern : type.match) {
      EXPECT_TRUE(patterns.contains(pattern.text())) << "no sample key for " << pattern.text();
    }
  }
}

TEST_F(CatalogueTest, EveryNoteIsTrueAndNoneIsMissing) {
  std::map<std::string, std::string> notes;
  for (const Row& row : Table("| type | a key of it |")) notes[row.at("type")] += row.at("notes");
  for (const auto& [name, note] : notes) {
    SCOPED_TRACE(name);
    const TypePolicy& type = Type(name);
    const auto says = [&](const std::string& words) { return note.find(words) != note.npos; };
    EXPECT_EQ(type.ttl.sliding, says("sliding"));
    EXPECT_EQ(type.ttl.adapt_access, says("adapts to hits"));
    EXPECT_EQ(type.ttl.adapt_size, says("size"));
    EXPECT_EQ(!type.ttl.access_steps.empty(), says("in steps"));
    EXPECT_EQ(!type.second_tier, says("memory only"));
    EXPECT_EQ(type.share_min, ShareIn(note, "at least ", 0));
    EXPECT_EQ(type.share_max, ShareIn(note, "at most ", 1));
    const size_t base = note.find("base ");
    EXPECT_EQ(type.ttl.multiplier != 1, base != note.npos);
    if (base != note.npos) {
      const std::vector<std::string> parts = absl::StrSplit(
          note.substr(base + 5, note.find(';', base) - base - 5), absl::MaxSplits(" x ", 1));
      EXPECT_EQ(type.ttl.base, DurationOf(parts[0]));
      EXPECT_EQ(type.ttl.multiplier, NumberOf(parts[1]));
    }
  }
}

TEST_F(CatalogueTest, SecretsAreKeptAsTheyAreAndInMemoryOnly) {
  EXPECT_FALSE(Type("otp").second_tier);
  EXPECT_EQ(config_.proto->types().at("otp").compress().codec(), config::v1::CODEC_NONE);
}

// Multiplies a formula such as `5m x 1.5 x 0.9, at most 6m` out.
absl::Duration Calculate(const std::string& formula) {
  const std::vector<std::string> parts = absl::StrSplit(formula, ", at most ");
  const std::vector<std::string> factors = absl::StrSplit(parts[0], " x ");
  absl::Duration ttl = DurationOf(factors[0]);
  for (size_t i = 1; i < factors.size(); ++i) {
    ttl = absl::Trunc(ttl * NumberOf(factors[i]) + absl::Nanoseconds(500), absl::Microseconds(1));
  }
  return parts.size() == 1 ? ttl : std::min(ttl, DurationOf(parts[1]));
}

TEST_F(CatalogueTest, EveryLineOfTheTtlTableIsExact) {
  const std::vector<Row> rows = Table("| type | value | hits |");
  EXPECT_GE(rows.size(), 30u);
  for (const Row& row : rows) {
    const auto cell = [&](const std::string& column) { return row.at(column); };
    SCOPED_TRACE(absl::StrCat(cell("type"), " ", cell("value"), " ", cell("hits"), " hits, ",
                              cell("request"), ", draw ", cell("draw")));
    TtlInput input;
    input.absent = cell("value") == "absent";
    if (!input.absent) {
      const auto bytes = ParseBytes(cell("value"));
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      input.value_bytes = *bytes;
    }
    ASSERT_TRUE(absl::SimpleAtoi(cell("hits"), &input.hits));
    if (!cell("request").empty()) input.requested = DurationOf(cell("request"));
    input.jitter_draw = NumberOf(cell("draw"));

    const absl::Duration want = DurationOf(cell("TTL"));
    EXPECT_EQ(ComputeTtl(Type(cell("type")).ttl, input), want);
    EXPECT_EQ(Calculate(cell("the formula")), want) << cell("the formula");
    EXPECT_EQ(ExplainTtl(Type(cell("type")).ttl, input).back().ttl, want);
  }
}

// Two patterns as machines that read a key byte by byte, run side by side over every key at once.
// An element is a byte, or a class of bytes, and may repeat.
struct Element {
  enum class Kind { kByte, kNoColon, kAny } kind;
  char byte = 0;
  bool repeats = false;
};

std::vector<Element> ElementsOf(const Pattern& pattern) {
  std::vector<Element> elements;
  const std::string& text = pattern.text();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{') {
      i = text.find('}', i);
      elements.push_back({Element::Kind::kNoColon});
      elements.push_back({Element::Kind::kNoColon, 0, true});
    } else if (text[i] == '*') {
      elements.push_back({Element::Kind::kAny, 0, true});
    } else {
      if (text[i] == '\\') ++i;
      elements.push_back({Element::Kind::kByte, text[i]});
    }
  }
  return elements;
}

bool Meet(const Element& a, const Element& b) {
  if (a.kind == Element::Kind::kByte && b.kind == Element::Kind::kByte) return a.byte == b.byte;
  if (a.kind == Element::Kind::kByte) return b.kind == Element::Kind::kAny || a.byte != ':';
  if (b.kind == Element::Kind::kByte) return Meet(b, a);
  return true;
}

bool SomeKeyMatchesBoth(const Pattern& one, const Pattern& other) {
  const std::vector<Element> a = ElementsOf(one), b = ElementsOf(other);
  std::set<std::pair<size_t, size_t>> seen;
  std::deque<std::pair<size_t, size_t>> next = {{0, 0}};
  while (!next.empty()) {
    const auto [i, j] = next.front();
    next.pop_front();
    if (!seen.insert({i, j}).second) continue;
    if (i == a.size() && j == b.size()) return true;
    if (i < a.size() && a[i].repeats) next.push_back({i + 1, j});
    if (j < b.size() && b[j].repeats) next.push_back({i, j + 1});
    if (i < a.size() && j < b.size() && Meet(a[i], b[j])) {
      next.push_back({a[i].repeats ? i : i + 1, b[j].repeats ? j : j + 1});
    }
  }
  return false;
}

TEST_F(CatalogueTest, NoKeyFitsTwoTypes) {
  const auto p = [](std::string_view text) { return *Pattern::Parse(text); };
  ASSERT_TRUE(SomeKeyMatchesBoth(p("a:{id}"), p("a:*")));
  ASSERT_TRUE(SomeKeyMatchesBoth(p("*:x"), p("y:{id}")));
  ASSERT_FALSE(SomeKeyMatchesBoth(p("a:{id}"), p("a:{id}:b")));
  ASSERT_FALSE(SomeKeyMatchesBoth(p("a:{id}"), p("a:")));

  const std::vector<TypePolicy>& types = config_.types->types();
  EXPECT_THAT(types, SizeIs(20));
  for (const TypePolicy& one : types) {
    for (const TypePolicy& other : types) {
      if (one.id >= other.id) continue;
      for (const Pattern& a : one.match) {
        for (const Pattern& b : other.match) {
          EXPECT_FALSE(SomeKeyMatchesBoth(a, b)) << a.text() << " and " << b.text();
        }
      }
    }
  }
}

TEST_F(CatalogueTest, EveryTypeIsExplained) {
  const std::string docs = ReadFile("docs/policies.md");
  const size_t chapter = docs.find("## The catalogue, type by type");
  ASSERT_NE(chapter, std::string::npos);
  for (const TypePolicy& type : config_.types->types()) {
    EXPECT_NE(docs.find(absl::StrCat("\n**`", type.name, "`**, "), chapter), std::string::npos)
        << type.name;
  }
}

}  // namespace
}  // namespace larder
