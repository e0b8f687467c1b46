// Reflection answers the questions of gRPC tools about the services that this process has compiled
// in. Immutable. Thread safety: any method, any thread. Knows no lane.

#ifndef LARDER_RPC_REFLECTION_H_
#define LARDER_RPC_REFLECTION_H_

#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.pb.h"

namespace larder {

class Reflection {
 public:
  // `services`: the full names to list.
  explicit Reflection(std::vector<std::string> services) : services_(std::move(services)) {}

  grpc::reflection::v1::ServerReflectionResponse Answer(
      const grpc::reflection::v1::ServerReflectionRequest& request) const;

 private:
  const std::vector<std::string> services_;
};

}  // namespace larder

#endif  // LARDER_RPC_REFLECTION_H_
