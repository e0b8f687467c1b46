// A port for a server that is stopped and started again on it while clients try to connect.

#ifndef LARDER_TESTS_BASE_FREE_PORT_H_
#define LARDER_TESTS_BASE_FREE_PORT_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <random>

namespace larder {

// A port of 127.0.0.1 that nobody has, outside of what the system gives to outgoing connections:
// one of those may be taken by any client at any time, even by one that connects to that very port
// while nobody listens, and so to itself. 0: there is none.
inline int FreePort() {
  constexpr int kFirst = 15'000;
  int end = 65'536;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> end;
  if (end <= kFirst) end = 65'536;
  std::random_device random;
  for (int i = 0; i < 1'000; ++i) {
    const int port = std::uniform_int_distribution<int>(kFirst, end - 1)(random);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    if (free) return port;
  }
  return 0;
}

}  // namespace larder

#endif  // LARDER_TESTS_BASE_FREE_PORT_H_
