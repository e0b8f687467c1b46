// What the rules make of what a shard holds. Rules are looked at when something is read, so that a
// new one takes effect at once whatever it covers; what it covers is removed when somebody comes
// across it, or by a sweep.
//
// Whoever finds a hit without the lock asks the rules afterwards, about the copy: by then it is out
// of the epoch, in which it could not ask. 1: the reader copies the entry. 2: a rule comes and
// covers it. 3: the reader asks, and misses. Had it asked first, it would serve what was covered
// before it answered.
//
// Most entries with tags need no such question: their prints say that no rule is about them. That
// is seen while they are copied; a rule that comes between then and the answer comes while the read
// is under way.

#include <algorithm>

#include "core/key.h"
#include "memory/shard.h"

namespace larder {
namespace {

// One turn of a sweep removes so many records at most, and a segment that lost this part is
// compacted.
constexpr uint32_t kSweptMost = 2000;
constexpr double kCompactedShare = 0.25;

// The lists of the record that is looked at. They keep their memory from one to the next.
struct RecordLists {
  std::vector<std::string> tags;
  std::vector<std::string> depends_on;
};

// What few records are: as old as a rule that could concern them.
bool MayBeRuledOut(const RuleTable& rules, const Record& record) {
  return record.version() <= (record.Has(Record::kListed) ? rules.newest_listed() : rules.newest());
}

}  // namespace

bool Shard::StandsByRules(std::string_view full_key, MonoNanos now, Entry* entry) const {
  const RuleSubject subject{FullKey::NamespaceOf(full_key),
                            FullKey::KeyOf(full_key),
                            common_->TypeOf(entry->type_id).name,
                            entry->tags,
                            entry->depends_on,
                            entry->version};
  return Lower(common_->rules->Judge(subject), now, &entry->fresh_until, &entry->usable_until);
}

bool Shard::Lower(const RuleTable::Verdict& verdict, MonoNanos now, MonoNanos* fresh_until,
                  MonoNanos* usable_until) {
  if (verdict.gone) return false;
  if (verdict.fresh_until >= *fresh_until) return true;
  // It may be served stale for as long as it might have been otherwise, from then on.
  *usable_until = verdict.fresh_until + (*usable_until - *fresh_until);
  *fresh_until = verdict.fresh_until;
  return *usable_until > now;
}

RuleTable::Verdict Shard::JudgeBy(const RuleTable& rules, const Record& record) const {
  if (!MayBeRuledOut(rules, record)) return {};
  // The prints are of the table that memory goes by.
  if (&rules == common_->rules && record.version() > rules.newest() && HasClearLists(record))
    return {};
  static thread_local RecordLists lists;
  record.ReadLists(&lists.tags, &lists.depends_on);
  return rules.Judge({common_->NamespaceOf(record.namespace_id()), record.key(),
                      common_->TypeOf(record.type_id()).name, lists.tags, lists.depends_on,
                      record.version()});
}

bool Shard::RuledOut(const Record& record, const Moment& at) const {
  const RuleTable::Verdict verdict = JudgeBy(*common_->rules, record);
  if (!verdict.concerned()) return false;
  MonoNanos fresh_until = record.FreshUntil(at);
  MonoNanos usable_until = record.UsableUntil(at);
  return !Lower(verdict, at.now, &fresh_until, &usable_until);
}

bool Shard::RuledOut(const EntryFields& fields, MonoNanos now) const {
  const RuleTable::Verdict verdict = common_->rules->Judge(
      {FullKey::NamespaceOf(fields.full_key), FullKey::KeyOf(fields.full_key),
       common_->TypeOf(fields.type_id).name, fields.tags, fields.depends_on, fields.version});
  MonoNanos fresh_until = fields.fresh_until;
  MonoNanos usable_until = fields.usable_until;
  return verdict.concerned() && !Lower(verdict, now, &fresh_until, &usable_until);
}

bool Shard::BuryIfOver(Record* record, uint64_t hash, Index::Slot* slot, MonoNanos now) {
  const Moment at = At(now);
  if (!record->LiveAt(at)) {
    Bury(record, hash, slot, Leave::kExpired, now);
  } else if (RuledOut(*record, at)) {
    Bury(record, hash, slot, Leave::kRuledOut, now);
  } else {
    return false;
  }
  return true;
}

uint32_t Shard::SweepRules(uint32_t number, MonoNanos now) {
  MutexLock lock(&mu_);
  const auto holds = [](const Segment& segment) {
    return segment.live > 0 &&
           (segment.state == Segment::State::kOpen || segment.state == Segment::State::kSealed ||
            segment.state == Segment::State::kVictim);
  };
  while (number < pool_.end() && !holds(pool_[number])) ++number;
  if (number >= pool_.end()) return SegmentPool::kNone;
  Segment& segment = pool_[number];
  const Moment at = At(now);
  const uint32_t live = segment.live;
  uint32_t seen = 0;
  uint32_t swept = 0;
  Walk(number, 0, [&](Record* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (record->Has(Record::kDead)) return true;
    ++seen;
    if (record->LiveAt(at) && RuledOut(*record, at)) {
      const uint64_t hash = HashOf(*record);
      Bury(record, hash, LookAt(record, hash).slot, Leave::kRuledOut, now);
      ++swept;
    }
    // The last one that is buried takes the segment with it.
    return seen < live && swept < kSweptMost;
  });
  if (swept == kSweptMost && seen < live) return number;
  if (swept > 0 && segment.state == Segment::State::kOpen && segment.live == 0) Seal(number);
  if (swept > 0 && segment.state == Segment::State::kSealed &&
      segment.dead >= pool_.segment_bytes() * kCompactedShare) {
    // What is left moves elsewhere. Nothing is evicted for that.
    if (pool_.ready() == 0) Reclaim();
    const bool fits = Used() + pool_.growth_bytes() <= budget_;
    if (pool_.ready() > 0 || (fits && pool_.Back())) Compact(number, now);
  }
  return number + 1 < pool_.end() ? number + 1 : SegmentPool::kNone;
}

uint64_t Shard::CountCovered(const RuleTable& rules, uint64_t table, MonoNanos now,
                             uint64_t* covered) const {
  MutexLock lock(&mu_);
  const Moment at = At(now);
  uint64_t looked = 0;
  index_.ForEachOf(table, [&](uint64_t content) {
    const Record* const record = RecordAt(Index::PlaceOf(content));
    ++looked;
    if (record->LiveAt(at) && JudgeBy(rules, *record).gone) ++*covered;
  });
  return looked;
}

uint64_t Shard::entries() const {
  MutexLock lock(&mu_);
  return index_.entries();
}

}  // namespace larder
