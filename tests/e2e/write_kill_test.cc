// kill -9 of larderd at random moments, while writers behind go on and note outside of it what it
// has acknowledged. After the last restart: every acknowledged write, or a newer one of its key, is
// in the database; none came after a newer one; and none had an effect twice.
//
// What is not acknowledged may be stored or not. So of a key the database must have the newest
// acknowledged version with its value, or a newer version with the value of a write that was sent
// and not acknowledged.
//
// The database's side is a function that notes each delivery before it looks at the version: so
// that what the guard stops is seen, too.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "tests/base/free_port.h"
#include "tests/e2e/small_disk.h"
#include "tests/e2e/write_fixture.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kWriters = 4;
constexpr int kKeys = 40;

bool IsLong() { return std::getenv("LARDER_LONG") != nullptr; }

// What writers know of their writes.
class Ledger {
 public:
  void Sent(const std::string& key, const std::string& value) {
    const std::lock_guard lock(mu_);
    open_[key].insert(value);
  }
  void Acknowledged(const std::string& key, const std::string& value, uint64_t version) {
    const std::lock_guard lock(mu_);
    open_[key].erase(value);
    acknowledged_[key][version] = value;
    ++count_;
  }
  size_t count() const {
    const std::lock_guard lock(mu_);
    return count_;
  }
  // By key, the values by version. REQUIRES: no writer goes on.
  const std::map<std::string, std::map<uint64_t, std::string>>& acknowledged() const {
    return acknowledged_;
  }
  // Whether the write was sent and never acknowledged.
  bool IsOpen(const std::string& key, const std::string& value) const {
    const auto values = open_.find(key);
    return values != open_.end() && values->second.count(value) > 0;
  }

 private:
  mutable std::mutex mu_;
  std::map<std::string, std::map<uint64_t, std::string>> acknowledged_;
  std::map<std::string, std::set<std::string>> open_;
  size_t count_ = 0;
};

class WriteKillTest : public testing::Test {
 protected:
  WriteKillTest() {
    SharedPostgres().Run(
        "DROP TABLE IF EXISTS docs, deliveries; DROP FUNCTION IF EXISTS store;"
        "CREATE TABLE docs (id text PRIMARY KEY, body text, version bigint NOT NULL);"
        "CREATE TABLE deliveries (n bigserial, id text, version bigint, had_effect bool);"
        "CREATE FUNCTION store(k text, b text, v bigint) RETURNS void LANGUAGE plpgsql AS $$"
        " BEGIN"
        "  INSERT INTO docs VALUES (k, b, v) ON CONFLICT (id) DO UPDATE"
        "  SET body = excluded.body, version = excluded.version WHERE docs.version < v;"
        "  INSERT INTO deliveries (id, version, had_effect) VALUES (k, v, FOUND);"
        " END $$");
    const char* const given = std::getenv("LARDER_SEED");
    seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "seed " << seed_ << std::endl;
    random_.seed(seed_);
    port_ = FreePort();
  }
  ~WriteKillTest() override { StopWriters(); }

  void Configure(const std::string& write) {
    std::ofstream(directory_.path() + "/larder.yaml")
        << "data: { path: \"" << directory_.path() << "/data\" }\nmemory: { l1: 32MiB }\n"
        << "origins: { db: { " << SharedPostgresOrigin(directory_.path()) << " } }\n"
        << "types:\n  item:\n    match: [\"item:{id}\"]\n    origin: db\n    sql:\n"
        << "      load: \"SELECT body FROM docs WHERE id = $key\"\n"
        << "      store: \"SELECT store($key, $value, $version)\"\n"
        << "      delete: \"SELECT store($key, NULL, $version)\"\n"
        << "    write: { mode: behind, " << write << " }\n";
  }
  std::vector<std::string> Arguments() const {
    return {"--config", directory_.path() + "/larder.yaml",
            "--set",    "listen.grpc=127.0.0.1:" + std::to_string(port_),
            "--set",    "listen.native=127.0.0.1:0",
            "--set",    "listen.admin=127.0.0.1:0"};
  }
  milliseconds Within(int most) {
    return milliseconds(std::uniform_int_distribution<int>(0, most)(random_));
  }

  // Writes on, whatever becomes of larderd, until StopWriters.
  void StartWriters() {
    for (int i = 0; i < kWriters; ++i) writers_.emplace_back([this, i] { Write(i); });
  }
  void StopWriters() {
    stop_ = true;
    for (std::thread& writer : writers_) writer.join();
    writers_.clear();
  }
  void AwaitAcknowledged(size_t more) {
    const size_t enough = ledger_.count() + more;
    EXPECT_TRUE(Eventually([&] { return ledger_.count() >= enough; }));
  }

  // Starts a larderd that dies before or after it is ready.
  void KillWhileItStarts() {
    std::vector<std::string> words = Arguments();
    words.insert(words.begin(), LARDER_BIN_DIR "/larderd");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      const int null = open("/dev/null", O_WRONLY);
      dup2(null, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    // A moment of the seed's, whatever is under way then.
    std::this_thread::sleep_for(Within(150));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  // Kills so often, and checks what is there after the last start. `crash` does something else
  // to the world now and then, and with -1 makes it good.
  void KillAgainAndAgain(int kills, const std::function<void(int)>& crash = nullptr) {
    EndAgainAndAgain(SIGKILL, IsLong() ? kills * 50 : kills, crash);
  }
  void EndAgainAndAgain(int signal, int ends, const std::function<void(int)>& crash = nullptr) {
    StartWriters();
    for (int i = 0; i < ends; ++i) {
      ServerProcess server(Arguments());
      ASSERT_TRUE(server.running()) << "after " << i << " ends";
      AwaitAcknowledged(20);
      if (crash) crash(i);
      // A moment of the seed's, whatever is under way then.
      std::this_thread::sleep_for(Within(150));
      server.Signal(signal);
      const int exit_code = server.Wait().exit_code;
      if (signal == SIGTERM) {
        EXPECT_EQ(exit_code, 0);
      } else if (i % 3 == 2) {
        KillWhileItStarts();
      }
    }
    ServerProcess server(Arguments());
    ASSERT_TRUE(server.running());
    AwaitAcknowledged(20);
    if (crash) crash(-1);
    StopWriters();
    Flush(server.address());
    server.Signal(SIGTERM);
    EXPECT_EQ(server.Wait().exit_code, 0);
  }

  static void Flush(const std::string& address) {
    const auto admin =
        v1::Admin::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
    v1::FlushJournalResponse response;
    const grpc::Status flushed = admin->FlushJournal(Replica::Within(60).get(), {}, &response);
    ASSERT_TRUE(flushed.ok()) << flushed.error_message();
  }

  void CheckDatabase(bool every_write) {
    const PostgresServer& db = SharedPostgres();
    int64_t lost = 0, wrong = 0;
    std::multiset<std::string> effects;
    std::stringstream all(
        db.Ask("SELECT string_agg(id || ' ' || version, E'\\n') FROM deliveries WHERE had_effect"));
    for (std::string line; std::getline(all, line);) effects.insert(line);
    for (const auto& [key, writes] : ledger_.acknowledged()) {
      const std::string where = " FROM docs WHERE id = '" + key + "'";
      const uint64_t version = std::strtoull(db.Ask("SELECT version" + where).c_str(), nullptr, 10);
      const std::string body = db.Ask("SELECT body" + where);
      const auto& [newest, value] = *writes.rbegin();
      if (version < newest) ++lost;
      if (version == newest && body != value) ++wrong;
      if (version > newest && !ledger_.IsOpen(key, body)) ++wrong;
      if (!every_write) continue;
      for (const auto& [each, ignored] : writes) {
        lost += effects.count(key + " " + std::to_string(each)) == 1 ? 0 : 1;
      }
    }
    EXPECT_EQ(lost, 0) << "acknowledged writes";
    EXPECT_EQ(wrong, 0) << "values that were not written with that version";
    EXPECT_EQ(db.Ask("SELECT count(*) FROM (SELECT id, version FROM deliveries WHERE had_effect "
                     "GROUP BY id, version HAVING count(*) > 1) AS twice"),
              "0")
        << "effects twice";
    // Where only the newest write of a key is delivered, larderd keeps that order by itself. Where
    // each is, one that is delivered again may come after a newer one, and the guard stops it.
    const std::string considered = every_write ? " WHERE had_effect" : "";
    EXPECT_EQ(db.Ask("SELECT count(*) FROM (SELECT version, max(version) OVER (PARTITION BY id "
                     "ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "
                     "FROM deliveries" +
                     considered + ") AS d WHERE before > version"),
              "0")
        << "deliveries of older versions";
    std::cout << ledger_.count() << " acknowledged, " << db.Ask("SELECT count(*) FROM deliveries")
              << " deliveries, " << db.Ask("SELECT count(*) FROM deliveries WHERE NOT had_effect")
              << " of them again" << std::endl;
  }

  const TempDir directory_;
  Ledger ledger_;
  std::mt19937_64 random_;

 private:
  void Write(int number) {
    grpc::ChannelArguments args;
    // Whoever has lost it tries again at once.
    args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = v1::Cache::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port_), grpc::InsecureChannelCredentials(), args));
    std::minstd_rand random(static_cast<unsigned>(seed_) + static_cast<unsigned>(number));
    for (int i = 0; !stop_; ++i) {
      v1::SetRequest request;
      request.set_key("item:" + std::to_string(random() % kKeys));
      request.set_value(std::to_string(number) + "-" + std::to_string(i));
      ledger_.Sent(request.key(), request.value());
      v1::SetResponse response;
      const auto context = Replica::Within(2);
      context->set_wait_for_ready(true);
      const grpc::Status status = stub->Set(context.get(), request, &response);
      if (!status.ok() || !response.has_stored()) continue;
      ledger_.Acknowledged(request.key(), request.value(), response.stored().version());
    }
  }

  uint64_t seed_ = 0;
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> writers_;
};

TEST_F(WriteKillTest, NothingAcknowledgedIsLostWhenLarderdIsKilled) {
  Configure("delay: 5ms, sync: fsync");
  KillAgainAndAgain(10);
  CheckDatabase(/*every_write=*/false);
}

TEST_F(WriteKillTest, NothingAcknowledgedIsLostWhenTheSystemHasIt) {
  Configure("delay: 5ms, sync: os");
  KillAgainAndAgain(10);
  CheckDatabase(/*every_write=*/false);
}

TEST_F(WriteKillTest, EveryAcknowledgedWriteArrivesOnceWithoutCoalescing) {
  Configure("delay: 0s, coalesce: false");
  KillAgainAndAgain(10);
  CheckDatabase(/*every_write=*/true);
}

// As a rollout ends it. What it had no time to deliver is delivered by the next one.
TEST_F(WriteKillTest, NothingAcknowledgedIsLostWhenLarderdIsEndedUnderLoad) {
  Configure("delay: 20ms, sync: none");
  EndAgainAndAgain(SIGTERM, 20);
  CheckDatabase(/*every_write=*/false);
}

// Writes wait in the journal over several starts, and the origin, too, dies in the middle of
// deliveries.
TEST_F(WriteKillTest, NothingAcknowledgedIsLostWhenTheDatabaseIsKilledAsWell) {
  Configure("delay: 5ms, backoff: { first: 10ms, max: 200ms }");
  bool down = false;
  KillAgainAndAgain(10, [&](int i) {
    if (i % 3 == 0 && !down) {
      SharedPostgres().Crash();
      down = true;
    } else if (down) {
      SharedPostgres().Start();
      down = false;
    }
  });
  CheckDatabase(/*every_write=*/false);
}

// ---- A disk that fills up

class WriteDiskTest : public testing::Test {
 protected:
  bool IsReady(const Replica& replica) {
    return RunLarderd({"healthcheck", "--address", replica.address()}).exit_code == 0;
  }
  std::string Config(const std::string& behind) {
    return WritesConfig(*documents_, data_.path(), behind,
                        "journal: { path: \"" + disk_.path() + "/journal\" }\n");
  }

  const SmallDisk disk_{64};
  const TempDir data_;
  const std::unique_ptr<Documents> documents_ = NewPostgresDocuments();
};

TEST_F(WriteDiskTest, DiskThatOthersFillUpStopsWritesAloneAndIsUsedAgainWhenThereIsRoom) {
  ASSERT_TRUE(disk_.mounted()) << "needs mount namespaces";
  Replica replica(Config(""));
  Writer writer(&replica);
  ASSERT_EQ(writer.Set("behind:early", "1"), "ok");
  ASSERT_EQ(writer.Set("behind:waits", "1"), "ok");
  EXPECT_TRUE(IsReady(replica));
  disk_.FillUp();
  std::string said;
  EXPECT_TRUE(Eventually([&] {
    said = writer.Set("behind:late", "2");
    return said == "JOURNAL_UNAVAILABLE";
  })) << said;
  EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(writer.Set("behind:late", "2"), "JOURNAL_UNAVAILABLE");
  EXPECT_TRUE(Eventually([&] { return !IsReady(replica); }));
  EXPECT_EQ(replica.Value("behind:early"), "1");
  EXPECT_EQ(writer.Set("through:1", "other types go on"), "ok");
  EXPECT_NE(writer.Journal().state(), "ok");
  disk_.Free();
  EXPECT_TRUE(Eventually([&] { return writer.Set("behind:late", "3") == "ok"; }))
      << writer.Journal().state();
  EXPECT_TRUE(Eventually([&] { return IsReady(replica); }));
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body("behind:early"), "1");
  EXPECT_EQ(documents_->Body("behind:waits"), "1");
  EXPECT_EQ(documents_->Body("behind:late"), "3");
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(writer.Journal().damage().events(), 0u);
}

// The journal's own records fill it, because the database is away; when it is back, they go, and
// room comes back with them.
TEST_F(WriteDiskTest, DiskThatTheJournalFillsUpIsEmptyAgainWhenTheDatabaseIsBack) {
  ASSERT_TRUE(disk_.mounted()) << "needs mount namespaces";
  Replica replica(Config("max_entries: 100000"));
  Writer writer(&replica);
  SharedPostgres().Stop();
  std::minstd_rand random(1);
  std::string large(100'000, 0);
  for (char& byte : large) byte = static_cast<char>('a' + random() % 26);
  std::vector<std::string> taken;
  std::string said;
  for (int i = 0; i < 1'000; ++i) {
    const std::string key = "behind:" + std::to_string(i);
    said = writer.Set(key, large + key);
    if (said != "ok") break;
    taken.push_back(key);
  }
  EXPECT_EQ(said, "JOURNAL_UNAVAILABLE");
  EXPECT_GE(taken.size(), 50u);
  EXPECT_TRUE(Eventually([&] { return !IsReady(replica); }));
  for (const std::string& key : taken) ASSERT_EQ(replica.Value(key), large + key);
  SharedPostgres().Start();
  EXPECT_TRUE(
      Eventually([&] { return writer.Set("behind:late", "3") == "ok"; }, std::chrono::seconds(30)))
      << writer.Journal().DebugString();
  EXPECT_TRUE(Eventually([&] { return IsReady(replica); }));
  EXPECT_EQ(writer.Flush(), "ok");
  for (const std::string& key : taken) ASSERT_EQ(documents_->Body(key), large + key);
  EXPECT_EQ(documents_->Body("behind:late"), "3");
}

}  // namespace
}  // namespace larder
