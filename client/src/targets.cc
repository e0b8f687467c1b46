#include "client/src/targets.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/src/status.h"

namespace larder::internal {

absl::StatusOr<std::vector<std::string>> SplitTargets(absl::string_view list) {
  list = absl::StripAsciiWhitespace(list);
  if (list.empty())
    return FieldError("REQUEST_INVALID", "target", "target is empty; it must name a server");
  if (absl::StartsWith(list, "ipv4:") || absl::StartsWith(list, "ipv6:"))
    return {{std::string(list)}};
  std::vector<std::string> targets;
  for (absl::string_view target : absl::StrSplit(list, ',')) {
    target = absl::StripAsciiWhitespace(target);
    if (target.empty())
      return FieldError("REQUEST_INVALID", "target", "target has an empty element");
    targets.emplace_back(target);
  }
  if (targets.size() > kTargetsMax) {
    return FieldError(
        "REQUEST_INVALID", "target",
        absl::StrCat("target names ", targets.size(), " servers; at most ", kTargetsMax));
  }
  return targets;
}

}  // namespace larder::internal
