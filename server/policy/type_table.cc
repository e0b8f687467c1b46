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

absl::StatusOr<std::shared_ptr<TypeTable>> TypeTable::Make(std::vector<TypePolicy> types) {
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
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->types = std::move(types);
  for (size_t id = 1; id < snapshot->types.size(); ++id)
    snapshot->order.push_back(static_cast<uint16_t>(id));
  snapshot->order.insert(snapshot->order.begin() + default_at, 0);
  RETURN_IF_ERROR(snapshot->Index());

  std::shared_ptr<TypeTable> table(new TypeTable);
  table->capacity_ = std::min(snapshot->types.size() + kTypesToCome, kTypesMax);
  MutexLock lock(&table->mu_);
  table->Publish(std::move(snapshot));
  return table;
}

absl::Status TypeTable::Replace(const TypeTable& next,
                                const std::function<void(const std::vector<TypePolicy>&)>& before) {
  const Snapshot& wanted = next.Now();
  MutexLock lock(&mu_);
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->types = Now().types;
  for (TypePolicy& type : snapshot->types) {
    type.retired = true;
    type.match.clear();
    type.filter.bloom = false;
    type.warm.on_start = false;
  }
  for (const uint16_t wanted_id : wanted.order) {
    const TypePolicy& type = wanted.types[wanted_id];
    const TypePolicy* const known = Find(type.name);
    if (known != nullptr) {
      snapshot->types[known->id] = type;
      snapshot->order.push_back(known->id);
    } else if (snapshot->types.size() < capacity_) {
      snapshot->order.push_back(static_cast<uint16_t>(snapshot->types.size()));
      snapshot->types.push_back(type);
    } else {
      return absl::FailedPreconditionError(
          absl::StrCat("there have been ", capacity_,
                       " types since the start, and there is room for no more without a restart"));
    }
  }
  RETURN_IF_ERROR(snapshot->Index());
  if (before != nullptr) before(snapshot->types);
  Publish(std::move(snapshot));
  return absl::OkStatus();
}

void TypeTable::Publish(std::unique_ptr<const Snapshot> next) {
  all_.push_back(std::move(next));
  now_.store(all_.back().get(), std::memory_order_release);
}

absl::Status TypeTable::Snapshot::Index() {
  for (size_t id = 0; id < types.size(); ++id) {
    TypePolicy& type = types[id];
    type.id = static_cast<uint16_t>(id);
    if (!IsName(type.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", absl::CHexEscape(type.name), "\" is no name for a type"));
    }
    if (!by_name.emplace(type.name, &type).second) {
      return absl::InvalidArgumentError(absl::StrCat("type ", type.name, " occurs twice"));
    }
  }
  absl::flat_hash_map<std::string, const TypePolicy*> shapes;
  for (const uint16_t id : order) {
    const TypePolicy* const type = &types[id];
    for (const Pattern& pattern : type->match) {
      const auto [other, added] = shapes.emplace(pattern.Shape(), type);
      if (!added) {
        return absl::InvalidArgumentError(
            absl::StrCat("pattern \"", pattern.text(), "\" of type ", type->name,
                         " matches the same keys as one of type ", other->second->name));
      }
      by_prefix[pattern.literal_prefix()].push_back({&pattern, type, shapes.size()});
    }
  }
  for (auto& [prefix, candidates] : by_prefix) {
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      const size_t a_bytes = a.pattern->literal_bytes(), b_bytes = b.pattern->literal_bytes();
      return a_bytes != b_bytes ? a_bytes > b_bytes : a.place < b.place;
    });
    prefix_lengths.push_back(prefix.size());
  }
  std::sort(prefix_lengths.begin(), prefix_lengths.end(), std::greater<size_t>());
  prefix_lengths.erase(std::unique(prefix_lengths.begin(), prefix_lengths.end()),
                       prefix_lengths.end());
  return absl::OkStatus();
}

absl::StatusOr<TypeMatch> TypeTable::Resolve(std::string_view key,
                                             std::string_view requested) const {
  const Snapshot& now = Now();
  if (!requested.empty()) {
    const auto found = now.by_name.find(requested);
    if (found != now.by_name.end() && !found->second->retired)
      return TypeMatch{found->second, TypeMatchKind::kRequest, nullptr};
    const std::string shown = absl::CHexEscape(std::string(requested.substr(0, kNameBytesMax)));
    std::string message = absl::StrCat(
        "type \"", shown, requested.size() > kNameBytesMax ? "..." : "", "\" is not configured");
    std::vector<std::string_view> names;
    for (const uint16_t id : now.order) names.push_back(now.types[id].name);
    if (const auto near = Suggest(requested, names))
      absl::StrAppend(&message, "; did you mean \"", *near, "\"?");
    return FieldError(Reason::kTYPE_UNKNOWN, "type", message);
  }
  for (const size_t length : now.prefix_lengths) {
    if (length > key.size()) continue;
    const auto found = now.by_prefix.find(key.substr(0, length));
    if (found == now.by_prefix.end()) continue;
    for (const Candidate& candidate : found->second) {
      if (candidate.pattern->Matches(key)) {
        return TypeMatch{candidate.type, TypeMatchKind::kPattern, candidate.pattern};
      }
    }
  }
  return TypeMatch{&now.types[0], TypeMatchKind::kDefault, nullptr};
}

const TypePolicy* TypeTable::Find(std::string_view name) const {
  const Snapshot& now = Now();
  const auto found = now.by_name.find(name);
  return found == now.by_name.end() ? nullptr : found->second;
}

}  // namespace larder
