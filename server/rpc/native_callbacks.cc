// nghttp2's callbacks, each of which finds the connection and the call that it is about. From the
// moment that a client is punished all of them fail, which ends nghttp2's reading.

#include <nghttp2/nghttp2.h>

#include <cstdlib>

#include "rpc/native_connection.h"
#include "rpc/native_loop.h"

namespace larder {

struct NativeSessionCallbacks {
  static NativeConnection* Of(void* connection) {
    return static_cast<NativeConnection*>(connection);
  }
  static NativeCall* CallOf(nghttp2_session* session, int32_t stream) {
    return static_cast<NativeCall*>(nghttp2_session_get_stream_user_data(session, stream));
  }
  static int Result(void* connection) {
    return Of(connection)->punished_ ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
  }

  static int BeginFrame(nghttp2_session*, const nghttp2_frame_hd* header, void* connection) {
    Of(connection)->OnBeginFrame(header->type, header->flags, header->length, header->stream_id);
    return Result(connection);
  }
  static int BeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* connection) {
    Of(connection)->OnBeginHeaders(frame->hd.stream_id, frame->headers.cat == NGHTTP2_HCAT_REQUEST);
    return Result(connection);
  }
  static int Header(nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name,
                    nghttp2_rcbuf* value, uint8_t, void* connection) {
    Of(connection)->OnHeader(name, value);
    return Result(connection);
  }
  static int InvalidHeader(nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf*, nghttp2_rcbuf*,
                           uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
  }
  static int Frame(nghttp2_session* session, const nghttp2_frame* frame, void* connection) {
    NativeConnection* const of = Of(connection);
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        of->OnHeadersEnd(frame->headers.cat == NGHTTP2_HCAT_REQUEST);
        break;
      case NGHTTP2_PING:
        of->OnPing((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0, frame->ping.opaque_data);
        break;
      case NGHTTP2_SETTINGS:
        of->OnSettings((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0);
        break;
      default:
        break;
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      // Its last DATA frame nearly always ends a call.
      NativeCall* const call =
          of->in_data_ != nullptr && of->in_data_->stream_ == frame->hd.stream_id
              ? of->in_data_
              : CallOf(session, frame->hd.stream_id);
      if (call != nullptr) of->OnRequestEnd(call);
    }
    return Result(connection);
  }
  static int InvalidFrame(nghttp2_session*, const nghttp2_frame* frame, int, void* connection) {
    Of(connection)->loop_->Count(NativeCounter::kProtocolErrors);
    // Of headers that break the rules no end is told.
    if (frame->hd.type == NGHTTP2_HEADERS) Of(connection)->headers_since_ = 0;
    return Result(connection);
  }
  static int Data(nghttp2_session* session, uint8_t, int32_t stream, const uint8_t* data,
                  size_t size, void* connection) {
    NativeCall* const call = CallOf(session, stream);
    Of(connection)->in_data_ = call;
    if (call != nullptr) {
      Of(connection)->OnData(call, {reinterpret_cast<const char*>(data), size});
    }
    return Result(connection);
  }
  static int StreamClose(nghttp2_session* session, int32_t stream, uint32_t error,
                         void* connection) {
    NativeCall* const call = CallOf(session, stream);
    if (call != nullptr) Of(connection)->OnStreamClose(call, error);
    return 0;
  }
  static int FrameSent(nghttp2_session* session, const nghttp2_frame* frame, void* connection) {
    if (frame->hd.type == NGHTTP2_GOAWAY) Of(connection)->OnGoAwaySent();
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
      Of(connection)->OnResetSent(frame->rst_stream.error_code);
    }
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0 ||
        Of(connection)->unfinished_requests_ == 0) {
      return 0;
    }
    // All is said, so that what the client goes on sending is of no use.
    NativeCall* const call = CallOf(session, frame->hd.stream_id);
    if (call != nullptr && !call->request_done_) {
      Of(connection)->ResetStream(call, NGHTTP2_NO_ERROR);
    }
    return 0;
  }
  static int FrameNotSent(nghttp2_session* session, const nghttp2_frame* frame, int,
                          void* connection) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    NativeCall* const call = CallOf(session, frame->hd.stream_id);
    if (call != nullptr) Of(connection)->OnNotSent(call);
    return 0;
  }
  static int SendData(nghttp2_session*, nghttp2_frame*, const uint8_t* frame_header, size_t length,
                      nghttp2_data_source* source, void* connection) {
    constexpr size_t kFrameHeaderBytes = 9;
    return Of(connection)
        ->SendData(static_cast<NativeCall*>(source->ptr),
                   {reinterpret_cast<const char*>(frame_header), kFrameHeaderBytes}, length);
  }
};

nghttp2_session_callbacks* NativeConnection::NewCallbacks() {
  using C = NativeSessionCallbacks;
  nghttp2_session_callbacks* to = nullptr;
  if (nghttp2_session_callbacks_new(&to) != 0) std::abort();
  nghttp2_session_callbacks_set_on_begin_frame_callback(to, C::BeginFrame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(to, C::BeginHeaders);
  nghttp2_session_callbacks_set_on_header_callback2(to, C::Header);
  nghttp2_session_callbacks_set_on_invalid_header_callback2(to, C::InvalidHeader);
  nghttp2_session_callbacks_set_on_frame_recv_callback(to, C::Frame);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(to, C::InvalidFrame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, C::Data);
  nghttp2_session_callbacks_set_on_stream_close_callback(to, C::StreamClose);
  nghttp2_session_callbacks_set_on_frame_send_callback(to, C::FrameSent);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(to, C::FrameNotSent);
  nghttp2_session_callbacks_set_send_data_callback(to, C::SendData);
  return to;
}

}  // namespace larder
