#include "rpc/native_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace larder {
namespace {

// A connection to this machine, by IPv4 or IPv6, or -1.
int ConnectTo(int family, int port) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_storage to{};
  socklen_t size = sizeof(sockaddr_in);
  to.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    size = sizeof(sockaddr_in6);
    reinterpret_cast<sockaddr_in6*>(&to)->sin6_addr = in6addr_loopback;
    reinterpret_cast<sockaddr_in6*>(&to)->sin6_port = htons(static_cast<uint16_t>(port));
  } else {
    reinterpret_cast<sockaddr_in*>(&to)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    reinterpret_cast<sockaddr_in*>(&to)->sin_port = htons(static_cast<uint16_t>(port));
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), size) == 0) return fd;
  close(fd);
  return -1;
}

bool HasIpV6() { return NativeListener::New("[::1]:0").ok(); }

int PortOf(const NativeListener& listener) {
  return std::stoi(listener.address().substr(listener.address().rfind(':') + 1));
}

// The address from which the next connection comes; empty: there is none.
std::string Accepted(NativeListener* listener) {
  int fd = -1;
  std::string host;
  if (listener->Accept(&fd, &host) != NativeListener::Accepted::kOne) return "";
  close(fd);
  return host;
}

// No host stands for every address of either kind, as many names do. Where there is no IPv6, those
// of IPv4 are left.
TEST(NativeListenerTest, ListensOnEachAddressOfItsHost) {
  auto listener = NativeListener::New(":0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::vector<std::pair<int, std::string>> callers = {{AF_INET, "127.0.0.1"}};
  if (HasIpV6()) callers.emplace_back(AF_INET6, "::1");
  for (int round = 0; round < 3; ++round) {
    for (const auto& [family, host] : callers) {
      const int caller = ConnectTo(family, PortOf(**listener));
      ASSERT_GE(caller, 0) << host;
      EXPECT_EQ(Accepted(listener->get()), host);
      EXPECT_EQ(Accepted(listener->get()), "");
      close(caller);
    }
  }
}

// And tells them by the names that they have elsewhere.
TEST(NativeListenerTest, AloneIpV6TakesIpV4Too) {
  auto listener = NativeListener::New(HasIpV6() ? "[::]:0" : "0.0.0.0:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const int caller = ConnectTo(AF_INET, PortOf(**listener));
  ASSERT_GE(caller, 0);
  EXPECT_EQ(Accepted(listener->get()), "127.0.0.1");
  close(caller);
}

TEST(NativeListenerTest, APortThatIsTakenIsAnErrorWhicheverAddressItIsOf) {
  auto first = NativeListener::New("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = NativeListener::New(":" + std::to_string(PortOf(**first)));
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr("Address already in use"));
}

}  // namespace
}  // namespace larder
