#include "client/src/status.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/src/time.h"
#include "larder/error.h"
#include "larder/rpc/v1/status.pb.h"

namespace larder {
namespace {

// An absl::Status carries each detail under the type URL that it has on the wire. The classes that
// decode them are our own (larder.rpc.v1): they have the fields of google.rpc's but another name,
// because a program may well link another library that brings google.rpc, and protobuf aborts when
// a name is registered twice.
constexpr absl::string_view kErrorInfo = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr absl::string_view kBadRequest = "type.googleapis.com/google.rpc.BadRequest";
constexpr absl::string_view kRetryInfo = "type.googleapis.com/google.rpc.RetryInfo";
constexpr absl::string_view kDomain = "larder";

template <typename Message>
std::optional<Message> Detail(const absl::Status& status, absl::string_view type_url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(type_url);
  Message message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

}  // namespace

std::string ErrorReason(const absl::Status& status) {
  const auto info = Detail<rpc::v1::ErrorInfo>(status, kErrorInfo);
  return info.has_value() && info->domain() == kDomain ? info->reason() : "";
}

std::vector<FieldViolation> FieldViolations(const absl::Status& status) {
  std::vector<FieldViolation> violations;
  if (const auto request = Detail<rpc::v1::BadRequest>(status, kBadRequest); request.has_value()) {
    for (const auto& violation : request->field_violations()) {
      violations.push_back({violation.field(), violation.description()});
    }
  }
  return violations;
}

std::optional<absl::Duration> RetryAfter(const absl::Status& status) {
  const auto info = Detail<rpc::v1::RetryInfo>(status, kRetryInfo);
  if (!info.has_value() || !info->has_retry_delay()) return std::nullopt;
  return internal::FromProto(info->retry_delay());
}

namespace internal {

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view field,
                       absl::string_view message) {
  absl::Status status(code, message);
  rpc::v1::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain(std::string(kDomain));
  status.SetPayload(kErrorInfo, absl::Cord(info.SerializeAsString()));
  if (!field.empty()) {
    rpc::v1::BadRequest request;
    auto* violation = request.add_field_violations();
    violation->set_field(std::string(field));
    violation->set_description(std::string(message));
    status.SetPayload(kBadRequest, absl::Cord(request.SerializeAsString()));
  }
  return status;
}

absl::Status FieldError(absl::string_view reason, absl::string_view field,
                        absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, field, message);
}

absl::Status FromWire(int code, const std::string& message, const std::string& details) {
  // A code that gRPC does not define counts as UNKNOWN, as its specification says.
  if (code < 0 || code > 16) code = static_cast<int>(absl::StatusCode::kUnknown);
  absl::Status status(static_cast<absl::StatusCode>(code), message);
  rpc::v1::Status wire;
  if (status.ok() || details.empty() || !wire.ParseFromString(details)) return status;
  for (const auto& detail : wire.details())
    status.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  return status;
}

bool IsOriginsFault(const absl::Status& status) {
  const std::string reason = ErrorReason(status);
  return reason == "ORIGIN_UNAVAILABLE" || reason == "ORIGIN_TIMEOUT" || reason == "WRITE_FAILED" ||
         reason == "WRITE_UNKNOWN";
}

}  // namespace internal
}  // namespace larder
