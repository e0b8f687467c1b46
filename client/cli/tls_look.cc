#include "client/cli/tls_look.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder::cli {
namespace {

template <typename T, void (*kFree)(T*)>
struct Freed {
  void operator()(T* what) const { kFree(what); }
};
using Context = std::unique_ptr<SSL_CTX, Freed<SSL_CTX, SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Freed<SSL, SSL_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES, GENERAL_NAMES_free>>;

std::string LastError() {
  const unsigned long code = ERR_peek_last_error();
  const char* const reason = ERR_reason_error_string(code);
  return reason == nullptr ? "the connection was closed" : reason;
}

std::string Text(const X509_NAME* name) {
  char* const line = X509_NAME_oneline(name, nullptr, 0);
  std::string text = line == nullptr ? "" : line;
  OPENSSL_free(line);
  return text;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::vector<std::string> NamesOf(X509* certificate) {
  std::vector<std::string> all;
  const Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      all.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      const ASN1_OCTET_STRING* const bytes = name->d.iPAddress;
      char text[64] = {};
      const int family = ASN1_STRING_length(bytes) == 4 ? 2 /* AF_INET */ : 10 /* AF_INET6 */;
      const unsigned char* const data = ASN1_STRING_get0_data(bytes);
      std::string shown;
      for (int k = 0; k < ASN1_STRING_length(bytes); ++k) {
        if (k > 0 && (family == 2 || k % 2 == 0)) shown += family == 2 ? "." : ":";
        std::snprintf(text, sizeof text, family == 2 ? "%u" : "%02x", data[k]);
        shown += text;
      }
      all.push_back(shown);
    }
  }
  return all;
}

absl::Status Handshake(SSL* ssl, int fd, const Endpoint& endpoint, absl::Time until) {
  while (true) {
    ERR_clear_error();
    const int done = SSL_connect(ssl);
    if (done == 1) return absl::OkStatus();
    const int error = SSL_get_error(ssl, done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      if (!WaitFor(fd, error == SSL_ERROR_WANT_WRITE, until)) {
        return absl::DeadlineExceededError(
            absl::StrCat(endpoint.text, ": no answer to the TLS handshake"));
      }
      continue;
    }
    return absl::UnavailableError(absl::StrCat(endpoint.text, ": no TLS: ", LastError()));
  }
}

}  // namespace

absl::StatusOr<TlsLook> LookAtTls(const Endpoint& endpoint, const std::string& host,
                                  const std::string& ca_file, absl::Time until) {
  const Context context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) return absl::InternalError("OpenSSL has no context for us");
  // Looks at what cannot be trusted, too, and says so.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  if (ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else if (SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", ca_file, ": ", LastError()));
  }
  const absl::StatusOr<Socket> socket = ConnectTo(endpoint, until);
  if (!socket.ok()) return socket.status();
  const Connection ssl(SSL_new(context.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), socket->fd()) != 1)
    return absl::InternalError("OpenSSL has no connection for us");
  const unsigned char h2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl.get(), h2, sizeof h2);
  SSL_set_tlsext_host_name(ssl.get(), host.c_str());
  if (absl::Status status = Handshake(ssl.get(), socket->fd(), endpoint, until); !status.ok())
    return status;

  TlsLook look;
  look.protocol = SSL_get_version(ssl.get());
  const unsigned char* chosen = nullptr;
  unsigned int chosen_size = 0;
  SSL_get0_alpn_selected(ssl.get(), &chosen, &chosen_size);
  look.h2 = chosen_size == 2 && chosen[0] == 'h' && chosen[1] == '2';
  const Certificate certificate(SSL_get1_peer_certificate(ssl.get()));
  if (certificate == nullptr)
    return absl::UnavailableError(absl::StrCat(endpoint.text, " shows no certificate"));
  look.subject = Text(X509_get_subject_name(certificate.get()));
  look.issuer = Text(X509_get_issuer_name(certificate.get()));
  look.names = NamesOf(certificate.get());
  look.not_before = TimeOf(X509_get0_notBefore(certificate.get()));
  look.not_after = TimeOf(X509_get0_notAfter(certificate.get()));
  look.for_host = X509_check_host(certificate.get(), host.data(), host.size(), 0, nullptr) == 1 ||
                  X509_check_ip_asc(certificate.get(), host.c_str(), 0) == 1;
  if (const long verified = SSL_get_verify_result(ssl.get()); verified != X509_V_OK)
    look.untrusted = X509_verify_cert_error_string(verified);
  return look;
}

}  // namespace larder::cli
