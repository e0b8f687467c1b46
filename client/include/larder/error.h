// Reads what larder says about an error beyond its code and message. docs/errors.md explains each
// reason.
// Thread safety: any function, any thread.

#ifndef LARDER_ERROR_H_
#define LARDER_ERROR_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// Which error it is, such as `KEY_INVALID`. Empty for OK and for an error that is not larder's own,
// such as a connection that failed.
std::string ErrorReason(const absl::Status& status);

struct FieldViolation {
  // Path of the field in the API, such as `items[3].key`.
  std::string field = {};
  // What is wrong with it.
  std::string description = {};
};

// The fields of the request that are wrong. Empty when the error is not about fields.
std::vector<FieldViolation> FieldViolations(const absl::Status& status);

// How long the server asks the caller to wait before it tries again. Unset when it did not say.
std::optional<absl::Duration> RetryAfter(const absl::Status& status);

}  // namespace larder

#endif  // LARDER_ERROR_H_
