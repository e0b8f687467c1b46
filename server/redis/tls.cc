// hiredis' own helper for TLS contexts checks who signed a certificate but not whom it names. So
// the OpenSSL objects are made here, with the name to check, and hiredis gets them.

#include "redis/tls.h"

#include "base/strings.h"
#include "redis/resolver.h"

#ifdef LARDER_HIREDIS_SSL
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

namespace larder {

#ifdef LARDER_HIREDIS_SSL

class RedisTls {
 public:
  RedisTls(SSL_CTX* made, std::string name) : context(made), server_name(std::move(name)) {}
  ~RedisTls() { SSL_CTX_free(context); }
  SSL_CTX* const context;
  const std::string server_name;
};

namespace {

absl::Status BadFile(std::string_view what, const std::string& path) {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof(text));
  return absl::InvalidArgumentError(
      StrCat("cannot use ", what, " \"", path, "\": ", std::string_view(text)));
}

}  // namespace

absl::StatusOr<RedisTlsPtr> NewRedisTls(const Redis::Options& options) {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr) return absl::InternalError("cannot make a TLS context");
  RedisTlsPtr tls(new RedisTls(context, options.tls_server_name));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  // The buffer of a repeated write may have moved. Not partial writes: hiredis would move the rest
  // of a large value to the front of its buffer after every record.
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (options.tls_ca_file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1) return BadFile("the CAs of", "the system");
  } else if (SSL_CTX_load_verify_locations(context, options.tls_ca_file.c_str(), nullptr) != 1) {
    return BadFile("the CA file", options.tls_ca_file);
  }
  if (options.tls_cert_file.empty()) return tls;
  if (SSL_CTX_use_certificate_chain_file(context, options.tls_cert_file.c_str()) != 1) {
    return BadFile("the certificate", options.tls_cert_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context, options.tls_key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    return BadFile("the key", options.tls_key_file);
  }
  return tls;
}

absl::StatusOr<ssl_st*> BeginRedisTls(RedisTls* tls, redisContext* context,
                                      const std::string& host) {
  const std::string& name = tls->server_name.empty() ? host : tls->server_name;
  SSL* const ssl = SSL_new(tls->context);
  if (ssl == nullptr) return absl::UnavailableError("TLS: out of memory");
  const bool named = IsIp(name)
                         ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1
                         : SSL_set1_host(ssl, name.c_str()) == 1 &&
                               SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
  if (!named) {
    SSL_free(ssl);
    return absl::UnavailableError(StrCat("TLS: cannot check the name \"", name, "\""));
  }
  // Owns `ssl` from here, unless it fails.
  if (redisInitiateSSL(context, ssl) != REDIS_OK) {
    absl::Status failure = RedisTlsFailure(ssl, context);
    SSL_free(ssl);
    return failure;
  }
  return ssl;
}

void ClearRedisTlsErrors() { ERR_clear_error(); }

// hiredis says what errno happens to be, and OpenSSL knows better.
absl::Status RedisTlsFailure(const ssl_st* ssl, const redisContext* context) {
  std::string why = context->errstr;
  const int64_t verified = SSL_get_verify_result(ssl);
  const auto error = ERR_peek_last_error();
  if (verified != X509_V_OK) {
    why = StrCat("certificate verify failed: ",
                 std::string_view(X509_verify_cert_error_string(verified)));
  } else if (const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error)) {
    why = reason;
  }
  return absl::UnavailableError(StrCat("TLS: ", why));
}

bool RedisTlsWaitsForPeer(const ssl_st* ssl) { return SSL_want_read(ssl); }

#else

class RedisTls {};

absl::StatusOr<RedisTlsPtr> NewRedisTls(const Redis::Options& /*options*/) {
  return absl::InvalidArgumentError(
      "TLS to Redis needs hiredis 1.0 or later with libhiredis_ssl; this larder was built without "
      "it");
}

absl::StatusOr<ssl_st*> BeginRedisTls(RedisTls* /*tls*/, redisContext* /*context*/,
                                      const std::string& /*host*/) {
  return absl::InternalError("TLS without hiredis_ssl");
}
void ClearRedisTlsErrors() {}
absl::Status RedisTlsFailure(const ssl_st* /*ssl*/, const redisContext* /*context*/) {
  return absl::InternalError("TLS without hiredis_ssl");
}
bool RedisTlsWaitsForPeer(const ssl_st* /*ssl*/) { return false; }

#endif

void RedisTlsDeleter::operator()(RedisTls* tls) const { delete tls; }

}  // namespace larder
