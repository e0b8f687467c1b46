#include "engine/namespaces.h"

#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"

namespace larder {

NamespaceTable::NamespaceTable(size_t namespaces_max) : namespaces_max_(namespaces_max) {
  MutexLock lock(&mu_);
  ids_.emplace(std::string(kDefaultNamespace), 0);
  names_.emplace_back(kDefaultNamespace);
}

absl::StatusOr<uint16_t> NamespaceTable::Intern(std::string_view name) {
  if (name.empty() || name == kDefaultNamespace) return 0;
  MutexLock lock(&mu_);
  const auto it = ids_.find(ToAbsl(name));
  if (it != ids_.end()) return it->second;
  if (names_.size() >= namespaces_max_) {
    return Error(Reason::kNAMESPACE_LIMIT,
                 StrCat("namespace \"", name, "\" would be one too many; at most ", namespaces_max_,
                        " (limits.namespaces)"));
  }
  const auto id = static_cast<uint16_t>(names_.size());
  names_.emplace_back(name);
  ids_.emplace(std::string(name), id);
  return id;
}

std::optional<uint16_t> NamespaceTable::Find(std::string_view name) const {
  if (name.empty() || name == kDefaultNamespace) return 0;
  MutexLock lock(&mu_);
  const auto it = ids_.find(ToAbsl(name));
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> NamespaceTable::Names() const {
  MutexLock lock(&mu_);
  return names_;
}

}  // namespace larder
