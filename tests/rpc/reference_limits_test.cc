// What the reference lane takes on: connections, in all and of one address, and the bytes that the
// calls of one address hold.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "rpc/admission.h"
#include "rpc/reference_acceptor.h"
#include "rpc/reference_lane.h"
#include "tests/rpc/native_fixture.h"
#include "tests/rpc/native_raw_client.h"

namespace larder {
namespace {

class ReferenceLimitsTest : public NativeFixture {
 protected:
  ~ReferenceLimitsTest() override {
    handlers_.LetGo();
    reference_.reset();
  }

  void StartReference(ReferenceLane::Options options, Dispatcher* dispatcher) {
    signal(SIGPIPE, SIG_IGN);
    options.address = "127.0.0.1:0";
    auto lane = ReferenceLane::Start(options, &methods_, dispatcher);
    ASSERT_TRUE(lane.ok()) << lane.status();
    reference_ = *std::move(lane);
    reference_->SetReady(true);
  }
  int ReferencePort() const {
    const std::string address = reference_->address();
    return std::stoi(address.substr(address.rfind(':') + 1));
  }
  std::unique_ptr<v1::Cache::Stub> Client() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return v1::Cache::NewStub(grpc::CreateCustomChannel(
        reference_->address(), grpc::InsecureChannelCredentials(), arguments));
  }

  std::unique_ptr<ReferenceLane> reference_;
};

TEST_F(ReferenceLimitsTest, MoreConnectionsThanAllowedAreClosedAtOnceAndWhatGoesMakesRoom) {
  ReferenceLane::Options options;
  options.connections_max = 10;
  StartReference(options, &dispatcher_);
  const auto client = Client();
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  for (uint64_t round = 1; round <= 3; ++round) {
    std::vector<std::unique_ptr<RawClient>> many;
    for (int i = 0; i < 50; ++i) many.push_back(std::make_unique<RawClient>(ReferencePort()));
    EXPECT_TRUE(Becomes([&] { return reference_->GetStats().refused == 41 * round; }));
    EXPECT_EQ(reference_->GetStats().connections, 10u);
    EXPECT_EQ(many.back()->ReadUntilClosed(), std::nullopt);
    EXPECT_EQ(ValueOf(client.get(), "hit"), "now") << "who is in stays in";
    many.clear();
    EXPECT_TRUE(Becomes([&] { return reference_->GetStats().connections == 1; }));
  }
  EXPECT_EQ(reference_->GetStats().accepted, 28u);
}

TEST_F(ReferenceLimitsTest, OneAddressHasALimitOfItsOwn) {
  ReferenceLane::Options options;
  options.connections_per_peer_max = 3;
  StartReference(options, &dispatcher_);
  std::vector<std::unique_ptr<RawClient>> many;
  for (int i = 0; i < 5; ++i) many.push_back(std::make_unique<RawClient>(ReferencePort()));
  EXPECT_TRUE(Becomes([&] { return reference_->GetStats().refused == 2; }));
  EXPECT_EQ(reference_->GetStats().connections, 3u);
}

// Whoever the server itself turns away makes room, too.
TEST_F(ReferenceLimitsTest, ConnectionsThatTheServerEndsMakeRoom) {
  ReferenceLane::Options options;
  options.connections_max = 2;
  StartReference(options, &dispatcher_);
  for (int i = 0; i < 10; ++i) {
    RawClient wrong(ReferencePort());
    wrong.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wrong.ReadUntilClosed();
    EXPECT_TRUE(Becomes([&] { return reference_->GetStats().connections == 0; })) << i;
  }
  EXPECT_EQ(reference_->GetStats().refused, 0u);
  EXPECT_EQ(ValueOf(Client().get(), "hit"), "now");
}

// While the lane drains its connections are still there.
TEST_F(ReferenceLimitsTest, WhatWasTakenIsCountedUntilItEnds) {
  auto acceptor = ReferenceAcceptor::Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const std::string address = (*acceptor)->address();
  std::promise<int> taken;
  (*acceptor)->Start([&taken](int fd) { taken.set_value(fd); });
  RawClient client(std::stoi(address.substr(address.rfind(':') + 1)));
  const int fd = taken.get_future().get();
  (*acceptor)->Stop();
  (*acceptor)->Stop();
  EXPECT_EQ((*acceptor)->connections(), 1u);
  client.Close();
  shutdown(fd, SHUT_RDWR);
  close(fd);
  EXPECT_TRUE(Becomes([&] { return (*acceptor)->connections() == 0; }));
}

// What gRPC's own listener sees to: a client that is gone, or reads nothing, is not waited for.
TEST_F(ReferenceLimitsTest, TheKernelEndsAConnectionThatConfirmsNothing) {
  auto acceptor = ReferenceAcceptor::Listen(
      {.address = "127.0.0.1:0", .unconfirmed_max = absl::Milliseconds(12'345)});
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const std::string address = (*acceptor)->address();
  std::promise<int> taken;
  (*acceptor)->Start([&taken](int fd) { taken.set_value(fd); });
  RawClient client(std::stoi(address.substr(address.rfind(':') + 1)));
  const int fd = taken.get_future().get();
  unsigned millis = 0;
  socklen_t size = sizeof(millis);
  EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &millis, &size), 0);
  EXPECT_EQ(millis, 12'345u);
  close(fd);
}

TEST_F(ReferenceLimitsTest, WhereNotEvenTheSpareDescriptorIsToBeHadItIsTriedAgain) {
  StartReference({}, &dispatcher_);
  RawClient before(ReferencePort());
  ASSERT_TRUE(Becomes([&] { return reference_->GetStats().connections == 1; }));
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(ReferencePort()));
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  // All numbers below it are taken, and the spare one is not among them.
  const rlimit none{3, limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  EXPECT_TRUE(Becomes([&] { return reference_->GetStats().refused >= 2; }));
  // One that goes has it tried at once; that it is no better then is no reason to give up.
  before.Close();
  EXPECT_TRUE(Becomes([&] { return reference_->GetStats().connections == 0; }));
  setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_TRUE(Becomes([&] { return reference_->GetStats().connections == 1; }));
  close(client);
  EXPECT_EQ(ValueOf(Client().get(), "hit"), "now");
}

TEST_F(ReferenceLimitsTest, TheCallsOfOneAddressHoldNoMoreThanTheyMay) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  const auto client = Client();
  // It waits, and holds its request; there is room for its reply beside it.
  v1::GetOrLoadRequest waiting;
  waiting.set_key(std::string(40'000, 'w'));
  v1::GetOrLoadResponse loaded;
  std::future<grpc::Status> first = std::async(
      std::launch::async, [&] { return client->GetOrLoad(Within(60).get(), waiting, &loaded); });
  EXPECT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  v1::GetResponse response;
  const grpc::Status refused = Get(client.get(), "hit" + std::string(70'000, 'x'), &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(),
              testing::HasSubstr("limits.buffer_bytes_per_peer is 100000"));
  EXPECT_THAT(admission.Refused(), testing::Contains(testing::Pair("peer_bytes", 1u)));
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now") << "small ones fit beside it";
  handlers_.LetGo();
  EXPECT_TRUE(first.get().ok());
  // What was held is given back, a little after its caller has the answer.
  EXPECT_TRUE(Becomes([&] {
    v1::GetResponse again;
    return Get(client.get(), "hit" + std::string(70'000, 'x'), &again).ok();
  }));
  reference_.reset();
}

TEST_F(ReferenceLimitsTest, SmallMessagesAreNotCountedByAddress) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  const auto client = Client();
  Admission::Held all;
  ASSERT_TRUE(admission.Hold("127.0.0.1", 100'000, &all).ok());
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  v1::GetResponse response;
  EXPECT_EQ(Get(client.get(), "hit" + std::string(5'000, 'x'), &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  reference_.reset();
}

// A pause between two looks at the clock is enough for a refused call to count as slow.
TEST_F(ReferenceLimitsTest, RefusedCallsMayBeSlow) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  dispatcher.SetSlowCall(absl::Nanoseconds(-1));
  ReferenceLane::Options options;
  options.message_bytes_max = 50'000;
  StartReference(options, &dispatcher);
  const auto client = Client();
  v1::GetResponse response;
  const grpc::Status large = Get(client.get(), std::string(60'000, 'x'), &response);
  EXPECT_THAT(large.error_message(), testing::HasSubstr("limits.message_bytes"));
  Admission::Held all;
  ASSERT_TRUE(admission.Hold("127.0.0.1", 100'000, &all).ok());
  const grpc::Status held = Get(client.get(), std::string(40'000, 'x'), &response);
  EXPECT_THAT(held.error_message(), testing::HasSubstr("limits.buffer_bytes_per_peer"));
  reference_.reset();
}

// A reply of 2 MiB that nobody reads counts against its address.
TEST_F(ReferenceLimitsTest, RepliesThatAreNotReadAreHeld) {
  Admission admission({.buffer_bytes_per_peer = 1'000'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  RawClient slow(ReferencePort());
  slow.Greet();
  v1::GetRequest request;
  request.set_key("large");
  slow.Send(RawClient::Call(1, "/larder.v1.Cache/Get", request.SerializeAsString()));
  ASSERT_TRUE(slow.ReadHeaders(1).has_value());
  const auto client = Client();
  v1::GetResponse response;
  const std::string key = "hit" + std::string(5'000, 'x');
  EXPECT_EQ(Get(client.get(), key, &response).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  slow.Close();
  EXPECT_TRUE(Becomes([&] { return Get(client.get(), key, &response).ok(); }));
  reference_.reset();
}

TEST_F(ReferenceLimitsTest, RepliesThatNobodyReadsAreNoMoreThanOneAddressMayHold) {
  constexpr uint64_t kMost = 8 << 20;
  Admission admission({.buffer_bytes_per_peer = kMost}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  RawClient slow(ReferencePort());
  slow.Greet();
  v1::GetRequest request;
  request.set_key("large");
  constexpr uint32_t kCalls = 40;
  for (uint32_t i = 0; i < kCalls; ++i)
    slow.Send(RawClient::Call(2 * i + 1, "/larder.v1.Cache/Get", request.SerializeAsString()));
  // Each reply is 2 MiB, and a little more.
  EXPECT_TRUE(Becomes([&] {
    return testing::Value(admission.Refused(),
                          testing::Contains(testing::Pair("peer_bytes", kCalls - 3)));
  }));
  EXPECT_LE(admission.held_bytes(), kMost);
  EXPECT_GE(admission.held_bytes(), kMost / 4 * 3);
  slow.Close();
  EXPECT_TRUE(Becomes([&] { return admission.held_bytes() == 0; }));
  v1::GetResponse response;
  EXPECT_TRUE(Get(Client().get(), "large", &response).ok());
  reference_.reset();
}

TEST_F(ReferenceLimitsTest, WhoLoadsIsToldWhenItsReplyIsRefused) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  v1::GetOrLoadRequest load;
  load.set_key(std::string(5'000, 'w'));
  v1::GetOrLoadResponse loaded;
  std::future<grpc::Status> call = std::async(
      std::launch::async, [&] { return Client()->GetOrLoad(Within(60).get(), load, &loaded); });
  EXPECT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  Admission::Held all;
  ASSERT_TRUE(admission.Hold("127.0.0.1", 94'000, &all).ok());
  handlers_.LetGo();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Becomes([&] { return handlers_.undelivered == 1; })) << "its lease is given back";
  reference_.reset();
}

// Refused, it would be done once more.
TEST_F(ReferenceLimitsTest, TheReplyOfAWriteIsNeverRefused) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  Admission::Held all;
  ASSERT_TRUE(admission.Hold("127.0.0.1", 100'000, &all).ok());
  const auto client = Client();
  v1::SetRequest set;
  v1::SetResponse response;
  EXPECT_TRUE(client->Set(Within(20).get(), set, &response).ok());
  EXPECT_GT(response.ByteSizeLong(), 40'000u);
  v1::GetResponse got;
  EXPECT_EQ(Get(client.get(), "large", &got).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  reference_.reset();
}

TEST_F(ReferenceLimitsTest, AMessageOfAStreamIsHeldUntilItIsRead) {
  Admission admission({.buffer_bytes_per_peer = 100'000}, Clock::System());
  Dispatcher dispatcher(Clock::System(), pool_.get(), nullptr, &admission);
  StartReference({}, &dispatcher);
  const auto client = Client();
  const auto context = Within(60);
  const auto reader = client->Watch(context.get(), v1::WatchRequest());
  v1::WatchResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_GT(message.ByteSizeLong(), 40'000u);
  EXPECT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  EXPECT_EQ(admission.held_bytes(), 0u) << "what waits for something to tell holds nothing";
  handlers_.LetGo();
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());

  Admission::Held all;
  ASSERT_TRUE(admission.Hold("127.0.0.1", 100'000, &all).ok());
  const auto late = Within(60);
  const auto refused = client->Watch(late.get(), v1::WatchRequest());
  EXPECT_FALSE(refused->Read(&message));
  EXPECT_EQ(refused->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  reference_.reset();
}

}  // namespace
}  // namespace larder
