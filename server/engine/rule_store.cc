// Why a few entries of many rules and not an entry for each. What is needed of them is all of them,
// at once, before anything else is read; and no tier has a cheap way to find a few entries among
// millions (SCAN of Redis walks through everything). Two hundred and fifty-six reads are one round
// trip to each node. The cost is that a rule is written together with some that are there already:
// at ten thousand rules in force forty of them, a few kilobytes.

#include "engine/rule_store.h"

#include <algorithm>
#include <iterator>
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
// What is said of lives holds for so much longer than what is stored now, and is said again when
// half of that is over.
constexpr absl::Duration kLifeAhead = absl::Hours(24);
// Life and end, each in 8 bytes, little-endian.
constexpr size_t kLifeBytes = 16;

std::string LifeKey() { return std::string(FullKey(kOwnNamespace, "rules:life").view()); }

std::string EncodeLife(int64_t life, int64_t until) {
  std::string bytes;
  for (const int64_t value : {life, until}) {
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  }
  return bytes;
}

int64_t NumberAt(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i)
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return static_cast<int64_t>(value);
}

bool IsWhole(const Rule& rule) {
  return rule.kind == Rule::Kind::kAll && !rule.stale && rule.node == Rule::kEveryNode;
}

bool IsWide(const Rule& rule) {
  return rule.kind == Rule::Kind::kAll || rule.kind == Rule::Kind::kType;
}

// Nothing older is anywhere.
Version OldestAt(absl::Time now, absl::Duration life) {
  return life == absl::InfiniteDuration() ? kNoVersion : VersionAt(now - life);
}

// Whether it covers nothing, or nothing that `wholes` does not.
bool IsOver(const Rule& rule, Version oldest,
            const absl::flat_hash_map<std::string, Version>& wholes) {
  if (rule.version < oldest) return true;
  if (IsWhole(rule)) return false;
  const auto whole = wholes.find(rule.name_space);
  return whole != wholes.end() && rule.version <= whole->second;
}

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

std::shared_ptr<const RuleStore::Wholes> RuleStore::wholes() const {
  MutexLock lock(&wholes_mu_);
  return wholes_;
}

// Only what the tier has: a rule that is left out before that would be missing when this process
// ends now.
void RuleStore::NoteWholes(const std::vector<Rule>& rules) {
  const Version oldest = OldestAt(options_.clock->Now(), life());
  MutexLock lock(&wholes_mu_);
  const auto is_new = [&wholes = *wholes_](const Rule& rule) {
    if (!IsWhole(rule)) return false;
    const auto known = wholes.find(rule.name_space);
    return known == wholes.end() || known->second < rule.version;
  };
  if (std::none_of(rules.begin(), rules.end(), is_new)) return;
  auto next = std::make_shared<Wholes>(*wholes_);
  absl::erase_if(*next, [oldest](const auto& at) { return at.second < oldest; });
  for (const Rule& rule : rules) {
    if (!IsWhole(rule)) continue;
    Version& upto = (*next)[rule.name_space];
    upto = std::max(upto, rule.version);
  }
  wholes_ = std::move(next);
}

void RuleStore::Forget(Bucket* bucket, const Wholes& wholes) {
  const Version oldest = OldestAt(options_.clock->Now(), life());
  const auto is_over = [&](const auto& at) { return IsOver(at.second, oldest, wholes); };
  rules_.fetch_sub(absl::erase_if(bucket->rules, is_over), std::memory_order_relaxed);
}

void RuleStore::Note(const std::vector<Rule>& rules) {
  const std::shared_ptr<const Wholes> known = wholes();
  for (const Rule& rule : rules) {
    Bucket& bucket = buckets_[BucketOf(rule)];
    MutexLock lock(&bucket.mu);
    if (bucket.rules.size() >= options_.bucket_rules_max) Forget(&bucket, *known);
    Merge(&bucket, rule);
  }
}

// Who is refused goes on with a wider rule, which has to have room then. It gives back more than it
// takes, unless somebody makes up namespaces: hence a limit for those, too.
absl::Status RuleStore::CheckRoom(const std::vector<Rule>& rules) {
  const std::shared_ptr<const Wholes> known = wholes();
  for (const Rule& rule : rules) {
    const size_t most = (IsWide(rule) ? 2 : 1) * options_.bucket_rules_max;
    Bucket& bucket = buckets_[BucketOf(rule)];
    MutexLock lock(&bucket.mu);
    if (bucket.rules.size() < most) continue;
    Forget(&bucket, *known);
    if (bucket.rules.size() < most) continue;
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
    const std::shared_ptr<const Wholes> known = wholes();
    MutexLock lock(&bucket.mu);
    Forget(&bucket, *known);
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
  fields.fresh_until = fields.usable_until = MonoAfter(options_.clock->Mono(), life());
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
    NoteWholes(rules);
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
  keys.push_back(LifeKey());
  const auto reads = co_await options_.tier->Get(std::move(keys), INT64_MAX);
  if (!reads.ok()) co_return reads.status();
  NoteLife(reads->back());
  // All of them first: a rule for a namespace may be read after others of it, which are not to come
  // back.
  std::vector<std::vector<Rule>> lists(numbers.size());
  std::vector<Rule> whole;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const TierRead& read = (*reads)[i];
    if (read.kind != TierRead::Kind::kEntry) continue;
    CO_ASSIGN_OR_RETURN(lists[i], DecodeRules(read.entry.stored()));
    std::copy_if(lists[i].begin(), lists[i].end(), std::back_inserter(whole), IsWhole);
  }
  NoteWholes(whole);
  const std::shared_ptr<const Wholes> known = wholes();
  const Version oldest = OldestAt(options_.clock->Now(), life());
  std::vector<Rule> found;
  for (size_t i = 0; i < numbers.size(); ++i) {
    const TierRead& read = (*reads)[i];
    std::vector<Rule>& rules = lists[i];
    options_.versions->Observe(read.entry.version);
    Bucket& bucket = buckets_[numbers[i]];
    MutexLock lock(&bucket.mu);
    bucket.stored = read.kind == TierRead::Kind::kAbsent ? kNoVersion : read.entry.version;
    absl::flat_hash_map<std::string, Version> there;
    for (Rule& rule : rules) {
      there[RuleIdentity(rule)] = rule.version;
      if (!IsOver(rule, oldest, *known) && Merge(&bucket, rule)) found.push_back(std::move(rule));
    }
    Forget(&bucket, *known);
    const bool missing = std::any_of(bucket.rules.begin(), bucket.rules.end(), [&](const auto& at) {
      const auto it = there.find(at.first);
      return it == there.end() || it->second < at.second.version;
    });
    if (missing) MarkChanged(&bucket);
  }
  if (!found.empty() && options_.on_found) options_.on_found(found);
  co_return absl::OkStatus();
}

absl::Duration RuleStore::life() const {
  const absl::Duration own = options_.life();
  const int64_t kept = kept_life_.load(std::memory_order_acquire);
  const int64_t until = kept_until_.load(std::memory_order_acquire);
  if (kept == INT64_MAX && until == INT64_MAX) return absl::InfiniteDuration();
  if (options_.clock->Now() >= absl::FromUnixNanos(until)) return own;
  return std::max(own, absl::Nanoseconds(kept));
}

// One that cannot be read is none.
void RuleStore::NoteLife(const TierRead& read) {
  int64_t kept = 0;
  int64_t until = 0;
  if (read.kind == TierRead::Kind::kEntry && read.entry.stored().size() == kLifeBytes) {
    kept = NumberAt(read.entry.stored(), 0);
    until = NumberAt(read.entry.stored(), kLifeBytes / 2);
  }
  options_.versions->Observe(read.entry.version);
  kept_version_.store(read.kind == TierRead::Kind::kAbsent ? kNoVersion : read.entry.version,
                      std::memory_order_relaxed);
  kept_life_.store(kept, std::memory_order_release);
  kept_until_.store(until, std::memory_order_release);
}

// False: not this time, or it need not be said. The next reading tries again.
Task<bool> RuleStore::KeepLife() {
  const absl::Time now = options_.clock->Now();
  const absl::Duration own = options_.life();
  const int64_t life = absl::ToInt64Nanoseconds(own);
  const int64_t kept = kept_life_.load(std::memory_order_acquire);
  const int64_t until = kept_until_.load(std::memory_order_acquire);
  if (kept > life && now < absl::FromUnixNanos(until)) co_return false;
  const bool forever = life == INT64_MAX;
  if (kept == life && (forever || absl::FromUnixNanos(until) > now + own + kLifeAhead / 2))
    co_return false;
  const int64_t end = forever ? INT64_MAX : absl::ToUnixNanos(now + own + kLifeAhead);
  EntryFields fields;
  const std::string bytes = EncodeLife(life, end);
  const std::string key = LifeKey();
  fields.full_key = key;
  fields.value = bytes;
  fields.version = options_.versions->Next();
  fields.fresh_until = fields.usable_until =
      forever ? INT64_MAX : MonoAfter(options_.clock->Mono(), own + kLifeAhead);
  std::vector<TierPut> puts(1);
  puts[0].full_key = key;
  puts[0].version = fields.version;
  puts[0].usable_until = fields.usable_until;
  puts[0].expect = {Expect::Kind::kUnchanged, kept_version_.load(std::memory_order_relaxed)};
  puts[0].envelope = EncodeEnvelope(fields, /*type=*/"", *options_.clock);
  const auto changes = co_await options_.tier->Put(std::move(puts), INT64_MAX);
  if (!changes.ok() || (*changes)[0].outcome != TierChange::Outcome::kDone) co_return false;
  kept_life_.store(life, std::memory_order_release);
  kept_until_.store(end, std::memory_order_release);
  co_return true;
}

Task<absl::Status> RuleStore::ReadAll() {
  std::vector<size_t> numbers(kBuckets);
  for (size_t i = 0; i < kBuckets; ++i) numbers[i] = i;
  CO_RETURN_IF_ERROR(co_await Read(std::move(numbers)));
  co_await KeepLife();
  co_return absl::OkStatus();
}

Task<absl::Status> RuleStore::Mend() {
  for (size_t number = 0; number < kBuckets && IsBehind(); ++number) {
    const absl::Status written = co_await Write(number);
    if (!written.ok()) co_return written;
  }
  co_return absl::OkStatus();
}

}  // namespace larder
