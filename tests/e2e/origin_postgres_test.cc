// larderd in front of a real PostgreSQL server: many keys in few statements, and what callers are
// told when the server is restarted, has no connection left, or takes too long.

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "tests/e2e/origin_fixture.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

// Counts statements, not keys: what a CTE says is said once a statement.
constexpr char kCounted[] =
    "WITH counted AS MATERIALIZED (SELECT nextval('statements')) SELECT id, body AS value FROM "
    "users, counted WHERE id = ANY($keys.id)";

class OriginPostgresTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    SharedPostgres().Run(
        "DROP TABLE IF EXISTS users; DROP SEQUENCE IF EXISTS statements; DROP ROLE IF EXISTS app;"
        "CREATE SEQUENCE statements; CREATE TABLE users (id text PRIMARY KEY, body text NOT NULL);"
        "INSERT INTO users SELECT i::text, 'user ' || i FROM generate_series(1, 1000) AS i;"
        "CREATE ROLE app LOGIN PASSWORD 'secret'; GRANT ALL ON users, statements TO app");
  }
  void SetUp() override { ConnectionsAtMost(40); }

  // How many the server gives to larderd.
  static void ConnectionsAtMost(int count) {
    SharedPostgres().Run("ALTER ROLE app CONNECTION LIMIT " + std::to_string(count));
  }
  static void DropConnections() {
    SharedPostgres().Run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    EXPECT_TRUE(Eventually([] {
      return SharedPostgres().Ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") ==
             "0";
    }));
  }
  static int Statements() {
    return std::stoi(SharedPostgres().Ask("SELECT nextval('statements')"));
  }

  std::string Config(const std::string& load = kCounted,
                     const std::string& statement_timeout = "5s") {
    const std::string password = directory_.path() + "/password";
    std::ofstream(password) << "secret\n";
    return "origins:\n"
           "  db:\n"
           "    postgres:\n"
           "      url: \"postgresql://app@127.0.0.1:" +
           std::to_string(SharedPostgres().port()) +
           "/postgres\"\n"
           "      password_file: \"" +
           password +
           "\"\n"
           "      statement_timeout: " +
           statement_timeout +
           "\n"
           // A busy machine brings the keys of a batch together slowly.
           "    batch: { delay: 50ms }\n"
           "types:\n"
           "  user:\n"
           "    match: [\"user:{id}\"]\n"
           "    origin: db\n"
           "    ttl: { absent: 1ms }\n"
           "    sql:\n"
           "      load: \"" +
           load +
           "\"\n"
           "  single:\n"
           "    match: [\"single:{id}\"]\n"
           "    origin: db\n"
           "    sql: { load: \"SELECT body FROM users WHERE id = $key.id\" }\n"
           "  slow:\n"
           "    match: [\"slow:{id}\"]\n"
           "    origin: db\n"
           "    sql: { load: \"SELECT body FROM users, pg_sleep(60) WHERE id = $key.id\" }\n";
  }

  static std::string User(int i) { return "user:" + std::to_string(i); }

  const TempDir directory_;
};

TEST_F(OriginPostgresTest, AStatementThatTheDatabaseRefusesIsAMistakeOfItsLine) {
  const std::string config = Config("SELECT nothing_like_it FROM users WHERE id = $key.id");
  const std::string file = directory_.path() + "/wrong.yaml";
  std::ofstream(file) << config;
  const auto line =
      1 + std::count(config.begin(), config.begin() + static_cast<int>(config.find("nothing_like")),
                     '\n');
  const Ended ended = RunLarderd({"--config", file});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_THAT(ended.err, testing::HasSubstr(file + ":" + std::to_string(line) + ":"));
  EXPECT_THAT(ended.err, testing::HasSubstr("nothing_like_it"));
}

TEST_F(OriginPostgresTest, ThousandKeysAreLoadedInFewStatements) {
  Replica replica(Config());
  EXPECT_EQ(Loaded(&replica, "user:1"), "user 1");
  EXPECT_EQ(Loaded(&replica, "single:1"), "user 1");
  std::vector<std::string> keys;
  for (int i = 1; i < 1000; ++i) keys.push_back(User(i + 1));
  keys.push_back("user:nobody");
  const int before = Statements();
  const uint64_t calls = replica.Stats().origins(0).load_calls();
  const v1::BatchGetOrLoadResponse response = replica.BatchGetOrLoad(keys);
  for (int i = 0; i < 999; ++i) {
    ASSERT_EQ(Shown(response.results(i)), "user " + std::to_string(i + 2));
    ASSERT_EQ(response.results(i).hit().tier(), v1::TIER_ORIGIN);
  }
  EXPECT_EQ(Shown(response.results(999)), "NEGATIVE");
  EXPECT_LE(Statements() - before - 1, 12);
  EXPECT_LE(replica.Stats().origins(0).load_calls() - calls, 12u);
}

TEST_F(OriginPostgresTest, RestartIsATypedErrorAndThenOver) {
  Replica replica(Config());
  EXPECT_EQ(Loaded(&replica, "user:1"), "user 1");
  for (const bool crash : {false, true}) {
    crash ? SharedPostgres().Crash() : SharedPostgres().Stop();
    for (int i = 0; i < 10; ++i)
      EXPECT_EQ(Loaded(&replica, "user:new" + std::to_string(i)), "ORIGIN_UNAVAILABLE");
    EXPECT_EQ(Loaded(&replica, "user:1"), "user 1");
    EXPECT_NE(replica.Stats().origins(0).state(), "ok");
    SharedPostgres().Start();
    const std::string key = User(crash ? 2 : 3);
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, key).rfind("user ", 0) == 0; }));
    EXPECT_TRUE(Eventually([&] { return replica.Stats().origins(0).state() == "ok"; }));
  }
}

TEST_F(OriginPostgresTest, ServerThatIsAwayAtTheStartIsNoWrongConfiguration) {
  SharedPostgres().Stop();
  Replica replica(Config());
  EXPECT_EQ(Loaded(&replica, "user:1"), "ORIGIN_UNAVAILABLE");
  SharedPostgres().Start();
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, "user:1") == "user 1"; }));
}

TEST_F(OriginPostgresTest, CallsShareTheConnectionsThatTheServerGives) {
  ConnectionsAtMost(2);
  Replica replica(Config());
  std::vector<std::string> keys;
  for (int i = 1; i <= 300; ++i) {
    keys.push_back(User(i));
    keys.push_back("single:" + std::to_string(i));
  }
  Crowd crowd(&replica, keys);
  for (const auto& [shown, count] : crowd.Answers()) {
    EXPECT_EQ(shown.rfind("user ", 0), 0u) << shown;
    EXPECT_EQ(count, 2);
  }
  EXPECT_LE(replica.Stats().origins(0).connections(), 2u);
}

TEST_F(OriginPostgresTest, NoConnectionAtAllIsATypedErrorAndThenOver) {
  Replica replica(Config());
  EXPECT_EQ(Loaded(&replica, "user:1"), "user 1");
  ConnectionsAtMost(0);
  DropConnections();
  int asked = 0;
  EXPECT_TRUE(Eventually([&] {
    // Connections that it has lost it may notice by the next call alone.
    EXPECT_EQ(Loaded(&replica, "user:none" + std::to_string(++asked)), "ORIGIN_UNAVAILABLE");
    return replica.Stats().origins(0).state().find("too many connections") != std::string::npos;
  })) << replica.Stats().origins(0).state();
  ConnectionsAtMost(40);
  EXPECT_TRUE(Eventually([&] { return Loaded(&replica, "user:2") == "user 2"; }));
}

TEST_F(OriginPostgresTest, StatementThatTakesTooLongIsGivenUp) {
  Replica replica(Config(kCounted, "1s"));
  const auto began = steady_clock::now();
  EXPECT_EQ(Loaded(&replica, "slow:1"), "ORIGIN_TIMEOUT");
  const auto took = steady_clock::now() - began;
  EXPECT_GE(took, seconds(1));
  EXPECT_LT(took, seconds(5));
  EXPECT_TRUE(Eventually([] {
    return SharedPostgres().Ask(
               "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND "
               "usename = 'app'") == "0";
  }));
  EXPECT_EQ(Loaded(&replica, "user:1"), "user 1");
}

TEST_F(OriginPostgresTest, StatementThatTheServerRefusesIsAnErrorOfTheConfiguration) {
  const std::string path = directory_.path() + "/larder.yaml";
  std::ofstream(path) << Config("SELECT bodi FROM users WHERE id = $key.id");
  const Ended ended = RunLarderd({"--config", path, "--set", "listen.grpc=127.0.0.1:0"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find(path + ":14:13: types.user.sql.load: "), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("\"bodi\" does not exist"), std::string::npos) << ended.err;
}

TEST_F(OriginPostgresTest, ParameterThatThereIsNotIsFoundWithoutAServer) {
  const std::string path = directory_.path() + "/larder.yaml";
  std::ofstream(path) << Config("SELECT body FROM users WHERE id = $key.name");
  const Ended ended = RunLarderd({"--config", path, "--check"});
  EXPECT_EQ(ended.exit_code, 2);
  EXPECT_NE(ended.err.find(path + ":14:13: types.user.sql.load: "), std::string::npos) << ended.err;
}

}  // namespace
}  // namespace larder
