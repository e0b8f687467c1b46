// One spelling of each address, whoever wrote it down: what one address may have is counted in one
// place, whichever lane its connections came by. Thread safety: pure functions.

#ifndef LARDER_RPC_PEER_HOST_H_
#define LARDER_RPC_PEER_HOST_H_

#include <string>
#include <string_view>

namespace larder {

// "[2001:db8::1]" is "2001:db8::1", an IPv4 address that came to a socket of IPv6,
// "::ffff:192.0.2.1", is "192.0.2.1", and a link's "fe80::1%eth0" is "fe80::1".
inline std::string PeerHostOf(std::string_view host) {
  constexpr std::string_view kMapped = "::ffff:";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host.starts_with(kMapped) && host.find('.') != std::string_view::npos)
    host.remove_prefix(kMapped.size());
  return std::string(host.substr(0, host.find('%')));
}

}  // namespace larder

#endif  // LARDER_RPC_PEER_HOST_H_
