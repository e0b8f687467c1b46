// MethodTable lists every RPC of larder.v1 with the code that answers it. Lanes serve the table and
// know no handler. Immutable once built. Thread safety: any method, any thread.

#ifndef LARDER_RPC_METHODS_H_
#define LARDER_RPC_METHODS_H_

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/counters.h"
#include "base/histogram.h"
#include "base/task.h"
#include "google/protobuf/descriptor.h"
#include "rpc/admission.h"
#include "rpc/call.h"

namespace larder {

struct RpcAccess;

struct Method {
  std::string path;     // "/larder.v1.Cache/Get"
  std::string service;  // "larder.v1.Cache"
  std::string name;     // "Get"
  const google::protobuf::Message* request;
  const google::protobuf::Message* response;
  // It answers with a stream of them: its handler sends each, and leaves `response` unsent.
  bool streams = false;
  // Nothing is changed by asking twice: an answer that there is no room for may be kept back.
  bool repeatable = false;
  // What it is to the server under load. Nothing: it is never refused for that.
  std::optional<CallClass> call_class = std::nullopt;
  // Where its request says the namespace and lists the keys or items; null: it does not.
  const google::protobuf::FieldDescriptor* name_space = nullptr;
  const google::protobuf::FieldDescriptor* keys = nullptr;
  // What it needs of its caller. Null: it is denied wherever callers are known.
  const RpcAccess* access = nullptr;

  // Answers from memory at once, on the lane's thread; false leaves the call to `run`, which goes
  // on with whatever was put into the response. Not set where that is never possible.
  std::function<bool(Call*, absl::Status*)> try_now;
  // Whether `run` would neither wait nor cost much more than a hit does, so that the lane's thread
  // may as well run it. Not set where it never is so.
  std::function<bool(const Call&)> at_once;
  std::function<Task<absl::Status>(Call*)> run;

  // What calls cost and how they ended.
  std::unique_ptr<Histogram> latency;
  // kByCode + c counts those that ended with the status code c.
  static constexpr size_t kCodes = 17;
  enum Counter : size_t { kCalls, kErrors, kByCode, kCounters = kByCode + kCodes };
  std::unique_ptr<CounterBlock> counters;
};

class MethodTable {
 public:
  // Every method of Cache and Admin, answering UNIMPLEMENTED (NOT_IN_THIS_VERSION) until On names
  // its handler.
  MethodTable();

  // REQUIRES: the method exists, and the messages are its own.
  template <typename Request, typename Response, typename Handler>
  void On(std::string_view path, Handler* handler,
          Task<absl::Status> (Handler::*run)(CallContext*, const Request*, Response*),
          bool (Handler::*try_now)(CallContext*, const Request&, Response*,
                                   absl::Status*) = nullptr) {
    Method& method = Get(path);
    method.run = [handler, run](Call* call) {
      return (handler->*run)(call, static_cast<const Request*>(call->request()),
                             static_cast<Response*>(call->response()));
    };
    if (try_now == nullptr) return;
    method.try_now = [handler, try_now](Call* call, absl::Status* status) {
      return (handler->*try_now)(call, *static_cast<const Request*>(call->request()),
                                 static_cast<Response*>(call->response()), status);
    };
  }

  // REQUIRES: the method exists, and the message is its own.
  template <typename Request, typename Handler>
  void AtOnce(std::string_view path, const Handler* handler,
              bool (Handler::*at_once)(const Request&) const) {
    Get(path).at_once = [handler, at_once](const Call& call) {
      return (handler->*at_once)(*static_cast<const Request*>(call.request()));
    };
  }

  const std::deque<Method>& methods() const { return methods_; }

 private:
  Method& Get(std::string_view path);

  std::deque<Method> methods_;
};

}  // namespace larder

#endif  // LARDER_RPC_METHODS_H_
