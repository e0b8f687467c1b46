// WatchHandler answers Watch: a stream of changes, from the engine's feed to one client at the pace
// at which it reads. Knows no lane. Thread safety: any method, any thread; none of them blocks.

#ifndef LARDER_RPC_WATCH_HANDLER_H_
#define LARDER_RPC_WATCH_HANDLER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/task.h"
#include "engine/change_feed.h"
#include "engine/engine.h"
#include "larder/v1/cache.pb.h"
#include "rpc/call.h"
#include "rpc/convert.h"
#include "rpc/methods.h"

namespace larder {

class WatchHandler {
 public:
  // Both outlive the handler, which is entered into `methods`.
  WatchHandler(const RequestLimits& limits, Engine* engine, MethodTable* methods);

  Task<absl::Status> Watch(CallContext* context, const v1::WatchRequest* request,
                           v1::WatchResponse* response);

 private:
  // One stream that is being told.
  struct Stream {
    CallContext* context;
    const v1::WatchRequest* request;
    MonoNanos interval;
    MonoNanos beat;  // when the next heartbeat is due
  };

  absl::StatusOr<WatchSelector> SelectorFrom(const v1::WatchRequest& request) const;
  absl::Status CheckKeysOf(const v1::WatchRequest& request) const;
  // False: the client has gone.
  Task<bool> SendEvent(Stream* stream, const ChangeFeed::Event* event);
  // Sends none while changes of other replicas may be missing.
  Task<bool> SendHeartbeat(Stream* stream, uint64_t position);
  void Fill(const Change& change, bool values, v1::WatchResponse* to) const;
  MonoNanos Now() const { return engine_->options().clock->Mono(); }

  const RequestLimits limits_;
  Engine* const engine_;
};

}  // namespace larder

#endif  // LARDER_RPC_WATCH_HANDLER_H_
