// Overrides put single values over the tree of the file: `--set path=value` and environment
// variables. Thread safety: one thread at a time.

#ifndef LARDER_CONFIG_OVERRIDES_H_
#define LARDER_CONFIG_OVERRIDES_H_

#include <string>
#include <utility>
#include <vector>

#include "config/problem.h"
#include "config/tree.h"

namespace larder {

// A variable and the path that it sets.
struct EnvironmentName {
  std::string variable;
  std::string path;
};

// Every setting that the environment can give, in the order of the schema: those that are neither
// in a map nor lists.
const std::vector<EnvironmentName>& EnvironmentNames();

// Puts the variables that name settings over `root`. Reports variables that begin like a section
// and name no setting, unless they have the form of those that Kubernetes makes for Services;
// ignores all others, and empty ones.
void ApplyEnvironment(const std::vector<std::pair<std::string, std::string>>& environment,
                      Node* root, Problems* problems);

// Puts the overrides over `root`, in order.
void ApplyOverrides(const std::vector<std::pair<std::string, std::string>>& overrides, Node* root,
                    Problems* problems);

}  // namespace larder

#endif  // LARDER_CONFIG_OVERRIDES_H_
