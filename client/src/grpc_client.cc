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
// the caller's eyes; so is ExportDeadLetters. RetryDeadLetters and DropDeadLetters are not: a
// repeat would count nothing. Watch is not: its caller has to decide where to resume.
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
#include "client/src/batching_client.h"
#include "client/src/call.h"
#include "client/src/callback.h"
#include "client/src/channel_args.h"
#include "client/src/checks.h"
#include "client/src/convert.h"
#include "client/src/export_call.h"
#include "client/src/health.h"
#include "client/src/hedge.h"
#include "client/src/load.h"
#include "client/src/request_id.h"
#include "client/src/status.h"
#include "client/src/targets.h"
#include "client/src/time.h"
#include "client/src/tls.h"
#include "client/src/warm_call.h"
#include "client/src/watch_call.h"
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
        runner_(std::make_unique<internal::CallRunner>(options, targets, this)),
        hedger_(options.hedge, runner_.get()) {
    const grpc::ChannelArguments args = internal::ChannelArgs(options);
    for (const std::string& target : targets) {
      targets_.push_back(std::make_unique<Target>(
          grpc::CreateCustomChannel(target, internal::ChannelCredentials(options.tls), args)));
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
    StartInvalidate(CheckKeys("keys.keys", keys), std::move(request), options, std::move(done));
  }
  void InvalidateByAsync(const Selector& selector, const InvalidateOptions& options,
                         Callback<InvalidateResult> done) override {
    v1::InvalidateRequest request;
    absl::Status valid = internal::To(selector, &request);
    StartInvalidate(std::move(valid), std::move(request), options, std::move(done));
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

  std::shared_ptr<WatchCall> WatchAsync(const WatchOptions& options, WatchCallback each,
                                        Callback<WatchEnd> done) override;

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
    request.set_checksums(options.checksums);
    request.set_ask_origin(options.ask_origin);
    Start(Checked(CheckKey(key), CheckType(options.type)), options.call, Repeat::kAlways,
          std::move(request), &AdminAsync::Explain, std::move(done));
  }

  void ServerInfoAsync(const CallOptions& options, Callback<ServerInfoResult> done) override {
    Start(absl::OkStatus(), options, Repeat::kAlways, v1::ServerInfoRequest(),
          &AdminAsync::ServerInfo, std::move(done));
  }

  void ReloadConfigAsync(const ReloadConfigOptions& options,
                         Callback<ReloadConfigResult> done) override {
    v1::ReloadConfigRequest request;
    request.set_dry_run(options.dry_run);
    // A repeat would find nothing changed.
    Start(absl::OkStatus(), options.call, options.dry_run ? Repeat::kAlways : Repeat::kNever,
          std::move(request), &AdminAsync::ReloadConfig, std::move(done));
  }

  void FlushJournalAsync(const FlushOptions& options, Callback<FlushResult> done) override {
    v1::FlushJournalRequest request;
    request.set_type(options.type);
    Start(CheckType(options.type), options.call, Repeat::kAlways, std::move(request),
          &AdminAsync::FlushJournal, std::move(done), nullptr, internal::kWarmDeadlineMax);
  }

  void PauseDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override {
    v1::PauseDeliveryRequest request;
    request.set_origin(options.origin);
    Start(CheckOrigin(options), options.call, Repeat::kAlways, std::move(request),
          &AdminAsync::PauseDelivery, std::move(done));
  }

  void ResumeDeliveryAsync(const DeliveryOptions& options, Callback<DeliveryResult> done) override {
    v1::ResumeDeliveryRequest request;
    request.set_origin(options.origin);
    Start(CheckOrigin(options), options.call, Repeat::kAlways, std::move(request),
          &AdminAsync::ResumeDelivery, std::move(done));
  }

  void ListDeadLettersAsync(const ListDeadLettersOptions& options,
                            Callback<DeadLetterPage> done) override {
    v1::ListDeadLettersRequest request;
    absl::Status valid =
        Checked(internal::To(options.filter, request.mutable_filter()),
                internal::CheckUtf8("REQUEST_INVALID", "page_token", options.page_token));
    request.set_page_size(options.page_size);
    request.set_page_token(options.page_token);
    Start(std::move(valid), options.call, Repeat::kAlways, std::move(request),
          &AdminAsync::ListDeadLetters, std::move(done));
  }

  void RetryDeadLettersAsync(const DeadLetterOptions& options,
                             Callback<DeadLetterCount> done) override {
    v1::RetryDeadLettersRequest request;
    absl::Status valid = internal::To(options.filter, request.mutable_filter());
    Start(std::move(valid), options.call, Repeat::kNever, std::move(request),
          &AdminAsync::RetryDeadLetters, std::move(done));
  }

  void DropDeadLettersAsync(const DeadLetterOptions& options,
                            Callback<DeadLetterCount> done) override {
    v1::DropDeadLettersRequest request;
    absl::Status valid = internal::To(options.filter, request.mutable_filter());
    Start(std::move(valid), options.call, Repeat::kNever, std::move(request),
          &AdminAsync::DropDeadLetters, std::move(done));
  }

  void ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback each,
                              Callback<DeadLetterCount> done) override;

  void PingAsync(const PingOptions& options, Callback<PingResult> done) override;

 private:
  void StartInvalidate(absl::Status valid, v1::InvalidateRequest request,
                       const InvalidateOptions& options, Callback<InvalidateResult> done) {
    request.set_dry_run(options.dry_run);
    if (options.mark_stale) request.set_mode(v1::INVALIDATE_MODE_MARK_STALE);
    if (options.fleet) request.set_wait(v1::INVALIDATE_WAIT_FLEET);
    // So that a replica that does not answer shows in the result and not as a DEADLINE_EXCEEDED.
    auto set_wait = [fleet = options.fleet, wait = options.wait](absl::Duration remaining,
                                                                 v1::InvalidateRequest* attempt) {
      const absl::Duration most = internal::WaitFor(remaining);
      if (fleet && (wait.has_value() || most < kFleetWait))
        internal::ToProto(std::min(wait.value_or(most), most), attempt->mutable_wait_timeout());
    };
    Start(std::move(valid), options.call, Repeat::kAlways, std::move(request),
          &CacheAsync::Invalidate, std::move(done), std::move(set_wait));
  }
  static absl::Status CheckKey(std::string_view key) {
    return internal::CheckUtf8("KEY_INVALID", "key", key);
  }
  static absl::Status CheckKeys(absl::string_view field, const std::vector<std::string>& keys) {
    return internal::CheckUtf8("KEY_INVALID", field, keys);
  }
  static absl::Status CheckType(std::string_view type) {
    return internal::CheckUtf8("TYPE_UNKNOWN", "type", type);
  }
  static absl::Status CheckOrigin(const DeliveryOptions& options) {
    return internal::CheckUtf8("REQUEST_INVALID", "origin", options.origin);
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
  // before each attempt; no deadline may be above `deadline_max`.
  template <typename Service, typename Request, typename Response, typename Result>
  void Start(absl::Status valid, const CallOptions& call, Repeat repeat, Request request,
             Method<Service, Request, Response> method, Callback<Result> done,
             std::function<void(absl::Duration, std::type_identity_t<Request>*)> prepare = nullptr,
             absl::Duration deadline_max = internal::kDeadlineMax) {
    const absl::Duration deadline = call.deadline.value_or(options_.default_deadline);
    const std::string& ns = call.ns.has_value() ? *call.ns : options_.ns;
    valid = Checked(std::move(valid), internal::CheckDeadline("deadline", deadline, deadline_max),
                    internal::CheckNamespace("namespace", ns), CheckTrace(call));
    if (!valid.ok()) {
      internal::CallbackScope scope(this);
      done(std::move(valid));
      return;
    }
    // Stats and ServerInfo are about the server, not about one namespace.
    if constexpr (requires { request.set_namespace_(ns); }) request.set_namespace_(ns);
    auto messages = std::make_shared<Messages<Request, Response>>();
    messages->request = std::move(request);
    if constexpr (std::is_same_v<Request, v1::GetRequest>) {
      if (options_.hedge.percentile > 0) {
        StartHedged(call, deadline, std::move(messages), method, std::move(done));
        return;
      }
    }
    internal::CallSpec spec = SpecFor(call, deadline, repeat, messages, method, std::move(prepare));
    spec.finish = [messages, done = std::move(done)](absl::Status status) mutable {
      if (status.ok()) {
        done(internal::From(&messages->response));
      } else {
        done(std::move(status));
      }
    };
    runner_->Start(std::move(spec));
  }

  template <typename Request, typename Response>
  struct Messages {
    Request request;
    Response response;
  };

  // All but `finish`.
  template <typename Service, typename Request, typename Response>
  internal::CallSpec SpecFor(const CallOptions& call, absl::Duration deadline, Repeat repeat,
                             std::shared_ptr<Messages<Request, Response>> messages,
                             Method<Service, Request, Response> method,
                             std::function<void(absl::Duration, Request*)> prepare) {
    internal::CallSpec spec;
    spec.method = MethodName<Request>();
    spec.deadline = deadline;
    spec.repeatable = [repeat] { return repeat == Repeat::kAlways; };
    if constexpr (requires { messages->request.key(); })
      spec.route = internal::RouteHash(messages->request.key());
    spec.prompt =
        std::is_same_v<Request, v1::GetRequest> || std::is_same_v<Request, v1::BatchGetRequest>;
    spec.metadata = Trace(call);
    spec.send = [this, messages, method, prepare = std::move(prepare)](
                    size_t target, absl::Duration remaining, grpc::ClientContext* context,
                    std::function<void(grpc::Status)> attempt_done) {
      if (prepare) prepare(remaining, &messages->request);
      Service* const service = targets_[target]->Async(static_cast<Service*>(nullptr));
      (service->*method)(context, &messages->request, &messages->response, std::move(attempt_done));
    };
    return spec;
  }

  // A Get that is sent once more when it takes long. Each time has messages of its own.
  template <typename Service, typename Response, typename Result>
  void StartHedged(const CallOptions& call, absl::Duration deadline,
                   std::shared_ptr<Messages<v1::GetRequest, Response>> first,
                   Method<Service, v1::GetRequest, Response> method, Callback<Result> done) {
    auto counts = std::make_shared<std::shared_ptr<Messages<v1::GetRequest, Response>>>(first);
    auto make = [this, call, deadline, first, counts, method] {
      auto messages = std::make_shared<Messages<v1::GetRequest, Response>>();
      messages->request = first->request;
      return internal::Hedger::Leg{SpecFor<Service, v1::GetRequest, Response>(
                                       call, deadline, Repeat::kAlways, messages, method, nullptr),
                                   [counts, messages] { *counts = messages; }};
    };
    hedger_.Start(std::move(make), [counts, done = std::move(done)](absl::Status status) mutable {
      if (status.ok()) {
        done(internal::From(&(*counts)->response));
      } else {
        done(std::move(status));
      }
    });
  }

  // What has a shape of its own.
  void StartOther(std::string_view method, const CallOptions& call, absl::Duration deadline,
                  std::function<bool()> repeatable, decltype(internal::CallSpec::send) send,
                  decltype(internal::CallSpec::finish) finish) {
    internal::CallSpec spec;
    spec.method = method;
    spec.deadline = deadline;
    spec.repeatable = std::move(repeatable);
    spec.send = std::move(send);
    spec.finish = std::move(finish);
    spec.metadata = Trace(call);
    runner_->Start(std::move(spec));
  }

  // "Get" of GetRequest.
  template <typename Request>
  static std::string_view MethodName() {
    std::string_view name = Request::descriptor()->name();
    name.remove_suffix(std::string_view("Request").size());
    return name;
  }

  static absl::Status CheckTrace(const CallOptions& call) {
    return internal::CheckTrace(call.traceparent, call.tracestate);
  }
  static std::vector<std::pair<std::string, std::string>> Trace(const CallOptions& call) {
    std::vector<std::pair<std::string, std::string>> metadata;
    if (!call.traceparent.empty()) metadata.emplace_back("traceparent", call.traceparent);
    if (!call.traceparent.empty() && !call.tracestate.empty())
      metadata.emplace_back("tracestate", call.tracestate);
    return metadata;
  }

  const ClientOptions options_;
  internal::RequestIds request_ids_;
  std::vector<std::unique_ptr<Target>> targets_;
  std::unique_ptr<internal::CallRunner> runner_;
  internal::Hedger hedger_;
};

void GrpcClient::PingAsync(const PingOptions& options, Callback<PingResult> done) {
  const absl::Duration deadline = options.call.deadline.value_or(options_.default_deadline);
  absl::Status valid = Checked(internal::CheckDeadline("deadline", deadline),
                               internal::CheckUtf8("REQUEST_INVALID", "service", options.service),
                               CheckTrace(options.call));
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
  StartOther(
      "Ping", options.call, deadline, [] { return true; }, std::move(send), std::move(finish));
}

void GrpcClient::WarmAsync(const WarmOptions& options, WarmCallback progress,
                           Callback<WarmProgress> done) {
  const absl::Duration deadline = options.call.deadline.value_or(internal::kWarmDeadlineMax);
  const std::string& ns = options.call.ns.has_value() ? *options.call.ns : options_.ns;
  absl::Status valid =
      Checked(internal::CheckDeadline("deadline", deadline, internal::kWarmDeadlineMax),
              internal::CheckNamespace("namespace", ns), CheckKeys("keys", options.keys),
              CheckType(options.type), CheckTrace(options.call));
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
  StartOther(
      "Warm", options.call, deadline, [state] { return !state->heard; }, std::move(send),
      std::move(finish));
}

std::shared_ptr<WatchCall> GrpcClient::WatchAsync(const WatchOptions& options, WatchCallback each,
                                                  Callback<WatchEnd> done) {
  const absl::Duration deadline = options.call.deadline.value_or(absl::InfiniteDuration());
  const std::string& ns = options.call.ns.has_value() ? *options.call.ns : options_.ns;
  auto state = std::make_shared<internal::WatchState>();
  absl::Status valid = Checked(internal::To(options, &state->request),
                               internal::CheckNamespace("namespace", ns), CheckTrace(options.call));
  if (deadline != absl::InfiniteDuration())
    valid.Update(internal::CheckDeadline("deadline", deadline, internal::kWarmDeadlineMax));
  if (!valid.ok()) {
    internal::CallbackScope scope(this);
    done(std::move(valid));
    return state;
  }
  state->request.set_namespace_(ns);
  state->each = std::move(each);
  auto send = [this, state](size_t target, absl::Duration, grpc::ClientContext* context,
                            std::function<void(grpc::Status)> attempt_done) {
    internal::StartWatch(targets_[target]->cache->async(), context, state, this,
                         std::move(attempt_done));
  };
  auto finish = [state, done = std::move(done)](const absl::Status& status) mutable {
    state->each = nullptr;  // what it holds goes before the client may
    done(internal::WatchOutcome(*state, status));
  };
  StartOther(
      "Watch", options.call, deadline, [] { return false; }, std::move(send), std::move(finish));
  return state;
}

void GrpcClient::ExportDeadLettersAsync(const DeadLetterOptions& options, ExportCallback each,
                                        Callback<DeadLetterCount> done) {
  const absl::Duration deadline = options.call.deadline.value_or(options_.default_deadline);
  auto state = std::make_shared<internal::ExportState>();
  absl::Status valid =
      Checked(internal::To(options.filter, state->request.mutable_filter()),
              internal::CheckDeadline("deadline", deadline, internal::kWarmDeadlineMax),
              CheckTrace(options.call));
  if (!valid.ok()) {
    internal::CallbackScope scope(this);
    done(std::move(valid));
    return;
  }
  state->each = std::move(each);
  auto send = [this, state](size_t target, absl::Duration, grpc::ClientContext* context,
                            std::function<void(grpc::Status)> attempt_done) {
    internal::StartExport(targets_[target]->admin->async(), context, state, this,
                          std::move(attempt_done));
  };
  auto finish = [state, done = std::move(done)](const absl::Status& status) mutable {
    state->each = nullptr;  // what it holds goes before the client may
    done(internal::ExportOutcome(*state, status));
  };
  StartOther(
      "ExportDeadLetters", options.call, deadline, [state] { return state->count.letters == 0; },
      std::move(send), std::move(finish));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options) {
  if (absl::Status status = ValidateClientOptions(options); !status.ok()) return status;
  absl::StatusOr<std::vector<std::string>> targets = internal::SplitTargets(options.target);
  if (!targets.ok()) return targets.status();
  std::unique_ptr<Client> client = std::make_unique<GrpcClient>(options, *targets);
  if (options.batch.window == absl::ZeroDuration()) return client;
  return internal::NewBatchingClient(std::move(client), options);
}

}  // namespace larder
