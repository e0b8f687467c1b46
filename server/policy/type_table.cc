// Every call without an explicit type resolves its key here, so the patterns are found by their
// literal prefix: for each length that a prefix has, longest first, one hash lookup of that much of
// the key. Configurations have a few lengths (`user:`, `session:`), however many types they have.
// The order of the lookups is also the order of precedence.

#include "policy/type_table.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/error.h"
#include "core/suggest.h"

namespace larder {
namespace {

constexpr std::string_view kDefaultType = "default";

}  // namespace

bool TypeTable::IsName(std::string_view name) {
  if (name.empty() || name.size() > kNameBytesMax ||
      !absl::ascii_islower(static_cast<unsigned char>(name[0]))) {
    return false;
  }
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '-';
  });
}

absl::StatusOr<std::shared_ptr<const TypeTable>> TypeTable::Make(std::vector<TypePolicy> types) {
  const auto is_default = [](const TypePolicy& type) { return type.name == kDefaultType; };
  const auto found = std::find_if(types.begin(), types.end(), is_default);
  const ptrdiff_t default_at = found - types.begin();
  if (found != types.end()) {
    std::rotate(types.begin(), found, found + 1);
  } else {
    TypePolicy fallback;
    fallback.name = kDefaultType;
    types.insert(types.begin(), std::move(fallback));
  }
  if (types.size() > kTypesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there are ", types.size(), " types, `default` included; at most ", kTypesMax));
  }

  std::shared_ptr<TypeTable> table(new TypeTable);
  table->types_ = std::move(types);
  for (size_t id = 0; id < table->types_.size(); ++id) {
    TypePolicy& type = table->types_[id];
    type.id = static_cast<uint16_t>(id);
    if (!IsName(type.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", absl::CHexEscape(type.name), "\" is no name for a type"));
    }
    if (!table->by_name_.emplace(type.name, &type).second) {
      return absl::InvalidArgumentError(absl::StrCat("type ", type.name, " occurs twice"));
    }
  }
  RETURN_IF_ERROR(table->IndexPatterns(default_at));
  return table;
}

absl::Status TypeTable::IndexPatterns(ptrdiff_t default_at) {
  std::vector<const TypePolicy*> as_configured;
  for (const TypePolicy& type : types_) {
    if (type.id != 0) as_configured.push_back(&type);
  }
  as_configured.insert(as_configured.begin() + default_at, &types_[0]);

  absl::flat_hash_map<std::string, const TypePolicy*> shapes;
  for (const TypePolicy* const type : as_configured) {
    for (const Pattern& pattern : type->match) {
      const auto [other, added] = shapes.emplace(pattern.Shape(), type);
      if (!added) {
        return absl::InvalidArgumentError(
            absl::StrCat("pattern \"", pattern.text(), "\" of type ", type->name,
                         " matches the same keys as one of type ", other->second->name));
      }
      by_prefix_[pattern.literal_prefix()].push_back({&pattern, type, shapes.size()});
    }
  }
  for (auto& [prefix, candidates] : by_prefix_) {
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      const size_t a_bytes = a.pattern->literal_bytes(), b_bytes = b.pattern->literal_bytes();
      return a_bytes != b_bytes ? a_bytes > b_bytes : a.place < b.place;
    });
    prefix_lengths_.push_back(prefix.size());
  }
  std::sort(prefix_lengths_.begin(), prefix_lengths_.end(), std::greater<size_t>());
  prefix_lengths_.erase(std::unique(prefix_lengths_.begin(), prefix_lengths_.end()),
                        prefix_lengths_.end());
  return absl::OkStatus();
}

absl::StatusOr<TypeMatch> TypeTable::Resolve(std::string_view key,
                                             std::string_view requested) const {
  if (!requested.empty()) {
    if (const TypePolicy* const type = Find(requested))
      return TypeMatch{type, TypeMatchKind::kRequest, nullptr};
    const std::string shown = absl::CHexEscape(std::string(requested.substr(0, kNameBytesMax)));
    std::string message = absl::StrCat(
        "type \"", shown, requested.size() > kNameBytesMax ? "..." : "", "\" is not configured");
    std::vector<std::string_view> names;
    names.reserve(types_.size());
    for (const TypePolicy& type : types_) names.push_back(type.name);
    if (const auto near = Suggest(requested, names))
      absl::StrAppend(&message, "; did you mean \"", *near, "\"?");
    return FieldError(Reason::kTYPE_UNKNOWN, "type", message);
  }
  for (const size_t length : prefix_lengths_) {
    if (length > key.size()) continue;
    const auto found = by_prefix_.find(key.substr(0, length));
    if (found == by_prefix_.end()) continue;
    for (const Candidate& candidate : found->second) {
      if (candidate.pattern->Matches(key)) {
        return TypeMatch{candidate.type, TypeMatchKind::kPattern, candidate.pattern};
      }
    }
  }
  return TypeMatch{&types_[0], TypeMatchKind::kDefault, nullptr};
}

const TypePolicy* TypeTable::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace larder
