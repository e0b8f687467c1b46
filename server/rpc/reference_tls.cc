// gRPC asks before each handshake whether there is a new certificate, which is a comparison of two
// pointers. Its C++ interface has no word for that: what it offers is to look at files every few
// seconds by itself, and it then takes a new certificate with the old key. Its C interface has one,
// and a subclass of ServerCredentials hands the result of that to a C++ server, as gRPC's own ones
// do.

#include "rpc/reference_tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>

#include <string>
#include <utility>

#include "base/mutex.h"

namespace larder {
namespace {

class ReferenceTls final : public grpc::ServerCredentials {
 public:
  explicit ReferenceTls(const TlsServer* tls) : tls_(tls) {
    const auto clients = tls->pem()->client_ca.empty()
                             ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                             : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(clients, Fetch, this));
  }
  ~ReferenceTls() override { grpc_server_credentials_release(credentials_); }

  // Only callers of ours set one, and none does.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<ReferenceTls*>(self)->FetchNew(config);
  }

  grpc_ssl_certificate_config_reload_status FetchNew(grpc_ssl_server_certificate_config** config) {
    std::shared_ptr<const TlsPem> pem = tls_->pem();
    MutexLock lock(&mu_);
    if (pem == given_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {pem->key.c_str(), pem->certificate.c_str()};
    // gRPC wants roots also where clients are not asked for certificates, and then does not use
    // them.
    const std::string& roots = pem->client_ca.empty() ? pem->certificate : pem->client_ca;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    given_ = std::move(pem);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const TlsServer* const tls_;
  grpc_server_credentials* credentials_ = nullptr;
  Mutex mu_;
  std::shared_ptr<const TlsPem> given_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> NewReferenceTls(const TlsServer* tls) {
  return std::make_shared<ReferenceTls>(tls);
}

}  // namespace larder
