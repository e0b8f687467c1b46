// echo_server is what larder's reference lane is measured against: the fastest plain grpc++ server.
// Generated callback service, the default reactor, the server options that larder's lane has, and
// no work of its own.
//
//   echo_server HOST:PORT [as-larderd]
//
// As-larderd gives it the settings that larderd has for other reasons than speed (connections of
// limited age, keepalive) and the one that larderd has for speed: abseil's deadlock detector, which
// Debian's package leaves on, switched off. Without it the server is what a programmer writes who
// has heard of none of that; larder's bars refer to that one.
//
// Prints `listening HOST:PORT` on stdout and serves until SIGTERM or SIGINT, then exits 0. Exits 2
// on a usage error and 1 when it cannot listen.
//
// It is linked with the allocator that larderd is linked with, so that the comparison is between
// code and code. Batch parses the request that larder parses and builds the reply that larder
// builds, from constants: what is left of larder's time is the cache.

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/synchronization/mutex.h"
#include "larder/bench/v1/echo.grpc.pb.h"

namespace {

using larder::bench::v1::EmptyRequest;
using larder::bench::v1::EmptyResponse;
using larder::v1::BatchGetRequest;
using larder::v1::BatchGetResponse;

class EchoService final : public larder::bench::v1::Echo::CallbackService {
 public:
  grpc::ServerUnaryReactor* Empty(grpc::CallbackServerContext* context, const EmptyRequest*,
                                  EmptyResponse*) override {
    return Finish(context);
  }

  // The numbers have as many bytes on the wire as those of a real hit, which a few seconds old
  // entry answers.
  grpc::ServerUnaryReactor* Batch(grpc::CallbackServerContext* context,
                                  const BatchGetRequest* request,
                                  BatchGetResponse* response) override {
    response->mutable_results()->Reserve(request->keys_size());
    for (int i = 0; i < request->keys_size(); ++i) {
      larder::v1::Hit* hit = response->add_results()->mutable_hit();
      hit->set_value(value_);
      hit->set_version(uint64_t{1} << 62);
      hit->mutable_age()->set_seconds(7);
      hit->mutable_age()->set_nanos(500'000'000);
      hit->mutable_remaining_ttl()->set_seconds(3'000);
      hit->mutable_remaining_ttl()->set_nanos(500'000'000);
      hit->set_tier(larder::v1::TIER_L1);
      hit->set_value_bytes(value_.size());
    }
    return Finish(context);
  }

 private:
  static grpc::ServerUnaryReactor* Finish(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  const std::string value_ = std::string(100, 'x');
};

void ConfigureAsLarderd(grpc::ServerBuilder* builder) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 120'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, 1'800'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 30'000);
}

}  // namespace

int main(int argc, char** argv) {
  const bool as_larderd = argc == 3 && std::string_view(argv[2]) == "as-larderd";
  if (argc != 2 && !as_larderd) {
    fprintf(stderr, "usage: echo_server HOST:PORT [as-larderd]\n");
    return 2;
  }
  // Blocked before the first thread starts, so that only sigwait below sees them.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);

  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // As in larder's lane, which refuses compressed messages.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  if (as_larderd) ConfigureAsLarderd(&builder);
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    fprintf(stderr, "echo_server: cannot listen on %s\n", argv[1]);
    return 1;
  }
  const std::string address = argv[1];
  printf("listening %s:%d\n", address.substr(0, address.rfind(':')).c_str(), port);
  fflush(stdout);

  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}
