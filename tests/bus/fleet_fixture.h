// A fleet of buses over one MemoryLog, on one manual executor.

#ifndef LARDER_TESTS_BUS_FLEET_FIXTURE_H_
#define LARDER_TESTS_BUS_FLEET_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/log_bus.h"
#include "tests/bus/memory_log.h"
#include "tests/bus/recorder.h"

namespace larder {

inline BusMessage Changed(std::string key) {
  BusMessage message;
  message.version = 7;
  message.keys = {std::move(key)};
  return message;
}

class BusFleet : public testing::Test {
 protected:
  struct Member {
    Recorder recorder;
    std::unique_ptr<Bus> bus;
  };

  ~BusFleet() override {
    for (auto& member : members_) member->bus.reset();
    log_.Thaw();
    Run(absl::Seconds(5));
  }

  // A replica that has not started yet; its number in the log is its place in the fleet.
  Member& Add(LogBusOptions options) {
    options.random = &random_;
    options.clock = &clock_;
    options.executor = &executor_;
    EXPECT_TRUE(CheckLogBusOptions(options).ok()) << CheckLogBusOptions(options);
    members_.push_back(std::make_unique<Member>());
    const int replica = static_cast<int>(members_.size()) - 1;
    members_.back()->bus = NewLogBus(log_.NewClient(replica, &executor_), options);
    return *members_.back();
  }
  Member& Start(LogBusOptions options) {
    Member& member = Add(options);
    member.bus->Start(&member.recorder);
    return member;
  }
  // So many replicas that follow and know each other.
  void StartFleet(int replicas) {
    for (int i = 0; i < replicas; ++i) Start({.node = static_cast<uint32_t>(i)});
    Run(absl::Seconds(2));
    for (auto& member : members_) ASSERT_TRUE(member->recorder.following);
  }

  Member& member(int i) { return *members_[i]; }
  Bus& bus(int i) { return *members_[i]->bus; }
  Recorder& recorder(int i) { return members_[i]->recorder; }
  void Run(absl::Duration span) { executor_.Advance(span); }

  // Begins a PublishAndWait; its answer appears in the result.
  std::shared_ptr<std::optional<FleetAck>> Ask(int i, absl::Duration within) {
    auto answer = std::make_shared<std::optional<FleetAck>>();
    Spawn(bus(i).PublishAndWait(Changed("asked"), MonoAfter(clock_.Mono(), within)),
          [answer](FleetAck ack) { *answer = ack; });
    return answer;
  }
  std::shared_ptr<std::optional<absl::Status>> Stop(int i, absl::Duration within) {
    auto answer = std::make_shared<std::optional<absl::Status>>();
    Spawn(bus(i).Stop(MonoAfter(clock_.Mono(), within)),
          [answer](absl::Status status) { *answer = std::move(status); });
    return answer;
  }

  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  SeededRandom random_{1};
  MemoryLog log_{&clock_, &executor_, 1};
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace larder

#endif  // LARDER_TESTS_BUS_FLEET_FIXTURE_H_
