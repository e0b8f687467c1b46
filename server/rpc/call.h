// Call is one call on its way through the server: the parsed request, the answer to be, and what
// handlers may know and ask of the caller. Each lane derives its own; handlers see CallContext
// only. Thread safety: CallContext's methods from any thread until the handler has answered.

#ifndef LARDER_RPC_CALL_H_
#define LARDER_RPC_CALL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/cancellation.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/steps.h"
#include "base/task.h"
#include "core/shared_bytes.h"
#include "google/protobuf/arena.h"
#include "google/protobuf/message.h"
#include "rpc/peer_host.h"
#include "rpc/quotas.h"

namespace larder {

class AccessView;
struct Method;

class CallContext {
 public:
  virtual ~CallContext() = default;

  // When the caller stops waiting; INT64_MAX when it set no deadline.
  MonoNanos deadline() const { return deadline_; }

  // Is cancelled when the caller goes away.
  Cancellation& cancellation() { return cancellation_; }

  // What the caller sent beside the message, by its lower-case name; empty: nothing. Valid until
  // the handler has answered.
  virtual std::string_view Metadata(std::string_view) const { return {}; }

  // Who the caller's certificate says that it is; empty without one. Valid as Metadata is.
  virtual std::string_view PeerName() const { return {}; }

  // Where the caller's connection comes from, as `127.0.0.1:40312`. REQUIRES: on the lane's thread,
  // before the handler runs.
  virtual std::string PeerAddress() const { return {}; }

  // The same without the port: what limits of one address go by. Empty: of none.
  virtual std::string PeerHost() const {
    const std::string address = PeerAddress();
    return PeerHostOf(std::string_view(address).substr(0, address.rfind(':')));
  }

  // What the caller may see, for answers that leave out the rest; null: everything.
  const AccessView* view() const { return view_.get(); }
  void set_view(std::shared_ptr<const AccessView> view) { view_ = std::move(view); }

  // For streams: whether the caller still may what it asked for when they began.
  absl::Status StillAllowed() { return still_allowed_ ? still_allowed_() : absl::OkStatus(); }
  void set_still_allowed(std::function<absl::Status()> still_allowed) {
    still_allowed_ = std::move(still_allowed);
  }

  // For methods that answer with a stream: sends one message of it. Goes on when there is room for
  // the next; false when the caller has gone. One at a time.
  virtual Task<bool> Send(const google::protobuf::Message&) { return NotSent(); }

  // Runs `work` if the answer turns out not to have reached the caller's side of the connection.
  void OnUndelivered(Work work) { undelivered_ = std::move(work); }

  // Makes `value` the value of the response's hit without a copy: the lane sends the bytes from
  // where they are and holds them until they are sent. REQUIRES: the response is a GetResponse or a
  // GetOrLoadResponse; its hit is set and has no value.
  void AttachValue(SharedBytes value) { attached_ = std::move(value); }

  // The same for bytes that stay where they are until the handler has answered. REQUIRES: the
  // handler answers at once, on the lane's thread.
  void AttachView(std::string_view value) { attached_view_ = value; }

 protected:
  static Task<bool> NotSent() { co_return false; }

  MonoNanos deadline_ = INT64_MAX;
  Cancellation cancellation_;
  Work undelivered_;
  // Holds nothing where the response is complete.
  SharedBytes attached_;
  std::string_view attached_view_;

 private:
  std::shared_ptr<const AccessView> view_;
  std::function<absl::Status()> still_allowed_;
};

class Call : public CallContext {
 public:
  explicit Call(const Method* method)
      : method_(method), arena_(first_block_, sizeof(first_block_)) {}

  const Method& method() const { return *method_; }
  google::protobuf::Message* request() { return request_; }
  const google::protobuf::Message* request() const { return request_; }
  google::protobuf::Message* response() { return response_; }

  // Sends response() if `status` is OK, else the error. Called once, on any thread; the call may be
  // gone afterwards.
  virtual void Answer(const absl::Status& status) = 0;

  // Runs work on the lane's thread that has the call; null: it has none. Outlives the call.
  virtual Executor* home() { return nullptr; }

  // When the lane got the call.
  MonoNanos started() const { return started_; }

  // What the dispatcher notes of it.
  struct Notes {
    // When it began to wait for a worker, and for how long it did.
    MonoNanos posted = 0;
    MonoNanos waited = 0;
    // Set while it counts as under way.
    bool entered = false;
    // Where it counts; empty: nowhere.
    std::string peer;
    Quotas::Line* quota = nullptr;
    // What it waited for, a worker excepted.
    StepTimes steps;
  };
  Notes& notes() { return notes_; }
  // Of the response, with the value that is attached.
  uint64_t ResponseBytes() const {
    return response_->ByteSizeLong() + (attached_ ? attached_.view() : attached_view_).size();
  }

 protected:
  // Makes the empty messages of the method on the arena.
  void MakeMessages();
  // What the messages take in memory.
  size_t MessageSpace() const { return arena_.SpaceAllocated(); }

  const Method* method_;
  MonoNanos started_ = 0;
  google::protobuf::Message* request_ = nullptr;
  google::protobuf::Message* response_ = nullptr;
  Notes notes_;

 private:
  // Enough for a Get and its answer without a further allocation.
  alignas(8) char first_block_[1024];
  google::protobuf::Arena arena_;
};

}  // namespace larder

#endif  // LARDER_RPC_CALL_H_
