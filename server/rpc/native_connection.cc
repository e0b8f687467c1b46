// The end of a connection has three forms. Going away: the client is told twice, first that it
// should begin no more calls (with the highest stream number, so that calls on their way still
// count), and when it has answered a ping, or after a second, where the line was drawn; the
// connection ends with its last call. Punishing: a GOAWAY that says why, and nothing else is read.
// Closing: at once, for peers that are gone or that hold what they were sent.
//
// Reading stops only while the client does not read: what it asks for then has nowhere to go. While
// replies wait for the client's flow control its frames must be read, for they open the window;
// then further calls are held back instead (native_session.cc). A little long, because all that
// ends a connection stands together.

#include "rpc/native_connection.h"

#include <nghttp2/nghttp2.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/random.h"
#include "rpc/native_loop.h"

namespace larder {
namespace {

constexpr MonoNanos kSecond = 1'000'000'000;
// How long a client may take to close after the server has said all.
constexpr MonoNanos kEndingMost = 2 * kSecond;
// Between the two steps of going away, for a client that answers no ping.
constexpr MonoNanos kNoticeMost = kSecond;
// How long what is said to a client that is punished may stay unread.
constexpr MonoNanos kPunishedMost = 2 * kSecond;
// What a client sends at least of a request, and takes of a reply, in a second, beyond the time for
// which it may do nothing.
constexpr size_t kLeastUp = 64 << 10;
constexpr size_t kLeastDown = 4 << 10;
constexpr size_t kQueuedFramesMax = 1'000;
constexpr int64_t kWindowUpdates = 10'000;
constexpr uint32_t kStreamWindow = 1 << 20;
constexpr int32_t kConnectionWindow = 4 << 20;

MonoNanos Nanos(absl::Duration duration) {
  return duration == absl::InfiniteDuration() ? INT64_MAX : absl::ToInt64Nanoseconds(duration);
}

MonoNanos TimeFor(size_t bytes, size_t per_second) {
  return static_cast<MonoNanos>(static_cast<double>(bytes) / static_cast<double>(per_second) *
                                static_cast<double>(kSecond));
}

// `limit` more or less a tenth, so that what came together does not go together.
MonoNanos Spread(MonoNanos limit) {
  if (limit == INT64_MAX) return limit;
  return limit +
         static_cast<MonoNanos>(static_cast<double>(limit) / 10 * Random::System()->NextSigned());
}

}  // namespace

NativeConnection::NativeConnection(NativeLoop* loop, int fd, std::unique_ptr<TlsStream> tls)
    : loop_(loop),
      socket_(fd, std::move(tls)),
      born_(loop->now()),
      age_max_(Spread(Nanos(loop->options().connection_age_max))),
      read_at_(born_),
      written_at_(born_),
      last_call_at_(born_),
      went_well_at_(born_),
      resets_(loop->options().resets_burst, loop->options().resets_per_second, born_),
      faults_(loop->options().faults_burst, loop->options().faults_per_second, born_),
      idle_frames_(loop->options().idle_frames_burst, loop->options().idle_frames_per_second,
                   born_),
      window_updates_left_(kWindowUpdates) {
  if (loop->options().proxied) {
    state_ = State::kProxied;
  } else if (socket_.tls() != nullptr) {
    state_ = State::kHandshake;
  }
}

NativeConnection::~NativeConnection() { DropSession(); }

bool NativeConnection::Begin() {
  events_ = EPOLLIN;
  loop_->Watch(this, events_, /*is_new=*/true);
  if (state_ != State::kOpen) return true;
  if (!BeginSession()) return false;
  Flush();
  return true;
}

bool NativeConnection::BeginSession() {
  if (nghttp2_session_server_new3(&session_, loop_->callbacks(), this, loop_->session_options(),
                                  static_cast<nghttp2_mem*>(loop_->memory()->mem())) != 0) {
    return false;
  }
  const NativeLane::Options& options = loop_->options();
  const std::array<nghttp2_settings_entry, 4> settings = {{
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.streams_max},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(options.metadata_bytes_max)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
  }};
  return nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
             0 &&
         nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) ==
             0;
}

void NativeConnection::HandleEvents(uint32_t events) {
  if (state_ == State::kProxied) return ReadProxyHeader();
  if (state_ == State::kHandshake) return ShakeHandsLater();
  // Until the end of this function the connection is flushed by it alone.
  const bool was_to_flush = std::exchange(to_flush_, true);
  if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) ReadSome();
  to_flush_ = was_to_flush;
  if (!closed()) Flush();
}

bool NativeConnection::may_read() const {
  if (state_ != State::kOpen) return true;
  return output_.empty() || (queued_bytes_ < loop_->options().reply_bytes_max &&
                             nghttp2_session_get_outbound_queue_size(session_) < kQueuedFramesMax);
}

void NativeConnection::ReadSome() {
  size_t want = NativeLoop::kReadBytes;
  while (want > 0 && may_read()) {
    SocketEnd end = SocketEnd::kNone;
    const size_t n = socket_.Read(loop_->read_buffer(), want, &end);
    if (n == 0) {
      if (end == SocketEnd::kClosed) Close();
      return;
    }
    read_at_ = loop_->now();
    if (state_ == State::kOpen && !punished_) Feed({loop_->read_buffer(), n});
    if (closed()) return;
    // What OpenSSL holds is not announced by the socket.
    want = socket_.tls() == nullptr ? 0 : std::min(socket_.tls()->pending(), want);
  }
}

void NativeConnection::Feed(std::string_view bytes) {
  const ssize_t taken = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (taken >= 0 || punished_) return;
  switch (taken) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
      loop_->Count(NativeCounter::kNotHttp2);
      return Close();
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
      return Punish(NativeCounter::kContinuationFloods);
    case NGHTTP2_ERR_FLOODED:
      return Punish(NativeCounter::kFrameFloods);
    default:
      return Punish(NativeCounter::kProtocolErrors);
  }
}

void NativeConnection::Punish(NativeCounter counter, uint32_t error) {
  if (std::exchange(punished_, true)) return;
  loop_->Count(counter);
  going_ = Going::kSaid;
  going_since_ = loop_->now();
  // gRPC clients know the first of these words and ping less often.
  const std::string_view why = counter == NativeCounter::kPingFloods
                                   ? std::string_view("too_many_pings")
                                   : kNativeCounterNames[static_cast<size_t>(counter)];
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_),
                        error == 0 ? static_cast<uint32_t>(NGHTTP2_ENHANCE_YOUR_CALM) : error,
                        reinterpret_cast<const uint8_t*>(why.data()), why.size());
  loop_->FlushLater(this);
}

void NativeConnection::Flush() {
  if (state_ == State::kOpen) {
    do {
      WriteOut();
    } while (!closed() && output_.empty() && !punished_ && DispatchHeld());
    if (closed()) return;
    while (!unconfirmed_.empty() && unconfirmed_.front().first <= written_bytes_) {
      unconfirmed_.pop_front();
    }
    EndIfDone();
  }
  if (!closed()) SetEvents();
}

void NativeConnection::WriteOut() {
  size_t written = 0;
  bool open = output_.WriteLeft(&socket_, &written);
  if (output_.empty()) written_at_ = loop_->now();
  OutputBatch* const batch = loop_->batch();
  while (open && output_.empty()) {
    batch->Clear();
    Gather();
    if (batch->bytes() == 0) break;
    gathered_bytes_ += batch->bytes();
    open = output_.WriteBatch(&socket_, *batch, &written);
  }
  batch->Clear();
  written_bytes_ += written;
  if (output_.empty()) written_at_ = loop_->now();
  if (!open) Close();
}

void NativeConnection::SetEvents() {
  const uint32_t events = (may_read() ? uint32_t{EPOLLIN} : 0) |
                          (!output_.empty() || wants_write_ ? uint32_t{EPOLLOUT} : 0);
  if (events != events_) {
    events_ = events;
    loop_->Watch(this, events, /*is_new=*/false);
  }
  // What OpenSSL has read already the socket will not tell of.
  if ((events & EPOLLIN) == 0 || state_ != State::kOpen || socket_.tls() == nullptr ||
      socket_.tls()->pending() == 0) {
    return;
  }
  ReadSome();
  if (!closed()) loop_->FlushLater(this);
}

void NativeConnection::EndIfDone() {
  if (!output_.empty() || nghttp2_session_want_write(session_) != 0) return;
  if (punished_) return End();
  if (nghttp2_session_want_read(session_) == 0 || (going_ == Going::kSaid && call_count_ == 0)) {
    End();
  }
}

void NativeConnection::DropSession() {
  while (calls_ != nullptr) Release(calls_, /*delivered=*/false);
  if (session_ != nullptr) nghttp2_session_del(std::exchange(session_, nullptr));
}

void NativeConnection::End() {
  state_ = State::kEnding;
  ending_since_ = loop_->now();
  DropSession();
  socket_.EndWriting();
}

void NativeConnection::Close() {
  if (closed()) return;
  state_ = State::kClosed;
  DropSession();
  for (auto& [position, undelivered] : unconfirmed_) undelivered();
  unconfirmed_.clear();
  loop_->Remove(this);
}

void NativeConnection::GoAway() {
  if (state_ == State::kProxied || state_ == State::kHandshake) return Close();
  if (state_ != State::kOpen || going_ != Going::kNo) return;
  going_ = Going::kNoticed;
  going_since_ = loop_->now();
  nghttp2_submit_shutdown_notice(session_);  // the ping follows it: OnGoAwaySent
  loop_->FlushLater(this);
}

void NativeConnection::SayGoodbye() {
  going_ = Going::kSaid;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  loop_->FlushLater(this);
}

void NativeConnection::Tick() {
  const MonoNanos now = loop_->now();
  const MonoNanos handshake = Nanos(loop_->options().handshake_timeout);
  switch (state_) {
    case State::kProxied:
    case State::kHandshake:
      if (now - born_ < handshake) return;
      loop_->Count(NativeCounter::kHandshakeTimeouts);
      return Close();
    case State::kEnding:
      if (now - ending_since_ >= kEndingMost) Close();
      return;
    case State::kClosed:
      return;
    case State::kOpen:
      break;
  }
  if (!client_spoke_ && now - born_ >= handshake) {
    loop_->Count(NativeCounter::kHandshakeTimeouts);
    return Close();
  }
  if (punished_ && now - going_since_ >= kPunishedMost) return Close();
  if (!output_.empty() && now - written_at_ >= Nanos(loop_->options().stall_timeout)) {
    loop_->Count(NativeCounter::kUnreadOutput);
    return Close();
  }
  if (!settings_known_ && now - born_ >= handshake) return Punish(NativeCounter::kSettingsTimeouts);
  if (headers_since_ != 0 && now - headers_since_ >= handshake) {
    return Punish(NativeCounter::kHeaderTimeouts);
  }
  TickSession();
}

void NativeConnection::TickSession() {
  const MonoNanos now = loop_->now();
  if (going_ == Going::kNoticed && now - going_since_ >= kNoticeMost) SayGoodbye();
  if (is_old_ && now - going_since_ >= Nanos(loop_->options().connection_age_grace)) return Close();
  if (going_ == Going::kNo && now - born_ >= age_max_) {
    loop_->Count(NativeCounter::kClosedOld);
    is_old_ = true;
    GoAway();
  }
  if (going_ == Going::kNo && call_count_ == 0 &&
      now - last_call_at_ >= Nanos(loop_->options().connection_idle_max)) {
    loop_->Count(NativeCounter::kClosedIdle);
    GoAway();
  }
  // Whoever filled the loop's budget may have been somebody else, who tells nobody when he is done.
  if (!held_.empty() && may_begin()) loop_->FlushLater(this);
  if (!TickKeepalive()) return;
  if (unfinished_requests_ > 0 || queued_bytes_ > 0) TickCalls();
}

bool NativeConnection::TickKeepalive() {
  const MonoNanos now = loop_->now();
  if (!may_read()) return true;
  if (pinged_at_ != 0 && read_at_ >= pinged_at_) pinged_at_ = 0;
  if (pinged_at_ != 0) {
    if (now - pinged_at_ < Nanos(loop_->options().keepalive_timeout)) return true;
    loop_->Count(NativeCounter::kKeepaliveTimeouts);
    Close();
    return false;
  }
  if (now - read_at_ < Nanos(loop_->options().keepalive_time)) return true;
  pinged_at_ = now;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  loop_->FlushLater(this);
  return true;
}

void NativeConnection::TickCalls() {
  const MonoNanos now = loop_->now();
  for (NativeCall* call = calls_; call != nullptr && !punished_; call = call->next_) {
    if (call->given_up_) continue;
    if (now < call->deadline()) {
      if (IsHalfSaid(*call)) {
        if (IsSlow(*call)) GiveUp(call, NativeCounter::kRequestTimeouts);
      } else if (IsStalled(*call)) {
        GiveUp(call, NativeCounter::kStalledStreams);
      }
    } else if (IsHalfSaid(*call)) {
      HandleDeadline(call);
      if (IsNoUse(*call, Nanos(loop_->options().request_timeout)))
        Punish(NativeCounter::kRequestTimeouts);
    } else if (call->queued_bytes_ > 0 && call->ended_ && call->end_ == nullptr) {
      // Nobody waits for it any more.
      GiveUp(call, NativeCounter::kStalledStreams);
    }
  }
}

bool NativeConnection::IsHalfSaid(const NativeCall& call) const {
  return !call.request_done_ && !call.takes_stream_ && !call.ended_;
}

bool NativeConnection::IsSlow(const NativeCall& call) const {
  const MonoNanos most = Nanos(loop_->options().request_timeout);
  return loop_->now() - call.moved_at_ >= most ||
         (most != INT64_MAX &&
          loop_->now() - call.started() >= most + TimeFor(call.reader_.held_bytes(), kLeastUp));
}

bool NativeConnection::IsStalled(const NativeCall& call) const {
  if (call.queued_bytes_ == 0) return false;
  const MonoNanos now = loop_->now();
  const MonoNanos most = Nanos(loop_->options().stall_timeout);
  const bool by_itself = nghttp2_session_get_stream_remote_window_size(session_, call.stream_) <= 0;
  // What waits for its turn waits for all that is before it.
  const MonoNanos moved_at = by_itself ? call.moved_at_ : std::max(call.moved_at_, went_well_at_);
  const size_t before = by_itself ? call.queued_bytes_ : queued_bytes_;
  // Who takes a byte now and then holds it as long as who takes none.
  return now - moved_at >= most ||
         (most != INT64_MAX && now - call.queued_at_ >= most + TimeFor(before, kLeastDown));
}

void NativeConnection::GiveUp(NativeCall* call, NativeCounter counter) {
  const absl::Duration most = counter == NativeCounter::kRequestTimeouts
                                  ? loop_->options().request_timeout
                                  : loop_->options().stall_timeout;
  if (IsNoUse(*call, Nanos(most))) return Punish(counter);
  loop_->Count(counter);
  call->given_up_ = true;
  ResetStream(call, NGHTTP2_CANCEL);
}

// A client whose other calls go well, or wait for their answers, may have lost this one.
bool NativeConnection::IsNoUse(const NativeCall& call, MonoNanos most) {
  if (no_use_since_ <= went_well_at_) no_use_since_ = std::max(call.started(), went_well_at_ + 1);
  if (loop_->now() - no_use_since_ < most) return false;
  for (const NativeCall* other = calls_; other != nullptr; other = other->next_) {
    if (other != &call && other->handler_runs_ && !other->takes_stream_) return false;
  }
  return true;
}

void NativeConnection::Link(NativeCall* call) {
  call->next_ = calls_;
  if (calls_ != nullptr) calls_->previous_ = call;
  calls_ = call;
  ++call_count_;
  ++unfinished_requests_;
  last_call_at_ = loop_->now();
}

void NativeConnection::Unlink(NativeCall* call) {
  (call->previous_ == nullptr ? calls_ : call->previous_->next_) = call->next_;
  if (call->next_ != nullptr) call->next_->previous_ = call->previous_;
  --call_count_;
  if (!call->request_done_) --unfinished_requests_;
  large_header_bytes_ -= call->large_header_bytes_;
  request_bytes_ -= call->request_bytes_;
  if (call->is_message_stream_) --message_streams_;
  if (call->held_) held_.erase(std::find(held_.begin(), held_.end(), call));
  if (in_headers_ == call) in_headers_ = nullptr;
  if (in_data_ == call) in_data_ = nullptr;
  loop_->CancelDeadlineTimer(call);
  Unqueue(call);
  call->connection_ = nullptr;
}

void NativeConnection::Release(NativeCall* call, bool delivered) {
  Unlink(call);
  if (!call->handler_runs_) {
    Work undelivered = call->TakeUndelivered();
    loop_->FreeCall(call);
    if (!undelivered) return;
    if (delivered) {
      unconfirmed_.emplace_back(gathered_bytes_ + loop_->batch()->bytes(), std::move(undelivered));
    } else {
      undelivered();
    }
    return;
  }
  if (!call->ended_) loop_->Count(NativeCounter::kCallsCancelled);
  const std::shared_ptr<Signal<bool>> sent = call->sending_ ? std::move(call->sent_) : nullptr;
  call->sending_ = false;
  if (sent != nullptr) sent->TrySet(false);
  if (call->inbox_ != nullptr) call->Deliver(std::nullopt);
  call->CancelHandler();
}

}  // namespace larder
