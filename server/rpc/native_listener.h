// The listening sockets of a lane: parses the address, listens, and accepts in a way that survives
// the end of descriptors. Thread safety: none after New; one loop's. Never blocks.

#ifndef LARDER_RPC_NATIVE_LISTENER_H_
#define LARDER_RPC_NATIVE_LISTENER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace larder {

class NativeListener {
 public:
  // Listens on `address`, host:port; an IPv6 host stands in brackets. A name of several addresses
  // stands for each of them that the machine has. An error says in a sentence why it cannot.
  static absl::StatusOr<std::unique_ptr<NativeListener>> New(const std::string& address);
  ~NativeListener();

  // Can be read when there is somebody to accept.
  int fd() const { return epoll_ < 0 ? sockets_[0] : epoll_; }
  // With the real port.
  const std::string& address() const { return address_; }

  enum class Accepted { kOne, kNone, kNoDescriptor, kStuck };
  // kOne: *fd is a connection from the address *host, which does not block. kNoDescriptor: the
  // process has no descriptor left; the connection was closed, so that its client knows. kStuck:
  // not even that could be done, and at once it will be no better.
  Accepted Accept(int* fd, std::string* host);

 private:
  NativeListener(std::vector<int> sockets, int epoll, std::string address);

  Accepted AcceptFrom(int socket, int* fd, std::string* host);

  const std::vector<int> sockets_;
  const int epoll_;  // of several sockets; else -1
  const std::string address_;
  size_t next_ = 0;  // the socket that is asked first
  // Given up for a moment when there is no other descriptor.
  int spare_;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_LISTENER_H_
