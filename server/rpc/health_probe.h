// Asks a gRPC server whether it is well, as `larderd healthcheck` does for containers.
// Thread safety: any thread. Blocks for up to the time limit.

#ifndef LARDER_RPC_HEALTH_PROBE_H_
#define LARDER_RPC_HEALTH_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace larder {

// How to ask a server that speaks TLS. Its certificate is not judged: the question tells no secret
// and the answer decides about a machine's own server, which may show an old certificate while the
// files are exchanged.
struct ProbeTls {
  bool on = false;
  // Shown to the server, where it wants its clients to have one; may be empty.
  std::string certificate_file = {};
  std::string key_file = {};
};

// OK when `service` ("", "liveness" or "readiness") at host:port is serving; else an error that
// says what came instead.
absl::Status ProbeHealth(const std::string& address, const std::string& service,
                         absl::Duration limit, const ProbeTls& tls = {});

}  // namespace larder

#endif  // LARDER_RPC_HEALTH_PROBE_H_
