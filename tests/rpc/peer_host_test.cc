#include "rpc/peer_host.h"

#include <gtest/gtest.h>

namespace larder {
namespace {

TEST(PeerHostTest, OneAddressHasOneSpelling) {
  EXPECT_EQ(PeerHostOf("192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(PeerHostOf("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(PeerHostOf("[::ffff:192.0.2.1]"), "192.0.2.1");
  EXPECT_EQ(PeerHostOf("2001:db8::1"), "2001:db8::1");
  EXPECT_EQ(PeerHostOf("[2001:db8::1]"), "2001:db8::1");
  EXPECT_EQ(PeerHostOf("::ffff:0:1"), "::ffff:0:1") << "not an IPv4 address";
  EXPECT_EQ(PeerHostOf("fe80::1%eth0"), "fe80::1");
  EXPECT_EQ(PeerHostOf("[fe80::1%25eth0]"), "fe80::1");
  EXPECT_EQ(PeerHostOf(""), "");
  EXPECT_EQ(PeerHostOf("[]"), "[]");
}

}  // namespace
}  // namespace larder
