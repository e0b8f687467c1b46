#include "rpc/wire_status.h"

#include "base/strings.h"
#include "core/error.h"
#include "larder/rpc/v1/status.pb.h"

namespace larder {
namespace {

constexpr size_t kMessageMost = 1'536;
constexpr size_t kMessageInDetailsMost = 512;
constexpr size_t kFieldsMost = 1'536;
constexpr std::string_view kCut = " ...";

// At most `most` bytes of it, whole characters.
std::string Shortened(std::string_view text, size_t most) {
  if (text.size() <= most) return std::string(text);
  size_t end = most - kCut.size();
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return StrCat(text.substr(0, end), kCut);
}

// The detail under the type name that every gRPC client knows (see status.proto).
void Attach(rpc::v1::Status* wire, std::string_view type, const google::protobuf::Message& detail) {
  google::protobuf::Any* any = wire->add_details();
  any->set_type_url(StrCat("type.googleapis.com/google.rpc.", type));
  detail.SerializeToString(any->mutable_value());
}

}  // namespace

absl::StatusCode WireCode(const absl::Status& status) {
  return DetailsOf(status).reason.empty() ? absl::StatusCode::kInternal : status.code();
}

std::string WireMessage(const absl::Status& status) {
  return Shortened(ToStd(status.message()), kMessageMost);
}

std::string StatusDetails(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  rpc::v1::Status wire;
  wire.set_code(static_cast<int>(WireCode(status)));
  wire.set_message(Shortened(ToStd(status.message()), kMessageInDetailsMost));

  rpc::v1::ErrorInfo info;
  info.set_reason(details.reason.empty() ? std::string(ReasonName(Reason::kBUG)) : details.reason);
  info.set_domain("larder");
  Attach(&wire, "ErrorInfo", info);
  if (!details.fields.empty()) {
    rpc::v1::BadRequest bad;
    size_t bytes = 0;
    for (const auto& [field, description] : details.fields) {
      bytes += field.size() + description.size();
      if (bytes > kFieldsMost) break;
      rpc::v1::BadRequest::FieldViolation* violation = bad.add_field_violations();
      violation->set_field(field);
      violation->set_description(description);
    }
    Attach(&wire, "BadRequest", bad);
  }
  if (details.retry_after.has_value()) {
    rpc::v1::RetryInfo retry;
    const int64_t nanos = absl::ToInt64Nanoseconds(*details.retry_after);
    retry.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    Attach(&wire, "RetryInfo", retry);
  }
  return wire.SerializeAsString();
}

}  // namespace larder
