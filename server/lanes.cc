// The native lane is the one to expose; the reference lane stays beside it for comparison.

#include "lanes.h"

#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/thread_name.h"
#include "larder/config/v1/config.pb.h"
#include "load_limits.h"
#include "rpc/lane_connections.h"

namespace larder {
namespace {

// How often the files of certificates are looked at.
constexpr absl::Duration kTlsLook = absl::Seconds(10);

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Duration OrNever(absl::Duration duration) {
  return duration == absl::ZeroDuration() ? absl::InfiniteDuration() : duration;
}

ConnectionsOfLanes ConnectionsOf(const config::v1::Config& proto) {
  return DealOutConnections(DescriptorsMax(),
                            {.all = proto.limits().connections(),
                             .of_one_address = proto.limits().connections_per_peer()},
                            /*has_native=*/!proto.listen().native().empty());
}

ReferenceLane::Options ReferenceOptionsFrom(const Config& config, const TlsServer* tls) {
  const config::v1::Config& proto = *config.proto;
  ReferenceLane::Options options;
  options.tls = tls;
  // It asks nobody who they are.
  options.channelz = proto.auth().callers().empty();
  options.address = proto.listen().grpc();
  options.message_bytes_max = proto.limits().message_bytes();
  options.metadata_bytes_max = proto.limits().metadata_bytes();
  options.buffer_bytes_max = BufferBytesOf(config);
  options.streams_max = static_cast<int>(proto.limits().streams());
  const LaneConnections connections = ConnectionsOf(proto).reference;
  options.connections_max = connections.all;
  options.connections_per_peer_max = connections.of_one_address;
  options.keepalive_time = FromProto(proto.connections().keepalive_time());
  options.keepalive_timeout = FromProto(proto.connections().keepalive_timeout());
  options.ping_interval_min = FromProto(proto.connections().ping_interval_min());
  options.connection_age_max = OrNever(FromProto(proto.connections().max_age()));
  options.connection_age_grace = FromProto(proto.connections().max_age_grace());
  options.connection_idle_max = OrNever(FromProto(proto.connections().max_idle()));
  return options;
}

// Has new certificates noticed, as long as the lane stands.
void KeepFresh(std::weak_ptr<TlsServer> tls, Executor* executor) {
  executor->After(kTlsLook, [tls = std::move(tls), executor] {
    const std::shared_ptr<TlsServer> held = tls.lock();
    if (held == nullptr) return;
    const absl::StatusOr<bool> reloaded = held->ReloadIfChanged();
    if (!reloaded.ok()) LogError("certificate_not_reloaded", {{"error", reloaded.status()}});
    if (reloaded.ok() && *reloaded) LogInfo("certificate_reloaded", {});
    KeepFresh(held, executor);
  });
}

NativeLane::Options NativeOptionsFrom(const Config& config, TlsServer* tls) {
  const config::v1::Config& proto = *config.proto;
  NativeLane::Options options;
  options.address = proto.listen().native();
  options.loops = static_cast<int>(proto.listen().loops());
  options.message_bytes_max = proto.limits().message_bytes();
  options.metadata_bytes_max = proto.limits().metadata_bytes();
  options.buffer_bytes_max = proto.limits().buffer_bytes();
  options.buffer_bytes_per_peer_max = PeerBufferBytesOf(config);
  options.streams_max = proto.limits().streams();
  const LaneConnections connections = ConnectionsOf(proto).native;
  options.connections_max = connections.all;
  options.connections_per_peer_max = connections.of_one_address;
  options.proxied = proto.listen().proxy_protocol();
  options.keepalive_time = FromProto(proto.connections().keepalive_time());
  options.keepalive_timeout = FromProto(proto.connections().keepalive_timeout());
  options.ping_interval_min = FromProto(proto.connections().ping_interval_min());
  options.connection_age_max = OrNever(FromProto(proto.connections().max_age()));
  options.connection_age_grace = FromProto(proto.connections().max_age_grace());
  options.connection_idle_max = OrNever(FromProto(proto.connections().max_idle()));
  options.tls = tls;
  return options;
}

}  // namespace

absl::StatusOr<Lanes> Lanes::Start(const Config& config, const MethodTable* methods,
                                   Dispatcher* dispatcher) {
  const config::v1::Config& proto = *config.proto;
  Lanes lanes;
  const config::v1::ListenTls& tls = proto.listen().tls();
  if (tls.certificate_file().empty() != tls.key_file().empty() ||
      (tls.certificate_file().empty() && !tls.client_ca_file().empty())) {
    return absl::InvalidArgumentError(
        "listen.tls takes certificate_file and key_file together, and client_ca_file with them");
  }
  if (!tls.certificate_file().empty()) {
    ASSIGN_OR_RETURN(lanes.tls_, TlsServer::Load({.certificate_file = tls.certificate_file(),
                                                  .key_file = tls.key_file(),
                                                  .client_ca_file = tls.client_ca_file()}));
    KeepFresh(lanes.tls_, dispatcher->executor());
  }
  ASSIGN_OR_RETURN(
      lanes.reference_,
      ReferenceLane::Start(ReferenceOptionsFrom(config, lanes.tls_.get()), methods, dispatcher));
  if (proto.listen().native().empty()) return lanes;
  ASSIGN_OR_RETURN(lanes.native_, NativeLane::Start(NativeOptionsFrom(config, lanes.tls_.get()),
                                                    methods, dispatcher));
  return lanes;
}

std::vector<std::pair<std::string_view, absl::Time>> Lanes::CertificateEnds() const {
  if (tls_ == nullptr) return {};
  const absl::Time end = tls_->pem()->not_after;
  std::vector<std::pair<std::string_view, absl::Time>> ends = {{"reference", end}};
  if (native_ != nullptr) ends.emplace_back("native", end);
  return ends;
}

NativeLane::Stats Lanes::NativeStats() const {
  return native_ == nullptr ? NativeLane::Stats() : native_->GetStats();
}

void Lanes::Log() const {
  LogInfo("lane_listening",
          {{"lane", "reference"}, {"address", reference_->address()}, {"tls", tls_ != nullptr}});
  if (native_ == nullptr) return;
  LogInfo("lane_listening",
          {{"lane", "native"}, {"address", native_->address()}, {"tls", tls_ != nullptr}});
}

void Lanes::SetReady(bool ready) {
  reference_->SetReady(ready);
  if (native_ != nullptr) native_->SetReady(ready);
}

void Lanes::Drain(absl::Duration limit) {
  std::thread native([this, limit] {
    NameThisThread("drain");
    if (native_ != nullptr) native_->Drain(limit);
  });
  reference_->Drain(limit);
  native.join();
}

}  // namespace larder
