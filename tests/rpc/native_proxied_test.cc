// Connections that a balancer makes for somebody else: the header is read to its last byte and no
// further, whoever it names is who is calling, and what has no header gets nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rpc/proxy_header.h"
#include "tests/rpc/native_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

constexpr char kGet[] = "/larder.v1.Cache/Get";
constexpr char kPrefix[] = "\r\n\r\n\0\r\nQUIT\n";
const std::string kSignature(kPrefix, sizeof kPrefix - 1);

std::string Header(char version_and_command, char family, const std::string& rest) {
  return kSignature + version_and_command + family + RawClient::Number(rest.size(), 2) + rest;
}

// 203.0.113.`last`, port 4711, to 192.0.2.1, port 443.
std::string From(int last) {
  const std::string addresses("\xCB\x00\x71?\xC0\x00\x02\x01\x12\x67\x01\xBB", 12);
  std::string rest = addresses;
  rest[3] = static_cast<char>(last);
  return Header('\x21', '\x11', rest);
}

TEST(ProxyHeaderTest, ReadsAddressesOfBothFamilies) {
  const auto v4 = ProxyHeader::Parse(From(7));
  ASSERT_TRUE(v4.has_value());
  EXPECT_EQ(v4->host, "203.0.113.7");
  EXPECT_EQ(v4->port, 4711);
  std::string rest = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + '\x01';
  rest += std::string(16, '\0') + std::string("\x12\x67\x01\xBB", 4);
  const auto v6 = ProxyHeader::Parse(Header('\x21', '\x21', rest));
  ASSERT_TRUE(v6.has_value());
  EXPECT_EQ(v6->host, "2001:db8::1");
  EXPECT_EQ(v6->port, 4711);
}

TEST(ProxyHeaderTest, LeavesOutWhatIsBehindTheAddresses) {
  const std::string rest = From(7).substr(ProxyHeader::kFixedBytes) + "\x04\x00\x02xy";
  EXPECT_EQ(ProxyHeader::Parse(Header('\x21', '\x11', rest))->host, "203.0.113.7");
}

TEST(ProxyHeaderTest, NamesNobodyForTheBalancerItselfAndForOtherFamilies) {
  EXPECT_EQ(ProxyHeader::Parse(Header('\x20', '\x00', ""))->host, "");
  EXPECT_EQ(ProxyHeader::Parse(Header('\x20', '\x11', "12 bytes more"))->host, "");
  EXPECT_EQ(ProxyHeader::Parse(Header('\x21', '\x00', ""))->host, "");
  EXPECT_EQ(ProxyHeader::Parse(Header('\x21', '\x31', std::string(216, 's')))->host, "");
}

TEST(ProxyHeaderTest, RefusesWhatIsNone) {
  std::vector<std::string> wrong = {
      Header('\x11', '\x11', std::string(12, 'a')),  // version 1
      Header('\x22', '\x11', std::string(12, 'a')),  // no such command
      Header('\x21', '\x11', std::string(11, 'a')),  // half an address
      Header('\x21', '\x21', std::string(35, 'a')),
      Header('\x21', '\x11', std::string(ProxyHeader::kBytesMax, 'a')),
      From(7) + "x",
      From(7).substr(0, 20),
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n",
      "",
  };
  for (const std::string& each : wrong) {
    EXPECT_FALSE(ProxyHeader::Parse(each).has_value()) << testing::PrintToString(each);
  }
}

class NativeProxiedTest : public NativeFixture {
 protected:
  static NativeLane::Options Proxied() {
    NativeLane::Options options = SomeOptions();
    options.proxied = true;
    return options;
  }

  static std::string Get(const std::string& key) {
    v1::GetRequest request;
    request.set_key(key);
    return RawClient::Call(1, kGet, request.SerializeAsString());
  }

  // The value that the call on stream 1 is answered with.
  static std::string ValueOf(RawClient* client) {
    const std::optional<RawFrame> data = client->ReadUntil(kData);
    v1::GetResponse response;
    EXPECT_TRUE(data.has_value() && response.ParseFromString(data->payload.substr(5)));
    return response.hit().value();
  }
};

TEST_F(NativeProxiedTest, WhoeverTheHeaderNamesIsCalling) {
  Start(Proxied());
  RawClient client(port());
  client.Send(From(7));
  client.Greet();
  client.Send(Get("address"));
  EXPECT_EQ(ValueOf(&client), "203.0.113.7:4711");
}

TEST_F(NativeProxiedTest, ReadsAHeaderThatComesByteByByte) {
  Start(Proxied());
  RawClient client(port());
  for (const char byte : From(9)) client.Send({&byte, 1});
  client.Greet();
  client.Send(Get("address"));
  EXPECT_EQ(ValueOf(&client), "203.0.113.9:4711");
}

TEST_F(NativeProxiedTest, TheBalancerMayCallForItself) {
  Start(Proxied());
  RawClient client(port());
  client.Send(Header('\x20', '\x00', ""));
  client.Greet();
  client.Send(Get("address"));
  EXPECT_THAT(ValueOf(&client), testing::StartsWith("127.0.0.1:"));
}

TEST_F(NativeProxiedTest, ClosesWhatHasNoHeader) {
  NativeLane::Options options = Proxied();
  options.handshake_timeout = absl::Milliseconds(200);
  Start(options);
  RawClient none(port());
  none.Greet();
  EXPECT_EQ(none.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("not_proxied"), 1u);
  RawClient half(port());
  half.Send(From(7).substr(0, 20));
  EXPECT_EQ(half.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("handshake_timeouts"), 1u);
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 0; }));
}

TEST_F(NativeProxiedTest, CountsConnectionsForThoseWhoAreSpokenFor) {
  NativeLane::Options options = Proxied();
  options.connections_per_peer_max = 2;
  Start(options);
  std::vector<std::unique_ptr<RawClient>> clients;
  const auto connect = [&](int last) {
    clients.push_back(std::make_unique<RawClient>(port()));
    clients.back()->Send(From(last));
    clients.back()->Greet();
    clients.back()->Send(Get("hit"));
    return clients.back().get();
  };
  for (const int last : {1, 1, 2, 2, 3}) EXPECT_EQ(ValueOf(connect(last)), "now");
  EXPECT_EQ(connect(1)->ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("connections_refused"), 1u);
  clients.front()->Close();
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 4; }));
  EXPECT_EQ(ValueOf(connect(1)), "now");
}

}  // namespace
}  // namespace larder
