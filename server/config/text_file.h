// Small files that a configuration names for a value of its own, such as a secret. Thread safety:
// any thread. Blocks on the disk.

#ifndef LARDER_CONFIG_TEXT_FILE_H_
#define LARDER_CONFIG_TEXT_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace larder {

// The content without white space at its ends. Errors begin with `field` and name the path, never
// the content: FailedPrecondition, it cannot be read; InvalidArgument, it is longer than that.
absl::StatusOr<std::string> ReadTextFile(const std::string& field, const std::string& path,
                                         size_t bytes_max);

}  // namespace larder

#endif  // LARDER_CONFIG_TEXT_FILE_H_
