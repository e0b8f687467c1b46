// Runs larderd for what it alone can tell: whether a configuration is right, and what it means. The
// command links nothing of the server, so that it can neither differ from it nor grow with it; what
// checks a file is the very program that will read it. Thread safety: any thread; blocks until the
// program has ended.

#ifndef LARDER_CLIENT_CLI_LARDERD_H_
#define LARDER_CLIENT_CLI_LARDERD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace larder::cli {

struct ProgramEnd {
  int code = 0;  // exit code; 128 + N when a signal ended it
  std::string out;
  std::string err;
};

// `path` if it is given, else the larderd beside this program, else that of PATH. NOT_FOUND says
// where it was looked for.
absl::StatusOr<std::string> FindLarderd(const std::string& path);

absl::StatusOr<ProgramEnd> RunProgram(const std::string& program,
                                      const std::vector<std::string>& arguments);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_LARDERD_H_
