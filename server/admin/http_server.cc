// Why not a library: the one at hand, cpp-httplib, gives each connection a thread and limits the
// time of each read, not of a request, so that as many slow clients as there are threads keep
// everybody else out, and a health probe with them. What is needed of HTTP is a page of code
// (http_request.cc).
//
// A connection goes: asking -> answering -> reading the answer -> ending. While it is answered, the
// answering thread has the request and the connection's number, never the connection.
// Ending means that our side is closed and what the client still sends is read and thrown away for
// a moment: closing right away would reset the connection, and the client might lose the answer.

#include "admin/http_server.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "admin/http_socket.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/strings.h"
#include "base/thread_name.h"

namespace larder {
namespace {

constexpr absl::Duration kEndLimit = absl::Seconds(1);
// Descriptors have run out: how long until the next attempt.
constexpr absl::Duration kAcceptRest = absl::Milliseconds(100);

struct Connection {
  enum class State { kAsking, kAnswering, kReading, kEnding };

  int fd;
  uint64_t number;
  MonoNanos end_by;
  std::string peer;
  State state = State::kAsking;
  std::string in = {};
  // While its body is awaited, of which so much.
  std::optional<HttpRequest> request = {};
  size_t body_bytes = 0;
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
        answerer_(ThreadPool::New(
            {.threads = 1, .queue_max = 2 * options.connections_max, .name = "admin-answer"})),
        actor_(ThreadPool::New(
            {.threads = 1, .queue_max = options.posts_waiting_max, .name = "admin-act"})),
        loop_([this] {
          NameThisThread("admin");
          Loop();
        }) {}

  ~Server() override {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    Wake();
    loop_.join();
    answerer_->Shutdown();
    actor_->Shutdown();
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
      sockaddr_storage peer{};
      socklen_t size = sizeof(peer);
      const int fd = accept4(listener_, reinterpret_cast<sockaddr*>(&peer), &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
      // Else the waiting client would wake the loop over and over.
      if (fd < 0 && errno != EAGAIN) accept_after_ = MonoAfter(Now(), kAcceptRest);
      if (fd < 0) return;
      if (connections_.size() >= options_.connections_max) EndSlowest();
      connections_.push_back(
          {fd, ++last_number_, MonoAfter(Now(), options_.ask_limit), PeerOf(peer)});
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
    if (!connection->request.has_value()) {
      const size_t end = connection->in.find("\r\n\r\n", from);
      if (end > options_.head_bytes_max && connection->in.size() > options_.head_bytes_max)
        return Refuse(connection, 431, "too large");
      if (end == std::string::npos) return;
      if (!TakeHead(connection, end)) return;
    }
    if (connection->in.size() < connection->body_bytes) return;
    connection->request->body = connection->in.substr(0, connection->body_bytes);
    connection->in = {};
    Ask(connection, *std::exchange(connection->request, std::nullopt));
  }

  // The head ends at `end`. False: the request is refused, or is none.
  bool TakeHead(Connection* connection, size_t end) {
    absl::StatusOr<HttpRequest> request =
        ParseHttpHead(std::string_view(connection->in).substr(0, end));
    const bool posts = request.ok() && request->method == "POST";
    // What comes with other methods means nothing, and is thrown away at the end.
    const absl::StatusOr<size_t> body = posts ? HttpBodyBytes(*request) : 0;
    if (const absl::Status& wrong = request.ok() ? body.status() : request.status(); !wrong.ok()) {
      Refuse(connection, 400, ToStd(wrong.message()));
      return false;
    }
    if (*body > options_.body_bytes_max) {
      Refuse(connection, 413, StrCat("a body is at most ", options_.body_bytes_max, " bytes"));
      return false;
    }
    connection->in.erase(0, end + 4);
    connection->body_bytes = *body;
    connection->request = *std::move(request);
    connection->request->peer = connection->peer;
    return true;
  }

  void Refuse(Connection* connection, int status, std::string_view why,
              std::vector<std::string> headers = {}) {
    Send(connection,
         FormatHttpReply(
             {.status = status, .body = StrCat(why, "\n"), .headers = std::move(headers)}, true));
  }

  void Ask(Connection* connection, HttpRequest request) {
    const bool posts = request.method == "POST";
    if (!posts && request.method != "GET" && request.method != "HEAD") {
      return Refuse(connection, 405, "only GET and POST are answered here",
                    {"Allow: GET, HEAD, POST"});
    }
    connection->state = State::kAnswering;
    connection->end_by = INT64_MAX;
    const uint64_t number = connection->number;
    ThreadPool* const pool = posts ? actor_.get() : answerer_.get();
    const bool accepted = pool->TryPost([this, number, request = std::move(request)] {
      std::string answer = FormatHttpReply(handler_(request), request.method != "HEAD");
      {
        MutexLock lock(&mu_);
        answers_.emplace_back(number, std::move(answer));
      }
      Wake();
    });
    if (!accepted) Refuse(connection, 503, "busy");
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
  // An act may wait for the disk.
  const std::unique_ptr<ThreadPool> actor_;

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
  absl::StatusOr<int> listener = ListenOn(options.address);
  if (!listener.ok()) return listener.status();
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    close(*listener);
    return absl::UnavailableError(StrCat("cannot make an eventfd: ", strerror(errno)));
  }
  return std::unique_ptr<HttpServer>(new Server(options, std::move(handler), *listener, wake));
}

}  // namespace larder
