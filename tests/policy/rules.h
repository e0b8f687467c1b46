// Rules and subjects for the tests of rules.

#ifndef LARDER_TESTS_POLICY_RULES_H_
#define LARDER_TESTS_POLICY_RULES_H_

#include <string>
#include <utility>
#include <vector>

#include "policy/rule_table.h"

namespace larder {

inline RuleTable::Options Seeded() {
  RuleTable::Options options;
  options.hash_seed = 42;
  return options;
}

inline Rule Of(Rule::Kind kind, std::string match, Version version,
               std::string name_space = "shop") {
  Rule rule;
  rule.kind = kind;
  rule.match = std::move(match);
  rule.version = version;
  rule.name_space = std::move(name_space);
  return rule;
}
inline Rule Stale(Rule rule) {
  rule.stale = true;
  return rule;
}
inline Rule OfNode(Rule rule, uint32_t node) {
  rule.node = node;
  return rule;
}

// An entry, with what it owns of what a subject only refers to.
struct Asked {
  std::string name_space = "shop";
  std::string key = "user:42";
  std::string type = "user";
  std::vector<std::string> tags = {};
  std::vector<std::string> depends_on = {};
  Version version = 100;

  RuleSubject subject() const { return {name_space, key, type, tags, depends_on, version}; }
};

// A version that this node made in this millisecond.
inline Version Made(uint64_t ms, uint64_t counter, uint32_t node) {
  return ms << 22 | counter << kNodeIdBits | node;
}

}  // namespace larder

#endif  // LARDER_TESTS_POLICY_RULES_H_
