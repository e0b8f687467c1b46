// What ServerInfo answers, as JSON, by the names of the API. Thread safety: pure functions.

#ifndef LARDER_CLIENT_CLI_INFO_JSON_H_
#define LARDER_CLIENT_CLI_INFO_JSON_H_

#include "client/cli/json.h"
#include "larder/stats.h"

namespace larder::cli {

void AddTypeInfo(const TypeInfo& type, Json* object);
Json InfoJson(const ServerInfoResult& info);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_INFO_JSON_H_
