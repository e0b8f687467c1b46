// One attempt of Admin.Warm: a stream of progress, told to the caller as it comes.
// Thread safety: gRPC calls the parts of one stream one after the other; nothing else may touch a
// WarmState between StartWarm and `done`.
// Never blocks. Errors: those of the stream, to `done`.

#ifndef LARDER_CLIENT_SRC_WARM_CALL_H_
#define LARDER_CLIENT_SRC_WARM_CALL_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/client_context.h"
#include "larder/client.h"
#include "larder/v1/admin.grpc.pb.h"

namespace larder::internal {

struct WarmState {
  v1::WarmRequest request;
  WarmCallback progress;  // may be null
  bool heard = false;     // whether any attempt has told anything
  bool unwanted = false;  // `progress` said false
  WarmProgress last;
};

// Begins the stream. `owner` is the client whose callback `progress` is; `context` outlives the
// call of `done`, which comes once, and last.
void StartWarm(v1::Admin::StubInterface::async_interface* admin, grpc::ClientContext* context,
               std::shared_ptr<WarmState> state, const void* owner,
               std::function<void(grpc::Status)> done);

// What the caller is to be told at the end.
absl::StatusOr<WarmProgress> WarmOutcome(const WarmState& state, const absl::Status& status);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_WARM_CALL_H_
