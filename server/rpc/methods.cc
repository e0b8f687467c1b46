#include "rpc/methods.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/log.h"
#include "base/strings.h"
#include "core/error.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/stubs/logging.h"
#include "larder/v1/admin.pb.h"
#include "larder/v1/cache.pb.h"
#include "rpc/access_needs.h"

namespace larder {
namespace {

Task<absl::Status> NotInThisVersion(std::string_view name) {
  co_return Error(Reason::kNOT_IN_THIS_VERSION,
                  StrCat(name, " is not part of this version of larder"));
}

// What takes entries away counts as reads do: it makes room, and who may not do it reads what is
// wrong. Streams of changes go on for hours and have a limit of their own; what an operator asks
// for is answered as long as anything is (what one with admin of a part asks for is a batch:
// dispatcher.cc).
std::optional<CallClass> ClassOf(const google::protobuf::MethodDescriptor& method) {
  const std::string& name = method.name();
  if (name == "Warm") return CallClass::kWarming;
  if (method.server_streaming() || method.service()->name() == "Admin" || name == "Stats")
    return std::nullopt;
  static constexpr std::string_view kRead[] = {"Get",        "GetOrLoad",   "Delete",
                                               "Invalidate", "BatchDelete", "ReleaseLease"};
  if (std::find(std::begin(kRead), std::end(kRead), name) != std::end(kRead)) {
    return CallClass::kRead;
  }
  return name.starts_with("Batch") ? CallClass::kBatch : CallClass::kWrite;
}

bool IsRepeatable(std::string_view name) {
  static constexpr std::string_view kAsk[] = {
      "Get",        "BatchGet", "GetOrLoad", "BatchGetOrLoad", "Stats",
      "ServerInfo", "Explain",  "HotKeys",   "ListDeadLetters"};
  return std::find(std::begin(kAsk), std::end(kAsk), name) != std::end(kAsk);
}

}  // namespace

void Call::MakeMessages() {
  request_ = method_->request->New(&arena_);
  response_ = method_->response->New(&arena_);
}

MethodTable::MethodTable() {
  using google::protobuf::MessageFactory;
  // Of a string that is no UTF-8 protobuf writes a line to standard error, each time that a client
  // sends one, and blocks there when nobody reads it.
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel, const char*, int, const std::string& message) {
        LogWarning("protobuf_says", {{"message", message}});
      });
  for (const google::protobuf::FileDescriptor* file :
       {v1::GetRequest::descriptor()->file(), v1::ServerInfoRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      const google::protobuf::ServiceDescriptor* service = file->service(s);
      for (int m = 0; m < service->method_count(); ++m) {
        const google::protobuf::MethodDescriptor* declared = service->method(m);
        Method& method = methods_.emplace_back();
        method.service = service->full_name();
        method.name = declared->name();
        method.path = StrCat("/", method.service, "/", method.name);
        method.request = MessageFactory::generated_factory()->GetPrototype(declared->input_type());
        method.response =
            MessageFactory::generated_factory()->GetPrototype(declared->output_type());
        method.streams = declared->server_streaming();
        method.repeatable = IsRepeatable(method.name);
        method.call_class = ClassOf(*declared);
        method.name_space = declared->input_type()->FindFieldByName("namespace");
        for (const char* const name : {"keys", "items"}) {
          const auto* const field = declared->input_type()->FindFieldByName(name);
          if (field != nullptr && field->is_repeated()) method.keys = field;
        }
        method.access = RpcAccessOf(method.path);
        method.run = [&method](Call*) { return NotInThisVersion(method.name); };
        method.latency = std::make_unique<Histogram>();
        method.counters = std::make_unique<CounterBlock>(Method::kCounters);
      }
    }
  }
}

Method& MethodTable::Get(std::string_view path) {
  for (Method& method : methods_) {
    if (method.path == path) return method;
  }
  std::abort();
}

}  // namespace larder
