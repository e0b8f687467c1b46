// Clients that mean harm, each beside a good one whose calls must all be answered. The attacker's
// connection ends, a counter says why, and nothing of it is left.

#include "tests/rpc/native_hostile.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>

namespace larder {
namespace {

TEST_F(NativeHostileTest, RapidResets) {
  NativeLane::Options options = SomeOptions();
  options.resets_burst = 1'000;
  StartBesideAGoodClient(options);
  RawClient attacker(port());
  attacker.Greet();
  for (uint32_t stream = 1; stream < 200'000; stream += 2) {
    if (!attacker.Send(HeadersOf(stream, kGetOrLoad, kEndHeaders) +
                       RawClient::Frame(kRstStream, 0, stream, RawClient::Number(8, 4)))) {
      break;
    }
  }
  attacker.ReadUntilClosed();
  EXPECT_EQ(Stat("reset_floods"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, ManyCancelledCallsAreNoAttack) {
  StartBesideAGoodClient();
  RawClient client(port());
  client.Greet();
  constexpr uint32_t kCalls = 5'000;
  std::string calls;
  std::string resets;
  for (uint32_t i = 0; i < kCalls; ++i) {
    calls += RawClient::Call(2 * i + 1, kGetOrLoad, GetOf("k"));
    resets += RawClient::Frame(kRstStream, 0, 2 * i + 1, RawClient::Number(8, 4));
  }
  ASSERT_TRUE(client.Send(calls));
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == kCalls; }));
  ASSERT_TRUE(client.Send(resets + RawClient::Call(2 * kCalls + 1, kGet, GetOf("hit"))));
  EXPECT_TRUE(client.ReadHeaders(2 * kCalls + 1).has_value());
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled == int{kCalls}; }));
  EXPECT_EQ(Stat("reset_floods"), 0u);
  client.Close();
  Conclude();
}

TEST_F(NativeHostileTest, ContinuationFlood) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  attacker.Send(HeadersOf(1, kGet, 0));
  for (int i = 0; i < 100'000; ++i) {
    if (!attacker.Send(RawClient::Frame(kContinuation, 0, 1, RawClient::Block({{"a", "b"}}))))
      break;
  }
  attacker.ReadUntilClosed();
  EXPECT_EQ(Stat("continuation_floods"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, HeadersThatUnpackToFarMoreThanTheyAre) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  // One field of 4,000 bytes goes into the table, and is then named by one byte each.
  const std::string into_table =
      "\x40" + RawClient::Block({{"a", std::string(4'000, 'x')}}).substr(1);
  std::string bomb = RawClient::Block(RawClient::CallFields(kGet)) + into_table;
  bomb += std::string(8'000, '\xBE');
  attacker.Send(RawClient::Frame(kHeaders, kEndHeaders, 1, bomb));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("header_floods"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, GiantHeaderText) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  // A text that says it is 2 GiB long.
  std::string block = RawClient::Block(RawClient::CallFields(kGet));
  block += std::string(
      "\x00\x01"
      "a\x7F\x80\xFF\xFF\xFF\x07",
      9);
  attacker.Send(RawClient::Frame(kHeaders, kEndHeaders, 1, block));
  attacker.ReadUntilClosed();
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, NeverAcknowledgesSettingsAndOpensStreams) {
  NativeLane::Options options = Impatient();
  options.streams_max = 100;
  StartBesideAGoodClient(options);
  RawClient attacker(port());
  attacker.Greet({}, /*ack=*/false);
  for (uint32_t i = 0; i < 20'000; ++i) {
    if (!attacker.Send(RawClient::Call(2 * i + 1, kGetOrLoad, GetOf("k")))) break;
  }
  EXPECT_LE(handlers_.waiting(), 100u);
  attacker.ReadUntilClosed();
  EXPECT_EQ(Stat("settings_timeouts"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, CallsBeforeItAcknowledgesSettingsWaitBeyondAThousand) {
  StartBesideAGoodClient();
  RawClient client(port());
  client.Greet({}, /*ack=*/false);
  constexpr uint32_t kCalls = 1'500;
  std::string calls;
  for (uint32_t i = 0; i < kCalls; ++i) calls += RawClient::Call(2 * i + 1, kGetOrLoad, GetOf("k"));
  ASSERT_TRUE(client.Send(calls));
  EXPECT_TRUE(Becomes([&] { return Stat("calls_held") >= 499; }));
  EXPECT_LE(handlers_.waiting(), 1'001u);
  ASSERT_TRUE(client.Send(RawClient::Frame(kSettings, kAck, 0, "")));
  EXPECT_TRUE(Becomes([&] { return handlers_.waiting() == kCalls; }));
  client.Close();
  Conclude();
}

TEST_F(NativeHostileTest, NeverGrantsAWindow) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet({{4, 0}});
  for (uint32_t i = 0; i < 1'000; ++i) {
    attacker.Send(RawClient::Call(2 * i + 1, kGet, GetOf("large")));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_held") > 900; }));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("stalled_streams"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, NeverGrantsAWindowForLittle) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet({{4, 0}});
  for (uint32_t i = 0; i < 1'000; ++i) {
    attacker.Send(RawClient::Call(2 * i + 1, kGet, GetOf("hit")));
  }
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("stalled_streams"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, AsksForMuchAndReadsNothing) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet({{4, 0x7FFFFFFF}});
  attacker.Send(RawClient::Frame(kWindowUpdate, 0, 0, RawClient::Number(0x7FFFFFFF - 65535, 4)));
  for (uint32_t i = 0; i < 100; ++i) {
    attacker.Send(RawClient::Call(2 * i + 1, kGet, GetOf("large")));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("unread_output") == 1; }));
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, NeverEndsItsHeaders) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet();
  attacker.Send(HeadersOf(1, kGet, 0));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("header_timeouts"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, NeverEndsItsRequests) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet();
  attacker.Send(HeadersOf(1, kGet) +
                RawClient::Frame(kData, 0, 1, RawClient::Message(GetOf("hit")).substr(0, 3)));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("request_timeouts"), 1u);
  attacker.Close();
  Conclude();
}

// A client whose other calls go well has lost one: that ends, and nothing else.
TEST_F(NativeHostileTest, OneCallThatDoesNotGoOnAmongOthersThatDo) {
  NativeLane::Options options = SomeOptions();
  // Longer than a busy machine stops the calls that go on.
  options.request_timeout = absl::Seconds(1);
  options.stall_timeout = absl::Milliseconds(1500);
  StartBesideAGoodClient(options);
  RawClient client(port());
  client.Greet({{4, 1'000}});
  client.Send(RawClient::Frame(kWindowUpdate, 0, 0, RawClient::Number(1 << 30, 4)) +
              HeadersOf(1, kGet) +
              RawClient::Frame(kData, 0, 1, RawClient::Message(GetOf("hit")).substr(0, 3)) +
              RawClient::Call(3, kGet, GetOf("large")));
  std::set<uint32_t> reset;
  for (uint32_t stream = 5; reset.size() < 2; stream += 2) {
    client.Send(RawClient::Call(stream, kGet, GetOf("hit")));
    bool answered = false;
    while (!answered) {
      const auto frame = client.Read();
      ASSERT_TRUE(frame.has_value());
      ASSERT_NE(frame->type, kGoAway) << frame->payload;
      if (frame->type == kRstStream) reset.insert(frame->stream);
      answered = frame->stream == stream && (frame->flags & kEndStream) != 0;
    }
  }
  EXPECT_EQ(reset, (std::set<uint32_t>{1, 3}));
  EXPECT_EQ(Stat("request_timeouts"), 1u);
  EXPECT_EQ(Stat("stalled_streams"), 1u);
  client.Close();
  Conclude();
}

TEST_F(NativeHostileTest, WhatIsHalfSaidOrUnreadAtItsDeadline) {
  StartBesideAGoodClient();
  RawClient client(port());
  client.Greet({{4, 0}});
  RawClient::Fields fields = RawClient::CallFields(kGet);
  fields.emplace_back("grpc-timeout", "50m");
  const std::string headers = RawClient::Block(fields);
  client.Send(RawClient::Frame(kHeaders, kEndHeaders, 1, headers) +
              RawClient::Frame(kData, 0, 1, RawClient::Message(GetOf("hit")).substr(0, 3)));
  const auto half_said = client.ReadHeaders(1);
  ASSERT_TRUE(half_said.has_value());
  EXPECT_EQ(half_said->at("grpc-status"), "4");
  client.Send(RawClient::Frame(kHeaders, kEndHeaders, 3, headers) +
              RawClient::Frame(kData, kEndStream, 3, RawClient::Message(GetOf("large"))));
  std::optional<RawFrame> reset;
  do {
    reset = client.ReadUntil(kRstStream);
    ASSERT_TRUE(reset.has_value());
  } while (reset->stream != 3);
  EXPECT_EQ(Stat("calls_deadline_passed"), 1u);
  EXPECT_EQ(Stat("stalled_streams"), 1u);
  EXPECT_TRUE(Becomes([&] { return Stat("calls") <= 1; }));
  client.Close();
  Conclude();
}

// A deadline for each of them is no way to go on with it.
TEST_F(NativeHostileTest, NothingButCallsThatAreHalfSaidOrUnreadAtTheirDeadlines) {
  StartBesideAGoodClient(Impatient());
  RawClient::Fields fields = RawClient::CallFields(kGet);
  fields.emplace_back("grpc-timeout", "20m");
  const std::string headers = RawClient::Block(fields);
  for (const bool half : {true, false}) {
    RawClient attacker(port());
    attacker.Greet({{4, 0}});
    const std::string message = RawClient::Message(GetOf("large"));
    uint32_t stream = 1;
    EXPECT_TRUE(Becomes([&] {
      const bool sent = attacker.Send(RawClient::Frame(kHeaders, kEndHeaders, stream, headers) +
                                      RawClient::Frame(kData, half ? 0 : kEndStream, stream,
                                                       half ? message.substr(0, 3) : message));
      stream += 2;
      return !sent;
    })) << half;
    EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm) << half;
    attacker.Close();
  }
  Conclude();
}

// Whoever waits for an answer, or is told of errors all the time, is no attacker.
TEST_F(NativeHostileTest, OneHalfRequestBesideOthersThatWaitOrFail) {
  StartBesideAGoodClient(Impatient());
  for (const bool waits : {true, false}) {
    RawClient client(port());
    client.Greet();
    client.Send(HeadersOf(1, kGet) +
                RawClient::Frame(kData, 0, 1, RawClient::Message(GetOf("hit")).substr(0, 3)));
    if (waits) client.Send(RawClient::Call(3, kGetOrLoad, GetOf("k")));
    const uint64_t before = Stat("request_timeouts");
    uint32_t stream = 5;
    EXPECT_TRUE(Becomes([&] {
      if (!waits) client.Send(RawClient::Call(stream, kGet, GetOf("error")));
      stream += 2;
      return Stat("request_timeouts") > before;
    })) << waits;
    const auto reset = client.ReadUntil(kRstStream);
    ASSERT_TRUE(reset.has_value()) << waits;
    EXPECT_EQ(reset->stream, 1u) << waits;
    client.Send(RawClient::Call(stream, kGet, GetOf("hit")));
    const auto answer = client.ReadUntil(kData);
    ASSERT_TRUE(answer.has_value()) << waits;
    EXPECT_EQ(answer->stream, stream) << waits;
    client.Close();
  }
  Conclude();
}

TEST_F(NativeHostileTest, ASlowUploadThatGoesOnIsNoAttack) {
  NativeLane::Options options = SomeOptions();
  options.request_timeout = absl::Seconds(3);
  StartBesideAGoodClient(options);
  RawClient client(port());
  client.Greet();
  client.Send(HeadersOf(1, kGet));
  constexpr int kPieces = 40;
  const std::string message = RawClient::Message(GetOf(std::string(kPieces * 16'000, 'k')));
  for (size_t at = 0; at < message.size(); at += 16'000) {
    client.Send(RawClient::Frame(kData, at + 16'000 < message.size() ? 0 : kEndStream, 1,
                                 message.substr(at, 16'000)));
    // The slowness itself: 160 KB a second, four seconds in all.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(client.ReadHeaders(1).has_value());
  EXPECT_EQ(Stat("request_timeouts"), 0u);
  client.Close();
  Conclude();
}

// Nor is a small reply stalled that waits behind a large one, which is taken slowly.
TEST_F(NativeHostileTest, ASlowDownloadThatGoesOnIsNoAttack) {
  NativeLane::Options options = SomeOptions();
  options.stall_timeout = absl::Seconds(2);
  StartBesideAGoodClient(options);
  RawClient client(port());
  client.Greet({{4, 4 << 20}});
  client.Send(RawClient::Call(1, kGet, GetOf("large")) + RawClient::Call(3, kGet, GetOf("hit")));
  size_t left = 2 << 20;
  std::set<uint32_t> ended;
  while (ended.size() < 2) {
    const auto frame = client.Read();
    ASSERT_TRUE(frame.has_value());
    ASSERT_NE(frame->type, kRstStream);
    ASSERT_NE(frame->type, kGoAway);
    if ((frame->flags & kEndStream) != 0 && frame->type == kHeaders) ended.insert(frame->stream);
    if (frame->type != kData) continue;
    left -= std::min(left, frame->payload.size());
    // The slowness itself: four seconds in all.
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    const auto more = static_cast<uint64_t>(frame->payload.size());
    client.Send(RawClient::Frame(kWindowUpdate, 0, 0, RawClient::Number(more, 4)));
  }
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(Stat("stalled_streams"), 0u);
  client.Close();
  Conclude();
}

// What would unpack to ten megabytes is not unpacked, and who goes on sending it is cut off.
TEST_F(NativeHostileTest, MessagesThatUnpackToFarMoreThanTheyAre) {
  StartBesideAGoodClient();
  for (const bool named : {true, false}) {
    RawClient attacker(port());
    attacker.Greet();
    RawClient::Fields fields = RawClient::CallFields(kGet);
    if (named) fields.emplace_back("grpc-encoding", "gzip");
    const std::string headers = RawClient::Block(fields);
    const std::string packed = RawClient::Message(std::string(10'000, 'z'), 1);
    for (uint32_t stream = 1; stream < 20'000; stream += 2) {
      if (!attacker.Send(RawClient::Frame(kHeaders, kEndHeaders, stream, headers) +
                         RawClient::Frame(kData, kEndStream, stream, packed))) {
        break;
      }
    }
    EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
    attacker.Close();
  }
  EXPECT_GE(Stat("calls_compressed"), 2'000u);
  EXPECT_EQ(Stat("fault_floods"), 2u);
  Conclude();
}

TEST_F(NativeHostileTest, SaysNothing) {
  StartBesideAGoodClient(Impatient());
  RawClient silent(port());
  RawClient hesitant(port());
  hesitant.Send("PRI * HTTP/2.0\r\n");
  EXPECT_EQ(silent.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(hesitant.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("handshake_timeouts"), 2u);
  silent.Close();
  hesitant.Close();
  Conclude();
}

TEST_F(NativeHostileTest, SpeaksSomethingElse) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(attacker.ReadUntilClosed(), std::nullopt);
  EXPECT_EQ(Stat("not_http2"), 1u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MoreBuffersThanTheLaneHas) {
  NativeLane::Options options = SomeOptions();
  options.buffer_bytes_max = 1 << 20;
  options.message_bytes_max = 256 << 10;
  options.loops = 1;
  StartBesideAGoodClient(options);
  RawClient attacker(port());
  attacker.Greet();
  // Each promises 250 KiB and sends 200 of them.
  for (uint32_t i = 0; i < 10; ++i) {
    attacker.Send(HeadersOf(2 * i + 1, kGet) +
                  RawClient::Frame(kData, 0, 2 * i + 1, std::string("\0\0\x03\xE8\0", 5)));
    for (int k = 0; k < 20; ++k) {
      attacker.Send(RawClient::Frame(kData, 0, 2 * i + 1, std::string(10'000, 'x')));
    }
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") >= 5; }));
  attacker.Close();
  Conclude();
}

// By connections of one address: each holds less than a connection may, and the loop has room.
TEST_F(NativeHostileTest, MoreBuffersThanOneAddressMayHave) {
  NativeLane::Options options = SomeOptions();
  options.buffer_bytes_max = 64 << 20;
  options.buffer_bytes_per_peer_max = 1 << 20;
  options.message_bytes_max = 256 << 10;
  options.loops = 1;
  Start(options);
  const auto client = NewClient();
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  std::vector<std::unique_ptr<RawClient>> attackers;
  for (int i = 0; i < 10; ++i) {
    RawClient& attacker = *attackers.emplace_back(std::make_unique<RawClient>(port()));
    attacker.Greet();
    attacker.Send(HeadersOf(1, kGet) +
                  RawClient::Frame(kData, 0, 1, std::string("\0\0\x03\xE8\0", 5)));
    for (int k = 0; k < 20; ++k)
      attacker.Send(RawClient::Frame(kData, 0, 1, std::string(10'000, 'x')));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_peer_budget") >= 4; }));
  EXPECT_EQ(Stat("calls_over_budget"), Stat("calls_over_peer_budget"));
  // What they held is given back when they go.
  attackers.clear();
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 1; }));
  v1::GetResponse response;
  EXPECT_TRUE(Get(client.get(), "hit" + std::string(200'000, 'x'), &response).ok());
}

TEST_F(NativeHostileTest, MoreHalfRequestsThanOneConnectionMayHave) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  // Each promises 15 MiB and sends 800 KB of it.
  const std::string piece(16'000, 'x');
  for (uint32_t i = 0; i < 120; ++i) {
    attacker.Send(HeadersOf(2 * i + 1, kGet) +
                  RawClient::Frame(kData, 0, 2 * i + 1, std::string("\0\0\xF0\0\0", 5)));
    for (int k = 0; k < 50; ++k) attacker.Send(RawClient::Frame(kData, 0, 2 * i + 1, piece));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") >= 10; }));
  EXPECT_EQ(Stat("protocol_errors"), 0u);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MoreWholeRequestsThanOneConnectionMayHave) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  // Each request is there, and its stream is not ended.
  v1::GetRequest large;
  large.set_key(std::string(1 << 20, 'k'));
  const std::string message = RawClient::Message(large.SerializeAsString());
  for (uint32_t i = 0; i < 120; ++i) {
    attacker.Send(HeadersOf(2 * i + 1, kGet));
    for (size_t at = 0; at < message.size(); at += 16'000) {
      attacker.Send(RawClient::Frame(kData, 0, 2 * i + 1, message.substr(at, 16'000)));
    }
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") >= 50; }));
  EXPECT_EQ(Stat("protocol_errors"), 0u);
  attacker.Close();
  Conclude();
}

// The second message of a call does not make the first one cost nothing.
TEST_F(NativeHostileTest, SecondMessagesInCallsThatHaveOne) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  attacker.Send(HeadersOf(1, kGetOrLoad) +
                RawClient::Frame(kData, 0, 1, RawClient::Message(GetOf("k")) + '\0'));
  const auto headers = attacker.ReadHeaders(1);
  ASSERT_TRUE(headers.has_value());
  EXPECT_EQ(headers->at("grpc-status"), "3");
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MoreStreamsOfMessagesThanOneConnectionMayHave) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  for (uint32_t i = 0; i < 40; ++i) attacker.Send(HeadersOf(2 * i + 1, kReflection));
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") == 24; }));
  attacker.Close();
  Conclude();
}

// An honest client of gRPC sends one of them with each call.
TEST_F(NativeHostileTest, ManyCallsWithAWindowUpdateEachAreNoAttack) {
  StartBesideAGoodClient();
  RawClient client(port());
  client.Greet();
  for (uint32_t i = 0; i < 15'000; ++i) {
    ASSERT_TRUE(
        client.Send(RawClient::Call(2 * i + 1, "/larder.v1.Cache/Nothing", GetOf("k")) +
                    RawClient::Frame(kWindowUpdate, 0, 2 * i + 1, RawClient::Number(5, 4))));
    if (i % 100 == 99) {
      ASSERT_TRUE(client.ReadHeaders(2 * i + 1).has_value());
    }
  }
  EXPECT_EQ(Stat("frame_floods"), 0u);
  client.Close();
  Conclude();
}

TEST_F(NativeHostileTest, EmptyMessagesForAHandlerThatDoesNotTakeThem) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  // It cannot send its first answer.
  attacker.Greet({{4, 0}});
  attacker.Send(HeadersOf(1, kReflection) +
                RawClient::Frame(kData, 0, 1, RawClient::Message("\x3a\x01*")));
  const std::string empty = Repeated(RawClient::Message(""), 3'000);
  for (int i = 0; i < 100; ++i) {
    if (!attacker.Send(RawClient::Frame(kData, 0, 1, empty))) break;
  }
  EXPECT_TRUE(attacker.ReadUntil(kRstStream).has_value());
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MessagesOfStreamsThatNobodyReads) {
  NativeLane::Options options = SomeOptions();
  options.loops = 1;
  options.buffer_bytes_max = 16 << 10;
  options.message_bytes_max = 4 << 10;
  StartBesideAGoodClient(options);
  v1::WarmRequest request;
  request.set_limit(2);
  std::vector<std::unique_ptr<RawClient>> attackers;
  for (int i = 0; i < 30; ++i) {
    attackers.push_back(std::make_unique<RawClient>(port()));
    attackers.back()->Greet({{4, 0}});
    attackers.back()->Send(RawClient::Call(1, kWarm, request.SerializeAsString()));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") >= 14; }));
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled >= 14; }));
  attackers.clear();
  Conclude();
}

// What it does wrong makes the server reset its calls.
TEST_F(NativeHostileTest, HasItsCallsReset) {
  NativeLane::Options options = SomeOptions();
  options.faults_burst = 100;
  StartBesideAGoodClient(options);
  RawClient attacker(port());
  attacker.Greet();
  for (uint32_t stream = 1; stream < 20'000; stream += 2) {
    if (!attacker.Send(
            RawClient::Call(stream, kGetOrLoad, GetOf("k")) +
            RawClient::Frame(kWindowUpdate, 0, stream, RawClient::Number(0x7FFFFFFF, 4)))) {
      break;
    }
  }
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  EXPECT_EQ(Stat("fault_floods"), 1u);
  attacker.Close();
  Conclude();
}

// One byte of a request now and then is no request either.
TEST_F(NativeHostileTest, SendsItsRequestByDrops) {
  StartBesideAGoodClient(Impatient());
  RawClient attacker(port());
  attacker.Greet();
  attacker.Send(HeadersOf(1, kGet) + RawClient::Frame(kData, 0, 1, std::string("\0\0\x01\0\0", 5)));
  EXPECT_TRUE(Becomes([&] {
    attacker.Send(RawClient::Frame(kData, 0, 1, "x"));
    return Stat("request_timeouts") == 1;
  }));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  attacker.Close();
  Conclude();
}

// Nor does one byte of an answer now and then count as reading it.
TEST_F(NativeHostileTest, ReadsItsAnswerByDrops) {
  NativeLane::Options options = Impatient();
  StartBesideAGoodClient(options);
  RawClient attacker(port());
  attacker.Greet({{4, 0}});
  attacker.Send(RawClient::Call(1, kBatchGet, BatchOf(20)));
  EXPECT_TRUE(Becomes([&] {
    attacker.Send(RawClient::Frame(kWindowUpdate, 0, 1, RawClient::Number(1, 4)));
    return Stat("stalled_streams") == 1;
  }));
  EXPECT_EQ(attacker.ReadUntilClosed(), kEnhanceYourCalm);
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MoreHeadersThanTheLaneKeeps) {
  StartBesideAGoodClient();
  RawClient attacker(port());
  attacker.Greet();
  RawClient::Fields fields = RawClient::CallFields(kGetOrLoad);
  fields.emplace_back("much", std::string(10'000, 'm'));
  const std::string block = RawClient::Block(fields);
  // Calls that begin and do not go on.
  for (uint32_t i = 0; i < 1'000; ++i) {
    attacker.Send(RawClient::Frame(kHeaders, kEndHeaders, 2 * i + 1, block));
  }
  EXPECT_TRUE(Becomes([&] { return Stat("calls_over_budget") >= 700; }));
  EXPECT_TRUE(Becomes([&] { return Stat("calls") <= 300; }));
  attacker.Close();
  Conclude();
}

TEST_F(NativeHostileTest, MoreConnectionsThanAllowed) {
  NativeLane::Options options = SomeOptions();
  options.connections_max = 10;
  StartBesideAGoodClient(options);
  {
    std::vector<std::unique_ptr<RawClient>> many;
    for (int i = 0; i < 50; ++i) many.push_back(std::make_unique<RawClient>(port()));
    EXPECT_TRUE(Becomes([&] { return Stat("connections_refused") == 41; }));
    EXPECT_EQ(Stat("connections"), 10u);
  }
  Conclude();
}

TEST_F(NativeHostileTest, MoreConnectionsThanOneAddressMayHave) {
  NativeLane::Options options = SomeOptions();
  options.connections_per_peer_max = 10;
  StartBesideAGoodClient(options);
  for (int round = 0; round < 3; ++round) {
    const uint64_t before = Stat("connections_refused");
    std::vector<std::unique_ptr<RawClient>> many;
    for (int i = 0; i < 50; ++i) many.push_back(std::make_unique<RawClient>(port()));
    EXPECT_TRUE(Becomes([&] { return Stat("connections_refused") == before + 41; }));
    EXPECT_EQ(Stat("connections"), 10u);
    // What goes makes room again.
    many.clear();
    EXPECT_TRUE(Becomes([&] { return Stat("connections") == 1; }));
  }
  Conclude();
}

TEST_F(NativeHostileTest, MoreConnectionsThanDescriptors) {
  StartBesideAGoodClient();
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Connects once it may, 200 times, and leaves.
    raise(SIGSTOP);
    std::vector<std::unique_ptr<RawClient>> many;
    for (int i = 0; i < 200; ++i) many.push_back(std::make_unique<RawClient>(port()));
    raise(SIGSTOP);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, WUNTRACED);
  const rlimit few{static_cast<rlim_t>(OpenDescriptors() + 20), before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  kill(child, SIGCONT);
  waitpid(child, &status, WUNTRACED);
  EXPECT_TRUE(Becomes([&] { return Stat("descriptors_exhausted") > 100; }));
  const int calls = good_calls_;
  EXPECT_TRUE(Becomes([&] { return good_calls_ > calls + 10; }));
  kill(child, SIGCONT);
  waitpid(child, &status, 0);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 1; }));
  EXPECT_EQ(ValueOf(NewClient().get(), "hit"), "now");
  Conclude();
}

TEST_F(NativeHostileTest, NotEvenTheSpareDescriptorIsToBeHad) {
  StartBesideAGoodClient();
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(port()));
  // All numbers below it are taken, and the spare one is not among them.
  const rlimit none{3, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  // It waits, and the loop looks after it now and then, not without end.
  const int calls = good_calls_;
  EXPECT_TRUE(Becomes([&] { return Stat("descriptors_exhausted") >= 3; }));
  EXPECT_TRUE(Becomes([&] { return good_calls_ > calls + 10; }));
  EXPECT_LT(Stat("descriptors_exhausted"), 1'000u);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 2; }));
  close(client);
  Conclude();
}

}  // namespace
}  // namespace larder
