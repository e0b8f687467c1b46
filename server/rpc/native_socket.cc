// One writev for a turn of the loop: the frames of all answers are copied into one buffer, which is
// the loop's and stays in the processor's cache; values that are shared with the cache stand
// between as pieces of their own. Only what the kernel does not take is kept by the connection, so
// that a connection at rest holds no buffer.

#include "rpc/native_socket.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "rpc/peer_host.h"

namespace larder {
namespace {

constexpr size_t kPiecesMax = 256;  // of one writev

// Scratch of the calling thread, so that writing needs no memory of its own.
std::vector<iovec>& Pieces() {
  thread_local std::vector<iovec> pieces;
  pieces.clear();
  return pieces;
}

std::string AddressOf(std::string_view host, std::string_view port) {
  return host.find(':') == std::string_view::npos ? StrCat(host, ":", port)
                                                  : StrCat("[", host, "]:", port);
}

iovec PieceOf(std::string_view bytes) { return {const_cast<char*>(bytes.data()), bytes.size()}; }

}  // namespace

NativeSocket::NativeSocket(int fd, std::unique_ptr<TlsStream> tls)
    : fd_(fd), tls_(std::move(tls)) {}

NativeSocket::~NativeSocket() { close(fd_); }

void NativeSocket::set_peer(std::string_view host, uint16_t port) {
  peer_ = AddressOf(host, StrCat(port));
}

std::string NativeSocket::PeerAddress() const {
  if (!peer_.empty()) return peer_;
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  std::array<char, NI_MAXHOST> host;
  std::array<char, NI_MAXSERV> port;
  if (getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                  port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "";
  return AddressOf(PeerHostOf(host.data()), port.data());
}

size_t NativeSocket::Read(char* to, size_t size, SocketEnd* end) {
  return tls_ != nullptr ? tls_->Read(to, size, end) : ReadPlain(to, size, end);
}

size_t NativeSocket::ReadPlain(char* to, size_t size, SocketEnd* end) {
  ssize_t n = 0;
  do {
    n = recv(fd_, to, size, 0);
  } while (n < 0 && errno == EINTR);
  if (n > 0) return static_cast<size_t>(n);
  *end =
      n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? SocketEnd::kLater : SocketEnd::kClosed;
  return 0;
}

size_t NativeSocket::Write(const std::vector<iovec>& pieces, SocketEnd* end) {
  if (tls_ != nullptr) return tls_->Write(pieces, end);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  ssize_t n = 0;
  do {
    // One piece is the rule, and cheaper to send by itself.
    n = pieces.size() == 1 ? send(fd_, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL)
                           : sendmsg(fd_, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n >= 0) return static_cast<size_t>(n);
  *end = errno == EAGAIN || errno == EWOULDBLOCK ? SocketEnd::kLater : SocketEnd::kClosed;
  return 0;
}

void NativeSocket::EndWriting() {
  if (tls_ != nullptr) tls_->EndWriting();
  shutdown(fd_, SHUT_WR);
}

void OutputBatch::Copy(std::string_view bytes) {
  if (!parts_.empty() && parts_.back().bytes.empty()) {
    parts_.back().size += bytes.size();
  } else {
    parts_.push_back({copied_.size(), bytes.size(), {}, {}});
  }
  copied_.append(bytes);
  bytes_ += bytes.size();
}

void OutputBatch::Refer(std::string_view bytes, const SharedBytes& value) {
  parts_.push_back({0, bytes.size(), bytes, value});
  bytes_ += bytes.size();
}

void OutputBatch::Clear() {
  copied_.clear();
  parts_.clear();
  bytes_ = 0;
}

bool NativeOutput::WriteBatch(NativeSocket* socket, const OutputBatch& batch, size_t* written) {
  const std::string_view copied = batch.copied_;
  size_t done = 0;
  size_t next = 0;  // the first part that is not yet among the pieces
  while (next < batch.parts_.size()) {
    std::vector<iovec>& pieces = Pieces();
    size_t bytes = 0;
    for (; next < batch.parts_.size() && pieces.size() < kPiecesMax; ++next) {
      const OutputBatch::Part& part = batch.parts_[next];
      pieces.push_back(
          PieceOf(part.bytes.empty() ? copied.substr(part.copied_at, part.size) : part.bytes));
      bytes += part.size;
    }
    SocketEnd end = SocketEnd::kNone;
    const size_t n = socket->Write(pieces, &end);
    if (n == 0 && end == SocketEnd::kClosed) return false;
    done += n;
    *written += n;
    if (n < bytes) {
      Keep(batch, done);
      return true;
    }
  }
  return true;
}

void NativeOutput::Keep(const OutputBatch& batch, size_t from) {
  const std::string_view copied = batch.copied_;
  for (const OutputBatch::Part& part : batch.parts_) {
    const size_t skipped = std::min(from, part.size);
    from -= skipped;
    if (skipped == part.size) continue;
    Part& kept = parts_.emplace_back();
    if (part.bytes.empty()) {
      kept.own = copied.substr(part.copied_at + skipped, part.size - skipped);
      kept.left = kept.own;
    } else {
      kept.value = part.value;
      kept.left = part.bytes.substr(skipped);
    }
    bytes_ += kept.left.size();
  }
}

bool NativeOutput::WriteLeft(NativeSocket* socket, size_t* written) {
  while (!parts_.empty()) {
    std::vector<iovec>& pieces = Pieces();
    for (const Part& part : parts_) {
      if (pieces.size() == kPiecesMax) break;
      pieces.push_back(PieceOf(part.left));
    }
    SocketEnd end = SocketEnd::kNone;
    size_t n = socket->Write(pieces, &end);
    if (n == 0) return end != SocketEnd::kClosed;
    *written += n;
    bytes_ -= n;
    while (n > 0) {
      Part& part = parts_.front();
      const size_t taken = std::min(n, part.left.size());
      part.left.remove_prefix(taken);
      n -= taken;
      if (part.left.empty()) parts_.pop_front();
    }
  }
  return true;
}

}  // namespace larder
