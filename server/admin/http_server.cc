// Why not a library: the one at hand, cpp-httplib, gives each connection a thread and limits the
// time of each read, not of a request, so that as many slow clients as there are threads keep
// everybody else out, and a health probe with them. What is needed of HTTP is a page of code
// (http_request.cc).
//
// A connection goes: asking -> answering -> reading the answer -> ending. While it is answered, the
// answering thread has a copy of the request and the connection's number, never the connection.
// Ending means that our side is closed and what the client still sends is read and thrown away for
// a moment: closing right away would reset the connection, and the client might lose the answer.

#include "admin/http_server.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr int kBacklog = 128;
constexpr absl::Duration kEndLimit = absl::Seconds(1);
// Descriptors have run out: how long until the next attempt.
constexpr absl::Duration kAcceptRest = absl::Milliseconds(100);

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { freeaddrinfo(addresses); }
};

// A socket that listens there, or -1 with errno.
int ListenOn(const addrinfo& where) {
  const int fd = socket(where.ai_family, where.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

absl::StatusOr<int> Listen(const std::string& address) {
  const auto failed = [&address](std::string_view why) {
    return absl::UnavailableError(StrCat("cannot listen on ", address, ": ", why));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return failed("it is no host:port");
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), address.c_str() + colon + 1,
                                &hints, &found);
  if (error != 0) return failed(gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  const int fd = ListenOn(*addresses);
  if (fd < 0) return failed(strerror(errno));
  return fd;
}

int PortOf(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof(name);
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&name)->sin6_port
                                          : reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

struct Connection {
  enum class State { kAsking, kAnswering, kReading, kEnding };

  int fd;
  uint64_t number;
  MonoNanos end_by;
  State state = State::kAsking;
  std::string in = {};
  std::string out = {};
  size_t sent = 0;
  bool over = false;
};

class Server final : public HttpServer {
 public:
  Server(const Options& options, Handler handler, int listener, int wake)
      : options_(options),
        handler_(std::move(handler)),
        listener_(listener),
        wake_(wake),
        address_(
            StrCat(options.address.substr(0, options.address.rfind(':')), ":", PortOf(listener))),
        // As many answers as there are connections may wait, and some of connections that went.
        answerer_(ThreadPool::New({1, 2 * options.connections_max})),
        loop_([this] { Loop(); }) {}

  ~Server() override {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    Wake();
    loop_.join();
    answerer_->Shutdown();
    for (const Connection& connection : connections_) close(connection.fd);
    close(listener_);
    close(wake_);
  }

  std::string address() const override { return address_; }

 private:
  using State = Connection::State;

  void Wake() const {
    const uint64_t one = 1;
    // Fails only when it is awake by far already.
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
  }

  MonoNanos Now() const { return options_.clock->Mono(); }

  void Loop() {
    while (true) {
      std::vector<pollfd> fds = Interests();
      poll(fds.data(), fds.size(), Timeout());
      if (fds[0].revents != 0) {
        uint64_t count;
        [[maybe_unused]] const ssize_t cleared = read(wake_, &count, sizeof(count));
        if (TakeAnswers()) return;
      }
      for (size_t i = 2; i < fds.size(); ++i) {
        if (fds[i].revents != 0) GoOn(&connections_[i - 2]);
      }
      EndLate();
      Sweep();
      if (fds[1].revents != 0) AcceptAll();
    }
  }

  // The wake-up, the listener, then the connections in their order.
  std::vector<pollfd> Interests() const {
    std::vector<pollfd> fds = {{wake_, POLLIN, 0},
                               {Now() < accept_after_ ? -1 : listener_, POLLIN, 0}};
    for (const Connection& connection : connections_) {
      // Nothing is to be learned from one that is being answered. poll leaves out negative numbers.
      const int fd = connection.state == State::kAnswering ? -1 : connection.fd;
      fds.push_back(
          {fd, static_cast<short>(connection.state == State::kReading ? POLLOUT : POLLIN), 0});
    }
    return fds;
  }

  // Until the next limit, in milliseconds.
  int Timeout() const {
    const MonoNanos now = Now();
    MonoNanos next = accept_after_ > now ? accept_after_ : INT64_MAX;
    for (const Connection& connection : connections_) next = std::min(next, connection.end_by);
    if (next == INT64_MAX) return -1;
    return static_cast<int>(std::clamp<MonoNanos>((next - now) / 1'000'000 + 1, 0, 60'000));
  }

  void EndLate() {
    const MonoNanos now = Now();
    for (Connection& connection : connections_) {
      if (connection.end_by > now) continue;
      connection.over = true;
      // Else the kernel would go on holding what the client does not read.
      const linger none{1, 0};
      if (connection.state == State::kReading)
        setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
  }

  void Sweep() {
    std::erase_if(connections_, [](const Connection& connection) {
      if (connection.over) close(connection.fd);
      return connection.over;
    });
  }

  void AcceptAll() {
    while (true) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      // Else the waiting client would wake the loop over and over.
      if (fd < 0 && errno != EAGAIN) accept_after_ = MonoAfter(Now(), kAcceptRest);
      if (fd < 0) return;
      if (connections_.size() >= options_.connections_max) EndSlowest();
      connections_.push_back({fd, ++last_number_, MonoAfter(Now(), options_.ask_limit)});
    }
  }

  // Honest clients ask at once, so the oldest is the one to go; those that are being answered have
  // done their part.
  void EndSlowest() {
    auto slowest = connections_.begin();
    while (slowest != connections_.end() && slowest->state == State::kAnswering) ++slowest;
    if (slowest == connections_.end()) slowest = connections_.begin();
    slowest->over = true;
    Sweep();
  }

  void GoOn(Connection* connection) {
    switch (connection->state) {
      case State::kAsking:
        return ReadRequest(connection);
      case State::kAnswering:
        return;
      case State::kReading:
        return SendAnswer(connection);
      case State::kEnding: {
        char buffer[4096];
        const ssize_t n = recv(connection->fd, buffer, sizeof(buffer), 0);
        connection->over = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        return;
      }
    }
  }

  void ReadRequest(Connection* connection) {
    char buffer[4096];
    const ssize_t n = recv(connection->fd, buffer, sizeof(buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      connection->over = true;
      return;
    }
    // The end of the head may have begun with what was there before.
    const size_t from = connection->in.size() < 3 ? 0 : connection->in.size() - 3;
    connection->in.append(buffer, static_cast<size_t>(n));
    const size_t end = connection->in.find("\r\n\r\n", from);
    if (end > options_.head_bytes_max && connection->in.size() > options_.head_bytes_max)
      return Send(connection, FormatHttpReply({.status = 431, .body = "too large\n"}, true));
    if (end == std::string::npos) return;
    absl::StatusOr<HttpRequest> request =
        ParseHttpHead(std::string_view(connection->in).substr(0, end));
    connection->in.clear();
    if (!request.ok()) {
      const std::string why(request.status().message());
      return Send(connection, FormatHttpReply({.status = 400, .body = why + "\n"}, true));
    }
    Ask(connection, *std::move(request));
  }

  void Ask(Connection* connection, HttpRequest request) {
    if (request.method != "GET" && request.method != "HEAD") {
      return Send(connection, FormatHttpReply({.status = 405,
                                               .body = "only GET is answered here\n",
                                               .headers = {"Allow: GET, HEAD"}},
                                              true));
    }
    connection->state = State::kAnswering;
    connection->end_by = INT64_MAX;
    const uint64_t number = connection->number;
    const bool accepted = answerer_->TryPost([this, number, request = std::move(request)] {
      std::string answer = FormatHttpReply(handler_(request), request.method == "GET");
      {
        MutexLock lock(&mu_);
        answers_.emplace_back(number, std::move(answer));
      }
      Wake();
    });
    if (!accepted) Send(connection, FormatHttpReply({.status = 503, .body = "busy\n"}, true));
  }

  // True when the server is to stop.
  bool TakeAnswers() {
    std::vector<std::pair<uint64_t, std::string>> answers;
    {
      MutexLock lock(&mu_);
      if (stopping_) return true;
      answers.swap(answers_);
    }
    for (auto& [number, answer] : answers) {
      for (Connection& connection : connections_) {
        if (connection.number == number) Send(&connection, std::move(answer));
      }
    }
    return false;
  }

  void Send(Connection* connection, std::string answer) {
    connection->state = State::kReading;
    connection->end_by = MonoAfter(Now(), options_.read_limit);
    connection->out = std::move(answer);
    SendAnswer(connection);
  }

  void SendAnswer(Connection* connection) {
    while (connection->sent < connection->out.size()) {
      const ssize_t n = send(connection->fd, connection->out.data() + connection->sent,
                             connection->out.size() - connection->sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        connection->over = true;
        return;
      }
      connection->sent += static_cast<size_t>(n);
    }
    connection->out = {};
    shutdown(connection->fd, SHUT_WR);
    connection->state = State::kEnding;
    connection->end_by = MonoAfter(Now(), kEndLimit);
  }

  const Options options_;
  const Handler handler_;
  const int listener_;
  const int wake_;
  const std::string address_;
  const std::unique_ptr<ThreadPool> answerer_;

  // Of the loop, oldest first.
  std::vector<Connection> connections_;
  uint64_t last_number_ = 0;
  MonoNanos accept_after_ = INT64_MIN;

  Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::pair<uint64_t, std::string>> answers_ ABSL_GUARDED_BY(mu_);

  // Last, for it uses all of the above.
  std::thread loop_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options,
                                                              Handler handler) {
  absl::StatusOr<int> listener = Listen(options.address);
  if (!listener.ok()) return listener.status();
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    close(*listener);
    return absl::UnavailableError(StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  return std::unique_ptr<HttpServer>(new Server(options, std::move(handler), *listener, wake));
}

}  // namespace larder
