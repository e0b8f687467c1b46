// Gets of a Redis tier against redis-benchmark.
//
// 64 coroutines each ask the tier for one random key of 100,000 and wait for the entry, checked and
// decoded, before they ask for the next: the misses of 64 callers of one larderd. redis-benchmark
// asks the same server for the same names on as many connections with as many commands under way,
// and throws the answers away. The server has a core of its own, the tier and redis-benchmark have
// the other one, so that both sides of the ratio are given the same.

#include "bench/l2/redis_gets.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/strings.h"
#include "base/task.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "core/key.h"
#include "redis/redis.h"
#include "tier/envelope.h"
#include "tier/redis_tier.h"

namespace larder::bench {

namespace {

constexpr uint64_t kKeys = 100'000;
constexpr size_t kRedisValueBytes = 200;
constexpr int kCallers = 64;
constexpr int kConnections = 2;
constexpr double kTurnSeconds = 2;
constexpr size_t kFillBatch = 500;
constexpr uint64_t kBatches = 500;
constexpr MonoNanos kPatience = 10'000'000'000;

// As redis-benchmark writes its __rand_int__.
std::string FullKeyOf(uint64_t id) {
  char key[32];
  const int size =
      std::snprintf(key, sizeof(key), "key:%012llu", static_cast<unsigned long long>(id));
  return std::string(FullKey("", {key, static_cast<size_t>(size)}).view());
}

std::string ValueOf(uint64_t id) {
  std::string value = StrCat(id, " ");
  value.resize(kRedisValueBytes, 'v');
  return value;
}

class Rig {
 public:
  explicit Rig(const std::string& address) : executor_(ThreadPool::New({.threads = 1})) {
    Redis::Options options;
    options.addresses = {address};
    options.connections_per_node = kConnections;
    options.executor = executor_.get();
    auto redis = Redis::New(options);
    if (!redis.ok()) Broken(redis.status().ToString().c_str());
    redis_ = *std::move(redis);
    auto tier = NewRedisTier(redis_.get(), {});
    if (!tier.ok()) Broken(tier.status().ToString().c_str());
    tier_ = *std::move(tier);
  }
  ~Rig() {
    redis_.reset();
    executor_->Shutdown();
  }

  Tier* tier() { return tier_.get(); }
  static MonoNanos Deadline() { return Clock::System()->Mono() + kPatience; }

 private:
  std::unique_ptr<ThreadPool> executor_;
  std::unique_ptr<Redis> redis_;
  std::unique_ptr<Tier> tier_;
};

// What the callers of one turn share.
struct Turn {
  Tier* tier = nullptr;
  MonoNanos end = 0;
  std::atomic<uint64_t> gets{0};
  std::atomic<int> running{kCallers};
  std::promise<void> over;
};

Task<bool> Call(Turn* turn, uint64_t seed) {
  uint64_t random = seed * 0x9E3779B97F4A7C15 + 1;
  uint64_t gets = 0;
  for (MonoNanos now = 0; now < turn->end;) {
    random = random * 6364136223846793005 + 1442695040888963407;
    const uint64_t id = (random >> 33) % kKeys;
    now = Clock::System()->Mono();
    std::vector<std::string> keys(1, FullKeyOf(id));
    const auto reads = co_await turn->tier->Get(std::move(keys), now + kPatience);
    if (!reads.ok()) Broken(reads.status().ToString().c_str());
    const TierRead& read = reads->front();
    if (read.kind != TierRead::Kind::kEntry) Broken("an entry is missing in Redis");
    if (gets++ % 64 == 0 && read.entry.stored() != ValueOf(id)) Broken("an entry of another key");
  }
  turn->gets += gets;
  if (--turn->running == 0) turn->over.set_value();
  co_return true;
}

}  // namespace

void FillRedis(const std::string& address) {
  Rig rig(address);
  Clock* const clock = Clock::System();
  const MonoNanos until = clock->Mono() + absl::ToInt64Nanoseconds(absl::Hours(1));
  for (uint64_t first = 0; first < kKeys; first += kFillBatch) {
    std::vector<TierPut> puts;
    for (uint64_t id = first; id < first + kFillBatch; ++id) {
      TierPut put;
      put.full_key = FullKeyOf(id);
      put.version = VersionOf(clock->Mono()) + id;
      put.usable_until = until;
      const std::string value = ValueOf(id);
      put.envelope =
          EncodeEnvelope(Fields(put.full_key, value, put.version, clock->Mono()), "user", *clock);
      puts.push_back(std::move(put));
    }
    std::promise<absl::Status> done;
    Spawn(rig.tier()->Put(std::move(puts), Rig::Deadline()),
          [&done](auto changes) { done.set_value(changes.status()); });
    const absl::Status status = done.get_future().get();
    if (!status.ok()) Broken(status.ToString().c_str());
  }
}

void MeasureRedisBatches(const std::string& address) {
  Rig rig(address);
  for (std::string line; std::getline(std::cin, line);) {
    for (uint64_t batch = 0; batch < kBatches; ++batch) {
      std::vector<std::string> keys;
      for (uint64_t i = 0; i < kBatch; ++i) keys.push_back(FullKeyOf(batch * kBatch + i));
      std::promise<size_t> done;
      Spawn(rig.tier()->Get(std::move(keys), Rig::Deadline()), [&done](auto reads) {
        done.set_value(reads.ok()
                           ? static_cast<size_t>(std::count_if(reads->begin(), reads->end(),
                                                               [](const TierRead& read) {
                                                                 return read.kind ==
                                                                        TierRead::Kind::kEntry;
                                                               }))
                           : 0);
      });
      if (done.get_future().get() != kBatch) Broken("a batch is not all there");
    }
    Report("redis_tier_batches", static_cast<double>(kBatches), "");
  }
}

void MeasureRedisGets(const std::string& address) {
  Rig rig(address);
  for (std::string line; std::getline(std::cin, line);) {
    Turn turn;
    turn.tier = rig.tier();
    const MonoNanos start = Clock::System()->Mono();
    turn.end = start + static_cast<MonoNanos>(kTurnSeconds * 1e9);
    for (int caller = 0; caller < kCallers; ++caller) {
      Spawn(Call(&turn, static_cast<uint64_t>(start) + static_cast<uint64_t>(caller)), [](bool) {});
    }
    turn.over.get_future().wait();
    const double seconds = static_cast<double>(Clock::System()->Mono() - start) / 1e9;
    Report("redis_tier_gets", static_cast<double>(turn.gets.load()) / seconds, "1/s");
  }
}

}  // namespace larder::bench
