// What the tests of the Redis tier and of the fleet lease share: real Redis servers, a client, and
// the way from a task to its result.

#ifndef LARDER_TESTS_TIER_REDIS_RIG_H_
#define LARDER_TESTS_TIER_REDIS_RIG_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "base/task.h"
#include "core/key.h"
#include "redis/redis.h"
#include "tests/redis/redis_server.h"
#include "tier/envelope.h"
#include "tier/redis_tier.h"

namespace larder {

// Runs a task to its end and returns its result. Fails the process after 30 s.
template <typename T>
T Wait(Task<T> task) {
  struct Answer {
    Mutex mu;
    CondVar came;
    std::optional<T> result ABSL_GUARDED_BY(mu);
  };
  const auto answer = std::make_shared<Answer>();
  Spawn(std::move(task), [answer](T result) {
    MutexLock lock(&answer->mu);
    answer->result.emplace(std::move(result));
    answer->came.SignalAll();
  });
  MutexLock lock(&answer->mu);
  while (!answer->result.has_value()) {
    if (!answer->came.WaitFor(&answer->mu, absl::Seconds(30)) && !answer->result.has_value()) {
      ADD_FAILURE() << "the task never ends";
      std::abort();
    }
  }
  return *std::move(answer->result);
}

// Half a minute from now, as a deadline.
inline MonoNanos Soon(const Clock& clock = *Clock::System()) {
  return MonoAfter(clock.Mono(), absl::Seconds(30));
}

inline std::string Key(std::string_view key, std::string_view name_space = "shop") {
  return std::string(FullKey(name_space, key).view());
}

// One replica's way to the servers: a client with connections of its own.
class Replica {
 public:
  explicit Replica(const std::vector<std::string>& addresses,
                   Redis::Topology topology = Redis::Topology::kSingle,
                   Clock* clock = Clock::System())
      : executor_(ThreadPool::New({})), clock_(clock) {
    Redis::Options options;
    options.topology = topology;
    options.addresses = addresses;
    options.clock = clock;
    options.executor = executor_.get();
    // A clock of a test goes on by minutes while nothing is sent.
    if (clock != Clock::System()) options.silence_max = absl::Hours(1);
    redis_ = Redis::New(options).value();
  }
  ~Replica() {
    redis_.reset();
    executor_->Shutdown();
  }

  Redis& redis() { return *redis_; }
  Executor* executor() { return executor_.get(); }
  Clock* clock() { return clock_; }

  absl::StatusOr<RedisReply> Try(std::vector<std::string> args, size_t key_at = 1) {
    return Wait(redis_->Call({std::move(args), key_at}, Soon(*clock_)));
  }
  RedisReply Do(std::vector<std::string> args, size_t key_at = 1) {
    auto reply = Try(std::move(args), key_at);
    EXPECT_TRUE(reply.ok()) << reply.status();
    return reply.ok() ? *std::move(reply) : RedisReply{};
  }

 private:
  const std::unique_ptr<ThreadPool> executor_;
  Clock* const clock_;
  std::unique_ptr<Redis> redis_;
};

// A tier of a replica, called one key at a time.
class TierOf {
 public:
  explicit TierOf(Replica* replica, RedisTierOptions options = {}) : replica_(replica) {
    options.clock = replica->clock();
    tier_ = NewRedisTier(&replica->redis(), options).value();
  }

  Tier& tier() { return *tier_; }
  TierStats Stats() const { return tier_->Stats(); }

  TierPut PutOf(const std::string& full_key, Version version, std::string_view value,
                Expect expect = {}, absl::Duration life = absl::Minutes(1)) const {
    EntryFields fields;
    fields.full_key = full_key;
    fields.value = value;
    fields.version = version;
    fields.fresh_until = fields.usable_until = MonoAfter(replica_->clock()->Mono(), life);
    TierPut put;
    put.full_key = full_key;
    put.version = version;
    put.usable_until = fields.usable_until;
    put.envelope = EncodeEnvelope(fields, "user", *replica_->clock());
    put.expect = expect;
    return put;
  }
  absl::StatusOr<TierChange> TryPut(TierPut put) {
    std::vector<TierPut> puts;
    puts.push_back(std::move(put));
    return First(Wait(tier_->Put(std::move(puts), Soon(*replica_->clock()))));
  }
  TierChange Put(const std::string& full_key, Version version, std::string_view value,
                 Expect expect = {}, absl::Duration life = absl::Minutes(1)) {
    return Sure(TryPut(PutOf(full_key, version, value, expect, life)));
  }
  absl::StatusOr<TierChange> TryErase(const std::string& full_key, Version version) {
    return First(Wait(tier_->Erase({{full_key, version}}, Soon(*replica_->clock()))));
  }
  TierChange Erase(const std::string& full_key, Version version) {
    return Sure(TryErase(full_key, version));
  }
  TierRead Get(const std::string& full_key) {
    return Sure(First(Wait(tier_->Get({full_key}, Soon(*replica_->clock())))));
  }
  // The value of a live entry, or what is there instead.
  std::string Value(const std::string& full_key) {
    const TierRead read = Get(full_key);
    if (read.kind == TierRead::Kind::kAbsent) return "(absent)";
    if (read.kind == TierRead::Kind::kEnded) return "(ended)";
    if (read.kind == TierRead::Kind::kTombstone) return "(tombstone)";
    return std::string(read.entry.stored());
  }

 private:
  template <typename T>
  static absl::StatusOr<T> First(absl::StatusOr<std::vector<T>> all) {
    if (!all.ok()) return all.status();
    EXPECT_EQ(all->size(), 1u);
    return std::move(all->front());
  }
  template <typename T>
  static T Sure(absl::StatusOr<T> result) {
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : T{};
  }

  Replica* const replica_;
  std::unique_ptr<Tier> tier_;
};

}  // namespace larder

#endif  // LARDER_TESTS_TIER_REDIS_RIG_H_
