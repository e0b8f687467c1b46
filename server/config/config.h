// The configuration of larderd: one YAML file, the environment and the command line, read strictly
// into the proto that config.proto defines, with every default filled in and the place where each
// value came from. Thread safety: a Config is a value; the functions can be called from any thread.
// Errors: InvalidArgument with one line for each problem, all of them at once, those of the file
// first by position: `larder.yaml:14:7: unknown field "ttll" in types.user; did you mean "ttl"?`. A
// file that cannot be read is NotFound or another code, with one line.

#ifndef LARDER_CONFIG_CONFIG_H_
#define LARDER_CONFIG_CONFIG_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "config/machine.h"
#include "policy/type_table.h"

namespace larder {
namespace config::v1 {
class Config;
}  // namespace config::v1

// One value in effect.
struct Setting {
  std::string path;    // `types.user.ttl.base`
  std::string value;   // as YAML in one line
  std::string source;  // `default`, `larder.yaml:14:7`, `--set`, `env LARDER_LOG_LEVEL`, `auto:
                       // cgroup limit 512MiB`
};

struct Config {
  // Complete: what nobody gave has its default, and every `auto` is resolved, except those of
  // memory (0), which are followed while the server runs.
  std::shared_ptr<const config::v1::Config> proto;
  std::shared_ptr<TypeTable> types;
  std::vector<Setting> settings;
  std::vector<std::string> type_names = {};  // as in the file
};

// Later ones win: file, environment, overrides.
struct ConfigSource {
  std::string file_name = "larder.yaml";  // for messages
  std::string text = {};                  // YAML; empty = all defaults
  // Variables by name; those that name no setting are ignored, see docs/config.md.
  std::vector<std::pair<std::string, std::string>> environment = {};
  // `--set path=value`, in order; the last for a path wins. A value for a list or a section is YAML
  // in one line.
  std::vector<std::pair<std::string, std::string>> overrides = {};
};

absl::StatusOr<Config> LoadConfig(const ConfigSource& source, const Machine& machine);

// Reads the file (none when `path` is empty) and the environment of this process, on this machine.
// Blocks on the disk.
absl::StatusOr<Config> LoadConfigFile(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& overrides);

// The values in effect as a YAML file, each with a comment that says where it came from. Loading it
// gives the same values again.
std::string PrintConfig(const Config& config);

// The environment variable that sets `path`: `listen.grpc` is LARDER_LISTEN_GRPC.
std::string EnvironmentNameOf(const std::string& path);

}  // namespace larder

#endif  // LARDER_CONFIG_CONFIG_H_
