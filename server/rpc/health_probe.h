// Asks a gRPC server whether it is well, as `larderd healthcheck` does for containers.
// Thread safety: any thread. Blocks for up to the time limit.

#ifndef LARDER_RPC_HEALTH_PROBE_H_
#define LARDER_RPC_HEALTH_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// OK when `service` ("", "liveness" or "readiness") at host:port is serving; else an error that
// says what came instead.
absl::Status ProbeHealth(const std::string& address, const std::string& service,
                         absl::Duration limit);

}  // namespace larder

#endif  // LARDER_RPC_HEALTH_PROBE_H_
