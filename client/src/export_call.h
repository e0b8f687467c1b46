// One attempt of Admin.ExportDeadLetters: a stream of letters, told to the caller as they come.
// Thread safety: gRPC calls the parts of one stream one after the other; nothing else may touch an
// ExportState between StartExport and `done`.
// Never blocks. Errors: those of the stream, to `done`.

#ifndef LARDER_CLIENT_SRC_EXPORT_CALL_H_
#define LARDER_CLIENT_SRC_EXPORT_CALL_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "grpcpp/client_context.h"
#include "larder/client.h"
#include "larder/v1/admin.grpc.pb.h"

namespace larder::internal {

struct ExportState {
  v1::ExportDeadLettersRequest request;
  ExportCallback each;
  bool unwanted = false;  // `each` said false
  DeadLetterCount count;
};

// Begins the stream. `owner` is the client whose callback `each` is; `context` outlives the call of
// `done`, which comes once, and last.
void StartExport(v1::Admin::StubInterface::async_interface* admin, grpc::ClientContext* context,
                 std::shared_ptr<ExportState> state, const void* owner,
                 std::function<void(grpc::Status)> done);

// What the caller is to be told at the end.
absl::StatusOr<DeadLetterCount> ExportOutcome(const ExportState& state, const absl::Status& status);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_EXPORT_CALL_H_
