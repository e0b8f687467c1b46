// Records are filled before they are sealed: the pieces of a turn's output are copied together into
// records of 16 KiB, so that a turn costs as many records, and system calls, as it has bytes, not
// frames. What OpenSSL has sealed but could not send it wants to see again: the caller keeps its
// bytes at the front and only ever adds to them, which is what the two modes below allow.
//
// All files are read first and then judged together, so that what is in use is one state of them,
// for both lanes. A pair that does not fit, as in the middle of an exchange file by file, is left,
// and tried again at the next look.
//
// Connections at rest give their buffers back (SSL_MODE_RELEASE_BUFFERS), resumption is by tickets
// that the server does not have to keep, and nothing is renegotiated.

#include "rpc/native_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/mutex.h"
#include "base/status.h"
#include "base/strings.h"
#include "rpc/native_socket.h"

namespace larder {
namespace {

constexpr size_t kRecordBytes = 16 << 10;

struct FreeContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using Context = std::unique_ptr<SSL_CTX, FreeContext>;

// The oldest error that OpenSSL has noted, in words; the others are dropped.
std::string WhatOpenSslSays() {
  const unsigned long code = ERR_get_error();  // NOLINT(google-runtime-int): OpenSSL's type
  ERR_clear_error();
  const char* const reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "it cannot be used" : reason;
}

int ChooseH2(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
             unsigned int in_size, void*) {
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  const int chosen = SSL_select_next_proto(const_cast<unsigned char**>(out), out_size, kH2,
                                           sizeof(kH2), in, in_size);
  return chosen == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeX509 {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;
using Certificate = std::unique_ptr<X509, FreeX509>;
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

Bio BioOf(const std::string& pem) {
  return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
}

// There is nobody to ask for the password of a key.
int NoPassword(char*, int, int, void*) { return -1; }

// Empty: there is none, or what stands there is none.
std::vector<Certificate> CertificatesOf(const std::string& pem) {
  const Bio bio = BioOf(pem);
  std::vector<Certificate> all;
  while (X509* const one = PEM_read_bio_X509(bio.get(), nullptr, NoPassword, nullptr))
    all.emplace_back(one);
  // What ended it is the end of the text, or a certificate that is none.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (at_end) ERR_clear_error();
  if (!at_end) all.clear();
  return all;
}

absl::Status UseCertificate(SSL_CTX* tls, const std::string& pem) {
  const std::vector<Certificate> chain = CertificatesOf(pem);
  if (chain.empty() || SSL_CTX_use_certificate(tls, chain[0].get()) != 1)
    return absl::InvalidArgumentError(WhatOpenSslSays());
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(tls, chain[i].get()) != 1)
      return absl::InvalidArgumentError(WhatOpenSslSays());
  }
  return absl::OkStatus();
}

absl::Status UseKey(SSL_CTX* tls, const std::string& pem) {
  const Key key(PEM_read_bio_PrivateKey(BioOf(pem).get(), nullptr, NoPassword, nullptr));
  if (key == nullptr || SSL_CTX_use_PrivateKey(tls, key.get()) != 1 ||
      SSL_CTX_check_private_key(tls) != 1)
    return absl::InvalidArgumentError(WhatOpenSslSays());
  return absl::OkStatus();
}

absl::Status UseClientCa(SSL_CTX* tls, const std::string& pem) {
  const std::vector<Certificate> authorities = CertificatesOf(pem);
  if (authorities.empty()) return absl::InvalidArgumentError(WhatOpenSslSays());
  for (const Certificate& authority : authorities) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(tls, authority.get()) != 1)
      return absl::InvalidArgumentError(WhatOpenSslSays());
  }
  SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return absl::OkStatus();
}

absl::Status In(std::string_view what, const std::string& file, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      StrCat("the ", what, " in ", file, ": ", ToStd(status.message())));
}

absl::StatusOr<Context> NewContext(const TlsServer::Options& options, const TlsPem& pem) {
  ERR_clear_error();
  Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return absl::InternalError("OpenSSL has no memory");
  SSL_CTX* const tls = context.get();
  SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
  SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_cipher_list(tls, "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_alpn_select_cb(tls, ChooseH2, nullptr);
  static constexpr unsigned char kSessions[] = "larder";
  SSL_CTX_set_session_id_context(tls, kSessions, sizeof(kSessions) - 1);
  RETURN_IF_ERROR(
      In("certificate", options.certificate_file, UseCertificate(tls, pem.certificate)));
  RETURN_IF_ERROR(In("key", options.key_file, UseKey(tls, pem.key)));
  if (!options.client_ca_file.empty())
    RETURN_IF_ERROR(In("CA", options.client_ca_file, UseClientCa(tls, pem.client_ca)));
  return context;
}

absl::Time EndOf(const X509* certificate) {
  tm end{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
    return absl::UnixEpoch();
  return absl::FromTM(end, absl::UTCTimeZone());
}

absl::Status ReadPem(std::string_view what, const std::string& file, std::string* to) {
  std::ifstream in(file, std::ios::binary);
  to->assign(std::istreambuf_iterator<char>(in), {});
  if (in.is_open() && !in.bad()) return absl::OkStatus();
  return In(what, file, absl::InvalidArgumentError(std::strerror(errno)));
}

// The files as they are, and what OpenSSL makes of them.
struct Loaded {
  std::shared_ptr<const TlsPem> pem;
  Context context;
};

absl::StatusOr<Loaded> LoadFiles(const TlsServer::Options& options) {
  TlsPem pem;
  RETURN_IF_ERROR(ReadPem("certificate", options.certificate_file, &pem.certificate));
  RETURN_IF_ERROR(ReadPem("key", options.key_file, &pem.key));
  if (!options.client_ca_file.empty())
    RETURN_IF_ERROR(ReadPem("CA", options.client_ca_file, &pem.client_ca));
  Loaded loaded;
  ASSIGN_OR_RETURN(loaded.context, NewContext(options, pem));
  pem.not_after = EndOf(SSL_CTX_get0_certificate(loaded.context.get()));
  loaded.pem = std::make_shared<const TlsPem>(std::move(pem));
  return loaded;
}

std::string AlternativeName(X509* certificate, int type) {
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  std::string found;
  for (int i = 0; i < sk_GENERAL_NAME_num(names) && found.empty(); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    if (name->type != type) continue;
    const ASN1_IA5STRING* const text =
        type == GEN_URI ? name->d.uniformResourceIdentifier : name->d.dNSName;
    found.assign(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                 static_cast<size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(names);
  return found;
}

class TlsStreamImpl : public TlsStream {
 public:
  explicit TlsStreamImpl(SSL* ssl) : ssl_(ssl) {}
  ~TlsStreamImpl() override { SSL_free(ssl_); }

  Handshake GoOn() override {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_);
    if (done == 1) {
      const unsigned char* protocol = nullptr;
      unsigned int size = 0;
      SSL_get0_alpn_selected(ssl_, &protocol, &size);
      return size == 2 ? Handshake::kDone : Handshake::kFailed;
    }
    switch (SSL_get_error(ssl_, done)) {
      case SSL_ERROR_WANT_READ:
        return Handshake::kWantsRead;
      case SSL_ERROR_WANT_WRITE:
        return Handshake::kWantsWrite;
      default:
        return Handshake::kFailed;
    }
  }

  size_t Read(char* to, size_t size, SocketEnd* end) override {
    size_t total = 0;
    while (total < size) {
      ERR_clear_error();
      size_t n = 0;
      const int done = SSL_read_ex(ssl_, to + total, size - total, &n);
      if (done != 1) {
        *end = EndOf(done);
        break;
      }
      total += n;
    }
    return total;
  }

  size_t Write(const std::vector<iovec>& pieces, SocketEnd* end) override {
    size_t total = 0;
    size_t piece = 0;
    size_t offset = 0;
    std::array<char, kRecordBytes> record;
    while (piece < pieces.size()) {
      size_t size = 0;
      size_t next_piece = piece;
      size_t next_offset = offset;
      while (next_piece < pieces.size() && size < record.size()) {
        const iovec& from = pieces[next_piece];
        const size_t n = std::min(record.size() - size, from.iov_len - next_offset);
        std::memcpy(record.data() + size, static_cast<const char*>(from.iov_base) + next_offset, n);
        size += n;
        next_offset += n;
        if (next_offset == from.iov_len) {
          ++next_piece;
          next_offset = 0;
        }
      }
      ERR_clear_error();
      size_t n = 0;
      const int done = SSL_write_ex(ssl_, record.data(), size, &n);
      if (done != 1) {
        *end = EndOf(done);
        break;
      }
      // A record that is retried may be shorter than what was put together for it now.
      if (n < size) return total + n;
      total += n;
      piece = next_piece;
      offset = next_offset;
    }
    return total;
  }

  void EndWriting() override {
    ERR_clear_error();
    SSL_shutdown(ssl_);
  }

  size_t pending() const override { return static_cast<size_t>(SSL_pending(ssl_)); }

  std::string PeerName() const override {
    X509* const certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr) return "";
    std::string name = AlternativeName(certificate, GEN_URI);
    if (name.empty()) name = AlternativeName(certificate, GEN_DNS);
    if (!name.empty()) return name;
    std::array<char, 256> common;
    const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                               common.data(), static_cast<int>(common.size()));
    return size > 0 ? std::string(common.data(), static_cast<size_t>(size)) : "";
  }

 private:
  SocketEnd EndOf(int done) const {
    const int error = SSL_get_error(ssl_, done);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? SocketEnd::kLater
                                                                         : SocketEnd::kClosed;
  }

  SSL* const ssl_;
};

// What tells one state of the files from another; symbolic links are followed.
std::string StampOf(const TlsServer::Options& options) {
  std::string stamp;
  for (const std::string& file :
       {options.certificate_file, options.key_file, options.client_ca_file}) {
    struct stat found{};
    if (stat(file.c_str(), &found) != 0) found = {};
    stamp += StrCat(found.st_ino, " ", found.st_mtim.tv_sec, " ", found.st_mtim.tv_nsec, " ",
                    found.st_size, " ", found.st_ctim.tv_sec, " ", found.st_ctim.tv_nsec, ",");
  }
  return stamp;
}

class TlsServerImpl : public TlsServer {
 public:
  // `stamp` is from before the files were read.
  TlsServerImpl(const Options& options, std::string stamp, Loaded loaded)
      : options_(options), stamp_(std::move(stamp)), loaded_(std::move(loaded)) {}

  absl::StatusOr<bool> ReloadIfChanged() override {
    std::string stamp = StampOf(options_);
    {
      MutexLock lock(&mu_);
      if (stamp == stamp_) return false;
    }
    // Files that cannot be read, or do not fit together yet, are tried again at the next look.
    RETURN_IF_ERROR(Reload());
    MutexLock lock(&mu_);
    stamp_ = std::move(stamp);
    return true;
  }

  absl::Status Reload() override {
    ASSIGN_OR_RETURN(Loaded loaded, LoadFiles(options_));
    MutexLock lock(&mu_);
    std::swap(loaded_, loaded);
    return absl::OkStatus();
  }

  std::shared_ptr<const TlsPem> pem() const override {
    MutexLock lock(&mu_);
    return loaded_.pem;
  }

  std::unique_ptr<TlsStream> Accept(int fd) override {
    SSL* ssl = nullptr;
    {
      MutexLock lock(&mu_);
      ssl = SSL_new(loaded_.context.get());  // holds the context
    }
    if (ssl == nullptr || SSL_set_fd(ssl, fd) != 1) {
      SSL_free(ssl);
      return nullptr;
    }
    SSL_set_accept_state(ssl);
    return std::make_unique<TlsStreamImpl>(ssl);
  }

 private:
  const Options options_;
  mutable Mutex mu_;
  std::string stamp_ ABSL_GUARDED_BY(mu_);
  Loaded loaded_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<TlsServer>> TlsServer::Load(const Options& options) {
  std::string stamp = StampOf(options);
  ASSIGN_OR_RETURN(Loaded loaded, LoadFiles(options));
  return std::make_unique<TlsServerImpl>(options, std::move(stamp), std::move(loaded));
}

}  // namespace larder
