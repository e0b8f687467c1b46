// Clients that break the rules of HTTP/2 or use them to waste the server's time.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/rpc/native_hostile.h"

namespace larder {
namespace {

TEST_F(NativeHostileTest, FloodsOfFramesThatCarryNothing) {
  StartBesideAGoodClient();
  const auto number = [](uint64_t value) { return RawClient::Number(value, 4); };
  ExpectPunished(RawClient::Frame(kPing, 0, 0, "12345678"), "ping_floods");
  uint64_t floods = 0;
  for (const std::string& frames :
       {RawClient::Frame(kSettings, 0, 0, RawClient::Number(4, 2) + number(65'535)),
        RawClient::Frame(kPriority, 0, 3, number(0) + "\x10"),
        RawClient::Frame(kWindowUpdate, 0, 0, number(1)),
        HeadersOf(1, kGet) + Repeated(RawClient::Frame(kData, 0, 1, ""), 50)}) {
    RawClient attacker(port());
    attacker.Greet();
    const std::string burst = Repeated(frames, 50);
    for (int i = 0; i < 1'000 && attacker.Send(burst); ++i) {
    }
    attacker.ReadUntilClosed();
    attacker.Close();
    EXPECT_EQ(Stat("frame_floods") + Stat("protocol_errors"), ++floods)
        << "frame type " << static_cast<int>(frames[3]);
  }
  Conclude();
}

TEST_F(NativeHostileTest, BreaksTheProtocol) {
  StartBesideAGoodClient();
  const auto number = [](uint64_t value) { return RawClient::Number(value, 4); };
  const std::vector<std::string> wrongs = {
      RawClient::Frame(kData, 0, 0, "x"),                     // on no stream
      RawClient::Frame(kHeaders, kEndHeaders, 2, ""),         // on a server's stream
      RawClient::Frame(kSettings, 0, 0, "12345"),             // of a wrong length
      RawClient::Frame(kPriority, 0, 0, number(0) + "\x10"),  // of no stream
      RawClient::Frame(kPing, 0, 0, "1234567"),               // the same
      RawClient::Frame(kWindowUpdate, 0, 0, number(0)),       // by nothing
      Repeated(RawClient::Frame(kWindowUpdate, 0, 0, number(0x7FFFFFFF)), 2),  // beyond the largest
      RawClient::Frame(kPushPromise, kEndHeaders, 1, number(2)),  // clients do not push
      RawClient::Frame(kContinuation, kEndHeaders, 1, ""),        // of nothing
      RawClient::Frame(kSettings, 0, 0, RawClient::Number(5, 2) + number(1)),  // frames too small
      HeadersOf(1, kGet, 0) + RawClient::Frame(kPing, 0, 0, "12345678"),       // between headers
      RawClient::Frame(kHeaders, kEndHeaders, 1, "\xFF\xFF\xFF\xFF\xFF\xFF"),  // no HPACK
      RawClient::Number(1 << 20, 3) + std::string("\0\0\0\0\0\1", 6),  // longer than allowed
  };
  for (size_t i = 0; i < wrongs.size(); ++i) {
    RawClient attacker(port());
    attacker.Greet();
    attacker.Send(wrongs[i]);
    EXPECT_NE(attacker.ReadUntilClosed(), -1) << "wrong " << i << " was borne";
  }
  Conclude();
}

TEST_F(NativeHostileTest, HeadersThatMayNotBe) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  uint32_t stream = 1;
  for (const auto& [name, value] : RawClient::Fields{{"a", "b\nc"},
                                                     {"a", std::string("b\0c", 3)},
                                                     {"a", "b\r"},
                                                     {"UPPER", "case"},
                                                     {"", "no name"},
                                                     {":path", "/twice"},
                                                     {":status", "200"},
                                                     {"connection", "close"},
                                                     {"transfer-encoding", "chunked"}}) {
    RawClient::Fields fields = RawClient::CallFields(kGet);
    fields.emplace_back(name, value);
    attacker.Send(
        RawClient::Frame(kHeaders, kEndHeaders | kEndStream, stream, RawClient::Block(fields)));
    const auto reset = attacker.ReadUntil(kRstStream);
    ASSERT_TRUE(reset.has_value()) << name;
    EXPECT_EQ(reset->stream, stream) << name;
    stream += 2;
  }
  attacker.Send(RawClient::Call(stream, kGet, GetOf("hit")));
  EXPECT_TRUE(attacker.ReadHeaders(stream).has_value());
  // Who goes on with it is cut off.
  RawClient::Fields fields = RawClient::CallFields(kGet);
  fields.emplace_back("a", "b\nc");
  const std::string odd = RawClient::Block(fields);
  while (stream < 20'000) {
    stream += 2;
    if (!attacker.Send(RawClient::Frame(kHeaders, kEndHeaders | kEndStream, stream, odd))) break;
  }
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("fault_floods"), 1u);
  attacker.Close();
  Conclude();
}

}  // namespace
}  // namespace larder
