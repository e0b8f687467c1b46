// The admin port of a server: where it is, whether it is that server's, and the settings that it
// shows. Thread safety: any thread. Blocks for as long as the deadline at most.

#ifndef LARDER_CLIENT_CLI_ADMIN_PORT_H_
#define LARDER_CLIENT_CLI_ADMIN_PORT_H_

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/http.h"
#include "larder/stats.h"

namespace larder::cli {

// One setting in effect, as `larderd --print-config` and /config.json tell it.
struct Setting {
  std::string path;    // such as `types.user.ttl.base`
  std::string value;   // as in the file
  std::string source;  // where it comes from
};

struct AdminConfig {
  std::string version;
  std::string node;
  absl::Time started = absl::InfinitePast();
  std::vector<Setting> settings;
};

// The flag --admin, which may also come from the environment.
void AddAdmin(CLI::App* command, std::string* admin);

// Port 8080 of the host of the first of these servers.
std::string DefaultAdmin(const std::string& servers);

// Of the text of /config.json; INTERNAL when it is none.
absl::StatusOr<AdminConfig> ParseAdminConfig(const std::string& json);
// Of the server.
absl::StatusOr<AdminConfig> ReadAdminConfig(const std::string& address, const HttpCall& call);

// OK when the admin port is that of the replica that told `info`: two replicas may share a machine,
// and figures of another one would mislead. FAILED_PRECONDITION says that it is another's.
absl::Status CheckAdminOf(const std::string& address, const ServerInfoResult& info,
                          const HttpCall& call);

}  // namespace larder::cli

#endif  // LARDER_CLIENT_CLI_ADMIN_PORT_H_
