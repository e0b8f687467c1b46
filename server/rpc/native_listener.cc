// One socket and one acceptor, which hands connections to the loop that has the fewest. Listeners
// of one port for each loop (SO_REUSEPORT) would save the hand-over, but the kernel deals
// connections out by hash: eight of them land on two loops as 6 and 2 as often as not, and each
// keeps its loop for half an hour. They would also let a second process listen on the port unseen.

#include "rpc/native_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/strings.h"

namespace larder {
namespace {

constexpr int kBacklog = 4096;

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};

absl::Status Failed(const std::string& address, std::string_view why) {
  return absl::UnavailableError(StrCat("cannot listen on ", address, ": ", why));
}

int Spare() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

// A socket that listens there, or -1 with errno.
int ListenOn(const addrinfo& where) {
  const int fd = socket(where.ai_family, where.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1;
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // [::] takes IPv4 connections, too.
  if (where.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NativeListener>> NativeListener::New(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return Failed(address, "it is no host:port");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), address.c_str() + colon + 1,
                                &hints, &found);
  if (error != 0) return Failed(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  const int fd = ListenOn(*addresses);
  if (fd < 0) return Failed(address, strerror(errno));
  return std::unique_ptr<NativeListener>(
      new NativeListener(fd, StrCat(address.substr(0, colon), ":", PortOf(fd))));
}

NativeListener::NativeListener(int fd, std::string address)
    : fd_(fd), address_(std::move(address)), spare_(Spare()) {}

NativeListener::~NativeListener() {
  close(fd_);
  if (spare_ >= 0) close(spare_);
}

NativeListener::Accepted NativeListener::Accept(int* fd, std::string* host) {
  // Before a connection takes the number that it would need.
  if (spare_ < 0) spare_ = Spare();
  if (spare_ < 0) return Accepted::kStuck;
  while (true) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    auto* const address = reinterpret_cast<sockaddr*>(&from);
    *fd = accept4(fd_, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (*fd >= 0) {
      std::array<char, NI_MAXHOST> name;
      const bool known =
          getnameinfo(address, size, name.data(), name.size(), nullptr, 0, NI_NUMERICHOST) == 0;
      *host = known ? name.data() : "";
      const int on = 1;
      setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return Accepted::kOne;
    }
    if (errno == EMFILE || errno == ENFILE) break;
    if (errno == ENOBUFS || errno == ENOMEM) return Accepted::kStuck;
    // A client that has gone already is no reason to stop.
    if (errno != EINTR && errno != ECONNABORTED) return Accepted::kNone;
  }
  // Left in the queue it would wake the loop again and again, and its client would wait.
  close(spare_);
  const int refused = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (refused >= 0) close(refused);
  spare_ = Spare();
  if (refused >= 0) return Accepted::kNoDescriptor;
  return spare_ < 0 ? Accepted::kStuck : Accepted::kNone;
}

}  // namespace larder
