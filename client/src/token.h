// TokenSource has the token that tells a server who calls, and follows its file.
// Thread safety: any thread. Blocks on the disk once in a few seconds, for a small file.
// Errors: while the file cannot be read, or holds no token, what it held before goes on.

#ifndef LARDER_CLIENT_SRC_TOKEN_H_
#define LARDER_CLIENT_SRC_TOKEN_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "client/src/mutex.h"

namespace larder::internal {

// OK for 1 to 4,096 printable ASCII characters without spaces. The text is not repeated.
absl::Status CheckToken(const std::string& token);

// The token in a file, without white space around it. INVALID_ARGUMENT: the file cannot be read, or
// holds none.
absl::StatusOr<std::string> ReadToken(const std::string& file);

class TokenSource {
 public:
  // At most one of the two is set.
  TokenSource(const std::string& token, std::string file);

  // The value of `authorization`; empty: there is no token.
  std::string Header();

 private:
  const std::string file_;

  Mutex mu_;
  std::string header_ ABSL_GUARDED_BY(mu_);
  std::chrono::steady_clock::time_point read_at_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_TOKEN_H_
