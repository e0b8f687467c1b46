// The examination that `doctor` makes, and `support` takes along. Thread safety: one at a time;
// blocks for as long as names, connections and calls take.

#ifndef LARDER_CLIENT_CLI_DOCTOR_H_
#define LARDER_CLIENT_CLI_DOCTOR_H_

#include <optional>
#include <string>

#include "client/cli/doctor_checks.h"
#include "client/cli/session.h"

namespace larder::cli {

struct DoctorOptions {
  // CA certificates for servers that speak TLS; empty: those of the session, or the system's.
  std::string ca_file;
  // A TLS listener besides those of --server; empty: none.
  std::string certificate;
  // Admin port of the first server; empty: where it would be by default.
  std::string admin;
  // Leaves a connection alone for so long, and looks whether it is still there.
  std::optional<absl::Duration> idle;
};

struct Examination {
  Findings findings;
  // Servers that answered.
  size_t reached = 0;
};

// Looks at every server of session->server.
Examination Examine(const Session& session, const DoctorOptions& options);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_DOCTOR_H_
