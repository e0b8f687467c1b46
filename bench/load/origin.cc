// The origin of `./dev bench load`: a gRPC service that answers every key after a time that it is
// told, and counts what it is asked.
//
//   larder_bench_origin HOST:PORT
//
// Prints `listening HOST:PORT` and then reads commands, one a line, and answers each with a line:
//   delay MS     calls take so long from now on           ok
//   refuse 0|1   1: calls are answered UNAVAILABLE        ok
//   reset        counts begin anew                        ok
//   stats        calls, keys, most calls under way        calls N items N most N
// Ends at the end of its input. Exits 2 on a usage error and 1 when it cannot listen.

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "larder/v1/origin.grpc.pb.h"

namespace {

// A thread for each call, as there are few at a time: those of gRPC's callbacks sleep now and then,
// and its alarms are late, by a tenth of a second each.
class OriginService final : public larder::v1::Origin::Service {
 public:
  grpc::Status Load(grpc::ServerContext* /*context*/, const larder::v1::LoadRequest* request,
                    larder::v1::LoadResponse* response) override {
    const auto answer_at =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(delay_ms_.load());
    Enter(request->items_size());
    for (const larder::v1::LoadItem& item : request->items()) {
      larder::v1::LoadResult* result = response->add_results();
      result->set_key(item.key());
      result->mutable_found()->set_value(value_);
    }
    const bool refuse = refuse_;
    // To take that long is what the bench asks for.
    if (!refuse) std::this_thread::sleep_until(answer_at);
    Leave();
    return refuse ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "told to refuse")
                  : grpc::Status::OK;
  }

  std::string Command(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    int number = 0;
    words >> verb >> number;
    if (verb == "delay") {
      delay_ms_ = number;
    } else if (verb == "refuse") {
      refuse_ = number != 0;
    } else if (verb == "reset") {
      const std::lock_guard lock(mu_);
      calls_ = items_ = 0;
      most_ = under_way_;
    } else if (verb == "stats") {
      const std::lock_guard lock(mu_);
      return "calls " + std::to_string(calls_) + " items " + std::to_string(items_) + " most " +
             std::to_string(most_);
    } else {
      return "unknown command";
    }
    return "ok";
  }

 private:
  void Enter(int items) {
    const std::lock_guard lock(mu_);
    ++calls_;
    items_ += items;
    most_ = std::max(most_, ++under_way_);
  }
  void Leave() {
    const std::lock_guard lock(mu_);
    --under_way_;
  }

  const std::string value_ = std::string(200, 'x');
  std::atomic<int> delay_ms_{50};
  std::atomic<bool> refuse_{false};
  std::mutex mu_;
  int64_t calls_ = 0;
  int64_t items_ = 0;
  int64_t most_ = 0;
  int64_t under_way_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: larder_bench_origin HOST:PORT\n";
    return 2;
  }
  const std::string address = argv[1];
  OriginService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  std::cout << "listening " << address.substr(0, address.rfind(':') + 1) << port << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << service.Command(line) << std::endl;
  }
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}
