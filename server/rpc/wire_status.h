// Turns an error into what goes over the wire: the gRPC code, the message, and the bytes of
// grpc-status-details-bin. Together they stay below the 8 KiB of trailers that gRPC's clients take
// by default, and lists and texts that are longer are cut. Thread safety: pure functions.

#ifndef LARDER_RPC_WIRE_STATUS_H_
#define LARDER_RPC_WIRE_STATUS_H_

#include <string>

#include "absl/status/status.h"

namespace larder {

// A serialized google.rpc.Status with an ErrorInfo and, where the error has them, a BadRequest and
// a RetryInfo. REQUIRES: !status.ok(). An error without a reason of ours gets the reason BUG and
// INTERNAL as its code.
std::string StatusDetails(const absl::Status& status);

// The code and the message that go with StatusDetails.
absl::StatusCode WireCode(const absl::Status& status);
std::string WireMessage(const absl::Status& status);

}  // namespace larder

#endif  // LARDER_RPC_WIRE_STATUS_H_
