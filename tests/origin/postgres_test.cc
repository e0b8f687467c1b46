// What PostgreSQL's types, constraints and settings make of loads, stores and scans.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "tests/base/threads.h"
#include "tests/origin/postgres_rig.h"
#include "tests/origin/postgres_server.h"
#include "tests/origin/sql_call.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class PostgresTest : public testing::Test {
 protected:
  // A type `t` of keys `t:{id}` with this load statement.
  std::unique_ptr<Origin> Loading(const std::string& load) {
    SqlType type = SqlTypeOf("t", {"t:{id}"});
    type.load = load;
    return Of(std::move(type));
  }
  std::unique_ptr<Origin> Of(SqlType type) {
    PostgresOptions options;
    options.pool = 2;
    options.types = {std::move(type)};
    return NewPostgres(options, executor_.get());
  }
  static void Run(const std::string& sql) { SharedPostgres().Run(sql); }
  static std::string Ask(const std::string& sql) { return SharedPostgres().Ask(sql); }

  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
};

TEST_F(PostgresTest, ReadsAValueOfAnyType) {
  const std::pair<const char*, std::string> cases[] = {
      {"'\\x00ff'::bytea", std::string("\0\xff", 2)},
      {"'text'::text", "text"},
      {"'text'::varchar(9)", "text"},
      {"'{\"a\": 1}'::json", "{\"a\": 1}"},
      {"'{\"b\":2,\"a\":1}'::jsonb", "{\"a\": 1, \"b\": 2}"},
      {"42", "42"},
      {"1.50::numeric", "1.50"},
      {"true", "t"},
      {"ARRAY[1,2]", "{1,2}"},
      {"'2026-01-31'::date", "2026-01-31"},
      {"row_to_json(r) FROM (SELECT 1 AS a, 'b' AS b) r", "{\"a\":1,\"b\":\"b\"}"},
      {"''::text", ""},
      {"''::bytea", ""},
      {"NULL::text", "(absent)"},
      {"NULL::bytea", "(absent)"},
      {"1 WHERE false", "(absent)"},
  };
  for (const auto& [expression, value] : cases) {
    const auto origin = Loading(StrCat("SELECT ", expression));
    EXPECT_EQ(LoadOne(*origin, "t", "t:1"), value) << expression;
  }
}

TEST_F(PostgresTest, ReadsTtlTagsAndValidatorsOfSeveralTypes) {
  const auto origin = Loading(
      "SELECT 'v' AS value, t.* FROM (VALUES "
      "('1', 90::numeric, '{red,\"a b\"}'::varchar[], '2026-01-31'::date), "
      "('2', 1.5::numeric, ARRAY[7,8]::varchar[], NULL), "
      "('3', NULL, NULL, NULL)) AS t(id, ttl, tags, validator) WHERE id = $key.id");
  const auto loaded = LoadAll(*origin, "t", {"t:1", "t:2", "t:3"});
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)[0].ttl, absl::Seconds(90));
  EXPECT_THAT((*loaded)[0].tags, ElementsAre("red", "a b"));
  EXPECT_EQ((*loaded)[0].validator, "2026-01-31");
  EXPECT_EQ((*loaded)[1].ttl, absl::Milliseconds(1500));
  EXPECT_THAT((*loaded)[1].tags, ElementsAre("7", "8"));
  EXPECT_EQ((*loaded)[2].ttl, std::nullopt);
  EXPECT_TRUE((*loaded)[2].tags.empty());
  const auto other = Loading(
      "SELECT 'v' AS value, interval '1 day 2 hours 0.5 seconds' AS ttl, '[\"red\"]'::jsonb AS "
      "tags, '[\"t:2\"]'::json AS depends_on");
  const auto one = LoadAll(*other, "t", {"t:1"});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ((*one)[0].ttl, absl::Hours(26) + absl::Milliseconds(500));
  EXPECT_THAT((*one)[0].tags, ElementsAre("red"));
  EXPECT_THAT((*one)[0].depends_on, ElementsAre("t:2"));
  const auto bad = Loading("SELECT 'v' AS value, 'red' AS tags");
  EXPECT_THAT(LoadOne(*bad, "t", "t:1"), HasSubstr("the column tags is not a JSON array"));
}

TEST_F(PostgresTest, ListsWhatCannotBeCountedInTime) {
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.scan =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
      "SELECT 't:' || i AS key, 'v' AS value FROM n WHERE i > coalesce($cursor::int, 0) "
      "LIMIT $limit;  -- all";
  const auto page = ScanEndless(Of(std::move(type)).get(), "t");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 10u);
  EXPECT_EQ(page->total, std::nullopt);
}

TEST_F(PostgresTest, FindsNumbersByTextThatIsOne) {
  Run("DROP TABLE IF EXISTS users; CREATE TABLE users (id int PRIMARY KEY, body text);"
      "INSERT INTO users VALUES (7, 'seven'), (8, 'eight')");
  const auto each = Loading("SELECT body FROM users WHERE id = $key.id");
  const auto shown = LoadShown(*each, "t", {"t:7", "t:abc", "t:9", "t:8", "t:007"});
  EXPECT_EQ(shown[0], "seven");
  EXPECT_THAT(shown[1], StartsWith("INVALID_ARGUMENT: PostgreSQL: invalid input syntax"));
  EXPECT_EQ(shown[2], "(absent)");
  EXPECT_EQ(shown[3], "eight");
  EXPECT_EQ(shown[4], "seven");
  // A key that can never be must not fail the others, in a statement for many either; and of a row
  // that says another text than the key only that one key is unsure.
  const auto all = Loading("SELECT id, body FROM users WHERE id = ANY($keys.id)");
  const auto many = LoadShown(*all, "t", {"t:7", "t:abc", "t:9", "t:8", "t:007"});
  EXPECT_EQ(many[0], "seven");
  EXPECT_THAT(many[1], StartsWith("INVALID_ARGUMENT"));
  EXPECT_EQ(many[2], "(absent)");
  EXPECT_EQ(many[3], "eight");
  EXPECT_THAT(many[4], StartsWith("DATA_LOSS"));
  EXPECT_THAT(LoadShown(*all, "t", {"t:9", "t:08", "t:7"}),
              ElementsAre("(absent)", StartsWith("DATA_LOSS"), "seven"));
  EXPECT_EQ(all->Stats().errors, 0u);
}

TEST_F(PostgresTest, FailsKeysThatNoPatternMatchesWithoutTheOthers) {
  for (const char* load :
       {"SELECT 'v' || $key.id", "SELECT id, 'v' || id FROM unnest($keys.id::text[]) AS id"}) {
    const auto origin = Loading(load);
    EXPECT_THAT(
        LoadShown(*origin, "t", {"t:1", "other", "t:2"}),
        ElementsAre("v1", StartsWith("INVALID_ARGUMENT: the key matches no pattern"), "v2"));
  }
}

TEST_F(PostgresTest, GivesTheStatementAllThatWasAskedFor) {
  const auto origin = Loading(
      "SELECT concat_ws('/', $namespace::text, $type::text, $key::text, $key.id::text, "
      "$validator::text)");
  OriginLoad load{{"shop", "t"}, {{"t:1", "v7"}}};
  const auto loaded =
      AwaitTask(origin->Load(load, MonoAfter(Clock::System()->Mono(), absl::Seconds(20))));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(Shown(loaded->front()), "shop/t/t:1/1/v7");
}

TEST_F(PostgresTest, StoresIntoAColumnOfAnyType) {
  Run("DROP TABLE IF EXISTS cells; CREATE TABLE cells (id text PRIMARY KEY, b bytea, t text, "
      "v varchar(3), j json, jb jsonb, i int)");
  const auto into = [this](const std::string& column) {
    SqlType type = SqlTypeOf("t", {"t:{id}"});
    type.store = StrCat("INSERT INTO cells (id, ", column, ") VALUES ($key.id, $value)");
    return Of(std::move(type));
  };
  const std::string bytes("\0\xff'\\", 4);
  EXPECT_THAT(StoreShown(*into("b"), "t", {{"t:b", bytes}, {"t:b2", ""}}),
              ElementsAre("done", "done"));
  EXPECT_EQ(Ask("SELECT b FROM cells WHERE id = 'b'"), "\\x00ff275c");
  EXPECT_EQ(Ask("SELECT b FROM cells WHERE id = 'b2'"), "\\x");
  const auto text =
      StoreShown(*into("t"), "t", {{"t:t", "\u00fc"}, {"t:t2", "\xff"}, {"t:t3", bytes}});
  EXPECT_EQ(text[0], "done");
  EXPECT_THAT(text[1], StartsWith("reject INVALID_ARGUMENT"));
  EXPECT_THAT(text[2], StartsWith("reject INVALID_ARGUMENT"));
  EXPECT_EQ(Ask("SELECT t FROM cells WHERE id = 't'"), "\u00fc");
  EXPECT_THAT(StoreShown(*into("v"), "t", {{"t:v", "abc"}, {"t:v2", "abcd"}}),
              ElementsAre("done", StartsWith("reject")));
  EXPECT_THAT(StoreShown(*into("j"), "t", {{"t:j", "{\"a\": 1}"}, {"t:j2", "{"}}),
              ElementsAre("done", StartsWith("reject")));
  EXPECT_THAT(
      StoreShown(*into("jb"), "t", {{"t:jb", "{\"a\":1}"}, {"t:jb2", "{"}, {"t:jb3", bytes}}),
      ElementsAre("done", StartsWith("reject"), StartsWith("reject")));
  EXPECT_EQ(Ask("SELECT jb->>'a' FROM cells WHERE id = 'jb'"), "1");
  EXPECT_THAT(StoreShown(*into("i"), "t", {{"t:i", "42"}, {"t:i2", "x"}}),
              ElementsAre("done", StartsWith("reject")));
  EXPECT_EQ(Ask("SELECT count(*) FROM cells"), "7");
}

TEST_F(PostgresTest, MakesTheWritesOfACallInOneTransactionUnlessOneFails) {
  Run("DROP TABLE IF EXISTS made; CREATE TABLE made (id text PRIMARY KEY, t xid8, n int)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO made VALUES ($key.id, pg_current_xact_id(), $value::text::int)";
  const auto origin = Of(std::move(type));
  StoreShown(*origin, "t", {{"t:1", "1"}, {"t:2", "2"}, {"t:3", "3"}});
  EXPECT_EQ(Ask("SELECT count(*) || '/' || count(DISTINCT t) FROM made"), "3/1");
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:4", "4"}, {"t:5", "five"}, {"t:6", "6"}}),
              ElementsAre("done", StartsWith("reject"), "done"));
  EXPECT_EQ(Ask("SELECT count(*) || '/' || count(DISTINCT t) FROM made"), "5/2");
}

TEST_F(PostgresTest, FewBadWritesCostATransactionEachAndManyAreMadeOneByOne) {
  Run("DROP TABLE IF EXISTS made; CREATE TABLE made (id text PRIMARY KEY, t xid8, n int)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO made VALUES ($key.id, pg_current_xact_id(), $value::text::int)";
  const auto origin = Of(std::move(type));
  for (const int bad : {3, 20}) {
    Run("TRUNCATE made");
    std::vector<std::pair<std::string, std::string>> writes;
    for (int i = 0; i < 100; ++i) {
      const bool is_bad = i % (100 / bad) == 0 && i / (100 / bad) < bad;
      writes.push_back({StrCat("t:", i), is_bad ? "no number" : StrCat(i)});
    }
    const std::vector<std::string> shown = StoreShown(*origin, "t", writes);
    for (int i = 0; i < 100; ++i) {
      EXPECT_THAT(shown[i], StartsWith(writes[i].second == "no number" ? "reject" : "done")) << i;
    }
    EXPECT_EQ(Ask("SELECT count(*) FROM made"), StrCat(100 - bad));
    EXPECT_EQ(Ask("SELECT count(DISTINCT t) FROM made"), bad == 3 ? "1" : "80");
  }
}

// Each of two writes is good alone, the second of them in a transaction is not.
TEST_F(PostgresTest, WriteThatOnlyTheWritesBesideItMakeFailIsMadeAlone) {
  Run("DROP TABLE IF EXISTS made; CREATE TABLE made (id text PRIMARY KEY, t xid8 UNIQUE)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO made VALUES ($key.id, pg_current_xact_id())";
  const auto origin = Of(std::move(type));
  std::vector<std::pair<std::string, std::string>> writes;
  for (int i = 0; i < 10; ++i) writes.push_back({StrCat("t:", i), ""});
  for (const std::string& each : StoreShown(*origin, "t", writes)) EXPECT_EQ(each, "done");
  EXPECT_EQ(Ask("SELECT count(DISTINCT t) FROM made"), "10");
}

TEST_F(PostgresTest, RejectsTheOneWriteThatItsCommitRefuses) {
  Run("DROP TABLE IF EXISTS child, parent; CREATE TABLE parent (id text PRIMARY KEY);"
      "CREATE TABLE child (id text PRIMARY KEY, parent text REFERENCES parent DEFERRABLE "
      "INITIALLY DEFERRED); INSERT INTO parent VALUES ('p')");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO child VALUES ($key.id, $value)";
  const auto origin = Of(std::move(type));
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:1", "p"}, {"t:2", "nobody"}, {"t:3", "p"}}),
              ElementsAre("done", StartsWith("reject INVALID_ARGUMENT"), "done"));
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:4", "nobody"}}), ElementsAre(StartsWith("reject")));
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:5", "p"}}), ElementsAre("done"));
  EXPECT_EQ(Ask("SELECT string_agg(id, ',' ORDER BY id) FROM child"), "1,3,5");
  EXPECT_EQ(origin->Stats().connections, 1u);
}

TEST_F(PostgresTest, StoresWhatItHasAStatementForAndRejectsTheRest) {
  Run("DROP TABLE IF EXISTS kept; CREATE TABLE kept (id text PRIMARY KEY, body text)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO kept VALUES ($key.id, $value)";
  const auto origin = Of(std::move(type));
  OriginStore store{{"shop", "t"}, {}};
  store.writes.resize(2);
  store.writes[0].key = "t:1";
  store.writes[0].remove = true;
  store.writes[1].key = "t:2";
  const auto stored =
      AwaitTask(origin->Store(store, MonoAfter(Clock::System()->Mono(), absl::Seconds(20))));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(KindName((*stored)[0].kind), "reject");
  EXPECT_EQ((*stored)[0].error.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(KindName((*stored)[1].kind), "done");
}

TEST_F(PostgresTest, DoesNotDeadlockWithWritersOfTheSameKeys) {
  Run("DROP TABLE IF EXISTS busy; CREATE TABLE busy (id text PRIMARY KEY, body text, n int DEFAULT "
      "0)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store =
      "INSERT INTO busy VALUES ($key.id, $value) ON CONFLICT (id) DO UPDATE SET n = busy.n + 1";
  const auto origin = Of(std::move(type));
  std::atomic<int> done = 0;
  Threads(4, [&](int thread) {
    for (int call = 0; call < 10; ++call) {
      std::vector<std::pair<std::string, std::string>> writes;
      for (int i = 0; i < 50; ++i) {
        writes.push_back({StrCat("t:", thread % 2 == 0 ? i : 49 - i), "v"});
      }
      for (const std::string& each : StoreShown(*origin, "t", writes)) {
        if (each == "done") ++done;
      }
    }
  }).Join();
  EXPECT_EQ(done.load(), 4 * 10 * 50);
  EXPECT_EQ(Ask("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"), "0");
}

TEST_F(PostgresTest, ScansByACursorThatIsANumber) {
  Run("DROP TABLE IF EXISTS rows; CREATE TABLE rows (id int PRIMARY KEY, body text);"
      "INSERT INTO rows SELECT i, 'v' || i FROM generate_series(1, 25) AS i");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.scan =
      "SELECT 't:' || id AS key, id AS cursor, CASE WHEN $keys_only = 1 THEN NULL ELSE body END AS "
      "value FROM rows WHERE id > COALESCE($cursor, 0) ORDER BY id LIMIT $limit";
  const auto origin = Of(std::move(type));
  for (const bool keys_only : {false, true}) {
    OriginScan scan{{"shop", "t"}, 10, "", keys_only};
    std::vector<size_t> pages;
    std::string values;
    do {
      const auto page =
          AwaitTask(origin->Scan(scan, MonoAfter(Clock::System()->Mono(), absl::Seconds(20))));
      ASSERT_TRUE(page.ok()) << page.status();
      pages.push_back(page->items.size());
      for (const auto& item : page->items) values += item.loaded.value;
      scan.cursor = page->cursor;
    } while (!scan.cursor.empty());
    EXPECT_THAT(pages, ElementsAre(10u, 10u, 5u));
    EXPECT_EQ(values.empty(), keys_only);
  }
}

TEST_F(PostgresTest, RefusesAnswersThatAreLargerThanAllOfOneMayBe) {
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.load = "SELECT repeat('x', $key.id::int)";
  PostgresOptions options;
  options.answer_bytes_max = 1'024;
  options.types = {type};
  const auto origin = NewPostgres(options, executor_.get());
  const auto shown = LoadShown(*origin, "t", {"t:1000", "t:25", "t:24", "t:1025"});
  EXPECT_EQ(shown[0].size(), 1000u);
  EXPECT_THAT(shown[1], StartsWith("RESOURCE_EXHAUSTED"));
  EXPECT_EQ(shown[2].size(), 24u);
  EXPECT_THAT(shown[3], StartsWith("RESOURCE_EXHAUSTED"));
}

TEST_F(PostgresTest, ReadsThePasswordFileForEveryNewConnection) {
  const std::string path = testing::TempDir() + "/larder-postgres-password";
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.load = "SELECT 'v'";
  PostgresOptions options;
  options.url = SharedPostgres().url_without_password();
  options.password_file = path;
  options.types = {type};
  options.backoff = {.first = absl::Milliseconds(1), .max = absl::Milliseconds(1)};
  std::remove(path.c_str());
  const auto origin = NewPostgres(options, executor_.get());
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"), HasSubstr("password file"));
  std::ofstream(path) << "wrong\n";
  std::string shown;
  do {
    shown = LoadOne(*origin, "t", "t:1");
  } while (shown.find("password file") != std::string::npos);
  EXPECT_THAT(shown, StartsWith("call: UNAVAILABLE: PostgreSQL: "));
  EXPECT_THAT(shown, HasSubstr("password authentication failed"));
  EXPECT_EQ(shown.find("wrong"), std::string::npos);
  EXPECT_THAT(origin->Stats().state, HasSubstr("password authentication failed"));
  std::ofstream(path) << "secret\n";
  while (shown != "v") shown = LoadOne(*origin, "t", "t:1");
  EXPECT_EQ(origin->Stats().state, "ok");
  std::remove(path.c_str());
}

}  // namespace
}  // namespace larder
