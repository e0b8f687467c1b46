// What a native connection writes and reads through: its socket, plain or under TLS, and the bytes
// that are on their way out. Thread safety: none; the loop that owns the connection. Never blocks.

#ifndef LARDER_RPC_NATIVE_SOCKET_H_
#define LARDER_RPC_NATIVE_SOCKET_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/shared_bytes.h"
#include "rpc/native_tls.h"

namespace larder {

// How a read or write ended that moved no bytes.
enum class SocketEnd { kNone, kLater, kClosed };

class NativeSocket {
 public:
  // Takes `fd` over. `tls` may be null.
  NativeSocket(int fd, std::unique_ptr<TlsStream> tls);
  ~NativeSocket();
  NativeSocket(const NativeSocket&) = delete;
  NativeSocket& operator=(const NativeSocket&) = delete;

  int fd() const { return fd_; }
  TlsStream* tls() const { return tls_.get(); }
  // The other end, as `127.0.0.1:40312` or `[::1]:40312`; empty when it cannot be told. Behind a
  // balancer the one that it speaks for, once that is known.
  std::string PeerAddress() const;
  void set_peer(std::string_view host, uint16_t port);

  // Bytes read into `to`; 0 with *end saying why.
  size_t Read(char* to, size_t size, SocketEnd* end);
  // The same before TLS begins.
  size_t ReadPlain(char* to, size_t size, SocketEnd* end);
  // Bytes written of `pieces`; 0 with *end saying why.
  size_t Write(const std::vector<iovec>& pieces, SocketEnd* end);

  // Tells the peer that nothing more comes.
  void EndWriting();

 private:
  const int fd_;
  const std::unique_ptr<TlsStream> tls_;
  std::string peer_;  // empty: ask the socket
};

// What a connection sends in one go: small parts are copied together, large values are referred to.
// One for all connections of a loop.
class OutputBatch {
 public:
  static constexpr size_t kCopiedBytesMax = 64 << 10;
  static constexpr size_t kBytesMax = 256 << 10;

  OutputBatch() { copied_.reserve(2 * kCopiedBytesMax); }

  void Copy(std::string_view bytes);
  // `bytes` are part of `value`.
  void Refer(std::string_view bytes, const SharedBytes& value);
  void Clear();

  size_t bytes() const { return bytes_; }
  bool full() const { return bytes_ >= kBytesMax || copied_.size() >= kCopiedBytesMax; }

 private:
  friend class NativeOutput;
  struct Part {
    size_t copied_at;  // in copied_, when `bytes` is empty
    size_t size;
    std::string_view bytes;  // in `value`
    SharedBytes value;
  };

  std::string copied_;
  std::vector<Part> parts_;
  size_t bytes_ = 0;
};

// What a connection has to send and its socket did not take. Empty nearly always.
class NativeOutput {
 public:
  bool empty() const { return parts_.empty(); }
  size_t bytes() const { return bytes_; }

  // Writes what was left, or else `batch`, whose rest is kept. False when the socket is closed.
  // `*written` grows by the bytes written.
  bool WriteLeft(NativeSocket* socket, size_t* written);
  // REQUIRES: empty().
  bool WriteBatch(NativeSocket* socket, const OutputBatch& batch, size_t* written);

 private:
  struct Part {
    std::string own;
    SharedBytes value;
    std::string_view left;  // of `own` or `value`
  };

  void Keep(const OutputBatch& batch, size_t from);

  std::deque<Part> parts_;
  size_t bytes_ = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_SOCKET_H_
