// Methods are registered as raw: gRPC hands over the bytes and takes bytes. That gives this file
// what the generated services do not: a request that cannot be parsed gets a typed error (they
// answer UNIMPLEMENTED), messages live on an arena, and the response is serialized once into its
// final buffer. It uses the same registration calls that generated code uses, which are public for
// that reason only; Debian's 1.51 is the version it is written for.
//
// Two statuses are made below this file, without details: gRPC's own for a message beyond its hard
// limit, which lies above message_bytes_max so that ordinary offenders still get ours, and for
// metadata over the limit.
//
// A little long, because all that is made of gRPC's templates stands together.

#include "rpc/reference_lane.h"

#include <grpc/support/log.h>
#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "base/log.h"
#include "base/strings.h"
#include "core/error.h"
#include "rpc/attached_value.h"
#include "rpc/reference_acceptor.h"
#include "rpc/reference_tls.h"
#include "rpc/reflection.h"
#include "rpc/wire_status.h"

namespace larder {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

// How far gRPC's own limit lies above ours.
constexpr uint64_t kMessageSlackBytes = 4 << 20;
// gRPC forgives a connection without calls two pings that come too soon, in all its life. Those
// of a client that pings as often as it may come late and early by turns.
constexpr double kPingIntervalShare = 0.8;

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(WireCode(status)), WireMessage(status),
                      StatusDetails(status));
}

// What is left until `deadline`, on our clock. gRPC gives it on its own, which is the system's
// monotonic one.
MonoNanos DeadlineFrom(const gpr_timespec& deadline, MonoNanos now) {
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) return INT64_MAX;
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return MonoAfter(now, absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec));
}

// The bytes of `value`, held until gRPC has sent them or given them up.
grpc::Slice SliceOf(SharedBytes value) {
  const std::string_view bytes = value.view();
  const auto let_go = [](void* detached) {
    SharedBytes::Adopt(reinterpret_cast<uint64_t>(detached));
  };
  // gRPC does not write to the slices that it sends.
  return grpc::Slice(const_cast<char*>(bytes.data()), bytes.size(), let_go,
                     reinterpret_cast<void*>(value.Detach()));
}

// What calls with one answer and calls with a stream of them have in common.
template <typename Reactor>
class GrpcCallOf : public Call, public Reactor {
 public:
  GrpcCallOf(const Method* method, grpc::CallbackServerContext* context, Dispatcher* dispatcher)
      : Call(method), context_(context), dispatcher_(dispatcher) {}

  void Start(const grpc::ByteBuffer& in, uint64_t message_bytes_max) {
    started_ = dispatcher_->clock()->Mono();
    deadline_ = DeadlineFrom(context_->raw_deadline(), started_);
    // Whoever writes a refused call down looks at them.
    MakeMessages();
    if (in.Length() > message_bytes_max) {
      return dispatcher_->Refuse(
          this, Error(Reason::kMESSAGE_TOO_LARGE,
                      StrCat("the message is ", in.Length(), " bytes; at most ", message_bytes_max,
                             " (limits.message_bytes)")));
    }
    if (dispatcher_->admission() != nullptr) {
      const absl::Status held = Hold(in, /*is_done=*/false, &request_held_);
      if (!held.ok()) return dispatcher_->Refuse(this, held);
    }
    if (!Parse(in)) {
      return dispatcher_->Refuse(
          this, Error(Reason::kMESSAGE_MALFORMED,
                      StrCat("the request is no valid ", request_->GetTypeName())));
    }
    dispatcher_->Run(this);
  }

  std::string_view Metadata(std::string_view name) const override {
    const auto& all = context_->client_metadata();
    const auto it = all.find(grpc::string_ref(name.data(), name.size()));
    if (it == all.end()) return {};
    return {it->second.data(), it->second.size()};
  }

  std::string_view PeerName() const override {
    if (!peer_name_.has_value()) peer_name_ = NameOf(*context_->auth_context());
    return *peer_name_;
  }

  // gRPC says `ipv4:127.0.0.1:40312`, and `ipv6:%5B::1%5D:40312`.
  std::string PeerAddress() const override {
    const std::string peer = context_->peer();
    return absl::StrReplaceAll(peer.substr(peer.find(':') + 1), {{"%5B", "["}, {"%5D", "]"}});
  }

 protected:
  static grpc::ByteBuffer Serialized(const google::protobuf::Message& message) {
    grpc::Slice slice(message.ByteSizeLong());
    message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
    return {&slice, 1};
  }

  void OnCancel() override { cancellation_.Cancel(); }

  void OnDone() override {
    if (undelivered_ && context_->IsCancelled()) undelivered_();
    if (Admission* const admission = dispatcher_->admission(); admission != nullptr) {
      admission->LetGo(&request_held_);
      admission->LetGo(&reply_held_);
    }
    delete this;
  }

  // The call holds what is to be sent, too. Not OK: there is no room for it. REQUIRES: what it sent
  // before is let go.
  absl::Status HoldReply(const grpc::ByteBuffer& out) {
    if (dispatcher_->admission() == nullptr) return absl::OkStatus();
    return Hold(out, /*is_done=*/!method_->repeatable && !method_->streams, &reply_held_);
  }
  void LetReplyGo() {
    if (Admission* const admission = dispatcher_->admission(); admission != nullptr)
      admission->LetGo(&reply_held_);
  }

  grpc::CallbackServerContext* const context_;
  Dispatcher* const dispatcher_;

 private:
  // Of the certificate, by the rule of the native lane: the first URI, else the first DNS name,
  // else the common name.
  static std::string NameOf(const grpc::AuthContext& peer) {
    for (const char* const property :
         {GRPC_PEER_URI_PROPERTY_NAME, GRPC_PEER_DNS_PROPERTY_NAME, GRPC_X509_CN_PROPERTY_NAME}) {
      for (const grpc::string_ref& name : peer.FindPropertyValues(property)) {
        if (!name.empty()) return {name.data(), name.size()};
      }
    }
    return "";
  }

  // What has been done is told whatever there is: refused, it would be done once more. And what is
  // never refused for load is not for a small message either.
  absl::Status Hold(const grpc::ByteBuffer& message, bool is_done, Admission::Held* held) {
    Admission* const admission = dispatcher_->admission();
    const uint64_t bytes = message.Length();
    std::string peer = admission->counts_peer_of(bytes) ? PeerHost() : "";
    if (!is_done && (method_->call_class.has_value() || bytes >= Admission::kSmallBytes))
      return admission->Hold(std::move(peer), bytes, held);
    admission->HoldAnyway(std::move(peer), bytes, held);
    return absl::OkStatus();
  }

  bool Parse(const grpc::ByteBuffer& in) {
    grpc::Slice slice;
    if (!in.TrySingleSlice(&slice).ok() && !in.DumpToSingleSlice(&slice).ok()) return false;
    return request_->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
  }

  Admission::Held request_held_;
  Admission::Held reply_held_;
  // Worked out when it is first asked for: on the lane's thread, or by the handler of a stream.
  mutable std::optional<std::string> peer_name_;
};

class GrpcCall : public GrpcCallOf<grpc::ServerUnaryReactor> {
 public:
  GrpcCall(const Method* method, grpc::CallbackServerContext* context, grpc::ByteBuffer* out,
           Dispatcher* dispatcher)
      : GrpcCallOf(method, context, dispatcher), out_(out) {}

  void Answer(const absl::Status& status) override {
    if (!status.ok()) return Finish(ToGrpc(status));
    Serialize();
    const absl::Status held = HoldReply(*out_);
    if (held.ok()) return Finish(grpc::Status::OK);
    out_->Clear();
    if (Work undelivered = std::exchange(undelivered_, nullptr)) undelivered();
    Finish(ToGrpc(held));
  }

 private:
  void Serialize() {
    if (attached_) {
      const AttachedHead head(*response_, attached_.view().size());
      grpc::Slice head_slice(head.size());
      head.WriteTo(const_cast<uint8_t*>(head_slice.begin()));
      const std::array<grpc::Slice, 2> slices = {std::move(head_slice),
                                                 SliceOf(std::move(attached_))};
      *out_ = grpc::ByteBuffer(slices.data(), slices.size());
    } else if (!attached_view_.empty()) {
      const AttachedHead head(*response_, attached_view_.size());
      const grpc::Slice slice(head.size() + attached_view_.size());
      auto* const to = const_cast<uint8_t*>(slice.begin());
      head.WriteTo(to);
      std::memcpy(to + head.size(), attached_view_.data(), attached_view_.size());
      *out_ = grpc::ByteBuffer(&slice, 1);
    } else {
      *out_ = Serialized(*response_);
    }
  }

  // None of the callbacks blocks, so gRPC may run them where it is instead of waking a thread of
  // its own for them: without this every call costs a context switch.
  bool InternalInlineable() override { return true; }

  grpc::ByteBuffer* const out_;
};

class GrpcStream : public GrpcCallOf<grpc::ServerWriteReactor<grpc::ByteBuffer>> {
 public:
  using GrpcCallOf::GrpcCallOf;

  Task<bool> Send(const google::protobuf::Message& message) override {
    out_ = Serialized(message);
    refused_ = HoldReply(out_);
    return refused_.ok() ? SendOut() : NotSent();
  }

  void Answer(const absl::Status& status) override {
    Finish(ToGrpc(refused_.ok() ? status : refused_));
  }

 private:
  Task<bool> SendOut() {
    const auto sent = std::make_shared<Signal<bool>>(dispatcher_->executor());
    sent_ = sent;
    StartWrite(&out_);
    co_return co_await *sent;
  }
  void OnWriteDone(bool ok) override {
    // What waits for something to tell holds nothing.
    out_.Clear();
    LetReplyGo();
    // Held here: the handler may end the call before TrySet has returned.
    const std::shared_ptr<Signal<bool>> sent = std::move(sent_);
    sent->TrySet(ok);
  }

  grpc::ByteBuffer out_;
  absl::Status refused_;  // the message that there was no room for
  std::shared_ptr<Signal<bool>> sent_;
};

// One service of the method table.
class TableService : public grpc::Service {
 public:
  TableService(const std::vector<const Method*>& methods, uint64_t message_bytes_max,
               Dispatcher* dispatcher) {
    for (size_t i = 0; i < methods.size(); ++i) {
      const Method* const method = methods[i];
      const auto kind = method->streams ? grpc::internal::RpcMethod::SERVER_STREAMING
                                        : grpc::internal::RpcMethod::NORMAL_RPC;
      AddMethod(new grpc::internal::RpcServiceMethod(method->path.c_str(), kind, nullptr));
      grpc::internal::MethodHandler* handler = nullptr;
      if (method->streams) {
        handler =
            new grpc::internal::CallbackServerStreamingHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                [method, message_bytes_max, dispatcher](
                    grpc::CallbackServerContext* context,
                    const grpc::ByteBuffer* in) -> grpc::ServerWriteReactor<grpc::ByteBuffer>* {
                  auto* const call = new GrpcStream(method, context, dispatcher);
                  call->Start(*in, message_bytes_max);
                  return call;
                });
      } else {
        handler = new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
            [method, message_bytes_max, dispatcher](
                grpc::CallbackServerContext* context, const grpc::ByteBuffer* in,
                grpc::ByteBuffer* out) -> grpc::ServerUnaryReactor* {
              auto* const call = new GrpcCall(method, context, out, dispatcher);
              call->Start(*in, message_bytes_max);
              return call;
            });
      }
      MarkMethodRawCallback(static_cast<int>(i), handler);
    }
  }
};

class ReflectionStream
    : public grpc::ServerBidiReactor<ServerReflectionRequest, ServerReflectionResponse> {
 public:
  explicit ReflectionStream(const Reflection* reflection) : reflection_(reflection) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_ = reflection_->Answer(request_);
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  const Reflection* const reflection_;
  ServerReflectionRequest request_;
  ServerReflectionResponse response_;
};

// Reflection under one of its two names.
class ReflectionService : public grpc::Service {
 public:
  ReflectionService(const char* path, const Reflection* reflection) {
    AddMethod(new grpc::internal::RpcServiceMethod(path, grpc::internal::RpcMethod::BIDI_STREAMING,
                                                   nullptr));
    MarkMethodCallback(
        0,
        new grpc::internal::CallbackBidiHandler<ServerReflectionRequest, ServerReflectionResponse>(
            [reflection](grpc::CallbackServerContext*) {
              return new ReflectionStream(reflection);
            }));
  }
};

// Answers methods that nobody registered.
class UnknownMethods : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Reactor : public grpc::ServerGenericBidiReactor {
     public:
      explicit Reactor(const std::string& method) {
        Finish(
            ToGrpc(Error(Reason::kMETHOD_UNKNOWN,
                         StrCat("there is no method ", absl::CHexEscape(method.substr(0, 200))))));
      }
      void OnDone() override { delete this; }
    };
    return new Reactor(context->method());
  }
};

int Millis(absl::Duration duration) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(duration), INT32_MAX));
}

void Configure(const ReferenceLane::Options& options, grpc::ServerBuilder* builder) {
  grpc::ResourceQuota quota("larder");
  quota.Resize(options.buffer_bytes_max);
  builder->SetResourceQuota(quota);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.streams_max);
  builder->SetMaxReceiveMessageSize(
      static_cast<int>(options.message_bytes_max + kMessageSlackBytes));
  builder->SetMaxSendMessageSize(-1);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                              static_cast<int>(options.metadata_bytes_max));
  // gRPC inflates a message before it looks at its size, so a small one could fill the memory.
  builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive_time));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Millis(options.keepalive_timeout));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Millis(options.ping_interval_min * kPingIntervalShare));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Millis(options.connection_age_max));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                              Millis(options.connection_age_grace));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Millis(options.connection_idle_max));
}

class ReferenceLaneImpl : public ReferenceLane {
 public:
  ReferenceLaneImpl(const MethodTable* methods, uint64_t message_bytes_max, Dispatcher* dispatcher)
      : reflection_(ServiceNames(*methods)) {
    std::map<std::string, std::vector<const Method*>> by_service;
    for (const Method& method : methods->methods()) by_service[method.service].push_back(&method);
    for (const auto& [name, list] : by_service) {
      services_.push_back(std::make_unique<TableService>(list, message_bytes_max, dispatcher));
    }
    for (const char* path : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                             "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
      services_.push_back(std::make_unique<ReflectionService>(path, &reflection_));
    }
  }
  ~ReferenceLaneImpl() override { Drain(absl::ZeroDuration()); }

  absl::Status Listen(const Options& options) {
    grpc::EnableDefaultHealthCheckService(true);
    if (options.channelz) grpc::channelz::experimental::InitChannelzService();
    auto acceptor =
        ReferenceAcceptor::Listen({.address = options.address,
                                   .connections_max = options.connections_max,
                                   .connections_per_peer_max = options.connections_per_peer_max,
                                   .unconfirmed_max = options.keepalive_timeout});
    if (!acceptor.ok()) return acceptor.status();
    grpc::ServerBuilder builder;
    Configure(options, &builder);
    credentials_ =
        options.tls == nullptr ? grpc::InsecureServerCredentials() : NewReferenceTls(options.tls);
    using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
    connections_ =
        builder.experimental().AddExternalConnectionAcceptor(Type::FROM_FD, credentials_);
    for (const auto& service : services_) builder.RegisterService(service.get());
    builder.RegisterCallbackGenericService(&unknown_methods_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr)
      return absl::UnavailableError(StrCat("gRPC cannot serve ", options.address));
    acceptor_ = *std::move(acceptor);
    acceptor_->Start([this, listening = acceptor_->fd()](int fd) {
      grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
      connection.listener_fd = listening;
      connection.fd = fd;
      connections_->HandleNewConnection(&connection);
    });
    server_->GetHealthCheckService()->SetServingStatus("liveness", true);
    SetReady(false);
    return absl::OkStatus();
  }

  std::string address() const override { return acceptor_->address(); }

  Stats GetStats() const override {
    return {acceptor_->connections(), acceptor_->accepted(), acceptor_->refused()};
  }

  void SetReady(bool ready) override {
    server_->GetHealthCheckService()->SetServingStatus("", ready);
    server_->GetHealthCheckService()->SetServingStatus("readiness", ready);
  }

  void Drain(absl::Duration limit) override {
    if (server_ == nullptr || std::exchange(drained_, true)) return;
    SetReady(false);
    acceptor_->Stop();
    server_->Shutdown(absl::ToChronoTime(absl::Now() + limit));
    server_->Wait();
  }

 private:
  static std::vector<std::string> ServiceNames(const MethodTable& methods) {
    std::set<std::string> names{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"};
    for (const Method& method : methods.methods()) names.insert(method.service);
    return {names.begin(), names.end()};
  }

  const Reflection reflection_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  UnknownMethods unknown_methods_;
  bool drained_ = false;
  // Handshakes use them until the server is gone.
  std::shared_ptr<grpc::ServerCredentials> credentials_;
  std::unique_ptr<grpc::Server> server_;
  // Where the server takes connections that the acceptor has accepted.
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  std::unique_ptr<ReferenceAcceptor> acceptor_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ReferenceLane>> ReferenceLane::Start(const Options& options,
                                                                    const MethodTable* methods,
                                                                    Dispatcher* dispatcher) {
  // What gRPC says of clients it would write itself, without a bound, and block where nobody reads.
  gpr_set_log_function([](gpr_log_func_args* said) {
    LogWarning("grpc_says", {{"message", said->message}, {"file", said->file}});
  });
  auto lane = std::make_unique<ReferenceLaneImpl>(methods, options.message_bytes_max, dispatcher);
  const absl::Status listening = lane->Listen(options);
  if (!listening.ok()) return listening;
  return lane;
}

}  // namespace larder
