// The native lane as a stock gRPC client sees it.

#include "rpc/native_lane.h"

#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/sync_stream.h>

#include <thread>

#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "larder/rpc/v1/status.pb.h"
#include "tests/rpc/native_fixture.h"

namespace larder {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::internal::RpcMethod;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

class NativeLaneTest : public NativeFixture {
 protected:
  template <typename Request, typename Response>
  static grpc::Status Call(grpc::Channel* channel, const char* path, const Request& request,
                           Response* response, grpc::ClientContext* context) {
    const RpcMethod method(path, RpcMethod::NORMAL_RPC);
    return grpc::internal::BlockingUnaryCall<Request, Response>(channel, method, context, request,
                                                                response);
  }
  grpc::Status Check(grpc::Channel* channel, const std::string& service,
                     HealthCheckResponse* response) {
    HealthCheckRequest request;
    request.set_service(service);
    return Call(channel, "/grpc.health.v1.Health/Check", request, response, Within(10).get());
  }
};

TEST_F(NativeLaneTest, AnswersFromMemoryAndFromWorkers) {
  Start();
  const auto client = NewClient();
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  EXPECT_EQ(ValueOf(client.get(), "miss"), "later miss");
  EXPECT_EQ(Stat("connections"), 1u);
}

TEST_F(NativeLaneTest, SendsErrorsWithTheirDetails) {
  Start();
  const auto client = NewClient();
  v1::GetResponse response;
  const grpc::Status status = Get(client.get(), "error", &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "bad: 100%\n\xC3\xA9");
  rpc::v1::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 3);
  ASSERT_EQ(details.details_size(), 2);
  rpc::v1::ErrorInfo info;
  ASSERT_TRUE(info.ParseFromString(details.details(0).value()));
  EXPECT_EQ(info.reason(), "KEY_INVALID");
}

TEST_F(NativeLaneTest, SendsLargeValuesWhole) {
  Start();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto client = v1::Cache::NewStub(
      grpc::CreateCustomChannel(lane_->address(), grpc::InsecureChannelCredentials(), arguments));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ValueOf(client.get(), "large"), std::string(2 << 20, 'L'));
  }
}

TEST_F(NativeLaneTest, TakesLargeRequestsUpToTheLimitAndRefusesOneByteMore) {
  NativeLane::Options options = SomeOptions();
  options.message_bytes_max = 3 << 20;
  Start(options);
  const auto client = NewClient();
  v1::GetRequest request;
  request.set_key(std::string((3 << 20) - 5, 'k'));
  ASSERT_EQ(request.ByteSizeLong(), size_t{3} << 20);
  v1::GetResponse response;
  EXPECT_TRUE(client->Get(Within(10).get(), request, &response).ok());
  EXPECT_EQ(response.hit().value().size(), request.key().size() + 6);
  request.mutable_key()->push_back('k');
  const grpc::Status status = client->Get(Within(10).get(), request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "the message is 3145729 bytes; at most 3145728 (limits.message_bytes)");
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
}

TEST_F(NativeLaneTest, SaysWhatMethodThereIsNot) {
  Start();
  const auto channel = NewChannel();
  v1::GetResponse response;
  const grpc::Status status =
      Call(channel.get(), "/larder.v1.Cache/Gone", v1::GetRequest(), &response, Within(10).get());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(status.error_message(), "there is no method /larder.v1.Cache/Gone");
  EXPECT_FALSE(status.error_details().empty());
}

TEST_F(NativeLaneTest, HandsMetadataToHandlersBinaryAndPlain) {
  Start();
  const auto client = NewClient();
  const std::string bytes("\0\x01\xFF\n", 4);
  for (const auto& [name, value] :
       {std::pair<std::string, std::string>{"traceparent", "00-1"}, {"some-bin", bytes}}) {
    const auto context = Within(10);
    context->AddMetadata("traceparent", "00-1");
    context->AddMetadata("some-bin", bytes);
    v1::GetRequest request;
    request.set_key("metadata:" + name);
    v1::GetResponse response;
    ASSERT_TRUE(client->Get(context.get(), request, &response).ok());
    EXPECT_EQ(response.hit().value(), value);
  }
}

TEST_F(NativeLaneTest, RefusesTooMuchMetadataAndTakesNoHarm) {
  NativeLane::Options options = SomeOptions();
  options.metadata_bytes_max = 4 << 10;
  Start(options);
  const auto client = NewClient();
  ASSERT_EQ(ValueOf(client.get(), "hit"), "now");
  const auto context = Within(10);
  context->AddMetadata("a", std::string(5000, 'x'));
  v1::GetRequest request;
  request.set_key("hit");
  v1::GetResponse response;
  EXPECT_EQ(client->Get(context.get(), request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
}

TEST_F(NativeLaneTest, RefusesCompressedCalls) {
  Start();
  const auto client = NewClient();
  const auto context = Within(10);
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::GetRequest request;
  request.set_key(std::string(1000, 'h'));
  v1::GetResponse response;
  EXPECT_EQ(client->Get(context.get(), request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Stat("calls_compressed"), 1u);
}

TEST_F(NativeLaneTest, TellsHandlersThatTheCallerHasGone) {
  Start();
  const auto client = NewClient();
  grpc::ClientContext context;
  v1::GetOrLoadResponse response;
  std::thread caller([&] {
    v1::GetOrLoadRequest request;
    request.set_key("k");
    EXPECT_EQ(client->GetOrLoad(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  context.TryCancel();
  caller.join();
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled == 1; }));
  EXPECT_TRUE(Becomes([&] { return Stat("calls") == 0; }));
  EXPECT_EQ(Stat("calls_cancelled"), 1u);
}

TEST_F(NativeLaneTest, EndsCallsAtTheirDeadline) {
  Start();
  const auto client = NewClient();
  v1::GetOrLoadRequest request;
  request.set_key("k");
  v1::GetOrLoadResponse response;
  // On a slow machine a call may end before it has reached the server.
  EXPECT_TRUE(Becomes([&] {
    EXPECT_EQ(client->GetOrLoad(Within(0.05).get(), request, &response).error_code(),
              grpc::StatusCode::DEADLINE_EXCEEDED);
    return handlers_.cancelled > 0;
  }));
  EXPECT_TRUE(Becomes([&] { return Stat("calls") == 0; }));
}

TEST_F(NativeLaneTest, ServesThousandsOfWaitingCallsOnOneConnection) {
  Start();
  const auto client = NewClient();
  constexpr int kCalls = 5000;
  grpc::CompletionQueue done;
  struct Waiting {
    grpc::ClientContext context;
    grpc::Status status;
    v1::GetOrLoadResponse response;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::GetOrLoadResponse>> reader;
  };
  std::vector<std::unique_ptr<Waiting>> calls;
  for (int i = 0; i < kCalls; ++i) {
    auto& call = *calls.emplace_back(std::make_unique<Waiting>());
    v1::GetOrLoadRequest request;
    request.set_key("k" + std::to_string(i));
    call.reader = client->AsyncGetOrLoad(&call.context, request, &done);
    call.reader->Finish(&call.response, &call.status, &call);
  }
  // The client moves only while somebody asks for what is done.
  std::thread asking([&] {
    for (int i = 0; i < kCalls; ++i) {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(done.Next(&tag, &ok));
    }
  });
  EXPECT_TRUE(Becomes([&] { return handlers_.waiting() == kCalls; }));
  handlers_.LetGo();
  asking.join();
  for (int i = 0; i < kCalls; ++i) {
    ASSERT_TRUE(calls[i]->status.ok()) << calls[i]->status.error_message();
    ASSERT_EQ(calls[i]->response.hit().value(), "k" + std::to_string(i));
  }
  EXPECT_EQ(handlers_.undelivered, 0);
}

TEST_F(NativeLaneTest, StreamsAsFastAsItsClientReads) {
  Start();
  const auto admin = v1::Admin::NewStub(NewChannel());
  const auto context = Within(30);
  v1::WarmRequest request;
  request.set_limit(20'000);
  const auto reader = admin->Warm(context.get(), request);
  v1::WarmResponse response;
  ASSERT_TRUE(reader->Read(&response));
  // 20 MB do not fit into what a client that stops reading takes.
  int last = -1;
  ASSERT_TRUE(Becomes([&] { return std::exchange(last, handlers_.streamed) == last; }));
  EXPECT_LT(handlers_.streamed, 20'000);
  int count = 1;
  while (reader->Read(&response)) ++count;
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(count, 20'000);
}

TEST_F(NativeLaneTest, EndsStreamsWhoseClientGoes) {
  Start();
  const auto admin = v1::Admin::NewStub(NewChannel());
  const auto context = Within(30);
  v1::WarmRequest request;
  request.set_limit(1'000'000);
  const auto reader = admin->Warm(context.get(), request);
  v1::WarmResponse response;
  ASSERT_TRUE(reader->Read(&response));
  context->TryCancel();
  reader->Finish();
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled == 1; }));
  EXPECT_TRUE(Becomes([&] { return Stat("calls") == 0; }));
}

// Refused, it would be done once more. What can be asked for again is refused.
TEST_F(NativeLaneTest, TheReplyOfAWriteIsNeverRefusedForItsSize) {
  NativeLane::Options options = SomeOptions();
  options.message_bytes_max = 4 << 10;
  options.buffer_bytes_per_peer_max = 20'000;
  options.loops = 1;
  Start(options);
  const auto client = NewClient();
  v1::BatchGetRequest ask;
  for (int i = 0; i < 30; ++i) ask.add_keys("k");
  v1::BatchGetResponse values;
  EXPECT_EQ(client->BatchGet(Within(20).get(), ask, &values).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::SetResponse response;
  EXPECT_TRUE(client->Set(Within(20).get(), v1::SetRequest(), &response).ok());
  EXPECT_GT(response.ByteSizeLong(), 40'000u);
  // It is held as long as any reply.
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
}

TEST_F(NativeLaneTest, SaysHowItIs) {
  Start();
  const auto channel = NewChannel();
  HealthCheckResponse response;
  for (const char* service : {"", "readiness", "liveness"}) {
    ASSERT_TRUE(Check(channel.get(), service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  lane_->SetReady(false);
  ASSERT_TRUE(Check(channel.get(), "readiness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(Check(channel.get(), "liveness", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check(channel.get(), "other", &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(NativeLaneTest, TellsThoseWhoWatchItsHealth) {
  Start();
  const auto channel = NewChannel();
  const auto context = Within(30);
  const RpcMethod method("/grpc.health.v1.Health/Watch", RpcMethod::SERVER_STREAMING);
  const std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader(
      grpc::internal::ClientReaderFactory<HealthCheckResponse>::Create(
          channel.get(), method, context.get(), HealthCheckRequest()));
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  lane_->SetReady(false);
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  lane_->Drain(absl::Seconds(10));
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(NativeLaneTest, ReflectsItsServicesUnderBothNames) {
  Start();
  const auto channel = NewChannel();
  for (const char* path : {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                           "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    const auto context = Within(30);
    const RpcMethod method(path, RpcMethod::BIDI_STREAMING);
    const std::unique_ptr<
        grpc::ClientReaderWriter<ServerReflectionRequest, ServerReflectionResponse>>
        stream(grpc::internal::ClientReaderWriterFactory<
               ServerReflectionRequest, ServerReflectionResponse>::Create(channel.get(), method,
                                                                          context.get()));
    ServerReflectionRequest request;
    ServerReflectionResponse response;
    request.set_list_services("");
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(stream->Write(request));
      ASSERT_TRUE(stream->Read(&response));
      EXPECT_EQ(response.list_services_response().service_size(), 4);
    }
    request.set_file_containing_symbol("larder.v1.Cache");
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_GT(response.file_descriptor_response().file_descriptor_proto_size(), 0);
    stream->WritesDone();
    EXPECT_FALSE(stream->Read(&response));
    EXPECT_TRUE(stream->Finish().ok());
  }
}

// As many as a loop does not do in one turn, and some whose callers have gone meanwhile.
TEST_F(NativeLaneTest, WhatWaitsOnItsLoopGoesOnThere) {
  constexpr int kCalls = 500;
  constexpr int kLeave = 100;
  Start();
  const auto client = NewClient();
  struct Waiting {
    grpc::ClientContext context;
    v1::GetOrLoadRequest request;
    v1::GetOrLoadResponse response;
  };
  std::vector<std::unique_ptr<Waiting>> calls;
  std::atomic<int> answered = 0;
  std::atomic<int> cancelled = 0;
  for (int i = 0; i < kCalls; ++i) {
    Waiting& call = *calls.emplace_back(std::make_unique<Waiting>());
    call.request.set_key("here" + std::to_string(i));
    client->async()->GetOrLoad(&call.context, &call.request, &call.response,
                               [&](const grpc::Status& status) {
                                 if (status.error_code() == grpc::StatusCode::CANCELLED)
                                   ++cancelled;
                                 if (status.ok()) ++answered;
                               });
  }
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == kCalls; }));
  for (int i = 0; i < kLeave; ++i) calls[static_cast<size_t>(i)]->context.TryCancel();
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled == kLeave && cancelled == kLeave; }));
  handlers_.LetGo();
  EXPECT_TRUE(Becomes([&] { return answered == kCalls - kLeave; }));
  EXPECT_EQ(handlers_.stayed, kCalls);
  for (int i = kLeave; i < kCalls; ++i) {
    const Waiting& call = *calls[static_cast<size_t>(i)];
    EXPECT_EQ(call.response.hit().value(), call.request.key());
  }
}

TEST_F(NativeLaneTest, DrainLetsRunningCallsFinishAndTakesNoNewOnes) {
  Start();
  const auto client = NewClient();
  v1::GetOrLoadResponse response;
  std::thread caller([&] {
    v1::GetOrLoadRequest request;
    request.set_key("k");
    const grpc::Status status = client->GetOrLoad(Within(20).get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  });
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  std::thread drain([&] { lane_->Drain(absl::Seconds(20)); });
  v1::GetResponse ignored;
  EXPECT_TRUE(Becomes([&] {
    return Get(NewClient().get(), "hit", &ignored).error_code() == grpc::StatusCode::UNAVAILABLE;
  }));
  handlers_.LetGo();
  caller.join();
  drain.join();
  EXPECT_EQ(response.hit().value(), "k");
  EXPECT_EQ(Stat("connections"), 0u);
}

TEST_F(NativeLaneTest, DrainCancelsWhatRunsBeyondItsLimit) {
  Start();
  const auto client = NewClient();
  std::thread caller([&] {
    v1::GetOrLoadRequest request;
    request.set_key("k");
    v1::GetOrLoadResponse response;
    EXPECT_EQ(client->GetOrLoad(Within(20).get(), request, &response).error_code(),
              grpc::StatusCode::UNAVAILABLE);
  });
  ASSERT_TRUE(Becomes([&] { return handlers_.waiting() == 1; }));
  lane_->Drain(absl::Milliseconds(50));
  caller.join();
  EXPECT_EQ(handlers_.cancelled, 1);
}

TEST_F(NativeLaneTest, RefusesToListenWhereSomebodyElseDoes) {
  Start();
  NativeLane::Options options = SomeOptions();
  options.address = lane_->address();
  const auto second = NativeLane::Start(options, &methods_, &dispatcher_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(NativeLaneTest, AsksOldConnectionsToGoWithoutLosingCalls) {
  NativeLane::Options options = SomeOptions();
  options.connection_age_max = absl::Milliseconds(50);
  Start(options);
  const auto client = NewClient();
  EXPECT_TRUE(Becomes([&] {
    EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
    return Stat("closed_old") >= 3;
  }));
}

TEST_F(NativeLaneTest, ClosesOldConnectionsWhoseCallsDoNotEnd) {
  NativeLane::Options options = SomeOptions();
  options.connection_age_max = absl::Milliseconds(200);
  options.connection_age_grace = absl::Milliseconds(200);
  Start(options);
  const auto client = NewClient();
  v1::GetOrLoadRequest request;
  request.set_key("k");
  v1::GetOrLoadResponse response;
  EXPECT_EQ(client->GetOrLoad(Within(30).get(), request, &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(Becomes([&] { return handlers_.cancelled == 1; }));
  EXPECT_EQ(Stat("closed_old"), 1u);
  EXPECT_TRUE(Becomes([&] { return Stat("calls") == 0; }));
}

TEST_F(NativeLaneTest, ClosesConnectionsThatNobodyUses) {
  NativeLane::Options options = SomeOptions();
  options.connection_idle_max = absl::Milliseconds(50);
  Start(options);
  const auto client = NewClient();
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
  EXPECT_TRUE(Becomes([&] { return Stat("connections") == 0; }));
  EXPECT_GE(Stat("closed_idle"), 1u) << "again where the client took its time before the call";
  EXPECT_EQ(ValueOf(client.get(), "hit"), "now");
}

}  // namespace
}  // namespace larder
