// The client of a real server: forms the message, hands it to the CallRunner, turns the answer into
// a plain struct.
//
// Which calls are repeated after a transient error. Reads are. Writes are when they carry a request
// id: the server then answers a repeat with what the first one did. Invalidate and ReleaseLease are
// without one, because doing them twice leaves the same state as doing them once. Touch is not: a
// repeat could give a newer entry the TTL that was meant for the one before it. GetOrLease is: an
// attempt whose answer was lost may have taken a lease, which the server takes back when the
// connection breaks or the lease runs out, while without a repeat each blip would let two callers
// load. Warm is as long as nothing was heard of it: afterwards its counts would begin anew under
// the caller's eyes.
//
// Longer than other files, because it is one class with a method for each call of the service: they
// are alike, and what is more than forming a message lies elsewhere (call.h, warm_call.h, load.h).

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/src/call.h"
#include "client/src/callback.h"
#include "client/src/channel_args.h"
#include "client/src/checks.h"
#include "client/src/convert.h"
#include "client/src/health.h"
#include "client/src/load.h"
#include "client/src/request_id.h"
#include "client/src/status.h"
#include "client/src/targets.h"
#include "client/src/time.h"
#include "client/src/warm_call.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "larder/client.h"
#include "larder/v1/admin.grpc.pb.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder {
namespace {

using CacheAsync = v1::Cache::StubInterface::async_interface;
using AdminAsync = v1::Admin::StubInterface::async_interface;

// One method of a service, in the form that takes a callback.
template <typename Service, typename Request, typename Response>
using Method = void (Service::*)(grpc::ClientContext*, const Request*, Response*,
                                 std::function<void(grpc::Status)>);

enum class Repeat { kNever, kAlways };

// How long servers wait for the fleet unless they are asked or configured otherwise.
constexpr absl::Duration kFleetWait = absl::Seconds(2);

// A server and what speaks to it.
struct Target {
  explicit Target(const std::shared_ptr<grpc::Channel>& channel)
      : cache(v1::Cache::NewStub(channel)), admin(v1::Admin::NewStub(channel)), generic(channel) {}

  CacheAsync* Async(const CacheAsync*) const { return cache->async(); }
  AdminAsync* Async(const AdminAsync*) const { return admin->async(); }

  std::unique_ptr<v1::Cache::Stub> cache;
  std::unique_ptr<v1::Admin::Stub> admin;
  grpc::GenericStub generic;
};

class GrpcClient : public Client {
 public:
  GrpcClient(const ClientOptions& options, const std::vector<std::string>& targets)
      : options_(options),
        runner_(std::make_unique<internal::CallRunner>(options.retry, targets.size(), this)) {
    const grpc::ChannelArguments args = internal::ChannelArgs(options);
    for (const std::string& target : targets) {
      targets_.push_back(std::make_unique<Target>(
          grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), args)));
    }
  }

  ~GrpcClient() override {
    CancelLoads();
    runner_.reset();
  }

  void GetAsync(std::string_view key, const GetOptions& options,
                Callback<GetResult> done) override {
    v1::GetRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    request.set_metadata_only(options.metadata_only);
    Start(Checked(CheckKey(key), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &CacheAsync::Get, std::move(done));
  }

  void BatchGetAsync(const std::vector<std::string>& keys, const GetOptions& options,
                     Callback<std::vector<GetResult>> done) override {
    v1::BatchGetRequest request;
    request.mutable_keys()->Assign(keys.begin(), keys.end());
    request.set_type(options.type);
    request.set_metadata_only(options.metadata_only);
    Start(Checked(CheckKeys("keys", keys), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &CacheAsync::BatchGet, CountChecked(keys.size(), std::move(done)));
  }

  void SetAsync(std::string_view key, std::string_view value, const SetOptions& options,
                Callback<SetResult> done) override {
    SetContent(key, value, false, options, std::move(done));
  }

  void SetAbsentAsync(std::string_view key, const SetOptions& options,
                      Callback<SetResult> done) override {
    SetContent(key, "", true, options, std::move(done));
  }

  void BatchSetAsync(const std::vector<SetItem>& items, const BatchSetOptions& options,
                     Callback<std::vector<SetResult>> done) override {
    v1::BatchSetRequest request;
    absl::Status status = CheckId(options.request_id);
    for (size_t i = 0; i < items.size() && status.ok(); ++i) {
      status = internal::To(items[i], absl::StrCat("items[", i, "]"), request.add_items());
    }
    request.set_request_id(RequestId(options.request_id));
    StartWrite(status, options.call, std::move(request), &CacheAsync::BatchSet,
               CountChecked(items.size(), std::move(done)));
  }

  void DeleteAsync(std::string_view key, const DeleteOptions& options,
                   Callback<DeleteResult> done) override {
    v1::DeleteRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    request.set_request_id(RequestId(options.request_id));
    StartWrite(Checked(CheckKey(key), CheckType(options.type), CheckId(options.request_id)),
               options.call, std::move(request), &CacheAsync::Delete, std::move(done));
  }

  void BatchDeleteAsync(const std::vector<std::string>& keys, const DeleteOptions& options,
                        Callback<std::vector<DeleteResult>> done) override {
    v1::BatchDeleteRequest request;
    request.mutable_keys()->Assign(keys.begin(), keys.end());
    request.set_type(options.type);
    request.set_request_id(RequestId(options.request_id));
    StartWrite(
        Checked(CheckKeys("keys", keys), CheckType(options.type), CheckId(options.request_id)),
        options.call, std::move(request), &CacheAsync::BatchDelete,
        CountChecked(keys.size(), std::move(done)));
  }

  void InvalidateAsync(const std::vector<std::string>& keys, const InvalidateOptions& options,
                       Callback<InvalidateResult> done) override {
    v1::InvalidateRequest request;
    request.mutable_keys()->mutable_keys()->Assign(keys.begin(), keys.end());
    request.set_dry_run(options.dry_run);
    if (options.fleet) request.set_wait(v1::INVALIDATE_WAIT_FLEET);
    // So that a replica that does not answer shows in the result and not as a DEADLINE_EXCEEDED.
    auto set_wait = [fleet = options.fleet, wait = options.wait](absl::Duration remaining,
                                                                 v1::InvalidateRequest* attempt) {
      const absl::Duration most = internal::WaitFor(remaining);
      if (fleet && (wait.has_value() || most < kFleetWait))
        internal::ToProto(std::min(wait.value_or(most), most), attempt->mutable_wait_timeout());
    };
    Start(CheckKeys("keys.keys", keys), options.call, Repeat::kAlways, std::move(request),
          &CacheAsync::Invalidate, std::move(done), std::move(set_wait));
  }

  void GetOrLeaseAsync(std::string_view key, const LoadOptions& options,
                       Callback<LeaseResult> done) override {
    v1::GetOrLoadRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    if (options.lease_ttl.has_value())
      internal::ToProto(*options.lease_ttl, request.mutable_lease_ttl());
    Start(Checked(CheckKey(key), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &CacheAsync::GetOrLoad, std::move(done),
          WaitSetter<v1::GetOrLoadRequest>(options));
  }

  void BatchGetOrLeaseAsync(const std::vector<std::string>& keys, const LoadOptions& options,
                            Callback<BatchLeaseResult> done) override {
    v1::BatchGetOrLoadRequest request;
    request.mutable_keys()->Assign(keys.begin(), keys.end());
    request.set_type(options.type);
    if (options.lease_ttl.has_value())
      internal::ToProto(*options.lease_ttl, request.mutable_lease_ttl());
    Start(Checked(CheckKeys("keys", keys), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &CacheAsync::BatchGetOrLoad,
          CountChecked(keys.size(), std::move(done)),
          WaitSetter<v1::BatchGetOrLoadRequest>(options));
  }

  void ReleaseLeaseAsync(std::string_view key, std::string_view lease_token,
                         const CallOptions& options, Callback<ReleaseLeaseResult> done) override {
    v1::ReleaseLeaseRequest request;
    request.set_key(std::string(key));
    request.set_lease_token(std::string(lease_token));
    Start(CheckKey(key), options, Repeat::kAlways, std::move(request), &CacheAsync::ReleaseLease,
          std::move(done));
  }

  void TouchAsync(std::string_view key, const TouchOptions& options,
                  Callback<TouchResult> done) override {
    v1::TouchRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    if (options.ttl.has_value()) internal::ToProto(*options.ttl, request.mutable_ttl());
    request.set_mode(internal::To(options.mode));
    Start(Checked(CheckKey(key), CheckType(options.type)), options.call, Repeat::kNever,
          std::move(request), &CacheAsync::Touch, std::move(done));
  }

  void IncrementAsync(std::string_view key, int64_t delta, const IncrementOptions& options,
                      Callback<IncrementResult> done) override {
    v1::IncrementRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    request.set_delta(delta);
    request.set_initial(options.initial);
    if (options.ttl.has_value()) internal::ToProto(*options.ttl, request.mutable_ttl());
    request.set_extend(options.extend);
    request.set_request_id(RequestId(options.request_id));
    StartWrite(Checked(CheckKey(key), CheckType(options.type), CheckId(options.request_id)),
               options.call, std::move(request), &CacheAsync::Increment, std::move(done));
  }

  void StatsAsync(const StatsOptions& options, Callback<StatsResult> done) override {
    v1::StatsRequest request;
    request.mutable_namespaces()->Assign(options.namespaces.begin(), options.namespaces.end());
    request.mutable_types()->Assign(options.types.begin(), options.types.end());
    Start(Checked(internal::CheckUtf8("NAMESPACE_INVALID", "namespaces", options.namespaces),
                  internal::CheckUtf8("TYPE_UNKNOWN", "types", options.types)),
          options.call, Repeat::kAlways, std::move(request), &CacheAsync::Stats, std::move(done));
  }

  void WarmAsync(const WarmOptions& options, WarmCallback progress,
                 Callback<WarmProgress> done) override;

  void HotKeysAsync(const HotKeysOptions& options, Callback<HotKeysResult> done) override {
    v1::HotKeysRequest request;
    request.set_type(options.type);
    request.set_limit(options.limit);
    request.set_order(internal::To(options.order));
    Start(CheckType(options.type), options.call, Repeat::kAlways, std::move(request),
          &AdminAsync::HotKeys, std::move(done));
  }

  void ExplainAsync(std::string_view key, const ExplainOptions& options,
                    Callback<ExplainResult> done) override {
    v1::ExplainRequest request;
    request.set_key(std::string(key));
    request.set_type(options.type);
    request.set_value_bytes(options.value_bytes);
    Start(Checked(CheckKey(key), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &AdminAsync::Explain, std::move(done));
  }

  void ServerInfoAsync(const CallOptions& options, Callback<ServerInfoResult> done) override {
    Start(absl::OkStatus(), options, Repeat::kAlways, v1::ServerInfoRequest(),
          &AdminAsync::ServerInfo, std::move(done));
  }

  void PingAsync(const PingOptions& options, Callback<PingResult> done) override;

 private:
  static absl::Status CheckKey(std::string_view key) {
    return internal::CheckUtf8("KEY_INVALID", "key", key);
  }
  static absl::Status CheckKeys(absl::string_view field, const std::vector<std::string>& keys) {
    return internal::CheckUtf8("KEY_INVALID", field, keys);
  }
  static absl::Status CheckType(std::string_view type) {
    return internal::CheckUtf8("TYPE_UNKNOWN", "type", type);
  }
  static absl::Status CheckId(std::string_view id) {
    return internal::CheckUtf8("REQUEST_ID_INVALID", "request_id", id);
  }

  // The first that is not OK.
  template <typename... Statuses>
  static absl::Status Checked(Statuses... statuses) {
    absl::Status first;
    (first.Update(std::move(statuses)), ...);
    return first;
  }

  // A batch answer must have one result per key; a caller would index past its end otherwise.
  template <typename Item>
  static Callback<std::vector<Item>> CountChecked(size_t count, Callback<std::vector<Item>> done) {
    return [count, done = std::move(done)](absl::StatusOr<std::vector<Item>> results) mutable {
      if (results.ok() && results->size() != count) {
        results = absl::InternalError(absl::StrCat("the server answered ", results->size(),
                                                   " results to a batch of ", count));
      }
      done(std::move(results));
    };
  }

  // Lets the server make a caller wait for others as long as asked, and no longer than the deadline
  // allows.
  template <typename Request>
  static std::function<void(absl::Duration, Request*)> WaitSetter(const LoadOptions& options) {
    return [wait = options.wait](absl::Duration remaining, Request* attempt) {
      internal::ToProto(
          std::min(wait.value_or(absl::InfiniteDuration()), internal::WaitFor(remaining)),
          attempt->mutable_wait());
    };
  }

  std::string RequestId(const std::string& chosen) {
    return chosen.empty() && options_.request_ids ? request_ids_.Next() : chosen;
  }

  void SetContent(std::string_view key, std::string_view value, bool absent,
                  const SetOptions& options, Callback<SetResult> done) {
    v1::SetRequest request;
    const absl::Status status =
        Checked(internal::To(key, value, absent, options, &request), CheckId(options.request_id));
    request.set_request_id(RequestId(options.request_id));
    StartWrite(status, options.call, std::move(request), &CacheAsync::Set, std::move(done));
  }

  template <typename Service, typename Request, typename Response, typename Result>
  void StartWrite(absl::Status valid, const CallOptions& call, Request request,
                  Method<Service, Request, Response> method, Callback<Result> done) {
    const Repeat repeat = request.request_id().empty() ? Repeat::kNever : Repeat::kAlways;
    Start(std::move(valid), call, repeat, std::move(request), method, std::move(done));
  }

  // Begins a call, or answers `valid` when that is an error. `prepare` may change the request
  // before each attempt.
  template <typename Service, typename Request, typename Response, typename Result>
  void Start(
      absl::Status valid, const CallOptions& call, Repeat repeat, Request request,
      Method<Service, Request, Response> method, Callback<Result> done,
      std::function<void(absl::Duration, std::type_identity_t<Request>*)> prepare = nullptr) {
    const absl::Duration deadline = call.deadline.value_or(options_.default_deadline);
    const std::string& ns = call.ns.has_value() ? *call.ns : options_.ns;
    valid = Checked(std::move(valid), internal::CheckDeadline("deadline", deadline),
                    internal::CheckNamespace("namespace", ns));
    if (!valid.ok()) {
      internal::CallbackScope scope(this);
      done(std::move(valid));
      return;
    }
    // Stats and ServerInfo are about the server, not about one namespace.
    if constexpr (requires { request.set_namespace_(ns); }) request.set_namespace_(ns);
    struct Messages {
      Request request;
      Response response;
    };
    auto messages = std::make_shared<Messages>();
    messages->request = std::move(request);
    auto send = [this, messages, method, prepare = std::move(prepare)](
                    size_t target, absl::Duration remaining, grpc::ClientContext* context,
                    std::function<void(grpc::Status)> attempt_done) {
      if (prepare) prepare(remaining, &messages->request);
      Service* const service = targets_[target]->Async(static_cast<Service*>(nullptr));
      (service->*method)(context, &messages->request, &messages->response, std::move(attempt_done));
    };
    auto finish = [messages, done = std::move(done)](absl::Status status) mutable {
      if (status.ok()) {
        done(internal::From(&messages->response));
      } else {
        done(std::move(status));
      }
    };
    runner_->Start({deadline, [repeat] { return repeat == Repeat::kAlways; }, std::move(send),
                    std::move(finish)});
  }

  const ClientOptions options_;
  internal::RequestIds request_ids_;
  std::vector<std::unique_ptr<Target>> targets_;
  std::unique_ptr<internal::CallRunner> runner_;
};

void GrpcClient::PingAsync(const PingOptions& options, Callback<PingResult> done) {
  const absl::Duration deadline = options.call.deadline.value_or(options_.default_deadline);
  absl::Status valid = Checked(internal::CheckDeadline("deadline", deadline),
                               internal::CheckUtf8("REQUEST_INVALID", "service", options.service));
  if (!valid.ok()) {
    internal::CallbackScope scope(this);
    done(std::move(valid));
    return;
  }
  struct Exchange {
    grpc::ByteBuffer request;
    grpc::ByteBuffer response;
    std::chrono::steady_clock::time_point sent;
  };
  auto exchange = std::make_shared<Exchange>();
  const grpc::Slice slice(internal::HealthRequest(options.service));
  exchange->request = grpc::ByteBuffer(&slice, 1);
  auto send = [this, exchange](size_t target, absl::Duration, grpc::ClientContext* context,
                               std::function<void(grpc::Status)> attempt_done) {
    exchange->sent = std::chrono::steady_clock::now();
    targets_[target]->generic.UnaryCall(context, internal::kHealthCheck, {}, &exchange->request,
                                        &exchange->response, std::move(attempt_done));
  };
  auto finish = [exchange, done = std::move(done)](absl::Status status) mutable {
    if (!status.ok()) {
      done(std::move(status));
      return;
    }
    const absl::Duration round_trip =
        absl::FromChrono(std::chrono::steady_clock::now() - exchange->sent);
    grpc::Slice bytes;
    if (!exchange->response.DumpToSingleSlice(&bytes).ok()) {
      done(absl::InternalError("the health service's answer is malformed"));
      return;
    }
    const absl::StatusOr<bool> serving =
        internal::IsServing({reinterpret_cast<const char*>(bytes.begin()), bytes.size()});
    if (serving.ok()) {
      done(PingResult{*serving, round_trip});
    } else {
      done(serving.status());
    }
  };
  runner_->Start({deadline, [] { return true; }, std::move(send), std::move(finish)});
}

void GrpcClient::WarmAsync(const WarmOptions& options, WarmCallback progress,
                           Callback<WarmProgress> done) {
  const absl::Duration deadline = options.call.deadline.value_or(internal::kWarmDeadlineMax);
  const std::string& ns = options.call.ns.has_value() ? *options.call.ns : options_.ns;
  absl::Status valid =
      Checked(internal::CheckDeadline("deadline", deadline, internal::kWarmDeadlineMax),
              internal::CheckNamespace("namespace", ns), CheckKeys("keys", options.keys),
              CheckType(options.type));
  if (!valid.ok()) {
    internal::CallbackScope scope(this);
    done(std::move(valid));
    return;
  }
  auto state = std::make_shared<internal::WarmState>();
  state->request.set_namespace_(ns);
  state->request.set_type(options.type);
  state->request.mutable_keys()->Assign(options.keys.begin(), options.keys.end());
  state->request.set_limit(options.limit);
  state->request.set_rate(options.rate);
  state->progress = std::move(progress);
  auto send = [this, state](size_t target, absl::Duration, grpc::ClientContext* context,
                            std::function<void(grpc::Status)> attempt_done) {
    internal::StartWarm(targets_[target]->admin->async(), context, state, this,
                        std::move(attempt_done));
  };
  auto finish = [state, done = std::move(done)](const absl::Status& status) mutable {
    state->progress = nullptr;  // what it holds goes before the client may
    done(internal::WarmOutcome(*state, status));
  };
  runner_->Start({deadline, [state] { return !state->heard; }, std::move(send), std::move(finish)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options) {
  if (absl::Status status = ValidateClientOptions(options); !status.ok()) return status;
  absl::StatusOr<std::vector<std::string>> targets = internal::SplitTargets(options.target);
  if (!targets.ok()) return targets.status();
  return std::make_unique<GrpcClient>(options, *targets);
}

}  // namespace larder
