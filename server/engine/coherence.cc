// What makes a copy true again is a look at the shared tier that began while the bus was being
// followed: whatever changes the key afterwards comes over the bus. A look that began before is
// worth nothing, because the change in between is the very one that may have been missed.
//
//   1: gap.  2: look at the tier: version 10.  3: another replica writes 20; nobody hears of it.
//   4: the bus is followed again.  5: the look's answer arrives: it must not confirm 10.

#include "engine/coherence.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/hash/hash.h"
#include "base/log.h"
#include "base/strings.h"

namespace larder {
namespace {

// Parts of memory that one step looks through for something to check.
constexpr int kPartsAtOnce = 16;
constexpr Version kAllVersions = std::numeric_limits<Version>::max();

uint64_t MarkOf(std::string_view full_key, Version version) {
  return absl::HashOf(full_key, version);
}

}  // namespace

void Coherence::Start() {
  if (alone()) return;
  // Memory is empty, so there is nothing to suspect; what comes before the bus is followed is.
  suspect_before_.store(kAllVersions, std::memory_order_release);
  if (options_.on_bus) options_.on_bus(false);
  if (options_.feed != nullptr) options_.feed->Gap(/*goes_on=*/true);
  options_.bus->Start(this);
}

bool Coherence::WasConfirmed(std::string_view full_key, Version version, MonoNanos now) const {
  if (now > options_.bus->ReliableUntil()) return false;
  MutexLock lock(&mu_);
  return confirmed_.contains(MarkOf(full_key, version));
}

void Coherence::Confirm(std::string_view full_key, Version version, MonoNanos began) {
  confirmed_total_.fetch_add(1, std::memory_order_relaxed);
  MutexLock lock(&mu_);
  // Under the lock: a gap forgets all confirmations under it, and none of before may come after.
  if (began < following_since_.load(std::memory_order_acquire)) return;
  if (confirmed_.size() >= options_.confirmed_max) confirmed_.clear();
  confirmed_.insert(MarkOf(full_key, version));
}

void Coherence::Changed(std::vector<std::string> full_keys, Version version,
                        std::vector<KeyChange> changes) {
  NoteChanged(full_keys, version);
  Tell(full_keys, version, changes);
  Publish(std::move(full_keys), version, std::move(changes));
}

void Coherence::Loaded(std::vector<std::string> full_keys, Version version,
                       std::vector<KeyChange> changes) {
  Tell(full_keys, version, changes);
  Publish(std::move(full_keys), version, std::move(changes), /*loaded=*/true);
}

void Coherence::ChangedElsewhere(std::vector<std::string> full_keys, Version version,
                                 std::vector<KeyChange> changes) {
  NoteChanged(full_keys, version);
  Publish(std::move(full_keys), version, std::move(changes));
}

void Coherence::NoteChanged(const std::vector<std::string>& full_keys, Version version) {
  if (!options_.on_changed) return;
  for (const std::string& full_key : full_keys) options_.on_changed(full_key, version);
}

void Coherence::Publish(std::vector<std::string> full_keys, Version version,
                        std::vector<KeyChange> changes, bool loaded) {
  if (alone() || full_keys.empty()) return;
  for (const std::string& full_key : full_keys) Wake(full_key);
  BusMessage message{BusMessage::Kind::kChanged, version, std::move(full_keys), {}, 0};
  message.changes = std::move(changes);
  message.loaded = loaded;
  options_.bus->Publish(std::move(message));
}

void Coherence::Tell(const std::vector<std::string>& full_keys, Version version,
                     const std::vector<KeyChange>& changes) {
  if (options_.feed == nullptr || !options_.feed->active()) return;
  for (size_t i = 0; i < full_keys.size(); ++i)
    options_.feed->Changed(full_keys[i], version, changes.empty() ? KeyChange() : changes[i]);
}

void Coherence::Released(std::string full_key) {
  if (alone()) return;
  Wake(full_key);
  options_.bus->Publish({BusMessage::Kind::kReleased, kNoVersion, {std::move(full_key)}, {}, 0});
}

void Coherence::Revised(std::string full_key, Version version, std::vector<KeyChange> change) {
  std::vector<std::string> full_keys(1, std::move(full_key));
  Tell(full_keys, version, change);
  if (alone()) return;
  Wake(full_keys[0]);
  BusMessage message{BusMessage::Kind::kRevised, version, std::move(full_keys), {}, 0};
  message.changes = std::move(change);
  options_.bus->Publish(std::move(message));
}

Task<FleetAck> Coherence::ChangedAndWait(std::vector<std::string> full_keys, Version version,
                                         std::vector<KeyChange> changes, MonoNanos deadline) {
  NoteChanged(full_keys, version);
  Tell(full_keys, version, changes);
  if (alone()) co_return FleetAck{.replicas = 0, .acknowledged = 0, .known = true};
  BusMessage message{BusMessage::Kind::kChanged, version, std::move(full_keys), {}, 0};
  message.changes = std::move(changes);
  co_return co_await Timed(Step::kFleet, options_.clock,
                           options_.bus->PublishAndWait(std::move(message), deadline));
}

void Coherence::OnMessages(const std::vector<BusMessage>& messages) {
  const MonoNanos now = options_.clock->Mono();
  for (const BusMessage& message : messages) {
    if (message.version != kNoVersion) options_.versions->Observe(message.version);
    if (message.kind == BusMessage::Kind::kRule && options_.on_rule) options_.on_rule(message);
    const bool tells =
        options_.feed != nullptr && options_.feed->active() &&
        (message.kind == BusMessage::Kind::kChanged || message.kind == BusMessage::Kind::kRevised);
    for (size_t i = 0; i < message.keys.size(); ++i) {
      const std::string& full_key = message.keys[i];
      const KeyChange change = tells ? Heard(message, i, now) : KeyChange();
      if (message.kind == BusMessage::Kind::kRevised) {
        changes_.fetch_add(1, std::memory_order_relaxed);
        Drop(full_key, message.version, now);
      } else if (message.kind == BusMessage::Kind::kChanged) {
        changes_.fetch_add(1, std::memory_order_relaxed);
        // What depends on the key is as good as before it was loaded.
        if (options_.on_changed)
          options_.on_changed(full_key, message.loaded ? kNoVersion : message.version);
        // A copy of the very version may have come from the tier before the message did. A version
        // that the tier never took was not compared with what the others wrote, and says nothing:
        // 1: B sets 15.  2: A, whose clock is ahead, sets 20; its tier is away.  3: B hears nothing
        // of it and sets 16.  20 is not the newest.
        const Version upto = std::max(message.version - 1, options_.lower->OwedOf(full_key));
        Drop(full_key, upto, now);
      }
      Wake(full_key);
      // Now that the copy is gone, whoever is told and reads the key finds what is new.
      if (tells) options_.feed->Changed(full_key, message.version, change);
    }
  }
}

KeyChange Coherence::Heard(const BusMessage& message, size_t key, MonoNanos now) const {
  KeyChange change = message.changes.empty() ? KeyChange() : message.changes[key];
  if (!options_.feed->WantsFormer()) return change;
  Entry copy;
  MissReason why;
  if (!options_.memory->Peek(message.keys[key], now, &copy, &why)) return change;
  change.tags.insert(change.tags.end(), copy.tags.begin(), copy.tags.end());
  change.tags_known = true;
  return change;
}

void Coherence::Drop(std::string_view full_key, Version upto, MonoNanos now) {
  const EraseResult erased = options_.memory->Erase(full_key, upto, now);
  if (erased.existed) dropped_.fetch_add(1, std::memory_order_relaxed);
  options_.leases->OnChange(full_key, erased.cancelled, LeaseTable::Change::kStored);
}

void Coherence::OnGap(std::string_view why) {
  LogWarning("coherence_suspect", {{"why", why}});
  round_.fetch_add(1, std::memory_order_acq_rel);
  following_since_.store(INT64_MAX, std::memory_order_release);
  suspect_before_.store(kAllVersions, std::memory_order_release);
  if (options_.on_bus) options_.on_bus(false);
  if (options_.feed != nullptr) options_.feed->Gap(/*goes_on=*/true);
  MutexLock lock(&mu_);
  confirmed_.clear();
}

void Coherence::OnFollowing() {
  const uint64_t round = round_.fetch_add(1, std::memory_order_acq_rel) + 1;
  following_since_.store(options_.clock->Mono(), std::memory_order_release);
  // Everything that is written from now on is heard of, so only what is older can be out of date.
  suspect_before_.store(options_.versions->Next(), std::memory_order_release);
  if (options_.on_bus) options_.on_bus(true);
  if (options_.feed != nullptr) options_.feed->Gap(/*goes_on=*/false);
  LogInfo("coherence_following", {});
  auto check = std::make_shared<Check>();
  check->round = round;
  options_.executor->Post(
      [this, check = std::move(check)]() mutable { CheckStep(std::move(check)); });
}

void Coherence::CheckStep(std::shared_ptr<Check> check) {
  if (!options_.background->TryEnter()) return;
  Spawn(CheckSome(check), [this, check](bool more) {
    options_.background->Leave();
    if (!more) return;
    const absl::Duration pause = check->failed ? options_.failed_pause : options_.check_pause;
    options_.executor->After(pause, [this, check] { CheckStep(check); });
  });
}

// Looks at some of the suspect copies. True: there are more.
Task<bool> Coherence::CheckSome(std::shared_ptr<Check> check) {
  if (IsOver(*check)) co_return false;
  Version before = suspect_before_.load(std::memory_order_acquire);
  const MonoNanos began = options_.clock->Mono();
  for (int part = 0; part < kPartsAtOnce && check->copies.empty() && !check->last_part; ++part) {
    check->cursor = options_.memory->List(check->cursor, began, &check->copies);
    check->last_part = check->cursor == 0;
    std::erase_if(check->copies, [before](const L1::Listed& at) { return at.version >= before; });
  }
  if (check->copies.empty()) {
    if (!check->last_part) co_return true;
    if (!IsOver(*check) &&
        suspect_before_.compare_exchange_strong(before, kNoVersion, std::memory_order_acq_rel)) {
      LogInfo("coherence_trusted", {});
      MutexLock lock(&mu_);
      confirmed_.clear();
    }
    co_return false;
  }
  std::vector<L1::Listed> batch;
  std::vector<std::string> keys;
  while (!check->copies.empty() && batch.size() < options_.check_batch) {
    L1::Listed copy = std::move(check->copies.back());
    check->copies.pop_back();
    if (options_.lower->Has(options_.types->Get(copy.type_id))) {
      keys.push_back(copy.full_key);
      batch.push_back(std::move(copy));
    } else {
      // Nobody else can tell.
      Refute(copy.full_key, copy.version);
    }
  }
  if (batch.empty()) co_return true;
  const std::vector<LowerTier::Read> reads =
      co_await options_.lower->Get(std::move(keys), INT64_MAX);
  if (IsOver(*check)) co_return false;
  check->failed = false;
  for (size_t i = 0; i < batch.size(); ++i) {
    const bool same =
        reads[i].entry.has_value() && reads[i].seen == batch[i].version &&
        !LowerTier::Outlives(batch[i].fresh_until, batch[i].sliding, reads[i].entry->fresh_until);
    if (reads[i].failed) {
      check->failed = true;
      check->copies.push_back(std::move(batch[i]));
    } else if (same ||
               options_.lower->IsBehind(batch[i].full_key, batch[i].version, reads[i].seen)) {
      Confirm(batch[i].full_key, batch[i].version, began);
    } else {
      Refute(batch[i].full_key, batch[i].version);
    }
  }
  co_return true;
}

bool Coherence::IsSilent(MonoNanos now) {
  if (alone()) return false;
  const MonoNanos left = options_.bus->ReliableUntil() - now;
  const MonoNanos most = std::max(trust_most_.load(std::memory_order_relaxed), left);
  trust_most_.store(most, std::memory_order_relaxed);
  return left < most / 2;
}

void Coherence::Refute(std::string_view full_key, Version version) {
  refuted_.fetch_add(1, std::memory_order_relaxed);
  const EraseResult erased = options_.memory->Erase(full_key, version, options_.clock->Mono());
  options_.leases->OnChange(full_key, erased.cancelled, LeaseTable::Change::kRemoved);
}

void Coherence::Watch(const std::shared_ptr<LeaseWaiter>& waiter) {
  {
    MutexLock lock(&mu_);
    if (!draining_) {
      watches_[waiter->full_key].push_back(waiter);
      return;
    }
  }
  waiter->turn.TrySet({LeaseTurn::Kind::kDraining});
}

void Coherence::Unwatch(const std::shared_ptr<LeaseWaiter>& waiter) {
  MutexLock lock(&mu_);
  const auto it = watches_.find(waiter->full_key);
  if (it == watches_.end()) return;
  std::erase(it->second, waiter);
  if (it->second.empty()) watches_.erase(it);
}

void Coherence::Wake(std::string_view full_key) {
  std::vector<std::shared_ptr<LeaseWaiter>> woken;
  {
    MutexLock lock(&mu_);
    if (watches_.empty()) return;
    const auto it = watches_.find(ToAbsl(full_key));
    if (it == watches_.end()) return;
    woken = it->second;
  }
  for (const auto& waiter : woken) waiter->turn.TrySet({LeaseTurn::Kind::kStored});
}

void Coherence::Drain() {
  std::vector<std::shared_ptr<LeaseWaiter>> all;
  {
    MutexLock lock(&mu_);
    draining_ = true;
    for (auto& [key, waiters] : watches_) all.insert(all.end(), waiters.begin(), waiters.end());
    watches_.clear();
  }
  for (const auto& waiter : all) waiter->turn.TrySet({LeaseTurn::Kind::kDraining});
}

CoherenceStats Coherence::Stats() const {
  CoherenceStats stats;
  stats.suspect = suspect_before_.load(std::memory_order_relaxed) != kNoVersion;
  stats.changes = changes_.load(std::memory_order_relaxed);
  stats.dropped = dropped_.load(std::memory_order_relaxed);
  stats.confirmed = confirmed_total_.load(std::memory_order_relaxed);
  stats.refuted = refuted_.load(std::memory_order_relaxed);
  stats.served_suspect = served_suspect_.load(std::memory_order_relaxed);
  return stats;
}

}  // namespace larder
