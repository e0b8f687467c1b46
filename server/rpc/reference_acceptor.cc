// gRPC can be given connections that somebody else accepted, but does not say when one of them
// ends. So a second descriptor of each is kept, of which nothing is asked but whether both ways are
// shut: gRPC shuts a connection down before it closes it, and the kernel does when the client
// resets it. Rejected: counting at the transport (no part of gRPC's interface), and looking for
// the process's sockets in /proc (work by all of them for each that comes).

#include "rpc/reference_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/clock.h"
#include "base/thread_name.h"

namespace larder {
namespace {

// Of one turn.
constexpr int kAcceptsMax = 64;
constexpr int kEventsMax = 64;
// When nothing can be accepted, it is tried again after so long.
constexpr absl::Duration kStuck = absl::Milliseconds(100);
constexpr std::string_view kEverywhere = "0.0.0.0:";

// For epoll_wait, which is never to come back a little too early.
int MillisUntil(MonoNanos then) {
  const MonoNanos left = then - Clock::System()->Mono();
  return left <= 0 ? 0 : static_cast<int>(left / 1'000'000 + 1);
}

// gRPC's own listener asks this of the kernel. Its pings do not replace it: while a write is
// blocked none is sent, and none is missed.
void EndWhenUnconfirmed(int fd, absl::Duration after) {
  if (after == absl::InfiniteDuration()) return;
  const auto millis =
      static_cast<unsigned>(std::clamp<int64_t>(absl::ToInt64Milliseconds(after), 1, INT32_MAX));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &millis, sizeof(millis));
}

// What gRPC itself makes of that host, where there is IPv6.
absl::StatusOr<std::unique_ptr<NativeListener>> ListenOn(const std::string& address) {
  if (address.starts_with(kEverywhere)) {
    auto both = NativeListener::New("[::]:" + address.substr(kEverywhere.size()));
    if (both.ok()) return both;
  }
  return NativeListener::New(address);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReferenceAcceptor>> ReferenceAcceptor::Listen(
    const Options& options) {
  auto listener = ListenOn(options.address);
  if (!listener.ok()) return listener.status();
  return std::unique_ptr<ReferenceAcceptor>(new ReferenceAcceptor(options, *std::move(listener)));
}

ReferenceAcceptor::ReferenceAcceptor(const Options& options,
                                     std::unique_ptr<NativeListener> listener)
    : connections_max_(options.connections_max),
      connections_per_peer_max_(options.connections_per_peer_max),
      unconfirmed_max_(options.unconfirmed_max),
      // As it was asked for, with the port that it became.
      address_(options.address.substr(0, options.address.rfind(':')) +
               listener->address().substr(listener->address().rfind(':'))),
      listener_(std::move(listener)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  // Out of descriptors at the start of the process: nothing can work.
  if (epoll_ < 0 || wake_ < 0 || !Watch(wake_, EPOLLIN, /*is_new=*/true) ||
      !Watch(listener_->fd(), EPOLLIN, /*is_new=*/true))
    std::abort();
}

ReferenceAcceptor::~ReferenceAcceptor() {
  Stop();
  if (thread_.joinable()) {
    ending_ = true;
    Wake();
    thread_.join();
  }
  while (!hosts_.empty()) Forget(hosts_.begin()->first);
  close(epoll_);
  close(wake_);
}

void ReferenceAcceptor::Start(std::function<void(int)> hand_over) {
  hand_over_ = std::move(hand_over);
  thread_ = std::thread([this] {
    NameThisThread("accept");
    Run();
  });
}

void ReferenceAcceptor::Stop() {
  if (stopping_.exchange(true)) return;
  if (!thread_.joinable()) return listener_.reset();
  Wake();
  stopped_.acquire();
}

void ReferenceAcceptor::Wake() const { eventfd_write(wake_, 1); }

bool ReferenceAcceptor::Watch(int fd, uint32_t events, bool is_new) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0;
}

void ReferenceAcceptor::Run() {
  const int listening = listener_->fd();
  bool stuck = false;
  MonoNanos retry_at = 0;  // while stuck
  while (true) {
    std::array<epoll_event, kEventsMax> events;
    const int count =
        epoll_wait(epoll_, events.data(), kEventsMax,
                   stuck && listener_ != nullptr ? MillisUntil(retry_at) : /*for ever*/ -1);
    // Before what it is for is looked at: what is wanted from here on wakes this thread once more.
    for (int i = 0; i < count; ++i) {
      eventfd_t wakes = 0;
      if (events[static_cast<size_t>(i)].data.fd == wake_) eventfd_read(wake_, &wakes);
    }
    if (ending_) return;
    if (stopping_ && listener_ != nullptr) {
      listener_.reset();  // which takes it out of the epoll
      stopped_.release();
    }
    bool is_called = false;
    bool made_room = false;
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == listening) {
        is_called = true;
      } else if (fd != wake_ && (events[static_cast<size_t>(i)].events & EPOLLHUP) != 0) {
        Forget(fd);
        made_room = true;
      }
    }
    // By the time, and not when nothing happens: connections may end all the while.
    if (stuck) is_called = made_room || Clock::System()->Mono() >= retry_at;
    if (!is_called || listener_ == nullptr) continue;
    // Waiting it would wake this thread again and again.
    const bool was_stuck = std::exchange(stuck, !AcceptSome());
    if (stuck) retry_at = MonoAfter(Clock::System()->Mono(), kStuck);
    if (stuck != was_stuck) Watch(listening, stuck ? 0 : uint32_t{EPOLLIN}, /*is_new=*/false);
  }
}

bool ReferenceAcceptor::AcceptSome() {
  for (int i = 0; i < kAcceptsMax; ++i) {
    int fd = -1;
    std::string host;
    switch (listener_->Accept(&fd, &host)) {
      case NativeListener::Accepted::kNone:
        return true;
      case NativeListener::Accepted::kStuck:
        refused_.fetch_add(1, std::memory_order_relaxed);
        return false;
      case NativeListener::Accepted::kNoDescriptor:
        refused_.fetch_add(1, std::memory_order_relaxed);
        continue;
      case NativeListener::Accepted::kOne:
        Take(fd, std::move(host));
    }
  }
  return true;
}

void ReferenceAcceptor::Take(int fd, std::string host) {
  const auto refuse = [&] {
    refused_.fetch_add(1, std::memory_order_relaxed);
    close(fd);
  };
  if (connections() >= connections_max_ || !peers_.TryAdd(host, connections_per_peer_max_))
    return refuse();
  EndWhenUnconfirmed(fd, unconfirmed_max_);
  const int watched = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  // EPOLLHUP is told in any case; once, so that an error of the socket that gRPC has yet to look at
  // does not wake this thread again and again. Unwatched it would be counted for ever.
  if (watched < 0 || !Watch(watched, EPOLLET, /*is_new=*/true)) {
    if (watched >= 0) close(watched);
    peers_.Remove(host);
    return refuse();
  }
  connections_.fetch_add(1, std::memory_order_relaxed);
  accepted_.fetch_add(1, std::memory_order_relaxed);
  hosts_[watched] = std::move(host);
  hand_over_(fd);
}

void ReferenceAcceptor::Forget(int watched) {
  const auto it = hosts_.find(watched);
  if (it == hosts_.end()) return;
  peers_.Remove(it->second);
  hosts_.erase(it);
  // Its place in the epoll would live on with gRPC's descriptor.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, watched, nullptr);
  close(watched);
  connections_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace larder
