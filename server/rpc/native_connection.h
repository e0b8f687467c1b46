// NativeConnection is one client's connection on the native lane: its socket, its HTTP/2 session
// and its calls. native_connection.cc has the socket, time limits and ends; native_session.cc what
// the session reports; native_reply.cc what goes out.
//
// Thread safety: none; it is its loop's. Never blocks. A client that does something wrong loses the
// call or the connection, and a counter says why.

#ifndef LARDER_RPC_NATIVE_CONNECTION_H_
#define LARDER_RPC_NATIVE_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/executor.h"
#include "rpc/native_call.h"
#include "rpc/native_counters.h"
#include "rpc/native_services.h"
#include "rpc/native_socket.h"

struct nghttp2_rcbuf;
struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace larder {

class NativeLoop;

class NativeConnection {
 public:
  NativeConnection(NativeLoop* loop, int fd, std::unique_ptr<TlsStream> tls);
  ~NativeConnection();

  // The session's callbacks, for all connections.
  static nghttp2_session_callbacks* NewCallbacks();

  // False when it could not begin; then it is to be freed.
  bool Begin();

  std::string PeerAddress() const { return socket_.PeerAddress(); }

  // What epoll reported.
  void HandleEvents(uint32_t events);
  // Sends what there is.
  void Flush();
  // Looks at the time limits.
  void Tick();
  // Asks the client to go; running calls end first.
  void GoAway();
  // Ends it at once; its calls are cancelled.
  void Close();

  // What a handler left with `call`, one of this connection.
  void TakeAnswer(NativeCall* call);
  void TakeMessage(NativeCall* call);
  void HandleDeadline(NativeCall* call);

  bool closed() const { return state_ == State::kClosed; }
  int fd() const { return socket_.fd(); }
  // The address that it is counted for; empty for none.
  const std::string& host() const { return host_; }
  // What that address holds on this loop. REQUIRES: it is known.
  NativePeer* peer() const { return peer_; }
  void set_host(std::string host, NativePeer* peer) {
    host_ = std::move(host);
    peer_ = peer;
  }
  size_t place() const { return place_; }
  void set_place(size_t place) { place_ = place; }
  // Goes on with the handshake, as far as it goes.
  void ShakeHands();
  // Its turn among the loop's handshakes; 0: it waits for none.
  uint64_t handshake_turn() const { return handshake_turn_; }
  void set_handshake_turn(uint64_t turn) { handshake_turn_ = turn; }

  bool to_flush() const { return to_flush_; }
  void set_to_flush(bool to_flush) { to_flush_ = to_flush; }

 private:
  friend struct NativeSessionCallbacks;

  enum class State {
    kProxied,    // waits for a balancer to say whom it speaks for
    kHandshake,  // of TLS
    kOpen,
    kEnding,  // everything is said; waits for the client to close
    kClosed,
  };
  enum class Going { kNo, kNoticed, kSaid };

  // native_greeting.cc
  void ReadProxyHeader();
  void ShakeHandsLater();

  // native_connection.cc
  bool BeginSession();
  void ReadSome();
  void Feed(std::string_view bytes);
  void SetEvents();
  bool may_read() const;
  void SayGoodbye();
  // Ends a connection that misbehaves: says so, if it can, and counts. `error` is one of HTTP/2's;
  // 0: that it does too much.
  void Punish(NativeCounter counter, uint32_t error = 0);
  // Ends it when everything is said.
  void EndIfDone();
  // Says nothing more, and waits a little for the client to close: to close first could cost it
  // what it has not read yet.
  void End();
  void DropSession();
  void WriteOut();
  void TickSession();
  void TickCalls();
  // Whether the client lets the call wait: with the rest of the request, or with room for the
  // reply.
  bool IsHalfSaid(const NativeCall& call) const;
  bool IsSlow(const NativeCall& call) const;
  bool IsStalled(const NativeCall& call) const;
  // Ends such a call.
  void GiveUp(NativeCall* call, NativeCounter counter);
  // True when such calls are all that the client has had for `most`.
  bool IsNoUse(const NativeCall& call, MonoNanos most);
  bool TickKeepalive();

  // native_session.cc: what the session reports.
  // Counts a call that is refused for what is wrong with the client, once; too many of them are
  // punished.
  void CountFault(NativeCall* call);
  void OnBeginFrame(uint8_t type, uint8_t flags, size_t length, int32_t stream);
  void OnBeginHeaders(int32_t stream, bool is_request);
  void OnHeader(nghttp2_rcbuf* name, nghttp2_rcbuf* value);
  void OnHeadersEnd(bool is_request);
  void OnData(NativeCall* call, std::string_view data);
  void OnStreamClose(NativeCall* call, uint32_t error);
  void OnGoAwaySent();
  void OnResetSent(uint32_t error);
  void OnNotSent(NativeCall* call);
  void OnPing(bool ack, const uint8_t* data);
  void OnSettings(bool ack);
  void ReadHeader(NativeCall* call, nghttp2_rcbuf* name, nghttp2_rcbuf* value);
  void ReadPath(NativeCall* call, std::string_view path);
  void ReadMessage(NativeCall* call, std::string_view message);
  // Accounts for the headers that `call` keeps; false when that is too much.
  bool ChargeHeaders(NativeCall* call);
  // Accounts for `bytes` that the request of `call` holds, where it held other ones before; false
  // when that is too much.
  bool ChargeRequest(NativeCall* call, size_t bytes);
  void OnRequestEnd(NativeCall* call);
  void RefuseForRoom(NativeCall* call);
  void RefuseRequest(NativeCall* call, const absl::Status& status);
  // False while enough replies wait to be sent, or enough calls came before a word about settings.
  bool may_begin() const;
  void Dispatch(NativeCall* call);
  void Run(NativeCall* call);
  // Begins calls that waited, while there is room. False when none began.
  bool DispatchHeld();

  // native_reply.cc
  void Gather();
  void SubmitReply(NativeCall* call);
  void SubmitEnd(NativeCall* call, std::unique_ptr<WireError> error);
  void SubmitHttpError(NativeCall* call, int status);
  void SubmitTrailers(NativeCall* call);
  void ResetStream(NativeCall* call, uint32_t error);
  long NextData(NativeCall* call, size_t room, uint32_t* flags);  // NOLINT: as nghttp2 has it
  int SendData(NativeCall* call, std::string_view frame_header, size_t length);
  void MessageSent(NativeCall* call);
  void Queue(NativeCall* call, size_t bytes);
  void Unqueue(NativeCall* call);

  void Link(NativeCall* call);
  void Unlink(NativeCall* call);
  // Cuts the call from the connection; frees it unless its handler still runs.
  void Release(NativeCall* call, bool delivered);

  NativeLoop* const loop_;
  NativeSocket socket_;
  nghttp2_session* session_ = nullptr;
  std::shared_ptr<const std::string> peer_name_;
  State state_ = State::kOpen;
  Going going_ = Going::kNo;
  std::string host_;
  NativePeer* peer_ = nullptr;
  std::string proxy_bytes_;   // of a balancer's header, so far
  size_t place_ = 0;          // among the loop's
  uint32_t events_ = 0;       // that epoll reports
  bool wants_write_ = false;  // in the handshake
  uint64_t handshake_turn_ = 0;
  bool to_flush_ = false;
  bool is_old_ = false;
  bool punished_ = false;
  bool client_spoke_ = false;    // its settings came
  bool settings_known_ = false;  // it acknowledged ours

  NativeOutput output_;
  NativeCall* calls_ = nullptr;
  size_t call_count_ = 0;
  size_t unfinished_requests_ = 0;
  size_t message_streams_ = 0;     // calls whose messages come as a stream
  size_t request_bytes_ = 0;       // of the requests of its calls
  size_t large_header_bytes_ = 0;  // of calls that keep many
  size_t queued_bytes_ = 0;        // of replies that are not sent
  std::deque<NativeCall*> held_;   // calls that wait for queued_bytes_ to fall
  // What the last call asked for, which the next one most likely asks for again.
  const std::pair<const std::string_view, NativeMethod>* last_method_ = nullptr;
  NativeCall* in_headers_ = nullptr;  // whose headers are coming
  NativeCall* in_data_ = nullptr;     // whose DATA came last
  size_t trailer_bytes_ = 0;

  const MonoNanos born_;
  MonoNanos age_max_ = 0;
  MonoNanos read_at_;
  MonoNanos written_at_;  // when last nothing was left to write
  MonoNanos last_call_at_;
  MonoNanos went_well_at_;       // when the client last took some of a message, or had an answer
  MonoNanos no_use_since_ = 0;   // see IsNoUse
  MonoNanos headers_since_ = 0;  // 0: none are coming
  MonoNanos going_since_ = 0;
  MonoNanos ending_since_ = 0;
  MonoNanos pinged_at_ = 0;         // 0: no ping of ours is out
  MonoNanos pings_paid_until_ = 0;  // the client's, an interval each
  FloodBudget resets_;
  FloodBudget faults_;
  FloodBudget idle_frames_;
  // WINDOW_UPDATE frames that the client may still send; grows with its calls and with the frames
  // that it gets.
  static constexpr int64_t kWindowUpdatesMax = 1'000'000;
  int64_t window_updates_left_;

  // What to do for answers that are not out of the door yet if they never get there, by the number
  // of bytes that have to be written before they are.
  uint64_t gathered_bytes_ = 0;
  uint64_t written_bytes_ = 0;
  std::deque<std::pair<uint64_t, Work>> unconfirmed_;
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_CONNECTION_H_
