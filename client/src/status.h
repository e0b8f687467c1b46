// Turns errors into absl::Status with google.rpc details as payloads, for larder/error.h to read.
// Thread safety: any function, any thread.

#ifndef LARDER_CLIENT_SRC_STATUS_H_
#define LARDER_CLIENT_SRC_STATUS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace larder::internal {

// An error found by the client itself. `field` is the path of the wrong field; empty = the error is
// about none.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message);

// The same as INVALID_ARGUMENT.
absl::Status FieldError(absl::string_view reason, absl::string_view field,
                        absl::string_view message);

// An error of a server: `code` as on the wire, `details` the trailer grpc-status-details-bin (may
// be empty or garbage).
absl::Status FromWire(int code, const std::string& message, const std::string& details);

// Whether the server works and the origin behind it does not.
bool IsOriginsFault(const absl::Status& status);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_STATUS_H_
