// The sockets of an HttpServer: one that listens, and who is at the other end of one.
// Thread safety: functions without state. ListenOn blocks while it looks a name up.
// Errors: ListenOn says in a sentence why it cannot listen.

#ifndef LARDER_ADMIN_HTTP_SOCKET_H_
#define LARDER_ADMIN_HTTP_SOCKET_H_

#include <sys/socket.h>

#include <string>

#include "absl/status/statusor.h"

namespace larder {

// A socket that listens on host:port and does not block; the caller closes it.
absl::StatusOr<int> ListenOn(const std::string& address);

// Where it listens.
int PortOf(int fd);

// host:port of an address of IPv4 or IPv6.
std::string PeerOf(const sockaddr_storage& peer);

}  // namespace larder

#endif  // LARDER_ADMIN_HTTP_SOCKET_H_
