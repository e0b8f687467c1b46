// Sampler reads a server's counts again and again, for `top` and `stat`: Stats over gRPC and, where
// its admin port is found, the metrics with how long calls took. Thread safety: none; one owner.
// Read blocks, at most to the deadline.

#ifndef LARDER_CLIENT_CLI_SAMPLER_H_
#define LARDER_CLIENT_CLI_SAMPLER_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/pulse.h"
#include "client/cli/session.h"

namespace larder::cli {

class Sampler {
 public:
  // `admin` empty: where it would be by default; then nothing is said when it is not there.
  Sampler(Session* session, std::string admin)
      : session_(session), admin_(std::move(admin)), began_(std::chrono::steady_clock::now()) {}

  // UNAVAILABLE and the like: of Stats, or of an admin port that was named.
  absl::StatusOr<Sample> Read();

  // Where the metrics come from; empty: nowhere.
  const std::string& admin() const { return found_; }
  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - began_);
  }

 private:
  absl::Status Look();

  Session* const session_;
  const std::string admin_;
  const std::chrono::steady_clock::time_point began_;
  bool looked_ = false;
  std::string found_;
};

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_SAMPLER_H_
