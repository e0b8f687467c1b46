#include "rpc/health_probe.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "base/strings.h"
#include "grpc/health/v1/health.pb.h"

namespace larder {
namespace {

std::string TextOf(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const ProbeTls& tls) {
  if (!tls.on) return grpc::InsecureChannelCredentials();
  namespace ge = grpc::experimental;
  ge::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<ge::NoOpCertificateVerifier>());
  if (!tls.certificate_file.empty()) {
    const std::vector<ge::IdentityKeyCertPair> shown = {
        {TextOf(tls.key_file), TextOf(tls.certificate_file)}};
    options.set_certificate_provider(std::make_shared<ge::StaticDataCertificateProvider>(shown));
    options.watch_identity_key_cert_pairs();
  }
  return ge::TlsCredentials(options);
}

}  // namespace

absl::Status ProbeHealth(const std::string& address, const std::string& service,
                         absl::Duration limit, const ProbeTls& tls) {
  using grpc::health::v1::HealthCheckRequest;
  using grpc::health::v1::HealthCheckResponse;
  const std::shared_ptr<grpc::Channel> channel = grpc::CreateChannel(address, CredentialsOf(tls));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
  context.set_wait_for_ready(true);
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                         grpc::internal::RpcMethod::NORMAL_RPC, channel);
  const grpc::Status status =
      grpc::internal::BlockingUnaryCall<HealthCheckRequest, HealthCheckResponse>(
          channel.get(), method, &context, request, &response);
  if (!status.ok()) {
    return absl::UnavailableError(StrCat(address, " does not answer: ", status.error_message()));
  }
  if (response.status() != HealthCheckResponse::SERVING) {
    return absl::UnavailableError(StrCat(address, " answers, but is not ready to serve"));
  }
  return absl::OkStatus();
}

}  // namespace larder
