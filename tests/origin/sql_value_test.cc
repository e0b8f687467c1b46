#include "origin/sql_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "origin/sql_row.h"

namespace larder {
namespace {

using Strings = std::vector<std::string>;

TEST(SqlValue, ReadsBytesInHex) {
  EXPECT_EQ(*ParseSqlHex("\\x"), "");
  EXPECT_EQ(*ParseSqlHex("\\x00ffAb"), std::string("\0\xff\xab", 3));
  for (const char* bad : {"", "x00", "\\x0", "\\x0g", "00ff", "\\000"}) {
    EXPECT_EQ(ParseSqlHex(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

TEST(SqlValue, ReadsArraysAsPostgresWritesThem) {
  EXPECT_EQ(*ParseSqlArray("{}", 9), Strings{});
  EXPECT_EQ(*ParseSqlArray("{red,7,2020-01-01 10:00}", 9),
            (Strings{"red", "7", "2020-01-01 10:00"}));
  EXPECT_EQ(*ParseSqlArray(R"({"a,b","c\"d","e\\f","","NULL",NULL,"{}"})", 9),
            (Strings{"a,b", "c\"d", "e\\f", "", "NULL", "{}"}));
  for (const char* bad : {"", "red", "{red", "red}", "{red}x", "{{a},{b}}", "{a,}", "{\"a}",
                          "{\"a\\", "{a\"b\"}", "{,a}"}) {
    EXPECT_EQ(ParseSqlArray(bad, 9).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
  EXPECT_TRUE(ParseSqlArray("{a,b}", 2).ok());
  EXPECT_FALSE(ParseSqlArray("{a,b,c}", 2).ok());
}

TEST(SqlValue, WritesArraysThatItReads) {
  const Strings all = {"", "NULL", "a,b", "{c}", "d\"e", "f\\g", " h ", "\u00fc"};
  EXPECT_EQ(*ParseSqlArray(FormatSqlArray(all), 9), all);
  EXPECT_EQ(FormatSqlArray({}), "{}");
}

TEST(SqlValue, ReadsJsonArraysOfStrings) {
  EXPECT_EQ(*ParseJsonStrings(" [ ] ", 9), Strings{});
  EXPECT_EQ(*ParseJsonStrings(R"(["red", "a\n\"\\\/", "", null, "\u00fc\u6f22\ud83d\ude00"])", 9),
            (Strings{"red", "a\n\"\\/", "", "\u00fc\u6f22\U0001f600"}));
  for (const char* bad : {"", "red", "\"red\"", "[\"red\"", "[red]", "[\"a\",]", "[1]", "[\"a\"] x",
                          R"(["\x"])", R"(["\u12"])", R"(["\ud83d"])", R"(["\ude00"])",
                          R"(["\ud83d\u0041"])", "[[\"a\"]]", "{\"a\":\"b\"}", "[\"a"}) {
    EXPECT_EQ(ParseJsonStrings(bad, 9).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
  EXPECT_TRUE(ParseJsonStrings(R"(["a","b"])", 2).ok());
  EXPECT_FALSE(ParseJsonStrings(R"(["a","b","c"])", 2).ok());
}

TEST(SqlValue, ReadsSeconds) {
  EXPECT_EQ(*ParseSqlSeconds("90"), absl::Seconds(90));
  EXPECT_EQ(*ParseSqlSeconds("0.25"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseSqlSeconds("1e2"), absl::Seconds(100));
  EXPECT_EQ(*ParseSqlSeconds(" 5 "), absl::Seconds(5));
  for (const char* bad : {"", "soon", "5s", "0", "-1", "NaN", "inf", "Infinity", "1e300", "1e-300",
                          "0x10", "3155760001"}) {
    EXPECT_EQ(ParseSqlSeconds(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

TEST(SqlValue, ReadsIntervals) {
  EXPECT_EQ(*ParseSqlInterval("PT5S"), absl::Seconds(5));
  EXPECT_EQ(*ParseSqlInterval("PT1H2M3.5S"), absl::Seconds(3723.5));
  EXPECT_EQ(*ParseSqlInterval("P1DT1S"), absl::Seconds(86'401));
  EXPECT_EQ(*ParseSqlInterval("P1M"), absl::Hours(24 * 30));
  EXPECT_EQ(*ParseSqlInterval("P1Y"), absl::Hours(24 * 365 + 6));
  EXPECT_EQ(*ParseSqlInterval("P1DT-1H"), absl::Hours(23));
  for (const char* bad : {"", "P", "PT", "5S", "PT0S", "PT-5S", "P5S", "PT5", "PT5X", "PT5ST5S",
                          "P101Y", "01:00:00"}) {
    EXPECT_EQ(ParseSqlInterval(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

// ---- rows

class FakeRow : public SqlRow {
 public:
  explicit FakeRow(std::vector<std::optional<std::string>> cells) : cells_(std::move(cells)) {}
  SqlCell Cell(int column) const override {
    const auto& cell = cells_[static_cast<size_t>(column)];
    if (!cell.has_value()) return {};
    return {.null = false, .text = *cell};
  }

 private:
  const std::vector<std::optional<std::string>> cells_;
};

SqlStatement Statement(std::string_view text) {
  return *ParseSqlStatement(text, SqlUse::kLoad, SqlDialect::kPostgres);
}

TEST(SqlRow, TakesTheFirstColumnWithoutAMeaningAsTheValue) {
  const SqlStatement one = Statement("SELECT $key");
  EXPECT_EQ(SqlColumns::Make({"ttl", "key", "version", "body", "rest"}, SqlUse::kLoad, one)->value,
            3);
  EXPECT_EQ(SqlColumns::Make({"body", "value"}, SqlUse::kLoad, one)->value, 1);
  EXPECT_EQ(SqlColumns::Make({"ttl", "tags"}, SqlUse::kLoad, one).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(SqlColumns::Make({"body"}, SqlUse::kScan, one).status().code(),
            absl::StatusCode::kFailedPrecondition);
  const SqlStatement many = Statement("SELECT $keys.shop, $keys.id");
  const auto columns = SqlColumns::Make({"id", "shop", "body"}, SqlUse::kLoad, many);
  ASSERT_TRUE(columns.ok()) << columns.status();
  EXPECT_EQ(columns->value, 2);
  EXPECT_EQ(columns->captures, (std::vector<int>{1, 0}));
  EXPECT_FALSE(SqlColumns::Make({"id", "body"}, SqlUse::kLoad, many).ok());
  EXPECT_FALSE(SqlColumns::Make({"id", "body"}, SqlUse::kLoad, Statement("SELECT $keys")).ok());
}

TEST(SqlRow, AnswersUnchangedEvenWithoutTheValue) {
  const SqlColumns columns =
      *SqlColumns::Make({"value", "validator", "ttl"}, SqlUse::kLoad, Statement("SELECT $key"));
  const OriginLoaded same = ReadSqlRow(columns, FakeRow({std::nullopt, "v1", "5"}), "v1", true);
  EXPECT_EQ(same.kind, OriginLoaded::Kind::kUnchanged);
  EXPECT_EQ(same.ttl, absl::Seconds(5));
  const OriginLoaded none = ReadSqlRow(columns, FakeRow({std::nullopt, "v2", "5"}), "v1", true);
  EXPECT_EQ(none.kind, OriginLoaded::Kind::kAbsent);
  EXPECT_EQ(none.ttl, absl::Seconds(5));
}

OriginScan ScanOf(uint32_t limit, std::string cursor = {}, bool keys_only = false) {
  return {{"shop", "doc"}, limit, std::move(cursor), keys_only};
}

TEST(SqlRow, EndsAPageWhereRowsEnd) {
  const SqlColumns columns =
      *SqlColumns::Make({"key", "value"}, SqlUse::kScan, Statement("SELECT $key"));
  const FakeRow a({"a", "1"}), b({"b", std::nullopt}), bad({"c\n", "3"});
  uint64_t counted = 0;
  const auto full = ReadSqlPage(columns, {&a, &b}, ScanOf(2), &counted);
  ASSERT_TRUE(full.ok()) << full.status();
  ASSERT_EQ(full->items.size(), 1u);
  EXPECT_EQ(full->items[0].key, "a");
  EXPECT_EQ(full->cursor, "b");
  EXPECT_EQ(ReadSqlPage(columns, {&a, &b}, ScanOf(3), &counted)->cursor, "");
  EXPECT_EQ(ReadSqlPage(columns, {&a, &b}, ScanOf(2, "", true), &counted)->items.size(), 2u);
  // More rows than were asked for.
  EXPECT_EQ(ReadSqlPage(columns, {&a, &b}, ScanOf(1), &counted)->cursor, "a");
  EXPECT_EQ(counted, 0u);
  EXPECT_TRUE(ReadSqlPage(columns, {&bad}, ScanOf(2), &counted)->items.empty());
  EXPECT_EQ(counted, 1u);
  EXPECT_EQ(ReadSqlPage(columns, {&a}, ScanOf(1, "a"), &counted).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace larder
