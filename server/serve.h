// Serve is larderd at work: it builds everything bottom-up from a configuration, serves until a
// signal comes, drains, and tears down in reverse.

#ifndef LARDER_SERVE_H_
#define LARDER_SERVE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "config/config.h"

namespace larder {

// Where the configuration came from, for when it changes.
struct ConfigOrigin {
  std::function<absl::StatusOr<Config>()> load;
  std::string file;  // empty: there is none
  std::string seen;  // the file's fingerprint from before it was read
};

// Blocks until SIGTERM or SIGINT; OK after an orderly shutdown. An error says in a sentence why it
// could not start. A second signal ends the process at once. REQUIRES: called once, from the main
// thread, before other threads exist.
absl::Status Serve(const Config& config, const ConfigOrigin& source, const std::string& version);

}  // namespace larder

#endif  // LARDER_SERVE_H_
