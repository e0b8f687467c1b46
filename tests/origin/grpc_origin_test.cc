// The gRPC origin against a real server that behaves badly. What a good one gets is the suite's
// business (grpc_suite_test.cc).

#include "origin/grpc_origin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/base/await_task.h"
#include "tests/origin/origin_service.h"

namespace larder {
namespace {

using testing::HasSubstr;
using Kind = OriginLoaded::Kind;
using Stored = OriginStored::Kind;

class GrpcOriginTest : public testing::Test {
 protected:
  GrpcOriginTest() {
    options_.name = "profiles";
    options_.target = service_.target();
    options_.executor = executor_.get();
  }

  Origin& origin() {
    if (origin_ == nullptr) {
      auto made = NewGrpcOrigin(options_);
      EXPECT_TRUE(made.ok()) << made.status();
      origin_ = *std::move(made);
    }
    return *origin_;
  }

  static MonoNanos In(absl::Duration time) { return MonoAfter(Clock::System()->Mono(), time); }
  static OriginLoad LoadOf(const std::vector<std::string>& keys) {
    OriginLoad load;
    load.call = {.name_space = "shop", .type = "user"};
    for (const std::string& key : keys) load.items.push_back({key});
    return load;
  }
  absl::StatusOr<std::vector<OriginLoaded>> Load(const std::vector<std::string>& keys) {
    return AwaitTask(origin().Load(LoadOf(keys), In(absl::Seconds(20))));
  }
  std::vector<OriginLoaded> LoadOk(const std::vector<std::string>& keys) {
    auto loaded = Load(keys);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (!loaded.ok()) return std::vector<OriginLoaded>(keys.size());
    EXPECT_EQ(loaded->size(), keys.size());
    return *std::move(loaded);
  }
  absl::StatusOr<std::vector<OriginStored>> Store(const std::vector<std::string>& keys,
                                                  const std::string& value = "v") {
    OriginStore store;
    store.call = {.name_space = "shop", .type = "user"};
    for (const std::string& key : keys) {
      OriginStore::Write write;
      write.key = key;
      write.value = value;
      write.version = 7;
      store.writes.push_back(std::move(write));
    }
    return AwaitTask(origin().Store(std::move(store), In(absl::Seconds(20))));
  }
  absl::StatusOr<OriginPage> Scan(uint32_t limit, std::string cursor = "") {
    OriginScan scan{{.name_space = "shop", .type = "user"}, limit, std::move(cursor), false};
    return AwaitTask(origin().Scan(std::move(scan), In(absl::Seconds(20))));
  }
  // Polls, because another thread or process has no event for it.
  static bool Comes(const std::function<bool()>& condition) {
    const MonoNanos give_up = In(absl::Seconds(20));
    while (!condition()) {
      if (Clock::System()->Mono() > give_up) return false;
      std::this_thread::yield();
    }
    return true;
  }

  OriginService service_;
  const std::unique_ptr<ThreadPool> executor_ = ThreadPool::New({.threads = 2});
  GrpcOriginOptions options_;
  std::unique_ptr<Origin> origin_;
};

TEST_F(GrpcOriginTest, PassesOnDeadlineTraceContextAndMetadata) {
  options_.metadata = {{"authorization", "Bearer secret"},
                       {"x-bytes-bin", std::string("\0\xff", 2)}};
  OriginLoad load = LoadOf({"a"});
  load.call.trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  load.call.trace_state = "vendor=value";
  load.items[0].validator = "v1";
  ASSERT_TRUE(AwaitTask(origin().Load(std::move(load), In(absl::Seconds(2)))).ok());
  const OriginService::Seen seen = service_.last();
  const auto value = [&](const std::string& key) {
    const auto it = seen.metadata.find(key);
    return it == seen.metadata.end() ? "" : it->second;
  };
  EXPECT_EQ(value("traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  EXPECT_EQ(value("tracestate"), "vendor=value");
  EXPECT_EQ(value("authorization"), "Bearer secret");
  EXPECT_EQ(value("x-bytes-bin"), std::string("\0\xff", 2));
  EXPECT_GT(seen.time_left, absl::Seconds(1));
  // gRPC rounds it up on its way, to fewer digits.
  EXPECT_LE(seen.time_left, absl::Seconds(2.1));
  EXPECT_EQ(seen.load.namespace_(), "shop");
  EXPECT_EQ(seen.load.type(), "user");
  EXPECT_EQ(seen.load.items(0).validator(), "v1");
}

TEST_F(GrpcOriginTest, TraceContextThatGrpcWouldDieOfIsLeftOut) {
  for (const std::string& bad : {std::string("new\nline"), std::string("\0", 1),
                                 std::string("\xc3\xbc"), std::string(5'000, 'x')}) {
    OriginLoad load = LoadOf({"a"});
    load.call.trace_parent = bad;
    load.call.trace_state = bad;
    ASSERT_TRUE(AwaitTask(origin().Load(std::move(load), In(absl::Seconds(2)))).ok());
    EXPECT_EQ(service_.last().metadata.count("traceparent"), 0u);
    EXPECT_EQ(service_.last().metadata.count("tracestate"), 0u);
  }
}

// A string that is no UTF-8 would make a request of which the service can read nothing.
TEST_F(GrpcOriginTest, TraceContextThatIsNoneLeavesAWriteReadable) {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  OriginStore store;
  store.call = {.name_space = "shop", .type = "user"};
  for (const std::string& trace : {std::string(55, '\xff'), good, std::string("x")}) {
    OriginStore::Write write;
    write.key = "k" + std::to_string(store.writes.size());
    write.value = "v";
    write.version = 7;
    write.trace_parent = trace;
    store.writes.push_back(std::move(write));
  }
  store.call.trace_parent = store.writes[0].trace_parent;
  const auto stored = AwaitTask(origin().Store(std::move(store), In(absl::Seconds(20))));
  ASSERT_TRUE(stored.ok()) << stored.status();
  for (const OriginStored& one : *stored) EXPECT_EQ(one.kind, Stored::kDone) << one.error;
  const v1::StoreRequest seen = service_.last().store;
  ASSERT_EQ(seen.items_size(), 3);
  EXPECT_EQ(seen.items(0).trace_parent(), "");
  EXPECT_EQ(seen.items(1).trace_parent(), good);
  EXPECT_EQ(seen.items(2).trace_parent(), "");
}

TEST_F(GrpcOriginTest, TimeoutBoundsACallWhoseCallerAllowsMore) {
  options_.timeout = absl::Milliseconds(500);
  service_.Hang(true);
  const auto loaded = Load({"a"});
  EXPECT_TRUE(absl::IsDeadlineExceeded(loaded.status())) << loaded.status();
  EXPECT_TRUE(Comes([&] { return service_.cancelled() == 1 && service_.hanging() == 0; }))
      << "the service is told";
  service_.Hang(false);
  EXPECT_TRUE(Comes([&] { return Load({"a"}).ok(); }));
}

TEST_F(GrpcOriginTest, AnswersInTheOrderOfTheRequestWhateverTheOrderOfTheAnswer) {
  for (const char* key : {"a", "b", "c"}) service_.Put(key, {.value = key});
  service_.on_load = [](v1::LoadResponse* response) {
    response->mutable_results()->SwapElements(0, 3);
    response->mutable_results()->SwapElements(1, 2);
  };
  const auto loaded = LoadOk({"a", "none", "b", "c"});
  EXPECT_EQ(loaded[0].value, "a");
  EXPECT_EQ(loaded[1].kind, Kind::kAbsent);
  EXPECT_EQ(loaded[2].value, "b");
  EXPECT_EQ(loaded[3].value, "c");
  EXPECT_EQ(origin().Stats().bad_answers, 0u);
}

TEST_F(GrpcOriginTest, FirstOfTwoAnswersCountsAndTheRestIsIgnored) {
  for (const char* key : {"a", "b"}) service_.Put(key, {.value = key});
  service_.on_load = [](v1::LoadResponse* response) {
    *response->add_results() = response->results(0);
    response->mutable_results(2)->mutable_found()->set_value("second");
    response->add_results()->set_key("never asked for");
    response->add_results();
  };
  const auto loaded = LoadOk({"a", "b"});
  EXPECT_EQ(loaded[0].value, "a");
  EXPECT_EQ(loaded[1].value, "b");
  EXPECT_EQ(origin().Stats().bad_answers, 3u);
  EXPECT_EQ(origin().Stats().item_errors, 0u);
}

TEST_F(GrpcOriginTest, KeysThatAreLeftOutHaveFailed) {
  for (const char* key : {"a", "b"}) service_.Put(key, {.value = key});
  service_.on_load = [](v1::LoadResponse* response) { response->mutable_results()->RemoveLast(); };
  const auto loaded = LoadOk({"a", "b"});
  EXPECT_EQ(loaded[0].value, "a");
  EXPECT_EQ(loaded[1].kind, Kind::kFailed);
  EXPECT_TRUE(absl::IsDataLoss(loaded[1].error)) << loaded[1].error;
  EXPECT_EQ(origin().Stats().bad_answers, 1u);
  EXPECT_EQ(origin().Stats().item_errors, 1u);
}

TEST_F(GrpcOriginTest, OutcomesThatMakeNoSenseFailTheirItems) {
  for (const char* key : {"a", "b", "c", "d", "e"}) service_.Put(key, {.value = "v"});
  service_.on_load = [](v1::LoadResponse* response) {
    response->mutable_results(0)->clear_outcome();
    response->mutable_results(1)->mutable_unchanged();  // of what?
    response->mutable_results(2)->mutable_error()->set_code(0);
    response->mutable_results(3)->mutable_error()->set_code(99);
  };
  const auto loaded = LoadOk({"a", "b", "c", "d", "e"});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(loaded[i].kind, Kind::kFailed) << i;
    EXPECT_TRUE(absl::IsDataLoss(loaded[i].error)) << i << loaded[i].error;
  }
  EXPECT_EQ(loaded[4].value, "v");
  EXPECT_EQ(origin().Stats().bad_answers, 4u);
}

TEST_F(GrpcOriginTest, ValueAboveTheLimitFailsItsItemAlone) {
  options_.value_bytes_max = 1'000;
  service_.Put("most", {.value = std::string(1'000, 'x')});
  service_.Put("more", {.value = std::string(1'001, 'x')});
  const auto loaded = LoadOk({"most", "more"});
  EXPECT_EQ(loaded[0].value.size(), 1'000u);
  EXPECT_TRUE(absl::IsDataLoss(loaded[1].error));
  EXPECT_THAT(std::string(loaded[1].error.message()), HasSubstr("1001 bytes; at most 1000"));
}

TEST_F(GrpcOriginTest, MessagesAboveTheLimitFailTheCall) {
  options_.message_bytes_max = 10'000;
  service_.Put("large", {.value = std::string(20'000, 'x')});
  const auto loaded = Load({"large"});
  EXPECT_TRUE(absl::IsResourceExhausted(loaded.status())) << loaded.status();
  const auto stored = Store({"a"}, std::string(20'000, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(stored.status())) << stored.status();
  EXPECT_EQ(origin().Stats().errors, 2u);
  EXPECT_EQ(LoadOk({"none"})[0].kind, Kind::kAbsent) << "and the next call works";
}

TEST_F(GrpcOriginTest, ErrorsOfItemsAndCallsStayWhatTheyAre) {
  service_.on_load = [](v1::LoadResponse* response) {
    v1::ItemError* error = response->mutable_results(0)->mutable_error();
    error->set_code(grpc::StatusCode::PERMISSION_DENIED);
    error->set_message(std::string(1'023, 'x') + "\u00fc and more");
  };
  const auto loaded = LoadOk({"a"});
  EXPECT_TRUE(absl::IsPermissionDenied(loaded[0].error));
  EXPECT_EQ(loaded[0].error.message().size(), 1'023u) << "cut between characters";
  for (const auto code : {grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::RESOURCE_EXHAUSTED,
                          grpc::StatusCode::ABORTED, grpc::StatusCode::UNAUTHENTICATED}) {
    service_.Fail({code, "go \xff away"});
    const auto failed = Load({"a"});
    EXPECT_EQ(static_cast<int>(failed.status().code()), static_cast<int>(code));
    EXPECT_THAT(std::string(failed.status().message()), HasSubstr("origin profiles: go"));
  }
  service_.Fail({grpc::StatusCode::UNIMPLEMENTED, ""});
  EXPECT_TRUE(absl::IsFailedPrecondition(Load({"a"}).status()));
  EXPECT_EQ(origin().Stats().errors, 5u);
}

TEST_F(GrpcOriginTest, StoreAnswersAreNotTrustedEither) {
  service_.on_store = [](v1::StoreResponse* response) {
    response->mutable_results(0)->set_outcome(v1::STORE_OUTCOME_UNSPECIFIED);
    response->mutable_results(1)->set_outcome(static_cast<v1::StoreOutcome>(77));
    response->mutable_results()->RemoveLast();
    *response->add_results() = response->results(2);
    response->add_results()->set_key("never asked for");
  };
  const auto stored = Store({"a", "b", "c", "d"});
  ASSERT_TRUE(stored.ok()) << stored.status();
  for (const int i : {0, 1, 3}) {
    EXPECT_EQ((*stored)[i].kind, Stored::kRetry) << i;
    EXPECT_TRUE(absl::IsDataLoss((*stored)[i].error)) << i;
  }
  EXPECT_EQ((*stored)[2].kind, Stored::kDone);
  EXPECT_EQ(origin().Stats().bad_answers, 5u);
  EXPECT_EQ(origin().Stats().item_errors, 3u);
}

TEST_F(GrpcOriginTest, PagesThatCannotBeUsedFail) {
  for (const char* key : {"a", "b", "c"}) service_.Put(key, {.value = key});
  service_.on_scan = [](v1::ScanResponse* response) {
    *response->add_items() = response->items(0);
  };
  EXPECT_TRUE(absl::IsDataLoss(Scan(2).status())) << "more than asked for";
  service_.on_scan = [](v1::ScanResponse* response) { response->set_cursor("a"); };
  EXPECT_TRUE(absl::IsDataLoss(Scan(1, "a").status())) << "it would never end";
  service_.on_scan = [](v1::ScanResponse* response) {
    response->set_cursor(std::string(5'000, 'c'));
  };
  EXPECT_TRUE(absl::IsDataLoss(Scan(2).status()));
  EXPECT_EQ(origin().Stats().bad_answers, 3u);
  EXPECT_EQ(origin().Stats().errors, 3u);
}

TEST_F(GrpcOriginTest, ItemsOfAPageThatMakeNoSenseAreLeftOut) {
  for (const char* key : {"a", "b", "c"}) service_.Put(key, {.value = key});
  service_.on_scan = [](v1::ScanResponse* response) {
    response->mutable_items(0)->set_key("");
    response->mutable_items(1)->clear_found();
  };
  const auto page = Scan(3);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->items.size(), 1u);
  EXPECT_EQ(page->items[0].key, "c");
  EXPECT_EQ(origin().Stats().bad_answers, 2u);
}

TEST_F(GrpcOriginTest, ServiceThatIsAwayIsUnavailableAtOnceAndFoundSoonAfterItsReturn) {
  EXPECT_EQ(LoadOk({"a"})[0].kind, Kind::kAbsent);
  EXPECT_EQ(origin().Stats().connections, 1u);
  service_.Stop();
  const MonoNanos began = Clock::System()->Mono();
  const auto loaded = Load({"a"});
  EXPECT_TRUE(absl::IsUnavailable(loaded.status())) << loaded.status();
  EXPECT_LT(absl::Nanoseconds(Clock::System()->Mono() - began), absl::Seconds(10));
  EXPECT_TRUE(Comes([&] { return origin().Stats().state == "cannot connect"; }));
  service_.Start();
  const MonoNanos back = Clock::System()->Mono();
  EXPECT_TRUE(Comes([&] { return Load({"a"}).ok(); }));
  EXPECT_LT(absl::Nanoseconds(Clock::System()->Mono() - back), absl::Seconds(10));
  EXPECT_EQ(origin().Stats().state, "ok");
}

TEST_F(GrpcOriginTest, NobodyAtTheTargetIsNoErrorAtTheStart) {
  service_.Stop();
  EXPECT_TRUE(absl::IsUnavailable(Load({"a"}).status()));
  service_.Start();
  EXPECT_TRUE(Comes([&] { return Load({"a"}).ok(); }));
}

TEST_F(GrpcOriginTest, EndCancelsWhatIsUnderWay) {
  service_.Hang(true);
  std::atomic<int> ended{0};
  constexpr int kCalls = 20;
  for (int i = 0; i < kCalls; ++i) {
    Spawn(origin().Load(LoadOf({"a"}), In(absl::Minutes(10))),
          [&ended](const absl::StatusOr<std::vector<OriginLoaded>>& loaded) {
            EXPECT_TRUE(absl::IsCancelled(loaded.status())) << loaded.status();
            ++ended;
          });
  }
  EXPECT_TRUE(Comes([&] { return service_.hanging() == kCalls; }));
  origin_.reset();
  EXPECT_TRUE(Comes([&] { return ended == kCalls; }));
  EXPECT_TRUE(Comes([&] { return service_.hanging() == 0; }));
}

TEST_F(GrpcOriginTest, SeveralChannelsAreUsedInTurn) {
  options_.channels = 3;
  for (int i = 0; i < 6; ++i) LoadOk({"a"});
  EXPECT_EQ(origin().Stats().connections, 3u);
}

TEST_F(GrpcOriginTest, RefusesOptionsThatCanNeverWork) {
  const auto refuses = [](const GrpcOriginOptions& options) {
    return absl::IsInvalidArgument(NewGrpcOrigin(options).status());
  };
  GrpcOriginOptions options = options_;
  options.target = "";
  EXPECT_TRUE(refuses(options));
  for (const int channels : {0, 65}) {
    options = options_;
    options.channels = channels;
    EXPECT_TRUE(refuses(options));
  }
  for (const char* const key : {"", "Upper", "grpc-timeout", "te", ":path", "sp ace"}) {
    options = options_;
    options.metadata = {{key, "v"}};
    EXPECT_TRUE(refuses(options)) << key;
  }
  options = options_;
  options.metadata = {{"x-token", "line\nbreak"}};
  EXPECT_TRUE(refuses(options));
  options = options_;
  options.metadata.assign(33, {"x-token", "v"});
  EXPECT_TRUE(refuses(options));
  options = options_;
  options.message_bytes_max = (size_t{1} << 30) + 1;
  EXPECT_TRUE(refuses(options));
  options = options_;
  options.tls = {.enabled = true, .ca_file = "/nowhere/ca.pem"};
  EXPECT_TRUE(refuses(options));
  options.tls = {.enabled = true, .cert_file = "/nowhere/cert.pem"};
  EXPECT_TRUE(refuses(options)) << "a certificate without its key";
}

}  // namespace
}  // namespace larder
