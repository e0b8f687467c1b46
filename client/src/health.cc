#include "client/src/health.h"

#include <cstdint>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace larder::internal {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t kServiceTag = 1 << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
constexpr uint32_t kStatusTag = 1 << 3 | WireFormatLite::WIRETYPE_VARINT;
constexpr uint32_t kServing = 1;

}  // namespace

std::string HealthRequest(std::string_view service) {
  std::string request;
  if (service.empty()) return request;
  request.push_back(static_cast<char>(kServiceTag));
  auto size = static_cast<uint32_t>(service.size());
  for (; size >= 0x80; size >>= 7) request.push_back(static_cast<char>(size | 0x80));
  request.push_back(static_cast<char>(size));
  request.append(service);
  return request;
}

absl::StatusOr<bool> IsServing(std::string_view response) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(response.data()),
                      static_cast<int>(response.size()));
  uint32_t status = 0;
  while (const uint32_t tag = in.ReadTag()) {
    const bool read =
        tag == kStatusTag ? in.ReadVarint32(&status) : WireFormatLite::SkipField(&in, tag);
    if (!read) return absl::InternalError("the health service's answer is malformed");
  }
  if (!in.ConsumedEntireMessage())
    return absl::InternalError("the health service's answer is malformed");
  return status == kServing;
}

}  // namespace larder::internal
