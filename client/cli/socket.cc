#include "client/cli/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace larder::cli {
namespace {

bool IsLoopback(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    return (ntohl(four.sin_addr.s_addr) >> 24) == 127;
  }
  const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
  return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
}

absl::Status Unavailable(const Endpoint& endpoint, int error) {
  return absl::UnavailableError(absl::StrCat(endpoint.text, ": ", std::strerror(error)));
}

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<HostPort> SplitHostPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort name;
  if (colon != std::string::npos) {
    name.host = address.substr(0, colon);
    name.port = address.substr(colon + 1);
  }
  if (name.host.size() > 2 && name.host.front() == '[' && name.host.back() == ']')
    name.host = name.host.substr(1, name.host.size() - 2);
  else if (name.host.find(':') != std::string::npos)
    name.host.clear();
  int port = 0;
  if (name.host.empty() || !absl::SimpleAtoi(name.port, &port) || port < 1 || port > 65535)
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" is not host:port"));
  return name;
}

absl::StatusOr<std::vector<Endpoint>> Resolve(const HostPort& name) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = getaddrinfo(name.host.c_str(), name.port.c_str(), &hints, &list);
      error != 0) {
    return absl::UnavailableError(absl::StrCat(
        name.host, ": ", error == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(list, &freeaddrinfo);
  std::vector<Endpoint> endpoints;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
    Endpoint endpoint;
    std::memcpy(&endpoint.address, one->ai_addr, one->ai_addrlen);
    endpoint.length = one->ai_addrlen;
    endpoint.loopback = IsLoopback(endpoint.address);
    char text[NI_MAXHOST];
    if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) !=
        0)
      continue;
    endpoint.text = one->ai_family == AF_INET6 ? absl::StrCat("[", text, "]:", name.port)
                                               : absl::StrCat(text, ":", name.port);
    endpoints.push_back(std::move(endpoint));
  }
  if (endpoints.empty()) return absl::UnavailableError(absl::StrCat(name.host, " has no address"));
  return endpoints;
}

bool WaitFor(int fd, bool to_write, absl::Time until) {
  while (true) {
    const absl::Duration left = until - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd one = {fd, static_cast<short>(to_write ? POLLOUT : POLLIN), 0};
    const auto ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1, 60'000);
    const int ready = poll(&one, 1, static_cast<int>(ms));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return true;  // the next call on it says why
  }
}

absl::StatusOr<Socket> ConnectTo(const Endpoint& endpoint, absl::Time until) {
  Socket socket(
      ::socket(endpoint.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) return Unavailable(endpoint, errno);
  const auto* address = reinterpret_cast<const sockaddr*>(&endpoint.address);
  if (connect(socket.fd(), address, endpoint.length) != 0) {
    if (errno != EINPROGRESS) return Unavailable(endpoint, errno);
    if (!WaitFor(socket.fd(), /*to_write=*/true, until)) {
      return absl::DeadlineExceededError(
          absl::StrCat(endpoint.text, ": no answer: a firewall, or a machine that is down"));
    }
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return Unavailable(endpoint, error);
  }
  return socket;
}

}  // namespace larder::cli
