// The bytes of rules, as replicas send them to each other and as the tier below keeps them.
// Thread safety: pure functions.

#ifndef LARDER_ENGINE_RULE_CODEC_H_
#define LARDER_ENGINE_RULE_CODEC_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "policy/rule_table.h"

namespace larder {

// What two rules that replace each other have in common: all but versions.
std::string RuleIdentity(const Rule& rule);

std::string EncodeRules(const std::vector<Rule>& rules);
// DataLoss: they are none, or of a newer format.
absl::StatusOr<std::vector<Rule>> DecodeRules(std::string_view bytes);

}  // namespace larder

#endif  // LARDER_ENGINE_RULE_CODEC_H_
