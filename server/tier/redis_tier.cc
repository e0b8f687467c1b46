// A Get must be cheap, since Redis itself spends about a microsecond on one: no script, one GET a
// key, pipelined. Only what changes something decides, in Redis, by a script (redis_scripts.cc).
//
// MGET would spare Redis a third of a batch's work, but it answers nil for a value of another type,
// which then could not be told from a miss, and a Cluster takes it for keys of one slot only.
//
// What is skipped (too short a life, too large) must not leave what it would have replaced, and an
// older value that is late must not come in its place. So a tombstone of its version goes where the
// entry would have gone, under the same conditions, and stays as long as the entry would have, or
// as long as a tombstone has to.
//
// Redis drops a key `linger` after the end of its entry, not at its end: the head in its place is
// all that tells an older write that it is older. It is a guard for loads that are late by seconds;
// the engine keeps its own books of what was removed.

#include "tier/redis_tier.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "base/strings.h"
#include "core/glob.h"
#include "core/key.h"
#include "tier/envelope.h"
#include "tier/redis_key.h"
#include "tier/redis_room.h"
#include "tier/redis_scripts.h"

namespace larder {
namespace {

enum Counter : size_t {
  kGets,
  kHits,
  kPuts,
  kErases,
  kOutdated,
  kSkipped,
  kBadEnvelopes,
  kErrors,
  kFull,
  kCounters,
};

bool IsWrongType(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInternal &&
         absl::StrContains(status.message(), "WRONGTYPE");
}

// Out of memory. Redis before 7 wraps what a command in a script failed with into an error of the
// script.
bool IsFull(const absl::Status& status) {
  return absl::IsResourceExhausted(status) ||
         (status.code() == absl::StatusCode::kInternal &&
          absl::StrContains(status.message(), "OOM command not allowed"));
}

RedisCommand GetCommand(std::string name) {
  RedisCommand command;
  command.args.reserve(2);
  command.args.emplace_back("GET");
  command.args.push_back(std::move(name));
  return command;
}

RedisCommand HeadCommand(std::string name) {
  RedisCommand command;
  command.args.reserve(4);
  command.args.emplace_back("GETRANGE");
  command.args.push_back(std::move(name));
  command.args.emplace_back("0");
  command.args.push_back(absl::StrCat(kEnvelopeHeadBytes - 1));
  return command;
}

// A batch of a change, with what its answers mean.
struct Changes {
  struct About {
    bool erase = false;
    bool skipped = false;
  };
  std::vector<Redis::ScriptCall> calls;
  std::vector<About> abouts;
};

class RedisTier : public Tier {
 public:
  RedisTier(Redis* redis, const RedisTierOptions& options)
      : redis_(redis),
        options_(options),
        keys_(options.prefix, RedisKeys::Part::kEntry),
        room_(redis, options.clock),
        counters_(kCounters) {}

  Task<absl::StatusOr<std::vector<TierRead>>> Get(std::vector<std::string> full_keys,
                                                  MonoNanos deadline) override;
  Task<absl::StatusOr<std::vector<TierChange>>> Put(std::vector<TierPut> puts,
                                                    MonoNanos deadline) override;
  Task<absl::StatusOr<std::vector<TierChange>>> Erase(std::vector<TierErase> erases,
                                                      MonoNanos deadline) override;
  Task<absl::StatusOr<TierPage>> Scan(TierScan scan, MonoNanos deadline) override;
  bool shared() const override { return true; }
  uint64_t losses() const override { return redis_->disconnects(); }
  TierStats Stats() const override;

 private:
  using Replies = std::vector<absl::StatusOr<RedisReply>>;

  int64_t WallMs() const { return absl::ToUnixMillis(options_.clock->Now()); }
  // Decodes the answer of one GET; what is broken goes to `bad`.
  void Read(const std::string& full_key, absl::StatusOr<RedisReply>* reply, TierRead* read,
            std::vector<Redis::ScriptCall>* bad);
  Task<bool> RemoveBad(std::vector<Redis::ScriptCall> bad, MonoNanos deadline);
  Task<absl::StatusOr<std::vector<TierChange>>> Run(Changes changes, MonoNanos deadline);
  // How many calls from `begin` on may travel together: by their number, and by the bytes of their
  // first arguments.
  size_t FirstOf(const std::vector<Redis::ScriptCall>& calls, size_t begin) const;
  TierChange Count(const ChangeAnswer& answer, Changes::About about);
  // The first failure among `replies`, all of them counted, and kept as the state.
  absl::Status CountFailures(const Replies& replies);
  void NoteFailure(const absl::Status& status);
  // Counts and notes the failure of a call that is one to Redis.
  absl::Status Failed(absl::Status status) {
    counters_.Add(kErrors);
    NoteFailure(status);
    return status;
  }
  void NoteSuccess();

  Redis* const redis_;
  const RedisTierOptions options_;
  const RedisKeys keys_;
  const RedisRoom room_;
  CounterBlock counters_;
  // Whether the last call failed, so that those that succeed need no lock.
  std::atomic<bool> failing_{false};
  mutable Mutex mu_;
  std::string failure_ ABSL_GUARDED_BY(mu_);
};

// Get.

Task<absl::StatusOr<std::vector<TierRead>>> RedisTier::Get(std::vector<std::string> full_keys,
                                                           MonoNanos deadline) {
  counters_.Add(kGets, full_keys.size());
  std::vector<TierRead> reads(full_keys.size());
  std::vector<Redis::ScriptCall> bad;
  std::optional<absl::Status> failure;
  size_t failed = 0;
  for (size_t begin = 0; begin < full_keys.size(); begin += options_.batch_keys_max) {
    const size_t end = std::min(full_keys.size(), begin + options_.batch_keys_max);
    Replies replies;
    if (end - begin == 1) {
      replies.push_back(co_await redis_->Call(GetCommand(keys_.Of(full_keys[begin])), deadline));
    } else {
      std::vector<RedisCommand> commands;
      commands.reserve(end - begin);
      for (size_t i = begin; i < end; ++i) commands.push_back(GetCommand(keys_.Of(full_keys[i])));
      replies = co_await redis_->ReadMany(std::move(commands), deadline);
    }
    for (size_t i = begin; i < end; ++i) {
      absl::StatusOr<RedisReply>& reply = replies[i - begin];
      if (!reply.ok() && !IsWrongType(reply.status())) {
        ++failed;
        if (!failure.has_value()) failure = reply.status();
        continue;
      }
      Read(full_keys[i], &reply, &reads[i], &bad);
    }
  }
  if (failure.has_value()) {
    counters_.Add(kErrors, failed);
    NoteFailure(*failure);
    if (failed == full_keys.size()) co_return *std::move(failure);
  } else {
    NoteSuccess();
  }
  if (!bad.empty()) co_await RemoveBad(std::move(bad), deadline);
  co_return reads;
}

void RedisTier::Read(const std::string& full_key, absl::StatusOr<RedisReply>* reply, TierRead* read,
                     std::vector<Redis::ScriptCall>* bad) {
  if (reply->ok() && (*reply)->kind == RedisReply::Kind::kNil) return;
  if (reply->ok()) {
    auto decoded = DecodeEnvelope(full_key, (*reply)->text, *options_.clock);
    if (decoded.ok()) {
      *read = *std::move(decoded);
      if (read->kind == TierRead::Kind::kEntry) counters_.Add(kHits);
      return;
    }
    bad->push_back(RemoveSameCall(keys_.Of(full_key), std::move((*reply)->text)));
  }
  counters_.Add(kBadEnvelopes);
}

// Waited for, although the answer of the Get is known: a task that nobody awaits would outlive the
// tier. It comes once for each break, and as many bytes as one batch may have; what is left over is
// removed by the next reader.
Task<bool> RedisTier::RemoveBad(std::vector<Redis::ScriptCall> bad, MonoNanos deadline) {
  bad.resize(FirstOf(bad, 0));
  const auto replies = co_await redis_->RunMany(RemoveSameScript(), std::move(bad), deadline);
  // That one could not be removed changes no answer: it is found again.
  co_return std::all_of(replies.begin(), replies.end(), [](const auto& r) { return r.ok(); });
}

// Put and Erase.

Task<absl::StatusOr<std::vector<TierChange>>> RedisTier::Put(std::vector<TierPut> puts,
                                                             MonoNanos deadline) {
  const MonoNanos mono = options_.clock->Mono();
  const int64_t wall_ms = WallMs();
  Changes changes;
  changes.calls.reserve(puts.size());
  for (TierPut& put : puts) {
    const absl::Duration left = put.usable_until == INT64_MAX
                                    ? absl::InfiniteDuration()
                                    : absl::Nanoseconds(put.usable_until - mono);
    const bool too_large = put.envelope.size() > options_.envelope_bytes_max;
    const bool conditional = put.expect.kind != Expect::Kind::kAny;
    const bool ends = left <= (conditional ? absl::ZeroDuration() : options_.life_min);
    absl::Duration life =
        std::max(std::max(left, absl::ZeroDuration()) + options_.linger, kVersionKept);
    if (too_large || ends) {
      life = std::min(life, kTombstoneTtl);
      put.envelope = EncodeTombstone(put.full_key, put.version, options_.clock->Now() + life);
    }
    changes.abouts.push_back({.erase = false, .skipped = too_large || ends});
    changes.calls.push_back(
        ChangeCall(keys_.Of(put.full_key), std::move(put.envelope), life, wall_ms, put.expect));
  }
  co_return co_await Run(std::move(changes), deadline);
}

Task<absl::StatusOr<std::vector<TierChange>>> RedisTier::Erase(std::vector<TierErase> erases,
                                                               MonoNanos deadline) {
  const absl::Time until = options_.clock->Now() + kTombstoneTtl;
  const int64_t wall_ms = WallMs();
  Changes changes;
  changes.calls.reserve(erases.size());
  for (const TierErase& erase : erases) {
    std::string tombstone = EncodeTombstone(erase.full_key, erase.version, until);
    changes.abouts.push_back({.erase = true, .skipped = false});
    changes.calls.push_back(ChangeCall(keys_.Of(erase.full_key), std::move(tombstone),
                                       kTombstoneTtl + options_.linger, wall_ms, Expect{}));
  }
  co_return co_await Run(std::move(changes), deadline);
}

Task<absl::StatusOr<std::vector<TierChange>>> RedisTier::Run(Changes changes, MonoNanos deadline) {
  std::vector<TierChange> done;
  done.reserve(changes.calls.size());
  std::optional<absl::Status> failure;
  for (size_t begin = 0; begin < changes.calls.size();) {
    const size_t end = begin + FirstOf(changes.calls, begin);
    std::vector<Redis::ScriptCall> calls(std::make_move_iterator(changes.calls.begin() + begin),
                                         std::make_move_iterator(changes.calls.begin() + end));
    const Replies replies = co_await redis_->RunMany(ChangeScript(), std::move(calls), deadline);
    absl::Status status = CountFailures(replies);
    if (!status.ok() && !failure.has_value()) failure = std::move(status);
    for (size_t i = begin; i < end; ++i) {
      const auto& reply = replies[i - begin];
      if (!reply.ok()) continue;
      const auto answer = ParseChange(*reply);
      if (!answer.ok()) {
        counters_.Add(kErrors);
        if (!failure.has_value()) failure = answer.status();
        continue;
      }
      done.push_back(Count(*answer, changes.abouts[i]));
    }
    begin = end;
  }
  if (failure.has_value()) {
    NoteFailure(*failure);
    co_return *std::move(failure);
  }
  NoteSuccess();
  co_return done;
}

size_t RedisTier::FirstOf(const std::vector<Redis::ScriptCall>& calls, size_t begin) const {
  size_t bytes = 0;
  size_t count = 0;
  for (size_t i = begin; i < calls.size() && count < options_.batch_keys_max; ++i) {
    bytes += calls[i].args[0].size();
    if (count > 0 && bytes > options_.batch_bytes_max) break;
    ++count;
  }
  return count;
}

TierChange RedisTier::Count(const ChangeAnswer& answer, Changes::About about) {
  TierChange change = answer.change;
  if (answer.found_bad) counters_.Add(kBadEnvelopes);
  switch (change.outcome) {
    case TierChange::Outcome::kDone:
      if (about.skipped) change.outcome = TierChange::Outcome::kSkipped;
      counters_.Add(about.skipped ? kSkipped : about.erase ? kErases : kPuts);
      break;
    case TierChange::Outcome::kNewerExists:
      counters_.Add(kOutdated);
      break;
    case TierChange::Outcome::kConditionFailed:
    case TierChange::Outcome::kSkipped:
      break;
  }
  return change;
}

absl::Status RedisTier::CountFailures(const Replies& replies) {
  absl::Status first;
  uint64_t failed = 0;
  uint64_t full = 0;
  for (const auto& reply : replies) {
    if (reply.ok()) continue;
    if (failed++ == 0) first = reply.status();
    if (IsFull(reply.status())) ++full;
  }
  if (failed == 0) return first;
  counters_.Add(kErrors, failed);
  if (full > 0) counters_.Add(kFull, full);
  return IsFull(first) ? absl::ResourceExhaustedError(first.message()) : first;
}

// Scan.

Task<absl::StatusOr<TierPage>> RedisTier::Scan(TierScan scan, MonoNanos deadline) {
  std::optional<Glob> glob;
  if (!scan.glob.empty()) {
    CO_ASSIGN_OR_RETURN(glob, Glob::Parse(scan.glob));
  }
  CO_ASSIGN_OR_RETURN(std::string match, keys_.MatchUnder(scan.full_prefix));
  const size_t count = std::clamp<size_t>(scan.limit, 1, options_.scan_keys_max);
  auto found = co_await redis_->Scan(std::move(scan.cursor), std::move(match), count, deadline);
  if (!found.ok()) co_return Failed(found.status());
  TierPage page;
  page.cursor = std::move(found->cursor);
  std::vector<RedisCommand> commands;
  for (std::string& name : found->keys) {
    std::optional<std::string> full_key = keys_.FullKeyOf(name);
    if (!full_key.has_value()) continue;
    if (glob.has_value() && !glob->Matches(FullKey::KeyOf(*full_key))) continue;
    page.items.push_back({*std::move(full_key), kNoVersion});
    commands.push_back(HeadCommand(std::move(name)));
  }
  if (commands.empty()) co_return page;

  const Replies heads = co_await redis_->ReadMany(std::move(commands), deadline);
  const int64_t wall_ms = WallMs();
  size_t kept = 0;
  for (size_t i = 0; i < heads.size(); ++i) {
    if (!heads[i].ok()) {
      if (IsWrongType(heads[i].status())) continue;
      co_return Failed(heads[i].status());
    }
    // One that is broken, or gone since, is no live entry. Broken ones are counted when read.
    const auto head = DecodeEnvelopeHead(heads[i]->text);
    if (!head.ok() || !head->live(wall_ms)) continue;
    page.items[i].version = head->version;
    if (kept != i) page.items[kept] = std::move(page.items[i]);
    ++kept;
  }
  page.items.resize(kept);
  NoteSuccess();
  co_return page;
}

// State.

void RedisTier::NoteFailure(const absl::Status& status) {
  bool began = false;
  {
    MutexLock lock(&mu_);
    failure_ = std::string(status.message());
    began = !failing_.exchange(true, std::memory_order_relaxed);
  }
  if (began) LogWarning("redis_tier_fails", {{"why", status.ToString()}});
}

void RedisTier::NoteSuccess() {
  if (!failing_.load(std::memory_order_relaxed)) return;
  if (failing_.exchange(false, std::memory_order_relaxed)) LogInfo("redis_tier_works_again");
}

TierStats RedisTier::Stats() const {
  TierStats stats;
  stats.name = "redis";
  stats.state = "ok";
  if (failing_.load(std::memory_order_relaxed)) {
    MutexLock lock(&mu_);
    stats.state = failure_;
  }
  stats.gets = counters_.Sum(kGets);
  stats.hits = counters_.Sum(kHits);
  stats.puts = counters_.Sum(kPuts);
  stats.erases = counters_.Sum(kErases);
  stats.outdated = counters_.Sum(kOutdated);
  stats.skipped = counters_.Sum(kSkipped);
  stats.bad_envelopes = counters_.Sum(kBadEnvelopes);
  stats.errors = counters_.Sum(kErrors);
  stats.full = counters_.Sum(kFull);
  const RedisRoom::Usage room = room_.Get();
  stats.entries = room.entries;
  stats.bytes = room.bytes;
  stats.bytes_max = room.bytes_max;
  return stats;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tier>> NewRedisTier(Redis* redis, const RedisTierOptions& options) {
  RETURN_IF_ERROR(CheckRedisTierOptions(options));
  return std::unique_ptr<Tier>(std::make_unique<RedisTier>(redis, options));
}

}  // namespace larder
