#include "engine/watch_index.h"

#include <algorithm>

#include "base/strings.h"
#include "core/key.h"

namespace larder {
namespace {

// What the tables take for one name, about.
constexpr size_t kNameBytes = 256;
// What a change takes besides its texts, about.
constexpr size_t kChangeBytes = 320;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool Overlap(std::string_view one, std::string_view other) {
  return StartsWith(one, other) || StartsWith(other, one);
}

}  // namespace

std::string_view Change::name_space() const {
  return rule.has_value() ? std::string_view(rule->name_space) : FullKey::NamespaceOf(full_key);
}

size_t Change::bytes() const {
  size_t bytes = kChangeBytes + full_key.size() + type.size();
  for (const std::string& tag : tags) bytes += sizeof(tag) + tag.size();
  if (rule.has_value()) bytes += sizeof(Rule) + rule->match.size() + rule->name_space.size();
  // The tables of a glob.
  if (glob.has_value()) bytes += 256 * sizeof(uint64_t) * 6;
  return bytes;
}

// ---- WatchPlace

WatchPlace::WatchPlace(WatchSelector selector, void* owner)
    : selector_(std::move(selector)), owner_(owner) {
  for (const std::string& name : selector_.names) names_.insert(name);
}

size_t WatchPlace::bytes() const {
  size_t bytes = kNameBytes + selector_.name_space.size();
  for (const std::string& name : selector_.names) bytes += kNameBytes + 2 * name.size();
  return bytes;
}

bool WatchPlace::Has(std::string_view name) const { return names_.contains(ToAbsl(name)); }

bool WatchPlace::Wants(const Change& change) const {
  if (change.kind == Change::Kind::kGap) return true;
  if (change.name_space() != selector_.name_space) return false;
  if (change.rule.has_value()) return MayConcern(*change.rule, change.glob);
  if (change.kind == Change::Kind::kExpired && !selector_.expirations) return false;
  switch (selector_.kind) {
    case WatchSelector::Kind::kKeys:
      return Has(FullKey::KeyOf(change.full_key));
    case WatchSelector::Kind::kPrefix:
      return StartsWith(FullKey::KeyOf(change.full_key), selector_.names[0]);
    case WatchSelector::Kind::kTags:
      return !change.tags_known || std::any_of(change.tags.begin(), change.tags.end(),
                                               [this](const auto& tag) { return Has(tag); });
    case WatchSelector::Kind::kType:
      return change.type.empty() || change.type == selector_.names[0];
    case WatchSelector::Kind::kAll:
      return true;
  }
  return true;
}

// Only where it is certain that what the rule covers is not watched, the answer is no: which tags a
// key's entry has, or which keys have a tag, nobody knows.
bool WatchPlace::MayConcern(const Rule& rule, const std::optional<Glob>& glob) const {
  const bool by_keys = selector_.kind == WatchSelector::Kind::kKeys;
  const bool by_prefix = selector_.kind == WatchSelector::Kind::kPrefix;
  const auto any_key = [this](auto matches) {
    return std::any_of(selector_.names.begin(), selector_.names.end(), matches);
  };
  switch (rule.kind) {
    case Rule::Kind::kPrefix:
      if (by_keys) return any_key([&](const auto& key) { return StartsWith(key, rule.match); });
      return !by_prefix || Overlap(selector_.names[0], rule.match);
    case Rule::Kind::kGlob:
      if (!glob.has_value()) return true;
      if (by_keys) return any_key([&](const auto& key) { return glob->Matches(key); });
      return !by_prefix || Overlap(selector_.names[0], glob->literal_prefix());
    case Rule::Kind::kType:
      return selector_.kind != WatchSelector::Kind::kType || selector_.names[0] == rule.match;
    case Rule::Kind::kTag:
    case Rule::Kind::kAll:
      return true;
  }
  return true;
}

// ---- WatchIndex

template <typename Do>
void WatchIndex::ForEachName(Space* space, const WatchPlace& place, Do act) {
  const WatchSelector& selector = place.selector();
  for (const std::string& name : selector.names) {
    switch (selector.kind) {
      case WatchSelector::Kind::kKeys:
        act(&space->keys, name);
        break;
      case WatchSelector::Kind::kPrefix:
        act(&space->prefixes[name.size()], name);
        if (space->prefixes[name.size()].empty()) space->prefixes.erase(name.size());
        break;
      case WatchSelector::Kind::kTags:
        act(&space->tags, name);
        break;
      case WatchSelector::Kind::kType:
        act(&space->types, name);
        break;
      case WatchSelector::Kind::kAll:
        break;
    }
  }
}

void WatchIndex::Add(WatchPlace* place) {
  std::unique_ptr<Space>& space = spaces_[place->selector().name_space];
  if (space == nullptr) space = std::make_unique<Space>();
  ForEachName(space.get(), *place,
              [place](ByName* names, const std::string& name) { (*names)[name].insert(place); });
  space->everyone.insert(place);
  const WatchSelector::Kind kind = place->selector().kind;
  if (kind == WatchSelector::Kind::kTags) space->by_tags.insert(place);
  if (kind == WatchSelector::Kind::kType) space->by_type.insert(place);
  if (kind == WatchSelector::Kind::kAll) space->all.insert(place);
  ++size_;
}

void WatchIndex::Remove(WatchPlace* place) {
  const auto at = spaces_.find(place->selector().name_space);
  Space* const space = at->second.get();
  ForEachName(space, *place, [place](ByName* names, const std::string& name) {
    const auto it = names->find(name);
    if (it == names->end()) return;  // named twice
    it->second.erase(place);
    if (it->second.empty()) names->erase(it);
  });
  for (Group* group : {&space->by_tags, &space->by_type, &space->all, &space->everyone})
    group->erase(place);
  if (space->everyone.empty()) spaces_.erase(at);
  --size_;
}

void WatchIndex::Take(const Group& group, const Change& change, std::vector<WatchPlace*>* found) {
  for (WatchPlace* const place : group) {
    if (place->found_in_ == search_) continue;
    if (change.kind == Change::Kind::kExpired && !place->selector().expirations) continue;
    place->found_in_ = search_;
    found->push_back(place);
  }
}

void WatchIndex::Take(const ByName& names, std::string_view name, const Change& change,
                      std::vector<WatchPlace*>* found) {
  if (names.empty()) return;
  const auto it = names.find(ToAbsl(name));
  if (it != names.end()) Take(it->second, change, found);
}

void WatchIndex::FindKey(Space* space, const Change& change, std::vector<WatchPlace*>* found) {
  const std::string_view key = FullKey::KeyOf(change.full_key);
  Take(space->all, change, found);
  Take(space->keys, key, change, found);
  for (const auto& [length, prefixes] : space->prefixes) {
    if (length > key.size()) break;
    Take(prefixes, key.substr(0, length), change, found);
  }
  if (change.type.empty()) {
    Take(space->by_type, change, found);
  } else {
    Take(space->types, change.type, change, found);
  }
  if (!change.tags_known) return Take(space->by_tags, change, found);
  for (const std::string& tag : change.tags) Take(space->tags, tag, change, found);
}

void WatchIndex::Find(const Change& change, std::vector<WatchPlace*>* found) {
  ++search_;
  if (change.kind == Change::Kind::kGap) return All(found);
  const auto it = spaces_.find(ToAbsl(change.name_space()));
  if (it == spaces_.end()) return;
  if (!change.rule.has_value()) return FindKey(it->second.get(), change, found);
  for (WatchPlace* const place : it->second->everyone) {
    if (place->MayConcern(*change.rule, change.glob)) found->push_back(place);
  }
}

void WatchIndex::All(std::vector<WatchPlace*>* found) const {
  for (const auto& [name, space] : spaces_)
    found->insert(found->end(), space->everyone.begin(), space->everyone.end());
}

}  // namespace larder
