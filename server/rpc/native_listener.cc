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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "rpc/peer_host.h"

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

// A socket that listens there, or -1 with errno. `alone`: no other one listens for IPv4.
int ListenOn(const addrinfo& where, bool alone) {
  const int fd = socket(where.ai_family, where.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1;
  const int v6_only = alone ? 0 : 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // [::] takes IPv4 connections, too.
  if (where.ai_family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
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

void SetPort(int port, addrinfo* where) {
  const auto in_order = htons(static_cast<uint16_t>(port));
  if (where->ai_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(where->ai_addr)->sin6_port = in_order;
  } else {
    reinterpret_cast<sockaddr_in*>(where->ai_addr)->sin_port = in_order;
  }
}

// Each once, whatever /etc/hosts says.
std::vector<addrinfo*> Different(addrinfo* found) {
  std::vector<addrinfo*> all;
  for (addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const bool known = std::any_of(all.begin(), all.end(), [one](const addrinfo* other) {
      return other->ai_addrlen == one->ai_addrlen &&
             memcmp(other->ai_addr, one->ai_addr, one->ai_addrlen) == 0;
    });
    if (!known) all.push_back(one);
  }
  return all;
}

// Sockets that listen on each of them that the machine has, on one port; none, with errno.
std::vector<int> ListenOnEach(const std::vector<addrinfo*>& addresses) {
  std::vector<int> sockets;
  int error = 0;
  for (addrinfo* const one : addresses) {
    if (!sockets.empty()) SetPort(PortOf(sockets[0]), one);
    const int fd = ListenOn(*one, addresses.size() == 1);
    if (fd >= 0) {
      sockets.push_back(fd);
      continue;
    }
    error = errno;
    // Names often have an IPv6 address where there is no IPv6.
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT) continue;
    for (const int listening : sockets) close(listening);
    sockets.clear();
    break;
  }
  errno = error;
  return sockets;
}

// An epoll of them all, or -1.
int EpollOf(const std::vector<int>& sockets) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return -1;
  for (const int fd : sockets) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) continue;
    close(epoll);
    return -1;
  }
  return epoll;
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
  std::vector<int> sockets = ListenOnEach(Different(addresses.get()));
  if (sockets.empty()) return Failed(address, strerror(errno));
  const int epoll = sockets.size() == 1 ? -1 : EpollOf(sockets);
  if (sockets.size() > 1 && epoll < 0) {
    const int why = errno;
    for (const int fd : sockets) close(fd);
    return Failed(address, strerror(why));
  }
  const std::string real = StrCat(address.substr(0, colon), ":", PortOf(sockets[0]));
  return std::unique_ptr<NativeListener>(new NativeListener(std::move(sockets), epoll, real));
}

NativeListener::NativeListener(std::vector<int> sockets, int epoll, std::string address)
    : sockets_(std::move(sockets)), epoll_(epoll), address_(std::move(address)), spare_(Spare()) {}

NativeListener::~NativeListener() {
  for (const int fd : sockets_) close(fd);
  if (epoll_ >= 0) close(epoll_);
  if (spare_ >= 0) close(spare_);
}

NativeListener::Accepted NativeListener::Accept(int* fd, std::string* host) {
  // Before a connection takes the number that it would need.
  if (spare_ < 0) spare_ = Spare();
  if (spare_ < 0) return Accepted::kStuck;
  for (size_t i = 0; i < sockets_.size(); ++i) {
    const Accepted accepted = AcceptFrom(sockets_[next_], fd, host);
    next_ = (next_ + 1) % sockets_.size();
    if (accepted != Accepted::kNone) return accepted;
  }
  return Accepted::kNone;
}

NativeListener::Accepted NativeListener::AcceptFrom(int socket, int* fd, std::string* host) {
  while (true) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    auto* const address = reinterpret_cast<sockaddr*>(&from);
    *fd = accept4(socket, address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (*fd >= 0) {
      std::array<char, NI_MAXHOST> name;
      const bool known =
          getnameinfo(address, size, name.data(), name.size(), nullptr, 0, NI_NUMERICHOST) == 0;
      *host = known ? PeerHostOf(name.data()) : "";
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
  const int refused = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
  if (refused >= 0) close(refused);
  spare_ = Spare();
  if (refused >= 0) return Accepted::kNoDescriptor;
  return spare_ < 0 ? Accepted::kStuck : Accepted::kNone;
}

}  // namespace larder
