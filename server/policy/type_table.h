// TypeTable holds the data types of the configuration in effect and finds the one that a key has.
// Replace takes over those of another one, while others read: a call sees the old ones or the new
// ones, and what it was given stays valid as long as the table. Thread safety: any method, any
// thread. Only Replace ever waits, for another one. Memory: what every Replace so far brought.

#ifndef LARDER_POLICY_TYPE_TABLE_H_
#define LARDER_POLICY_TYPE_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "policy/compress_policy.h"
#include "policy/freshness.h"
#include "policy/name_template.h"
#include "policy/pattern.h"
#include "policy/rollout.h"
#include "policy/ttl.h"
#include "policy/write_policy.h"

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
  WritePolicy write = {};
  // What else is invalidated when one of its keys is changed, and tags that its entries carry
  // beside their own.
  std::vector<NameTemplate> on_change = {};
  std::vector<NameTemplate> tags = {};
  RolloutPolicy rollout = {};
  // A reload took it out of the configuration. It is known by its id, for the entries that it has
  // left, and no key gets it any more.
  bool retired = false;

  bool HasDerived() const { return !on_change.empty(); }
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
  // How many types Replace may add to those of the beginning.
  static constexpr size_t kTypesToCome = 64;

  // True for a-z, then up to 63 of a-z, 0-9, '_' and '-'.
  static bool IsName(std::string_view name);

  // `types` in the order of the config; ids are given here. Adds `default` if it is not among them.
  // InvalidArgument: too many types, a bad name, a name twice, or two patterns that match the same
  // keys.
  static absl::StatusOr<std::shared_ptr<TypeTable>> Make(std::vector<TypePolicy> types);

  // Takes over the types of `next`. A type keeps the id that its name has; a new one gets the next
  // id; one that `next` does not have is retired. FailedPrecondition, and nothing changes: there
  // would be more ids than capacity(). `before` is given all types by id before others see them.
  absl::Status Replace(const TypeTable& next,
                       const std::function<void(const std::vector<TypePolicy>&)>& before = nullptr);

  // `requested` empty: the pattern with the longest literal prefix that matches, then the one with
  // more literal bytes, then the first in the config; else `default`. InvalidArgument for a
  // requested type that is not there, with a "did you mean" when one is near.
  absl::StatusOr<TypeMatch> Resolve(std::string_view key, std::string_view requested) const;

  // Null when there is none; also those that are retired.
  const TypePolicy* Find(std::string_view name) const;
  // REQUIRES: the id was given by this table.
  const TypePolicy& Get(uint16_t id) const { return Now().types[id]; }
  // How many ids there are, and how many there can ever be.
  size_t size() const { return Now().types.size(); }
  size_t capacity() const { return capacity_; }
  // By id.
  const std::vector<TypePolicy>& types() const { return Now().types; }

 private:
  struct Candidate {
    const Pattern* pattern;
    const TypePolicy* type;
    size_t place;  // in the config
  };
  // Never changes once it is indexed: its parts point into each other.
  struct Snapshot {
    std::vector<TypePolicy> types;  // by id
    std::vector<uint16_t> order;    // the ids of those that are not retired, as in the config
    absl::flat_hash_map<std::string_view, const TypePolicy*> by_name;
    // By literal prefix. Most specific first, so that the first match wins.
    absl::flat_hash_map<std::string_view, std::vector<Candidate>> by_prefix;
    // The lengths of those prefixes, longest first.
    std::vector<size_t> prefix_lengths;

    absl::Status Index();
  };

  TypeTable() = default;
  const Snapshot& Now() const { return *now_.load(std::memory_order_acquire); }
  void Publish(std::unique_ptr<const Snapshot> next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  size_t capacity_ = 0;
  std::atomic<const Snapshot*> now_{nullptr};
  Mutex mu_;
  std::vector<std::unique_ptr<const Snapshot>> all_ ABSL_GUARDED_BY(mu_);
};

}  // namespace larder

#endif  // LARDER_POLICY_TYPE_TABLE_H_
