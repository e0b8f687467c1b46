// Replicas that are ended by SIGTERM again and again while they are under load, as a rollout ends
// them: they exit 0, a caller who tries a second time is always answered, and what was acknowledged
// is there.

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/fleet_fixture.h"

namespace larder {
namespace {

constexpr int kEnds = 20;
constexpr int kCallers = 4;
constexpr int kKeys = 50;
// Calls of each caller that have to be answered before the next end.
constexpr int kCallsBetween = 50;

// Two replicas of a fleet, of which one at a time may be replaced while the other serves.
class Two {
 public:
  // Served on `lane`.
  Two(const std::string& url, std::string lane) : lane_(std::move(lane)) {
    for (int i = 0; i < 2; ++i) {
      files_[i] = directory_.path() + "/replica-" + std::to_string(i) + ".yaml";
      std::ofstream(files_[i]) << FleetConfig(i, url);
      Start(i);
    }
  }

  std::shared_ptr<v1::Cache::Stub> stub(int i) const {
    const std::lock_guard lock(mu_);
    return stubs_[i];
  }

  // SIGTERM, the end, and a new one in its place.
  void Replace(int i) {
    servers_[i]->Signal(SIGTERM);
    EXPECT_EQ(servers_[i]->Wait().exit_code, 0);
    Start(i);
  }

 private:
  void Start(int i) {
    servers_[i] = std::make_unique<ServerProcess>(
        std::vector<std::string>{"--config", files_[i], "--set",
                                 "data.path=" + directory_.path() + "/data-" + std::to_string(i)});
    ASSERT_TRUE(servers_[i]->running());
    const std::lock_guard lock(mu_);
    stubs_[i] = v1::Cache::NewStub(
        grpc::CreateChannel(servers_[i]->AddressOf(lane_), grpc::InsecureChannelCredentials()));
  }

  const std::string lane_;
  const TempDir directory_;
  std::array<std::string, 2> files_;
  std::array<std::unique_ptr<ServerProcess>, 2> servers_;
  mutable std::mutex mu_;
  std::array<std::shared_ptr<v1::Cache::Stub>, 2> stubs_;
};

// Writes its own keys and reads them, at the replicas in turn; what fails at one it tries once
// more, at the other.
class Caller {
 public:
  Caller(const Two* two, int number)
      : two_(two), prefix_("caller-" + std::to_string(number) + ":") {
    acknowledged_.resize(kKeys);
  }

  void Run(const std::atomic<bool>& stop) {
    for (int n = 1; !stop; ++n) {
      const int key = n % kKeys;
      v1::SetRequest set;
      set.set_key(prefix_ + std::to_string(key));
      set.set_value(std::to_string(n));
      v1::SetResponse stored;
      Call(n, [&](v1::Cache::Stub* stub, grpc::ClientContext* context) {
        return stub->Set(context, set, &stored);
      });
      if (stored.has_stored()) acknowledged_[key] = set.value();
      v1::GetRequest get;
      get.set_key(set.key());
      v1::GetResponse got;
      Call(n, [&](v1::Cache::Stub* stub, grpc::ClientContext* context) {
        return stub->Get(context, get, &got);
      });
    }
  }

  void ExpectAllThere() const {
    for (int key = 0; key < kKeys; ++key) {
      for (int i = 0; i < 2; ++i) {
        v1::GetRequest get;
        get.set_key(prefix_ + std::to_string(key));
        EXPECT_TRUE(Eventually([&] {
          v1::GetResponse got;
          return two_->stub(i)->Get(Replica::Within().get(), get, &got).ok() &&
                 got.hit().value() == acknowledged_[key];
        })) << get.key()
            << " at " << i << ", acknowledged " << acknowledged_[key];
      }
    }
  }

  int answered() const { return answered_; }
  int tried_again() const { return tried_again_; }

 private:
  template <typename Try>
  void Call(int turn, Try once) {
    const auto at = [&](int i) { return once(two_->stub(i).get(), Replica::Within(20).get()); };
    if (!at(turn % 2).ok()) {
      ++tried_again_;
      const grpc::Status status = at((turn + 1) % 2);
      EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    }
    ++answered_;
  }

  const Two* const two_;
  const std::string prefix_;
  std::vector<std::string> acknowledged_;  // by key
  std::atomic<int> answered_{0};
  int tried_again_ = 0;
};

class FleetTermTest : public testing::TestWithParam<const char*> {};

TEST_P(FleetTermTest, TwentyEndsUnderLoadFailNoCallAndLoseNoWrite) {
  RedisServer redis;
  Two two("redis://" + redis.address() + "/0", GetParam());
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Caller>> callers;
  std::vector<std::thread> threads;
  for (int i = 0; i < kCallers; ++i) {
    callers.push_back(std::make_unique<Caller>(&two, i));
    threads.emplace_back([&, caller = callers.back().get()] { caller->Run(stop); });
  }
  for (int end = 0; end < kEnds; ++end) {
    for (const auto& caller : callers) {
      const int before = caller->answered();
      EXPECT_TRUE(Eventually([&] { return caller->answered() >= before + kCallsBetween; }));
    }
    two.Replace(end % 2);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  int tried_again = 0;
  for (const auto& caller : callers) {
    caller->ExpectAllThere();
    tried_again += caller->tried_again();
  }
  EXPECT_GT(tried_again, 0) << "no end was noticed by a call";
}

INSTANTIATE_TEST_SUITE_P(Lanes, FleetTermTest, testing::Values("reference", "native"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace larder
