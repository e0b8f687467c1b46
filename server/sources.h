// Builds the origins that the configuration asks for, each behind its guard.

#ifndef LARDER_SOURCES_H_
#define LARDER_SOURCES_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/executor.h"
#include "config/config.h"
#include "engine/engine.h"
#include "origin/origin.h"

namespace larder {

struct Sources {
  std::vector<std::unique_ptr<Origin>> origins;
  // For the engine; they point to the origins.
  std::vector<OriginLink> links;
};

// Blocks: asks databases whether they can work with the statements of the configuration.
// InvalidArgument names those that they cannot, by their lines. A database that does not answer is
// asked again later, and its types fail until then. `executor` outlives the origins.
absl::StatusOr<Sources> NewSources(const Config& config, Executor* executor);

}  // namespace larder

#endif  // LARDER_SOURCES_H_
