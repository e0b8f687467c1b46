// ControlHandlers answers the calls of larder.v1.Admin that change the server itself: a new
// configuration, and its end. What they do is given by whoever starts the server. Thread safety:
// any method, any thread; none of them blocks.

#ifndef LARDER_RPC_CONTROL_HANDLERS_H_
#define LARDER_RPC_CONTROL_HANDLERS_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/executor.h"
#include "base/task.h"
#include "larder/v1/admin.pb.h"
#include "rpc/call.h"
#include "rpc/methods.h"

namespace larder {

class ControlHandlers {
 public:
  struct Options {
    // Reads the configuration again and says what changed, or with true would. Blocks.
    std::function<absl::StatusOr<v1::ReloadConfigResponse>(bool dry_run)> reload;
    // Where `reload` runs.
    Executor* disk = nullptr;
    // Begins the orderly end, in which running calls may take so long; nothing: as configured.
    std::function<void(std::optional<absl::Duration>)> drain;
    // Calls that are under way.
    std::function<uint64_t()> running;
  };

  // `methods` outlives the handlers, and gets them entered.
  ControlHandlers(Options options, MethodTable* methods);

  Task<absl::Status> ReloadConfig(CallContext* context, const v1::ReloadConfigRequest* request,
                                  v1::ReloadConfigResponse* response);
  Task<absl::Status> Drain(CallContext* context, const v1::DrainRequest* request,
                           v1::DrainResponse* response);

 private:
  const Options options_;
};

}  // namespace larder

#endif  // LARDER_RPC_CONTROL_HANDLERS_H_
