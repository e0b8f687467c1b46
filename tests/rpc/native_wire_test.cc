// What the native lane says on the wire, frame by frame, to clients that do as they should and to
// some that do not quite.

#include <gtest/gtest.h>

#include "larder/v1/cache.pb.h"
#include "tests/rpc/native_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

constexpr char kGet[] = "/larder.v1.Cache/Get";

std::string GetOf(const std::string& key) {
  v1::GetRequest request;
  request.set_key(key);
  return request.SerializeAsString();
}

class NativeWireTest : public NativeFixture {
 protected:
  // What comes back to a call with these fields and no message.
  std::map<std::string, std::string> AnswerTo(const RawClient::Fields& fields) {
    RawClient client(port());
    client.Greet();
    client.Send(RawClient::Frame(kHeaders, kEndHeaders | kEndStream, 1, RawClient::Block(fields)));
    return client.ReadHeaders(1).value_or(std::map<std::string, std::string>());
  }
  RawClient::Fields With(std::string name, std::string value) {
    RawClient::Fields fields = RawClient::CallFields(kGet);
    for (auto& field : fields) {
      if (field.first != name) continue;
      field.second = value;
      return fields;
    }
    fields.emplace_back(std::move(name), std::move(value));
    return fields;
  }
};

TEST_F(NativeWireTest, AnswersWithHeadersOneMessageAndTrailers) {
  Start();
  RawClient client(port());
  client.Greet();
  client.Send(RawClient::Call(1, kGet, GetOf("hit")));
  const auto headers = client.ReadHeaders(1);
  ASSERT_TRUE(headers.has_value());
  EXPECT_EQ(headers->at(":status"), "200");
  EXPECT_EQ(headers->at("content-type"), "application/grpc");
  EXPECT_EQ(headers->size(), 2u);
  const auto data = client.ReadUntil(kData);
  ASSERT_TRUE(data.has_value());
  v1::GetResponse response;
  ASSERT_TRUE(response.ParseFromString(data->payload.substr(5)));
  EXPECT_EQ(data->payload.substr(0, 5), RawClient::Message(data->payload.substr(5)).substr(0, 5));
  EXPECT_EQ(response.hit().value(), "now");
  uint8_t flags = 0;
  const auto trailers = client.ReadHeaders(1, &flags);
  ASSERT_TRUE(trailers.has_value());
  EXPECT_EQ(*trailers, (std::map<std::string, std::string>{{"grpc-status", "0"}}));
  EXPECT_EQ(flags & kEndStream, kEndStream);
}

TEST_F(NativeWireTest, AnswersErrorsWithTrailersOnly) {
  Start();
  RawClient client(port());
  client.Greet();
  client.Send(RawClient::Call(1, kGet, GetOf("error")));
  uint8_t flags = 0;
  const auto trailers = client.ReadHeaders(1, &flags);
  ASSERT_TRUE(trailers.has_value());
  EXPECT_EQ(flags & kEndStream, kEndStream);
  EXPECT_EQ(trailers->at(":status"), "200");
  EXPECT_EQ(trailers->at("grpc-status"), "3");
  EXPECT_EQ(trailers->at("grpc-message"), "bad: 100%25%0A%C3%A9");
  EXPECT_EQ(trailers->count("grpc-status-details-bin"), 1u);
}

TEST_F(NativeWireTest, TakesMessagesInPiecesAndWithPadding) {
  Start();
  RawClient client(port());
  client.Greet();
  std::string frames =
      RawClient::Frame(kHeaders, kEndHeaders, 1, RawClient::Block(RawClient::CallFields(kGet)));
  for (const char byte : RawClient::Message(GetOf("hit"))) {
    constexpr uint8_t kPadded = 8;
    frames +=
        RawClient::Frame(kData, kPadded, 1, std::string("\x03") + byte + std::string(3, '\0'));
  }
  frames += RawClient::Frame(kData, kEndStream, 1, "");
  client.Send(frames);
  const auto data = client.ReadUntil(kData);
  ASSERT_TRUE(data.has_value());
  EXPECT_NE(data->payload.find("now"), std::string::npos);
}

TEST_F(NativeWireTest, AnswersWhatIsNoGrpcCallInHttp) {
  Start();
  EXPECT_EQ(AnswerTo(With(":method", "GET"))[":status"], "405");
  EXPECT_EQ(AnswerTo(With("content-type", "application/json"))[":status"], "415");
  EXPECT_EQ(AnswerTo(With("content-type", "application/grpcweb"))[":status"], "415");
  EXPECT_EQ(Stat("not_grpc"), 3u);
}

TEST_F(NativeWireTest, RefusesCallsThatItCannotServeWithAStatus) {
  Start();
  EXPECT_EQ(AnswerTo(With(":path", "/nothing"))["grpc-status"], "12");
  EXPECT_EQ(AnswerTo(With("grpc-timeout", "soon"))["grpc-status"], "3");
  EXPECT_EQ(AnswerTo(With("some-bin", "*"))["grpc-status"], "3");
  EXPECT_EQ(AnswerTo(With("grpc-timeout", "1S"))["grpc-status"], "3") << "a call without a message";
  const auto gzip = AnswerTo(With("grpc-encoding", "gzip"));
  EXPECT_EQ(gzip.at("grpc-status"), "12");
  EXPECT_EQ(gzip.at("grpc-accept-encoding"), "identity");
}

TEST_F(NativeWireTest, RefusesWrongMessages) {
  Start();
  RawClient client(port());
  client.Greet();
  const std::string get = GetOf("hit");
  const std::vector<std::string> wrong = {
      RawClient::Message(get, 1),                         // compressed
      RawClient::Message(get, 2),                         // no flag that there is
      RawClient::Message("\xFF\xFF"),                     // no protobuf
      RawClient::Message(get) + RawClient::Message(get),  // two
      RawClient::Message(get).substr(0, 6),               // half
      "\0\0",                                             // not even a prefix
  };
  uint32_t stream = 1;
  for (const std::string& message : wrong) {
    client.Send(RawClient::Frame(kHeaders, kEndHeaders, stream,
                                 RawClient::Block(RawClient::CallFields(kGet))) +
                RawClient::Frame(kData, kEndStream, stream, message));
    const auto trailers = client.ReadHeaders(stream);
    ASSERT_TRUE(trailers.has_value()) << stream;
    EXPECT_EQ(trailers->at("grpc-status"), "3") << stream;
    stream += 2;
  }
}

TEST_F(NativeWireTest, StopsTheUploadOfWhatItHasRefused) {
  Start();
  RawClient client(port());
  client.Greet();
  client.Send(
      RawClient::Frame(kHeaders, kEndHeaders, 1, RawClient::Block(RawClient::CallFields(kGet))) +
      RawClient::Frame(kData, 0, 1, std::string("\0\x7F\0\0\0", 5)));
  const auto trailers = client.ReadHeaders(1);
  ASSERT_TRUE(trailers.has_value());
  EXPECT_EQ(trailers->at("grpc-status"), "8");
  const auto reset = client.ReadUntil(kRstStream);
  ASSERT_TRUE(reset.has_value());
  EXPECT_EQ(reset->payload, RawClient::Number(0, 4));
}

TEST_F(NativeWireTest, RunsWhatWasPromisedWhenAnAnswerDoesNotArrive) {
  Start();
  RawClient client(port());
  // No room for any answer.
  client.Greet({{4, 0}});
  client.Send(RawClient::Call(1, "/larder.v1.Cache/GetOrLoad", GetOf("k")));
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  handlers_.LetGo();
  ASSERT_TRUE(client.ReadHeaders(1).has_value());
  EXPECT_EQ(handlers_.undelivered, 0);
  client.Send(RawClient::Frame(kRstStream, 0, 1, RawClient::Number(8, 4)));
  EXPECT_TRUE(Becomes([&] { return handlers_.undelivered == 1; }));
}

TEST_F(NativeWireTest, AnswersPings) {
  Start();
  RawClient client(port());
  client.Greet();
  client.Send(RawClient::Frame(kPing, 0, 0, "12345678"));
  const auto pong = client.ReadUntil(kPing);
  ASSERT_TRUE(pong.has_value());
  EXPECT_EQ(pong->flags, kAck);
  EXPECT_EQ(pong->payload, "12345678");
}

TEST_F(NativeWireTest, DrawsTheLineOnlyWhenTheClientKnows) {
  Start();
  RawClient client(port());
  client.Greet();
  client.Send(RawClient::Call(1, "/larder.v1.Cache/GetOrLoad", GetOf("k")));
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  std::thread drain([&] { lane_->Drain(absl::Seconds(20)); });
  auto goaway = client.ReadUntil(kGoAway);
  ASSERT_TRUE(goaway.has_value());
  EXPECT_EQ(goaway->payload.substr(0, 4), RawClient::Number(0x7FFFFFFF, 4));
  const auto ping = client.ReadUntil(kPing);
  ASSERT_TRUE(ping.has_value());
  // A call that was on its way is still served.
  client.Send(RawClient::Call(3, kGet, GetOf("hit")) +
              RawClient::Frame(kPing, kAck, 0, ping->payload));
  ASSERT_TRUE(client.ReadHeaders(3).has_value());
  goaway = client.ReadUntil(kGoAway);
  ASSERT_TRUE(goaway.has_value());
  EXPECT_EQ(goaway->payload.substr(0, 4), RawClient::Number(3, 4));
  handlers_.LetGo();
  EXPECT_TRUE(client.ReadHeaders(1).has_value());
  client.ReadUntilClosed();
  client.Close();
  drain.join();
}

TEST_F(NativeWireTest, AsksSilentClientsForASignOfLife) {
  NativeLane::Options options = SomeOptions();
  options.keepalive_time = absl::Milliseconds(50);
  options.keepalive_timeout = absl::Milliseconds(100);
  Start(options);
  RawClient client(port());
  client.Greet();
  const auto ping = client.ReadUntil(kPing);
  ASSERT_TRUE(ping.has_value());
  client.Send(RawClient::Frame(kPing, kAck, 0, ping->payload));
  ASSERT_TRUE(client.ReadUntil(kPing).has_value());
  EXPECT_EQ(client.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("keepalive_timeouts"), 1u);
}

}  // namespace
}  // namespace larder
