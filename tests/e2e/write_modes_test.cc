// Each way in which a write reaches an origin, over gRPC, with the row looked at in the database:
// what is stored, what callers are told when it is not, and what readers see then.

#include <chrono>
#include <functional>
#include <thread>

#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/tcp_proxy.h"
#include "tests/e2e/write_fixture.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

// How long bytes to the database and back are made to take, so that a commit can be seen before its
// answer is there.
constexpr std::chrono::milliseconds kAnswerTakes{700};
constexpr const char* kModes[] = {"through", "invalidate", "around", "behind"};

// With each kind of database.
class WriteModesTest : public testing::TestWithParam<std::unique_ptr<Documents> (*)()> {
 protected:
  WriteModesTest() : documents_(GetParam()()) {
    replica_ = std::make_unique<Replica>(WritesConfig(*documents_, directory_.path()));
    writer_ = std::make_unique<Writer>(replica_.get());
  }

  // As whoever does not know the key has it.
  std::string Load(const std::string& key) { return Loaded(replica_.get(), key); }

  const TempDir directory_;
  const std::unique_ptr<Documents> documents_;
  std::unique_ptr<Replica> replica_;
  std::unique_ptr<Writer> writer_;
};

TEST_P(WriteModesTest, WritesAndDeletesReachTheDatabaseAndReaders) {
  for (const std::string mode : kModes) {
    const std::string key = mode + ":1";
    EXPECT_EQ(writer_->Set(key, "one"), "ok") << mode;
    if (mode == "through" || mode == "behind") {
      EXPECT_EQ(replica_->Value(key), "one") << mode;
    } else {
      EXPECT_TRUE(replica_->Get(key).has_miss()) << mode;
    }
    EXPECT_EQ(Load(key), "one") << mode;
    if (mode == "behind") {
      EXPECT_EQ(writer_->Flush(), "ok");
    }
    EXPECT_EQ(documents_->Body(key), "one") << mode;
    EXPECT_EQ(writer_->Set(key, "two"), "ok");
    EXPECT_TRUE(Eventually([&] { return Load(key) == "two"; })) << mode;
    EXPECT_EQ(writer_->Delete(key), "ok") << mode;
    EXPECT_EQ(Load(key), "NEGATIVE") << mode;
    if (mode == "behind") {
      EXPECT_EQ(writer_->Flush(), "ok");
    }
    EXPECT_EQ(documents_->Body(key), "-") << mode;
    EXPECT_EQ(Load(key), "NEGATIVE") << mode;
  }
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

TEST_P(WriteModesTest, BatchesReachTheDatabaseItemByItem) {
  for (const std::string mode : kModes) {
    v1::BatchSetRequest request;
    v1::BatchDeleteRequest removal;
    for (int i = 0; i < 50; ++i) {
      const std::string key = mode + ":b" + std::to_string(i);
      request.add_items()->set_key(key);
      request.mutable_items(i)->set_value(i == 7 && mode != "behind" ? "poison" : "v");
      if (i % 2 == 0) removal.add_keys(key);
    }
    v1::BatchSetResponse response;
    ASSERT_TRUE(replica_->stub().BatchSet(Replica::Within(20).get(), request, &response).ok());
    for (int i = 0; i < 50; ++i) {
      const v1::SetResult& result = response.results(i);
      if (request.items(i).value() == "poison") {
        EXPECT_EQ(result.not_stored().reason(), v1::NOT_STORED_REASON_WRITE_REFUSED) << mode;
      } else {
        EXPECT_TRUE(result.has_stored()) << mode << " " << i << result.DebugString();
      }
    }
    v1::BatchDeleteResponse removed;
    ASSERT_TRUE(replica_->stub().BatchDelete(Replica::Within(20).get(), removal, &removed).ok());
    EXPECT_EQ(writer_->Flush(), "ok");
    const std::string like = " FROM docs WHERE id LIKE '" + mode + ":b%' AND body ";
    EXPECT_EQ(documents_->Count("SELECT count(*)" + like + "= 'v'"), mode == "behind" ? 25 : 24);
    EXPECT_EQ(documents_->Count("SELECT count(*)" + like + "IS NULL"), 25) << mode;
  }
}

TEST_P(WriteModesTest, IncrementsWorkWhereACopyIsKept) {
  for (const std::string mode : kModes) {
    const std::string key = mode + ":count";
    int64_t value = 0;
    grpc::Status status;
    for (int i = 0; i < 3; ++i) status = replica_->Increment(key, &value);
    if (mode == "invalidate" || mode == "around") {
      EXPECT_EQ(ReasonOf(status), "WRITE_MODE_UNSUPPORTED") << mode;
      EXPECT_EQ(documents_->Body(key), "");
      continue;
    }
    ASSERT_TRUE(status.ok()) << mode << " " << status.error_message();
    EXPECT_EQ(value, 3);
    EXPECT_EQ(writer_->Flush(), "ok");
    EXPECT_EQ(documents_->Body(key), "3") << mode;
  }
}

TEST_P(WriteModesTest, ConditionsAreDecidedByWhatTheDatabaseHas) {
  for (const std::string mode : kModes) {
    const std::string key = mode + ":there";
    documents_->Run("INSERT INTO docs (id, body, version) VALUES ('" + key + "', 'old', 1)");
    bool stored = true;
    ASSERT_TRUE(replica_->SetIfAbsent(key, "new", &stored).ok()) << mode;
    EXPECT_FALSE(stored) << mode;
    ASSERT_TRUE(replica_->SetIfAbsent(mode + ":not", "new", &stored).ok()) << mode;
    EXPECT_TRUE(stored) << mode;
    EXPECT_EQ(writer_->Flush(), "ok");
    EXPECT_EQ(documents_->Body(key), "old") << mode;
    EXPECT_EQ(documents_->Body(mode + ":not"), "new") << mode;
  }
}

TEST_P(WriteModesTest, RefusedWriteIsATypedErrorAndNeverSeen) {
  for (const std::string mode : {"through", "invalidate", "around"}) {
    const std::string key = mode + ":1";
    ASSERT_EQ(writer_->Set(key, "good"), "ok");
    EXPECT_EQ(Load(key), "good");
    EXPECT_EQ(writer_->Set(key, "poison"), "WRITE_REFUSED");
    EXPECT_NE(writer_->status().error_message().find("this body is refused"), std::string::npos)
        << writer_->status().error_message();
    EXPECT_EQ(Load(key), "good") << mode;
    EXPECT_EQ(documents_->Body(key), "good") << mode;
    EXPECT_EQ(writer_->Set(key, "better"), "ok");
    EXPECT_TRUE(Eventually([&] { return Load(key) == "better"; })) << mode;
  }
}

// Acknowledged, then refused: it becomes a dead letter, and readers get what the database has.
TEST_P(WriteModesTest, WriteThatIsRefusedBehindIsADeadLetterAndLeavesTheCache) {
  ASSERT_EQ(writer_->Set("behind:1", "good"), "ok");
  ASSERT_EQ(writer_->Flush(), "ok");
  EXPECT_EQ(writer_->Set("behind:1", "poison"), "ok");
  EXPECT_EQ(writer_->Flush(), "ok");
  EXPECT_EQ(writer_->Journal().dead_letters(), 1u);
  EXPECT_TRUE(Eventually([&] { return Load("behind:1") == "good"; })) << Load("behind:1");
  EXPECT_EQ(documents_->Body("behind:1"), "good");
  // Its key goes on.
  EXPECT_EQ(writer_->Set("behind:1", "better"), "ok");
  EXPECT_EQ(writer_->Flush(), "ok");
  EXPECT_EQ(documents_->Body("behind:1"), "better");
}

TEST_P(WriteModesTest, RepeatWithTheSameRequestIdIsDoneOnce) {
  for (const std::string mode : kModes) {
    v1::SetRequest request;
    request.set_key(mode + ":again");
    request.set_value("v");
    request.set_request_id(mode + "-1");
    uint64_t first = 0, second = 1;
    EXPECT_EQ(writer_->Set(request, &first), "ok");
    EXPECT_EQ(writer_->Set(request, &second), "ok");
    EXPECT_EQ(first, second) << mode;
    EXPECT_EQ(writer_->Flush(), "ok");
    EXPECT_EQ(documents_->Effects(mode + ":again"), 1) << mode;
  }
}

TEST_P(WriteModesTest, ManyWritersOfOneKeyLeaveTheLastInTheDatabaseAndInTheCache) {
  for (const std::string mode : kModes) {
    const std::string key = mode + ":busy";
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&, thread] {
        Writer writer(replica_.get());
        for (int i = 0; i < 25; ++i) {
          const std::string value = std::to_string(thread) + "-" + std::to_string(i);
          EXPECT_EQ(writer.Set(key, value, 20), "ok") << mode;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(writer_->Flush(), "ok");
    const std::string last = documents_->Body(key);
    EXPECT_EQ(last.substr(1), "-24") << mode;
    EXPECT_TRUE(Eventually([&] { return Load(key) == last; })) << mode << " " << last;
    if (mode != "behind") {
      EXPECT_EQ(documents_->Effects(key), 100) << mode;
    }
  }
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

INSTANTIATE_TEST_SUITE_P(Postgres, WriteModesTest, testing::Values(&NewPostgresDocuments));
INSTANTIATE_TEST_SUITE_P(Sqlite, WriteModesTest, testing::Values(&NewSqliteDocuments));

class WriteModesPostgresTest : public testing::Test {
 protected:
  // larderd reaches the server through the proxy.
  std::string ConfigThrough(const TcpProxy& proxy, const std::string& behind = "") {
    std::string yaml = WritesConfig(*documents_, directory_.path(), behind);
    const std::string port = ":" + std::to_string(SharedPostgres().port()) + "/";
    yaml.replace(yaml.find(port), port.size(), ":" + std::to_string(proxy.port()) + "/");
    return yaml;
  }
  bool IsSlowUnderWay() {
    return documents_->Count("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") >
           0;
  }

  const TempDir directory_;
  const std::unique_ptr<Documents> documents_ = NewPostgresDocuments();
};

TEST_F(WriteModesPostgresTest, DatabaseThatAsksToComeAgainIsATypedErrorAndNothingIsStored) {
  Replica replica(WritesConfig(*documents_, directory_.path()));
  Writer writer(&replica);
  documents_->Run("INSERT INTO busy VALUES ('on')");
  for (const std::string mode : {"through", "invalidate", "around"}) {
    EXPECT_EQ(writer.Set(mode + ":1", "later"), "WRITE_FAILED") << mode;
    EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(documents_->Body(mode + ":1"), "");
    EXPECT_EQ(Loaded(&replica, mode + ":1"), "NEGATIVE");
  }
  documents_->Run("TRUNCATE busy");
  for (const std::string mode : {"through", "invalidate", "around"}) {
    EXPECT_EQ(writer.Set(mode + ":1", "later"), "ok") << mode;
    EXPECT_EQ(documents_->Body(mode + ":1"), "later");
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, mode + ":1") == "later"; })) << mode;
  }
}

TEST_F(WriteModesPostgresTest, DatabaseThatIsAwayFailsWritesAndIsUsedAgainWhenItIsBack) {
  Replica replica(WritesConfig(*documents_, directory_.path()));
  Writer writer(&replica);
  for (const std::string mode : {"through", "invalidate", "around"})
    ASSERT_EQ(writer.Set(mode + ":1", "before"), "ok");
  SharedPostgres().Stop();
  for (const std::string mode : {"through", "invalidate", "around"}) {
    // The first call may find out in the middle.
    std::string said;
    EXPECT_TRUE(Eventually([&] {
      said = writer.Set(mode + ":1", "lost");
      return said == "WRITE_FAILED";
    })) << mode
        << " " << said;
    EXPECT_EQ(writer.Delete(mode + ":1"), "WRITE_FAILED") << mode;
  }
  SharedPostgres().Start();
  for (const std::string mode : {"through", "invalidate", "around"}) {
    EXPECT_EQ(documents_->Body(mode + ":1"), "before") << mode;
    EXPECT_TRUE(Eventually([&] { return writer.Set(mode + ":1", "after") == "ok"; })) << mode;
    EXPECT_EQ(documents_->Body(mode + ":1"), "after") << mode;
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, mode + ":1") == "after"; })) << mode;
  }
}

// The answer is lost, the write is not: it is made again, which the guard makes harmless.
TEST_F(WriteModesPostgresTest, ConnectionThatIsCutAfterTheCommitIsNoErrorWhereItCanBeMadeAgain) {
  TcpProxy proxy(SharedPostgres().port());
  Replica replica(ConfigThrough(proxy));
  for (const std::string mode : {"through", "invalidate", "around"}) {
    const std::string key = mode + ":1";
    ASSERT_EQ(Writer(&replica).Set(key, "before"), "ok");
    proxy.HoldAnswers();
    std::string said;
    std::thread caller([&] { said = Writer(&replica).Set(key, "after", 10); });
    EXPECT_TRUE(Eventually([&] { return documents_->Body(key) == "after"; })) << mode;
    // In this order: the answer does not pass.
    proxy.Cut();
    proxy.Release();
    caller.join();
    EXPECT_EQ(said, "ok") << mode;
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, key) == "after"; })) << mode;
    EXPECT_EQ(documents_->Effects(key), 2) << mode;
  }
}

// Nor can it be made again: nobody knows, and readers ask the database when they can.
TEST_F(WriteModesPostgresTest, AnswerThatIsLostAfterTheCommitIsAnUnknownWrite) {
  TcpProxy proxy(SharedPostgres().port());
  Replica replica(ConfigThrough(proxy));
  Writer writer(&replica);
  for (const std::string mode : {"through", "invalidate", "around"}) {
    const std::string key = mode + ":1";
    EXPECT_TRUE(Eventually([&] { return writer.Set(key, "before") == "ok"; })) << mode;
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, key) == "before"; })) << mode;
    proxy.HoldAnswers();
    std::string said;
    std::thread caller([&] { said = Writer(&replica).Set(key, "after", 10); });
    EXPECT_TRUE(Eventually([&] { return documents_->Body(key) == "after"; })) << mode;
    // New connections are taken and hear nothing.
    proxy.Hold();
    proxy.Cut();
    caller.join();
    EXPECT_EQ(said, "WRITE_UNKNOWN") << mode;
    EXPECT_NE(Loaded(&replica, key), "before") << mode;
    proxy.Release();
    EXPECT_TRUE(Eventually([&] { return Loaded(&replica, key) == "after"; })) << mode;
    EXPECT_EQ(documents_->Body(key), "after") << mode;
  }
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

// The delivery comes again, and the guard makes that harmless.
TEST_F(WriteModesPostgresTest, ConnectionThatIsCutAfterTheCommitHasNoEffectTwice) {
  TcpProxy proxy(SharedPostgres().port());
  Replica replica(ConfigThrough(proxy));
  Writer writer(&replica);
  ASSERT_EQ(writer.Set("behind:0", "v"), "ok");
  ASSERT_EQ(writer.Flush(), "ok");
  proxy.Delay(kAnswerTakes);
  for (int i = 1; i <= 50; ++i) ASSERT_EQ(writer.Set("behind:" + std::to_string(i), "v"), "ok");
  EXPECT_TRUE(Eventually([&] { return documents_->Count("SELECT count(*) FROM docs") > 1; }));
  proxy.Delay(std::chrono::milliseconds(0));
  proxy.Cut();
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Count("SELECT count(*) FROM docs"), 51);
  EXPECT_EQ(documents_->Count("SELECT count(*) FROM effects"), 51);
  EXPECT_EQ(documents_->WrongEffects(), 0);
  EXPECT_EQ(writer.Journal().dead_letters(), 0u);
}

TEST_F(WriteModesPostgresTest, WriteThatTakesLongerThanItMayIsUnknown) {
  std::string yaml = WritesConfig(*documents_, directory_.path());
  const std::string mode = "mode: through";
  yaml.replace(yaml.find(mode), mode.size(), mode + ", timeout: 600ms");
  Replica replica(yaml);
  Writer writer(&replica);
  // The time is for the statement, not for the first connection.
  EXPECT_TRUE(Eventually([&] { return writer.Set("through:0", "quick") == "ok"; }));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(writer.Set("through:1", "slow"), "WRITE_UNKNOWN");
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(3));
  // It was cancelled.
  EXPECT_TRUE(Eventually([&] { return !IsSlowUnderWay(); }));
  EXPECT_EQ(Loaded(&replica, "through:1"),
            documents_->Body("through:1").empty() ? "NEGATIVE" : "slow");
}

// A condition would be looked at again, and might not hold for what the write itself has stored.
TEST_F(WriteModesPostgresTest, ConditionalWriteOfWhichNobodyKnowsIsNotDoneAgain) {
  std::string yaml = WritesConfig(*documents_, directory_.path());
  const std::string mode = "mode: through";
  yaml.replace(yaml.find(mode), mode.size(), mode + ", timeout: 600ms");
  Replica replica(yaml);
  // The time is for the statement, not for the first connection.
  EXPECT_TRUE(Eventually([&] { return Writer(&replica).Set("through:0", "quick") == "ok"; }));
  v1::SetRequest once;
  once.set_key("through:1");
  once.set_value("slow");
  once.set_if_absent(true);
  once.set_request_id("r1");
  v1::SetResponse response;
  EXPECT_EQ(ReasonOf(replica.Set(once, &response)), "WRITE_UNKNOWN");
  // As it would be if it had been stored.
  EXPECT_TRUE(Eventually([&] { return Writer(&replica).Set("through:1", "quick") == "ok"; }));
  EXPECT_EQ(ReasonOf(replica.Set(once, &response)), "WRITE_UNKNOWN");
  once.set_request_id("r2");
  EXPECT_TRUE(replica.Set(once, &response).ok());
  EXPECT_EQ(response.not_stored().reason(), v1::NOT_STORED_REASON_CONDITION);
}

}  // namespace
}  // namespace larder
