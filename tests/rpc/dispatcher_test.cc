#include "rpc/dispatcher.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "core/error.h"
#include "larder/v1/cache.pb.h"

namespace larder {
namespace {

// A call of a lane that only notes the answer.
class NotedCall : public Call {
 public:
  NotedCall(const Method* method, MonoNanos deadline) : Call(method) {
    deadline_ = deadline;
    MakeMessages();
  }
  void Answer(const absl::Status& status) override {
    ASSERT_FALSE(answer_.has_value()) << "answered twice";
    answer_ = status;
  }
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
  int ran = 0;
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
