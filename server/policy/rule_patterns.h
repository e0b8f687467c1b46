// RulePatterns knows which lengths of prefixes and which globs there are rules for in a namespace:
// what a RuleTable needs beside its slots to find the rules for a key.
// Thread safety: Of from any thread inside an Epoch::Reader, without a lock; everything else from
// one thread at a time.

#ifndef LARDER_POLICY_RULE_PATTERNS_H_
#define LARDER_POLICY_RULE_PATTERNS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/glob.h"
#include "core/version.h"
#include "policy/rule_slots.h"

namespace larder {

class RulePatterns {
 public:
  struct PrefixLength {
    explicit PrefixLength(size_t bytes) : bytes(bytes) {}
    const size_t bytes;
    std::atomic<Version> newest{kNoVersion};  // of its rules
  };
  struct GlobRule {
    GlobRule(Glob glob, RuleSlots::Id id) : glob(std::move(glob)), id(id) {}
    const Glob glob;
    const RuleSlots::Id id;
    std::atomic<Version> newest{kNoVersion};
  };
  // Of one namespace. Never changes, but for the versions.
  struct Patterns {
    std::vector<std::shared_ptr<PrefixLength>> lengths;
    std::vector<std::shared_ptr<GlobRule>> globs;
  };

  struct Limits {
    // In a namespace.
    size_t globs_max;
    size_t prefix_lengths_max;
    // In all.
    size_t all_globs_max;
    size_t namespaces_max;
  };
  explicit RulePatterns(const Limits& limits);
  ~RulePatterns();

  // Null when the namespace has none.
  const Patterns* Of(std::string_view name_space) const;

  // Sees to it that rules of this kind and match are looked for, up to `version`. `id` is that of
  // the glob's slot. Errors: as RuleTable::Add.
  absl::Status AddPrefix(std::string_view name_space, size_t bytes, Version version);
  absl::Status AddGlob(std::string_view name_space, std::string_view text, RuleSlots::Id id,
                       Version version);
  // Forgets prefix lengths, and globs if so asked, whose rules are all at most `version`.
  void DropUpTo(Version version, bool globs_too);
  // The same of one namespace, globs too: another rule says that everything there is gone.
  void DropOf(std::string_view name_space, Version version);

  size_t globs() const;
  // Frees what no reader can see any more, if there is enough of it.
  void Reclaim();
  uint64_t bytes() const;

 private:
  using Directory = absl::flat_hash_map<std::string, std::shared_ptr<const Patterns>>;
  struct Retired {
    std::unique_ptr<const Directory> directory;
    uint64_t stamp;
  };

  const Directory& directory() const { return *directory_.load(std::memory_order_relaxed); }
  Patterns CopyOf(std::string_view name_space) const;
  // OK, or RULES_FULL: there is no room for one more namespace.
  absl::Status CheckNamespace(std::string_view name_space) const;
  void SwitchTo(std::string_view name_space, Patterns patterns);
  void SwitchTo(std::unique_ptr<const Directory> directory);

  const Limits limits_;
  std::atomic<const Directory*> directory_;
  std::vector<Retired> retired_;
};

}  // namespace larder

#endif  // LARDER_POLICY_RULE_PATTERNS_H_
