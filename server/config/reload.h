// What a running server can make of a configuration that was read again: it takes over what it can,
// keeps what needs a restart, and says which is which. Thread safety: a pure function.

#ifndef LARDER_CONFIG_RELOAD_H_
#define LARDER_CONFIG_RELOAD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "config/config.h"

namespace larder {

struct ConfigChange {
  std::string path;    // `types.user.ttl.base`, or `types.user` for one that came or went
  std::string before;  // as YAML in one line; empty: it was not there
  std::string after;   // empty: it is gone
  bool needs_restart;  // it is not in effect before that
};

// Whether a setting may hold a secret, written out. Passwords are in files, of which settings hold
// the names; metadata for an origin may be a token.
bool MayBeSecret(const std::string& path);
// What is shown in place of such a value.
inline constexpr char kNotShown[] = "(not shown)";

struct ConfigStep {
  // In the order of the schema; names in the order of the alphabet.
  std::vector<ConfigChange> changes;
  // Not in effect yet: `wanted` but for what needs a restart, which is as it was.
  Config next;
};

// What follows from the machine alone (`auto`) counts as no change. FailedPrecondition: what can be
// taken over does not go together with what is kept until a restart.
// Values of settings that may hold a secret are not shown in the changes.
absl::StatusOr<ConfigStep> StepToConfig(const Config& running, const Config& wanted);

}  // namespace larder

#endif  // LARDER_CONFIG_RELOAD_H_
