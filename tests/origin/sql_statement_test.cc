#include "origin/sql_statement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"

namespace larder {
namespace {

using testing::HasSubstr;
using Kind = SqlParameter::Kind;

std::string Text(std::string_view text, SqlUse use = SqlUse::kLoad,
                 SqlDialect dialect = SqlDialect::kPostgres) {
  const auto statement = ParseSqlStatement(text, use, dialect);
  if (!statement.ok()) return StrCat("error: ", ToStd(statement.status().message()));
  return statement->text;
}

TEST(SqlStatement, NumbersParametersAndKeepsWhatTheyAre) {
  const auto statement = ParseSqlStatement(
      "SELECT body FROM users WHERE id = $key.id AND k = $key AND n = $namespace OR id = $key.id",
      SqlUse::kLoad, SqlDialect::kPostgres);
  ASSERT_TRUE(statement.ok()) << statement.status();
  EXPECT_EQ(statement->text,
            "SELECT body FROM users WHERE id = $1 AND k = $2 AND n = $3 OR id = $1");
  const std::vector<SqlParameter> expected = {
      {Kind::kCapture, "id"}, {Kind::kKey, ""}, {Kind::kNamespace, ""}};
  EXPECT_EQ(statement->parameters, expected);
  EXPECT_FALSE(statement->batch());
  EXPECT_EQ(Text("SELECT a WHERE k=$key", SqlUse::kLoad, SqlDialect::kSqlite),
            "SELECT a WHERE k=?1");
}

TEST(SqlStatement, KnowsABatchByItsArrays) {
  for (const char* text : {"SELECT a FROM t WHERE k = ANY($keys)", "SELECT a, $keys.id"}) {
    const auto statement = ParseSqlStatement(text, SqlUse::kLoad, SqlDialect::kPostgres);
    ASSERT_TRUE(statement.ok()) << statement.status();
    EXPECT_TRUE(statement->batch());
  }
}

TEST(SqlStatement, LeavesStringsNamesAndCommentsAlone) {
  for (const char* text : {
           "SELECT '$ky', 'it''s $ky'",
           "SELECT \"$ky\", \"a\"\"$ky\"",
           "SELECT $$ $ky $$, $tag$ $ky $$ $tag$",
           "SELECT $key$ $ky $key$",
           "SELECT E'\\'$ky', e'a\\\\'",
           "SELECT 1 -- $ky\n, 2 /* $ky /* $ky */ $ky */",
           "SELECT foo$ky, type'a'",
           "SELECT a ? 'b', c::text, d[1:2]",
       }) {
    EXPECT_EQ(Text(text), text);
  }
  for (const char* text : {
           "SELECT '$ky', \"$ky\", `$ky`, [$ky], '\\'",
           "SELECT 1 -- $ky\n, 2 /* $ky /* */",
       }) {
    EXPECT_EQ(Text(text, SqlUse::kLoad, SqlDialect::kSqlite), text);
  }
  // What is a dollar quote for one is a parameter for the other.
  EXPECT_EQ(Text("SELECT E'\\', $key", SqlUse::kLoad, SqlDialect::kSqlite), "SELECT E'\\', ?1");
}

TEST(SqlStatement, TakesAParameterUpToWhatCannotBelongToIt) {
  EXPECT_EQ(Text("SELECT ($key).field, $key::text, -$key, a=$key.id||'x'"),
            "SELECT ($1).field, $1::text, -$1, a=$2||'x'");
  EXPECT_EQ(Text("SELECT $validator.x"), "SELECT $1.x");
  EXPECT_EQ(Text("SELECT k WHERE $keys_only = 1 LIMIT $limit", SqlUse::kScan),
            "SELECT k WHERE $1 = 1 LIMIT $2");
}

TEST(SqlStatement, DropsTheSemicolonAtTheEnd) {
  EXPECT_EQ(Text("  SELECT 1 ;  -- that is all\n"), "SELECT 1   -- that is all");
}

TEST(SqlStatement, SaysWhatIsWrong) {
  EXPECT_EQ(Text("SELECT $ky"), "error: unknown parameter $ky; did you mean $key?");
  EXPECT_EQ(Text("SELECT $versoin", SqlUse::kStore),
            "error: unknown parameter $versoin; did you mean $version?");
  EXPECT_EQ(Text("SELECT $value"), "error: a load statement has no parameter $value");
  EXPECT_EQ(Text("DELETE $limit", SqlUse::kDelete),
            "error: a delete statement has no parameter $limit");
  EXPECT_EQ(Text("SELECT $1"), "error: unknown parameter $1");
  EXPECT_EQ(Text("SELECT $ + 1"), "error: a '$' without a name at byte 8");
  EXPECT_EQ(Text("SELECT 'a"), "error: the string that begins at byte 8 does not end");
  EXPECT_EQ(Text("SELECT \"a"), "error: the name that begins at byte 8 does not end");
  EXPECT_EQ(Text("SELECT $x$ a"), "error: the string that begins with $x$ at byte 8 does not end");
  EXPECT_EQ(Text("SELECT 1 /* /* */"), "error: the comment that begins at byte 10 does not end");
  EXPECT_EQ(Text("SELECT 1; SELECT 2"), "error: there is a second statement after the ';'");
  EXPECT_EQ(Text(" -- nothing\n ;"), "error: there is no statement");
  EXPECT_EQ(Text(""), "error: there is no statement");
  EXPECT_EQ(Text(std::string_view("SELECT \0 1", 10)), "error: the statement holds a zero byte");
  EXPECT_THAT(Text("SELECT $keys", SqlUse::kLoad, SqlDialect::kSqlite), HasSubstr("no arrays"));
  for (const char* text : {"SELECT ?", "SELECT ?1", "SELECT :key", "SELECT @key"}) {
    EXPECT_THAT(Text(text, SqlUse::kLoad, SqlDialect::kSqlite), HasSubstr("write $key"));
  }
}

TEST(SqlStatement, HasLimits) {
  const std::string most = StrCat("SELECT '", std::string(SqlStatement::kBytesMax - 9, 'x'), "'");
  EXPECT_EQ(most.size(), SqlStatement::kBytesMax);
  EXPECT_EQ(Text(most), most);
  EXPECT_THAT(Text(most + " "), HasSubstr("at most 65536"));
  std::string parameters = "SELECT 1";
  for (size_t i = 0; i < SqlStatement::kParametersMax; ++i) StrAppend(&parameters, ", $key.a", i);
  EXPECT_THAT(Text(parameters), HasSubstr("$64"));
  EXPECT_EQ(Text(parameters + ", $key"), "error: more than 64 parameters");
}

std::vector<std::string> Problems(const SqlType& type, SqlDialect dialect) {
  std::vector<std::string> all;
  for (const SqlProblem& problem : CheckSqlTypes({type}, dialect)) {
    all.push_back(StrCat(problem.type, ".", SqlUseName(problem.use), ": ", problem.what));
  }
  return all;
}

TEST(SqlTypes, ChecksAllStatementsOfATypeAtOnce) {
  SqlType type;
  type.name = "user";
  type.match = {*Pattern::Parse("user:{id}"), *Pattern::Parse("person:{name}")};
  type.load = "SELECT body FROM users WHERE id = $key.id";
  type.store = "INSERT INTO users VALUES ($key, $valeu)";
  type.remove = "DELETE FROM users WHERE key = $key";
  type.scan = "SELECT key FROM users LIMIT $limit";
  EXPECT_THAT(
      Problems(type, SqlDialect::kPostgres),
      testing::ElementsAre("user.load: $key.id: the pattern \"person:{name}\" has no {id}",
                           "user.store: unknown parameter $valeu; did you mean $value?",
                           "user.scan: a scan needs $limit and $cursor, or it would give the same "
                           "page for ever"));
}

TEST(SqlTypes, KeepsWhatIsOfOneKeyOutOfStatementsForMany) {
  SqlType type;
  type.name = "user";
  type.match = {*Pattern::Parse("user:{id}")};
  for (const char* other : {"$key", "$key.id", "$validator"}) {
    type.load = StrCat("SELECT key, body WHERE id = ANY($keys.id) AND x = ", other);
    EXPECT_THAT(Problems(type, SqlDialect::kPostgres),
                testing::ElementsAre(HasSubstr("many keys at once")));
  }
  type.load = "SELECT body WHERE id = $keys.id";
  EXPECT_THAT(Problems(type, SqlDialect::kSqlite), testing::ElementsAre(HasSubstr("no arrays")));
  type.match.clear();
  type.load = "SELECT body WHERE id = $key.id";
  EXPECT_THAT(Problems(type, SqlDialect::kSqlite), testing::ElementsAre(HasSubstr("no patterns")));
}

}  // namespace
}  // namespace larder
