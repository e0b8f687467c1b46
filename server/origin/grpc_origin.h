// NewGrpcOrigin makes an Origin of a service that implements larder.v1.Origin (proto/larder/v1/
// origin.proto), in whatever language. It keeps the contract of origin.h: one channel is used again
// for all calls, a call's deadline and trace context travel with it, and no answer is trusted.
// Thread safety: any method, any thread. Never blocks, except the destructor: it cancels what is
// under way and waits for gRPC to say so, some milliseconds. Has one thread of its own.
//
// Errors of its own: DEADLINE_EXCEEDED, UNAVAILABLE when the service cannot be reached,
// RESOURCE_EXHAUSTED for messages above message_bytes_max, FAILED_PRECONDITION where the service
// does not implement the method, DATA_LOSS for what makes no sense. It repeats nothing and has no
// breaker: that is the guard's (origin_guard.h).

#ifndef LARDER_ORIGIN_GRPC_ORIGIN_H_
#define LARDER_ORIGIN_GRPC_ORIGIN_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "origin/origin.h"

namespace larder {

struct GrpcOriginOptions {
  struct Tls {
    bool enabled = false;
    // PEM. Empty: the system's roots; no client certificate.
    std::string ca_file = {};
    std::string cert_file = {};
    std::string key_file = {};
    // The name that the service's certificate must have; empty: the target's.
    std::string server_name = {};
  };

  std::string name;
  // As gRPC names targets: `dns:///profiles:9000`, `profiles:9000`, `unix:/run/profiles.sock`.
  std::string target;
  // What one call may take where the caller does not allow less; 1 ms to 1 hour.
  absl::Duration timeout = absl::Seconds(5);
  // Of a request or an answer, all values of a batch together; 1 KiB to 1 GiB.
  size_t message_bytes_max = 64 << 20;
  // Larger values fail their items; 1 byte to 1 GiB.
  size_t value_bytes_max = 1 << 20;
  // Connections to each address of the target; 1 to 64. More than one where a single HTTP/2
  // connection is the bottleneck, which takes tens of thousands of calls a second.
  int channels = 1;
  Tls tls = {};
  // Sent with every call, such as {"authorization", "Bearer ..."}; names in lower case, at most 32.
  std::vector<std::pair<std::string, std::string>> metadata;
  Clock* clock = Clock::System();
  Executor* executor = nullptr;  // outlives the calls under way
};

// INVALID_ARGUMENT for options that can never work: no target, files that cannot be read, metadata
// that gRPC does not allow. That nobody answers at the target is no error.
absl::StatusOr<std::unique_ptr<Origin>> NewGrpcOrigin(const GrpcOriginOptions& options);

}  // namespace larder

#endif  // LARDER_ORIGIN_GRPC_ORIGIN_H_
