// The exit codes of the command, and how it says what went wrong. docs/cli.md and --help list the
// codes.

#ifndef LARDER_CLIENT_CLI_EXIT_CODE_H_
#define LARDER_CLIENT_CLI_EXIT_CODE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace larder::cli {

enum ExitCode : int {
  kOk = 0,
  kError = 1,          // anything that has no code of its own
  kUsage = 2,          // a wrong command line, or INVALID_ARGUMENT
  kMiss = 3,           // no value, not stored, or something is wrong that was looked for
  kDenied = 4,         // PERMISSION_DENIED, UNAUTHENTICATED
  kUnavailable = 5,    // UNAVAILABLE, DEADLINE_EXCEEDED, or the server does not serve
  kExhausted = 6,      // RESOURCE_EXHAUSTED
  kUnsupported = 7,    // UNIMPLEMENTED
  kLoaderFailed = 8,   // the command of `load --exec` failed
  kInterrupted = 130,  // ended by Ctrl-C; what shells say of it, too
};

inline constexpr std::string_view kExitCodeHelp =
    "Exit codes: 0 ok; 1 another error; 2 wrong usage or argument; 3 a miss, not stored, or "
    "something\n"
    "wrong that verify, doctor, bench or config diff found; 4 denied; 5 unavailable, not serving "
    "or deadline over; 6 a limit of the "
    "server;\n"
    "7 not in the server's version; 8 the loader of load --exec failed; 130 ended by Ctrl-C.";

ExitCode CodeFor(const absl::Status& status);

// The error in a line: its reason, or its code where it has none, and its message.
std::string Told(const absl::Status& status);

// Writes the error to stderr: reason, message and wrong fields; as a JSON object when `json`.
// Returns its exit code. REQUIRES: !status.ok().
ExitCode Report(const absl::Status& status, bool json);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_EXIT_CODE_H_
