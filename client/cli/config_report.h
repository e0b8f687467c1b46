// Differences between configurations, and how `config` shows them. Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_CONFIG_REPORT_H_
#define LARDER_CLIENT_CLI_CONFIG_REPORT_H_

#include <string>
#include <vector>

#include "client/cli/admin_port.h"
#include "client/cli/output.h"
#include "larder/stats.h"

namespace larder::cli {

// What `larderd --print-config` prints: sections by indentation, `name: value  # source`.
std::vector<Setting> ParsePrintedConfig(const std::string& text);

// By path, in the order of `after`, what is gone last. Values that depend on the machine where they
// were worked out (`auto`, and defaults) differ between machines and are no difference of the
// files: they are compared only where one side has them from a file, the environment or --set.
// needs_restart is not known, and false.
std::vector<ConfigChange> DifferencesOf(const std::vector<Setting>& before,
                                        const std::vector<Setting>& after);

// What is to be said of types without a rollout of their own where that of `default` is below 100%:
// they do not inherit it, and use the cache for all of their keys. Empty when there are none.
std::string RolloutWarning(const std::vector<Setting>& settings);

// Who found the changes. The server knows which of them need a restart; needs_restart of changes
// that were found here means nothing, and is not shown.
enum class FoundBy { kServer, kHere };

Json ChangesJson(const std::vector<ConfigChange>& changes, FoundBy by);
// `nothing` is said where there are none.
void PrintChanges(const std::vector<ConfigChange>& changes, FoundBy by, const std::string& nothing,
                  Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_CONFIG_REPORT_H_
