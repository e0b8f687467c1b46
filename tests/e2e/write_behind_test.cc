// The journal of a larderd as a process, in front of a real PostgreSQL: what waits, what becomes of
// it when the database or larderd goes away, and what operators can do about it.

#include <signal.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "larder/rpc/v1/status.pb.h"
#include "tests/e2e/origin_fixture.h"
#include "tests/e2e/write_fixture.h"
#include "tests/origin/postgres_server.h"

namespace larder {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

std::string Key(int i) { return "behind:" + std::to_string(i); }

class WriteBehindPostgresTest : public testing::Test {
 protected:
  std::string Config(const std::string& behind = "", const std::string& more = "") const {
    return WritesConfig(*documents_, directory_.path(), behind, more);
  }
  int64_t Rows() const { return documents_->Count("SELECT count(*) FROM docs"); }
  // The database is there again, whatever the test has come to.
  ~WriteBehindPostgresTest() override {
    if (stopped_) SharedPostgres().Start();
  }
  void StopDatabase() {
    SharedPostgres().Stop();
    stopped_ = true;
  }
  void StartDatabase() {
    SharedPostgres().Start();
    stopped_ = false;
  }

  const TempDir directory_;
  const std::unique_ptr<Documents> documents_ = NewPostgresDocuments();
  bool stopped_ = false;
};

TEST_F(WriteBehindPostgresTest, ReadsSeeTheirWritesWhileTheDatabaseIsDownAndAfterARestart) {
  documents_->Run("INSERT INTO docs (id, body, version) VALUES ('behind:1', 'old', 1)");
  Replica replica(Config());
  Writer writer(&replica);
  EXPECT_EQ(Loaded(&replica, Key(1)), "old");
  StopDatabase();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(writer.Set(Key(i), "new " + std::to_string(i)), "ok");
  ASSERT_EQ(writer.Delete(Key(3)), "ok");
  const auto check = [&] {
    for (int i = 0; i < 100; ++i) {
      const std::string value = i == 3 ? "NEGATIVE" : "new " + std::to_string(i);
      EXPECT_EQ(Loaded(&replica, Key(i)), value);
      EXPECT_EQ(replica.Value(Key(i)), i == 3 ? "" : value);
    }
  };
  check();
  // Memory has gone, the journal has not.
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  check();
  EXPECT_EQ(writer.Journal().depth(), 100u);
  StartDatabase();
  EXPECT_TRUE(Eventually([&] { return writer.Flush() == "ok"; }));
  EXPECT_EQ(writer.Journal().depth(), 0u);
  check();
  EXPECT_EQ(documents_->Body(Key(1)), "new 1");
  EXPECT_EQ(documents_->Body(Key(3)), "-");
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

TEST_F(WriteBehindPostgresTest, TermSignalBringsWhatWaitsToTheDatabase) {
  Replica replica(Config("delay: 1h"));
  Writer writer(&replica);
  for (int i = 0; i < 2'000; ++i) ASSERT_EQ(writer.Set(Key(i % 700), std::to_string(i)), "ok");
  EXPECT_EQ(Rows(), 0);
  const auto began = steady_clock::now();
  const Ended ended = replica.Stop();
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_LT(steady_clock::now() - began, seconds(20));
  EXPECT_EQ(Rows(), 700);
  EXPECT_NE(ended.err.find("\"event\":\"journal_closed\",\"empty\":true"), std::string::npos)
      << ended.err;
}

TEST_F(WriteBehindPostgresTest, TermSignalWithoutADatabaseKeepsWhatWaitsAndExitsZero) {
  Replica replica(Config("", "shutdown: { drain: 1s }\n"));
  Writer writer(&replica);
  StopDatabase();
  for (int i = 0; i < 100; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  const auto began = steady_clock::now();
  const Ended ended = replica.Stop();
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_LT(steady_clock::now() - began, seconds(15));
  StartDatabase();
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(Rows(), 100);
}

TEST_F(WriteBehindPostgresTest, SecondProcessOnTheJournalIsRefusedWithASentence) {
  const TempDir journal;
  const std::string more = "journal: { path: \"" + journal.path() + "\" }\n";
  Replica first(Config("", more));
  const TempDir other;
  const std::string config = other.path() + "/larder.yaml";
  std::ofstream(config) << WritesConfig(*documents_, other.path(), "", more);
  const Ended second = RunLarderd({"--set", "listen.grpc=127.0.0.1:0", "--config", config});
  EXPECT_EQ(second.exit_code, 1) << second.err;
  EXPECT_NE(second.err.find(journal.path()), std::string::npos) << second.err;
  EXPECT_NE(second.err.find("process"), std::string::npos) << second.err;
  // The first has not noticed.
  EXPECT_EQ(Writer(&first).Set(Key(1), "v"), "ok");
  EXPECT_EQ(Writer(&first).Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(1)), "v");
}

TEST_F(WriteBehindPostgresTest, DeadLettersAreListedRetriedExportedAndDropped) {
  Replica replica(Config());
  Writer writer(&replica);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(writer.Set(Key(i), "poison"), "ok");
  ASSERT_EQ(writer.Set(Key(9), "good"), "ok");
  ASSERT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(9)), "good");
  const CliEnded listed = RunLarder(replica, "dlq list");
  EXPECT_EQ(listed.exit_code, 0) << listed.out;
  for (int i = 0; i < 3; ++i) EXPECT_NE(listed.out.find(Key(i)), std::string::npos) << listed.out;
  EXPECT_EQ(listed.out.find(Key(9)), std::string::npos) << listed.out;
  EXPECT_NE(listed.out.find("this body is refused"), std::string::npos) << listed.out;
  v1::ListDeadLettersRequest request;
  v1::ListDeadLettersResponse letters;
  request.set_page_size(2);
  ASSERT_TRUE(replica.admin().ListDeadLetters(Replica::Within().get(), request, &letters).ok());
  EXPECT_EQ(letters.total(), 3u);
  ASSERT_EQ(letters.letters_size(), 2);
  EXPECT_FALSE(letters.next_page_token().empty());
  EXPECT_EQ(letters.letters(0).attempts(), 1u);
  const std::string first = letters.letters(0).id();
  const CliEnded shown = RunLarder(replica, "dlq show " + first);
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_NE(shown.out.find("poison"), std::string::npos) << shown.out;

  // They outlive a kill.
  replica.Kill();
  ASSERT_TRUE(replica.Start());
  EXPECT_EQ(writer.Journal().dead_letters(), 3u);
  // Refused again: the same write, with the same version, is a letter again.
  EXPECT_EQ(RunLarder(replica, "dlq retry " + first).exit_code, 0);
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(writer.Journal().dead_letters(), 3u);
  // What was refused can now be had.
  documents_->Run("DROP TRIGGER look ON docs");
  const std::string later = Key(2);
  ASSERT_EQ(writer.Set(later, "written since"), "ok");
  EXPECT_EQ(RunLarder(replica, "dlq retry --key-prefix " + Key(1)).exit_code, 0);
  EXPECT_EQ(RunLarder(replica, "dlq retry --key-prefix " + later).exit_code, 0);
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(1)), "poison");
  EXPECT_EQ(documents_->Body(later), "written since");
  EXPECT_EQ(writer.Journal().dead_letters(), 1u);
  const CliEnded exported = RunLarder(replica, "dlq export");
  EXPECT_EQ(exported.exit_code, 0);
  EXPECT_NE(exported.out.find("\"value\":\"poison\""), std::string::npos) << exported.out;
  EXPECT_EQ(RunLarder(replica, "dlq drop --all").exit_code, 0);
  EXPECT_EQ(writer.Journal().dead_letters(), 0u);
  EXPECT_EQ(RunLarder(replica, "dlq retry --all").exit_code, 3);
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

TEST_F(WriteBehindPostgresTest, FlushIsABarrierAndPausesHoldWhatWaits) {
  Replica replica(Config("delay: 1h"));
  Writer writer(&replica);
  EXPECT_EQ(writer.Flush(), "ok");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  EXPECT_EQ(Rows(), 0);
  EXPECT_EQ(writer.Flush(15, "behind"), "ok");
  EXPECT_EQ(Rows(), 100);
  EXPECT_EQ(writer.Flush(15, "through"), "WRITE_MODE_UNSUPPORTED");

  EXPECT_EQ(RunLarder(replica, "journal pause --origin db").exit_code, 0);
  for (int i = 100; i < 200; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  EXPECT_EQ(writer.Flush(), "DELIVERY_PAUSED");
  EXPECT_EQ(Rows(), 100);
  const v1::JournalStats paused = writer.Journal();
  EXPECT_EQ(paused.depth(), 100u);
  ASSERT_EQ(paused.paused_size(), 1);
  EXPECT_EQ(paused.paused(0), "db");
  EXPECT_EQ(replica.Value(Key(150)), "v");
  const CliEnded status = RunLarder(replica, "journal status");
  EXPECT_EQ(status.exit_code, 0) << status.out;
  EXPECT_NE(status.out.find("paused"), std::string::npos) << status.out;
  EXPECT_EQ(RunLarder(replica, "journal resume").exit_code, 0);
  EXPECT_EQ(RunLarder(replica, "journal flush --deadline 20s").exit_code, 0);
  EXPECT_EQ(Rows(), 200);

  StopDatabase();
  ASSERT_EQ(writer.Set(Key(1), "v2"), "ok");
  writer.Flush(0.5);
  EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  StartDatabase();
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(1)), "v2");
}

bool HasRetryInfo(const grpc::Status& status) {
  rpc::v1::Status wire;
  wire.ParseFromString(status.error_details());
  for (const auto& any : wire.details()) {
    rpc::v1::RetryInfo info;
    if (any.type_url() == "type.googleapis.com/google.rpc.RetryInfo" &&
        info.ParseFromString(any.value())) {
      return info.retry_delay().seconds() > 0 || info.retry_delay().nanos() > 0;
    }
  }
  return false;
}

TEST_F(WriteBehindPostgresTest, FullJournalIsATypedErrorThatSaysWhenToComeAgain) {
  Replica replica(Config("max_entries: 10"));
  Writer writer(&replica);
  ASSERT_EQ(writer.Pause(), "ok");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  EXPECT_EQ(writer.Set(Key(10), "v"), "JOURNAL_FULL");
  EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(writer.status()));
  // What takes the place of another one needs no room; and what is refused is nowhere.
  EXPECT_EQ(writer.Set(Key(3), "newer"), "ok");
  EXPECT_EQ(Loaded(&replica, Key(10)), "NEGATIVE");
  EXPECT_EQ(writer.Journal().types(0).refused(), 1u);
  ASSERT_EQ(writer.Resume(), "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(writer.Set(Key(10), "v"), "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(10)), "v");
  EXPECT_EQ(documents_->Body(Key(3)), "newer");
}

TEST_F(WriteBehindPostgresTest, FullJournalMayMakeWritersWait) {
  Replica replica(Config("max_entries: 10, on_full: block"));
  Writer writer(&replica);
  ASSERT_EQ(writer.Pause(), "ok");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  writer.Set(Key(10), "v", 0.5);
  EXPECT_EQ(writer.status().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  std::string said;
  std::thread caller([&] { said = Writer(&replica).Set(Key(11), "v", 20); });
  ASSERT_EQ(writer.Resume(), "ok");
  caller.join();
  EXPECT_EQ(said, "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(Rows(), 11);
  EXPECT_EQ(documents_->Body(Key(10)), "");
}

TEST_F(WriteBehindPostgresTest, FullJournalMayLetWritersThrough) {
  Replica replica(Config("max_entries: 10, on_full: write_through"));
  Writer writer(&replica);
  ASSERT_EQ(writer.Pause(), "ok");
  for (int i = 0; i < 10; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  EXPECT_EQ(Rows(), 0);
  EXPECT_EQ(writer.Set(Key(10), "through"), "ok");
  EXPECT_EQ(documents_->Body(Key(10)), "through");
  EXPECT_EQ(replica.Value(Key(10)), "through");
  EXPECT_EQ(writer.Set(Key(10), "poison"), "WRITE_REFUSED");
  ASSERT_EQ(writer.Resume(), "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(Rows(), 11);
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

TEST_F(WriteBehindPostgresTest, OneKeyThatHasToWaitHoldsUpNoOther) {
  Replica replica(Config("delay: 0s, backoff: { first: 50ms, max: 200ms }, attempts: 1000"));
  Writer writer(&replica);
  documents_->Run("INSERT INTO busy VALUES ('on')");
  ASSERT_EQ(writer.Set(Key(0), "later"), "ok");
  for (int i = 1; i < 200; ++i) ASSERT_EQ(writer.Set(Key(i), "v"), "ok");
  EXPECT_TRUE(Eventually([&] { return Rows() == 199; })) << Rows();
  EXPECT_TRUE(Eventually([&] { return writer.Journal().types(0).retried() >= 3; }));
  EXPECT_EQ(writer.Journal().depth(), 1u);
  EXPECT_EQ(replica.Value(Key(0)), "later");
  documents_->Run("TRUNCATE busy");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(0)), "later");
  EXPECT_EQ(writer.Journal().dead_letters(), 0u);
}

TEST_F(WriteBehindPostgresTest, WriteThatIsNotTakenInItsAttemptsIsADeadLetter) {
  Replica replica(Config("delay: 0s, backoff: { first: 10ms, max: 20ms }, attempts: 3"));
  Writer writer(&replica);
  documents_->Run("INSERT INTO busy VALUES ('on')");
  ASSERT_EQ(writer.Set(Key(0), "later"), "ok");
  EXPECT_TRUE(Eventually([&] { return writer.Journal().dead_letters() == 1; }));
  v1::ListDeadLettersResponse letters;
  ASSERT_TRUE(replica.admin().ListDeadLetters(Replica::Within().get(), {}, &letters).ok());
  EXPECT_EQ(letters.letters(0).attempts(), 3u);
  EXPECT_NE(letters.letters(0).error().find("not now"), std::string::npos)
      << letters.letters(0).error();
  documents_->Run("TRUNCATE busy");
  EXPECT_EQ(RunLarder(replica, "dlq retry --all").exit_code, 0);
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Body(Key(0)), "later");
}

TEST_F(WriteBehindPostgresTest, OfManyWritesOfAKeyFewAreDelivered) {
  Replica replica(Config("delay: 300ms"));
  Writer writer(&replica);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(writer.Set(Key(i % 3), std::to_string(i)), "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(documents_->Body(Key(i)), std::to_string(297 + i));
  EXPECT_LT(documents_->Count("SELECT count(*) FROM effects"), 150);
  const v1::JournalTypeStats stats = writer.Journal().types(0);
  EXPECT_EQ(stats.enqueued(), 300u);
  EXPECT_EQ(stats.coalesced() + stats.delivered(), 300u);
  EXPECT_EQ(documents_->WrongEffects(), 0);
}

TEST_F(WriteBehindPostgresTest, WithoutCoalescingEveryWriteArrivesInItsOrder) {
  Replica replica(Config("coalesce: false, delay: 0s"));
  Writer writer(&replica);
  for (int i = 0; i < 300; ++i) ASSERT_EQ(writer.Set(Key(i % 3), std::to_string(i)), "ok");
  EXPECT_EQ(writer.Flush(), "ok");
  EXPECT_EQ(documents_->Count("SELECT count(*) FROM effects"), 300);
  EXPECT_EQ(documents_->WrongEffects(), 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(documents_->Body(Key(i)), std::to_string(297 + i));
}

TEST_F(WriteBehindPostgresTest, ExplainAndStatsShowWhatWaits) {
  Replica replica(Config("delay: 1h"));
  Writer writer(&replica);
  v1::SetRequest set;
  set.set_key(Key(1));
  set.set_value("12345");
  uint64_t version = 0;
  ASSERT_EQ(writer.Set(set, &version), "ok");
  ASSERT_EQ(writer.Delete(Key(2)), "ok");
  v1::ExplainRequest request;
  v1::ExplainResponse response;
  request.set_key(Key(1));
  ASSERT_TRUE(replica.admin().Explain(Replica::Within().get(), request, &response).ok());
  EXPECT_EQ(response.pending().version(), version);
  EXPECT_EQ(response.pending().value_bytes(), 5u);
  EXPECT_FALSE(response.pending().deletion());
  request.set_key(Key(2));
  ASSERT_TRUE(replica.admin().Explain(Replica::Within().get(), request, &response).ok());
  EXPECT_TRUE(response.pending().deletion());
  const v1::JournalStats stats = writer.Journal();
  EXPECT_EQ(stats.depth(), 2u);
  EXPECT_EQ(stats.state(), "ok");
  EXPECT_GT(stats.bytes_on_disk(), 0u);
  ASSERT_EQ(stats.types_size(), 1);
  EXPECT_EQ(stats.types(0).type(), "behind");
  EXPECT_EQ(writer.Flush(), "ok");
  ASSERT_TRUE(replica.admin().Explain(Replica::Within().get(), request, &response).ok());
  EXPECT_FALSE(response.has_pending());
  EXPECT_EQ(writer.Journal().types(0).lag().count(), 2u);
}

TEST_F(WriteBehindPostgresTest, WritesOfATypeThatNoLongerWritesBehindWaitUntilItDoesAgain) {
  Replica before(Config("delay: 1h"));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Writer(&before).Set(Key(i), "v"), "ok");
  before.Kill();
  std::string without = Config();
  const std::string mode = "mode: behind";
  without.replace(without.find(mode), mode.size(), "mode: through");
  {
    Replica through(without);
    EXPECT_EQ(Writer(&through).Set(Key(100), "v"), "ok");
    EXPECT_EQ(Rows(), 1);
    EXPECT_EQ(through.Stop().exit_code, 0);
  }
  ASSERT_TRUE(before.Start());
  EXPECT_EQ(Writer(&before).Flush(), "ok");
  EXPECT_EQ(Rows(), 21);
}

}  // namespace
}  // namespace larder
