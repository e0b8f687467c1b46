#include "rpc/dispatcher.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/log.h"
#include "core/error.h"
#include "larder/v1/cache.pb.h"
#include "policy/type_table.h"

namespace larder {
namespace {

// A call of a lane that only notes the answer.
class NotedCall : public Call {
 public:
  NotedCall(const Method* method, MonoNanos deadline, MonoNanos started = 0) : Call(method) {
    deadline_ = deadline;
    started_ = started;
    MakeMessages();
  }
  void Answer(const absl::Status& status) override {
    ASSERT_FALSE(answer_.has_value()) << "answered twice";
    answer_ = status;
  }
  std::string PeerAddress() const override {
    ++asked_for_peer;
    return peer;
  }
  std::string_view Metadata(std::string_view name) const override {
    return name == "traceparent" ? "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" : "";
  }
  std::string peer = "192.0.2.1:1000";
  mutable int asked_for_peer = 0;
  std::string Reason() const {
    return answer_.has_value() ? DetailsOf(*answer_).reason : "(unanswered)";
  }

 private:
  std::optional<absl::Status> answer_;
};

class Handler {
 public:
  bool TryGet(CallContext*, const v1::GetRequest& request, v1::GetResponse* response,
              absl::Status*) {
    response->mutable_hit()->set_value("now");
    return request.key() == "hit";
  }
  Task<absl::Status> Get(CallContext*, const v1::GetRequest*, v1::GetResponse*) {
    ++ran;
    co_return absl::OkStatus();
  }
  Task<absl::Status> BatchGet(CallContext*, const v1::BatchGetRequest* request,
                              v1::BatchGetResponse* response) {
    for (int i = 0; i < request->keys_size(); ++i) {
      v1::Hit& hit = *response->add_results()->mutable_hit();
      hit.set_value(std::string(100, 'v'));
      hit.set_tier(i == 0 ? v1::TIER_L2 : v1::TIER_L1);
    }
    co_return absl::OkStatus();
  }
  Task<absl::Status> Invalidate(CallContext*, const v1::InvalidateRequest*,
                                v1::InvalidateResponse*) {
    co_return absl::OkStatus();
  }
  Task<absl::Status> Set(CallContext*, const v1::SetRequest*, v1::SetResponse* response) {
    response->mutable_stored()->set_version(1);
    if (clock == nullptr) co_return absl::OkStatus();
    // Two things that take time, one of them twice.
    co_await Timed(Step::kJournal, clock, Take(absl::Milliseconds(300)));
    co_await Timed(Step::kTierWrite, clock, Take(absl::Seconds(1)));
    co_await Inner();
    co_return absl::OkStatus();
  }
  Task<bool> Inner() {
    co_await Timed(Step::kTierWrite, clock, Take(absl::Milliseconds(500)));
    co_return true;
  }
  Task<bool> Take(absl::Duration time) {
    clock->Advance(time);
    co_return true;
  }
  bool SetsAtOnce(const v1::SetRequest& request) const { return request.value().size() < 10; }
  int ran = 0;
  ManualClock* clock = nullptr;
};

// Takes no work.
class FullExecutor : public ManualExecutor {
 public:
  using ManualExecutor::ManualExecutor;
  bool TryPost(Work) override { return false; }
};

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest() {
    methods_.On("/larder.v1.Cache/Get", &handler_, &Handler::Get, &Handler::TryGet);
  }
  // A dispatcher with bounds, and more that it may be asked.
  std::unique_ptr<Dispatcher> Bounded(Admission* admission, Quotas* quotas = nullptr) {
    methods_.On("/larder.v1.Cache/BatchGet", &handler_, &Handler::BatchGet);
    methods_.On("/larder.v1.Cache/Invalidate", &handler_, &Handler::Invalidate);
    methods_.On("/larder.v1.Cache/Set", &handler_, &Handler::Set);
    return std::make_unique<Dispatcher>(&clock_, &executor_, nullptr, admission, quotas);
  }
  std::unique_ptr<NotedCall> New(const std::string& name, MonoNanos started = 0) {
    return std::make_unique<NotedCall>(&MethodOf("/larder.v1.Cache/" + name), INT64_MAX, started);
  }
  std::string Answered(Dispatcher* dispatcher, NotedCall* call) {
    dispatcher->Run(call);
    executor_.RunReady();
    return call->Reason();
  }

  const Method& MethodOf(const std::string& path) {
    for (const Method& method : methods_.methods()) {
      if (method.path == path) return method;
    }
    std::abort();
  }
  std::unique_ptr<NotedCall> NewGet(const std::string& key, MonoNanos deadline = INT64_MAX) {
    auto call = std::make_unique<NotedCall>(&MethodOf("/larder.v1.Cache/Get"), deadline);
    static_cast<v1::GetRequest*>(call->request())->set_key(key);
    return call;
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  Handler handler_;
  MethodTable methods_;
  Dispatcher dispatcher_{&clock_, &executor_};
};

TEST_F(DispatcherTest, HitsAreAnsweredOnTheCallingThread) {
  const auto call = NewGet("hit");
  dispatcher_.Run(call.get());
  EXPECT_EQ(call->Reason(), "");
  EXPECT_EQ(executor_.ready(), 0u);
  EXPECT_EQ(handler_.ran, 0);
}

TEST_F(DispatcherTest, TheRestGoesToTheExecutor) {
  const auto call = NewGet("miss");
  dispatcher_.Run(call.get());
  EXPECT_EQ(call->Reason(), "(unanswered)");
  executor_.RunReady();
  EXPECT_EQ(call->Reason(), "");
  EXPECT_EQ(handler_.ran, 1);
}

TEST_F(DispatcherTest, WhatWaitsForNothingRunsWhereItCameInAndStandsInNoQueue) {
  Admission admission({}, &clock_);
  const auto dispatcher = Bounded(&admission);
  methods_.AtOnce("/larder.v1.Cache/Set", &handler_, &Handler::SetsAtOnce);
  const auto quick = New("Set");
  static_cast<v1::SetRequest*>(quick->request())->set_value("small");
  dispatcher->Run(quick.get());
  EXPECT_EQ(quick->Reason(), "");
  EXPECT_EQ(executor_.ready(), 0u);
  const auto other = New("Set");
  static_cast<v1::SetRequest*>(other->request())->set_value(std::string(100, 'v'));
  dispatcher->Run(other.get());
  EXPECT_EQ(other->Reason(), "(unanswered)");
  EXPECT_EQ(admission.waiting(), 1u);
  executor_.RunReady();
  EXPECT_EQ(other->Reason(), "");
  admission.SetMemoryTight(true);
  EXPECT_EQ(Answered(dispatcher.get(), New("Set").get()), "OVERLOADED");
  EXPECT_EQ(admission.under_way(), 0u);
  EXPECT_EQ(admission.waiting(), 0u);
}

TEST_F(DispatcherTest, ExpiredDeadlineDoesNoWorkBeforeOrAfterTheQueue) {
  const auto late = NewGet("hit", clock_.Mono());
  dispatcher_.Run(late.get());
  EXPECT_EQ(late->Reason(), "DEADLINE_EXCEEDED");

  const auto expires_in_queue = NewGet("miss", clock_.Mono() + 1000);
  dispatcher_.Run(expires_in_queue.get());
  clock_.Advance(absl::Microseconds(1));
  executor_.RunReady();
  EXPECT_EQ(expires_in_queue->Reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(handler_.ran, 0);
}

TEST_F(DispatcherTest, CallCancelledInTheQueueDoesNoWork) {
  const auto call = NewGet("miss");
  dispatcher_.Run(call.get());
  call->cancellation().Cancel();
  executor_.RunReady();
  EXPECT_EQ(call->Reason(), "CALL_CANCELLED");
  EXPECT_EQ(handler_.ran, 0);
}

TEST_F(DispatcherTest, FullQueueRefusesAtOnceAndSaysWhenToComeBack) {
  FullExecutor full(&clock_, 1);
  Dispatcher dispatcher(&clock_, &full);
  const auto miss = NewGet("miss");
  dispatcher.Run(miss.get());
  EXPECT_EQ(miss->Reason(), "OVERLOADED");
  const auto hit = NewGet("hit");
  dispatcher.Run(hit.get());
  EXPECT_EQ(hit->Reason(), "") << "hits need no worker";
}

TEST_F(DispatcherTest, OnlySoManyCallsAreUnderWayAndHitsAreNotAmongThem) {
  Admission admission({.in_flight = 1, .in_flight_per_peer = 1}, &clock_);
  const auto dispatcher = Bounded(&admission);
  const auto first = NewGet("miss");
  dispatcher->Run(first.get());
  EXPECT_EQ(admission.under_way(), 1u);
  const auto second = NewGet("miss");
  EXPECT_EQ((dispatcher->Run(second.get()), second->Reason()), "OVERLOADED");
  const auto hit = NewGet("hit");
  EXPECT_EQ((dispatcher->Run(hit.get()), hit->Reason()), "");
  executor_.RunReady();
  EXPECT_EQ(first->Reason(), "");
  EXPECT_EQ(admission.under_way(), 0u);
  EXPECT_EQ(Answered(dispatcher.get(), NewGet("miss").get()), "");
  EXPECT_EQ(admission.Refused()[0].second, 1u);
}

TEST_F(DispatcherTest, OneAddressLeavesRoomForOthersWhateverItsPorts) {
  Admission admission({.in_flight = 10, .in_flight_per_peer = 2}, &clock_);
  const auto dispatcher = Bounded(&admission);
  std::vector<std::unique_ptr<NotedCall>> calls;
  for (const char* peer : {"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1"}) {
    calls.push_back(NewGet("miss"));
    calls.back()->peer = peer;
    dispatcher->Run(calls.back().get());
  }
  EXPECT_EQ(calls[2]->Reason(), "OVERLOADED");
  executor_.RunReady();
  for (const int taken : {0, 1, 3}) EXPECT_EQ(calls[taken]->Reason(), "") << taken;
}

// What runs where it came in must not pay for a counter that all calls of an address share.
TEST_F(DispatcherTest, WhileFewCallsAreUnderWayNobodyAsksForTheirAddress) {
  Admission admission({.in_flight = 100, .in_flight_per_peer = 75}, &clock_);
  const auto dispatcher = Bounded(&admission);
  methods_.AtOnce("/larder.v1.Cache/Set", &handler_, &Handler::SetsAtOnce);
  const auto asked_by_set = [&] {
    const auto set = New("Set");
    dispatcher->Run(set.get());
    EXPECT_EQ(set->Reason(), "");
    return set->asked_for_peer;
  };
  EXPECT_EQ(asked_by_set(), 0);
  std::vector<std::unique_ptr<NotedCall>> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(NewGet("miss"));
    dispatcher->Run(waiting.back().get());
  }
  EXPECT_EQ(asked_by_set(), 1);
  executor_.RunReady();
  EXPECT_EQ(asked_by_set(), 0);
  EXPECT_EQ(admission.under_way(), 0u);
}

TEST_F(DispatcherTest, WhileMemoryIsTightReadsAndRemovalsGoOnAndNothingElse) {
  Admission admission({}, &clock_);
  const auto dispatcher = Bounded(&admission);
  admission.SetMemoryTight(true);
  EXPECT_EQ(Answered(dispatcher.get(), New("Set").get()), "OVERLOADED");
  EXPECT_EQ(Answered(dispatcher.get(), New("BatchGet").get()), "OVERLOADED");
  EXPECT_EQ(Answered(dispatcher.get(), NewGet("miss").get()), "");
  EXPECT_EQ(Answered(dispatcher.get(), New("Invalidate").get()), "");
  admission.SetMemoryTight(false);
  EXPECT_EQ(Answered(dispatcher.get(), New("Set").get()), "");
  EXPECT_EQ(admission.under_way(), 0u);
}

TEST_F(DispatcherTest, ABatchCostsItsNamespaceAllOfItsKeys) {
  Admission admission({}, &clock_);
  Quotas quotas({{.name_space = "shop", .keys_per_second = 10, .burst = absl::Seconds(1)}});
  const auto dispatcher = Bounded(&admission, &quotas);
  const auto batch = [&](const char* name_space, int keys) {
    auto call = New("BatchGet");
    auto* const request = static_cast<v1::BatchGetRequest*>(call->request());
    request->set_namespace_(name_space);
    for (int i = 0; i < keys; ++i) request->add_keys("k");
    return Answered(dispatcher.get(), call.get());
  };
  // Who has some left may take more than that, and pays for it later.
  EXPECT_EQ(batch("shop", 9), "");
  EXPECT_EQ(batch("shop", 9), "");
  EXPECT_EQ(batch("shop", 1), "QUOTA_EXCEEDED");
  EXPECT_EQ(batch("other", 900), "");
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(batch("shop", 9), "");
}

// The lines of the log about slow calls that `work` makes.
std::vector<std::string> SlowCalls(const std::function<void()>& work) {
  const int log = memfd_create("log", MFD_CLOEXEC);
  ConfigureLog({.format = LogOptions::Format::kJson, .fd = log});
  work();
  ConfigureLog(LogOptions());
  std::array<char, 65536> text;
  const ssize_t bytes = pread(log, text.data(), text.size(), 0);
  close(log);
  std::vector<std::string> lines;
  std::istringstream all(std::string(text.data(), static_cast<size_t>(bytes)));
  for (std::string line; std::getline(all, line);) {
    if (line.find("\"slow_call\"") != line.npos) lines.push_back(line);
  }
  return lines;
}

TEST_F(DispatcherTest, SlowCallsAreWrittenDownWithTheWayThatTheyTook) {
  Admission admission({}, &clock_);
  const auto dispatcher = Bounded(&admission);
  dispatcher->SetSlowCall(absl::Seconds(1));
  const std::vector<std::string> lines = SlowCalls([&] {
    EXPECT_EQ(Answered(dispatcher.get(), New("Set", clock_.Mono()).get()), "");
    const auto slow = New("Set", clock_.Mono());
    static_cast<v1::SetRequest*>(slow->request())->set_key("canary-key");
    static_cast<v1::SetRequest*>(slow->request())->set_namespace_("shop");
    dispatcher->Run(slow.get());
    clock_.Advance(absl::Seconds(2));
    executor_.RunReady();
    NotedCall late(&MethodOf("/larder.v1.Cache/Set"), clock_.Mono() + 1, clock_.Mono());
    dispatcher->Run(&late);
    clock_.Advance(absl::Seconds(2));
    executor_.RunReady();
    const auto batch = New("BatchGet", clock_.Mono());
    for (const char* key : {"a", "b", "c"})
      static_cast<v1::BatchGetRequest*>(batch->request())->add_keys(key);
    dispatcher->Run(batch.get());
    clock_.Advance(absl::Seconds(2));
    executor_.RunReady();
  });
  ASSERT_EQ(lines.size(), 3u);
  for (const char* part : {"\"rpc\":\"Set\"", "\"took\":2", "\"waited_for_worker\":2",
                           "\"path\":\"stored\"", "\"namespace\":\"shop\"", "\"key_hash\":\"",
                           "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-"}) {
    EXPECT_THAT(lines[0], testing::HasSubstr(part));
  }
  EXPECT_THAT(lines[0], testing::Not(testing::HasSubstr("canary-key")));
  EXPECT_THAT(lines[1], testing::HasSubstr("\"path\":\"DEADLINE_EXCEEDED\""));
  EXPECT_THAT(lines[2], testing::HasSubstr("\"path\":\"2 TIER_L1, 1 TIER_L2\""));
}

// A lane may refuse a call before it has looked at what it asks for.
TEST_F(DispatcherTest, SlowCallsMayHaveNoMessages) {
  class BareCall : public Call {
   public:
    BareCall(const Method* method, MonoNanos started) : Call(method) { started_ = started; }
    void Answer(const absl::Status&) override {}
  };
  dispatcher_.SetSlowCall(absl::Seconds(1));
  const std::vector<std::string> lines = SlowCalls([&] {
    BareCall refused(&MethodOf("/larder.v1.Cache/Set"), clock_.Mono());
    clock_.Advance(absl::Seconds(2));
    dispatcher_.Refuse(&refused, Error(Reason::kMESSAGE_TOO_LARGE, "too large"));
  });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], testing::HasSubstr("\"path\":\"MESSAGE_TOO_LARGE\""));
}

TEST_F(DispatcherTest, SlowCallsSayHowLongEachStepTook) {
  Admission admission({}, &clock_);
  const auto dispatcher = Bounded(&admission);
  dispatcher->SetSlowCall(absl::Seconds(1));
  handler_.clock = &clock_;
  const std::vector<std::string> lines = SlowCalls([&] {
    const auto slow = New("Set", clock_.Mono());
    dispatcher->Run(slow.get());
    clock_.Advance(absl::Seconds(2));
    executor_.RunReady();
  });
  ASSERT_EQ(lines.size(), 1u);
  for (const char* part :
       {"\"took\":3.8", "\"waited_for_worker\":2", "\"journal\":0.3", "\"tier_write\":1.5"})
    EXPECT_THAT(lines[0], testing::HasSubstr(part));
  // What was not waited for is not there.
  EXPECT_THAT(lines[0], testing::Not(testing::HasSubstr("\"origin\"")));
}

TEST_F(DispatcherTest, SlowCallsSayTheTypeThatAllTheirKeysHave) {
  TypePolicy order;
  order.name = "order";
  order.match.push_back(*Pattern::Parse("order:*"));
  const std::shared_ptr<TypeTable> types = *TypeTable::Make({order});
  methods_.On("/larder.v1.Cache/BatchGet", &handler_, &Handler::BatchGet);
  methods_.On("/larder.v1.Cache/Set", &handler_, &Handler::Set);
  Dispatcher dispatcher(&clock_, &executor_, nullptr, nullptr, nullptr, types.get());
  dispatcher.SetSlowCall(absl::Seconds(1));
  const auto late = [&](NotedCall* call) {
    dispatcher.Run(call);
    clock_.Advance(absl::Seconds(2));
    executor_.RunReady();
  };
  const auto batch = [&](const std::vector<const char*>& keys, const char* type = "") {
    const auto call = New("BatchGet", clock_.Mono());
    auto* const request = static_cast<v1::BatchGetRequest*>(call->request());
    request->set_type(type);
    for (const char* key : keys) request->add_keys(key);
    late(call.get());
  };
  const std::vector<std::string> lines = SlowCalls([&] {
    const auto set = New("Set", clock_.Mono());
    static_cast<v1::SetRequest*>(set->request())->set_key("order:7");
    late(set.get());
    batch({"order:1", "order:2"});
    batch({"order:1", "user:2"});
    batch({"user:1", "x"});
    batch({"a", "b"}, "order");
    const auto many = New("BatchSet", clock_.Mono());
    for (const char* key : {"order:1", "x"}) {
      v1::BatchSetItem* const item =
          static_cast<v1::BatchSetRequest*>(many->request())->add_items();
      item->set_key(key);
      if (item->key() == "x") item->set_type("order");
    }
    late(many.get());
  });
  const std::vector<std::string> expected = {"order", "order", "", "default", "order", "order"};
  ASSERT_EQ(lines.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_THAT(lines[i], testing::HasSubstr("\"type\":\"" + expected[i] + "\"")) << i;
}

TEST_F(DispatcherTest, EveryMethodWithoutAHandlerSaysSo) {
  int methods = 0;
  for (const Method& method : methods_.methods()) {
    if (method.path == "/larder.v1.Cache/Get") continue;
    NotedCall call(&method, INT64_MAX);
    dispatcher_.Run(&call);
    executor_.RunReady();
    EXPECT_EQ(call.Reason(), "NOT_IN_THIS_VERSION") << method.path;
    ++methods;
  }
  EXPECT_EQ(methods, 26);
}

TEST_F(DispatcherTest, CountsCallsAndErrorsPerMethod) {
  const Method& get = MethodOf("/larder.v1.Cache/Get");
  dispatcher_.Run(NewGet("hit").get());
  dispatcher_.Run(NewGet("hit", clock_.Mono()).get());
  EXPECT_EQ(get.counters->Sum(Method::kCalls), 2u);
  EXPECT_EQ(get.counters->Sum(Method::kErrors), 1u);
  EXPECT_EQ(get.latency->Snap().count, 2u);
}

}  // namespace
}  // namespace larder
