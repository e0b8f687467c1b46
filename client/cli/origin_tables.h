// What `stats` prints for people about loading: per type, the filters, the origins.
// Thread safety: none needed. Prints nothing where there is nothing to say.

#ifndef LARDER_CLIENT_CLI_ORIGIN_TABLES_H_
#define LARDER_CLIENT_CLI_ORIGIN_TABLES_H_

#include "client/cli/output.h"
#include "larder/stats.h"

namespace larder::cli {

// Types that load or serve stale values, and filters.
void PrintLoads(const StatsResult& stats, Output* out);
// Origins, what is wrong with them, and what is under way.
void PrintOrigins(const StatsResult& stats, Output* out);
// Types that are loaded from their origins at the start.
void PrintOriginWarm(const StatsResult& stats, Output* out);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_ORIGIN_TABLES_H_
