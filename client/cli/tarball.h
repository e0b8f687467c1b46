// A .tar.gz in memory. Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_TARBALL_H_
#define LARDER_CLIENT_CLI_TARBALL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::cli {

struct BundleFile {
  std::string name;  // at most 99 bytes, without a slash at its beginning
  std::string content;
};

// Regular files, readable by their owner alone. INTERNAL when there is no memory to compress them;
// INVALID_ARGUMENT for a name that is too long.
absl::StatusOr<std::string> TarGz(const std::vector<BundleFile>& files, absl::Time time);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_TARBALL_H_
