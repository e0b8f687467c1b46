// The details travel as payloads of the absl::Status itself, so that an error passes through every
// layer in one piece and no layer below rpc needs protobuf. Each payload is plain text; a field
// violation is its path, a newline (which no path contains) and the description.

#include "core/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "base/strings.h"

namespace larder {
namespace {

constexpr absl::string_view kReasonUrl = "larder/reason";
constexpr absl::string_view kFieldUrl = "larder/field";
constexpr absl::string_view kRetryUrl = "larder/retry-ms";

absl::StatusCode CodeOf(Reason reason) {
  switch (reason) {
#define LARDER_REASON_CODE(name, code) \
  case Reason::k##name:                \
    return absl::StatusCode::code;
    LARDER_REASONS(LARDER_REASON_CODE)
#undef LARDER_REASON_CODE
  }
  return absl::StatusCode::kInternal;
}

// From a view: of the constructor from a std::string the packaged absl has gcc's name only, and
// clang 19 has another one.
absl::Cord CordOf(std::string_view text) { return absl::Cord(ToAbsl(text)); }

}  // namespace

std::string_view ReasonName(Reason reason) {
  switch (reason) {
#define LARDER_REASON_NAME(name, code) \
  case Reason::k##name:                \
    return #name;
    LARDER_REASONS(LARDER_REASON_NAME)
#undef LARDER_REASON_NAME
  }
  return "BUG";
}

std::vector<std::string_view> AllReasonNames() {
  return {
#define LARDER_REASON_NAME(name, code) #name,
      LARDER_REASONS(LARDER_REASON_NAME)
#undef LARDER_REASON_NAME
  };
}

absl::Status Error(Reason reason, std::string_view message) {
  absl::Status status(CodeOf(reason), ToAbsl(message));
  status.SetPayload(kReasonUrl, CordOf(ReasonName(reason)));
  return status;
}

absl::Status FieldError(Reason reason, std::string_view field, std::string_view message) {
  absl::Status status = Error(reason, message);
  status.SetPayload(kFieldUrl, CordOf(StrCat(field, "\n", message)));
  return status;
}

absl::Status RetryableError(Reason reason, absl::Duration retry_after, std::string_view message) {
  absl::Status status = Error(reason, message);
  status.SetPayload(kRetryUrl, CordOf(StrCat(absl::ToInt64Milliseconds(retry_after))));
  return status;
}

ErrorDetails DetailsOf(const absl::Status& status) {
  ErrorDetails details;
  if (const auto reason = status.GetPayload(kReasonUrl)) details.reason = std::string(*reason);
  if (const auto field = status.GetPayload(kFieldUrl)) {
    const std::string text(*field);
    const size_t split = text.find('\n');
    details.fields.emplace_back(text.substr(0, split), text.substr(split + 1));
  }
  if (const auto retry = status.GetPayload(kRetryUrl)) {
    int64_t ms = 0;
    if (absl::SimpleAtoi(std::string(*retry), &ms)) details.retry_after = absl::Milliseconds(ms);
  }
  return details;
}

absl::Status WithFieldPrefix(const absl::Status& status, std::string_view prefix) {
  absl::Status prefixed = status;
  if (const auto field = status.GetPayload(kFieldUrl)) {
    prefixed.SetPayload(kFieldUrl, CordOf(StrCat(prefix, std::string(*field))));
  }
  return prefixed;
}

}  // namespace larder
