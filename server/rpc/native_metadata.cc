#include "rpc/native_metadata.h"

#include <cstdint>

#include "absl/strings/escaping.h"

namespace larder {

std::optional<absl::Duration> ParseGrpcTimeout(std::string_view value) {
  if (value.size() < 2 || value.size() > 9) return std::nullopt;
  int64_t amount = 0;
  for (const char digit : value.substr(0, value.size() - 1)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    amount = amount * 10 + (digit - '0');
  }
  switch (value.back()) {
    case 'H':
      return absl::Hours(amount);
    case 'M':
      return absl::Minutes(amount);
    case 'S':
      return absl::Seconds(amount);
    case 'm':
      return absl::Milliseconds(amount);
    case 'u':
      return absl::Microseconds(amount);
    case 'n':
      return absl::Nanoseconds(amount);
    default:
      return std::nullopt;
  }
}

bool IsGrpcContentType(std::string_view value) {
  constexpr std::string_view kPrefix = "application/grpc";
  if (value.substr(0, kPrefix.size()) != kPrefix) return false;
  return value.size() == kPrefix.size() || value[kPrefix.size()] == '+' ||
         value[kPrefix.size()] == ';';
}

std::string PercentEncoded(std::string_view message) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(message.size());
  for (const char c : message) {
    if (c >= ' ' && c <= '~' && c != '%') {
      encoded += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

std::string BinaryHeader(std::string_view bytes) {
  std::string encoded = absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
  while (!encoded.empty() && encoded.back() == '=') encoded.pop_back();
  return encoded;
}

std::optional<std::string> FromBinaryHeader(std::string_view value) {
  std::string bytes;
  if (!absl::Base64Unescape(absl::string_view(value.data(), value.size()), &bytes)) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace larder
