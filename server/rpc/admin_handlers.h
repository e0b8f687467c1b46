// AdminHandlers answers the calls of larder.v1.Admin that this version knows: ServerInfo,
// Explain, HotKeys and Warm. Thread safety: any method, any thread; none of them blocks.

#ifndef LARDER_RPC_ADMIN_HANDLERS_H_
#define LARDER_RPC_ADMIN_HANDLERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/task.h"
#include "engine/engine.h"
#include "engine/origin_warmer.h"
#include "larder/v1/admin.pb.h"
#include "rpc/call.h"
#include "rpc/convert.h"
#include "rpc/methods.h"

namespace larder {

class AdminHandlers {
 public:
  struct Options {
    std::string version;
    std::string node_name;
    RequestLimits limits;
    absl::Time started;
  };

  // All outlive the handlers. `methods` gets the handlers entered.
  AdminHandlers(const Options& options, Engine* engine, OriginWarmer* warmer, MethodTable* methods);

  Task<absl::Status> ServerInfo(CallContext* context, const v1::ServerInfoRequest* request,
                                v1::ServerInfoResponse* response);
  Task<absl::Status> Explain(CallContext* context, const v1::ExplainRequest* request,
                             v1::ExplainResponse* response);
  Task<absl::Status> HotKeys(CallContext* context, const v1::HotKeysRequest* request,
                             v1::HotKeysResponse* response);
  // A stream.
  Task<absl::Status> Warm(CallContext* context, const v1::WarmRequest* request,
                          v1::WarmResponse* response);

 private:
  const Options options_;
  Engine* const engine_;
  OriginWarmer* const warmer_;
};

}  // namespace larder

#endif  // LARDER_RPC_ADMIN_HANDLERS_H_
