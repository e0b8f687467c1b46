#include "config/checker.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "config/units.h"

namespace larder {

void Checker::NotAbove(const std::string& low_path, absl::Duration low,
                       const std::string& high_path, absl::Duration high) {
  if (low <= high) return;
  Add({low_path, high_path}, absl::StrCat(low_path, " is ", WriteDuration(low), ", more than ",
                                          high_path, ", which is ", WriteDuration(high)));
}

void Checker::NoEffect(const std::string& path, const std::string& why) {
  for (auto at = reading_.chosen.lower_bound(path);
       at != reading_.chosen.end() && at->starts_with(path); ++at) {
    if (!path.ends_with('.') && *at != path) continue;
    Add({*at}, absl::StrCat(*at, " has no effect, because ", why));
  }
}

void Checker::Add(std::initializer_list<std::string> paths, std::string message) {
  Source at;
  for (const std::string& path : paths) {
    if (Broken(path)) return;
    const auto found = reading_.written.find(path);
    if (at.kind == Source::Kind::kDefault && found != reading_.written.end()) at = found->second;
  }
  problems_->Add(at, std::move(message));
}

bool Checker::Broken(const std::string& path) const {
  const auto at = reading_.broken.lower_bound(path);
  return at != reading_.broken.end() && at->starts_with(path);
}

bool Checker::Chosen(const std::string& path) const {
  return reading_.chosen.contains(path) && !Broken(path);
}

}  // namespace larder
