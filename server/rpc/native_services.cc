// Health is answered on the loop, like a hit; those who watch are coroutines that wait for a
// change. Reflection walks descriptors under protobuf's lock and may take milliseconds, so it runs
// on the executor. Its answers are the same bytes under both names.

#include "rpc/native_services.h"

#include <optional>

#include "core/error.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "rpc/access_needs.h"
#include "rpc/native_call.h"

namespace larder {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr char kHealth[] = "grpc.health.v1.Health";
constexpr char kReflection[] = "grpc.reflection.v1.ServerReflection";
constexpr char kReflectionAlpha[] = "grpc.reflection.v1alpha.ServerReflection";
constexpr char kReflectionMethod[] = "/ServerReflectionInfo";

std::vector<std::string> With(std::vector<std::string> services) {
  services.insert(services.end(), {kHealth, kReflection});
  std::sort(services.begin(), services.end());
  return services;
}

}  // namespace

NativeServices::NativeServices(Executor* executor, std::vector<std::string> services)
    : executor_(executor), reflection_(With(std::move(services))) {
  const google::protobuf::Message* const request = &HealthCheckRequest::default_instance();
  const google::protobuf::Message* const response = &HealthCheckResponse::default_instance();
  Method& check = Add(std::string("/") + kHealth + "/Check", request, response);
  check.try_now = [this](Call* call, absl::Status* status) { return TryCheck(call, status); };
  Method& watch = Add(std::string("/") + kHealth + "/Watch", request, response);
  watch.streams = true;
  watch.run = [this](Call* call) { return Watch(call); };
  for (const char* service : {kReflection, kReflectionAlpha}) {
    Method& reflect = Add(std::string("/") + service + kReflectionMethod,
                          &ServerReflectionRequest::default_instance(),
                          &ServerReflectionResponse::default_instance());
    reflect.streams = true;
    reflect.run = [this](Call* call) { return Reflect(call); };
    taking_streams_.push_back(&reflect);
  }
}

Method& NativeServices::Add(std::string path, const google::protobuf::Message* request,
                            const google::protobuf::Message* response) {
  Method& method = methods_.emplace_back();
  method.path = std::move(path);
  method.access = OpenAccess();
  method.request = request;
  method.response = response;
  method.latency = std::make_unique<Histogram>();
  method.counters = std::make_unique<CounterBlock>(Method::kCounters);
  return method;
}

std::vector<NativeMethod> NativeServices::methods() const {
  std::vector<NativeMethod> all;
  for (const Method& method : methods_) {
    const bool takes_stream =
        std::find(taking_streams_.begin(), taking_streams_.end(), &method) != taking_streams_.end();
    all.push_back({&method, takes_stream, /*may_be_plain=*/true});
  }
  return all;
}

void NativeServices::SetReady(bool ready) {
  {
    MutexLock lock(&mu_);
    if (ready_ == ready) return;
    ready_ = ready;
  }
  WakeWatchers(/*go_on=*/true);
}

void NativeServices::Drain() {
  {
    MutexLock lock(&mu_);
    draining_ = true;
  }
  WakeWatchers(/*go_on=*/false);
}

void NativeServices::WakeWatchers(bool go_on) {
  std::vector<std::shared_ptr<Signal<bool>>> watchers;
  {
    MutexLock lock(&mu_);
    for (const auto& [id, watcher] : watchers_) watchers.push_back(watcher);
  }
  for (const auto& watcher : watchers) watcher->TrySet(go_on);
}

int NativeServices::StatusOf(const std::string& service) const {
  if (service == "liveness") return HealthCheckResponse::SERVING;
  if (!service.empty() && service != "readiness") return HealthCheckResponse::SERVICE_UNKNOWN;
  MutexLock lock(&mu_);
  return ready_ ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

bool NativeServices::TryCheck(Call* call, absl::Status* status) const {
  const int found = StatusOf(static_cast<const HealthCheckRequest*>(call->request())->service());
  if (found == HealthCheckResponse::SERVICE_UNKNOWN) {
    *status = absl::NotFoundError("service name unknown");
    return true;
  }
  static_cast<HealthCheckResponse*>(call->response())
      ->set_status(static_cast<HealthCheckResponse::ServingStatus>(found));
  return true;
}

Task<absl::Status> NativeServices::Watch(Call* call) {
  const std::string service = static_cast<const HealthCheckRequest*>(call->request())->service();
  std::optional<int> told;
  while (true) {
    const auto changed = std::make_shared<Signal<bool>>(executor_);
    uint64_t id = 0;
    bool go_on = false;
    {
      MutexLock lock(&mu_);
      id = next_watcher_++;
      watchers_[id] = changed;
      go_on = !draining_;
    }
    if (go_on) {
      call->cancellation().OnCancel([changed] { changed->TrySet(false); });
      const int now = StatusOf(service);
      if (told != now) {
        HealthCheckResponse response;
        response.set_status(static_cast<HealthCheckResponse::ServingStatus>(now));
        co_await call->Send(response);
        told = now;
      }
      go_on = co_await *changed;
    }
    {
      MutexLock lock(&mu_);
      watchers_.erase(id);
    }
    if (!go_on) co_return Error(Reason::kDRAINING, "the server shuts down");
  }
}

Task<absl::Status> NativeServices::Reflect(Call* call) {
  auto* const stream = static_cast<NativeCall*>(call);
  while (true) {
    const std::optional<std::string> message = co_await stream->Receive();
    if (!message.has_value()) co_return absl::OkStatus();
    ServerReflectionRequest request;
    if (!request.ParseFromString(*message)) {
      co_return Error(Reason::kMESSAGE_MALFORMED, "the question is no ServerReflectionRequest");
    }
    const ServerReflectionResponse response = reflection_.Answer(request);
    const bool sent = co_await stream->Send(response);
    if (!sent) co_return absl::CancelledError("the caller has gone");
  }
}

}  // namespace larder
