// What SQLite's files, locks and conflicts make of calls.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "origin/origin_guard.h"
#include "tests/base/threads.h"
#include "tests/origin/postgres_rig.h"
#include "tests/origin/sql_call.h"
#include "tests/origin/sqlite_rig.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class SqliteTest : public testing::Test {
 protected:
  SqliteOptions Options(const std::string& load, const std::string& store = "") {
    SqliteOptions options;
    options.name = "shop-file";
    options.path = file_.path();
    options.executor = executor_.get();
    SqlType type = SqlTypeOf("t", {"t:{id}"});
    type.load = load;
    type.store = store;
    options.types = {type};
    return options;
  }
  static std::unique_ptr<Origin> Of(const SqliteOptions& options) {
    auto origin = NewSqliteOrigin(options);
    EXPECT_TRUE(origin.ok()) << origin.status();
    return *std::move(origin);
  }
  std::unique_ptr<Origin> Of(const std::string& load, const std::string& store = "") {
    return Of(Options(load, store));
  }

  SqliteFile file_;
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
};

TEST_F(SqliteTest, ReadsAValueOfAnyType) {
  const std::pair<const char*, std::string> cases[] = {
      {"x'00ff'", std::string("\0\xff", 2)},
      {"'text'", "text"},
      {"42", "42"},
      {"1.5", "1.5"},
      {"''", ""},
      {"x''", ""},
      {"NULL", "(absent)"},
      {"1 WHERE 0", "(absent)"},
      {"$namespace || '/' || $type || '/' || $key || '/' || $key.id", "shop/t/t:1/1"},
  };
  for (const auto& [expression, value] : cases) {
    EXPECT_EQ(LoadOne(*Of(StrCat("SELECT ", expression)), "t", "t:1"), value) << expression;
  }
}

TEST_F(SqliteTest, ListsWhatCannotBeCountedInTime) {
  SqliteOptions options = Options("SELECT 'v'");
  options.types[0].scan =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
      "SELECT 't:' || i AS key, 'v' AS value FROM n WHERE i > 0 + $cursor LIMIT $limit;  -- all";
  const auto page = ScanEndless(Of(options).get(), "t");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 10u);
  EXPECT_EQ(page->total, std::nullopt);
}

TEST_F(SqliteTest, ComparesCapturesWithNumbersAsSqliteDoes) {
  file_.Run(
      "CREATE TABLE users (id INTEGER PRIMARY KEY, body); INSERT INTO users VALUES (7, 'seven')");
  const auto origin = Of("SELECT body FROM users WHERE id = $key.id");
  EXPECT_THAT(LoadShown(*origin, "t", {"t:7", "t:abc", "other", "t:8"}),
              ElementsAre("seven", "(absent)",
                          StartsWith("INVALID_ARGUMENT: the key matches no pattern"), "(absent)"));
}

TEST_F(SqliteTest, StoresBytesAndTextIfTheStatementSaysSo) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  StoreShown(*Of("", "INSERT INTO cells VALUES ($key.id, $value)"), "t", {{"t:a", "x"}});
  StoreShown(*Of("", "INSERT INTO cells VALUES ($key.id, CAST($value AS TEXT))"), "t",
             {{"t:b", "x"}});
  EXPECT_EQ(
      file_.Ask("SELECT group_concat(typeof(body)) FROM (SELECT * FROM cells ORDER BY id)", {}),
      "blob,text");
}

TEST_F(SqliteTest, MakesEachWriteAloneWhenOneUndoesTheOthers) {
  file_.Run("CREATE TABLE once (id TEXT PRIMARY KEY ON CONFLICT ROLLBACK, body)");
  const auto origin = Of("", "INSERT INTO once VALUES ($key.id, $value)");
  StoreShown(*origin, "t", {{"t:2", "first"}});
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:1", "v"}, {"t:2", "v"}, {"t:3", "v"}}),
              ElementsAre("done", StartsWith("reject"), "done"));
  EXPECT_EQ(file_.Ask("SELECT group_concat(id || body) FROM (SELECT * FROM once ORDER BY id)", {}),
            "1v,2first,3v");
}

TEST_F(SqliteTest, RejectsTheOneWriteThatAConstraintRefuses) {
  file_.Run("CREATE TABLE child (id TEXT PRIMARY KEY, n INTEGER CHECK (n > 0))");
  const auto origin =
      Of("", "INSERT INTO child VALUES ($key.id, CAST(CAST($value AS TEXT) AS INTEGER))");
  EXPECT_THAT(
      StoreShown(*origin, "t", {{"t:1", "1"}, {"t:2", "0"}, {"t:3", "3"}}),
      ElementsAre("done", AllOf(StartsWith("reject"), HasSubstr("CHECK constraint")), "done"));
}

// Also with a statement that was prepared before.
TEST_F(SqliteTest, AMissingTableIsNoFaultOfTheWrites) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  const auto origin = Of("", "INSERT INTO cells VALUES ($key.id, $value)");
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:1", "v"}}), ElementsAre("done"));
  file_.Run("ALTER TABLE cells RENAME TO away");
  EXPECT_THAT(
      StoreShown(*origin, "t", {{"t:2", "v"}, {"t:3", "v"}}),
      ElementsAre(AllOf(StartsWith("call: FAILED_PRECONDITION"), HasSubstr("no such table"))));
  file_.Run("ALTER TABLE away RENAME TO cells");
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:2", "v"}}), ElementsAre("done"));
}

TEST_F(SqliteTest, WaitsForALockAsLongAsItMay) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  SqliteOptions options = Options("SELECT body FROM cells WHERE id = $key.id",
                                  "INSERT INTO cells VALUES ($key.id, $value)");
  options.busy_timeout = absl::Milliseconds(50);
  const auto hasty = Of(options);
  EXPECT_THAT(StoreShown(*hasty, "t", {{"t:1", "v"}}), ElementsAre("done"));
  file_.Run("BEGIN IMMEDIATE; INSERT INTO cells VALUES ('other', 'o')");
  EXPECT_THAT(StoreShown(*hasty, "t", {{"t:2", "v"}}),
              ElementsAre(StartsWith("call: UNAVAILABLE: SQLite: database is locked")));
  EXPECT_THAT(hasty->Stats().state, HasSubstr("locked"));
  // Who reads does not wait for who writes.
  EXPECT_EQ(LoadOne(*hasty, "t", "t:1"), "v");
  options.busy_timeout = absl::Seconds(20);
  const auto patient = Of(options);
  OriginStore store{{"shop", "t"}, {}};
  store.writes.resize(1);
  store.writes[0].key = "t:3";
  const MonoNanos begin = Clock::System()->Mono();
  const auto late = AwaitTask(patient->Store(store, MonoAfter(begin, absl::Milliseconds(50))));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded) << late.status();
  EXPECT_LT(Clock::System()->Mono() - begin, 5'000'000'000);
  std::atomic<bool> done = false;
  Threads writer(1, [&](int) {
    EXPECT_THAT(StoreShown(*patient, "t", {{"t:4", "v"}}), ElementsAre("done"));
    done = true;
  });
  EXPECT_FALSE(done);
  file_.Run("COMMIT");
  writer.Join();
  EXPECT_TRUE(done);
}

TEST_F(SqliteTest, FindsTheFileWhenItComesAndWhenItIsReplaced) {
  SqliteOptions options = Options("SELECT body FROM cells WHERE id = $key.id",
                                  "INSERT INTO cells VALUES ($key.id, $value)");
  options.path = file_.path() + "-later";
  const auto origin = Of(options);
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"),
              StartsWith("call: UNAVAILABLE: SQLite: unable to open database file"));
  EXPECT_THAT(origin->Stats().state, HasSubstr("unable to open"));
  EXPECT_TRUE(WasNotAsked(StoreAll(*origin, "t", {{"t:1", "v"}}).status()));
  const auto publish = [&](const std::string& value) {
    SqliteFile next;
    next.Run(StrCat("CREATE TABLE cells (id TEXT, body); INSERT INTO cells VALUES ('1', '", value,
                    "')"));
    std::filesystem::copy_file(next.path(), options.path + ".new");
    std::filesystem::rename(options.path + ".new", options.path);
  };
  publish("first");
  EXPECT_EQ(LoadOne(*origin, "t", "t:1"), "first");
  EXPECT_EQ(origin->Stats().state, "ok");
  publish("second");
  EXPECT_EQ(LoadOne(*origin, "t", "t:1"), "second");
  std::ofstream(options.path + ".new") << std::string(4096, 'x');
  std::filesystem::rename(options.path + ".new", options.path);
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"),
              StartsWith("call: DATA_LOSS: SQLite: file is not a database"));
  std::filesystem::remove(options.path);
}

TEST_F(SqliteTest, DoesNotLetALoadWrite) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  const auto origin = Of("INSERT INTO cells VALUES ($key.id, 'v') RETURNING body");
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"), StartsWith("call: "));
  EXPECT_EQ(file_.Ask("SELECT count(*) FROM cells", {}), "0");
}

TEST_F(SqliteTest, BoundsTheCallsThatWait) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  SqliteOptions options = Options("", "INSERT OR REPLACE INTO cells VALUES ($key.id, $value)");
  options.queue_max = 2;
  options.busy_timeout = absl::Seconds(20);
  const auto origin = Of(options);
  file_.Run("BEGIN IMMEDIATE");
  std::atomic<int> good = 0, full = 0;
  Threads callers(8, [&](int) {
    const std::string shown = StoreShown(*origin, "t", {{"t:1", "v"}}).front();
    if (shown == "done") ++good;
    if (shown.find("RESOURCE_EXHAUSTED") != std::string::npos) ++full;
  });
  // One runs, two wait, and five were sent away; or six, when three came before the first ran.
  while (full < 5) std::this_thread::yield();
  file_.Run("COMMIT");
  callers.Join();
  EXPECT_EQ(full.load() + good.load(), 8);
  EXPECT_GE(good.load(), 2);
}

TEST_F(SqliteTest, EndsAllCallsWhenItIsDestroyed) {
  auto origin =
      Of("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
  constexpr int kCalls = 5;
  std::atomic<int> ended = 0;
  for (int i = 0; i < kCalls; ++i) {
    OriginLoad load{{"shop", "t"}, {{"t:1"}}};
    Spawn(origin->Load(load, MonoAfter(Clock::System()->Mono(), absl::Minutes(1))),
          [&](const auto& loaded) {
            EXPECT_FALSE(loaded.ok());
            ++ended;
          });
  }
  origin = nullptr;
  while (ended < kCalls) std::this_thread::yield();
  EXPECT_EQ(ended.load(), kCalls);
}

TEST_F(SqliteTest, ChecksStatementsAndOptions) {
  file_.Run("CREATE TABLE cells (id TEXT PRIMARY KEY, body)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.load = "SELECT bdy FROM cells WHERE id = $key.id";
  type.store = "INSERT INTO cels VALUES ($key, $value)";
  type.remove = "DELETE FROM cells WHERE id = $key.id";
  type.scan = "SELECT body FROM cells WHERE id > $cursor LIMIT $limit";
  SqlType writes = SqlTypeOf("w", {"t:{id}"});
  writes.load = "DELETE FROM cells WHERE id = $key.id RETURNING body";
  SqliteOptions options = Options("SELECT 1");
  options.types = {type, writes};
  const auto problems = CheckSqliteStatements(options);
  ASSERT_TRUE(problems.ok()) << problems.status();
  std::vector<std::string> all;
  for (const SqlProblem& each : *problems) {
    all.push_back(StrCat(each.type, ".", SqlUseName(each.use), ": ", each.what));
  }
  EXPECT_THAT(all, ElementsAre("t.load: SQLite refuses the statement: no such column: bdy",
                               "t.store: SQLite refuses the statement: no such table: cels",
                               "t.scan: its rows have no column key",
                               "w.load: it writes, which only store and delete statements may"));
  options.path += "-missing";
  EXPECT_EQ(CheckSqliteStatements(options).status().code(), absl::StatusCode::kUnavailable);
  const std::function<void(SqliteOptions*)> wrong[] = {
      [](SqliteOptions* o) { o->path = ""; },
      [](SqliteOptions* o) { o->readers = 0; },
      [](SqliteOptions* o) { o->readers = 65; },
      [](SqliteOptions* o) { o->queue_max = 0; },
      [](SqliteOptions* o) { o->busy_timeout = absl::Seconds(-1); },
      [](SqliteOptions* o) { o->busy_timeout = absl::Seconds(61); },
      [](SqliteOptions* o) { o->answer_bytes_max = 1'000; },
      [](SqliteOptions* o) { o->types[0].load = "SELECT ?1"; },
  };
  for (const auto& change : wrong) {
    SqliteOptions bad = Options("SELECT 1");
    change(&bad);
    EXPECT_EQ(NewSqliteOrigin(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace larder
