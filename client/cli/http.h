// HttpGet fetches one page of a server's admin port, over plain HTTP/1.1. Blocks until the answer
// is there, at most to the deadline. Thread safety: any thread. Errors: UNAVAILABLE when nobody
// answers there, DEADLINE_EXCEEDED, INTERNAL for what is no HTTP, RESOURCE_EXHAUSTED for an answer
// of more than kHttpBytesMax; for any status but 200 the code that is nearest to it, with the first
// line of the body.

#ifndef LARDER_CLIENT_CLI_HTTP_H_
#define LARDER_CLIENT_CLI_HTTP_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/socket.h"

namespace larder::cli {

inline constexpr size_t kHttpBytesMax = 64 << 20;

struct HttpCall {
  absl::Duration deadline = absl::Seconds(5);
  // Tells who asks; empty: nobody in particular. There is no TLS here, so it goes to this machine
  // alone, unless `token_anywhere`.
  std::string token = {};
  bool token_anywhere = false;
};

// `address` is host:port.
absl::StatusOr<std::string> HttpGet(const std::string& address, const std::string& path,
                                    const HttpCall& call);

// The Host header, and the body of a whole answer. For HttpGet, and for tests.
std::string HostHeader(const Endpoint& endpoint);
absl::StatusOr<std::string> HttpBody(const std::string& answer);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_HTTP_H_
