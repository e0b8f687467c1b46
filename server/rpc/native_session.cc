// What a client sends, as nghttp2 reports it. nghttp2 keeps the rules of HTTP/2 and of header
// fields and resets what breaks them; here are the rules of gRPC, and the budgets: every frame that
// costs the server something and carries no call is paid for from one.
//
// Nothing here closes the connection: nghttp2 is on the stack. A client that goes too far is
// punished, and from then on every callback fails (native_callbacks.cc), so that nobody looks at
// the rest of what it sent.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "core/error.h"
#include "rpc/native_connection.h"
#include "rpc/native_loop.h"
#include "rpc/native_metadata.h"

namespace larder {
namespace {

// A header costs its bytes and this much, as SETTINGS_MAX_HEADER_LIST_SIZE counts.
constexpr size_t kHeaderOverhead = 32;
// Headers beyond the limit are refused politely up to so many times the limit.
constexpr size_t kHeaderFloodFactor = 4;
// Messages of a stream that its handler has not taken yet.
constexpr size_t kDeliveredBytesMax = 16 << 10;
// Headers of a call that are not worth counting, and those of a connection that are.
constexpr size_t kSmallHeaderBytes = 1 << 10;
constexpr size_t kLargeHeaderBytesMax = 2 << 20;
// Requests of a connection, from their first byte to their answer: so much, and at least two of the
// largest.
constexpr size_t kRequestBytesMax = 64 << 20;
// Messages that cannot hold much, whatever is in them.
constexpr size_t kSmallMessageBytes = 4 << 10;
// Calls of a connection whose messages come as a stream, which no time limit ends.
constexpr size_t kMessageStreamsMax = 16;
// Calls under way before the client has acknowledged the server's settings.
constexpr size_t kCallsBeforeSettings = 1'000;
// A client that reads the answer of a call message by message sends some for each.
constexpr int64_t kWindowUpdatesPerCall = 4;
constexpr int64_t kPingsAtOnceMax = 3;

std::string_view ViewOf(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

}  // namespace

void NativeConnection::OnBeginFrame(uint8_t type, uint8_t flags, size_t length, int32_t stream) {
  bool idle = false;
  switch (type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_PING:
    case NGHTTP2_GOAWAY:
      return;
    case NGHTTP2_DATA:
      idle = length == 0 && (flags & NGHTTP2_FLAG_END_STREAM) == 0;
      break;
    case NGHTTP2_RST_STREAM:
      if (!resets_.TrySpend(loop_->now())) Punish(NativeCounter::kResetFloods);
      return;
    case NGHTTP2_WINDOW_UPDATE:
      if (--window_updates_left_ < 0) Punish(NativeCounter::kFrameFloods);
      return;
    case NGHTTP2_SETTINGS:
      idle = (flags & NGHTTP2_FLAG_ACK) == 0;
      break;
    case NGHTTP2_PRIORITY:
      idle = true;
      // The one thing that nghttp2 does not see where it skips them.
      if (stream == 0) return Punish(NativeCounter::kProtocolErrors, NGHTTP2_PROTOCOL_ERROR);
      break;
    default:
      // Of types that it does not know nghttp2 tells nothing, and skips them.
      idle = true;
  }
  if (idle && !idle_frames_.TrySpend(loop_->now())) Punish(NativeCounter::kFrameFloods);
}

void NativeConnection::OnBeginHeaders(int32_t stream, bool is_request) {
  headers_since_ = loop_->now();
  trailer_bytes_ = 0;
  in_headers_ = nullptr;
  if (!is_request || punished_) return;
  window_updates_left_ = std::min(window_updates_left_ + kWindowUpdatesPerCall, kWindowUpdatesMax);
  in_headers_ = loop_->NewCall(this, stream);
  if (peer_name_ != nullptr) in_headers_->peer_name_ = peer_name_;
  Link(in_headers_);
  nghttp2_session_set_stream_user_data(session_, stream, in_headers_);
}

void NativeConnection::OnHeader(nghttp2_rcbuf* name, nghttp2_rcbuf* value) {
  NativeCall* const call = in_headers_;
  size_t& bytes = call == nullptr ? trailer_bytes_ : call->header_bytes_;
  bytes += ViewOf(name).size() + ViewOf(value).size() + kHeaderOverhead;
  const size_t most = loop_->options().metadata_bytes_max;
  if (bytes > kHeaderFloodFactor * most) return Punish(NativeCounter::kHeaderFloods);
  if (call == nullptr) return;
  if (bytes <= most) return ReadHeader(call, name, value);
  if (call->refused_ != nullptr) return;
  loop_->Count(NativeCounter::kMetadataTooLarge);
  CountFault(call);
  call->refused_ = WireError::Plain(
      absl::StatusCode::kResourceExhausted,
      StrCat("the metadata is more than ", most, " bytes (limits.metadata_bytes)"));
}

void NativeConnection::ReadHeader(NativeCall* call, nghttp2_rcbuf* name, nghttp2_rcbuf* value) {
  const std::string_view key = ViewOf(name);
  const std::string_view text = ViewOf(value);
  if (key.front() == ':') {
    if (key == ":path") return ReadPath(call, text);
    if (key == ":method") call->is_post_ = text == "POST";
    return;
  }
  // Most headers of most calls end here: by their length alone the comparisons cost next to
  // nothing.
  if (key.size() == 2 && key == "te") return;
  if (key == "grpc-accept-encoding" || key == "accept-encoding") return;
  if (key == "content-type") {
    call->is_grpc_ = IsGrpcContentType(text);
  } else if (key == "grpc-timeout") {
    const std::optional<absl::Duration> timeout = ParseGrpcTimeout(text);
    if (timeout.has_value()) {
      call->SetDeadline(MonoAfter(loop_->now(), *timeout));
    } else if (call->refused_ == nullptr) {
      call->refused_ =
          WireError::Plain(absl::StatusCode::kInvalidArgument, "grpc-timeout is malformed");
    }
  } else if (key == "grpc-encoding") {
    if (text == "identity" || call->refused_ != nullptr) return;
    loop_->Count(NativeCounter::kCompressedCalls);
    CountFault(call);
    call->refused_ = WireError::Plain(absl::StatusCode::kUnimplemented,
                                      "larder takes no compressed messages (grpc-encoding)");
  } else if (!call->KeepHeader(name, value) && call->refused_ == nullptr) {
    call->refused_ = WireError::Plain(absl::StatusCode::kInvalidArgument,
                                      StrCat("the binary header ", key, " is no base64"));
  }
}

void NativeConnection::ReadPath(NativeCall* call, std::string_view path) {
  if (last_method_ == nullptr || last_method_->first != path) {
    const auto& methods = loop_->shared()->methods;
    const auto it = methods.find(path);
    last_method_ = it == methods.end() ? nullptr : &*it;
  }
  if (last_method_ != nullptr) {
    const NativeMethod& method = last_method_->second;
    call->SetMethod(method.method);
    call->takes_stream_ = method.takes_stream;
    call->may_be_plain_ = method.may_be_plain;
    return;
  }
  if (call->refused_ != nullptr) return;
  call->refused_ = WireError::Of(
      Error(Reason::kMETHOD_UNKNOWN,
            StrCat("there is no method ", absl::CHexEscape(absl::string_view(
                                              path.data(), std::min<size_t>(path.size(), 200))))));
}

void NativeConnection::OnHeadersEnd(bool is_request) {
  headers_since_ = 0;
  NativeCall* const call = std::exchange(in_headers_, nullptr);
  if (!is_request || call == nullptr) return;
  if (!call->is_post_) return SubmitHttpError(call, 405);
  // Of headers that are too many the rest was not read.
  const bool all_read = call->header_bytes_ <= loop_->options().metadata_bytes_max;
  if (all_read && !call->is_grpc_) return SubmitHttpError(call, 415);
  if (call->refused_ != nullptr) return SubmitEnd(call, std::move(call->refused_));
  if (!ChargeHeaders(call)) {
    loop_->Count(NativeCounter::kCallsOverBudget);
    call->DropHeaders();
    return SubmitEnd(call, WireError::Of(RetryableError(
                               Reason::kOVERLOADED, absl::Milliseconds(100),
                               "the metadata of the calls under way takes too much memory")));
  }
  call->PrepareMessages();
  if (!call->takes_stream_) return;
  if (message_streams_ >= kMessageStreamsMax || !ChargeRequest(call, kDeliveredBytesMax)) {
    return RefuseForRoom(call);
  }
  ++message_streams_;
  call->is_message_stream_ = true;
  call->inbox_ = std::make_unique<NativeCall::Inbox>();
  Run(call);
}

void NativeConnection::OnData(NativeCall* call, std::string_view data) {
  if (punished_ || call->ended_ || call->given_up_ || (call->begun_ && !call->takes_stream_))
    return;
  call->moved_at_ = loop_->now();
  while (!data.empty()) {
    if (call->message_done_ && !call->takes_stream_) {
      // One call, one message: what holds the first is not to be charged for a second.
      call->message_wrong_ = true;
      return RefuseRequest(
          call, Error(Reason::kMESSAGE_MALFORMED, "there is more than one message in the call"));
    }
    std::string_view message;
    switch (call->reader_.Read(&data, &message)) {
      case MessageReader::Found::kNothing:
        if (ChargeRequest(call, call->reader_.held_bytes() +
                                    (call->takes_stream_ ? kDeliveredBytesMax : 0))) {
          return;
        }
        return RefuseForRoom(call);
      case MessageReader::Found::kMessage:
        ReadMessage(call, message);
        if (call->ended_ || call->given_up_ || (call->begun_ && !call->takes_stream_)) return;
        break;
      case MessageReader::Found::kTooLarge:
        return RefuseRequest(
            call, Error(Reason::kMESSAGE_TOO_LARGE,
                        StrCat("the message is ", call->reader_.length(), " bytes; at most ",
                               loop_->options().message_bytes_max, " (limits.message_bytes)")));
      case MessageReader::Found::kCompressed:
        loop_->Count(NativeCounter::kCompressedCalls);
        [[fallthrough]];
      case MessageReader::Found::kMalformed:
        call->message_wrong_ = true;
        CountFault(call);
        return RefuseRequest(call, Error(Reason::kMESSAGE_MALFORMED,
                                         "the message is compressed, or no gRPC message"));
    }
  }
}

bool NativeConnection::ChargeHeaders(NativeCall* call) {
  const size_t bytes = call->header_bytes_;
  if (bytes <= kSmallHeaderBytes) return true;
  if (large_header_bytes_ + bytes > kLargeHeaderBytesMax || !loop_->TryCharge(call->peer_, bytes))
    return false;
  call->large_header_bytes_ = bytes;
  call->charged_bytes_ += bytes;
  large_header_bytes_ += bytes;
  return true;
}

bool NativeConnection::ChargeRequest(NativeCall* call, size_t bytes) {
  const size_t before = call->request_bytes_;
  if (bytes > before) {
    const size_t most =
        std::max<size_t>(kRequestBytesMax, 2 * size_t{loop_->options().message_bytes_max});
    const size_t more = bytes - before;
    if (request_bytes_ + more > most || !loop_->TryCharge(call->peer_, more)) return false;
  } else {
    loop_->Discharge(call->peer_, before - bytes);
  }
  call->charged_bytes_ += bytes - before;
  request_bytes_ += bytes - before;
  call->request_bytes_ = bytes;
  return true;
}

void NativeConnection::RefuseForRoom(NativeCall* call) {
  loop_->Count(NativeCounter::kCallsOverBudget);
  call->reader_.Release();
  RefuseRequest(call, RetryableError(Reason::kOVERLOADED, absl::Milliseconds(100),
                                     "the calls under way, or those of this address, use all of "
                                     "limits.buffer_bytes that they may"));
}

void NativeConnection::ReadMessage(NativeCall* call, std::string_view message) {
  if (call->takes_stream_) {
    if (call->delivered_bytes() + message.size() > kDeliveredBytesMax) {
      call->given_up_ = true;
      return ResetStream(call, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return call->Deliver(std::string(message));
  }
  const size_t message_bytes = message.size();
  if (!call->message_done_) call->UseKeptRequest(message_bytes);
  call->message_wrong_ =
      call->message_done_ ||
      !call->request()->ParseFromArray(message.data(), static_cast<int>(message.size()));
  call->message_done_ = true;
  call->reader_.Release();
  // Its parsed form stays until the call is answered, and may be far larger than it was: an empty
  // text in a list takes two bytes on the wire.
  const size_t parsed = message_bytes > kSmallMessageBytes ? call->MessageSpace() : 0;
  if (!ChargeRequest(call, std::max(message_bytes, parsed))) RefuseForRoom(call);
}

void NativeConnection::OnRequestEnd(NativeCall* call) {
  if (std::exchange(call->request_done_, true)) return;
  --unfinished_requests_;
  if (punished_ || call->ended_) return;
  if (call->takes_stream_) return call->Deliver(std::nullopt);
  if (call->begun_) return;
  if (call->message_done_ && !call->message_wrong_ && call->reader_.at_rest()) {
    return Dispatch(call);
  }
  RefuseRequest(call, Error(Reason::kMESSAGE_MALFORMED,
                            StrCat("the request is no valid ", call->request()->GetTypeName())));
}

void NativeConnection::RefuseRequest(NativeCall* call, const absl::Status& status) {
  if (call->begun_) return ResetStream(call, NGHTTP2_CANCEL);
  call->begun_ = true;
  call->handler_runs_ = true;
  loop_->shared()->dispatcher->Refuse(call, status);
}

bool NativeConnection::may_begin() const {
  // Until then the client has not agreed to have no more calls than it may.
  if (!settings_known_ && call_count_ - held_.size() > kCallsBeforeSettings) return false;
  return queued_bytes_ == 0 ||
         (queued_bytes_ < loop_->options().reply_bytes_max && !loop_->is_pressed(*peer_));
}

void NativeConnection::Dispatch(NativeCall* call) {
  if (held_.empty() && may_begin()) return Run(call);
  loop_->Count(NativeCounter::kHeldCalls);
  call->held_ = true;
  held_.push_back(call);
  loop_->SetDeadlineTimer(call);
}

void NativeConnection::Run(NativeCall* call) {
  call->begun_ = true;
  call->handler_runs_ = true;
  loop_->shared()->dispatcher->Run(call);
  if (call->handler_runs_) loop_->SetDeadlineTimer(call);
}

bool NativeConnection::DispatchHeld() {
  bool began = false;
  while (!held_.empty() && may_begin()) {
    NativeCall* const call = held_.front();
    held_.pop_front();
    call->held_ = false;
    if (call->ended_) continue;
    Run(call);
    began = true;
  }
  return began;
}

void NativeConnection::HandleDeadline(NativeCall* call) {
  if (call->ended_) return;
  loop_->Count(NativeCounter::kDeadlinesPassed);
  // A stream may be in the middle of a message, which cannot be broken off.
  SubmitEnd(call, WireError::Of(Error(Reason::kDEADLINE_EXCEEDED,
                                      "the deadline passed before the answer was there")));
  loop_->FlushLater(this);
  call->CancelHandler();
}

void NativeConnection::OnStreamClose(NativeCall* call, uint32_t error) {
  // The client may have ended it before all was said.
  const bool all_said = nghttp2_session_get_stream_local_close(session_, call->stream_) == 1;
  Release(call, /*delivered=*/call->ended_ && all_said && error == NGHTTP2_NO_ERROR);
}

void NativeConnection::OnResetSent(uint32_t error) {
  // A stream that is refused has cost nothing yet.
  const bool harmless =
      error == NGHTTP2_NO_ERROR || error == NGHTTP2_CANCEL || error == NGHTTP2_REFUSED_STREAM;
  if (harmless || punished_) return;
  CountFault(nullptr);
}

void NativeConnection::CountFault(NativeCall* call) {
  if (call != nullptr && std::exchange(call->faulty_, true)) return;
  if (!faults_.TrySpend(loop_->now())) Punish(NativeCounter::kFaultFloods);
}

void NativeConnection::OnNotSent(NativeCall* call) {
  // Its end will never be said, and that is no fault of the client's.
  ResetStream(call, NGHTTP2_CANCEL);
}

void NativeConnection::OnSettings(bool ack) {
  client_spoke_ = true;
  if (ack) settings_known_ = true;
}

void NativeConnection::OnGoAwaySent() {
  // nghttp2 sends pings before all else. The answer is to say that the client has seen the notice.
  if (going_ == Going::kNoticed) nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
}

void NativeConnection::OnPing(bool ack, const uint8_t* data) {
  if (ack) {
    if (going_ == Going::kNoticed) SayGoodbye();
    return;
  }
  // Of each interval one ping, and a few at once: the pings of a client that sends them exactly as
  // often as it may come late and early by turns.
  const MonoNanos now = loop_->now();
  const int64_t interval = absl::ToInt64Nanoseconds(loop_->options().ping_interval_min);
  pings_paid_until_ = std::max(pings_paid_until_, now) + interval;
  if (pings_paid_until_ - now > kPingsAtOnceMax * interval) {
    return Punish(NativeCounter::kPingFloods);
  }
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_ACK, data);
}

}  // namespace larder
