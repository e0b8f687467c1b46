// Covered entries need no removal to be invisible; they are removed for the room. In memory that is
// a walk through all of it, a millisecond at a time. A tier is walked through by the replica whose
// callers made the rules: the others would find nothing left to do.
//
// With a tier a rule stays for as long as anything can live. Without one it goes earlier, or
// whoever invalidates by globs would soon have no more of them: when the loads are over that began
// before it, and memory has been gone through once more after that, nothing is left that it could
// cover.

#include <algorithm>
#include <utility>

#include "core/key.h"
#include "engine/rules.h"

namespace larder {
namespace {

// Parts of memory that one step of the sweep goes through, and the pause after it.
constexpr int kPartsAtOnce = 8;
constexpr absl::Duration kSweepPause = absl::Milliseconds(20);
// The sweep of the tier rests so long between two walks, so that many rules are one walk.
constexpr absl::Duration kTierRest = absl::Seconds(10);
constexpr size_t kTierPage = 1000;

}  // namespace

void Rules::StartSweeps() {
  options_.executor->After(kSweepPause, [this] { SweepAndReschedule(); });
  if (store_ != nullptr && options_.sweep_rate > 0)
    options_.executor->After(kTierRest, [this] { SweepTierAndReschedule(); });
}

void Rules::PlanDrop(MonoNanos now) {
  if (store_ != nullptr || !options_.lasts || drop_upto_ != kNoVersion) return;
  const Version newest = newest_.load(std::memory_order_acquire);
  if (newest <= dropped_upto_) return;
  drop_upto_ = newest;
  const bool marked = newest_marked_.load(std::memory_order_acquire) > dropped_upto_;
  drop_at_ = MonoAfter(now, options_.lasts(marked));
}

void Rules::SweepAndReschedule() {
  const MonoNanos now = options_.clock->Mono();
  PlanDrop(now);
  if (sweeping_ == kNoVersion) {
    const Version newest = newest_.load(std::memory_order_acquire);
    sweep_drops_ = drop_upto_ != kNoVersion && now >= drop_at_;
    if (newest > swept_upto_ || sweep_drops_) sweeping_ = newest;
  }
  for (int part = 0; sweeping_ != kNoVersion && part < kPartsAtOnce; ++part) {
    memory_cursor_ = options_.memory->SweepRules(memory_cursor_, options_.clock->Mono());
    if (memory_cursor_ != 0) continue;
    swept_upto_ = std::exchange(sweeping_, kNoVersion);
    swept_.fetch_add(1, std::memory_order_relaxed);
    if (!sweep_drops_) continue;
    options_.table->DropUpTo(drop_upto_);
    dropped_upto_ = std::exchange(drop_upto_, kNoVersion);
  }
  options_.executor->After(kSweepPause, [this] { SweepAndReschedule(); });
}

void Rules::SweepTierAndReschedule() {
  if (!options_.background->TryEnter()) return;
  Spawn(SweepTier(), [this](absl::Duration pause) {
    options_.background->Leave();
    options_.executor->After(pause, [this] { SweepTierAndReschedule(); });
  });
}

// One page of the tier. Answers how long to wait before the next.
Task<absl::Duration> Rules::SweepTier() {
  if (sweeping_below_ == kNoVersion) {
    const Version newest = own_newest_.load(std::memory_order_acquire);
    if (newest <= swept_below_upto_ || !Known()) co_return kTierRest;
    sweeping_below_ = newest;
    below_cursor_.clear();
  }
  TierScan scan;
  scan.cursor = below_cursor_;
  scan.limit = kTierPage;
  const auto page = co_await options_.tier->Scan(std::move(scan), INT64_MAX);
  if (!page.ok()) co_return kTierRest;
  std::vector<std::string> keys;
  for (const TierPage::Item& item : page->items) {
    if (item.version <= sweeping_below_ && !IsOwn(item.full_key)) keys.push_back(item.full_key);
  }
  const size_t looked_at = keys.size();
  if (!keys.empty()) {
    const bool removed = co_await RemoveCovered(std::move(keys));
    if (!removed) co_return kTierRest;
  }
  below_cursor_ = page->cursor;
  if (below_cursor_.empty()) {
    swept_below_upto_ = std::exchange(sweeping_below_, kNoVersion);
    swept_below_.fetch_add(1, std::memory_order_relaxed);
    co_return kTierRest;
  }
  const size_t cost = std::max<size_t>(looked_at, page->items.size() / 10 + 1);
  co_return absl::Seconds(static_cast<double>(cost) / options_.sweep_rate);
}

Task<bool> Rules::RemoveCovered(std::vector<std::string> keys) {
  const auto reads = co_await options_.tier->Get(keys, INT64_MAX);
  if (!reads.ok()) co_return false;
  std::vector<TierErase> erases;
  for (size_t i = 0; i < keys.size(); ++i) {
    const TierRead& read = (*reads)[i];
    if (read.kind != TierRead::Kind::kEntry) continue;
    const Entry& entry = read.entry;
    const RuleSubject subject{FullKey::NamespaceOf(keys[i]),
                              FullKey::KeyOf(keys[i]),
                              read.type,
                              entry.tags,
                              entry.depends_on,
                              entry.version};
    if (options_.table->Judge(subject).gone) erases.push_back({keys[i], entry.version});
  }
  if (erases.empty()) co_return true;
  const size_t count = erases.size();
  const auto erased = co_await options_.tier->Erase(std::move(erases), INT64_MAX);
  if (erased.ok()) removed_below_.fetch_add(count, std::memory_order_relaxed);
  co_return erased.ok();
}

}  // namespace larder
