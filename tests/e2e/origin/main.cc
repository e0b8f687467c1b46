// e2e_origin --listen HOST:PORT is an origin in a process of its own, for tests to stop and to
// kill: it has every key, with the key as the value. Says `listening on HOST:PORT`.

#include <grpcpp/grpcpp.h>

#include <cstring>
#include <iostream>
#include <memory>
#include <string>

#include "larder/v1/origin.grpc.pb.h"

namespace {

class EchoService final : public larder::v1::Origin::Service {
  grpc::Status Load(grpc::ServerContext* /*context*/, const larder::v1::LoadRequest* request,
                    larder::v1::LoadResponse* response) override {
    for (const larder::v1::LoadItem& item : request->items()) {
      larder::v1::LoadResult* const result = response->add_results();
      result->set_key(item.key());
      result->mutable_found()->set_value(item.key());
    }
    return grpc::Status::OK;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::strcmp(argv[1], "--listen") != 0) {
    std::cerr << "usage: e2e_origin --listen HOST:PORT\n";
    return 2;
  }
  const std::string address = argv[2];
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) return 1;
  std::cout << "listening on " << address.substr(0, address.rfind(':') + 1) << port << std::endl;
  server->Wait();
  return 0;
}
