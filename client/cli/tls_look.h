// What a server says of itself in a TLS handshake: for `doctor`, which looks at certificates before
// callers stumble over them. No call is made over the connection. Thread safety: any thread;
// blocks, to the deadline at most.

#ifndef LARDER_CLIENT_CLI_TLS_LOOK_H_
#define LARDER_CLIENT_CLI_TLS_LOOK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/socket.h"

namespace larder::cli {

struct TlsLook {
  std::string protocol;  // such as `TLSv1.3`
  bool h2 = false;       // it speaks HTTP/2, by ALPN
  std::string subject;
  std::string issuer;
  std::vector<std::string> names;  // that it is valid for
  absl::Time not_before;
  absl::Time not_after;
  bool for_host = false;  // it is valid for the name that was asked for
  std::string untrusted;  // why the chain is not trusted; empty: it is
};

// `host` is the name that callers use; `ca_file` the certificates that they trust, empty: the
// system's. Errors: UNAVAILABLE when it speaks no TLS, or ends the handshake; DEADLINE_EXCEEDED;
// INVALID_ARGUMENT for a ca_file that cannot be read.
absl::StatusOr<TlsLook> LookAtTls(const Endpoint& endpoint, const std::string& host,
                                  const std::string& ca_file, absl::Time until);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_TLS_LOOK_H_
