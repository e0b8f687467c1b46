#include "memory/memory_watch.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/log.h"
#include "tests/memory/fake_machine.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// In a container of 4 GiB.
class MemoryWatchTest : public testing::Test {
 protected:
  MemoryWatchTest() {
    machine_.CgroupV2("/", "/");
    SetLimit(4 * kGiB);
    log_path_ = machine_.root() + "/log";
    log_fd_ = open(log_path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ConfigureLog({.format = LogOptions::Format::kJson, .fd = log_fd_, .clock = &clock_});
  }
  ~MemoryWatchTest() override {
    ConfigureLog({});
    close(log_fd_);
  }

  void SetLimit(uint64_t limit) { machine_.Limit(limit, 50 * kMiB); }

  void Make(const GovernorOptions& options = {}) {
    watch_ = std::make_unique<MemoryWatch>(MemoryWatch::Options{
        .governor = options, .root = machine_.root(), .clock = &clock_, .executor = &executor_});
  }
  void Start() {
    budget_ = watch_->Status().budget_bytes;
    watch_->Start({.held_bytes = [this] { return held_; },
                   .set_budget =
                       [this](uint64_t bytes) {
                         ++changes_;
                         budget_ = bytes;
                       },
                   .set_tight = [this](bool tight) { tight_.push_back(tight); },
                   .set_left = [this](const MemoryLeft& left) { left_ = left; }});
    executor_.RunReady();
  }
  // The lines of `event` since the last call with it.
  std::vector<std::string> Logged(const std::string& event) {
    std::ifstream in(log_path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      if (line.find("\"event\":\"" + event + "\"") != std::string::npos) lines.push_back(line);
    }
    const size_t seen = seen_[event];
    seen_[event] = lines.size();
    lines.erase(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(seen));
    return lines;
  }

  FakeMachine machine_;
  ManualClock clock_;
  ManualExecutor executor_{&clock_, 1};
  std::string log_path_;
  int log_fd_ = -1;
  std::map<std::string, size_t> seen_;
  std::unique_ptr<MemoryWatch> watch_;
  uint64_t held_ = 0;
  uint64_t budget_ = 0;
  int changes_ = 0;
  std::vector<bool> tight_;
  MemoryLeft left_;
};

// The parameter is the container's limit.
class MemoryWatchOfTest : public MemoryWatchTest, public testing::WithParamInterface<uint64_t> {};

TEST_F(MemoryWatchTest, PrintsWhatItDecidedAtTheStart) {
  Make();
  EXPECT_EQ(watch_->Status().budget_bytes, 3584 * kMiB);
  EXPECT_THAT(Logged("memory_budget"),
              ElementsAre(AllOf(
                  HasSubstr("memory.l1: auto = 3.5GiB: cgroup v2 limit 4GiB, 512MiB kept for the "
                            "rest of the process (an eighth of it)"),
                  HasSubstr("\"cause\":\"start\""), HasSubstr("\"bytes\":3758096384"))));
}

// The last step before the kernel kills: what has to be kept is refused.
TEST_F(MemoryWatchTest, TellsWhenTheContainerIsNearlyUsedUp) {
  Make();
  Start();
  machine_.Limit(kGiB, kGiB - 60 * kMiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_THAT(tight_, IsEmpty());
  machine_.Limit(kGiB, kGiB - 30 * kMiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_THAT(tight_, ElementsAre(true));
  EXPECT_THAT(Logged("memory_tight"), ElementsAre(HasSubstr("cgroup v2 limit 1GiB")));
  // A little more is not enough: it would be gone at once.
  machine_.Limit(kGiB, kGiB - 45 * kMiB);
  executor_.Advance(10 * MemoryWatch::kInterval);
  EXPECT_THAT(tight_, ElementsAre(true));
  machine_.Limit(kGiB, kGiB - 100 * kMiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_THAT(tight_, ElementsAre(true, false));
  EXPECT_THAT(Logged("memory_eased"), testing::SizeIs(1));
}

// A full cache leaves little: what is refused while memory is short must not stay refused for that.
TEST_P(MemoryWatchOfTest, MakesRoomUntilNothingIsRefusedAnyMore) {
  const uint64_t limit = GetParam();
  const uint64_t rest = limit / 64;
  uint64_t burst = 0;
  machine_.Meminfo(256 * kGiB, 200 * kGiB);
  machine_.Limit(limit, rest);
  Make();
  Start();
  const auto pass = [&](int seconds) {
    for (int i = 0; i < seconds; ++i) {
      held_ = budget_;  // full, whatever it is
      machine_.Limit(limit, std::min(limit, held_ + rest + burst));
      executor_.Advance(MemoryWatch::kInterval);
    }
  };
  pass(300);
  EXPECT_THAT(tight_, IsEmpty()) << "a full cache alone is no shortage";
  // Messages that pile up faster than a look comes, and stay.
  burst = limit - held_ - rest - limit / 512;
  pass(60);
  EXPECT_THAT(tight_, ElementsAre(true, false));
}

INSTANTIATE_TEST_SUITE_P(Limits, MemoryWatchOfTest,
                         testing::Values(256 * kMiB, kGiB, 20 * kGiB, 48 * kGiB));

TEST_F(MemoryWatchTest, PrintsAFixedBudgetAsSuch) {
  Make({.fixed_bytes = kGiB});
  EXPECT_THAT(Logged("memory_budget"), ElementsAre(HasSubstr("memory.l1: 1GiB: as configured")));
}

// It gives no way, so what is left is all that tells of the refusals before they come.
TEST_F(MemoryWatchTest, TellsWhatIsLeftWithAFixedBudgetToo) {
  Make({.fixed_bytes = 512 * kMiB});
  Start();
  machine_.Limit(kGiB, kGiB - 128 * kMiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_EQ(left_.bytes, 128 * kMiB);
  EXPECT_EQ(left_.tight_bytes, 40 * kMiB);
  EXPECT_THAT(tight_, IsEmpty());
  machine_.Limit(kGiB, kGiB - 32 * kMiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_EQ(left_.bytes, 32 * kMiB);
  EXPECT_THAT(tight_, ElementsAre(true));
  EXPECT_EQ(changes_, 0);
  // A limit can be taken away from a container that runs.
  machine_.Put("sys/fs/cgroup/memory.max", "max\n");
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_THAT(tight_, ElementsAre(true, false));
  EXPECT_EQ(left_.bytes, 0u);
  EXPECT_EQ(left_.tight_bytes, 0u);
}

TEST_F(MemoryWatchTest, FollowsALimitThatIsLoweredAndRaisedAndSaysWhy) {
  Make();
  Start();
  Logged("memory_budget");
  executor_.Advance(absl::Seconds(10));
  EXPECT_THAT(Logged("memory_budget"), IsEmpty());
  EXPECT_EQ(changes_, 0) << "L1 has its budget already";

  SetLimit(kGiB);
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_EQ(budget_, 896 * kMiB);
  EXPECT_THAT(Logged("memory_budget"),
              ElementsAre(AllOf(
                  HasSubstr("memory.l1: auto = 896MiB: lowered to cgroup v2 limit 1GiB, 128MiB"),
                  HasSubstr("\"cause\":\"limit\""), HasSubstr("\"bytes_before\":3758096384"),
                  HasSubstr("\"limit_bytes\":1073741824"))));

  SetLimit(4 * kGiB);
  executor_.Advance(absl::Minutes(10));
  EXPECT_EQ(budget_, 3584 * kMiB);
  EXPECT_EQ(watch_->Status().cause, BudgetCause::kGrowth);
  EXPECT_EQ(Logged("memory_budget").size(), watch_->Status().growths);
}

TEST_F(MemoryWatchTest, ShrinksUnderPressure) {
  Make();
  Start();
  Logged("memory_budget");
  machine_.Stalls("sys/fs/cgroup/memory.pressure", 40, 10);
  held_ = 3 * kGiB;
  executor_.Advance(MemoryWatch::kInterval);
  EXPECT_LT(budget_, 3 * kGiB);
  EXPECT_THAT(Logged("memory_budget"),
              ElementsAre(AllOf(HasSubstr("memory pressure in the cgroup: 40% some and 10% full"),
                                HasSubstr("\"cause\":\"pressure\""))));
}

TEST_F(MemoryWatchTest, WhatCannotBeReadIsLoggedOnceAndKeepsTheBudget) {
  Make();
  Start();
  executor_.Advance(absl::Seconds(2));
  EXPECT_THAT(Logged("memory_reading_failed"), IsEmpty());
  machine_.Put("sys/fs/cgroup/memory.max", "garbage");
  machine_.Remove("proc/pressure");
  machine_.Remove("proc/self/statm");
  executor_.Advance(absl::Minutes(5));
  EXPECT_THAT(Logged("memory_reading_failed"),
              ElementsAre(HasSubstr("memory.max: holds no limit"),
                          HasSubstr("the kernel tells no memory pressure (PSI)"),
                          HasSubstr("/proc/self/statm: holds no resident set")));
  EXPECT_EQ(budget_, 3584 * kMiB);

  machine_.Remove("proc/meminfo");
  executor_.Advance(absl::Minutes(5));
  EXPECT_THAT(Logged("memory_reading_failed"),
              ElementsAre(HasSubstr("/proc/meminfo: holds no MemTotal")));
  EXPECT_EQ(budget_, 3584 * kMiB);
  SetLimit(kGiB);
  executor_.Advance(absl::Seconds(1));
  EXPECT_EQ(budget_, 896 * kMiB) << "what can be read again counts again";
}

TEST_F(MemoryWatchTest, AFixedBudgetThatDoesNotFitIsToldOnce) {
  Make({.fixed_bytes = 4 * kGiB});
  Start();
  executor_.Advance(absl::Minutes(5));
  EXPECT_THAT(Logged("memory_trouble"),
              ElementsAre(AllOf(HasSubstr("\"trouble\":\"does_not_fit\""),
                                HasSubstr("memory.l1 is 4GiB; with 64MiB for the rest"))));
  EXPECT_EQ(changes_, 0);
  EXPECT_THAT(Logged("memory_budget"), testing::SizeIs(1));
}

}  // namespace
}  // namespace larder
