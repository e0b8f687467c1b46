// A load goes in one direction: text to tree (yaml), overrides over the tree (overrides), tree to
// proto (reader), rules between values (checks), proto to policies (types). Each step adds its
// problems to one list and goes on with what it could make sense of, so that an operator gets all
// of them at once. Only a text that is not YAML ends it early: whatever would be said about the
// rest of it would be guesswork.

#include "config/config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "config/auto.h"
#include "config/checks.h"
#include "config/overrides.h"
#include "config/problem.h"
#include "config/reader.h"
#include "config/reload.h"
#include "config/types.h"
#include "config/yaml.h"
#include "larder/config/v1/config.pb.h"

extern char** environ;

namespace larder {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const auto fail = [&](int error) {
    const std::string message = absl::StrCat(path, " cannot be read: ", std::strerror(error));
    return error == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(errno);
  std::string text;
  char buffer[64 * 1024];
  ssize_t count = 0;
  int error = 0;
  // One byte past the limit is enough for the parser to refuse it.
  while (text.size() <= kYamlBytesMax) {
    count = read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer, count);
  }
  if (count < 0) error = errno;
  close(fd);
  if (error != 0) return fail(error);
  return text;
}

std::vector<std::pair<std::string, std::string>> EnvironmentOfProcess() {
  std::vector<std::pair<std::string, std::string>> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (text.starts_with("LARDER_") && equals != std::string::npos) {
      variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return variables;
}

}  // namespace

absl::StatusOr<Config> LoadConfig(const ConfigSource& source, const Machine& machine) {
  Problems problems;
  Node root =
      ParseYaml(source.text, {.kind = Source::Kind::kFile, .label = source.file_name}, &problems);
  if (root.kind == Node::Kind::kBroken) return problems.ToStatus();
  ApplyEnvironment(source.environment, &root, &problems);
  ApplyOverrides(source.overrides, &root, &problems);
  Reading reading = ReadTree(root, machine, &problems);
  CheckTogether(reading, machine, &problems);
  RETURN_IF_ERROR(problems.ToStatus());

  Config config;
  ASSIGN_OR_RETURN(config.types, MakeTypeTable(reading.proto, reading.type_names));
  config.proto = std::make_shared<const config::v1::Config>(std::move(reading.proto));
  config.settings = std::move(reading.settings);
  config.type_names = std::move(reading.type_names);
  const std::string memory_now = MemoryNow(*config.proto, machine);
  for (Setting& setting : config.settings) {
    if (setting.path == "memory.l1" && !memory_now.empty()) {
      absl::StrAppend(&setting.source, "; ", memory_now);
    }
  }
  return config;
}

absl::StatusOr<Config> LoadConfigFile(
    const std::string& path, const std::vector<std::pair<std::string, std::string>>& overrides) {
  ConfigSource source;
  if (!path.empty()) {
    source.file_name = path;
    ASSIGN_OR_RETURN(source.text, ReadFile(path));
  }
  source.environment = EnvironmentOfProcess();
  source.overrides = overrides;
  return LoadConfig(source, ThisMachine());
}

std::string PrintConfig(const Config& config) {
  std::string text;
  std::vector<std::string> open;  // the sections that the last line stands in
  for (const Setting& setting : config.settings) {
    const std::vector<std::string> path = absl::StrSplit(setting.path, '.');
    const size_t sections = path.size() - 1;
    size_t same = 0;
    while (same < std::min(sections, open.size()) && path[same] == open[same]) ++same;
    for (size_t i = same; i < sections; ++i)
      absl::StrAppend(&text, std::string(2 * i, ' '), path[i], ":\n");
    open.assign(path.begin(), path.end() - 1);
    absl::StrAppend(&text, std::string(2 * sections, ' '), path.back(), ": ",
                    MayBeSecret(setting.path) ? kNotShown : setting.value, "  # ", setting.source,
                    "\n");
  }
  return text;
}

}  // namespace larder
