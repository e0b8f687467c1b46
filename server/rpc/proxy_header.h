// What a balancer says first on a connection that it makes for somebody else: the header of the
// PROXY protocol, version 2. Thread safety: pure functions. Never blocks.

#ifndef LARDER_RPC_PROXY_HEADER_H_
#define LARDER_RPC_PROXY_HEADER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace larder {

struct ProxyHeader {
  // The part that says how long the rest is.
  static constexpr size_t kFixedBytes = 16;
  // Addresses take 36 bytes; the rest is for what balancers like to add, and is not read.
  static constexpr size_t kBytesMax = 4'096;

  // How long the whole header is. nullopt: this is none of version 2, or it is too long. REQUIRES:
  // at least kFixedBytes bytes.
  static std::optional<size_t> SizeOf(std::string_view begin);
  // Reads a whole header. nullopt when it is broken.
  static std::optional<ProxyHeader> Parse(std::string_view whole);

  // Who is spoken for. Empty: the balancer itself, such as for a check of health, or somebody who
  // has no address of IP.
  std::string host;
  uint16_t port = 0;
};

}  // namespace larder

#endif  // LARDER_RPC_PROXY_HEADER_H_
