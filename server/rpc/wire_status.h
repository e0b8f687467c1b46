// Turns an error into what goes over the wire: the gRPC code and the bytes of
// grpc-status-details-bin. Thread safety: pure functions.

#ifndef LARDER_RPC_WIRE_STATUS_H_
#define LARDER_RPC_WIRE_STATUS_H_

#include <string>

#include "absl/status/status.h"

namespace larder {

// A serialized google.rpc.Status with an ErrorInfo and, where the error has them, a BadRequest and
// a RetryInfo. REQUIRES: !status.ok(). An error without a reason of ours gets the reason BUG and
// INTERNAL as its code.
std::string StatusDetails(const absl::Status& status);

// The code that goes with StatusDetails.
absl::StatusCode WireCode(const absl::Status& status);

}  // namespace larder

#endif  // LARDER_RPC_WIRE_STATUS_H_
