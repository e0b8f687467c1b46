// RuleTable holds the invalidations in force: "everything that matches M and is not newer than V is
// gone" (or is stale). There is one check for all kinds of them, made for every entry that is read
// or stored, wherever it comes from. Versions decide, never wall clocks, so it does not matter when
// or from where an entry comes: a load that began before the rule, a late message, a tier below.
//
// Thread safety: any method, any thread. Judge takes no lock: an entry that is newer than every
// rule that could concern it costs one load. Add and Changed take a short lock at most. Memory is
// bounded: tags and types and namespaces and prefixes are kept by a 64-bit keyed hash, the changes
// of keys that others depend on in a table of fixed size; where either would outgrow its bound it
// remembers less and covers more, never less. So a rule may, rarely, cover what it does not match.

#ifndef LARDER_POLICY_RULE_TABLE_H_
#define LARDER_POLICY_RULE_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "core/version.h"
#include "policy/tag_sketch.h"

namespace larder {

// One versioned invalidation.
struct Rule {
  enum class Kind : uint8_t {
    kTag = 1,     // match: the tag
    kPrefix = 2,  // match: how keys begin
    kGlob = 3,    // match: see core/glob.h
    kType = 4,    // match: the type's name
    kAll = 5,     // match: empty; the whole namespace
  };
  static constexpr uint32_t kEveryNode = kNodeIdMax + 1;

  Kind kind = Kind::kAll;
  // What it covers is stale from now on, where its type allows stale values; else it is gone.
  bool stale = false;
  std::string name_space;
  std::string match;
  // What it covers has this version at most.
  Version version = kNoVersion;
  // Only what this node made, or a load of any node (see VersionClock::OfLoad); kEveryNode:
  // whatever has that version.
  uint32_t node = kEveryNode;
};

// What is asked about. Views: they outlive the call.
struct RuleSubject {
  std::string_view name_space;
  std::string_view key;
  std::string_view type;  // the type's name
  absl::Span<const std::string> tags = {};
  absl::Span<const std::string> depends_on = {};  // keys of the same namespace
  Version version = kNoVersion;
};

class RuleTable {
 public:
  struct Options {
    // Rules for tags, types, namespaces and prefixes that are remembered one by one. Beyond it the
    // older half of those for tags becomes one rule that covers everything that has tags, up to the
    // newest of that half; or, where the others are more, the older half of the others becomes one
    // that covers everything.
    size_t rules_max = 1'000'000;
    // Globs, and different lengths of prefixes, in a namespace.
    size_t globs_max = 100;
    size_t prefix_lengths_max = 64;
    // Globs in all namespaces together, of some ten kilobytes each, and namespaces that have any or
    // prefixes: names cost nobody anything.
    size_t all_globs_max = 2'000;
    size_t pattern_namespaces_max = 10'000;
    // Keys whose changes are told apart, for those that depend on them; a power of two.
    size_t changes = 1 << 17;
    // Places of the sketch of tags; a power of two.
    size_t tag_places = 1 << 14;
    // The key of the hashes; 0 draws one. Only tests set it.
    uint64_t hash_seed = 0;
  };

  struct Verdict {
    bool gone = false;
    // Not gone: fresh no longer than until then; INT64_MAX: no rule says so.
    MonoNanos fresh_until = INT64_MAX;
    bool concerned() const { return gone || fresh_until != INT64_MAX; }
  };

  explicit RuleTable(const Options& options);
  ~RuleTable();

  // Takes effect before it returns. Adding a rule again, or an older one of the same match, changes
  // nothing. `now`: from when what is covered by a stale rule is stale. Errors: RULES_FULL for a
  // glob or a prefix beyond its limit, SELECTOR_INVALID for a glob that cannot be read; then
  // nothing has changed.
  absl::Status Add(const Rule& rule, MonoNanos now);
  // Whether all that the rule covers is covered. REQUIRES: it is of every node.
  bool Covers(const Rule& rule) const;
  // A key was changed: whatever depends on it and is not newer is gone.
  void Changed(std::string_view name_space, std::string_view key, Version version);
  // Changes up to `version` may not have been heard of: whatever depends on anything and is not
  // newer is gone.
  void ForgetChanges(Version version);
  // Whatever is not newer is gone, in every namespace: for a rule that cannot be read.
  void CoverUpTo(Version version);
  // Drops what says nothing about versions above `version`: nothing older is anywhere any more.
  void DropUpTo(Version version);

  // No rule concerns a newer entry without tags and dependencies; nor any entry newer than
  // newest_listed(). One load each.
  Version newest() const { return newest_.load(std::memory_order_acquire); }
  Version newest_listed() const { return newest_listed_.load(std::memory_order_acquire); }

  // REQUIRES: not inside an Epoch::Reader.
  Verdict Judge(const RuleSubject& subject) const;

  // What an entry keeps of its tags for MayConcernTags: one print each, of this table alone.
  void PrintTags(std::string_view name_space, absl::Span<const std::string> tags,
                 TagPrint* prints) const;
  // False: Judge would say nothing because of an entry's tags. Some loads, and may be asked
  // anywhere.
  bool MayConcernTags(TagPrints prints, Version version) const {
    return tag_sketch_.MayConcern(prints, version);
  }

  struct Stats {
    size_t rules = 0;  // remembered one by one, globs included
    size_t globs = 0;
    uint64_t added = 0;
    uint64_t merged = 0;  // rules that became part of one for all, ever
    uint64_t bytes = 0;
  };
  Stats GetStats() const;

 private:
  class Core;
  // Here and not in the core, because every read of an entry looks at one of them. Apart, because
  // every change of a key moves the second.
  alignas(64) std::atomic<Version> newest_{kNoVersion};
  alignas(64) std::atomic<Version> newest_listed_{kNoVersion};
  alignas(64) TagSketch tag_sketch_;
  const std::unique_ptr<Core> core_;
};

}  // namespace larder

#endif  // LARDER_POLICY_RULE_TABLE_H_
