#include "base/log_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/strings.h"

namespace larder {
namespace {

using Format = LogOptions::Format;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr char kReplaced[] = "\xEF\xBF\xBD";

const absl::Time kTime =
    absl::FromCivil(absl::CivilSecond(2026, 1, 31, 9, 30, 0), absl::UTCTimeZone()) +
    absl::Microseconds(42);

std::string Write(Format format, const std::vector<LogField>& fields, uint64_t suppressed = 0) {
  return FormatLogLine(format, {.time = kTime,
                                .level = LogLevel::kInfo,
                                .event = "e",
                                .fields = fields,
                                .suppressed = suppressed});
}

// How the one value of a line is written.
std::string Value(Format format, const LogField& field) {
  const std::string line = Write(format, {field});
  const std::string before =
      format == Format::kJson ? StrCat(",\"", field.key, "\":") : StrCat(" ", field.key, "=");
  const size_t begin = line.find(before) + before.size();
  return line.substr(begin, line.size() - begin - (format == Format::kJson ? 2 : 1));
}

TEST(FormatLogLineTest, WritesAnEventAsJson) {
  EXPECT_EQ(Write(Format::kJson, {{"address", "127.0.0.1:1"}, {"lanes", 2}}),
            "{\"ts\":\"2026-01-31T09:30:00.000042Z\",\"level\":\"info\",\"event\":\"e\","
            "\"address\":\"127.0.0.1:1\",\"lanes\":2}\n");
}

TEST(FormatLogLineTest, WritesAnEventAsText) {
  EXPECT_EQ(Write(Format::kText, {{"address", "127.0.0.1:1"}, {"why", "it is so"}}),
            "2026-01-31T09:30:00.000042Z INFO  e address=127.0.0.1:1 why=\"it is so\"\n");
}

TEST(FormatLogLineTest, NamesEveryLevel) {
  const struct {
    LogLevel level;
    const char* json;
    const char* text;
  } kCases[] = {{LogLevel::kDebug, "\"level\":\"debug\"", "Z DEBUG e\n"},
                {LogLevel::kInfo, "\"level\":\"info\"", "Z INFO  e\n"},
                {LogLevel::kWarning, "\"level\":\"warning\"", "Z WARN  e\n"},
                {LogLevel::kError, "\"level\":\"error\"", "Z ERROR e\n"}};
  for (const auto& c : kCases) {
    const LogLine line = {.time = kTime, .level = c.level, .event = "e", .fields = {}};
    EXPECT_THAT(FormatLogLine(Format::kJson, line), HasSubstr(c.json));
    EXPECT_THAT(FormatLogLine(Format::kText, line), EndsWith(c.text));
  }
}

TEST(FormatLogLineTest, TellsHowManyLinesWereSuppressed) {
  EXPECT_THAT(Write(Format::kJson, {}, 7), EndsWith(",\"event\":\"e\",\"suppressed\":7}\n"));
  EXPECT_THAT(Write(Format::kText, {}, 7), EndsWith(" e suppressed=7\n"));
  EXPECT_THAT(Write(Format::kJson, {}, 0), Not(HasSubstr("suppressed")));
}

TEST(FormatLogLineTest, WritesEveryTypeOfValue) {
  const double kInf = std::numeric_limits<double>::infinity();
  const struct {
    LogField field;
    const char* json;
  } kCases[] = {
      {{"k", "text"}, "\"text\""},
      {{"k", std::string("text")}, "\"text\""},
      {{"k", std::string_view("text")}, "\"text\""},
      {{"k", ""}, "\"\""},
      {{"k", true}, "true"},
      {{"k", false}, "false"},
      {{"k", -1}, "-1"},
      {{"k", 1u}, "1"},
      {{"k", size_t{3}}, "3"},
      {{"k", std::numeric_limits<int64_t>::min()}, "-9223372036854775808"},
      {{"k", std::numeric_limits<uint64_t>::max()}, "18446744073709551615"},
      {{"k", 0.1}, "0.1"},
      {{"k", 2.5f}, "2.5"},
      {{"k", -1.7976931348623157e308}, "-1.7976931348623157e+308"},
      {{"k", kInf}, "\"inf\""},
      {{"k", -kInf}, "\"-inf\""},
      {{"k", std::numeric_limits<double>::quiet_NaN()}, "\"nan\""},
      {{"k", absl::Milliseconds(1500)}, "1.5"},
      {{"k", absl::InfiniteDuration()}, "\"inf\""},
      {{"k", absl::NotFoundError("gone")}, "\"NOT_FOUND: gone\""},
      {{"k", absl::OkStatus()}, "\"OK\""},
  };
  for (const auto& c : kCases) EXPECT_EQ(Value(Format::kJson, c.field), c.json);
}

TEST(FormatLogLineTest, EscapesWhatCouldForgeLinesOrCommandTerminals) {
  const struct {
    std::string in;
    std::string out;
  } kCases[] = {
      {"plain ~", "plain ~"},
      {"say \"hi\"", "say \\\"hi\\\""},
      {"back\\slash", "back\\\\slash"},
      {"two\nlines", "two\\nlines"},
      {"cr\r\ttab", "cr\\r\\ttab"},
      {std::string("nul\0!", 5), "nul\\u0000!"},
      {"\x1b[31mred", "\\u001b[31mred"},
      {"del\x7f", "del\\u007f"},
      {"c1 \xC2\x9B", "c1 \\u009b"},
      {"line \xE2\x80\xA8 separator", "line \\u2028 separator"},
      {"bidi \xE2\x80\xAE override", "bidi \\u202e override"},
      {"bidi \xE2\x81\xA6 isolate", "bidi \\u2066 isolate"},
      {"gr\xC3\xBC\xC3\x9F, \xE2\x82\xAC, \xF0\x9F\x98\x80",
       "gr\xC3\xBC\xC3\x9F, \xE2\x82\xAC, \xF0\x9F\x98\x80"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Value(Format::kJson, {"k", c.in}), StrCat("\"", c.out, "\""));
  }
}

TEST(FormatLogLineTest, ReplacesInvalidUtf8) {
  const struct {
    const char* what;
    std::string in;
    int replaced;  // By how many replacement characters.
  } kCases[] = {
      {"lonely continuation", "\x80", 1},
      {"never a first byte", "\xFE\xFF", 2},
      {"cut two-byte form", "\xC3", 1},
      {"cut three-byte form", "\xE2\x82", 1},
      {"cut four-byte form", "\xF0\x9F\x98", 1},
      {"overlong slash", "\xC0\xAF", 2},
      {"overlong in three bytes", "\xE0\x80\xAF", 3},
      {"overlong in four bytes", "\xF0\x80\x80\xAF", 4},
      {"surrogate", "\xED\xA0\x80", 3},
      {"above U+10FFFF", "\xF4\x90\x80\x80", 4},
      {"first byte twice", "\xE2\xE2\x82\xAC", 1},
  };
  for (const auto& c : kCases) {
    std::string want = "\"a";
    for (int i = 0; i < c.replaced; ++i) want += kReplaced;
    if (std::string_view(c.what) == "first byte twice") want += "\xE2\x82\xAC";
    EXPECT_EQ(Value(Format::kJson, {"k", StrCat("a", c.in, "z")}), want + "z\"") << c.what;
    EXPECT_EQ(Value(Format::kText, {"k", StrCat("a", c.in, "z")}), want + "z\"") << c.what;
  }
}

TEST(FormatLogLineTest, QuotesTextThatIsNoPlainWord) {
  const struct {
    const char* in;
    const char* out;
  } kCases[] = {
      {"word", "word"},
      {"/a/b:1,[2]", "/a/b:1,[2]"},
      {"", "\"\""},
      {"two words", "\"two words\""},
      {"a=b", "\"a=b\""},
      {"quote\"", "\"quote\\\"\""},
      {"back\\", "\"back\\\\\""},
      {"line\n2026-01-31T09:30:00Z ERROR forged", "\"line\\n2026-01-31T09:30:00Z ERROR forged\""},
      {"\xC3\xBC", "\"\xC3\xBC\""},
  };
  for (const auto& c : kCases) EXPECT_EQ(Value(Format::kText, {"k", c.in}), c.out);
}

TEST(FormatLogLineTest, EscapesEventsAndKeysToo) {
  const std::vector<LogField> fields = {{"k\n\"", 1}};
  const LogLine line = {
      .time = kTime, .level = LogLevel::kInfo, .event = "e\n\"", .fields = fields};
  EXPECT_THAT(FormatLogLine(Format::kJson, line),
              EndsWith("\"event\":\"e\\n\\\"\",\"k\\n\\\"\":1}\n"));
  EXPECT_THAT(FormatLogLine(Format::kText, line), EndsWith(" \"e\\n\\\"\" \"k\\n\\\"\"=1\n"));
}

TEST(FormatLogLineTest, CutsValuesOnePastTheLimit) {
  const std::string fits(kLogValueBytesMax, 'x');
  EXPECT_EQ(Value(Format::kJson, {"k", fits}), StrCat("\"", fits, "\""));
  EXPECT_EQ(Value(Format::kText, {"k", fits}), fits);
  const std::string cut = StrCat("\"", fits.substr(3), "\xE2\x80\xA6\"");
  EXPECT_EQ(Value(Format::kJson, {"k", fits + "x"}), cut);
  EXPECT_EQ(Value(Format::kText, {"k", fits + "x"}), cut);
}

TEST(FormatLogLineTest, CutsBetweenCharactersAndNotInsideAnEscape) {
  for (const std::string unit : {"\xE2\x82\xAC", "\n", "\x01", "\xF0\x9F\x98\x80", "\xFF"}) {
    std::string text = "x";  // So that the limit does not fall on the edge of a unit.
    for (int i = 0; i < 2'000; ++i) text += unit;
    const std::string one = Value(Format::kJson, {"k", unit});
    const std::string inside = one.substr(1, one.size() - 2);
    std::string value = Value(Format::kJson, {"k", text});
    ASSERT_THAT(value, EndsWith("\xE2\x80\xA6\""));
    EXPECT_LE(value.size(), kLogValueBytesMax + 2);
    EXPECT_GT(value.size() + inside.size(), kLogValueBytesMax - 3);
    value = value.substr(2, value.size() - 6);
    ASSERT_EQ(value.size() % inside.size(), 0u);
    for (size_t i = 0; i < value.size(); i += inside.size()) {
      ASSERT_EQ(value.substr(i, inside.size()), inside);
    }
  }
}

TEST(FormatLogLineTest, LeavesOutFieldsThatDoNotFitAndCountsThem) {
  const std::string large(kLogValueBytesMax, 'x');
  const std::vector<LogField> fields = {{"a", large}, {"b", large}, {"c", large},
                                        {"d", large}, {"e", large}, {"small", 1}};
  const std::string json = Write(Format::kJson, fields);
  EXPECT_LE(json.size(), kLogLineBytesMax);
  EXPECT_THAT(json, HasSubstr(",\"c\":\"xxx"));
  EXPECT_THAT(json, Not(HasSubstr(",\"d\":")));
  EXPECT_THAT(json, EndsWith(",\"small\":1,\"fields_cut\":2}\n"));
  EXPECT_THAT(Write(Format::kText, fields), EndsWith(" small=1 fields_cut=2\n"));
}

TEST(FormatLogLineTest, LongNamesAreCut) {
  const std::string name(10'000, 'n');
  const std::vector<LogField> fields = {{name, 1}};
  const LogLine line = {.time = kTime, .level = LogLevel::kInfo, .event = name, .fields = fields};
  EXPECT_LT(FormatLogLine(Format::kJson, line).size(), 2 * kLogNameBytesMax + 100);
  EXPECT_LT(FormatLogLine(Format::kText, line).size(), 2 * kLogNameBytesMax + 100);
}

// Reads the JSON string that begins at `at`, strictly, and moves `at` behind it.
std::string ReadString(const std::string& line, size_t& at) {
  std::string out;
  EXPECT_EQ(line[at], '"');
  for (++at; at < line.size() && line[at] != '"'; ++at) {
    if (line[at] != '\\') {
      out += line[at];
      continue;
    }
    const char kind = line[++at];
    if (kind == 'u') {
      const auto code = std::stoul(line.substr(at + 1, 4), nullptr, 16);
      at += 4;
      if (code < 0x80) {
        out += static_cast<char>(code);
      } else if (code < 0x800) {
        out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      } else {
        out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
                static_cast<char>(0x80 | (code & 0x3F))};
      }
      continue;
    }
    const std::string_view kinds = "\"\\nrt";
    const size_t which = kinds.find(kind);
    EXPECT_NE(which, kinds.npos) << "escape " << kind;
    out += "\"\\\n\r\t"[which];
  }
  ++at;
  return out;
}

std::string Utf8(uint32_t code) {
  const auto tail = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0 | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
}

// Decodes by the length that the first byte announces; what encodes to the same bytes again is
// valid.
bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const auto first = static_cast<uint8_t>(text[0]);
    const size_t bytes = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (bytes > text.size()) return false;
    uint32_t code = bytes == 1 ? first : first & (0x7F >> bytes);
    for (size_t i = 1; i < bytes; ++i) code = code << 6 | (text[i] & 0x3F);
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    if (Utf8(code) != text.substr(0, bytes)) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

TEST(FormatLogLineTest, ValidTextReadsBackAsItWasWritten) {
  for (uint32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xD800 && code <= 0xDFFF) continue;
    const std::string text = "a" + Utf8(code) + "z";
    const std::string value = Value(Format::kJson, {"k", text});
    size_t at = 0;
    ASSERT_EQ(ReadString(value, at), text) << code;
    ASSERT_EQ(at, value.size()) << code;
  }
}

TEST(FormatLogLineTest, RandomBytesNeverBreakTheLine) {
  constexpr int kSeed = 4711;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  // Mostly bytes that mean something to the writer.
  const std::string bytes =
      "ab \"\\\n\r\t=\x1b\x7f\x80\x9b\xa8\xae\xbf\xc0\xc2\xe0\xe2\xed\xf0\xf4\xff";
  for (int round = 0; round < 5'000; ++round) {
    std::vector<LogField> fields;
    for (uint32_t i = random() % 4; i > 0; --i) {
      std::string text(random() % (round % 50 == 0 ? 4'000 : 40), 'x');
      for (char& c : text) c = bytes[random() % bytes.size()];
      fields.emplace_back("k", text);
    }
    for (const Format format : {Format::kJson, Format::kText}) {
      const std::string line = Write(format, fields, random() % 2);
      ASSERT_LE(line.size(), kLogLineBytesMax);
      ASSERT_EQ(line.find('\n'), line.size() - 1);
      ASSERT_TRUE(std::none_of(line.begin(), line.end() - 1, [](char c) {
        return std::iscntrl(static_cast<unsigned char>(c)) != 0;
      }));
      ASSERT_TRUE(IsUtf8(line)) << testing::PrintToString(line);
    }
  }
}

}  // namespace
}  // namespace larder
