#include "rpc/control_handlers.h"

#include <utility>

#include "base/status.h"
#include "core/error.h"
#include "rpc/convert.h"

namespace larder {
namespace {

constexpr absl::Duration kDrainMost = absl::Minutes(10);

}  // namespace

ControlHandlers::ControlHandlers(Options options, MethodTable* methods)
    : options_(std::move(options)) {
  methods->On("/larder.v1.Admin/ReloadConfig", this, &ControlHandlers::ReloadConfig);
  methods->On("/larder.v1.Admin/Drain", this, &ControlHandlers::Drain);
}

Task<absl::Status> ControlHandlers::ReloadConfig(CallContext*,
                                                 const v1::ReloadConfigRequest* request,
                                                 v1::ReloadConfigResponse* response) {
  co_await Hop(options_.disk);
  CO_ASSIGN_OR_RETURN(*response, options_.reload(request->dry_run()));
  co_return absl::OkStatus();
}

Task<absl::Status> ControlHandlers::Drain(CallContext*, const v1::DrainRequest* request,
                                          v1::DrainResponse* response) {
  std::optional<absl::Duration> most;
  if (request->has_timeout()) {
    CO_ASSIGN_OR_RETURN(most, DurationFrom(request->timeout(), "timeout"));
    if (*most > kDrainMost) {
      co_return FieldError(Reason::kREQUEST_INVALID, "timeout", "timeout is more than 10m");
    }
  }
  // This call is one of them.
  const uint64_t running = options_.running();
  response->set_running(static_cast<uint32_t>(running > 0 ? running - 1 : 0));
  options_.drain(most);
  co_return absl::OkStatus();
}

}  // namespace larder
