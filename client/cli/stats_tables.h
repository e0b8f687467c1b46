// What `stats` and `hotkeys` print for people. Thread safety: none needed.

#ifndef LARDER_CLIENT_CLI_STATS_TABLES_H_
#define LARDER_CLIENT_CLI_STATS_TABLES_H_

#include "client/cli/output.h"
#include "larder/stats.h"

namespace larder::cli {

void PrintStats(const StatsResult& stats, Output* out);
void PrintHotKeys(const HotKeysResult& result, Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_STATS_TABLES_H_
