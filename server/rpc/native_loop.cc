// A turn: events of sockets, each answered with one write where all its calls were hits; then what
// other threads posted, taken together, and the connections that this touched flushed once each;
// then deadlines; every so often the time limits of some connections. So ten thousand answers that
// were waiting for one load cost a few turns and one write for each connection, not ten thousand
// wake-ups.
//
// A thread that posts writes to the eventfd only when the loop sleeps or is about to: the loop says
// so before it looks at its queue for the last time, and the poster looks after it has queued, so
// that one of the two sees the other.
//
// While calls are refused because there is too much to do, turns begin a quarter of a millisecond
// apart: to wake up for each call that comes, only to refuse it, takes the time that the others
// wait for.
//
// Connections are freed at the end of the turn: an event of this turn may still name one that
// another event ended. A little long, because what a turn does, and what it keeps account of,
// stands together.

#include "rpc/native_loop.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "base/thread_name.h"
#include "base/turn.h"
#include "rpc/native_call.h"
#include "rpc/native_connection.h"

namespace larder {
namespace {

constexpr int kEventsMax = 256;
constexpr size_t kFreeCallsMax = 1024;
constexpr size_t kFreeRequestsMax = 1024;
constexpr size_t kWorkAtOnce = 64;
// Ten thousand connections, none of which is in the processor's caches, would hold up the calls of
// the others for ten milliseconds.
constexpr size_t kTickedAtOnce = 200;
// That a loop may hold in any case: with a smaller share no call of the largest ones would ever
// work.
constexpr uint64_t kLargestMessages = 4;
// The same for one address.
constexpr uint64_t kLargestMessagesOfPeer = 3;
constexpr absl::Duration kGather = absl::Microseconds(250);
constexpr absl::Duration kTickMost = absl::Seconds(1);
constexpr absl::Duration kTickLeast = absl::Milliseconds(10);

// Often enough for the shortest time limit.
absl::Duration TickOf(const NativeLane::Options& options) {
  absl::Duration tick = kTickMost;
  for (const absl::Duration limit :
       {options.handshake_timeout, options.request_timeout, options.stall_timeout,
        options.keepalive_time, options.keepalive_timeout, options.connection_age_max,
        options.connection_age_grace, options.connection_idle_max}) {
    tick = std::min(tick, limit / 8);
  }
  return std::max(tick, kTickLeast);
}

// Bounds of nghttp2's own, a little beyond ours, which are counted.
nghttp2_option* NewSessionOptions(const NativeLane::Options& options) {
  nghttp2_option* session = nullptr;
  if (nghttp2_option_new(&session) != 0) std::abort();
  nghttp2_option_set_no_closed_streams(session, 1);
  nghttp2_option_set_no_auto_ping_ack(session, 1);
  nghttp2_option_set_max_outbound_ack(session, 1'000);
  nghttp2_option_set_max_settings(session, 32);
  nghttp2_option_set_max_continuations(session, 8);
  nghttp2_option_set_stream_reset_rate_limit(session, 2 * uint64_t{options.resets_burst} + 1,
                                             2 * uint64_t{options.resets_per_second} + 1);
  return session;
}

}  // namespace

thread_local NativeLoop* NativeLoop::current_ = nullptr;

NativeLoop::Wakeup::Wakeup() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) std::abort();
}

NativeLoop::Wakeup::~Wakeup() { close(fd_); }

NativeLoop::NativeLoop(NativeShared* shared)
    : shared_(shared),
      tick_every_(absl::ToInt64Nanoseconds(TickOf(shared->options))),
      charged_bytes_max_(std::max<uint64_t>(
          shared->options.buffer_bytes_max / static_cast<uint64_t>(shared->options.loops),
          kLargestMessages * shared->options.message_bytes_max)),
      peer_bytes_max_(std::max<uint64_t>(
          shared->options.buffer_bytes_per_peer_max / static_cast<uint64_t>(shared->options.loops),
          kLargestMessagesOfPeer * shared->options.message_bytes_max)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wakeup_(std::make_shared<const Wakeup>()),
      callbacks_(NativeConnection::NewCallbacks()),
      session_options_(NewSessionOptions(shared->options)),
      read_buffer_(new char[kReadBytes]) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // of the wake-up
  if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, wakeup_->fd(), &event) != 0) std::abort();
}

NativeLoop::~NativeLoop() {
  Stop();
  for (void* memory : free_calls_) ::operator delete(memory);
  nghttp2_option_del(session_options_);
  nghttp2_session_callbacks_del(callbacks_);
  close(epoll_);
}

void NativeLoop::Start(int number) {
  thread_ = std::thread([this, number] {
    NameThisThread(NumberedThreadName("native", number));
    Run();
  });
}

void NativeLoop::Stop() {
  if (!thread_.joinable()) return;
  PostWork([this] {
    MutexLock lock(&mu_);
    stopping_ = true;
  });
  thread_.join();
}

void NativeLoop::Post(NativeCall* call) {
  std::shared_ptr<const Wakeup> wakeup;  // which the loop may not outlive
  {
    MutexLock lock(&mu_);
    posted_.push_back(call);
    if (!asleep_.exchange(false)) return;
    wakeup = wakeup_;
  }
  // Once for all the answers that a worker has at hand.
  AtTurnEnd([wakeup = std::move(wakeup)] { eventfd_write(wakeup->fd(), 1); });
}

void NativeLoop::PostWork(Work work) {
  std::shared_ptr<const Wakeup> wakeup;
  {
    MutexLock lock(&mu_);
    work_.push_back(std::move(work));
    if (!asleep_.exchange(false)) return;
    wakeup = wakeup_;
  }
  eventfd_write(wakeup->fd(), 1);
}

void NativeLoop::Run() {
  current_ = this;
  MonoNanos turn = LookAtClock();
  while (true) {
    if (shared_->dispatcher->IsOverloadedAt(turn) && handshakes_.empty() && taken_work_.empty())
      Gather(turn);
    asleep_.store(true);
    int millis = handshakes_.empty() ? WaitMillis() : 0;
    {
      MutexLock lock(&mu_);
      if (stopping_) return;
      if (!posted_.empty() || !work_.empty() || !taken_work_.empty()) millis = 0;
    }
    HandleEvents(millis);
    turn = now_;
    HandlePosted();
    FlushAll();
    HandleDeadlines();
    HandleHandshakes();
    if (now_ >= next_tick_) Tick();
    FlushAll();
    removed_.clear();
  }
}

void NativeLoop::Gather(MonoNanos since) {
  const MonoNanos left = MonoAfter(since, kGather) - LookAtClock();
  if (left > 0) absl::SleepFor(absl::Nanoseconds(left));
}

int NativeLoop::WaitMillis() const {
  MonoNanos until = next_tick_;
  if (!deadlines_.empty()) until = std::min(until, deadlines_.begin()->first);
  const MonoNanos left = std::max<MonoNanos>(until - now_, 0);
  return static_cast<int>((left + 999'999) / 1'000'000);
}

void NativeLoop::HandleEvents(int millis) {
  std::array<epoll_event, kEventsMax> events;
  const int count = epoll_wait(epoll_, events.data(), kEventsMax, millis);
  asleep_.store(false);
  LookAtClock();
  for (int i = 0; i < count; ++i) {
    void* const of = events[i].data.ptr;
    if (of == nullptr) {
      eventfd_t ignored;
      eventfd_read(wakeup_->fd(), &ignored);
    } else if (of == &listener_) {
      if (listener_ >= 0) accept_();
    } else {
      auto* const connection = static_cast<NativeConnection*>(of);
      if (!connection->closed()) connection->HandleEvents(events[i].events);
    }
  }
}

void NativeLoop::HandlePosted() {
  {
    MutexLock lock(&mu_);
    taken_.swap(posted_);
    if (taken_work_.empty()) taken_work_.swap(work_);
  }
  if (taken_.empty() && taken_work_.empty()) return;
  LookAtClock();
  for (NativeCall* call : taken_) TakeOver(call);
  taken_.clear();
  // Ten thousand callers of one key may go on at once: hits do not wait for all of them.
  for (size_t i = 0; i < kWorkAtOnce && !taken_work_.empty(); ++i) {
    Work work = std::move(taken_work_.front());
    taken_work_.pop_front();
    work();
  }
}

void NativeLoop::TakeOver(NativeCall* call) {
  NativeConnection* const connection = call->connection_;
  if (!call->answered_) {
    if (connection != nullptr && !call->ended_) return connection->TakeMessage(call);
    // The handler goes on in vain, until it has answered.
    const std::shared_ptr<Signal<bool>> sent = std::move(call->sent_);
    sent->TrySet(false);
    return;
  }
  call->handler_runs_ = false;
  if (connection != nullptr) return connection->TakeAnswer(call);
  Work undelivered = call->TakeUndelivered();
  FreeCall(call);
  if (undelivered) undelivered();
}

void NativeLoop::ShakeHandsLater(NativeConnection* connection) {
  if (connection->handshake_turn() != 0) return;
  connection->set_handshake_turn(next_handshake_turn_++);
  handshakes_.emplace(connection->handshake_turn(), connection);
}

void NativeLoop::HandleHandshakes() {
  if (handshakes_.empty()) return;
  NativeConnection* const connection = handshakes_.begin()->second;
  handshakes_.erase(handshakes_.begin());
  connection->set_handshake_turn(0);
  connection->ShakeHands();
}

void NativeLoop::HandleDeadlines() {
  if (deadlines_.empty()) return;
  LookAtClock();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    NativeCall* const call = deadlines_.begin()->second;
    CancelDeadlineTimer(call);
    if (call->connection_ != nullptr) call->connection_->HandleDeadline(call);
  }
}

void NativeLoop::Tick() {
  if (std::exchange(listening_paused_, false) && listener_ >= 0) WatchListener(EPOLLIN);
  // Those that have gone need no looking at.
  to_tick_ = std::min(to_tick_, all_.size());
  if (to_tick_ == 0) {
    to_tick_ = all_.size();
    next_tick_ = now_;
  }
  next_tick_ += tick_every_ / static_cast<MonoNanos>(all_.size() / kTickedAtOnce + 1);
  // From the end: a connection that is removed leaves its place to the last one.
  for (size_t i = 0; i < kTickedAtOnce && to_tick_ > 0; ++i, --to_tick_) {
    if (to_tick_ <= all_.size()) all_[to_tick_ - 1]->Tick();
  }
}

void NativeLoop::FlushLater(NativeConnection* connection) {
  if (connection->to_flush()) return;
  connection->set_to_flush(true);
  to_flush_.push_back(connection);
}

void NativeLoop::FlushAll() {
  // Flushing may let calls begin that touch the connection again.
  for (size_t i = 0; i < to_flush_.size(); ++i) {
    NativeConnection* const connection = to_flush_[i];
    connection->set_to_flush(false);
    if (!connection->closed()) connection->Flush();
  }
  to_flush_.clear();
}

void NativeLoop::Listen(int fd, absl::AnyInvocable<void()> ready) {
  listener_ = fd;
  accept_ = std::move(ready);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &listener_;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

void NativeLoop::WatchListener(uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &listener_;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, listener_, &event);
}

void NativeLoop::PauseListening() {
  listening_paused_ = true;
  WatchListener(0);
}

void NativeLoop::StopListening() {
  if (listener_ < 0) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
  listener_ = -1;
}

void NativeLoop::Adopt(int fd, std::string host) {
  std::unique_ptr<TlsStream> tls;
  if (options().tls != nullptr) {
    tls = options().tls->Accept(fd);
    if (tls == nullptr) {
      close(fd);
      connections_.fetch_sub(1, std::memory_order_relaxed);
      shared_->connections.fetch_sub(1);
      shared_->peers.Remove(host);
      return;
    }
  }
  auto connection = std::make_unique<NativeConnection>(this, fd, std::move(tls));
  Count(NativeCounter::kAccepted);
  NativePeer* const peer = AddToPeer(host);
  connection->set_host(std::move(host), peer);
  connection->set_place(all_.size());
  all_.push_back(connection.get());
  NativeConnection* const adopted = connection.release();
  if (!adopted->Begin()) adopted->Close();
}

void NativeLoop::GoAway() {
  for (size_t i = all_.size(); i > 0; --i) {
    if (i <= all_.size()) all_[i - 1]->GoAway();
  }
}

void NativeLoop::CloseAll() {
  while (!all_.empty()) all_.back()->Close();
}

void NativeLoop::Watch(NativeConnection* connection, uint32_t events, bool is_new) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = connection;
  epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, connection->fd(), &event);
}

void NativeLoop::Remove(NativeConnection* connection) {
  epoll_ctl(epoll_, EPOLL_CTL_DEL, connection->fd(), nullptr);
  all_[connection->place()] = all_.back();
  all_[connection->place()]->set_place(connection->place());
  all_.pop_back();
  if (connection->handshake_turn() != 0) handshakes_.erase(connection->handshake_turn());
  Count(NativeCounter::kClosed);
  connections_.fetch_sub(1, std::memory_order_relaxed);
  shared_->connections.fetch_sub(1);
  shared_->peers.Remove(connection->host());
  RemoveFromPeer(connection->peer());
  removed_.emplace_back(connection);
}

NativeCall* NativeLoop::NewCall(NativeConnection* connection, int32_t stream) {
  void* memory = nullptr;
  if (free_calls_.empty()) {
    memory = ::operator new(sizeof(NativeCall));
  } else {
    memory = free_calls_.back();
    free_calls_.pop_back();
  }
  calls_.fetch_add(1, std::memory_order_relaxed);
  return new (memory) NativeCall(this, connection, stream, now_, options().message_bytes_max);
}

void NativeLoop::FreeCall(NativeCall* call) {
  Discharge(call->peer_, call->charged_bytes_);
  call->~NativeCall();
  calls_.fetch_sub(1, std::memory_order_relaxed);
  if (NativeMemory::Keeps() && free_calls_.size() < kFreeCallsMax) {
    free_calls_.push_back(call);
  } else {
    ::operator delete(call);
  }
}

std::unique_ptr<google::protobuf::Message> NativeLoop::TakeRequest(const Method& method) {
  for (FreeRequests& free : free_requests_) {
    if (free.method != &method || free.requests.empty()) continue;
    std::unique_ptr<google::protobuf::Message> request = std::move(free.requests.back());
    free.requests.pop_back();
    return request;
  }
  return std::unique_ptr<google::protobuf::Message>(method.request->New());
}

void NativeLoop::KeepRequest(const Method& method,
                             std::unique_ptr<google::protobuf::Message> request) {
  if (!NativeMemory::Keeps()) return;
  const auto at = std::find_if(free_requests_.begin(), free_requests_.end(),
                               [&](const FreeRequests& free) { return free.method == &method; });
  FreeRequests& free =
      at == free_requests_.end() ? free_requests_.emplace_back(FreeRequests{&method, {}}) : *at;
  if (free.requests.size() >= kFreeRequestsMax) return;
  request->Clear();
  free.requests.push_back(std::move(request));
}

void NativeLoop::SetDeadlineTimer(NativeCall* call) {
  if (call->deadline() == INT64_MAX || call->has_deadline_timer_) return;
  call->has_deadline_timer_ = true;
  deadlines_.emplace(call->deadline(), call);
}

void NativeLoop::CancelDeadlineTimer(NativeCall* call) {
  if (!call->has_deadline_timer_) return;
  call->has_deadline_timer_ = false;
  deadlines_.erase({call->deadline(), call});
}

NativePeer* NativeLoop::AddToPeer(const std::string& host) {
  if (host.empty()) return &nobody_;
  std::unique_ptr<NativePeer>& peer = peers_[host];
  if (peer == nullptr) peer = std::make_unique<NativePeer>(NativePeer{.host = host});
  ++peer->connections;
  return peer.get();
}

void NativeLoop::RemoveFromPeer(NativePeer* peer) {
  if (peer == &nobody_) return;
  --peer->connections;
  ForgetPeerIfIdle(peer);
}

void NativeLoop::ForgetPeerIfIdle(NativePeer* peer) {
  if (peer->connections > 0 || peer->bytes > 0 || peer == &nobody_) return;
  peers_.erase(peers_.find(peer->host));
}

bool NativeLoop::TryCharge(NativePeer* peer, size_t bytes) {
  if (charged_bytes_ + bytes > charged_bytes_max_) return false;
  if (peer != &nobody_ && peer->bytes + bytes > peer_bytes_max_) {
    Count(NativeCounter::kCallsOverPeerBudget);
    return false;
  }
  Charge(peer, bytes);
  return true;
}

void NativeLoop::Charge(NativePeer* peer, size_t bytes) {
  peer->bytes += bytes;
  charged_bytes_ += bytes;
}

void NativeLoop::Discharge(NativePeer* peer, size_t bytes) {
  // A call that holds nothing may be the last of a peer that is gone.
  if (bytes == 0) return;
  charged_bytes_ -= bytes;
  peer->bytes -= bytes;
  ForgetPeerIfIdle(peer);
}

}  // namespace larder
