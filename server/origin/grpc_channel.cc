// gRPC's defaults are made for another case: a client without a guard, which may wait. Repeating is
// the guard's; and a channel that backs off for up to two minutes would fail the breaker's probes
// long after the service is back. So it tries to connect every 400 ms at the longest, which is one
// TCP handshake, and the first probe after the service's return finds a connection.
//
// Balancing is round robin over the addresses of the target, so that a headless service in
// Kubernetes is used as a whole; with one address that is the same as picking the first.
//
// Keepalive pings are sent while calls are under way only: servers close the connections of clients
// that ping more than they like. They, and the TCP time-out that gRPC sets along with them, find a
// peer that has vanished without a word.

#include "origin/grpc_channel.h"

#include <grpcpp/grpcpp.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "base/status.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr size_t kMetadataMax = 32;
constexpr size_t kMetadataBytesMax = 4'096;
constexpr int kChannelsMax = 64;

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(StrCat("cannot read ", path));
  }
  if (text.str().find("-----BEGIN") == std::string::npos) {
    return absl::InvalidArgumentError(StrCat(path, " is no PEM file"));
  }
  return text.str();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const GrpcOriginOptions::Tls& tls) {
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return absl::InvalidArgumentError("a client certificate needs both cert_file and key_file");
  }
  grpc::SslCredentialsOptions pem;
  ASSIGN_OR_RETURN(pem.pem_root_certs, ReadPem(tls.ca_file));
  ASSIGN_OR_RETURN(pem.pem_cert_chain, ReadPem(tls.cert_file));
  ASSIGN_OR_RETURN(pem.pem_private_key, ReadPem(tls.key_file));
  return grpc::SslCredentials(pem);
}

grpc::ChannelArguments Arguments(const GrpcOriginOptions& options) {
  grpc::ChannelArguments args;
  const int message_bytes = static_cast<int>(options.message_bytes_max);
  args.SetMaxReceiveMessageSize(message_bytes);
  args.SetMaxSendMessageSize(message_bytes);
  args.SetUserAgentPrefix("larder-origin/" + options.name);
  args.SetLoadBalancingPolicyName("round_robin");
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);  // what one attempt may take
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 400);
  args.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 5'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  // Channels do not share a connection, nor origins its state of backing off.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // A service config from DNS must not change what the options say.
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  if (options.tls.enabled && !options.tls.server_name.empty()) {
    args.SetSslTargetNameOverride(options.tls.server_name);
  }
  return args;
}

}  // namespace

absl::Status CheckMetadata(const std::string& key, const std::string& value) {
  if (key.empty() || key.size() > kMetadataBytesMax || value.size() > kMetadataBytesMax) {
    return absl::InvalidArgumentError(
        StrCat("metadata needs a name, and at most ", kMetadataBytesMax, " bytes for each part"));
  }
  for (const char c : key) {
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!allowed) {
      return absl::InvalidArgumentError(
          StrCat("metadata \"", key, "\": names are made of a-z, 0-9, '-', '_' and '.'"));
    }
  }
  if (key.rfind("grpc-", 0) == 0 || key == "te" || key == "content-type" || key == "user-agent") {
    return absl::InvalidArgumentError(StrCat("metadata \"", key, "\" is gRPC's own"));
  }
  if (key.size() >= 4 && key.compare(key.size() - 4, 4, "-bin") == 0) return absl::OkStatus();
  for (const char c : value) {
    if (c < ' ' || c > '~') {
      return absl::InvalidArgumentError(
          StrCat("metadata \"", key, "\": the value has characters other than printable ASCII"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> NewGrpcChannels(
    const GrpcOriginOptions& options) {
  if (options.target.empty()) return absl::InvalidArgumentError("a gRPC origin needs a target");
  if (options.channels < 1 || options.channels > kChannelsMax) {
    return absl::InvalidArgumentError(
        StrCat(options.channels, " channels; 1 to ", kChannelsMax, " are possible"));
  }
  if (options.message_bytes_max > (size_t{1} << 30)) {
    return absl::InvalidArgumentError("messages of more than 1 GiB are not possible");
  }
  if (options.metadata.size() > kMetadataMax) {
    return absl::InvalidArgumentError(
        StrCat(options.metadata.size(), " metadata; at most ", kMetadataMax));
  }
  for (const auto& [key, value] : options.metadata) RETURN_IF_ERROR(CheckMetadata(key, value));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   Credentials(options.tls));
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < options.channels; ++i) {
    channels.push_back(grpc::CreateCustomChannel(options.target, credentials, Arguments(options)));
  }
  return channels;
}

}  // namespace larder
