// What the tests of the admin port send and read: bytes over a socket, so that requests can be as
// wrong as they like.

#ifndef LARDER_TESTS_ADMIN_HTTP_CLIENT_H_
#define LARDER_TESTS_ADMIN_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "absl/strings/numbers.h"

namespace larder {

// A connection to a server on 127.0.0.1.
class HttpClient {
 public:
  explicit HttpClient(const std::string& address) {
    int port = 0;
    if (!absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port)) return;
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(port));
    // A server that says nothing fails the test in good time.
    const timeval patience{30, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  ~HttpClient() {
    if (fd_ >= 0) close(fd_);
  }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }

  bool Send(std::string_view text) const {
    return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }

  // All that comes until the server ends the connection, or resets it.
  std::string ReadAll() const {
    std::string all;
    char buffer[4096];
    ssize_t n;
    while ((n = recv(fd_, buffer, sizeof(buffer), 0)) > 0)
      all.append(buffer, static_cast<size_t>(n));
    return all;
  }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

inline std::string Exchange(const std::string& address, std::string_view text) {
  const HttpClient client(address);
  client.Send(text);
  return client.ReadAll();
}

// The whole answer; `more` are headers, each with its end of line.
inline std::string HttpGet(const std::string& address, const std::string& path,
                           const std::string& more = "Host: localhost\r\n") {
  return Exchange(address, "GET " + path + " HTTP/1.1\r\n" + more + "\r\n");
}

inline std::string BodyOf(const std::string& answer) {
  const size_t end = answer.find("\r\n\r\n");
  return end == std::string::npos ? "" : answer.substr(end + 4);
}

inline std::string StatusOf(const std::string& answer) {
  return answer.size() < 12 ? "" : answer.substr(9, 3);
}

}  // namespace larder

#endif  // LARDER_TESTS_ADMIN_HTTP_CLIENT_H_
