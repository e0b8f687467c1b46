// The exit codes of the command, and how it says what went wrong. docs/cli.md and --help list the
// codes.

#ifndef LARDER_CLIENT_CLI_EXIT_CODE_H_
#define LARDER_CLIENT_CLI_EXIT_CODE_H_

#include <string_view>

#include "absl/status/status.h"

namespace larder::cli {

enum ExitCode : int {
  kOk = 0,
  kError = 1,          // anything that has no code of its own
  kUsage = 2,          // a wrong command line, or INVALID_ARGUMENT
  kMiss = 3,           // no value, or not stored
  kDenied = 4,         // PERMISSION_DENIED, UNAUTHENTICATED
  kUnavailable = 5,    // UNAVAILABLE, DEADLINE_EXCEEDED, or the server does not serve
  kExhausted = 6,      // RESOURCE_EXHAUSTED
  kUnsupported = 7,    // UNIMPLEMENTED
  kLoaderFailed = 8,   // the command of `load --exec` failed
  kInterrupted = 130,  // `warm` was ended by Ctrl-C; what shells say of it, too
};

inline constexpr std::string_view kExitCodeHelp =
    "Exit codes: 0 ok; 1 another error; 2 wrong usage or argument; 3 a miss, or not stored; 4 "
    "denied;\n"
    "5 unavailable, not serving or deadline over; 6 a limit of the server; 7 not in the server's "
    "version;\n"
    "8 the loader of load --exec failed; 130 warm was ended by Ctrl-C.";

ExitCode CodeFor(const absl::Status& status);

// Writes the error to stderr: reason, message and wrong fields; as a JSON object when `json`.
// Returns its exit code. REQUIRES: !status.ok().
ExitCode Report(const absl::Status& status, bool json);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_EXIT_CODE_H_
