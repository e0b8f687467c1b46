// NativeCall is one call on the native lane, from its first header to its last trailer.
//
// It belongs to the loop of its connection, which alone makes it and frees it: when its stream is
// closed and its handler, if one ran, has answered. Handlers use what Call and CallContext offer,
// from any thread. What the loop and a handler both touch changes hands through NativeLoop::Post.

#ifndef LARDER_RPC_NATIVE_CALL_H_
#define LARDER_RPC_NATIVE_CALL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/task.h"
#include "rpc/call.h"
#include "rpc/native_message.h"

struct nghttp2_rcbuf;

namespace larder {

class NativeConnection;
class NativeLoop;
struct NativePeer;

// How a call ends other than well, as it stands in its headers.
struct WireError {
  int code;
  std::string message;   // percent-encoded
  std::string details;   // of grpc-status-details-bin, in base64; may be empty
  bool repeats = false;  // it was said before, and will most likely be said again

  static std::unique_ptr<WireError> Of(const absl::Status& status);
  // Without details: for what is refused before there is a call.
  static std::unique_ptr<WireError> Plain(absl::StatusCode code, std::string_view message);
};

class NativeCall final : public Call {
 public:
  NativeCall(NativeLoop* loop, NativeConnection* connection, int32_t stream, MonoNanos now,
             size_t message_bytes_max);
  ~NativeCall() override;

  std::string_view Metadata(std::string_view name) const override;
  std::string_view PeerName() const override {
    return peer_name_ == nullptr ? std::string_view() : *peer_name_;
  }
  std::string PeerAddress() const override;
  std::string PeerHost() const override;
  Task<bool> Send(const google::protobuf::Message& message) override;
  void Answer(const absl::Status& status) override;

  Executor* home() override;

  // For methods that take a stream: the next message of it; nullopt after the last, or when the
  // caller has gone. One at a time.
  Task<std::optional<std::string>> Receive();

 private:
  friend class NativeConnection;
  friend class NativeLoop;
  friend struct NativeSessionCallbacks;

  using Header = std::pair<nghttp2_rcbuf*, nghttp2_rcbuf*>;

  Task<bool> SendOutgoing();

  // From here on: the loop's.

  // Becomes a call of `method`.
  void SetMethod(const Method* method) { method_ = method; }
  void SetDeadline(MonoNanos deadline) { deadline_ = deadline; }
  // False for a binary header whose value is none.
  bool KeepHeader(nghttp2_rcbuf* name, nghttp2_rcbuf* value);
  void DropHeaders();
  // Empty messages for a request to be parsed.
  void PrepareMessages() {
    if (request_ == nullptr) MakeMessages();
  }
  // Has a message of so many bytes parsed to where a request before was, where that pays.
  void UseKeptRequest(size_t bytes);
  // What to do if the answer does not arrive; may be empty.
  Work TakeUndelivered() { return std::exchange(undelivered_, nullptr); }
  void CancelHandler() { cancellation_.Cancel(); }

  // Hands a message, or the end of them, to Receive.
  void Deliver(std::optional<std::string> message);
  size_t delivered_bytes() const;

  NativeLoop* const loop_;
  NativeConnection* connection_;  // null when it is gone, or the stream is
  NativePeer* const peer_;        // the connection's; looked at only while bytes are charged to it
  const int32_t stream_;
  NativeCall* previous_ = nullptr;  // of the connection
  NativeCall* next_ = nullptr;

  absl::InlinedVector<Header, 4> headers_;
  std::vector<std::pair<std::string, std::string>> binary_headers_;  // decoded
  size_t header_bytes_ = 0;
  size_t large_header_bytes_ = 0;                 // the same where they are many, and count
  std::shared_ptr<const std::string> peer_name_;  // the connection's; null without a certificate
  std::unique_ptr<WireError> refused_;            // what the headers earned
  bool is_post_ = false;
  bool is_grpc_ = false;
  bool takes_stream_ = false;
  bool may_be_plain_ = false;    // its errors may have no reason of ours
  bool request_done_ = false;    // the client sends no more
  bool message_done_ = false;    // a whole message came
  bool message_wrong_ = false;   // and was none, or was one too many
  bool handler_runs_ = false;    // until it has answered
  bool begun_ = false;           // was given to the dispatcher
  bool held_ = false;            // waits until more replies are read
  bool response_begun_ = false;  // its headers are submitted
  bool ended_ = false;           // its end is submitted
  bool is_message_stream_ = false;
  bool given_up_ = false;  // its stream is reset: it is too slow, or sends too much
  bool faulty_ = false;    // is refused for what is wrong with the client
  bool has_deadline_timer_ = false;
  MessageReader reader_;
  std::unique_ptr<google::protobuf::Message> kept_request_;
  MonoNanos moved_at_;              // when its request or its reply last moved
  MonoNanos queued_at_ = 0;         // when what is queued was
  size_t request_bytes_ = 0;        // that its request was seen to hold
  size_t message_bytes_ = 0;        // of the message of a stream that is being sent
  size_t charged_bytes_ = 0;        // of the loop's budget, and its peer's
  size_t queued_bytes_ = 0;         // of the connection's unsent replies
  bool sending_ = false;            // outgoing_ is the loop's
  std::unique_ptr<WireError> end_;  // null: OK

  // Written by the handler's thread before it posts the call, read by the loop after.
  MessageBytes outgoing_;
  std::unique_ptr<WireError> error_;
  std::shared_ptr<Signal<bool>> sent_;
  bool answered_ = false;

  struct Inbox {
    Mutex mu;
    std::deque<std::string> messages ABSL_GUARDED_BY(mu);
    size_t bytes ABSL_GUARDED_BY(mu) = 0;
    bool closed ABSL_GUARDED_BY(mu) = false;
    std::shared_ptr<Signal<bool>> arrived ABSL_GUARDED_BY(mu);
  };
  std::unique_ptr<Inbox> inbox_;  // of methods that take a stream
};

}  // namespace larder

#endif  // LARDER_RPC_NATIVE_CALL_H_
