// ScriptedServer is a gRPC server in this process that answers as a test says: wrong, late, or not
// at all. What a working server does is tested against a real one (conformance.h).
// Thread safety: any method, any thread.

#ifndef LARDER_TESTS_CLIENT_SCRIPTED_SERVER_H_
#define LARDER_TESTS_CLIENT_SCRIPTED_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "larder/rpc/v1/status.pb.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder::testing {

// A status with google.rpc details.
inline grpc::Status Refusal(grpc::StatusCode code, const std::string& reason,
                            double retry_seconds = 0) {
  rpc::v1::Status status;
  status.set_code(code);
  rpc::v1::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("larder");
  auto* any = status.add_details();
  any->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  any->set_value(info.SerializeAsString());
  if (retry_seconds > 0) {
    rpc::v1::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(static_cast<int>(retry_seconds * 1e9));
    any = status.add_details();
    any->set_type_url("type.googleapis.com/google.rpc.RetryInfo");
    any->set_value(retry.SerializeAsString());
  }
  return grpc::Status(code, "scripted", status.SerializeAsString());
}

// How a Warm goes: these messages, then `end`; or nothing more until the client gives up.
struct ScriptedWarm {
  std::vector<v1::WarmResponse> messages;
  grpc::Status end;
  bool hang = false;
};

// Answers the attempts of Warm one script after the other; the last one goes on being answered.
class ScriptedAdmin : public v1::Admin::CallbackService {
 public:
  void Next(ScriptedWarm warm) {
    std::lock_guard lock(mu_);
    warms_.push_back(std::move(warm));
  }
  std::vector<v1::WarmRequest> requests() const {
    std::lock_guard lock(mu_);
    return requests_;
  }

  grpc::ServerWriteReactor<v1::WarmResponse>* Warm(grpc::CallbackServerContext*,
                                                   const v1::WarmRequest* request) override {
    std::lock_guard lock(mu_);
    requests_.push_back(*request);
    auto* const writer = new Writer(warms_.at(std::min(next_++, warms_.size() - 1)));
    return writer;
  }

 private:
  class Writer : public grpc::ServerWriteReactor<v1::WarmResponse> {
   public:
    explicit Writer(ScriptedWarm warm) : warm_(std::move(warm)) { Step(); }
    void OnWriteDone(bool ok) override {
      if (ok) {
        Step();
      } else {
        End(grpc::Status::CANCELLED);
      }
    }
    void OnCancel() override {
      if (warm_.hang) End(grpc::Status::CANCELLED);
    }
    void OnDone() override { delete this; }

   private:
    void Step() {
      if (at_ < warm_.messages.size()) {
        StartWrite(&warm_.messages[at_++]);
      } else if (!warm_.hang) {
        End(warm_.end);
      }
    }
    // A cancellation may come at any moment.
    void End(const grpc::Status& status) {
      if (!ended_.exchange(true)) Finish(status);
    }
    ScriptedWarm warm_;
    size_t at_ = 0;
    std::atomic<bool> ended_{false};
  };

  mutable std::mutex mu_;
  std::vector<ScriptedWarm> warms_;
  size_t next_ = 0;
  std::vector<v1::WarmRequest> requests_;
};

class ScriptedServer : public v1::Cache::CallbackService {
 public:
  ScriptedServer() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    builder.RegisterService(&admin_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  const std::string& address() const { return address_; }

  // What the next calls answer, one each; then OK.
  void Next(std::vector<grpc::Status> statuses) {
    std::lock_guard lock(mu_);
    script_.insert(script_.end(), statuses.begin(), statuses.end());
  }
  // What calls answer when the script is over.
  void Always(grpc::Status status) {
    std::lock_guard lock(mu_);
    always_ = std::move(status);
  }
  // From now on calls are not answered until the client gives up.
  void Hang() {
    std::lock_guard lock(mu_);
    hang_ = true;
  }
  // From now on answers have no result in them.
  void AnswerNothing() {
    std::lock_guard lock(mu_);
    empty_ = true;
  }

  ScriptedAdmin& admin() { return admin_; }

  // What BatchGetOrLoad answers.
  void SetLoads(v1::BatchGetOrLoadResponse loads) {
    std::lock_guard lock(mu_);
    loads_ = std::move(loads);
  }

  // What BatchSet answers.
  void SetStored(v1::BatchSetResponse stored) {
    std::lock_guard lock(mu_);
    stored_ = std::move(stored);
  }

  // What Stats answers.
  void SetStats(v1::StatsResponse stats) {
    std::lock_guard lock(mu_);
    stats_ = std::move(stats);
  }

  size_t calls() const {
    std::lock_guard lock(mu_);
    return calls_.size();
  }
  void WaitForCalls(size_t count) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return calls_.size() >= count; });
  }
  // The request of call number `i`, serialized.
  std::string call(size_t i) const {
    std::lock_guard lock(mu_);
    return calls_.at(i);
  }
  std::string user_agent() const {
    std::lock_guard lock(mu_);
    return user_agent_;
  }

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* response) override {
    response->mutable_hit()->set_value("v");
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* BatchGet(grpc::CallbackServerContext* context,
                                     const v1::BatchGetRequest* request,
                                     v1::BatchGetResponse* response) override {
    response->add_results()->mutable_hit();
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* Set(grpc::CallbackServerContext* context, const v1::SetRequest* request,
                                v1::SetResponse* response) override {
    response->mutable_stored()->set_version(7);
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* Touch(grpc::CallbackServerContext* context,
                                  const v1::TouchRequest* request,
                                  v1::TouchResponse* response) override {
    response->mutable_touched()->set_version(7);
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* Invalidate(grpc::CallbackServerContext* context,
                                       const v1::InvalidateRequest* request,
                                       v1::InvalidateResponse* response) override {
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* GetOrLoad(grpc::CallbackServerContext* context,
                                      const v1::GetOrLoadRequest* request,
                                      v1::GetOrLoadResponse* response) override {
    response->mutable_lease()->set_token("lease");
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* BatchGetOrLoad(grpc::CallbackServerContext* context,
                                           const v1::BatchGetOrLoadRequest* request,
                                           v1::BatchGetOrLoadResponse* response) override {
    {
      std::lock_guard lock(mu_);
      *response = loads_;
    }
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* BatchSet(grpc::CallbackServerContext* context,
                                     const v1::BatchSetRequest* request,
                                     v1::BatchSetResponse* response) override {
    {
      std::lock_guard lock(mu_);
      *response = stored_;
    }
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* ReleaseLease(grpc::CallbackServerContext* context,
                                         const v1::ReleaseLeaseRequest* request,
                                         v1::ReleaseLeaseResponse* response) override {
    return Answer(context, *request, response);
  }
  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* context,
                                  const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override {
    {
      std::lock_guard lock(mu_);
      *response = stats_;
    }
    return Answer(context, *request, response);
  }

 private:
  // Answers when it is told to or when the client has gone.
  class Hanging : public grpc::ServerUnaryReactor {
   public:
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };

  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const Request& request,
                                   Response* response) {
    std::lock_guard lock(mu_);
    calls_.push_back(request.SerializeAsString());
    const auto agent = context->client_metadata().find("user-agent");
    if (agent != context->client_metadata().end()) {
      user_agent_.assign(agent->second.data(), agent->second.size());
    }
    changed_.notify_all();
    if (hang_) return new Hanging;
    if (empty_) response->Clear();
    grpc::Status status = always_;
    if (!script_.empty()) {
      status = script_.front();
      script_.pop_front();
    }
    auto* reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }

  mutable std::mutex mu_;
  std::condition_variable changed_;
  std::deque<grpc::Status> script_;
  grpc::Status always_;
  bool hang_ = false;
  bool empty_ = false;
  v1::StatsResponse stats_;
  v1::BatchGetOrLoadResponse loads_;
  v1::BatchSetResponse stored_;
  ScriptedAdmin admin_;
  std::vector<std::string> calls_;
  std::string user_agent_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace larder::testing

#endif  // LARDER_TESTS_CLIENT_SCRIPTED_SERVER_H_
