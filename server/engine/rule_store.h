// RuleStore keeps rules in the tier below, so that they outlive every entry they cover: a replica
// that starts, or that missed messages, reads them all before it reads anything else from there.
//
// They lie in a fixed number of entries of larder's own namespace, by the hash of what they match;
// each is changed by comparing and storing, so that replicas that share the tier lose none of each
// other's. Many rules at once cost few writes. Rules older than `life` are left out of what is
// written: nothing that they cover can be there any more. So are those of a namespace that are
// older than a rule for all of it, once the tier has that one. How long anything may live there is
// kept, too: a process that starts with shorter lives must not forget rules before what an earlier
// one has given a longer life.
//
// Thread safety: any method, any thread; nothing blocks. Errors are the tier's.

#ifndef LARDER_ENGINE_RULE_STORE_H_
#define LARDER_ENGINE_RULE_STORE_H_

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "base/wave.h"
#include "core/version.h"
#include "policy/rule_table.h"
#include "tier/tier.h"

namespace larder {

class RuleStore {
 public:
  static constexpr size_t kBuckets = 256;

  struct Options {
    Tier* tier = nullptr;  // outlives the calls
    VersionClock* versions = nullptr;
    Clock* clock = Clock::System();
    Executor* executor = nullptr;
    // Longer than anything in the tier lives; infinite: rules are kept for ever.
    std::function<absl::Duration()> life;
    // In one bucket. CheckRoom refuses more; of rules for types and whole namespaces, which take
    // the place of others, twice as many.
    size_t bucket_rules_max = 4096;
    // Hears of rules that the tier had and this replica did not; does not block.
    std::function<void(const std::vector<Rule>&)> on_found = nullptr;
  };

  explicit RuleStore(const Options& options);

  // OK, or RULES_FULL: there is no room for them.
  absl::Status CheckRoom(const std::vector<Rule>& rules);
  // Keeps the rules. OK: the tier has them. Else it does not have them yet; Mend goes on.
  Task<absl::Status> Add(std::vector<Rule> rules);
  // Takes note of rules that other replicas keep there themselves.
  void Note(const std::vector<Rule>& rules);
  // Reads what the tier has and tells on_found of it. What is known here and missing there is kept
  // again: a Redis may come back with less than it had.
  Task<absl::Status> ReadAll();
  // Writes what the tier did not take. OK: nothing is missing.
  Task<absl::Status> Mend();

  // As in Options, or what an earlier configuration has said, as long as that is longer. Infinite
  // before the tier was read.
  absl::Duration life() const;

  // Rules that the tier does not have yet, in buckets.
  bool IsBehind() const { return behind_.load(std::memory_order_acquire) > 0; }
  size_t rules() const { return rules_.load(std::memory_order_relaxed); }
  uint64_t writes() const { return writes_.load(std::memory_order_relaxed); }

 private:
  struct Bucket {
    Mutex mu;
    // By what they match.
    absl::flat_hash_map<std::string, Rule> rules ABSL_GUARDED_BY(mu);
    // What lies in the tier, as far as is known.
    Version stored ABSL_GUARDED_BY(mu) = kNoVersion;
    // Changes of `rules`, and how many of them the tier has.
    uint64_t changed ABSL_GUARDED_BY(mu) = 0;
    uint64_t written ABSL_GUARDED_BY(mu) = 0;
    // Somebody writes now; the others wait for the end of that.
    std::shared_ptr<std::vector<std::shared_ptr<Wave>>> writing ABSL_GUARDED_BY(mu);
  };

  // By namespace, up to which version everything is gone by a rule that the tier has.
  using Wholes = absl::flat_hash_map<std::string, Version>;

  std::shared_ptr<const Wholes> wholes() const;
  // Takes note of rules that the tier has.
  void NoteWholes(const std::vector<Rule>& rules);
  static size_t BucketOf(const Rule& rule);
  static std::string KeyOf(size_t bucket);
  // Puts it among the bucket's if it is newer than what is there. True: it was.
  bool Merge(Bucket* bucket, const Rule& rule) ABSL_EXCLUSIVE_LOCKS_REQUIRED(bucket->mu);
  // Drops what covers nothing, or nothing that `wholes` does not.
  void Forget(Bucket* bucket, const Wholes& wholes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(bucket->mu);
  void MarkChanged(Bucket* bucket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(bucket->mu);
  // Until the tier has what the bucket had when the call began.
  Task<absl::Status> Write(size_t number);
  // Not written, and no error: another replica was first, and what it wrote is known now.
  Task<absl::Status> WriteOnce(size_t number);
  Task<absl::Status> Read(std::vector<size_t> numbers);
  // What the tier says of lives; and tells it of those given here, where that is due.
  void NoteLife(const TierRead& read);
  Task<bool> KeepLife();

  const Options options_;
  std::array<Bucket, kBuckets> buckets_;
  // What the tier says of lives, in nanoseconds, and until when (since 1970) it is so.
  std::atomic<int64_t> kept_life_{INT64_MAX};
  std::atomic<int64_t> kept_until_{INT64_MAX};
  std::atomic<Version> kept_version_{kNoVersion};
  mutable Mutex wholes_mu_;
  std::shared_ptr<const Wholes> wholes_ ABSL_GUARDED_BY(wholes_mu_) = std::make_shared<Wholes>();
  std::atomic<int> behind_{0};
  std::atomic<size_t> rules_{0};
  std::atomic<uint64_t> writes_{0};
};

}  // namespace larder

#endif  // LARDER_ENGINE_RULE_STORE_H_
