#include "client/cli/config_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace larder::cli {
namespace {

// Worked out on the machine, or the same everywhere unless somebody says otherwise.
bool IsGiven(const Setting& setting) {
  return !setting.source.empty() && !setting.source.starts_with("default") &&
         !setting.source.starts_with("auto");
}

// Secrets that a server leaves out cannot be compared.
bool IsHidden(const Setting& setting) { return setting.value == "(not shown)"; }

}  // namespace

std::vector<Setting> ParsePrintedConfig(const std::string& text) {
  std::vector<Setting> settings;
  std::vector<std::string> open;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos) continue;
    open.resize(std::min(open.size(), indent / 2));
    const std::string rest = line.substr(indent);
    if (rest.ends_with(':') && rest.find("  # ") == std::string::npos) {
      open.push_back(rest.substr(0, rest.size() - 1));
      continue;
    }
    // The value may hold either mark; the name holds no colon, and the source no such mark.
    const size_t colon = rest.find(": ");
    const size_t source = rest.rfind("  # ");
    if (colon == std::string::npos || source == std::string::npos || source < colon) continue;
    std::vector<std::string> path = open;
    path.push_back(rest.substr(0, colon));
    settings.push_back({absl::StrJoin(path, "."), rest.substr(colon + 2, source - colon - 2),
                        rest.substr(source + 4)});
  }
  return settings;
}

std::vector<ConfigChange> DifferencesOf(const std::vector<Setting>& before,
                                        const std::vector<Setting>& after) {
  std::map<std::string, const Setting*> earlier;
  for (const Setting& setting : before) earlier[setting.path] = &setting;
  std::vector<ConfigChange> changes;
  for (const Setting& setting : after) {
    const auto found = earlier.find(setting.path);
    if (found == earlier.end()) {
      changes.push_back({setting.path, "", setting.value, false});
      continue;
    }
    const Setting& then = *found->second;
    earlier.erase(found);
    if (then.value == setting.value || IsHidden(then) || IsHidden(setting)) continue;
    if (!IsGiven(then) && !IsGiven(setting)) continue;
    changes.push_back({setting.path, then.value, setting.value, false});
  }
  for (const Setting& setting : before) {
    if (earlier.count(setting.path) > 0)
      changes.push_back({setting.path, setting.value, "", false});
  }
  return changes;
}

std::string RolloutWarning(const std::vector<Setting>& settings) {
  const std::string prefix = "types.";
  std::map<std::string, std::vector<std::string>> unsaid;  // types by the part of the default's
  for (const char* part : {"reads", "writes"}) {
    const std::string end = absl::StrCat(".rollout.", part);
    const std::string of_default = absl::StrCat(prefix, "default", end);
    const auto found =
        std::find_if(settings.begin(), settings.end(),
                     [&of_default](const Setting& one) { return one.path == of_default; });
    if (found == settings.end() || found->value == "100%") continue;
    for (const Setting& one : settings) {
      if (one.path.starts_with(prefix) && one.path.ends_with(end) && !IsGiven(one) &&
          one.path != of_default) {
        unsaid[absl::StrCat(found->path, " is ", found->value)].push_back(
            one.path.substr(prefix.size(), one.path.size() - prefix.size() - end.size()));
      }
    }
  }
  std::vector<std::string> lines;
  for (const auto& [why, types] : unsaid) {
    lines.push_back(fmt::format("{}, but types without a rollout of their own are at 100%: {}", why,
                                absl::StrJoin(types, ", ")));
  }
  return absl::StrJoin(lines, "; ");
}

Json ChangesJson(const std::vector<ConfigChange>& changes, FoundBy by) {
  Json answer;
  answer.Array("changes", changes, [by](const ConfigChange& change, Json* object) {
    object->Field("path", change.path);
    object->Field("before", change.before);
    object->Field("after", change.after);
    if (by == FoundBy::kServer) object->Field("needs_restart", change.needs_restart);
  });
  return answer;
}

void PrintChanges(const std::vector<ConfigChange>& changes, FoundBy by, const std::string& nothing,
                  Output* out) {
  if (changes.empty()) {
    out->Line(nothing);
    return;
  }
  std::vector<Row> rows;
  size_t later = 0;
  for (const ConfigChange& change : changes) {
    later += change.needs_restart ? 1 : 0;
    rows.push_back({Shown(change.path), change.before.empty() ? "-" : Shown(change.before),
                    change.after.empty() ? "-" : Shown(change.after)});
    if (by == FoundBy::kServer)
      rows.back().push_back(change.needs_restart ? "after a restart" : "at once");
  }
  if (by == FoundBy::kHere) {
    out->Table({"SETTING", "RUNS WITH", "FILE SAYS"}, rows);
    out->Line(
        "what needs a restart is told by `larder config diff` without a file, once this one is the "
        "server's");
    return;
  }
  out->Table({"SETTING", "RUNS WITH", "FILE SAYS", "TAKES EFFECT"}, rows);
  if (later > 0) {
    out->Line(fmt::format("{} of {} take effect only after a restart", later, changes.size()));
  }
}

}  // namespace larder::cli
