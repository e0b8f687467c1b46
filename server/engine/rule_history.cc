#include "engine/rule_history.h"

#include <algorithm>

#include "core/glob.h"

namespace larder {
namespace {

bool IsAbout(const Rule& rule, const RuleSubject& subject) {
  if (rule.name_space != subject.name_space) return false;
  switch (rule.kind) {
    case Rule::Kind::kTag:
      return std::find(subject.tags.begin(), subject.tags.end(), rule.match) != subject.tags.end();
    case Rule::Kind::kPrefix:
      return subject.key.starts_with(rule.match);
    case Rule::Kind::kGlob: {
      const absl::StatusOr<Glob> glob = Glob::Parse(rule.match);
      return glob.ok() && glob->Matches(subject.key);
    }
    case Rule::Kind::kType:
      return subject.type == rule.match;
    case Rule::Kind::kAll:
      return true;
  }
  return false;
}

bool SaysTheSame(const Rule& a, const Rule& b) {
  return a.kind == b.kind && a.stale == b.stale && a.match == b.match &&
         a.name_space == b.name_space && a.node == b.node;
}

}  // namespace

void RuleHistory::Add(const Rule& rule) {
  MutexLock lock(&mu_);
  // Who repeats an invalidation does so soon, and one that another replica extends follows at once:
  // a look at the last few keeps a loop of one service from driving out what all others did.
  constexpr size_t kLook = 16;
  const size_t look = std::min(kLook, rules_.size());
  for (size_t i = 0; i < look; ++i) {
    auto known = rules_.end() - static_cast<ptrdiff_t>(i + 1);
    if (!SaysTheSame(*known, rule)) continue;
    if (known->version >= rule.version) return;
    rules_.erase(known);
    break;
  }
  rules_.push_back(rule);
  if (rules_.size() > kRulesMax) rules_.pop_front();
}

std::vector<Rule> RuleHistory::About(const RuleSubject& subject, size_t most) const {
  std::vector<Rule> about;
  {
    MutexLock lock(&mu_);
    for (const Rule& rule : rules_) {
      if (IsAbout(rule, subject)) about.push_back(rule);
    }
  }
  std::stable_sort(about.begin(), about.end(),
                   [](const Rule& a, const Rule& b) { return a.version > b.version; });
  if (about.size() > most) about.resize(most);
  return about;
}

std::string_view RuleKindName(Rule::Kind kind) {
  switch (kind) {
    case Rule::Kind::kTag:
      return "tag";
    case Rule::Kind::kPrefix:
      return "prefix";
    case Rule::Kind::kGlob:
      return "glob";
    case Rule::Kind::kType:
      return "type";
    case Rule::Kind::kAll:
      return "all";
  }
  return "";
}

}  // namespace larder
