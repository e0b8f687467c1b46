#include "config/origins.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "config/postgres_url.h"
#include "config/reload.h"
#include "config/sql_problem.h"
#include "config/text_file.h"
#include "tests/config/some_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

Config Load(const std::string& text) {
  const auto config = LoadConfig({.file_name = "larder.yaml", .text = text}, SomeMachine());
  EXPECT_TRUE(config.ok()) << config.status().message();
  return config.ok() ? *config : Config{};
}

std::vector<OriginConfig> Origins(const std::string& text) {
  const auto origins = OriginsOf(Load(text));
  EXPECT_TRUE(origins.ok()) << origins.status();
  return origins.ok() ? *origins : std::vector<OriginConfig>{};
}

TEST(OriginsTest, WithoutAnyThereIsNone) { EXPECT_THAT(Origins(""), testing::IsEmpty()); }

TEST(OriginsTest, DefaultsAreThoseOfTheOriginsThemselves) {
  const auto origins = Origins(
      "origins: {a: {postgres: {url: x}}, b: {grpc: {target: y}}, c: {sqlite: {path: /z}}}");
  ASSERT_EQ(origins.size(), 3u);
  const PostgresOptions& postgres = origins[0].postgres;
  EXPECT_EQ(origins[0].kind, OriginKind::kPostgres);
  EXPECT_EQ(postgres.name, "a");
  EXPECT_EQ(postgres.url, "x");
  EXPECT_EQ(postgres.password_file, "");
  EXPECT_EQ(postgres.pool, PostgresOptions().pool);
  EXPECT_EQ(postgres.connect_timeout, PostgresOptions().connect_timeout);
  EXPECT_EQ(postgres.statement_timeout, PostgresOptions().statement_timeout);
  const GrpcOriginOptions& grpc = origins[1].grpc;
  EXPECT_EQ(origins[1].kind, OriginKind::kGrpc);
  EXPECT_EQ(grpc.name, "b");
  EXPECT_EQ(grpc.target, "y");
  EXPECT_EQ(grpc.timeout, GrpcOriginOptions().timeout);
  EXPECT_EQ(grpc.message_bytes_max, GrpcOriginOptions().message_bytes_max);
  EXPECT_EQ(grpc.value_bytes_max, 1u << 20);
  EXPECT_EQ(grpc.channels, GrpcOriginOptions().channels);
  EXPECT_FALSE(grpc.tls.enabled);
  const SqliteOptions& sqlite = origins[2].sqlite;
  EXPECT_EQ(origins[2].kind, OriginKind::kSqlite);
  EXPECT_EQ(sqlite.name, "c");
  EXPECT_EQ(sqlite.path, "/z");
  EXPECT_EQ(sqlite.readers, SqliteOptions().readers);
  EXPECT_EQ(sqlite.busy_timeout, SqliteOptions().busy_timeout);
  for (const OriginConfig& origin : origins) {
    const OriginGuardOptions want;
    EXPECT_EQ(origin.guard.concurrency, want.concurrency);
    EXPECT_EQ(origin.guard.queue_max, want.queue_max);
    EXPECT_EQ(origin.guard.call_max, want.call_max);
    EXPECT_EQ(origin.guard.breaker.failures, want.breaker.failures);
    EXPECT_EQ(origin.guard.breaker.slow, want.breaker.slow);
    EXPECT_EQ(origin.guard.breaker.slow_after, want.breaker.slow_after);
    EXPECT_EQ(origin.guard.breaker.window, want.breaker.window);
    EXPECT_EQ(origin.guard.breaker.min_calls, want.breaker.min_calls);
    EXPECT_EQ(origin.guard.breaker.open_min, want.breaker.open_min);
    EXPECT_EQ(origin.guard.breaker.open_max, want.breaker.open_max);
    EXPECT_EQ(origin.guard.retry_budget.ratio, want.retry_budget.ratio);
    EXPECT_EQ(origin.guard.retry_budget.burst, want.retry_budget.burst);
    EXPECT_EQ(origin.batch_keys, 100u);
    EXPECT_EQ(origin.batch_delay, absl::Milliseconds(5));
  }
}

TEST(OriginsTest, SettingsArriveWhereTheyBelong) {
  const auto origins = Origins(
      "limits: {value_bytes: 2MiB}\n"
      "origins:\n"
      "  svc:\n"
      "    grpc: {target: t, timeout: 2s, channels: 3, message_bytes: 8MiB, tls: {ca_file: /ca, "
      "cert_file: /cert, key_file: /key, server_name: s}, metadata: {x-b: {value: \"2\"}, x-a: "
      "{value: \"1\"}}}\n"
      "    concurrency: 5\n"
      "    queue: 0\n"
      "    batch: {keys: 7, delay: 3ms}\n"
      "    breaker: {failures: 20%, slow: 30%, slow_after: 4s, window: 5s, min_calls: 6, open_min: "
      "7s, open_max: 8s}\n"
      "    retry_budget: {ratio: 5%, burst: 9}\n"
      "  db:\n"
      "    postgres: {url: u, password_file: /p, pool: 2, connect_timeout: 3s, statement_timeout: "
      "4s}\n"
      "    concurrency: 2000\n"
      "  file: {sqlite: {path: /f, readers: 3, busy_timeout: 4s}}\n"
      "types: {slow: {origin: svc, freshness: {hard_timeout: 3m}}}");
  ASSERT_EQ(origins.size(), 3u);
  EXPECT_EQ(origins[0].postgres.password_file, "/p");
  EXPECT_EQ(origins[0].postgres.pool, 2);
  EXPECT_EQ(origins[0].postgres.connect_timeout, absl::Seconds(3));
  EXPECT_EQ(origins[0].postgres.statement_timeout, absl::Seconds(4));
  EXPECT_GE(origins[0].postgres.queue_max, 2000u) << "what the guard lets through has room to wait";
  EXPECT_EQ(origins[1].sqlite.readers, 3);
  EXPECT_EQ(origins[1].sqlite.busy_timeout, absl::Seconds(4));
  const OriginConfig& service = origins[2];
  EXPECT_EQ(service.name, "svc");
  EXPECT_EQ(service.grpc.timeout, absl::Seconds(2));
  EXPECT_EQ(service.grpc.channels, 3);
  EXPECT_EQ(service.grpc.message_bytes_max, 8u << 20);
  EXPECT_EQ(service.grpc.value_bytes_max, 2u << 20);
  EXPECT_TRUE(service.grpc.tls.enabled);
  EXPECT_EQ(service.grpc.tls.ca_file, "/ca");
  EXPECT_EQ(service.grpc.tls.cert_file, "/cert");
  EXPECT_EQ(service.grpc.tls.key_file, "/key");
  EXPECT_EQ(service.grpc.tls.server_name, "s");
  EXPECT_THAT(service.grpc.metadata, ElementsAre(Pair("x-a", "1"), Pair("x-b", "2")));
  EXPECT_EQ(service.guard.concurrency, 5u);
  EXPECT_EQ(service.guard.queue_max, 0u);
  EXPECT_EQ(service.guard.call_max, absl::Minutes(3));
  EXPECT_EQ(service.guard.breaker.failures, 0.2);
  EXPECT_EQ(service.guard.breaker.slow, 0.3);
  EXPECT_EQ(service.guard.breaker.slow_after, absl::Seconds(4));
  EXPECT_EQ(service.guard.breaker.window, absl::Seconds(5));
  EXPECT_EQ(service.guard.breaker.min_calls, 6u);
  EXPECT_EQ(service.guard.breaker.open_min, absl::Seconds(7));
  EXPECT_EQ(service.guard.breaker.open_max, absl::Seconds(8));
  EXPECT_EQ(service.guard.retry_budget.ratio, 0.05);
  EXPECT_EQ(service.guard.retry_budget.burst, 9u);
  EXPECT_EQ(service.batch_keys, 7u);
  EXPECT_EQ(service.batch_delay, absl::Milliseconds(3));
}

TEST(OriginsTest, SqlOriginsAreToldOfTheirTypesOnly) {
  const auto origins = Origins(
      "origins: {db: {postgres: {url: u}}, file: {sqlite: {path: /f}}}\n"
      "types:\n"
      "  user:\n"
      "    match: [\"user:{id}\", \"u:{id}\"]\n"
      "    origin: db\n"
      "    sql: {load: \"SELECT $key.id\", store: \"SELECT $value\", delete: \"SELECT $key\", "
      "scan: "
      "\"SELECT $limit, $cursor\"}\n"
      "  note: {origin: file, sql: {load: \"SELECT $key\"}}\n"
      "  other: {}\n");
  ASSERT_EQ(origins.size(), 2u);
  ASSERT_EQ(origins[0].postgres.types.size(), 1u);
  const SqlType& user = origins[0].postgres.types[0];
  EXPECT_EQ(user.name, "user");
  ASSERT_EQ(user.match.size(), 2u);
  EXPECT_EQ(user.match[1].text(), "u:{id}");
  EXPECT_EQ(user.load, "SELECT $key.id");
  EXPECT_EQ(user.store, "SELECT $value");
  EXPECT_EQ(user.remove, "SELECT $key");
  EXPECT_EQ(user.scan, "SELECT $limit, $cursor");
  ASSERT_EQ(origins[1].sqlite.types.size(), 1u);
  EXPECT_EQ(origins[1].sqlite.types[0].name, "note");
}

TEST(OriginsTest, PrintedConfigurationLoadsAgain) {
  const Config config = Load(
      "origins:\n"
      "  db: {postgres: {url: \"postgresql://u@h/d\"}, breaker: {slow_after: 1s, slow: 10%}}\n"
      "  svc: {grpc: {target: t, tls: true, metadata: {x-a: {value: \"a\\\\b \\\"c\\\"\"}}}}\n"
      "  file: {sqlite: {path: /f}}\n"
      "types:\n"
      "  user:\n"
      "    origin: db\n"
      "    match: [\"user:{id}\"]\n"
      "    sql:\n"
      "      load: |\n"
      "        SELECT body -- \"the\" body\n"
      "        FROM users\\x\n"
      "        WHERE id = $key.id AND note = E'\\n' AND\tlast\n"
      "    freshness: {refresh_ahead: 80%, stale_if_error: 1h, errors: [unavailable]}\n"
      "  note: {origin: file, sql: {load: \"SELECT $key\"}, freshness: {refresh_ahead: 50%}, ttl: "
      "{adapt: {change: true}}}\n");
  EXPECT_THAT(config.proto->types().at("user").sql().load(), HasSubstr("users\\x\nWHERE"));
  const Config again = Load(PrintConfig(config));
  ASSERT_NE(again.proto, nullptr);
  for (const char* const origin : {"db", "svc", "file"}) {
    const auto without_secrets = [origin](const Config& of) {
      auto copy = of.proto->origins().at(origin);
      for (auto& [name, entry] : *copy.mutable_grpc()->mutable_metadata()) entry.clear_value();
      return copy.DebugString();
    };
    EXPECT_EQ(without_secrets(again), without_secrets(config));
  }
  EXPECT_EQ(again.proto->origins().at("svc").grpc().metadata().at("x-a").value(), kNotShown);
  for (const char* const type : {"user", "note", "default"}) {
    EXPECT_EQ(again.proto->types().at(type).DebugString(),
              config.proto->types().at(type).DebugString());
  }
}

TEST(OriginsTest, StatementsAreNoLongerThanTheLimit) {
  const auto with = [](size_t bytes) {
    const std::string statement = "SELECT $key /*" + std::string(bytes - 16, 'x') + "*/";
    EXPECT_EQ(statement.size(), bytes);
    return LoadConfig({.file_name = "f",
                       .text = "origins: {a: {sqlite: {path: /f}}}\n"
                               "types: {t: {origin: a, sql: {load: \"" +
                               statement + "\"}}}"},
                      SomeMachine())
        .status();
  };
  EXPECT_EQ(with(64 << 10), absl::OkStatus());
  EXPECT_EQ(std::string(with((64 << 10) + 1).message()),
            "f:2:36: types.t.sql.load: is 65537 bytes; at most 65536");
}

TEST(OriginsTest, ProblemOfAStatementHasItsPlaceInTheFile) {
  const std::string text =
      "origins: {a: {sqlite: {path: /f}}}\n"
      "types:\n"
      "  user:\n"
      "    origin: a\n"
      "    sql: {load: \"SELECT $key\"}\n";
  const SqlProblem problem{"user", SqlUse::kLoad, "no such table: users"};
  EXPECT_EQ(SqlProblemLine(Load(text), problem),
            "larder.yaml:5:17: types.user.sql.load: no such table: users");
  const auto set = LoadConfig(
      {.text = text, .overrides = {{"types.user.sql.load", "SELECT $key, 1"}}}, SomeMachine());
  ASSERT_TRUE(set.ok()) << set.status().message();
  EXPECT_EQ(SqlProblemLine(*set, problem),
            "--set types.user.sql.load: types.user.sql.load: no such table: users");
}

class OriginFilesTest : public testing::Test {
 protected:
  OriginFilesTest() {
    std::string name = (std::filesystem::temp_directory_path() / "larder-origin-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  ~OriginFilesTest() override { std::filesystem::remove_all(root_); }

  std::string With(const std::string& content) {
    const std::string path = (root_ / "file").string();
    std::ofstream(path) << content;
    return path;
  }
  static absl::StatusOr<std::vector<OriginConfig>> Postgres(const std::string& path) {
    return OriginsOf(Load("origins: {a: {postgres: {url_file: \"" + path + "\"}}}"));
  }
  static absl::StatusOr<std::vector<OriginConfig>> Metadata(const std::string& path) {
    return OriginsOf(
        Load("origins: {a: {grpc: {target: t, metadata: {x: {file: \"" + path + "\"}}}}}"));
  }

  std::filesystem::path root_;
};

TEST_F(OriginFilesTest, UrlMayComeFromAFileAndHoldAPasswordThere) {
  const auto origins = Postgres(With("  postgresql://u:s3cret@h/d\n"));
  ASSERT_TRUE(origins.ok()) << origins.status();
  EXPECT_EQ((*origins)[0].postgres.url, "postgresql://u:s3cret@h/d");
}

TEST_F(OriginFilesTest, MetadataMayComeFromAFile) {
  const auto origins = Metadata(With("Bearer abc\n\n"));
  ASSERT_TRUE(origins.ok()) << origins.status();
  EXPECT_THAT((*origins)[0].grpc.metadata, ElementsAre(Pair("x", "Bearer abc")));
}

TEST_F(OriginFilesTest, WhatIsWrongWithAFileIsSaidWithoutItsContent) {
  absl::Status status = Postgres("/nowhere/at/all").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(std::string(status.message()),
            "origins.a.postgres.url_file: /nowhere/at/all cannot be read: No such file or "
            "directory");
  const std::string empty = With(" \n");
  EXPECT_EQ(std::string(Postgres(empty).status().message()),
            "origins.a.postgres.url_file: " + empty + " is empty");
  EXPECT_EQ(std::string(Metadata(empty).status().message()),
            "origins.a.grpc.metadata.x.file: what is in " + empty + " is empty");
  status = Metadata(With("s3cret\xC3\xA9")).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("must be printable ASCII"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  status = Postgres(With(std::string(5000, 'x'))).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("has more than 4096 bytes"));
}

TEST_F(OriginFilesTest, TextMayHaveAsManyBytesAsItsLimit) {
  const auto read = [&](size_t bytes, const std::string& end) {
    return ReadTextFile("f", With(std::string(bytes, 'x') + end), 100);
  };
  EXPECT_EQ(read(100, "\n")->size(), 100u);
  EXPECT_TRUE(absl::IsInvalidArgument(read(101, "").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(read(10'000, "").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(read(1, std::string(10'000, ' ') + "x").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(ReadTextFile("f", root_.string(), 100).status()));
}

TEST(PostgresUrlTest, FindsPasswords) {
  for (const char* const url :
       {"postgresql://u:p@h/d", "postgres://u:p@h", "postgresql://u:p@h1:1,h2:2/d",
        "postgresql://h/d?password=p", "postgresql://u@h/d?sslmode=require&password=p",
        "postgresql://h/d?sslpassword=p", "host=h password=p", "password = 'p q' host=h",
        "host='a b' password=p", "host='it\\'s' password=p", "sslpassword=p"}) {
    EXPECT_TRUE(HoldsPassword(url)) << url;
  }
}

TEST(PostgresUrlTest, FindsNoneWhereThereIsNone) {
  for (const char* const url :
       {"", "postgresql://", "postgresql://u@h:5432/d", "postgresql://u:@h/d",
        "postgresql://[::1]:5432/d", "postgresql://h1:1,h2:2/d?target_session_attrs=any",
        "postgresql:///d?host=/run&passfile=/p", "host=h dbname=password user=u",
        "host=h password=''", "dbname='password=p'", "host=h password=", "password",
        "==", "= =", "host='open password=p", "host=a\\"}) {
    EXPECT_FALSE(HoldsPassword(url)) << url;
  }
}

}  // namespace
}  // namespace larder
