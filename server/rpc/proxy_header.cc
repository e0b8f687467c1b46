// Twelve bytes that no other protocol begins with; version and command; family and protocol; the
// length of what follows; source and destination addresses, then source and destination ports; then
// fields of type, length and value.

#include "rpc/proxy_header.h"

#include <arpa/inet.h>

#include <array>

#include "rpc/peer_host.h"

namespace larder {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr uint8_t kVersion = 2;
constexpr uint8_t kLocal = 0;
constexpr uint8_t kProxy = 1;
constexpr uint8_t kTcpOverIpv4 = 0x11;
constexpr uint8_t kTcpOverIpv6 = 0x21;

uint16_t NumberAt(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 |
                               static_cast<uint8_t>(bytes[at + 1]));
}

// The first of two addresses of `size` bytes each, and the first of the ports behind them.
std::optional<ProxyHeader> SourceOf(std::string_view rest, int family, size_t size) {
  if (rest.size() < 2 * size + 4) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> text;
  if (inet_ntop(family, rest.data(), text.data(), text.size()) == nullptr) return std::nullopt;
  return ProxyHeader{PeerHostOf(text.data()), NumberAt(rest, 2 * size)};
}

}  // namespace

std::optional<size_t> ProxyHeader::SizeOf(std::string_view begin) {
  if (!begin.starts_with(kSignature)) return std::nullopt;
  const auto version_and_command = static_cast<uint8_t>(begin[12]);
  const uint8_t command = version_and_command & 0x0F;
  if (version_and_command >> 4 != kVersion || (command != kLocal && command != kProxy)) {
    return std::nullopt;
  }
  const size_t size = kFixedBytes + NumberAt(begin, 14);
  if (size > kBytesMax) return std::nullopt;
  return size;
}

std::optional<ProxyHeader> ProxyHeader::Parse(std::string_view whole) {
  if (whole.size() < kFixedBytes || SizeOf(whole) != whole.size()) {
    return std::nullopt;
  }
  const std::string_view rest = whole.substr(kFixedBytes);
  if ((static_cast<uint8_t>(whole[12]) & 0x0F) == kLocal) return ProxyHeader{};
  switch (static_cast<uint8_t>(whole[13])) {
    case kTcpOverIpv4:
      return SourceOf(rest, AF_INET, 4);
    case kTcpOverIpv6:
      return SourceOf(rest, AF_INET6, 16);
    default:
      return ProxyHeader{};
  }
}

}  // namespace larder
