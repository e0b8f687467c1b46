// Written for clarity, not for speed: ordered maps, one lock around all of it, every wait looked at
// on every tick. A lease's Set is stored under the version of the moment when its load began, as on
// a server, and any change of the key ends the lease; that is the whole of "no stale fill" here.

#include "client/src/fake_store.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/src/fake_checks.h"
#include "client/src/status.h"

namespace larder::internal {

FakeStore::FakeStore(const std::vector<FakeType>& types, absl::Time now) : since_(now) {
  types_["default"].name = "default";
  for (const FakeType& type : types) types_[type.name] = type;
}

absl::StatusOr<const FakeType*> FakeStore::TypeOf(const std::string& name) const {
  const auto type = types_.find(name.empty() ? "default" : name);
  if (type != types_.end()) return &type->second;
  return FieldError("TYPE_UNKNOWN", "type", absl::StrCat("unknown type \"", name, "\""));
}

const FakeStore::Record* FakeStore::Peek(const Key& key, absl::Time now) const {
  const auto record = records_.find(key);
  return record == records_.end() || record->second.expires <= now ? nullptr : &record->second;
}

FakeStore::Record* FakeStore::Find(const Key& key, absl::Time now) {
  const auto record = records_.find(key);
  if (record == records_.end()) return nullptr;
  if (record->second.expires > now) return &record->second;
  ++Usage(key).expirations;
  records_.erase(record);
  gone_[key] = MissReason::kExpired;
  return nullptr;
}

MissReason FakeStore::WhyMissing(const Key& key) const {
  const auto why = gone_.find(key);
  return why == gone_.end() ? MissReason::kAbsent : why->second;
}

uint64_t FakeStore::NextVersion(absl::Time now) {
  // Like a server's: milliseconds in front, so that versions look and order alike.
  last_version_ = std::max(last_version_ + 1, static_cast<uint64_t>(absl::ToUnixMillis(now)) << 20);
  return last_version_;
}

absl::Duration FakeStore::TtlFor(const FakeType& type, const std::optional<absl::Duration>& ttl,
                                 bool absent) const {
  return std::min(ttl.value_or(absent ? type.ttl_absent : type.ttl), type.ttl_max);
}

// REQUIRES: record != null.
GetResult FakeStore::Answer(const Key& key, Record* record, bool metadata_only, absl::Time now) {
  GetResult result;
  if (record->negative) {
    ++Usage(key).misses;
    ++Usage(key).negative_hits;
    result.miss = {MissReason::kNegative, record->expires - now};
    return result;
  }
  ++Usage(key).hits;
  ++record->hits;
  Entry entry;
  if (!metadata_only) entry.value = record->value;
  entry.version = record->version;
  entry.age = now - record->written;
  entry.remaining_ttl = record->expires - now;
  entry.tier = Tier::kL1;
  entry.tags = record->tags;
  entry.value_bytes = record->value.size();
  result.entry = std::move(entry);
  return result;
}

GetResult FakeStore::Get(const Key& key, bool metadata_only, absl::Time now) {
  if (Record* record = Find(key, now); record != nullptr)
    return Answer(key, record, metadata_only, now);
  ++Usage(key).misses;
  GetResult result;
  result.miss.reason = WhyMissing(key);
  return result;
}

FakeStore::Record FakeStore::NewRecord(const SetItem& item, const FakeType& type, uint64_t version,
                                       absl::Time now) const {
  Record record;
  if (!item.absent) record.value = item.value;
  record.negative = item.absent;
  record.version = version;
  record.written = now;
  record.expires = now + TtlFor(type, item.ttl, item.absent);
  record.type = type.name;
  record.tags = item.tags;
  record.depends_on = item.depends_on;
  return record;
}

void FakeStore::Put(const Key& key, Record record, absl::Time now, Tier tier) {
  ++Usage(key).sets;
  gone_.erase(key);
  Record& stored = records_[key] = std::move(record);
  const auto lease = leases_.find(key);
  if (lease == leases_.end()) return;
  std::list<Waiter> line = std::move(lease->second.line);
  leases_.erase(lease);
  for (Waiter& waiter : line) {
    GetResult found = Answer(key, &stored, false, now);
    LeaseResult result;
    result.entry = std::move(found.entry);
    if (result.hit()) result.entry->tier = tier;
    result.miss = found.miss;
    ready_.emplace_back(std::move(waiter.done), std::move(result));
  }
}

SetResult FakeStore::Set(const Key& key, const SetItem& item, const FakeType& type,
                         absl::Time now) {
  SetResult result;
  const Record* present = Find(key, now);
  const auto lease = leases_.find(key);
  const bool lease_out = lease != leases_.end();
  uint64_t version = 0;
  if (!item.lease_token.empty()) {
    if (!lease_out || lease->second.origin || lease->second.token != item.lease_token) {
      result.reason = NotStoredReason::kLeaseLost;
    } else {
      version = lease->second.version;
      ++lease_stats_.fulfilled;
    }
  } else {
    const bool live = present != nullptr && !present->negative;
    const Condition& wanted = item.condition;
    const bool holds =
        wanted.kind == Condition::Kind::kNone ||
        (wanted.kind == Condition::Kind::kAbsent && !live) ||
        (wanted.kind == Condition::Kind::kPresent && live) ||
        (wanted.kind == Condition::Kind::kVersion && live && present->version == wanted.version);
    if (holds) {
      version = NextVersion(now);
      if (lease_out && !lease->second.origin) ++lease_stats_.revoked;
    } else {
      result.reason = NotStoredReason::kCondition;
    }
  }
  if (version == 0) {
    ++Usage(key).sets_refused;
    result.current_version = present == nullptr ? 0 : present->version;
    return result;
  }
  result.stored = true;
  result.version = version;
  result.ttl = TtlFor(type, item.ttl, item.absent);
  Put(key, NewRecord(item, type, version, now), now);
  return result;
}

bool FakeStore::Erase(const Key& key, absl::Time now) {
  ++Usage(key).removals;
  const Record* present = Find(key, now);
  const bool existed = present != nullptr && !present->negative;
  records_.erase(key);
  gone_[key] = MissReason::kInvalidated;
  if (const auto lease = leases_.find(key); lease != leases_.end()) {
    if (!lease->second.origin) ++lease_stats_.revoked;
    PassOn(key, now);
  }
  return existed;
}

DeleteResult FakeStore::Delete(const Key& key, absl::Time now) {
  const uint64_t version = NextVersion(now);
  return {Erase(key, now), version};
}

InvalidateResult FakeStore::Invalidate(const std::vector<Key>& keys, bool dry_run, absl::Time now) {
  InvalidateResult result;
  result.replicas_total = 1;
  if (dry_run) {
    result.estimated_entries = std::count_if(
        keys.begin(), keys.end(), [&](const Key& key) { return Peek(key, now) != nullptr; });
    return result;
  }
  result.version = NextVersion(now);
  result.replicas_acknowledged = 1;
  for (const Key& key : keys) result.estimated_entries += Erase(key, now);
  return result;
}

std::vector<FakeStore::Key> FakeStore::Selected(const std::string& ns, const Selector& selector,
                                                absl::Time now) const {
  std::vector<Key> keys;
  for (const auto& [key, record] : records_) {
    if (key.first != ns || Peek(key, now) == nullptr) continue;
    const bool tagged =
        std::any_of(selector.tags.begin(), selector.tags.end(), [&record](const std::string& tag) {
          return std::find(record.tags.begin(), record.tags.end(), tag) != record.tags.end();
        });
    const bool begins = !selector.prefix.empty() && absl::StartsWith(key.second, selector.prefix);
    const bool matches =
        !selector.glob.empty() && fnmatch(selector.glob.c_str(), key.second.c_str(), 0) == 0;
    const bool typed = !selector.type.empty() && record.type == selector.type;
    if (selector.all || tagged || begins || matches || typed) keys.push_back(key);
  }
  return keys;
}

LeaseResult FakeStore::Grant(LeaseRecord* lease, absl::Duration ttl, absl::Time now) {
  lease->token = absl::StrCat("fake-lease-", ++tokens_);
  lease->version = NextVersion(now);
  lease->expires = now + ttl;
  ++lease_stats_.granted;
  LeaseResult result;
  result.lease = Lease{lease->token, ttl};
  return result;
}

void FakeStore::PassOn(const Key& key, absl::Time now) {
  const auto found = leases_.find(key);
  LeaseRecord& lease = found->second;
  if (lease.origin) {
    lease.version = 0;
    return;
  }
  ++Usage(key).loads_failed;
  if (lease.line.empty()) {
    leases_.erase(found);
    return;
  }
  Waiter next = std::move(lease.line.front());
  lease.line.pop_front();
  ++Usage(key).misses;
  ++Usage(key).loads;
  ready_.emplace_back(std::move(next.done), Grant(&lease, next.lease_ttl, now));
}

void FakeStore::GetOrLease(const Key& key, absl::Duration lease_ttl, absl::Time until,
                           Callback<LeaseResult> done, absl::Time now) {
  LeaseResult result;
  if (Record* record = Find(key, now); record != nullptr) {
    GetResult found = Answer(key, record, false, now);
    result.entry = std::move(found.entry);
    result.miss = found.miss;
  } else if (const auto lease = leases_.find(key); lease == leases_.end()) {
    ++Usage(key).misses;
    ++Usage(key).loads;
    result = Grant(&leases_[key], lease_ttl, now);
  } else if (until <= now) {
    ++Usage(key).misses;
    result.miss.reason = MissReason::kLoading;
  } else {
    ++Usage(key).loads_coalesced;
    lease->second.line.push_back({std::move(done), lease_ttl, until});
    return;
  }
  ready_.emplace_back(std::move(done), std::move(result));
}

std::string FakeStore::JoinLoad(const Key& key, absl::Time until, Callback<LeaseResult> done,
                                absl::Time now) {
  const bool opens = Find(key, now) == nullptr && leases_.count(key) == 0;
  if (!opens) {
    GetOrLease(key, absl::ZeroDuration(), until, std::move(done), now);
    return "";
  }
  ++Usage(key).misses;
  ++Usage(key).loads;
  LeaseRecord& load = leases_[key];
  load.origin = true;
  load.token = absl::StrCat("fake-load-", ++tokens_);
  load.version = NextVersion(now);
  load.expires = absl::InfiniteFuture();
  // Whoever loads does not leave before it is loaded.
  load.line.push_back({std::move(done), absl::ZeroDuration(), absl::InfiniteFuture()});
  return load.token;
}

void FakeStore::EndLoad(const Key& key, const std::string& ticket, const FakeType& type,
                        const absl::StatusOr<Loaded>& loaded, absl::Time now) {
  const auto load = leases_.find(key);
  if (load == leases_.end() || load->second.token != ticket) return;  // a Set has answered them
  if (!loaded.ok()) {
    ++Usage(key).loads_failed;
    for (Waiter& waiter : load->second.line)
      ready_.emplace_back(std::move(waiter.done), loaded.status());
    leases_.erase(load);
    return;
  }
  SetItem item;
  item.value = loaded->value;
  item.absent = loaded->absent;
  item.ttl = loaded->ttl;
  item.tags = loaded->tags;
  item.depends_on = loaded->depends_on;
  const bool changed = load->second.version == 0;
  const uint64_t version = changed ? NextVersion(now) : load->second.version;
  Put(key, NewRecord(item, type, version, now), now, Tier::kOrigin);
  --Usage(key).sets;  // nobody has set it
  if (!changed) return;
  records_.erase(key);
  gone_[key] = MissReason::kInvalidated;
}

bool FakeStore::ReleaseLease(const Key& key, const std::string& token, absl::Time now) {
  const auto lease = leases_.find(key);
  if (lease == leases_.end() || lease->second.origin || lease->second.token != token) return false;
  ++lease_stats_.released;
  PassOn(key, now);
  return true;
}

TouchResult FakeStore::Touch(const Key& key, const TouchOptions& options, absl::Time now) {
  TouchResult result;
  Record* record = Find(key, now);
  if (record == nullptr || record->negative) {
    ++Usage(key).misses;
    result.miss = record == nullptr ? Miss{WhyMissing(key)}
                                    : Miss{MissReason::kNegative, record->expires - now};
    return result;
  }
  const absl::Time expires = now + TtlFor(types_.at(record->type), options.ttl, false);
  const bool keep = (options.mode == TouchMode::kExtendOnly && expires <= record->expires) ||
                    (options.mode == TouchMode::kShortenOnly && expires > record->expires);
  if (!keep) {
    record->expires = expires;
    result.changed = true;
  }
  result.version = record->version;
  result.remaining_ttl = record->expires - now;
  return result;
}

absl::StatusOr<IncrementResult> FakeStore::Increment(const Key& key, int64_t delta,
                                                     const IncrementOptions& options,
                                                     const FakeType& type, absl::Time now) {
  Record* present = Find(key, now);
  const bool exists = present != nullptr && !present->negative;
  int64_t value = options.initial;
  if (exists) {
    const char* const end = present->value.data() + present->value.size();
    const auto [stop, error] = std::from_chars(present->value.data(), end, value);
    if (error != std::errc() || stop != end) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "NOT_A_COUNTER", "",
                       "the value is not a whole decimal number of 64 bits");
    }
  }
  using Limits = std::numeric_limits<int64_t>;
  if (delta > 0 ? value > Limits::max() - delta : value < Limits::min() - delta) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "COUNTER_OVERFLOW", "",
                     "the counter would leave the range of 64 bits; it is unchanged");
  }
  value += delta;
  if (exists && delta == 0 && !options.extend) {
    return IncrementResult{value, present->version, present->expires - now, false};
  }
  Record record;
  if (exists) record = *present;
  record.negative = false;
  record.value = absl::StrCat(value);
  record.version = NextVersion(now);
  record.written = now;
  if (!exists) record.type = type.name;
  if (!exists || options.extend) record.expires = now + TtlFor(type, options.ttl, false);
  const IncrementResult result{value, record.version, record.expires - now, !exists};
  if (const auto lease = leases_.find(key); lease != leases_.end() && !lease->second.origin)
    ++lease_stats_.revoked;
  Put(key, std::move(record), now);
  return result;
}

void FakeStore::Tick(absl::Time now) {
  std::vector<Key> expired;
  for (auto& [key, lease] : leases_) {
    for (auto waiter = lease.line.begin(); waiter != lease.line.end();) {
      if (waiter->until > now) {
        ++waiter;
        continue;
      }
      ++Usage(key).misses;
      LeaseResult result;
      result.miss.reason = MissReason::kLoading;
      ready_.emplace_back(std::move(waiter->done), std::move(result));
      waiter = lease.line.erase(waiter);
    }
    if (lease.expires <= now) expired.push_back(key);
  }
  for (const Key& key : expired) {
    ++lease_stats_.expired;
    PassOn(key, now);
  }
}

void FakeStore::EndWaits(const absl::Status& status) {
  for (auto& [key, lease] : leases_) {
    for (Waiter& waiter : lease.line) ready_.emplace_back(std::move(waiter.done), status);
    lease.line.clear();
  }
}

std::vector<FakeStore::Ready> FakeStore::TakeReady() { return std::exchange(ready_, {}); }

}  // namespace larder::internal
