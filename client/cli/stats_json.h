// What Stats and HotKeys answer, as JSON, by the names of the API. Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_STATS_JSON_H_
#define LARDER_CLIENT_CLI_STATS_JSON_H_

#include "client/cli/json.h"
#include "larder/stats.h"

namespace larder::cli {

void AddUsage(const UsageStats& usage, Json* object);
Json StatsJson(const StatsResult& stats);
Json HotKeysJson(const HotKeysResult& result);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_STATS_JSON_H_
