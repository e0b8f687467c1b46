// What is found wrong before the first call: options, URLs, statements.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/strings.h"
#include "tests/origin/postgres_rig.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

MonoNanos Soon() { return MonoAfter(Clock::System()->Mono(), absl::Seconds(20)); }

PostgresOptions Options(std::vector<SqlType> types = {}) {
  PostgresOptions options;
  options.name = "shop-db";
  options.url = SharedPostgres().url();
  options.types = std::move(types);
  return options;
}

std::vector<std::string> Problems(const PostgresOptions& options) {
  const auto problems = CheckPostgresStatements(options, Soon());
  if (!problems.ok()) return {problems.status().ToString()};
  std::vector<std::string> all;
  for (const SqlProblem& problem : *problems) {
    all.push_back(StrCat(problem.type, ".", SqlUseName(problem.use), ": ", problem.what));
  }
  return all;
}

TEST(PostgresCheck, FindsEveryStatementThatTheServerRefuses) {
  SharedPostgres().Run(
      "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id int PRIMARY KEY, body jsonb)");
  SqlType good = SqlTypeOf("good", {"account:{id}"});
  good.load = "SELECT body FROM accounts WHERE id = $key.id";
  good.store =
      "INSERT INTO accounts VALUES ($key.id, $value) ON CONFLICT (id) DO UPDATE SET body = "
      "excluded.body";
  good.remove = "DELETE FROM accounts WHERE id = $key.id";
  good.scan = "SELECT 'account:' || id AS key, body FROM accounts WHERE id > $cursor LIMIT $limit";
  SqlType bad = SqlTypeOf("bad", {"account:{id}"});
  bad.load = "SELECT bdy, ttl FROM accounts WHERE id = $key.id";
  bad.store = "INSERT INTO acounts VALUES ($key.id, $value)";
  bad.remove = "DELETE accounts WHERE id = $key.id";
  bad.scan = "SELECT id, body FROM accounts WHERE id > $cursor LIMIT $limit";
  EXPECT_THAT(Problems(Options({good})), ElementsAre());
  EXPECT_THAT(
      Problems(Options({good, bad})),
      ElementsAre(
          "bad.load: PostgreSQL refuses the statement: column \"bdy\" does not exist, near \"bdy, "
          "ttl FROM accounts WHERE i\"",
          "bad.store: PostgreSQL refuses the statement: relation \"acounts\" does not exist, near "
          "\"acounts VALUES ($1, $2)\"",
          "bad.delete: PostgreSQL refuses the statement: syntax error at or near \"accounts\", "
          "near \"accounts WHERE id = $1\"",
          "bad.scan: its rows have no column key"));
}

TEST(PostgresCheck, FindsAnswersWithoutTheColumnsThatAreNeeded) {
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.load = "SELECT 5 AS ttl WHERE $key.id = 'x'";
  SqlType many = SqlTypeOf("many", {"t:{id}"});
  many.load = "SELECT 'v' WHERE 'x' = ANY($keys.id)";
  EXPECT_THAT(
      Problems(Options({type, many})),
      ElementsAre("t.load: its rows have no column value",
                  HasSubstr("many.load: its rows have neither a column key nor a column id")));
}

TEST(PostgresCheck, SaysThatADatabaseCannotBeAsked) {
  PostgresOptions options = Options();
  options.url = "postgresql://larder:hush@127.0.0.1:1/postgres";
  const auto problems = CheckPostgresStatements(options, Soon());
  EXPECT_EQ(problems.status().code(), absl::StatusCode::kUnavailable) << problems.status();
  EXPECT_THAT(problems.status().ToString(), HasSubstr("refused"));
  EXPECT_EQ(problems.status().ToString().find("hush"), std::string::npos);
}

TEST(PostgresCheck, RefusesBadOptions) {
  const std::function<void(PostgresOptions*)> wrong[] = {
      [](PostgresOptions* o) { o->pool = 0; },
      [](PostgresOptions* o) { o->pool = 257; },
      [](PostgresOptions* o) { o->connect_timeout = absl::ZeroDuration(); },
      [](PostgresOptions* o) { o->connect_timeout = absl::Minutes(1) + absl::Nanoseconds(1); },
      [](PostgresOptions* o) { o->statement_timeout = absl::Microseconds(999); },
      [](PostgresOptions* o) { o->statement_timeout = absl::Hours(1) + absl::Nanoseconds(1); },
      [](PostgresOptions* o) { o->cancel_wait = absl::Seconds(-1); },
      [](PostgresOptions* o) { o->queue_max = 0; },
      [](PostgresOptions* o) { o->queue_max = 100'001; },
      [](PostgresOptions* o) { o->answer_bytes_max = 1023; },
      [](PostgresOptions* o) { o->answer_bytes_max = (1 << 30) + 1; },
      [](PostgresOptions* o) {
        o->types = {SqlTypeOf("t", {"t:{id}"})};
        o->types[0].load = "SELECT $ky";
      },
  };
  const auto executor = ThreadPool::New({.threads = 1});
  for (const auto& change : wrong) {
    PostgresOptions options = Options();
    options.executor = executor.get();
    change(&options);
    EXPECT_EQ(NewPostgresOrigin(options).status().code(), absl::StatusCode::kInvalidArgument);
  }
  PostgresOptions options = Options();
  options.executor = executor.get();
  options.pool = 256;
  options.connect_timeout = absl::Minutes(1);
  options.statement_timeout = absl::Hours(1);
  options.cancel_wait = absl::Minutes(1);
  EXPECT_TRUE(NewPostgresOrigin(options).ok());
}

TEST(PostgresCheck, NeverShowsAUrl) {
  const std::pair<const char*, const char*> urls[] = {
      {"postgresql://larder:hush@host/db?sslmod=require",
       "invalid URI query parameter: \"sslmod\""},
      {"postgres//larder:hush@host/db", "is neither a URL"},
      {"host=a password=hush dbnam=x", "invalid connection option \"dbnam\""},
      {"hush", "is neither a URL"},
      {"postgresql://larder:hush@[host/db", "is neither a URL"},
  };
  const auto executor = ThreadPool::New({.threads = 1});
  for (const auto& [url, what] : urls) {
    PostgresOptions options = Options();
    options.executor = executor.get();
    options.url = url;
    const std::string message = NewPostgresOrigin(options).status().ToString();
    EXPECT_THAT(message, HasSubstr(what));
    EXPECT_EQ(message.find("hush"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace larder
