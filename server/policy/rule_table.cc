// What an entry is asked, in the order of what it costs:
//
//   1. Is it newer than every rule that could concern it? One load, and nearly always the end. Of
//      an entry in memory with tags, the sketch (tag_sketch.h) is asked instead about those.
//   2. The changes of the keys that it depends on: an array of versions by hash. Keys that share a
//      place share their changes, so that the array never grows.
//   3. For each kind of which there is a newer rule: its slot by hash; for tags, all of their slots
//      are fetched before the first is looked at. For prefixes a slot for each length that is in
//      use in the namespace, for globs the list of them.
//   4. What was merged: one version for everything with tags, one for everything.
//
// Merging. Rules leave the slots after what takes their place is there, and readers look at the
// slots first. So there is no moment at which neither covers.
//
// Order. The newest versions rise after all else of a rule is in place: who sees them finds it.

#include "policy/rule_table.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/epoch.h"
#include "base/keyed_hash.h"
#include "base/keyed_hash_aes.h"
#include "base/mutex.h"
#include "base/random.h"
#include "core/key.h"
#include "policy/rule_patterns.h"
#include "policy/rule_slots.h"

namespace larder {
namespace {

constexpr size_t kKinds = 6;

bool IsTag(Rule::Kind kind) { return kind == Rule::Kind::kTag; }
bool IsOther(Rule::Kind kind) { return !IsTag(kind) && kind != Rule::Kind::kGlob; }
bool IsAny(Rule::Kind) { return true; }

void RaiseTo(std::atomic<Version>* version, Version to) {
  Version there = version->load(std::memory_order_relaxed);
  while (there < to && !version->compare_exchange_weak(there, to, std::memory_order_release,
                                                       std::memory_order_relaxed)) {
  }
}

std::string_view Named(std::string_view name_space) {
  return name_space.empty() ? kDefaultNamespace : name_space;
}

// The hashes of all items, worked on side by side where nothing is called for one of them.
#if defined(__x86_64__)
LARDER_WITH_AES void HashAllByAes(const KeyedHash& hash, absl::Span<const std::string> items,
                                  uint64_t* hashes) {
  for (const std::string& item : items) *hashes++ = KeyedHash::AesInline(hash, item);
}
#endif
void HashAll(const KeyedHash& hash, absl::Span<const std::string> items, uint64_t* hashes) {
#if defined(__x86_64__)
  static const bool has_aes = KeyedHash::HasAes();
  if (has_aes) return HashAllByAes(hash, items, hashes);
#endif
  for (const std::string& item : items) *hashes++ = hash(item);
}

}  // namespace

class RuleTable::Core {
 public:
  Core(const Options& options, std::atomic<Version>* newest, std::atomic<Version>* newest_listed,
       TagSketch* tag_sketch);
  ~Core() {
    delete all_.stale.load();
    delete tagged_.stale.load();
  }

  absl::Status Add(const Rule& rule, MonoNanos now) ABSL_LOCKS_EXCLUDED(mu_);
  bool Covers(const Rule& rule) const ABSL_LOCKS_EXCLUDED(mu_);
  void Changed(std::string_view name_space, std::string_view key, Version version);
  void ForgetChanges(Version version);
  void CoverUpTo(Version version);
  void DropUpTo(Version version) ABSL_LOCKS_EXCLUDED(mu_);
  Verdict Judge(const RuleSubject& subject) const;
  void PrintTags(std::string_view name_space, absl::Span<const std::string> tags,
                 TagPrint* prints) const;
  Stats GetStats() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // What all hashes of one subject have in common.
  struct Scope {
    std::string_view name_space;
    uint64_t hash;
  };

  Scope ScopeOf(std::string_view name_space) const {
    const std::string_view name = Named(name_space);
    return {name, SameBytes(name, kDefaultNamespace) ? default_hash_ : hash_(name)};
  }
  // Both hashes are keyed, so that nobody can make two pairs with one sum.
  RuleSlots::Id IdOf(const Scope& scope, Rule::Kind kind, std::string_view match) const {
    return IdOfHash(scope, kind, hash_(match));
  }
  static RuleSlots::Id IdOfHash(const Scope& scope, Rule::Kind kind, uint64_t match) {
    const uint64_t sum = scope.hash * (2 * static_cast<uint64_t>(kind) + 1) +
                         std::rotl(match, 31 + static_cast<int>(kind));
    return RuleSlots::IdOf(kind, sum * 0x9e3779b97f4a7c15);
  }
  static TagPrint PrintOf(RuleSlots::Id id) { return static_cast<TagPrint>(id >> 32); }
  std::atomic<Version>& ChangeOf(const Scope& scope, std::string_view key) const {
    return changes_[(scope.hash * 3 + std::rotl(hash_(key), 29)) & changes_mask_];
  }
  Version NewestOf(Rule::Kind kind) const {
    return newest_of_[static_cast<size_t>(kind)].load(std::memory_order_acquire);
  }

  bool DependencyChanged(const Scope& scope, const RuleSubject& subject) const;
  void JudgeTags(const Scope& scope, const RuleSubject& subject, Verdict* verdict) const;
  void JudgeWhole(const Scope& scope, const RuleSubject& subject, Verdict* verdict) const;
  void JudgePatterns(const Scope& scope, const RuleSubject& subject,
                     const RulePatterns::Patterns& patterns, RuleSlots::View slots,
                     Verdict* verdict) const;
  absl::Status AddPattern(const Scope& scope, const Rule& rule, RuleSlots::Id id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Merge() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const size_t rules_max_;
  const uint64_t changes_mask_;
  const KeyedHash hash_;
  const uint64_t default_hash_;  // of the default namespace
  // Of rules that concern entries without lists; of anything; by tags. They are the RuleTable's.
  std::atomic<Version>* const newest_;
  std::atomic<Version>* const newest_listed_;
  TagSketch* const tag_sketch_;
  std::array<std::atomic<Version>, kKinds> newest_of_ = {};  // by kind

  mutable Mutex mu_;
  // Written with mu_ held, read without.
  RuleSlots slots_;
  RulePatterns patterns_;
  RuleCover all_;     // what was merged of all but tags
  RuleCover tagged_;  // what was merged of tags
  uint64_t added_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t merged_ ABSL_GUARDED_BY(mu_) = 0;

  // Apart from what is above, which is seldom written.
  alignas(64) std::atomic<Version> newest_change_{kNoVersion};
  std::atomic<Version> forgotten_changes_{kNoVersion};
  const std::unique_ptr<std::atomic<Version>[]> changes_;
};

RuleTable::Core::Core(const Options& options, std::atomic<Version>* newest,
                      std::atomic<Version>* newest_listed, TagSketch* tag_sketch)
    : rules_max_(std::max<size_t>(options.rules_max, 2)),
      changes_mask_(std::bit_ceil(std::max<size_t>(options.changes, 1)) - 1),
      hash_(options.hash_seed == 0 ? Random::System()->Next() : options.hash_seed,
            options.hash_seed == 0 ? Random::System()->Next() : ~options.hash_seed),
      default_hash_(hash_(kDefaultNamespace)),
      newest_(newest),
      newest_listed_(newest_listed),
      tag_sketch_(tag_sketch),
      patterns_({options.globs_max, options.prefix_lengths_max, options.all_globs_max,
                 options.pattern_namespaces_max}),
      changes_(std::make_unique<std::atomic<Version>[]>(changes_mask_ + 1)) {}

absl::Status RuleTable::Core::Add(const Rule& rule, MonoNanos now) {
  const Scope scope = ScopeOf(rule.name_space);
  const RuleSlots::Id id = IdOf(scope, rule.kind, rule.match);
  MutexLock lock(&mu_);
  const RuleCover& merged = IsTag(rule.kind) ? tagged_ : all_;
  // A glob that cannot be read is refused all the same.
  const bool known = rule.version <= merged.gone.load(std::memory_order_relaxed);
  if (known && rule.kind != Rule::Kind::kGlob) return absl::OkStatus();
  if (const absl::Status added = AddPattern(scope, rule, id); !added.ok()) return added;
  if (!slots_.Add(id, rule, now)) return absl::OkStatus();
  ++added_;
  if (IsTag(rule.kind)) tag_sketch_->Raise(PrintOf(id), rule.version);
  RaiseTo(&newest_of_[static_cast<size_t>(rule.kind)], rule.version);
  if (!IsTag(rule.kind)) RaiseTo(newest_, rule.version);
  RaiseTo(newest_listed_, rule.version);
  // What they cover is gone without them, and others have their room.
  if (rule.kind == Rule::Kind::kAll && !rule.stale && rule.node == Rule::kEveryNode)
    patterns_.DropOf(scope.name_space, rule.version);
  if (slots_.Count(IsTag) + slots_.Count(IsOther) > rules_max_) Merge();
  slots_.Reclaim();
  patterns_.Reclaim();
  return absl::OkStatus();
}

bool RuleTable::Core::Covers(const Rule& rule) const {
  const RuleSlots::Id id = IdOf(ScopeOf(rule.name_space), rule.kind, rule.match);
  MutexLock lock(&mu_);
  const RuleCover& merged = IsTag(rule.kind) ? tagged_ : all_;
  return rule.version <= merged.gone.load(std::memory_order_relaxed) || slots_.Covers(id, rule);
}

absl::Status RuleTable::Core::AddPattern(const Scope& scope, const Rule& rule, RuleSlots::Id id) {
  if (rule.kind == Rule::Kind::kPrefix)
    return patterns_.AddPrefix(scope.name_space, rule.match.size(), rule.version);
  if (rule.kind == Rule::Kind::kGlob)
    return patterns_.AddGlob(scope.name_space, rule.match, id, rule.version);
  return absl::OkStatus();
}

// The kind that there is more of gives up half of what it has, so that it takes a quarter of the
// maximum before the next time.
void RuleTable::Core::Merge() {
  const bool tags = slots_.Count(IsTag) >= slots_.Count(IsOther);
  const RuleSlots::Kinds kinds = tags ? IsTag : IsOther;
  const size_t before = slots_.Count(kinds);
  const Version version = slots_.OlderHalf(kinds);
  if (tags) tag_sketch_->RaiseAll(version);
  slots_.DropUpTo(version, kinds, tags ? &tagged_ : &all_);
  if (!tags) patterns_.DropUpTo(version, /*globs_too=*/false);
  merged_ += before - slots_.Count(kinds);
}

void RuleTable::Core::CoverUpTo(Version version) {
  RaiseTo(&all_.gone, version);
  RaiseTo(newest_, version);
  RaiseTo(newest_listed_, version);
}

void RuleTable::Core::DropUpTo(Version version) {
  MutexLock lock(&mu_);
  slots_.DropUpTo(version, IsAny, nullptr);
  patterns_.DropUpTo(version, /*globs_too=*/true);
  slots_.Reclaim();
  patterns_.Reclaim();
}

void RuleTable::Core::Changed(std::string_view name_space, std::string_view key, Version version) {
  RaiseTo(&ChangeOf(ScopeOf(name_space), key), version);
  RaiseTo(&newest_change_, version);
  RaiseTo(newest_listed_, version);
}

void RuleTable::Core::ForgetChanges(Version version) {
  RaiseTo(&forgotten_changes_, version);
  RaiseTo(&newest_change_, version);
  RaiseTo(newest_listed_, version);
}

RuleTable::Verdict RuleTable::Core::Judge(const RuleSubject& asked) const {
  Verdict verdict;
  RuleSubject subject = asked;
  // Where there is no rule, the newest one has no version: that one must not match it.
  const Version version = subject.version = std::max(asked.version, kNoVersion + 1);
  const bool whole = version <= newest_->load(std::memory_order_acquire);
  const bool tags = !subject.tags.empty() && version <= NewestOf(Rule::Kind::kTag);
  const bool dependencies =
      !subject.depends_on.empty() && version <= newest_change_.load(std::memory_order_acquire);
  if (!whole && !tags && !dependencies) return verdict;
  const Scope scope = ScopeOf(subject.name_space);
  if (dependencies && DependencyChanged(scope, subject)) {
    verdict.gone = true;
    return verdict;
  }
  if (!whole && !tags) return verdict;
  const Epoch::Reader reader;
  if (tags) JudgeTags(scope, subject, &verdict);
  if (whole && !verdict.gone) JudgeWhole(scope, subject, &verdict);
  return verdict;
}

bool RuleTable::Core::DependencyChanged(const Scope& scope, const RuleSubject& subject) const {
  if (subject.version <= forgotten_changes_.load(std::memory_order_acquire)) return true;
  return std::ranges::any_of(subject.depends_on, [&](const std::string& key) {
    return subject.version <= ChangeOf(scope, key).load(std::memory_order_acquire);
  });
}

void RuleTable::Core::PrintTags(std::string_view name_space, absl::Span<const std::string> tags,
                                TagPrint* prints) const {
  const Scope scope = ScopeOf(name_space);
  std::array<uint64_t, kTagsMax> hashes;
  while (!tags.empty()) {
    const size_t count = std::min(tags.size(), hashes.size());
    HashAll(hash_, tags.first(count), hashes.data());
    for (size_t i = 0; i < count; ++i)
      *prints++ = PrintOf(IdOfHash(scope, Rule::Kind::kTag, hashes[i]));
    tags.remove_prefix(count);
  }
}

void RuleTable::Core::JudgeTags(const Scope& scope, const RuleSubject& subject,
                                Verdict* verdict) const {
  const RuleSlots::View slots = slots_.Look();
  absl::Span<const std::string> left = subject.tags;
  while (!left.empty() && !verdict->gone) {
    std::array<RuleSlots::Id, kTagsMax> ids;
    const size_t count = std::min(left.size(), ids.size());
    HashAll(hash_, left.first(count), ids.data());
    for (size_t i = 0; i < count; ++i) {
      ids[i] = IdOfHash(scope, Rule::Kind::kTag, ids[i]);
      slots.Prefetch(ids[i]);
    }
    for (size_t i = 0; i < count && !verdict->gone; ++i)
      slots.Judge(ids[i], subject.version, verdict);
    left.remove_prefix(count);
  }
  tagged_.Judge(subject.version, verdict);
}

// The patterns first: those that a rule for the whole namespace has replaced leave when that is
// there, so whoever does not find them any more finds it.
void RuleTable::Core::JudgeWhole(const Scope& scope, const RuleSubject& subject,
                                 Verdict* verdict) const {
  const Version newest_pattern =
      std::max(NewestOf(Rule::Kind::kPrefix), NewestOf(Rule::Kind::kGlob));
  const RulePatterns::Patterns* const patterns =
      subject.version <= newest_pattern ? patterns_.Of(scope.name_space) : nullptr;
  const RuleSlots::View slots = slots_.Look();
  if (subject.version <= NewestOf(Rule::Kind::kAll))
    slots.Judge(IdOf(scope, Rule::Kind::kAll, {}), subject.version, verdict);
  if (subject.version <= NewestOf(Rule::Kind::kType) && !verdict->gone)
    slots.Judge(IdOf(scope, Rule::Kind::kType, subject.type), subject.version, verdict);
  if (patterns != nullptr && !verdict->gone)
    JudgePatterns(scope, subject, *patterns, slots, verdict);
  all_.Judge(subject.version, verdict);
}

void RuleTable::Core::JudgePatterns(const Scope& scope, const RuleSubject& subject,
                                    const RulePatterns::Patterns& patterns, RuleSlots::View slots,
                                    Verdict* verdict) const {
  const auto is_newer = [&](const auto& rule) {
    return subject.version <= rule->newest.load(std::memory_order_acquire);
  };
  for (const auto& length : patterns.lengths) {
    if (length->bytes > subject.key.size() || !is_newer(length)) continue;
    const std::string_view prefix = subject.key.substr(0, length->bytes);
    slots.Judge(IdOf(scope, Rule::Kind::kPrefix, prefix), subject.version, verdict);
    if (verdict->gone) return;
  }
  for (const auto& rule : patterns.globs) {
    if (!is_newer(rule) || !rule->glob.Matches(subject.key)) continue;
    slots.Judge(rule->id, subject.version, verdict);
    if (verdict->gone) return;
  }
}

RuleTable::Stats RuleTable::Core::GetStats() const {
  MutexLock lock(&mu_);
  Stats stats;
  stats.rules = slots_.Count(IsAny);
  stats.globs = patterns_.globs();
  stats.added = added_;
  stats.merged = merged_;
  stats.bytes = sizeof(*this) + (changes_mask_ + 1) * sizeof(changes_[0]) + slots_.bytes() +
                patterns_.bytes() + tag_sketch_->bytes();
  return stats;
}

RuleTable::RuleTable(const Options& options)
    : tag_sketch_(options.tag_places),
      core_(std::make_unique<Core>(options, &newest_, &newest_listed_, &tag_sketch_)) {}

RuleTable::~RuleTable() = default;

absl::Status RuleTable::Add(const Rule& rule, MonoNanos now) { return core_->Add(rule, now); }

bool RuleTable::Covers(const Rule& rule) const { return core_->Covers(rule); }

void RuleTable::Changed(std::string_view name_space, std::string_view key, Version version) {
  core_->Changed(name_space, key, version);
}

void RuleTable::ForgetChanges(Version version) { core_->ForgetChanges(version); }

void RuleTable::CoverUpTo(Version version) { core_->CoverUpTo(version); }

void RuleTable::DropUpTo(Version version) { core_->DropUpTo(version); }

RuleTable::Verdict RuleTable::Judge(const RuleSubject& subject) const {
  return core_->Judge(subject);
}

void RuleTable::PrintTags(std::string_view name_space, absl::Span<const std::string> tags,
                          TagPrint* prints) const {
  core_->PrintTags(name_space, tags, prints);
}

RuleTable::Stats RuleTable::GetStats() const { return core_->GetStats(); }

}  // namespace larder
