// By hand, because it is one request of one kind to a server of ours: the port closes the
// connection after each answer, so that its end is the end of the body.

#include "client/cli/http.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/socket.h"

namespace larder::cli {
namespace {

absl::Status Over(const std::string& address) {
  return absl::DeadlineExceededError(absl::StrCat(address, ": no answer in time"));
}

absl::Status SendAll(int fd, std::string_view bytes, const std::string& address, absl::Time until) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
    } else if (!WaitFor(fd, /*to_write=*/true, until)) {
      return Over(address);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(int fd, const std::string& address, absl::Time until) {
  std::string all;
  char buffer[64 * 1024];
  while (true) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0) return all;
    if (got > 0) {
      all.append(buffer, static_cast<size_t>(got));
      if (all.size() > kHttpBytesMax)
        return absl::ResourceExhaustedError(absl::StrCat(address, ": the answer is too large"));
    } else if (errno != EAGAIN && errno != EINTR) {
      return absl::UnavailableError(absl::StrCat(address, ": ", std::strerror(errno)));
    } else if (!WaitFor(fd, /*to_write=*/false, until)) {
      return Over(address);
    }
  }
}

absl::StatusCode CodeOf(int status) {
  switch (status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kUnimplemented;
    case 503:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

// The port answers to addresses and to the names that it knows, because pages of other sites can
// have any other name lead to it. So it is asked by what the name stands for.
std::string HostHeader(const Endpoint& endpoint) {
  // Of the zone (`fe80::1%eth0`) only this machine knows.
  const size_t zone = endpoint.text.find('%');
  if (zone == std::string::npos) return endpoint.text;
  return endpoint.text.substr(0, zone) + endpoint.text.substr(endpoint.text.rfind(']'));
}

absl::StatusOr<std::string> HttpBody(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  int status = 0;
  if (end == std::string::npos || !answer.starts_with("HTTP/1.") || answer.size() < 12 ||
      !absl::SimpleAtoi(answer.substr(9, 3), &status)) {
    return absl::InternalError("the answer is no HTTP: is this the admin port?");
  }
  std::string body = answer.substr(end + 4);
  if (status == 200) return body;
  const std::string line = body.substr(0, body.find('\n'));
  return absl::Status(CodeOf(status), absl::StrCat("HTTP ", status, ": ", line));
}

absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    const HttpCall& call) {
  const absl::Time until = absl::Now() + call.deadline;
  const absl::StatusOr<HostPort> name = SplitHostPort(address);
  if (!name.ok()) return name.status();
  const absl::StatusOr<std::vector<Endpoint>> endpoints = Resolve(*name);
  if (!endpoints.ok()) return endpoints.status();
  absl::Status last;
  for (const Endpoint& endpoint : *endpoints) {
    const absl::StatusOr<Socket> socket = ConnectTo(endpoint, until);
    if (!socket.ok()) {
      last = socket.status();
      continue;
    }
    const bool tells = !call.token.empty() && (endpoint.loopback || call.token_anywhere);
    const std::string request = absl::StrCat(
        "GET ", path, " HTTP/1.1\r\nHost: ", HostHeader(endpoint), "\r\nConnection: close\r\n",
        tells ? absl::StrCat("Authorization: Bearer ", call.token, "\r\n") : "",
        "User-Agent: larder-cli/", LARDER_VERSION, "\r\n\r\n");
    if (absl::Status sent = SendAll(socket->fd(), request, address, until); !sent.ok()) return sent;
    const absl::StatusOr<std::string> answer = ReadAll(socket->fd(), address, until);
    if (!answer.ok()) return answer.status();
    absl::StatusOr<std::string> body = HttpBody(*answer);
    if (absl::IsUnauthenticated(body.status()) && !tells && !call.token.empty()) {
      return absl::UnauthenticatedError(
          absl::StrCat(body.status().message(), "; the token was not sent: without TLS it goes to ",
                       "this machine alone, unless --token-without-tls is given"));
    }
    return body;
  }
  return last;
}

}  // namespace larder::cli
