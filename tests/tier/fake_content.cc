// Every decision is made from the head of the envelope that is there, as the real tiers do, and not
// from a map of decoded entries: so what the fake gets wrong about envelopes, tests of it find.

#include "tests/tier/fake_content.h"

#include <algorithm>
#include <utility>

#include "core/glob.h"
#include "core/key.h"
#include "tier/envelope.h"

namespace larder {
namespace {

int64_t WallMs(const Clock& clock) { return absl::ToUnixMillis(clock.Now()); }

// The wall time of `mono`, both of `clock`.
int64_t WallMsOf(MonoNanos mono, const Clock& clock) {
  if (mono == std::numeric_limits<MonoNanos>::max()) return std::numeric_limits<int64_t>::max();
  return WallMs(clock) + (mono - clock.Mono()) / 1'000'000;
}

}  // namespace

// What is under a key, as far as its head tells.
struct FakeContent::Present {
  bool any = false;
  EnvelopeHead head;
  bool live = false;

  Version version() const { return any ? head.version : kNoVersion; }

  bool Meets(const Expect& expect) const {
    switch (expect.kind) {
      case Expect::Kind::kAny:
        return true;
      case Expect::Kind::kAbsent:
        return !live;
      case Expect::Kind::kPresent:
        return live;
      case Expect::Kind::kVersion:
        return live && head.version == expect.version;
      case Expect::Kind::kUnchanged:
        return !any || head.version == expect.version;
    }
    return false;
  }
};

FakeContent::Present FakeContent::Look(const std::string& full_key, int64_t now_ms) {
  const auto at = map_.find(full_key);
  if (at == map_.end()) return {};
  if (at->second.expires_ms <= now_ms) {
    map_.erase(at);
    return {};
  }
  const absl::StatusOr<EnvelopeHead> head = DecodeEnvelopeHead(at->second.envelope);
  // What cannot be read is nothing.
  if (!head.ok()) return {};
  return {true, *head, head->live(now_ms)};
}

void FakeContent::Bury(const std::string& full_key, Version version, const Clock& clock) {
  const absl::Time until = clock.Now() + kTombstoneTtl;
  map_[full_key] = {EncodeTombstone(full_key, version, until), absl::ToUnixMillis(until)};
}

std::vector<TierRead> FakeContent::Get(const std::vector<std::string>& full_keys, bool stale,
                                       const Clock& clock, uint64_t* bad_envelopes) const {
  std::vector<std::optional<std::string>> found(full_keys.size());
  {
    MutexLock lock(&mu_);
    const Map& from = stale ? copy_ : map_;
    const int64_t now_ms = WallMs(clock);
    for (size_t i = 0; i < full_keys.size(); ++i) {
      const auto at = from.find(full_keys[i]);
      if (at != from.end() && at->second.expires_ms > now_ms) found[i] = at->second.envelope;
    }
  }
  std::vector<TierRead> reads(full_keys.size());
  for (size_t i = 0; i < full_keys.size(); ++i) {
    if (!found[i]) continue;
    absl::StatusOr<TierRead> read = DecodeEnvelope(full_keys[i], *found[i], clock);
    if (read.ok()) {
      reads[i] = *std::move(read);
    } else {
      ++*bad_envelopes;
    }
  }
  return reads;
}

std::vector<TierChange> FakeContent::Put(const std::vector<TierPut>& puts, const Clock& clock) {
  std::vector<TierChange> changes;
  changes.reserve(puts.size());
  MutexLock lock(&mu_);
  for (const TierPut& put : puts) changes.push_back(PutOne(put, clock));
  return changes;
}

TierChange FakeContent::PutOne(const TierPut& put, const Clock& clock) {
  using Outcome = TierChange::Outcome;
  const int64_t now_ms = WallMs(clock);
  const Present present = Look(put.full_key, now_ms);
  // A condition is about what callers see, so it comes first: a caller whose condition does not
  // hold learns that, whatever the order of the versions. The same version again is the same write
  // again, whose answer was lost, and must not fail on its own first try.
  const bool again = present.any && !present.head.tombstone &&
                     now_ms < present.head.usable_until_ms && present.version() == put.version;
  if (!again && !present.Meets(put.expect)) {
    return {Outcome::kConditionFailed, present.live, present.version()};
  }
  const int64_t ends_ms = WallMsOf(put.usable_until, clock);
  const bool brief =
      ends_ms != kNever && ends_ms - now_ms <= absl::ToInt64Milliseconds(options_.life_min);
  const bool removed =
      present.any && present.head.tombstone && present.version() == put.version && !brief;
  if (present.version() > put.version || removed) {
    return {Outcome::kNewerExists, present.live, present.version()};
  }
  if (brief || put.envelope.size() > options_.envelope_bytes_max) {
    Bury(put.full_key, put.version, clock);
    return {Outcome::kSkipped, present.live, put.version};
  }
  const int64_t kept_ms = now_ms + absl::ToInt64Milliseconds(kVersionKept);
  map_[put.full_key] = {put.envelope, std::max(ends_ms, kept_ms)};
  return {Outcome::kDone, present.live, put.version};
}

std::vector<TierChange> FakeContent::Erase(const std::vector<TierErase>& erases,
                                           const Clock& clock) {
  std::vector<TierChange> changes;
  changes.reserve(erases.size());
  MutexLock lock(&mu_);
  for (const TierErase& erase : erases) changes.push_back(EraseOne(erase, clock));
  return changes;
}

TierChange FakeContent::EraseOne(const TierErase& erase, const Clock& clock) {
  const Present present = Look(erase.full_key, WallMs(clock));
  if (present.version() > erase.version) {
    return {TierChange::Outcome::kNewerExists, present.live, present.version()};
  }
  Bury(erase.full_key, erase.version, clock);
  return {TierChange::Outcome::kDone, present.live, erase.version};
}

absl::StatusOr<TierPage> FakeContent::Scan(const TierScan& scan, bool stale,
                                           const Clock& clock) const {
  std::optional<Glob> glob;
  if (!scan.glob.empty()) {
    absl::StatusOr<Glob> parsed = Glob::Parse(scan.glob);
    if (!parsed.ok()) return parsed.status();
    glob = *std::move(parsed);
  }
  MutexLock lock(&mu_);
  const Map& from = stale ? copy_ : map_;
  const int64_t now_ms = WallMs(clock);
  TierPage page;
  // The cursor is the last key that was looked at.
  auto at =
      scan.cursor.empty() ? from.lower_bound(scan.full_prefix) : from.upper_bound(scan.cursor);
  size_t looked_at = 0;
  for (; at != from.end() && at->first.starts_with(scan.full_prefix); ++at) {
    const auto& [full_key, stored] = *at;
    if (looked_at++ == std::max<size_t>(scan.limit, 1)) return page;
    page.cursor = full_key;
    if (stored.expires_ms <= now_ms) continue;
    if (glob && !glob->Matches(FullKey::KeyOf(full_key))) continue;
    const absl::StatusOr<EnvelopeHead> head = DecodeEnvelopeHead(stored.envelope);
    if (head.ok() && head->live(now_ms)) page.items.push_back({full_key, head->version});
  }
  page.cursor.clear();
  return page;
}

void FakeContent::Clear() {
  MutexLock lock(&mu_);
  map_.clear();
}

bool FakeContent::Evict(std::string_view full_key) {
  MutexLock lock(&mu_);
  const auto at = map_.find(full_key);
  if (at == map_.end()) return false;
  map_.erase(at);
  return true;
}

void FakeContent::TakeCopy() {
  MutexLock lock(&mu_);
  copy_ = map_;
}

void FakeContent::GoBackToCopy() {
  MutexLock lock(&mu_);
  map_ = copy_;
}

std::optional<std::string> FakeContent::Raw(std::string_view full_key) const {
  MutexLock lock(&mu_);
  const auto at = map_.find(full_key);
  if (at == map_.end()) return std::nullopt;
  return at->second.envelope;
}

void FakeContent::SetRaw(std::string_view full_key, std::string bytes) {
  MutexLock lock(&mu_);
  map_[std::string(full_key)].envelope = std::move(bytes);
}

size_t FakeContent::size() const {
  MutexLock lock(&mu_);
  return map_.size();
}

size_t FakeContent::bytes() const {
  MutexLock lock(&mu_);
  size_t bytes = 0;
  for (const auto& [full_key, stored] : map_) bytes += full_key.size() + stored.envelope.size();
  return bytes;
}

}  // namespace larder
