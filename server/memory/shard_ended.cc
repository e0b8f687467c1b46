// What ends by its time: how it is found, and how those who ask for it are told.
//
// A shard calls nobody back while it holds its lock, so it keeps a copy of what ends for whoever
// comes for it. What it keeps is bounded, and the sweep waits while that is full: what is due loses
// nothing by lying there for a moment. What has to go to make room cannot wait, and then is only
// counted.

#include <algorithm>
#include <climits>
#include <utility>

#include "core/key.h"
#include "memory/shard.h"

namespace larder {
namespace {

// One sweep step looks at so many segments, and into the first that is due.
constexpr uint32_t kSweepLooks = 256;
constexpr uint64_t kTrimTables = 64;
// Part of a segment's time in which its records end that has to be over before they are looked
// for; and part of it that has to be dead before it is compacted.
constexpr double kEndedShare = 0.25;
// The first while somebody wants to be told of what ends, and a time that may pass in any case.
constexpr double kToldShare = 1.0 / 64;
constexpr double kToldAfterLeast = 100e6;
// The part of a shard that is kept of what ended, and the most.
constexpr uint64_t kKeptShare = 64;
constexpr uint64_t kKeptBytesMax = 64 << 10;

}  // namespace

// Frees a segment all of whose records have ended. False when there is none, which is then known
// until next_end_.
bool Shard::ExpireWhole(MonoNanos now) {
  next_end_ = INT64_MAX;
  bool freed = false;
  for (uint32_t number = 0; number < pool_.end(); ++number) {
    const Segment& segment = pool_[number];
    if (segment.state != Segment::State::kOpen && segment.state != Segment::State::kSealed)
      continue;
    if (segment.live == 0) continue;
    if (segment.last_expiry > now) {
      next_end_ = std::min(next_end_, segment.last_expiry);
    } else if (freed) {
      next_end_ = now;
    } else {
      ExpireIn(number, /*may_stop=*/false, now);
      freed = true;
    }
  }
  return freed;
}

// Buries what has ended in the segment.
bool Shard::ExpireIn(uint32_t number, bool may_stop, MonoNanos now) {
  Segment& segment = pool_[number];
  if (segment.state == Segment::State::kOpen && segment.last_expiry <= now) Seal(number);
  if (segment.state != Segment::State::kOpen && segment.state != Segment::State::kSealed)
    return true;
  MonoNanos first = INT64_MAX;
  MonoNanos last = 0;
  const uint32_t live = segment.live;
  uint32_t seen = 0;
  bool stopped = false;
  Ahead ahead;
  Walk(number, 0, [&](Record* record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (record->Has(Record::kDead)) return true;
    if (record->LiveAt(At(now))) {
      const MonoNanos until = record->UsableUntil(At(now));
      first = std::min(first, until);
      last = std::max(last, until);
    } else {
      const uint64_t hash = HashAhead(&ahead, number, record);
      Bury(record, hash, LookAt(record, hash).slot, Leave::kExpired, now);
    }
    // The last one that is buried takes the segment with it.
    if (++seen == live) return false;
    stopped = may_stop && EndedIsFull();
    return !stopped;
  });
  if (segment.state == Segment::State::kWaiting || segment.state == Segment::State::kReady)
    return true;
  if (stopped) return false;
  segment.first_expiry = first;
  segment.last_expiry = last;
  next_end_ = std::min(next_end_, last == 0 ? INT64_MAX : last);
  return true;
}

// A part of what lies together has to be over before it is gone through for the room; a smaller one
// while somebody waits to be told.
bool Shard::IsWorthALook(const Segment& segment, MonoNanos now) const {
  if (segment.last_expiry <= now) return true;
  const double span = static_cast<double>(segment.last_expiry - segment.first_expiry);
  double least = kEndedShare * span;
  if (common_->keeps_ended.load(std::memory_order_relaxed))
    least = std::min(least, std::max(kToldShare * span, kToldAfterLeast));
  return static_cast<double>(now - segment.first_expiry) >= least;
}

bool Shard::SweepStep(MonoNanos now) {
  MutexLock lock(&mu_);
  index_.Trim(kTrimTables);
  if (Waiting() > 0) Reclaim();
  if (EndedIsFull()) return true;
  for (uint32_t looks = 0; looks < std::min(kSweepLooks, pool_.end()); ++looks) {
    const uint32_t number = sweep_next_++ % pool_.end();
    const Segment& segment = pool_[number];
    if (segment.state != Segment::State::kOpen && segment.state != Segment::State::kSealed)
      continue;
    if (segment.live == 0 || segment.first_expiry > now || !IsWorthALook(segment, now)) continue;
    if (!ExpireIn(number, /*may_stop=*/true, now)) {
      --sweep_next_;
      return true;
    }
    const bool worth = segment.state == Segment::State::kSealed &&
                       segment.dead >= pool_.segment_bytes() * kEndedShare;
    if (worth && pool_.ready() > 0) Compact(number, now);
    return true;
  }
  return false;
}

uint64_t Shard::EndedBytesMax() const { return std::min(budget_ / kKeptShare, kKeptBytesMax); }

bool Shard::EndedIsFull() const {
  return ABSL_PREDICT_FALSE(common_->keeps_ended.load(std::memory_order_relaxed)) &&
         ended_.full(EndedBytesMax());
}

void Shard::KeepEnded(const Record& record) {
  if (record.Has(Record::kNegative)) return;
  if (!common_->TypeOf(record.type_id()).keeps_ended.load(std::memory_order_relaxed)) return;
  L1::Ended ended;
  const FullKey full_key(common_->NamespaceOf(record.namespace_id()), record.key());
  ended.full_key = full_key.view();
  ended.version = record.version();
  ended.type_id = record.type_id();
  std::vector<std::string> depends_on;
  record.ReadLists(&ended.tags, &depends_on);
  ended_.Add(std::move(ended), EndedBytesMax());
}

bool Shard::TakeEnded(size_t most, std::vector<L1::Ended>* out, uint64_t* lost) {
  MutexLock lock(&mu_);
  ended_.Take(most, out, lost);
  return !ended_.empty();
}

void Shard::ForgetEnded() {
  MutexLock lock(&mu_);
  ended_.Clear();
}

}  // namespace larder
