// TypeTable holds the data types of one configuration and finds the one that a key has.
// Immutable once made; a reload makes a new one. Thread safety: any method, any thread. Never
// blocks.

#ifndef LARDER_POLICY_TYPE_TABLE_H_
#define LARDER_POLICY_TYPE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "policy/compress_policy.h"
#include "policy/freshness.h"
#include "policy/pattern.h"
#include "policy/ttl.h"

namespace larder {

// Whether a filter knows which keys the origin has, so that it need not be asked for others.
struct FilterPolicy {
  bool bloom = false;
  // The part of absent keys that the filter lets through; 0.0001 to 0.5.
  double error = 0.01;
  // Keys that it has room for; what the origin has beyond that, it is not used for.
  uint64_t keys_max = 10'000'000;
  // How often it is built again from the origin.
  absl::Duration rebuild = absl::Hours(1);
};

// What is loaded from the origin's Scan before anybody asks.
struct WarmPolicy {
  bool on_start = false;
  // Most entries; entries a second, 0: not limited.
  uint64_t limit = 10'000;
  uint32_t rate = 0;
  // Readiness waits for this part of it, but no longer than that.
  double ready_share = 0;
  absl::Duration ready_timeout = absl::Seconds(30);
};

// The policies of one data type.
struct TypePolicy {
  // Position in the table, 0 to TypeTable::kTypesMax - 1. `default` is always 0.
  uint16_t id = 0;
  std::string name;
  std::vector<Pattern> match;
  TtlPolicy ttl;
  CompressPolicy compress;
  // The part of the memory budget that other types cannot take from this one, and the part that it
  // cannot exceed. The least shares of all types together are at most 1.
  double share_min = 0;
  double share_max = 1;
  // Whether entries may go to the second tier where one is configured.
  bool second_tier = true;
  // The longest that memory keeps an entry that the second tier has too.
  absl::Duration l1_ttl_max = absl::InfiniteDuration();  // zero: not at all
  // Writes that the second tier does not confirm fail, and with it the conditions and counters that
  // it decides. Otherwise they go on in this replica's memory alone.
  bool require_l2 = false;
  // Name of the origin that loads come from; empty: callers load, by leases.
  std::string origin = {};
  FreshnessPolicy freshness = {};
  FilterPolicy filter = {};
  WarmPolicy warm = {};
};

// How a key got its type.
enum class TypeMatchKind : uint8_t { kRequest, kPattern, kDefault };

struct TypeMatch {
  const TypePolicy* type;
  TypeMatchKind kind;
  const Pattern* pattern;  // set for kPattern, owned by the table
};

class TypeTable {
 public:
  static constexpr size_t kTypesMax = 1000;
  static constexpr size_t kNameBytesMax = 64;

  // True for a-z, then up to 63 of a-z, 0-9, '_' and '-'.
  static bool IsName(std::string_view name);

  // `types` in the order of the config; ids are given here. Adds `default` if it is not among them.
  // InvalidArgument: too many types, a bad name, a name twice, or two patterns that match the same
  // keys.
  static absl::StatusOr<std::shared_ptr<const TypeTable>> Make(std::vector<TypePolicy> types);

  // `requested` empty: the pattern with the longest literal prefix that matches, then the one with
  // more literal bytes, then the first in the config; else `default`. InvalidArgument for a
  // requested type that is not there, with a "did you mean" when one is near.
  absl::StatusOr<TypeMatch> Resolve(std::string_view key, std::string_view requested) const;

  // Null when there is none.
  const TypePolicy* Find(std::string_view name) const;
  const TypePolicy& Get(uint16_t id) const { return types_[id]; }
  size_t size() const { return types_.size(); }
  const std::vector<TypePolicy>& types() const { return types_; }

 private:
  struct Candidate {
    const Pattern* pattern;
    const TypePolicy* type;
    size_t place;  // in the config
  };

  TypeTable() = default;
  // `default_at`: where `default` stood in the config.
  absl::Status IndexPatterns(ptrdiff_t default_at);

  // Never changes after Make: what follows points into it.
  std::vector<TypePolicy> types_;
  absl::flat_hash_map<std::string_view, const TypePolicy*> by_name_;
  // By literal prefix. Most specific first, so that the first match wins.
  absl::flat_hash_map<std::string_view, std::vector<Candidate>> by_prefix_;
  // The lengths of those prefixes, longest first.
  std::vector<size_t> prefix_lengths_;
};

}  // namespace larder

#endif  // LARDER_POLICY_TYPE_TABLE_H_
