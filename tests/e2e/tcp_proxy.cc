#include "tests/e2e/tcp_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

namespace larder {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

void SetUp(int fd) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

TcpProxy::TcpProxy(int port, std::string first) : target_port_(port), first_(std::move(first)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  {
    std::lock_guard<std::mutex> lock(mu_);
    stop_ = true;
  }
  Wake();
  thread_.join();
  close(listener_);
  close(wake_[0]);
  close(wake_[1]);
}

void TcpProxy::Hold() {
  std::lock_guard<std::mutex> lock(mu_);
  holding_ = true;
}

void TcpProxy::HoldAnswers() {
  std::lock_guard<std::mutex> lock(mu_);
  holding_answers_ = true;
}

void TcpProxy::Release() {
  {
    std::lock_guard<std::mutex> lock(mu_);
    holding_ = false;
    holding_answers_ = false;
  }
  Wake();
}

void TcpProxy::Delay(std::chrono::milliseconds delay) {
  std::lock_guard<std::mutex> lock(mu_);
  delay_ = delay;
}

void TcpProxy::Cut() {
  {
    std::lock_guard<std::mutex> lock(mu_);
    cut_ = true;
  }
  Wake();
}

void TcpProxy::Wake() const {
  const char byte = 0;
  // A full pipe wakes as well.
  (void)!write(wake_[1], &byte, 1);
}

void TcpProxy::Accept() {
  while (connections_.size() < kConnectionsMax) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(target_port_);
    // To a listener of this machine: done or refused at once.
    if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      close(client);
      close(server);
      continue;
    }
    SetUp(client);
    SetUp(server);
    Connection connection;
    connection.up.from = connection.down.to = client;
    connection.up.to = connection.down.from = server;
    if (!first_.empty()) {
      connection.up.held = first_.size();
      connection.up.pieces.push_back({Clock::now(), first_});
    }
    connections_.push_back(std::move(connection));
  }
}

int TcpProxy::Wait(bool answers) {
  Clock::time_point first = Clock::time_point::max();
  for (const Connection& connection : connections_) {
    for (const Way* way : {&connection.up, &connection.down}) {
      if (way == &connection.down && !answers) continue;
      if (!way->pieces.empty()) first = std::min(first, way->pieces.front().due);
    }
  }
  if (first == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(first - Clock::now());
  return static_cast<int>(std::max<int64_t>(left.count(), 0));
}

void TcpProxy::Read(Way* way, Clock::time_point due, bool* dead) {
  char buffer[16384];
  while (!way->ended && way->held < kBytesMax) {
    const ssize_t count = read(way->from, buffer, sizeof(buffer));
    if (count > 0) {
      way->held += static_cast<size_t>(count);
      way->pieces.push_back({due, std::string(buffer, static_cast<size_t>(count))});
    } else if (count == 0) {
      way->ended = true;
    } else {
      *dead |= !WouldBlock();
      return;
    }
  }
}

void TcpProxy::Write(Way* way, Clock::time_point now, bool* dead) {
  while (!way->pieces.empty() && way->pieces.front().due <= now) {
    std::string& bytes = way->pieces.front().bytes;
    const ssize_t count = send(way->to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0) {
      *dead |= !WouldBlock();
      // Asked again soon; the receivers of these tests read what they get.
      if (!*dead) way->pieces.front().due = now + std::chrono::milliseconds(1);
      return;
    }
    way->held -= static_cast<size_t>(count);
    bytes.erase(0, static_cast<size_t>(count));
    if (bytes.empty()) way->pieces.pop_front();
  }
  // An end is passed on when all before it was.
  *dead |= way->ended && way->pieces.empty();
}

void TcpProxy::Run() {
  int timeout = -1;
  while (true) {
    bool holding_up;
    bool holding_down;
    bool cut;
    std::chrono::milliseconds delay;
    {
      std::lock_guard<std::mutex> lock(mu_);
      if (stop_) break;
      holding_up = holding_;
      holding_down = holding_ || holding_answers_;
      delay = delay_;
      cut = std::exchange(cut_, false);
    }
    const Clock::time_point now = Clock::now();
    for (Connection& connection : connections_) {
      connection.dead |= cut;
      if (connection.dead) continue;
      Read(&connection.up, now + delay, &connection.dead);
      if (!holding_up) Write(&connection.up, now, &connection.dead);
      Read(&connection.down, now + delay, &connection.dead);
      if (!holding_down) Write(&connection.down, now, &connection.dead);
    }
    connections_.remove_if([](const Connection& connection) {
      if (!connection.dead) return false;
      close(connection.up.from);
      close(connection.up.to);
      return true;
    });
    Accept();

    std::vector<pollfd> fds = {{wake_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Connection& connection : connections_) {
      for (const Way* way : {&connection.up, &connection.down}) {
        if (!way->ended && way->held < kBytesMax) fds.push_back({way->from, POLLIN, 0});
      }
    }
    timeout = holding_up ? -1 : Wait(/*answers=*/!holding_down);
    poll(fds.data(), fds.size(), timeout);
    char drained[64];
    while (read(wake_[0], drained, sizeof(drained)) > 0) {
    }
  }
  for (const Connection& connection : connections_) {
    close(connection.up.from);
    close(connection.up.to);
  }
}

}  // namespace larder
