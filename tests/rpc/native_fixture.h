// A native lane on a free port with handlers that do what tests need, and a stock gRPC client.
//
//   Get         "hit..." is answered at once with the value "now"; "large" with an attached value
//               of 2 MiB; "metadata:NAME" with what came under that name; "peer" with who calls,
//               "address" with from where; everything else on a worker
//   GetOrLoad   waits until the test lets it go, or the caller has gone; with a key that begins
//   with
//               "here", on the loop that the call came in on
//   BatchGet    answers every key with a value of 1,000 bytes, on a worker
//   Set         answers with 40,000 bytes, on a worker
//   Watch       sends a message of 40,000 bytes, then waits as GetOrLoad does
//   Warm        streams as many messages as `limit` says, each when the last one has been taken

#ifndef LARDER_TESTS_RPC_NATIVE_FIXTURE_H_
#define LARDER_TESTS_RPC_NATIVE_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/turn.h"
#include "core/error.h"
#include "google/protobuf/unknown_field_set.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"
#include "rpc/dispatcher.h"
#include "rpc/methods.h"
#include "rpc/native_lane.h"

namespace larder {

class NativeHandlers {
 public:
  explicit NativeHandlers(Executor* executor)
      : executor_(executor), large_(SharedBytes::Copy(std::string(2 << 20, 'L'))) {}

  void Enter(MethodTable* methods) {
    using H = NativeHandlers;
    methods->On("/larder.v1.Cache/Get", this, &H::Get, &H::TryGet);
    methods->On("/larder.v1.Cache/BatchGet", this, &H::BatchGet);
    methods->On("/larder.v1.Cache/GetOrLoad", this, &H::GetOrLoad);
    methods->AtOnce("/larder.v1.Cache/GetOrLoad", this, &H::StaysHere);
    methods->On("/larder.v1.Cache/Set", this, &H::Set);
    methods->On("/larder.v1.Cache/Watch", this, &H::Watch);
    methods->On("/larder.v1.Admin/Warm", this, &H::Warm);
  }

  bool TryGet(CallContext* context, const v1::GetRequest& request, v1::GetResponse* response,
              absl::Status* status) {
    const std::string& key = request.key();
    if (key == "error") {
      *status = FieldError(Reason::kKEY_INVALID, "key", "bad: 100%\n\xC3\xA9");
      return true;
    }
    if (key.starts_with("metadata:")) {
      response->mutable_hit()->set_value(std::string(context->Metadata(key.substr(9))));
      return true;
    }
    if (key == "peer") {
      response->mutable_hit()->set_value(std::string(context->PeerName()));
      return true;
    }
    if (key == "address") {
      response->mutable_hit()->set_value(context->PeerAddress());
      return true;
    }
    if (key == "large") {
      response->mutable_hit()->set_version(1);
      context->AttachValue(large_);
      return true;
    }
    if (!key.starts_with("hit")) return false;
    response->mutable_hit()->set_value("now");
    return true;
  }
  Task<absl::Status> Get(CallContext*, const v1::GetRequest* request, v1::GetResponse* response) {
    response->mutable_hit()->set_value("later " + request->key());
    co_return absl::OkStatus();
  }
  Task<absl::Status> BatchGet(CallContext*, const v1::BatchGetRequest* request,
                              v1::BatchGetResponse* response) {
    for (int i = 0; i < request->keys_size(); ++i) {
      response->add_results()->mutable_hit()->set_value(std::string(1000, 'b'));
    }
    co_return absl::OkStatus();
  }
  Task<absl::Status> GetOrLoad(CallContext* context, const v1::GetOrLoadRequest* request,
                               v1::GetOrLoadResponse* response) {
    const auto turn = std::make_shared<Signal<bool>>(HereOr(executor_));
    const std::thread::id began_on = std::this_thread::get_id();
    {
      MutexLock lock(&mu_);
      waiting_.push_back(turn);
    }
    context->cancellation().OnCancel([turn] { turn->TrySet(false); });
    const bool go_on = co_await *turn;
    if (StaysHere(*request) && std::this_thread::get_id() == began_on) ++stayed;
    if (!go_on) {
      ++cancelled;
      co_return Error(Reason::kCALL_CANCELLED, "gone");
    }
    response->mutable_hit()->set_value(request->key());
    context->OnUndelivered([this] { ++undelivered; });
    co_return absl::OkStatus();
  }
  Task<absl::Status> Warm(CallContext* context, const v1::WarmRequest* request, v1::WarmResponse*) {
    for (uint64_t i = 0; i < request->limit(); ++i) {
      v1::WarmResponse response;
      response.set_loaded(i);
      MakeLarge(1'000, &response);
      const bool sent = co_await context->Send(response);
      if (!sent) {
        ++cancelled;
        co_return Error(Reason::kCALL_CANCELLED, "gone");
      }
      ++streamed;
    }
    co_return absl::OkStatus();
  }

  Task<absl::Status> Set(CallContext*, const v1::SetRequest*, v1::SetResponse* response) {
    MakeLarge(40'000, response);
    co_return absl::OkStatus();
  }
  Task<absl::Status> Watch(CallContext* context, const v1::WatchRequest*, v1::WatchResponse*) {
    v1::WatchResponse response;
    MakeLarge(40'000, &response);
    const bool sent = co_await context->Send(response);
    if (!sent) co_return Error(Reason::kCALL_CANCELLED, "gone");
    const auto turn = std::make_shared<Signal<bool>>(executor_);
    {
      MutexLock lock(&mu_);
      waiting_.push_back(turn);
    }
    co_await *turn;
    co_return absl::OkStatus();
  }

  bool StaysHere(const v1::GetOrLoadRequest& request) const {
    return request.key().starts_with("here");
  }

  size_t waiting() const {
    MutexLock lock(&mu_);
    return waiting_.size();
  }
  void LetGo() {
    std::vector<std::shared_ptr<Signal<bool>>> all;
    {
      MutexLock lock(&mu_);
      all.swap(waiting_);
    }
    for (const auto& turn : all) turn->TrySet(true);
  }

  std::atomic<int> cancelled = 0;
  std::atomic<int> undelivered = 0;
  std::atomic<int> streamed = 0;
  std::atomic<int> stayed = 0;  // that began and ended on one thread, as they should

 private:
  // By a field that nobody knows.
  static void MakeLarge(size_t bytes, google::protobuf::Message* message) {
    message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(
        1000, std::string(bytes, 'w'));
  }

  Executor* const executor_;
  const SharedBytes large_;
  mutable Mutex mu_;
  std::vector<std::shared_ptr<Signal<bool>>> waiting_ ABSL_GUARDED_BY(mu_);
};

class NativeFixture : public testing::Test {
 protected:
  NativeFixture() { handlers_.Enter(&methods_); }
  ~NativeFixture() override {
    handlers_.LetGo();
    lane_.reset();
    pool_->Shutdown();
  }

  static NativeLane::Options SomeOptions() {
    NativeLane::Options options;
    options.address = "127.0.0.1:0";
    options.loops = 2;
    return options;
  }

  void Start(const NativeLane::Options& options = SomeOptions()) {
    signal(SIGPIPE, SIG_IGN);
    absl::StatusOr<std::unique_ptr<NativeLane>> lane =
        NativeLane::Start(options, &methods_, &dispatcher_);
    ASSERT_TRUE(lane.ok()) << lane.status();
    lane_ = *std::move(lane);
    lane_->SetReady(true);
  }

  int port() const {
    const std::string address = lane_->address();
    return std::stoi(address.substr(address.rfind(':') + 1));
  }

  std::shared_ptr<grpc::Channel> NewChannel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(lane_->address(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  std::unique_ptr<v1::Cache::Stub> NewClient() { return v1::Cache::NewStub(NewChannel()); }

  static std::unique_ptr<grpc::ClientContext> Within(double seconds) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6)));
    return context;
  }

  static grpc::Status Get(v1::Cache::Stub* client, const std::string& key,
                          v1::GetResponse* response, double seconds = 10) {
    v1::GetRequest request;
    request.set_key(key);
    return client->Get(Within(seconds).get(), request, response);
  }
  // The value of a call that must go well.
  static std::string ValueOf(v1::Cache::Stub* client, const std::string& key) {
    v1::GetResponse response;
    const grpc::Status status = Get(client, key, &response);
    EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    return response.hit().value();
  }

  uint64_t Stat(std::string_view name) const {
    for (const auto& [key, value] : lane_->GetStats()) {
      if (key == name) return value;
    }
    ADD_FAILURE() << "there is no counter " << name;
    return 0;
  }

  // Waits for up to half a minute until `condition`.
  template <typename Condition>
  static bool Becomes(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      // Another thread of this process brings it about, and says nothing when it has.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  const std::unique_ptr<ThreadPool> pool_ = ThreadPool::New({2, 10'000});
  MethodTable methods_;
  NativeHandlers handlers_{pool_.get()};
  Dispatcher dispatcher_{Clock::System(), pool_.get()};
  std::unique_ptr<NativeLane> lane_;
};

}  // namespace larder

#endif  // LARDER_TESTS_RPC_NATIVE_FIXTURE_H_
