// What goes out. A unary answer is HEADERS, DATA and trailers; an error without a message is one
// HEADERS frame (trailers only). nghttp2 asks for the DATA by NextData and is told to leave the
// bytes where they are; SendData then puts them into the batch: small ones by copy, the attached
// value by reference, with a share in it until it is written.

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/strings.h"
#include "core/error.h"
#include "rpc/native_connection.h"
#include "rpc/native_loop.h"
#include "rpc/native_metadata.h"

namespace larder {
namespace {

constexpr int64_t kWindowUpdatesPerFrame = 16;
constexpr char kNoRoomForReplies[] =
    "the calls under way, or those of this address, use all of limits.buffer_bytes that they may";
// Replies beyond this are worth asking what else their calls hold.
constexpr size_t kLargeReplyBytes = 4 << 10;
// A client that lets itself be sent less at a time, and not all of a message, may only pretend.
constexpr size_t kNoDrop = 1 << 10;
// Pieces of values smaller than this are cheaper to copy.
constexpr size_t kReferredBytesMin = 2 << 10;

// `value` outlives the submission, which copies it.
nghttp2_nv Field(std::string_view name, std::string_view value, uint8_t flags = 0) {
  return {const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(name.data())),
          const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(value.data())), name.size(),
          value.size(), static_cast<uint8_t>(flags | NGHTTP2_NV_FLAG_NO_COPY_NAME)};
}
nghttp2_nv ConstantField(std::string_view name, std::string_view value) {
  return Field(name, value, NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

const nghttp2_nv kStatusOk = ConstantField(":status", "200");
const nghttp2_nv kContentType = ConstantField("content-type", "application/grpc");
const nghttp2_nv kGrpcOk = ConstantField("grpc-status", "0");
const nghttp2_nv kAcceptsIdentity = ConstantField("grpc-accept-encoding", "identity");

// How an error is said, and the texts that its fields point to.
struct ErrorFields {
  explicit ErrorFields(const WireError& of) : error(of), code(StrCat(of.code)) {}

  // Appends at most three fields. Texts of errors are not worth a place in the client's table, but
  // for those that come again and again.
  void AppendTo(std::array<nghttp2_nv, 8>* fields, size_t* count) const {
    const uint8_t flags = error.repeats ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX;
    (*fields)[(*count)++] = Field("grpc-status", code);
    if (!error.message.empty()) {
      (*fields)[(*count)++] = Field("grpc-message", error.message, flags);
    }
    if (!error.details.empty()) {
      (*fields)[(*count)++] = Field("grpc-status-details-bin", error.details, flags);
    }
  }

  const WireError& error;
  const std::string code;
};

}  // namespace

void NativeConnection::Gather() {
  OutputBatch* const batch = loop_->batch();
  while (!batch->full()) {
    const uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size <= 0) return;
    batch->Copy({reinterpret_cast<const char*>(data), static_cast<size_t>(size)});
  }
}

void NativeConnection::TakeAnswer(NativeCall* call) {
  const bool is_reply = !call->error_ && !call->method_->streams;
  size_t held = is_reply ? call->outgoing_.held_bytes() : 0;
  // What it was made from stays as long as it does.
  if (held > kLargeReplyBytes) held += call->MessageSpace();
  bool fits = !call->ended_;
  if (fits && held > 0) {
    if (call->method_->repeatable) {
      fits = loop_->TryCharge(call->peer_, held);
    } else {
      // What has been done is told whatever there is: refused, it would be done once more.
      loop_->Charge(call->peer_, held);
    }
  }
  if (is_reply && fits) {
    call->charged_bytes_ += held;
    SubmitReply(call);
  } else if (!call->ended_) {
    went_well_at_ = loop_->now();
    if (is_reply) {
      loop_->Count(NativeCounter::kCallsOverBudget);
      call->error_ = WireError::Of(
          RetryableError(Reason::kOVERLOADED, absl::Milliseconds(100), kNoRoomForReplies));
    }
    SubmitEnd(call, std::move(call->error_));
  }
  loop_->FlushLater(this);
  if (fits) return;
  // Something else was said in its place: the deadline, or that there is no room.
  if (!call->sending_) call->outgoing_.Clear();
  if (Work undelivered = call->TakeUndelivered()) undelivered();
}

void NativeConnection::TakeMessage(NativeCall* call) {
  const size_t held = call->outgoing_.held_bytes();
  if (!loop_->TryCharge(call->peer_, held)) {
    loop_->Count(NativeCounter::kCallsOverBudget);
    call->outgoing_.Clear();
    SubmitEnd(call, WireError::Of(RetryableError(Reason::kOVERLOADED, absl::Milliseconds(100),
                                                 kNoRoomForReplies)));
    loop_->FlushLater(this);
    const std::shared_ptr<Signal<bool>> sent = std::move(call->sent_);
    sent->TrySet(false);
    return call->CancelHandler();
  }
  call->message_bytes_ = held;
  call->charged_bytes_ += held;
  call->sending_ = true;
  Queue(call, call->outgoing_.left());
  if (call->response_begun_) {
    nghttp2_session_resume_data(session_, call->stream_);
  } else {
    SubmitReply(call);
  }
  loop_->FlushLater(this);
}

void NativeConnection::SubmitReply(NativeCall* call) {
  if (!call->method_->streams) {
    call->ended_ = true;
    call->sending_ = true;
    Queue(call, call->outgoing_.left());
  }
  call->response_begun_ = true;
  const std::array<nghttp2_nv, 2> fields = {kStatusOk, kContentType};
  nghttp2_data_provider provider;
  provider.source.ptr = call;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t*, size_t room, uint32_t* flags,
                              nghttp2_data_source* source, void* connection) -> ssize_t {
    return static_cast<NativeConnection*>(connection)
        ->NextData(static_cast<NativeCall*>(source->ptr), room, flags);
  };
  nghttp2_submit_response(session_, call->stream_, fields.data(), fields.size(), &provider);
}

void NativeConnection::SubmitEnd(NativeCall* call, std::unique_ptr<WireError> error) {
  call->ended_ = true;
  call->end_ = std::move(error);
  if (call->response_begun_) {
    nghttp2_session_resume_data(session_, call->stream_);
    return;
  }
  call->response_begun_ = true;
  std::array<nghttp2_nv, 8> fields = {kStatusOk, kContentType};
  size_t count = 2;
  if (call->end_ == nullptr) {
    fields[count++] = kGrpcOk;
    nghttp2_submit_response(session_, call->stream_, fields.data(), count, nullptr);
    return;
  }
  if (call->end_->code == static_cast<int>(absl::StatusCode::kUnimplemented)) {
    fields[count++] = kAcceptsIdentity;
  }
  const ErrorFields said(*call->end_);
  said.AppendTo(&fields, &count);
  nghttp2_submit_response(session_, call->stream_, fields.data(), count, nullptr);
}

void NativeConnection::SubmitHttpError(NativeCall* call, int status) {
  call->ended_ = true;
  call->response_begun_ = true;
  const std::string code = StrCat(status);
  const std::array<nghttp2_nv, 1> fields = {Field(":status", code)};
  nghttp2_submit_response(session_, call->stream_, fields.data(), fields.size(), nullptr);
  loop_->Count(NativeCounter::kNotGrpc);
  CountFault(call);
}

void NativeConnection::SubmitTrailers(NativeCall* call) {
  if (call->end_ == nullptr) {
    nghttp2_submit_trailer(session_, call->stream_, &kGrpcOk, 1);
    return;
  }
  std::array<nghttp2_nv, 8> fields;
  size_t count = 0;
  const ErrorFields said(*call->end_);
  said.AppendTo(&fields, &count);
  nghttp2_submit_trailer(session_, call->stream_, fields.data(), count);
}

long NativeConnection::NextData(NativeCall* call, size_t room,  // NOLINT: as nghttp2 has it
                                uint32_t* flags) {
  const size_t left = call->sending_ ? call->outgoing_.left() : 0;
  if (left == 0 && !call->ended_) return NGHTTP2_ERR_DEFERRED;
  const size_t size = std::min(left, room);
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (size == left && call->ended_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    SubmitTrailers(call);
  }
  return static_cast<long>(size);  // NOLINT: as above
}

int NativeConnection::SendData(NativeCall* call, std::string_view frame_header, size_t length) {
  OutputBatch* const batch = loop_->batch();
  if (batch->full()) return NGHTTP2_ERR_WOULDBLOCK;
  batch->Copy(frame_header);
  const MessageBytes::Pieces pieces = call->outgoing_.Take(length);
  if (!pieces.head.empty()) batch->Copy(pieces.head);
  if (pieces.value.size() >= kReferredBytesMin) {
    batch->Refer(pieces.value, call->outgoing_.value());
  } else if (!pieces.value.empty()) {
    batch->Copy(pieces.value);
  }
  call->moved_at_ = loop_->now();
  if (length >= kNoDrop || call->outgoing_.left() == 0) went_well_at_ = loop_->now();
  window_updates_left_ = std::min(window_updates_left_ + kWindowUpdatesPerFrame, kWindowUpdatesMax);
  // As gRPC has it: a server that sends gives its clients reason to measure the connection.
  pings_paid_until_ = 0;
  if (call->outgoing_.left() == 0) MessageSent(call);
  return 0;
}

void NativeConnection::MessageSent(NativeCall* call) {
  Unqueue(call);
  if (!call->method_->streams || !call->sending_) return;
  call->sending_ = false;
  call->outgoing_.Clear();
  loop_->Discharge(call->peer_, call->message_bytes_);
  call->charged_bytes_ -= std::exchange(call->message_bytes_, 0);
  const std::shared_ptr<Signal<bool>> sent = std::move(call->sent_);
  sent->TrySet(true);
}

void NativeConnection::ResetStream(NativeCall* call, uint32_t error) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, call->stream_, error);
  loop_->FlushLater(this);
}

void NativeConnection::Queue(NativeCall* call, size_t bytes) {
  call->queued_bytes_ += bytes;
  queued_bytes_ += bytes;
  call->moved_at_ = call->queued_at_ = loop_->now();
}

void NativeConnection::Unqueue(NativeCall* call) {
  queued_bytes_ -= std::exchange(call->queued_bytes_, 0);
}

}  // namespace larder
