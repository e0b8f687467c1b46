// The calls about the journal: what they ask it, what they refuse, and that every count of it
// reaches a field of its own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/task.h"
#include "core/error.h"
#include "core/key.h"
#include "engine/request_ids.h"
#include "rpc/access_table.h"
#include "rpc/admin_handlers.h"
#include "rpc/cache_handlers.h"
#include "rpc/methods.h"
#include "tests/engine/replicas_fixture.h"

namespace larder {
namespace {

using testing::ElementsAre;

// Answers what it was told to, and remembers what it was asked.
class ToldJournal : public Journal {
 public:
  void Start(JournalSink*) override {}
  bool Stop(MonoNanos) override { return true; }
  Task<absl::Status> Append(std::vector<JournalRecord> writes, MonoNanos deadline) override {
    asked = "append " + writes[0].request_id;
    asked_deadline = deadline;
    co_return error;
  }
  bool Has(std::string_view) const override { return false; }
  Version VersionOf(std::string_view) const override { return kNoVersion; }
  Task<absl::StatusOr<std::optional<JournalRecord>>> Find(std::string full_key) override {
    std::optional<JournalRecord> found;
    if (waiting.has_value() && waiting->full_key == full_key) found = waiting;
    co_return found;
  }
  void Supersede(std::string_view, std::string_view, Version) override {}
  Version newest() const override { return kNoVersion; }
  Task<absl::StatusOr<JournalFlushed>> Flush(std::string type, MonoNanos deadline,
                                             Cancellation*) override {
    asked = "flush " + type;
    asked_deadline = deadline;
    if (!error.ok()) co_return error;
    if (holds_flushes != nullptr) {
      const auto pause = std::make_shared<Signal<bool>>(holds_flushes);
      flushes.push_back(pause);
      co_await *pause;
    }
    co_return JournalFlushed{7, 2};
  }
  std::optional<JournalTry> TryOf(std::string_view, std::string_view type) const override {
    return type == "behind" ? tried : std::nullopt;
  }
  absl::StatusOr<uint64_t> Pause(std::string_view origin) override {
    asked = "pause " + std::string(origin);
    return 8;
  }
  absl::StatusOr<uint64_t> Resume(std::string_view origin) override {
    asked = "resume " + std::string(origin);
    return 9;
  }
  Task<absl::StatusOr<LetterPage>> Letters(LetterFilter filter, uint64_t after, size_t limit,
                                           bool with_values) override {
    asked_filter = filter;
    asked_limit = limit;
    LetterPage page;
    for (const LetterPage::Item& item : letters) {
      if (item.letter.id <= after) continue;
      if (page.letters.size() == limit) {
        page.next = page.letters.back().letter.id;
        break;
      }
      page.letters.push_back(item);
      if (!with_values) page.letters.back().letter.record.value.clear();
    }
    page.total = letters.size();
    co_return page;
  }
  Task<absl::StatusOr<uint64_t>> RetryLetters(LetterFilter filter) override {
    asked = "retry";
    asked_filter = filter;
    co_return uint64_t{10};
  }
  Task<absl::StatusOr<uint64_t>> DropLetters(LetterFilter filter) override {
    asked = "drop";
    asked_filter = filter;
    co_return uint64_t{11};
  }
  absl::Status Health() const override { return absl::OkStatus(); }
  JournalStats Stats() const override { return stats; }

  JournalStats stats;
  std::optional<JournalRecord> waiting;
  std::optional<JournalTry> tried;
  std::vector<LetterPage::Item> letters;
  absl::Status error;
  std::string asked;
  LetterFilter asked_filter;
  size_t asked_limit = 0;
  MonoNanos asked_deadline = 0;
  // Flushes wait for their signals; null: they do not.
  Executor* holds_flushes = nullptr;
  std::vector<std::shared_ptr<Signal<bool>>> flushes;
};

// A caller who takes as many messages as he likes.
class TakingCall : public CallContext {
 public:
  Task<bool> Send(const google::protobuf::Message& message) override {
    if (pause != nullptr) co_await *pause;
    if (taken.size() == taken_max) co_return false;
    taken.push_back(static_cast<const v1::ExportDeadLettersResponse&>(message));
    co_return true;
  }
  void set_deadline(MonoNanos deadline) { deadline_ = deadline; }

  size_t taken_max = 1'000'000;
  // Takes nothing before it is set.
  std::shared_ptr<Signal<bool>> pause;
  std::vector<v1::ExportDeadLettersResponse> taken;
};

class JournalHandlersTest : public ReplicasFixture {
 protected:
  JournalHandlersTest() {
    Engine::Options options;
    options.clock = &clock_;
    options.random = &random_;
    options.executor = &executor_;
    TypePolicy cart = Type("cart"), user = Type("user");
    cart.origin = "shop";
    cart.write.mode = WriteMode::kBehind;
    user.origin = "people";
    user.write.mode = WriteMode::kThrough;
    options.types = *TypeTable::Make({cart, user, Type("default")});
    without_ = std::make_unique<Engine>(options);
    options.journal = &journal_;
    with_ = std::make_unique<Engine>(options);
    admin_ = NewAdmin(with_.get());
  }

  std::unique_ptr<AdminHandlers> NewAdmin(Engine* engine) {
    methods_.push_back(std::make_unique<MethodTable>());
    return std::make_unique<AdminHandlers>(AdminHandlers::Options{}, engine, nullptr,
                                           methods_.back().get());
  }

  template <typename Request, typename Response>
  absl::Status Call(Task<absl::Status> (AdminHandlers::*handler)(CallContext*, const Request*,
                                                                 Response*),
                    const Request& request, Response* response, AdminHandlers* admin = nullptr) {
    return Now(((admin == nullptr ? admin_.get() : admin)->*handler)(&call_, &request, response));
  }

  static std::string ReasonOf(const absl::Status& status) { return DetailsOf(status).reason; }
  static std::string FieldOf(const absl::Status& status) {
    const ErrorDetails details = DetailsOf(status);
    return details.fields.empty() ? "" : details.fields[0].first;
  }

  void AddLetter(uint64_t id, const std::string& key, const std::string& value) {
    LetterPage::Item item;
    item.letter.id = id;
    item.letter.record.full_key = std::string(FullKey("shop", key).view());
    item.letter.record.type = "cart";
    item.letter.record.value = value;
    item.value_bytes = value.size();
    journal_.letters.push_back(std::move(item));
  }

  ToldJournal journal_;
  TakingCall call_;
  std::vector<std::unique_ptr<MethodTable>> methods_;
  std::unique_ptr<Engine> with_, without_;
  std::unique_ptr<AdminHandlers> admin_;
};

TEST_F(JournalHandlersTest, WithoutAJournalAllOfThemSaySo) {
  const auto admin = NewAdmin(without_.get());
  v1::FlushJournalResponse flushed;
  v1::PauseDeliveryResponse paused;
  v1::ResumeDeliveryResponse resumed;
  v1::ListDeadLettersResponse listed;
  v1::RetryDeadLettersResponse retried;
  v1::DropDeadLettersResponse dropped;
  v1::ExportDeadLettersResponse exported;
  for (const absl::Status& status : {
           Call(&AdminHandlers::FlushJournal, v1::FlushJournalRequest(), &flushed, admin.get()),
           Call(&AdminHandlers::PauseDelivery, v1::PauseDeliveryRequest(), &paused, admin.get()),
           Call(&AdminHandlers::ResumeDelivery, v1::ResumeDeliveryRequest(), &resumed, admin.get()),
           Call(&AdminHandlers::ListDeadLetters, v1::ListDeadLettersRequest(), &listed,
                admin.get()),
           Call(&AdminHandlers::RetryDeadLetters, v1::RetryDeadLettersRequest(), &retried,
                admin.get()),
           Call(&AdminHandlers::DropDeadLetters, v1::DropDeadLettersRequest(), &dropped,
                admin.get()),
           Call(&AdminHandlers::ExportDeadLetters, v1::ExportDeadLettersRequest(), &exported,
                admin.get()),
       }) {
    EXPECT_EQ(ReasonOf(status), "WRITE_MODE_UNSUPPORTED") << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(JournalHandlersTest, FlushWaitsForATypeAsLongAsTheCallerDoes) {
  v1::FlushJournalRequest request;
  v1::FlushJournalResponse response;
  request.set_type("cart");
  call_.set_deadline(clock_.Mono() + 5);
  ASSERT_TRUE(Call(&AdminHandlers::FlushJournal, request, &response).ok());
  EXPECT_EQ(journal_.asked, "flush cart");
  EXPECT_EQ(journal_.asked_deadline, clock_.Mono() + 5);
  EXPECT_EQ(response.delivered(), 7u);
  EXPECT_EQ(response.dead(), 2u);
  // Who does not say how long does not wait for ever.
  call_.set_deadline(INT64_MAX);
  ASSERT_TRUE(Call(&AdminHandlers::FlushJournal, v1::FlushJournalRequest(), &response).ok());
  EXPECT_EQ(journal_.asked, "flush ");
  EXPECT_EQ(journal_.asked_deadline, MonoAfter(clock_.Mono(), absl::Hours(24)));
}

TEST_F(JournalHandlersTest, FlushOfATypeThatDoesNotWriteBehindIsRefused) {
  v1::FlushJournalRequest request;
  v1::FlushJournalResponse response;
  request.set_type("crat");
  EXPECT_EQ(ReasonOf(Call(&AdminHandlers::FlushJournal, request, &response)), "TYPE_UNKNOWN");
  request.set_type("user");
  const absl::Status refused = Call(&AdminHandlers::FlushJournal, request, &response);
  EXPECT_EQ(ReasonOf(refused), "WRITE_MODE_UNSUPPORTED");
  EXPECT_EQ(refused.message(), "type user does not write behind: its write.mode is through");
  EXPECT_EQ(journal_.asked, "");
}

TEST_F(JournalHandlersTest, FlushPassesOnWhyItCannot) {
  journal_.error = Error(Reason::kDELIVERY_PAUSED, "delivery to shop is paused");
  v1::FlushJournalResponse response;
  EXPECT_EQ(ReasonOf(Call(&AdminHandlers::FlushJournal, v1::FlushJournalRequest(), &response)),
            "DELIVERY_PAUSED");
}

TEST_F(JournalHandlersTest, DeliveryIsPausedAndResumedByOrigin) {
  v1::PauseDeliveryRequest pause;
  v1::PauseDeliveryResponse paused;
  v1::ResumeDeliveryRequest resume;
  v1::ResumeDeliveryResponse resumed;
  ASSERT_TRUE(Call(&AdminHandlers::PauseDelivery, pause, &paused).ok());
  EXPECT_EQ(journal_.asked, "pause ");
  EXPECT_EQ(paused.depth(), 8u);
  pause.set_origin("shop");
  ASSERT_TRUE(Call(&AdminHandlers::PauseDelivery, pause, &paused).ok());
  EXPECT_EQ(journal_.asked, "pause shop");
  resume.set_origin("shop");
  ASSERT_TRUE(Call(&AdminHandlers::ResumeDelivery, resume, &resumed).ok());
  EXPECT_EQ(journal_.asked, "resume shop");
  EXPECT_EQ(resumed.depth(), 9u);
  // The origin is there, but nobody writes behind to it.
  pause.set_origin("people");
  const absl::Status refused = Call(&AdminHandlers::PauseDelivery, pause, &paused);
  EXPECT_EQ(ReasonOf(refused), "REQUEST_INVALID");
  EXPECT_EQ(FieldOf(refused), "origin");
  EXPECT_EQ(journal_.asked, "resume shop");
}

TEST_F(JournalHandlersTest, ListsLettersPageByPage) {
  for (uint64_t id = 1; id <= 5; ++id) AddLetter(id, "cart:" + std::to_string(id), "value");
  DeadLetter& first = journal_.letters[0].letter;
  first.record.version = 41;
  first.record.request_id = "r1";
  first.record.enqueued = absl::FromUnixSeconds(1000);
  first.error = "no \xff row";
  first.attempts = 3;
  first.first_attempt = absl::FromUnixSeconds(1001);
  first.last_attempt = absl::FromUnixSeconds(1002);
  journal_.letters[1].letter.record.remove = true;
  v1::ListDeadLettersRequest request;
  request.set_page_size(2);
  request.mutable_filter()->set_namespace_("shop");
  request.mutable_filter()->set_type("cart");
  request.mutable_filter()->set_key_prefix("cart:");
  v1::ListDeadLettersResponse page;
  ASSERT_TRUE(Call(&AdminHandlers::ListDeadLetters, request, &page).ok());
  EXPECT_EQ(journal_.asked_filter.name_space, "shop");
  EXPECT_EQ(journal_.asked_filter.type, "cart");
  EXPECT_EQ(journal_.asked_filter.key_prefix, "cart:");
  ASSERT_EQ(page.letters_size(), 2);
  EXPECT_EQ(page.total(), 5u);
  EXPECT_EQ(page.next_page_token(), "2");
  const v1::DeadLetter& letter = page.letters(0);
  EXPECT_EQ(letter.id(), "1");
  EXPECT_EQ(letter.namespace_(), "shop");
  EXPECT_EQ(letter.key(), "cart:1");
  EXPECT_EQ(letter.type(), "cart");
  EXPECT_EQ(letter.version(), 41u);
  EXPECT_EQ(letter.error(), "no ? row");
  EXPECT_EQ(letter.attempts(), 3u);
  EXPECT_EQ(letter.written().seconds(), 1000);
  EXPECT_EQ(letter.first_attempt().seconds(), 1001);
  EXPECT_EQ(letter.last_attempt().seconds(), 1002);
  EXPECT_EQ(letter.value_bytes(), 5u);
  EXPECT_EQ(letter.request_id(), "r1");
  EXPECT_FALSE(letter.deletion());
  EXPECT_TRUE(page.letters(1).deletion());
  request.set_page_token("4");
  page.Clear();
  ASSERT_TRUE(Call(&AdminHandlers::ListDeadLetters, request, &page).ok());
  ASSERT_EQ(page.letters_size(), 1);
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_F(JournalHandlersTest, PagesHaveALimit) {
  v1::ListDeadLettersRequest request;
  v1::ListDeadLettersResponse page;
  ASSERT_TRUE(Call(&AdminHandlers::ListDeadLetters, request, &page).ok());
  EXPECT_EQ(journal_.asked_limit, 100u);
  request.set_page_size(1000);
  ASSERT_TRUE(Call(&AdminHandlers::ListDeadLetters, request, &page).ok());
  EXPECT_EQ(journal_.asked_limit, 1000u);
  request.set_page_size(1001);
  const absl::Status refused = Call(&AdminHandlers::ListDeadLetters, request, &page);
  EXPECT_EQ(FieldOf(refused), "page_size");
}

TEST_F(JournalHandlersTest, WhatCannotNameALetterIsRefused) {
  v1::ListDeadLettersResponse page;
  const auto field = [&](v1::ListDeadLettersRequest request) {
    return FieldOf(Call(&AdminHandlers::ListDeadLetters, request, &page));
  };
  v1::ListDeadLettersRequest request;
  for (const char* const token : {"x", "-1", "0", " 1", "99999999999999999999"}) {
    request.set_page_token(token);
    EXPECT_EQ(field(request), "page_token") << token;
  }
  request.Clear();
  request.mutable_filter()->add_ids("12");
  request.mutable_filter()->add_ids("twelve");
  EXPECT_EQ(field(request), "filter.ids[1]");
  request.Clear();
  request.mutable_filter()->set_namespace_("no good");
  EXPECT_EQ(field(request), "filter.namespace");
  request.Clear();
  request.mutable_filter()->set_key_prefix(std::string(1025, 'k'));
  EXPECT_EQ(field(request), "filter.key_prefix");
  request.Clear();
  for (int i = 1; i <= 1000; ++i) request.mutable_filter()->add_ids(std::to_string(i));
  EXPECT_EQ(field(request), "");
  request.mutable_filter()->add_ids("1001");
  EXPECT_EQ(field(request), "filter.ids");
}

TEST_F(JournalHandlersTest, LettersAreRetriedAndDroppedByFilter) {
  v1::RetryDeadLettersRequest retry;
  v1::RetryDeadLettersResponse retried;
  retry.mutable_filter()->add_ids("3");
  retry.mutable_filter()->add_ids("4");
  ASSERT_TRUE(Call(&AdminHandlers::RetryDeadLetters, retry, &retried).ok());
  EXPECT_EQ(journal_.asked, "retry");
  EXPECT_THAT(journal_.asked_filter.ids, ElementsAre(3, 4));
  EXPECT_EQ(retried.retried(), 10u);
  v1::DropDeadLettersRequest drop;
  v1::DropDeadLettersResponse dropped;
  drop.mutable_filter()->set_type("cart");
  ASSERT_TRUE(Call(&AdminHandlers::DropDeadLetters, drop, &dropped).ok());
  EXPECT_EQ(journal_.asked, "drop");
  EXPECT_THAT(journal_.asked_filter.ids, ElementsAre());
  EXPECT_EQ(journal_.asked_filter.type, "cart");
  EXPECT_EQ(dropped.dropped(), 11u);
}

// More than one page of them.
TEST_F(JournalHandlersTest, ExportSendsEveryLetterWithItsValue) {
  for (uint64_t id = 1; id <= 250; ++id) AddLetter(id, "cart:1", "value " + std::to_string(id));
  v1::ExportDeadLettersResponse last;
  ASSERT_TRUE(Call(&AdminHandlers::ExportDeadLetters, v1::ExportDeadLettersRequest(), &last).ok());
  ASSERT_EQ(call_.taken.size(), 250u);
  for (size_t i = 0; i < 250; ++i) {
    EXPECT_EQ(call_.taken[i].letter().id(), std::to_string(i + 1));
    EXPECT_EQ(call_.taken[i].value(), "value " + std::to_string(i + 1));
  }
  EXPECT_LE(journal_.asked_limit, 100u);
}

TEST_F(JournalHandlersTest, ExportEndsWhenNobodyListens) {
  for (uint64_t id = 1; id <= 50; ++id) AddLetter(id, "cart:1", "value");
  call_.taken_max = 3;
  v1::ExportDeadLettersResponse last;
  EXPECT_TRUE(Call(&AdminHandlers::ExportDeadLetters, v1::ExportDeadLettersRequest(), &last).ok());
  EXPECT_EQ(call_.taken.size(), 3u);
}

TEST_F(JournalHandlersTest, WhoHasAPartDoesNotTakeAllTheMemoryForExports) {
  AddLetter(1, "cart:1", "value");
  const v1::ExportDeadLettersRequest request;
  struct Export {
    TakingCall call;
    v1::ExportDeadLettersResponse response;
    std::optional<absl::Status> status;
  };
  std::vector<std::unique_ptr<Export>> exports;
  const auto start = [&](bool of_part) {
    Export& one = *exports.emplace_back(std::make_unique<Export>());
    one.call.pause = std::make_shared<Signal<bool>>(&executor_);
    if (of_part) one.call.set_view(std::make_shared<AccessView>(nullptr, nullptr, nullptr));
    Spawn(admin_->ExportDeadLetters(&one.call, &request, &one.response),
          [&one](const absl::Status& status) { one.status = status; });
  };
  for (int i = 0; i < 5; ++i) start(/*of_part=*/true);
  start(/*of_part=*/false);
  executor_.RunReady();
  for (size_t i : {0u, 1u, 2u, 3u, 5u}) EXPECT_FALSE(exports[i]->status.has_value()) << i;
  ASSERT_TRUE(exports[4]->status.has_value());
  EXPECT_EQ(ReasonOf(*exports[4]->status), "OVERLOADED");
  exports[0]->call.pause->TrySet(true);
  executor_.RunReady();
  EXPECT_EQ(exports[0]->status, absl::OkStatus());
  start(/*of_part=*/true);
  for (const auto& one : exports) one->call.pause->TrySet(true);
  executor_.RunReady();
  EXPECT_EQ(exports.back()->status, absl::OkStatus()) << "there is room again";
}

TEST_F(JournalHandlersTest, WhoHasAPartDoesNotTakeAllPlacesOfFlushes) {
  journal_.holds_flushes = &executor_;
  const v1::FlushJournalRequest request;
  struct Flush {
    TakingCall call;
    v1::FlushJournalResponse response;
    std::optional<absl::Status> status;
  };
  std::vector<std::unique_ptr<Flush>> flushes;
  const auto start = [&](bool of_part) {
    Flush& one = *flushes.emplace_back(std::make_unique<Flush>());
    if (of_part) one.call.set_view(std::make_shared<AccessView>(nullptr, nullptr, nullptr));
    Spawn(admin_->FlushJournal(&one.call, &request, &one.response),
          [&one](const absl::Status& status) { one.status = status; });
    executor_.RunReady();
    return one.status;
  };
  for (int i = 0; i < 32; ++i) EXPECT_FALSE(start(/*of_part=*/true).has_value()) << i;
  EXPECT_EQ(journal_.asked_deadline, MonoAfter(clock_.Mono(), absl::Minutes(10)))
      << "it sets no deadline";
  const std::optional<absl::Status> refused = start(/*of_part=*/true);
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(ReasonOf(*refused), "OVERLOADED");
  EXPECT_FALSE(start(/*of_part=*/false).has_value()) << "whoever operates the server waits, too";
  EXPECT_EQ(journal_.asked_deadline, MonoAfter(clock_.Mono(), absl::Hours(24)));
  for (const auto& pause : journal_.flushes) pause->TrySet(true);
  executor_.RunReady();
  EXPECT_EQ(flushes[0]->status, absl::OkStatus());
  journal_.holds_flushes = nullptr;
  EXPECT_EQ(start(/*of_part=*/true), absl::OkStatus()) << "there is room again";
}

TEST_F(JournalHandlersTest, AnExportEndsWhenItsCallerMayNotSeeItAnyMore) {
  for (uint64_t i = 1; i <= 250; ++i) AddLetter(i, "cart:" + std::to_string(i), "value");
  int pages = 0;
  TakingCall call;
  call.set_still_allowed(
      [&pages] { return ++pages < 2 ? absl::OkStatus() : Error(Reason::kNOT_ALLOWED, "no more"); });
  const v1::ExportDeadLettersRequest request;
  v1::ExportDeadLettersResponse response;
  const absl::Status status = Now(admin_->ExportDeadLetters(&call, &request, &response));
  EXPECT_EQ(ReasonOf(status), "NOT_ALLOWED");
  EXPECT_EQ(call.taken.size(), 16u) << "one page";
}

TEST_F(JournalHandlersTest, WritesKnowTheirCall) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::SetRequest request;
  request.set_key("cart:1");
  request.set_value("v");
  request.set_request_id("r1");
  call_.set_deadline(clock_.Mono() + 7);
  v1::SetResponse response;
  ASSERT_TRUE(Now(handlers.Set(&call_, &request, &response)).ok());
  EXPECT_EQ(journal_.asked, "append r1");
  EXPECT_EQ(journal_.asked_deadline, clock_.Mono() + 7);
}

// 1: The disk fails under a write, and nobody knows.  2: A repeat finds that the disk takes
// nothing: that this one is not stored says nothing of the first.
TEST_F(JournalHandlersTest, RepeatsOfAWriteOfUnknownEndDoNotSayThatItIsNotStored) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::SetRequest set;
  set.set_key("cart:1");
  set.set_value("v");
  set.set_request_id("set");
  v1::SetResponse stored;
  const absl::Status unknown = RetryableError(Reason::kWRITE_UNKNOWN, absl::Seconds(1), "as told");
  const absl::Status refused =
      RetryableError(Reason::kJOURNAL_UNAVAILABLE, absl::Seconds(3), "as told");
  journal_.error = refused;
  EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "JOURNAL_UNAVAILABLE");
  journal_.error = unknown;
  EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "WRITE_UNKNOWN");
  journal_.error = refused;
  for (int i = 0; i < 2; ++i) {
    const absl::Status again = Now(handlers.Set(&call_, &set, &stored));
    EXPECT_EQ(ReasonOf(again), "WRITE_UNKNOWN");
    EXPECT_EQ(DetailsOf(again).retry_after, absl::Seconds(3));
  }
  journal_.error = absl::OkStatus();
  EXPECT_TRUE(Now(handlers.Set(&call_, &set, &stored)).ok());

  v1::BatchDeleteRequest batch;
  batch.add_keys("cart:1");
  batch.add_keys("default:1");
  batch.set_request_id("batch");
  for (const absl::Status& error : {unknown, refused}) {
    journal_.error = error;
    v1::BatchDeleteResponse deleted;
    ASSERT_TRUE(Now(handlers.BatchDelete(&call_, &batch, &deleted)).ok());
    EXPECT_EQ(deleted.results(0).not_deleted().reason(), v1::NOT_STORED_REASON_WRITE_UNKNOWN);
    EXPECT_FALSE(deleted.results(1).has_not_deleted());
  }
}

// The journal may have it, and the tier did not answer. Whoever takes a lock must not be told by
// the repeat that somebody else has it.
// It is tried again. Whether a condition that fails then failed before is not known.
TEST_F(JournalHandlersTest, RepeatsOfAConditionWhoseTierDidNotAnswerAreNotToldThatItFailed) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::SetRequest set;
  set.set_key("cart:1");
  set.set_value("v");
  v1::SetResponse stored;
  ASSERT_TRUE(Now(handlers.Set(&call_, &set, &stored)).ok());
  set.set_if_version(stored.stored().version());
  set.set_request_id("lock");
  journal_.error = RetryableError(Reason::kTIER_UNAVAILABLE, absl::Seconds(1), "as told");
  EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "TIER_UNAVAILABLE");
  EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "TIER_UNAVAILABLE");
  journal_.error = absl::OkStatus();
  v1::SetResponse repeated;
  ASSERT_TRUE(Now(handlers.Set(&call_, &set, &repeated)).ok());
  EXPECT_TRUE(repeated.has_stored());

  set.set_request_id("late");
  set.set_if_version(repeated.stored().version());
  journal_.error = RetryableError(Reason::kTIER_UNAVAILABLE, absl::Seconds(1), "as told");
  EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "TIER_UNAVAILABLE");
  journal_.error = absl::OkStatus();
  v1::SetRequest other;
  other.set_key("cart:1");
  other.set_value("another");
  ASSERT_TRUE(Now(handlers.Set(&call_, &other, &stored)).ok());
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(ReasonOf(Now(handlers.Set(&call_, &set, &stored))), "WRITE_UNKNOWN");
}

TEST_F(JournalHandlersTest, ItemsOfABatchSayWhyTheyAreNotStored) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::BatchSetRequest request;
  request.add_items()->set_key("cart:1");
  request.mutable_items(0)->set_value("v");
  for (const auto& [reason, not_stored] :
       {std::pair(Reason::kWRITE_REFUSED, v1::NOT_STORED_REASON_WRITE_REFUSED),
        std::pair(Reason::kWRITE_FAILED, v1::NOT_STORED_REASON_WRITE_FAILED),
        std::pair(Reason::kWRITE_UNKNOWN, v1::NOT_STORED_REASON_WRITE_UNKNOWN),
        std::pair(Reason::kWRITE_MODE_UNSUPPORTED, v1::NOT_STORED_REASON_WRITE_MODE_UNSUPPORTED),
        std::pair(Reason::kJOURNAL_FULL, v1::NOT_STORED_REASON_JOURNAL_FULL),
        std::pair(Reason::kJOURNAL_UNAVAILABLE, v1::NOT_STORED_REASON_JOURNAL_UNAVAILABLE),
        std::pair(Reason::kDEADLINE_EXCEEDED, v1::NOT_STORED_REASON_DEADLINE_EXCEEDED),
        std::pair(Reason::kTOO_MANY_WAITERS, v1::NOT_STORED_REASON_TOO_MANY_WAITERS),
        std::pair(Reason::kDRAINING, v1::NOT_STORED_REASON_DRAINING),
        std::pair(Reason::kORIGIN_UNAVAILABLE, v1::NOT_STORED_REASON_ORIGIN_UNAVAILABLE),
        std::pair(Reason::kORIGIN_TIMEOUT, v1::NOT_STORED_REASON_ORIGIN_TIMEOUT),
        std::pair(Reason::kOVERLOADED, v1::NOT_STORED_REASON_OVERLOADED)}) {
    journal_.error = Error(reason, "as told");
    v1::BatchSetResponse response;
    ASSERT_TRUE(Now(handlers.BatchSet(&call_, &request, &response)).ok());
    EXPECT_EQ(response.results(0).not_stored().reason(), not_stored);
  }
}

TEST_F(JournalHandlersTest, ExplainShowsTheWriteThatWaits) {
  v1::ExplainRequest request;
  request.set_key("cart:1");
  v1::ExplainResponse explained;
  ASSERT_TRUE(Call(&AdminHandlers::Explain, request, &explained).ok());
  EXPECT_FALSE(explained.has_pending());
  JournalRecord waiting;
  waiting.full_key = std::string(FullKey("", "cart:1").view());
  waiting.version = 42;
  waiting.value = "12345";
  waiting.enqueued = clock_.Now() - absl::Seconds(3);
  journal_.waiting = waiting;
  ASSERT_TRUE(Call(&AdminHandlers::Explain, request, &explained).ok());
  EXPECT_EQ(explained.pending().version(), 42u);
  EXPECT_EQ(explained.pending().value_bytes(), 5u);
  EXPECT_EQ(explained.pending().age().seconds(), 3);
  EXPECT_FALSE(explained.pending().deletion());
  EXPECT_FALSE(explained.pending().has_next_attempt());
  journal_.waiting->type = "behind";
  journal_.tried = JournalTry{3, "ABORTED: deadlock", absl::Seconds(2)};
  ASSERT_TRUE(Call(&AdminHandlers::Explain, request, &explained).ok());
  EXPECT_EQ(explained.pending().attempts(), 3u);
  EXPECT_EQ(explained.pending().last_error(), "ABORTED: deadlock");
  EXPECT_EQ(explained.pending().next_attempt().seconds(), 2);
  // Whatever the journal has, the caller can read the answer.
  journal_.tried->error = "ABORTED: caf\xc3";
  ASSERT_TRUE(Call(&AdminHandlers::Explain, request, &explained).ok());
  EXPECT_EQ(explained.pending().last_error(), "ABORTED: caf?");
}

TEST_F(JournalHandlersTest, KeysOfABatchSayWhyTheyAreNotDeleted) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::BatchDeleteRequest request;
  request.add_keys("cart:1");
  request.add_keys("default:1");
  for (const auto& [reason, not_deleted] :
       {std::pair(Reason::kWRITE_UNKNOWN, v1::NOT_STORED_REASON_WRITE_UNKNOWN),
        std::pair(Reason::kDRAINING, v1::NOT_STORED_REASON_DRAINING),
        std::pair(Reason::kTOO_MANY_WAITERS, v1::NOT_STORED_REASON_TOO_MANY_WAITERS),
        std::pair(Reason::kJOURNAL_UNAVAILABLE, v1::NOT_STORED_REASON_JOURNAL_UNAVAILABLE)}) {
    journal_.error = Error(reason, "as told");
    v1::BatchDeleteResponse response;
    ASSERT_TRUE(Now(handlers.BatchDelete(&call_, &request, &response)).ok());
    ASSERT_EQ(response.results_size(), 2);
    EXPECT_EQ(response.results(0).not_deleted().reason(), not_deleted);
    EXPECT_FALSE(response.results(1).has_not_deleted());
    EXPECT_NE(response.results(1).version(), 0u);
  }
}

// Nothing of the batch has happened, or nobody knows: that is an error, by which clients try again.
TEST_F(JournalHandlersTest, KeysThatAllFailedForOneReasonAreAnErrorOfTheCall) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::BatchDeleteRequest request;
  for (const std::string key : {"cart:1", "cart:2"}) {
    request.add_keys(key);
    journal_.error = RetryableError(Reason::kJOURNAL_UNAVAILABLE, absl::Seconds(3), "as told");
    v1::BatchDeleteResponse response;
    const absl::Status failed = Now(handlers.BatchDelete(&call_, &request, &response));
    EXPECT_EQ(DetailsOf(failed).reason, "JOURNAL_UNAVAILABLE");
    EXPECT_EQ(DetailsOf(failed).retry_after, absl::Seconds(3));
    EXPECT_EQ(response.results_size(), 0);
  }
}

TEST_F(JournalHandlersTest, KeysOfABatchThatWereNotDeletedAreTriedAgainByARepeat) {
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  v1::BatchDeleteRequest request;
  request.add_keys("cart:1");
  request.add_keys("default:1");
  request.set_request_id("once");
  journal_.error = Error(Reason::kJOURNAL_UNAVAILABLE, "as told");
  v1::BatchDeleteResponse first, second, third;
  ASSERT_TRUE(Now(handlers.BatchDelete(&call_, &request, &first)).ok());
  EXPECT_TRUE(first.results(0).has_not_deleted());
  journal_.error = absl::OkStatus();
  ASSERT_TRUE(Now(handlers.BatchDelete(&call_, &request, &second)).ok());
  EXPECT_FALSE(second.results(0).has_not_deleted());
  // What went well is answered again.
  journal_.error = Error(Reason::kJOURNAL_UNAVAILABLE, "as told");
  ASSERT_TRUE(Now(handlers.BatchDelete(&call_, &request, &third)).ok());
  EXPECT_EQ(third.SerializeAsString(), second.SerializeAsString());
}

TEST_F(JournalHandlersTest, ServerInfoTellsTheWriteModes) {
  v1::ServerInfoResponse info;
  ASSERT_TRUE(Call(&AdminHandlers::ServerInfo, v1::ServerInfoRequest(), &info).ok());
  std::vector<std::string> modes;
  for (const v1::TypeInfo& type : info.types())
    modes.push_back(type.name() + " " + type.write_mode());
  EXPECT_THAT(modes, ElementsAre("cart behind", "user through", "default cache_only"));
  EXPECT_THAT(info.features(), testing::Contains("journal"));
}

TEST_F(JournalHandlersTest, StatsTellEveryCountOfTheJournal) {
  JournalStats& told = journal_.stats;
  told.depth = 1;
  told.bytes = 2;
  told.oldest_age = absl::Seconds(3);
  told.dead_letters = 4;
  told.letter_bytes = 5;
  told.bytes_on_disk = 6;
  told.index_bytes = 7;
  told.syncs = 8;
  told.failures = 9;
  told.state = "the disk is full";
  told.paused = {"shop"};
  JournalTypeStats type;
  type.type = "cart";
  type.depth = 10;
  type.bytes = 11;
  type.oldest_age = absl::Seconds(12);
  type.enqueued = 13;
  type.coalesced = 14;
  type.delivered = 15;
  type.retried = 16;
  type.dead = 17;
  type.refused = 18;
  Histogram lag;
  lag.Record(absl::Milliseconds(19));
  type.lag = lag.Snap();
  told.types = {type, JournalTypeStats()};
  told.types[1].type = "a";
  RequestIds request_ids({.clock = &clock_});
  MethodTable methods;
  CacheHandlers handlers({.limits = {}, .node_name = "a"}, with_.get(), &request_ids, &methods);
  const v1::StatsRequest request;
  v1::StatsResponse response;
  CallContext context;
  ASSERT_TRUE(Now(handlers.Stats(&context, &request, &response)).ok());
  const v1::JournalStats& stats = response.journal();
  EXPECT_EQ((std::vector<uint64_t>{
                stats.depth(), stats.bytes(), static_cast<uint64_t>(stats.oldest_age().seconds()),
                stats.dead_letters(), stats.letter_bytes(), stats.bytes_on_disk(),
                stats.index_bytes(), stats.syncs(), stats.failures()}),
            (std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(stats.state(), "the disk is full");
  EXPECT_FALSE(stats.has_damage());
  EXPECT_THAT(stats.paused(), ElementsAre("shop"));
  ASSERT_EQ(stats.types_size(), 2);
  EXPECT_EQ(stats.types(0).type(), "a");
  const v1::JournalTypeStats& cart = stats.types(1);
  EXPECT_EQ((std::vector<uint64_t>{
                cart.depth(), cart.bytes(), static_cast<uint64_t>(cart.oldest_age().seconds()),
                cart.enqueued(), cart.coalesced(), cart.delivered(), cart.retried(), cart.dead(),
                cart.refused(), cart.lag().count()}),
            (std::vector<uint64_t>{10, 11, 12, 13, 14, 15, 16, 17, 18, 1}));
  EXPECT_EQ(cart.lag().max().nanos(), 19'000'000);
  told.damage = {.events = 1, .records_lost = 2, .last = "a bit", .set_aside = "/aside"};
  ASSERT_TRUE(Now(handlers.Stats(&context, &request, &response)).ok());
  EXPECT_EQ(response.journal().damage().events(), 1u);
  EXPECT_EQ(response.journal().damage().records_lost(), 2u);
  EXPECT_EQ(response.journal().damage().last(), "a bit");
  EXPECT_EQ(response.journal().damage().set_aside(), "/aside");
}

}  // namespace
}  // namespace larder
