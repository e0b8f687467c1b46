// TLS by OpenSSL: 1.2 and 1.3, ALPN `h2` only, and client certificates where a CA for them is
// given. TlsServer holds the certificate of both lanes, which Reload replaces for new connections;
// TlsStream is one connection's of the native lane. Thread safety: TlsServer any thread; a
// TlsStream is its loop's. Never blocks, Load and Reload excepted, which read files.

#ifndef LARDER_RPC_NATIVE_TLS_H_
#define LARDER_RPC_NATIVE_TLS_H_

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder {

enum class SocketEnd;

class TlsStream {
 public:
  virtual ~TlsStream() = default;

  enum class Handshake { kDone, kWantsRead, kWantsWrite, kFailed };
  // Goes on with the handshake. Fails for a peer that does not speak h2.
  virtual Handshake GoOn() = 0;

  // As NativeSocket's. REQUIRES: the handshake is done.
  virtual size_t Read(char* to, size_t size, SocketEnd* end) = 0;
  virtual size_t Write(const std::vector<iovec>& pieces, SocketEnd* end) = 0;
  virtual void EndWriting() = 0;
  // Bytes that can be read without the socket.
  virtual size_t pending() const = 0;

  // Who the peer's certificate says that it is: its first URI, else its first DNS name, else its
  // common name; empty without a certificate. REQUIRES: the handshake is done.
  virtual std::string PeerName() const = 0;
};

// What was read from the files together, and found to fit together.
struct TlsPem {
  std::string certificate;
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
  absl::Time not_after;   // when the certificate ends
};

class TlsServer {
 public:
  struct Options {
    std::string certificate_file;  // PEM: the certificate and what leads from it to its CA
    std::string key_file;          // PEM
    std::string client_ca_file;    // PEM; empty: clients need no certificate
  };

  // An error says in a sentence what is wrong with which file.
  static absl::StatusOr<std::unique_ptr<TlsServer>> Load(const Options& options);
  virtual ~TlsServer() = default;

  // Reads the files again. After an error the old certificate stays.
  virtual absl::Status Reload() = 0;
  // The same if one of them was replaced, written or given other rights since they were read well;
  // true if so.
  virtual absl::StatusOr<bool> ReloadIfChanged() = 0;

  // The files in use; never null.
  virtual std::shared_ptr<const TlsPem> pem() const = 0;

  // Takes part in a connection on `fd`, which stays the caller's. Null when there is no memory.
  virtual std::unique_ptr<TlsStream> Accept(int fd) = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_TLS_H_
