#include "client/cli/http.h"

#include <gtest/gtest.h>

namespace larder::cli {
namespace {

Endpoint At(const std::string& text) {
  Endpoint endpoint;
  endpoint.text = text;
  return endpoint;
}

TEST(HostHeader, IsTheAddressThatANameStandsFor) {
  // As inet_aton reads it: a name to whoever takes addresses as they are written.
  const auto endpoints = Resolve({"127.1", "8080"});
  ASSERT_TRUE(endpoints.ok()) << endpoints.status();
  EXPECT_EQ(HostHeader(endpoints->front()), "127.0.0.1:8080");
}

TEST(HostHeader, LeavesOutWhatThisMachineAloneUnderstands) {
  EXPECT_EQ(HostHeader(At("[fe80::1%eth0]:8080")), "[fe80::1]:8080");
  EXPECT_EQ(HostHeader(At("[::1]:8080")), "[::1]:8080");
}

TEST(HttpBody, IsThatOfAGoodAnswerAndNoOther) {
  EXPECT_EQ(HttpBody("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody").value(), "body");
  const auto denied = HttpBody("HTTP/1.1 403 Forbidden\r\n\r\nask by address\nmore");
  EXPECT_EQ(denied.status(), absl::PermissionDeniedError("HTTP 403: ask by address"));
  EXPECT_FALSE(HttpBody("SSH-2.0-OpenSSH").ok());
}

}  // namespace
}  // namespace larder::cli
