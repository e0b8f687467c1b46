#include "client/cli/exit_code.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "client/cli/json.h"
#include "larder/error.h"

namespace larder::cli {

ExitCode CodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kDenied;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kUnavailable;
    case absl::StatusCode::kResourceExhausted:
      return kExhausted;
    case absl::StatusCode::kUnimplemented:
      return kUnsupported;
    default:
      return kError;
  }
}

std::string Told(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return fmt::format("{}: {}", reason.empty() ? absl::StatusCodeToString(status.code()) : reason,
                     std::string(status.message()));
}

ExitCode Report(const absl::Status& status, bool json) {
  const std::string code = absl::StatusCodeToString(status.code());
  const std::string reason = ErrorReason(status);
  const std::string message(status.message());
  const std::vector<FieldViolation> fields = FieldViolations(status);
  const std::optional<absl::Duration> retry_after = RetryAfter(status);
  if (json) {
    Json error;
    error.Field("code", code);
    error.Field("reason", reason);
    error.Field("message", message);
    error.Array("fields", fields, [](const FieldViolation& violation, Json* item) {
      item->Field("field", violation.field);
      item->Field("description", violation.description);
    });
    if (retry_after.has_value()) error.Field("retry_after_seconds", *retry_after);
    Json whole;
    whole.Object("error", error);
    fmt::print(stderr, "{}\n", whole.Text());
    return CodeFor(status);
  }
  fmt::print(stderr, "larder: {}\n", Told(status));
  // Nobody that knows reasons has answered: what is between, or TLS on one side alone.
  if (reason.empty() && status.code() == absl::StatusCode::kUnavailable)
    fmt::print(stderr, "  `larder doctor` with the same flags looks for the cause\n");
  for (const FieldViolation& violation : fields) {
    if (violation.description == message) {
      fmt::print(stderr, "  field {}\n", violation.field);
    } else {
      fmt::print(stderr, "  field {}: {}\n", violation.field, violation.description);
    }
  }
  if (retry_after.has_value())
    fmt::print(stderr, "  try again in {}\n", absl::FormatDuration(*retry_after));
  return CodeFor(status);
}

}  // namespace larder::cli
