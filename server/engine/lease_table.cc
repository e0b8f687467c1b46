// A record exists while somebody holds the key's lease; its line holds who waits. Waiters are told
// their turn through their Signal, where the first word wins: a waiter whose time ran out in the
// same moment has "timeout" as its word, and the table, refused by that Signal, offers the lease to
// the next in line. Signals are set outside the shard's lock.

#include "engine/lease_table.h"

#include <cstring>

#include "absl/hash/hash.h"
#include "base/strings.h"
#include "core/error.h"

namespace larder {

LeaseTable::LeaseTable(const Options& options)
    : options_(options), shards_(std::make_unique<std::array<Shard, kShards>>()) {}
LeaseTable::~LeaseTable() = default;

LeaseTable::Shard& LeaseTable::ShardOf(std::string_view full_key) const {
  return (*shards_)[absl::Hash<std::string_view>{}(full_key) % kShards];
}

std::string LeaseTable::NewToken() {
  char bytes[kLeaseTokenBytes];
  for (size_t i = 0; i < kLeaseTokenBytes; i += sizeof(uint64_t)) {
    const uint64_t random = options_.random->Next();
    std::memcpy(bytes + i, &random, sizeof(random));
  }
  return std::string(bytes, sizeof(bytes));
}

absl::StatusOr<LeaseTable::Place> LeaseTable::Join(std::string_view full_key, bool wait) {
  std::string token = NewToken();
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  if (shard.draining) {
    return RetryableError(Reason::kDRAINING, absl::Milliseconds(100),
                          "the server is shutting down");
  }
  const auto it = shard.records.find(ToAbsl(full_key));
  if (it == shard.records.end()) {
    if (held_.load() >= options_.leases_max) {
      return RetryableError(Reason::kOVERLOADED, absl::Seconds(1),
                            StrCat(options_.leases_max, " leases are out (limits.leases)"));
    }
    ++held_;
    shard.records.emplace(std::string(full_key), Record{token, {}, 0, {}});
    return Place{std::move(token), nullptr, false};
  }
  if (!wait) return Place{"", nullptr, true};
  Line& line = it->second.line;
  if (line.size() >= options_.waiters_per_key_max || waiting_.load() >= options_.waiters_max) {
    return RetryableError(Reason::kTOO_MANY_WAITERS, absl::Milliseconds(500),
                          StrCat(line.size(), " callers wait for this key and ", waiting_.load(),
                                 " in all (limits.waiters_per_key, limits.waiters)"));
  }
  auto waiter = std::make_shared<LeaseWaiter>(options_.executor, full_key);
  waiter->place = line.insert(line.end(), waiter);
  waiter->in_line = true;
  ++waiting_;
  return Place{"", std::move(waiter), false};
}

void LeaseTable::Leave(const std::shared_ptr<LeaseWaiter>& waiter) {
  Shard& shard = ShardOf(waiter->full_key);
  MutexLock lock(&shard.mu);
  if (!waiter->in_line) return;
  // In line, so its record is there.
  shard.records.find(waiter->full_key)->second.line.erase(waiter->place);
  waiter->in_line = false;
  --waiting_;
}

bool LeaseTable::Arm(std::string_view full_key, std::string_view token, const ArmedLease& lease,
                     TimerId timer) {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.records.find(ToAbsl(full_key));
  if (it == shard.records.end() || it->second.token != token) return false;
  it->second.lease = lease;
  it->second.timer = timer;
  counters_.Add(kGranted);
  return true;
}

bool LeaseTable::Find(std::string_view full_key, std::string_view token, ArmedLease* lease) const {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.records.find(ToAbsl(full_key));
  if (it == shard.records.end() || it->second.token != token || it->second.lease.ticket == 0)
    return false;
  *lease = it->second.lease;
  return true;
}

bool LeaseTable::Complete(std::string_view full_key, std::string_view token) {
  if (!EndStored(full_key, token)) return false;
  counters_.Add(kFulfilled);
  return true;
}

bool LeaseTable::EndStored(std::string_view full_key, std::string_view token) {
  Record ended;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.records.find(ToAbsl(full_key));
    if (it == shard.records.end() || it->second.token != token) return false;
    ended = std::move(it->second);
    shard.records.erase(it);
    --held_;
    waiting_ -= ended.line.size();
    for (const auto& waiter : ended.line) waiter->in_line = false;
  }
  if (ended.timer != 0) options_.executor->Cancel(ended.timer);
  for (const auto& waiter : ended.line) waiter->turn.TrySet({LeaseTurn::Kind::kStored});
  return true;
}

bool LeaseTable::PassOn(std::string_view full_key, std::string_view token, Lost why) {
  std::shared_ptr<LeaseWaiter> next;
  std::string next_token = NewToken();
  TimerId timer;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.records.find(ToAbsl(full_key));
    if (it == shard.records.end() || it->second.token != token) return false;
    Record& record = it->second;
    timer = record.timer;
    if (record.line.empty()) {
      shard.records.erase(it);
      --held_;
    } else {
      next = std::move(record.line.front());
      record.line.pop_front();
      next->in_line = false;
      --waiting_;
      record.token = next_token;
      record.lease = {};
      record.timer = 0;
    }
  }
  if (timer != 0) options_.executor->Cancel(timer);
  Count(why);
  if (next != nullptr) HandOver(full_key, std::move(next), std::move(next_token));
  return true;
}

void LeaseTable::HandOver(std::string_view full_key, std::shared_ptr<LeaseWaiter> next,
                          std::string token) {
  while (!next->turn.TrySet({LeaseTurn::Kind::kGranted, token})) {
    // That waiter had left in this moment. Nobody else knows the token, so the record is ours to
    // hand on.
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.records.find(ToAbsl(full_key));
    if (it == shard.records.end() || it->second.token != token) return;
    Line& line = it->second.line;
    if (line.empty()) {
      shard.records.erase(it);
      --held_;
      return;
    }
    next = std::move(line.front());
    line.pop_front();
    next->in_line = false;
    --waiting_;
  }
}

void LeaseTable::OnChange(std::string_view full_key, FillTicket cancelled, Change change) {
  if (cancelled == 0) return;
  std::string token;
  {
    Shard& shard = ShardOf(full_key);
    MutexLock lock(&shard.mu);
    const auto it = shard.records.find(ToAbsl(full_key));
    // 1: the change ends the fill.  2: the lease runs out and passes on.  3: we get here, and the
    // record is about a lease that began after the change. Only the holder of the ended fill loses.
    if (it == shard.records.end() || it->second.lease.ticket != cancelled) return;
    token = it->second.token;
  }
  if (change == Change::kRemoved) {
    PassOn(full_key, token, Lost::kRevoked);
  } else if (EndStored(full_key, token)) {
    counters_.Add(kRevoked);
  }
}

void LeaseTable::Drain() {
  for (Shard& shard : *shards_) {
    std::vector<std::shared_ptr<LeaseWaiter>> waiters;
    {
      MutexLock lock(&shard.mu);
      shard.draining = true;
      for (auto& [key, record] : shard.records) {
        for (const auto& waiter : record.line) {
          waiter->in_line = false;
          waiters.push_back(waiter);
        }
        record.line.clear();
      }
      waiting_ -= waiters.size();
    }
    for (const auto& waiter : waiters) waiter->turn.TrySet({LeaseTurn::Kind::kDraining});
  }
}

bool LeaseTable::IsHeld(std::string_view full_key, size_t* waiters) const {
  Shard& shard = ShardOf(full_key);
  MutexLock lock(&shard.mu);
  const auto it = shard.records.find(ToAbsl(full_key));
  if (it == shard.records.end()) return false;
  *waiters = it->second.line.size();
  return true;
}

void LeaseTable::Count(Lost why) {
  switch (why) {
    case Lost::kReleased:
      return counters_.Add(kReleased);
    case Lost::kExpired:
      return counters_.Add(kExpired);
    case Lost::kRevoked:
      return counters_.Add(kRevoked);
  }
}

LeaseTotals LeaseTable::Totals() const {
  LeaseTotals totals;
  totals.held = held_.load();
  totals.waiting = waiting_.load();
  totals.granted = counters_.Sum(kGranted);
  totals.fulfilled = counters_.Sum(kFulfilled);
  totals.released = counters_.Sum(kReleased);
  totals.expired = counters_.Sum(kExpired);
  totals.revoked = counters_.Sum(kRevoked);
  return totals;
}

}  // namespace larder
