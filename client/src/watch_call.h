// Cache.Watch: one stream of events, told to the caller as they come.
// Thread safety: WatchState::Cancel: any thread, any time. gRPC calls the parts of a stream one
// after the other; what they share with nobody needs no lock.
// Never blocks. Errors: those of the stream, to `done`.

#ifndef LARDER_CLIENT_SRC_WATCH_CALL_H_
#define LARDER_CLIENT_SRC_WATCH_CALL_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "client/src/mutex.h"
#include "grpcpp/client_context.h"
#include "larder/client.h"
#include "larder/v1/cache.grpc.pb.h"

namespace larder::internal {

class WatchState : public WatchCall {
 public:
  void Cancel() override;

  // The context of the attempt that is under way; null after it. One that comes when the call has
  // been cancelled is cancelled at once.
  void SetContext(grpc::ClientContext* context);
  bool unwanted() const;

  v1::WatchRequest request;
  WatchCallback each;
  WatchEnd end;

 private:
  mutable Mutex mu_;
  bool unwanted_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
};

// The request but for its namespace. INVALID_ARGUMENT when a text is not UTF-8 or not exactly one
// selector is set.
absl::Status To(const WatchOptions& options, v1::WatchRequest* request);

// Moves its bytes out.
WatchEvent From(v1::WatchResponse* response);

// Begins the stream. `owner` is the client whose callback `each` is; `context` outlives the call of
// `done`, which comes once, and last.
void StartWatch(v1::Cache::StubInterface::async_interface* cache, grpc::ClientContext* context,
                std::shared_ptr<WatchState> state, const void* owner,
                std::function<void(grpc::Status)> done);

// What the caller is to be told at the end.
absl::StatusOr<WatchEnd> WatchOutcome(const WatchState& state, const absl::Status& status);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_WATCH_CALL_H_
