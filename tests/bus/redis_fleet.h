// A fleet of buses over a real Redis, each with a client and threads of its own, and a listener
// that says for each message whether it was heard or its loss was.

#ifndef LARDER_TESTS_BUS_REDIS_FLEET_H_
#define LARDER_TESTS_BUS_REDIS_FLEET_H_

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/histogram.h"
#include "base/mutex.h"
#include "bus/log_bus.h"
#include "bus/redis_log.h"
#include "tests/redis/redis_fixture.h"
#include "tests/redis/redis_server.h"

namespace larder {

// The order of publishing and of hearing that one follows, over all threads.
inline std::atomic<uint64_t> next_moment{1};

class FleetFollower : public BusListener {
 public:
  void OnMessages(const std::vector<BusMessage>& messages) override {
    const absl::Time now = absl::Now();
    MutexLock lock(&mu_);
    for (const BusMessage& message : messages) {
      ++count_[message.version];
      if (!message.rule.empty()) delays_.Record(now - TimeOf(message));
    }
  }
  void OnGap(std::string_view why) override {
    MutexLock lock(&mu_);
    following_ = false;
    gaps_.emplace_back(why);
  }
  void OnFollowing() override {
    MutexLock lock(&mu_);
    following_ = true;
    following_from_ = next_moment++;
  }

  static absl::Time TimeOf(const BusMessage& message) {
    return absl::FromUnixNanos(std::stoll(message.rule));
  }
  bool following() const {
    MutexLock lock(&mu_);
    return following_;
  }
  size_t gaps() const {
    MutexLock lock(&mu_);
    return gaps_.size();
  }
  int count(uint64_t moment) const {
    MutexLock lock(&mu_);
    const auto place = count_.find(moment);
    return place == count_.end() ? 0 : place->second;
  }
  // Has it, or knows that it may not.
  bool Accounts(uint64_t moment) const {
    MutexLock lock(&mu_);
    return count_.contains(moment) || !following_ || following_from_ > moment;
  }
  Histogram::Snapshot delays() const { return delays_.Snap(); }

 private:
  mutable Mutex mu_;
  std::map<uint64_t, int> count_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> gaps_ ABSL_GUARDED_BY(mu_);
  bool following_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t following_from_ ABSL_GUARDED_BY(mu_) = 0;
  Histogram delays_;
};

// How long a replica goes on without a word of Redis.
struct FleetBusTimes {
  absl::Duration lost_after = absl::Milliseconds(800);
  absl::Duration alive = absl::Milliseconds(1200);
  absl::Duration give_up_after = absl::Seconds(2);
};
// For tests in which nothing is lost: longer than a busy machine stops a process for. Who is alive
// is known `lost_after` after the start, so the first wait for the fleet takes as long.
inline constexpr FleetBusTimes kPatientBus{
    .lost_after = absl::Seconds(5), .alive = absl::Seconds(6), .give_up_after = absl::Seconds(30)};

struct FleetReplica {
  FleetReplica(uint32_t node, Redis::Options redis_options, RedisLogOptions log_options,
               const FleetBusTimes& times)
      : redis(redis_options) {
    LogBusOptions options{.node = node,
                          .heartbeat = absl::Milliseconds(100),
                          .lost_after = times.lost_after,
                          .alive = times.alive,
                          .give_up_after = times.give_up_after,
                          .attempt_timeout = absl::Milliseconds(300),
                          .executor = redis.executor.get()};
    bus = NewLogBus(NewRedisLog(redis.redis.get(), log_options), options);
    bus->Start(&follower);
  }
  ~FleetReplica() {
    // Without a server it says no goodbye.
    (void)Await(bus->Stop(In(absl::Milliseconds(500))));
    bus.reset();
  }

  RedisUnderTest redis;
  FleetFollower follower;
  std::unique_ptr<Bus> bus;
};

class RedisFleet : public testing::Test {
 protected:
  void StartReplicas(const Redis::Options& redis_options, int replicas = 3,
                     RedisLogOptions log_options = {.prefix = "test"},
                     const FleetBusTimes& times = {}) {
    Redis::Options quick = redis_options;
    quick.reconnect_max = absl::Milliseconds(200);
    for (int i = 0; i < replicas; ++i)
      replicas_.push_back(std::make_unique<FleetReplica>(i, quick, log_options, times));
    WaitUntilWell();
  }
  void StartReplicas(const RedisServer& server, const FleetBusTimes& times = {}) {
    Redis::Options options;
    options.addresses = {server.address()};
    StartReplicas(options, 3, {.prefix = "test"}, times);
  }

  // All follow and know each other.
  void WaitUntilWell() {
    WaitUntil("all replicas follow", [this] {
      for (const auto& replica : replicas_) {
        if (!replica->follower.following() ||
            replica->bus->Stats().replicas + 1 != replicas_.size())
          return false;
      }
      return true;
    });
  }
  void WaitUntilLost() {
    WaitUntil("all replicas notice", [this] {
      for (const auto& replica : replicas_) {
        if (replica->follower.following()) return false;
      }
      return true;
    });
  }

  BusMessage NewMessage(int from) {
    BusMessage message;
    message.kind = BusMessage::Kind::kRule;
    message.version = next_moment++;
    message.rule = absl::StrCat(absl::ToUnixNanos(absl::Now()));
    published_.emplace_back(from, message.version);
    return message;
  }
  uint64_t Publish(int from) {
    BusMessage message = NewMessage(from);
    const uint64_t moment = message.version;
    replicas_[from]->bus->Publish(std::move(message));
    return moment;
  }

  // A message of each replica reaches all others.
  void ExpectWorking() {
    std::vector<uint64_t> moments;
    for (size_t i = 0; i < replicas_.size(); ++i) moments.push_back(Publish(static_cast<int>(i)));
    WaitUntil("messages arrive", [&] {
      for (size_t i = 0; i < replicas_.size(); ++i) {
        for (size_t from = 0; from < moments.size(); ++from) {
          if (from != i && replicas_[i]->follower.count(moments[from]) == 0) return false;
        }
      }
      return true;
    });
  }
  // Each message was heard everywhere, or its loss was, and never twice.
  void ExpectAccounted() {
    for (const auto& [from, moment] : published_) {
      for (size_t i = 0; i < replicas_.size(); ++i) {
        if (static_cast<int>(i) == from) continue;
        EXPECT_TRUE(replicas_[i]->follower.Accounts(moment)) << i << " misses " << moment;
        EXPECT_LE(replicas_[i]->follower.count(moment), 1);
      }
    }
  }

  std::vector<std::unique_ptr<FleetReplica>> replicas_;
  std::vector<std::pair<int, uint64_t>> published_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BUS_REDIS_FLEET_H_
