// The files are watched by gRPC, which looks at them every few seconds: a client lives longer than
// many a certificate. In the moment between two files of a pair it may take one without the other;
// handshakes then fail until its next look, and the client connects again.

#include "client/src/tls.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/src/status.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace larder::internal {
namespace {

constexpr unsigned kLookSeconds = 10;

absl::Status Readable(absl::string_view field, const std::string& file) {
  if (file.empty() || access(file.c_str(), R_OK) == 0) return absl::OkStatus();
  return FieldError("REQUEST_INVALID", field,
                    absl::StrCat("cannot read ", file, ": ", std::strerror(errno)));
}

}  // namespace

absl::Status CheckTls(const TlsOptions& tls) {
  const bool any = !tls.ca_file.empty() || !tls.certificate_file.empty() || !tls.key_file.empty() ||
                   !tls.server_name.empty();
  if (!tls.enabled && any)
    return FieldError("REQUEST_INVALID", "tls", "tls says how, but tls.enabled is false");
  if (tls.certificate_file.empty() != tls.key_file.empty()) {
    return FieldError("REQUEST_INVALID", "tls.key_file",
                      "tls.certificate_file and tls.key_file go together");
  }
  for (const auto& [field, file] : {std::pair("tls.ca_file", &tls.ca_file),
                                    std::pair("tls.certificate_file", &tls.certificate_file),
                                    std::pair("tls.key_file", &tls.key_file)}) {
    if (absl::Status status = Readable(field, *file); !status.ok()) return status;
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::ChannelCredentials> ChannelCredentials(const TlsOptions& tls) {
  namespace ge = grpc::experimental;
  if (!tls.enabled) return grpc::InsecureChannelCredentials();
  ge::TlsChannelCredentialsOptions options;
  const bool pair = !tls.certificate_file.empty();
  if (pair || !tls.ca_file.empty()) {
    options.set_certificate_provider(std::make_shared<ge::FileWatcherCertificateProvider>(
        tls.key_file, tls.certificate_file, tls.ca_file, kLookSeconds));
  }
  if (!tls.ca_file.empty()) options.watch_root_certs();
  if (pair) options.watch_identity_key_cert_pairs();
  return ge::TlsCredentials(options);
}

bool IsThisMachine(const std::string& target) {
  absl::string_view host = target;
  if (absl::StartsWith(host, "unix:") || absl::StartsWith(host, "unix-abstract:")) return true;
  // Several addresses of one target.
  if (absl::StrContains(host, ",")) return false;
  if (absl::ConsumePrefix(&host, "dns:")) {
    // `dns://AUTHORITY/HOST`: who is asked for the address may say anything.
    if (absl::ConsumePrefix(&host, "//") && !absl::ConsumePrefix(&host, "/")) return false;
  } else if (!absl::ConsumePrefix(&host, "ipv4:")) {
    absl::ConsumePrefix(&host, "ipv6:");
  }
  if (absl::StartsWith(host, "[::1]") || host == "::1") return true;
  host = host.substr(0, host.find(':'));
  if (host == "localhost") return true;
  // 127.*, and not a name that begins so.
  return absl::StartsWith(host, "127.") &&
         host.find_first_not_of("0123456789.") == absl::string_view::npos;
}

}  // namespace larder::internal
