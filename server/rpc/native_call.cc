// An answer is serialized on the thread that made it, so that what a worker computed does not cost
// the loop more than the writing; then the call is posted to its loop. On the loop's own thread, as
// for every hit in memory, it is sent on at once.

#include "rpc/native_call.h"

#include <nghttp2/nghttp2.h>

#include "base/strings.h"
#include "core/error.h"
#include "rpc/native_connection.h"
#include "rpc/native_loop.h"
#include "rpc/native_metadata.h"
#include "rpc/wire_status.h"

namespace larder {
namespace {

std::string_view ViewOf(nghttp2_rcbuf* buffer) {
  const nghttp2_vec bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

// What an empty message costs while it waits.
constexpr size_t kInboxOverhead = 64;

// Of a request that may be kept: it cannot have become much.
constexpr size_t kKeptRequestBytes = 512;

bool IsBinary(std::string_view name) { return name.ends_with("-bin"); }

}  // namespace

std::unique_ptr<WireError> WireError::Of(const absl::Status& status) {
  // In a flood the same refusal is said a hundred thousand times a second, and refusing must cost
  // less than doing.
  thread_local absl::Status last;
  thread_local WireError said;
  if (!last.ok() && status == last) {
    said.repeats = true;
  } else {
    said = {static_cast<int>(WireCode(status)), PercentEncoded(WireMessage(status)),
            BinaryHeader(StatusDetails(status))};
    last = status;
  }
  return std::make_unique<WireError>(said);
}

std::unique_ptr<WireError> WireError::Plain(absl::StatusCode code, std::string_view message) {
  auto error = std::make_unique<WireError>();
  error->code = static_cast<int>(code);
  error->message = PercentEncoded(message);
  return error;
}

NativeCall::NativeCall(NativeLoop* loop, NativeConnection* connection, int32_t stream,
                       MonoNanos now, size_t message_bytes_max)
    : Call(nullptr),
      loop_(loop),
      connection_(connection),
      peer_(connection->peer()),
      stream_(stream),
      reader_(message_bytes_max),
      moved_at_(now) {
  started_ = now;
}

NativeCall::~NativeCall() {
  DropHeaders();
  if (kept_request_ != nullptr) loop_->KeepRequest(*method_, std::move(kept_request_));
}

void NativeCall::UseKeptRequest(size_t bytes) {
  if (bytes > kKeptRequestBytes || (!method_->try_now && !method_->at_once)) return;
  kept_request_ = loop_->TakeRequest(*method_);
  request_ = kept_request_.get();
}

void NativeCall::DropHeaders() {
  for (const auto& [name, value] : headers_) {
    nghttp2_rcbuf_decref(name);
    nghttp2_rcbuf_decref(value);
  }
  headers_.clear();
  binary_headers_.clear();
}

bool NativeCall::KeepHeader(nghttp2_rcbuf* name, nghttp2_rcbuf* value) {
  const std::string_view key = ViewOf(name);
  if (IsBinary(key)) {
    // Several of one name may come as one, with commas between them.
    std::string_view left = ViewOf(value);
    while (true) {
      const size_t comma = left.find(',');
      std::optional<std::string> bytes = FromBinaryHeader(left.substr(0, comma));
      if (!bytes.has_value()) return false;
      binary_headers_.emplace_back(key, *std::move(bytes));
      if (comma == std::string_view::npos) return true;
      left.remove_prefix(comma + 1);
    }
  }
  nghttp2_rcbuf_incref(name);
  nghttp2_rcbuf_incref(value);
  headers_.emplace_back(name, value);
  return true;
}

std::string_view NativeCall::Metadata(std::string_view name) const {
  if (IsBinary(name)) {
    for (const auto& [key, value] : binary_headers_) {
      if (key == name) return value;
    }
    return {};
  }
  for (const auto& [key, value] : headers_) {
    if (ViewOf(key) == name) return ViewOf(value);
  }
  return {};
}

std::string NativeCall::PeerAddress() const {
  return connection_ == nullptr ? "" : connection_->PeerAddress();
}

std::string NativeCall::PeerHost() const {
  return connection_ == nullptr ? "" : connection_->host();
}

void NativeCall::Answer(const absl::Status& status) {
  if (!status.ok()) {
    error_ = may_be_plain_ && DetailsOf(status).reason.empty()
                 ? WireError::Plain(status.code(), ToStd(status.message()))
                 : WireError::Of(status);
  } else if (!method_->streams) {
    if (attached_) {
      outgoing_.AssignAttached(*response_, std::move(attached_));
    } else if (!attached_view_.empty()) {
      outgoing_.AssignAttached(*response_, attached_view_);
    } else {
      outgoing_.Assign(*response_);
    }
  }
  answered_ = true;
  if (loop_->IsThisThread()) return loop_->TakeOver(this);
  loop_->Post(this);
}

Executor* NativeCall::home() { return loop_->here(); }

Task<bool> NativeCall::Send(const google::protobuf::Message& message) {
  if (cancellation_.IsCancelled()) return NotSent();
  outgoing_.Assign(message);
  return SendOutgoing();
}

Task<bool> NativeCall::SendOutgoing() {
  const auto sent = std::make_shared<Signal<bool>>(loop_->executor());
  sent_ = sent;
  loop_->Post(this);
  co_return co_await *sent;
}

Task<std::optional<std::string>> NativeCall::Receive() {
  while (true) {
    const auto arrived = std::make_shared<Signal<bool>>(loop_->executor());
    {
      MutexLock lock(&inbox_->mu);
      if (!inbox_->messages.empty()) {
        std::string message = std::move(inbox_->messages.front());
        inbox_->messages.pop_front();
        inbox_->bytes -= message.size() + kInboxOverhead;
        co_return message;
      }
      if (inbox_->closed) co_return std::nullopt;
      inbox_->arrived = arrived;
    }
    co_await *arrived;
  }
}

void NativeCall::Deliver(std::optional<std::string> message) {
  std::shared_ptr<Signal<bool>> arrived;
  {
    MutexLock lock(&inbox_->mu);
    if (message.has_value()) {
      inbox_->bytes += message->size() + kInboxOverhead;
      inbox_->messages.push_back(*std::move(message));
    } else {
      inbox_->closed = true;
    }
    arrived = std::exchange(inbox_->arrived, nullptr);
  }
  if (arrived != nullptr) arrived->TrySet(true);
}

size_t NativeCall::delivered_bytes() const {
  MutexLock lock(&inbox_->mu);
  return inbox_->bytes;
}

}  // namespace larder
