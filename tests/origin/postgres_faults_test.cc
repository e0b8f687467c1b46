// What becomes of calls when PostgreSQL is restarted, full, slow, silent or away.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "origin/origin_guard.h"
#include "tests/base/threads.h"
#include "tests/origin/postgres_rig.h"
#include "tests/origin/postgres_server.h"
#include "tests/origin/sql_call.h"

namespace larder {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Until `condition` holds, at most 30 seconds.
template <typename Condition>
void Until(Condition condition) {
  const MonoNanos end = MonoAfter(Clock::System()->Mono(), absl::Seconds(30));
  while (!condition()) {
    ASSERT_LT(Clock::System()->Mono(), end) << "it never comes";
    // The server is another process, which gives no event.
    usleep(5'000);
  }
}

class PostgresFaults : public testing::Test {
 protected:
  std::unique_ptr<Origin> Of(const std::string& load, PostgresOptions options = {}) {
    SqlType type = SqlTypeOf("t", {"t:{id}"});
    type.load = load;
    type.store = "SELECT $key.id, $value, pg_sleep(0)";
    options.types = {type};
    if (options.url.empty()) options.url = SharedPostgres().url();
    return NewPostgres(options, executor_.get());
  }
  static absl::Duration Took(MonoNanos begin) {
    return absl::Nanoseconds(Clock::System()->Mono() - begin);
  }

  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
};

TEST_F(PostgresFaults, AnswersEveryCallThroughARestartAndIsWellAfterIt) {
  PostgresServer server;
  PostgresOptions options;
  options.url = server.url();
  options.pool = 4;
  const auto origin = Of("SELECT 'v' FROM pg_sleep(0.001)", options);
  std::atomic<bool> stop = false;
  std::atomic<int> good = 0, bad = 0, strange = 0;
  Threads callers(6, [&](int) {
    while (!stop) {
      const auto loaded = LoadAll(*origin, "t", {"t:1", "t:2"}, absl::Seconds(5));
      if (loaded.ok() && Shown((*loaded)[0]) == "v" && Shown((*loaded)[1]) == "v") {
        ++good;
      } else if (loaded.status().code() == absl::StatusCode::kUnavailable) {
        ++bad;
      } else {
        ++strange;
        ADD_FAILURE() << loaded.status();
      }
    }
  });
  const auto more = [&good] {
    const int before = good;
    Until([&] { return good >= before + 50; });
  };
  for (const bool crash : {false, true}) {
    more();
    crash ? server.Crash() : server.Stop();
    const int before = bad;
    Until([&] { return bad > before; });
    EXPECT_NE(origin->Stats().state, "");
    server.Start();
    more();
  }
  stop = true;
  callers.Join();
  EXPECT_EQ(strange.load(), 0);
  EXPECT_GT(bad.load(), 0);
  EXPECT_EQ(origin->Stats().state, "ok");
  EXPECT_LE(origin->Stats().connections, 4u);
}

TEST_F(PostgresFaults, WaitsForTheConnectionsThatItHasWhenTheServerGivesNoMore) {
  PostgresServer server({"max_connections = 3"});
  PostgresOptions options;
  options.url = server.url();
  options.pool = 8;
  const auto origin = Of("SELECT 'v' FROM pg_sleep(0.005)", options);
  std::atomic<int> good = 0;
  Threads(12, [&](int) {
    for (int i = 0; i < 10; ++i) {
      if (LoadOne(*origin, "t", "t:1") == "v") ++good;
    }
  }).Join();
  EXPECT_EQ(good.load(), 120);
  EXPECT_LE(origin->Stats().connections, 3u);
  EXPECT_EQ(origin->Stats().errors, 0u);
  // Another origin gets none at all, and says so at once.
  std::vector<std::unique_ptr<Origin>> others;
  std::string shown;
  while (shown.find("too many") == std::string::npos && others.size() < 5) {
    others.push_back(Of("SELECT 'v'", options));
    shown = LoadOne(*others.back(), "t", "t:1");
  }
  EXPECT_THAT(shown, StartsWith("call: UNAVAILABLE"));
  EXPECT_THAT(others.back()->Stats().state, HasSubstr("too many clients"));
}

TEST_F(PostgresFaults, EndsStatementsThatTakeTooLong) {
  PostgresOptions options;
  options.statement_timeout = absl::Seconds(1);
  const auto origin =
      Of("SELECT 'v' FROM pg_sleep(CASE $key.id WHEN 'slow' THEN 60 ELSE 0 END)", options);
  EXPECT_THAT(LoadShown(*origin, "t", {"t:1", "t:slow", "t:2"}),
              ElementsAre("v", StartsWith("DEADLINE_EXCEEDED"), "v"));
  EXPECT_EQ(origin->Stats().connections, 1u);
  EXPECT_EQ(origin->Stats().errors, 0u);
  EXPECT_EQ(origin->Stats().item_errors, 1u);
  // Keys that are slow together are not tried one by one.
  const auto many = Of("SELECT id, 'v' FROM unnest($keys.id::text[]) AS id, pg_sleep(60)", options);
  EXPECT_THAT(LoadShown(*many, "t", {"t:1", "t:2"}),
              ElementsAre(StartsWith("call: DEADLINE_EXCEEDED")));
}

TEST_F(PostgresFaults, CancelsWhatNobodyWaitsForAndKeepsTheConnection) {
  const auto origin = Of("SELECT 'v' FROM pg_sleep(CASE $key.id WHEN 'gone' THEN 60 ELSE 0 END)");
  const std::string sleeping =
      "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%''gone''%' "
      "AND "
      "pid <> pg_backend_pid()";
  for (int i = 0; i < 5; ++i) {
    const MonoNanos begin = Clock::System()->Mono();
    EXPECT_THAT(LoadOne(*origin, "t", "t:gone", absl::Milliseconds(50)),
                StartsWith("call: DEADLINE_EXCEEDED"));
    EXPECT_LT(Took(begin), absl::Seconds(5));
    Until([&] { return SharedPostgres().Ask(sleeping) == "0"; });
    EXPECT_EQ(LoadOne(*origin, "t", "t:1"), "v");
  }
  EXPECT_LE(origin->Stats().connections, 2u);
  EXPECT_EQ(origin->Stats().errors, 5u);
}

TEST_F(PostgresFaults, ClosesAConnectionThatDoesNotObeyInTime) {
  PostgresOptions options;
  options.cancel_wait = absl::ZeroDuration();
  options.pool = 1;
  const auto origin =
      Of("SELECT 'v' FROM pg_sleep(CASE $key.id WHEN 'gone' THEN 60 ELSE 0 END)", options);
  EXPECT_THAT(LoadOne(*origin, "t", "t:gone", absl::Milliseconds(50)),
              StartsWith("call: DEADLINE_EXCEEDED"));
  EXPECT_EQ(LoadOne(*origin, "t", "t:1"), "v");
}

TEST_F(PostgresFaults, HangsOnNothingWhenTheServerTakesConnectionsAndSaysNoWord) {
  PostgresServer server;
  PostgresOptions options;
  options.url = server.url();
  options.pool = 1;
  options.connect_timeout = absl::Milliseconds(200);
  options.cancel_wait = absl::Milliseconds(100);
  auto origin =
      Of("SELECT 'v' FROM pg_sleep(CASE $key.id WHEN 'gone' THEN 60 ELSE 0 END)", options);
  // A connection may take longer than that on a busy machine.
  Until([&] { return LoadOne(*origin, "t", "t:1") == "v"; });
  server.Freeze();
  EXPECT_THAT(LoadOne(*origin, "t", "t:gone", absl::Milliseconds(50)),
              StartsWith("call: DEADLINE_EXCEEDED"));
  // The cancellation gets no answer, and so the connection is closed; there is no other.
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"), StartsWith("call: UNAVAILABLE"));
  const MonoNanos begin = Clock::System()->Mono();
  origin = nullptr;
  EXPECT_LT(Took(begin), absl::Seconds(10));
  server.Thaw();
}

TEST_F(PostgresFaults, ReplacesAConnectionThatTheServerEnds) {
  PostgresOptions options;
  options.pool = 1;
  const auto origin = Of("SELECT pg_backend_pid()", options);
  const std::string first = LoadOne(*origin, "t", "t:1");
  SharedPostgres().Run(StrCat("SELECT pg_terminate_backend(", first, ")"));
  Until([&] { return origin->Stats().connections == 0; });
  const std::string second = LoadOne(*origin, "t", "t:1");
  EXPECT_NE(second, first);
  EXPECT_THAT(second, testing::MatchesRegex("[0-9]+"));
}

TEST_F(PostgresFaults, LooksForAnotherServerWhenThisOneOnlyReads) {
  SharedPostgres().Run("CREATE TABLE IF NOT EXISTS kept_by_primary (id text)");
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "INSERT INTO kept_by_primary VALUES ($key.id || $value)";
  PostgresOptions options;
  type.load = "SELECT pg_backend_pid()";
  options.url = SharedPostgres().url() + "?options=-c%20default_transaction_read_only%3Don";
  options.pool = 1;
  options.types = {type};
  const auto origin = NewPostgres(options, executor_.get());
  const std::string first = LoadOne(*origin, "t", "t:1");
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:1", "v"}, {"t:2", "v"}}),
              ElementsAre(AllOf(StartsWith("call: UNAVAILABLE"), HasSubstr("25006"))));
  // Its connection is given up for a new one.
  Until([&] { return LoadOne(*origin, "t", "t:1") != first; });
}

TEST_F(PostgresFaults, BoundsTheCallsThatWait) {
  PostgresOptions options;
  options.pool = 1;
  options.queue_max = 2;
  const auto origin = Of("SELECT 'v' FROM pg_sleep(0.3)", options);
  std::atomic<int> good = 0, full = 0;
  Threads(8, [&](int) {
    const std::string shown = LoadOne(*origin, "t", "t:1");
    if (shown == "v") ++good;
    if (shown.find("RESOURCE_EXHAUSTED") != std::string::npos) ++full;
  }).Join();
  EXPECT_EQ(good + full, 8);
  EXPECT_GE(full.load(), 5);
  EXPECT_GE(good.load(), 2);
}

TEST_F(PostgresFaults, AnswersWhenTheServerDoesNot) {
  // Takes connections, in its backlog, and never says a word.
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 10), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  PostgresOptions options;
  options.url = StrCat("host=127.0.0.1 user=larder port=", ntohs(address.sin_port));
  options.connect_timeout = absl::Milliseconds(200);
  const auto origin = Of("SELECT 'v'", options);
  MonoNanos begin = Clock::System()->Mono();
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"), StartsWith("call: UNAVAILABLE"));
  EXPECT_GE(Took(begin), absl::Milliseconds(200));
  EXPECT_LT(Took(begin), absl::Seconds(5));
  // After that calls fail at once for a while, and never later than they allow.
  begin = Clock::System()->Mono();
  EXPECT_THAT(LoadOne(*origin, "t", "t:1", absl::Milliseconds(100)),
              AnyOf(StartsWith("call: UNAVAILABLE"), StartsWith("call: DEADLINE_EXCEEDED")));
  EXPECT_LT(Took(begin), absl::Seconds(5));
  close(fd);
  options.url = StrCat("host=127.0.0.1 user=larder port=", ntohs(address.sin_port));
  const auto closed = Of("SELECT 'v'", options);
  EXPECT_THAT(LoadOne(*closed, "t", "t:1"), HasSubstr("refused"));
}

// To the caller of a write that is `not stored` or `nobody knows`.
TEST_F(PostgresFaults, SaysOfAWriteWhetherAConnectionHadIt) {
  PostgresServer server;
  PostgresOptions options;
  options.url = server.url();
  options.pool = 1;
  const auto origin = Of("SELECT 'v'", options);
  EXPECT_THAT(StoreShown(*origin, "t", {{"t:1", "v"}}), ElementsAre("done"));
  server.Stop();
  Until([&] { return origin->Stats().connections == 0; });
  for (int i = 0; i < 2; ++i) {
    const absl::Status none = StoreAll(*origin, "t", {{"t:1", "v"}}).status();
    EXPECT_TRUE(absl::IsUnavailable(none)) << none;
    EXPECT_TRUE(WasNotAsked(none)) << none;
  }
  // Of a load that is no comfort: the origin is unwell, and stale values go on.
  const absl::Status load = LoadAll(*origin, "t", {"t:1"}).status();
  EXPECT_TRUE(absl::IsUnavailable(load)) << load;
  EXPECT_FALSE(WasNotAsked(load));
}

TEST_F(PostgresFaults, SaysOfAWriteWhoseConnectionIsLostThatItMayBeDone) {
  SqlType type = SqlTypeOf("t", {"t:{id}"});
  type.store = "SELECT pg_terminate_backend(pg_backend_pid()), $key.id, $value";
  PostgresOptions options;
  options.types = {type};
  const auto origin = NewPostgres(options, executor_.get());
  const absl::Status lost = StoreAll(*origin, "t", {{"t:1", "v"}}).status();
  EXPECT_TRUE(absl::IsUnavailable(lost)) << lost;
  EXPECT_FALSE(WasNotAsked(lost));
}

TEST_F(PostgresFaults, EndsAllCallsWhenItIsDestroyed) {
  PostgresOptions options;
  options.pool = 2;
  auto origin = Of("SELECT 'v' FROM pg_sleep(60)", options);
  constexpr int kCalls = 5;
  std::atomic<int> ended = 0, unavailable = 0;
  for (int i = 0; i < kCalls; ++i) {
    OriginLoad load{{"shop", "t"}, {{"t:1"}}};
    Spawn(origin->Load(load, MonoAfter(Clock::System()->Mono(), absl::Minutes(1))),
          [&](const auto& loaded) {
            if (loaded.status().code() == absl::StatusCode::kUnavailable) ++unavailable;
            ++ended;
          });
  }
  Until([&] { return origin->Stats().connections == 2; });
  origin = nullptr;
  Until([&] { return ended == kCalls; });
  EXPECT_EQ(unavailable.load(), kCalls);
}

TEST_F(PostgresFaults, TriesARefusedStatementAgainOnceItMayHaveBeenMended) {
  SharedPostgres().Run("DROP TABLE IF EXISTS late");
  const auto origin = Of("SELECT * FROM late WHERE id = $key.id");
  EXPECT_THAT(LoadOne(*origin, "t", "t:1"),
              AllOf(StartsWith("call: FAILED_PRECONDITION"), HasSubstr("\"late\" does not exist")));
  EXPECT_THAT(origin->Stats().state, HasSubstr("refuses the statement"));
  SharedPostgres().Run("CREATE TABLE late (id text, ttl int); INSERT INTO late VALUES ('1')");
  Until([&] { return LoadOne(*origin, "t", "t:1") == "1"; });
  EXPECT_EQ(origin->Stats().state, "ok");
  // The rows have other columns now, which a prepared statement may not have.
  SharedPostgres().Run("ALTER TABLE late ADD COLUMN value text DEFAULT 'new'");
  Until([&] { return LoadOne(*origin, "t", "t:1") == "new"; });
}

}  // namespace
}  // namespace larder
