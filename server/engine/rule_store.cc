// Why a few entries of many rules and not an entry for each. What is needed of them is all of them,
// at once, before anything else is read; and no tier has a cheap way to find a few entries among
// millions (SCAN of Redis walks through everything). Two hundred and fifty-six reads are one round
// trip to each node. The cost is that a rule is written together with some that are there already:
// at ten thousand rules in force forty of them, a few kilobytes.

#include "engine/rule_store.h"

#include <algorithm>
#include <utility>

#include "base/crc32c.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/error.h"
#include "core/key.h"
#include "engine/rule_codec.h"
#include "tier/envelope.h"

namespace larder {
namespace {

// Each further attempt means that another replica changed the bucket in between.
constexpr int kAttemptsMax = 100;

}  // namespace

RuleStore::RuleStore(const Options& options) : options_(options) {}

size_t RuleStore::BucketOf(const Rule& rule) { return Crc32c(0, RuleIdentity(rule)) % kBuckets; }

std::string RuleStore::KeyOf(size_t bucket) {
  return std::string(FullKey(kOwnNamespace, StrCat("rules:", bucket)).view());
}

void RuleStore::MarkChanged(Bucket* bucket) {
  if (bucket->changed++ == bucket->written) behind_.fetch_add(1, std::memory_order_acq_rel);
}

bool RuleStore::Merge(Bucket* bucket, const Rule& rule) {
  auto [it, is_new] = bucket->rules.try_emplace(RuleIdentity(rule), rule);
  if (is_new) {
    rules_.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  if (it->second.version >= rule.version) return false;
  it->second.version = rule.version;
  return true;
}

void RuleStore::Forget(Bucket* bucket) {
  const absl::Duration life = options_.life();
  if (life == absl::InfiniteDuration()) return;
  const Version oldest = VersionAt(options_.clock->Now() - life);
  rules_.fetch_sub(absl::erase_if(bucket->rules,
                                  [oldest](const auto& at) { return at.second.version < oldest; }),
                   std::memory_order_relaxed);
}

void RuleStore::Note(const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    Bucket& bucket = buckets_[BucketOf(rule)];
    MutexLock lock(&bucket.mu);
    if (bucket.rules.size() >= options_.bucket_rules_max) Forget(&bucket);
    Merge(&bucket, rule);
  }
}

absl::Status RuleStore::CheckRoom(const std::vector<Rule>& rules) {
  for (const Rule& rule : rules) {
    Bucket& bucket = buckets_[BucketOf(rule)];
    MutexLock lock(&bucket.mu);
    if (bucket.rules.size() < options_.bucket_rules_max) continue;
    Forget(&bucket);
    if (bucket.rules.size() < options_.bucket_rules_max) continue;
    if (bucket.rules.contains(RuleIdentity(rule))) continue;
    return RetryableError(Reason::kRULES_FULL, absl::Minutes(1),
                          StrCat("about ", options_.bucket_rules_max * kBuckets,
                                 " invalidations are in force; at most so many: invalidate by "
                                 "type or namespace"));
  }
  return absl::OkStatus();
}

Task<absl::Status> RuleStore::Add(std::vector<Rule> rules) {
  std::vector<size_t> numbers;
  for (const Rule& rule : rules) {
    numbers.push_back(BucketOf(rule));
    Bucket& bucket = buckets_[numbers.back()];
    MutexLock lock(&bucket.mu);
    if (Merge(&bucket, rule)) MarkChanged(&bucket);
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  absl::Status kept;
  for (const size_t number : numbers) {
    const absl::Status written = co_await Write(number);
    if (!written.ok()) kept = written;
  }
  co_return kept;
}

Task<absl::Status> RuleStore::Write(size_t number) {
  Bucket& bucket = buckets_[number];
  uint64_t wanted = 0;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    std::shared_ptr<Wave> others;
    {
      MutexLock lock(&bucket.mu);
      if (wanted == 0) wanted = bucket.changed;
      if (bucket.written >= wanted) co_return absl::OkStatus();
      if (bucket.writing != nullptr) {
        others = std::make_shared<Wave>(options_.executor, 1);
        bucket.writing->push_back(others);
      } else {
        bucket.writing = std::make_shared<std::vector<std::shared_ptr<Wave>>>();
      }
    }
    if (others != nullptr) {
      co_await others->done;
      continue;
    }
    const absl::Status written = co_await WriteOnce(number);
    std::shared_ptr<std::vector<std::shared_ptr<Wave>>> waiting;
    {
      MutexLock lock(&bucket.mu);
      waiting = std::exchange(bucket.writing, nullptr);
    }
    for (const std::shared_ptr<Wave>& wave : *waiting) wave->End();
    if (!written.ok()) co_return written;
  }
  co_return absl::UnavailableError("other replicas write rules all the time");
}

Task<absl::Status> RuleStore::WriteOnce(size_t number) {
  Bucket& bucket = buckets_[number];
  std::vector<Rule> rules;
  uint64_t changed = 0;
  EntryFields fields;
  TierPut put;
  {
    MutexLock lock(&bucket.mu);
    Forget(&bucket);
    rules.reserve(bucket.rules.size());
    for (const auto& [identity, rule] : bucket.rules) rules.push_back(rule);
    changed = bucket.changed;
    options_.versions->Observe(bucket.stored);
    put.expect = {Expect::Kind::kUnchanged, bucket.stored};
  }
  const std::string bytes = EncodeRules(rules);
  const std::string key = KeyOf(number);
  fields.full_key = key;
  fields.value = bytes;
  fields.version = options_.versions->Next();
  fields.fresh_until = fields.usable_until = MonoAfter(options_.clock->Mono(), options_.life());
  put.full_key = key;
  put.version = fields.version;
  put.usable_until = fields.usable_until;
  put.envelope = EncodeEnvelope(fields, /*type=*/"", *options_.clock);
  std::vector<TierPut> puts;
  puts.push_back(std::move(put));
  writes_.fetch_add(1, std::memory_order_relaxed);
  const auto changes = co_await options_.tier->Put(std::move(puts), INT64_MAX);
  if (!changes.ok()) co_return changes.status();
  const TierChange& change = (*changes)[0];
  if (change.outcome == TierChange::Outcome::kDone) {
    MutexLock lock(&bucket.mu);
    bucket.stored = fields.version;
    if (bucket.written < changed) {
      bucket.written = changed;
      if (bucket.written == bucket.changed) behind_.fetch_sub(1, std::memory_order_acq_rel);
    }
    co_return absl::OkStatus();
  }
  if (change.outcome == TierChange::Outcome::kSkipped)
    co_return absl::ResourceExhaustedError("the tier has no room for rules");
  std::vector<size_t> numbers(1, number);
  co_return co_await Read(std::move(numbers));
}

Task<absl::Status> RuleStore::Read(std::vector<size_t> numbers) {
  std::vector<std::string> keys;
  keys.reserve(numbers.size());
  for (const size_t number : numbers) keys.push_back(KeyOf(number));
  const auto reads = co_await options_.tier->Get(std::move(keys), INT64_MAX);
  if (!reads.ok()) co_return reads.status();
  std::vector<Rule> found;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const TierRead& read = (*reads)[i];
    std::vector<Rule> rules;
    if (read.kind == TierRead::Kind::kEntry) {
      CO_ASSIGN_OR_RETURN(rules, DecodeRules(read.entry.stored()));
    }
    options_.versions->Observe(read.entry.version);
    Bucket& bucket = buckets_[numbers[i]];
    MutexLock lock(&bucket.mu);
    bucket.stored = read.kind == TierRead::Kind::kAbsent ? kNoVersion : read.entry.version;
    absl::flat_hash_map<std::string, Version> there;
    for (Rule& rule : rules) {
      there[RuleIdentity(rule)] = rule.version;
      if (Merge(&bucket, rule)) found.push_back(std::move(rule));
    }
    Forget(&bucket);
    const bool missing = std::any_of(bucket.rules.begin(), bucket.rules.end(), [&](const auto& at) {
      const auto it = there.find(at.first);
      return it == there.end() || it->second < at.second.version;
    });
    if (missing) MarkChanged(&bucket);
  }
  if (!found.empty() && options_.on_found) options_.on_found(found);
  co_return absl::OkStatus();
}

Task<absl::Status> RuleStore::ReadAll() {
  std::vector<size_t> numbers(kBuckets);
  for (size_t i = 0; i < kBuckets; ++i) numbers[i] = i;
  co_return co_await Read(std::move(numbers));
}

Task<absl::Status> RuleStore::Mend() {
  for (size_t number = 0; number < kBuckets && IsBehind(); ++number) {
    const absl::Status written = co_await Write(number);
    if (!written.ok()) co_return written;
  }
  co_return absl::OkStatus();
}

}  // namespace larder
