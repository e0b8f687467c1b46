// Splits ClientOptions::target.
// Thread safety: any thread.
// Errors: INVALID_ARGUMENT.

#ifndef LARDER_CLIENT_SRC_TARGETS_H_
#define LARDER_CLIENT_SRC_TARGETS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace larder::internal {

inline constexpr size_t kTargetsMax = 16;

// gRPC targets, in order, without the spaces around them. A target of the schemes `ipv4:` and
// `ipv6:` keeps its commas: there they mean addresses of one target.
absl::StatusOr<std::vector<std::string>> SplitTargets(absl::string_view list);

}  // namespace larder::internal

#endif  // LARDER_CLIENT_SRC_TARGETS_H_
