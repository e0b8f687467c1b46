#include "config/sql_problem.h"

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace larder {

std::string SqlPath(const SqlProblem& problem) {
  return absl::StrCat("types.", problem.type, ".sql.", ToAbsl(SqlUseName(problem.use)));
}

std::string SqlProblemLine(const Config& config, const SqlProblem& problem) {
  const std::string path = SqlPath(problem);
  std::string place = path;
  for (const Setting& setting : config.settings) {
    if (setting.path != path || setting.source == "default") continue;
    place = setting.source == "--set" ? absl::StrCat("--set ", path) : setting.source;
  }
  return absl::StrCat(place, ": ", path, ": ", problem.what);
}

}  // namespace larder
