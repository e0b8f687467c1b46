// Names and TCP connections, as far as the command looks at them by itself: its calls go over gRPC.
// Thread safety: any thread. Connect blocks to its deadline at most; Resolve as long as the
// system's resolver does.

#ifndef LARDER_CLIENT_CLI_SOCKET_H_
#define LARDER_CLIENT_CLI_SOCKET_H_

#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::cli {

// A file descriptor that is closed in the end.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;

  int fd() const { return fd_; }

 private:
  int fd_;
};

// One address that a name stands for.
struct Endpoint {
  sockaddr_storage address = {};
  socklen_t length = 0;
  std::string text;  // such as `10.0.0.7:50051`
  bool loopback = false;
};

struct HostPort {
  std::string host;
  std::string port;
};
// Of `host:port` or `[::1]:port`. INVALID_ARGUMENT for anything else.
absl::StatusOr<HostPort> SplitHostPort(const std::string& address);

// UNAVAILABLE says why the name is not known.
absl::StatusOr<std::vector<Endpoint>> Resolve(const HostPort& name);

// Connected, and not blocking. UNAVAILABLE, DEADLINE_EXCEEDED.
absl::StatusOr<Socket> ConnectTo(const Endpoint& endpoint, absl::Time until);

// Waits until it can be read (or written). False when the time is over.
bool WaitFor(int fd, bool to_write, absl::Time until);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_SOCKET_H_
