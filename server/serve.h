// Serve is larderd at work: it builds everything bottom-up from a configuration, serves until a
// signal comes, drains, and tears down in reverse.

#ifndef LARDER_SERVE_H_
#define LARDER_SERVE_H_

#include "absl/status/status.h"
#include "config/config.h"

namespace larder {

// Blocks until SIGTERM or SIGINT; OK after an orderly shutdown. An error says in a sentence why it
// could not start. A second signal ends the process at once. REQUIRES: called once, from the main
// thread, before other threads exist.
absl::Status Serve(const Config& config, const std::string& version);

}  // namespace larder

#endif  // LARDER_SERVE_H_
