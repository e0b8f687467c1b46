// The journal's calls as they go over the wire: what is asked, what becomes of the answers.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "larder/client.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder {
namespace {

using ::testing::ElementsAre;

// Answers every call in the same way and keeps the request.
class JournalAdmin : public v1::Admin::Service {
 public:
  grpc::Status FlushJournal(grpc::ServerContext*, const v1::FlushJournalRequest* request,
                            v1::FlushJournalResponse* response) override {
    Keep(*request);
    response->set_delivered(7);
    return grpc::Status::OK;
  }
  grpc::Status PauseDelivery(grpc::ServerContext*, const v1::PauseDeliveryRequest* request,
                             v1::PauseDeliveryResponse* response) override {
    Keep(*request);
    response->set_depth(8);
    return grpc::Status::OK;
  }
  grpc::Status ResumeDelivery(grpc::ServerContext*, const v1::ResumeDeliveryRequest* request,
                              v1::ResumeDeliveryResponse* response) override {
    Keep(*request);
    response->set_depth(9);
    return grpc::Status::OK;
  }
  grpc::Status ListDeadLetters(grpc::ServerContext*, const v1::ListDeadLettersRequest* request,
                               v1::ListDeadLettersResponse* response) override {
    Keep(*request);
    FillLetter(1, response->add_letters());
    response->set_next_page_token("1");
    response->set_total(12);
    return grpc::Status::OK;
  }
  grpc::Status RetryDeadLetters(grpc::ServerContext*, const v1::RetryDeadLettersRequest* request,
                                v1::RetryDeadLettersResponse* response) override {
    Keep(*request);
    if (retries_++ == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "scripted");
    response->set_retried(10);
    return grpc::Status::OK;
  }
  grpc::Status DropDeadLetters(grpc::ServerContext*, const v1::DropDeadLettersRequest* request,
                               v1::DropDeadLettersResponse* response) override {
    Keep(*request);
    response->set_dropped(11);
    return grpc::Status::OK;
  }
  grpc::Status ExportDeadLetters(
      grpc::ServerContext* context, const v1::ExportDeadLettersRequest* request,
      grpc::ServerWriter<v1::ExportDeadLettersResponse>* writer) override {
    Keep(*request);
    for (int id = 1; id <= 1000 && !context->IsCancelled(); ++id) {
      v1::ExportDeadLettersResponse one;
      FillLetter(id, one.mutable_letter());
      one.set_value(absl::StrCat("value ", id));
      if (!writer->Write(one)) break;
    }
    return grpc::Status::OK;
  }

  std::vector<std::string> requests() const {
    std::lock_guard lock(mu_);
    return requests_;
  }

 private:
  void Keep(const google::protobuf::Message& request) {
    std::lock_guard lock(mu_);
    requests_.push_back(request.ShortDebugString());
  }
  static void FillLetter(int id, v1::DeadLetter* letter) {
    letter->set_id(absl::StrCat(id));
    letter->set_namespace_("shop");
    letter->set_key("cart:1");
    letter->set_type("cart");
    letter->set_version(42);
    letter->set_error("no such customer");
    letter->set_attempts(3);
    letter->mutable_written()->set_seconds(1000);
    letter->mutable_first_attempt()->set_seconds(1001);
    letter->set_value_bytes(5);
    letter->set_request_id("r1");
  }

  mutable std::mutex mu_;
  std::vector<std::string> requests_;
  int retries_ = 0;
};

class JournalStatsService : public v1::Cache::Service {
  grpc::Status Stats(grpc::ServerContext*, const v1::StatsRequest*,
                     v1::StatsResponse* response) override {
    v1::JournalStats* const journal = response->mutable_journal();
    journal->set_depth(1);
    journal->set_bytes(2);
    journal->mutable_oldest_age()->set_seconds(3);
    journal->set_dead_letters(4);
    journal->set_letter_bytes(5);
    journal->set_bytes_on_disk(6);
    journal->set_index_bytes(7);
    journal->set_syncs(8);
    journal->set_failures(9);
    journal->set_state("ok");
    journal->mutable_damage()->set_events(10);
    journal->mutable_damage()->set_records_lost(11);
    journal->mutable_damage()->set_last("a bit");
    journal->mutable_damage()->set_set_aside("/aside");
    journal->add_paused("shop-db");
    v1::JournalTypeStats* const type = journal->add_types();
    type->set_type("cart");
    type->set_depth(12);
    type->set_bytes(13);
    type->mutable_oldest_age()->set_seconds(14);
    type->set_enqueued(15);
    type->set_coalesced(16);
    type->set_delivered(17);
    type->set_retried(18);
    type->set_dead(19);
    type->set_refused(20);
    type->mutable_lag()->set_count(21);
    type->mutable_lag()->mutable_p99()->set_seconds(22);
    return grpc::Status::OK;
  }
};

class JournalClientTest : public ::testing::Test {
 protected:
  JournalClientTest() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&admin_);
    builder.RegisterService(&cache_);
    server_ = builder.BuildAndStart();
    auto client = Connect(ClientOptions(absl::StrCat("127.0.0.1:", port), absl::Seconds(10)));
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
  }
  ~JournalClientTest() override {
    client_ = nullptr;
    server_->Shutdown();
  }

  JournalAdmin admin_;
  JournalStatsService cache_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(JournalClientTest, FlushesAndPausesAndResumes) {
  FlushOptions flush;
  flush.type = "cart";
  flush.call.deadline = absl::Hours(24);
  const auto flushed = client_->FlushJournal(flush);
  ASSERT_TRUE(flushed.ok()) << flushed.status();
  EXPECT_EQ(flushed->delivered, 7u);
  DeliveryOptions delivery;
  delivery.origin = "shop-db";
  EXPECT_EQ(client_->PauseDelivery(delivery)->depth, 8u);
  EXPECT_EQ(client_->ResumeDelivery()->depth, 9u);
  EXPECT_THAT(admin_.requests(), ElementsAre("type: \"cart\"", "origin: \"shop-db\"", ""));
  flush.call.deadline = absl::Hours(25);
  EXPECT_EQ(client_->FlushJournal(flush).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JournalClientTest, ListsDeadLetters) {
  ListDeadLettersOptions options;
  options.filter = {.ids = {"1", "2"}, .ns = "shop", .type = "cart", .key_prefix = "cart:"};
  options.page_size = 5;
  options.page_token = "77";
  const auto page = client_->ListDeadLetters(options);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->next_page_token, "1");
  EXPECT_EQ(page->total, 12u);
  ASSERT_EQ(page->letters.size(), 1u);
  const DeadLetter& letter = page->letters[0];
  EXPECT_EQ(letter.id, "1");
  EXPECT_EQ(letter.ns, "shop");
  EXPECT_EQ(letter.key, "cart:1");
  EXPECT_EQ(letter.type, "cart");
  EXPECT_EQ(letter.version, 42u);
  EXPECT_EQ(letter.error, "no such customer");
  EXPECT_EQ(letter.attempts, 3u);
  EXPECT_EQ(letter.written, absl::FromUnixSeconds(1000));
  EXPECT_EQ(letter.first_attempt, absl::FromUnixSeconds(1001));
  EXPECT_EQ(letter.last_attempt, absl::InfinitePast());
  EXPECT_EQ(letter.value_bytes, 5u);
  EXPECT_EQ(letter.request_id, "r1");
  EXPECT_FALSE(letter.deletion);
  EXPECT_THAT(admin_.requests(),
              ElementsAre("filter { ids: \"1\" ids: \"2\" namespace: \"shop\" type: \"cart\" "
                          "key_prefix: \"cart:\" } page_size: 5 page_token: \"77\""));
  options.filter.key_prefix = "\xff";
  EXPECT_EQ(ErrorReason(client_->ListDeadLetters(options).status()), "KEY_INVALID");
}

// A repeat would answer 0 and be no lie; the first answer, lost, had the number.
TEST_F(JournalClientTest, RetryingAndDroppingAreNotRepeated) {
  DeadLetterOptions options;
  options.filter.type = "cart";
  EXPECT_EQ(client_->RetryDeadLetters(options).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(client_->RetryDeadLetters(options)->letters, 10u);
  EXPECT_EQ(client_->DropDeadLetters(options)->letters, 11u);
  EXPECT_EQ(admin_.requests().size(), 3u);
}

TEST_F(JournalClientTest, ExportsUntilTheEnd) {
  uint64_t seen = 0;
  const auto count = client_->ExportDeadLetters({}, [&seen](const ExportedLetter& one) {
    ++seen;
    EXPECT_EQ(one.letter.id, absl::StrCat(seen));
    EXPECT_EQ(one.value, absl::StrCat("value ", seen));
    return true;
  });
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->letters, 1000u);
  EXPECT_EQ(seen, 1000u);
}

TEST_F(JournalClientTest, ExportEndsWhenNoMoreIsWanted) {
  uint64_t seen = 0;
  const auto count =
      client_->ExportDeadLetters({}, [&seen](const ExportedLetter&) { return ++seen < 3; });
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(count->letters, 3u);
  EXPECT_EQ(seen, 3u);
}

TEST_F(JournalClientTest, StatsHaveEveryCountOfTheJournal) {
  const auto stats = client_->Stats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  ASSERT_TRUE(stats->journal.has_value());
  const JournalStats& journal = *stats->journal;
  EXPECT_EQ(journal.depth, 1u);
  EXPECT_EQ(journal.bytes, 2u);
  EXPECT_EQ(journal.oldest_age, absl::Seconds(3));
  EXPECT_EQ(journal.dead_letters, 4u);
  EXPECT_EQ(journal.letter_bytes, 5u);
  EXPECT_EQ(journal.bytes_on_disk, 6u);
  EXPECT_EQ(journal.index_bytes, 7u);
  EXPECT_EQ(journal.syncs, 8u);
  EXPECT_EQ(journal.failures, 9u);
  EXPECT_EQ(journal.state, "ok");
  ASSERT_TRUE(journal.damage.has_value());
  EXPECT_EQ(journal.damage->events, 10u);
  EXPECT_EQ(journal.damage->records_lost, 11u);
  EXPECT_EQ(journal.damage->last, "a bit");
  EXPECT_EQ(journal.damage->set_aside, "/aside");
  EXPECT_THAT(journal.paused, ElementsAre("shop-db"));
  ASSERT_EQ(journal.types.size(), 1u);
  const JournalTypeStats& type = journal.types[0];
  EXPECT_EQ(type.type, "cart");
  EXPECT_EQ(type.depth, 12u);
  EXPECT_EQ(type.bytes, 13u);
  EXPECT_EQ(type.oldest_age, absl::Seconds(14));
  EXPECT_EQ(type.enqueued, 15u);
  EXPECT_EQ(type.coalesced, 16u);
  EXPECT_EQ(type.delivered, 17u);
  EXPECT_EQ(type.retried, 18u);
  EXPECT_EQ(type.dead, 19u);
  EXPECT_EQ(type.refused, 20u);
  EXPECT_EQ(type.lag.count, 21u);
  EXPECT_EQ(type.lag.p99, absl::Seconds(22));
}

}  // namespace
}  // namespace larder
