// RuleHistory remembers the last invalidations that took effect on this replica, in words, for who
// asks what became of a key (Explain). The table of rules cannot tell: it keeps hashes, and decides
// by them alone. What is remembered here decides nothing. Thread safety: any method, any thread; a
// short lock. Memory: kRulesMax rules, each of at most some 1,400 bytes.

#ifndef LARDER_ENGINE_RULE_HISTORY_H_
#define LARDER_ENGINE_RULE_HISTORY_H_

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "policy/rule_table.h"

namespace larder {

class RuleHistory {
 public:
  static constexpr size_t kRulesMax = 1'000;

  // It has taken effect here. One that says the same of a newer version takes its place.
  void Add(const Rule& rule);

  // Those that are about the subject, whatever its version: the newest first, at most so many. Of
  // changes of keys that it depends on nothing is known.
  std::vector<Rule> About(const RuleSubject& subject, size_t most) const;

 private:
  mutable Mutex mu_;
  std::deque<Rule> rules_ ABSL_GUARDED_BY(mu_);  // the last to come is the last
};

// `tag`, `prefix`, `glob`, `type` or `all`.
std::string_view RuleKindName(Rule::Kind kind);

}  // namespace larder

#endif  // LARDER_ENGINE_RULE_HISTORY_H_
